//! The cheapest deployment first, where each failure makes a deployment dearer.
//!
//! What a request is expected to cost counts times `1 + penalty × failure-rate`. An unknown failure rate is none; a
//! deployment whose cost is unknown comes last; of equals the one named first.
//!
//! Settings: `penalty`, a number from 0 to 1000, 10 unless given.

use witgate_policy::rank::lowest_first;
use witgate_policy::signals::{COST_USD, FAILURE_RATE};
use witgate_policy::{Ask, Needs, Ranking, Refusal, Router, Settings, Setup, Signals, export_router};

struct Thrifty {
    penalty: f64,
}

impl Router for Thrifty {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let mut settings = Settings::parse(&setup.settings)?;
        let penalty = settings.number("penalty", "0 to 1000", 0.0..=1000.0)?.unwrap_or(10.0);
        settings.finish()?;
        // Its answers depend on its arguments alone: several instances may serve at once.
        Ok((Self { penalty }, Needs { pure: true, ..Needs::signals(&[COST_USD, FAILURE_RATE]) }))
    }

    fn route(&mut self, _: &Ask, table: Signals<'_>) -> Result<Ranking, Refusal> {
        let [cost, failures] = table.columns();
        let dearer = |(cost, failures)| f64::from(cost) * (1.0 + self.penalty * f64::from(failures));
        Ok(lowest_first(cost.iter().zip(failures.iter_or(0.0)).map(dearer)))
    }
}

export_router!(Thrifty);

#[cfg(test)]
mod tests;
