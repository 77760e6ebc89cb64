//! Least busy: the deployment with the fewest requests under way; of equals the one named first.
//!
//! The rule of LiteLLM's `least-busy`. Differences, on purpose: the gateway itself counts what is under way, so a
//! failed or abandoned request cannot leave a count behind; an unknown count is the last choice and not zero.
//! No settings.

use witgate_policy::rank::lowest_first;
use witgate_policy::signals::IN_FLIGHT;
use witgate_policy::{Ask, Needs, Ranking, Refusal, Router, Settings, Setup, Signals, export_router};

struct LeastBusy;

impl Router for LeastBusy {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        Settings::parse(&setup.settings)?.finish()?;
        Ok((Self, Needs { pure: true, ..Needs::signals(&[IN_FLIGHT]) }))
    }

    fn route(&mut self, _: &Ask, table: Signals<'_>) -> Result<Ranking, Refusal> {
        let [in_flight] = table.columns();
        Ok(lowest_first(in_flight.iter().map(f64::from)))
    }
}

export_router!(LeastBusy);
