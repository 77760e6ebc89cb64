//! Usage: the deployment with the fewest tokens used in its window among those that may start now, then those
//! that must wait, the shortest wait first; equals are drawn.
//!
//! The rule of LiteLLM's `usage-based-routing-v2` (and of `usage-based-routing`). Differences, on purpose: tokens
//! count from the moment they are reserved, not when the reply is over, so a burst does not land on one
//! deployment; the window slides; and a limit of `rpm` requests admits `rpm` requests (LiteLLM stops one short).
//! Unknown usage counts as none.
//!
//! Settings:
//! - `ttl`: taken for compatibility and without effect; the window is `token_usage_window`.

use witgate_policy::rank::{Score, best_first_within};
use witgate_policy::signals::{TOKENS_USED, WAIT_MS};
use witgate_policy::{Ask, Needs, Random, Ranking, Refusal, Router, Settings, Setup, Signals, export_router};

struct UsageBased;

impl Router for UsageBased {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let mut settings = Settings::parse(&setup.settings)?;
        settings.number("ttl", "at least 0", 0.0..=f64::MAX)?;
        settings.finish()?;
        Ok((Self, Needs { pure: true, ..Needs::signals(&[WAIT_MS, TOKENS_USED]) }))
    }

    fn route(&mut self, ask: &Ask, table: Signals<'_>) -> Result<Ranking, Refusal> {
        let [wait, used] = table.columns();
        let scores = wait.iter().zip(used.iter_or(0.0)).map(|(wait, used)| Score::new(wait, f64::from(used)));
        Ok(best_first_within(scores, 0.0, &mut Random::new(ask.seed)))
    }
}

export_router!(UsageBased);
