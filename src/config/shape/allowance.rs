//! What somebody may use, in LiteLLM's words for keys: of a key, a team, a tag, a group, a provider, of everybody.

use crate::budgets::{BudgetSpec, Period};
use crate::config::section::{Kind, Section};
use crate::config::yaml::{Entry, Place};
use crate::money::NanoUsd;
use crate::virtual_key::Allowance;

/// Money and how long it is for.
pub(in crate::config) fn budget(section: &mut Section<'_, '_>) -> Allowance {
    let max_budget = dollars(section, "max_budget");
    let soft_budget = dollars(section, "soft_budget");
    let period = period(section, "budget_duration");
    if let (Some(max), Some(soft)) = (max_budget, soft_budget)
        && soft > max
    {
        section.places.error_at(
            "soft_budget",
            "`soft_budget` is above `max_budget`",
            "it is told before that is spent",
        );
    }
    Allowance { max_budget, soft_budget, period, ..Allowance::default() }
}

/// The same with limits.
pub(in crate::config) fn allowance(section: &mut Section<'_, '_>) -> Allowance {
    Allowance {
        rpm: section.count("rpm_limit"),
        tpm: section.count("tpm_limit"),
        itpm: section.count("itpm_limit"),
        otpm: section.count("otpm_limit"),
        rpd: section.count("rpd_limit"),
        tpd: section.count("tpd_limit"),
        max_parallel: section.count("max_parallel_requests"),
        ..budget(section)
    }
}

/// One of several, by name.
pub(in crate::config) struct Named {
    pub(in crate::config) at: Place,
    pub(in crate::config) name: String,
    pub(in crate::config) allowance: Allowance,
    /// The models it may ask for; of a team alone.
    pub(in crate::config) models: Vec<String>,
}

/// `witgate.teams`, `witgate.tags`, `witgate.groups`: a mapping of names.
pub(in crate::config) fn named(section: &mut Section<'_, '_>, key: &'static str) -> Vec<Named> {
    let (reader, node) = (section.reader(), section.descend(key, Kind::SectionByName(key)));
    let entries = node.map_or(&[] as &[Entry], |node| reader.map(node, key));
    let read = |entry: &Entry| {
        let path = format!("witgate.{key}.{}", entry.key);
        let mut section = reader.section(&entry.node, key, &path).strict();
        let models = if key == "teams" { section.texts("models") } else { Vec::new() };
        let allowance = allowance(&mut section);
        section.finish();
        Named { at: entry.at, name: entry.key.clone(), allowance, models }
    };
    entries.iter().map(read).collect()
}

/// LiteLLM's mappings of budgets: `provider_budget_config`, `tag_budget_config`.
pub(in crate::config) fn budgets(section: &mut Section<'_, '_>, key: &'static str) -> Vec<(String, BudgetSpec)> {
    let (reader, node) = (section.reader(), section.descend(key, Kind::SectionByName("budget_config")));
    let entries = node.map_or(&[] as &[Entry], |node| reader.map(node, key));
    let read = |entry: &Entry| {
        let path = section.places.path_of(&format!("{key}.{}", entry.key));
        let mut section = reader.section(&entry.node, "budget_config", &path);
        let max = dollars(&mut section, "budget_limit").or(dollars(&mut section, "max_budget"));
        let length = period(&mut section, "time_period").or(period(&mut section, "budget_duration"));
        if max.is_none() {
            section.places.error_at("budget_limit", "it needs a `budget_limit`", "dollars, as in `budget_limit: 100`");
        }
        section.finish();
        (entry.key.clone(), BudgetSpec { max, period: length, ..BudgetSpec::default() })
    };
    entries.iter().map(read).collect()
}

/// Dollars.
pub(in crate::config) fn dollars(section: &mut Section<'_, '_>, key: &'static str) -> Option<NanoUsd> {
    let usd = section.amount(key)?;
    let money = NanoUsd::from_usd(usd);
    if money.is_none() {
        section.places.error_at(key, format!("`{key}` is over a billion dollars"), "it is written in dollars");
    }
    money
}

/// A length of time.
pub(in crate::config) fn period(section: &mut Section<'_, '_>, key: &'static str) -> Option<Period> {
    let text = section.text(key)?;
    let period = Period::parse(&text);
    if period.is_none() {
        section.places.error_at(key, format!("`{key}` is no length of time"), Period::KNOWN);
    }
    period
}
