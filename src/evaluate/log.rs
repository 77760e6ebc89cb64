//! A router judged on what another one did: the runs of decisions that a gateway keeps (`witgate.decisions`).
//!
//! It is asked everything the other was asked, with seeds of its own, so that what it draws does not hang on what was drawn; and told
//! every outcome, whoever brought it about: what is estimated is what it would get while it learns from the replies of the log.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::estimate::{Estimates, Sample, estimate};
use super::objective::Objective;
use super::show::count;
use super::{component, engine};
use crate::decisions::{Logged, Run, asked_as, run_files, unheld, withheld_from};
use crate::fault::FaultKind;
use crate::id::DeploymentId;
use crate::policy::{Component, Decision, Outcome, Rerun, RouterFacts, SavedState};
use crate::seed;

/// Makes the other router's draws unrelated to those of the log.
const SALT: u64 = 0x6576_616C_7561_7465;
/// What a reply counts in a log of which no reply was judged, as for the router `bandit`: one that came, and one that did not.
const ANSWERED: f64 = 0.9;
const FAILED: f64 = 0.1;

/// Which router is estimated from which log.
#[derive(Clone, Debug)]
pub struct LogQuestion {
    /// A run file, or a folder of them.
    pub path: PathBuf,
    /// A shipped router's name, or a component's file.
    pub router: String,
    /// Its settings: a JSON object.
    pub settings: Map<String, Value>,
    /// What a reply is worth.
    pub objective: Objective,
    /// The group whose decisions count, where the folder has those of several.
    pub group: Option<String>,
}

/// What is estimated of a router from a log.
#[derive(Clone, Debug, Serialize)]
pub struct LogReport {
    /// The group.
    pub group: String,
    /// Who decided then.
    pub logged_by: Vec<String>,
    /// Who is estimated.
    pub router: String,
    /// Runs that were read.
    pub runs: usize,
    /// Decisions that say nothing: no end was told, the first choice was not called, or the end was not the deployment's doing.
    pub left_out: usize,
    /// The share of replies that were judged, of those that could be; 0 where none was.
    pub judged: f64,
    /// What a reply's worth was taken for.
    pub objective: Objective,
    /// The worth of replies.
    pub worth: Estimates,
    /// Their quality.
    pub quality: Estimates,
    /// Their cost, US dollars, of those whose cost is known.
    pub cost_usd: Estimates,
    /// How often each deployment was chosen.
    pub shares: Vec<Share>,
    /// What to know when reading this.
    pub notes: Vec<String>,
}

/// How often a deployment came first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The deployment.
    pub deployment: String,
    /// By the log's router.
    pub logged: f64,
    /// By the other one.
    pub chosen: f64,
}

/// Estimates what a router would have got.
///
/// # Errors
/// The log cannot be read, is of several groups, or says nothing; the router cannot be set up, or reads what the log withholds.
pub fn evaluate_log(question: &LogQuestion) -> Result<LogReport, String> {
    let path = &question.path;
    let component = component(&engine()?, &question.router)?;
    let settings = Value::Object(question.settings.clone()).to_string();
    let files = run_files(path).map_err(|fault| format!("{}: cannot be read: {fault}", path.display()))?;
    let mut heard = Heard::default();
    for file in &files {
        let run = Run::read(file)?;
        let group = run.start.facts.setup.group.as_ref().map(ToString::to_string).unwrap_or_default();
        if question.group.as_ref().is_some_and(|wanted| *wanted != group) {
            continue;
        }
        let known = heard.group.get_or_insert_with(|| group.clone());
        if *known != group {
            let known = known.clone();
            return Err(format!(
                "{}: it holds decisions of `{known}` and of `{group}`\nhint: name one with --group",
                path.display()
            ));
        }
        heard.play(&run, &component, &settings).map_err(|why| format!("{}: {why}", file.display()))?;
    }
    heard.report(question, question.objective.clone())
}

/// A decision, and what the other router chose.
struct Decided {
    seed: u64,
    features: Vec<f64>,
    logged: usize,
    propensity: f64,
    chosen: usize,
}

/// What was told of a request's first attempt.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    deployment: usize,
    fault: Option<FaultKind>,
    /// What the gateway said of it at its end.
    at_once: Option<f64>,
    /// What somebody said of it later.
    judged: Option<f64>,
    cost: f64,
    latency_ms: f64,
}

/// A decision that says something.
struct One {
    decided: Decided,
    end: End,
    /// What is known of its quality: certainly told, or only where somebody judges.
    quality: Quality,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Quality {
    Known(f64),
    /// The reply came; whether it was any good is for others to say.
    Judged(Option<f64>),
}

#[derive(Default)]
struct Heard {
    group: Option<String>,
    logged_by: Vec<String>,
    runs: usize,
    names: Vec<DeploymentId>,
    decided: Vec<Decided>,
    /// Of a decision that was made again, because the first answer was to wait, the last counts.
    places: HashMap<u64, usize>,
    ends: HashMap<u64, End>,
    left_out: usize,
    /// Decisions for which the other router named no deployment.
    unanswered: usize,
    state: Option<SavedState>,
    notes: Vec<String>,
}

impl Heard {
    /// The place of each of a run's deployments among all.
    fn places(&mut self, facts: &RouterFacts) -> Vec<usize> {
        let place = |id: &DeploymentId| {
            self.names.iter().position(|known| known == id).unwrap_or_else(|| {
                self.names.push(id.clone());
                self.names.len() - 1
            })
        };
        facts.setup.deployments.iter().map(|one| &one.id).map(place).collect()
    }

    fn play(&mut self, run: &Run, component: &Arc<Component>, settings: &str) -> Result<(), String> {
        let facts = &*run.start.facts;
        let mut setup = facts.setup.clone();
        setup.settings = Arc::from(settings);
        // What it has learned it keeps from run to run, as over a swap.
        let rerun = Rerun::start(Arc::clone(component), setup, self.state.take());
        let mut rerun = rerun.map_err(|problem| format!("the router cannot be set up: {problem}"))?;
        if withheld_from(run, rerun.needs()) {
            return Err("the router reads what a client wrote, which this run does not hold\nhint: keep runs with \
                        `witgate.decisions.words: true`"
                .to_owned());
        }
        if let Some(note) = unheld(&facts.needs, rerun.needs()).filter(|note| !self.notes.contains(note)) {
            self.notes.push(note);
        }
        let by = format!("{}@{}", facts.policy, facts.digest.short());
        if !self.logged_by.contains(&by) {
            self.logged_by.push(by);
        }
        self.runs += 1;
        let places = self.places(facts);
        for call in &run.calls {
            match call {
                Logged::Route(decision) => self.decision(decision, facts, &mut rerun, &places),
                Logged::Observe(outcome, _) => {
                    self.hear(outcome, &places);
                    // As in service, a pure router is told nothing.
                    if !rerun.needs().pure {
                        let told = Outcome { seed: seed::derive(outcome.seed, SALT), ..outcome.clone() };
                        rerun
                            .observe(&told)
                            .map_err(|fault| format!("told of an outcome, the router failed: it {fault}"))?;
                    }
                }
                Logged::Save(_) => {}
            }
        }
        self.state = rerun.save().unwrap_or_default();
        Ok(())
    }

    fn decision(&mut self, decision: &Decision, facts: &RouterFacts, rerun: &mut Rerun, places: &[usize]) {
        let mut asked = asked_as(decision, facts, rerun.needs()).unwrap_or_else(|| decision.clone());
        asked.request.seed = seed::derive(asked.request.seed, SALT);
        let chosen = rerun.route(&asked).ok().and_then(|ranking| ranking.first().copied());
        let logged = decision.answer.as_ref().ok().and_then(|ranking| ranking.first().copied());
        let (Some(chosen), Some(logged)) = (chosen, logged) else {
            self.unanswered += usize::from(chosen.is_none());
            self.left_out += 1;
            return;
        };
        let place = |deployment: u32| places.get(deployment as usize).copied();
        let (Some(chosen), Some(first)) = (place(chosen.deployment), place(logged.deployment)) else { return };
        if logged.propensity.is_nan() || logged.propensity <= 0.0 {
            self.left_out += 1;
            return;
        }
        let tokens = scaled(f64::from(decision.request.input_tokens));
        let features = decision.features.iter().map(|number| scaled(f64::from(*number)));
        let decided = Decided {
            seed: decision.request.seed,
            features: std::iter::once(tokens).chain(features).collect(),
            logged: first,
            propensity: f64::from(logged.propensity),
            chosen,
        };
        let place = *self.places.entry(decided.seed).or_insert(self.decided.len());
        if place == self.decided.len() {
            self.decided.push(decided);
        } else {
            self.decided[place] = decided;
        }
    }

    /// The first attempt alone is the decision's; whoever judges later tells no times.
    fn hear(&mut self, outcome: &Outcome, places: &[usize]) {
        let Some(deployment) = places.get(outcome.deployment as usize).filter(|_| outcome.attempt == 0) else { return };
        let quality = outcome.quality.map(f64::from);
        if outcome.latency_ms.is_nan() {
            match self.ends.get_mut(&outcome.seed) {
                // It was asked again, which is told of replies that were no good alone: the gateway's own word, and no judge's.
                Some(end) if outcome.fault == Some(FaultKind::Cancelled) => end.at_once = quality,
                Some(end) => end.judged = quality,
                None => {}
            }
            return;
        }
        let end = End {
            deployment: *deployment,
            fault: outcome.fault,
            at_once: quality,
            judged: None,
            cost: outcome.cost_usd,
            latency_ms: f64::from(outcome.latency_ms),
        };
        self.ends.insert(outcome.seed, end);
    }

    fn report(mut self, question: &LogQuestion, objective: Objective) -> Result<LogReport, String> {
        let shares = self.shares();
        let has_judge = self.ends.values().any(|end| end.judged.is_some());
        let mut all = Vec::new();
        for decided in std::mem::take(&mut self.decided) {
            let end = self.ends.get(&decided.seed).filter(|end| end.deployment == decided.logged).copied();
            match end.and_then(|end| Some((end, quality(&end, has_judge)?))) {
                Some((end, quality)) => all.push(One { decided, end, quality }),
                None => self.left_out += 1,
            }
        }
        if all.is_empty() {
            return Err(format!(
                "{}: no decision in it has an end that says something\nhint: it is written by a gateway with `witgate.decisions`; with \
                 --group the decisions of that group alone count",
                question.path.display()
            ));
        }
        let judged = judged_share(&all);
        let deployments = self.names.len();
        // A question that not every run tells alike is told by what all tell.
        let width = all.iter().map(|one| one.decided.features.len()).min().unwrap_or_default();
        let of = |value: &dyn Fn(&One) -> Told| {
            let samples: Vec<Sample> = all.iter().filter_map(|one| sample(one, width, value(one))).collect();
            estimate(&samples, deployments)
        };
        let told = |one: &One, value: &dyn Fn(f64) -> f64| match one.quality {
            Quality::Known(quality) => Told::Surely(value(quality)),
            Quality::Judged(quality) => Told::Perhaps(quality.map(value), judged),
        };
        let known = |number: f64| Some(number).filter(|number| number.is_finite());
        let worth = |one: &One, quality: f64| {
            objective.worth(quality, known(one.end.cost).unwrap_or(0.0), known(one.end.latency_ms))
        };
        let worth = of(&|one| told(one, &|quality| worth(one, quality)));
        let quality = of(&|one| told(one, &|quality| quality));
        let cost_usd = of(&|one| known(one.end.cost).map_or(Told::Never, Told::Surely));
        let unpriced = all.len() - cost_usd.decisions;
        self.remark(&worth, &all, has_judge, unpriced);
        Ok(LogReport {
            group: self.group.unwrap_or_default(),
            logged_by: self.logged_by,
            router: question.router.clone(),
            runs: self.runs,
            left_out: self.left_out,
            judged,
            objective,
            worth,
            quality,
            cost_usd,
            shares,
            notes: self.notes,
        })
    }

    fn shares(&self) -> Vec<Share> {
        let of = |pick: &dyn Fn(&Decided) -> usize, place: usize| {
            count(self.decided.iter().filter(|one| pick(one) == place).count()) / count(self.decided.len()).max(1.0)
        };
        let share = |(place, name): (usize, &DeploymentId)| Share {
            deployment: name.to_string(),
            logged: of(&|one| one.logged, place),
            chosen: of(&|one| one.chosen, place),
        };
        self.names.iter().enumerate().map(share).collect()
    }

    fn remark(&mut self, worth: &Estimates, all: &[One], has_judge: bool, unpriced: usize) {
        let notes = &mut self.notes;
        if all.iter().all(|one| one.decided.propensity >= 1.0) {
            notes.push("every choice of the log was certain, so that nothing shows what others would have got; let its router explore".to_owned());
        } else if worth.weight.high < 1.0 {
            notes.push(format!(
                "the router often chooses what the log's never or hardly ever did: weights come to {:.2} on average and should come to 1; \
                 IPS is too low, and the doubly robust estimate rests on its regression",
                worth.weight.value
            ));
        }
        if !has_judge {
            notes.push(format!("no reply was judged: one that came counts {ANSWERED}, one that did not {FAILED}"));
        }
        if self.unanswered > 0 {
            notes.push(format!("the router named no deployment for {} decisions, which are left out", self.unanswered));
        }
        if unpriced > 0 {
            notes.push(format!("the cost of {unpriced} replies is unknown: it is taken for nothing in their worth"));
        }
    }
}

/// What is known of a value.
#[derive(Clone, Copy)]
enum Told {
    Surely(f64),
    /// Where it is told, and how often such are.
    Perhaps(Option<f64>, f64),
    Never,
}

fn sample(one: &One, width: usize, told: Told) -> Option<Sample> {
    let (value, told) = match told {
        Told::Surely(value) => (Some(value), 1.0),
        Told::Perhaps(value, told) => (value, told),
        Told::Never => return None,
    };
    let Decided { features, logged, propensity, chosen, .. } = &one.decided;
    let (logged, propensity, chosen) = (*logged, *propensity, *chosen);
    Some(Sample { features: features[..width].to_vec(), logged, propensity, value, told, chosen })
}

/// What an end says of its reply's quality; `None` where it is not the deployment's doing.
fn quality(end: &End, has_judge: bool) -> Option<Quality> {
    match (end.at_once, end.fault) {
        (Some(quality), _) => Some(Quality::Known(end.judged.unwrap_or(quality))),
        (None, None) if has_judge => Some(Quality::Judged(end.judged)),
        (None, None) => Some(Quality::Known(ANSWERED)),
        (None, Some(fault)) => {
            use FaultKind::{BrokenStream, Misconfigured, TimedOut, Unavailable};
            let failed = matches!(fault, Unavailable | TimedOut | BrokenStream | Misconfigured);
            failed.then_some(Quality::Known(FAILED))
        }
    }
}

/// The share that was judged of the replies that are known by that alone.
fn judged_share(all: &[One]) -> f64 {
    let open = all.iter().filter(|one| matches!(one.quality, Quality::Judged(_))).count();
    let judged = all.iter().filter(|one| matches!(one.quality, Quality::Judged(Some(_)))).count();
    count(judged) / count(open).max(1.0)
}

/// A number as a regression takes it: sizes by their logarithm, nothing for what is unknown.
fn scaled(number: f64) -> f64 {
    match number {
        number if !number.is_finite() => 0.0,
        number if number.abs() <= 1.0 => number,
        number => number.signum() * number.abs().ln_1p() / 14.0,
    }
}

/// Whether a router may go on to a canary: that it is worse by `margin` or more can be ruled out at 97.5 %.
#[must_use]
pub fn no_worse_by(report: &LogReport, margin: f64) -> bool {
    report.worth.better_by.low > -margin
}

#[cfg(test)]
mod tests;
