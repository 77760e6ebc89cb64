//! The cheapest deployment first, where each failure makes a deployment dearer.
//!
//! What a request is expected to cost counts times `1 + penalty × failure-rate`. An unknown failure rate is none; a
//! deployment whose cost is unknown comes last; of equals the one named first.
//!
//! Settings: `penalty`, a number from 0 to 1000, 10 unless given.

use witgate_policy::rank::{Score, best_first};
use witgate_policy::signals::{COST_USD, FAILURE_RATE};
use witgate_policy::{Ask, Choice, Needs, Refusal, Router, Settings, Setup, Signals, export_router};

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

    fn route(&mut self, _: &Ask, table: Signals<'_>) -> Result<Vec<Choice>, Refusal> {
        let [cost, failures] = table.columns();
        let score = |index| {
            let value = f64::from(cost.at(index)) * (1.0 + self.penalty * f64::from(failures.at_or(index, 0.0)));
            Score { wait: 0.0, value: if value.is_nan() { f64::INFINITY } else { value } }
        };
        Ok(best_first(&(0..table.rows()).map(score).collect::<Vec<_>>()))
    }
}

export_router!(Thrifty);

#[cfg(test)]
mod tests;
