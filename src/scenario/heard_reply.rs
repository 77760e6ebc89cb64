//! A provider's reply as a client would read it, whole or streamed, and what a scenario expects of one.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::cuts::cuts;
use super::parser_suite::FINISHES;
use super::role_suite::Found;
use crate::chat::{Delta, FinishReason, Part, PartKind, PartsOfDeltas, Reply, Usage};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::ProviderFormat as _;
use crate::policy::ComponentFormat;

/// What is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HeardReply {
    id: String,
    model: String,
    text: String,
    reasoning: String,
    refusal: String,
    calls: Vec<CallFile>,
    finish: Option<&'static str>,
    usage: Option<UsageFile>,
}

/// A tool call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CallFile {
    id: String,
    name: String,
    /// JSON text, as the model wrote it.
    arguments: String,
}

/// Tokens; what is not given is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names in the file")]
struct UsageFile {
    #[serde(skip_serializing_if = "is_none")]
    input_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    cache_read_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    cache_write_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    output_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    reasoning_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_none(tokens: &u64) -> bool {
    *tokens == 0
}

/// What is expected of a reply: all of the keys given.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ReplyExpectation {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    /// All tool calls.
    #[serde(default)]
    calls: Option<Vec<CallFile>>,
    /// Why it ended.
    #[serde(default)]
    finish: Option<String>,
    #[serde(default)]
    usage: Option<UsageFile>,
}

impl ReplyExpectation {
    /// The keys that are given.
    pub(super) fn given(&self) -> impl Iterator<Item = &'static str> + use<> {
        let Self { id, model, text, reasoning, refusal, calls, finish, usage } = self;
        let keys = [
            ("id", id.is_some()),
            ("model", model.is_some()),
            ("text", text.is_some()),
            ("reasoning", reasoning.is_some()),
            ("refusal", refusal.is_some()),
            ("calls", calls.is_some()),
            ("finish", finish.is_some()),
            ("usage", usage.is_some()),
        ];
        keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key)
    }

    /// What is not so.
    pub(super) fn unmet(&self, heard: &HeardReply) -> Vec<String> {
        let texts = [
            ("id", &self.id, heard.id.as_str()),
            ("model", &self.model, &heard.model),
            ("text", &self.text, &heard.text),
            ("reasoning", &self.reasoning, &heard.reasoning),
            ("refusal", &self.refusal, &heard.refusal),
            ("finish", &self.finish, heard.finish.unwrap_or("none")),
        ];
        let mut problems = Vec::new();
        for (name, wanted, got) in texts {
            if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != got) {
                problems.push(format!("expected the {name} {wanted:?}, got {got:?}"));
            }
        }
        if let Some(calls) = self.calls.as_ref().filter(|calls| **calls != heard.calls) {
            problems.push(format!("expected the calls {calls:?}, got {:?}", heard.calls));
        }
        if let Some(usage) = self.usage.as_ref().filter(|usage| Some(*usage) != heard.usage.as_ref()) {
            problems.push(format!("expected the usage {usage:?}, got {:?}", heard.usage));
        }
        problems
    }

    /// The reply as a file would say it.
    pub(super) fn found(&self, heard: &HeardReply) -> Vec<Found> {
        let text = |key, wanted: &Option<String>, got: &str| Found::new(key, got, wanted.as_deref() == Some(got));
        let mut found = vec![
            text("id", &self.id, &heard.id),
            text("model", &self.model, &heard.model),
            text("text", &self.text, &heard.text),
            text("reasoning", &self.reasoning, &heard.reasoning),
            text("refusal", &self.refusal, &heard.refusal),
            Found::new("calls", json!(heard.calls), self.calls.as_ref() == Some(&heard.calls)),
        ];
        found.extend(heard.finish.map(|finish| text("finish", &self.finish, finish)));
        let usage = heard.usage.as_ref();
        found.extend(usage.map(|usage| Found::new("usage", json!(usage), self.usage.as_ref() == Some(usage))));
        found
    }
}

impl HeardReply {
    /// A whole reply.
    pub(super) fn whole(reply: &Reply) -> Self {
        let mut heard = Self { id: reply.id.clone(), model: reply.model.clone(), ..Self::default() };
        heard.usage = reply.usage.as_ref().map(used);
        for choice in &reply.choices {
            heard.read(&choice.parts);
            heard.finish = choice.finish.as_ref().map(finish_name);
        }
        heard
    }

    /// A stream that comes in these pieces.
    ///
    /// # Errors
    /// It is none, or ends before the reply is whole.
    pub(super) fn streamed(spoken: &ComponentFormat, pieces: &[&[u8]]) -> Result<Self, AttemptFault> {
        let mut decoder = spoken.stream();
        let mut chunks = Vec::new();
        for piece in pieces {
            decoder.push(piece, &mut chunks)?;
        }
        decoder.finish(&mut chunks)?;
        if !decoder.is_complete() {
            return Err(AttemptFault::new(FaultKind::BrokenStream, "the stream ended before the reply was whole"));
        }
        let (mut heard, mut parts) = (Self::default(), PartsOfDeltas::default());
        for chunk in chunks {
            match chunk.delta {
                Delta::Start { id, model, .. } => (heard.id, heard.model) = (id, model),
                Delta::Usage(usage) => heard.usage = Some(used(&usage)),
                Delta::Finish(reason) => heard.finish = Some(finish_name(&reason)),
                other => parts.add(other),
            }
        }
        heard.read(&parts.into_parts());
        Ok(heard)
    }

    /// The first way of cutting a stream that comes to something else than `whole`, in words.
    pub(super) fn other_cut(
        spoken: &ComponentFormat,
        bytes: &[u8],
        whole: &Result<Self, AttemptFault>,
    ) -> Option<String> {
        let differs = |cut: String, pieces: &[&[u8]]| {
            let read = Self::streamed(spoken, pieces);
            let same = match (&read, whole) {
                (Ok(read), Ok(whole)) => read == whole,
                (Err(read), Err(whole)) => read.message == whole.message,
                _ => false,
            };
            (!same).then(|| format!("{cut} it comes to {read:?}, not {whole:?}"))
        };
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        differs("byte by byte".to_owned(), &single).or_else(|| {
            cuts(bytes.len()).find_map(|at| {
                let (one, two) = bytes.split_at(at);
                differs(format!("cut after {at} bytes"), &[one, two])
            })
        })
    }

    fn read(&mut self, parts: &[Part]) {
        for part in parts {
            match &part.kind {
                PartKind::Text(text) => self.text += text,
                PartKind::Reasoning { text, .. } => self.reasoning += text,
                PartKind::Refusal(text) => self.refusal += text,
                PartKind::ToolCall { id, name, arguments } => {
                    self.calls.push(CallFile { id: id.clone(), name: name.clone(), arguments: arguments.clone() });
                }
                _ => {}
            }
        }
    }
}

fn finish_name(reason: &FinishReason) -> &'static str {
    FINISHES.iter().find(|(_, known)| known == reason).map_or("other", |(name, _)| name)
}

const fn used(usage: &Usage) -> UsageFile {
    UsageFile {
        input_tokens: usage.input_tokens,
        cache_read_tokens: usage.cache_read_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        output_tokens: usage.output_tokens,
        reasoning_tokens: usage.reasoning_tokens,
    }
}
