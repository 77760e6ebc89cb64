//! Witgate: an LLM gateway whose decisions are WebAssembly components you can swap while it runs.
//!
//! A request's life is one sentence, in [`pipeline`]: `authenticate → parse → build prompt → estimate → route →
//! reserve → call → stream/parse → settle → record`. Modules stand here from the lowest layer to the highest;
//! imports go up this list, never down.

#[cfg(test)]
mod captured_log;

// L0: words
pub mod chat;
pub mod fault;
pub mod id;
pub mod moment;
pub mod money;
pub mod seed;
// L1: machines and contracts; time is an argument, nothing here does I/O
pub mod attempt;
pub mod authorization;
pub mod budgets;
pub mod catalog;
pub mod failover;
pub mod format;
pub mod health;
pub mod limits;
pub mod record;
pub mod signal;
pub mod sse;
pub mod tokens;
pub mod upstream;
pub mod virtual_key;
// L2: edges; they never import each other
pub mod clock;
pub mod config;
pub mod http;
pub mod policy;
pub mod provider;
pub mod sentences;
pub mod shared_limits;
pub mod store;
pub mod telemetry;
// L3: state
pub mod background_thread;
pub mod builtin_policies;
pub mod decisions;
pub mod keys;
pub mod queue;
pub mod reload;
pub mod rollout;
pub mod snapshot;
// L4: the request; policies on their way to it
pub mod batch;
pub mod embedding;
pub mod evaluate;
pub mod experiment;
pub mod judge;
pub mod kit;
pub mod pipeline;
pub mod replay;
pub mod scenario;
pub mod simulate;
// L5: entry points
pub mod cli;
pub mod server;
pub mod start;
