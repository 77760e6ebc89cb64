//! Scenarios of prompt builders: case after case what a client sends, and which prompt comes of it.
//!
//! Every case has a builder of its own, asked twice: nothing of one request may be seen at another.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::builder_checks;
use super::conversation::{self, MessageFile};
use super::report::SuiteReport;
use super::role_suite::{
    Begin, Common, Found, NoMore, Played, RoleCase, attributes_touched, attributes_unasked, started,
};
use super::suite::settings_text;
use crate::policy::{BuildError, BuildRequest, BuiltPrompt, Component, LogLine, PolicyFault, PromptBuilder};

/// A case of a scenario file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    name: String,
    /// For this case alone.
    #[serde(default)]
    settings: Option<Value>,
    #[serde(default)]
    request: RequestFile,
    expect: ExpectFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestFile {
    #[serde(default)]
    messages: Vec<MessageFile>,
    /// A mapping; or text, handed on as it is.
    #[serde(default)]
    variables: Option<Value>,
    #[serde(default)]
    items: Vec<Value>,
    #[serde(default)]
    budget: Option<u32>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// What must come of a case: a prompt, all of whose given keys are so, or one of the other ends.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectFile {
    #[serde(default)]
    messages: Option<Vec<MessageFile>>,
    #[serde(default)]
    items: Option<Vec<u32>>,
    /// The whole note. A mapping is compared as JSON.
    #[serde(default)]
    note: Option<Value>,
    /// Words in the refusal.
    #[serde(default)]
    refused: Option<String>,
    /// A fault's kind.
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

/// What a builder answers.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Built(BuiltPrompt),
    Refused(String),
    Fault(PolicyFault),
}

impl RoleCase for CaseFile {
    type Head = NoMore;

    const ABOUT: &'static str = "attributes and settings";

    fn common(&self) -> Common<'_> {
        let Self { name, settings, expect, .. } = self;
        Common { name, settings: settings.as_ref(), max_fuel: expect.max_fuel, log: expect.log.as_deref() }
    }

    fn play(&self, component: &Arc<Component>, begin: &Begin, _: &NoMore) -> Result<Played, String> {
        let Self { request, expect, .. } = self;
        mistakes(expect)?;
        let messages = conversation::messages(&request.messages)?;
        let mut played = Played::default();
        let builder = PromptBuilder::start(Arc::clone(component), begin.policy(), None);
        let Some(builder) = started(builder, expect.config_error.as_deref(), &mut played)? else { return Ok(played) };
        let question = request.question(begin, &builder);
        let ask = || match builder.build(&question, messages.clone()) {
            Ok(built) => Answer::Built(built),
            Err(BuildError::Refused(words)) => Answer::Refused(words),
            Err(BuildError::Fault(fault)) => Answer::Fault(fault),
        };
        let answer = ask();
        played.log = builder.take_log();
        if expect.config_error.is_none() {
            played.problems.extend(unmet(expect, &answer, &played.log));
        }
        played.found = Some(found(expect, &answer));
        played.end = match &answer {
            Answer::Built(_) => "built",
            Answer::Refused(_) => "refused",
            Answer::Fault(_) => "fault",
        };
        played.touched = attributes_touched(&builder.needs().attributes, &request.attributes).collect();
        played.unasked = attributes_unasked(&builder.needs().attributes, &request.attributes);
        if ask() != answer {
            played.problems.push("asked the same again, it answers otherwise".to_owned());
            played.found = None;
        }
        played.fuel = builder.report().fuel.map_or(0, |(_, most)| most);
        Ok(played)
    }

    fn check(component: &Arc<Component>, begin: &Begin, report: &mut SuiteReport) {
        builder_checks::all(component, &begin.policy(), report);
    }
}

impl RequestFile {
    fn question(&self, begin: &Begin, builder: &PromptBuilder) -> BuildRequest {
        let attribute =
            |name: &crate::signal::Attribute| self.attributes.get(&name.to_string()).cloned().unwrap_or_default();
        BuildRequest {
            id: None,
            now: begin.now,
            seed: self.seed.unwrap_or(begin.case_seed),
            variables: self
                .variables
                .as_ref()
                .map_or_else(|| "{}".to_owned(), |given| settings_text(given).to_string()),
            items: self.items.iter().map(Value::to_string).collect(),
            budget: self.budget,
            attributes: builder.needs().attributes.iter().map(attribute).collect(),
        }
    }
}

fn mistakes(expect: &ExpectFile) -> Result<(), String> {
    let prompt = expect.messages.is_some() || expect.items.is_some() || expect.note.is_some();
    let ends = [prompt, expect.refused.is_some(), expect.fault.is_some(), expect.config_error.is_some()];
    if ends.into_iter().filter(|given| *given).count() != 1 {
        return Err("`expect` needs a prompt (messages, items, note) or one of refused, fault, config_error".to_owned());
    }
    match expect.fault.as_ref().filter(|kind| !PolicyFault::KINDS.contains(&kind.as_str())) {
        Some(kind) => Err(format!("no policy fault is called `{kind}`; there are {}", PolicyFault::KINDS.join(", "))),
        None => Ok(()),
    }
}

/// What is not as expected; a fault is told with what was said last in `log`.
fn unmet(expect: &ExpectFile, answer: &Answer, log: &[LogLine]) -> Vec<String> {
    match answer {
        Answer::Built(built) => unmet_prompt(expect, built),
        Answer::Refused(words) if expect.refused.as_ref().is_some_and(|wanted| words.contains(wanted)) => Vec::new(),
        Answer::Fault(fault) if expect.fault.as_deref() == Some(fault.kind()) => Vec::new(),
        Answer::Refused(words) => vec![format!("expected {}, got a refusal: {words}", wanted(expect))],
        Answer::Fault(fault) => {
            let fault = fault.clone().in_its_words(log);
            vec![format!("expected {}, got a fault: it {fault}", wanted(expect))]
        }
    }
}

/// The answer as a file would say it.
fn found(expect: &ExpectFile, answer: &Answer) -> Vec<Found> {
    match answer {
        Answer::Built(built) => {
            let messages = conversation::told(&built.messages);
            let mut found = vec![
                Found::new("messages", json!(messages), expect.messages.as_ref() == Some(&messages)),
                Found::new("items", json!(built.items), expect.items.as_ref() == Some(&built.items)),
            ];
            found.extend(built.note.as_ref().map(|note| {
                // An object is easier to read as one.
                let value = serde_json::from_str(note).ok().filter(Value::is_object);
                let met = expect.note.as_ref().is_some_and(|wanted| is_note(wanted, Some(note)));
                Found::new("note", value.unwrap_or_else(|| Value::from(&**note)), met)
            }));
            found
        }
        Answer::Refused(words) => {
            vec![Found::end("refused", words.as_str(), expect.refused.as_ref().is_some_and(|w| words.contains(w)))]
        }
        Answer::Fault(fault) => {
            vec![Found::end("fault", fault.kind(), expect.fault.as_deref() == Some(fault.kind()))]
        }
    }
}

fn wanted(expect: &ExpectFile) -> String {
    let refused = expect.refused.as_ref().map(|words| format!("a refusal with `{words}`"));
    let fault = expect.fault.as_ref().map(|kind| format!("the fault `{kind}`"));
    let config = expect.config_error.as_ref().map(|words| format!("refused settings with `{words}`"));
    refused.or(fault).or(config).unwrap_or_else(|| "a prompt".to_owned())
}

/// What of a prompt is not as expected.
fn unmet_prompt(expect: &ExpectFile, built: &BuiltPrompt) -> Vec<String> {
    let mut problems = Vec::new();
    if expect.refused.is_some() || expect.fault.is_some() {
        problems.push(format!("expected {}, got a prompt", wanted(expect)));
    }
    let list = |messages: &[MessageFile]| messages.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let got = conversation::told(&built.messages);
    if let Some(messages) = expect.messages.as_ref().filter(|messages| **messages != got) {
        problems.push(format!("expected the messages {}, got {}", list(messages), list(&got)));
    }
    if let Some(items) = expect.items.as_ref().filter(|items| **items != built.items) {
        problems.push(format!("expected the items {items:?}, got {:?}", built.items));
    }
    let got = built.note.as_deref();
    if let Some(note) = expect.note.as_ref().filter(|note| !is_note(note, got)) {
        problems.push(format!("expected the note {note}, got {}", got.unwrap_or("none")));
    }
    problems
}

fn is_note(wanted: &Value, got: Option<&str>) -> bool {
    match wanted {
        Value::String(text) => got == Some(text),
        Value::Null => got.is_none(),
        json => got.and_then(|got| serde_json::from_str::<Value>(got).ok()).as_ref() == Some(json),
    }
}
