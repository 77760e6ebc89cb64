//! One request's decision, found in the runs that are kept and made once more.

use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::decisions::{Logged, Run, decision_json, run_files};
use crate::id::RequestId;

use super::player::{answer_at, same_answer, words};
use super::{Components, Options};

/// A decision, and whether it comes out the same once more.
#[derive(Clone, Debug)]
pub struct Explained(pub Value);

/// Finds the decision of `request` in a run file or a folder of them, and repeats its run up to there.
///
/// # Errors
/// It is in none of them, or they cannot be read.
pub fn explain(request: RequestId, path: &Path, options: &Options) -> Result<Explained, String> {
    let unread = |path: &Path, fault: std::io::Error| {
        let path = path.display();
        format!(
            "{path}: cannot be read: {fault}\nhint: decisions are kept where a gateway has `witgate.decisions`; name its `dir` with --dir"
        )
    };
    let files = run_files(path).map_err(|fault| unread(path, fault))?;
    let id = request.to_string();
    // The newest first: whoever asks, asks about what has just happened.
    for file in files.iter().rev() {
        let text = fs::read_to_string(file).map_err(|fault| unread(file, fault))?;
        if !text.contains(&id) {
            continue;
        }
        let run = Run::read(file)?;
        let decisions = run.calls.iter().filter_map(|call| match call {
            Logged::Route(decision) => Some(decision),
            Logged::Observe(..) | Logged::Save(_) => None,
        });
        // The last: a policy that wants a request to wait is asked again.
        let found = decisions.enumerate().filter(|(_, decision)| decision.request.id == Some(request)).last();
        if let Some((number, decision)) = found {
            let facts = &run.start.facts;
            let mut shown = decision_json(facts, decision, run.requests.get(&id));
            shown["run"] = json!(file.display().to_string());
            shown["decision"] = json!(number + 1);
            let again = Components::new(options)
                .and_then(|components| components.of(facts))
                .and_then(|component| answer_at(&run, &component, number));
            shown["repeated"] = json!(match again {
                Err(why) => format!("not repeated: {}", why.replace('\n', "; ")),
                Ok(None) => "told, not repeated: the fault came from outside".to_owned(),
                Ok(Some(answer)) if same_answer(&answer, &decision.answer) => "identical".to_owned(),
                Ok(Some(answer)) => format!("differs: {}", words(facts, &answer)),
            });
            return Ok(Explained(shown));
        }
    }
    Err(format!(
        "no run in {} holds the request {id} ({} files looked through)\nhint: runs are drawn (`witgate.decisions.share`) and the \
         oldest are removed; `GET /admin/decisions/{id}` of the running gateway knows the last 1,000 requests",
        path.display(),
        files.len()
    ))
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let Self(shown) = self;
        let (group, policy) = (text(&shown["group"]), text(&shown["policy"]));
        writeln!(f, "{group} by {policy}, {} input tokens: {}", shown["input_tokens"], text(&shown["answer"]))?;
        for (name, values) in [("features", &shown["features"]), ("attributes", &shown["attributes"])] {
            let values = values.as_object().into_iter().flatten();
            let values: Vec<String> = values.map(|(name, value)| format!("{name} {}", text(value))).collect();
            if !values.is_empty() {
                writeln!(f, "{name}: {}", values.join(", "))?;
            }
        }
        write_signals(f, shown, "")?;
        write_roles(f, &shown["host"])?;
        write_host(f, &shown["host"])?;
        if let Some(run) = shown["run"].as_str() {
            writeln!(f, "decision {} of {run}", shown["decision"])?;
        }
        write!(f, "repeated: {}", text(&shown["repeated"]))
    }
}

/// The candidates in their order, each with what the policy saw of it.
pub(super) fn write_signals(f: &mut fmt::Formatter<'_>, shown: &Value, indent: &str) -> fmt::Result {
    for row in shown["deployments"].as_array().into_iter().flatten() {
        let rank = row["rank"].as_u64().map_or_else(|| "-".to_owned(), |rank| rank.to_string());
        let signals = row["signals"].as_object().into_iter().flatten();
        let known = |value: &Value| if value.is_null() { "unknown".to_owned() } else { value.to_string() };
        let signals: Vec<String> = signals.map(|(name, value)| format!("{name} {}", known(value))).collect();
        let deployment = row["deployment"].as_str().unwrap_or_default();
        writeln!(f, "{indent}{rank:>4}  {deployment:<32} {}", signals.join(", "))?;
        match row["removed"].as_str() {
            Some(why) if row["called"] == true => writeln!(f, "{indent}      called, though not at once: {why}")?,
            Some(why) => writeln!(f, "{indent}      not called: {why}")?,
            None if row["called"] == true => writeln!(f, "{indent}      called")?,
            None => {}
        }
    }
    Ok(())
}

/// What the policies of other roles did, one line each.
fn write_roles(f: &mut fmt::Formatter<'_>, host: &Value) -> fmt::Result {
    if let Some(prompt) = host["prompt"].as_object() {
        write_prompt(f, &Value::Object(prompt.clone()))?;
    }
    for reply in host["replies"].as_array().into_iter().flatten() {
        let policy = reply["policy"].as_str().unwrap_or_default();
        let (told, given) = (&reply["bytes_in"], &reply["bytes_out"]);
        write!(f, "reply {}, read by {policy}: {told} bytes in, {given} out", reply["attempt"])?;
        if let Some(kind) = reply["fault"].as_str() {
            write!(f, "; fault {kind}: the rest passed as it came")?;
        }
        if let Some(complaint) = reply["complaint"].as_object() {
            let again = if complaint["repair"] == true { ", and what to tell the model" } else { "" };
            write!(f, "; it complained{again}")?;
            complaint.get("words").and_then(Value::as_str).map_or(Ok(()), |words| write!(f, ": {words}"))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn write_prompt(f: &mut fmt::Formatter<'_>, prompt: &Value) -> fmt::Result {
    let policy = prompt["policy"].as_str().unwrap_or_default();
    let end = match prompt["end"].as_str() {
        Some("refused") => "it refused the request",
        Some("failed") => "it failed, and nothing was sent",
        Some("passed-over") => "it failed, and what the client wrote was sent",
        _ => "built",
    };
    write!(f, "prompt by {policy}: {end}")?;
    if let Some(kind) = prompt["fault"].as_str() {
        write!(f, " (fault {kind})")?;
    }
    if let Some(words) = prompt["words"].as_str() {
        write!(f, ": {words}")?;
    }
    let of = |name: &str| (prompt[format!("{name}_before")].clone(), prompt[format!("{name}_after")].clone());
    let ((messages, sent), (tokens, left)) = (of("messages"), of("tokens"));
    write!(f, "; messages {messages} → {sent}, tokens at most {tokens} → {left}")?;
    if prompt["items"].as_u64().is_some_and(|items| items > 0) {
        write!(f, ", items {} of {}", prompt["items_kept"], prompt["items"])?;
    }
    writeln!(f)
}

fn write_host(f: &mut fmt::Formatter<'_>, host: &Value) -> fmt::Result {
    let Some(host) = host.as_object() else {
        return writeln!(f, "the gateway: what became of the request is not written");
    };
    let attempts = host["attempts"].as_array().into_iter().flatten().map(|attempt| {
        let end = attempt["fault"].as_str().unwrap_or("served");
        format!(
            "{} ({end}, {:.0} ms)",
            attempt["deployment"].as_str().unwrap_or_default(),
            attempt["latency_ms"].as_f64().unwrap_or_default()
        )
    });
    let attempts: Vec<String> = attempts.collect();
    let attempts = if attempts.is_empty() { "called nobody".to_owned() } else { attempts.join(", then ") };
    let waited = host["waited_ms"].as_f64().unwrap_or_default();
    let ending = host["ending"].as_str().unwrap_or_default();
    writeln!(f, "the gateway: waited {waited:.0} ms; {attempts}; status {}, {ending}", host["status"])
}
