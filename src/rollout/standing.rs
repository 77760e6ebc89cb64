//! Which versions of a policy stand where, for one group and role: a value, and the pure rules by which it changes.

use serde::{Deserialize, Serialize};

use super::Mode;
use crate::catalog::{CanaryRules, RollOut};
use crate::policy::Digest;

/// Which versions of a group's policy stand where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The policy's name; under another one all begins anew.
    pub policy: String,
    /// The version in force.
    pub live: Digest,
    /// The version that a rollback puts in force: the one before this. After a rollback it is an older one still, not the one that
    /// was left.
    #[serde(default)]
    pub previous: Option<Digest>,
    /// The version in the folder that was rolled back: it is not put in force again until the file changes or somebody promotes it. One
    /// that comes back after another file is tried as any other.
    #[serde(default)]
    pub refused: Option<Digest>,
    /// The version an operator wants tried.
    #[serde(default)]
    pub asked: Option<Asked>,
    /// The version that the folder held when this was last settled. A file that cannot be used leaves it as it is.
    #[serde(default)]
    pub file: Option<Digest>,
    /// Since when no configuration has named the policy here, milliseconds since 1970. What was rolled back is remembered for a while: the
    /// name, or the group, may be taken out for a moment only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_since_ms: Option<u64>,
}

/// A version an operator wants tried, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Which.
    pub digest: Digest,
    /// On a share of the requests; else never obeyed.
    pub canary: bool,
}

impl Standing {
    /// A version in force that nothing is known of before: the file's.
    #[must_use]
    pub fn new(policy: &str, live: Digest) -> Self {
        Self {
            policy: policy.to_owned(),
            live,
            previous: None,
            refused: None,
            asked: None,
            file: Some(live),
            away_since_ms: None,
        }
    }

    /// The version that the folder held when this was last settled.
    fn known_file(&self) -> Digest {
        self.file.unwrap_or(self.live)
    }

    /// The version that is tried as this was last settled.
    #[must_use]
    pub fn tried(&self, roll_out: &RollOut) -> Option<Digest> {
        self.clone().settle(self.known_file(), roll_out).map(|(digest, _)| digest)
    }

    /// What follows from the file in the folder: the version to be tried, and how. The one in force is in [`Self::live`] afterwards.
    pub fn settle(&mut self, file: Digest, roll_out: &RollOut) -> Option<(Digest, Mode)> {
        self.file = Some(file);
        // Another file has come since: what was rolled back is no more what waits.
        self.refused = self.refused.filter(|refused| *refused == file);
        let rules = |roll_out: &RollOut| match roll_out {
            RollOut::Canary(rules) => *rules,
            RollOut::Replace | RollOut::Shadow => CanaryRules::default(),
        };
        let asked = self.asked.filter(|asked| asked.digest != self.live);
        let asked = asked.map(|asked| {
            let mode = if asked.canary { Mode::Canary(rules(roll_out)) } else { Mode::Shadow };
            (asked.digest, mode)
        });
        if file == self.live || self.refused.is_some() || asked.is_some_and(|(digest, _)| digest == file) {
            return asked;
        }
        match roll_out {
            RollOut::Replace => {
                self.put_in_force(file);
                None
            }
            RollOut::Shadow => Some((file, Mode::Shadow)),
            RollOut::Canary(rules) => Some((file, Mode::Canary(*rules))),
        }
    }

    /// Puts a version in force. Where it is not the file's that is known, that one waits until the file changes; what the folder holds
    /// since is for the next [`Self::settle`].
    pub fn put_in_force(&mut self, digest: Digest) {
        let file = self.known_file();
        if digest != self.live {
            self.previous = Some(self.live);
        }
        self.live = digest;
        self.asked = None;
        self.refused = (digest != file).then_some(file);
    }

    /// Puts an earlier version in force again, before which `older` was. The one that is left is not what the next rollback goes
    /// to.
    pub fn roll_back_to(&mut self, digest: Digest, older: Option<Digest>) {
        self.put_in_force(digest);
        self.previous = older.filter(|older| *older != digest);
    }

    /// Gives up a version that was tried.
    pub fn give_up(&mut self, digest: Digest) {
        self.asked = None;
        if digest == self.known_file() {
            self.refused = Some(digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    const CANARY: RollOut = RollOut::Canary(CanaryRules {
        share: 0.5,
        requests: 1,
        max_faults: 0,
        minimum: 1,
        failure_ratio: 1.0,
        cost_ratio: 1.0,
        latency_ratio: 1.0,
    });

    #[test]
    fn a_changed_file_replaces_or_is_tried() {
        let [old, new] = ["old", "new"].map(digest);
        let mut standing = Standing::new("p", old);
        assert_eq!(standing.settle(old, &RollOut::Replace), None);
        assert_eq!(standing.settle(new, &RollOut::Shadow), Some((new, Mode::Shadow)));
        assert!(matches!(standing.settle(new, &CANARY), Some((tried, Mode::Canary(_))) if tried == new));
        assert_eq!((standing.live, standing.previous), (old, None), "trying changes nothing");
        assert_eq!(standing.settle(new, &RollOut::Replace), None);
        assert_eq!((standing.live, standing.previous), (new, Some(old)));
    }

    #[test]
    fn what_was_rolled_back_stays_away_until_the_file_changes() {
        let [old, bad, fixed] = ["old", "bad", "fixed"].map(digest);
        let mut standing = Standing::new("p", old);
        assert!(standing.settle(bad, &CANARY).is_some());
        standing.give_up(bad);
        assert_eq!(standing.settle(bad, &CANARY), None);
        assert_eq!(standing.settle(bad, &RollOut::Replace), None);
        assert_eq!(standing.live, old);
        assert_eq!(standing.settle(fixed, &RollOut::Replace), None);
        assert_eq!((standing.live, standing.refused), (fixed, None));
    }

    #[test]
    fn what_was_rolled_back_and_comes_back_after_another_file_is_tried() {
        let [old, bad, other] = ["old", "bad", "other"].map(digest);
        // Whether that other file was tried, or is the one in force.
        for between in [other, old] {
            let mut standing = Standing::new("p", old);
            assert!(standing.settle(bad, &CANARY).is_some());
            standing.give_up(bad);
            assert_eq!((standing.settle(bad, &CANARY), standing.refused), (None, Some(bad)));
            assert_eq!(
                standing.settle(between, &CANARY).map(|(tried, _)| tried),
                Some(between).filter(|one| *one != old)
            );
            assert_eq!(standing.refused, None);
            assert!(matches!(standing.settle(bad, &CANARY), Some((tried, Mode::Canary(_))) if tried == bad));
        }
    }

    #[test]
    fn a_version_asked_for_is_tried_until_the_file_changes() {
        let [old, older, new] = ["old", "older", "new"].map(digest);
        let mut standing = Standing::new("p", old);
        standing.asked = Some(Asked { digest: older, canary: false });
        assert_eq!(standing.settle(old, &RollOut::Replace), Some((older, Mode::Shadow)));
        standing.settle(new, &RollOut::Replace);
        assert_eq!((standing.live, standing.asked), (new, None));
    }

    #[test]
    fn yesterdays_version_in_force_keeps_the_file_waiting() {
        let [older, old, new] = ["older", "old", "new"].map(digest);
        let mut standing = Standing::new("p", new);
        standing.roll_back_to(old, Some(older));
        assert_eq!(standing.settle(new, &RollOut::Replace), None);
        assert_eq!((standing.live, standing.refused, standing.previous), (old, Some(new), Some(older)));
        standing.roll_back_to(older, None);
        assert_eq!((standing.live, standing.previous), (older, None), "what was left does not come back");
    }

    #[test]
    fn what_came_while_a_version_was_promoted_is_looked_at_next() {
        let [old, tried, newest] = ["old", "tried", "newest"].map(digest);
        let mut standing = Standing::new("p", old);
        assert!(standing.settle(tried, &CANARY).is_some());
        // The file is the newest by now, and the verdict is about the one that was tried.
        standing.put_in_force(tried);
        assert_eq!((standing.live, standing.refused), (tried, None));
        assert!(matches!(standing.settle(newest, &CANARY), Some((digest, Mode::Canary(_))) if digest == newest));
    }
}
