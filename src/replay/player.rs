//! Plays a run: the recorded calls, one after another, and what comes of them now.

use std::sync::Arc;

use crate::decisions::{Logged, Run, asked_as, decision_json, state_digest, unheld, withheld_from};
use crate::policy::{Choice, Component, Decision, Outcome, PolicyFault, Rerun, RouteError, RouterFacts, SavedState};
use crate::signal::Signal;

use super::report::{Difference, RunReport};

/// Why decisions of a router that reads what was said cannot be made again.
const WITHHELD: &str =
    "what the policy reads was not kept, which takes `witgate.decisions.words: true` when it decides";
/// Differences that are told one by one.
const TOLD: usize = 5;

/// Repeats all of a run.
///
/// # Errors
/// The policy cannot be set up.
pub(super) fn play(run: &Run, component: &Arc<Component>) -> Result<RunReport, String> {
    let mut player = Player::start(run, component)?;
    if player.withheld {
        let decisions = run.calls.iter().filter(|call| matches!(call, Logged::Route(_))).count();
        player.report.decisions = decisions;
        player.report.withheld = decisions;
        return Ok(player.report);
    }
    for call in &run.calls {
        player.call(call);
    }
    Ok(player.report)
}

/// Repeats a run up to its decision `number`, counted from 0, and answers that one.
///
/// # Errors
/// The policy cannot be set up, or what it was shown is withheld.
pub(super) fn answer_at(
    run: &Run,
    component: &Arc<Component>,
    number: usize,
) -> Result<Option<Result<Vec<Choice>, RouteError>>, String> {
    let mut player = Player::start(run, component)?;
    if player.withheld {
        return Err(WITHHELD.to_owned());
    }
    for call in &run.calls {
        let asked = player.report.decisions;
        let answer = player.call(call);
        if asked == number && player.report.decisions > number {
            return Ok(answer);
        }
    }
    Ok(None)
}

struct Player<'a> {
    facts: &'a RouterFacts,
    rerun: Rerun,
    /// The policy is the one that decided: faults from outside are told, and states must be the same.
    same: bool,
    /// It reads what the run does not hold because nothing that was said is in it.
    withheld: bool,
    report: RunReport,
    cost_column: Option<usize>,
}

impl<'a> Player<'a> {
    fn start(run: &'a Run, component: &Arc<Component>) -> Result<Self, String> {
        let facts = &*run.start.facts;
        let rerun = Rerun::start(Arc::clone(component), facts.setup.clone(), run.start.state.clone());
        let rerun = rerun.map_err(|problem| format!("policy `{}`: {problem}", component.name()))?;
        let name =
            |policy: &dyn std::fmt::Display, digest: crate::policy::Digest| format!("{policy}@{}", digest.short());
        let mut report = RunReport {
            group: facts.setup.group.as_ref().map(ToString::to_string),
            recorded_by: name(&facts.policy, facts.digest),
            repeated_by: name(component.name(), component.digest()),
            early: run.early.clone(),
            ..RunReport::of(&run.file)
        };
        report.notes.extend(rerun.state_problem().map(|problem| format!("the state was not taken: {problem}")));
        report.notes.extend(unheld(&facts.needs, rerun.needs()));
        let withheld = withheld_from(run, rerun.needs());
        match (withheld, run.withheld) {
            (true, _) => report.notes.push(WITHHELD.to_owned()),
            (false, true) => {
                report.notes.push("the state the run began with was not kept: it begins without".to_owned());
            }
            (false, false) => {}
        }
        let cost_column = facts.needs.signals.iter().position(|signal| *signal == Signal::CostUsd);
        Ok(Self { facts, rerun, same: facts.digest == component.digest(), withheld, report, cost_column })
    }

    /// Makes a call again; the answer, where it was a decision that was repeated.
    fn call(&mut self, call: &Logged) -> Option<Result<Vec<Choice>, RouteError>> {
        match call {
            Logged::Route(decision) => return self.route(decision),
            Logged::Observe(outcome, fault) => self.observe(outcome, fault.as_ref()),
            Logged::Save(saved) => self.save(saved),
        }
        None
    }

    fn route(&mut self, decision: &Decision) -> Option<Result<Vec<Choice>, RouteError>> {
        self.report.decisions += 1;
        if let Err(RouteError::Fault(fault)) = &decision.answer
            && self.same
            && self.told(fault)
        {
            self.report.identical += 1;
            return None;
        }
        let answer = match asked_as(decision, self.facts, self.rerun.needs()) {
            Some(other) => self.rerun.route(&other),
            None => self.rerun.route(decision),
        };
        self.costs(decision, &answer);
        self.report.same_first += usize::from(first(&answer) == first(&decision.answer));
        if same_answer(&decision.answer, &answer) {
            self.report.identical += 1;
        } else {
            self.report.differing += 1;
            if self.report.first.len() < TOLD {
                self.report.first.push(Difference {
                    decision: self.report.decisions,
                    recorded: words(self.facts, &decision.answer),
                    repeated: words(self.facts, &answer),
                    shown: decision_json(self.facts, decision, None),
                });
            }
        }
        Some(answer)
    }

    /// A fault that came from outside: it happens again, without the call.
    fn told(&mut self, fault: &PolicyFault) -> bool {
        match fault {
            PolicyFault::CpuBudget | PolicyFault::NoInstance => self.rerun.lose(),
            PolicyFault::Quarantined => {}
            _ => return false,
        }
        self.report.told += 1;
        self.report.same_first += 1;
        true
    }

    fn observe(&mut self, outcome: &Outcome, fault: Option<&PolicyFault>) {
        // As in service: it is told nothing, and the run holds what came of its answers for others.
        if self.rerun.needs().pure {
            return;
        }
        self.report.outcomes += 1;
        if self.same && fault.is_some_and(|fault| self.lost(fault)) {
            return;
        }
        let told = self.rerun.observe(outcome);
        if self.same && told.as_ref().err() != fault {
            self.report.other_differences += 1;
        }
    }

    fn save(&mut self, saved: &Result<Option<crate::policy::Digest>, PolicyFault>) {
        self.report.saves += 1;
        if self.same && saved.as_ref().is_err_and(|fault| self.lost(fault)) {
            return;
        }
        let now: Result<Option<SavedState>, PolicyFault> = self.rerun.save();
        let now = now.map(|state| state.as_ref().map(state_digest));
        if self.same && now != *saved {
            self.report.other_differences += 1;
        }
    }

    /// Beside decisions: the call that lost its instance to the clock is not made again.
    fn lost(&mut self, fault: &PolicyFault) -> bool {
        let lost = matches!(fault, PolicyFault::CpuBudget | PolicyFault::NoInstance);
        if lost {
            self.rerun.lose();
        }
        lost
    }

    /// What the request was expected to cost at a deployment: as the policy was shown it, else by the prices the policy knows.
    fn cost(&self, decision: &Decision, deployment: u32) -> Option<f64> {
        let index = deployment as usize;
        let facts = self.facts.setup.deployments.get(index)?;
        let cost = if let Some(column) = self.cost_column {
            f64::from(*decision.signals.get(column * self.facts.setup.deployments.len() + index)?)
        } else {
            let request = &decision.request;
            priced(facts.input_price?, request.input_tokens)
                + priced(facts.output_price?, request.expected_output_tokens)
        };
        cost.is_finite().then_some(cost)
    }

    fn costs(&mut self, decision: &Decision, answer: &Result<Vec<Choice>, RouteError>) {
        let cost = |answer| self.cost(decision, first(answer)?);
        if let (Some(recorded), Some(repeated)) = (cost(&decision.answer), cost(answer)) {
            let costs = self.report.costs.get_or_insert_default();
            costs.decisions += 1;
            costs.recorded_usd += recorded;
            costs.repeated_usd += repeated;
        }
    }
}

/// What so many tokens cost at so many US dollars a million.
fn priced(usd_per_million: f64, tokens: u32) -> f64 {
    usd_per_million * f64::from(tokens) / 1e6
}

fn first(answer: &Result<Vec<Choice>, RouteError>) -> Option<u32> {
    answer.as_ref().ok()?.first().map(|choice| choice.deployment)
}

/// Bit for bit.
pub(super) fn same_answer(one: &Result<Vec<Choice>, RouteError>, other: &Result<Vec<Choice>, RouteError>) -> bool {
    let bits = |choice: &Choice| (choice.deployment, choice.propensity.to_bits());
    match (one, other) {
        (Ok(one), Ok(other)) => one.iter().map(bits).eq(other.iter().map(bits)),
        (Err(one), Err(other)) => one == other,
        _ => false,
    }
}

/// An answer by the deployments' names.
pub(super) fn words(facts: &RouterFacts, answer: &Result<Vec<Choice>, RouteError>) -> String {
    let name = |index: u32| {
        facts.setup.deployments.get(index as usize).map_or_else(|| index.to_string(), |facts| facts.id.to_string())
    };
    match answer {
        Ok(ranking) => {
            let place = |choice: &Choice| {
                let certain = choice.propensity.to_bits() == 1.0_f32.to_bits();
                let name = name(choice.deployment);
                if certain { name } else { format!("{name} ({})", choice.propensity) }
            };
            ranking.iter().map(place).collect::<Vec<_>>().join(", ")
        }
        Err(RouteError::Wait(wait)) => format!("wait {} ms", wait.as_millis()),
        Err(RouteError::Reject(words)) => format!("refused: {words}"),
        Err(RouteError::Fault(fault)) => format!("fault: it {fault}"),
    }
}
