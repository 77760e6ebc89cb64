//! A whole reply, and what a stream's events share with it.

use crate::chat::{Choice, FinishReason, Part, PartKind, Reply, Rest, ServiceTier, Usage};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::bedrock::DIALECT;
use crate::format::json::Json;
use crate::format::prefill::is_blank;
use crate::format::read::{Fields, Mismatch, Path, reply_body};

/// Reads a reply.
///
/// # Errors
/// `BrokenStream` where the body is not one, or one that was not made, with what it cost.
pub(super) fn read(body: &[u8]) -> Result<Reply, AttemptFault> {
    let reply = read_value(reply_body(body)?).map_err(Mismatch::into_fault)?;
    // What was only thought is nothing said.
    let is_thought = |part: &Part| matches!(part.kind, PartKind::Reasoning { .. }) || part.kind.redacted().is_some();
    let silent = |choice: &&Choice| choice.parts.iter().all(|part| is_blank(part) || is_thought(part));
    let ended = reply.choices.first().filter(silent).and_then(|choice| choice.finish.as_ref());
    match ended.and_then(malformed) {
        Some(fault) => Err(AttemptFault { used: reply.usage.map(Box::new), ..fault }),
        None => Ok(reply),
    }
}

fn read_value(value: Json<'_>) -> Result<Reply, Mismatch> {
    let mut fields = Fields::of(value, &Path::Root)?;
    let tier = tier(fields.peek("serviceTier"));
    let usage = fields.take("usage").map(usage).transpose()?.map(|usage| Usage { tier, ..usage });
    let finish = fields.word("stopReason")?.map(|word| finish(&word));
    let outputs = Path::Root.key("output");
    let Some(output) = fields.take("output") else { return Err(Mismatch::missing(&outputs)) };
    let mut output = Fields::of(output, &outputs)?;
    let path = outputs.key("message");
    let Some(message) = output.take("message") else { return Err(Mismatch::missing(&path)) };
    let mut message = Fields::of(message, &path)?;
    let path = path.key("content");
    let blocks = message.list("content")?.unwrap_or_default();
    let parts = blocks.into_iter().enumerate().map(|(index, block)| part(block, &path.index(index)));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let choice = Choice { index: 0, parts, finish, rest: Rest::new(), message_rest: Rest::new(), logprobs: Vec::new() };
    fields.take("metrics");
    Ok(Reply {
        id: String::new(),
        model: String::new(),
        created: None,
        choices: vec![choice],
        usage,
        dialect: DIALECT,
        rest: fields.telling_rest(),
    })
}

fn part(block: Json<'_>, path: &Path<'_>) -> Result<Part, Mismatch> {
    let whole = block.clone();
    let mut fields = Fields::of(block, path)?;
    let kind = if let Some(text) = fields.text("text")? {
        PartKind::Text(text)
    } else if let Some(call) = fields.take("toolUse") {
        let path = path.key("toolUse");
        let mut call = Fields::of(call, &path)?;
        PartKind::ToolCall {
            id: call.need_text("toolUseId")?,
            name: call.need_text("name")?,
            arguments: call.take("input").map_or_else(|| "{}".to_owned(), |input| input.to_json()),
        }
    } else if let Some(thinking) = fields.take("reasoningContent") {
        let path = path.key("reasoningContent");
        let mut thinking = Fields::of(thinking, &path)?;
        match (thinking.text("redactedContent")?, thinking.take("reasoningText")) {
            (Some(data), _) => PartKind::redacted_reasoning(&data),
            (None, Some(text)) => {
                let path = path.key("reasoningText");
                let mut text = Fields::of(text, &path)?;
                PartKind::Reasoning {
                    text: text.text("text")?.unwrap_or_default(),
                    signature: text.text("signature")?.filter(|signature| !signature.is_empty()),
                }
            }
            (None, None) => PartKind::Other(whole.into()),
        }
    } else if let Some(cited) = fields.take("citationsContent") {
        PartKind::Text(cited_text(&cited))
    } else {
        PartKind::Other(whole.into())
    };
    Ok(Part::from(kind))
}

/// The words of a text with citations.
fn cited_text(value: &Json<'_>) -> String {
    let Some(Json::Array(pieces)) = value.get("content") else { return String::new() };
    pieces.iter().filter_map(|piece| piece.get("text").and_then(Json::as_str)).collect()
}

/// Ends of a reply that went wrong while it was made: what the model said, or called a tool with, cannot be read.
const MALFORMED: [&str; 2] = ["malformed_model_output", "malformed_tool_use"];

/// Why a reply that ends so, and says nothing, is none: told as a stop, an agent would take it for the end of its work.
pub(super) fn malformed(finish: &FinishReason) -> Option<AttemptFault> {
    let FinishReason::Other(word) = finish else { return None };
    let message = format!("the provider ended its reply before any content with {word}");
    let fault = AttemptFault { code: Some(word.clone()), ..AttemptFault::new(FaultKind::BrokenStream, message) };
    MALFORMED.contains(&word.as_str()).then_some(fault)
}

pub(super) fn finish(word: &str) -> FinishReason {
    match word {
        "end_turn" => FinishReason::Stop,
        "stop_sequence" => FinishReason::StopSequence(None),
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// The service tier that it was served in.
pub(super) fn tier(value: Option<&Json<'_>>) -> Option<ServiceTier> {
    value?.get("type").and_then(Json::as_str).and_then(ServiceTier::named)
}

/// Reads `usage`. What was read from a cache and written to one stands beside the fresh input.
pub(super) fn usage(value: Json<'_>) -> Result<Usage, Mismatch> {
    let of_an_hour = |detail: &&Json<'_>| detail.get("ttl").and_then(Json::as_str) == Some("1h");
    let details = value.items("cacheDetails").iter().filter(of_an_hour);
    let hour = details.filter_map(|detail| detail.get("inputTokens")?.as_u64()).fold(0, u64::saturating_add);
    let mut fields = Fields::of(value, &Path::Root)?;
    let (read, written) = (fields.count("cacheReadInputTokens"), fields.count("cacheWriteInputTokens"));
    Ok(Usage {
        input_tokens: fields.count("inputTokens").saturating_add(read).saturating_add(written),
        cache_read_tokens: read,
        cache_write_tokens: written,
        cache_write_1h_tokens: hour.min(written),
        output_tokens: fields.count("outputTokens"),
        ..Usage::default()
    })
}
