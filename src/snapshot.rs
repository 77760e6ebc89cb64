//! One snapshot per request: configuration, catalogue and policies as one immutable value.
//!
//! A request reads the live snapshot once and keeps it to its end. What must outlive a snapshot (limits,
//! health, queues, learned state) is only referred to from here and found again by name at the next build.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderName;

use crate::authorization::Authorization;
use crate::budgets::BudgetId;
use crate::catalog::{Deployment, Group};
use crate::config::{Alias, Settings};
use crate::format::ProviderFormat;
use crate::health::Health;
use crate::id::{GroupName, KeyId, RequestId, TeamId};
use crate::keys::KeyBook;
use crate::limits::{Learned, ScopeId};
use crate::moment::Moment;
use crate::policy::{
    Building, Component, ComponentFormat, Parsing, PolicyReport, PromptBuilder, ProviderPolicy, ResponseParser, Role,
    Router,
};
use crate::queue::Queue;
use crate::rollout::{Control, Rollout, Trial};
use crate::sentences::Sentences;
use crate::signal::Attribute;
use crate::upstream::Upstream;
use crate::virtual_key::VirtualKey;

mod payers;
mod recent;
mod wildcards;

pub use payers::{Payer, Payers, Team};
pub use wildcards::Wildcards;

/// Everything a request needs to know, frozen.
pub struct Snapshot {
    /// Counts applied builds from 1.
    pub generation: u64,
    /// What the configuration says.
    pub settings: Arc<Settings>,
    /// The groups, ready to serve.
    pub groups: BTreeMap<GroupName, Arc<GroupRuntime>>,
    /// How the groups are found whose names are patterns.
    pub wildcards: Wildcards,
    /// The callers it knows.
    pub callers: Callers,
    /// Who pays for requests beside their keys.
    pub payers: Payers,
    /// The headers of requests that some policy reads; no other outlives the reading of its request.
    pub headers_read: Vec<HeaderName>,
    /// Digest of the configuration's text: a build that changes nothing is recognised by it.
    pub fingerprint: [u8; 32],
    /// Orders about versions of policies, and what has happened to them.
    pub rollouts: Arc<Control>,
}

impl Snapshot {
    /// The group that serves `model`, aliases resolved. One whose name is a pattern has its deployments' models filled in; it serves
    /// what nobody gave a name of its own.
    #[must_use]
    pub fn group(&self, model: &str) -> Option<Cow<'_, Arc<GroupRuntime>>> {
        let model = self.alias(model).map_or(model, |alias| alias.group.as_str());
        self.exact(model).map(Cow::Borrowed).or_else(|| self.wildcards.find(&self.groups, model).map(Cow::Owned))
    }

    /// The alias of this name. It stands above a group that has the name, as in LiteLLM: whoever asks for that is led elsewhere.
    #[must_use]
    pub fn alias(&self, model: &str) -> Option<&Alias> {
        self.settings.aliases.get(model)
    }

    fn exact(&self, model: &str) -> Option<&Arc<GroupRuntime>> {
        self.groups.get(model).filter(|group| group.config.pattern.is_none())
    }
}

/// The caller of a request, as far as limits, policies and records need to know it.
#[derive(Debug)]
pub struct Caller {
    /// What tells the key that was shown from others; never the key.
    pub key: KeyId,
    /// The name of the key for people and policies.
    pub name: Arc<str>,
    /// The team the key belongs to.
    pub team: Option<TeamId>,
    /// What each of its requests counts in, whatever the request is.
    pub scopes: Vec<ScopeId>,
    /// The budgets of its own that each of its requests counts in.
    pub budgets: Vec<BudgetId>,
    /// The virtual key that was shown, where it was one.
    pub virtual_key: Option<Arc<VirtualKey>>,
}

impl Caller {
    /// One that has no virtual key, whose requests count in `global` and in these budgets.
    #[must_use]
    pub fn own(key: KeyId, global: ScopeId, budgets: Vec<BudgetId>) -> Self {
        let name = key.as_str().into();
        Self { key, name, team: None, scopes: vec![global], budgets, virtual_key: None }
    }
}

/// The callers there are.
#[derive(Debug)]
pub struct Callers {
    /// Everybody, where no key is configured.
    pub anonymous: Arc<Caller>,
    /// Whoever shows the master key.
    pub master: Arc<Caller>,
    /// Whoever shows the admin key.
    pub admin: Arc<Caller>,
    /// Whoever shows a virtual key.
    pub keys: Arc<KeyBook>,
}

impl Callers {
    /// The callers of a gateway in which all requests count in `global`.
    #[must_use]
    pub fn new(global: ScopeId, keys: Arc<KeyBook>) -> Self {
        let caller = |name: &str| Arc::new(Caller::own(KeyId::from(name), global, Vec::new()));
        Self { anonymous: caller("anonymous"), master: caller("master"), admin: caller("admin"), keys }
    }
}

/// Where the routers of a group get the vectors of questions from.
#[derive(Debug)]
pub struct Embedding {
    /// What makes them.
    pub maker: EmbeddingMaker,
    /// How long a decision waits for one.
    pub timeout: Duration,
    /// What tells its vectors from those of other sources.
    pub fingerprint: [u8; 32],
}

/// What makes vectors.
#[derive(Debug)]
pub enum EmbeddingMaker {
    /// A group whose deployments answer requests for vectors.
    Group {
        /// The name it is asked by.
        group: GroupName,
        /// Who pays.
        account: Arc<Caller>,
    },
    /// A model in this process.
    Folder(Arc<Sentences>),
}

/// A group at run time: what decides and what is known about it.
#[derive(Debug)]
pub struct GroupRuntime {
    /// As configured.
    pub config: Arc<Group>,
    /// The router; `None` is the built-in order.
    pub router: Option<Arc<Router>>,
    /// `NAME@DIGEST` of the router, or `built-in`.
    pub policy: Arc<str>,
    /// A new version of the router that is tried.
    pub rollout: Option<Arc<Rollout>>,
    /// What builds its prompts.
    pub builder: Option<Arc<PromptBuilder>>,
    /// A new version of it that is tried.
    pub builder_rollout: Option<Arc<Rollout<Building>>>,
    /// What reads its replies.
    pub parser: Option<Arc<ResponseParser>>,
    /// A new version of it that is tried.
    pub parser_rollout: Option<Arc<Rollout<Parsing>>>,
    /// Who pays where its replies are judged.
    pub judge: Option<Arc<Caller>>,
    /// Where its routers get the vectors of questions from; `None`: from the words.
    pub embedding: Option<Arc<Embedding>>,
    /// In the order of the configuration: the router's indices.
    pub deployments: Vec<Arc<DeploymentRuntime>>,
    /// The group's own limits.
    pub scope: ScopeId,
    /// The group's own budgets.
    pub budgets: Vec<BudgetId>,
    /// The queue of waiting requests.
    pub queue: Arc<Queue>,
}

impl GroupRuntime {
    /// Its policies' work so far, by role.
    pub fn reports(&self) -> impl Iterator<Item = (Role, PolicyReport)> {
        let router = self.router.as_ref().map(|policy| (Role::Router, policy.report()));
        let tried = self.trials().map(|trial| (trial.role(), trial.report()));
        let builder = self.builder.as_ref().map(|policy| (Role::PromptBuilder, policy.report()));
        let parser = self.parser.as_ref().map(|policy| (Role::ResponseParser, policy.report()));
        let providers = self.provider_policies().map(|policy| (Role::Provider, policy.report()));
        router.into_iter().chain(tried).chain(builder).chain(parser).chain(providers)
    }

    /// The new versions that are tried, one a role at most.
    pub fn trials(&self) -> impl Iterator<Item = &dyn Trial> {
        let router = self.rollout.as_deref().map(|rollout| rollout as &dyn Trial);
        let builder = self.builder_rollout.as_deref().map(|rollout| rollout as &dyn Trial);
        let parser = self.parser_rollout.as_deref().map(|rollout| rollout as &dyn Trial);
        router.into_iter().chain(builder).chain(parser)
    }

    /// The new version that is tried in this role.
    #[must_use]
    pub fn trial(&self, role: Role) -> Option<&dyn Trial> {
        self.trials().find(|trial| trial.role() == role)
    }

    /// Those of its deployments' policies that speak to providers.
    pub fn provider_policies(&self) -> impl Iterator<Item = &Arc<ProviderPolicy>> {
        self.deployments.iter().filter_map(|deployment| deployment.format.policy())
    }

    /// What its policies read of requests, those that are tried among them.
    pub fn attributes_read(&self) -> impl Iterator<Item = &Attribute> {
        let tried = self.rollout.as_ref().map(|rollout| rollout.candidate());
        let router = self.router.iter().chain(tried).flat_map(|router| &router.needs().attributes);
        let tried = self.builder_rollout.as_ref().map(|rollout| rollout.candidate());
        let builder = self.builder.iter().chain(tried).flat_map(|builder| &builder.needs().attributes);
        let tried = self.parser_rollout.as_ref().map(|rollout| rollout.candidate());
        let parser = self.parser.iter().chain(tried).flat_map(|parser| &parser.needs().attributes);
        router.chain(builder).chain(parser)
    }

    /// The components that decide for it, and those that are tried.
    pub fn components(&self) -> impl Iterator<Item = &Arc<Component>> {
        self.in_force().chain(self.trials().map(Trial::component))
    }

    /// The components that decide for it.
    pub fn in_force(&self) -> impl Iterator<Item = &Arc<Component>> {
        let router = self.router.as_ref().map(|policy| policy.component());
        let builder = self.builder.as_ref().map(|policy| policy.component());
        let parser = self.parser.as_ref().map(|policy| policy.component());
        let providers = self.provider_policies().map(|policy| policy.component());
        router.into_iter().chain(builder).chain(parser).chain(providers)
    }
}

/// A format, built in or a component's.
#[derive(Clone)]
pub enum SpokenFormat {
    /// Built in.
    Native(&'static dyn ProviderFormat),
    /// A policy of the provider role.
    Component(ComponentFormat),
}

impl SpokenFormat {
    /// The policy that it is, where it is not built in.
    #[must_use]
    pub const fn policy(&self) -> Option<&Arc<ProviderPolicy>> {
        match self {
            Self::Component(format) => Some(format.policy()),
            Self::Native(_) => None,
        }
    }

    /// The format for the calls of one request at this time: what a component logs and how it fails is told with them.
    #[must_use]
    pub fn serving(&self, request: Option<RequestId>, now: Moment) -> Self {
        match self {
            Self::Native(format) => Self::Native(*format),
            Self::Component(format) => Self::Component(format.serving(request, now)),
        }
    }
}

impl Deref for SpokenFormat {
    type Target = dyn ProviderFormat;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Native(format) => *format,
            Self::Component(format) => format,
        }
    }
}

/// A deployment at run time: how it is spoken to, and its state.
pub struct DeploymentRuntime {
    /// As configured.
    pub config: Arc<Deployment>,
    /// The wire format it speaks.
    pub format: SpokenFormat,
    /// What carries requests there: the network, or the simulated provider in this process.
    pub transport: Arc<dyn Upstream>,
    /// Where it is: with a format's path behind it, a request's URL.
    pub base_url: Arc<str>,
    /// How its requests are authorised.
    pub authorization: Authorization,
    /// Breaker, averages, requests under way.
    pub health: Arc<Health>,
    /// Its limits.
    pub scope: ScopeId,
    /// Its budgets, and its provider's.
    pub budgets: Vec<BudgetId>,
    /// What its replies have taught.
    pub learned: Arc<Learned>,
    /// What those of its model have taught in its group, whichever deployment gave them.
    pub learned_of_model: Arc<Learned>,
}

impl std::fmt::Debug for DeploymentRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeploymentRuntime")
            .field("id", &self.config.id)
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

/// The pointer requests read once.
pub struct Live {
    snapshot: ArcSwap<Snapshot>,
    problems: ArcSwap<Vec<String>>,
}

impl Live {
    /// Begins with `snapshot` and the warnings of its build.
    #[must_use]
    pub fn new(snapshot: Snapshot, problems: Vec<String>) -> Self {
        Self { snapshot: ArcSwap::from_pointee(snapshot), problems: ArcSwap::from_pointee(problems) }
    }

    /// The snapshot in force now.
    #[must_use]
    pub fn read(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The snapshot in force now, where it is another than this one.
    #[must_use]
    pub fn other_than(&self, snapshot: &Snapshot) -> Option<Arc<Snapshot>> {
        let live = self.snapshot.load();
        (live.generation != snapshot.generation).then(|| Arc::clone(&live))
    }

    /// The warnings of the last build; empty where all is in force as it stands on disk, or will be once it is compiled.
    #[must_use]
    pub fn problems(&self) -> Arc<Vec<String>> {
        self.problems.load_full()
    }

    /// Puts `snapshot` in force; requests under way keep theirs.
    pub fn publish(&self, snapshot: Snapshot) {
        let rollouts = Arc::clone(&snapshot.rollouts);
        self.snapshot.store(Arc::new(snapshot));
        rollouts.in_force();
    }

    /// Keeps the warnings of the last build.
    pub fn set_problems(&self, problems: Vec<String>) {
        self.problems.store(Arc::new(problems));
    }
}
