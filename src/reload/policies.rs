//! How a group comes by a policy, whatever its role: it keeps the one it has, starts one, or has one take over from another.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Entered;
use std::sync::Arc;

use crate::catalog::{Deployment, Group, PolicyPlaces};
use crate::id::PolicyName;
use crate::policy::{
    Building, Component, Contract, DeploymentInfo, Digest, Offers, Parsing, PolicyProblem, PolicyRuntime, PolicySetup,
    ProviderSetup, Providing, Role, Routing, Setup, Succession,
};
use crate::rollout::{Control, Mode, Rollout};
use crate::signal::Grants;
use crate::snapshot::{DeploymentRuntime, GroupRuntime, SpokenFormat};

use super::found::{Found, named};
use super::learned::{Learned, tell_untaken};
use super::rollouts::{Chosen, Place, Steps};
use super::setting_up::{Mendable, prepare};

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
    /// Prepares it, aside of the one it follows. `offers` is told whether it follows none, or another policy (`renamed`), and gives what it
    /// may begin with beside what that one knows. Blocks.
    ///
    /// # Errors
    /// It cannot be set up so.
    pub(super) fn prepare(
        component: &Arc<Component>,
        setup: C::Setup,
        (before, renamed): (Option<&Arc<PolicyRuntime<C>>>, bool),
        offers: impl FnOnce(bool) -> Offers,
    ) -> Result<Self, PolicyProblem> {
        // The same bytes under another name are another policy.
        let is_same = |kept: &Component| kept.digest() == component.digest() && kept.name() == component.name();
        match before {
            Some(policy) if is_same(policy.component()) && *policy.setup() == setup => {
                Ok(Self::Keep(Arc::clone(policy)))
            }
            Some(policy) => {
                Succession::prepare(Arc::clone(component), setup, policy, offers(renamed)).map(Self::Replace)
            }
            None => PolicyRuntime::start_from(Arc::clone(component), setup, offers(true)).map(Self::Start),
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

    /// The policy, which is not in charge yet where it is a new one.
    pub(super) const fn policy(&self) -> &Arc<PolicyRuntime<C>> {
        match self {
            Self::Keep(policy) | Self::Start(policy) => policy,
            Self::Replace(succession) => succession.successor(),
        }
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

impl GroupPolicies {
    /// Prepares them. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong with any that cannot be set up; nothing where that is told already.
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
        let model: Arc<str> = group.deployments.first().map_or("", |deployment| &deployment.model).into();
        let router = router(place(Role::Router), found, &setup, steps);
        let builder = builder(place(Role::PromptBuilder), found, (&model, seed), steps);
        let parser = parser(place(Role::ResponseParser), found, (&model, seed), steps);
        let providers = providers(place(Role::Provider), found, seed, steps);
        let mut problems = Vec::new();
        let (router, builder) = (good(router, &mut problems), good(builder, &mut problems));
        let (parser, providers) = (good(parser, &mut problems), good(providers, &mut problems));
        match (router, builder, parser, providers) {
            (Some(router), Some(builder), Some(parser), Some(providers)) => {
                Ok(Self { router, builder, parser, providers })
            }
            _ => Err(problems),
        }
    }

    /// Whether all are the ones that the group has now, in charge and tried.
    pub(super) fn are_kept(&self, before: &GroupRuntime) -> bool {
        let Self { router, builder, parser, providers } = self;
        router.are_kept(before.rollout.as_ref())
            && builder.as_ref().is_none_or(|builder| builder.are_kept(before.builder_rollout.as_ref()))
            && parser.as_ref().is_none_or(|parser| parser.are_kept(before.parser_rollout.as_ref()))
            && providers.iter().flatten().all(PolicyChange::is_kept)
    }
}

impl<C: Contract<Setup: Mendable>> PolicyVersions<C> {
    /// Prepares the versions that were chosen. Where the folder's is to replace the one in force and cannot be set up, that is told, and what
    /// decides goes on.
    ///
    /// # Errors
    /// The version in force cannot be set up so.
    fn prepare(
        (place, at): (Place<'_>, &PolicyPlaces),
        chosen: Chosen,
        setup: &C::Setup,
        before: &Before<'_, C>,
        learned: Option<Learned<'_>>,
        steps: &mut Steps<'_>,
    ) -> Result<Self, Vec<String>> {
        let problems = match Self::set_up((place, at), &chosen, setup, before, learned, steps) {
            Ok(versions) if versions.tried.is_some() => return Ok(versions),
            Ok(versions) => {
                let Some(kept) = steps.take_back_order(place, chosen) else { return Ok(versions) };
                drop(versions);
                return Self::set_up((place, at), &kept, setup, before, learned, steps);
            }
            Err(problems) => problems,
        };
        let Some(kept) = steps.take_back(place, chosen) else { return Err(problems) };
        // Where the one in force takes these settings no more either, it is the configuration that has to be mended.
        let Ok(versions) = Self::set_up((place, at), &kept, setup, before, learned, steps) else {
            return Err(problems);
        };
        steps.cannot_replace(place, kept.live.digest(), &problems.join("\n"));
        Ok(versions)
    }

    /// Sets these versions up. One that cannot be tried is told, and the one in force decides.
    ///
    /// # Errors
    /// The version in force cannot be set up so.
    fn set_up(
        (place, at): (Place<'_>, &PolicyPlaces),
        chosen: &Chosen,
        setup: &C::Setup,
        &Before { in_charge, rollout, renamed }: &Before<'_, C>,
        learned: Option<Learned<'_>>,
        steps: &mut Steps<'_>,
    ) -> Result<Self, Vec<String>> {
        let (group, digest) = (place.group, chosen.live.digest());
        // A version that was tried has learned all along: it follows itself.
        let promoted = rollout.filter(|rollout| rollout.digest() == digest).map(|rollout| rollout.candidate());
        let follows = (promoted.or(in_charge), renamed);
        let offers = |follows_none, gone_back_to| {
            learned.map_or_else(Offers::default, |learned| learned.offers(follows_none, gone_back_to))
        };
        let of_live = |follows_none| offers(follows_none, chosen.gone_back_to);
        let live = prepare((group, at), &chosen.live, setup.clone(), follows, of_live)?;
        tell_untaken(group, &live, learned, learned.map_or("nothing is kept in its role", |learned| learned.rest()));
        let Some((component, mode)) = &chosen.tried else { return Ok(Self { live, tried: None }) };
        let going_on = rollout.filter(|rollout| rollout.digest() == component.digest());
        let of_tried = |follows_none: bool| match in_charge.filter(|_| follows_none) {
            Some(policy) => Offers { own: policy.save(), ..offers(false, false) },
            None => offers(follows_none, false),
        };
        let follows = (going_on.map(|rollout| rollout.candidate()), false);
        let candidate = match prepare((group, at), component, setup.clone(), follows, of_tried) {
            Ok(candidate) => candidate,
            Err(problems) => {
                steps.cannot_try(place, component.name().as_str(), &problems.join("\n"));
                return Ok(Self { live, tried: None });
            }
        };
        tell_untaken(group, &candidate, learned, "the version in force goes on with it");
        // A verdict that falls from here on is the next build's to settle: until then it holds.
        let before = going_on.filter(|_| !chosen.judged);
        if before.is_none_or(|rollout| rollout.mode().as_str() != mode.as_str()) {
            steps.begun(place, chosen);
        }
        let tried = RolloutChange { candidate, live: digest, mode: *mode, before: before.cloned() };
        Ok(Self { live, tried: Some(tried) })
    }

    /// Whether the one in force stays, and what is tried goes on as it is: nothing, where nothing is.
    fn are_kept(&self, rollout: Option<&Arc<Rollout<C>>>) -> bool {
        let tried = self.tried.as_ref().map_or(rollout.is_none(), RolloutChange::is_kept);
        self.live.is_kept() && tried
    }

    /// Puts them in charge.
    pub(super) fn publish(self, control: &Arc<Control>) -> InService<C> {
        (self.live.publish(), self.tried.map(|tried| tried.publish(control)))
    }
}

impl<C: Contract<Setup: PartialEq>> RolloutChange<C> {
    /// Whether it goes on as it is.
    fn is_kept(&self) -> bool {
        let goes_on = |before: &Arc<Rollout<C>>| before.live() == self.live && *before.mode() == self.mode;
        self.candidate.is_kept() && self.before.as_ref().is_some_and(goes_on)
    }

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
        before: &Before<'_, C>,
        steps: &mut Steps<'_>,
    ) -> Result<PolicyVersions<C>, Vec<String>> {
        let (group, (model, seed)) = (place.group, of_group);
        let (settings, model, may_read) = (Arc::clone(self.settings), Arc::clone(model), self.may_read.clone());
        let setup = PolicySetup { group: Some(group.name.clone()), settings, model, seed, may_read };
        let chosen = steps.choose(place, named(&place, self.policy, self.at, found)?);
        PolicyVersions::prepare((place, self.at), chosen, &setup, before, None, steps)
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
    let chosen = steps.choose(place, named(&place, &group.router.policy, at, found)?);
    let (in_charge, rollout) =
        (before.and_then(|before| before.router.as_ref()), before.and_then(|before| before.rollout.as_ref()));
    let control = Arc::clone(steps.rollouts.control());
    let learned = Learned::new(&control.states, group);
    let renamed = before.is_some_and(|before| before.config.router.policy != group.router.policy);
    let of_before = Before { in_charge, rollout, renamed };
    let left = chosen.left;
    let versions = PolicyVersions::prepare((place, at), chosen, setup, &of_before, Some(learned), steps)?;
    learned.keep(before, versions.live.policy(), left);
    Ok(versions)
}

/// What was prepared; where it could not be, what is wrong is told with all else.
fn good<T>(prepared: Result<T, Vec<String>>, problems: &mut Vec<String>) -> Option<T> {
    match prepared {
        Ok(prepared) => Some(prepared),
        Err(told) => {
            for problem in told {
                // Deployments of a group that name one policy may share its faults.
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            None
        }
    }
}

/// The prompt builder in force, and the one that is tried, where the group has one.
fn builder(
    place: Place<'_>,
    found: &Found,
    of_group: (&Arc<str>, u64),
    steps: &mut Steps<'_>,
) -> Result<Option<PolicyVersions<Building>>, Vec<String>> {
    let Place { group, before, .. } = place;
    let Some(choice) = &group.builder else { return Ok(None) };
    let entry =
        Entry { policy: &choice.policy, settings: &choice.settings, may_read: &choice.may_read, at: &choice.at };
    let before = Before {
        in_charge: before.and_then(|group| group.builder.as_ref()),
        rollout: before.and_then(|group| group.builder_rollout.as_ref()),
        renamed: false,
    };
    entry.prepare(place, found, of_group, &before, steps).map(Some)
}

/// The response parser in force, and the one that is tried, where the group has one.
fn parser(
    place: Place<'_>,
    found: &Found,
    of_group: (&Arc<str>, u64),
    steps: &mut Steps<'_>,
) -> Result<Option<PolicyVersions<Parsing>>, Vec<String>> {
    let Place { group, before, .. } = place;
    let Some(choice) = &group.parser else { return Ok(None) };
    let entry =
        Entry { policy: &choice.policy, settings: &choice.settings, may_read: &choice.may_read, at: &choice.at };
    let before = Before {
        in_charge: before.and_then(|group| group.parser.as_ref()),
        rollout: before.and_then(|group| group.parser_rollout.as_ref()),
        renamed: false,
    };
    entry.prepare(place, found, of_group, &before, steps).map(Some)
}

/// What speaks to the providers of the deployments, one for each in their order. Where the folder's version of one is to replace the one in
/// force and cannot be set up, that is told, and what speaks goes on.
fn providers(
    place: Place<'_>,
    found: &Found,
    seed: u64,
    steps: &mut Steps<'_>,
) -> Result<Vec<Option<PolicyChange<Providing>>>, Vec<String>> {
    let mut speakers = Speakers { place, found, seed, versions: BTreeMap::new(), failed: BTreeMap::new() };
    let problems = match speakers.all(steps) {
        Ok(all) => return Ok(all),
        Err(problems) => problems,
    };
    let Some(kept) = speakers.take_back(steps) else { return Err(problems) };
    let Ok(all) = speakers.all(steps) else { return Err(problems) };
    for (live, problem) in kept {
        steps.cannot_replace(place, live, &problem);
    }
    Ok(all)
}

/// What speaks to the providers of a group's deployments.
struct Speakers<'a> {
    place: Place<'a>,
    found: &'a Found,
    seed: u64,
    /// One version for all deployments of the group that name it.
    versions: BTreeMap<PolicyName, Chosen>,
    /// What is wrong with those that cannot be set up, by their settings. One that loops costs its whole time at each start, and hundreds of
    /// deployments may name it: nothing else is built meanwhile.
    failed: BTreeMap<(Digest, Arc<str>), Vec<String>>,
}

impl Speakers<'_> {
    /// One for each deployment. A component that fails is told where it is named first: with the same settings it is not tried again.
    fn all(&mut self, steps: &mut Steps<'_>) -> Result<Vec<Option<PolicyChange<Providing>>>, Vec<String>> {
        let group = self.place.group;
        let (mut all, mut problems, mut whole) = (Vec::new(), Vec::new(), true);
        for deployment in &group.deployments {
            match self.of(deployment, steps) {
                Ok(policy) => all.push(policy),
                Err(told) => {
                    whole = false;
                    problems.extend(told);
                }
            }
        }
        if whole { Ok(all) } else { Err(problems) }
    }

    fn of(
        &mut self,
        deployment: &Deployment,
        steps: &mut Steps<'_>,
    ) -> Result<Option<PolicyChange<Providing>>, Vec<String>> {
        let Place { group, before, .. } = self.place;
        let Some(choice) = &deployment.policy else { return Ok(None) };
        let model = Arc::clone(&deployment.model);
        let (name, settings) = (Some(group.name.clone()), Arc::clone(&choice.settings));
        let setup = ProviderSetup { group: name, settings, model, seed: self.seed };
        let runtimes = before.map_or(&[] as &[Arc<DeploymentRuntime>], |group| &group.deployments);
        let before = runtimes.iter().find(|runtime| runtime.config.id == deployment.id);
        let before = before.and_then(|runtime| match &runtime.format {
            SpokenFormat::Component(format) => Some(format.policy()),
            SpokenFormat::Native(_) => None,
        });
        let component = match self.versions.entry(choice.policy.clone()) {
            Entered::Occupied(chosen) => Arc::clone(&chosen.get().live),
            Entered::Vacant(free) => {
                let file = named(&self.place, &choice.policy, &choice.at, self.found)?;
                Arc::clone(&free.insert(steps.choose(self.place, file)).live)
            }
        };
        let of_it = (component.digest(), Arc::clone(&choice.settings));
        if self.failed.contains_key(&of_it) {
            return Err(Vec::new());
        }
        let prepared = prepare((group, &choice.at), &component, setup, (before, false), |_| Offers::default());
        let prepared = prepared.inspect_err(|told| {
            self.failed.insert(of_it, told.clone());
        })?;
        tell_untaken(group, &prepared, None, "nothing is kept in its role");
        Ok(Some(prepared))
    }

    /// Goes back to the versions in force of all whose folder's version failed: each with what is wrong with that. Nothing where none failed, or
    /// nothing of one goes on.
    fn take_back(&mut self, steps: &mut Steps<'_>) -> Option<Vec<(Digest, String)>> {
        let mut kept = Vec::new();
        for (name, chosen) in std::mem::take(&mut self.versions) {
            let refused = chosen.live.digest();
            let failed = self.failed.iter().filter(|((digest, _), _)| *digest == refused);
            let told: Vec<&str> = failed.flat_map(|(_, told)| told).map(String::as_str).collect();
            if told.is_empty() {
                self.versions.insert(name, chosen);
                continue;
            }
            let instead = steps.take_back(self.place, chosen)?;
            kept.push((instead.live.digest(), told.join("\n")));
            self.versions.insert(name, instead);
        }
        if kept.is_empty() { None } else { Some(kept) }
    }
}
