//! What a streaming parser costs for each delta, through the host that serves requests, and what it holds back.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use witgate::chat::{Chunk, Delta};
use witgate::id::PolicyName;
use witgate::moment::Moment;
use witgate::policy::{Engine, EngineOptions, PolicySetup, ReplyInfo, ReplyParser, ResponseParser};

use super::stats::{micros, percentile};
use super::watch::now;

/// Deltas of one reply; each reply begins with a parser of its own.
const DELTAS: usize = 500;
const WARM_UP: usize = 2000;
/// What a model says, again and again, a token or so in each delta.
const SAID: [&str; 8] = ["The", " answer", " is", " <b>", "forty", "-two", "</b>", ",\n"];

/// The shipped parsers that pass streams on.
const PARSERS: [&str; 2] = ["reasoning", "restore"];

/// One parser; times are microseconds a delta, the clock's own 0.05 included.
#[derive(Clone, Debug)]
pub(crate) struct PerDelta {
    pub(crate) policy: &'static str,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Measures the parsers in `policies/` of the repository.
///
/// # Errors
/// A component cannot be put into service, fails a call, or holds the first delta back.
pub(crate) fn measure(root: &Path, deltas: usize) -> Result<Vec<PerDelta>, String> {
    let engine = Engine::new(EngineOptions::default()).map_err(|problem| problem.to_string())?;
    PARSERS.into_iter().map(|policy| one(root, &engine, policy, deltas)).collect()
}

fn one(root: &Path, engine: &Engine, policy: &'static str, deltas: usize) -> Result<PerDelta, String> {
    let about = |problem: String| format!("{policy}: {problem}");
    let file = root.join("policies").join(format!("{policy}.wasm"));
    let bytes = fs::read(&file).map_err(|problem| about(problem.to_string()))?;
    let component = engine.load(&PolicyName::from(policy), &bytes).map_err(|problem| about(problem.to_string()))?;
    let setup = PolicySetup {
        group: None,
        may_read: witgate::signal::Grants::All,
        settings: Arc::from("{}"),
        model: Arc::from(""),
        seed: 1,
    };
    let parser = ResponseParser::start(component, setup, None).map_err(|problem| about(problem.to_string()))?;
    let note = Some(Arc::from(r#"{"<EMAIL_1>":"ada@example.org","<EMAIL_2>":"bob@example.org"}"#));
    let info = ReplyInfo { streamed: true, note, ..ReplyInfo::default() };
    let mut times = Vec::with_capacity(deltas);
    let mut told = 0;
    while times.len() < deltas {
        let mut reader = ReplyParser::begin(&parser, info.clone());
        for number in 0..DELTAS {
            let mut chunks = vec![Chunk::of(Delta::Text(SAID[number % SAID.len()].to_owned()))];
            let start = now();
            let read = reader.read(Moment::default(), &mut chunks);
            let took = start.elapsed();
            read.map_err(|complaint| about(complaint.problem))?;
            if number == 0 && chunks.is_empty() {
                return Err(about("it holds the first delta back".to_owned()));
            }
            told += 1;
            if told > WARM_UP {
                times.push(micros(took));
            }
        }
        let whole = reader.is_reading() && reader.end(Moment::default(), &mut Vec::new()).is_ok();
        if !whole {
            return Err(about("it failed".to_owned()));
        }
    }
    Ok(PerDelta { policy, p50: percentile(&mut times, 50), p99: percentile(&mut times, 99) })
}
