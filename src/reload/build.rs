//! Building a snapshot aside: everything that can fail happens here, before anything is changed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use sha2::{Digest as _, Sha256};

use crate::authorization::Authorization;
use crate::budgets::{Budgets, Change};
use crate::catalog::{Deployment, Group, Origin};
use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::limits::{LimitSpec, Limits, Scope};
use crate::moment::Moment;
use crate::policy::{ComponentFormat, Engine};
use crate::provider::simulated::Simulated;
use crate::rollout::Compiling;
use crate::seed;
use crate::signal::Attribute;
use crate::snapshot::{Callers, DeploymentRuntime, GroupRuntime, Payers, Snapshot, SpokenFormat, Wildcards};
use crate::upstream::Upstream;

use super::accounts::Accounts;
use super::breakers::rules;
use super::components::Components;
use super::folder::{self, Contents};
use super::limit_specs::specs;
use super::policies::GroupPolicies;
use super::rollouts::{RolloutDraft, Rollouts, Steps};
use super::states::{forget_old, restore_limits};
use super::unused::Unused;
use super::{ConfigSource, PolicySource, SharedState, Sources};
use super::{embeddings, found, payers, pools};

/// The folder of policies where nothing names one.
const POLICIES: &str = "policies";

/// How long a removed deployment's limits are remembered: longer than any request under way lasts.
const LONGEST_REQUEST: Duration = Duration::from_secs(2 * 3600);

/// Reads an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What carries requests to providers.
pub struct Providers {
    /// Over the network.
    pub http: Arc<dyn Upstream>,
    /// Inside this process.
    pub simulated: Simulated,
}

/// Builds snapshots from the same sources, again and again.
pub struct Builder {
    sources: Sources,
    environment: Environment,
    shared: Arc<SharedState>,
    providers: Providers,
    seed: u64,
    pub(super) components: Components,
    /// What the gateway listens on, from the first configuration that could be read.
    address: Option<(IpAddr, u16)>,
    /// Limits of deployments that are configured no more, and since when: requests that began before still ask.
    retired: BTreeMap<Scope, (LimitSpec, Moment)>,
    /// The limits the last published snapshot gave.
    in_force: BTreeMap<Scope, LimitSpec>,
    /// The files that the configuration includes.
    included: Vec<PathBuf>,
    /// The folder of policies, where they come from one.
    policies: Option<PathBuf>,
    accounts: Accounts,
    models: embeddings::Loaded,
    pub(super) rollouts: Rollouts,
    /// Whether the last build lacked a component that is being compiled.
    is_put_off: bool,
    unused: Unused,
}

/// A snapshot that is ready but not in force.
pub struct Draft {
    settings: Arc<Settings>,
    groups: Vec<Prepared>,
    models: embeddings::Models,
    specs: BTreeMap<Scope, LimitSpec>,
    problems: Vec<String>,
    fingerprint: [u8; 32],
    rollouts: RolloutDraft,
}

struct Prepared {
    group: Arc<Group>,
    /// One for each deployment, in their order.
    authorizations: Vec<Authorization>,
    policies: GroupPolicies,
}

impl Builder {
    /// A builder that has loaded nothing yet. `seed` is the parent of every router's own.
    #[must_use]
    pub fn new(
        engine: Engine,
        sources: Sources,
        environment: Environment,
        shared: Arc<SharedState>,
        providers: Providers,
        seed: u64,
    ) -> Self {
        let policies = match &sources.policies {
            PolicySource::Folder(folder) => Some(folder.clone()),
            PolicySource::Configured => Some(PathBuf::from(POLICIES)),
            PolicySource::Memory(_) => None,
        };
        Self {
            rollouts: Rollouts::new(Arc::clone(&shared.rollouts)),
            sources,
            environment,
            shared,
            providers,
            seed,
            components: Components::new(engine),
            address: None,
            retired: BTreeMap::new(),
            in_force: BTreeMap::new(),
            included: Vec::new(),
            policies,
            accounts: Accounts::default(),
            models: embeddings::Loaded::default(),
            is_put_off: false,
            unused: Unused::default(),
        }
    }

    /// Reads the configuration, once: what is checked is what is remembered by its digest.
    ///
    /// # Errors
    /// All problems of the configuration.
    fn settings(&mut self, problems: &mut Vec<String>) -> Result<(Settings, [u8; 32]), Vec<String>> {
        let environment = |name: &str| (self.environment)(name);
        let (loaded, text) = match &self.sources.config {
            ConfigSource::File(path) => {
                let file = path.display().to_string();
                let text = folder::read_text(path).map_err(|fault| vec![format!("{file}: cannot be read: {fault}")])?;
                let (included, read) = (RefCell::new(Vec::new()), RefCell::new(text.clone()));
                let open = |path: &Path| {
                    // Watched also where it cannot be read: it may be written later.
                    included.borrow_mut().push(path.to_owned());
                    let text = folder::read_text(path).map_err(|fault| fault.to_string())?;
                    *read.borrow_mut() += &text;
                    Ok(text)
                };
                let loaded = config::parse_with(&text, &file, &environment, &open);
                self.included = included.into_inner();
                (loaded, read.into_inner())
            }
            ConfigSource::Text(text) => (config::parse(text, "(given)", &environment), text.to_string()),
            ConfigSource::BuiltIn => (config::builtin(&environment), String::new()),
        };
        let told = |found: config::Problems| found.iter().map(ToString::to_string).collect::<Vec<_>>();
        let config::Loaded { mut settings, left_out, report } = loaded.map_err(told)?;
        self.unused.tell(&report);
        problems.extend(left_out.iter().map(|problem| format!("left out: {problem}")));
        if let Some(adjust) = &self.sources.adjust {
            (adjust.0)(&mut settings);
        }
        let server = &mut settings.server;
        server.host = self.sources.host.unwrap_or(server.host);
        server.port = self.sources.port.unwrap_or(server.port);
        let (host, port) = *self.address.get_or_insert((server.host, server.port));
        if (server.host, server.port) != (host, port) {
            // The socket is bound once, so what it is reachable from is decided by the first configuration.
            problems.push(format!("`host` and `port` stay {host} and {port} until the gateway is started again"));
            (server.host, server.port) = (host, port);
        }
        if !host.is_loopback() && !settings.asks_for_keys() {
            return Err(vec![format!(
                "{host} is reachable from other machines and no key is configured\nhint: set `general_settings.master_key`, or serve 127.0.0.1"
            )]);
        }
        self.policies = match &self.sources.policies {
            PolicySource::Folder(folder) => Some(folder.clone()),
            PolicySource::Configured => Some(settings.policies.dir.clone().unwrap_or_else(|| PathBuf::from(POLICIES))),
            PolicySource::Memory(_) => None,
        };
        Ok((settings, Sha256::digest(&text).into()))
    }

    /// What may be spent.
    pub(super) fn budgets(&self) -> Arc<Budgets> {
        Arc::clone(&self.shared.budgets)
    }

    /// What is reserved and used.
    pub(super) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// The files of the configuration: the one that was named, and those it includes as it was read last.
    pub fn config(&self) -> impl Iterator<Item = &Path> {
        let named = match &self.sources.config {
            ConfigSource::File(path) => Some(path),
            ConfigSource::BuiltIn | ConfigSource::Text(_) => None,
        };
        named.into_iter().chain(&self.included).map(PathBuf::as_path)
    }

    /// The folder of policies, as the last configuration that could be read names it; `None` where they come from memory.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.policies.as_deref()
    }

    /// Builds everything `previous` would be replaced by. Blocks for as long as compiling takes; where a [`super::Reloader`] has components
    /// compiled aside, for a moment only.
    ///
    /// # Errors
    /// Every reason why it cannot be put in force.
    pub fn build(&mut self, previous: Option<&Snapshot>) -> Result<Draft, Vec<String>> {
        let mut rollouts = self.rollouts.begin();
        self.is_put_off = false;
        self.components.take_in();
        let built = self.draft(previous, &mut rollouts);
        self.rollouts.control().set_compiling(self.components.coming().cloned().collect());
        match built {
            Ok(draft) => Ok(Draft { rollouts, ..draft }),
            Err(mut problems) => {
                problems.append(&mut rollouts.problems);
                if self.is_put_off {
                    problems.extend(self.components.coming().filter(|one| !one.goes_on).map(lacks));
                }
                rollouts.refuse(&problems);
                Err(problems)
            }
        }
    }

    fn draft(&mut self, previous: Option<&Snapshot>, rollouts: &mut RolloutDraft) -> Result<Draft, Vec<String>> {
        self.accounts.begin();
        let mut problems = Vec::new();
        let (settings, fingerprint) = self.settings(&mut problems)?;
        self.rollouts.open(settings.state_dir.clone(), self.sources.state.clone(), rollouts);
        rollouts.start_from(&self.rollouts);
        let locked = self.sources.locked || !settings.server.host.is_loopback();
        let contents = match (&self.sources.policies, &self.policies) {
            (PolicySource::Memory(given), _) => {
                given.iter().map(|(name, bytes)| (name.clone(), Ok(bytes.clone()))).collect()
            }
            (_, Some(folder)) => folder::read(folder, locked).map_err(|problem| vec![problem])?,
            (_, None) => Contents::new(),
        };
        let models = self.models.of(&settings)?;
        let found = found::load(&mut self.components, &settings, &contents, (previous, &self.rollouts), &mut problems);
        self.is_put_off = found.is_lacking;
        let mut groups = Vec::new();
        for group in settings.catalog.groups.values() {
            let authorizations = group.deployments.iter().map(|deployment| self.authorization(deployment)).collect();
            let before = previous.and_then(|snapshot| snapshot.groups.get(&group.name));
            let seed = seed::derive(self.seed, stable_hash(group.name.as_str()));
            let mut steps = Steps { rollouts: &self.rollouts, components: &mut self.components, draft: &mut *rollouts };
            match (GroupPolicies::prepare(group, &found, before, seed, &mut steps), authorizations) {
                (Ok(policies), Ok(authorizations)) => {
                    groups.push(Prepared { group: Arc::clone(group), authorizations, policies });
                }
                (policies, authorizations) => {
                    problems.extend(policies.err().into_iter().flatten().chain(authorizations.err()));
                }
            }
        }
        if groups.len() < settings.catalog.groups.len() {
            return Err(problems);
        }
        rollouts.finish(&contents, previous);
        problems.append(&mut rollouts.problems);
        let (specs, rollouts) = (specs(&settings), RolloutDraft::default());
        Ok(Draft { settings: Arc::new(settings), groups, models, specs, problems, fingerprint, rollouts })
    }

    fn authorization(&mut self, deployment: &Deployment) -> Result<Authorization, String> {
        let Some(identity) = &deployment.identity else { return Authorization::by_key(deployment) };
        let authorizer = self.accounts.authorizer(identity);
        authorizer.map(Authorization::PerRequest).map_err(|why| format!("deployment `{}`: {why}", deployment.id))
    }

    /// Puts a draft in force: nothing in here can fail. `change` is one of its budgets, which is over once requests find the snapshot.
    #[must_use]
    pub fn publish(&mut self, change: &Change<'_>, draft: Draft, generation: u64, clock: Clock) -> Snapshot {
        let Draft { settings, groups, models, specs, fingerprint, rollouts, .. } = draft;
        let now = clock.now();
        self.retire(&specs, now);
        let (shared, limits) = (&self.shared, &self.shared.limits);
        let teams = settings.payers.teams.keys().cloned().collect();
        shared.keys.apply(now, &settings.payers.keys, teams, specs.into_iter().chain(self.retired()).collect());
        // What was spent is waited for: budgets that are set from here on know of nothing that ended meanwhile.
        let (now, spending) = (clock.now(), &settings.payers);
        let payers = Payers::new(spending, limits, change, now);
        if generation == 1 {
            restore_limits(&self.shared.rollouts.states, limits, &self.shared.learned, now);
            forget_old(&self.shared.rollouts.states, groups.iter().map(|prepared| &*prepared.group), now);
        }
        self.shared.health.apply(&rules(&settings));
        let simulated_models =
            groups.iter().flat_map(|prepared| &prepared.group.deployments).filter_map(|deployment| {
                let Origin::Simulated(model) = &deployment.origin else { return None };
                Some((deployment.id.clone(), Arc::clone(model)))
            });
        let simulated: Arc<dyn Upstream> = Arc::new(self.providers.simulated.with_models(simulated_models.collect()));
        let together = settings.global_limits.limits_anything();
        let queues = pools::queues(groups.iter().map(|prepared| &*prepared.group), together);
        let groups = groups.into_iter().map(|prepared| {
            let group = prepared.group;
            let GroupPolicies { router, builder, parser, providers } = prepared.policies;
            let control = self.rollouts.control();
            let (router, rollout) = router.publish(control);
            let (builder, builder_rollout) = builder.map(|builder| builder.publish(control)).unzip();
            let (parser, parser_rollout) = parser.map(|parser| parser.publish(control)).unzip();
            let runtimes = group.deployments.iter().zip(prepared.authorizations).zip(providers);
            let deployments = runtimes.map(|((deployment, authorization), provider)| {
                let (transport, base_url) = match &deployment.origin {
                    Origin::Http(base) => (&self.providers.http, Arc::clone(base)),
                    Origin::Simulated(_) => (&simulated, Simulated::origin(&deployment.id).into()),
                };
                Arc::new(DeploymentRuntime {
                    config: Arc::clone(deployment),
                    format: match provider {
                        Some(policy) => {
                            SpokenFormat::Component(ComponentFormat::new(policy.publish(), deployment.format))
                        }
                        None => SpokenFormat::Native(deployment.format),
                    },
                    transport: Arc::clone(transport),
                    base_url,
                    authorization,
                    health: shared.health.of(&deployment.id),
                    scope: limits.id(&deployment.scope),
                    budgets: payers::of_deployment(change, spending, deployment, now),
                    learned: shared.learned.of(&deployment.id),
                    learned_of_model: shared.learned.of_model(&group.name, &deployment.model),
                })
            });
            let component = router.component();
            let runtime = GroupRuntime {
                policy: component.label().into(),
                router: Some(router.clone()),
                rollout,
                builder,
                builder_rollout: builder_rollout.flatten(),
                parser,
                parser_rollout: parser_rollout.flatten(),
                judge: payers::of_judge(change, &group, limits.id(&Scope::Global), now).map(Arc::new),
                embedding: embeddings::of_group(change, (&*settings, &models), &group, limits.id(&Scope::Global), now),
                deployments: deployments.collect(),
                scope: limits.id(&Scope::Group(group.name.clone())),
                budgets: payers::of_group(change, spending, &group.name, now),
                queue: self.shared.queue(queues.get(&group.name).unwrap_or(&group.name)),
                config: Arc::clone(&group),
            };
            (group.name.clone(), Arc::new(runtime))
        });
        let groups: BTreeMap<_, Arc<GroupRuntime>> = groups.collect();
        change.read();
        let callers = Callers::new(limits.id(&Scope::Global), Arc::clone(&shared.keys));
        let (headers_read, wildcards) = (headers_read(groups.values()), Wildcards::of(&groups));
        self.rollouts.commit(rollouts, generation, now);
        let rollouts = Arc::clone(&self.shared.rollouts);
        Snapshot { generation, settings, groups, wildcards, callers, payers, headers_read, fingerprint, rollouts }
    }
}

impl Builder {
    /// Keeps what a draft that changes nothing says of versions all the same: which file was seen, though it cannot be tried, and what
    /// orders came to.
    pub fn settle(&mut self, draft: Draft, generation: u64, now: Moment) {
        self.rollouts.commit(draft.rollouts, generation, now);
        self.shared.rollouts.in_force();
    }

    /// Looks at what the last build found in the folder and nobody names, and tells what is wrong with it. Blocks for as long as
    /// compiling takes.
    pub fn check_unnamed(&mut self) -> Vec<String> {
        self.components.check_unnamed()
    }

    /// Whether the last build failed for want of a component that is being compiled: it is worth another one when that is done.
    pub(super) const fn is_put_off(&self) -> bool {
        self.is_put_off
    }

    /// Remembers the limits of what `specs` no longer names, for as long as a request may last.
    fn retire(&mut self, specs: &BTreeMap<Scope, LimitSpec>, now: Moment) {
        let before = std::mem::replace(&mut self.in_force, specs.clone());
        let gone = before.into_iter().filter(|(scope, _)| !specs.contains_key(scope));
        self.retired.extend(gone.map(|(scope, spec)| (scope, (spec, now))));
        self.retired.retain(|scope, (_, since)| !specs.contains_key(scope) && now.since(*since) < LONGEST_REQUEST);
    }

    fn retired(&self) -> impl Iterator<Item = (Scope, LimitSpec)> {
        self.retired.iter().map(|(scope, (spec, _))| (scope.clone(), spec.clone()))
    }
}

impl Draft {
    /// What is wrong without keeping the draft from being put in force: policy files nobody needs yet, or
    /// whose predecessors go on.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Whether putting it in force would change anything that `current` serves, or tells of versions. One that changes nothing is
    /// handed to [`Builder::settle`].
    #[must_use]
    pub fn changes(&self, current: &Snapshot) -> bool {
        let kept = |prepared: &Prepared| {
            current.groups.get(&prepared.group.name).is_some_and(|before| prepared.policies.are_kept(before))
        };
        !self.groups.iter().all(kept) || self.rollouts.changes() || self.fingerprint != current.fingerprint
    }
}

/// What is told of a component that a build lacks.
fn lacks(coming: &Compiling) -> String {
    format!("policy `{}` ({}): it is still being compiled", coming.policy, coming.digest.short())
}

/// The headers that the policies of these groups read.
fn headers_read<'a>(groups: impl Iterator<Item = &'a Arc<GroupRuntime>>) -> Vec<HeaderName> {
    let mut headers = Vec::new();
    for attribute in groups.flat_map(|group| group.attributes_read()) {
        if let Attribute::Header(name) = attribute
            && !headers.contains(name)
        {
            headers.push(name.clone());
        }
    }
    headers
}

/// The same number for the same text in every process.
fn stable_hash(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}
