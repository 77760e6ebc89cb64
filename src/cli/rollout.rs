//! `witgate policies promote`, `rollback`, `shadow`, `canary` and `history`: versions of policies in a running gateway.

use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{AskArgs, VersionArgs, VersionCommand, fail, not_asked, say};

/// Does it, or shows what has been done.
pub(super) fn change(command: &VersionCommand, ask: &AskArgs) -> ExitCode {
    match command {
        VersionCommand::Promote(arguments) => order("promote", arguments, ask),
        VersionCommand::Rollback(arguments) => order("rollback", arguments, ask),
        VersionCommand::Shadow(arguments) => order("shadow", arguments, ask),
        VersionCommand::Canary(arguments) => order("canary", arguments, ask),
        VersionCommand::History { group } => history(group.as_deref(), ask),
    }
}

fn order(action: &str, arguments: &VersionArgs, ask: &AskArgs) -> ExitCode {
    let VersionArgs { group, to, role, policy } = arguments;
    let details = json!({"role": role, "to": to, "policy": policy});
    match told(ask, &format!("/admin/policies/{}/{action}", escaped(group)), Some(&details)) {
        Ok(answer) if ask.json => say(answer),
        Ok(answer) => {
            let done = answer["done"].as_str().unwrap_or_default();
            say(format_args!("group {group}: {done} (generation {})", answer["generation"]));
        }
        Err(problem) => return fail(problem),
    }
    ExitCode::SUCCESS
}

fn history(group: Option<&str>, ask: &AskArgs) -> ExitCode {
    let query = group.map_or_else(String::new, |group| format!("?group={}", escaped(group)));
    match told(ask, &format!("/admin/policies/history{query}"), None) {
        Ok(answer) if ask.json => say(answer),
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
    let told = format!(
        "{date}  generation {}  {} {}: {} {moved}  {} by {}{result}",
        change["generation"],
        text("group"),
        text("role"),
        text("policy"),
        text("how"),
        text("by"),
    );
    (at, told)
}

/// What the gateway answers.
fn told(ask: &AskArgs, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|fault| format!("no runtime: {fault}"))?;
    let url = format!("{}{path}", ask.url.trim_end_matches('/'));
    let answer = match body {
        Some(body) => runtime.block_on(crate::http::post_json(&url, ask.key.as_deref(), body.to_string().into_bytes())),
        None => runtime.block_on(crate::http::get_json(&url, ask.key.as_deref())),
    };
    answer.map_err(not_asked)
}

/// A group's name as one part of a path.
fn escaped(name: &str) -> String {
    // A form's `+` means a space there and itself in a path.
    form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}
