//! Scenarios of providers: recorded pairs. A request in the words every provider's policy reads, and what is sent for it; or what
//! a provider answers, and what is read of it.
//!
//! A stream is read whole, byte by byte, and cut in two (`cuts`): the same must come of it each time. What a case expects is what
//! can come of its kind: a key that nobody would look at is a mistake.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::heard_reply::{HeardReply, ReplyExpectation};
use super::provider_checks;
use super::report::SuiteReport;
use super::role_suite::{Begin, Common, Found, Played, RoleCase, started};
use super::suite::settings_text;
use crate::fault::AttemptFault;
use crate::format::{self, ClientRequest, Encoded, NO_QUIRKS, ProviderFormat as _, Target};
use crate::policy::{Component, ComponentFormat, LogLine, ProviderPolicy};

/// What is reserved for a reply unless a file says so.
const MAX_OUTPUT_TOKENS: u32 = 4096;

/// What the head of a file has besides.
#[derive(Debug, Deserialize)]
pub(super) struct HeadFile {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    max_output_tokens: Option<u32>,
}

/// A case of a scenario file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
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

impl RoleCase for CaseFile {
    type Head = HeadFile;

    const ABOUT: &'static str = "kinds of cases and settings";

    fn common(&self) -> Common<'_> {
        let Self { name, settings, expect, .. } = self;
        Common { name, settings: settings.as_ref(), max_fuel: expect.max_fuel, log: expect.log.as_deref() }
    }

    fn play(&self, component: &Arc<Component>, begin: &Begin, head: &HeadFile) -> Result<Played, String> {
        self.mistakes()?;
        let expect = &self.expect;
        let mut played = Played::default();
        let setup = begin.provider();
        let policy = ProviderPolicy::start(Arc::clone(component), setup.clone(), None);
        let Some(policy) = started(policy, expect.config_error.as_deref(), &mut played)? else { return Ok(played) };
        if expect.config_error.is_some() && self.is_empty() {
            return Ok(played);
        }
        let spoken = spoken(&policy).serving(None, begin.now);
        let (problems, found) = match (&self.request, &self.reply, &self.stream, &self.refusal) {
            (Some(request), None, None, None) => sent(expect, encode(&spoken, &setup.model, head, request)?),
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
        if expect.config_error.is_none() {
            played.problems.extend(problems);
        }
        played.end = match &found {
            Some(found) if self.refusal.is_none() && found.iter().any(|one| one.is("fault")) => "fault",
            _ if self.request.is_some() => "sent",
            _ if self.refusal.is_some() => "refusal",
            _ => "read",
        };
        played.touched = self.kinds().into_iter().map(|(kind, given)| (format!("`{kind}`"), given)).collect();
        played.found = found;
        played.fuel = policy.report().fuel.map_or(0, |(_, most)| most);
        played.log = policy.take_log();
        if let Some(said) = LogLine::last_warning(&played.log)
            && policy.faults() > 0
            && !played.problems.is_empty()
        {
            played.problems.push(format!("it failed; it said: {said}"));
        }
        Ok(played)
    }

    fn check(component: &Arc<Component>, begin: &Begin, report: &mut SuiteReport) {
        provider_checks::all(component, &begin.provider(), report);
    }
}

impl CaseFile {
    /// A case that would pass whatever came of it.
    fn mistakes(&self) -> Result<(), String> {
        let Self { request, reply, stream, refusal, expect, .. } = self;
        if self.is_empty() && expect.config_error.is_some() {
            return expect.only("config_error", &[]);
        }
        match (request, reply, stream, refusal) {
            (Some(_), None, None, None) => expect.only("request", &[SENT]),
            (None, Some(_), None, None) => expect.only("reply", &[READ]),
            (None, None, Some(_), None) => expect.only("stream", &[READ]),
            (None, None, None, Some(_)) => expect.only("refusal", &[]),
            _ => Err("it needs one of request, reply, stream, refusal".to_owned()),
        }
    }

    /// What a provider's cases may be, and whether this one is.
    const fn kinds(&self) -> [(&'static str, bool); 4] {
        [
            ("request", self.request.is_some()),
            ("reply", self.reply.is_some()),
            ("stream", self.stream.is_some()),
            ("refusal", self.refusal.is_some()),
        ]
    }

    const fn is_empty(&self) -> bool {
        self.request.is_none() && self.reply.is_none() && self.stream.is_none() && self.refusal.is_none()
    }
}

/// Keys of what is sent, of what is read, and of a fault.
const SENT: &str = "sent";
const READ: &str = "read";
const FAULT: &str = "fault";

impl ExpectFile {
    /// The keys that are given, each with what it tells of.
    fn given(&self) -> Vec<(&'static str, &'static str)> {
        let Self { path, headers, body, dropped, reply, fault, kind, code, param, config_error, max_fuel, log } = self;
        let own = [
            ("path", SENT, path.is_some()),
            ("headers", SENT, headers.is_some()),
            ("body", SENT, body.is_some()),
            ("dropped", SENT, dropped.is_some()),
            ("fault", FAULT, fault.is_some()),
            ("kind", FAULT, kind.is_some()),
            ("code", FAULT, code.is_some()),
            ("param", FAULT, param.is_some()),
            ("config_error", "config_error", config_error.is_some()),
            ("max_fuel", "", max_fuel.is_some()),
            ("log", "", log.is_some()),
        ];
        let own = own.into_iter().filter(|(.., given)| *given).map(|(key, of, _)| (key, of));
        own.chain(reply.given().map(|key| (key, READ))).collect()
    }

    /// Whether it expects something, of one end, and nothing else than can come of such a case.
    fn only(&self, case: &str, ends: &[&str]) -> Result<(), String> {
        let given = self.given();
        if given.is_empty() {
            return Err("`expect` is empty: any end would do".to_owned());
        }
        let is_fault = self.fault.is_some();
        for (key, of) in given {
            let why = match of {
                "" => continue,
                FAULT if !is_fault => "which goes with `fault`",
                READ | SENT if is_fault => "and `fault`, of which one alone can come",
                FAULT | READ | SENT | "config_error" if self.config_error.is_some() && of != "config_error" => {
                    "and `config_error`, of which one alone can come"
                }
                READ | SENT if !ends.contains(&of) => "which does not come of it",
                _ => continue,
            };
            return Err(format!("`expect` of a {case} has `{key}`, {why}"));
        }
        Ok(())
    }
}

/// What is not as expected; and what came, as a file would say it, where any file could.
type Judged = (Vec<String>, Option<Vec<Found>>);

/// The policy as deployments have it; how a key is carried is of no concern here.
pub(super) fn spoken(policy: &Arc<ProviderPolicy>) -> ComponentFormat {
    ComponentFormat::new(Arc::clone(policy), format::own().0)
}

fn encode(
    spoken: &ComponentFormat,
    model: &str,
    head: &HeadFile,
    request: &Value,
) -> Result<Result<Encoded, AttemptFault>, String> {
    let target = Target {
        api_version: head.api_version.as_deref(),
        ..Target::plain(model, &NO_QUIRKS, head.max_output_tokens.unwrap_or(MAX_OUTPUT_TOKENS))
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

/// A request that was written.
fn sent(expect: &ExpectFile, encoded: Result<Encoded, AttemptFault>) -> Judged {
    let encoded = match encoded {
        Ok(encoded) => encoded,
        Err(fault) => return faulted(expect, &fault),
    };
    let headers: BTreeMap<String, String> = encoded
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let body = match serde_json::from_slice::<Value>(&encoded.body) {
        Ok(body) => body,
        Err(error) => return (vec![format!("the body is no JSON: {error}")], None),
    };
    let mut problems = Vec::new();
    if expect.fault.is_some() {
        problems.push(format!("expected {}, and it was written", wanted(expect)));
    } else {
        if let Some(path) = expect.path.as_ref().filter(|path| **path != encoded.path) {
            problems.push(format!("expected the path `{path}`, got `{}`", encoded.path));
        }
        if let Some(wanted) = expect.headers.as_ref().filter(|wanted| **wanted != headers) {
            problems.push(format!("expected the headers {wanted:?}, got {headers:?}"));
        }
        if let Some(dropped) = expect.dropped.as_ref().filter(|dropped| **dropped != encoded.dropped) {
            problems.push(format!("expected dropped {dropped:?}, got {:?}", encoded.dropped));
        }
        if let Some(wanted) = expect.body.as_ref().filter(|wanted| **wanted != body) {
            problems.push(format!("expected the body {wanted}, got {body}"));
        }
    }
    let found = vec![
        Found::new("path", encoded.path.as_str(), expect.path.as_ref() == Some(&encoded.path)),
        Found::new("headers", json!(headers), expect.headers.as_ref() == Some(&headers)),
        Found::new("body", body.clone(), expect.body.as_ref() == Some(&body)),
        Found::new("dropped", json!(encoded.dropped), expect.dropped.as_ref() == Some(&encoded.dropped)),
    ];
    (problems, Some(found))
}

/// A reply that was read.
fn read_as(expect: &ExpectFile, read: Result<HeardReply, AttemptFault>) -> Judged {
    match read {
        Ok(heard) if expect.fault.is_some() => {
            (vec![format!("expected {}, and it was read", wanted(expect))], Some(expect.reply.found(&heard)))
        }
        Ok(heard) => (expect.reply.unmet(&heard), Some(expect.reply.found(&heard))),
        Err(fault) => faulted(expect, &fault),
    }
}

fn streamed(expect: &ExpectFile, spoken: &ComponentFormat, bytes: &[u8]) -> Judged {
    let whole = HeardReply::streamed(spoken, &[bytes]);
    // One that is meant to fail is quarantined soon.
    let other = if whole.is_ok() { HeardReply::other_cut(spoken, bytes, &whole) } else { None };
    let (mut problems, found) = read_as(expect, whole);
    let found = found.filter(|_| other.is_none());
    problems.extend(other);
    (problems, found)
}

fn faulted(expect: &ExpectFile, fault: &AttemptFault) -> Judged {
    let AttemptFault { kind, code, message, param, .. } = fault;
    let met = expect.fault.as_ref().is_some_and(|words| message.contains(words));
    let mut problems = Vec::new();
    if !met {
        problems.push(format!("expected {}, got the fault `{message}`", wanted(expect)));
    }
    let mut found = vec![Found::end("fault", message.as_str(), met)];
    let rest = [
        ("kind", &expect.kind, Some(kind.as_str())),
        ("code", &expect.code, code.as_deref()),
        ("param", &expect.param, param.as_deref()),
    ];
    for (name, wanted, got) in rest {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| Some(wanted.as_str()) != got) {
            problems.push(format!("expected the {name} `{wanted}`, got `{}`", got.unwrap_or("none")));
        }
        found.extend(got.map(|got| Found::new(name, got, wanted.as_deref() == Some(got))));
    }
    (problems, Some(found))
}

fn wanted(expect: &ExpectFile) -> String {
    expect.fault.as_ref().map_or_else(|| "no fault".to_owned(), |words| format!("a fault with `{words}`"))
}
