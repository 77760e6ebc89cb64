//! What a log says of a router, as people read it: in a terminal, and on one page with everything in it.

use std::fmt::{self, Write as _};

use super::estimate::{Estimate, Estimates};
use super::log::LogReport;
use super::show::count;
use crate::experiment::{Axes, Curve, STYLE, curves, escaped};

/// One of the estimates.
type Pick = fn(&Estimates) -> Estimate;

/// The estimates that are shown, by name.
const ROWS: [(&str, Pick); 5] = [
    ("the log's router", |all| all.logged),
    ("IPS", |all| all.ips),
    ("SNIPS", |all| all.snips),
    ("doubly robust", |all| all.doubly_robust),
    ("better by", |all| all.better_by),
];

/// What a log says.
pub struct LogTable<'r>(pub &'r LogReport);

impl fmt::Display for LogTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        writeln!(f, "{}", summary(report))?;
        writeln!(f, "{:<18} {:>26} {:>26} {:>35}", "", "worth", "quality", "USD a request")?;
        for (name, pick) in ROWS {
            let [worth, quality, cost] = cells(report, pick);
            writeln!(f, "{name:<18} {worth:>26} {quality:>26} {cost:>35}")?;
        }
        writeln!(f, "{}", how_much(report))?;
        for share in &report.shares {
            let (logged, chosen) = (share.logged * 100.0, share.chosen * 100.0);
            writeln!(f, "{}: chosen in {logged:.1} % of the log, by the router in {chosen:.1} %", share.deployment)?;
        }
        for note in &report.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

fn summary(report: &LogReport) -> String {
    let LogReport { group, router, logged_by, runs, left_out, judged, worth, .. } = report;
    let judged = if *judged > 0.0 { format!(", {:.1} % judged", judged * 100.0) } else { String::new() };
    let group = if group.is_empty() { "no group" } else { group };
    format!(
        "{router} on the log of {group}, decided by {}: {runs} runs, {} decisions{judged}, {left_out} left out; in brackets the interval at 95 %",
        logged_by.join(", "),
        worth.decisions,
    )
}

fn how_much(report: &LogReport) -> String {
    let worth = &report.worth;
    format!(
        "the two agree on {} decisions, which say as much as {:.0} of equal weight; weights come to {} on average",
        worth.agreed,
        worth.effective,
        shown(worth.weight, 2)
    )
}

fn cells(report: &LogReport, pick: Pick) -> [String; 3] {
    [shown(pick(&report.worth), 4), shown(pick(&report.quality), 4), shown(pick(&report.cost_usd), 7)]
}

/// A value and its interval.
fn shown(estimate: Estimate, digits: usize) -> String {
    let Estimate { value, low, high } = estimate;
    if value.is_nan() { "unknown".to_owned() } else { format!("{value:.digits$} [{low:.digits$}, {high:.digits$}]") }
}

/// The page.
#[must_use]
pub fn log_page(report: &LogReport) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>A router estimated</title><style>{STYLE}</style></head><body><h1>A router estimated from a log</h1><p>{}. A reply is worth \
         {} · quality − {} · cost − {} · latency. By witgate {}.</p>",
        escaped(&summary(report)),
        report.objective.quality,
        report.objective.cost,
        report.objective.latency,
        env!("CARGO_PKG_VERSION"),
    );
    let line = |name, pick: fn(&(usize, f64, f64)) -> f64| Curve {
        name,
        points: report.worth.curve.iter().map(|point| (count(point.0), pick(point))).collect(),
    };
    let lines = [line("the log's router", |point| point.1), line(&report.router, |point| point.2)];
    let axes = Axes { ticks: ["the first decision", "half", "the last"], unit: "", from_zero: false };
    curves(&mut out, "Mean worth up to a decision, doubly robust", &lines, &axes);
    out.push_str("<h2>Estimates</h2><table><tr><th></th><th>worth</th><th>quality</th><th>USD a request</th></tr>");
    for (name, pick) in ROWS {
        let _ = write!(out, "<tr><td>{name}</td><td>{}</td></tr>", cells(report, pick).join("</td><td>"));
    }
    let _ = write!(out, "</table><p>{}.</p>", escaped(&how_much(report)));
    out.push_str(
        "<h2>Share of each deployment</h2><table><tr><th>deployment</th><th>in the log</th><th>by the router</th></tr>",
    );
    for share in &report.shares {
        let (name, logged, chosen) = (escaped(&share.deployment), share.logged * 100.0, share.chosen * 100.0);
        let _ = write!(out, "<tr><td>{name}</td><td>{logged:.1} %</td><td>{chosen:.1} %</td></tr>");
    }
    out.push_str("</table>");
    for note in &report.notes {
        let _ = write!(out, "<p>{}</p>", escaped(note));
    }
    out.push_str("</body></html>\n");
    out
}
