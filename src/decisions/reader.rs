//! Reading a run file back.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::line::{Line, RequestLine};
use crate::policy::{Decision, Digest, Outcome, PolicyFault, RunStart, SavedState};

/// A run, read.
#[derive(Clone, Debug)]
pub struct Run {
    /// The file.
    pub file: PathBuf,
    /// The checkpoint.
    pub start: RunStart,
    /// What its router read by a grant and what it said are digests here, and its state is left out.
    pub withheld: bool,
    /// The calls, in order.
    pub calls: Vec<Logged>,
    /// What became of its requests, by id.
    pub requests: HashMap<String, RequestLine>,
    /// Why it ended before its length, where it did.
    pub early: Option<String>,
}

/// A call, read.
#[derive(Clone, Debug)]
pub enum Logged {
    /// A decision.
    Route(Box<Decision>),
    /// An outcome was told; how the router failed, where it did. A pure router (`Needs::pure`) was not called for it.
    Observe(Outcome, Option<PolicyFault>),
    /// The router was asked to save: the digest of what it said.
    Save(Result<Option<Digest>, PolicyFault>),
}

/// The digest of a state: its schema and its bytes.
#[must_use]
pub fn state_digest(state: &SavedState) -> Digest {
    let length = (state.schema.len() as u64).to_le_bytes();
    Digest::of(&[&length[..], state.schema.as_bytes(), &state.bytes].concat())
}

/// Why a line is none of a run. The parser was given this line alone: of its position the column counts.
fn no_line(fault: &serde_json::Error) -> String {
    let why = fault.to_string();
    let why = why.rsplit_once(" at line ").map_or(&*why, |(why, _)| why);
    format!("column {}: this is no line of a run: {why}", fault.column().max(1))
}

impl Run {
    /// Reads a run file.
    ///
    /// # Errors
    /// It cannot be read, or a line is none of a run.
    pub fn read(file: &Path) -> Result<Self, String> {
        let named = |why: String| format!("{}: {why}", file.display());
        let text = fs::read_to_string(file).map_err(|fault| named(format!("cannot be read: {fault}")))?;
        Self::parse(&text, file).map_err(named)
    }

    fn parse(text: &str, file: &Path) -> Result<Self, String> {
        // The last line may still be under way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut lines = whole.lines().enumerate();
        let at = |number: usize, why: String| format!("line {}: {why}", number + 1);
        let first = lines.next().ok_or("it is empty; a run file begins with a `run` line")?;
        let (withheld, start) = match serde_json::from_str(first.1) {
            Ok(Line::Run(run)) => (run.withheld, run.start().map_err(|why| at(0, why))?),
            Ok(_) => return Err(at(0, "a run file begins with a `run` line".to_owned())),
            Err(fault) => return Err(at(0, no_line(&fault))),
        };
        let mut run = Self {
            file: file.to_owned(),
            start,
            withheld,
            calls: Vec::new(),
            requests: HashMap::new(),
            early: Some("its end is not written: it is still under way, or its gateway was killed".to_owned()),
        };
        for (number, line) in lines {
            let line = serde_json::from_str(line);
            let line: Line = line.map_err(|fault| at(number, no_line(&fault)))?;
            run.take(line).map_err(|why| at(number, why))?;
        }
        Ok(run)
    }

    fn take(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Run(_) => return Err("a second run in one file".to_owned()),
            Line::Route(route) => {
                let decision = route.decision()?;
                let needs = &self.start.facts.needs;
                let cells = needs.signals.len() * self.start.facts.setup.deployments.len();
                if decision.signals.len() != cells {
                    return Err(format!("it has {} signals, not {cells}", decision.signals.len()));
                }
                self.calls.push(Logged::Route(Box::new(decision)));
            }
            Line::Observe(line) => {
                let (outcome, fault) = line.outcome()?;
                self.calls.push(Logged::Observe(outcome, fault));
            }
            Line::Save(line) => {
                let digest = |hex: String| Digest::parse(&hex).ok_or("a state's digest has 64 hexadecimal digits");
                let saved = match line.fault {
                    Some(fault) => Err(fault.fault()?),
                    None => Ok(line.state.map(digest).transpose()?),
                };
                self.calls.push(Logged::Save(saved));
            }
            Line::Request(line) => {
                self.requests.insert(line.id.clone(), line);
            }
            Line::End(line) => {
                if line.calls != self.calls.len() as u64 {
                    return Err(format!("it ends after {} calls, and {} are here", line.calls, self.calls.len()));
                }
                self.early = line.early;
            }
        }
        Ok(())
    }
}
