//! What every policy is checked for, whatever it decides. The first is whether a gateway would serve it, by the gateway's own
//! judgement; the rest is advice: no list, setting or state makes it trap, run out of its budget or break the contract, and it
//! does not grow.

use std::sync::Arc;

use crate::fault::FaultKind;
use crate::id::DeploymentId;
use crate::moment::Moment;
use crate::policy::{
    Component, DeploymentInfo, LogLine, Outcome, PolicyFault, PolicyProblem, RouteError, RouteRequest, Router,
    SavedState, Setup, Traits,
};
use crate::seed;
use crate::tokens::Precision;

use super::Asked;
use super::odd;
use super::report::SuiteReport;

/// Deployments of the largest group tried.
const MANY: usize = 1_000;
/// Calls over which memory must not grow, and after how many it is measured first.
const CALLS: u64 = 10_000;
const WARM: u64 = 1_000;

/// Puts a component into service as a gateway would, with the deployments and settings of `setup`, and where that succeeds
/// looks for what is worth mending all the same: what only a larger group, other settings or more time would show.
pub(super) fn all(component: &Arc<Component>, setup: &Setup, report: &mut SuiteReport) {
    let trial = Trial { component, setup };
    let started = trial.started();
    if let Ok(router) = &started {
        report.asked(Asked::by_router(router.needs(), component.inspection().manifest));
    }
    let fit = started.is_ok();
    report.gate("starts, and answers whatever it is asked", started.map(drop));
    if !fit {
        return;
    }
    report.advice("a group with no deployment", trial.empty());
    report.advice("a group of 1,000 deployments", trial.many());
    report.advice("the largest and smallest facts about deployments", trial.extremes());
    report.advice("settings that make no sense", trial.odd_settings());
    report.advice("a saved state that makes no sense", trial.odd_states());
    report.memory("memory does not grow over 10,000 calls", trial.memory());
}

struct Trial<'a> {
    component: &'a Arc<Component>,
    setup: &'a Setup,
}

impl Trial<'_> {
    fn start(&self, setup: Setup, state: Option<SavedState>) -> Result<Arc<Router>, PolicyProblem> {
        Router::start(Arc::clone(self.component), setup, state)
    }

    /// Starts, where saying no is a good answer too: `Ok(None)`.
    fn may_refuse(&self, setup: Setup) -> Result<Option<Arc<Router>>, String> {
        match self.start(setup, None) {
            Ok(router) => Ok(Some(router)),
            Err(PolicyProblem::Configure(_)) => Ok(None),
            Err(problem) => Err(problem.to_string()),
        }
    }

    fn started(&self) -> Result<Arc<Router>, String> {
        self.start(self.setup.clone(), None).map_err(|problem| problem.to_string())
    }

    fn empty(&self) -> Result<(), String> {
        let setup = Setup { deployments: Vec::new(), ..self.setup.clone() };
        self.may_refuse(setup)?.map_or(Ok(()), |router| ask(&router, &question(0), 0.0))
    }

    fn many(&self) -> Result<(), String> {
        let copies = self.setup.deployments.iter().cycle().take(MANY).zip(0..);
        let deployments = copies
            .map(|(facts, n)| DeploymentInfo { id: DeploymentId::from(format!("d{n}")), ..facts.clone() })
            .collect();
        let Some(router) = self.may_refuse(Setup { deployments, ..self.setup.clone() })? else { return Ok(()) };
        (0..10).try_for_each(|n| ask(&router, &question(n), 0.0))
    }

    fn extremes(&self) -> Result<(), String> {
        for (float, whole) in [(f64::MAX, u64::MAX), (f64::MIN, 0), (f64::NAN, 1), (0.0, 0), (f64::INFINITY, u64::MAX)]
        {
            let narrow = u32::try_from(whole).unwrap_or(u32::MAX);
            let extreme = |facts: &DeploymentInfo| DeploymentInfo {
                weight: Some(float),
                order: narrow,
                input_price: Some(float),
                output_price: Some(float),
                context_window: Some(narrow),
                rpm: Some(whole),
                tpm: Some(whole),
                itpm: Some(whole),
                otpm: Some(whole),
                ..facts.clone()
            };
            let deployments = self.setup.deployments.iter().map(extreme).collect();
            let setup = Setup { deployments, seed: whole, ..self.setup.clone() };
            let Some(router) = self.may_refuse(setup)? else { continue };
            let question = RouteRequest {
                id: None,
                now: Moment::from_nanos(whole),
                seed: whole,
                input_tokens: narrow,
                input_precision: Precision::UpperBound,
                expected_output_tokens: narrow,
                max_output_tokens: Some(narrow),
                priority: if whole == 0 { i32::MIN } else { i32::MAX },
                deadline_ms: Some(narrow),
                traits: Traits { streaming: true, tools: true, images: true, json: true },
            };
            #[expect(clippy::cast_possible_truncation, reason = "too large for f32 is infinite, which is meant")]
            ask(&router, &question, float as f32)?;
        }
        Ok(())
    }

    fn odd_settings(&self) -> Result<(), String> {
        odd::try_settings(|settings| self.start(Setup { settings, ..self.setup.clone() }, None))
    }

    /// States nobody saved, and the policy's own, damaged.
    fn odd_states(&self) -> Result<(), String> {
        let router = self.started()?;
        (0..20).for_each(|n| router.observe(&outcome(n, 0)));
        let own = router.save();
        let mut states = vec![
            SavedState { schema: String::new(), bytes: Vec::new() },
            SavedState { schema: "no such schema".to_owned(), bytes: vec![0xFF; 10_000] },
        ];
        if let Some(SavedState { schema, bytes }) = own {
            let damaged = [
                Vec::new(),
                bytes[..bytes.len() / 2].to_vec(),
                bytes.iter().map(|byte| !byte).collect(),
                vec![0xFF; bytes.len().max(64)],
                [bytes.as_slice(), &[0; 7]].concat(),
            ];
            states.extend(damaged.map(|bytes| SavedState { schema: schema.clone(), bytes }));
        }
        for state in states {
            let told = format!("a state of {} bytes called `{}`", state.bytes.len(), state.schema);
            let router = self.start(self.setup.clone(), Some(state)).map_err(|problem| format!("{told}: {problem}"))?;
            // The host then starts it with no state; that is the host's merit, not the policy's.
            match router.untaken().map(|untaken| &untaken.problem) {
                None | Some(PolicyProblem::Configure(_) | PolicyProblem::StateLeftOut) => {
                    ask(&router, &question(0), 0.0)?;
                }
                Some(problem) => return Err(format!("{told}: {problem}")),
            }
        }
        Ok(())
    }

    fn memory(&self) -> Result<usize, String> {
        let router = self.started()?;
        let deployments = u64::try_from(self.setup.deployments.len()).unwrap_or(u64::MAX).max(1);
        let mut warm = 0;
        for n in 0..CALLS {
            ask(&router, &question(n), 0.0)?;
            router.observe(&outcome(n, u32::try_from(n % deployments).unwrap_or(0)));
            if n == WARM {
                warm = router.memory_bytes();
            }
        }
        odd::without_growth(warm, router.memory_bytes(), &format!("from call {WARM} to call {CALLS}"))
    }
}

pub(super) fn question(n: u64) -> RouteRequest {
    RouteRequest {
        id: None,
        now: Moment::from_millis(1_767_225_600_000 + n),
        seed: seed::mix(n),
        input_tokens: 1_000,
        input_precision: Precision::Exact,
        expected_output_tokens: 500,
        max_output_tokens: None,
        priority: 0,
        deadline_ms: None,
        traits: Traits { streaming: n.is_multiple_of(2), ..Traits::default() },
    }
}

pub(super) fn outcome(n: u64, deployment: u32) -> Outcome {
    Outcome {
        seed: seed::mix(n),
        attempt: 0,
        deployment,
        fault: n.is_multiple_of(10).then_some(FaultKind::TimedOut),
        input_tokens: 1_000,
        output_tokens: 100,
        cost_usd: 0.01,
        latency_ms: 1_500.0,
        ttft_ms: Some(300.0),
        quality: None,
    }
}

/// Asks with the same number in every cell.
fn ask(router: &Router, question: &RouteRequest, value: f32) -> Result<(), String> {
    let cells = router.needs().signals.len() * router.setup().deployments.len();
    ask_with(router, question, &vec![value; cells], value)
}

fn ask_with(router: &Router, question: &RouteRequest, signals: &[f32], feature: f32) -> Result<(), String> {
    let needs = router.needs();
    let features = vec![feature; needs.features.len()];
    let attributes = vec![""; needs.attributes.len()];
    let answer = router.route(question, signals, &features, &attributes, &mut Vec::new());
    // Each time: what is kept of a log has a bound.
    let said = router.take_log();
    match answer {
        Ok(()) | Err(RouteError::Wait(_) | RouteError::Reject(_)) => Ok(()),
        // By failing over the outcomes that it was told between questions.
        Err(RouteError::Fault(PolicyFault::Quarantined)) => {
            let words = LogLine::last_warning(&said).map_or_else(String::new, |said| format!("; it said: {said}"));
            Err(format!("it failed too often to be asked{words}"))
        }
        Err(RouteError::Fault(fault)) => {
            let shown: String = format!("{signals:?}").chars().take(100).collect();
            Err(format!("with signals {shown}: it {}", fault.in_its_words(&said)))
        }
    }
}
