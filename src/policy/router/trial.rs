//! What every router is put to before it decides anything: numbers that are unknown, infinite or as large as they get, and
//! outcomes that make no sense. It must answer within the budget of a call, each time with a valid ranking or a refusal. What it
//! knows afterwards it is asked by the host, as policies of all roles are.
//!
//! `witgate policy check` and a gateway judge by this, and by nothing else. About forty calls: some 40 µs for a compiled guest.

use super::bindings::exports::witgate::policy::routing as wit;
use super::calls::Routing;
use super::types::{Needs, Outcome, RouteRequest, Setup, Traits};
use super::validate::validate;
use crate::fault::FaultKind;
use crate::moment::Moment;
use crate::policy::host::{Budget, Contract as _, Instance, PolicyFault, PolicyProblem};
use crate::tokens::Precision;

/// Values a signal may have when something is wrong upstream of it.
const STRANGE: [f32; 8] =
    [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0, -0.0, f32::MIN_POSITIVE];

/// Tries an instance, which is thrown away afterwards.
///
/// # Errors
/// What it was put to, and how it failed.
pub(super) fn trial(
    instance: &mut Instance<Routing>,
    needs: &Needs,
    budget: Budget,
    setup: &Setup,
) -> Result<(), PolicyProblem> {
    let cells = needs.signals.len() * setup.deployments.len();
    let attributes = vec![""; needs.attributes.len()];
    let mut ask = |what: &'static str, request: &RouteRequest, signals: &[f32], feature: f32| {
        let failed = |fault: PolicyFault| PolicyProblem::Trial { what, fault };
        let features = vec![feature; needs.features.len()];
        let answer: Result<wit::Ranking, _> =
            instance.route(budget, request, signals, &features, &attributes).map_err(failed)?;
        match answer {
            Ok(ranking) => validate(&ranking, setup.deployments.len(), &mut Vec::new()).map_err(failed),
            Err(_refusal) => Ok(()),
        }
    };
    let plain = extreme(1_000);
    for value in STRANGE {
        ask("signals that are unknown, infinite or negative", &plain, &vec![value; cells], value)?;
    }
    // Every mixture of neighbours.
    for shift in 0..STRANGE.len() {
        let signals: Vec<f32> = STRANGE.into_iter().cycle().skip(shift).take(cells).collect();
        ask("a mixture of strange signals", &plain, &signals, f32::NAN)?;
    }
    for number in [0, 1, u32::MAX] {
        ask("the largest and smallest numbers a request may have", &extreme(number), &vec![0.0; cells], 0.0)?;
    }
    for (number, value) in (0..).zip(STRANGE) {
        for fault in [None, Some(FaultKind::TimedOut)] {
            let failed = |fault| PolicyProblem::Trial { what: "outcomes that make no sense", fault };
            let outcome = strange_outcome(number, value, fault);
            if Routing::concerns(&outcome, setup) {
                Routing::observe(instance, budget, &outcome).map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn extreme(number: u32) -> RouteRequest {
    let largest = number == u32::MAX;
    RouteRequest {
        id: None,
        now: Moment::from_millis(if largest { u64::MAX / 1_000_000 } else { number.into() }),
        seed: if largest { u64::MAX } else { number.into() },
        input_tokens: number,
        input_precision: if largest { Precision::UpperBound } else { Precision::Exact },
        expected_output_tokens: number,
        max_output_tokens: Some(number),
        priority: match number {
            0 => i32::MIN,
            u32::MAX => i32::MAX,
            _ => 0,
        },
        deadline_ms: Some(number),
        traits: Traits { streaming: largest, tools: largest, images: largest, json: largest },
    }
}

fn strange_outcome(number: u32, value: f32, fault: Option<FaultKind>) -> Outcome {
    Outcome {
        seed: number.into(),
        attempt: u32::MAX,
        deployment: 0,
        fault,
        input_tokens: u32::MAX,
        output_tokens: if number.is_multiple_of(2) { 0 } else { u32::MAX },
        cost_usd: f64::from(value),
        latency_ms: value,
        ttft_ms: Some(value),
        quality: number.is_multiple_of(2).then_some(value),
    }
}
