//! A policy's place: a role in a group. Versions stand there, and orders are for one.

use std::sync::Arc;

use crate::catalog::{Group, RollOut};
use crate::id::PolicyName;
use crate::policy::{Component, Digest, Role};
use crate::rollout::{Action, Change, Trial};
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
            Role::Provider => self.key_aside(policy),
            Role::Router | Role::PromptBuilder | Role::ResponseParser => format!("{role}/{}", self.group.name),
        }
    }

    /// Where the versions of a policy wait that is not named here now.
    pub(super) fn key_aside(&self, policy: &str) -> String {
        format!("{}@{policy}/{}", self.role.as_str(), self.group.name)
    }

    /// Whether a policy of this name decides here now.
    pub(in crate::reload) fn has(&self, policy: &PolicyName) -> bool {
        let Some(before) = self.before else { return false };
        let named = |component: &Arc<Component>| component.name() == policy;
        match self.role {
            Role::Router => before.router.as_ref().is_some_and(|router| named(router.component())),
            Role::PromptBuilder => before.builder.as_ref().is_some_and(|builder| named(builder.component())),
            Role::ResponseParser => before.parser.as_ref().is_some_and(|parser| named(parser.component())),
            Role::Provider => before.provider_policies().any(|provider| named(provider.component())),
        }
    }

    /// The version that is tried here now.
    pub(super) fn tried(&self) -> Option<Digest> {
        self.before?.trial(self.role).map(Trial::digest)
    }

    /// Whether a group has no more than one policy in this role.
    pub(super) fn is_alone(&self) -> bool {
        let mut names =
            self.group.deployments.iter().filter_map(|deployment| Some(&deployment.policy.as_ref()?.policy));
        let first = names.next();
        self.role != Role::Provider || names.all(|name| Some(name) == first)
    }

    /// How a new version in it comes into force.
    pub(super) fn roll_out(&self) -> RollOut {
        match self.role {
            Role::Router => self.group.router.roll_out,
            Role::PromptBuilder => self.group.builder.as_ref().map_or(RollOut::Replace, |choice| choice.roll_out),
            Role::ResponseParser => self.group.parser.as_ref().map_or(RollOut::Replace, |choice| choice.roll_out),
            Role::Provider => RollOut::Replace,
        }
    }

    /// Whether a version may be tried here so.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn tries(&self, action: Action) -> Result<(), String> {
        match (self.role, action) {
            (Role::Provider, _) => Err(
                "a provider's policy is replaced as a whole: routers, prompt builders and response parsers are tried"
                    .to_owned(),
            ),
            (Role::ResponseParser, Action::Shadow) => {
                Err("a response parser has no shadow, for a reply is read by one version alone: try it as a canary"
                    .to_owned())
            }
            _ => Ok(()),
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
            waits: false,
            earlier: false,
        }
    }
}
