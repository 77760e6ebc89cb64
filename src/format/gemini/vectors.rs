//! Embeddings of Gemini's API: `batchEmbedContents`, or `predict` where a cloud knows them by that name (a rename in
//! `data/providers.json`).

use bytes::BytesMut;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::encode::{path_of, unsupported};
use crate::chat::{ChatRequest, PartKind, Usage, Vector, Vectors};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::rest::Report;
use crate::format::write::{self, Object};
use crate::format::{Encoded, Target};

const METHOD: &str = "batchEmbedContents";
/// Clients' word for what the vectors are for, and the provider's.
const TASK: &str = "task_type";

/// Writes a request.
///
/// # Errors
/// `Rejected` where an input is not text.
pub(super) fn encode(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
    let mut report = Report::new(false);
    let method = target.quirks.field(METHOD).ok_or_else(|| unsupported("model"))?;
    let path = path_of(target.model, method)?;
    let mut rest = request.rest.clone();
    let task = rest.shift_remove(TASK).filter(|task| !task.is_null());
    let dimensions = request.vectors.and_then(|asked| asked.dimensions);
    let mut body = BytesMut::with_capacity(512 + write::size_hint(&request.messages));
    {
        let mut object = Object::open(&mut body);
        let batch = method == METHOD;
        {
            let mut list = object.array(if batch { "requests" } else { "instances" });
            for (index, message) in request.messages.iter().enumerate() {
                let Some(PartKind::Text(text)) = message.parts.first().map(|part| &part.kind) else {
                    return Err(unsupported(format!("input[{index}]")));
                };
                let mut one = list.object();
                if batch {
                    one.field("model", path.trim_start_matches('/').rsplit_once(':').map_or("", |(model, _)| model));
                    one.field("content", &json!({"parts": [{"text": text}]}));
                    one.optional("taskType", task.as_ref());
                    one.optional("outputDimensionality", dimensions);
                } else {
                    one.field("content", text);
                    one.optional("task_type", task.as_ref());
                }
            }
        }
        if let Some(dimensions) = dimensions.filter(|_| !batch) {
            object.object("parameters").field("outputDimensionality", &dimensions);
        }
    }
    if request.user.is_some() {
        report.dropped.push("user".to_owned());
    }
    report.foreign(&rest, &String::new);
    Ok(Encoded { path, headers: HeaderMap::new(), body: body.freeze(), dropped: report.dropped, lost: report.lost })
}

#[derive(Deserialize)]
struct Body {
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

/// Reads the vectors. Tokens are told beside each of them by one of the two methods, and of all together by the other.
pub(super) fn decode(body: &[u8]) -> Result<Vectors, AttemptFault> {
    let broken = |problem: String| {
        AttemptFault::new(FaultKind::BrokenStream, format!("the provider's embeddings are not understood: {problem}"))
    };
    let read: Body = serde_json::from_slice(body).map_err(|problem| broken(problem.to_string()))?;
    let told = read.usage.and_then(|told| told.prompt_token_count);
    let all: Vec<Values> =
        read.embeddings.into_iter().chain(read.predictions.into_iter().map(|one| one.embeddings)).collect();
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
