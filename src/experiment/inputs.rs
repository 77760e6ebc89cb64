//! The texts: a folder of files, comma-separated values, or a JSON object a line. Each has a name and columns.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::Text;
use crate::catalog::Pattern;
use crate::config::{InputKind, InputShape, Problem};
use crate::policy::Digest;

/// The largest file of texts, in bytes: what fits into memory several times.
const LARGEST: u64 = 1 << 30;

/// Reads the texts, and notes the digests of what was read.
pub(super) fn read(
    shape: &InputShape,
    sources: &mut BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> Vec<Text> {
    let read = match shape.kind {
        InputKind::Folder => folder(shape, sources),
        InputKind::Csv => rows(shape, sources, comma_separated),
        InputKind::Jsonl => rows(shape, sources, json_lines),
    };
    let mut texts = match read {
        Ok(texts) => texts,
        Err(why) => {
            problems.push(shape.path.at.problem(why, "paths are beside the experiment's file"));
            return Vec::new();
        }
    };
    if let Some(limit) = shape.limit {
        texts.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let found = problems.len();
    name(shape, &mut texts, problems);
    if texts.is_empty() && problems.len() == found {
        problems.push(shape.path.at.problem(format!("{}: there is no text", shape.path.value.display()), ""));
    }
    texts
}

/// A file as text.
pub(super) fn text_of(path: &Path, sources: &mut BTreeMap<String, String>) -> Result<String, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: cannot be read: {why}", path.display());
    let length = std::fs::metadata(path).map_err(|fault| failed(&fault))?.len();
    if length > LARGEST {
        return Err(failed(&format!("it has {length} bytes, {LARGEST} at most are taken")));
    }
    let bytes = std::fs::read(path).map_err(|fault| failed(&fault))?;
    sources.insert(path.display().to_string(), Digest::of(&bytes).to_string());
    let broken = |fault: std::string::FromUtf8Error| {
        failed(&format!("it is no UTF-8 from byte {} on", fault.utf8_error().valid_up_to()))
    };
    String::from_utf8(bytes).map_err(broken)
}

fn folder(shape: &InputShape, sources: &mut BTreeMap<String, String>) -> Result<Vec<Text>, String> {
    let folder = &shape.path.value;
    let failed = |why: &dyn std::fmt::Display| format!("{}: cannot be read: {why}", folder.display());
    let pattern = Pattern::parse(&shape.pattern);
    let fits = |name: &str| match &pattern {
        Some(pattern) => pattern.parts(name).is_some(),
        None => name == shape.pattern,
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|fault| failed(&fault))? {
        let path = entry.map_err(|fault| failed(&fault))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && !name.starts_with('.') && fits(&name) {
            paths.push(path);
        }
    }
    paths.sort();
    let text = |path: PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = text_of(&path, sources)?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let fields = Map::from_iter([("text".to_owned(), text.into()), ("file".to_owned(), file.into())]);
        Ok(Text { id: stem, fields })
    };
    paths.into_iter().map(text).collect()
}

/// The rows of a file, each with its columns.
type Rows = Vec<Map<String, Value>>;

/// A file that is read once, row by row, and its digest with it: a study's texts are in memory once.
struct Digesting {
    file: File,
    digest: Sha256,
}

impl Read for Digesting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

fn rows(
    shape: &InputShape,
    sources: &mut BTreeMap<String, String>,
    read: fn(&mut Digesting) -> Result<Rows, String>,
) -> Result<Vec<Text>, String> {
    let path = &shape.path.value;
    let file = File::open(path).map_err(|fault| format!("{}: cannot be read: {fault}", path.display()))?;
    let mut reader = Digesting { file, digest: Sha256::new() };
    let rows = read(&mut reader).map_err(|why| format!("{}: {why}", path.display()))?;
    sources.insert(path.display().to_string(), format!("{:x}", reader.digest.finalize()));
    Ok(rows.into_iter().zip(1_u64..).map(|(fields, row)| Text { id: format!("row-{row:05}"), fields }).collect())
}

fn comma_separated(file: &mut Digesting) -> Result<Rows, String> {
    let mut reader = csv::Reader::from_reader(file);
    let columns = reader.headers().map_err(|fault| fault.to_string())?.clone();
    let row = |row: Result<csv::StringRecord, csv::Error>| {
        let row = row.map_err(|fault| fault.to_string())?;
        let fields = columns.iter().zip(row.iter());
        let named = |(column, value): (&str, &str)| {
            (column.trim_start_matches('\u{feff}').trim().to_owned(), Value::from(value))
        };
        Ok(fields.map(named).collect())
    };
    reader.records().map(row).collect()
}

fn json_lines(file: &mut Digesting) -> Result<Rows, String> {
    let mut rows = Rows::new();
    for (line, number) in BufReader::new(file).lines().zip(1_u64..) {
        let line = line.map_err(|fault| format!("line {number} cannot be read: {fault}"))?;
        let line = line.trim_start_matches('\u{feff}').trim();
        if !line.is_empty() {
            let row = serde_json::from_str(line);
            rows.push(row.map_err(|fault| format!("line {number} is no JSON object: {fault}"))?);
        }
    }
    Ok(rows)
}

/// Gives texts the names their column has, and sees that no two are alike.
fn name(shape: &InputShape, texts: &mut [Text], problems: &mut Vec<Problem>) {
    if let Some(column) = &shape.id {
        for (text, number) in texts.iter_mut().zip(1_u64..) {
            match text.fields.get(&column.value) {
                Some(Value::String(name)) if !name.trim().is_empty() => text.id.clone_from(name),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => text.id = value.to_string(),
                Some(_) => {
                    let message = format!("`{}` of text {number} is no name", column.value);
                    return problems.push(column.at.problem(message, ""));
                }
                None => {
                    let known: Vec<&str> = text.fields.keys().map(String::as_str).collect();
                    let message = format!("text {number} has no column `{}`", column.value);
                    return problems.push(column.at.problem(message, format!("its columns: {}", known.join(", "))));
                }
            }
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = texts.iter().find(|text| !seen.insert(text.id.as_str())) {
        let at = shape.id.as_ref().map_or(&shape.path.at, |column| &column.at);
        let message = format!("two texts are named `{}`", twice.id);
        problems.push(at.problem(message, "name them with `inputs.id: COLUMN`, or give files other names"));
    }
}
