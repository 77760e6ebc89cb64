//! What operators have ordered about a policy at its place, and what comes of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::older::Past;
use super::{Answer, Place, Steps};
use crate::policy::{Component, Digest};
use crate::rollout::{Action, Asked, Change, Order, Standing};

/// Digits of a digest that name a version at least.
const PREFIX: usize = 6;

impl Steps<'_> {
    /// The orders about this policy at its place, which wait no more.
    fn orders_for(&mut self, place: Place<'_>, policy: &str) -> Vec<Order> {
        let mine = |order: &Order| {
            let named = order.policy.as_deref().map_or_else(|| place.is_alone(), |name| name == policy);
            order.group == place.group.name && order.role == place.role && named
        };
        let (mine, others) = std::mem::take(&mut self.draft.orders).into_iter().partition(mine);
        self.draft.orders = others;
        mine
    }

    /// Obeys the orders about the policy whose file this is: what happens comes to `changes`, and who gave them is answered when it is in force.
    /// Gives where versions stood before the first that has another version tried.
    pub(super) fn obey_all(
        &mut self,
        place: Place<'_>,
        standing: &mut Standing,
        file: &Arc<Component>,
        changes: &mut Vec<Change>,
    ) -> Option<Standing> {
        let policy = file.name().as_str();
        let mut untried = None;
        for order in self.orders_for(place, policy) {
            let before = standing.clone();
            let (obeyed, reply) = (self.obey(place, &order, standing, file), order.reply);
            match obeyed {
                Ok((change, words)) => {
                    let tries = matches!(order.action, Action::Shadow | Action::Canary);
                    // What is put in force, or given up, holds whatever comes of others.
                    untried = if tries { untried.or(Some(before)) } else { None };
                    changes.extend(change);
                    self.draft.answers.push(Answer { key: place.key(policy), reply, words, tries });
                }
                Err(why) => drop(reply.send(Err(why))),
            }
        }
        untried
    }

    /// What an operator wants done.
    ///
    /// # Errors
    /// Why it cannot be.
    fn obey(
        &mut self,
        place: Place<'_>,
        order: &Order,
        standing: &mut Standing,
        file: &Arc<Component>,
    ) -> Result<(Option<Change>, String), String> {
        let policy = standing.policy.clone();
        let past = Past::of(self.rollouts.control.history.of(None), &place.change(&policy, standing.live, "", ""));
        // What an older gateway has put down as the version before may be another policy's.
        standing.previous = standing.previous.filter(|version| !past.is_foreign(*version));
        // What whoever gave the order saw, and not what has come into the folder since. One that took over meanwhile is tried no more.
        let seen = order.tried.or_else(|| standing.tried(&place.roll_out()));
        let tried = seen.filter(|seen| *seen != standing.live);
        let named = order.to.as_deref().map(|prefix| self.named(prefix, standing, file)).transpose()?;
        let waiting = seen.or(standing.refused.filter(|refused| Some(*refused) == standing.file));
        let target = match (order.action, named, tried) {
            (Action::Rollback, None, Some(tried)) => {
                standing.give_up(tried);
                let live = standing.live;
                let change = Change { from: Some(tried), ..place.change(&policy, live, "rollback", "operator") };
                let words =
                    format!("{policy} {} is given up; {} decides until the file changes", tried.short(), live.short());
                return Ok((Some(change), words));
            }
            (Action::Rollback, None, None) => standing
                .previous
                .filter(|version| !past.left().contains(version))
                .ok_or("no older version is known; name one with `to` (--to)")?,
            (_, Some(named), _) => named,
            (Action::Promote, None, _) => {
                waiting.ok_or("there is no version that waits to be promoted; name one with `to` (--to)")?
            }
            (Action::Shadow | Action::Canary, None, _) => {
                waiting.ok_or("there is no version to try; name one with `to` (--to)")?
            }
        };
        if target == standing.live {
            return Err(format!("{policy} {} is in force already", target.short()));
        }
        self.component(place, target, file)?;
        match order.action {
            Action::Promote | Action::Rollback => {
                let from = Some(standing.live);
                if order.action == Action::Rollback {
                    let mut rolled_back = past.left();
                    rolled_back.insert(standing.live);
                    let previous = past.before(target, &rolled_back).filter(|kept| self.rollouts.keeps(*kept, file));
                    standing.roll_back_to(target, previous);
                } else {
                    standing.put_in_force(target);
                }
                let until =
                    if Some(target) == standing.file { "" } else { " until the file changes or another is promoted" };
                let words = format!("{policy} {} is in force{until}", target.short());
                let change = place.change(&policy, target, order.action.as_str(), "operator");
                Ok((Some(Change { from, ..change }), words))
            }
            Action::Shadow | Action::Canary => {
                place.tries(order.action)?;
                let asked = Asked { digest: target, canary: order.action == Action::Canary };
                if standing.asked == Some(asked) {
                    let (short, action) = (target.short(), order.action.as_str());
                    return Err(format!("{policy} {short} is tried as a {action} already: nothing was changed"));
                }
                standing.asked = Some(asked);
                // What the folder holds does not come before what was asked for.
                if standing.file.is_some_and(|file| file != target && file != standing.live) {
                    standing.refused = standing.file;
                }
                let words = format!("{policy} {} is tried as a {}", target.short(), order.action.as_str());
                Ok((None, words))
            }
        }
    }

    /// The version that these first digits of a digest name.
    fn named(&self, prefix: &str, standing: &Standing, file: &Arc<Component>) -> Result<Digest, String> {
        if prefix.len() < PREFIX {
            return Err(format!("`{prefix}` is too short: name a version by {PREFIX} digits of its digest or more"));
        }
        let history = self.rollouts.control.history.of(None);
        let mut known: BTreeSet<Digest> =
            history.iter().filter(|change| change.policy == standing.policy).map(|change| change.digest).collect();
        known.extend([standing.live, file.digest()]);
        known.extend(standing.previous.into_iter().chain(standing.file));
        let mut found = known.iter().filter(|digest| digest.to_string().starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(*one),
            (None, _) if self.is_coming(prefix, &standing.policy) => Err(format!(
                "version {prefix} of `{}` is being compiled: it can be had when `witgate policies` does not say so any more",
                standing.policy
            )),
            (None, _) => {
                let kept = known.iter().filter(|digest| self.rollouts.keeps(**digest, file));
                let kept: Vec<String> = kept.map(|digest| digest.short()).collect();
                let policy = &standing.policy;
                Err(format!("no version of `{policy}` begins with {prefix}; there are {}", kept.join(", ")))
            }
            (Some(_), Some(_)) => Err(format!("several versions of `{}` begin with {prefix}", standing.policy)),
        }
    }

    /// Whether a version of this policy is being compiled that begins so.
    fn is_coming(&self, prefix: &str, policy: &str) -> bool {
        let mut coming = self.components.coming();
        coming.any(|one| one.policy == policy && one.digest.to_string().starts_with(prefix))
    }
}
