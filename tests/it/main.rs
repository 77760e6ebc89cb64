//! One binary for all that needs more than one module: built once, run in parallel.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helper that fails fails its test"
)]

mod access;
mod agents;
mod apis;
mod batches;
mod chat;
mod client_faults;
mod commands;
mod compiling;
mod connections;
mod docs;
mod embeddings;
#[cfg(target_os = "linux")]
mod encrypted;
mod experiments;
mod explain;
mod feedback;
mod field_cases;
mod granted;
mod hostile;
mod hostile_providers;
mod hostile_roles;
mod identities;
mod judge;
mod key_routes;
mod keys;
mod licences;
mod limits;
mod log;
mod money;
mod parity;
mod prompts;
mod provider_policies;
mod reload;
mod replay;
mod roles;
mod rollout;
mod rollout_roles;
mod shared_keys;
mod simulate;
#[cfg(target_os = "linux")]
mod stopping;
mod support;
mod teams;
mod tidy;
mod transport;
mod vendors;
mod waiting;
mod wildcards;
mod wishes;
mod workers;
