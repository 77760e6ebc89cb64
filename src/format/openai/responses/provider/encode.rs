//! A request in the words of the responses API.
//!
//! What another API said and this one has no word for is dropped and reported, or refused by name where leaving it out would make
//! another reply. What is asked as chats ask it has another place here: the shape of a reply and how wordy it is in `text`, the effort
//! in `reasoning`, likely tokens in `include`.

use std::borrow::Cow;

use bytes::BytesMut;
use serde_json::Value;

use super::{PATH, input, tools};
use crate::chat::{ChatRequest, OutputFormat, Rest};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::call_id::CallIds;
use crate::format::in_words;
use crate::format::openai::encode::{
    end_user, schemas_known, shorten_identifier, speaks_responses, strict_here, tools_as_taken,
};
use crate::format::openai::responses::parse::INCLUDE;
use crate::format::openai::{BETA, DIALECT, effort};
use crate::format::quirks::{Effort, Sampling};
use crate::format::rest::{Report, kept_header, nested};
use crate::format::sampling;
use crate::format::schemas;
use crate::format::write::{self, Object};
use crate::format::{Encoded, Target};

/// Fields that clients of this API alone have, and that bound what a provider's own tools do and how long a conversation may be.
const BOUNDS: [&str; 2] = ["max_tool_calls", "truncation"];

/// The least bound that is taken.
const LEAST_OUTPUT: u32 = 16;

/// What is shown of thinking, for reports.
const SUMMARY: &str = "reasoning.summary";

/// Fields of chats without a word here.
const OF_CHATS: [&str; 9] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "modalities",
    "prediction",
    "presence_penalty",
    "seed",
];

/// Unknown fields that are written together with known ones, or in another place.
const WOVEN: [&str; 13] = [
    BETA,
    "include",
    "logprobs",
    "max_tokens",
    "reasoning",
    "response_format",
    "store",
    "stream_options",
    "text",
    effort::THINKING,
    "top_logprobs",
    "verbosity",
    tools::SEARCH,
];

/// Whether a field is written here, or reported where it is not, of which other formats know nothing.
pub(super) fn tells(path: &str) -> bool {
    BOUNDS.contains(&path) || path == SUMMARY || path.starts_with("include[")
}

/// Writes a request.
///
/// # Errors
/// `Rejected` where the request asks for several replies, for another provider's kind of tool or content, or for one that only chats have.
pub(super) fn request(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
    if request.choices > 1 {
        return Err(unsupported("n", "more than one reply"));
    }
    let same_dialect = request.dialect == DIALECT;
    let mut report = Report::new(same_dialect).with_quirks(target.quirks);
    let told = tools_as_taken(request, target);
    let request = &*told;
    let mut body = BytesMut::with_capacity(1024 + write::size_hint(&request.messages));
    {
        let mut object = Object::open(&mut body);
        object.field("model", target.model);
        let ids = CallIds::of(&request.messages, target.quirks.call_ids());
        let schema = in_words::json(request.output.as_ref(), schemas_known(request, target), true, &mut report);
        input::write(schema.as_deref(), request, &ids, &mut object, &mut report)?;
        tools::write(request, &mut object, &mut report)?;
        bounds(request, &mut object, &mut report);
        bounds_of_its_own(request, &mut object, &mut report);
        text(request, schema.is_some(), &mut object, &mut report);
        reasoning(request, &mut object, &mut report);
        include(request, target.unsealed, &mut object, &mut report);
        end_user(request, &mut object, &mut report);
        // What is to be gone on from travels with the client.
        let kept = request.rest.get("store").filter(|store| same_dialect && !store.is_null());
        object.field("store", kept.unwrap_or(&Value::Bool(false)));
        stream(request, &mut object, &mut report);
        others(request, &mut object, &mut report);
    }
    Ok(Encoded {
        path: PATH.to_owned(),
        headers: kept_header(BETA, &request.rest, same_dialect),
        body: body.freeze(),
        dropped: report.dropped,
        lost: report.lost,
    })
}

/// `Rejected`, blaming `path`: this API has no word for `what`.
pub(super) fn unsupported(path: &str, what: &str) -> AttemptFault {
    let message = format!("`{path}`: {what} cannot be sent to a model that is asked through OpenAI's responses API");
    AttemptFault { param: Some(path.to_owned()), ..AttemptFault::new(FaultKind::Rejected, message) }
}

fn bounds(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    if let Some(bound) = request.max_tokens {
        // Less is refused, which clients of other APIs cannot know.
        let least = if speaks_responses(request) { 0 } else { LEAST_OUTPUT };
        object.field("max_output_tokens", &bound.max(least));
        if bound < least {
            report.dropped.push("max_tokens".to_owned());
        }
    }
    let drawn = sampling::taken(request, report.quirks.sampling(), report);
    report.optional(object, "temperature", drawn.temperature);
    report.optional(object, "top_p", drawn.top_p);
    if drawn.top_k.is_some() {
        report.lose("top_k");
    }
    if !request.stop.is_empty() {
        report.lose("stop");
    }
}

/// Those that its reply repeats, where the client said them and no configuration says otherwise.
fn bounds_of_its_own(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    for name in BOUNDS {
        let said = request.echo.get(name).filter(|said| !said.is_null() && *said != "disabled");
        report.optional(object, name, said.filter(|_| !request.rest.contains_key(name)));
    }
}

/// What an unknown field of the same dialect holds that is written with known ones.
fn beside<'r>(request: &'r ChatRequest, name: &str, report: &Report) -> Option<&'r Rest> {
    nested(&request.rest, name).filter(|_| report.same_dialect)
}

/// The shape of the reply, and how wordy it is.
fn text(request: &ChatRequest, in_words: bool, object: &mut Object<'_>, report: &mut Report) {
    let verbosity = request.rest.get("verbosity").filter(|said| report.same_dialect && !said.is_null());
    let taken = verbosity.filter(|_| report.quirks.field("verbosity").is_some());
    if verbosity.is_some() && taken.is_none() {
        report.dropped.push("verbosity".to_owned());
    }
    let beside = beside(request, "text", report);
    let left = beside.is_some_and(|left| !left.is_empty());
    if request.output.is_none() && taken.is_none() && !left {
        return;
    }
    let mut text = object.object("text");
    if let Some(output) = &request.output {
        let mut format = text.object("format");
        match output {
            OutputFormat::Text => format.field("type", "text"),
            // The schema is in words; that it is a JSON object at all has a word.
            OutputFormat::JsonSchema { .. } if in_words => {
                let of_object = schemas::is_of_object(request.output.as_ref());
                format.field("type", if of_object { "json_object" } else { "text" });
            }
            OutputFormat::JsonObject => format.field("type", "json_object"),
            OutputFormat::JsonSchema { name, description, schema, strict } => {
                format.field("type", "json_schema");
                format.field("name", name.as_deref().unwrap_or("output"));
                format.optional("description", description.as_ref());
                format.field("schema", schema);
                format.optional("strict", strict_here(*strict, Some(schema), report));
            }
        }
    }
    text.optional("verbosity", taken);
    if let Some(beside) = beside {
        let said = [("format", request.output.is_some()), ("verbosity", taken.is_some())];
        let said: Vec<&str> = said.into_iter().filter(|(_, said)| *said).map(|(name, _)| name).collect();
        text.rest(beside, &said);
    }
}

/// How much the model is to think, and what it is to show of it, where the client said so.
fn reasoning(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    let effort = effort::word(request, report);
    let echoed = request.echo.get("reasoning").and_then(|asked| asked.get("summary"));
    let echoed = echoed.filter(|summary| !summary.is_null());
    let shown = echoed.filter(|_| report.quirks.effort() != Effort::Never);
    if shown.is_none() && echoed.is_some_and(|summary| summary != "auto") {
        report.dropped.push(SUMMARY.to_owned());
    }
    let beside = beside(request, "reasoning", report);
    let left = beside.is_some_and(|left| !left.is_empty());
    if effort.is_none() && shown.is_none() && !left {
        return;
    }
    let mut reasoning = object.object("reasoning");
    reasoning.optional("effort", effort);
    reasoning.optional("summary", shown);
    if let Some(beside) = beside {
        let said = [("effort", effort.is_some()), ("summary", shown.is_some())];
        let said: Vec<&str> = said.into_iter().filter(|(_, said)| *said).map(|(name, _)| name).collect();
        reasoning.rest(beside, &said);
    }
}

/// What the reply is to hold beside its text: how likely its tokens were, where that was asked; thinking as it must come back, of models
/// that think unless they give none so (`unsealed`); and what the provider's own tools found, as a client of this API asks for it.
fn include(request: &ChatRequest, unsealed: bool, object: &mut Object<'_>, report: &mut Report) {
    const LIKELY: &str = "message.output_text.logprobs";
    const THINKING: &str = "reasoning.encrypted_content";
    let said = |name: &str| request.rest.get(name).filter(|value| !value.is_null());
    let asked = said("logprobs").is_some_and(|asked| *asked == true);
    // A model whose sampling is fixed tells of none.
    let fixed = sampling::beside(report.quirks.sampling(), request.reasoning.as_ref()) == Sampling::Fixed;
    if fixed {
        report
            .dropped
            .extend(["logprobs", "top_logprobs"].into_iter().filter(|name| said(name).is_some()).map(str::to_owned));
    } else if asked {
        object.optional("top_logprobs", said("top_logprobs"));
    }
    let own = said("include").and_then(Value::as_array).filter(|_| report.same_dialect);
    let mut names: Vec<&str> = own.into_iter().flatten().filter_map(Value::as_str).collect();
    let kept = request.echo.get(INCLUDE).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    // Where a chat's client said it itself, it is told that it is not kept; one of this API always says it.
    if unsealed && names.contains(&THINKING) {
        names.retain(|name| *name != THINKING);
        report.dropped.push("include".to_owned());
    }
    let ours = [(THINKING, report.quirks.effort() != Effort::Never && !unsealed), (LIKELY, asked && !fixed)];
    for name in kept.chain(ours.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if !names.is_empty() {
        object.field("include", &names);
    }
}

fn stream(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    if !request.stream {
        return;
    }
    object.field("stream", &true);
    let left = report.left(&request.rest, "stream_options").filter(|left| !left.is_empty());
    if let Some(left) = left {
        match report.quirks.field("stream_options") {
            Some(name) => object.field(name, left),
            None => report.dropped.push("stream_options".to_owned()),
        }
    }
}

/// The unknown fields that are not written together with known ones.
fn others(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) {
    let mut left = Rest::new();
    let own = report.same_dialect;
    let mut rest = Cow::Borrowed(&request.rest);
    shorten_identifier(&mut rest, report);
    for (name, value) in rest.iter().filter(|(_, value)| !value.is_null()) {
        let known = match name.as_str() {
            "logprobs" | "top_logprobs" => true,
            // Its kinds that are not known have no word here.
            "response_format" => false,
            name => own && WOVEN.contains(&name),
        };
        if known {
            continue;
        }
        if own && name != "response_format" && !OF_CHATS.contains(&name.as_str()) {
            report.field(object, name, value);
        } else {
            left.insert(name.clone(), value.clone());
        }
    }
    report.foreign(&left, &String::new);
}
