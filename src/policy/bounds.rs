//! What a component may use, by role and size, as it is told when it is loaded. A language is not asked for: one that brings its
//! interpreter is bounded like any other, and gets the longer time to compile that its size allows.

use std::fmt;

use serde::Serialize;

use super::host::{Engine, EngineOptions, PARTS, Role, SETUP_FACTOR};
use super::{prompt_builder, provider, response_parser, router};

/// What one component may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// CPU time of one call, milliseconds; over a long text as much again for each 64 KiB of it.
    pub call_ms: u128,
    /// CPU time of setting an instance up, milliseconds.
    pub setup_ms: u128,
    /// Memory of an instance, MiB.
    pub memory_mib: usize,
    /// Core instances, memories and tables, of each.
    pub parts: u32,
    /// How long it may compile, seconds.
    pub compile_s: u64,
    /// By role: how many instances are kept for one group where the policy says `pure`. One that does not has one instance as a
    /// router, and a new one for each use in the other roles.
    pub instances: Vec<(&'static str, usize)>,
}

impl Bounds {
    /// Of a component of so many bytes in these roles.
    #[must_use]
    pub fn of(options: &EngineOptions, roles: &[Role], bytes: usize) -> Self {
        let kept = |role: &Role| {
            let most = match role {
                Role::Router => router::most_instances(),
                Role::PromptBuilder => prompt_builder::MOST_IDLE,
                Role::ResponseParser => response_parser::MOST_IDLE,
                Role::Provider => provider::MOST_IDLE,
            };
            (role.as_str(), most)
        };
        Self {
            call_ms: options.cpu_budget.as_millis(),
            setup_ms: (options.cpu_budget * SETUP_FACTOR).as_millis(),
            memory_mib: options.memory_bytes >> 20,
            parts: PARTS,
            compile_s: options.compile_limit(bytes).as_secs(),
            instances: roles.iter().map(kept).collect(),
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call_ms, setup_ms, memory_mib, parts, compile_s, .. } = self;
        write!(
            f,
            "{call_ms} ms of CPU time a call, {setup_ms} ms to set up, {memory_mib} MiB an instance, {parts} parts, \
             {compile_s} s to compile; instances of a group, where pure: "
        )?;
        let instances: Vec<String> = self.instances.iter().map(|(role, most)| format!("{role} {most}")).collect();
        f.write_str(&instances.join(", "))
    }
}

impl Engine {
    /// What a component of so many bytes may use here.
    #[must_use]
    pub fn bounds(&self, roles: &[Role], bytes: usize) -> Bounds {
        Bounds::of(self.options(), roles, bytes)
    }
}
