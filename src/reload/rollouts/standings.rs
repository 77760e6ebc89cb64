//! Where versions stand whose group, or whose name in it, the configuration has no more. They wait a while: who takes a name out and puts
//! it back must not get what was rolled back.

use std::collections::BTreeSet;

use super::{Place, RolloutDraft, Rollouts};
use crate::id::PolicyName;
use crate::moment::Moment;
use crate::policy::Digest;
use crate::reload::states::FORGOTTEN_AFTER;
use crate::rollout::{Change, Standing, Waiting};

impl Rollouts {
    /// Whether a group stands by a file of this name, as far as the last build found one, and not by what is `built_in` under it.
    pub(in crate::reload) fn had_file(&self, name: &PolicyName, built_in: Digest) -> bool {
        let here = |standing: &&Standing| standing.policy == name.as_str() && standing.away_since_ms.is_none();
        self.standings.values().filter(here).any(|standing| standing.file.is_some_and(|file| file != built_in))
    }
}

impl RolloutDraft {
    /// Where the versions of this policy stand at its place, and what begins with it there. What stood there under another name is put
    /// aside until that name comes back. What comes back and was in force as a version that is not `kept` begins anew.
    pub(super) fn stand(
        &mut self,
        place: Place<'_>,
        policy: &str,
        file: Digest,
        kept: impl Fn(Digest) -> bool,
    ) -> (Standing, Option<Change>) {
        let mut other = match self.standings.remove(&place.key(policy)) {
            Some(known) if known.policy != policy => Some(known),
            Some(known) if known.away_since_ms.is_none() || kept(known.live) => {
                return (Standing { away_since_ms: None, ..known }, None);
            }
            _ => None,
        };
        if let Some(other) = &mut other {
            self.judge_aside(place, other);
        }
        let from = other.as_ref().map(|other| other.live);
        if let Some(other) = other {
            self.standings.insert(place.key_aside(&other.policy), other);
        }
        let known = self.standings.remove(&place.key_aside(policy));
        let known = known.filter(|known| known.policy == policy && kept(known.live));
        let standing = known.unwrap_or_else(|| Standing::new(policy, file));
        let (how, by) = if from.is_some() { ("replace", "configuration") } else { ("start", "file") };
        let begun = Change { from, ..place.change(policy, standing.live, how, by) };
        (Standing { away_since_ms: None, ..standing }, Some(begun))
    }

    /// What no group stands by is kept as long as what policies have learned is, and then forgotten.
    pub(super) fn put_away(&mut self, now: Moment) {
        let in_place = &self.in_place;
        self.standings.retain(|key, standing| {
            if in_place.contains(key) {
                return true;
            }
            let since = *standing.away_since_ms.get_or_insert(now.as_millis());
            now.since(Moment::from_millis(since)) < FORGOTTEN_AFTER
        });
    }

    /// What the folder holds and is not tried, because it was rolled back or another version was put in its place.
    pub(super) fn waiting(&self) -> BTreeSet<Waiting> {
        let here = self.standings.iter().filter(|(key, _)| self.in_place.contains(*key));
        let waiting = here.filter_map(|(key, standing)| {
            let (role, group) = key.split_once('/')?;
            // Of a provider's policy the name is a part of the role's.
            let role = role.split_once('@').map_or(role, |(role, _)| role);
            let digest = standing.refused?;
            let policy = standing.policy.clone();
            Some(Waiting { group: group.to_owned(), role: role.to_owned(), policy, digest })
        });
        waiting.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_no_group_stands_by_is_kept_for_thirty_days() {
        let of = |name: &str| Standing::new(name, Digest::of(name.as_bytes()));
        let mut draft = RolloutDraft::default();
        draft.standings.insert("router/here".to_owned(), of("p"));
        draft.standings.insert("router/gone".to_owned(), of("q"));
        draft.in_place.insert("router/here".to_owned());
        let begin = Moment::from_millis(1_000);
        draft.put_away(begin);
        let since = |draft: &RolloutDraft, key: &str| draft.standings.get(key).map(|standing| standing.away_since_ms);
        assert_eq!(since(&draft, "router/here"), Some(None));
        assert_eq!(since(&draft, "router/gone"), Some(Some(1_000)));
        draft.put_away(begin + FORGOTTEN_AFTER.saturating_sub(Duration::from_secs(1)));
        assert_eq!(since(&draft, "router/gone"), Some(Some(1_000)), "since it went");
        draft.put_away(begin + FORGOTTEN_AFTER);
        assert_eq!((since(&draft, "router/here"), since(&draft, "router/gone")), (Some(None), None));
    }

    #[test]
    fn a_file_is_told_from_what_is_built_in_under_its_name() {
        let [file, built_in] = ["file", "built in"].map(|text| Digest::of(text.as_bytes()));
        let mut rollouts = Rollouts::new(Arc::default());
        let mut stands = |standing: Standing, name: &str| {
            rollouts.standings.insert("router/g".to_owned(), standing);
            rollouts.had_file(&PolicyName::from(name), built_in)
        };
        let of_file = Standing::new("p", file);
        assert!(stands(of_file.clone(), "p") && !stands(of_file.clone(), "q"));
        assert!(!stands(Standing::new("p", built_in), "p"));
        // What is in force may be a version of before while the file is what is built in.
        assert!(!stands(Standing { file: Some(built_in), ..of_file.clone() }, "p"));
        assert!(!stands(Standing { away_since_ms: Some(1), ..of_file }, "p"), "no group has it");
    }

    #[test]
    fn what_waits_is_named_by_group_role_and_policy() {
        let digest = Digest::of(b"bad");
        let mut draft = RolloutDraft::default();
        for key in ["router/a/b", "provider@p/g", "router/gone"] {
            let standing = Standing { refused: Some(digest), ..Standing::new("p", Digest::of(b"old")) };
            draft.standings.insert(key.to_owned(), standing);
        }
        draft.in_place.extend(["router/a/b", "provider@p/g"].map(str::to_owned));
        let waits = |group: &str, role: &str| Waiting {
            group: group.to_owned(),
            role: role.to_owned(),
            policy: "p".to_owned(),
            digest,
        };
        assert_eq!(draft.waiting(), [waits("a/b", "router"), waits("g", "provider")].into());
    }
}
