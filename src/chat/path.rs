//! One place in a request's parameters, as `LiteLLM` writes it: names after dots, `[0]` for one item of a list, `[*]` for all of them.
//! What stands there, and no more, can be taken out.

use serde_json::{Map, Value};

use super::{ChatRequest, OutputFormat, Reasoning, Tool, ToolChoice};

/// Parameters into which no path leads here: they have no parts, or are what is asked about.
const WHOLE: [&str; 14] = [
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "model",
    "n",
    "parallel_tool_calls",
    "reasoning_effort",
    "stop",
    "stream",
    "temperature",
    "top_k",
    "top_p",
    "user",
    "prompt",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'p> {
    Name(&'p str),
    Item(usize),
    Every,
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    for piece in path.split('.') {
        let mut pieces = piece.split('[');
        let name = pieces.next().filter(|name| !name.is_empty() && !name.contains(']'))?;
        steps.push(Step::Name(name));
        for item in pieces {
            let item = item.strip_suffix(']')?;
            steps.push(if item == "*" { Step::Every } else { Step::Item(item.parse().ok()?) });
        }
    }
    Some(steps)
}

/// Whether a parameter, or a place in one, is one that [`ChatRequest::take_out`] can take out.
///
/// # Errors
/// Why it is not, for whoever wrote it.
pub fn check_path(path: &str) -> Result<(), String> {
    let steps = steps(path).ok_or_else(|| {
        format!(
            "`{path:.80}` is no path to a parameter: names with dots between them, `[0]` or `[*]` for items of a list"
        )
    })?;
    match steps.as_slice() {
        [Step::Name(name), _, ..] if WHOLE.contains(name) => {
            Err(format!("`{path:.80}`: nothing can be taken out of `{name}`, which is left out whole or not at all"))
        }
        _ => Ok(()),
    }
}

impl ChatRequest {
    /// Takes out what stands at a path, and nothing else. Returns whether anything was there.
    pub fn take_out(&mut self, path: &str) -> bool {
        let Some(steps) = steps(path) else { return false };
        match steps.as_slice() {
            [_] => self.leave_out(path),
            [Step::Name("tools"), which @ (Step::Item(_) | Step::Every), rest @ ..] => self.out_of_tools(*which, rest),
            [Step::Name("tool_choice"), rest @ ..] => match &mut self.tool_choice {
                Some(ToolChoice::Other(value)) => cut(value, rest),
                _ => false,
            },
            [Step::Name("response_format"), Step::Name("json_schema"), rest @ ..] if self.out_of_schema(rest) => true,
            [Step::Name("reasoning"), Step::Name("effort")] => self.out_of_reasoning(|reasoning| &mut reasoning.effort),
            [Step::Name("thinking"), Step::Name("budget_tokens")] => {
                self.out_of_reasoning(|reasoning| &mut reasoning.budget_tokens)
            }
            // Who asks stands there in some APIs.
            [Step::Name("metadata"), Step::Name("user_id")] => {
                cut_fields(&mut self.rest, &steps) || self.user.take().is_some()
            }
            all => cut_fields(&mut self.rest, all),
        }
    }

    fn out_of_tools(&mut self, which: Step<'_>, rest: &[Step<'_>]) -> bool {
        let meant = |index: usize| which == Step::Every || which == Step::Item(index);
        if rest.is_empty() {
            let before = self.tools.len();
            let mut index = 0..;
            self.tools.retain(|_| !index.next().is_some_and(meant));
            return self.tools.len() < before;
        }
        let tools = self.tools.iter_mut().enumerate().filter(|(index, _)| meant(*index));
        // Every one of them, though the first was hit.
        tools.fold(false, |hit, (_, tool)| out_of_tool(tool, rest) || hit)
    }

    fn out_of_schema(&mut self, rest: &[Step<'_>]) -> bool {
        let Some(OutputFormat::JsonSchema { description, schema, strict, .. }) = &mut self.output else { return false };
        match rest {
            [Step::Name("description")] => description.take().is_some(),
            [Step::Name("strict")] => strict.take().is_some(),
            [Step::Name("schema"), rest @ ..] => cut(schema, rest),
            _ => false,
        }
    }

    fn out_of_reasoning<T>(&mut self, part: impl FnOnce(&mut Reasoning) -> &mut Option<T>) -> bool {
        let Some(reasoning) = &mut self.reasoning else { return false };
        let hit = part(reasoning).take().is_some();
        if *reasoning == Reasoning::default() {
            self.reasoning = None;
        }
        hit
    }
}

fn out_of_tool(tool: &mut Tool, path: &[Step<'_>]) -> bool {
    let (description, parameters, strict, rest) = match tool {
        Tool::Other(value) => return cut(value, path),
        Tool::Function { description, parameters, strict, rest, .. } => (description, parameters, strict, rest),
    };
    let inner = if let [Step::Name("function"), inner @ ..] = path { inner } else { path };
    match inner {
        [Step::Name("description")] => description.take().is_some(),
        [Step::Name("strict")] => strict.take().is_some(),
        [Step::Name("parameters" | "input_schema")] => parameters.take().is_some(),
        [Step::Name("parameters" | "input_schema"), deeper @ ..] => {
            parameters.as_mut().is_some_and(|parameters| cut(parameters, deeper))
        }
        _ => cut_fields(rest, path),
    }
}

fn cut(value: &mut Value, path: &[Step<'_>]) -> bool {
    match (value, path) {
        (Value::Object(fields), [Step::Name(_), ..]) => cut_fields(fields, path),
        (Value::Array(items), [Step::Item(index)]) if *index < items.len() => {
            items.remove(*index);
            true
        }
        (Value::Array(items), [Step::Every]) => !std::mem::take(items).is_empty(),
        (Value::Array(items), [Step::Item(index), rest @ ..]) => {
            items.get_mut(*index).is_some_and(|item| cut(item, rest))
        }
        (Value::Array(items), [Step::Every, rest @ ..]) => {
            items.iter_mut().filter_map(|item| cut(item, rest).then_some(())).count() > 0
        }
        _ => false,
    }
}

fn cut_fields(fields: &mut Map<String, Value>, path: &[Step<'_>]) -> bool {
    match path {
        [Step::Name(name)] => fields.shift_remove(*name).is_some(),
        [Step::Name(name), rest @ ..] => fields.get_mut(*name).is_some_and(|value| cut(value, rest)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_cannot_be_gone_are_refused() {
        for path in ["seed", "metadata.user_id", "tools[*].input_examples", "tools[0]", "a.b[2].c", "tools[*].a[0].b"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for path in ["", "a..b", "tools[", "tools[x].y", "tools]", "[0].a"] {
            assert!(check_path(path).unwrap_err().contains("is no path"), "{path}");
        }
        for path in ["messages[*].name", "stop[0]", "temperature.x"] {
            assert!(check_path(path).unwrap_err().contains("left out whole"), "{path}");
        }
    }

    #[test]
    fn thinking_is_left_out_whole_in_whosever_words_it_was_asked() {
        let mut request = ChatRequest::bare("m".to_owned(), Vec::new(), crate::chat::Dialect::named("anthropic"));
        request.rest.insert("thinking".to_owned(), serde_json::json!({"type": "disabled"}));
        assert!(request.leave_out("thinking"));
        assert!(request.rest.is_empty() && !request.leave_out("thinking"));
    }
}
