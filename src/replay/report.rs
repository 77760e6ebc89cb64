//! What came of repeating runs, for people and programs.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

/// All runs that were repeated.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One after another, the oldest first.
    pub runs: Vec<RunReport>,
}

/// One run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunReport {
    /// Its file.
    pub file: String,
    /// The group its router decided for.
    pub group: Option<String>,
    /// The policy that decided then.
    pub recorded_by: String,
    /// The policy that was asked now.
    pub repeated_by: String,
    /// Decisions in it.
    pub decisions: usize,
    /// Those that came out the same, to the last bit.
    pub identical: usize,
    /// Those that did not.
    pub differing: usize,
    /// Those in which the first choice was the same.
    pub same_first: usize,
    /// Those that ended in a fault from outside (CPU time, quarantine), which happened again without the call.
    pub told: usize,
    /// Those that could not be repeated: what the policy reads was said by a client, and was not kept.
    pub withheld: usize,
    /// Outcomes the policy was told.
    pub outcomes: usize,
    /// Times it was asked to save.
    pub saves: usize,
    /// Saved states and faults beside decisions that came out otherwise. They count as a difference.
    pub other_differences: usize,
    /// What the first choices were expected to cost, where the run says it: by `cost-usd`, else by prices.
    pub costs: Option<Costs>,
    /// The first differences.
    pub first: Vec<Difference>,
    /// What to know when reading this.
    pub notes: Vec<String>,
    /// Why the run ended before its length, where it did.
    pub early: Option<String>,
    /// Why it could not be repeated, where it could not.
    pub problem: Option<String>,
}

/// Predicted costs of first choices.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Costs {
    /// Decisions whose cost is known both times.
    pub decisions: usize,
    /// Then, US dollars.
    pub recorded_usd: f64,
    /// Now, US dollars.
    pub repeated_usd: f64,
}

/// A decision that came out otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Its number in the run, from 1.
    pub decision: usize,
    /// The answer then.
    pub recorded: String,
    /// The answer now.
    pub repeated: String,
    /// All that the policy was shown.
    pub shown: Value,
}

impl RunReport {
    pub(super) fn of(file: &Path) -> Self {
        Self { file: file.display().to_string(), ..Self::default() }
    }

    pub(super) fn broken(file: &Path, problem: String) -> Self {
        Self { problem: Some(problem), ..Self::of(file) }
    }

    const fn differs(&self) -> bool {
        self.differing + self.other_differences > 0
    }
}

impl Report {
    pub(super) fn broken(file: &Path, problem: impl Into<String>) -> Self {
        Self { runs: vec![RunReport::broken(file, problem.into())] }
    }

    /// 0: everything that was repeated is the same. 1: something differs. 2: a run could not be repeated, or no decision could
    /// because what was said was not kept.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let nothing = self.withheld() > 0 && self.withheld() == self.decisions();
        if nothing || self.runs.iter().any(|run| run.problem.is_some()) {
            2
        } else {
            u8::from(self.runs.iter().any(RunReport::differs))
        }
    }

    /// Decisions of all runs.
    #[must_use]
    pub fn decisions(&self) -> usize {
        self.runs.iter().map(|run| run.decisions).sum()
    }

    /// Those that came out the same.
    #[must_use]
    pub fn identical(&self) -> usize {
        self.runs.iter().map(|run| run.identical).sum()
    }

    /// Those that could not be repeated, because what was said was not kept.
    #[must_use]
    pub fn withheld(&self) -> usize {
        self.runs.iter().map(|run| run.withheld).sum()
    }

    /// As JSON.
    ///
    /// # Errors
    /// It cannot be written as such.
    pub fn to_json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map_err(|fault| fault.to_string())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in &self.runs {
            run.fmt(f)?;
        }
        let (decisions, identical) = (self.decisions(), self.identical());
        let verdict = match self.exit_code() {
            0 => "the same",
            1 => "different",
            _ => "not all could be repeated",
        };
        let runs = if self.runs.len() == 1 { "run" } else { "runs" };
        let withheld = match self.withheld() {
            0 => String::new(),
            withheld => format!(", {withheld} not repeatable"),
        };
        write!(f, "{} {runs}, {decisions} decisions, {identical} identical{withheld}: {verdict}", self.runs.len())
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.problem {
            return writeln!(f, "not repeated: {problem}");
        }
        let group = self.group.as_deref().unwrap_or("(no group)");
        writeln!(f, "{}: {group}, decided by {}", self.file, self.recorded_by)?;
        if self.repeated_by != self.recorded_by {
            writeln!(f, "  asked now: {}", self.repeated_by)?;
        }
        let Self { decisions, identical, differing, outcomes, saves, told, .. } = self;
        if self.withheld > 0 {
            return writeln!(f, "  {decisions} decisions: not repeatable, {}", self.notes.join("; "));
        }
        writeln!(
            f,
            "  {decisions} decisions: {identical} identical, {differing} differing; first choice the same in {:.1} %",
            percent(self.same_first, *decisions)
        )?;
        writeln!(f, "  {outcomes} outcomes and {saves} saves between them; {told} faults told and not repeated")?;
        if self.other_differences > 0 {
            writeln!(f, "  {} saved states or faults beside decisions differ", self.other_differences)?;
        }
        if let Some(costs) = &self.costs {
            writeln!(
                f,
                "  first choices of {} decisions were expected to cost {:.6} US dollars; now {:.6}, {:+.6}",
                costs.decisions,
                costs.recorded_usd,
                costs.repeated_usd,
                costs.repeated_usd - costs.recorded_usd
            )?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        if let Some(why) = &self.early {
            writeln!(f, "  note: the run is shorter than it was to be: {why}")?;
        }
        for difference in &self.first {
            let id = difference.shown["id"].as_str().unwrap_or("no request's");
            writeln!(f, "  decision {} ({id})", difference.decision)?;
            writeln!(f, "    then: {}", difference.recorded)?;
            writeln!(f, "    now:  {}", difference.repeated)?;
            super::explain::write_signals(f, &difference.shown, "    ")?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of decisions")]
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { part as f64 * 100.0 / whole as f64 }
}
