//! The JSON in what a model wrote: found in prose, fences and thinking, and repaired.

mod extract;
mod repair;

pub use extract::{Extract, fitting, whole};
