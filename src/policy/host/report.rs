//! A policy's work so far, as a report shows it.

use super::engine::Digest;
use super::fault::PolicyFault;
use super::stats::{CallHistogram, CallTimes};
use crate::id::PolicyName;
use crate::moment::Moment;

/// A policy's work so far.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyReport {
    /// The policy's name.
    pub policy: PolicyName,
    /// The digest of its component.
    pub digest: Digest,
    /// 1 for the first policy of a line, one more at every swap.
    pub generation: u64,
    /// Calls for an answer, those refused by quarantine included.
    pub calls: u64,
    /// Outcomes reported to it.
    pub outcomes: u64,
    /// Times its state was saved.
    pub saves: u64,
    /// Faults that are the policy's own: not `quarantined`, not `no-instance`.
    pub faults: u64,
    /// Faults by kind, in the order of [`PolicyFault::KINDS`]; `quarantined` counts the calls refused.
    pub faults_by_kind: [u64; PolicyFault::KINDS.len()],
    /// Requests it refused and replies it complained about: answers, and no faults.
    pub refusals: u64,
    /// Whether it is not called any more.
    pub quarantined: bool,
    /// From when on it is called once, to see whether it answers again, where it is quarantined.
    pub next_probe: Option<Moment>,
    /// Whether its calls are made beside the threads that serve, because they take long.
    pub slow: bool,
    /// Whether it did not take the state it was offered first, and began with another or empty.
    pub state_refused: bool,
    /// The time calls for an answer take, sampled.
    pub times: CallTimes,
    /// The same in buckets.
    pub histogram: CallHistogram,
    /// Linear memory of its (first) instance, bytes; 0 while it has none.
    pub memory_bytes: usize,
    /// Fuel of the last such call, and the most of any; `None` where CPU time bounds calls.
    pub fuel: Option<(u64, u64)>,
}
