//! What can be called: groups of deployments, as data. No model is named in code.
//!
//! A catalogue is part of a snapshot and never changes; limits, breakers and learned state live beside it
//! and follow deployment ids from one catalogue to the next.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};

use crate::budgets::BudgetSpec;
use crate::chat::ChatRequest;
use crate::failover::{ByClass, FailurePolicies};
use crate::format::{ProviderFormat, Quirks};
use crate::id::{DeploymentId, GroupName, PolicyName, ProviderName};
use crate::limits::{Counting, LimitSpec, Scope, WindowModel};
use crate::money::Prices;
use crate::signal::Grants;
use crate::upstream::Timeouts;

mod capability;
mod embedding;
mod identity;
mod judge;
mod tags;
mod wildcard;

pub use capability::{Capability, Support, Supports, asked};
pub use embedding::{EmbeddingChoice, EmbeddingSource};
pub use identity::{
    AwsKeys, AwsRole, AzureApp, Federation, GoogleAccount, GoogleProof, Identity, IdentityToken, Impersonation,
    OauthClient, RoleProof, SubjectSource,
};
pub use judge::{JudgeChoice, RUBRIC};
pub use tags::TagFilter;
pub use wildcard::{Pattern, Wildcard};

/// Every group, by the name clients send.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// In name order, so that listings and iteration are the same everywhere.
    pub groups: BTreeMap<GroupName, Arc<Group>>,
}

/// A public model name and the deployments that serve it.
#[derive(Clone, Debug)]
pub struct Group {
    /// The name clients send.
    pub name: GroupName,
    /// The names it serves, where its own is a pattern.
    pub pattern: Option<Pattern>,
    /// In the order of the configuration: the built-in order a faulty policy falls back to. Never empty.
    pub deployments: Vec<Arc<Deployment>>,
    /// The router that ranks them.
    pub router: RouterChoice,
    /// What builds its prompts; `None` sends what the client wrote.
    pub builder: Option<BuilderChoice>,
    /// What reads its replies; `None` passes on what the provider sent.
    pub parser: Option<ParserChoice>,
    /// Who judges a sample of its replies.
    pub judge: Option<JudgeChoice>,
    /// Where its routers get the vectors of questions from; `None`: from the words.
    pub embedding: Option<EmbeddingChoice>,
    /// Whether the tags of requests filter its deployments, and how.
    pub tag_filter: Option<TagFilter>,
    /// What is done when it fails.
    pub failures: FailurePolicies,
}

/// A router and its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterChoice {
    /// The policy's name.
    pub policy: PolicyName,
    /// Its settings, a JSON object as text.
    pub settings: Arc<str>,
    /// Whether a request it refuses is refused. Without this grant the built-in order serves the request.
    pub may_reject: bool,
    /// What it may read of a request besides what every policy may.
    pub may_read: Grants,
    /// What becomes of a request for which it finds no deployment fit.
    pub when_none: WhenNone,
    /// Where the configuration says so.
    pub at: Arc<PolicyPlaces>,
    /// What happens when its file changes.
    pub roll_out: RollOut,
    /// Within this time the same question, asked again by the same key, tells that the first answer was poor.
    pub asked_again: Option<Duration>,
}

/// What becomes of a request for which a router finds no deployment fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenNone {
    /// It is refused at once.
    #[default]
    Refuse,
    /// It waits, as long as one may wait for a limit, and the router is asked again whenever capacity may have become free.
    Wait,
}

/// What happens when the file of a group's policy changes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RollOut {
    /// The new version decides at once.
    #[default]
    Replace,
    /// The new version decides beside the one in force and is never obeyed; not of response parsers, which read a reply as it goes.
    Shadow,
    /// The new version decides a share of the requests, until the rules promote it or roll it back.
    Canary(CanaryRules),
}

/// When a canary is promoted, and when it is rolled back. The ratios compare it with the version in force over the same period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CanaryRules {
    /// The share of requests it decides, above 0 to 1.
    pub share: f64,
    /// Requests it must have decided to be promoted.
    pub requests: u64,
    /// Its own faults that are borne.
    pub max_faults: u64,
    /// Attempts of either version below which nothing is compared.
    pub minimum: u64,
    /// Its share of failures, at most, as a multiple of the other's (and two percentage points).
    pub failure_ratio: f64,
    /// Its mean cost of an attempt, at most, as a multiple of the other's.
    pub cost_ratio: f64,
    /// Its mean time of a whole reply, at most, as a multiple of the other's.
    pub latency_ratio: f64,
}

impl Default for CanaryRules {
    fn default() -> Self {
        Self {
            share: 0.05,
            requests: 500,
            max_faults: 0,
            minimum: 50,
            failure_ratio: 1.5,
            cost_ratio: 1.2,
            latency_ratio: 1.5,
        }
    }
}

/// A prompt builder and its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct BuilderChoice {
    /// The policy's name.
    pub policy: PolicyName,
    /// Its settings, a JSON object as text.
    pub settings: Arc<str>,
    /// Whether a request it refuses is refused in its words.
    pub may_reject: bool,
    /// What it may read of a request besides what every policy may.
    pub may_read: Grants,
    /// What happens when its file changes.
    pub roll_out: RollOut,
    /// Where the configuration says so.
    pub at: Arc<PolicyPlaces>,
    /// Whether what the client wrote is sent where the policy fails. Otherwise the request is refused: it may be there to
    /// take something out.
    pub pass_on_fault: bool,
}

/// A response parser and its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct ParserChoice {
    /// The policy's name.
    pub policy: PolicyName,
    /// Its settings, a JSON object as text.
    pub settings: Arc<str>,
    /// Whether a streamed reply is read to its end before the client gets any of it, so that the model can be asked again.
    pub hold: bool,
    /// What it may read of a request besides what every policy may.
    pub may_read: Grants,
    /// What happens when its file changes.
    pub roll_out: RollOut,
    /// Where the configuration says so.
    pub at: Arc<PolicyPlaces>,
}

/// A provider's policy and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderChoice {
    /// The policy's name.
    pub policy: PolicyName,
    /// Its settings, a JSON object as text.
    pub settings: Arc<str>,
    /// Where the configuration says so.
    pub at: Arc<PolicyPlaces>,
}

/// Where a configuration names a policy and its settings, each place as `FILE:LINE:COLUMN`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyPlaces {
    /// The entry that names it, where one does.
    pub entry: Option<Arc<str>>,
    /// Its settings and all within them, by their JSON pointers.
    pub settings: BTreeMap<String, Arc<str>>,
}

impl PolicyPlaces {
    /// The place of a setting: its own, else that of the nearest that it would stand in, else the entry's.
    #[must_use]
    pub fn setting(&self, pointer: &str) -> Option<&str> {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.settings.get(pointer) {
                return Some(place);
            }
            let Some((outer, _)) = pointer.rsplit_once('/') else { return self.entry.as_deref() };
            pointer = outer;
        }
    }
}

/// What a deployment has of its own about failures; `None` is what all have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailureRules {
    /// How often a request is tried again that failed here first.
    pub retries: Option<u32>,
    /// How long it is left alone.
    pub cooldown: Option<Duration>,
    /// Failures a minute that are borne.
    pub allowed_fails: Option<u32>,
    /// The same by class of the last one.
    pub allowed_fails_policy: ByClass,
}

/// How a deployment is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Over HTTP: scheme, host, port and base path, without a trailing slash. One that ends with `:` names the model, too: no more than a method
    /// follows it.
    Http(Arc<str>),
    /// The in-process simulated provider with this behaviour (index into the snapshot's list is not
    /// needed: the behaviour is the deployment's own).
    Simulated(Arc<SimulatedModel>),
}

/// One callable target: a provider, its model, our credential and what we know of both.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Unique over the catalogue, stable across reloads and restarts.
    pub id: DeploymentId,
    /// The API family, as configuration spells it.
    pub provider: ProviderName,
    /// The wire format it speaks.
    pub format: &'static dyn ProviderFormat,
    /// The policy that writes and reads its bodies; `format` then says no more than how its key is carried.
    pub policy: Option<ProviderChoice>,
    /// What the provider takes otherwise than the one whose format it is.
    pub quirks: &'static Quirks,
    /// The model as the provider names it.
    pub model: Arc<str>,
    /// Whether `model` has stars that a request's name fills, and how.
    pub wildcard: Option<Wildcard>,
    /// Whether it serves the name that was asked for; only one of several providers behind a `*` may not.
    pub serves: bool,
    /// Where it is.
    pub origin: Origin,
    /// Our credential there. `None` for local servers that want none.
    pub credential: Option<SecretString>,
    /// Who its requests are from, where that is more than a key.
    pub identity: Option<Identity>,
    /// The version of the provider's API, where configured.
    pub api_version: Option<String>,
    /// What its requests have where the client says nothing (LiteLLM's default parameters).
    pub defaults: Option<Arc<ChatRequest>>,
    /// Headers added to every call.
    pub headers: HeaderMap,
    /// What is added to the address of every call: `NAME=VALUE`, joined by `&`.
    pub query: Option<Arc<str>>,
    /// Its limits. All `None` is unlimited.
    pub limits: LimitSpec,
    /// Where they are kept: its own scope, or a quota that it shares with other deployments.
    pub scope: Scope,
    /// How its provider counts.
    pub counting: Counting,
    /// Share of the traffic under simple-shuffle; `None` where not given.
    pub weight: Option<f64>,
    /// Lower is preferred; a higher one is used when all lower ones cannot serve.
    pub order: u32,
    /// Tags for policies.
    pub tags: Vec<String>,
    /// `None` is unknown, which is not free.
    pub prices: Option<Prices>,
    /// What a budget does where they are unknown.
    pub unknown_price: UnknownPrice,
    /// What may be spent here.
    pub budget: Option<BudgetSpec>,
    /// Input tokens the model takes (LiteLLM's `max_input_tokens`). Whether the output must fit in too differs by
    /// provider. `None` is unknown.
    pub context_window: Option<u32>,
    /// Whether its model makes vectors and no replies, as far as is known: it is tested so.
    pub makes_vectors: bool,
    /// The model's own bound of output tokens; `None` is unknown.
    pub max_output_tokens: Option<u32>,
    /// What is known of its model beside that.
    pub supports: Supports,
    /// What is left out of its requests.
    pub left_out: LeftOut,
    /// What it has of its own about failures.
    pub failures: FailureRules,
    /// Timeouts of calls for a whole reply.
    pub timeouts: Timeouts,
    /// Timeouts of calls for a streamed one.
    pub stream_timeouts: Timeouts,
}

/// What a budget does with a call of which nobody knows what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownPrice {
    /// It is not made.
    Refuse,
    /// It counts by these prices.
    Assume(Box<Prices>),
    /// It counts nothing.
    Allow,
}

impl Deployment {
    /// The prices that budgets count by.
    #[must_use]
    pub fn charged_prices(&self) -> Option<&Prices> {
        match (&self.prices, &self.unknown_price) {
            (Some(prices), _) => Some(prices),
            (None, UnknownPrice::Assume(prices)) => Some(prices),
            (None, UnknownPrice::Refuse | UnknownPrice::Allow) => None,
        }
    }

    /// The secrets of its identity, to be compared and to be taken out of what a provider says.
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        self.identity.as_ref().map(Identity::secrets).unwrap_or_default()
    }

    /// What its account at the provider is known by, whatever authorises its requests: to be compared, and never to be told.
    #[must_use]
    pub fn account(&self) -> Option<Cow<'_, str>> {
        match &self.credential {
            Some(key) => Some(key.expose_secret().into()),
            None => self.identity.as_ref().map(Identity::account),
        }
    }
}

/// Parameters that are left out of a deployment's requests, and reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Those that its provider cannot take and that would otherwise refuse a request (LiteLLM's `drop_params`).
    pub unsupported: bool,
    /// The same of these alone, as a request names them.
    pub named: Vec<String>,
    /// These, whatever it can take (`additional_drop_params`): parameters, or places in them.
    pub always: Vec<String>,
    /// These never, though nothing is known of its taking them (`allowed_openai_params`).
    pub never: Vec<String>,
}

impl LeftOut {
    /// Whether no request's bound of output is sent.
    #[must_use]
    pub fn unbounds(&self) -> bool {
        self.always.iter().any(|name| matches!(name.as_str(), "max_tokens" | "max_completion_tokens"))
    }

    /// Whether a parameter may be left out that would otherwise refuse the request; a dot and what follows say where in it.
    #[must_use]
    pub fn may_lose(&self, parameter: &str) -> bool {
        let name = parameter.split(['.', '[']).next().unwrap_or(parameter);
        self.unsupported || self.named.iter().any(|named| named == name)
    }
}

/// How the simulated provider behaves as one model. Times in milliseconds of the clock it runs on.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedModel {
    /// Seed of its draws; the same request under the same seed gets the same reply.
    pub seed: u64,
    /// Median time to the first token.
    pub ttft_ms: f64,
    /// Spread of the time to the first token: sigma of a log-normal. 0 is no spread.
    pub ttft_sigma: f64,
    /// Output tokens per second after the first. 0 is instant.
    pub tokens_per_second: f64,
    /// Median output tokens of a reply that nothing cuts shorter.
    pub output_tokens: u32,
    /// Share of requests answered with a 500, 0 to 1.
    pub error_rate: f64,
    /// The length of the window that limits are for; a minute.
    pub window: Duration,
    /// When it forgets what it counted.
    pub window_model: WindowModel,
    /// Strict requests per window, counted on arrival.
    pub rpm: Option<u64>,
    /// Strict tokens per window (input and reserved output), counted on arrival.
    pub tpm: Option<u64>,
    /// Whose limits these are, where several deployments share them.
    pub account: Option<DeploymentId>,
    /// What every reply says, whatever is asked (LiteLLM's `mock_response`); one of LiteLLM's exceptions by name is that failure.
    pub says: Option<Arc<str>>,
    /// How good its replies are, where that is told.
    pub skill: Option<Arc<SimulatedSkill>>,
}

/// How good a simulated model's replies are, so that there is something to judge; and whether it judges.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimulatedSkill {
    /// The share of its sentences that are sound, 0 to 1. The others begin with "Perhaps".
    pub quality: f64,
    /// The same where the user's last message has one of `knows` in it.
    pub quality_known: f64,
    /// Words, in small letters.
    pub knows: Vec<String>,
    /// Where it is asked for a `score`, it is the share of the judged reply's sentences that are sound.
    pub grades: bool,
}

impl Eq for SimulatedModel {}

impl Default for SimulatedModel {
    fn default() -> Self {
        Self {
            seed: 0,
            ttft_ms: 0.0,
            ttft_sigma: 0.0,
            tokens_per_second: 0.0,
            output_tokens: 64,
            error_rate: 0.0,
            window: Duration::from_mins(1),
            window_model: WindowModel::Sliding,
            rpm: None,
            tpm: None,
            account: None,
            says: None,
            skill: None,
        }
    }
}
