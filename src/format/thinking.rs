//! What models that think in Anthropic's words do not take beside it: sampling of another kind, a call of a tool that is forced, and a turn
//! that began without thinking.
//!
//! Clients of other dialects cannot know that; for them one of the two is left out and reported.

use std::borrow::Cow;

use serde_json::Value;

use crate::chat::{ChatRequest, Message, Part, PartKind, Rest, Role, ToolChoice};

use super::prefill;
use super::rest::Report;
use super::sealed;

/// The least `top_p` that is taken beside thinking.
const LEAST_TOP_P: f64 = 0.95;

/// Whether `thinking`, as it is written, makes a model think.
pub(super) fn is_on(written: &Rest) -> bool {
    written.get("type").and_then(|kind| kind.as_str()).is_some_and(|kind| matches!(kind, "enabled" | "adaptive"))
}

/// Whether `thinking`, as it is written, gives a model a budget to think with.
pub(super) fn is_by_budget(written: &Rest) -> bool {
    written.get("type").is_some_and(|kind| kind == "enabled")
}

/// Whether `thinking`, as it is written, tells a model not to think.
pub(super) fn is_off(written: &Value) -> bool {
    written.get("type").is_some_and(|kind| kind == "disabled")
}

/// Whether the model must call a tool.
pub(super) fn is_call_forced(request: &ChatRequest) -> bool {
    !request.tools.is_empty() && matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_)))
}

/// Whether it is thinking that its provider takes back: under its signature, or sealed.
pub(super) fn is_sealed(kind: &PartKind) -> bool {
    match kind {
        PartKind::Reasoning { signature, .. } => signature.as_ref().is_some_and(|signature| !signature.is_empty()),
        kind => kind.redacted().is_some(),
    }
}

/// Whether it is thinking that Claude's provider takes back: what OpenAI's newer API sealed is left out there.
fn goes_back(part: &Part) -> bool {
    is_sealed(&part.kind) && sealed::of(&part.kind).is_none()
}

/// Whether the model called tools in the turn that is under way and nothing is told of what it thought before. A turn that began without
/// thinking must end without, as far as models think by a budget: they refuse to be told to think in its midst.
pub(super) fn began_without(messages: &[Message]) -> bool {
    let (mut called, mut thought, mut answers) = (false, false, false);
    for message in messages {
        match message.role {
            Role::System | Role::Developer => {}
            Role::Tool => answers = true,
            // What a user says behind results is said in one turn with them: the model's own goes on.
            Role::User if answers => {}
            Role::User => (called, thought) = (false, false),
            Role::Assistant => {
                answers = false;
                called |= message.parts.iter().any(|part| matches!(part.kind, PartKind::ToolCall { .. }));
                thought |= message.parts.iter().any(goes_back);
            }
        }
    }
    called && !thought
}

/// Whether the conversation ends in the beginning of a reply before which nothing was thought: a model that is to think by a budget would
/// have to think first.
pub(super) fn is_begun(messages: &[Message]) -> bool {
    let begun = prefill::beginning(messages, true).and_then(|place| messages.get(place));
    begun.is_some_and(|begun| !begun.parts.iter().any(goes_back))
}

/// The effort nearest to a budget of tokens.
pub(super) const fn effort_of(budget: u32) -> &'static str {
    match budget {
        0..=4096 => "low",
        4097..=16_384 => "medium",
        _ => "high",
    }
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
    drawn_by(request, temperature, top_p, report)
}

/// The same where nothing is taken of it.
pub(super) fn unsampled<'r>(request: &'r ChatRequest, report: &mut Report) -> Cow<'r, ChatRequest> {
    drawn_by(request, None, None, report)
}

/// A request with this of its sampling; the rest is reported.
fn drawn_by<'r>(
    request: &'r ChatRequest,
    temperature: Option<f64>,
    top_p: Option<f64>,
    report: &mut Report,
) -> Cow<'r, ChatRequest> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(role: Role, parts: Vec<PartKind>) -> Message {
        Message { role, parts: parts.into_iter().map(Part::from).collect(), name: None, rest: Rest::new() }
    }

    fn thought(signature: Option<&str>) -> PartKind {
        PartKind::Reasoning { text: "hm".to_owned(), signature: signature.map(str::to_owned) }
    }

    #[test]
    fn a_turn_with_calls_began_without_thinking_where_none_is_told_that_goes_back() {
        let asked = || said(Role::User, vec![PartKind::Text("Go".to_owned())]);
        let call = || PartKind::ToolCall { id: "a".to_owned(), name: "f".to_owned(), arguments: "{}".to_owned() };
        let called = || said(Role::Assistant, vec![call()]);
        let thoughtful = |thought: PartKind| said(Role::Assistant, vec![thought, call()]);
        let result = || {
            let answer = PartKind::ToolResult { call_id: "a".to_owned(), content: Vec::new(), is_error: false };
            said(Role::Tool, vec![answer])
        };
        let done = || said(Role::Assistant, vec![PartKind::Text("Done".to_owned())]);
        for (messages, without) in [
            (vec![asked()], false),
            (vec![asked(), called(), result()], true),
            (vec![asked(), called(), result(), asked()], true),
            (vec![asked(), called(), result(), asked(), asked()], true),
            (vec![asked(), called(), result(), done()], true),
            (vec![asked(), called(), result(), done(), asked()], false),
            (vec![asked(), thoughtful(thought(Some("s"))), result()], false),
            (vec![asked(), thoughtful(thought(Some("s"))), result(), called(), result()], false),
            (vec![asked(), thoughtful(PartKind::redacted_reasoning("d")), result()], false),
            (vec![asked(), thoughtful(thought(None)), result()], true),
            (vec![asked(), thoughtful(thought(Some(""))), result()], true),
            (vec![asked(), thoughtful(thought(Some(&sealed::seal("rs_1", "c2ln")))), result()], true),
            (vec![asked(), thoughtful(thought(Some("s"))), result(), done(), asked(), called(), result()], true),
        ] {
            assert_eq!(began_without(&messages), without, "{messages:?}");
        }
    }
}
