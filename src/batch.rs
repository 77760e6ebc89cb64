//! OpenAI's batch interface: a file of requests, a line each, answered through the pipeline in this process, in a file of replies.
//!
//! The rule: every line is read before any is sent, and what is wrong with it is said then. A line is a request like any other, last
//! in every queue, and its end is on the disk before it counts: whatever ends the process, only what was under way is asked again.
//! What a line asks stays in its file until it is sent; in memory are the lines in flight.
//!
//! [`Runner`] carries out the lines of one batch, for the command and for `/v1/batches` ([`Batches`]) alike.

mod carrier;
mod check;
mod keeping;
mod line;
mod order;
mod outcome;
mod progress;
mod reply;
mod runner;
mod service;
mod usage;

pub use check::{Rules, check};
pub use keeping::{FileWanted, Upload};
pub use line::Problem;
pub use order::{Order, Status};
pub use outcome::write_outcomes;
pub use progress::Progress;
pub(crate) use reply::whole;
pub use runner::{Finish, Runner};
pub use service::{BatchWanted, Batches};
