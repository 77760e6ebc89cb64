//! What a run leaves behind for others to read: a row for each text, model and repetition, and what found no answer.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::execute::Kept;
use super::{Answer, End, Experiment};
use crate::moment::Moment;
use crate::policy::Digest;

/// Columns of the table before those of the result.
const BEFORE: [&str; 5] = ["item", "run", "model", "text", "repetition"];
/// Those after it.
const AFTER: [&str; 13] = [
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "latency_ms",
    "waited_ms",
    "deployment",
    "policy",
    "request",
    "together",
    "attempts",
    "rate_limited",
    "sent",
    "ended",
];

/// Writes `results.jsonl`, `results.csv` and `dead-letter.jsonl`; the digest of each.
pub(super) fn write(experiment: &Experiment, kept: &[Kept], folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let (mut rows, mut dead) = (Vec::new(), Vec::new());
    for kept in kept {
        match &kept.end {
            Some(End::Answered(answer)) => rows.push(row(experiment, kept.item, answer)),
            Some(End::Failed(failure)) => {
                let mut row = asked(experiment, kept.item);
                row.insert("kind".to_owned(), failure.kind.as_str().into());
                row.insert("reason".to_owned(), failure.reason.as_str().into());
                row.insert("tries".to_owned(), failure.tries.into());
                row.insert("ended".to_owned(), Moment::from_millis(failure.ended_ms).iso().into());
                dead.push(row);
            }
            None => {}
        }
    }
    let files =
        [("results.jsonl", lines(&rows)?), ("results.csv", table(&rows)?), ("dead-letter.jsonl", lines(&dead)?)];
    let mut digests = BTreeMap::new();
    for (name, bytes) in files {
        replace(&folder.join(name), &bytes)?;
        digests.insert(name.to_owned(), Digest::of(&bytes).to_string());
    }
    Ok(digests)
}

/// A row a line.
fn lines(rows: &[Map<String, Value>]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, row).map_err(|fault| fault.to_string())?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Writes a file beside and puts it in its place: whoever reads it sees the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|fault| fault.error).map(drop)
    };
    write().map_err(|fault: std::io::Error| format!("{}: cannot be written: {fault}", path.display()))
}

fn asked(experiment: &Experiment, item: usize) -> Map<String, Value> {
    let (run, about) = (experiment.run_of(item), &experiment.items[item]);
    let row = json!({
        "item": about.id,
        "run": run.id,
        "model": run.model.as_str(),
        "text": experiment.texts[about.text].id,
        "repetition": about.repetition,
    });
    if let Value::Object(row) = row { row } else { Map::new() }
}

fn row(experiment: &Experiment, item: usize, answer: &Answer) -> Map<String, Value> {
    let mut row = asked(experiment, item);
    row.insert("result".to_owned(), answer.result.clone());
    let took = json!({
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "cost_usd": answer.cost_nano_usd.map(crate::money::NanoUsd::as_usd),
        "latency_ms": answer.ended_ms.saturating_sub(answer.sent_ms),
        "waited_ms": answer.waited_ms,
        "deployment": answer.deployment,
        "policy": answer.policy,
        "request": answer.request,
        "together": answer.together,
        "attempts": answer.attempts,
        "rate_limited": answer.rate_limited,
        "sent": Moment::from_millis(answer.sent_ms).iso(),
        "ended": Moment::from_millis(answer.ended_ms).iso(),
    });
    if let Value::Object(mut took) = took {
        row.append(&mut took);
    }
    row
}

/// The rows as comma-separated values, a column for each field of the results.
fn table(rows: &[Map<String, Value>]) -> Result<Vec<u8>, String> {
    let mut fields: Vec<String> = Vec::new();
    let mut plain = false;
    for row in rows {
        match row.get("result") {
            Some(Value::Object(result)) => {
                for name in result.keys().filter(|name| !fields.contains(name)).cloned().collect::<Vec<_>>() {
                    fields.push(name);
                }
            }
            _ => plain = true,
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    let result = fields.iter().map(|name| cell(&Value::from(format!("result.{name}"))));
    let head = BEFORE.iter().map(|name| (*name).to_owned()).chain(plain.then(|| "result".to_owned())).chain(result);
    let head = head.chain(AFTER.iter().map(|name| (*name).to_owned()));
    writer.write_record(head).map_err(|fault| fault.to_string())?;
    for row in rows {
        let of = |name: &str| row.get(name).map_or_else(String::new, cell);
        let result = row.get("result");
        let whole = plain.then(|| result.filter(|result| !result.is_object()).map_or_else(String::new, cell));
        let inner = fields.iter().map(|name| result.and_then(|result| result.get(name)).map_or_else(String::new, cell));
        let record =
            BEFORE.iter().map(|name| of(name)).chain(whole).chain(inner).chain(AFTER.iter().map(|name| of(name)));
        writer.write_record(record).map_err(|fault| fault.to_string())?;
    }
    writer.into_inner().map_err(|fault| fault.to_string())
}

/// A value as one field. What a model wrote and a spreadsheet would take for a formula gets a quote before it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_result_has_a_column_and_no_field_is_a_formula() {
        let row = |result: Value| Map::from_iter([("item".to_owned(), "i".into()), ("result".to_owned(), result)]);
        let rows = [
            row(json!({ "score": 3, "reason": "=1+1" })),
            row(json!({ "topic": ["a", "b"] })),
            row(json!("-text, \"quoted\"")),
        ];
        let table = String::from_utf8(table(&rows).expect("a table")).expect("text");
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[0].starts_with(
                "item,run,model,text,repetition,result,result.score,result.reason,result.topic,input_tokens"
            ),
            "{table}"
        );
        assert!(lines[1].starts_with("i,,,,,,3,'=1+1,,"), "{table}");
        assert!(lines[2].starts_with("i,,,,,,,,\"[\"\"a\"\",\"\"b\"\"]\","), "{table}");
        assert!(lines[3].starts_with("i,,,,,\"'-text, \"\"quoted\"\"\",,,"), "{table}");
    }
}
