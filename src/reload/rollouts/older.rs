//! What a rollback goes back to. A version that was left by one is none: rolled back twice, a policy goes further back.

use std::collections::BTreeSet;

use crate::policy::Digest;
use crate::rollout::Change;

/// What has happened at one place to the versions of one policy.
pub(super) struct Past {
    changes: Vec<Change>,
    /// The versions of the policy that were in force or tried there.
    own: BTreeSet<Digest>,
}

impl Past {
    /// Of all that has happened, the newest last, what was at the place and under the name of `like`.
    pub(super) fn of(all: Vec<Change>, like: &Change) -> Self {
        let here =
            |change: &Change| change.group == like.group && change.role == like.role && change.policy == like.policy;
        let changes: Vec<Change> = all.into_iter().filter(here).collect();
        // A rollback makes nothing a version of the policy: an older gateway went back to what was none. What was in force while another
        // was tried is one, also where the line that tells how it came has left the history.
        let told = changes.iter().filter(|change| change.how != "rollback").map(|change| change.digest);
        let beside = changes.iter().filter(|change| Self::tries(change)).filter_map(|change| change.from);
        let own = told.chain(beside).collect();
        Self { changes, own }
    }

    /// Whether a version is another policy's, which decided here before the configuration named this one.
    pub(super) fn is_foreign(&self, version: Digest) -> bool {
        !self.own.contains(&version) && self.changes.iter().any(|change| Self::names_anew(change, version))
    }

    /// The versions that rollbacks have left since another was put in force in any other way.
    pub(super) fn left(&self) -> BTreeSet<Digest> {
        let passed_over =
            |change: &&Change| Self::tries(change) || change.from.is_some_and(|from| self.is_foreign(from));
        let newest = self.changes.iter().rev().filter(|change| !passed_over(change));
        newest.take_while(|change| change.how == "rollback").filter_map(|change| change.from).collect()
    }

    /// The version of this policy that was in force before `version`, if it is none of those that were left.
    pub(super) fn before(&self, version: Digest, left: &BTreeSet<Digest>) -> Option<Digest> {
        let begun = |change: &&Change| {
            let own = change.from.is_some_and(|from| !self.is_foreign(from));
            change.digest == version && matches!(change.how.as_str(), "replace" | "promote") && own
        };
        let before = self.changes.iter().rev().find(begun)?.from?;
        (before != version && !left.contains(&before)).then_some(before)
    }

    /// Whether a version began to be tried beside the one in force, which is where it comes from.
    fn tries(change: &Change) -> bool {
        change.how == "shadow" || change.how == "canary"
    }

    /// Whether the configuration put this policy in the place of one that was in force as `version`.
    fn names_anew(change: &Change, version: Digest) -> bool {
        change.how == "replace" && change.by == "configuration" && change.from == Some(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn change(how: &str, from: Option<&str>, to: &str) -> Change {
        Change {
            at_ms: 1,
            generation: 1,
            group: "g".to_owned(),
            role: "router".to_owned(),
            policy: "p".to_owned(),
            from: from.map(digest),
            digest: digest(to),
            how: how.to_owned(),
            by: "operator".to_owned(),
            result: String::new(),
            waits: false,
            earlier: false,
        }
    }

    #[test]
    fn rollbacks_go_further_back_and_never_to_what_they_left() {
        let begun = [change("start", None, "a"), change("replace", Some("a"), "b"), change("promote", Some("b"), "c")];
        let like = change("rollback", None, "c");
        let past = Past::of(begun.to_vec(), &like);
        assert_eq!(past.left(), BTreeSet::new());
        assert_eq!(past.before(digest("b"), &[digest("c")].into()), Some(digest("a")));
        assert_eq!(past.before(digest("a"), &[digest("c"), digest("b")].into()), None);
        let back = begun.iter().cloned().chain([change("rollback", Some("c"), "b"), change("canary", Some("b"), "d")]);
        let past = Past::of(back.collect(), &like);
        assert_eq!(past.left(), [digest("c")].into());
        let again = [change("replace", Some("a"), "b"), change("replace", Some("b"), "a")];
        let past = Past::of(again.to_vec(), &like);
        assert_eq!(past.before(digest("b"), &[digest("a")].into()), None, "it is the one that is left");
        let other = Change { group: "other".to_owned(), ..change("replace", Some("z"), "b") };
        assert_eq!(Past::of(vec![other], &like).before(digest("b"), &BTreeSet::new()), None);
    }
    /// `redact` gave its place to `plain` and got it back: what was in force in between is no version of it.
    #[test]
    fn a_version_of_another_policy_is_never_gone_back_to() {
        let named =
            |from: &str, to: &str| Change { by: "configuration".to_owned(), ..change("replace", Some(from), to) };
        let begun = [change("start", None, "a"), named("plain", "a"), change("replace", Some("a"), "b")];
        let like = change("rollback", None, "b");
        let past = Past::of(begun.to_vec(), &like);
        assert!(past.is_foreign(digest("plain")) && !past.is_foreign(digest("a")));
        assert_eq!(past.before(digest("a"), &[digest("b")].into()), None);
        let gone_wrong = [change("rollback", Some("b"), "a"), change("rollback", Some("a"), "plain")];
        let past = Past::of(begun.iter().cloned().chain(gone_wrong).collect(), &like);
        assert!(past.is_foreign(digest("plain")), "though it was gone back to");
        // What was in force before is known beyond the time when another had its place.
        let begun = [change("start", None, "o"), change("replace", Some("o"), "a"), named("plain", "a")];
        let past = Past::of(begun.to_vec(), &like);
        assert_eq!(past.before(digest("a"), &[digest("b")].into()), Some(digest("o")));
        // It is no step of its own either: what was rolled back before it still is.
        let begun = [change("start", None, "a"), change("replace", Some("a"), "b"), change("rollback", Some("b"), "a")];
        let past = Past::of(begun.into_iter().chain([named("plain", "a")]).collect(), &like);
        assert_eq!(past.left(), [digest("b")].into());
        // A `roll_out` that became another one is the configuration's doing too, and of the policy itself.
        let begun = [change("start", None, "a"), change("shadow", Some("a"), "b"), named("a", "b")];
        let past = Past::of(begun.to_vec(), &like);
        assert_eq!(past.before(digest("b"), &BTreeSet::new()), Some(digest("a")));
        // Also where so much has happened since that the line which brought it is gone.
        for how in ["shadow", "canary"] {
            let begun = [change(how, Some("a"), "b"), named("a", "b")];
            let past = Past::of(begun.to_vec(), &like);
            assert!(!past.is_foreign(digest("a")), "{how}");
            assert_eq!(past.before(digest("b"), &BTreeSet::new()), Some(digest("a")), "{how}");
        }
    }
}
