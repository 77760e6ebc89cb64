//! How much the model is to think.

use crate::chat::{ChatRequest, Rest};
use crate::format::anthropic::blocks;
use crate::format::quirks::{Effort, Thinking};
use crate::format::rest::{Report, nested};
use crate::format::thinking;
use crate::format::write::Object;

/// The least budget for thinking that is taken.
const LEAST_BUDGET: u32 = 1024;
/// How an effort is said by this dialect's clients, and by the others.
const OWN_EFFORT: &str = "output_config.effort";
const EFFORT: &str = "reasoning_effort";
/// How a budget is said by both.
const BUDGET: &str = "thinking.budget_tokens";

/// How much the model is to think, as it can be told.
pub(super) struct Wanted<'r> {
    /// `none` is said by other dialects' clients alone.
    pub(super) effort: Option<&'r str>,
    budget: Option<u32>,
    /// `thinking` as a client wrote it, but for the budget.
    written: Option<&'r Rest>,
    /// Whether the model is told to think as much as it finds right, where a client gave a budget.
    adaptive: bool,
    /// Whether the effort was asked for in another dialect's words.
    pub(super) foreign: bool,
    /// Whether the model is not told to think though a client wished it.
    pub(super) left_out: bool,
}

impl<'r> Wanted<'r> {
    /// What is written of a request. What another dialect's client asked for is left out where a call of a tool is forced, and a budget where
    /// the reply is begun, or in the midst of a turn that began without thinking: there whoever gave it where signatures are verified, since
    /// what its own clients bring may have come from another provider.
    pub(super) fn of(request: &'r ChatRequest, bound: u32, report: &mut Report) -> Self {
        let wanted = Self::asked(request, bound, report);
        let may_force = !report.quirks.no_forced_calls();
        let is_forced = wanted.foreign && wanted.thinks() && may_force && thinking::is_call_forced(request);
        let may_be_late = wanted.is_by_budget() && (wanted.foreign || blocks::verifies(report));
        let is_begun = wanted.foreign && wanted.is_by_budget() && thinking::is_begun(&request.messages);
        let is_late = is_begun || (may_be_late && thinking::began_without(&request.messages));
        if !is_forced && !is_late {
            return wanted;
        }
        let asked = request.reasoning.as_ref();
        let by_budget = asked.is_some_and(|asked| asked.budget_tokens.is_some());
        // The effort of its own clients is that of the whole reply, and stays.
        let effort = wanted.effort.filter(|_| !wanted.foreign);
        let by_effort = wanted.foreign && asked.is_some_and(|asked| asked.effort.is_some());
        thinking::leave_out(by_effort, by_budget || wanted.written.is_some(), report);
        Self { effort, budget: None, written: None, adaptive: false, foreign: wanted.foreign, left_out: true }
    }

    /// What is asked for, in the words of the model. Its own clients write them, too, and may be led to another model than they wrote for.
    fn asked(request: &'r ChatRequest, bound: u32, report: &mut Report) -> Self {
        let reasoning = request.reasoning.as_ref();
        let effort = reasoning.and_then(|reasoning| reasoning.effort.as_deref());
        let budget = reasoning.and_then(|reasoning| reasoning.budget_tokens);
        let written = nested(&request.rest, "thinking");
        let foreign = !report.same_dialect;
        let own = Self { effort, budget, written, adaptive: false, foreign, left_out: false };
        let quirks = report.quirks;
        match quirks.effort() {
            by @ (Effort::Budget | Effort::Never) if foreign => own.within_budget(by, bound, report),
            Effort::Budget => own.without_adapting(quirks.thinking(), bound, report),
            Effort::Never => own,
            _ => own.at_effort(quirks.thinking(), bound, report),
        }
    }

    /// Of another dialect's effort or budget: a budget below `bound` for models that know budgets only, nothing for those that do not think.
    fn within_budget(self, by: Effort, bound: u32, report: &mut Report) -> Self {
        let word = self.effort.filter(|word| *word != "none");
        let Some(asked) = self.budget.or_else(|| word.map(budget_for)) else { return self };
        let fitting = fitting(asked, bound).filter(|_| by != Effort::Never);
        if fitting.is_none() {
            thinking::leave_out(word.is_some(), word.is_none(), report);
            return Self { effort: None, budget: None, written: self.written.filter(|_| word.is_some()), ..self };
        }
        report.dropped.extend((self.budget.is_some() && fitting != self.budget).then(|| BUDGET.to_owned()));
        Self { effort: None, budget: fitting, ..self }
    }

    /// Of this dialect's words for newer models: a budget below `bound` for those that know budgets only. An effort beside it is taken by
    /// models that have levels of it.
    fn without_adapting(self, takes: &Thinking, bound: u32, report: &mut Report) -> Self {
        let asked = self.effort.filter(|word| *word != "none");
        let effort = match asked {
            Some(_) if takes.levels.is_empty() => {
                report.dropped.push(OWN_EFFORT.to_owned());
                None
            }
            Some(word) => Some(spelled(word, takes, report)),
            None => self.effort,
        };
        let kind = self.written.and_then(|written| written.get("type"));
        if kind.is_none_or(|kind| kind != "adaptive") {
            return Self { effort, ..self };
        }
        let Some(fitting) = fitting(budget_for(asked.unwrap_or("high")), bound) else {
            report.dropped.push("thinking".to_owned());
            return Self { effort, written: None, left_out: true, ..self };
        };
        report.dropped.push("thinking.type".to_owned());
        Self { effort, budget: Some(fitting), ..self }
    }

    /// For models that find out themselves how much to think: an effort that they know, the nearest one where they take no budget, and
    /// nothing of being told not to think where they always do.
    fn at_effort(mut self, takes: &Thinking, bound: u32, report: &mut Report) -> Self {
        let kind = self.written.and_then(|written| written.get("type"));
        let is_written_off = kind.is_some_and(|kind| kind == "disabled");
        if is_written_off || self.effort == Some("none") {
            if takes.always {
                let said = if is_written_off { "thinking.type" } else { EFFORT };
                report.dropped.push(said.to_owned());
                (self.effort, self.written) = (None, None);
            }
            return self;
        }
        // Its own clients are told by the provider which budgets it takes.
        let fits = self.budget.and_then(|budget| if self.foreign { fitting(budget, bound) } else { Some(budget) });
        if self.budget.is_some() && fits != self.budget && !takes.no_budget {
            report.dropped.push(BUDGET.to_owned());
        }
        if let Some(budget) = self.budget.filter(|_| takes.no_budget || fits.is_none()) {
            report.dropped.extend(takes.no_budget.then(|| BUDGET.to_owned()));
            let nearest = thinking::effort_of(budget);
            self.effort = self.effort.or(Some(nearest));
            (self.budget, self.adaptive) = (None, true);
        } else {
            self.budget = fits;
        }
        self.effort = self.effort.map(|word| spelled(word, takes, report));
        self
    }

    /// Whether the model is told to think.
    pub(super) fn thinks(&self) -> bool {
        let by_effort = || self.foreign && self.effort.is_some_and(|effort| effort != "none");
        self.adaptive || self.budget.is_some() || self.written.map_or_else(by_effort, thinking::is_on)
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
        if written.is_none() && budget.is_none() && effort.is_none() && !self.adaptive {
            return;
        }
        let mut thinking = object.object("thinking");
        match (written, budget, effort) {
            (_, Some(budget), _) => {
                thinking.field("type", "enabled");
                thinking.field("budget_tokens", &budget);
            }
            _ if self.adaptive => thinking.field("type", "adaptive"),
            (None, None, Some("none")) => thinking.field("type", "disabled"),
            (None, None, _) => thinking.field("type", "adaptive"),
            (Some(_), None, _) => {}
        }
        if let Some(written) = written {
            let is_told = budget.is_some() || self.adaptive;
            thinking.rest(written, if is_told { &["type"] } else { &[] });
        }
    }
}

/// The budget that is taken where `asked` was: the least at least, and below the bound of the whole reply. `None` where there is no such.
fn fitting(asked: u32, bound: u32) -> Option<u32> {
    Some(asked.max(LEAST_BUDGET).min(bound.saturating_sub(1))).filter(|fitting| *fitting >= LEAST_BUDGET)
}

/// The budget that is meant by an effort.
fn budget_for(effort: &str) -> u32 {
    match effort {
        "minimal" | "low" => 1024,
        "medium" => 2048,
        _ => 4096,
    }
}

/// An effort as the model knows it; another one than was asked for is reported.
fn spelled<'r>(asked: &'r str, takes: &Thinking, report: &mut Report) -> &'r str {
    let word = takes.word(asked);
    if word != asked {
        let said = if report.same_dialect { OWN_EFFORT } else { EFFORT };
        report.dropped.push(said.to_owned());
    }
    word
}
