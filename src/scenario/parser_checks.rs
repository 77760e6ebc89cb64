//! What every response parser is checked for, whatever it makes of replies: none makes it fail, where a reply is cut makes no
//! difference, alternatives do not meet, and it does not grow. A complaint is a good answer to all of them.

use std::sync::Arc;

use super::Asked;
use super::odd;
use super::parser_suite::FINISHES;
use super::report::SuiteReport;
use super::spoken::{Heard, Telling};
use crate::chat::{Delta, FinishReason};
use crate::moment::Moment;
use crate::policy::{Component, LogLine, PolicySetup, ReplyInfo, ResponseParser};

/// Replies over which memory must not grow, and after how many it is measured first.
const REPLIES: usize = 3_000;
const WARM: usize = 300;
const HUGE: usize = 1 << 20;

/// Runs every check on a component, with the settings of `setup` where a check needs some.
pub(super) fn all(component: &Arc<Component>, setup: &PolicySetup, report: &mut SuiteReport) {
    let trial = Trial { component, setup };
    let started = trial.started();
    report.gate("starts, and reads a greeting", started.as_ref().map(drop).map_err(Clone::clone));
    // Every other check would say the same.
    let Ok(parser) = started else { return };
    report.asked(Asked::by_parser(parser.needs(), component.inspection().manifest));
    report.advice("the same from another fresh instance", trial.same_twice());
    report.advice("the same wherever a reply is cut", trial.same_at_every_cut());
    report.advice("tool calls, and arguments of none", trial.tool_calls());
    report.advice("a reply of nothing, however it ends", trial.nothing());
    report.advice("several alternatives at once", trial.alternatives());
    report.advice("a reply of 1 MiB", trial.huge());
    report.advice("schemas and notes that make no sense", trial.odd_infos());
    report.advice("settings that make no sense", trial.odd_settings());
    report.memory("memory does not grow over 3,000 replies", trial.memory());
}

struct Trial<'a> {
    component: &'a Arc<Component>,
    setup: &'a PolicySetup,
}

impl Trial<'_> {
    fn started(&self) -> Result<Arc<ResponseParser>, String> {
        let started = ResponseParser::start(Arc::clone(self.component), self.setup.clone(), None);
        started.map_err(|problem| problem.to_string())
    }

    fn same_twice(&self) -> Result<(), String> {
        let (one, other) = (self.started()?, self.started()?);
        for deltas in replies() {
            for streamed in [false, true] {
                let [one, other] = [&one, &other].map(|parser| hear(parser, streamed, &deltas));
                if one? != other? {
                    return Err(format!("two fresh instances read the reply {deltas:?} differently"));
                }
            }
        }
        Ok(())
    }

    fn same_at_every_cut(&self) -> Result<(), String> {
        let parser = self.started()?;
        for deltas in replies() {
            for streamed in [false, true] {
                let whole = hear(&parser, streamed, &deltas)?;
                let about = about(&parser, streamed);
                let telling = telling(&parser, &about, &FinishReason::Stop);
                if let Some((cut, heard)) = telling.other_cut(&deltas, &whole) {
                    let told = format!("{deltas:?} {cut} comes to {heard:?}, and at once to {whole:?}");
                    return Err(told.chars().take(600).collect());
                }
            }
        }
        Ok(())
    }

    fn tool_calls(&self) -> Result<(), String> {
        let parser = self.started()?;
        let call = |index| Delta::ToolCall { index, id: "c".to_owned(), name: "f".to_owned() };
        let arguments = |index, text: &str| Delta::ToolArguments { index, fragment: text.to_owned() };
        let well = [call(0), arguments(0, "{\"a\":"), call(1), arguments(1, "{}"), arguments(0, "1}")];
        let called = hear(&parser, true, &well)?;
        let got: Vec<&str> = called.calls.iter().map(|(_, _, arguments)| arguments.as_str()).collect();
        if !got.is_empty() && got.len() != 2 {
            return Err(format!("two tool calls come to {}", got.len()));
        }
        for text in odd::TEXTS {
            let odd = [arguments(7, text), call(u32::MAX), arguments(u32::MAX, text), arguments(0, text)];
            for streamed in [false, true] {
                hear(&parser, streamed, &odd)?;
            }
        }
        Ok(())
    }

    fn nothing(&self) -> Result<(), String> {
        let parser = self.started()?;
        let other = FinishReason::Other("because".to_owned());
        for finish in FINISHES.iter().map(|(_, reason)| reason).chain([&other]) {
            for streamed in [false, true] {
                let about = about(&parser, streamed);
                sound(&parser, telling(&parser, &about, finish).hear(&[]), &[])?;
            }
        }
        Ok(())
    }

    fn alternatives(&self) -> Result<(), String> {
        let parser = self.started()?;
        for (one, two) in replies().into_iter().zip(replies().into_iter().skip(1)) {
            let alone = [hear(&parser, true, &one)?, hear(&parser, true, &two)?];
            // A complaint about one ends both.
            if alone.iter().any(|heard| heard.complaint.is_some()) {
                continue;
            }
            let longest = one.len().max(two.len());
            let turns = (0..longest).flat_map(|at| {
                let of = move |choice, deltas: &[Delta]| deltas.get(at).map(|delta| (choice, delta.clone()));
                of(0, &one).into_iter().chain(of(1, &two))
            });
            let turns: Vec<(u32, Delta)> = turns.collect();
            let about = about(&parser, true);
            let together = telling(&parser, &about, &FinishReason::Stop).hear_all(&turns, 2);
            if together != alone {
                return Err(format!("together they come to {together:?}, each alone to {alone:?}"));
            }
        }
        Ok(())
    }

    fn huge(&self) -> Result<(), String> {
        let parser = self.started()?;
        let long = "The quick brown fox jumps over the lazy dog. ".repeat(HUGE / 45);
        for streamed in [false, true] {
            hear(&parser, streamed, &[Delta::Text(long.clone())])?;
        }
        Ok(())
    }

    fn odd_infos(&self) -> Result<(), String> {
        let parser = self.started()?;
        for odd in odd::settings() {
            let odd: Arc<str> = Arc::from(odd);
            let plain = about(&parser, false);
            let about = ReplyInfo { schema: Some(Arc::clone(&odd)), note: Some(odd), asked_again: u32::MAX, ..plain };
            let said = [Delta::Text("{\"a\": 1}".to_owned())];
            sound(&parser, telling(&parser, &about, &FinishReason::Stop).hear(&said), &said)?;
        }
        Ok(())
    }

    fn odd_settings(&self) -> Result<(), String> {
        odd::try_settings(|settings| {
            let setup = PolicySetup { settings, ..self.setup.clone() };
            ResponseParser::start(Arc::clone(self.component), setup, None)
        })
    }

    /// Bytes of the instance that reads one reply after another; of the first one where each has its own.
    fn memory(&self) -> Result<usize, String> {
        let parser = self.started()?;
        let mut warm = 0;
        for (n, deltas) in replies().iter().cycle().take(REPLIES).enumerate() {
            hear(&parser, n.is_multiple_of(2), deltas)?;
            if n == WARM {
                warm = parser.memory_bytes();
            }
        }
        odd::without_growth(warm, parser.memory_bytes(), &format!("from reply {WARM} to reply {REPLIES}"))
    }
}

/// Each odd text as what models say.
fn replies() -> Vec<Vec<Delta>> {
    let mut replies: Vec<Vec<Delta>> = odd::TEXTS.iter().map(|text| vec![Delta::Text((*text).to_owned())]).collect();
    replies.push(odd::TEXTS.iter().map(|text| Delta::Reasoning((*text).to_owned())).collect());
    replies.push(vec![
        Delta::Reasoning("hm <EM".to_owned()),
        Delta::Text("Let me see <th".to_owned()),
        Delta::ToolCall { index: 0, id: "c".to_owned(), name: "f".to_owned() },
        Delta::ToolArguments { index: 0, fragment: "{\"to\":\"<EMAIL_1>\"}".to_owned() },
    ]);
    replies.push(vec![Delta::Refusal("I will not, <EMAIL_1>".to_owned())]);
    replies
}

fn about(parser: &ResponseParser, streamed: bool) -> ReplyInfo {
    let attributes = vec![String::new(); parser.needs().attributes.len()];
    let note = Some(Arc::from("{\"<EMAIL_1>\":\"ada@example.org\"}"));
    ReplyInfo { streamed, note, attributes, ..ReplyInfo::default() }
}

fn telling<'a>(parser: &'a Arc<ResponseParser>, about: &'a ReplyInfo, finish: &'a FinishReason) -> Telling<'a> {
    Telling { parser, about, now: Moment::from_millis(super::suite::START_MS), finish }
}

fn hear(parser: &Arc<ResponseParser>, streamed: bool, deltas: &[Delta]) -> Result<Heard, String> {
    let about = about(parser, streamed);
    sound(parser, telling(parser, &about, &FinishReason::Stop).hear(deltas), deltas)
}

fn sound(parser: &ResponseParser, heard: Heard, deltas: &[Delta]) -> Result<Heard, String> {
    // Each time: what is kept of a log has a bound.
    let log = parser.take_log();
    let Some(fault) = heard.fault else { return Ok(heard) };
    let shown: String = format!("{deltas:?}").chars().take(300).collect();
    let said = LogLine::last_warning(&log).map_or_else(String::new, |said| format!("; it said: {said}"));
    Err(format!("a reply of {shown} ends in the fault `{fault}`{said}"))
}
