//! The two scripts that do everything, what they are given and what they answer.
//!
//! All keys have one hash tag, so that a cluster keeps them on one server, and every script names the keys that it touches.

use std::collections::BTreeMap;

use redis::{Cmd, Value};

use super::Fault;
use crate::limits::{Dimension, PerDimension};

/// Amounts of what a window counts: all dimensions but what is in flight.
pub(super) type Counted = [f64; 5];

pub(super) const RESERVE: &str = concat!(include_str!("common.lua"), include_str!("reserve.lua"));
pub(super) const PUBLISH: &str = concat!(include_str!("common.lua"), include_str!("publish.lua"));
pub(super) const MONEY: &str = include_str!("money.lua");

/// What all keys begin with.
const TAG: &str = "witgate:{limits}:";
/// Slices of a window; as many as in memory.
const SLICES: u64 = 240;

pub(super) fn gateways() -> String {
    format!("{TAG}gateways")
}

/// The gateways that tell of budgets.
pub(super) fn spenders() -> String {
    format!("{TAG}spenders")
}

/// The keys of one budget: what is spent of it, and what is held.
pub(super) fn budget(name: &str) -> [String; 2] {
    [format!("{TAG}spent:{name}"), format!("{TAG}money:{name}")]
}

/// The keys of one window.
pub(super) struct Keys<'a>(pub(super) &'a str);

impl Keys<'_> {
    pub(super) fn counted(&self) -> String {
        format!("{TAG}counted:{}", self.0)
    }

    pub(super) fn held(&self) -> String {
        format!("{TAG}held:{}", self.0)
    }

    pub(super) fn part(&self, gateway: &str) -> String {
        format!("{TAG}part:{gateway}:{}", self.0)
    }
}

/// How a window is cut into slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Microseconds of a slice.
    pub(super) slice: u64,
    pub(super) fixed: bool,
}

impl Cut {
    pub(super) fn new(length: std::time::Duration, fixed: bool) -> Self {
        let micros = u64::try_from(length.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        Self { slice: micros.div_ceil(SLICES).max(1), fixed }
    }

    /// The oldest slice that counts at this time of the server.
    pub(super) fn oldest(&self, now: u64) -> u64 {
        let newest = now / self.slice;
        if self.fixed { newest / SLICES * SLICES } else { newest.saturating_sub(SLICES) }
    }

    /// Milliseconds after which nothing counts any more, however late it was counted.
    pub(super) fn forget(&self) -> f64 {
        number(self.slice.saturating_mul(SLICES * 3) / 1000 + 60_000)
    }

    pub(super) fn head(&self) -> [f64; 2] {
        [number(self.slice), if self.fixed { 1.0 } else { 0.0 }]
    }
}

/// What a script answers.
#[derive(Debug)]
pub(super) struct Answer {
    /// Which candidate; 0 is none.
    pub(super) chosen: i64,
    /// The server's time, microseconds.
    pub(super) now: u64,
    /// Gateways that were heard of lately.
    pub(super) gateways: u64,
    /// In the order of the question.
    pub(super) windows: Vec<WindowAnswer>,
}

/// What is known of one window.
#[derive(Debug)]
pub(super) struct WindowAnswer {
    /// What counts, of all gateways together.
    pub(super) total: Counted,
    /// What other gateways hold.
    pub(super) held: PerDimension<u64>,
    /// What counts by slice, where it was told.
    pub(super) slices: Option<BTreeMap<u64, Counted>>,
}

impl Answer {
    /// Reads it.
    ///
    /// # Errors
    /// It is an error of the server, or nothing that a script answers.
    pub(super) fn read(value: Value) -> Result<Self, Fault> {
        let fields = match value {
            Value::Array(fields) => fields,
            Value::ServerError(fault) => return Err(Fault(fault.to_string())),
            _ => return Err(strange()),
        };
        let mut fields = fields.into_iter();
        let chosen = whole(&fields.next().ok_or_else(strange)?)?;
        let now = whole(&fields.next().ok_or_else(strange)?)?;
        let gateways = whole(&fields.next().ok_or_else(strange)?)?;
        let mut windows = Vec::new();
        while let (Some(told), Some(slices)) = (fields.next(), fields.next()) {
            let Value::BulkString(told) = told else { return Err(strange()) };
            let told: [f64; 11] = doubles(&told).ok_or_else(strange)?;
            let mut held = PerDimension::default();
            for (dimension, amount) in Dimension::ALL.into_iter().zip(&told[5..]) {
                held[dimension] = count(*amount);
            }
            let total = [told[0], told[1], told[2], told[3], told[4]];
            windows.push(WindowAnswer { total, held, slices: read_slices(slices)? });
        }
        let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
        Ok(Self { chosen, now: unsigned(now), gateways: unsigned(gateways), windows })
    }
}

fn read_slices(value: Value) -> Result<Option<BTreeMap<u64, Counted>>, Fault> {
    let Value::Array(fields) = value else { return Err(strange()) };
    if fields.is_empty() {
        return Ok(None);
    }
    let mut slices = BTreeMap::new();
    for pair in fields.chunks(2) {
        let [Value::BulkString(name), Value::BulkString(amounts)] = pair else { return Err(strange()) };
        // The sum and the oldest slice stand beside the slices.
        let Some(number) = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) else { continue };
        slices.insert(number, doubles(amounts).ok_or_else(strange)?);
    }
    Ok(Some(slices))
}

fn strange() -> Fault {
    Fault("its answer is not one of our scripts'".to_owned())
}

fn whole(value: &Value) -> Result<i64, Fault> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
        _ => None,
    }
    .ok_or_else(strange)
}

fn doubles<const COUNT: usize>(bytes: &[u8]) -> Option<[f64; COUNT]> {
    let mut found = [0.0; COUNT];
    let (eights, rest) = bytes.as_chunks::<8>();
    if eights.len() != COUNT || !rest.is_empty() {
        return None;
    }
    for (place, eight) in found.iter_mut().zip(eights) {
        *place = f64::from_le_bytes(*eight);
    }
    Some(found)
}

/// Packs numbers as the scripts read them.
pub(super) fn packed(numbers: impl IntoIterator<Item = f64>) -> Vec<u8> {
    numbers.into_iter().flat_map(f64::to_le_bytes).collect()
}

/// Calls a script that the server has.
pub(super) fn call(script: &str, keys: &[String]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script).arg(keys.len()).arg(keys);
    command
}

pub(super) fn amounts(of: &PerDimension<u64>) -> [f64; 6] {
    Dimension::ALL.map(|dimension| number(of[dimension]))
}

pub(super) fn counted(of: &PerDimension<u64>) -> Counted {
    let [requests, tokens, input, output, cost, _in_flight] = amounts(of);
    [requests, tokens, input, output, cost]
}

/// The amounts of a window.
pub(super) fn of_counted(amounts: &Counted) -> PerDimension<u64> {
    let mut of = PerDimension::default();
    for (dimension, amount) in Dimension::ALL.into_iter().zip(amounts) {
        of[dimension] = count(*amount);
    }
    of
}

/// One after the other, never below nothing.
pub(super) fn less(one: &Counted, other: &Counted) -> Counted {
    std::array::from_fn(|at| (one[at] - other[at]).max(0.0))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "amounts are cut far below 2^53, and so are microseconds until the year 2255"
)]
pub(super) const fn number(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is no number from 0 becomes 0, what is too large the largest"
)]
const fn count(number: f64) -> u64 {
    number as u64
}
