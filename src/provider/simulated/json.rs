//! A value that follows a JSON schema, as far as the schemas of tools and structured replies usually go: types,
//! enums, constants, all properties, items, bounds of numbers and lengths, local references and alternatives (the first).
//! Patterns and formats are not followed. Elements of a list that have a `number` are numbered from 1.

use serde_json::{Map, Number, Value};

/// A schema that refers to itself ends here.
const DEEPEST: u32 = 8;

/// A value for `schema`.
pub(super) fn value(schema: &Value, chance: &mut fastrand::Rng) -> Value {
    Writer { root: schema, chance }.value(schema, 0)
}

struct Writer<'a> {
    root: &'a Value,
    chance: &'a mut fastrand::Rng,
}

impl Writer<'_> {
    fn value(&mut self, schema: &Value, depth: u32) -> Value {
        if depth > DEEPEST {
            return Value::Null;
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            return self.chance.choice(allowed).cloned().unwrap_or_default();
        }
        let root = self.root;
        let referred =
            schema.get("$ref").and_then(Value::as_str).and_then(|path| root.pointer(path.strip_prefix('#')?));
        let alternative = ["anyOf", "oneOf", "allOf"].iter().find_map(|word| schema.get(word)?.get(0));
        if let Some(other) = referred.or(alternative) {
            return self.value(other, depth + 1);
        }
        match type_of(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "integer" => Value::Number(self.integer(schema).into()),
            "number" => Number::from_f64(self.number(schema)).map_or(Value::Null, Value::Number),
            "boolean" => Value::Bool(self.chance.bool()),
            "null" => Value::Null,
            _ => Value::String(self.string(schema)),
        }
    }

    fn object(&mut self, schema: &Value, depth: u32) -> Value {
        let mut object = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in properties.into_iter().flatten() {
            // What may be left out is left out at the bottom, so that a schema that refers to itself can end.
            if depth < DEEPEST / 2 || required.contains(&name.as_str()) {
                object.insert(name.clone(), self.value(property, depth + 1));
            }
        }
        Value::Object(object)
    }

    fn array(&mut self, schema: &Value, depth: u32) -> Value {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).min(64);
        let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let Some(items) = schema.get("items").filter(|_| depth < DEEPEST / 2 || least > 0 && most > 0) else {
            return Value::Array(Vec::new());
        };
        let mut list: Vec<Value> = (0..least.min(most)).map(|_| self.value(items, depth + 1)).collect();
        for (place, item) in list.iter_mut().enumerate() {
            if let Some(number) = item.get_mut("number").filter(|number| number.is_i64() || number.is_u64()) {
                *number = Value::from(place + 1);
            }
        }
        Value::Array(list)
    }

    fn integer(&mut self, schema: &Value) -> i64 {
        let bound = |word: &str| schema.get(word).and_then(Value::as_i64);
        let low = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|low| low.saturating_add(1)));
        let high = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|high| high.saturating_sub(1)));
        let low = low.unwrap_or_else(|| high.map_or(1, |high| high.min(1)));
        let high = high.unwrap_or_else(|| low.saturating_add(99)).max(low);
        self.chance.i64(low..=high)
    }

    fn number(&mut self, schema: &Value) -> f64 {
        let bound = |word: &str| schema.get(word).and_then(Value::as_f64);
        let low = bound("minimum").or_else(|| bound("exclusiveMinimum"));
        let high = bound("maximum").or_else(|| bound("exclusiveMaximum"));
        let low = low.unwrap_or_else(|| high.map_or(0.0, |high| high.min(0.0)));
        let high = high.unwrap_or(low + 100.0);
        low + (high - low) * self.chance.f64().mul_add(0.98, 0.01)
    }

    fn string(&mut self, schema: &Value) -> String {
        let bound = |word: &str| schema.get(word).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
        let mut text = super::prose::phrase(self.chance).to_owned();
        while text.len() < bound("minLength").unwrap_or(0).min(4096) {
            text.push(' ');
            text.push_str(super::prose::phrase(self.chance));
        }
        text.truncate(bound("maxLength").unwrap_or(usize::MAX));
        text
    }
}

/// The type a schema asks for; of several, the first that is not null.
fn type_of(schema: &Value) -> &str {
    let named = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        Some(named) => named.as_str(),
        None => None,
    };
    named.unwrap_or(if schema.get("properties").is_some() { "object" } else { "string" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn follows_the_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 5},
                "unit": {"enum": ["c", "f"]},
                "days": {"type": "integer", "minimum": 3, "maximum": 5},
                "tags": {"type": "array", "items": {"type": ["null", "boolean"]}, "minItems": 2},
                "next": {"$ref": "#"}
            },
            "required": ["city"]
        });
        let mut chance = fastrand::Rng::with_seed(1);
        for _ in 0..50 {
            let value = value(&schema, &mut chance);
            assert!(value["city"].as_str().unwrap().len() <= 5);
            assert!(["c", "f"].contains(&value["unit"].as_str().unwrap()));
            assert!((3..=5).contains(&value["days"].as_i64().unwrap()));
            assert_eq!(value["tags"].as_array().unwrap().iter().filter(|tag| tag.is_boolean()).count(), 2);
            assert!(value["next"]["next"]["city"].is_string());
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]});
        assert!(value(&schema, &mut fastrand::Rng::with_seed(1)).is_object());
        assert!(value(&json!({"$ref": "#"}), &mut fastrand::Rng::with_seed(1)).is_null());
    }
}
