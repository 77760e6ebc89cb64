//! A request in Converse's words.
//!
//! What another dialect said and this one has no word for is dropped and reported; where leaving it out would change the
//! answer, the request is rejected instead.

mod thoughts;

use std::borrow::Cow;

use bytes::BytesMut;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::messages;
use crate::chat::{ChatRequest, OutputFormat, PartKind, Rest, Tool, ToolChoice};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::allowed;
use crate::format::call_id::{CallIds, IdRule};
use crate::format::in_path::in_path;
use crate::format::in_words;
use crate::format::plain_words;
use crate::format::prefill;
use crate::format::quirks::{Quirks, Want};
use crate::format::rest::Report;
use crate::format::sampling::{self, Sampled};
use crate::format::schemas;
use crate::format::tool_names::{self, NameRule};
use crate::format::write::{self, Object};
use crate::format::{Encoded, Target};

/// The provider's pattern for `toolUseId`.
const CALL_IDS: IdRule = IdRule::Word(64);

/// The provider's pattern for `toolSpec.name`.
const NAMES: NameRule = NameRule::SHORT;

/// Fields of Converse itself, which clients of other dialects write for this provider.
const KEPT: &[&str] = &[
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
];

/// How soon it is to be served, and the words for it that Converse knows.
const TIER: &str = "serviceTier";
const TIERS: [&str; 4] = ["default", "flex", "priority", "reserved"];

/// Whether a tool's schema must be followed exactly.
const STRICT: &str = "strict";

/// What one model takes and Converse has no word for.
const ADDITIONAL: &str = "additionalModelRequestFields";

/// What Anthropic tries out, by name: the header in which its clients say so, and where Claude reads it there.
const BETA: &str = "anthropic-beta";
const BETAS: &str = "anthropic_beta";

/// Writes a request.
///
/// # Errors
/// `Rejected` where the request asks for another provider's kind of tool or content, for several replies or for a picture that
/// would have to be fetched.
pub(super) fn request(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
    let mut report = Report::new(false).keeping(KEPT);
    if request.choices > 1 {
        return Err(unsupported("n", "a model gives one reply there; ask several times"));
    }
    if target.quirks.wants(Want::LastWord)
        && let Some(place) = prefill::beginning(&request.messages, true)
    {
        return Err(unsupported(format!("messages[{place}]"), prefill::REFUSED));
    }
    let said = plain_words::in_words(allowed::narrowed(request), |name| NAMES.sent(name));
    let narrowed = tool_names::taken(said, NAMES);
    let request = &*narrowed;
    let ids = CallIds::of(&request.messages, CALL_IDS);
    let mut body = BytesMut::with_capacity(1024 + write::size_hint(&request.messages));
    {
        let mut object = Object::open(&mut body);
        let asked = schemas::asked_for(request.output.as_ref(), target.quirks.schemas());
        let json = in_words::json(request.output.as_ref(), asked, false, &mut report);
        let said = prefill::trimmed(Cow::Borrowed(request.messages.as_slice()));
        messages::write(&said, json.as_deref(), &ids, target.quirks, &mut object, &mut report)?;
        let mut rest = request.rest.clone();
        let mut additional = match rest.shift_remove(ADDITIONAL) {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        service_tier(&mut rest, &mut report);
        betas(&mut rest, target.quirks, &mut additional);
        let sampled = thoughts::write(request, target.quirks, &mut rest, &mut additional, &mut report);
        let drawn = sampling::taken(&sampled, target.quirks.sampling(), &mut report);
        inference(request, &drawn, &mut object, &mut report);
        tools(request, target.quirks, &mut object, &mut report)?;
        if json.is_none() {
            output(request, &mut object, &mut report);
        }
        if let Some(top_k) = drawn.top_k {
            match target.quirks.field("top_k") {
                Some(name) => put(&mut additional, name, top_k.into()),
                None => report.lose("top_k"),
            }
        }
        if !additional.is_empty() {
            object.field(ADDITIONAL, &additional);
        }
        if request.user.is_some() {
            report.dropped.push("user".to_owned());
        }
        report.rest(&mut object, &rest, &String::new, &[]);
    }
    let method = if request.stream { "converse-stream" } else { "converse" };
    let path = format!("/model/{}/{method}", in_path(target.model, b"")?);
    Ok(Encoded { path, headers: HeaderMap::new(), body: body.freeze(), dropped: report.dropped, lost: report.lost })
}

/// `Rejected`, blaming `param`: this provider cannot do what it asks.
pub(super) fn unsupported(param: impl Into<String>, why: &str) -> AttemptFault {
    let param = param.into();
    let message = format!("`{param}`: this cannot be sent to Amazon Bedrock: {why}");
    AttemptFault { param: Some(param), ..AttemptFault::new(FaultKind::Rejected, message) }
}

/// Puts a field where its name says, with a dot behind each object around it. What a client wrote there stays.
fn put(fields: &mut Rest, name: &str, value: Value) {
    let Some((outer, inner)) = name.split_once('.') else {
        fields.entry(name).or_insert(value);
        return;
    };
    if let Value::Object(inside) = fields.entry(outer).or_insert_with(|| Value::Object(Map::new())) {
        put(inside, inner, value);
    }
}

/// How soon a reply is to be served is said in an object; OpenAI's clients write its word alone. Others' words are reported.
fn service_tier(rest: &mut Rest, report: &mut Report) {
    if rest.get(TIER).is_some_and(|tier| !tier.is_object())
        && rest.shift_remove(TIER).is_some_and(|tier| !tier.is_null())
    {
        report.dropped.push(TIER.to_owned());
    }
    let word = rest.get("service_tier").and_then(Value::as_str);
    let known = word.and_then(|word| TIERS.into_iter().find(|tier| *tier == word));
    if let Some(tier) = known
        && !rest.contains_key(TIER)
    {
        rest.shift_remove("service_tier");
        rest.insert(TIER.to_owned(), json!({"type": tier}));
    }
}

/// What a client unlocks at its own vendor goes to models that know it: they refuse whatever names something else. Unless that is all, the
/// header stays with the fields that nobody took, and is reported among them.
fn betas(rest: &mut Rest, quirks: &Quirks, additional: &mut Rest) {
    let Some(Value::String(asked)) = rest.get(BETA) else { return };
    let asked: Vec<&str> = asked.split(',').map(str::trim).filter(|beta| !beta.is_empty()).collect();
    let known: Vec<&str> = asked.iter().copied().filter(|beta| quirks.knows_beta(beta)).collect();
    let is_all = known.len() == asked.len();
    if !known.is_empty()
        && let Value::Array(sent) = additional.entry(BETAS).or_insert_with(|| Value::Array(Vec::new()))
    {
        for beta in known {
            if !sent.iter().any(|one| one == beta) {
                sent.push(beta.into());
            }
        }
    }
    if is_all {
        rest.shift_remove(BETA);
    }
}

fn inference(request: &ChatRequest, sampled: &Sampled, object: &mut Object<'_>, report: &mut Report) {
    // One without a visible sign is refused.
    let stop: Vec<&String> = request.stop.iter().filter(|text| !text.trim().is_empty()).collect();
    if stop.len() < request.stop.len() {
        report.dropped.push("stop".to_owned());
    }
    if request.max_tokens.is_none() && sampled.temperature.is_none() && sampled.top_p.is_none() && stop.is_empty() {
        return;
    }
    let mut config = object.object("inferenceConfig");
    config.optional("maxTokens", request.max_tokens);
    config.optional("temperature", sampled.temperature);
    config.optional("topP", sampled.top_p);
    if !stop.is_empty() {
        config.field("stopSequences", &stop);
    }
}

fn tools(
    request: &ChatRequest,
    quirks: &Quirks,
    object: &mut Object<'_>,
    report: &mut Report,
) -> Result<(), AttemptFault> {
    if request.tools.is_empty() {
        if has_calls(request) {
            called_tools(request, object);
        }
        return Ok(());
    }
    let choice = match &request.tool_choice {
        None => None,
        Some(ToolChoice::Auto) => Some(json!({"auto": {}})),
        Some(ToolChoice::Required | ToolChoice::Function(_)) if quirks.no_forced_calls() => {
            report.lose("tool_choice");
            Some(json!({"auto": {}}))
        }
        Some(ToolChoice::Required) => Some(json!({"any": {}})),
        Some(ToolChoice::Function(name)) => Some(json!({"tool": {"name": name}})),
        // Without tools none is called; a conversation that called some must go on to describe them.
        Some(ToolChoice::None) if !has_calls(request) => return Ok(()),
        Some(ToolChoice::None) => {
            return Err(unsupported("tool_choice", "after tools were called it has no word for `none`"));
        }
        Some(ToolChoice::Other(_)) => return Err(unsupported("tool_choice", "it is another provider's")),
    };
    let mut config = object.object("toolConfig");
    {
        let mut tools = config.array("tools");
        for (index, tool) in request.tools.iter().enumerate() {
            let Tool::Function { name, description, parameters, strict, rest } = tool else {
                if matches!(tool, Tool::Other(value) if plain_words::is_search(value)) {
                    report.dropped.push(format!("tools[{index}]"));
                    continue;
                }
                let kind = tool.runs_elsewhere().unwrap_or_default();
                return Err(unsupported(format!("tools[{index}]"), &format!("`{kind}` is another provider's tool")));
            };
            let held = strict.filter(|_| !quirks.refuses_of_messages(STRICT));
            if held.is_none() && *strict == Some(true) {
                report.dropped.push(format!("tools[{index}].{STRICT}"));
            }
            {
                let mut tool = tools.object();
                let mut spec = tool.object("toolSpec");
                spec.field("name", name);
                // It must be there and not be empty.
                let said = description.as_ref().filter(|text| !text.trim().is_empty());
                spec.field("description", said.unwrap_or(name));
                let mut taken = schema(parameters.as_ref());
                if held == Some(true) {
                    taken = schemas::for_claude(&taken);
                }
                spec.object("inputSchema").field("json", &taken);
                spec.optional(STRICT, held);
            }
            let points = quirks.cache_points().among_tools();
            messages::cache_point(rest, points, &mut tools, report, &|| format!("tools[{index}]"));
        }
    }
    config.optional("toolChoice", choice);
    Ok(())
}

/// Tools that a conversation called must be described where it goes on, too: by name, where the client no longer describes any.
fn called_tools(request: &ChatRequest, object: &mut Object<'_>) {
    let mut names: Vec<&str> = Vec::new();
    for part in request.messages.iter().flat_map(|message| &message.parts) {
        if let PartKind::ToolCall { name, .. } = &part.kind
            && !names.contains(&name.as_str())
        {
            names.push(name);
        }
    }
    // Results whose calls are not told.
    if names.is_empty() {
        names.push("unknown");
    }
    let mut config = object.object("toolConfig");
    let mut tools = config.array("tools");
    for name in names {
        tools.item(&json!({"toolSpec": {"name": name, "description": name, "inputSchema": {"json": schema(None)}}}));
    }
}

/// A tool's schema must be there and say that it is of an object.
fn schema(parameters: Option<&Value>) -> Value {
    match parameters {
        Some(Value::Object(map)) => Value::Object(schemas::of_parameters(map).unwrap_or_else(|| map.clone())),
        _ => json!({"type": "object", "properties": {}}),
    }
}

fn has_calls(request: &ChatRequest) -> bool {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    parts.into_iter().any(|part| matches!(part.kind, PartKind::ToolCall { .. } | PartKind::ToolResult { .. }))
}

fn output(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    match &request.output {
        // Any JSON is asked for in words.
        None | Some(OutputFormat::Text | OutputFormat::JsonObject) => {}
        Some(OutputFormat::JsonSchema { name, description, schema, strict }) => {
            if *strict == Some(false) {
                report.dropped.push("response_format.json_schema.strict".to_owned());
            }
            let mut config = object.object("outputConfig");
            let mut format = config.object("textFormat");
            format.field("type", "json_schema");
            let mut structure = format.object("structure");
            let mut inner = structure.object("jsonSchema");
            // The schema is a text there.
            inner.field("schema", &schemas::for_claude(schema).to_string());
            inner.optional("name", name.as_ref());
            inner.optional("description", description.as_ref());
        }
    }
}
