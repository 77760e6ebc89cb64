//! How much the model is to think.

use crate::chat::{ChatRequest, Rest};
use crate::format::anthropic::blocks;
use crate::format::quirks::Effort;
use crate::format::rest::{Report, nested};
use crate::format::thinking;
use crate::format::write::Object;

/// The least budget for thinking that is taken.
const LEAST_BUDGET: u32 = 1024;

/// How much the model is to think, as it can be told.
pub(super) struct Wanted<'r> {
    /// `none` is said by other dialects' clients alone.
    pub(super) effort: Option<&'r str>,
    budget: Option<u32>,
    /// `thinking` as a client wrote it, but for the budget.
    written: Option<&'r Rest>,
    /// Whether the effort was asked for in another dialect's words.
    pub(super) foreign: bool,
    /// Whether the model is not told to think though a client wished it.
    pub(super) left_out: bool,
}

impl<'r> Wanted<'r> {
    /// What is written of a request. What another dialect's client asked for is left out where a call of a tool is forced, and a budget in
    /// the midst of a turn that began without thinking: whoever gave it where signatures are verified, since what its own clients bring
    /// may have come from another provider.
    pub(super) fn of(request: &'r ChatRequest, by: Effort, bound: u32, report: &mut Report) -> Self {
        let wanted = Self::asked(request, by, bound, report);
        let is_forced = wanted.foreign && wanted.thinks() && thinking::is_call_forced(request);
        let may_be_late = wanted.is_by_budget() && (wanted.foreign || blocks::verifies(report));
        let is_late = may_be_late && thinking::began_without(&request.messages);
        if !is_forced && !is_late {
            return wanted;
        }
        let asked = request.reasoning.as_ref();
        let by_budget = asked.is_some_and(|asked| asked.budget_tokens.is_some());
        // The effort of its own clients is that of the whole reply, and stays.
        let effort = wanted.effort.filter(|_| !wanted.foreign);
        let by_effort = wanted.foreign && asked.is_some_and(|asked| asked.effort.is_some());
        thinking::leave_out(by_effort, by_budget || wanted.written.is_some(), report);
        Self { effort, budget: None, written: None, foreign: wanted.foreign, left_out: true }
    }

    /// Of another dialect's effort: a budget below `bound` for models that know budgets only, nothing for those that do not think.
    fn asked(request: &'r ChatRequest, by: Effort, bound: u32, report: &mut Report) -> Self {
        let reasoning = request.reasoning.as_ref();
        let effort = reasoning.and_then(|reasoning| reasoning.effort.as_deref());
        let budget = reasoning.and_then(|reasoning| reasoning.budget_tokens);
        let written = nested(&request.rest, "thinking");
        let own = Self { effort, budget, written, foreign: !report.same_dialect, left_out: false };
        let (Some(word), false) = (effort, report.same_dialect) else { return own };
        if word == "none" || !matches!(by, Effort::Budget | Effort::Never) {
            return own;
        }
        let wanted = match word {
            "minimal" | "low" => 1024,
            "medium" => 2048,
            _ => 4096,
        };
        let fitting = budget.unwrap_or(wanted).min(bound.saturating_sub(1));
        if by == Effort::Never || fitting < LEAST_BUDGET {
            report.dropped.push("reasoning_effort".to_owned());
            return Self { effort: None, budget: None, ..own };
        }
        Self { effort: None, budget: Some(fitting), ..own }
    }

    /// Whether the model is told to think.
    pub(super) fn thinks(&self) -> bool {
        let by_effort = || self.foreign && self.effort.is_some_and(|effort| effort != "none");
        self.budget.is_some() || self.written.map_or_else(by_effort, thinking::is_on)
    }

    /// Whether it is told so by a budget.
    fn is_by_budget(&self) -> bool {
        self.budget.is_some() || self.written.is_some_and(thinking::is_by_budget)
    }

    /// Writes `thinking`. An effort asked for in another dialect's words means that the model thinks as much
    /// as it finds right, at that effort; `none` means that it does not think. Clients of other dialects may
    /// write `thinking` itself, as in this one: then it goes out as it is.
    pub(super) fn write(&self, object: &mut Object<'_>) {
        let (budget, written) = (self.budget, self.written);
        let effort = self.effort.filter(|_| self.foreign);
        if written.is_none() && budget.is_none() && effort.is_none() {
            return;
        }
        let mut thinking = object.object("thinking");
        match (written, budget, effort) {
            (_, Some(budget), _) => {
                thinking.field("type", "enabled");
                thinking.field("budget_tokens", &budget);
            }
            (None, None, Some("none")) => thinking.field("type", "disabled"),
            (None, None, _) => thinking.field("type", "adaptive"),
            (Some(_), None, _) => {}
        }
        if let Some(written) = written {
            thinking.rest(written, &[]);
        }
    }
}
