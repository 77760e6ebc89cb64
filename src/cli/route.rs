//! `witgate route --dry-run`: where a running gateway would send a request, and why.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::ask::ask;
use super::{AskArgs, fail, say};

/// Prints what the gateway says of the request in the file.
pub(super) fn explain(request: &Path, arguments: &AskArgs) -> ExitCode {
    let mut body = Vec::new();
    let read = if request == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut body).map(drop)
    } else {
        std::fs::read(request).map(|bytes| body = bytes)
    };
    if let Err(fault) = read {
        return fail(format!("{}: cannot be read: {fault}", request.display()));
    }
    match ask(arguments, "/route/explain", Some(body)) {
        Ok(answer) if arguments.json => say(answer),
        Ok(answer) => table(&answer),
        Err(problem) => return fail(problem),
    }
    ExitCode::SUCCESS
}

fn table(answer: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let exact = match answer["input_tokens_are"].as_str() {
        Some("exact") => "",
        Some("estimate") => " (about)",
        _ => " (at most)",
    };
    say(format_args!(
        "{} by {}, {} input tokens{exact}: {}",
        text(&answer["group"]),
        text(&answer["policy"]),
        answer["input_tokens"],
        text(&answer["next"])
    ));
    for what in ["features", "attributes"] {
        let shown = answer[what].as_object().into_iter().flatten();
        let shown: Vec<String> = shown.map(|(name, value)| format!("{name} {}", text(value))).collect();
        if !shown.is_empty() {
            say(format_args!("{what}: {}", shown.join(", ")));
        }
    }
    if let Some(fault) = answer["policy_fault"].as_str() {
        say(format_args!("the policy's own answer does not count: {fault}"));
    }
    if let Some(prompt) = answer["prompt"].as_object() {
        let count = |name: &str| prompt.get(name).map_or_else(String::new, Value::to_string);
        say(format_args!(
            "prompt by {}: messages {} → {}, tokens at most {} → {}, items {} of {}",
            prompt.get("policy").map(text).unwrap_or_default(),
            count("messages_before"),
            count("messages_after"),
            count("tokens_before"),
            count("tokens_after"),
            count("items_kept"),
            count("items"),
        ));
        let of = |name: &str| prompt.get(name).and_then(Value::as_str).unwrap_or_default();
        match of("end") {
            "failed" => say(format_args!("the prompt builder failed: it {}", of("words"))),
            "passed-over" => say(format_args!("the prompt builder failed and is passed over: it {}", of("words"))),
            "refused" => say(format_args!("the prompt builder refused the request: {}", of("words"))),
            _ => {}
        }
    }
    for row in answer["deployments"].as_array().into_iter().flatten() {
        let rank = row["rank"].as_u64().map_or_else(|| "-".to_owned(), |rank| rank.to_string());
        let why = row["removed"].as_str().map_or_else(|| format!("limits: {}", text(&row["limits"])), str::to_owned);
        say(format_args!("{rank:>4}  {:<32} {why}", text(&row["deployment"])));
        let signals = row["signals"].as_object().into_iter().flatten();
        let signals: Vec<String> = signals.map(|(name, value)| format!("{name} {}", text(value))).collect();
        if !signals.is_empty() {
            say(format_args!("      {}", signals.join(", ")));
        }
        if let Some(policy) = row["spoken_by"].as_str() {
            say(format_args!("      spoken to by {policy}"));
        }
        let drawn = row["propensity"].as_f64().filter(|drawn| *drawn < 1.0);
        let drawn = drawn.map(|drawn| format!("drawn with probability {drawn:.3}"));
        let reasons = row["reasons"].as_object().into_iter().flatten();
        let reasons = reasons.map(|(name, value)| format!("{} {}", name.replace('_', " "), text(value)));
        let reasons: Vec<String> = reasons.chain(drawn).collect();
        if !reasons.is_empty() {
            say(format_args!("      {}", reasons.join(", ")));
        }
    }
    for line in answer["said"].as_array().into_iter().flatten() {
        say(format_args!("the policy: {}", text(line)));
    }
    if let Some(trial) = answer["trial"].as_object() {
        let of = |name: &str| trial.get(name).map(text).unwrap_or_default();
        let ranked = trial.get("ranking").and_then(Value::as_array).into_iter().flatten();
        let ranked: Vec<String> = ranked.map(|row| text(&row["deployment"])).collect();
        let said = if ranked.is_empty() { of("instead") } else { ranked.join(", ") };
        say(format_args!("{} on trial ({}) would say: {said}", of("policy"), of("mode")));
    }
}
