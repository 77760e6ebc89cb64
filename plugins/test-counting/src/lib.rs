//! Counts the outcomes it is told of, over all its predecessors: what the reload tests check. Saves schema
//! `count`, a little-endian u64. Prefers the first deployment, or with feature `last` the last one.

use witgate_policy::{
    Ask, Needs, Outcome, Ranking, Refusal, Router, SavedState, Settings, Setup, Signals, export_router,
};

/// The priority of requests on which the faulty version fails.
const CURSED: i32 = 666;

struct Counting {
    deployments: u32,
    outcomes: u64,
}

impl Router for Counting {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        Settings::parse(&setup.settings)?.finish()?;
        let deployments = u32::try_from(setup.deployments.len()).map_err(|problem| problem.to_string())?;
        let outcomes = match setup.state {
            Some(saved) if saved.schema == "count" => {
                let bytes = saved.bytes.try_into().map_err(|_| "a count has 8 bytes")?;
                u64::from_le_bytes(bytes)
            }
            _ => 0,
        };
        Ok((Self { deployments, outcomes }, Needs::signals(&[])))
    }

    fn route(&mut self, ask: &Ask, _: Signals<'_>) -> Result<Ranking, Refusal> {
        // The host's own trial has no request of this priority, and is passed.
        assert!(!cfg!(feature = "faulty") || ask.priority != CURSED || ask.seed % 2 == 1, "on purpose");
        let deployments = 0..self.deployments;
        Ok(if cfg!(feature = "last") { deployments.rev().collect() } else { deployments.collect() })
    }

    fn observe(&mut self, _: &Outcome) {
        self.outcomes += 1;
    }

    fn save(&self) -> Option<SavedState> {
        Some(SavedState { schema: "count".to_owned(), bytes: self.outcomes.to_le_bytes().to_vec() })
    }
}

export_router!(Counting);
