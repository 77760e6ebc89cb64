//! A plan as people read it.

use std::fmt;

use super::figures::{number, whole};
use super::{Figures, Plan};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed =
            if self.what_if.is_empty() { String::new() } else { format!(", with {}", self.what_if.join(", ")) };
        writeln!(f, "{}{changed}: {} items in {} calls", self.experiment, self.items, self.calls)?;
        writeln!(
            f,
            "{:<22} {:>6} {:>6} {:>12} {:>12} {:>22} {:>9} {:>6}  bound by",
            "model", "items", "calls", "input", "output", "cost USD", "minutes", "used"
        )?;
        for model in &self.models {
            let about = if model.exact { "" } else { "~" };
            writeln!(
                f,
                "{:<22} {:>6} {:>6} {:>12} {:>12} {:>22} {:>9} {:>5.0}%  {}",
                model.model,
                model.items,
                model.calls,
                format!("{about}{}", model.input_tokens),
                format!("~{:.0}", model.output_tokens.expected),
                money(model.cost_usd),
                minutes(model.minutes),
                model.utilization * 100.0,
                model.bound_by.as_deref().unwrap_or("how long replies take"),
            )?;
        }
        writeln!(
            f,
            "in all: about {} tokens, {} USD, {} minutes",
            self.total_estimated_tokens,
            money(self.cost_usd),
            minutes(self.estimated_duration_minutes)
        )?;
        for model in self.models.iter().filter(|model| model.tokens_per_minute.is_some()) {
            writeln!(
                f,
                "{:<22} {}  tokens by minute against the limit",
                model.model,
                bars(&model.tokens_by_minute, model.tokens_per_minute)
            )?;
        }
        let mut sources: Vec<String> =
            self.models.iter().map(|model| format!("{} ({})", model.model, model.expects)).collect();
        sources.dedup();
        writeln!(f, "length and pace of replies: {}", sources.join(", "))?;
        for item in &self.never_fits {
            writeln!(f, "cannot be answered: {} of {}: {}", item.text, item.run, item.why)?;
            if let Some(deployment) = &item.would_take {
                writeln!(f, "  `{deployment}` would take it")?;
            }
        }
        if self.failing > self.never_fits.len() {
            writeln!(f, "and {} more", self.failing - self.never_fits.len())?;
        }
        match self.reasons.as_slice() {
            [] => writeln!(f, "feasible")?,
            reasons => writeln!(f, "not feasible: {}", reasons.join("; "))?,
        }
        for one in &self.recommendations {
            let mut gain = Vec::new();
            if one.saves_minutes.abs() >= 0.05 {
                gain.push(format!("{:.1} minutes", one.saves_minutes));
            }
            gain.extend(one.saves_usd.filter(|usd| usd.abs() >= 0.005).map(|usd| format!("${usd:.2}")));
            if one.saves_tokens != 0 {
                gain.push(format!("{} tokens", one.saves_tokens));
            }
            let how = one.what_if.as_ref().map_or_else(String::new, |how| format!("  (--what-if '{how}')"));
            writeln!(f, "recommended: {}; saves {}{how}", one.what, gain.join(", "))?;
        }
        Ok(())
    }
}

fn minutes(minutes: f64) -> String {
    if minutes < 10.0 { format!("{minutes:.2}") } else { format!("{minutes:.1}") }
}

fn money(cost: Option<Figures>) -> String {
    match cost {
        Some(cost) => {
            let digits = if cost.expected < 1.0 { 4 } else { 2 };
            format!("{:.digits$} ({:.digits$}–{:.digits$})", cost.expected, cost.low, cost.high)
        }
        None => "price unknown".to_owned(),
    }
}

/// One sign a minute, of many minutes one for several.
fn bars(by_minute: &[u64], limit: Option<u64>) -> String {
    const SIGNS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const WIDEST: usize = 60;
    let Some(limit) = limit.filter(|limit| *limit > 0) else { return String::new() };
    let each = by_minute.len().div_ceil(WIDEST).max(1);
    let mut out = String::new();
    for minutes in by_minute.chunks(each) {
        let share = number(minutes.iter().sum()) / (number(limit) * number(minutes.len() as u64));
        let place = usize::try_from(whole(share * 8.0)).unwrap_or_default().min(SIGNS.len() - 1);
        out.push(SIGNS[place]);
    }
    out
}
