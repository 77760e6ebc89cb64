//! JSON schemas where only a part of the language is taken: replies that are held to a schema are made by a grammar.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::quirks::Schemas;
use crate::chat::OutputFormat;

/// Keywords that no grammar of Claude's holds a model to, and that are refused: what they say is said in the description, as
/// the vendor's own SDK does it (`anthropic` 2.14.0 on `PyPI`, `lib/_parse/_transform.py`). The list is `litellm`'s, which
/// knows what is refused.
const UNHELD: [&str; 24] = [
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "prefixItems",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "if",
    "then",
    "else",
    "not",
];

/// Formats of texts that are held to.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The schema as Claude's grammars take it: every object closed, no `oneOf`, and what they do not hold to in the descriptions.
pub(super) fn for_claude(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let mut taken = Map::new();
    let mut said = Vec::new();
    for (name, value) in fields {
        match (name.as_str(), value) {
            // Google's word for an order, which the properties have anyway; and what is said of every object below.
            ("propertyOrdering" | "property_ordering", _) | ("additionalProperties", Value::Bool(_)) => {}
            ("properties" | "$defs" | "definitions", Value::Object(inside)) => {
                let inside: Map<String, Value> =
                    inside.iter().map(|(name, schema)| (name.clone(), for_claude(schema))).collect();
                taken.insert(name.clone(), inside.into());
            }
            ("items", Value::Object(_)) => drop(taken.insert(name.clone(), for_claude(value))),
            ("anyOf" | "oneOf", Value::Array(kinds)) => {
                let kinds = kinds.iter().map(for_claude);
                match taken.get_mut("anyOf") {
                    Some(Value::Array(before)) => before.extend(kinds),
                    _ => drop(taken.insert("anyOf".to_owned(), kinds.collect())),
                }
            }
            ("allOf", Value::Array(kinds)) => drop(taken.insert(name.clone(), kinds.iter().map(for_claude).collect())),
            _ if is_held(name, value) => drop(taken.insert(name.clone(), value.clone())),
            // It asks for nothing.
            (_, Value::Bool(false)) => {}
            _ => said.push(format!("{name}: {value}")),
        }
    }
    if is_object(fields) {
        taken.insert("additionalProperties".to_owned(), false.into());
    }
    if !said.is_empty() {
        let said = format!("{{{}}}", said.join(", "));
        let before = taken.get("description").and_then(Value::as_str).filter(|text| !text.is_empty());
        let description = before.map_or_else(|| said.clone(), |before| format!("{before}\n\n{said}"));
        taken.insert("description".to_owned(), description.into());
    }
    Value::Object(taken)
}

/// How a reply of this shape is asked for where a grammar closes every object: in words where the names in one are the model's to find, which
/// a grammar would leave it without.
pub(super) fn asked_for(output: Option<&OutputFormat>, known: Schemas) -> Schemas {
    match output {
        Some(OutputFormat::JsonSchema { schema, .. }) if is_open(schema) => Schemas::Words,
        _ => known,
    }
}

/// The same where a schema must be of an object: in words where it is of a list, or of one of several values.
pub(super) fn of_objects(output: Option<&OutputFormat>, known: Schemas) -> Schemas {
    if is_of_object(output) { known } else { Schemas::Words }
}

/// Whether it is, for all that is told, an object that is asked for.
pub(super) fn is_of_object(output: Option<&OutputFormat>) -> bool {
    let Some(OutputFormat::JsonSchema { schema: Value::Object(fields), .. }) = output else { return true };
    let is_of_others = ["anyOf", "oneOf", "enum", "const", "items"].into_iter().any(|name| fields.contains_key(name));
    is_object(fields) || (!fields.contains_key("type") && !is_of_others)
}

/// Whether an object in it has names that it does not tell.
fn is_open(schema: &Value) -> bool {
    let Value::Object(fields) = schema else { return false };
    let has = |name: &str| fields.get(name).and_then(Value::as_object).is_some_and(|map| !map.is_empty());
    let additional = fields.get("additionalProperties");
    let is_shut = additional == Some(&Value::Bool(false));
    let tells = ["properties", "anyOf", "oneOf", "allOf", "$ref"].into_iter().any(|name| fields.contains_key(name));
    if has("additionalProperties") || has("patternProperties") || (is_object(fields) && !tells && !is_shut) {
        return true;
    }
    let inside = ["properties", "$defs", "definitions"].into_iter().filter_map(|name| fields.get(name)?.as_object());
    let kinds = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|name| fields.get(name)?.as_array());
    inside.flat_map(Map::values).chain(kinds.flatten()).chain(fields.get("items")).any(is_open)
}

/// Whether a grammar holds to this keyword, or nobody minds it.
fn is_held(name: &str, value: &Value) -> bool {
    match name {
        "minItems" => value.as_u64().is_some_and(|least| least <= 1),
        "format" => value.as_str().is_some_and(|format| FORMATS.contains(&format)),
        // Simple patterns are held to: without looking around, bounds of words and what was found before.
        "pattern" => {
            let beyond = ["(?", r"\b", r"\B", r"\1", r"\2"];
            value.as_str().is_some_and(|pattern| !beyond.iter().any(|part| pattern.contains(*part)))
        }
        "items" | "additionalProperties" | "anyOf" | "oneOf" | "allOf" => false,
        other => !UNHELD.contains(&other),
    }
}

/// The schema of a tool's parameters where it does not say that it is of an object, which providers ask for that make no difference
/// between a schema and a tool's; `None` where it says so. Other kinds are somebody's mistake, which the provider tells.
pub(super) fn of_parameters(written: &Map<String, Value>) -> Option<Map<String, Value>> {
    let is_unsaid = match written.get("type") {
        None | Some(Value::Null) => true,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        Some(_) => false,
    };
    is_unsaid.then(|| {
        let mut told = Map::from_iter([("type".to_owned(), "object".into())]);
        told.extend(
            written.iter().filter(|(name, _)| *name != "type").map(|(name, value)| (name.clone(), value.clone())),
        );
        told
    })
}

/// The same with its properties, without which OpenAI takes none, also where there are none.
pub(super) fn with_properties(written: &Value) -> Cow<'_, Value> {
    const TELLING: [&str; 5] = ["properties", "$ref", "anyOf", "oneOf", "allOf"];
    let Value::Object(fields) = written else { return Cow::Borrowed(written) };
    let told = of_parameters(fields).map_or(Cow::Borrowed(fields), Cow::Owned);
    let is_bare = told.get("type").is_some_and(|kind| kind == "object")
        && !TELLING.iter().any(|name| told.get(*name).is_some_and(|value| !value.is_null()));
    match (is_bare, told) {
        (true, told) => {
            let mut whole = told.into_owned();
            whole.insert("properties".to_owned(), Map::new().into());
            Cow::Owned(whole.into())
        }
        (false, Cow::Owned(told)) => Cow::Owned(told.into()),
        (false, Cow::Borrowed(_)) => Cow::Borrowed(written),
    }
}

/// Whether a tool's schema asks for nothing: Google refuses an object without properties.
pub(super) fn is_of_nothing(schema: &Value) -> bool {
    let Value::Object(fields) = schema else { return true };
    fields.iter().all(|(name, value)| match name.as_str() {
        "properties" | "required" | "$defs" | "definitions" => {
            value.is_null()
                || value.as_object().is_some_and(Map::is_empty)
                || value.as_array().is_some_and(Vec::is_empty)
        }
        "additionalProperties" => !value.is_object(),
        "type" => value.as_str().is_none_or(|kind| kind == "object"),
        "$schema" | "$id" | "title" | "description" => true,
        _ => false,
    })
}

/// Whether it is the schema of an object.
fn is_object(fields: &Map<String, Value>) -> bool {
    let is = |kind: &Value| kind == "object";
    match fields.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is),
        Some(kind) => is(kind),
        None => fields.contains_key("properties"),
    }
}

/// Whether OpenAI's grammars take it: it is of an object, and every object is closed and has all its properties.
pub(super) fn is_strict(schema: &Value) -> bool {
    schema.as_object().is_some_and(is_object) && is_closed(schema)
}

fn is_closed(schema: &Value) -> bool {
    const UNKNOWN: [&str; 9] = [
        "oneOf",
        "allOf",
        "not",
        "if",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
        "propertyNames",
        "prefixItems",
    ];
    let Value::Object(fields) = schema else { return false };
    if UNKNOWN.iter().any(|name| fields.contains_key(*name)) {
        return false;
    }
    let required = fields.get("required").and_then(Value::as_array);
    let is_required =
        |name: &String| required.is_some_and(|required| required.iter().any(|other| other == name.as_str()));
    let properties = fields.get("properties").and_then(Value::as_object);
    let is_shut = || {
        let additional = fields.get("additionalProperties").and_then(Value::as_bool);
        additional == Some(false) && properties.is_some_and(|properties| properties.keys().all(is_required))
    };
    let inside = ["properties", "$defs", "definitions"].into_iter().filter_map(|name| fields.get(name)?.as_object());
    let kinds = fields.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    (!is_object(fields) || is_shut())
        && inside.flat_map(Map::values).chain(kinds).chain(fields.get("items")).all(is_closed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_claude_s_grammars_do_not_hold_to_is_said() {
        let schema = json!({
            "type": "object",
            "propertyOrdering": ["a"],
            "properties": {
                "a": {"type": "integer", "minimum": 1, "maximum": 10, "description": "A number"},
                "b": {"oneOf": [{"type": "object", "properties": {}, "additionalProperties": true}, {"type": "null"}]},
                "maxItems": {"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "string", "format": "phone"}},
                "c": {"type": "string", "pattern": "^[a-z]+$", "format": "date", "minLength": 1},
                "d": {"type": "array", "minItems": 1, "uniqueItems": false, "items": {"$ref": "#/$defs/e"}},
            },
            "required": ["a"],
            "$defs": {"e": {"type": ["object", "null"], "properties": {"f": {"enum": ["x"]}}}},
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "a": {"type": "integer", "description": "A number\n\n{minimum: 1, maximum: 10}"},
                "b": {"anyOf": [{"type": "object", "properties": {}, "additionalProperties": false}, {"type": "null"}]},
                "maxItems": {"type": "array", "description": "{minItems: 2, maxItems: 3}",
                    "items": {"type": "string", "description": "{format: \"phone\"}"}},
                "c": {"type": "string", "pattern": "^[a-z]+$", "format": "date", "description": "{minLength: 1}"},
                "d": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/e"}},
            },
            "required": ["a"],
            "$defs": {"e": {"type": ["object", "null"], "properties": {"f": {"enum": ["x"]}}, "additionalProperties": false}},
            "additionalProperties": false,
        });
        assert_eq!(for_claude(&schema), expected);
        assert_eq!(for_claude(&expected), expected, "what is taken stays");
    }

    #[test]
    fn names_that_are_the_model_s_to_find_are_asked_for_in_words() {
        let object = |fields: Value| json!({"type": "object", "properties": {"a": fields}});
        let asked = |schema: &Value| {
            let (name, description, strict) = (None, None, None);
            let output = OutputFormat::JsonSchema { name, description, schema: schema.clone(), strict };
            asked_for(Some(&output), Schemas::Field)
        };
        for (schema, how) in [
            (object(json!({"type": "object", "additionalProperties": {"type": "string"}})), Schemas::Words),
            (object(json!({"type": "object"})), Schemas::Words),
            (object(json!({"anyOf": [{"type": "object"}, {"type": "null"}]})), Schemas::Words),
            (
                object(json!({"type": "array", "items": {"type": "object", "additionalProperties": true}})),
                Schemas::Words,
            ),
            (json!({"$defs": {"x": {"type": "object"}}, "$ref": "#/$defs/x"}), Schemas::Words),
            (object(json!({"type": "string"})), Schemas::Field),
            (object(json!({"type": "object", "properties": {}})), Schemas::Field),
            (object(json!({"type": "object", "additionalProperties": false})), Schemas::Field),
            (json!({"type": "object", "properties": {"a": {}}, "additionalProperties": true}), Schemas::Field),
        ] {
            assert_eq!(asked(&schema), how, "{schema}");
        }
        assert_eq!(asked_for(None, Schemas::Field), Schemas::Field);
    }

    #[test]
    fn a_tool_s_schema_says_that_it_is_of_an_object_and_has_its_properties() {
        let nothing = json!({"type": "object", "properties": {}});
        let property = json!({"a": {"type": "string"}});
        for (written, told) in [
            (json!({}), nothing.clone()),
            (json!({"type": "object"}), nothing.clone()),
            (json!({"type": null}), nothing.clone()),
            (
                json!({"type": ["object", "null"], "properties": property}),
                json!({"type": "object", "properties": property}),
            ),
            (json!({"properties": property}), json!({"type": "object", "properties": property})),
            (json!({"type": "object", "anyOf": []}), json!({"type": "object", "anyOf": []})),
            (json!({"$ref": "#/$defs/a"}), json!({"type": "object", "$ref": "#/$defs/a"})),
            (json!({"type": "string"}), json!({"type": "string"})),
            (nothing.clone(), nothing.clone()),
        ] {
            assert_eq!(*with_properties(&written), told, "{written}");
        }
    }

    #[test]
    fn a_schema_of_no_parameters_says_nothing_however_it_is_told() {
        for written in [
            json!({}),
            json!({"type": "object"}),
            json!({"type": "object", "properties": {}}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {},
                "required": [], "additionalProperties": false}),
        ] {
            assert!(is_of_nothing(&written), "{written}");
        }
        for written in [
            json!({"type": "object", "properties": {"a": {}}}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "anyOf": [{"properties": {"a": {}}}]}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {}}}),
        ] {
            assert!(!is_of_nothing(&written), "{written}");
        }
    }

    #[test]
    fn only_closed_schemas_with_all_their_properties_are_strict() {
        let of = |inner: Value| json!({"type": "object", "properties": {"a": inner}, "required": ["a"], "additionalProperties": false});
        for strict in
            [of(json!({"type": "string"})), of(of(json!({"type": ["string", "null"]}))), of(json!({"$ref": "#"}))]
        {
            assert!(is_strict(&strict), "{strict}");
        }
        for loose in [
            json!({"type": "string"}),
            json!({"type": "object", "properties": {"a": {}}, "required": []}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false}),
            of(json!({"type": "array", "items": {"type": "object"}})),
            of(json!({"anyOf": [{"type": "object", "properties": {}}]})),
            of(json!({"oneOf": []})),
        ] {
            assert!(!is_strict(&loose), "{loose}");
        }
    }
}
