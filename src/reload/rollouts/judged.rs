//! What becomes of where versions stand once the rules have spoken.

use super::{Place, RolloutDraft};
use crate::rollout::{Change, Standing, Trial, Verdict};
use crate::snapshot::Snapshot;

impl RolloutDraft {
    /// A version that was tried, and judged, has no part in this build: what the rules have made of it holds when it comes back.
    pub(super) fn judge_aside(&mut self, place: Place<'_>, standing: &mut Standing) {
        let Some(change) = judged(place, standing) else { return };
        let trial = place.before.and_then(|before| before.trial(place.role));
        let promoted = trial.map(Trial::component).filter(|component| component.digest() == standing.live);
        self.live.extend(promoted.cloned());
        self.changes.push(change);
    }

    /// The same for all that was tried where no group stands by its policy any more.
    pub(super) fn judge_gone(&mut self, previous: &Snapshot) {
        for before in previous.groups.values() {
            for trial in before.trials() {
                let place = Place { role: trial.role(), group: &before.config, before: Some(before) };
                let key = place.key(trial.component().name().as_str());
                if self.in_place.contains(&key) {
                    continue;
                }
                if let Some(mut standing) = self.standings.remove(&key) {
                    self.judge_aside(place, &mut standing);
                    self.standings.insert(key, standing);
                }
            }
        }
    }
}

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
