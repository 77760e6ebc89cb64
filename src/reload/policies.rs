//! How a group comes by a policy, whatever its role: it keeps the one it has, starts one, or has one take over from another.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::builtin_policies::SHIPPED;
use crate::catalog::{Deployment, Group};
use crate::id::PolicyName;
use crate::policy::{
    BuilderSetup, Building, Component, Contract, DeploymentInfo, ParserSetup, Parsing, PolicyProblem, PolicyRuntime,
    ProviderSetup, Providing, Routing, Setup, Succession,
};
use crate::snapshot::{DeploymentRuntime, GroupRuntime, SpokenFormat};

/// The name that stands for "whatever the folder says": a file `default.wasm`, else simple-shuffle.
pub(super) const DEFAULT: &str = "default";
/// Who decides where nobody was asked to.
pub(super) const FALLBACK: &str = "simple-shuffle";

/// A policy of the next snapshot.
pub(super) enum PolicyChange<C: Contract> {
    /// Nothing about it changed.
    Keep(Arc<PolicyRuntime<C>>),
    /// It has no predecessor.
    Start(Arc<PolicyRuntime<C>>),
    /// It takes over what its predecessor learned, at the moment of the swap.
    Replace(Succession<C>),
}

impl<C: Contract<Setup: PartialEq>> PolicyChange<C> {
    /// Prepares it, aside of the one it follows. Blocks.
    ///
    /// # Errors
    /// It cannot be set up so.
    pub(super) fn prepare(
        component: &Arc<Component>,
        setup: C::Setup,
        before: Option<&Arc<PolicyRuntime<C>>>,
    ) -> Result<Self, PolicyProblem> {
        match before {
            Some(policy) if policy.component().digest() == component.digest() && *policy.setup() == setup => {
                Ok(Self::Keep(Arc::clone(policy)))
            }
            Some(policy) => Succession::prepare(Arc::clone(component), setup, policy).map(Self::Replace),
            None => PolicyRuntime::start(Arc::clone(component), setup, None).map(Self::Start),
        }
    }

    /// Puts it in charge.
    pub(super) fn publish(self) -> Arc<PolicyRuntime<C>> {
        match self {
            Self::Keep(policy) | Self::Start(policy) => policy,
            Self::Replace(succession) => succession.publish(),
        }
    }

    pub(super) const fn is_kept(&self) -> bool {
        matches!(self, Self::Keep(_))
    }
}

/// The policies of a group of the next snapshot.
pub(super) struct GroupPolicies {
    pub(super) router: PolicyChange<Routing>,
    pub(super) builder: Option<PolicyChange<Building>>,
    pub(super) parser: Option<PolicyChange<Parsing>>,
    /// One for each deployment, in their order.
    pub(super) providers: Vec<Option<PolicyChange<Providing>>>,
}

/// Components by name.
type Found = BTreeMap<PolicyName, Arc<Component>>;

impl GroupPolicies {
    /// Prepares them. Blocks.
    ///
    /// # Errors
    /// The first that cannot be set up, and why.
    pub(super) fn prepare(
        group: &Group,
        found: &Found,
        before: Option<&Arc<GroupRuntime>>,
        seed: u64,
    ) -> Result<Self, String> {
        let model: Arc<str> = group.deployments.first().map_or("", |deployment| &deployment.model).into();
        let setup = Setup {
            group: Some(group.name.clone()),
            settings: Arc::clone(&group.router.settings),
            deployments: group.deployments.iter().map(|deployment| DeploymentInfo::of(deployment)).collect(),
            seed,
            may_read: group.router.may_read.clone(),
        };
        let (at, router) = (group.router.at.as_deref(), before.and_then(|group| group.router.as_ref()));
        let router = prepare(group, (&group.router.policy, at), found, setup, router)?;
        let builder = group.builder.as_ref().map(|choice| {
            let (settings, model, may_read) =
                (Arc::clone(&choice.settings), Arc::clone(&model), choice.may_read.clone());
            let setup = BuilderSetup { group: Some(group.name.clone()), settings, model, seed, may_read };
            prepare(
                group,
                (&choice.policy, choice.at.as_deref()),
                found,
                setup,
                before.and_then(|group| group.builder.as_ref()),
            )
        });
        let parser = group.parser.as_ref().map(|choice| {
            let (settings, model, may_read) =
                (Arc::clone(&choice.settings), Arc::clone(&model), choice.may_read.clone());
            let setup = ParserSetup { group: Some(group.name.clone()), settings, model, seed, may_read };
            prepare(
                group,
                (&choice.policy, choice.at.as_deref()),
                found,
                setup,
                before.and_then(|group| group.parser.as_ref()),
            )
        });
        let provider = |deployment: &Arc<Deployment>| {
            let Some(choice) = &deployment.policy else { return Ok(None) };
            let model = deployment.model.as_str().into();
            let (name, settings) = (Some(group.name.clone()), Arc::clone(&choice.settings));
            let setup = ProviderSetup { group: name, settings, model, seed };
            let runtimes = before.map_or(&[] as &[Arc<DeploymentRuntime>], |group| &group.deployments);
            let before = runtimes.iter().find(|runtime| runtime.config.id == deployment.id);
            let before = before.and_then(|runtime| match &runtime.format {
                SpokenFormat::Component(format) => Some(format.policy()),
                SpokenFormat::Native(_) => None,
            });
            prepare(group, (&choice.policy, None), found, setup, before).map(Some)
        };
        let providers = group.deployments.iter().map(provider).collect::<Result<_, _>>()?;
        Ok(Self { router, builder: builder.transpose()?, parser: parser.transpose()?, providers })
    }

    /// Whether all are the ones in charge now, and nobody has one more or less.
    pub(super) fn are_kept(&self) -> bool {
        self.router.is_kept()
            && self.builder.as_ref().is_none_or(PolicyChange::is_kept)
            && self.parser.as_ref().is_none_or(PolicyChange::is_kept)
            && self.providers.iter().flatten().all(PolicyChange::is_kept)
    }
}

fn prepare<C: Contract<Setup: PartialEq>>(
    group: &Group,
    (asked, at): (&PolicyName, Option<&str>),
    found: &Found,
    setup: C::Setup,
    before: Option<&Arc<PolicyRuntime<C>>>,
) -> Result<PolicyChange<C>, String> {
    // Where the configuration says so, in front of what is wrong with it.
    let placed = |problem: String| at.map_or_else(|| problem.clone(), |at| format!("{at}: {problem}"));
    let component = named(group, asked, found).map_err(placed)?;
    PolicyChange::prepare(component, setup, before).map_err(|problem| {
        let (name, digest) = (component.name(), component.digest().short());
        placed(format!("group `{}`, policy `{name}` ({digest}): {problem}", group.name))
    })
}

/// The component that a group asks for by this name.
fn named<'c>(group: &Group, asked: &PolicyName, found: &'c Found) -> Result<&'c Arc<Component>, String> {
    let fallback = (asked.as_str() == DEFAULT).then(|| found.get(FALLBACK)).flatten();
    found.get(asked).or(fallback).ok_or_else(|| {
        let known: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        format!(
            "group `{}`: no policy is named `{asked}`\nhint: put {asked}.wasm into the policies folder, or use one of {}",
            group.name,
            known.join(", ")
        )
    })
}
