//! A policy's place: a role in a group. Versions stand there, and orders are for one.

use crate::catalog::{Group, RollOut};
use crate::policy::{Digest, Role};
use crate::rollout::Change;
use crate::snapshot::GroupRuntime;

/// Whose versions are chosen.
#[derive(Clone, Copy)]
pub(in crate::reload) struct Place<'a> {
    pub(in crate::reload) role: Role,
    pub(in crate::reload) group: &'a Group,
    pub(in crate::reload) before: Option<&'a GroupRuntime>,
}

impl Place<'_> {
    /// Where its versions stand. A group's deployments may be spoken to by several policies of providers.
    pub(super) fn key(&self, policy: &str) -> String {
        let role = self.role.as_str();
        match self.role {
            Role::Provider => format!("{role}@{policy}/{}", self.group.name),
            Role::Router | Role::PromptBuilder | Role::ResponseParser => format!("{role}/{}", self.group.name),
        }
    }

    /// Whether a group has no more than one policy in this role.
    pub(super) fn is_alone(&self) -> bool {
        let mut names =
            self.group.deployments.iter().filter_map(|deployment| Some(&deployment.policy.as_ref()?.policy));
        let first = names.next();
        self.role != Role::Provider || names.all(|name| Some(name) == first)
    }

    /// How a new version in it comes into force.
    pub(super) const fn roll_out(&self) -> RollOut {
        match self.role {
            Role::Router => self.group.router.roll_out,
            Role::PromptBuilder | Role::ResponseParser | Role::Provider => RollOut::Replace,
        }
    }

    /// A change that is told, so far as it is known here.
    pub(super) fn change(&self, policy: &str, digest: Digest, how: &str, by: &str) -> Change {
        Change {
            at_ms: 0,
            generation: 0,
            group: self.group.name.to_string(),
            role: self.role.as_str().to_owned(),
            policy: policy.to_owned(),
            from: None,
            digest,
            how: how.to_owned(),
            by: by.to_owned(),
            result: String::new(),
        }
    }
}
