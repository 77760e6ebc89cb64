//! Outcomes on one page with everything in it, readable without a network, its charts drawn in place.

use std::fmt::Write as _;

use super::show::{money, span, used};
use super::{Outcome, Survey};
use crate::experiment::{Axes, Curve, STYLE, by_minute, curves, escaped, number};

/// The page.
#[must_use]
pub fn page(survey: &Survey, outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    let title = match outcomes.len() {
        1 => "One load, one contender".to_owned(),
        count => format!("One load, {count} contenders"),
    };
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>\
         <p>{} requests with {} input tokens, arriving over {}. Simulated by witgate {}: no provider was called.</p>",
        survey.requests,
        survey.input_tokens,
        span(survey.last.since(survey.first).as_secs_f64()),
        env!("CARGO_PKG_VERSION"),
    );
    contenders(&mut out, outcomes);
    times(&mut out, outcomes);
    deployments(&mut out, outcomes);
    for outcome in outcomes {
        for group in outcome.groups.iter().filter(|group| !group.tokens_by_minute.is_empty()) {
            let title = format!("{}, {}", outcome.name, group.group);
            by_minute(&mut out, &title, &group.tokens_by_minute, group.tokens_per_minute);
        }
    }
    out.push_str("</body></html>\n");
    out
}

fn contenders(out: &mut String, outcomes: &[Outcome]) {
    out.push_str(
        "<h2>Contenders</h2><table><tr><th>contender</th><th>answered</th><th>without a reply</th><th>makespan</th><th>limit used</th>\
         <th>USD</th><th>p50 s</th><th>p95 s</th><th>p99 s</th><th>waited, p95 s</th><th>429s</th><th>fallbacks</th></tr>",
    );
    for outcome in outcomes {
        let refused: Vec<String> = outcome.refused.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let times = outcome.latency_seconds;
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td style=\"white-space:nowrap\">{}</td><td>{}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td>\
             <td>{:.1}</td><td>{}</td><td>{}</td></tr>",
            escaped(&outcome.name),
            outcome.answered,
            if refused.is_empty() { "0".to_owned() } else { refused.join(", ") },
            span(outcome.makespan_seconds),
            used(outcome),
            money(outcome.cost_usd),
            times.p50,
            times.p95,
            times.p99,
            outcome.waited_seconds.p95,
            outcome.rate_limited,
            outcome.fallbacks,
        );
    }
    out.push_str("</table>");
    for outcome in outcomes {
        for (model, count) in &outcome.left_out {
            let (name, model) = (escaped(&outcome.name), escaped(model));
            let _ =
                write!(out, "<p>{name}: {count} requests for <code>{model}</code> are left out: nobody serves it.</p>");
        }
    }
}

/// The time of replies by the share of them that was faster.
fn times(out: &mut String, outcomes: &[Outcome]) {
    let drawn = outcomes.iter().filter(|outcome| !outcome.curve.is_empty()).map(|outcome| {
        let last = number((outcome.curve.len() - 1).max(1) as u64);
        let points = outcome.curve.iter().zip(0_u64..).map(|(seconds, part)| (number(part) / last, *seconds)).collect();
        Curve { name: &outcome.name, points }
    });
    let axes = Axes { ticks: ["the fastest", "half", "the slowest"], unit: " s", from_zero: true };
    curves(out, "Time of replies", &drawn.collect::<Vec<_>>(), &axes);
}

fn deployments(out: &mut String, outcomes: &[Outcome]) {
    out.push_str(
        "<h2>Who was called</h2><table><tr><th>contender</th><th>deployment</th><th>calls</th><th>answered</th><th>429s</th>\
         <th>input</th><th>output</th><th>USD</th></tr>",
    );
    for outcome in outcomes {
        for of in &outcome.deployments {
            let _ = write!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(&outcome.name),
                escaped(&of.deployment),
                of.calls,
                of.answered,
                of.rate_limited,
                of.input_tokens,
                of.output_tokens,
                money(of.cost_usd),
            );
        }
    }
    out.push_str("</table>");
}
