//! Texts with names between double braces.

use serde_json::{Map, Value};

/// A text with places to fill in.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Text(String),
    /// A variable, and the way into it.
    Name(Vec<String>),
}

/// What names stand for.
pub struct Scope<'a> {
    /// The request's.
    pub variables: &'a Value,
    /// Variables for requests that lack them.
    pub defaults: &'a Map<String, Value>,
    /// The list of items, written.
    pub items: Option<&'a str>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A name is not closed, or is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut steps, mut rest) = (Vec::new(), text);
        let mut plain = String::new();
        while let Some(at) = rest.find("{{") {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 2..];
            if let Some(after) = rest.strip_prefix("{{") {
                plain.push_str("{{");
                rest = after;
                continue;
            }
            let end = rest.find("}}").ok_or("`{{` without `}}`")?;
            let name = rest[..end].trim();
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            if path.iter().any(|step| step.is_empty() || step.contains(char::is_whitespace)) {
                return Err(format!("`{{{{{name}}}}}` is no name"));
            }
            if !plain.is_empty() {
                steps.push(Step::Text(std::mem::take(&mut plain)));
            }
            steps.push(Step::Name(path));
            rest = &rest[end + 2..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            steps.push(Step::Text(plain));
        }
        Ok(Self(steps))
    }

    /// Whether it says `{{items}}`.
    #[must_use]
    pub fn wants_items(&self) -> bool {
        self.0.iter().any(|step| matches!(step, Step::Name(path) if path[..] == ["items"]))
    }

    /// The text with every name filled in.
    ///
    /// # Errors
    /// Names a variable that is nowhere.
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, String> {
        self.fill(|path| match (scope.items, path) {
            (Some(items), [name]) if name == "items" => Some(items.to_owned()),
            _ => inside(scope.variables, path).or_else(|| field(scope.defaults, path)).map(written),
        })
    }

    /// The text of one item, whose fields have names too.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_item(&self, item: &Value, number: usize, scope: &Scope<'_>) -> Result<String, String> {
        self.fill(|path| match path {
            [name] if name == "number" => Some(number.to_string()),
            [name, path @ ..] if name == "item" => inside(item, path).map(written),
            _ => inside(scope.variables, path).or_else(|| field(scope.defaults, path)).map(written),
        })
    }

    fn fill(&self, value: impl Fn(&[String]) -> Option<String>) -> Result<String, String> {
        let mut text = String::new();
        for step in &self.0 {
            match step {
                Step::Text(plain) => text.push_str(plain),
                Step::Name(path) => {
                    let name =
                        || format!("the prompt needs `{}`, which is not among `prompt_variables`", path.join("."));
                    text.push_str(&value(path).ok_or_else(name)?);
                }
            }
        }
        Ok(text)
    }
}

fn inside<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, step| match value {
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        value => value.get(step),
    })
}

fn field<'v>(object: &'v Map<String, Value>, path: &[String]) -> Option<&'v Value> {
    let (first, rest) = path.split_first()?;
    inside(object.get(first)?, rest)
}

/// A text as it is, anything else as JSON.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str, variables: &Value) -> Result<String, String> {
        let defaults = Map::from_iter([("tone".to_owned(), json!("calm"))]);
        Template::parse(template)?.render(&Scope { variables, defaults: &defaults, items: Some("1. x\n") })
    }

    #[test]
    fn names_are_filled_in() {
        let variables = json!({"topic": "rain {{tone}}", "user": {"name": "Ada", "ids": [7, 8]}});
        for (template, text) in [
            ("About {{topic}}, {{ user.name }}.", "About rain {{tone}}, Ada."),
            ("{{tone}} {{user.ids.1}} {{user.ids}}", "calm 8 [7,8]"),
            ("{{items}}{{{{not a name}}", "1. x\n{{not a name}}"),
            ("", ""),
        ] {
            assert_eq!(render(template, &variables), Ok(text.to_owned()), "{template}");
        }
        assert_eq!(
            render("{{absent.x}}", &variables),
            Err("the prompt needs `absent.x`, which is not among `prompt_variables`".to_owned())
        );
    }

    #[test]
    fn items_have_numbers_and_fields() {
        let template = Template::parse("{{number}}: {{item.q}} ({{tone}})").unwrap();
        let defaults = Map::from_iter([("tone".to_owned(), json!("calm"))]);
        let scope = Scope { variables: &json!({}), defaults: &defaults, items: None };
        assert_eq!(template.render_item(&json!({"q": "why?"}), 3, &scope), Ok("3: why? (calm)".to_owned()));
        assert!(template.render_item(&json!("text"), 1, &scope).is_err());
    }

    #[test]
    fn mistakes_are_found_when_it_is_read() {
        assert_eq!(Template::parse("a {{b"), Err("`{{` without `}}`".to_owned()));
        assert_eq!(Template::parse("{{ }}"), Err("`{{}}` is no name".to_owned()));
        assert_eq!(Template::parse("{{a b}}"), Err("`{{a b}}` is no name".to_owned()));
    }
}
