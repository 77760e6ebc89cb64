//! `witgate policies promote`, `rollback`, `shadow`, `canary` and `history`: versions of policies in a running gateway.

use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{AskArgs, VersionArgs, VersionCommand, fail, say};

/// Does it, or shows what has been done.
pub(super) fn change(command: &VersionCommand) -> ExitCode {
    match command {
        VersionCommand::Promote(arguments) => order("promote", arguments),
        VersionCommand::Rollback(arguments) => order("rollback", arguments),
        VersionCommand::Shadow(arguments) => order("shadow", arguments),
        VersionCommand::Canary(arguments) => order("canary", arguments),
        VersionCommand::History { group, ask } => history(group.as_deref(), ask),
    }
}

fn order(action: &str, arguments: &VersionArgs) -> ExitCode {
    let VersionArgs { group, to, role, policy, ask } = arguments;
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
        Ok(answer) => answer["changes"].as_array().into_iter().flatten().for_each(line),
        Err(problem) => return fail(problem),
    }
    ExitCode::SUCCESS
}

fn line(change: &Value) {
    let text = |key: &str| change[key].as_str().unwrap_or_default();
    let short = |key: &str| text(key).get(..12).unwrap_or_default().to_owned();
    let at = UNIX_EPOCH + Duration::from_millis(change["at_ms"].as_u64().unwrap_or_default());
    let moved = match short("from") {
        from if from.is_empty() => short("digest"),
        from => format!("{from} → {}", short("digest")),
    };
    let result = text("result");
    let result = if result.is_empty() { String::new() } else { format!(": {result}") };
    say(format_args!(
        "{}  generation {}  {} {}: {} {moved}  {} by {}{result}",
        httpdate::fmt_http_date(at),
        change["generation"],
        text("group"),
        text("role"),
        text("policy"),
        text("how"),
        text("by"),
    ));
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
    answer.map_err(|fault| {
        // It runs and says why not.
        if fault.contains(": answered 4") {
            return fault;
        }
        format!("{fault}\nhint: is `witgate serve` running there? Name another address with --url, its key with --key")
    })
}

/// A group's name as one part of a path.
fn escaped(name: &str) -> String {
    // A form's `+` means a space there and itself in a path.
    form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}
