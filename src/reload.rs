//! Start-up and reload are one code path: build aside, check, swap. A build that fails changes nothing; the
//! old snapshot serves on, the reasons are logged and listed, and a gauge drops to 0.
//!
//! What is learned and counted (limits, health, queues, a policy's state) lives in [`SharedState`] and is found
//! again by name, so it survives.

mod accounts;
mod breakers;
mod build;
mod changes;
mod compiling;
mod components;
mod embeddings;
mod folder;
mod found;
mod learned;
mod limit_specs;
mod lock;
mod payers;
mod policies;
mod pools;
mod rollouts;
mod setting_up;
mod settling;
mod states;
mod unused;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::budgets::Budgets;
use crate::config::Settings;
use crate::health::HealthBook;
use crate::id::{GroupName, PolicyName};
use crate::keys::KeyBook;
use crate::limits::{LearnedBook, Limits};
use crate::queue::Queue;
use crate::rollout::Control;

pub use build::{Builder, Draft, Environment, Providers};
pub use lock::{NewLock, PoliciesLock, kept_out, lock_of};
pub use states::{keep_limits, keep_states, restore_breakers};
pub use watch::{Reloader, Target};

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub enum ConfigSource {
    /// What needs no file: the simulated provider, and the providers whose keys are in the environment.
    #[default]
    BuiltIn,
    /// A file, read again when it changes.
    File(PathBuf),
    /// This text, which never changes.
    Text(Arc<str>),
}

/// Where the policies come from that are not built in.
#[derive(Clone, Debug, Default)]
pub enum PolicySource {
    /// The folder that the configuration names, or `policies`.
    #[default]
    Configured,
    /// This folder, whatever the configuration names. Read again when it changes, as is the configured one.
    Folder(PathBuf),
    /// These components, by name, which never change.
    Memory(Arc<BTreeMap<PolicyName, Vec<u8>>>),
}

/// Where configuration and policies come from: files, or values for whoever assembles a gateway without any.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration.
    pub config: ConfigSource,
    /// The policies.
    pub policies: PolicySource,
    /// The address given on the command line; it wins over the configuration's.
    pub host: Option<std::net::IpAddr>,
    /// The port given on the command line; it wins over the configuration's.
    pub port: Option<u16>,
    /// Where versions of policies and what they learned are kept where the configuration does not say. `None`: nowhere.
    pub state: Option<PathBuf>,
    /// Whether components must be in `policies.lock` even where only this machine is served.
    pub locked: bool,
    /// What is changed of every configuration after it was read: whoever works beside clients has needs of his own.
    pub adjust: Option<Adjust>,
}

/// A change of settings.
#[derive(Clone)]
pub struct Adjust(Arc<dyn Fn(&mut Settings) + Send + Sync>);

impl Adjust {
    /// The change that `change` makes.
    pub fn new(change: impl Fn(&mut Settings) + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }
}

impl std::fmt::Debug for Adjust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Adjust")
    }
}

/// What outlives every snapshot.
#[derive(Debug)]
pub struct SharedState {
    /// Reservations and usage, by scope.
    pub limits: Arc<Limits>,
    /// What may be spent and is, by scope.
    pub budgets: Arc<Budgets>,
    /// The virtual keys.
    pub keys: Arc<KeyBook>,
    /// What replies have taught about limits, by deployment.
    pub learned: LearnedBook,
    /// Breakers and averages, by deployment.
    pub health: HealthBook,
    /// Orders about versions of policies, and what has happened to them.
    pub rollouts: Arc<Control>,
    queues: Mutex<BTreeMap<GroupName, Arc<Queue>>>,
}

impl Default for SharedState {
    fn default() -> Self {
        let (limits, budgets) = (Arc::new(Limits::new(&BTreeMap::new())), Arc::<Budgets>::default());
        Self {
            keys: Arc::new(KeyBook::new(Arc::clone(&limits), Arc::clone(&budgets))),
            limits,
            budgets,
            learned: LearnedBook::default(),
            health: HealthBook::default(),
            rollouts: Arc::default(),
            queues: Mutex::default(),
        }
    }
}

impl SharedState {
    /// The queue of a group: the same one for as long as anybody holds it.
    fn queue(&self, group: &GroupName) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(queues.entry(group.clone()).or_default())
    }
}
