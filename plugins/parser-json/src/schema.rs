//! JSON schema, as far as models are asked to follow it: types, names, bounds, choices, references within the schema. Words that
//! only describe are passed over; one that would decide and is not known here is refused when the schema is read.

use regex_lite::Regex;
use serde_json::{Map, Value};

/// Deeper nesting than any answer needs; a schema may refer to itself.
const DEPTH: u32 = 64;

/// Words that check nothing.
const DESCRIBING: [&str; 13] = [
    "$schema",
    "$id",
    "$defs",
    "$comment",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "deprecated",
    "readOnly",
    "writeOnly",
];
/// Words that are checked.
const CHECKED: [&str; 25] = [
    "$ref",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "minProperties",
];

/// What the value of a word must be: of another shape it would check nothing, or fit nothing.
#[derive(Clone, Copy)]
enum Wanted {
    Types,
    List,
    Names,
    Flag,
    Number,
    Count,
}

impl Wanted {
    /// `None` where anything goes, or where it is read as a schema.
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "type" => Self::Types,
            "enum" => Self::List,
            "required" => Self::Names,
            "uniqueItems" => Self::Flag,
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => Self::Number,
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" => Self::Count,
            _ => return None,
        })
    }

    fn is(self, value: &Value) -> bool {
        let each = |fits: fn(&Value) -> bool| value.as_array().is_some_and(|list| list.iter().all(fits));
        match self {
            Self::Types => is_type(value) || each(is_type),
            Self::List => value.is_array(),
            Self::Names => each(Value::is_string),
            Self::Flag => value.is_boolean(),
            Self::Number => value.is_number(),
            Self::Count => value.is_u64(),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Types => "one of array, boolean, integer, null, number, object, string, or a list of them",
            Self::List => "a list",
            Self::Names => "a list of texts",
            Self::Flag => "true or false",
            Self::Number => "a number",
            Self::Count => "a whole number from 0 on",
        }
    }
}

fn is_type(value: &Value) -> bool {
    let types = ["array", "boolean", "integer", "null", "number", "object", "string"];
    value.as_str().is_some_and(|name| types.contains(&name))
}

/// A schema that can be checked.
#[derive(Debug)]
pub(crate) struct Schema(Value);

impl Schema {
    /// # Errors
    /// Names the word that is not known here, or the pattern or reference that leads nowhere.
    pub(crate) fn read(schema: &Value) -> Result<Self, String> {
        let schema = Self(schema.clone());
        schema.readable(&schema.0, "#", DEPTH)?;
        Ok(schema)
    }

    fn readable(&self, schema: &Value, at: &str, depth: u32) -> Result<(), String> {
        let Value::Object(words) = schema else {
            return if schema.is_boolean() {
                Ok(())
            } else {
                Err(format!("{at} is neither an object nor true or false"))
            };
        };
        if depth == 0 {
            return Err(format!("{at} is nested too deeply"));
        }
        for (word, value) in words {
            let here = format!("{at}/{word}");
            match word.as_str() {
                "properties" | "$defs" | "definitions" => {
                    for (name, schema) in value.as_object().ok_or_else(|| format!("{here} is no object"))? {
                        self.readable(schema, &format!("{here}/{name}"), depth - 1)?;
                    }
                }
                "items" | "additionalProperties" | "not" => self.readable(value, &here, depth - 1)?,
                "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                    for schema in value.as_array().ok_or_else(|| format!("{here} is no list"))? {
                        self.readable(schema, &here, depth - 1)?;
                    }
                }
                "pattern" => {
                    let pattern = value.as_str().ok_or_else(|| format!("{here} is no text"))?;
                    Regex::new(pattern).map_err(|fault| format!("{here}: {fault}"))?;
                }
                "$ref" => {
                    let found = value.as_str().and_then(|to| self.refer(to));
                    found.map(|_| ()).ok_or_else(|| format!("{here} leads nowhere"))?;
                }
                known if CHECKED.contains(&known) => {
                    if let Some(wanted) = Wanted::of(known).filter(|wanted| !wanted.is(value)) {
                        return Err(format!("{here} must be {}", wanted.words()));
                    }
                }
                known if DESCRIBING.contains(&known) => {}
                unknown => return Err(format!("`{unknown}` at {at} is not known here")),
            }
        }
        Ok(())
    }

    fn refer(&self, to: &str) -> Option<&Value> {
        self.0.pointer(to.strip_prefix('#')?)
    }

    /// # Errors
    /// Where and how the value does not follow the schema.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        self.follows(value, &self.0, "", DEPTH)
    }

    fn follows(&self, value: &Value, schema: &Value, at: &str, depth: u32) -> Result<(), String> {
        let place = if at.is_empty() { "it" } else { at };
        let words = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(words) => words,
            _ => return Err(format!("{place} must not be there")),
        };
        if depth == 0 {
            return Err(format!("{place} is nested too deeply"));
        }
        let fail = |why: String| Err(format!("{place} {why}"));
        if let Some(to) = words.get("$ref").and_then(Value::as_str).and_then(|to| self.refer(to)) {
            self.follows(value, to, at, depth - 1)?;
        }
        if let Some(types) = words.get("type")
            && !is_of(value, types)
        {
            return fail(format!("must be {}", listed(types)));
        }
        if let Some(Value::Array(choices)) = words.get("enum")
            && !choices.contains(value)
        {
            return fail(format!("must be one of {}", Value::from(choices.clone())));
        }
        if words.get("const").is_some_and(|only| only != value) {
            return fail(format!("must be {}", words["const"]));
        }
        self.combined(value, words, at, depth)?;
        match value {
            Value::Object(object) => self.object(object, words, at, depth),
            Value::Array(list) => self.list(list, words, at, depth),
            Value::String(text) => self::text(text, words).or_else(fail),
            Value::Number(number) => bounds(number.as_f64().unwrap_or(f64::NAN), words).or_else(fail),
            Value::Null | Value::Bool(_) => Ok(()),
        }
    }

    fn combined(&self, value: &Value, words: &Map<String, Value>, at: &str, depth: u32) -> Result<(), String> {
        let all = |word: &str| words.get(word).and_then(Value::as_array).into_iter().flatten();
        let place = if at.is_empty() { "it" } else { at };
        all("allOf").try_for_each(|schema| self.follows(value, schema, at, depth - 1))?;
        for (word, one_only) in [("anyOf", false), ("oneOf", true)] {
            let answers: Vec<_> = all(word).map(|schema| self.follows(value, schema, at, depth - 1)).collect();
            let fitting = answers.iter().filter(|answer| answer.is_ok()).count();
            if !answers.is_empty() && (fitting == 0 || (one_only && fitting > 1)) {
                let why = answers.into_iter().find_map(Result::err).unwrap_or_else(|| "several fit".to_owned());
                return Err(format!("{place} fits not one of `{word}` ({why})"));
            }
        }
        if words.get("not").is_some_and(|schema| self.follows(value, schema, at, depth - 1).is_ok()) {
            return Err(format!("{place} is what it must not be"));
        }
        Ok(())
    }

    fn object(
        &self,
        object: &Map<String, Value>,
        words: &Map<String, Value>,
        at: &str,
        depth: u32,
    ) -> Result<(), String> {
        let place = if at.is_empty() { "it" } else { at };
        let required = words.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for name in required {
            if !object.contains_key(name) {
                return Err(format!("{place} has no `{name}`"));
            }
        }
        if count(words, "minProperties").is_some_and(|least| object.len() < least) {
            return Err(format!("{place} has too few fields"));
        }
        let known = words.get("properties").and_then(Value::as_object);
        for (name, value) in object {
            let inside = format!("{at}.{name}").trim_start_matches('.').to_owned();
            let own = known.and_then(|known| known.get(name));
            match own.or_else(|| words.get("additionalProperties")) {
                Some(Value::Bool(false)) if own.is_none() => return Err(format!("{place} must not have `{name}`")),
                Some(schema) => self.follows(value, schema, &inside, depth - 1)?,
                None => {}
            }
        }
        Ok(())
    }

    fn list(&self, list: &[Value], words: &Map<String, Value>, at: &str, depth: u32) -> Result<(), String> {
        let place = if at.is_empty() { "it" } else { at };
        if count(words, "minItems").is_some_and(|least| list.len() < least) {
            return Err(format!("{place} has too few items"));
        }
        if count(words, "maxItems").is_some_and(|most| list.len() > most) {
            return Err(format!("{place} has too many items"));
        }
        let unique = words.get("uniqueItems") == Some(&Value::Bool(true));
        if unique && list.iter().enumerate().any(|(index, item)| list[..index].contains(item)) {
            return Err(format!("{place} has an item twice"));
        }
        let first = words.get("prefixItems").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
        for (index, item) in list.iter().enumerate() {
            if let Some(schema) = first.get(index).or_else(|| words.get("items")) {
                self.follows(item, schema, &format!("{at}[{index}]"), depth - 1)?;
            }
        }
        Ok(())
    }
}

fn text(text: &str, words: &Map<String, Value>) -> Result<(), String> {
    let length = text.chars().count();
    if count(words, "minLength").is_some_and(|least| length < least) {
        return Err("is too short".to_owned());
    }
    if count(words, "maxLength").is_some_and(|most| length > most) {
        return Err("is too long".to_owned());
    }
    let pattern = words.get("pattern").and_then(Value::as_str).and_then(|pattern| Regex::new(pattern).ok());
    match pattern.filter(|pattern| !pattern.is_match(text)) {
        Some(pattern) => Err(format!("does not match `{}`", pattern.as_str())),
        None => Ok(()),
    }
}

fn bounds(number: f64, words: &Map<String, Value>) -> Result<(), String> {
    let bound = |word: &str| words.get(word).and_then(Value::as_f64);
    let broken = [
        ("minimum", bound("minimum").is_some_and(|least| number < least)),
        ("maximum", bound("maximum").is_some_and(|most| number > most)),
        ("exclusiveMinimum", bound("exclusiveMinimum").is_some_and(|least| number <= least)),
        ("exclusiveMaximum", bound("exclusiveMaximum").is_some_and(|most| number >= most)),
        ("multipleOf", bound("multipleOf").is_some_and(|step| (number / step).fract().abs() > 1e-9)),
    ];
    match broken.into_iter().find(|(_, broken)| *broken) {
        Some((word, _)) => Err(format!("is outside of `{word}` {}", words[word])),
        None => Ok(()),
    }
}

fn count(words: &Map<String, Value>, word: &str) -> Option<usize> {
    words.get(word)?.as_u64().and_then(|count| usize::try_from(count).ok())
}

fn is_of(value: &Value, types: &Value) -> bool {
    let is = |name: &str| match (name, value) {
        ("object", Value::Object(_))
        | ("array", Value::Array(_))
        | ("string", Value::String(_))
        | ("number", Value::Number(_))
        | ("boolean", Value::Bool(_))
        | ("null", Value::Null) => true,
        ("integer", Value::Number(number)) => number.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    };
    match types {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

fn listed(types: &Value) -> String {
    match types {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        name => format!("of type {}", name.as_str().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, value: &Value) -> Result<(), String> {
        Schema::read(schema).unwrap().check(value)
    }

    #[test]
    fn values_follow_or_are_told_where_they_do_not() {
        let schema = json!({
            "type": "object",
            "required": ["name", "tags"],
            "additionalProperties": false,
            "properties": {
                "name": {"type": "string", "minLength": 1, "pattern": "^[A-Z]"},
                "age": {"type": ["integer", "null"], "minimum": 0},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 2, "uniqueItems": true},
            },
            "$defs": {"tag": {"enum": ["a", "b"]}},
        });
        for (value, why) in [
            (json!({"name": "Ada", "age": 36, "tags": ["a", "b"]}), None),
            (json!({"name": "Ada", "age": null, "tags": []}), None),
            (json!([]), Some("it must be of type object")),
            (json!({"name": "Ada"}), Some("it has no `tags`")),
            (json!({"name": "ada", "tags": []}), Some("name does not match `^[A-Z]`")),
            (json!({"name": "Ada", "tags": ["c"]}), Some("tags[0] must be one of [\"a\",\"b\"]")),
            (json!({"name": "Ada", "tags": ["a", "a"]}), Some("tags has an item twice")),
            (json!({"name": "Ada", "tags": [], "age": 1.5}), Some("age must be integer or null")),
            (json!({"name": "Ada", "tags": [], "age": -1}), Some("age is outside of `minimum` 0")),
            (json!({"name": "Ada", "tags": [], "x": 1}), Some("it must not have `x`")),
        ] {
            assert_eq!(check(&schema, &value).err().as_deref(), why, "{value}");
        }
    }

    #[test]
    fn schemas_combine() {
        let schema = json!({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 2}], "not": {"const": 7}});
        assert_eq!(check(&schema, &json!(3)), Ok(()));
        assert!(check(&schema, &json!("abc")).unwrap_err().starts_with("it fits not one of `anyOf`"));
        assert_eq!(check(&schema, &json!(7)).unwrap_err(), "it is what it must not be");
        let tree = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert_eq!(check(&tree, &json!({"next": {"next": {}}})), Ok(()));
        assert_eq!(check(&tree, &json!({"next": {"next": 1}})).unwrap_err(), "next.next must be of type object");
    }

    #[test]
    fn what_is_not_known_is_refused_when_it_is_read() {
        for (schema, why) in [
            (json!({"properties": {"a": {"if": true}}}), "`if` at #/properties/a is not known here"),
            (json!({"required": "name"}), "#/required must be a list of texts"),
            (json!({"enum": "x"}), "#/enum must be a list"),
            (json!({"minimum": "5"}), "#/minimum must be a number"),
            (json!({"maxItems": -1}), "#/maxItems must be a whole number from 0 on"),
            (json!({"uniqueItems": 1}), "#/uniqueItems must be true or false"),
            (
                json!({"items": {"type": ["string", "strin"]}}),
                "#/items/type must be one of array, boolean, integer, null, number, object, string, or a list of them",
            ),
            (json!({"$ref": "#/$defs/none"}), "#/$ref leads nowhere"),
            (json!({"items": 3}), "#/items is neither an object nor true or false"),
        ] {
            assert_eq!(Schema::read(&schema).unwrap_err(), why);
        }
    }
}
