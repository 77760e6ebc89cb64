//! A request in Anthropic's words.
//!
//! What another dialect said and this one has no word for is dropped and reported; where leaving it out
//! would change the answer, the request is rejected instead.

mod wanted;

use std::borrow::Cow;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use self::wanted::Wanted;
use super::{betas, blocks, history, is_legacy, version};
use crate::chat::{ChatRequest, Message, OutputFormat, Part, PartKind, Rest, Role, Tool, ToolChoice};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::allowed;
use crate::format::anthropic::{BETA, DIALECT};
use crate::format::call_id::{CallIds, IdRule};
use crate::format::end_user::UserRule;
use crate::format::in_words;
use crate::format::prefill;
use crate::format::quirks::{Sampling, Want};
use crate::format::rest::{Report, kept_header, nested};
use crate::format::sampling;
use crate::format::schemas;
use crate::format::thinking;
use crate::format::tool_names::{self, NameRule};
use crate::format::write::{self, Object};
use crate::format::{Encoded, Target};

/// The provider's pattern for `tool_use.id`.
const CALL_IDS: IdRule = IdRule::Word(usize::MAX);

/// The provider's pattern for `tools[].name`.
const NAMES: NameRule = NameRule::LONG;

/// Which end users' names are taken by the provider, and by whoever imitates it.
const USERS: UserRule = UserRule::Opaque(255);

/// Where a request goes.
pub(super) enum At {
    /// To the provider itself: the model is in the body, the version in a header.
    Own,
    /// To a cloud: the model is in the path, the version in the body. It fetches nothing.
    Cloud { path: String, version: &'static str },
}

/// Writes a request.
///
/// # Errors
/// `Rejected` where the request asks for another provider's kind of tool or content, for several replies or for what would have to be
/// fetched where nothing is; `Misconfigured` where the version cannot be a header.
pub(super) fn request(request: &ChatRequest, target: &Target<'_>, at: At) -> Result<Encoded, AttemptFault> {
    let version = version(target.api_version);
    let mut report = Report::new(request.dialect == DIALECT).with_quirks(target.quirks).keeping(blocks::KEPT);
    let headers = headers(request, version, &at, &mut report)?;
    let taken = tool_names::taken(allowed::narrowed(request), NAMES);
    let request = &*taken;
    possible(request, &at, &report)?;
    let mut body = BytesMut::with_capacity(1024 + write::size_hint(&request.messages));
    {
        let mut object = Object::open(&mut body);
        match at {
            At::Own => object.field("model", target.model),
            At::Cloud { version, .. } => object.field("anthropic_version", version),
        }
        let bound = request.max_tokens.unwrap_or(target.default_max_tokens);
        object.field("max_tokens", &bound);
        let wanted = Wanted::of(request, bound, &mut report);
        let thinks = wanted.foreign && wanted.thinks();
        let messages = CallIds::of(&request.messages, CALL_IDS).applied(&request.messages);
        let messages = if report.same_dialect { messages } else { prefill::trimmed(messages) };
        // Its own clients' schemas are theirs.
        let foreign = request.output.as_ref().filter(|_| !report.same_dialect);
        let json = in_words::json(foreign, schemas::asked_for(foreign, target.quirks.schemas()), false, &mut report);
        let in_field = json.is_none().then_some(request.output.as_ref()).flatten();
        let json = json.map(|words| Part::from(PartKind::Text(words.into_owned())));
        history::conversation(&messages, json.as_ref(), &mut object, &mut report);
        tools(request, &mut object, &mut report);
        tool_choice(request, &mut object, &mut report);
        let sampled = if thinks { thinking::sampled(request, &mut report) } else { Cow::Borrowed(request) };
        sampling(&sampled, is_legacy(version), &mut object, &mut report);
        wanted.write(&mut object);
        output(request, in_field, &wanted, &mut object, &mut report);
        metadata(request, &mut object, &mut report);
        stop(&request.stop, &mut object, &mut report);
        object.optional("stream", request.stream.then_some(true));
        others(request, wanted.left_out, &mut object, &mut report);
    }
    let path = match at {
        At::Own => "/v1/messages".to_owned(),
        At::Cloud { path, .. } => path,
    };
    Ok(Encoded { path, headers, body: body.freeze(), dropped: report.dropped, lost: report.lost })
}

/// The version, where it is none of the body's, and what a client unlocks, as far as it is known there.
fn headers(request: &ChatRequest, version: &str, at: &At, report: &mut Report) -> Result<HeaderMap, AttemptFault> {
    let mut headers = kept_header(BETA, &request.rest, report.same_dialect);
    match at {
        At::Own => {
            let value = HeaderValue::from_str(version).map_err(|_| {
                AttemptFault::new(FaultKind::Misconfigured, "the deployment's `api_version` cannot be sent as a header")
            })?;
            headers.insert(HeaderName::from_static("anthropic-version"), value);
        }
        At::Cloud { .. } => {
            if let Some(all) = headers.remove(BETA).as_ref().and_then(|all| all.to_str().ok()) {
                let (known, is_all) = betas::known(all);
                let known = HeaderValue::from_str(&known).ok().filter(|known| !known.is_empty());
                headers.extend(known.map(|known| (HeaderName::from_static(BETA), known)));
                report.dropped.extend((!is_all).then(|| BETA.to_owned()));
            }
        }
    }
    Ok(headers)
}

/// `Rejected`, blaming `param`: this dialect cannot do what it asks.
fn unsupported(param: impl Into<String>, why: &str) -> AttemptFault {
    let param = param.into();
    let mut fault = AttemptFault::new(FaultKind::Rejected, format!("`{param}`: {why}"));
    fault.param = Some(param);
    fault
}

/// Refuses what cannot be said here and may not be left out.
fn possible(request: &ChatRequest, at: &At, report: &Report) -> Result<(), AttemptFault> {
    if request.choices > 1 {
        return Err(unsupported("n", "a provider that speaks Anthropic's messages gives one reply; ask several times"));
    }
    if report.quirks.wants(Want::LastWord)
        && let Some(place) = prefill::beginning(&request.messages, !report.same_dialect)
    {
        return Err(unsupported(format!("messages[{place}]"), prefill::REFUSED));
    }
    if matches!(at, At::Cloud { .. })
        && let Some(path) = place(&request.messages, |_, part| blocks::is_fetched(part))
    {
        let why = "the cloud fetches no pictures and no documents, and neither does the gateway; send the data itself";
        return Err(unsupported(path, why));
    }
    if report.same_dialect {
        return Ok(());
    }
    let why = "this cannot be sent to a provider that speaks Anthropic's messages";
    if matches!(request.tool_choice, Some(ToolChoice::Other(_))) {
        return Err(unsupported("tool_choice", why));
    }
    let own = request.tools.iter().enumerate().find_map(|(index, tool)| Some((index, tool.runs_elsewhere()?)));
    if let Some((index, kind)) = own {
        let why = format!("`{kind}` is another provider's tool; {why}");
        return Err(unsupported(format!("tools[{index}]"), &why));
    }
    // What the model said itself may be left out; what it is asked about may not.
    let asked = |message: &Message, part: &Part| message.role != Role::Assistant && is_foreign(part, report);
    place(&request.messages, asked).map_or(Ok(()), |path| Err(unsupported(path, why)))
}

/// Where the first part stands that is so.
fn place(messages: &[Message], is: impl Fn(&Message, &Part) -> bool) -> Option<String> {
    messages.iter().enumerate().find_map(|(index, message)| {
        let part = message.parts.iter().position(|part| is(message, part))?;
        Some(format!("messages[{index}].content[{part}]"))
    })
}

/// Whether a part of another dialect has no words here.
fn is_foreign(part: &Part, report: &Report) -> bool {
    match &part.kind {
        PartKind::Other(_) => !blocks::has_word(part, report),
        PartKind::ToolResult { content, .. } => content.iter().any(|part| is_foreign(part, report)),
        _ => false,
    }
}

fn tools(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    if request.tools.is_empty() {
        return;
    }
    let mut array = object.array("tools");
    for (index, tool) in request.tools.iter().enumerate() {
        match tool {
            Tool::Other(value) => array.item(value),
            Tool::Function { name, description, parameters, strict, rest } => {
                let mut object = array.object();
                object.field("name", name);
                object.optional("description", description.as_ref());
                // Its own clients' schemas are theirs.
                let held = *strict == Some(true) && !report.same_dialect;
                let fitting = parameters.as_ref().filter(|_| held).map(schemas::for_claude);
                schema(fitting.as_ref().or(parameters.as_ref()), &mut object);
                object.optional("strict", *strict);
                report.rest(&mut object, rest, &|| format!("tools[{index}]"), &[]);
            }
        }
    }
}

/// A tool's schema must be there and say that it is of an object; other dialects let both go without saying.
fn schema(parameters: Option<&Value>, object: &mut Object<'_>) {
    match parameters {
        Some(Value::Object(written)) => {
            object.field("input_schema", schemas::of_parameters(written).as_ref().unwrap_or(written));
        }
        Some(other) => object.field("input_schema", other),
        None => {
            let mut schema = object.object("input_schema");
            schema.field("type", "object");
            drop(schema.object("properties"));
        }
    }
}

fn tool_choice(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    let (kind, name) = match &request.tool_choice {
        // The provider refuses a choice among no tools; other dialects let it pass where it says nothing.
        Some(ToolChoice::Auto | ToolChoice::None) | None if request.tools.is_empty() && !report.same_dialect => return,
        None if request.parallel_tool_calls != Some(false) => return,
        None | Some(ToolChoice::Auto) => ("auto", None),
        Some(ToolChoice::Required | ToolChoice::Function(_)) if report.quirks.no_forced_calls() => {
            report.lose("tool_choice");
            ("auto", None)
        }
        Some(ToolChoice::Required) => ("any", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Function(name)) => ("tool", Some(name)),
        Some(ToolChoice::Other(value)) => return object.field("tool_choice", value),
    };
    let mut choice = object.object("tool_choice");
    choice.field("type", kind);
    choice.optional("name", name);
    if kind != "none" {
        choice.optional("disable_parallel_tool_use", request.parallel_tool_calls.map(|parallel| !parallel));
    }
}

/// Sampling is known up to the version before the current one, and temperature ends at 1 there.
fn sampling(request: &ChatRequest, legacy: bool, object: &mut Object<'_>, report: &mut Report) {
    let kind = if legacy { Sampling::One } else { Sampling::Fixed };
    let sampled = sampling::taken(request, kind, report);
    object.optional("temperature", sampled.temperature);
    object.optional("top_p", sampled.top_p);
    object.optional("top_k", sampled.top_k);
}

/// Texts that end the reply. One without a visible sign is refused; its own clients are told so by the provider.
fn stop(texts: &[String], object: &mut Object<'_>, report: &mut Report) {
    let taken = |text: &&String| report.same_dialect || !text.trim().is_empty();
    let kept: Vec<&String> = texts.iter().filter(taken).collect();
    if !kept.is_empty() {
        object.field("stop_sequences", &kept);
    }
    if kept.len() < texts.len() {
        report.dropped.push("stop".to_owned());
    }
}

/// Writes `output_config`: effort and format.
fn output(
    request: &ChatRequest,
    wished: Option<&OutputFormat>,
    wanted: &Wanted<'_>,
    object: &mut Object<'_>,
    report: &mut Report,
) {
    // What its own clients wrote to turn thinking off stands in `thinking`.
    let off = request.rest.get("thinking").is_some_and(thinking::is_off);
    let effort = match wanted.effort {
        Some("none") if off || !report.same_dialect => None,
        Some("minimal") if !report.same_dialect => Some("low"),
        other => other,
    };
    let schema = match wished {
        Some(OutputFormat::JsonSchema { description, schema, strict, .. }) => {
            if description.is_some() {
                report.dropped.push("response_format.json_schema.description".to_owned());
            }
            if *strict == Some(false) {
                report.dropped.push("response_format.json_schema.strict".to_owned());
            }
            Some(schema)
        }
        _ => None,
    };
    let left = nested(&request.rest, "output_config").filter(|_| report.same_dialect);
    if effort.is_none() && schema.is_none() && left.is_none() {
        return;
    }
    let mut config = object.object("output_config");
    config.optional("effort", effort);
    if let Some(schema) = schema {
        let mut format = config.object("format");
        format.field("type", "json_schema");
        if report.same_dialect {
            format.field("schema", schema);
        } else {
            format.field("schema", &schemas::for_claude(schema));
        }
    }
    if let Some(left) = left {
        config.rest(left, &[]);
    }
}

/// Writes the end user's name, which is all that is taken there: what clients of gateways tell those beside it is reported. Its own clients
/// know which names it takes.
fn metadata(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    let left = nested(&request.rest, "metadata").filter(|_| report.same_dialect);
    let told = left.into_iter().flatten().filter(|(_, value)| !value.is_null());
    report.dropped.extend(told.map(|(name, _)| format!("metadata.{name}")));
    let Some(user) = &request.user else { return };
    let rule = if report.same_dialect { UserRule::Any } else { USERS };
    let sent = rule.sent(user);
    object.object("metadata").field("user_id", &*sent);
    report.dropped.extend(matches!(sent, Cow::Owned(_)).then(|| "user".to_owned()));
}

/// The unknown fields that are not written together with known ones; `unthinking` where the model is not told to think after all.
fn others(request: &ChatRequest, unthinking: bool, object: &mut Object<'_>, report: &mut Report) {
    const WOVEN: [&str; 4] = ["thinking", "output_config", "metadata", BETA];
    let woven: &[&str] = if report.same_dialect { &WOVEN } else { &WOVEN[..1] };
    if report.same_dialect {
        let rest = if unthinking { without_thoughts(&request.rest, report) } else { Cow::Borrowed(&request.rest) };
        return object.rest(&rest, woven);
    }
    let mut rest = request.rest.clone();
    rest.retain(|name, _| !woven.contains(&name.as_str()));
    report.rest(object, &rest, &String::new, &[]);
}

/// The fields without edits of earlier thoughts, which are refused where the model is not told to think.
fn without_thoughts<'r>(rest: &'r Rest, report: &mut Report) -> Cow<'r, Rest> {
    const MANAGED: &str = "context_management";
    let is_of_thoughts =
        |edit: &Value| edit.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("clear_thinking"));
    let edits = nested(rest, MANAGED).and_then(|managed| managed.get("edits")).and_then(Value::as_array);
    if !edits.is_some_and(|edits| edits.iter().any(is_of_thoughts)) {
        return Cow::Borrowed(rest);
    }
    report.dropped.push(format!("{MANAGED}.edits"));
    let mut left = rest.clone();
    let edits = left.get_mut(MANAGED).and_then(|managed| managed.get_mut("edits"));
    if let Some(edits) = edits.and_then(Value::as_array_mut) {
        edits.retain(|edit| !is_of_thoughts(edit));
    }
    Cow::Owned(left)
}
