//! How a group comes by a policy, whatever its role: it keeps the one it has, starts one, or has one take over from another.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Entered;
use std::sync::Arc;

use crate::builtin_policies::SHIPPED;
use crate::catalog::{Deployment, Group, PolicyPlaces};
use crate::id::PolicyName;
use crate::policy::{
    Building, Component, Contract, DeploymentInfo, Digest, Parsing, PolicyProblem, PolicyRuntime, PolicySetup,
    ProviderSetup, Providing, Role, Routing, SavedState, Setup, Succession,
};
use crate::rollout::{Control, Mode, Rollout};
use crate::signal::Grants;
use crate::snapshot::{DeploymentRuntime, GroupRuntime, SpokenFormat};

use super::rollouts::{Chosen, Offered, Place, Steps};
use super::states;

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
    /// Prepares it, aside of the one it follows. Where it follows none, or another policy (`renamed`), it begins with what `learned`
    /// gives. Blocks.
    ///
    /// # Errors
    /// It cannot be set up so.
    pub(super) fn prepare(
        component: &Arc<Component>,
        setup: C::Setup,
        (before, renamed): (Option<&Arc<PolicyRuntime<C>>>, bool),
        learned: impl FnOnce() -> Option<SavedState>,
    ) -> Result<Self, PolicyProblem> {
        match before {
            Some(policy) if policy.component().digest() == component.digest() && *policy.setup() == setup => {
                Ok(Self::Keep(Arc::clone(policy)))
            }
            Some(policy) => {
                let own = if renamed { learned() } else { None };
                Succession::prepare(Arc::clone(component), setup, policy, own).map(Self::Replace)
            }
            None => PolicyRuntime::start(Arc::clone(component), setup, learned()).map(Self::Start),
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
    pub(super) router: PolicyVersions<Routing>,
    pub(super) builder: Option<PolicyVersions<Building>>,
    pub(super) parser: Option<PolicyVersions<Parsing>>,
    /// One for each deployment, in their order.
    pub(super) providers: Vec<Option<PolicyChange<Providing>>>,
}

/// A policy's version in force, and the new one that is tried.
pub(super) struct PolicyVersions<C: Contract> {
    live: PolicyChange<C>,
    tried: Option<RolloutChange<C>>,
}

/// The versions of before.
struct Before<'a, C: Contract> {
    in_charge: Option<&'a Arc<PolicyRuntime<C>>>,
    rollout: Option<&'a Arc<Rollout<C>>>,
    /// They are another policy's.
    renamed: bool,
}

/// A policy and a new version of it that is tried, as they serve.
pub(super) type InService<C> = (Arc<PolicyRuntime<C>>, Option<Arc<Rollout<C>>>);

/// A new version of a policy that is tried beside the one in force.
struct RolloutChange<C: Contract> {
    candidate: PolicyChange<C>,
    live: Digest,
    mode: Mode,
    before: Option<Arc<Rollout<C>>>,
}

/// What there is by name; `None` under a name whose file cannot be used, which is told already.
pub(super) type Found = BTreeMap<PolicyName, Option<Offered>>;

impl GroupPolicies {
    /// Prepares them. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong with the first that cannot be set up; nothing where that is told already.
    pub(super) fn prepare(
        group: &Group,
        found: &Found,
        before: Option<&Arc<GroupRuntime>>,
        seed: u64,
        steps: &mut Steps<'_>,
    ) -> Result<Self, Vec<String>> {
        let setup = Setup {
            group: Some(group.name.clone()),
            settings: Arc::clone(&group.router.settings),
            deployments: group.deployments.iter().map(|deployment| DeploymentInfo::of(deployment)).collect(),
            seed,
            may_read: group.router.may_read.clone(),
        };
        let before = before.map(|before| &**before);
        let place = |role| Place { role, group, before };
        let router = router(place(Role::Router), found, &setup, steps)?;
        let model: Arc<str> = group.deployments.first().map_or("", |deployment| &deployment.model).into();
        let builder = group.builder.as_ref().map(|choice| {
            let entry = Entry {
                policy: &choice.policy,
                settings: &choice.settings,
                may_read: &choice.may_read,
                at: &choice.at,
            };
            let before = Before {
                in_charge: before.and_then(|group| group.builder.as_ref()),
                rollout: before.and_then(|group| group.builder_rollout.as_ref()),
                renamed: false,
            };
            entry.prepare(place(Role::PromptBuilder), found, (&model, seed), before, steps)
        });
        let parser = group.parser.as_ref().map(|choice| {
            let entry = Entry {
                policy: &choice.policy,
                settings: &choice.settings,
                may_read: &choice.may_read,
                at: &choice.at,
            };
            let before = Before {
                in_charge: before.and_then(|group| group.parser.as_ref()),
                rollout: before.and_then(|group| group.parser_rollout.as_ref()),
                renamed: false,
            };
            entry.prepare(place(Role::ResponseParser), found, (&model, seed), before, steps)
        });
        let (builder, parser) = (builder.transpose()?, parser.transpose()?);
        let mut versions: BTreeMap<PolicyName, Arc<Component>> = BTreeMap::new();
        let mut provider = |deployment: &Arc<Deployment>| {
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
            // One version for all deployments of the group that name it.
            let component = match versions.entry(choice.policy.clone()) {
                Entered::Occupied(chosen) => Arc::clone(chosen.get()),
                Entered::Vacant(free) => {
                    let file = named(group, &choice.policy, &choice.at, found)?;
                    Arc::clone(free.insert(steps.choose(place(Role::Provider), file).live))
                }
            };
            prepare((group, &choice.at), &component, setup, (before, false), || None).map(Some)
        };
        let providers = group.deployments.iter().map(&mut provider).collect::<Result<_, Vec<String>>>()?;
        Ok(Self { router, builder, parser, providers })
    }

    /// Whether all are the ones in charge now, and nobody has one more or less.
    pub(super) fn are_kept(&self) -> bool {
        self.router.live.is_kept()
            && self.builder.as_ref().is_none_or(|builder| builder.live.is_kept())
            && self.parser.as_ref().is_none_or(|parser| parser.live.is_kept())
            && self.providers.iter().flatten().all(PolicyChange::is_kept)
    }
}

impl<C: Contract<Setup: PartialEq>> PolicyVersions<C> {
    /// Prepares the versions that were chosen. One that cannot be tried is told, and the one in force decides.
    ///
    /// # Errors
    /// The version in force cannot be set up so.
    fn prepare(
        (place, at): (Place<'_>, &PolicyPlaces),
        chosen: &Chosen,
        setup: &C::Setup,
        Before { in_charge, rollout, renamed }: Before<'_, C>,
        learned: impl Fn() -> Option<SavedState> + Copy,
        steps: &mut Steps<'_>,
    ) -> Result<Self, Vec<String>> {
        let (group, digest) = (place.group, chosen.live.digest());
        // A version that was tried has learned all along: it follows itself.
        let promoted = rollout.filter(|rollout| rollout.digest() == digest).map(|rollout| rollout.candidate());
        let follows = (promoted.or(in_charge), renamed);
        let live = prepare((group, at), &chosen.live, setup.clone(), follows, learned)?;
        let Some((component, mode)) = &chosen.tried else { return Ok(Self { live, tried: None }) };
        let going_on = rollout.filter(|rollout| rollout.digest() == component.digest());
        let learned = || in_charge.map_or_else(learned, |policy| policy.save());
        let follows = (going_on.map(|rollout| rollout.candidate()), false);
        let candidate = match prepare((group, at), component, setup.clone(), follows, learned) {
            Ok(candidate) => candidate,
            Err(problems) => {
                steps.cannot_try(place, component.name().as_str(), &problems.join("\n"));
                return Ok(Self { live, tried: None });
            }
        };
        // A verdict that falls from here on is the next build's to settle: until then it holds.
        let before = going_on.filter(|_| !chosen.judged);
        if before.is_none_or(|rollout| rollout.mode().as_str() != mode.as_str()) {
            steps.begun(place, chosen);
        }
        let tried = RolloutChange { candidate, live: digest, mode: *mode, before: before.cloned() };
        Ok(Self { live, tried: Some(tried) })
    }

    /// Puts them in charge.
    pub(super) fn publish(self, control: &Arc<Control>) -> InService<C> {
        (self.live.publish(), self.tried.map(|tried| tried.publish(control)))
    }
}

impl<C: Contract<Setup: PartialEq>> RolloutChange<C> {
    /// Begins it, or goes on with the one there is where the two versions are the same.
    fn publish(self, control: &Arc<Control>) -> Arc<Rollout<C>> {
        let Self { candidate, live, mode, before } = self;
        let kept = candidate.is_kept();
        let candidate = candidate.publish();
        let digest = candidate.component().digest();
        let same = before.filter(|before| {
            before.live() == live && before.digest() == digest && before.mode().as_str() == mode.as_str()
        });
        match same {
            Some(same) if kept && *same.mode() == mode => same,
            same => {
                let figures = same.map(|same| Arc::clone(same.figures())).unwrap_or_default();
                Rollout::new(candidate, live, mode, figures, Arc::clone(control))
            }
        }
    }
}

/// A group's policy in a role that is set up with a [`PolicySetup`].
struct Entry<'a> {
    policy: &'a PolicyName,
    settings: &'a Arc<str>,
    may_read: &'a Grants,
    at: &'a PolicyPlaces,
}

impl Entry<'_> {
    /// Prepares it; `of_group` are the group's first model and the policy's seed.
    fn prepare<C: Contract<Setup = PolicySetup>>(
        &self,
        place: Place<'_>,
        found: &Found,
        of_group: (&Arc<str>, u64),
        before: Before<'_, C>,
        steps: &mut Steps<'_>,
    ) -> Result<PolicyVersions<C>, Vec<String>> {
        let (group, (model, seed)) = (place.group, of_group);
        let (settings, model, may_read) = (Arc::clone(self.settings), Arc::clone(model), self.may_read.clone());
        let setup = PolicySetup { group: Some(group.name.clone()), settings, model, seed, may_read };
        let chosen = steps.choose(place, named(group, self.policy, self.at, found)?);
        PolicyVersions::prepare((place, self.at), &chosen, &setup, before, || None, steps)
    }
}

/// The router in force, and the one that is tried.
fn router(
    place: Place<'_>,
    found: &Found,
    setup: &Setup,
    steps: &mut Steps<'_>,
) -> Result<PolicyVersions<Routing>, Vec<String>> {
    let Place { group, before, .. } = place;
    let at = &*group.router.at;
    let chosen = steps.choose(place, named(group, &group.router.policy, at, found)?);
    let (in_charge, rollout) =
        (before.and_then(|before| before.router.as_ref()), before.and_then(|before| before.rollout.as_ref()));
    let control = &Arc::clone(steps.rollouts.control());
    let what = format!("what the router `{}` of the group `{}` had learned", group.router.policy, group.name);
    let learned = || control.states.found(&states::key(group), &what);
    let other = before.filter(|before| before.config.router.policy != group.router.policy);
    let of_before = Before { in_charge, rollout, renamed: other.is_some() };
    let versions = PolicyVersions::prepare((place, at), &chosen, setup, of_before, learned, steps)?;
    // It has just been asked, and may decide again one day.
    if let Some((before, state)) = other.zip(in_charge.and_then(|router| router.last_saved())) {
        control.states.keep(&states::key(&before.config), &state);
    }
    Ok(versions)
}

/// Where the configuration says so, in front of what is wrong with it.
fn placed(at: Option<&str>, problem: &str) -> String {
    at.map_or_else(|| problem.to_owned(), |at| format!("{at}: {problem}"))
}

/// Prepares a policy that stands at these places of the configuration.
///
/// # Errors
/// Everything that is wrong with it, each for itself.
fn prepare<C: Contract<Setup: PartialEq>>(
    (group, at): (&Group, &PolicyPlaces),
    component: &Arc<Component>,
    setup: C::Setup,
    follows: (Option<&Arc<PolicyRuntime<C>>>, bool),
    learned: impl FnOnce() -> Option<SavedState>,
) -> Result<PolicyChange<C>, Vec<String>> {
    let granted = granted(C::ROLE, group, component);
    granted.and_then(|()| PolicyChange::prepare(component, setup, follows, learned)).map_err(|problem| {
        let who = format!("group `{}`, policy `{}` ({})", group.name, component.name(), component.digest().short());
        match &problem {
            // Each at its own place.
            PolicyProblem::Configure(refusal) if !refusal.mistakes().is_empty() => {
                let told = refusal.mistakes().iter();
                told.map(|one| placed(at.setting(&one.pointer), &format!("{who}: {}", one.words))).collect()
            }
            problem => vec![placed(at.entry.as_deref(), &format!("{who}: {problem}"))],
        }
    })
}

/// Whether the configuration grants what a component says it needs in this role.
fn granted(role: Role, group: &Group, component: &Component) -> Result<(), PolicyProblem> {
    let granted = match role {
        Role::Router => group.router.may_reject,
        Role::PromptBuilder => group.builder.as_ref().is_some_and(|choice| choice.may_reject),
        Role::ResponseParser => group.parser.as_ref().is_some_and(|choice| choice.hold),
        Role::Provider => true,
    };
    match (component.inspection().manifest.needs(role), role.section()) {
        (Some(key), Some(section)) if !granted => {
            Err(PolicyProblem::NotGranted { key, section, group: group.name.to_string() })
        }
        _ => Ok(()),
    }
}

/// The component that a group asks for by this name.
///
/// # Errors
/// There is none; nothing is told of one whose file cannot be used, for that is.
fn named<'c>(
    group: &Group,
    asked: &PolicyName,
    at: &PolicyPlaces,
    found: &'c Found,
) -> Result<&'c Offered, Vec<String>> {
    let usable = |name: &str| found.get(name).and_then(Option::as_ref);
    let fallback = || if asked.as_str() == DEFAULT { usable(FALLBACK) } else { None };
    usable(asked.as_str()).or_else(fallback).ok_or_else(|| {
        if found.contains_key(asked.as_str()) {
            return Vec::new();
        }
        let known: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        let problem = format!(
            "group `{}`: no policy is named `{asked}`\nhint: put {asked}.wasm into the policies folder, or use one of {}",
            group.name,
            known.join(", ")
        );
        vec![placed(at.entry.as_deref(), &problem)]
    })
}
