//! A comparison as people read it.

use std::fmt;

use super::figures::Interval;
use super::{Evaluation, Figures};

/// A line for each contender.
pub struct Table<'e>(pub &'e Evaluation);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evaluation { prompts, models, seeds, contenders, .. } = self.0;
        writeln!(f, "{prompts} prompts, {} models, played {seeds} times; ± is the interval at 95 %", models.len())?;
        writeln!(
            f,
            "{:<16} {:>17} {:>17} {:>23} {:>17} {:>14} {:>14}",
            "contender", "worth", "quality", "USD a request", "regret", "converged", "gain converged"
        )?;
        for contender in contenders {
            let [worth, quality, cost, regret, converged, gain] = cells(contender);
            let name = &contender.name;
            writeln!(f, "{name:<16} {worth:>17} {quality:>17} {cost:>23} {regret:>17} {converged:>14} {gain:>14}")?;
        }
        for Figures { name, shares, .. } in contenders {
            let shares = models.iter().zip(shares).map(|(model, share)| format!("{model} {:.1} %", share * 100.0));
            writeln!(f, "{name}: {}", shares.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

/// Worth, quality, US dollars a request, regret, converged and gain converged of one contender.
pub(super) fn cells(figures: &Figures) -> [String; 6] {
    let Figures { worth, quality, cost_usd, regret, converged, gain_converged, .. } = figures;
    let gain = gain_converged.map_or_else(|| "–".to_owned(), |interval| shown(interval, 0));
    let (worth, quality) = (shown(*worth, 4), shown(*quality, 4));
    [worth, quality, shown(*cost_usd, 7), shown(*regret, 1), shown(*converged, 0), gain]
}

/// A mean and its margin; a dash where there is none.
fn shown(interval: Interval, digits: usize) -> String {
    let margin = interval.margin.map_or_else(|| "–".to_owned(), |margin| format!("{margin:.digits$}"));
    format!("{:.digits$} ± {margin}", interval.mean)
}

/// A count as a number to reckon with.
pub(super) fn count(count: usize) -> f64 {
    crate::experiment::number(count as u64)
}
