//! A whole reply.

use crate::chat::{ByOther, Choice, FinishReason, Part, PartKind, Reply, Rest, Usage};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::json::Json;
use crate::format::openai::usage;
use crate::format::read::{Fields, Mismatch, Path, reply_body};

use super::{DIALECT, fault, item};

/// Reads a reply.
///
/// # Errors
/// `BrokenStream` where the body is not a response that is whole; what it says where it failed.
pub(super) fn read(body: &[u8]) -> Result<Reply, AttemptFault> {
    let value = reply_body(body)?;
    if let Some(fault) = fault::of(&value, 0) {
        return Err(fault);
    }
    if let Some(status @ ("queued" | "in_progress")) = value.get("status").and_then(Json::as_str) {
        let message = format!("the provider makes the reply in the background (`{status}`), where nobody waits for it");
        return Err(AttemptFault::new(FaultKind::BrokenStream, message));
    }
    read_value(value).map_err(Mismatch::into_fault)
}

fn read_value(value: Json<'_>) -> Result<Reply, Mismatch> {
    let reason = incomplete(&value);
    let usage = usage(&value, 0);
    let mut fields = Fields::of(value, &Path::Root)?;
    let id = fields.text("id")?.unwrap_or_default();
    let model = fields.text("model")?.unwrap_or_default();
    let created = Some(fields.count("created_at")).filter(|&seconds| seconds > 0);
    let path = Path::Root.key("output");
    let items = fields.list("output")?.ok_or_else(|| Mismatch::missing(&path))?;
    let (mut parts, mut logprobs) = (Vec::new(), Vec::new());
    for value in &items {
        item::read(value, &mut parts, &mut logprobs);
    }
    let finish = Some(finish(reason, &parts));
    let choice = Choice { index: 0, parts, finish, logprobs, rest: Rest::new(), message_rest: Rest::new() };
    Ok(Reply { id, model, created, choices: vec![choice], usage, dialect: DIALECT, rest: Rest::new() })
}

/// Why a response is not whole, where it is not.
pub(super) fn incomplete(response: &Json<'_>) -> Option<FinishReason> {
    let reason = response.within("incomplete_details", "reason").and_then(Json::as_str);
    let is_cut = || response.get("status").is_some_and(|status| status == "incomplete");
    match reason {
        Some("content_filter") => Some(FinishReason::ContentFilter),
        Some("max_output_tokens" | "max_tokens") => Some(FinishReason::Length),
        Some(other) => Some(FinishReason::Other(other.to_owned())),
        None => is_cut().then_some(FinishReason::Length),
    }
}

fn finish(incomplete: Option<FinishReason>, parts: &[Part]) -> FinishReason {
    let calls = parts.iter().any(|part| matches!(part.kind, PartKind::ToolCall { .. }));
    let declined = parts.iter().any(|part| matches!(part.kind, PartKind::Refusal(_)));
    incomplete.unwrap_or_else(|| ended(calls, declined))
}

/// Why a response that is whole ended.
pub(super) const fn ended(calls: bool, declined: bool) -> FinishReason {
    match (calls, declined) {
        (true, _) => FinishReason::ToolCalls,
        (false, true) => FinishReason::Refusal,
        (false, false) => FinishReason::Stop,
    }
}

/// Whether an item is a search: there is a fee for it, and none for opening what was found.
pub(super) fn is_search(item: &Json<'_>) -> bool {
    let action = item.within("action", "type").and_then(Json::as_str);
    item::kind(item) == "web_search_call" && action.is_none_or(|action| action == "search")
}

/// Searches: as the response counts those it is billed for, else those among its items, of which so many were seen before it.
fn searches(response: &Json<'_>, seen: u64) -> u64 {
    let told = response.within("tool_usage", "web_search").and_then(|made| made.get("num_requests")?.as_u64());
    let among_items = || response.items("output").iter().filter(|item| is_search(item)).count() as u64;
    told.unwrap_or_else(|| among_items().max(seen))
}

/// What the model used that the tool for pictures draws with: the response tells it beside what its own model did, and the model where it
/// repeats its tools. What is told of no kind is of pictures.
fn drawn(response: &Json<'_>) -> Option<ByOther> {
    let told = response.within("tool_usage", "image_gen")?;
    let count = |name: &str| told.get(name).and_then(Json::as_u64).unwrap_or(0);
    let within = |outer: &str, inner: &str| told.within(outer, inner).and_then(Json::as_u64);
    let output_tokens = count("output_tokens");
    let usage = Usage {
        input_tokens: count("input_tokens"),
        cache_read_tokens: count("cached_tokens"),
        image_input_tokens: within("input_tokens_details", "image_tokens").unwrap_or(0),
        image_cache_read_tokens: within("cached_tokens_details", "cached_image_tokens").unwrap_or(0),
        output_tokens,
        image_output_tokens: within("output_tokens_details", "image_tokens").unwrap_or(output_tokens),
        ..Usage::default()
    };
    let tool = response.items("tools").iter().find(|tool| item::kind(tool) == "image_generation");
    let model = tool.and_then(|tool| tool.get("model")?.as_str()).unwrap_or_default().to_owned();
    (usage.input_tokens > 0 || output_tokens > 0).then_some(ByOther { model, usage })
}

/// What a response used; so many searches were seen before it.
pub(super) fn usage(response: &Json<'_>, seen: u64) -> Option<Usage> {
    let counted = response.get("usage").filter(|counted| counted.is_object())?;
    let count = |name: &str, inner: &str| {
        let count = if inner.is_empty() { counted.get(name) } else { counted.within(name, inner) };
        count.and_then(Json::as_u64).unwrap_or(0)
    };
    Some(Usage {
        input_tokens: count("input_tokens", ""),
        cache_read_tokens: count("input_tokens_details", "cached_tokens"),
        cache_write_tokens: count("input_tokens_details", "cache_write_tokens"),
        output_tokens: count("output_tokens", ""),
        reasoning_tokens: count("output_tokens_details", "reasoning_tokens"),
        searches: searches(response, seen),
        by_others: drawn(response).into_iter().collect(),
        tier: usage::tier(response.get("service_tier")),
        ..Usage::default()
    })
}
