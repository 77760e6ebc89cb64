//! `cargo xtask prove hardening`: what one request, one probe, one connection and one provider may cost. Each row says what was
//! tried against the built gateway, the bound, and what was seen; then everything at once for some minutes.

mod gateway;
mod provider;
mod rows;
mod soak;

use std::time::Duration;

use crate::say;

/// One claim and how it fared.
struct Row {
    tried: &'static str,
    bound: String,
    seen: String,
    holds: bool,
}

impl Row {
    /// `seen` is to be at most `bound`, both in `unit`.
    fn at_most(tried: &'static str, bound: f64, seen: f64, unit: &str) -> Self {
        Self { tried, bound: format!("≤ {bound:.0} {unit}"), seen: format!("{seen:.1} {unit}"), holds: seen <= bound }
    }

    fn claim(tried: &'static str, bound: &str, seen: String, holds: bool) -> Self {
        Self { tried, bound: bound.to_owned(), seen, holds }
    }
}

/// Proves it, or says what does not hold.
pub(super) fn prove(soak: Duration) -> Result<(), String> {
    say("| tried | bound | seen | |\n| --- | --- | --- | --- |");
    let mut broken = Vec::new();
    let mut print = |row: Row| {
        let verdict = if row.holds { "holds" } else { "BROKEN" };
        say(&format!("| {} | {} | {} | {verdict} |", row.tried, row.bound, row.seen));
        if !row.holds {
            broken.push(row.tried);
        }
    };
    for rows in rows::ALL {
        rows()?.into_iter().for_each(&mut print);
    }
    soak::run(soak)?.into_iter().for_each(&mut print);
    if broken.is_empty() { Ok(()) } else { Err(format!("broken: {}", broken.join("; "))) }
}
