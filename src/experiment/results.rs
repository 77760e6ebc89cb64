//! What a run leaves behind for others to read: a row for each text, model and repetition, and what found no answer.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{Answer, End, Experiment};
use crate::moment::Moment;

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

/// A column for each field of results.
#[derive(Debug, Default)]
pub(super) struct Columns {
    fields: Vec<String>,
    /// Whether some result has no fields.
    plain: bool,
}

impl Columns {
    /// Takes note of a result.
    pub(super) fn see(&mut self, result: &Value) {
        let Value::Object(result) = result else {
            self.plain = true;
            return;
        };
        for name in result.keys() {
            if !self.fields.contains(name) {
                self.fields.push(name.clone());
            }
        }
    }

    fn head(&self) -> impl Iterator<Item = String> {
        let result = self.fields.iter().map(|name| cell(&Value::from(format!("result.{name}"))));
        let before = BEFORE.iter().map(|name| (*name).to_owned()).chain(self.plain.then(|| "result".to_owned()));
        before.chain(result).chain(AFTER.iter().map(|name| (*name).to_owned()))
    }

    fn record(&self, row: &Map<String, Value>) -> impl Iterator<Item = String> {
        let of = |name: &&str| row.get(*name).map_or_else(String::new, cell);
        let result = row.get("result");
        let whole = self.plain.then(|| result.filter(|result| !result.is_object()).map_or_else(String::new, cell));
        let inner = self
            .fields
            .iter()
            .map(move |name| result.and_then(|result| result.get(name)).map_or_else(String::new, cell));
        BEFORE.iter().map(of).chain(whole).chain(inner).chain(AFTER.iter().map(of))
    }
}

/// `results.jsonl`, `results.csv` and `dead-letter.jsonl`, a row at a time; they are in their places once all are written.
pub(super) struct Tables<'a> {
    experiment: &'a Experiment,
    columns: &'a Columns,
    folder: &'a Path,
    rows: Digested,
    table: csv::Writer<Digested>,
    dead: Digested,
}

impl<'a> Tables<'a> {
    /// Begins them beside those that are there.
    pub(super) fn begin(experiment: &'a Experiment, columns: &'a Columns, folder: &'a Path) -> Result<Self, String> {
        let begin = || Digested::begin(folder).map_err(|fault| unwritten(folder, &fault));
        let mut table = csv::Writer::from_writer(begin()?);
        table.write_record(columns.head()).map_err(|fault| unwritten(folder, &fault))?;
        Ok(Self { experiment, columns, folder, rows: begin()?, table, dead: begin()? })
    }

    /// Adds an item's row.
    pub(super) fn add(&mut self, item: usize, end: &End) -> Result<(), String> {
        let written = match end {
            End::Answered(answer) => {
                let row = row(self.experiment, item, answer);
                let table = self.table.write_record(self.columns.record(&row)).map_err(std::io::Error::from);
                self.rows.line(&row).and(table)
            }
            End::Failed(failure) => {
                let mut row = asked(self.experiment, item);
                row.insert("kind".to_owned(), failure.kind.as_str().into());
                row.insert("reason".to_owned(), failure.reason.as_str().into());
                row.insert("tries".to_owned(), failure.tries.into());
                row.insert("ended".to_owned(), Moment::from_millis(failure.ended_ms).iso().into());
                self.dead.line(&row)
            }
        };
        written.map_err(|fault| unwritten(self.folder, &fault))
    }

    /// Puts them in their places; the digest of each.
    pub(super) fn finish(self) -> Result<BTreeMap<String, String>, String> {
        let table = self.table.into_inner().map_err(|fault| unwritten(self.folder, &fault))?;
        let mut digests = BTreeMap::new();
        for (name, file) in [("results.jsonl", self.rows), ("results.csv", table), ("dead-letter.jsonl", self.dead)] {
            let path = self.folder.join(name);
            let digest = file.place(&path).map_err(|fault| unwritten(&path, &fault))?;
            digests.insert(name.to_owned(), digest);
        }
        Ok(digests)
    }
}

/// A file that is written beside its place, and its digest.
struct Digested {
    file: BufWriter<tempfile::NamedTempFile>,
    digest: Sha256,
}

impl Digested {
    fn begin(folder: &Path) -> std::io::Result<Self> {
        Ok(Self { file: BufWriter::new(tempfile::NamedTempFile::new_in(folder)?), digest: Sha256::new() })
    }

    fn line(&mut self, row: &Map<String, Value>) -> std::io::Result<()> {
        serde_json::to_writer(&mut *self, row)?;
        self.write_all(b"\n")
    }

    fn place(self, path: &Path) -> std::io::Result<String> {
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.persist(path).map_err(|fault| fault.error)?;
        Ok(format!("{:x}", self.digest.finalize()))
    }
}

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn unwritten(path: &Path, fault: &dyn std::fmt::Display) -> String {
    format!("{}: cannot be written: {fault}", path.display())
}

/// Writes a file beside and puts it in its place: whoever reads it sees the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|fault| fault.error).map(drop)
    };
    write().map_err(|fault: std::io::Error| unwritten(path, &fault))
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
        let mut columns = Columns::default();
        for row in &rows {
            columns.see(&row["result"]);
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(columns.head()).expect("a head");
        for row in &rows {
            writer.write_record(columns.record(row)).expect("a record");
        }
        let table = String::from_utf8(writer.into_inner().expect("all of it")).expect("text");
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
