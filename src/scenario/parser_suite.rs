//! Scenarios of response parsers: case after case what a model says, and what the client reads of it.
//!
//! Every case has a parser of its own, which is told the reply whole, letter by letter, and cut in two (`cuts`): the same must
//! come of it each time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::parser_checks;
use super::report::SuiteReport;
use super::role_suite::{
    Begin, Common, Found, NoMore, Played, RoleCase, attributes_touched, attributes_unasked, started,
};
use super::spoken::{Heard, Telling, joined};
use super::suite::settings_text;
use crate::chat::{Delta, FinishReason};
use crate::policy::{Component, LogLine, PolicyFault, ReplyInfo, ResponseParser};

/// Reasons why a reply ends and their names in files.
pub(super) const FINISHES: [(&str, FinishReason); 5] = [
    ("stop", FinishReason::Stop),
    ("length", FinishReason::Length),
    ("tool-calls", FinishReason::ToolCalls),
    ("content-filter", FinishReason::ContentFilter),
    ("refusal", FinishReason::Refusal),
];

/// A case of a scenario file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    name: String,
    /// For this case alone.
    #[serde(default)]
    settings: Option<Value>,
    #[serde(default)]
    reply: ReplyFile,
    expect: ExpectFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyFile {
    /// What the model says, delta by delta.
    #[serde(default)]
    texts: Vec<SaidFile>,
    /// `stop` unless given.
    #[serde(default)]
    finish: Option<String>,
    /// What the client wants replies to follow. A mapping; or text, handed on as it is.
    #[serde(default)]
    schema: Option<Value>,
    /// What the prompt builder left, likewise.
    #[serde(default)]
    note: Option<Value>,
    /// Whether the client gets pieces as they come; both are tried unless given.
    #[serde(default)]
    streamed: Option<bool>,
    #[serde(default)]
    asked_again: u32,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// `false`: it may come to something else where it is cut elsewhere.
    #[serde(default)]
    splits: Option<bool>,
}

/// A text, or one key with something else.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum SaidFile {
    Text(String),
    Other(OtherFile),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum OtherFile {
    Reasoning(String),
    Refusal(String),
    /// A tool call begins, by the tool's name; calls are numbered as they begin.
    Call(String),
    /// More arguments of the last call.
    Arguments(String),
}

impl SaidFile {
    /// The kind of its delta, as parsers ask for it.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Other(OtherFile::Reasoning(_)) => "reasoning",
            Self::Other(OtherFile::Refusal(_)) => "refusal",
            Self::Other(OtherFile::Call(_) | OtherFile::Arguments(_)) => "tool-calls",
        }
    }
}

/// What must come of a case: all of the keys given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectFile {
    /// All the text the client reads.
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    /// The arguments of its tool calls.
    #[serde(default)]
    arguments: Option<Vec<String>>,
    /// Words in the complaint; unless given there must be none.
    #[serde(default)]
    complaint: Option<String>,
    /// Words in what the model is told; "" where it must be told nothing.
    #[serde(default)]
    repair: Option<String>,
    /// A fault's kind; unless given there must be none.
    #[serde(default)]
    fault: Option<String>,
    /// Words in the refusal of the settings.
    #[serde(default)]
    config_error: Option<String>,
    #[serde(default)]
    max_fuel: Option<u64>,
    /// Words in a line it logs.
    #[serde(default)]
    log: Option<String>,
}

impl RoleCase for CaseFile {
    type Head = NoMore;

    const ABOUT: &'static str = "kinds of deltas, attributes and settings";

    fn common(&self) -> Common<'_> {
        let Self { name, settings, expect, .. } = self;
        Common { name, settings: settings.as_ref(), max_fuel: expect.max_fuel, log: expect.log.as_deref() }
    }

    fn play(&self, component: &Arc<Component>, begin: &Begin, _: &NoMore) -> Result<Played, String> {
        let Self { reply, expect, .. } = self;
        mistakes(expect)?;
        if let Some(kind) = expect.fault.as_ref().filter(|kind| !PolicyFault::KINDS.contains(&kind.as_str())) {
            let known = PolicyFault::KINDS.join(", ");
            return Err(format!("no policy fault is called `{kind}`; there are {known}"));
        }
        let (deltas, finish) = (said(&reply.texts)?, finish(reply.finish.as_deref())?);
        let mut played = Played::default();
        let parser = ResponseParser::start(Arc::clone(component), begin.policy(), None);
        let Some(parser) = started(parser, expect.config_error.as_deref(), &mut played)? else { return Ok(played) };
        let (mut all_heard, mut depends) = (Vec::new(), false);
        let both = [false, true];
        for streamed in reply.streamed.as_ref().map_or(&both[..], std::slice::from_ref) {
            let about = about(reply, *streamed, &parser);
            let telling = Telling { parser: &parser, about: &about, now: begin.now, finish: &finish };
            let heard = telling.hear(&deltas);
            let mut log = parser.take_log();
            let how = if *streamed { "streamed" } else { "whole" };
            if expect.config_error.is_none() {
                let unmet = unmet(expect, &heard, LogLine::last_warning(&log));
                played.problems.extend(unmet.into_iter().map(|problem| format!("{how}: {problem}")));
            }
            played.log.append(&mut log);
            // One that is meant to fail is quarantined soon.
            if heard.fault.is_none() && reply.splits != Some(false) {
                let other = telling.other_cut(&joined(&deltas), &heard);
                depends |= other.is_some();
                let told = |(cut, other)| format!("{how}: {cut} it comes to {other:?}, not {heard:?}");
                played.problems.extend(other.map(told));
            }
            all_heard.push(heard);
        }
        played.end = match all_heard.first() {
            Some(heard) if heard.fault.is_some() => "fault",
            Some(heard) if heard.complaint.is_some() => "complaint",
            _ => "read",
        };
        let told = |kind| (format!("delta `{kind}`"), reply.texts.iter().any(|said| said.kind() == kind));
        played.touched = parser.needs().kinds().map(told).collect();
        played.touched.extend(attributes_touched(&parser.needs().attributes, &reply.attributes));
        played.unasked = attributes_unasked(&parser.needs().attributes, &reply.attributes);
        depends |= all_heard.windows(2).any(|pair| pair[0] != pair[1]);
        played.found = all_heard.first().filter(|_| !depends).map(|heard| found(expect, heard));
        played.fuel = parser.report().fuel.map_or(0, |(_, most)| most);
        Ok(played)
    }

    fn check(component: &Arc<Component>, begin: &Begin, report: &mut SuiteReport) {
        parser_checks::all(component, &begin.policy(), report);
    }
}

fn about(reply: &ReplyFile, streamed: bool, parser: &ResponseParser) -> ReplyInfo {
    let attribute =
        |name: &crate::signal::Attribute| reply.attributes.get(&name.to_string()).cloned().unwrap_or_default();
    ReplyInfo {
        id: None,
        streamed,
        asked_again: reply.asked_again,
        schema: reply.schema.as_ref().map(settings_text),
        note: reply.note.as_ref().map(settings_text),
        attributes: parser.needs().attributes.iter().map(attribute).collect(),
    }
}

fn said(files: &[SaidFile]) -> Result<Vec<Delta>, String> {
    let mut calls: u32 = 0;
    let delta = |file: &SaidFile| match file {
        SaidFile::Text(text) => Ok(Delta::Text(text.clone())),
        SaidFile::Other(OtherFile::Reasoning(text)) => Ok(Delta::Reasoning(text.clone())),
        SaidFile::Other(OtherFile::Refusal(text)) => Ok(Delta::Refusal(text.clone())),
        SaidFile::Other(OtherFile::Call(name)) => {
            let index = calls;
            calls += 1;
            Ok(Delta::ToolCall { index, id: format!("call_{index}"), name: name.clone() })
        }
        SaidFile::Other(OtherFile::Arguments(fragment)) => match calls.checked_sub(1) {
            Some(index) => Ok(Delta::ToolArguments { index, fragment: fragment.clone() }),
            None => Err("`arguments` stand behind a `call`".to_owned()),
        },
    };
    files.iter().map(delta).collect()
}

fn finish(name: Option<&str>) -> Result<FinishReason, String> {
    let name = name.unwrap_or("stop");
    let known = FINISHES.iter().find(|(known, _)| *known == name).map(|(_, reason)| reason.clone());
    known.ok_or_else(|| {
        let names = FINISHES.map(|(name, _)| name).join(", ");
        format!("no reply ends with `{name}`; there are {names}")
    })
}

/// An expectation that nothing could miss.
fn mistakes(expect: &ExpectFile) -> Result<(), String> {
    let ExpectFile { text, reasoning, refusal, arguments, complaint, repair, fault, config_error, max_fuel, log } =
        expect;
    let heard = [text, reasoning, refusal, complaint, repair, fault].into_iter().any(Option::is_some);
    let heard = heard || arguments.is_some();
    match (heard, config_error) {
        (false, None) if max_fuel.is_none() && log.is_none() => {
            Err("`expect` is empty: say at least the text that is read".to_owned())
        }
        (true, Some(_)) => {
            Err("`expect` has `config_error` and more: nothing is read where settings are refused".to_owned())
        }
        _ if repair.is_some() && complaint.is_none() => {
            Err("`expect` has `repair`, which goes with `complaint`".to_owned())
        }
        _ => Ok(()),
    }
}

/// What a client hears that is not as expected; a fault is told with what the parser `said` last.
fn unmet(expect: &ExpectFile, heard: &Heard, said: Option<&str>) -> Vec<String> {
    let mut problems = Vec::new();
    let texts = [
        ("text", &expect.text, &heard.text),
        ("reasoning", &expect.reasoning, &heard.reasoning),
        ("refusal", &expect.refusal, &heard.refusal),
    ];
    for (name, wanted, got) in texts {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != got) {
            problems.push(format!("expected the {name} {wanted:?}, got {got:?}"));
        }
    }
    if let Some(wanted) = &expect.arguments {
        let got: Vec<&String> = heard.calls.iter().map(|(_, _, arguments)| arguments).collect();
        if !got.iter().copied().eq(wanted) {
            problems.push(format!("expected the arguments {wanted:?}, got {got:?}"));
        }
    }
    let problem = heard.complaint.as_ref().map(|complaint| complaint.problem.as_str());
    let met = match (&expect.complaint, problem) {
        (Some(wanted), Some(problem)) => problem.contains(wanted),
        (None, None) => true,
        _ => false,
    };
    if !met {
        let wanted =
            expect.complaint.as_ref().map_or_else(|| "no complaint".to_owned(), |w| format!("a complaint with `{w}`"));
        problems.push(format!("expected {wanted}, got {}", problem.unwrap_or("none")));
    }
    let repair = heard.complaint.as_ref().and_then(|complaint| complaint.repair.as_deref());
    if let Some(wanted) = expect.repair.as_ref().filter(|wanted| !is_repair(wanted, repair)) {
        problems.push(format!("expected {wanted:?} in what the model is told, got {repair:?}"));
    }
    if expect.fault.as_deref() != heard.fault {
        let name =
            |kind: Option<&str>| kind.map_or_else(|| "no fault".to_owned(), |kind| format!("the fault `{kind}`"));
        let said = said.filter(|_| heard.fault.is_some()).map_or_else(String::new, |said| format!("; it said: {said}"));
        problems.push(format!("expected {}, got {}{said}", name(expect.fault.as_deref()), name(heard.fault)));
    }
    problems
}

/// What a client hears, as a file would say it.
fn found(expect: &ExpectFile, heard: &Heard) -> Vec<Found> {
    let text = |key, wanted: &Option<String>, got: &String| Found::new(key, got.as_str(), wanted.as_ref() == Some(got));
    let arguments: Vec<&String> = heard.calls.iter().map(|(_, _, arguments)| arguments).collect();
    let met = expect.arguments.as_ref().is_some_and(|wanted| arguments.iter().copied().eq(wanted));
    let mut found = vec![
        text("text", &expect.text, &heard.text),
        text("reasoning", &expect.reasoning, &heard.reasoning),
        text("refusal", &expect.refusal, &heard.refusal),
        Found::new("arguments", json!(arguments), met),
    ];
    if let Some(complaint) = &heard.complaint {
        let met = expect.complaint.as_ref().is_some_and(|wanted| complaint.problem.contains(wanted));
        found.push(Found::end("complaint", complaint.problem.as_str(), met));
        let repair = complaint.repair.as_deref();
        let met = expect.repair.as_ref().is_some_and(|wanted| is_repair(wanted, repair));
        found.push(Found::new("repair", repair.unwrap_or_default(), met));
    }
    found.extend(heard.fault.map(|kind| Found::end("fault", kind, expect.fault.as_deref() == Some(kind))));
    found
}

/// Whether the model is told these words; nothing where there are none.
fn is_repair(wanted: &str, repair: Option<&str>) -> bool {
    repair.map_or(wanted.is_empty(), |repair| !wanted.is_empty() && repair.contains(wanted))
}
