//! What routers come to on one page with everything in it: it runs no script and loads nothing.

use std::fmt::Write as _;

use crate::experiment::{Axes, Curve, STYLE, curves, escaped};
use crate::telemetry::MINUTES;

use super::learning::{Around, DeploymentShown, GroupShown, number};

/// Minutes that a point of a curve stands for: few questions in one would make it jump.
const POINT: usize = 5;
/// Seconds after which a browser asks again.
const AGAIN: u32 = 15;

/// The page.
pub(super) fn page(groups: &[GroupShown]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"refresh\" content=\"{AGAIN}\"><title>What routers chose</title><style>{STYLE}</style></head><body>\
         <h1>What routers chose</h1><p>The last {MINUTES} minutes of this gateway.</p>"
    );
    if groups.is_empty() {
        out.push_str("<p>No policy decides for any group.</p>");
    }
    for group in groups {
        of_group(&mut out, group);
    }
    out.push_str("</body></html>\n");
    out
}

fn of_group(out: &mut String, shown: &GroupShown) {
    let requests: u64 = shown.deployments.iter().map(|one| one.all.chosen).sum();
    let reward = &shown.objective;
    let _ = write!(
        out,
        "<h2>{}</h2><p>{} decides; {requests} requests. A reply is worth {} · quality − {} · cost − {} · latency, cost and latency from 0 to 1 on a \
         logarithmic scale.</p><table><tr><th>deployment</th><th>share</th><th>requests</th><th>told of</th><th>quality</th><th>worth</th>\
         <th>USD a reply</th><th>ms a reply</th></tr>",
        escaped(shown.group.as_str()),
        escaped(&shown.policy),
        reward.quality,
        reward.cost,
        reward.latency,
    );
    for one in &shown.deployments {
        let mean = |sum: f64, count: u64| (sum / number(count).max(1.0)).exp();
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{:.1} %</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(one.deployment.as_str()),
            one.share * 100.0,
            one.all.chosen,
            one.all.judged,
            around(one.quality),
            around(one.worth),
            where_any(one.all.priced, format!("{:.6}", mean(one.all.ln_cost, one.all.priced))),
            where_any(one.all.replied, format!("{:.0}", mean(one.all.ln_latency, one.all.replied))),
        );
    }
    out.push_str("</table>");
    shares(out, shown);
}

fn where_any(count: u64, text: String) -> String {
    if count > 0 { text } else { "–".to_owned() }
}

/// A mean, and where it is at 95 %.
fn around(one: Option<Around>) -> String {
    one.map_or_else(|| "–".to_owned(), |Around { mean, low, high }| format!("{mean:.3} ({low:.3} to {high:.3})"))
}

/// The share of each deployment, over time.
fn shares(out: &mut String, shown: &GroupShown) {
    let points = MINUTES / POINT;
    let counts = |one: &DeploymentShown| {
        let mut counts = vec![0_u64; points];
        for (ago, happened) in &one.minutes {
            counts[(MINUTES - 1 - ago) / POINT] += happened.chosen;
        }
        counts
    };
    let counts: Vec<Vec<u64>> = shown.deployments.iter().map(counts).collect();
    let all: Vec<u64> = (0..points).map(|point| counts.iter().map(|of| of[point]).sum()).collect();
    let Some(first) = all.iter().position(|count| *count > 0) else { return };
    let curve = |(one, counts): (&'_ DeploymentShown, &Vec<u64>)| {
        let share = |point: usize| {
            let place = number(u64::try_from(point).unwrap_or(0));
            (all[point] > 0).then(|| (place, 100.0 * number(counts[point]) / number(all[point])))
        };
        (one.deployment.clone(), (first..points).filter_map(share).collect::<Vec<_>>())
    };
    let drawn: Vec<_> = shown.deployments.iter().zip(&counts).map(curve).collect();
    let last = all.iter().rposition(|count| *count > 0).unwrap_or(first);
    let ago = |point: usize| match (points - 1 - point) * POINT {
        0 => "now".to_owned(),
        minutes => format!("{minutes} min ago"),
    };
    let (begin, end) = (ago(first), ago(last));
    let axes = Axes { ticks: [&begin, "", &end], unit: " %", from_zero: true };
    let lines: Vec<Curve<'_>> =
        drawn.iter().map(|(name, points)| Curve { name: name.as_str(), points: points.clone() }).collect();
    curves(out, "Share of each deployment", &lines, &axes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Objective;
    use crate::telemetry::{ByMinute, Happened};

    fn shown(name: &str, ago: usize, chosen: u64) -> DeploymentShown {
        let all = Happened { chosen, ..Happened::default() };
        DeploymentShown {
            deployment: name.into(),
            share: 0.5,
            all,
            minutes: ByMinute::from([(ago, all)]),
            quality: Some(Around { mean: 0.8, low: 0.75, high: 0.85 }),
            worth: None,
        }
    }

    #[test]
    fn names_are_text_and_shares_are_drawn_from_the_first_request_on() {
        let group = GroupShown {
            group: "<b>&\"g\"".into(),
            policy: "bandit@1".into(),
            objective: Objective::default(),
            deployments: vec![shown("<script>alert(1)</script>", 17, 3), shown("b", 0, 4)],
        };
        let page = page(&[group]);
        assert!(page.contains("&lt;b&gt;&amp;") && !page.contains("<b>") && !page.contains("<script"), "{page}");
        for words in ["0.800 (0.750 to 0.850)", "7 requests", "15 min ago", ">now<", "<td>–</td>", "<polyline"] {
            assert!(page.contains(words), "{words} in {page}");
        }
        assert_eq!(page.matches("<polyline").count(), 2);
    }

    #[test]
    fn a_gateway_without_policies_says_so_and_a_group_without_requests_has_no_curve() {
        assert!(page(&[]).contains("No policy decides"));
        let quiet = GroupShown {
            group: "g".into(),
            policy: "bandit@1".into(),
            objective: Objective::default(),
            deployments: vec![shown("a", 0, 0)],
        };
        assert!(!page(&[quiet]).contains("<svg"));
    }
}
