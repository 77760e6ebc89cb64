//! What arrives: lines of a file, or the requests that a ledger has.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::moment::Moment;
use crate::store::{Arrived, Period, Reader};

/// What seconds in a file are counted from: the start of a minute.
const BEGIN: Moment = Moment::from_millis(1_800_000_000_000);
/// Longest time after the first arrival: a year.
const LONGEST: f64 = 365.0 * 86_400.0;
/// Problems that are told, and rows that are read, at a time.
const MOST_TOLD: usize = 20;
const PAGE: u32 = 2_000;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// When it arrives.
    pub at: Moment,
    /// The model it asks for.
    pub model: String,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens of its reply; `None`: what is expected of the model.
    pub output_tokens: Option<u64>,
    /// The bound it gives.
    pub max_tokens: Option<u32>,
    /// Who asks: the alias or digest of a key, or any name that tells callers apart.
    pub key: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its urgency; lower is first.
    pub priority: i32,
}

/// A line of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: Value,
    model: String,
    input_tokens: u32,
    output_tokens: Option<u32>,
    max_tokens: Option<u32>,
    key: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    priority: i32,
}

/// Where arrivals are read from, as often as they are needed.
pub enum Load {
    /// A file of JSON lines.
    File(PathBuf),
    /// A ledger, over a period.
    Ledger(Reader, Period),
}

/// How often a model is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Requests.
    pub requests: u64,
    /// Where it is first named, in a file.
    pub place: Option<String>,
}

/// What a load comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Requests.
    pub requests: u64,
    /// Their input tokens.
    pub input_tokens: u64,
    /// When the first arrives.
    pub first: Moment,
    /// When the last does.
    pub last: Moment,
    /// The models.
    pub models: BTreeMap<String, Asked>,
}

impl Load {
    /// Reads all of it once.
    ///
    /// # Errors
    /// What is wrong with it, the first of it, each with its place; it cannot be read; it is empty.
    pub fn survey(&self) -> Result<Survey, Vec<String>> {
        let mut survey: Option<Survey> = None;
        let mut problems = Vec::new();
        for (arrival, number) in self.arrivals().zip(1_u64..) {
            let arrival = match arrival {
                Ok(arrival) => arrival,
                Err(problem) => {
                    problems.push(problem);
                    if problems.len() >= MOST_TOLD {
                        break;
                    }
                    continue;
                }
            };
            let place = self.place(number);
            let (at, input_tokens) = (arrival.at, arrival.input_tokens);
            let fresh = Survey { requests: 0, input_tokens: 0, first: at, last: at, models: BTreeMap::new() };
            let so_far = survey.get_or_insert(fresh);
            if let Some(place) = place.as_ref().filter(|_| at < so_far.last) {
                problems
                    .push(format!("{place}: it arrives before the line above\nhint: lines stand in the order of `at`"));
            }
            so_far.requests += 1;
            so_far.input_tokens += input_tokens;
            so_far.last = so_far.last.max(at);
            let asked = so_far.models.entry(arrival.model).or_insert_with(|| Asked { requests: 0, place });
            asked.requests += 1;
        }
        match survey {
            _ if !problems.is_empty() => Err(problems),
            Some(survey) => Ok(survey),
            None => Err(vec![match self {
                Self::File(path) => format!("{}: no request is in it", path.display()),
                Self::Ledger(..) => "the ledger has no request of that time that was served".to_owned(),
            }]),
        }
    }

    /// All of it, in its order.
    pub(super) fn arrivals(&self) -> Box<dyn Iterator<Item = Result<Arrival, String>> + '_> {
        match self {
            Self::File(path) => match File::open(path) {
                Ok(file) => Box::new(of_lines(path, BufReader::new(file))),
                Err(fault) => Box::new(std::iter::once(Err(format!("{}: {fault}", path.display())))),
            },
            Self::Ledger(reader, period) => {
                Box::new(Pages { reader, period, page: Vec::new().into_iter(), last: None, ended: false })
            }
        }
    }

    fn place(&self, number: u64) -> Option<String> {
        match self {
            Self::File(path) => Some(format!("{}:{number}", path.display())),
            Self::Ledger(..) => None,
        }
    }
}

fn of_lines(path: &Path, file: impl BufRead) -> impl Iterator<Item = Result<Arrival, String>> {
    file.lines().zip(1_u64..).map(move |(line, number)| {
        let line = line.map_err(|fault| format!("{}:{number}: {fault}", path.display()))?;
        parse(&line).map_err(|(column, why)| format!("{}:{number}:{column}: {why}", path.display()))
    })
}

/// Reads a line. A problem has the column it is at.
fn parse(line: &str) -> Result<Arrival, (usize, String)> {
    let line: Line = serde_json::from_str(line).map_err(|fault| {
        let why = fault.to_string();
        let why = why.rsplit_once(" at line ").map_or(&*why, |(why, _)| why);
        (
            fault.column().max(1),
            format!("{why}\nhint: a line is a JSON object with `at`, `model` and `input_tokens`; see docs/simulate.md"),
        )
    })?;
    let at = moment(&line.at).ok_or_else(|| {
        (
            1,
            "`at` is a number of seconds, a year at most, or a date with a time such as \"2026-11-27T09:00:00.250Z\""
                .to_owned(),
        )
    })?;
    Ok(Arrival {
        at,
        model: line.model,
        input_tokens: line.input_tokens.into(),
        output_tokens: line.output_tokens.map(u64::from),
        max_tokens: line.max_tokens,
        key: line.key,
        tags: line.tags,
        priority: line.priority,
    })
}

fn moment(at: &Value) -> Option<Moment> {
    match at {
        Value::Number(seconds) => {
            let seconds = seconds.as_f64().filter(|seconds| (0.0..=LONGEST).contains(seconds))?;
            Some(BEGIN + Duration::from_secs_f64(seconds))
        }
        Value::String(text) => {
            let fraction = text.split_once('.').and_then(|(_, rest)| rest.split(['Z', 'z', '+', '-']).next());
            let fraction = match fraction {
                Some(digits) => Duration::try_from_secs_f64(format!("0.{digits}").parse().ok()?).ok()?,
                None => Duration::ZERO,
            };
            Moment::parse(text).map(|moment| moment + fraction)
        }
        _ => None,
    }
}

/// The requests of a ledger, page by page.
struct Pages<'l> {
    reader: &'l Reader,
    period: &'l Period,
    page: std::vec::IntoIter<Arrived>,
    last: Option<(u64, String)>,
    ended: bool,
}

impl Iterator for Pages<'_> {
    type Item = Result<Arrival, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(arrived) = self.page.next() {
                return Some(Ok(of_ledger(arrived)));
            }
            if self.ended {
                return None;
            }
            match self.reader.arrived(self.period, self.last.as_ref(), PAGE) {
                Ok(page) => {
                    self.ended = page.len() < PAGE as usize;
                    self.last = page.last().map(|arrived| (arrived.arrived_ms, arrived.id.clone()));
                    self.page = page.into_iter();
                }
                Err(why) => {
                    self.ended = true;
                    return Some(Err(why));
                }
            }
        }
    }
}

fn of_ledger(arrived: Arrived) -> Arrival {
    Arrival {
        at: Moment::from_millis(arrived.arrived_ms),
        model: arrived.model_group,
        input_tokens: arrived.input_tokens,
        output_tokens: arrived.output_tokens,
        // What a client allowed is not kept.
        max_tokens: None,
        key: arrived.key,
        tags: arrived.tags,
        priority: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_counts_and_a_time() {
        let full = r#"{"at": 1.5, "model": "m", "input_tokens": 9, "output_tokens": 3, "max_tokens": 4, "key": "k", "tags": ["a"], "priority": -1}"#;
        let arrival = parse(full).expect("a line");
        assert_eq!(arrival.at, BEGIN + Duration::from_millis(1500));
        assert_eq!((arrival.output_tokens, arrival.priority, &*arrival.tags), (Some(3), -1, &["a".to_owned()][..]));
        let dated = parse(r#"{"at": "2026-11-27T09:00:00.250Z", "model": "m", "input_tokens": 9}"#).expect("a line");
        assert_eq!(dated.at.iso(), "2026-11-27T09:00:00.250Z");
        let offset =
            parse(r#"{"at": "2026-11-27T11:00:00.250+02:00", "model": "m", "input_tokens": 9}"#).expect("a line");
        assert_eq!(offset.at, dated.at);
        for (wrong, column, word) in [
            (r#"{"at": 1, "model": "m", "input_tokens": 9, "tokens": 3}"#, 51, "tokens"),
            (r#"{"at": -1, "model": "m", "input_tokens": 9}"#, 1, "`at`"),
            (r#"{"at": "now", "model": "m", "input_tokens": 9}"#, 1, "`at`"),
            (r#"{"at": "2026-11-27T09:00:00.-1Z", "model": "m", "input_tokens": 9}"#, 1, "`at`"),
            (r#"{"at": 1, "model": "m"}"#, 23, "input_tokens"),
            ("", 1, "JSON object"),
        ] {
            let (at, why) = parse(wrong).expect_err(wrong);
            assert!(at == column && why.contains(word), "{wrong}: {at}: {why}");
        }
    }
}
