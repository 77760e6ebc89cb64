//! What a configuration comes to: every default filled in, nothing a reader must doubt.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::budgets::BudgetSpec;
use crate::catalog::Catalog;
use crate::failover::ByClass;
use crate::id::{GroupName, PolicyName, ProviderName, TeamId};
use crate::limits::LimitSpec;
use crate::virtual_key::{KeyDefaults, TeamDefaults, VirtualKey};

/// One whole configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What can be called.
    pub catalog: Catalog,
    /// Other names of groups (`model_group_alias`). Each leads to a group of the catalogue.
    pub aliases: BTreeMap<GroupName, Alias>,
    /// How clients reach us.
    pub server: ServerSettings,
    /// Limits over everything that passes through.
    pub global_limits: LimitSpec,
    /// Who may use how much.
    pub payers: PayerSettings,
    /// Where requests wait that no deployment may take yet.
    pub queue: QueueSettings,
    /// Where limits are kept that several gateways share; `None`: in this process.
    pub shared_limits: Option<SharedLimitSettings>,
    /// Where policies come from.
    pub policies: PolicySettings,
    /// Where versions of policies and what they learned are kept. `None`: the folder the process was started with.
    pub state_dir: Option<PathBuf>,
    /// The ledger of requests and what they cost; `None`: none is kept.
    pub ledger: Option<LedgerSettings>,
    /// Which decisions are kept; `None`: none.
    pub decisions: Option<DecisionSettings>,
    /// When a deployment is left alone.
    pub breaker: BreakerSettings,
    /// Groups that one request may fall back to, one after another.
    pub max_fallbacks: u32,
    /// Retries and groups that one request may have in all after its first call; `None`: as many as the other numbers allow.
    pub retries_per_request: Option<u32>,
    /// The shortest wait before a retry (`retry_after`).
    pub retry_after: Duration,
}

impl Settings {
    /// Whether clients must show a key.
    #[must_use]
    pub const fn asks_for_keys(&self) -> bool {
        self.server.master_key.is_some() || !self.payers.keys.is_empty()
    }

    /// Whether replies of any group are judged.
    #[must_use]
    pub fn judges(&self) -> bool {
        self.catalog.groups.values().any(|group| group.judge.is_some())
    }

    /// Whether the vectors of any group's questions have a budget.
    fn embeddings_are_bounded(&self) -> bool {
        let mut choices = self.catalog.groups.values().filter_map(|group| group.embedding.as_ref());
        choices.any(|choice| choice.max_per_day.is_some())
    }

    /// Whether anything is counted that must outlive the process.
    #[must_use]
    pub fn need_a_ledger(&self) -> bool {
        let mut deployments = self.catalog.groups.values().flat_map(|group| &group.deployments);
        self.payers.need_a_ledger()
            || self.judges()
            || self.embeddings_are_bounded()
            || deployments.any(|deployment| deployment.budget.is_some())
    }
}

/// Who may use how much.
#[derive(Clone, Debug, Default)]
pub struct PayerSettings {
    /// The keys that the configuration gives.
    pub keys: Vec<VirtualKey>,
    /// What everybody together may spend, each for another time.
    pub global: Vec<BudgetSpec>,
    /// Teams of keys.
    pub teams: BTreeMap<TeamId, TeamSpec>,
    /// Requests with a tag.
    pub tags: BTreeMap<Arc<str>, PayerSpec>,
    /// Requests for a group.
    pub groups: BTreeMap<GroupName, PayerSpec>,
    /// What may be spent at a provider.
    pub providers: BTreeMap<ProviderName, Vec<BudgetSpec>>,
    /// The HTTP status of what a budget refuses.
    pub budget_status: u16,
    /// What keys have that are made while the gateway runs, where nobody says otherwise.
    pub new_keys: KeyDefaults,
    /// The same of teams.
    pub new_teams: TeamDefaults,
    /// Who is told of budgets.
    pub alerts: AlertSettings,
}

impl PayerSettings {
    /// Whether anything of theirs is counted that must outlive the process.
    fn need_a_ledger(&self) -> bool {
        let any = |payer: &PayerSpec| !payer.budgets.is_empty();
        !(self.keys.is_empty() && self.global.is_empty() && self.providers.is_empty())
            || self.teams.values().any(|team| any(&team.payer))
            || self.tags.values().chain(self.groups.values()).any(any)
    }
}

/// What one payer may use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PayerSpec {
    /// Its limits.
    pub limits: Option<LimitSpec>,
    /// Its budgets.
    pub budgets: Vec<BudgetSpec>,
}

/// What a team may use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TeamSpec {
    /// Its limits and budgets.
    pub payer: PayerSpec,
    /// The models it may ask for, stars allowed; empty is all.
    pub models: Vec<String>,
}

/// Who is told of budgets that come to an end. An address may hold a secret.
#[derive(Clone, Debug, Default)]
pub struct AlertSettings {
    /// An address that takes LiteLLM's JSON.
    pub webhook: Option<SecretString>,
    /// An address of Slack's.
    pub slack: Option<SecretString>,
}

/// Another name of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The group it stands for.
    pub group: GroupName,
    /// Whether it is left out of `/v1/models`.
    pub hidden: bool,
}

/// How clients reach us.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The address to listen on. Loopback unless configured.
    pub host: IpAddr,
    /// The port to listen on.
    pub port: u16,
    /// The largest request body, in bytes.
    pub max_request_bytes: usize,
    /// What the requests under way may hold together, in bytes: bodies, what is read of them, replies.
    pub max_memory: usize,
    /// How long the client of a stream may hear nothing before it is sent a sign of life; `None`: for ever.
    pub stream_quiet: Option<Duration>,
    /// Origins whose web pages may call the gateway; `*` is any.
    pub cors_origins: Vec<String>,
    /// What replies that clients go on from may take, in bytes. 0 keeps none.
    pub stored_responses: usize,
    /// How long one request may take in all: waits, attempts, the last byte of the reply.
    pub request_timeout: Duration,
    /// How long connections are still accepted and requests served once the gateway is told to stop.
    pub shutdown_delay: Duration,
    /// How long requests under way may take to finish once the gateway is told to stop.
    pub shutdown_grace: Duration,
    /// The key every client must send. `None`: none is asked for.
    pub master_key: Option<SecretString>,
    /// The key of `/admin`. `None`: the master key opens it.
    pub admin_key: Option<SecretString>,
}

/// The queue's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// How many requests may wait at once.
    pub max_waiting: usize,
    /// Whether nobody starts before the one in front. Otherwise those in front are packed.
    pub strict: bool,
    /// How long one may wait.
    pub max_wait: Duration,
}

/// The Redis server that keeps the limits of several gateways. It is connected to at a start, and not by a reload.
#[derive(Clone, Debug, Default)]
pub struct SharedLimitSettings {
    /// All of it as a URL.
    pub url: Option<SecretString>,
    /// Its name or address.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// The user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// Which of its databases.
    pub database: Option<u32>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Whether requests that a limit concerns are refused while it does not answer; else each gateway takes its share.
    pub refuse: bool,
}

/// Where policies come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicySettings {
    /// The watched folder. `None`: `policies/` where there is one, else those built into the program.
    pub dir: Option<PathBuf>,
    /// Those that may import WASI, every call of which traps.
    pub allow_wasi_stubs: Vec<PolicyName>,
}

/// The ledger. It is opened at a start, and not by a reload.
#[derive(Clone, Debug, Default)]
pub struct LedgerSettings {
    /// Its file. `None`: `ledger.db` in the folder of state.
    pub file: Option<PathBuf>,
    /// The Postgres server it is kept by instead (`database_url`).
    pub server: Option<SecretString>,
    /// Whether a gateway starts without that server, which it then asks until it answers.
    pub may_be_away: bool,
}

/// Which decisions of routers are kept, so that they can be explained and repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionSettings {
    /// The share of runs that is kept, 0 to 1.
    pub share: f64,
    /// Decisions of a run.
    pub run: u32,
    /// Bytes of all runs that are kept; the oldest go first.
    pub keep_bytes: u64,
    /// Where they are kept. `None`: the user's folder for state.
    pub dir: Option<PathBuf>,
    /// Whether what routers read by a grant and the words of policies that refuse, complain or fail are kept, which may quote prompts
    /// and replies.
    pub words: bool,
}

/// When a deployment is left alone after faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Faults that are borne (`allowed_fails`). `None`: the breaker's own rule, by the share that fails.
    pub allowed_fails: Option<u32>,
    /// The same by class of the last fault (`allowed_fails_policy`).
    pub allowed_fails_policy: ByClass,
    /// How long it is left alone (`cooldown_time`) where the provider does not say. Zero: not at all.
    pub cooldown: Duration,
    /// Whether each probe that fails makes it longer: where nobody wrote how long it is.
    pub cooldown_grows: bool,
    /// Whether no deployment is ever left alone (`disable_cooldowns`).
    pub disabled: bool,
}
