//! `witgate policies promote`, `rollback`, `shadow`, `canary` and `history`: versions of policies in a running gateway.

use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::ask::ask;
use super::{AskArgs, VersionArgs, VersionCommand, fail, say};

/// Does it, or shows what has been done.
pub(super) fn change(command: &VersionCommand, gateway: &AskArgs) -> ExitCode {
    match command {
        VersionCommand::Promote(arguments) => order("promote", arguments, gateway),
        VersionCommand::Rollback(arguments) => order("rollback", arguments, gateway),
        VersionCommand::Shadow(arguments) => order("shadow", arguments, gateway),
        VersionCommand::Canary(arguments) => order("canary", arguments, gateway),
        VersionCommand::History { group } => history(group.as_deref(), gateway),
    }
}

fn order(action: &str, arguments: &VersionArgs, gateway: &AskArgs) -> ExitCode {
    let VersionArgs { group, to, role, policy } = arguments;
    let details = json!({"role": role, "to": to, "policy": policy}).to_string().into_bytes();
    match ask(gateway, &format!("/admin/policies/{}/{action}", escaped(group)), Some(details)) {
        Ok(answer) if gateway.json => say(answer),
        Ok(answer) => {
            let done = answer["done"].as_str().unwrap_or_default();
            say(format_args!("group {group}: {done} (generation {})", answer["generation"]));
        }
        Err(problem) => return fail(problem),
    }
    ExitCode::SUCCESS
}

fn history(group: Option<&str>, gateway: &AskArgs) -> ExitCode {
    let query = group.map_or_else(String::new, |group| format!("?group={}", escaped(group)));
    match ask(gateway, &format!("/admin/policies/history{query}"), None) {
        Ok(answer) if gateway.json => say(answer),
        Ok(answer) => {
            let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
            let mut lines: Vec<(u64, String)> = list("changes").iter().map(line).collect();
            lines.extend(list("generations").iter().flat_map(generation));
            // Of one moment the versions come first, which a generation sums up.
            lines.sort_by_key(|(at, _)| *at);
            for (_, line) in &lines {
                say(line);
            }
        }
        Err(problem) => return fail(problem),
    }
    ExitCode::SUCCESS
}

/// What a generation changed, line by line.
fn generation(one: &Value) -> Vec<(u64, String)> {
    let (at, date) = moment(one);
    let changed = one["changed"].as_array().into_iter().flatten().filter_map(Value::as_str);
    changed.map(|changed| (at, format!("{date}  generation {}  {changed}", one["generation"]))).collect()
}

/// When something happened: as a number, and for people.
fn moment(of: &Value) -> (u64, String) {
    let at = of["at_ms"].as_u64().unwrap_or_default();
    (at, httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(at)))
}

fn line(change: &Value) -> (u64, String) {
    let text = |key: &str| change[key].as_str().unwrap_or_default();
    let short = |key: &str| text(key).get(..12).unwrap_or_default().to_owned();
    let (at, date) = moment(change);
    let moved = match short("from") {
        from if from.is_empty() => short("digest"),
        from => format!("{from} → {}", short("digest")),
    };
    let result = text("result");
    let result = if result.is_empty() { String::new() } else { format!(": {result}") };
    // Each start counts from 1 on.
    let of = if change["earlier"] == true { " of an earlier start" } else { "" };
    let told = format!(
        "{date}  generation {}{of}  {} {}: {} {moved}  {} by {}{result}",
        change["generation"],
        text("group"),
        text("role"),
        text("policy"),
        text("how"),
        text("by"),
    );
    (at, told)
}

/// A group's name as one part of a path.
fn escaped(name: &str) -> String {
    // A form's `+` means a space there and itself in a path.
    form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_of_an_earlier_start_is_told_as_such() {
        let told = |earlier: bool| {
            let change = json!({
                "at_ms": 0, "generation": 3, "group": "g", "role": "router", "policy": "p", "from": "0123456789abcdef",
                "digest": "fedcba9876543210", "how": "replace", "by": "file", "earlier": earlier,
            });
            line(&change).1
        };
        let rest = "  g router: p 0123456789ab → fedcba987654  replace by file";
        assert!(told(false).ends_with(&format!("  generation 3{rest}")), "{}", told(false));
        assert!(told(true).ends_with(&format!("  generation 3 of an earlier start{rest}")), "{}", told(true));
    }
}
