//! How much a model is to think: an effort here, and `thinking` in Anthropic's words at many that imitate OpenAI.

use serde_json::Value;

use super::encode::speaks_responses;
use crate::chat::{ChatRequest, Reasoning};
use crate::format::quirks::Effort;
use crate::format::rest::Report;
use crate::format::thinking;
use crate::format::write::Object;

/// The field, where it is written in Anthropic's words.
pub(super) const THINKING: &str = "thinking";
const EFFORT: &str = "reasoning_effort";
const BUDGET: &str = "thinking.budget_tokens";

/// The effort as the client wrote it, else the one nearest to the client's budget: up to 4,096 tokens `low`, up to 16,384
/// `medium`, more `high`; the next one where the model does not know it. The budget itself is reported: it is not kept exactly.
pub(super) fn write(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    let asked = request.reasoning.as_ref();
    let effort = asked.and_then(|asked| asked.effort.as_deref());
    // Said by `thinking`, and read as an effort.
    let off = effort == Some("none") && request.rest.get(THINKING).is_some_and(thinking::is_off);
    let written = as_written(request, off, object, report);
    let said = written && (off || effort.is_none());
    let Some(asked) = asked.filter(|_| !said) else { return };
    if let Some((word, cut)) = told(request, asked, off, report) {
        report.field(object, EFFORT, word);
        report.dropped.extend(cut.map(str::to_owned));
    }
}

/// The effort for an API that knows nothing of `thinking`.
pub(super) fn word<'r>(request: &'r ChatRequest, report: &mut Report) -> Option<&'r str> {
    let written = request.rest.get(THINKING).filter(|written| !written.is_null());
    let effort = request.reasoning.as_ref().and_then(|asked| asked.effort.as_deref());
    let off = effort == Some("none") && written.is_some_and(thinking::is_off);
    if written.is_some() && !off && report.same_dialect {
        report.dropped.push(THINKING.to_owned());
    }
    let (word, cut) = told(request, request.reasoning.as_ref()?, off, report)?;
    report.dropped.extend(cut.map(str::to_owned));
    Some(word)
}

/// The word for what was asked, and what of it is not kept exactly.
fn told<'r>(
    request: &'r ChatRequest,
    asked: &'r Reasoning,
    off: bool,
    report: &mut Report,
) -> Option<(&'r str, Option<&'static str>)> {
    if report.quirks.effort() == Effort::Never {
        never(request, asked, off, report);
        return None;
    }
    let takes = report.quirks.thinking();
    match (asked.effort.as_deref(), asked.budget_tokens) {
        // Whoever imitates OpenAI may know no such effort: it is told to models alone that are known to have levels.
        (Some(_), _) if off && takes.levels.is_empty() => {
            report.dropped.push("thinking.type".to_owned());
            None
        }
        (Some(effort), _) => {
            let word = takes.word(effort);
            Some((word, (word != effort).then_some(EFFORT)))
        }
        (None, Some(budget)) => Some((takes.word(thinking::effort_of(budget)), Some(BUDGET))),
        (None, None) => None,
    }
}

/// Writes `thinking` as a client of chats wrote it, which is no parameter of OpenAI's own and one of many that imitate it.
/// Whether it was written; what is not taken of it is reported.
fn as_written(request: &ChatRequest, off: bool, object: &mut Object<'_>, report: &mut Report) -> bool {
    if !report.same_dialect {
        return false;
    }
    let budget = request.reasoning.as_ref().and_then(|asked| asked.budget_tokens);
    let left = request.rest.get(THINKING).filter(|left| !left.is_null());
    let Some(name) = report.quirks.field(THINKING) else {
        if left.is_some() && !off {
            report.dropped.push(THINKING.to_owned());
        }
        return false;
    };
    match (budget, left) {
        (None, None) => return false,
        (None, Some(left)) => object.field(name, left),
        (Some(budget), left) => {
            let mut thinking = object.object(name);
            thinking.field("type", "enabled");
            thinking.field("budget_tokens", &budget);
            if let Some(Value::Object(left)) = left {
                thinking.rest(left, &[]);
            }
        }
    }
    true
}

/// Of a model that does not think, or always does and takes no word for it. That it does the other thing, which a client of chats may have
/// written, asks for another model; agents of other APIs wish for thinking whatever they speak to, which is no reason to refuse them.
fn never(request: &ChatRequest, asked: &Reasoning, off: bool, report: &mut Report) {
    let chat = report.same_dialect && !speaks_responses(request);
    let thinks = report.quirks.thinking().always;
    match asked.effort.as_deref() {
        // Not to think is what it does.
        Some("none") if (off || !chat) && !thinks => {}
        Some("none") if off => report.dropped.push("thinking.type".to_owned()),
        Some(effort) if chat && (effort == "none") == thinks => report.lose(EFFORT),
        Some(_) => report.dropped.push(EFFORT.to_owned()),
        None => {}
    }
    if asked.budget_tokens.is_some() {
        report.dropped.push(BUDGET.to_owned());
    }
}
