//! Who may serve, best first. A policy advises; a faulty one is replaced by the built-in order, which is
//! the configuration's: `order`, then position.
//!
//! A deployment the policy leaves out is not called. `order` is the operator's word and stands above the
//! policy's ranking: all deployments of a lower `order` come before those of a higher one.

use std::time::Duration;

use crate::chat::{ImageSource, OutputFormat, PartKind};
use crate::health::Admission;
use crate::limits::{Demand, Reading, Wait};
use crate::moment::Moment;
use crate::policy::{Choice, Question, RouteEnd, Router, Traits};
use crate::signal::Signal;
use crate::snapshot::{Serving, Slot};
use crate::tokens;

use super::{Asked, Estimate, Ticket};

/// Told where something under way has to end first and nobody knows when.
const UNKNOWN_WAIT_MS: f32 = 1000.0;

/// The deployments to try, best first, as indices into the group.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) order: Vec<usize>,
}

/// Asks the group's policy; never fails.
pub(super) fn plan(asked: &Asked<'_>, estimate: &mut Estimate, ticket: &mut Ticket) -> Plan {
    let serving = asked.serving;
    let mut order: Vec<usize> = match &serving.router {
        Some(router) => match ask(asked, router, estimate, ticket) {
            Ok(choices) => choices.iter().map(|choice| choice.deployment as usize).collect(),
            Err(end) => {
                if let RouteEnd::Fault(fault) = &end {
                    tracing::warn!(policy = &*serving.policy, group = %serving.group.name, %fault, "policy fault; built-in order used");
                }
                ticket.record.policy = Some("built-in".into());
                built_in(serving)
            }
        },
        None => built_in(serving),
    };
    order.sort_by_key(|index| serving.slots[*index].deployment.order);
    Plan { order }
}

fn built_in(serving: &Serving) -> Vec<usize> {
    (0..serving.slots.len()).collect()
}

fn ask(asked: &Asked<'_>, router: &Router, estimate: &mut Estimate, ticket: &Ticket) -> Result<Vec<Choice>, RouteEnd> {
    let needs = router.needs();
    let slots = &asked.serving.slots;
    if needs.exact_tokens {
        estimate.count(asked.request, &slots[0].deployment.model);
    }
    let now = asked.gateway.clock.now();
    let signals = signals(asked, &needs.signals, now, estimate);
    let features: Vec<f32> = needs.features.iter().map(|feature| tokens::feature(*feature, asked.request)).collect();
    let attributes: Vec<&str> = needs.attributes.iter().map(|name| attribute(name, ticket)).collect();
    let question = Question {
        now,
        seed: ticket.seed,
        input_tokens: u32::try_from(estimate.input()).unwrap_or(u32::MAX),
        expected_output_tokens: u32::try_from(estimate.demand(&slots[0].deployment).output_tokens).unwrap_or(u32::MAX),
        max_output_tokens: asked.request.max_tokens,
        priority: asked.priority,
        deadline_ms: u32::try_from(asked.deadline.since(now).as_millis()).ok(),
        traits: traits(asked),
    };
    let mut choices = Vec::with_capacity(slots.len());
    router.route(&question, &signals, &features, &attributes, &mut choices)?;
    Ok(choices)
}

/// The wanted columns, one after another, all at one moment.
fn signals(asked: &Asked<'_>, wanted: &[Signal], now: Moment, estimate: &Estimate) -> Vec<f32> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let slots = &asked.serving.slots;
    asked.gateway.limits.read(now, |limits| {
        let mut matrix = Vec::with_capacity(wanted.len() * slots.len());
        for signal in wanted {
            let cells = slots.iter().map(|slot| value(limits, now, *signal, slot, estimate.demand(&slot.deployment)));
            matrix.extend(cells);
        }
        matrix
    })
}

/// A fact about the caller; "" where it is not known.
fn attribute<'a>(name: &str, ticket: &'a Ticket) -> &'a str {
    match name {
        "caller" => ticket.record.caller.as_ref().map_or("", |caller| caller.as_str()),
        "group" => ticket.record.group.as_ref().map_or("", |group| group.as_str()),
        "face" => ticket.record.face.as_str(),
        _ => "",
    }
}

fn traits(asked: &Asked<'_>) -> Traits {
    let request = asked.request;
    let pictures =
        |kind: &PartKind| matches!(kind, PartKind::Image(ImageSource::Url { .. } | ImageSource::Base64 { .. }));
    Traits {
        streaming: request.stream,
        tools: !request.tools.is_empty(),
        images: request.messages.iter().any(|message| message.parts.iter().any(|part| pictures(&part.kind))),
        json: matches!(request.output, Some(OutputFormat::JsonObject | OutputFormat::JsonSchema { .. })),
    }
}

/// One signal of one deployment, as `signal.rs` defines it.
fn value(limits: &mut Reading<'_>, now: Moment, signal: Signal, slot: &Slot, demand: Demand) -> f32 {
    let free = |amount: Option<u64>| amount.map_or(f32::INFINITY, small);
    match signal {
        Signal::WaitMs => wait(limits, now, slot, demand),
        Signal::CostUsd => slot.deployment.prices.map_or(f32::NAN, |prices| {
            let cost = prices.input.of(demand.input_tokens) + prices.output.of(demand.output_tokens);
            small(cost.0) / 1e9
        }),
        Signal::TokensUsed => small(limits.used(slot.scope).tokens),
        Signal::RequestsUsed => small(limits.used(slot.scope).requests),
        Signal::TokensFree => free(limits.used(slot.scope).free.tightest_tokens()),
        Signal::RequestsFree => free(limits.used(slot.scope).free.requests),
        Signal::InFlight
        | Signal::LatencyMs
        | Signal::LatencyPerTokenMs
        | Signal::TtftMs
        | Signal::FailureRate
        | Signal::Healthy => slot.health.report(now).signal(signal).unwrap_or(f32::NAN),
    }
}

/// Limits and breaker together: whichever keeps the request longer.
fn wait(limits: &mut Reading<'_>, now: Moment, slot: &Slot, demand: Demand) -> f32 {
    let limited = match limits.wait(slot.scope, demand) {
        Wait::Now => 0.0,
        Wait::At(moment) => millis(moment.since(now)),
        Wait::Unknown => UNKNOWN_WAIT_MS,
        Wait::Never => f32::INFINITY,
    };
    match slot.health.admission(now) {
        Admission::Yes | Admission::Probe => limited,
        Admission::No { until: Some(until) } => limited.max(millis(until.since(now))),
        Admission::No { until: None } => limited.max(UNKNOWN_WAIT_MS),
    }
}

fn millis(length: Duration) -> f32 {
    length.as_secs_f32() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "signals are single precision by contract")]
const fn small(amount: u64) -> f32 {
    amount as f32
}
