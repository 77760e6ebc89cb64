//! Policies: WebAssembly components that advise. The host checks every answer, bounds every call and counts
//! every fault; the pipeline falls back to the built-in order when a call ends in a [`PolicyFault`].
//!
//! The rules kept here:
//! - Nothing a component does can crash, block or outgrow the process: CPU time, memory, stack, tables, log
//!   lines and the size of answers are bounded, and a component that trapped is never entered again.
//! - A component is checked before it is compiled, compiled where it can be stopped, and an artefact is
//!   trusted only under our own checksum in a folder that is ours alone.
//! - What a policy learned survives a trap (its last save) and a swap (every outcome, exactly once).
//! - Time and seeds are arguments of every call. The only clocks read here bound and measure calls; nothing a
//!   policy is told comes from them.
//!
//! This is the only module that names wasmtime or wasmparser.

mod bindings;
mod cache;
mod compile;
mod engine;
mod inspect;
mod instance;
mod problem;
mod report;
mod router;
mod setup;
mod store;
mod succession;
mod ticker;
mod types;
mod validate;

#[cfg(test)]
mod tests;

pub use compile::{CHILD_COMMAND, Compiler, compile_child_main};
pub use engine::{Component, Digest, Engine, EngineOptions};
pub use inspect::{Inspection, Role, inspect};
pub use problem::PolicyProblem;
pub use report::{CallTimes, RouterReport};
pub use router::Router;
pub use store::{LogLevel, LogLine};
pub use succession::Succession;
pub use types::{
    Choice, DeploymentInfo, Needs, Outcome, PolicyFault, RouteError, RouteRequest, SavedState, Setup, Traits,
};
