//! How much a model is to think, which Converse has no word for: each vendor's models have their own.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::chat::{ChatRequest, Reasoning, Rest};
use crate::format::quirks::{Effort, Quirks, Thinking};
use crate::format::rest::Report;
use crate::format::thinking;

/// How Claude is told.
const THINKING: &str = "thinking";
/// How chats say it, and models of several vendors.
const EFFORT: &str = "reasoning_effort";
/// How a budget is said, and the least that is taken.
const BUDGET: &str = "thinking.budget_tokens";
const LEAST_BUDGET: u32 = 1024;

/// Writes it into `additional`, as the model takes it. The request with what is taken of its sampling beside that.
pub(super) fn write<'r>(
    request: &'r ChatRequest,
    quirks: &Quirks,
    rest: &mut Rest,
    additional: &mut Rest,
    report: &mut Report,
) -> Cow<'r, ChatRequest> {
    let by = quirks.effort();
    if matches!(by, Effort::Nested | Effort::Greatest) || quirks.field(THINKING).is_none() {
        return by_word(request, quirks, additional, report);
    }
    if as_claude_takes_it(request, quirks, rest, additional, report) {
        thinking::sampled(request, report)
    } else {
        Cow::Borrowed(request)
    }
}

/// Of models that know nothing of `thinking`: an effort, or the one nearest to a budget. What else `thinking` says stays with the fields
/// that nobody took, and is reported among them.
fn by_word<'r>(
    request: &'r ChatRequest,
    quirks: &Quirks,
    additional: &mut Rest,
    report: &mut Report,
) -> Cow<'r, ChatRequest> {
    let Some(Reasoning { effort, budget_tokens }) = &request.reasoning else { return Cow::Borrowed(request) };
    if budget_tokens.is_some() {
        report.dropped.push(BUDGET.to_owned());
    }
    let asked = effort.as_deref().or_else(|| budget_tokens.map(thinking::effort_of));
    let Some(asked) = asked else { return Cow::Borrowed(request) };
    let (by, levels) = (quirks.effort(), quirks.thinking());
    // Said by `thinking`, and read as an effort.
    let is_off = asked == "none" && request.rest.get(THINKING).is_some_and(thinking::is_off);
    if by == Effort::Never || is_off && levels.levels.is_empty() {
        let unsaid = if is_off { "thinking.type" } else { EFFORT };
        // Not to think is what a model does that cannot.
        if effort.is_some() && !(is_off && by == Effort::Never) {
            report.dropped.push(unsaid.to_owned());
        }
        return Cow::Borrowed(request);
    }
    let mut word = levels.word(asked);
    // At the greatest effort such models take no bound of the output, which is what limits and budgets are reserved by.
    if by == Effort::Greatest && word == "high" && request.max_tokens.is_some() {
        word = "medium";
    }
    if effort.is_some() && word != asked {
        report.dropped.push(EFFORT.to_owned());
    }
    let (name, told) = match by {
        Effort::Greatest if word == "none" => ("reasoningConfig", json!({"type": "disabled"})),
        Effort::Greatest => ("reasoningConfig", json!({"type": "enabled", "maxReasoningEffort": word})),
        Effort::Nested => ("reasoning", json!({"effort": word})),
        _ => (EFFORT, word.into()),
    };
    additional.entry(name).or_insert(told);
    // Nor do they take anything of sampling there.
    if by == Effort::Greatest && word == "high" { thinking::unsampled(request, report) } else { Cow::Borrowed(request) }
}

/// A budget, or `thinking` as a client wrote it, goes out in the words of the models that have budgets; an effort as its model takes it, by
/// its own word where nothing else is known. Left out where a call of a tool is forced, and a budget in the midst of a turn that began
/// without thinking. Whether the model was told to think so.
fn as_claude_takes_it(
    request: &ChatRequest,
    quirks: &Quirks,
    rest: &mut Rest,
    additional: &mut Rest,
    report: &mut Report,
) -> bool {
    // What a client wrote in the provider's own words is its own.
    if additional.contains_key(THINKING) {
        tell(request, quirks, rest, additional, report);
        return false;
    }
    let by_budget = request.reasoning.as_ref().is_some_and(|asked| asked.budget_tokens.is_some());
    let by_thinking = by_budget || rest.contains_key(THINKING);
    let config = additional.contains_key("output_config");
    tell(request, quirks, rest, additional, report);
    let told = additional.get(THINKING).and_then(Value::as_object);
    let thinks = told.is_some_and(thinking::is_on);
    let began = || thinking::began_without(&request.messages) || thinking::is_begun(&request.messages);
    let is_late = told.is_some_and(thinking::is_by_budget) && began();
    let is_forced = thinking::is_call_forced(request) && !quirks.no_forced_calls();
    if !thinks || !(is_late || is_forced) {
        return thinks;
    }
    additional.shift_remove(THINKING);
    if !config {
        additional.shift_remove("output_config");
    }
    let effort = request.reasoning.as_ref().is_some_and(|reasoning| reasoning.effort.is_some());
    thinking::leave_out(effort || !by_thinking, by_thinking, report);
    false
}

fn tell(request: &ChatRequest, quirks: &Quirks, rest: &mut Rest, additional: &mut Rest, report: &mut Report) {
    let (by, takes) = (quirks.effort(), quirks.thinking());
    // Where thinking is turned off in these words they are sent, and not the effort that they are elsewhere.
    let off = rest.get(THINKING).is_some_and(thinking::is_off);
    let unthinking = request.reasoning.as_ref().is_some_and(|asked| asked.effort.as_deref() == Some("none"));
    if takes.always && (off || unthinking) {
        rest.shift_remove(THINKING);
        let said = if off { "thinking.type" } else { EFFORT };
        return report.dropped.push(said.to_owned());
    }
    // To models that know budgets only it is the effort that goes without saying.
    let kind = rest.get(THINKING).and_then(|told| told.get("type"));
    let adapting = by == Effort::Budget && kind.is_some_and(|kind| kind == "adaptive");
    let adaptive = adapting.then(|| Reasoning { effort: Some("high".to_owned()), budget_tokens: None });
    let asked = request.reasoning.as_ref().filter(|_| !(off && unthinking));
    let Some(Reasoning { effort, budget_tokens }) = asked.or(adaptive.as_ref()) else {
        if let Some(written) = rest.shift_remove(THINKING) {
            additional.entry(THINKING).or_insert(written);
        }
        return;
    };
    let (effort, budget_tokens) = at_effort(effort.as_deref(), *budget_tokens, takes, report);
    let asked = match effort {
        Some("minimal" | "low") => Some(1024),
        Some("medium") => Some(2048),
        Some("high" | "xhigh" | "max") => Some(4096),
        _ => None,
    };
    let budget = budget_tokens.or(asked.filter(|_| by == Effort::Budget));
    let room = request.max_tokens.map_or(u32::MAX, |most| most.saturating_sub(1));
    let fitting = budget.map(|budget| budget.max(LEAST_BUDGET).min(room));
    if budget_tokens.is_some() && fitting != budget_tokens && fitting >= Some(LEAST_BUDGET) {
        report.dropped.push(BUDGET.to_owned());
    }
    let mut told = match rest.shift_remove(THINKING) {
        Some(Value::Object(written)) => written,
        _ => Map::new(),
    };
    match (by, fitting, effort) {
        (Effort::Never, ..) => return report.dropped.push(EFFORT.to_owned()),
        (_, Some(..LEAST_BUDGET), _) => {
            return thinking::leave_out(effort.is_some(), effort.is_none(), report);
        }
        (_, Some(budget), _) => {
            told.insert("type".to_owned(), "enabled".into());
            told.insert("budget_tokens".to_owned(), budget.into());
        }
        (Effort::Adaptive, None, Some("none")) => drop(told.insert("type".to_owned(), "disabled".into())),
        (Effort::Adaptive, None, Some(effort)) => {
            let effort = if effort == "minimal" { "low" } else { effort };
            told.insert("type".to_owned(), "adaptive".into());
            additional.entry("output_config").or_insert_with(|| json!({"effort": effort}));
        }
        (Effort::Word, None, Some(effort)) => {
            additional.entry(EFFORT).or_insert_with(|| effort.into());
        }
        (_, None, _) => {}
    }
    if !told.is_empty() {
        additional.entry(THINKING).or_insert(Value::Object(told));
    }
}

/// The effort and the budget of one that finds out itself how much to think: an effort that it knows, the nearest one where it takes no budget.
fn at_effort<'a>(
    effort: Option<&'a str>,
    budget: Option<u32>,
    takes: &Thinking,
    report: &mut Report,
) -> (Option<&'a str>, Option<u32>) {
    let refused = budget.filter(|_| takes.no_budget);
    if refused.is_some() {
        report.dropped.push(BUDGET.to_owned());
    }
    let asked = effort.or_else(|| refused.map(thinking::effort_of));
    let word = asked.map(|asked| if asked == "none" { asked } else { takes.word(asked) });
    if word != asked {
        report.dropped.push(EFFORT.to_owned());
    }
    (word, budget.filter(|_| !takes.no_budget))
}
