//! Embeddings at Bedrock: `InvokeModel` with a body that is each vendor's own. Which one a model takes is in `data/providers.json`.
//!
//! Shapes are those of Amazon's pages on the parameters of Titan, Nova and Cohere models (Bedrock user guide), which the embedding
//! configurations of `litellm` 1.110.2 on `PyPI` follow too.

use bytes::BytesMut;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::encode::unsupported;
use crate::chat::{ChatRequest, PartKind, Rest, Usage, Vector, Vectors};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::in_path::in_path;
use crate::format::quirks::VectorBody;
use crate::format::rate_limits;
use crate::format::rest::Report;
use crate::format::write::{self, Object};
use crate::format::{Encoded, ONE_INPUT, Target};

/// Nova's default, which it wants said.
const NOVA_DIMENSIONS: u32 = 3072;

/// Writes a request.
///
/// # Errors
/// `Rejected` where the model makes none, an input is not text, or it takes fewer inputs or no `dimensions`.
pub(super) fn encode(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
    let mut report = Report::new(false);
    let mut rest = request.rest.clone();
    let texts = texts(request)?;
    let dimensions = request.vectors.and_then(|asked| asked.dimensions);
    let mut body = BytesMut::with_capacity(512 + write::size_hint(&request.messages));
    {
        let mut object = Object::open(&mut body);
        match target.quirks.vectors() {
            VectorBody::None => {
                let why = "no embeddings are asked of this model here; Titan's, Nova's and Cohere's are";
                return Err(unsupported("model", why));
            }
            VectorBody::TitanText => {
                object.field("inputText", one(&texts)?);
                if dimensions.is_some() {
                    return Err(unsupported("dimensions", "this model's vectors have one length"));
                }
            }
            VectorBody::Titan => {
                object.field("inputText", one(&texts)?);
                object.optional("dimensions", dimensions);
                own(&["normalize"], &mut rest, &mut object);
            }
            VectorBody::TitanImage => {
                object.field("inputText", one(&texts)?);
                object.optional("embeddingConfig", dimensions.map(|length| json!({"outputEmbeddingLength": length})));
            }
            VectorBody::Nova => nova(one(&texts)?, dimensions, &mut rest, &mut object),
            VectorBody::Cohere => {
                object.field("texts", &texts);
                // It must be said; documents are what most vectors are made of.
                let kind = rest.shift_remove("input_type").filter(|kind| !kind.is_null());
                object.field("input_type", &kind.unwrap_or_else(|| "search_document".into()));
                object.field("embedding_types", &["float"]);
                object.optional("output_dimension", dimensions);
                own(&["truncate"], &mut rest, &mut object);
            }
        }
    }
    if request.user.is_some() {
        report.dropped.push("user".to_owned());
    }
    report.foreign(&rest, &String::new);
    let path = format!("/model/{}/invoke", in_path(target.model, b"")?);
    Ok(Encoded { path, headers: HeaderMap::new(), body: body.freeze(), dropped: report.dropped, lost: report.lost })
}

fn texts(request: &ChatRequest) -> Result<Vec<&str>, AttemptFault> {
    let text = |(index, message): (usize, &'_ crate::chat::Message)| match message.parts.first().map(|part| &part.kind)
    {
        Some(PartKind::Text(_)) => Ok(()),
        _ => Err(unsupported(format!("input[{index}]"), "it takes texts and no token numbers")),
    };
    request.messages.iter().enumerate().try_for_each(text)?;
    let parts = request.messages.iter().filter_map(|message| message.parts.first());
    Ok(parts
        .filter_map(|part| if let PartKind::Text(text) = &part.kind { Some(text.as_str()) } else { None })
        .collect())
}

/// The one text that there is.
fn one<'t>(texts: &[&'t str]) -> Result<&'t str, AttemptFault> {
    match texts {
        [text] => Ok(text),
        _ => Err(unsupported("input", ONE_INPUT)),
    }
}

/// Fields that clients write in the model's own words.
fn own(names: &[&str], rest: &mut Rest, object: &mut Object<'_>) {
    for name in names {
        object.optional(name, rest.shift_remove(*name).filter(|value| !value.is_null()));
    }
}

fn nova(text: &str, dimensions: Option<u32>, rest: &mut Rest, object: &mut Object<'_>) {
    object.field("schemaVersion", "nova-multimodal-embed-v1");
    object.field("taskType", "SINGLE_EMBEDDING");
    let mut single = object.object("singleEmbeddingParams");
    let purpose = rest.shift_remove("embeddingPurpose").filter(|purpose| !purpose.is_null());
    single.field("embeddingPurpose", &purpose.unwrap_or_else(|| "GENERIC_INDEX".into()));
    single.field("embeddingDimension", &dimensions.unwrap_or(NOVA_DIMENSIONS));
    single.field("text", &json!({"truncationMode": "END", "value": text}));
}

/// What any of them answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Titan {
        embedding: Vec<f64>,
        #[serde(default, rename = "inputTextTokenCount")]
        tokens: Option<u64>,
    },
    Nova {
        embeddings: Vec<OfKind>,
    },
    CohereByType {
        embeddings: ByType,
    },
    Cohere {
        embeddings: Vec<Vec<f64>>,
    },
}

#[derive(Deserialize)]
struct OfKind {
    embedding: Vec<f64>,
}

#[derive(Deserialize)]
struct ByType {
    float: Vec<Vec<f64>>,
}

/// The tokens that the head of an answer tells, of which no body but Titan's does: `InvokeModel` counts every model's
/// (`x-amzn-bedrock-input-token-count`, which `litellm` reads too).
pub(super) fn usage(headers: &HeaderMap) -> Option<Usage> {
    let tokens = rate_limits::number(headers, "x-amzn-bedrock-input-token-count")?;
    Some(Usage { input_tokens: tokens, ..Usage::default() })
}

/// Reads the vectors. Only Titan tells the tokens in its body.
pub(super) fn decode(body: &[u8]) -> Result<Vectors, AttemptFault> {
    let broken = |problem: &str| {
        AttemptFault::new(FaultKind::BrokenStream, format!("the provider's embeddings are not understood: {problem}"))
    };
    let read = serde_json::from_slice(body).map_err(|problem| broken(&problem.to_string()))?;
    let (list, tokens) = match read {
        Body::Titan { embedding, tokens } => (vec![embedding], tokens),
        Body::Nova { embeddings } => (embeddings.into_iter().map(|one| one.embedding).collect(), None),
        Body::CohereByType { embeddings } => (embeddings.float, None),
        Body::Cohere { embeddings } => (embeddings, None),
    };
    if list.is_empty() || list.iter().any(Vec::is_empty) {
        return Err(broken("there are none in the reply"));
    }
    let usage = tokens.map(|tokens| Usage { input_tokens: tokens, ..Usage::default() });
    Ok(Vectors { model: String::new(), list: list.into_iter().map(Vector::Numbers).collect(), usage })
}
