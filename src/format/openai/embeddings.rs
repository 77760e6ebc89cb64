//! Embeddings, as a client API and as a provider's.
//!
//! Vectors are passed on as the provider wrote them where the client asked for that form, and turned into the other one
//! where it did not: some imitators know one form only.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::encode::end_user;
use super::{DIALECT, OpenAi, error, parse, paths};
use crate::chat::{ChatRequest, Message, Part, PartKind, Reply, Rest, Role, Usage, Vector, VectorRequest, Vectors};
use crate::fault::{AttemptFault, FaultKind, Refusal};
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path, request_body};
use crate::format::rest::Report;
use crate::format::write::{self, Object};
use crate::format::{ClientApi, ClientRequest, Encoded, Operation, StreamEncoder, Target};

/// The most inputs of one request; the provider's own bound.
const MOST_INPUTS: usize = 2048;

/// The client API.
pub struct Embeddings;

impl ClientApi for Embeddings {
    fn name(&self) -> &'static str {
        "openai-embeddings"
    }

    fn operation(&self, path: &str) -> Option<Operation> {
        (paths::asked(path) == "/embeddings").then_some(Operation::Embeddings)
    }

    fn speaks_at(&self, path: &str, _headers: &HeaderMap) -> bool {
        self.operation(path).is_some()
    }

    fn id_header(&self) -> HeaderName {
        OpenAi.id_header()
    }

    fn model(&self, name: &str) -> Value {
        OpenAi.model(name)
    }

    fn models(&self, names: &[&str]) -> Value {
        OpenAi.models(names)
    }

    fn parse(&self, request: &ClientRequest) -> Result<ChatRequest, Refusal> {
        let mut fields = Fields::of(request_body(&request.body)?, &Path::Root)?;
        let model = parse::model(&mut fields, request)?;
        let messages = inputs(&mut fields)?;
        let dimensions = fields.whole("dimensions")?;
        if dimensions == Some(0) {
            return Err(Mismatch::new(&Path::Root.key("dimensions"), "a vector has at least one number").into());
        }
        let base64 = match fields.word("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => {
                let path = Path::Root.key("encoding_format");
                return Err(Mismatch::expected(&path, "`float` or `base64`", &Json::Text(other.into())).into());
            }
        };
        // There is no stream of vectors, and no output to bound.
        for name in ["stream", "max_tokens", "max_completion_tokens", "n"] {
            if fields.take(name).is_some() {
                return Err(Mismatch::new(&Path::Root.key(name), "embeddings have no such field").into());
            }
        }
        let mut request = parse::settings(fields, model, messages)?;
        request.max_tokens = Some(0);
        request.vectors = Some(VectorRequest { dimensions, base64 });
        Ok(request)
    }

    /// Of a chat there is none here.
    fn reply(&self, reply: &Reply) -> Bytes {
        OpenAi.reply(reply)
    }

    fn vectors(&self, request: &ChatRequest, vectors: &Vectors) -> Bytes {
        let base64 = request.vectors.is_some_and(|asked| asked.base64);
        let mut out = BytesMut::with_capacity(1024 + vectors.list.iter().map(size).sum::<usize>());
        {
            let mut object = Object::open(&mut out);
            object.field("object", "list");
            {
                let mut data = object.array("data");
                for (index, vector) in vectors.list.iter().enumerate() {
                    let mut one = data.object();
                    one.field("object", "embedding");
                    one.field("index", &index);
                    if base64 {
                        one.field("embedding", &vector.to_base64());
                    } else {
                        one.field("embedding", &vector.to_numbers());
                    }
                }
            }
            object.field("model", &vectors.model);
            let tokens = vectors.usage.as_ref().map_or(0, |usage| usage.input_tokens);
            object.field("usage", &json!({"prompt_tokens": tokens, "total_tokens": tokens}));
        }
        out.freeze()
    }

    fn refusal(&self, refusal: &Refusal, _request_id: &str) -> Bytes {
        error::write(refusal).freeze()
    }

    fn stream(&self, request: &ChatRequest) -> Box<dyn StreamEncoder> {
        OpenAi.stream(request)
    }
}

/// A text, an array of texts, an array of token numbers, or an array of such arrays.
fn inputs(fields: &mut Fields<'_>) -> Result<Vec<Message>, Mismatch> {
    let path = Path::Root.key("input");
    let items = match fields.take("input").ok_or_else(|| Mismatch::missing(&path))? {
        Json::Array(items) if items.first().is_some_and(|first| matches!(first, Json::Number(_))) => {
            return Ok(vec![input(Json::Array(items), &path)?]);
        }
        Json::Array(items) => items,
        text @ Json::Text(_) => return Ok(vec![input(text, &path)?]),
        other => return Err(Mismatch::expected(&path, "a text or an array", &other)),
    };
    if items.is_empty() || items.len() > MOST_INPUTS {
        return Err(Mismatch::new(&path, format!("from 1 to {MOST_INPUTS} inputs are taken, found {}", items.len())));
    }
    items.into_iter().enumerate().map(|(index, item)| input(item, &path.index(index))).collect()
}

fn input(value: Json<'_>, path: &Path<'_>) -> Result<Message, Mismatch> {
    let kind = match value {
        Json::Text(text) if text.is_empty() => return Err(Mismatch::new(path, "an empty text has no vector")),
        Json::Text(text) => PartKind::Text(text.into_owned()),
        Json::Array(numbers) => {
            if numbers.is_empty() || numbers.iter().any(|number| number.as_u64().is_none()) {
                return Err(Mismatch::new(path, "expected token numbers"));
            }
            PartKind::Other(Json::Array(numbers).into())
        }
        other => return Err(Mismatch::expected(path, "a text or an array of token numbers", &other)),
    };
    Ok(Message { role: Role::User, parts: vec![Part::from(kind)], name: None, rest: Rest::new() })
}

fn size(vector: &Vector) -> usize {
    64 + match vector {
        Vector::Numbers(numbers) => 24 * numbers.len(),
        Vector::Base64(text) => text.len(),
    }
}

/// Writes a request.
pub(super) fn encode(request: &ChatRequest, target: &Target<'_>) -> Encoded {
    let mut report = Report::new(request.dialect == DIALECT).with_quirks(target.quirks);
    let mut body = BytesMut::with_capacity(512 + write::size_hint(&request.messages));
    {
        let mut object = Object::open(&mut body);
        object.field("model", target.model);
        let inputs: Vec<Input<'_>> = request.messages.iter().filter_map(input_of).collect();
        match &*inputs {
            [Input::Text(text)] => object.field("input", text),
            inputs => {
                let mut array = object.array("input");
                for input in inputs {
                    match input {
                        Input::Text(text) => array.item(text),
                        Input::Tokens(tokens) => array.item(tokens),
                    }
                }
            }
        }
        let asked = request.vectors.unwrap_or_default();
        report.optional(&mut object, "dimensions", asked.dimensions);
        report.optional(&mut object, "encoding_format", asked.base64.then_some("base64"));
        end_user(request, &mut object, &mut report);
        report.rest(&mut object, &request.rest, &String::new, &[]);
    }
    // The form is given to the client whichever the provider sends.
    report.dropped.retain(|name| name != "encoding_format");
    Encoded {
        path: "/embeddings".to_owned(),
        headers: HeaderMap::new(),
        body: body.freeze(),
        dropped: report.dropped,
        lost: report.lost,
    }
}

enum Input<'m> {
    Text(&'m str),
    Tokens(&'m Value),
}

fn input_of(message: &Message) -> Option<Input<'_>> {
    match &message.parts.first()?.kind {
        PartKind::Text(text) => Some(Input::Text(text)),
        PartKind::Other(tokens) => Some(Input::Tokens(tokens)),
        _ => None,
    }
}

#[derive(serde::Deserialize)]
struct Body {
    #[serde(default)]
    model: Option<String>,
    data: Vec<Data>,
    #[serde(default)]
    usage: Option<Counted>,
}

#[derive(serde::Deserialize)]
struct Data {
    #[serde(default)]
    index: Option<usize>,
    embedding: Read,
}

#[derive(serde::Deserialize)]
struct Counted {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
}

struct Read(Vector);

impl<'de> serde::Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadVector)
    }
}

struct ReadVector;

impl<'de> Visitor<'de> for ReadVector {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers or a text in base64")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Read, E> {
        match STANDARD.decode(text) {
            Ok(bytes) if bytes.len().is_multiple_of(4) => Ok(Read(Vector::Base64(text.to_owned()))),
            _ => Err(E::custom("a text that is not base64 of 32-bit floats")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Read, A::Error> {
        let mut numbers = Vec::with_capacity(seq.size_hint().unwrap_or(1536).min(1 << 14));
        while let Some(number) = seq.next_element::<f64>()? {
            numbers.push(number);
        }
        if numbers.is_empty() { Err(A::Error::custom("an empty vector")) } else { Ok(Read(Vector::Numbers(numbers))) }
    }
}

/// Reads the vectors.
pub(super) fn decode(body: &[u8]) -> Result<Vectors, AttemptFault> {
    let mut read: Body = serde_json::from_slice(body).map_err(|problem| {
        AttemptFault::new(FaultKind::BrokenStream, format!("the provider's embeddings are not understood: {problem}"))
    })?;
    if read.data.iter().all(|data| data.index.is_some()) {
        read.data.sort_by_key(|data| data.index);
    }
    let usage = read.usage.and_then(|counted| {
        let input_tokens = counted.prompt_tokens.or(counted.total_tokens)?;
        Some(Usage { input_tokens, ..Usage::default() })
    });
    let list = read.data.into_iter().map(|data| data.embedding.0).collect();
    Ok(Vectors { model: read.model.unwrap_or_default(), list, usage })
}
