//! What models that think in Anthropic's words do not take beside it: sampling of another kind, and a call of a tool that is forced.
//!
//! Clients of other dialects cannot know that; for them one of the two is left out and reported.

use std::borrow::Cow;

use serde_json::Value;

use crate::chat::{ChatRequest, Rest, ToolChoice};

use super::rest::Report;

/// The least `top_p` that is taken beside thinking.
const LEAST_TOP_P: f64 = 0.95;

/// Whether `thinking`, as it is written, makes a model think.
pub(super) fn is_on(written: &Rest) -> bool {
    written.get("type").and_then(|kind| kind.as_str()).is_some_and(|kind| matches!(kind, "enabled" | "adaptive"))
}

/// Whether `thinking`, as it is written, tells a model not to think.
pub(super) fn is_off(written: &Value) -> bool {
    written.get("type").is_some_and(|kind| kind == "disabled")
}

/// Whether the model must call a tool.
pub(super) fn is_call_forced(request: &ChatRequest) -> bool {
    !request.tools.is_empty() && matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_)))
}

/// Reports that a model was not told to think, in the words in which it was asked for.
pub(super) fn leave_out(by_effort: bool, by_thinking: bool, report: &mut Report) {
    let said = [(by_effort, "reasoning_effort"), (by_thinking, "thinking")];
    report.dropped.extend(said.into_iter().filter(|(said, _)| *said).map(|(_, name)| name.to_owned()));
}

/// A request with what is taken of its sampling.
pub(super) fn sampled<'r>(request: &'r ChatRequest, report: &mut Report) -> Cow<'r, ChatRequest> {
    let temperature = request.temperature.filter(|temperature| (temperature - 1.0).abs() < f64::EPSILON);
    let top_p = request.top_p.filter(|top_p| (LEAST_TOP_P..=1.0).contains(top_p));
    let lost = [
        ("temperature", temperature != request.temperature),
        ("top_p", top_p != request.top_p),
        ("top_k", request.top_k.is_some()),
    ];
    if lost.iter().all(|(_, lost)| !lost) {
        return Cow::Borrowed(request);
    }
    report.dropped.extend(lost.into_iter().filter(|(_, lost)| *lost).map(|(name, _)| name.to_owned()));
    Cow::Owned(ChatRequest { temperature, top_p, top_k: None, ..request.clone() })
}
