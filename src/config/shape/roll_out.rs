//! `roll_out` of a group's policy: one word, or the share of requests a new version decides and its rules.

use crate::catalog::{CanaryRules, RollOut};
use crate::config::section::{Kind, Section};
use crate::config::yaml::{Node, Value};

const HINT: &str = "`replace`, `shadow`, or `{canary: 5%}` with `requests`, `max_faults` and others of its rules";
const HINT_WITHOUT_SHADOW: &str = "`replace`, or `{canary: 5%}` with its rules: a reply is read by one version alone";

/// What the section says of it.
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<RollOut> {
    read_one_of(section, &["replace", "shadow"], HINT)
}

/// The same of a policy that has no shadow.
pub(super) fn read_without_shadow(section: &mut Section<'_, '_>) -> Option<RollOut> {
    read_one_of(section, &["replace"], HINT_WITHOUT_SHADOW)
}

fn read_one_of(section: &mut Section<'_, '_>, words: &'static [&'static str], hint: &'static str) -> Option<RollOut> {
    let is_rules = |node: &Node| matches!(node.value, Value::Map(_));
    let entry = section.places.entries.iter().find(|entry| entry.key == "roll_out");
    if entry.is_some_and(|entry| is_rules(&entry.node)) {
        return Some(canary(section));
    }
    let node = section.get("roll_out", Kind::WordOrSection(words, "roll_out"))?;
    match section.reader().text(node, "roll_out")?.as_str() {
        "replace" => Some(RollOut::Replace),
        "shadow" if words.contains(&"shadow") => Some(RollOut::Shadow),
        _ => {
            section.places.error_at("roll_out", "`roll_out` is no way to roll out", hint);
            None
        }
    }
}

fn canary(section: &mut Section<'_, '_>) -> RollOut {
    let mut rules = section.inner("roll_out", "roll_out");
    let defaults = CanaryRules::default();
    let share = rules.text("canary").as_deref().and_then(share);
    let requests = rules.count("requests").unwrap_or(defaults.requests);
    let read = CanaryRules {
        share: share.unwrap_or_default(),
        requests,
        max_faults: rules.count("max_faults").unwrap_or(defaults.max_faults),
        minimum: rules.count("minimum").unwrap_or(defaults.minimum),
        failure_ratio: ratio(&mut rules, "failure_ratio", defaults.failure_ratio),
        cost_ratio: ratio(&mut rules, "cost_ratio", defaults.cost_ratio),
        latency_ratio: ratio(&mut rules, "latency_ratio", defaults.latency_ratio),
    };
    if share.is_none() {
        let message = "`canary` must be a share of the requests, above 0 to 100 %";
        rules.places.error_at("canary", message, "5% decides one request in twenty");
    }
    if share.is_some_and(|share| share >= 1.0) && read.minimum > 0 {
        let message = "`canary: 100%` leaves the version in force no request to be compared by";
        let hint = "99% or less; or `minimum: 0`, which judges it by its own faults alone";
        rules.places.error_at("canary", message, hint);
    }
    if requests == 0 {
        rules.places.error_at("requests", "`requests` must be above 0", "500 is the default");
    }
    rules.finish();
    RollOut::Canary(read)
}

fn ratio(rules: &mut Section<'_, '_>, key: &'static str, default: f64) -> f64 {
    let Some(ratio) = rules.amount(key) else { return default };
    if ratio < 1.0 {
        let hint = "1.5 rolls back what is more than half as bad again as the version in force";
        rules.places.error_at(key, format!("`{key}` must be 1 or more"), hint);
    }
    ratio
}

/// `5%`, `5 %` or `0.05`.
fn share(text: &str) -> Option<f64> {
    let number = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.trim().parse::<f64>().ok()?,
    };
    (number > 0.0 && number <= 1.0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_share_is_a_percentage_or_a_number_up_to_one() {
        assert_eq!(["5%", "5 %", "0.05", "100%", "1"].map(share), [0.05, 0.05, 0.05, 1.0, 1.0].map(Some));
        assert_eq!(["5", "0", "0%", "101%", "-1%", "half"].map(share), [None; 6]);
    }
}
