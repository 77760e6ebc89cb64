//! Write a policy for Witgate in Rust: implement the trait of its role, name the type in the role's macro, build for
//! `wasm32-unknown-unknown`. `wit/README.md` walks through whole policies.
//!
//! This is the crate of routers ([`Router`], [`export_router!`]); prompt builders and response parsers have crates of their own
//! (`witgate-prompt-builder`, `witgate-response-parser`), which share settings, memory and log with it.
//!
//! What a policy may know is handed to it: time, seeds, signals, texts. There is no clock, no file and no network
//! in here, so the same inputs always give the same answer, in the gateway and in its test runner.

// Nothing but policies and its own tests has a use for it.
#[cfg(any(test, all(feature = "pooled-memory", target_arch = "wasm32", not(target_feature = "atomics"))))]
mod alloc;
#[cfg(feature = "router")]
pub mod bindings;
#[cfg(feature = "router")]
mod glue;
#[doc(hidden)]
pub mod held;
pub mod log;
pub mod random;
#[cfg(feature = "router")]
pub mod rank;
#[cfg(feature = "router")]
mod router;
pub mod settings;
#[cfg(feature = "router")]
pub mod signals;

#[cfg(feature = "router")]
pub use bindings::exports::witgate::policy::lifecycle::SavedState;
#[cfg(feature = "router")]
pub use bindings::exports::witgate::policy::routing::{
    Deployment, Fault, Needs, Outcome, Ranking, Refusal, Request, Traits,
};
pub use random::Random;
#[cfg(feature = "router")]
pub use router::{Ask, Choice, InputCount, Router, Setup};
pub use settings::Settings;
#[cfg(feature = "router")]
pub use signals::Signals;

#[cfg(feature = "router")]
#[doc(hidden)]
pub use glue::Held;
