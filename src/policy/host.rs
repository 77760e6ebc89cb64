//! Running components safely, whatever their role: loading and checking, compiling where it can be stopped, budgets of time and
//! memory, faults, statistics and quarantine, how a policy
//! is set up, learns and is succeeded. A role's types and conversions are in a part of its own beside this one.

mod attributes;
pub(super) mod bindings;
mod cache;
mod call_context;
pub(super) mod compile;
mod contract;
pub(super) mod custom_section;
mod engine;
mod fault;
mod inspect;
mod instance;
mod lent;
mod manifest;
mod problem;
mod quarantine;
mod recorder;
mod report;
mod runtime;
mod settings_schema;
mod setup;
mod state;
mod stats;
mod store;
mod succession;
pub(super) mod ticker;

pub use compile::{CHILD_COMMAND, Compiler, compile_child_main};
pub use contract::Contract;
pub use engine::{Component, Digest, Engine, EngineOptions};
pub use fault::PolicyFault;
pub use inspect::{Inspection, Role, inspect};
pub use manifest::PolicyManifest;
pub use problem::PolicyProblem;
pub use report::PolicyReport;
pub use runtime::PolicyRuntime;
pub use settings_schema::{SettingMistake, SettingsRefusal, SettingsSchema};
pub use state::{Offers, SavedState, Untaken};
pub use stats::CallTimes;
pub use store::{LogLevel, LogLine};
pub use succession::Succession;
pub use ticker::stopwatch;

pub(super) use attributes::{MOST_NEEDS, attributes};
pub(super) use call_context::CallContext;
pub(super) use instance::{Budget, Instance, InstanceLifetime, SETUP_FACTOR};
pub(super) use lent::Lent;
pub(super) use recorder::CallRecorder;
pub(super) use setup::{check, make_ready};
pub(super) use store::{HostState, PARTS, cut};
