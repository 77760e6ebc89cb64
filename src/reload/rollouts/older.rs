//! What a rollback goes back to. A version that was left by one is none: rolled back twice, a policy goes further back.

use std::collections::BTreeSet;

use crate::policy::Digest;
use crate::rollout::Change;

/// What has happened at one place to the versions of one policy.
pub(super) struct Past(Vec<Change>);

impl Past {
    /// Of all that has happened, the newest last, what was at the place and under the name of `like`.
    pub(super) fn of(all: Vec<Change>, like: &Change) -> Self {
        let here =
            |change: &Change| change.group == like.group && change.role == like.role && change.policy == like.policy;
        Self(all.into_iter().filter(here).collect())
    }

    /// The versions that rollbacks have left since another was put in force in any other way.
    pub(super) fn left(&self) -> BTreeSet<Digest> {
        let tried = |change: &&Change| change.how == "shadow" || change.how == "canary";
        let newest = self.0.iter().rev().filter(|change| !tried(change));
        newest.take_while(|change| change.how == "rollback").filter_map(|change| change.from).collect()
    }

    /// The version that was in force before `version`, if it is none of those that were left.
    pub(super) fn before(&self, version: Digest, left: &BTreeSet<Digest>) -> Option<Digest> {
        let begun = |change: &&Change| {
            change.digest == version && matches!(change.how.as_str(), "replace" | "promote") && change.from.is_some()
        };
        let before = self.0.iter().rev().find(begun)?.from?;
        (before != version && !left.contains(&before)).then_some(before)
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
}
