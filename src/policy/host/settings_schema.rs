//! The JSON schema of a policy's settings, which a component may carry in a custom section. The host checks settings against it
//! before the policy sees them, so that each mistake is told with its place in them.
//!
//! What is understood: `type`, `properties`, `required`, `additionalProperties` (true or false), `enum`, `minimum`, `maximum`,
//! `items` and `minLength`; words that only describe are passed over. Any other word refuses the policy when it is loaded: one
//! that was passed over would promise what nobody checks. There are no references, so a check is no deeper than the schema.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::custom_section::{SETTINGS_SCHEMA, append};
use super::problem::PolicyProblem;

/// The largest schema taken, bytes.
const LARGEST: usize = 64 * 1024;
/// Mistakes that are told one by one; a long list may have as many as it has items.
const MOST_TOLD: usize = 20;
/// Words that check nothing.
const DESCRIBING: [&str; 7] = ["$schema", "$id", "$comment", "title", "description", "default", "examples"];
const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];

/// Why settings were refused: in the policy's own words, or mistake by mistake where a schema says what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsRefusal {
    words: String,
    /// Empty where the policy itself refused.
    mistakes: Vec<SettingMistake>,
}

/// Something in settings that does not fit their schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingMistake {
    /// Where, as a JSON pointer; of what is missing, where it should be.
    pub pointer: String,
    /// What is wrong, with the setting's name.
    pub words: String,
}

impl SettingsRefusal {
    /// What does not fit the schema, one by one; empty where the policy itself refused.
    #[must_use]
    pub fn mistakes(&self) -> &[SettingMistake] {
        &self.mistakes
    }
}

impl From<String> for SettingsRefusal {
    fn from(words: String) -> Self {
        Self { words, mistakes: Vec::new() }
    }
}

impl From<Vec<SettingMistake>> for SettingsRefusal {
    fn from(mistakes: Vec<SettingMistake>) -> Self {
        let words = mistakes.iter().map(|mistake| mistake.words.as_str()).collect::<Vec<_>>().join("; ");
        Self { words, mistakes }
    }
}

impl fmt::Display for SettingsRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// A schema that can be checked against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SettingsSchema(Map<String, Value>);

impl SettingsSchema {
    /// Reads a schema.
    ///
    /// # Errors
    /// It is too large, no JSON object, or has a word that is not understood; the words say which and where.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        if text.len() > LARGEST {
            return Err(format!("it has {} bytes, {LARGEST} are allowed", text.len()));
        }
        match serde_json::from_slice(text) {
            Ok(Value::Object(words)) => readable(&words, "#").map(|()| Self(words)),
            Ok(_) => Err("it is no JSON object".to_owned()),
            Err(error) => Err(format!("it is no JSON: {error}")),
        }
    }

    /// The component with the schema `text` in it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn embed(text: &[u8], mut component: Vec<u8>) -> Result<Vec<u8>, String> {
        Self::read(text)?;
        append(&mut component, SETTINGS_SCHEMA, text);
        Ok(component)
    }

    /// The names of the settings it knows.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let properties = self.0.get("properties").and_then(Value::as_object);
        properties.into_iter().flat_map(Map::keys).cloned().collect()
    }

    /// The settings it knows, each with its type where the schema says one: `penalty: number`.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let properties = self.0.get("properties").and_then(Value::as_object);
        let key = |(name, schema): (&String, &Value)| match schema.get("type") {
            Some(types) => format!("{name}: {}", or(types)),
            None => name.clone(),
        };
        properties.into_iter().flatten().map(key).collect()
    }

    /// Everything in `value` that does not fit.
    #[must_use]
    pub fn mistakes(&self, value: &Value) -> Vec<SettingMistake> {
        let mut mistakes = Vec::new();
        follow(value, &self.0, &Place::default(), &mut mistakes);
        mistakes
    }

    /// Holds settings, a JSON object as text, to the schema.
    ///
    /// # Errors
    /// Everything in them that does not fit, each with its JSON path, as the policy's own refusal of them would be.
    pub(super) fn check(&self, settings: &str) -> Result<(), PolicyProblem> {
        let mut mistakes = Vec::new();
        let top = Place::default();
        match serde_json::from_str(settings) {
            Ok(settings @ Value::Object(_)) => follow(&settings, &self.0, &top, &mut mistakes),
            Ok(_) => mistakes.push(top.mistake("settings must be a JSON object".to_owned())),
            Err(error) => mistakes.push(top.mistake(format!("settings are no JSON: {error}"))),
        }
        if mistakes.is_empty() {
            return Ok(());
        }
        let more = mistakes.len().saturating_sub(MOST_TOLD);
        mistakes.truncate(MOST_TOLD);
        if more > 0 {
            mistakes.push(top.mistake(format!("and {more} more")));
        }
        Err(PolicyProblem::Configure(mistakes.into()))
    }
}

/// A place in settings.
#[derive(Clone, Debug, Default)]
struct Place {
    /// As people write it: `rows[1].name`. The settings as a whole have an empty one.
    path: String,
    /// As a JSON pointer.
    pointer: String,
}

impl Place {
    fn member(&self, name: &str) -> Self {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        Self { path: step(&self.path, name), pointer: format!("{}/{escaped}", self.pointer) }
    }

    fn item(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), pointer: format!("{}/{index}", self.pointer) }
    }

    fn mistake(&self, words: String) -> SettingMistake {
        SettingMistake { pointer: self.pointer.clone(), words }
    }

    /// How it is named in a sentence.
    fn told(&self) -> String {
        if self.path.is_empty() { "what is set".to_owned() } else { format!("setting `{}`", self.path) }
    }
}

/// Whether every word of a schema is understood and has a value that can be used.
fn readable(words: &Map<String, Value>, at: &str) -> Result<(), String> {
    let within =
        |schema: &Value, here: &str| readable(schema.as_object().ok_or_else(|| format!("{here} is no object"))?, here);
    for (word, value) in words {
        let here = format!("{at}/{word}");
        let wanted = match word.as_str() {
            "properties" => {
                for (name, schema) in value.as_object().ok_or_else(|| format!("{here} is no object"))? {
                    within(schema, &format!("{here}/{name}"))?;
                }
                continue;
            }
            "items" => {
                within(value, &here)?;
                continue;
            }
            "type" => (names(value).is_some_and(|names| is_types(&names)), "a type or a list of types"),
            "required" => (value.is_array() && names(value).is_some(), "a list of names"),
            "additionalProperties" => (value.is_boolean(), "true or false"),
            "enum" => (value.as_array().is_some_and(|list| !list.is_empty()), "a list of values"),
            "minimum" | "maximum" => (value.is_number(), "a number"),
            "minLength" => (value.is_u64(), "a whole number"),
            describing if DESCRIBING.contains(&describing) => continue,
            unknown => return Err(format!("`{unknown}` at {at} is not understood here")),
        };
        if !wanted.0 {
            return Err(format!("{here} is not {}", wanted.1));
        }
    }
    Ok(())
}

/// One name or a list of them; `None` where it is neither.
fn names(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => names.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn is_types(names: &[&str]) -> bool {
    !names.is_empty() && names.iter().all(|name| TYPES.contains(name))
}

/// Notes everything in `value`, which stands at `at`, that does not fit the schema.
fn follow(value: &Value, schema: &Map<String, Value>, at: &Place, mistakes: &mut Vec<SettingMistake>) {
    if let Some(types) = schema.get("type")
        && !names(types).is_some_and(|names| names.iter().any(|name| is_of(value, name)))
    {
        // What else is wrong with it follows from this.
        mistakes.push(at.mistake(format!("{} must be {}", at.told(), wanted(schema))));
        return;
    }
    if let Some(Value::Array(values)) = schema.get("enum")
        && !values.iter().any(|one| same(one, value))
    {
        // Who would write null leaves it out.
        let known = values.iter().filter(|value| !value.is_null() || values.len() == 1).map(Value::to_string);
        let known = known.collect::<Vec<_>>().join(", ");
        mistakes.push(at.mistake(format!("{} must be one of {known}", at.told())));
    }
    match value {
        Value::Number(number) => {
            // A number of 64 bits is compared as a float, which bounds of settings are told from well enough.
            let bound = |word: &str| Some((number.as_f64()?, schema.get(word)?.as_f64()?));
            let below = bound("minimum").is_some_and(|(number, least)| number < least);
            if below || bound("maximum").is_some_and(|(number, most)| number > most) {
                mistakes.push(at.mistake(format!("{} must be {}", at.told(), wanted(schema))));
            }
        }
        Value::String(text) => {
            let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
            if u64::try_from(text.chars().count()).is_ok_and(|count| count < least) {
                mistakes.push(at.mistake(format!("{} must have {least} or more characters", at.told())));
            }
        }
        Value::Array(list) => {
            let Some(Value::Object(items)) = schema.get("items") else { return };
            for (index, item) in list.iter().enumerate() {
                follow(item, items, &at.item(index), mistakes);
            }
        }
        Value::Object(fields) => members(fields, schema, at, mistakes),
        Value::Null | Value::Bool(_) => {}
    }
}

fn members(fields: &Map<String, Value>, schema: &Map<String, Value>, at: &Place, mistakes: &mut Vec<SettingMistake>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    for (name, value) in fields {
        let here = at.member(name);
        match properties.and_then(|properties| properties.get(name)).and_then(Value::as_object) {
            Some(schema) => follow(value, schema, &here, mistakes),
            None if closed => {
                let known: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                let known = match (at.path.is_empty(), known.is_empty()) {
                    (true, true) => "this policy has no settings".to_owned(),
                    (true, false) => format!("this policy knows: {}", known.join(", ")),
                    (false, _) => format!("known there: {}", known.join(", ")),
                };
                mistakes.push(here.mistake(format!("unknown setting `{}`; {known}", here.path)));
            }
            None => {}
        }
    }
    let required = schema.get("required").and_then(names).unwrap_or_default();
    for here in required.into_iter().filter(|name| !fields.contains_key(*name)).map(|name| at.member(name)) {
        mistakes.push(here.mistake(format!("setting `{}` is missing", here.path)));
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match (name, value) {
        ("object", Value::Object(_))
        | ("array", Value::Array(_))
        | ("string", Value::String(_))
        | ("number", Value::Number(_))
        | ("boolean", Value::Bool(_))
        | ("null", Value::Null) => true,
        ("integer", Value::Number(number)) => number.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    }
}

/// Equal as JSON schema has it: 1 and 1.0 are one number.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

/// The path of a member: quoted where a dot before the name would not tell where it ends.
fn step(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    match (plain, path) {
        (true, "") => name.to_owned(),
        (true, _) => format!("{path}.{name}"),
        (false, _) => format!("{path}[{}]", Value::from(name)),
    }
}

/// What a schema wants, in the words of the SDK: `a number, 0 to 1000`.
fn wanted(schema: &Map<String, Value>) -> String {
    let word = |name: &str| match name {
        "object" => "an object",
        "array" => "a list",
        "string" => "text",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "null" => "null",
        _ => "a number",
    };
    let types = schema.get("type").and_then(names).unwrap_or_default();
    let many = types.len() > 1;
    // Who would write null leaves it out.
    let types: Vec<&str> = types.into_iter().filter(|name| !many || *name != "null").map(word).collect();
    let types = if types.is_empty() { "a number".to_owned() } else { types.join(" or ") };
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) if types == "a whole number" => format!("{types} from {least} to {most}"),
        (Some(least), Some(most)) => format!("{types}, {least} to {most}"),
        (Some(least), None) => format!("{types}, {least} or more"),
        (None, Some(most)) => format!("{types}, {most} or less"),
        (None, None) => types,
    }
}

fn or(types: &Value) -> String {
    names(types).unwrap_or_default().join(" or ")
}
