//! Calm: the deployment that failed least of late; of equals the one named first.

use witgate_policy::{Ask, Needs, Ranking, Refusal, Router, Setup, Signals, export_router};

struct Calm;

impl Router for Calm {
    fn configure(_: Setup) -> Result<(Self, Needs), String> {
        Ok((Self, Needs { pure: true, ..Needs::signals(&["failure-rate"]) }))
    }

    fn route(&mut self, _: &Ask, table: Signals<'_>) -> Result<Ranking, Refusal> {
        let failures = table.column("failure-rate");
        let mut order: Vec<u32> = (0..).take(table.rows()).collect();
        order.sort_by(|a, b| failures.at_or(*a as usize, 0.0).total_cmp(&failures.at_or(*b as usize, 0.0)));
        Ok(order.into_iter().collect())
    }
}

export_router!(Calm);
