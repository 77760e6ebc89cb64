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
//! This is the only module that names wasmtime, wasmparser or wit-component.

mod anatomy;
mod bounds;
mod host;
mod prompt_builder;
mod provider;
mod response_parser;
mod router;
mod setup;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::id::PolicyName;

pub use anatomy::{Anatomy, anatomy, tell_language};
pub use bounds::Bounds;
pub use host::{
    CHILD_COMMAND, CallTimes, Compiler, Component, Contract, Digest, Engine, EngineOptions, Inspection, LogLevel,
    LogLine, Offers, PolicyFault, PolicyManifest, PolicyProblem, PolicyReport, PolicyRuntime, Role, SavedState,
    SettingMistake, SettingsRefusal, SettingsSchema, Succession, Untaken, compile_child_main, inspect, stopwatch,
};
pub use prompt_builder::{BuildError, BuildRequest, BuilderNeeds, Building, BuiltPrompt, PromptBuilder};
pub use provider::{ComponentFormat, ProviderNeeds, ProviderPolicy, ProviderSetup, Providing};
pub use response_parser::{Complaint, ParserNeeds, ParserWork, Parsing, ReplyInfo, ReplyParser, ResponseParser};
pub use router::{
    Choice, Decision, DecisionLog, DeploymentInfo, Needs, Outcome, RecordedCall, Rerun, RouteError, RouteRequest,
    Router, RouterFacts, RouterSuccession, Routing, RunId, RunStart, Setup, Stretch, Traits,
};
pub use setup::PolicySetup;

impl Engine {
    /// Checks, compiles and links a component in whatever role its exports name. Blocks for as long as compiling takes: call
    /// it off the async threads.
    ///
    /// # Errors
    /// Everything that keeps a component from being instantiated.
    pub fn load(&self, name: &PolicyName, bytes: &[u8]) -> Result<Arc<Component>, PolicyProblem> {
        self.load_granted(name, bytes, self.options().allow_wasi_stubs)
    }

    /// The same, where the operator says of this policy alone whether it may import WASI, every call of which traps.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_granted(
        &self,
        name: &PolicyName,
        bytes: &[u8],
        wasi_stubs: bool,
    ) -> Result<Arc<Component>, PolicyProblem> {
        let component = self.load_as(name, bytes, wasi_stubs, |role, pre| match role {
            Role::Router => router::Routing::bind(pre).map(drop),
            Role::PromptBuilder => prompt_builder::Building::bind(pre).map(drop),
            Role::Provider => provider::Providing::bind(pre).map(drop),
            Role::ResponseParser => response_parser::Parsing::bind(pre).map(drop),
        })?;
        let (policy, bounds) = (component.label(), self.bounds(&component.inspection().roles, bytes.len()));
        tracing::info!(%policy, bytes = bytes.len(), "loaded; it may take {bounds}");
        Ok(component)
    }
}
