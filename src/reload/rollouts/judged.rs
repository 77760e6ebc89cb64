//! What becomes of where versions stand once the rules have spoken.

use super::Place;
use crate::rollout::{Change, Standing, Verdict};

/// What the rules have made of a version that was tried.
pub(super) fn judged(place: Place<'_>, standing: &mut Standing) -> Option<Change> {
    let rollout = place.before?.trial(place.role)?;
    let told = rollout.figures().told().filter(|_| rollout.live() == standing.live)?;
    let (from, tried) = (standing.live, rollout.digest());
    let change = match told.verdict {
        Verdict::Promoted => {
            standing.put_in_force(tried);
            Change { from: Some(from), ..place.change(&standing.policy, tried, "promote", "rule") }
        }
        Verdict::RolledBack => {
            standing.give_up(tried);
            Change { from: Some(tried), ..place.change(&standing.policy, from, "rollback", "rule") }
        }
    };
    Some(Change { result: told.why, ..change })
}
