//! A request in Gemini's words.
//!
//! What another dialect said and this one has no word for is dropped and reported; where leaving it out would change the
//! answer, the request is rejected instead.

use std::borrow::Cow;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::calls::ID;
use super::client::parse;
use super::contents;
use crate::chat::{ChatRequest, OutputFormat, Rest, Tool, ToolChoice};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::allowed;
use crate::format::gemini::DIALECT;
use crate::format::in_path::in_path;
use crate::format::in_words;
use crate::format::plain_words;
use crate::format::quirks::{Level, Schemas, Thinking};
use crate::format::read::Path;
use crate::format::rest::{Report, nested};
use crate::format::schemas;
use crate::format::tool_names::{self, NameRule};
use crate::format::write::{self, Object};
use crate::format::{Encoded, Target};

/// The provider's rule for names of functions.
const NAMES: NameRule = NameRule::DOTTED;

/// Fields of other dialects that mean the same here: how they are spelled there, and here.
pub(super) const SAME: [(&str, &str); 3] =
    [("seed", "seed"), ("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")];

/// How much to think, in the settings, and the fields of that.
pub(super) const THINKING: &str = "thinkingConfig";
pub(super) const BUDGET: &str = "thinkingBudget";
pub(super) const LEVEL: &str = "thinkingLevel";
pub(super) const SHOWN: &str = "includeThoughts";

/// What a client of this dialect wrote itself, beside what was read of it: the reply's shape among its settings, and which
/// tools are called.
pub(super) const MIME: &str = "responseMimeType";
pub(super) const SCHEMA: &str = "responseSchema";
pub(super) const TOOL_CONFIG: &str = "toolConfig";

/// How soon it is to be served, in OpenAI's name for it and here.
pub(super) const TIER: &str = "service_tier";
pub(super) const SERVICE_TIER: &str = "serviceTier";

/// Where Google's cloud reads that: of the body's word it takes none.
const SHARED: &str = "x-vertex-ai-llm-shared-request-type";

/// What is left of a client's settings of this dialect, in `rest`.
const OWN: &str = "generationConfig";

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// To the API of that name.
    Own,
    /// To Google's cloud: how soon it is to be served stands in a header, and calls have no ids.
    Cloud,
}

/// Writes a request.
///
/// # Errors
/// `Rejected` where the request asks for another provider's kind of tool or content.
pub(super) fn request(request: &ChatRequest, target: &Target<'_>, at: At) -> Result<Encoded, AttemptFault> {
    let mut report = Report::new(request.dialect == DIALECT).with_quirks(target.quirks);
    // It holds names as the client wrote them.
    let may_be_written = report.same_dialect && !tool_names::is_refused(request, NAMES);
    let config = tool_config(request).filter(|_| may_be_written);
    let narrowed = if config.is_some() { Cow::Borrowed(request) } else { allowed::narrowed(request) };
    let said = if report.same_dialect { narrowed } else { plain_words::in_words(narrowed, |name| NAMES.sent(name)) };
    let taken = tool_names::taken(said, NAMES);
    let request = &*taken;
    let mut body = BytesMut::with_capacity(1024 + write::size_hint(&request.messages));
    let mut headers = HeaderMap::new();
    {
        let mut object = Object::open(&mut body);
        let words = shape_in_words(request, &mut report);
        // Older models refuse ids; at the cloud it is not known of any that it takes them. Results stand in the order of their calls.
        let ids = report.same_dialect && at == At::Own && !report.quirks.refuses_of_messages(ID);
        contents::write(&request.messages, words.as_deref(), ids, &mut object, &mut report)?;
        tools(request, &mut object, &mut report)?;
        match config {
            Some(config) => object.field(TOOL_CONFIG, config),
            None => tool_choice(request, &mut object)?,
        }
        generation(request, words.is_none(), &mut object, &mut report);
        let tier = tier(&request.rest);
        match (at, tier) {
            (At::Own, tier) => object.optional(SERVICE_TIER, tier),
            // The usual way is what goes without saying.
            (At::Cloud, Some(word @ ("flex" | "priority"))) => {
                headers.insert(HeaderName::from_static(SHARED), HeaderValue::from_static(word));
            }
            (At::Cloud, _) => {}
        }
        if report.same_dialect {
            let spelled = SAME.map(|(name, _)| name);
            let told = if tier.is_some() { TIER } else { OWN };
            let without = [&spelled[..], &[OWN, TOOL_CONFIG, "logprobs", "top_logprobs", told]].concat();
            object.rest(&request.rest, &without);
        }
    }
    let method = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let path = path_of(target.model, method)?;
    Ok(Encoded { path, headers, body: body.freeze(), dropped: report.dropped, lost: report.lost })
}

/// Where a method of a model is called.
///
/// # Errors
/// `Rejected` where `model` is no name of one.
pub(super) fn path_of(model: &str, method: &str) -> Result<String, AttemptFault> {
    let folder = if model.contains('/') { "" } else { "models/" };
    Ok(format!("/{folder}{}:{method}", in_path(model, b"@/")?))
}

/// `Rejected`, blaming `param`: this provider cannot do what it asks.
pub(super) fn unsupported(param: impl Into<String>) -> AttemptFault {
    let param = param.into();
    let message = format!("`{param}`: this cannot be sent to a provider that speaks Gemini's API");
    AttemptFault { param: Some(param), ..AttemptFault::new(FaultKind::Rejected, message) }
}

fn tools(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) -> Result<(), AttemptFault> {
    if request.tools.is_empty() {
        return Ok(());
    }
    let mut array = object.array("tools");
    if report.same_dialect {
        for tool in &request.tools {
            if let Tool::Other(value) = tool {
                array.item(value);
            }
        }
        if request.tools.iter().all(|tool| matches!(tool, Tool::Other(_))) {
            return Ok(());
        }
    }
    let mut all = array.object();
    let mut declarations = all.array("functionDeclarations");
    for (index, tool) in request.tools.iter().enumerate() {
        let Tool::Function { name, description, parameters, strict, rest } = tool else {
            // Tools that the provider runs itself stand beside the functions.
            if report.same_dialect {
                continue;
            }
            if matches!(tool, Tool::Other(value) if plain_words::is_search(value)) {
                report.dropped.push(format!("tools[{index}]"));
                continue;
            }
            let mut fault = unsupported(format!("tools[{index}]"));
            if let Some(kind) = tool.runs_elsewhere() {
                fault.message = format!("{}; `{kind}` is another provider's tool", fault.message);
            }
            return Err(fault);
        };
        let mut declaration = declarations.object();
        declaration.field("name", name);
        declaration.optional("description", description.as_ref());
        // A function without parameters says nothing of them: an empty object schema is refused.
        let told = parameters.as_ref().filter(|schema| !schemas::is_of_nothing(schema));
        declaration.optional("parametersJsonSchema", told);
        if *strict == Some(true) {
            report.dropped.push(format!("tools[{index}].function.strict"));
        }
        report.foreign(rest, &|| format!("tools[{index}]"));
    }
    Ok(())
}

/// Which tools are called, as the client wrote it, where nobody has changed what it means.
fn tool_config(request: &ChatRequest) -> Option<&Value> {
    let written = request.rest.get(TOOL_CONFIG)?;
    let read = parse::tool_choice(written.into(), &Path::Root).ok()?;
    (read == request.tool_choice).then_some(written)
}

fn tool_choice(request: &ChatRequest, object: &mut Object<'_>) -> Result<(), AttemptFault> {
    let (mode, name) = match &request.tool_choice {
        None | Some(ToolChoice::Auto) => return Ok(()),
        Some(ToolChoice::None | ToolChoice::Required) if request.tools.is_empty() => return Ok(()),
        Some(ToolChoice::None) => ("NONE", None),
        Some(ToolChoice::Required) => ("ANY", None),
        Some(ToolChoice::Function(name)) => ("ANY", Some([name])),
        Some(ToolChoice::Other(_)) => return Err(unsupported("tool_choice")),
    };
    let mut config = object.object("toolConfig");
    let mut calling = config.object("functionCallingConfig");
    calling.field("mode", mode);
    calling.optional("allowedFunctionNames", name);
    Ok(())
}

/// The shape of the reply in words, where other dialects' clients ask for one beside tools and the model refuses the two together. Its
/// own clients are told so by the provider.
fn shape_in_words(request: &ChatRequest, report: &mut Report) -> Option<Cow<'static, str>> {
    let known = report.quirks.schemas();
    let apart = known == Schemas::Words && !request.tools.is_empty() && !report.same_dialect;
    in_words::json(request.output.as_ref().filter(|_| apart), known, false, report)
}

/// How soon it is to be served, in a word of this provider's: the usual way has other names elsewhere.
fn tier(rest: &Rest) -> Option<&'static str> {
    match rest.get(TIER)?.as_str()? {
        "flex" => Some("flex"),
        "priority" => Some("priority"),
        "default" | "standard" | "standard_only" => Some("standard"),
        _ => None,
    }
}

/// The settings; the reply's shape is among them where it `has_a_shape` that is not said in words.
fn generation(request: &ChatRequest, has_a_shape: bool, object: &mut Object<'_>, report: &mut Report) {
    let mut config = object.object("generationConfig");
    config.optional("temperature", request.temperature);
    config.optional("topP", request.top_p);
    config.optional("topK", request.top_k);
    config.optional("candidateCount", (request.choices > 1).then_some(request.choices));
    config.optional("maxOutputTokens", request.max_tokens);
    if !request.stop.is_empty() {
        config.field("stopSequences", &request.stop);
    }
    if has_a_shape {
        output(request, &mut config, report);
    }
    let quirks = report.quirks;
    thinking(request, quirks.thinking(), &mut config, report);
    let mut left = request.rest.clone();
    if tier(&left).is_some() {
        left.shift_remove(TIER);
    }
    for (name, here) in SAME {
        let Some(value) = left.shift_remove(name).filter(|value| !value.is_null()) else { continue };
        // Nothing at all is what goes without saying.
        match quirks.field(name) {
            None if !report.same_dialect && value.as_f64() == Some(0.0) => {}
            None if !report.same_dialect => report.lose(name),
            _ => config.field(here, &value),
        }
    }
    log_probabilities(&mut left, &mut config);
    if request.user.is_some() {
        report.dropped.push("user".to_owned());
    }
    if !report.same_dialect {
        report.foreign(&left, &String::new);
    } else if let Some(own) = nested(&left, OWN) {
        config.rest(own, &[THINKING, SCHEMA, MIME]);
    }
}

fn output(request: &ChatRequest, config: &mut Object<'_>, report: &mut Report) {
    let own = nested(&request.rest, OWN).filter(|_| report.same_dialect);
    let written = |name: &str| own.and_then(|own| own.get(name));
    match &request.output {
        None | Some(OutputFormat::Text) => {}
        Some(OutputFormat::JsonObject) => config.field(MIME, "application/json"),
        Some(OutputFormat::JsonSchema { description, schema, .. }) => {
            config.field(MIME, written(MIME).and_then(Value::as_str).unwrap_or("application/json"));
            // As the client wrote it, where nobody has changed what it means.
            match written(SCHEMA).filter(|written| parse::schema_of((*written).clone()) == *schema) {
                Some(written) => config.field(SCHEMA, written),
                None => config.field("responseJsonSchema", schema),
            }
            if description.is_some() {
                report.dropped.push("response_format.json_schema.description".to_owned());
            }
        }
    }
}

/// What a client of this dialect said itself goes out so. For others thoughts are shown where they asked for thinking; the efforts'
/// budgets are LiteLLM's, as far as the model takes them, and so are the levels of models that are told one.
fn thinking(request: &ChatRequest, takes: &Thinking, config: &mut Object<'_>, report: &mut Report) {
    let written = nested(&request.rest, OWN).and_then(|own| nested(own, THINKING)).filter(|_| report.same_dialect);
    let said = |name: &str| written.is_some_and(|written| written.contains_key(name));
    let effort = request.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_deref());
    let budget = request.reasoning.as_ref().and_then(|reasoning| reasoning.budget_tokens).or(match effort {
        _ if said(LEVEL) => None,
        Some("none") => Some(0),
        Some("minimal") => Some(128),
        Some("low") => Some(1024),
        Some("medium") => Some(2048),
        Some("high" | "xhigh" | "max") => Some(4096),
        _ => None,
    });
    let Some(written) = written else {
        if request.reasoning.is_some() {
            let mut thinking = config.object(THINKING);
            thinking.field(SHOWN, &(budget != Some(0)));
            if !takes.levels.is_empty() {
                return thinking.optional(LEVEL, budget.and_then(|budget| level(budget, takes, report)));
            }
            let said = if effort.is_some() { "reasoning_effort" } else { "thinking.budget_tokens" };
            thinking.optional(BUDGET, budget.map(|budget| fitting(budget, said, takes, request.max_tokens, report)));
        }
        return;
    };
    let mut thinking = config.object(THINKING);
    thinking.optional(SHOWN, written.get(SHOWN).map(|shown| shown.as_bool().unwrap_or(true)));
    thinking.optional(LEVEL, effort.filter(|_| said(LEVEL)).map(str::to_ascii_uppercase));
    thinking.optional(BUDGET, budget);
    let done = [SHOWN, LEVEL, if budget.is_some() || written.get(BUDGET) == Some(&Value::Null) { BUDGET } else { "" }];
    thinking.rest(written, &done);
}

/// The level of a model that is told one, by the budget of others: the next that it knows, its greatest for more. It cannot be told not to
/// think, which is reported.
fn level(budget: u32, takes: &Thinking, report: &mut Report) -> Option<String> {
    let wanted = match budget {
        0..=128 => Level::Minimal,
        129..=1024 => Level::Low,
        1025..=2048 => Level::Medium,
        _ => Level::High,
    };
    if budget == 0 {
        report.dropped.push("reasoning_effort".to_owned());
    }
    let level = takes.levels.iter().find(|level| **level >= wanted).or(takes.levels.last())?;
    Some(format!("{level:?}").to_ascii_uppercase())
}

/// The budget that a model takes which was asked for `budget`: one within its bounds, and below that of the whole reply. Where it cannot be
/// so small it does not think, and where it must think it gets the least; either is reported, and so is another budget than a client gave, as
/// what it is `said` by.
fn fitting(budget: u32, said: &str, takes: &Thinking, bound: Option<u32>, report: &mut Report) -> u32 {
    let room = bound.map_or(u32::MAX, |bound| bound.saturating_sub(1));
    let most = takes.most.unwrap_or(u32::MAX);
    let fits = budget.max(takes.least).min(room).min(most);
    let off = if takes.always { takes.least } else { 0 };
    if budget == 0 && !takes.always {
        return 0;
    }
    if budget == 0 || fits < takes.least || fits == 0 {
        report.dropped.push(said.to_owned());
        return off;
    }
    // What an effort comes to is found here.
    if fits != budget && said != "reasoning_effort" {
        report.dropped.push(said.to_owned());
    }
    fits
}

/// `logprobs` is whether, `top_logprobs` how many; here it is the other way about.
fn log_probabilities(rest: &mut Rest, config: &mut Object<'_>) {
    let Some(wanted) = rest.get("logprobs").and_then(Value::as_bool) else { return };
    rest.shift_remove("logprobs");
    if wanted {
        config.field("responseLogprobs", &true);
        let others = rest.shift_remove("top_logprobs");
        config.optional("logprobs", others.filter(|count| !count.is_null() && *count != 0));
    }
}
