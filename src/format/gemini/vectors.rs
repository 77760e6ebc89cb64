//! Embeddings of Gemini's API: `batchEmbedContents`, which at Google's cloud has another body and is `embedContent` for one input, or
//! `predict` where a model is known by that alone there (a rename in `data/providers.json`).
//!
//! Methods and bodies are those of `Models.embed_content` in `google-genai` 3.6.1 on `PyPI`.

use bytes::BytesMut;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::encode::{At, path_of, unsupported};
use crate::chat::{ChatRequest, Message, PartKind, Usage, Vector, Vectors};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::rest::Report;
use crate::format::write::{self, Object};
use crate::format::{Encoded, ONE_INPUT, Target};

const METHOD: &str = "batchEmbedContents";
/// The same for one input, at Google's cloud.
const SINGLE: &str = "embedContent";
/// What the names have of models that Google serves for other makers: they are asked for one input alone.
const OF_OTHERS: &str = "maas";
/// Clients' word for what the vectors are for, and the provider's.
const TASK: &str = "task_type";

/// What is asked of each vector.
#[derive(Clone, Copy)]
struct Asked<'r> {
    task: Option<&'r Value>,
    dimensions: Option<u32>,
}

/// Writes a request.
///
/// # Errors
/// `Rejected` where an input is not text, or the model takes fewer.
pub(super) fn encode(request: &ChatRequest, target: &Target<'_>, at: At) -> Result<Encoded, AttemptFault> {
    let mut report = Report::new(false);
    let known = target.quirks.field(METHOD).ok_or_else(|| unsupported("model"))?;
    let texts = texts(&request.messages)?;
    let mut rest = request.rest.clone();
    let task = rest.shift_remove(TASK).filter(|task| !task.is_null());
    let asked = Asked { task: task.as_ref(), dimensions: request.vectors.and_then(|asked| asked.dimensions) };
    let of_others = at == At::Cloud && target.model.rsplit('/').next().is_some_and(|name| name.contains(OF_OTHERS));
    if of_others && texts.len() > 1 {
        let message = format!("`input`: this cannot be sent to Vertex AI: {ONE_INPUT}");
        return Err(AttemptFault {
            param: Some("input".to_owned()),
            ..AttemptFault::new(FaultKind::Rejected, message)
        });
    }
    let of_cloud = of_others || (known == METHOD && at == At::Cloud);
    let single = texts.first().filter(|_| of_cloud && texts.len() == 1);
    let path = path_of(target.model, if single.is_some() { SINGLE } else { known })?;
    let mut body = BytesMut::with_capacity(512 + write::size_hint(&request.messages));
    {
        let mut object = Object::open(&mut body);
        if let Some(text) = single {
            at_cloud(text, asked, &mut object);
        } else if of_cloud {
            let mut list = object.array("requests");
            for text in &texts {
                at_cloud(text, asked, &mut list.object());
            }
        } else if known == METHOD {
            let model = path.trim_start_matches('/').rsplit_once(':').map_or("", |(model, _)| model);
            let mut list = object.array("requests");
            for text in &texts {
                at_home(text, model, asked, &mut list.object());
            }
        } else {
            predicted(&texts, asked, &mut object);
        }
    }
    if request.user.is_some() {
        report.dropped.push("user".to_owned());
    }
    report.foreign(&rest, &String::new);
    Ok(Encoded { path, headers: HeaderMap::new(), body: body.freeze(), dropped: report.dropped, lost: report.lost })
}

fn texts(messages: &[Message]) -> Result<Vec<&str>, AttemptFault> {
    let placed = messages.iter().enumerate();
    let texts = placed.map(|(index, message)| match message.parts.first().map(|part| &part.kind) {
        Some(PartKind::Text(text)) => Ok(text.as_str()),
        _ => Err(unsupported(format!("input[{index}]"))),
    });
    texts.collect()
}

/// One of the requests at Google's own API.
fn at_home(text: &str, model: &str, asked: Asked<'_>, one: &mut Object<'_>) {
    one.field("model", model);
    one.field("content", &json!({"parts": [{"text": text}]}));
    one.optional("taskType", asked.task);
    one.optional("outputDimensionality", asked.dimensions);
}

/// One at its cloud, where what is asked of the vector stands apart.
fn at_cloud(text: &str, asked: Asked<'_>, one: &mut Object<'_>) {
    one.field("content", &json!({"role": "user", "parts": [{"text": text}]}));
    if asked.task.is_some() || asked.dimensions.is_some() {
        let mut config = one.object("embedContentConfig");
        config.optional("taskType", asked.task);
        config.optional("outputDimensionality", asked.dimensions);
    }
}

/// All of them for a model that predicts.
fn predicted(texts: &[&str], asked: Asked<'_>, object: &mut Object<'_>) {
    {
        let mut list = object.array("instances");
        for text in texts {
            let mut one = list.object();
            one.field("content", text);
            one.optional(TASK, asked.task);
        }
    }
    if let Some(dimensions) = asked.dimensions {
        object.object("parameters").field("outputDimensionality", &dimensions);
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    embedding: Option<Values>,
    #[serde(default)]
    embeddings: Vec<Values>,
    #[serde(default)]
    predictions: Vec<Prediction>,
    #[serde(default, rename = "usageMetadata")]
    usage: Option<Told>,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default, rename = "promptTokenCount")]
    prompt_token_count: Option<f64>,
}

#[derive(Deserialize)]
struct Prediction {
    embeddings: Values,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f64>,
    #[serde(default)]
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    token_count: f64,
}

/// Reads the vectors. Tokens are told beside each of them where they are predicted, and of all together elsewhere.
pub(super) fn decode(body: &[u8]) -> Result<Vectors, AttemptFault> {
    let broken = |problem: String| {
        AttemptFault::new(FaultKind::BrokenStream, format!("the provider's embeddings are not understood: {problem}"))
    };
    let read: Body = serde_json::from_slice(body).map_err(|problem| broken(problem.to_string()))?;
    let told = read.usage.and_then(|told| told.prompt_token_count);
    let predicted = read.predictions.into_iter().map(|one| one.embeddings);
    let all: Vec<Values> = read.embedding.into_iter().chain(read.embeddings).chain(predicted).collect();
    if all.is_empty() {
        return Err(broken("there are none in the reply".to_owned()));
    }
    let mut tokens = None;
    for count in all.iter().filter_map(|one| one.statistics.as_ref()) {
        let sum: &mut f64 = tokens.get_or_insert(0.0);
        *sum += count.token_count.max(0.0);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates; a count is what is meant"
    )]
    let usage = tokens.or(told).map(|tokens| Usage { input_tokens: tokens as u64, ..Usage::default() });
    let list = all.into_iter().map(|one| Vector::Numbers(one.values)).collect();
    Ok(Vectors { model: String::new(), list, usage })
}
