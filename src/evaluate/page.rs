//! A comparison on one page with everything in it, readable without a network, its curves drawn in place.

use std::fmt::Write as _;

use super::show::{cells, count};
use super::{Evaluation, Figures};
use crate::experiment::{Axes, Curve, STYLE, curves, escaped};

/// The page.
#[must_use]
pub fn page(evaluation: &Evaluation) -> String {
    let Evaluation { prompts, models, seeds, contenders, objective } = evaluation;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Routers compared</title><style>{STYLE}</style></head><body><h1>Routers compared</h1>\
         <p>{prompts} prompts, {} models, each contender played {seeds} times by witgate {}. A reply is worth {} · quality − {} · cost − {} · \
         latency. ± is the interval at 95 %.</p>",
        models.len(),
        env!("CARGO_PKG_VERSION"),
        objective.quality,
        objective.cost,
        objective.latency,
    );
    let lines: Vec<Curve<'_>> = contenders
        .iter()
        .map(|one| Curve {
            name: &one.name,
            points: one.curve.iter().map(|(request, worth)| (count(*request), *worth)).collect(),
        })
        .collect();
    let axes = Axes { ticks: ["the first request", "half", "the last"], unit: "", from_zero: false };
    curves(&mut out, "Worth of the last hundred replies", &lines, &axes);
    out.push_str(
        "<h2>Contenders</h2><table><tr><th>contender</th><th>worth</th><th>quality</th><th>USD a request</th><th>regret</th>\
         <th>converged</th><th>gain converged</th></tr>",
    );
    for contender in contenders {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td></tr>",
            escaped(&contender.name),
            cells(contender).join("</td><td>")
        );
    }
    out.push_str("</table><h2>Share of each model</h2><table><tr><th>contender</th>");
    for model in models {
        let _ = write!(out, "<th>{}</th>", escaped(model));
    }
    out.push_str("</tr>");
    for Figures { name, shares, .. } in contenders {
        let _ = write!(out, "<tr><td>{}</td>", escaped(name));
        for share in shares {
            let _ = write!(out, "<td>{:.1} %</td>", share * 100.0);
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></body></html>\n");
    out
}
