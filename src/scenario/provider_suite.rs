//! Scenarios of providers: recorded pairs. A request in the words every provider's policy reads, and what is sent for it; or what
//! a provider answers, and what is read of it.
//!
//! A stream is read whole, byte by byte, and cut in two everywhere: the same must come of it each time.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::Deserialize;
use serde_json::Value;

use super::heard_reply::{HeardReply, ReplyExpectation};
use super::report::SuiteReport;
use super::suite::{SEED, settings_text};
use crate::config::yaml;
use crate::fault::AttemptFault;
use crate::format::{self, ClientRequest, Encoded, NO_QUIRKS, ProviderFormat as _, Target};
use crate::policy::{Component, ComponentFormat, LogLine, PolicyProblem, ProviderPolicy, ProviderSetup};

/// What is reserved for a reply unless a file says so.
const MAX_OUTPUT_TOKENS: u32 = 4096;

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
    /// The model as the provider names it.
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    max_output_tokens: Option<u32>,
    cases: Vec<CaseFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    name: String,
    /// For this case alone.
    #[serde(default)]
    settings: Option<Value>,
    /// An OpenAI chat completion.
    #[serde(default)]
    request: Option<Value>,
    /// A whole reply of the provider's. A mapping; or text, as it is.
    #[serde(default)]
    reply: Option<Value>,
    /// A streamed one, as it is.
    #[serde(default)]
    stream: Option<String>,
    /// A refusal.
    #[serde(default)]
    refusal: Option<RefusalFile>,
    expect: ExpectFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusalFile {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
}

/// What must come of a case: all of the keys given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectFile {
    /// Path and query below the deployment's address.
    #[serde(default)]
    path: Option<String>,
    /// All headers.
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
    /// The whole body, compared as JSON.
    #[serde(default)]
    body: Option<Value>,
    /// Fields of the request that the provider has no word for.
    #[serde(default)]
    dropped: Option<Vec<String>>,
    #[serde(flatten)]
    reply: ReplyExpectation,
    /// Words in the fault: of a refusal, or where a request or reply is none.
    #[serde(default)]
    fault: Option<String>,
    /// The fault's kind, as retries and metrics know it.
    #[serde(default)]
    kind: Option<String>,
    /// The provider's word for it.
    #[serde(default)]
    code: Option<String>,
    /// The field of the request that is to blame.
    #[serde(default)]
    param: Option<String>,
    /// Words in the refusal of the settings.
    #[serde(default)]
    config_error: Option<String>,
    #[serde(default)]
    max_fuel: Option<u64>,
    /// Words in a line it logs.
    #[serde(default)]
    log: Option<String>,
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
) -> Result<ProviderSetup, String> {
    let file: SuiteFile = yaml::read(text, name).map_err(|problems| problems.to_string())?;
    if file.cases.is_empty() {
        return Err("`cases` is empty".to_owned());
    }
    let setup = ProviderSetup {
        group: None,
        settings: file.settings.as_ref().map_or_else(|| Arc::from("{}"), settings_text),
        model: Arc::from(file.model.as_deref().unwrap_or("model")),
        seed: file.seed.unwrap_or(SEED),
    };
    for case in &file.cases {
        let settings = case.settings.as_ref().map_or_else(|| Arc::clone(&setup.settings), settings_text);
        let setup = ProviderSetup { settings, ..setup.clone() };
        let played = play(component, &setup, &file, case).map_err(|problem| format!("case `{}`: {problem}", case.name));
        let Played { problems, fuel, log } = played?;
        report.case(&case.name, fuel, problems, &log);
    }
    Ok(setup)
}

#[derive(Default)]
struct Played {
    problems: Vec<String>,
    fuel: u64,
    log: Vec<LogLine>,
}

fn play(
    component: &Arc<Component>,
    setup: &ProviderSetup,
    file: &SuiteFile,
    case: &CaseFile,
) -> Result<Played, String> {
    let expect = &case.expect;
    let policy = match (ProviderPolicy::start(Arc::clone(component), setup.clone(), None), &expect.config_error) {
        (Ok(_), Some(words)) => return Ok(told(format!("expected refused settings with `{words}`, and it started"))),
        (Ok(policy), None) => policy,
        (Err(PolicyProblem::Configure(found)), Some(wanted)) if found.contains(wanted) => return Ok(Played::default()),
        (Err(PolicyProblem::Configure(found)), _) => return Ok(told(format!("it refused its settings: {found}"))),
        (Err(problem), _) => return Err(problem.to_string()),
    };
    let spoken = spoken(&policy);
    let mut problems = match (&case.request, &case.reply, &case.stream, &case.refusal) {
        (Some(request), None, None, None) => sent(expect, encode(&spoken, setup, file, request)?),
        (None, Some(reply), None, None) => {
            let read = spoken.decode(settings_text(reply).as_bytes());
            read_as(expect, read.map(|reply| HeardReply::whole(&reply)))
        }
        (None, None, Some(stream), None) => streamed(expect, &spoken, stream.as_bytes()),
        (None, None, None, Some(refusal)) => {
            let body = settings_text(&refusal.body);
            let fault = spoken.decode_error(refusal.status, &headers(&refusal.headers)?, body.as_bytes());
            faulted(expect, &fault)
        }
        _ => return Err("it needs one of request, reply, stream, refusal".to_owned()),
    };
    let fuel = policy.report().fuel.map_or(0, |(_, most)| most);
    let log = policy.take_log();
    if let Some(most) = expect.max_fuel.filter(|most| fuel > *most) {
        problems.push(format!("expected at most {most} fuel, a call used {fuel}"));
    }
    if let Some(words) = expect.log.as_ref().filter(|words| !log.iter().any(|line| line.message.contains(*words))) {
        problems.push(format!("expected a log line with `{words}`, got {}", log.len()));
    }
    Ok(Played { problems, fuel, log })
}

fn told(problem: String) -> Played {
    Played { problems: vec![problem], ..Played::default() }
}

/// The policy as deployments have it; how a key is carried is of no concern here.
pub(super) fn spoken(policy: &Arc<ProviderPolicy>) -> ComponentFormat {
    ComponentFormat::new(Arc::clone(policy), format::PROVIDER_FORMATS[0])
}

fn encode(
    spoken: &ComponentFormat,
    setup: &ProviderSetup,
    file: &SuiteFile,
    request: &Value,
) -> Result<Result<Encoded, AttemptFault>, String> {
    let target = Target {
        model: &setup.model,
        api_version: file.api_version.as_deref(),
        quirks: &NO_QUIRKS,
        default_max_tokens: file.max_output_tokens.unwrap_or(MAX_OUTPUT_TOKENS),
    };
    let mut request = request.clone();
    if let Value::Object(fields) = &mut request {
        fields.entry("model").or_insert_with(|| "model".into());
    }
    let uri = Uri::from_static("/v1/chat/completions");
    let api = format::spoken_at(uri.path(), &HeaderMap::new());
    let parsed = api.parse(&ClientRequest::post(uri, request.to_string()));
    let parsed = parsed.map_err(|refusal| format!("the request is none: {}", refusal.message))?;
    Ok(spoken.encode(&parsed, &target))
}

fn headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let header = |(name, value): (&String, &String)| {
        let header = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
        header.ok_or_else(|| format!("`{name}: {value}` is no header"))
    };
    given.iter().map(header).collect()
}

/// What of a request that was written is not as expected.
fn sent(expect: &ExpectFile, encoded: Result<Encoded, AttemptFault>) -> Vec<String> {
    let encoded = match encoded {
        Ok(encoded) if expect.fault.is_none() => encoded,
        Ok(_) => return vec![format!("expected {}, and it was written", wanted(expect))],
        Err(fault) => return faulted(expect, &fault),
    };
    let mut problems = Vec::new();
    if let Some(path) = expect.path.as_ref().filter(|path| **path != encoded.path) {
        problems.push(format!("expected the path `{path}`, got `{}`", encoded.path));
    }
    let got: BTreeMap<String, String> = encoded
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    if let Some(headers) = expect.headers.as_ref().filter(|headers| **headers != got) {
        problems.push(format!("expected the headers {headers:?}, got {got:?}"));
    }
    if let Some(dropped) = expect.dropped.as_ref().filter(|dropped| **dropped != encoded.dropped) {
        problems.push(format!("expected dropped {dropped:?}, got {:?}", encoded.dropped));
    }
    if let Some(body) = &expect.body {
        match serde_json::from_slice::<Value>(&encoded.body) {
            Ok(got) if got == *body => {}
            Ok(got) => problems.push(format!("expected the body {body}, got {got}")),
            Err(error) => problems.push(format!("the body is no JSON: {error}")),
        }
    }
    problems
}

/// What of a reply that was read is not as expected.
fn read_as(expect: &ExpectFile, read: Result<HeardReply, AttemptFault>) -> Vec<String> {
    match read {
        Ok(_) if expect.fault.is_some() => vec![format!("expected {}, and it was read", wanted(expect))],
        Ok(heard) => expect.reply.unmet(&heard),
        Err(fault) => faulted(expect, &fault),
    }
}

fn streamed(expect: &ExpectFile, spoken: &ComponentFormat, bytes: &[u8]) -> Vec<String> {
    let whole = HeardReply::streamed(spoken, &[bytes]);
    // One that is meant to fail is quarantined soon.
    let other = if whole.is_ok() { HeardReply::other_cut(spoken, bytes, &whole) } else { None };
    let mut problems = read_as(expect, whole);
    problems.extend(other);
    problems
}

fn faulted(expect: &ExpectFile, fault: &AttemptFault) -> Vec<String> {
    let AttemptFault { kind, code, message, param, .. } = fault;
    let mut problems = Vec::new();
    if !expect.fault.as_ref().is_some_and(|words| message.contains(words)) {
        problems.push(format!("expected {}, got the fault `{message}`", wanted(expect)));
    }
    let rest = [
        ("kind", &expect.kind, Some(kind.as_str())),
        ("code", &expect.code, code.as_deref()),
        ("param", &expect.param, param.as_deref()),
    ];
    for (name, wanted, got) in rest {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| Some(wanted.as_str()) != got) {
            problems.push(format!("expected the {name} `{wanted}`, got `{}`", got.unwrap_or("none")));
        }
    }
    problems
}

fn wanted(expect: &ExpectFile) -> String {
    expect.fault.as_ref().map_or_else(|| "no fault".to_owned(), |words| format!("a fault with `{words}`"))
}
