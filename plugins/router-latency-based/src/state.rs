//! What is saved: per deployment its id and its samples, little-endian.
//!
//! The latest moment seen `u64`, `count: u32`, then for each deployment `length: u32, id, replies, first tokens`, each list `count: u32` and then
//! `moment: u64, seconds: f64` for each sample.

use std::collections::BTreeMap;

use witgate_policy::SavedState;

use crate::Learned;
use crate::history::{History, Rule};

/// The name of this shape.
const SCHEMA: &str = "latency-1";

pub(crate) fn write<'a>(now: u64, learned: impl ExactSizeIterator<Item = (&'a String, &'a Learned)>) -> SavedState {
    let mut bytes = now.to_le_bytes().to_vec();
    count(&mut bytes, learned.len());
    for (id, learned) in learned {
        count(&mut bytes, id.len());
        bytes.extend_from_slice(id.as_bytes());
        for history in [&learned.replies, &learned.first_tokens] {
            count(&mut bytes, history.samples().len());
            for (at, seconds) in history.samples() {
                bytes.extend_from_slice(&at.to_le_bytes());
                bytes.extend_from_slice(&seconds.to_le_bytes());
            }
        }
    }
    SavedState { schema: SCHEMA.to_owned(), bytes }
}

fn count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

pub(crate) fn read(saved: &SavedState) -> Result<(u64, BTreeMap<String, Learned>), String> {
    if saved.schema != SCHEMA {
        return Err(format!("it was saved as `{}`, this policy reads `{SCHEMA}`", saved.schema));
    }
    let mut rest = saved.bytes.as_slice();
    let damaged = "its bytes are cut off or damaged";
    let now = u64::from_le_bytes(take(&mut rest).ok_or(damaged)?);
    let known = deployments(&mut rest).ok_or(damaged)?;
    if rest.is_empty() { Ok((now, known)) } else { Err("there are bytes after its end".to_owned()) }
}

fn deployments(rest: &mut &[u8]) -> Option<BTreeMap<String, Learned>> {
    let mut known = BTreeMap::new();
    for _ in 0..u32::from_le_bytes(take(rest)?) {
        let length = u32::from_le_bytes(take(rest)?) as usize;
        let (id, after) = rest.split_at_checked(length)?;
        *rest = after;
        let id = String::from_utf8(id.to_vec()).ok()?;
        known.insert(id, Learned { replies: history(rest)?, first_tokens: history(rest)? });
    }
    Some(known)
}

fn history(rest: &mut &[u8]) -> Option<History> {
    // Sample by sample: a damaged count must not reserve memory.
    let mut history = History::default();
    let all = Rule::new(0.0, u32::MAX);
    for _ in 0..u32::from_le_bytes(take(rest)?) {
        let at = u64::from_le_bytes(take(rest)?);
        history.push(at, f64::from_le_bytes(take(rest)?), &all);
    }
    Some(history)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}
