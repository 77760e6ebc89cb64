//! The configuration file as a JSON Schema, for editors and their completions.
//!
//! It is made of what the reader reads and of the table of LiteLLM's keys, so that it cannot say anything else: a file that holds
//! every section is read, and each key that was asked for is written down as what it was asked for. Sections of our own take no
//! other keys; LiteLLM's may have any, as they may when they are read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::reader::Reader;
use super::report::{Grade, KNOWN, Known};
use super::section::Kind;
use super::shape::Shape;
use super::yaml;

/// A file with every section that is not read where it is absent.
const EVERY_SECTION: &str = "\
credential_list: [{}]
model_list: [{ litellm_params: { simulated: {}, counting: {}, tiered_pricing: [{}] } }]
router_settings:
  routing_groups: [{}]
  model_group_alias: { a: {} }
  model_group_retry_policy: { a: {} }
  provider_budget_config: { a: {} }
litellm_settings: { tag_budget_config: { a: {} } }
witgate:
  keys: [{}]
  teams: { a: {} }
  tags: { a: {} }
  groups: { a: {} }
  routers: { a: { roll_out: {} } }
  prompt_builders: { a: {} }
  response_parsers: { a: {} }
  judges: { a: {} }
  embeddings: { a: {} }
";

/// The keys that are read, by section.
type Sections = BTreeMap<&'static str, BTreeMap<&'static str, Kind>>;

/// The schema, of draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    let files = [String::new()];
    let reader = Reader::new(&files, &|_| None);
    // The file is ours, and what it says is of no interest: only what is asked of it.
    if let Ok(root) = yaml::tree(EVERY_SECTION, "", 0) {
        let _read = Shape::read(&reader, &root);
    }
    let mut sections = Sections::new();
    for ((section, key), kind) in reader.keys_read() {
        sections.entry(section).or_default().insert(key, kind);
    }
    let mut top = section("top", &sections["top"], false);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Witgate's configuration file",
        "description": "LiteLLM's configuration file, with a section `witgate` of our own.",
    });
    let defs = sections.iter().filter(|(name, _)| **name != "top");
    let defs = defs.map(|(name, keys)| ((*name).to_owned(), section(name, keys, reader.is_strict(name)).into()));
    let defs: Map<String, Value> = shared().into_iter().chain(defs).collect();
    let Value::Object(mut whole) = head else { return head };
    whole.append(&mut top);
    whole.insert("$defs".to_owned(), defs.into());
    whole.into()
}

fn section(name: &str, read: &BTreeMap<&'static str, Kind>, strict: bool) -> Map<String, Value> {
    let known: Vec<&Known> = KNOWN.iter().filter(|row| row.section == name).collect();
    let keys: BTreeSet<&str> =
        read.keys().copied().chain(known.iter().map(|row| row.key)).filter(|key| !key.ends_with('*')).collect();
    let mut properties = Map::new();
    for key in keys {
        let mut value = read.get(key).map_or_else(Map::new, |kind| of(*kind));
        if let Some(row) = known.iter().find(|row| row.key == key) {
            describe(&mut value, row);
        }
        properties.insert(key.to_owned(), value.into());
    }
    let mut patterns = Map::new();
    for row in known {
        if let Some(start) = row.key.strip_suffix('*') {
            let mut value = Map::new();
            describe(&mut value, row);
            patterns.insert(format!("^{start}"), value.into());
        }
    }
    let mut section =
        Map::from_iter([("type".to_owned(), json!(["object", "null"])), ("properties".to_owned(), properties.into())]);
    if !patterns.is_empty() {
        section.insert("patternProperties".to_owned(), patterns.into());
    }
    if strict {
        section.insert("additionalProperties".to_owned(), false.into());
    }
    section
}

/// Says how the key acts, where that is not as LiteLLM has it.
fn describe(value: &mut Map<String, Value>, row: &Known) {
    let words = match (row.grade, row.restricts) {
        (Grade::Exact, _) if row.note.is_empty() => return,
        (Grade::Exact | Grade::Approximate, _) => row.note.to_owned(),
        (_, Some(what)) => format!("Refused where it is turned on: {what}"),
        (Grade::NotYet, None) => format!("Does not act yet: {}", row.note),
        (Grade::Unsupported, None) => format!("Does not act: {}", row.note),
    };
    value.insert("description".to_owned(), words.into());
    if matches!(row.grade, Grade::NotYet | Grade::Unsupported) {
        value.insert("deprecated".to_owned(), true.into());
    }
}

/// Values that stand in many places, by name. Wherever a scalar stands, a variable of the environment may be named.
fn shared() -> Map<String, Value> {
    let number = |number: Value| {
        let written = json!({ "type": "string", "pattern": r"^\s*(os\.environ/.+|[0-9.eE+-]+)\s*$" });
        json!({ "anyOf": [number, written, { "type": "null" }] })
    };
    let flag = json!({ "type": "string", "pattern": r"^\s*(os\.environ/.+|[Tt]rue|[Ff]alse|TRUE|FALSE)\s*$" });
    Map::from_iter(
        [
            ("text", json!({ "type": ["string", "number", "null"] })),
            ("flag", json!({ "anyOf": [{ "type": ["boolean", "null"] }, flag] })),
            ("whole-number", number(json!({ "type": "integer", "minimum": 0 }))),
            ("number", number(json!({ "type": "number", "minimum": 0 }))),
            ("share", number(json!({ "type": "number", "minimum": 0, "maximum": 1 }))),
        ]
        .map(|(name, schema)| (name.to_owned(), schema)),
    )
}

/// What a value may be.
fn of(kind: Kind) -> Map<String, Value> {
    let named = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
    let of_words = |words: &[&str]| {
        let words = words.iter().map(|word| Value::from(*word));
        json!({ "enum": words.chain([Value::Null]).collect::<Vec<_>>() })
    };
    let schema = match kind {
        Kind::Any => json!({}),
        Kind::Text => named("text"),
        Kind::OneOf(words) => of_words(words),
        Kind::Flag => named("flag"),
        Kind::Whole => named("whole-number"),
        Kind::Number | Kind::Seconds => named("number"),
        Kind::Share => named("share"),
        Kind::Texts => json!({ "type": ["array", "null"], "items": named("text") }),
        Kind::List => json!({ "type": ["array", "null"] }),
        Kind::Map => json!({ "type": ["object", "null"] }),
        Kind::TextOrTexts => json!({ "anyOf": [named("text"), { "type": "array", "items": named("text") }] }),
        Kind::TextOrMap => json!({ "anyOf": [named("text"), { "type": "object" }] }),
        Kind::TextByName => json!({ "type": ["object", "null"], "additionalProperties": named("text") }),
        Kind::Section(name) => named(name),
        Kind::Sections(name) => json!({ "type": ["array", "null"], "items": named(name) }),
        Kind::SectionByName(name) => json!({ "type": ["object", "null"], "additionalProperties": named(name) }),
        Kind::WordOrSection(words, name) => json!({ "anyOf": [of_words(words), named(name)] }),
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Written anew with `UPDATE_EXPECTED=1`.
    #[test]
    fn the_schema_that_is_kept_is_the_one_that_is_made() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.schema.json");
        let made = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&file, &made).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap_or_default(), made, "{}", file.display());
    }

    #[test]
    fn every_section_that_is_named_is_there_and_every_one_of_ours_takes_no_other_keys() {
        let schema = schema();
        let text = schema.to_string();
        let defs = schema["$defs"].as_object().unwrap();
        for (index, _) in text.match_indices("#/$defs/") {
            let name = text[index + "#/$defs/".len()..].split('"').next().unwrap();
            assert!(defs.contains_key(name), "{name}");
        }
        for ours in ["witgate", "server", "queue", "global", "routers", "roll_out", "decisions", "ledger", "simulated"]
        {
            assert_eq!(defs[ours]["additionalProperties"], false, "{ours}");
        }
        for theirs in ["litellm_params", "router_settings", "model_list"] {
            assert_eq!(defs[theirs].get("additionalProperties"), None, "{theirs}");
        }
        assert_eq!(defs["queue"]["properties"]["order"]["enum"], json!(["packed", "strict", null]));
        assert_eq!(defs["litellm_params"]["properties"]["rpm"]["$ref"], "#/$defs/whole-number");
    }
}
