//! Prompts of experiments: templates that the gateway's own builders fill in, and the bodies of requests that say with what.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Call, Experiment};
use crate::provider::simulated::OUTPUT_TOLD;
use crate::seed::derive;

/// The variable that holds an item's fields in a batch.
const ITEM: &str = "item";
/// The largest seed that every provider takes.
const LARGEST_SEED: u64 = 0x7FFF_FFFF;

/// The names of a template, the first step of each.
pub(super) fn names(template: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut rest = template;
    while let Some(at) = rest.find("{{") {
        rest = &rest[at + 2..];
        if let Some(after) = rest.strip_prefix("{{") {
            rest = after;
            continue;
        }
        let Some(end) = rest.find("}}") else { break };
        names.insert(rest[..end].trim().split('.').next().unwrap_or_default());
        rest = &rest[end + 2..];
    }
    names
}

/// The template of a text within a batch: its columns are the item's.
fn of_item(template: &str, columns: &BTreeSet<&str>) -> String {
    let (mut out, mut rest) = (String::new(), template);
    while let Some(at) = rest.find("{{") {
        let (plain, after) = rest.split_at(at + 2);
        out.push_str(plain);
        rest = after;
        if let Some(escaped) = rest.strip_prefix("{{") {
            out.push_str("{{");
            rest = escaped;
            continue;
        }
        let name = rest.trim_start().split(|sign: char| sign == '.' || sign == '}' || sign.is_whitespace()).next();
        if name.is_some_and(|name| columns.contains(name)) {
            out.push_str(ITEM);
            out.push('.');
            rest = rest.trim_start();
        }
    }
    out + rest
}

impl Experiment {
    /// The names of columns that every text has, and of what each is called.
    pub(super) fn columns(&self) -> BTreeSet<&str> {
        let Some(first) = self.texts.first() else { return BTreeSet::new() };
        let everywhere = |column: &&str| self.texts.iter().all(|text| text.fields.contains_key(*column));
        first.fields.keys().map(String::as_str).filter(everywhere).chain(["id"]).collect()
    }

    /// Whether it has prompts of its own, rather than those of its groups' builders.
    pub(super) fn has_prompt(&self) -> bool {
        self.file.system.is_some() || self.file.user.is_some()
    }

    /// The builder of its prompts and its settings, where they are its own.
    pub(super) fn builder(&self) -> Option<(&'static str, Value)> {
        let text = |located: &Option<crate::config::Located<String>>| located.as_ref().map(|it| it.value.clone());
        let (system, user) = (text(&self.file.system), text(&self.file.user));
        let Some(batch) = &self.file.batch else {
            return self.has_prompt().then(|| ("template", without_nulls(json!({ "system": system, "user": user }))));
        };
        let item = user.map(|user| {
            let user = of_item(&user, &self.columns());
            format!("<text number=\"{{{{number}}}}\">\n{user}\n</text>\n")
        });
        let item = item.unwrap_or_else(|| "<text number=\"{{number}}\">\n{{item.text}}\n</text>\n".to_owned());
        let settings = json!({
            "system": system,
            "item": item,
            "instructions": batch.instructions,
            "max_batch_tokens": batch.max_tokens,
            "instruction_tokens": batch.instruction_tokens,
        });
        Some(("batch", without_nulls(settings)))
    }

    /// The parser of its replies and its settings, where they are its own.
    pub(super) fn parser(&self) -> Option<(&'static str, Value)> {
        match (&self.file.batch, &self.file.schema) {
            (Some(_), _) => Some(("batch-split", json!({}))),
            (None, Some(schema)) => Some(("json", json!({ "schema": schema.value }))),
            (None, None) => None,
        }
    }

    /// The body of a call. `output`: where it is only planned, the tokens its reply is to have.
    pub(super) fn body(&self, call: &Call, output: Option<u64>) -> Bytes {
        let Some(first) = call.items.first() else { return Bytes::new() };
        let (run, batched) = (self.run_of(*first), self.file.batch.is_some());
        let mut body = run.parameters.clone();
        body.insert("model".to_owned(), run.model.as_str().into());
        body.insert("messages".to_owned(), json!([]));
        body.insert("tags".to_owned(), json!([format!("experiment:{}", self.file.name)]));
        let mut variables = Map::clone(&run.variables);
        if batched {
            let items: Vec<Value> = call.items.iter().map(|item| self.fields(*item).into()).collect();
            body.insert("prompt_items".to_owned(), items.into());
        } else {
            variables.append(&mut self.fields(*first));
        }
        body.insert("prompt_variables".to_owned(), variables.into());
        if let Some(seed) = self.file.seed {
            let seed = derive(seed, self.items[*first].number()) & LARGEST_SEED;
            // A model that takes no seed is asked without one; what a run names itself is not left out so.
            if !body.contains_key("seed") {
                body.insert("seed".to_owned(), seed.into());
                body.entry("drop_params").or_insert_with(|| json!(["seed"]));
            }
        }
        if let Some(format) = self.response_format(call.items.len()) {
            body.entry("response_format").or_insert(format);
        }
        if let Some(output) = output {
            body.insert(OUTPUT_TOLD.to_owned(), output.into());
        }
        Value::Object(body).to_string().into()
    }

    fn fields(&self, item: usize) -> Map<String, Value> {
        let text = &self.texts[self.items[item].text];
        let mut fields = text.fields.clone();
        fields.insert("id".to_owned(), text.id.as_str().into());
        fields
    }

    /// What models are sent of the schema.
    fn response_format(&self, texts: usize) -> Option<Value> {
        let schema = self.file.schema.as_ref().map(|schema| &schema.value).filter(|_| self.file.send_schema);
        if self.file.batch.is_none() {
            let schema = schema?;
            return Some(json!({ "type": "json_schema", "json_schema": { "name": "result", "schema": schema } }));
        }
        if !self.file.send_schema {
            return None;
        }
        let result = schema.cloned().unwrap_or_else(|| json!({ "type": "string" }));
        let element = json!({
            "type": "object",
            "required": ["number", "result"],
            "properties": { "number": { "type": "integer" }, "result": result },
        });
        let list = json!({ "type": "array", "minItems": texts, "maxItems": texts, "items": element });
        let schema = json!({ "type": "object", "required": ["results"], "properties": { "results": list } });
        Some(json!({ "type": "json_schema", "json_schema": { "name": "results", "schema": schema } }))
    }
}

fn without_nulls(mut settings: Value) -> Value {
    if let Value::Object(fields) = &mut settings {
        fields.retain(|_, value| !value.is_null());
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_template_are_told_and_braces_are_not() {
        let found = names("{{a}} and {{ b.c }}, not {{{{d}}, nor {{e");
        assert_eq!(found, BTreeSet::from(["a", "b"]));
    }

    #[test]
    fn columns_become_the_item_s_and_other_names_stay() {
        let columns = BTreeSet::from(["text", "id"]);
        let item = of_item("{{framework}}: {{ text }} of {{id.x}} {{{{text}}", &columns);
        assert_eq!(item, "{{framework}}: {{item.text }} of {{item.id.x}} {{{{text}}");
    }
}
