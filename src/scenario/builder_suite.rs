//! Scenarios of prompt builders: case after case what a client sends, and which prompt comes of it.
//!
//! Every case has a builder of its own, asked twice: nothing of one request may be seen at another.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::conversation::{self, MessageFile};
use super::report::SuiteReport;
use super::suite::{SEED, START_MS, settings_text};
use crate::config::yaml;
use crate::moment::Moment;
use crate::policy::{
    BuildError, BuildRequest, BuiltPrompt, Component, PolicyFault, PolicyProblem, PolicySetup, PromptBuilder,
};
use crate::seed;

/// A scenario file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SuiteFile {
    #[serde(rename = "policy")]
    _policy: String,
    /// A mapping; or text, handed on as it is.
    #[serde(default)]
    settings: Option<Value>,
    #[serde(default)]
    seed: Option<u64>,
    /// Milliseconds since the Unix epoch.
    #[serde(default)]
    start_ms: Option<u64>,
    /// The model whose way of counting tokens counts.
    #[serde(default)]
    model: Option<String>,
    cases: Vec<CaseFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
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

/// What came of a case.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Built(BuiltPrompt),
    Refused(String),
    Fault(PolicyFault),
    BadSettings(String),
}

/// Runs every case of a file; tells with what the policy is to be checked.
///
/// # Errors
/// The file makes no sense, or the policy cannot be started for another reason than its settings.
pub(super) fn run(
    component: &Arc<Component>,
    text: &str,
    name: &str,
    report: &mut SuiteReport,
) -> Result<PolicySetup, String> {
    let file: SuiteFile = yaml::read(text, name).map_err(|problems| problems.to_string())?;
    if file.cases.is_empty() {
        return Err("`cases` is empty".to_owned());
    }
    let setup = PolicySetup {
        may_read: crate::signal::Grants::All,
        group: None,
        settings: file.settings.as_ref().map_or_else(|| Arc::from("{}"), settings_text),
        model: Arc::from(file.model.as_deref().unwrap_or_default()),
        seed: file.seed.unwrap_or(SEED),
    };
    let now = Moment::from_millis(file.start_ms.unwrap_or(START_MS));
    for (number, case) in (0..).zip(&file.cases) {
        let broken = |problem: String| format!("case `{}`: {problem}", case.name);
        mistakes(&case.expect).map_err(broken)?;
        let settings = case.settings.as_ref().map_or_else(|| Arc::clone(&setup.settings), settings_text);
        let setup = PolicySetup { may_read: crate::signal::Grants::All, settings, ..setup.clone() };
        let seed = case.request.seed.unwrap_or(seed::derive(setup.seed, number));
        let played = play(component, &setup, &case.request, (now, seed)).map_err(broken)?;
        report.case(&case.name, played.fuel, judge(&case.expect, &played), &played.log);
    }
    Ok(setup)
}

struct Played {
    answer: Answer,
    again: Answer,
    fuel: u64,
    log: Vec<crate::policy::LogLine>,
}

fn play(
    component: &Arc<Component>,
    setup: &PolicySetup,
    request: &RequestFile,
    (now, seed): (Moment, u64),
) -> Result<Played, String> {
    let messages = conversation::messages(&request.messages)?;
    let builder = match PromptBuilder::start(Arc::clone(component), setup.clone(), None) {
        Ok(builder) => builder,
        Err(PolicyProblem::Configure(words)) => {
            let answer = Answer::BadSettings(words);
            return Ok(Played { again: answer.clone(), answer, fuel: 0, log: Vec::new() });
        }
        Err(problem) => return Err(problem.to_string()),
    };
    let attribute =
        |name: &crate::signal::Attribute| request.attributes.get(&name.to_string()).cloned().unwrap_or_default();
    let question = BuildRequest {
        id: None,
        now,
        seed,
        variables: request.variables.as_ref().map_or_else(|| "{}".to_owned(), |given| settings_text(given).to_string()),
        items: request.items.iter().map(Value::to_string).collect(),
        budget: request.budget,
        attributes: builder.needs().attributes.iter().map(attribute).collect(),
    };
    let ask = || match builder.build(&question, messages.clone()) {
        Ok(built) => Answer::Built(built),
        Err(BuildError::Refused(words)) => Answer::Refused(words),
        Err(BuildError::Fault(fault)) => Answer::Fault(fault),
    };
    let answer = ask();
    let log = builder.take_log();
    let again = ask();
    Ok(Played { answer, again, fuel: builder.report().fuel.map_or(0, |(_, most)| most), log })
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

fn judge(expect: &ExpectFile, played: &Played) -> Vec<String> {
    let mut problems = Vec::new();
    match &played.answer {
        Answer::Built(built) => problems.extend(unmet(expect, built)),
        Answer::Refused(words) if expect.refused.as_ref().is_some_and(|wanted| words.contains(wanted)) => {}
        Answer::Fault(fault) if expect.fault.as_deref() == Some(fault.kind()) => {}
        Answer::BadSettings(words) if expect.config_error.as_ref().is_some_and(|wanted| words.contains(wanted)) => {}
        Answer::Refused(words) => problems.push(format!("expected {}, got a refusal: {words}", wanted(expect))),
        Answer::Fault(fault) => problems.push(format!("expected {}, got a fault: it {fault}", wanted(expect))),
        Answer::BadSettings(words) => {
            problems.push(format!("expected {}, got refused settings: {words}", wanted(expect)));
        }
    }
    if played.again != played.answer {
        problems.push("asked the same again, it answers otherwise".to_owned());
    }
    if let Some(most) = expect.max_fuel.filter(|most| played.fuel > *most) {
        problems.push(format!("expected at most {most} fuel, a call used {}", played.fuel));
    }
    let logged = |words: &String| played.log.iter().any(|line| line.message.contains(words));
    if let Some(words) = expect.log.as_ref().filter(|words| !logged(words)) {
        problems.push(format!("expected a log line with `{words}`, got {}", played.log.len()));
    }
    problems
}

fn wanted(expect: &ExpectFile) -> String {
    let refused = expect.refused.as_ref().map(|words| format!("a refusal with `{words}`"));
    let fault = expect.fault.as_ref().map(|kind| format!("the fault `{kind}`"));
    let config = expect.config_error.as_ref().map(|words| format!("refused settings with `{words}`"));
    refused.or(fault).or(config).unwrap_or_else(|| "a prompt".to_owned())
}

/// What of a prompt is not as expected.
fn unmet(expect: &ExpectFile, built: &BuiltPrompt) -> Vec<String> {
    let mut problems = Vec::new();
    if expect.refused.is_some() || expect.fault.is_some() || expect.config_error.is_some() {
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
    if let Some(note) = &expect.note {
        let got = built.note.as_deref();
        let met = match note {
            Value::String(text) => got == Some(text),
            Value::Null => got.is_none(),
            json => got.and_then(|got| serde_json::from_str::<Value>(got).ok()).as_ref() == Some(json),
        };
        if !met {
            problems.push(format!("expected the note {note}, got {}", got.unwrap_or("none")));
        }
    }
    problems
}
