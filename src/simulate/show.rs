//! Outcomes side by side, as people read them.

use std::fmt;

use super::Outcome;
use crate::experiment::number;

/// A line for each contender.
pub struct Table<'o>(pub &'o [Outcome]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.0.iter().map(|outcome| outcome.name.chars().count()).max().unwrap_or_default().max(9);
        writeln!(
            f,
            "{:<wide$} {:>9} {:>8} {:>10} {:>7} {:>12} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "contender",
            "answered",
            "refused",
            "makespan",
            "used",
            "USD",
            "p50 s",
            "p95 s",
            "p99 s",
            "wait p95",
            "429s"
        )?;
        for outcome in self.0 {
            let times = outcome.latency_seconds;
            writeln!(
                f,
                "{:<wide$} {:>9} {:>8} {:>10} {:>7} {:>12} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8}",
                outcome.name,
                outcome.answered,
                outcome.requests - outcome.answered,
                span(outcome.makespan_seconds),
                used(outcome),
                money(outcome.cost_usd),
                times.p50,
                times.p95,
                times.p99,
                outcome.waited_seconds.p95,
                outcome.rate_limited,
            )?;
        }
        for outcome in self.0 {
            if !outcome.refused.is_empty() {
                let refused: Vec<String> =
                    outcome.refused.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
                writeln!(f, "{}: without a reply: {}", outcome.name, refused.join(", "))?;
            }
            for (model, count) in &outcome.left_out {
                writeln!(f, "{}: left out, since nobody serves `{model}`: {count}", outcome.name)?;
            }
        }
        for outcome in self.0.iter().filter(|outcome| outcome.deployments.len() > 1) {
            let calls = |count: u64| number(count) / number(outcome.calls.max(1)) * 100.0;
            let shares = outcome.deployments.iter().map(|of| format!("{} {:.1} %", of.deployment, calls(of.calls)));
            writeln!(f, "{}: calls: {}", outcome.name, shares.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

/// The share of the most used limit.
pub(super) fn used(outcome: &Outcome) -> String {
    outcome.limit_used.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

pub(super) fn money(cost: Option<f64>) -> String {
    cost.map_or_else(|| "unknown".to_owned(), |cost| format!("{cost:.4}"))
}

/// Hours, minutes and seconds.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 120.0 {
        return format!("{seconds:.1} s");
    }
    let minutes = seconds / 60.0;
    if minutes < 120.0 { format!("{minutes:.1} min") } else { format!("{:.2} h", minutes / 60.0) }
}
