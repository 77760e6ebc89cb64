//! What the replies of a batch used, in sum, as they tell it themselves.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Tokens of all replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchUsage {
    input: u64,
    cached: u64,
    output: u64,
    reasoning: u64,
}

/// The part of a line of the output that tells it.
#[derive(Deserialize)]
struct Told {
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    body: Body,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    usage: Value,
}

impl BatchUsage {
    /// Adds what a line of the output says; nothing where it says nothing.
    pub(super) fn add(&mut self, outcome: &str) {
        let Ok(Told { response: Some(Response { body }) }) = serde_json::from_str::<Told>(outcome) else { return };
        // Chats and vectors count a prompt and a completion, responses input and output.
        let count = |pointers: [&str; 2]| {
            pointers.iter().find_map(|pointer| body.usage.pointer(pointer)?.as_u64()).unwrap_or_default()
        };
        let sum = |sum: &mut u64, pointers| *sum = sum.saturating_add(count(pointers));
        sum(&mut self.input, ["/prompt_tokens", "/input_tokens"]);
        sum(&mut self.cached, ["/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens"]);
        sum(&mut self.output, ["/completion_tokens", "/output_tokens"]);
        sum(
            &mut self.reasoning,
            ["/completion_tokens_details/reasoning_tokens", "/output_tokens_details/reasoning_tokens"],
        );
    }

    /// OpenAI's object.
    pub(super) fn told(self) -> Value {
        let Self { input, cached, output, reasoning } = self;
        json!({
            "input_tokens": input,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": reasoning},
            "total_tokens": input.saturating_add(output),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_each_api_are_added_up_and_what_tells_nothing_adds_nothing() {
        let mut usage = BatchUsage::default();
        for body in [
            json!({"usage": {"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}}),
            json!({"usage": {"input_tokens": 5, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}}}),
            json!({"usage": {"prompt_tokens": 7, "total_tokens": 7}}),
            json!({"usage": null}),
            json!({}),
        ] {
            usage.add(&json!({"response": {"status_code": 200, "body": body}}).to_string());
        }
        usage.add(&json!({"response": null, "error": {"code": "x"}}).to_string());
        usage.add("no JSON");
        assert_eq!(
            usage.told(),
            json!({
                "input_tokens": 22, "input_tokens_details": {"cached_tokens": 3},
                "output_tokens": 6, "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 28
            })
        );
    }
}
