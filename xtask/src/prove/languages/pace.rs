//! What a decision costs, freed of the machine's pace: a machine that others share is twice as slow for seconds at a time, which says
//! nothing about a decision. Between its calls a yardstick is measured, native code that reads and writes JSON, and what counts is how
//! many of them a decision takes.

use std::hint::black_box;
use std::sync::Arc;

use witgate::policy::Component;

use crate::bench::decisions::Asked;
use crate::bench::stats::{median, micros};
use crate::bench::watch::now;
use serde_json::{Value, json};

/// What the yardstick takes, microseconds, at the pace for which goals are stated.
const YARDSTICK: f64 = 10.0;
/// Pairs of a few calls and as many yardsticks; each too short for the pace to change within.
const PAIRS: usize = 40;
const CALLS: usize = 75;

/// Median microseconds of a decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// As the clock has it.
    pub(super) measured: f64,
    /// At the pace for which goals are stated.
    pub(super) paced: f64,
}

impl Default for Cost {
    fn default() -> Self {
        Self { measured: f64::NAN, paced: f64::NAN }
    }
}

impl Cost {
    /// Measures a component in a group of this size.
    pub(super) fn of(component: &Arc<Component>, deployments: usize) -> Result<Self, String> {
        let mut asked = Asked::start(component, deployments)?;
        let text = text();
        let (mut measured, mut paced) = (Vec::with_capacity(PAIRS), Vec::with_capacity(PAIRS));
        for _ in 0..PAIRS {
            let yardsticks: Vec<f64> = (0..CALLS).map(|_| yardstick(&text)).collect::<Result<_, _>>()?;
            let yardstick = median(yardsticks);
            let decision = median(asked.times(CALLS)?);
            measured.push(decision);
            paced.push(decision / yardstick * YARDSTICK);
        }
        Ok(Self { measured: median(measured), paced: median(paced) })
    }
}

/// A request like most.
fn text() -> String {
    let message = |number: u32| json!({"role": if number.is_multiple_of(2) { "user" } else { "assistant" }, "content": format!("Sentence {number}.")});
    let messages: Vec<Value> = (0..12).map(message).collect();
    json!({"model": "bench-model", "temperature": 0.7, "max_tokens": 256, "stream": false, "messages": messages})
        .to_string()
}

/// Microseconds to read and write the text once.
fn yardstick(text: &str) -> Result<f64, String> {
    let start = now();
    let value: Value = serde_json::from_str(black_box(text)).map_err(|problem| problem.to_string())?;
    black_box(value.to_string());
    Ok(micros(start.elapsed()))
}
