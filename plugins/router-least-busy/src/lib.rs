//! Least busy: the deployment with the fewest requests under way; of equals the one named first.
//!
//! The rule of LiteLLM's `least-busy`. Differences, on purpose: the gateway itself counts what is under way, so a
//! failed or abandoned request cannot leave a count behind; an unknown count is the last choice and not zero.
//! No settings.

use witgate_policy::rank::{Score, best_first};
use witgate_policy::signals::IN_FLIGHT;
use witgate_policy::{Ask, Choice, Needs, Refusal, Router, Settings, Setup, Signals, export_router};

struct LeastBusy;

impl Router for LeastBusy {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        Settings::parse(&setup.settings)?.finish()?;
        Ok((Self, Needs { pure: true, ..Needs::signals(&[IN_FLIGHT]) }))
    }

    fn route(&mut self, _: &Ask, table: Signals<'_>) -> Result<Vec<Choice>, Refusal> {
        let [in_flight] = table.columns();
        let scores: Vec<Score> = (0..table.rows())
            .map(|index| Score { wait: 0.0, value: f64::from(in_flight.at_or(index, f32::INFINITY)) })
            .collect();
        Ok(best_first(&scores))
    }
}

export_router!(LeastBusy);
