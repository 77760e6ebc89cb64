//! A request in OpenAI's words.
//!
//! What another dialect said and this one has no word for is dropped and reported; where leaving it out
//! would change the answer, the request is rejected instead. A stream always asks for usage: what is
//! billed must be known, whether or not the client wants to see it.

use std::borrow::Cow;

use bytes::BytesMut;
use serde_json::Value;

use super::{effort, history};
use crate::chat::{ChatRequest, OutputFormat, Rest, Tool, ToolChoice};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::allowed;
use crate::format::call_id::CallIds;
use crate::format::end_user::UserRule;
use crate::format::in_words;
use crate::format::openai::{BETA, DIALECT};
use crate::format::plain_words;
use crate::format::quirks::{Sampling, Schemas, Want};
use crate::format::rest::{Report, kept_header, nested};
use crate::format::sampling;
use crate::format::schemas;
use crate::format::tool_names::{self, NameRule};
use crate::format::write::{self, Array, Object};
use crate::format::{Encoded, Target};

/// Fields that other APIs' requests have under these names.
const KEPT: [&str; 5] = ["seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"];

/// The longest names of end users that are taken, in `user` and in the field that is to stand for it.
const USERS: UserRule = UserRule::Longest(64);
const IDENTIFIERS: UserRule = UserRule::Longest(128);
const IDENTIFIER: &str = "safety_identifier";

/// Writes a request.
///
/// # Errors
/// `Rejected` where the request asks for another provider's kind of tool or content.
pub(super) fn request(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
    let same_dialect = request.dialect == DIALECT;
    let mut report = Report::new(same_dialect).with_quirks(target.quirks).keeping(&KEPT);
    let told = tools_as_taken(request, target);
    let request = &*told;
    let mut body = BytesMut::with_capacity(1024 + write::size_hint(&request.messages));
    {
        let mut object = Object::open(&mut body);
        object.field("model", target.model);
        let ids = CallIds::of(&request.messages, target.quirks.call_ids());
        let schema = in_words::json(request.output.as_ref(), schemas_known(request, target), true, &mut report);
        history::messages(schema.as_deref(), request, &ids, &mut object, &mut report)?;
        tools(request, &mut object, &mut report)?;
        bounds(request, &mut object, &mut report);
        match schema {
            // The schema is in words; that it is a JSON object at all has a field.
            Some(_) if !schemas::is_of_object(request.output.as_ref()) => {}
            Some(_) => object.object("response_format").field("type", "json_object"),
            None => output(request, &mut object, &report),
        }
        effort::write(request, &mut object, &mut report);
        end_user(request, &mut object, &mut report);
        stream(request, target, &mut object, &mut report);
        others(request, &mut object, &mut report);
    }
    Ok(Encoded {
        path: "/chat/completions".to_owned(),
        headers: kept_header(BETA, &request.rest, same_dialect),
        body: body.freeze(),
        dropped: report.dropped,
        lost: report.lost,
    })
}

/// `Rejected`, blaming `path`: this dialect has no word for `what`.
pub(super) fn unsupported(path: &str, what: &str) -> AttemptFault {
    let mut fault = AttemptFault::new(
        FaultKind::Rejected,
        format!("`{path}`: {what} cannot be sent to a provider that speaks OpenAI's chat completions"),
    );
    fault.param = Some(path.to_owned());
    fault
}

/// How a reply of the wanted shape is asked for, through whichever of this vendor's APIs: the shape is an object's there, which clients of
/// others need not know.
pub(super) fn schemas_known(request: &ChatRequest, target: &Target<'_>) -> Schemas {
    let known = target.quirks.schemas();
    if request.dialect == DIALECT { known } else { schemas::of_objects(request.output.as_ref(), known) }
}

/// The `type` of a value kept whole, for a message.
pub(super) fn type_of(value: &Value) -> String {
    value.get("type").and_then(Value::as_str).map_or_else(|| "this".to_owned(), |kind| format!("`{kind}`"))
}

/// The request with its tools as this vendor takes them, through whichever of its APIs: a choice among some of them where it knows such, and
/// names that it allows.
pub(super) fn tools_as_taken<'r>(request: &'r ChatRequest, target: &Target<'_>) -> Cow<'r, ChatRequest> {
    let same_dialect = request.dialect == DIALECT;
    let knows_choice = same_dialect && !target.quirks.wants(Want::AllowedTools);
    let narrowed = if knows_choice { Cow::Borrowed(request) } else { allowed::narrowed(request) };
    // Who speaks this dialect, and is not known to refuse any, may take names that the vendor does not.
    let rule = if same_dialect && !target.quirks.checks_names() { NameRule::Any } else { NameRule::SHORT };
    let said = if same_dialect { narrowed } else { plain_words::in_words(narrowed, |name| rule.sent(name)) };
    tool_names::taken(said, rule)
}

/// The end user's name, through whichever of this vendor's APIs: it refuses one that is longer than it takes, as Anthropic's clients write.
pub(super) fn end_user(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    let Some(user) = &request.user else { return };
    let sent = if report.quirks.checks_names() { USERS } else { UserRule::Any }.sent(user);
    let is_told = report.quirks.field("user").is_some() && matches!(sent, Cow::Owned(_));
    report.field(object, "user", &*sent);
    report.dropped.extend(is_told.then(|| "user".to_owned()));
}

/// Whether the client speaks the newer API of the same vendor: its replies repeat what was asked.
pub(super) fn speaks_responses(request: &ChatRequest) -> bool {
    request.echo.contains_key("reasoning")
}

fn tools(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) -> Result<(), AttemptFault> {
    // Clients of the newer API write tools that no chat has.
    let own = report.same_dialect && !speaks_responses(request);
    if !request.tools.is_empty() {
        let mut array = object.array("tools");
        for (index, tool) in request.tools.iter().enumerate() {
            one_tool(tool, index, own, &mut array, report)?;
        }
    }
    // Here nothing may be said of how tools are called where there are none, and elsewhere it may.
    let is_written = |tool: &Tool| !matches!(tool, Tool::Other(value) if !own && plain_words::is_search(value));
    let is_bare = !own && !request.tools.iter().any(is_written);
    match &request.tool_choice {
        None => {}
        Some(ToolChoice::Auto | ToolChoice::None) if is_bare => {}
        Some(ToolChoice::Required | ToolChoice::Function(_)) if is_bare => {
            report.dropped.push("tool_choice".to_owned());
        }
        Some(ToolChoice::Auto) => object.field("tool_choice", "auto"),
        Some(ToolChoice::None) => object.field("tool_choice", "none"),
        Some(ToolChoice::Required) => object.field("tool_choice", "required"),
        Some(ToolChoice::Function(name)) => {
            let mut choice = object.object("tool_choice");
            choice.field("type", "function");
            choice.object("function").field("name", name);
        }
        Some(ToolChoice::Other(value)) if own || (report.same_dialect && allowed::is_choice(value)) => {
            object.field("tool_choice", value);
        }
        Some(ToolChoice::Other(value)) => return Err(unsupported("tool_choice", &type_of(value))),
    }
    report.optional(object, "parallel_tool_calls", request.parallel_tool_calls.filter(|_| !is_bare));
    Ok(())
}

fn one_tool(
    tool: &Tool,
    index: usize,
    own: bool,
    array: &mut Array<'_>,
    report: &mut Report,
) -> Result<(), AttemptFault> {
    match tool {
        Tool::Function { name, description, parameters, strict, rest } => {
            let mut object = array.object();
            object.field("type", "function");
            {
                let mut function = object.object("function");
                function.field("name", name);
                function.optional("description", description.as_ref());
                // Its own clients are told by the provider what it does not take.
                let whole = parameters.as_ref().filter(|_| !report.same_dialect).map(schemas::with_properties);
                function.optional("parameters", whole.as_deref().or(parameters.as_ref()));
                if parameters.is_none() && report.quirks.wants(Want::Parameters) {
                    let mut empty = function.object("parameters");
                    empty.field("type", "object");
                    drop(empty.object("properties"));
                }
                function.optional("strict", strict_here(*strict, parameters.as_ref(), report));
                if let Some(left) = report.left(rest, "function") {
                    function.rest(left, &[]);
                }
            }
            report.rest_kept(&mut object, rest, &|| format!("tools[{index}]"), &["function"]);
        }
        Tool::Other(value) if own => array.item(value),
        Tool::Other(value) if plain_words::is_search(value) => report.dropped.push(format!("tools[{index}]")),
        Tool::Other(value) => return Err(unsupported(&format!("tools[{index}]"), &type_of(value))),
    }
    Ok(())
}

/// Whether a schema is to be followed exactly: another dialect means less by it, and this one refuses a schema that leaves
/// anything open.
pub(super) fn strict_here(strict: Option<bool>, schema: Option<&Value>, report: &Report) -> Option<bool> {
    let kept = |strict: &bool| !strict || report.same_dialect || schema.is_some_and(schemas::is_strict);
    strict.filter(kept)
}

fn bounds(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    if let Some(bound) = request.max_tokens {
        // The older spelling goes back to those who use it: many that imitate OpenAI know no other.
        let older = report.same_dialect && request.rest.contains_key("max_tokens");
        report.field(object, if older { "max_tokens" } else { "max_completion_tokens" }, &bound);
    }
    report.optional(object, "n", Some(request.choices).filter(|&choices| choices > 1));
    let drawn = sampling::taken(request, report.quirks.sampling(), report);
    report.optional(object, "temperature", drawn.temperature);
    report.optional(object, "top_p", drawn.top_p);
    if let Some(top_k) = drawn.top_k {
        // No field of OpenAI's own, but of most that imitate it.
        match report.quirks.field("top_k") {
            Some(name) => object.field(name, &top_k),
            None => report.lose("top_k"),
        }
    }
    if !request.stop.is_empty() {
        match report.quirks.field("stop") {
            Some(name) => object.field(name, &request.stop),
            None => report.lose("stop"),
        }
    }
}

fn output(request: &ChatRequest, object: &mut Object<'_>, report: &Report) {
    let left = report.left(&request.rest, "response_format");
    let Some(output) = &request.output else {
        if let Some(left) = left {
            object.field("response_format", left);
        }
        return;
    };
    let mut format = object.object("response_format");
    match output {
        OutputFormat::Text => format.field("type", "text"),
        OutputFormat::JsonObject => format.field("type", "json_object"),
        OutputFormat::JsonSchema { name, description, schema, strict } => {
            format.field("type", "json_schema");
            let mut inner = format.object("json_schema");
            inner.field("name", name.as_deref().unwrap_or("output"));
            inner.optional("description", description.as_ref());
            inner.field("schema", schema);
            inner.optional("strict", strict_here(*strict, Some(schema), report));
            if let Some(left) = left.and_then(|left| nested(left, "json_schema")) {
                inner.rest(left, &[]);
            }
        }
    }
    if let Some(left) = left {
        format.rest(left, &["json_schema"]);
    }
}

fn stream(request: &ChatRequest, target: &Target<'_>, object: &mut Object<'_>, report: &mut Report) {
    if !request.stream {
        return;
    }
    object.field("stream", &true);
    let left = report.left(&request.rest, "stream_options");
    // Usage is our own wish: a provider that refuses the field tells it unasked, or has it estimated.
    if let Some(name) = report.quirks.field("stream_options").filter(|_| !target.bare_stream) {
        let mut options = object.object(name);
        options.field("include_usage", &true);
        if let Some(left) = left {
            options.rest(left, &[]);
        }
    } else if left.is_some_and(|left| !left.is_empty()) {
        report.dropped.push("stream_options".to_owned());
    }
}

/// Whether what is said of a request is kept with it: it is to be stored, and is sixteen texts at most.
fn is_kept(metadata: &Value, rest: &Rest, report: &Report) -> bool {
    const MOST: usize = 16;
    let is_stored = rest.get("store").and_then(Value::as_bool) == Some(true) && report.quirks.field("store").is_some();
    let texts = metadata.as_object().filter(|fields| fields.len() <= MOST && fields.values().all(Value::is_string));
    is_stored && texts.is_some()
}

/// A name of who asks that is too long, in the field that is to stand for `user`, as its digest.
pub(super) fn shorten_identifier(rest: &mut Cow<'_, Rest>, report: &mut Report) {
    let told = rest.get(IDENTIFIER).and_then(Value::as_str).filter(|_| report.quirks.checks_names());
    let sent = told.map(|told| IDENTIFIERS.sent(told));
    if let Some(Cow::Owned(sent)) = sent
        && report.same_dialect
        && report.quirks.field(IDENTIFIER).is_some()
    {
        rest.to_mut().insert(IDENTIFIER.to_owned(), sent.into());
        report.dropped.push(IDENTIFIER.to_owned());
    }
}

/// The unknown fields that are not written together with known ones.
fn others(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    const WOVEN: [&str; 5] = ["max_tokens", "stream_options", "response_format", effort::THINKING, BETA];
    let mut rest = Cow::Borrowed(&request.rest);
    // A model whose sampling is fixed tells of none.
    if sampling::beside(report.quirks.sampling(), request.reasoning.as_ref()) == Sampling::Fixed {
        for name in ["logprobs", "top_logprobs"] {
            if rest.get(name).is_some_and(|value| !value.is_null()) {
                rest.to_mut().shift_remove(name);
                report.dropped.push(name.to_owned());
            }
        }
    }
    // Clients of gateways tell those of a request by it: the vendor refuses it but for what it is to keep, and but for a few texts.
    let metadata = rest.get("metadata").filter(|metadata| report.same_dialect && !metadata.is_null());
    if metadata.is_some_and(|metadata| !is_kept(metadata, &rest, report)) {
        rest.to_mut().shift_remove("metadata");
        report.dropped.push("metadata".to_owned());
    }
    shorten_identifier(&mut rest, report);
    let taken = if report.same_dialect { report.quirks.fields(&rest, &WOVEN, &mut report.dropped) } else { None };
    match taken {
        Some(taken) => object.rest(&taken, &[]),
        // A mark on the request itself is one behind all of it.
        None if report.keeps_of(&rest) => report.rest_kept(object, &rest, &String::new, &WOVEN),
        None => report.rest(object, &rest, &String::new, &WOVEN),
    }
}
