//! A reply that comes whole though a stream was asked for: some servers do not stream (with tools, for instance), and some tell under a
//! status of success that they give none.
//!
//! No stream of events begins with a brace.

use super::{ProviderFormat, StreamDecoder, drawn};
use crate::chat::{Choice, Chunk, Delta, Part, PartKind, Reply, Rest};
use crate::fault::AttemptFault;

/// Reads a stream, or a whole reply in its place.
pub struct MaybeWhole {
    format: &'static dyn ProviderFormat,
    stream: Box<dyn StreamDecoder>,
    /// Whether anything came that tells which it is.
    told: bool,
    /// What came of a whole reply.
    whole: Option<Vec<u8>>,
    complete: bool,
}

impl MaybeWhole {
    /// A reader for one reply of this format.
    #[must_use]
    pub fn new(format: &'static dyn ProviderFormat) -> Self {
        Self { format, stream: format.stream(), told: false, whole: None, complete: false }
    }
}

impl StreamDecoder for MaybeWhole {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        if !self.told
            && let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace())
        {
            self.told = true;
            self.whole = (*first == b'{').then(Vec::new);
        }
        match &mut self.whole {
            Some(whole) => {
                whole.extend_from_slice(bytes);
                Ok(())
            }
            None => self.stream.push(bytes, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        let Some(whole) = self.whole.take() else { return self.stream.finish(out) };
        pieces(self.format.decode(&whole)?, out);
        self.complete = true;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.complete || self.stream.is_complete()
    }
}

/// The steps of a stream that would have come to this reply. What its provider says beside them has another place in streams, and is
/// left out.
fn pieces(reply: Reply, out: &mut Vec<Chunk>) {
    let Reply { id, model, created, choices, usage, dialect, .. } = reply;
    out.push(Chunk::of(Delta::Start { id, model, created, dialect }));
    for Choice { index, parts, finish, logprobs, .. } in choices {
        let mut say = |delta: Delta| out.push(Chunk { choice: index, delta, rest: Rest::new() });
        let mut calls = 0;
        for part in parts {
            one(part, &mut calls, &mut say);
        }
        if !logprobs.is_empty() {
            say(Delta::Logprobs(logprobs));
        }
        if let Some(finish) = finish {
            say(Delta::Finish(finish));
        }
    }
    out.extend(usage.map(|usage| Chunk::of(Delta::Usage(Box::new(usage)))));
}

fn one(part: Part, calls: &mut u32, say: &mut impl FnMut(Delta)) {
    match part.kind {
        PartKind::Text(text) if !text.is_empty() => say(Delta::Text(text)),
        PartKind::Refusal(text) if !text.is_empty() => say(Delta::Refusal(text)),
        PartKind::Reasoning { text, signature } => {
            if !text.is_empty() {
                say(Delta::Reasoning(text));
            }
            if let Some(signature) = signature {
                say(Delta::ReasoningSignature(signature));
            }
        }
        PartKind::ToolCall { id, name, arguments } => {
            let index = *calls;
            *calls = calls.saturating_add(1);
            say(Delta::ToolCall { index, id, name });
            if !arguments.is_empty() {
                say(Delta::ToolArguments { index, fragment: arguments });
            }
        }
        PartKind::Image(source) => {
            say(Delta::Other { event: drawn::PICTURE.to_owned(), value: drawn::told(&source) });
        }
        kind => {
            if let Some(data) = kind.redacted() {
                say(Delta::RedactedReasoning(data.to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fault::FaultKind;
    use crate::format::provider_format;

    /// What is read of a body that comes in two pieces.
    fn read(name: &str, body: &str) -> Result<(Vec<Delta>, bool), AttemptFault> {
        let mut decoder = MaybeWhole::new(provider_format(name).unwrap());
        let mut out = Vec::new();
        let (first, second) = body.as_bytes().split_at(body.len() / 2);
        decoder.push(first, &mut out)?;
        decoder.push(second, &mut out)?;
        decoder.finish(&mut out)?;
        Ok((out.into_iter().map(|chunk| chunk.delta).collect(), decoder.is_complete()))
    }

    fn replies() -> [(&'static str, Value); 5] {
        let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let chat = json!({"role": "assistant", "content": "Hi", "tool_calls": [call]});
        let content =
            json!([{"type": "text", "text": "Hi"}, {"type": "tool_use", "id": "a", "name": "f", "input": {}}]);
        let parts = json!([{"text": "Hi"}, {"functionCall": {"id": "a", "name": "f", "args": {}}}]);
        let blocks = json!([{"text": "Hi"}, {"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}]);
        let item = json!({"type": "function_call", "id": "fc", "call_id": "a", "name": "f", "arguments": "{}"});
        let said = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]});
        [
            (
                "openai",
                json!({"id": "1", "model": "m", "choices": [{"index": 0, "message": chat, "finish_reason": "tool_calls"}]}),
            ),
            (
                "anthropic",
                json!({"id": "1", "type": "message", "role": "assistant", "model": "m", "content": content,
                "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 2}}),
            ),
            ("gemini", json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]})),
            (
                "bedrock",
                json!({"output": {"message": {"role": "assistant", "content": blocks}}, "stopReason": "tool_use",
                    "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}}),
            ),
            ("openai_responses", json!({"id": "1", "model": "m", "status": "completed", "output": [said, item]})),
        ]
    }

    #[test]
    fn a_reply_that_comes_whole_is_told_in_pieces() {
        for (name, reply) in replies() {
            let (deltas, complete) = read(name, &format!("\n{reply}")).unwrap();
            assert!(complete && matches!(deltas[0], Delta::Start { .. }), "{name}: {deltas:?}");
            let text: String = deltas
                .iter()
                .filter_map(|delta| if let Delta::Text(text) = delta { Some(text.as_str()) } else { None })
                .collect();
            assert_eq!(text, "Hi", "{name}");
            assert!(
                deltas.iter().any(|delta| matches!(delta, Delta::ToolCall { index: 0, name, .. } if name == "f")),
                "{name}"
            );
            assert!(deltas.iter().any(|delta| matches!(delta, Delta::Finish(_))), "{name}: {deltas:?}");
        }
    }

    #[test]
    fn a_fault_under_a_status_of_success_is_told_as_what_it_is() {
        for (name, error) in [
            ("openai", json!({"error": {"message": "Slow down.", "code": 429}})),
            ("anthropic", json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}})),
            ("gemini", json!({"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}})),
        ] {
            let fault = read(name, &error.to_string()).unwrap_err();
            assert_eq!((fault.kind, &*fault.message), (FaultKind::RateLimited, "Slow down."), "{name}");
        }
        assert_eq!(read("openai", "{\"id\": \"1\", \"choi").unwrap_err().kind, FaultKind::BrokenStream);
    }

    #[test]
    fn a_stream_is_read_as_one() {
        let event = json!({"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": "{"}, "finish_reason": "stop"}]});
        let (deltas, complete) = read("openai", &format!("data: {event}\n\ndata: [DONE]\n\n")).unwrap();
        assert!(complete && deltas.contains(&Delta::Text("{".to_owned())), "{deltas:?}");
    }
}
