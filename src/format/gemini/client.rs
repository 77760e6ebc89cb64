//! The same API as clients speak it: `models/NAME:generateContent`, streamed with `:streamGenerateContent` (events with
//! `alt=sse`, an array otherwise), `:countTokens`, `:embedContent` and `:batchEmbedContents`.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Uri};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::Gemini;
use crate::chat::{ChatRequest, Reply, Vector, Vectors};
use crate::fault::{Refusal, RefusalKind};
use crate::format::write::Object;
use crate::format::{ClientApi, ClientRequest, Operation, StreamEncoder};

mod encoder;
mod inputs;
pub(super) mod parse;
mod parts;
mod reply;

/// What stands before models in Google's cloud.
const PUBLISHER: &str = "publishers/google";
/// In the echo of a request: that its stream is an array and not events.
const ARRAY: &str = "array";
/// In the echo of a request: that one vector is wanted, and not a list.
const SINGLE: &str = "single";

/// The model and the method that a path names: `/v1beta/models/NAME:METHOD`, or as Google's cloud has it, which writes a project and
/// a place before the publisher: `/v1beta1/projects/P/locations/L/publishers/google/models/NAME:METHOD`.
fn named(path: &str) -> Option<(&str, &str)> {
    let path = ["/gemini", "/vertex_ai"].into_iter().find_map(|start| path.strip_prefix(start)).unwrap_or(path);
    let versions = ["/v1beta", "/v1alpha", "/v1beta1", "/v1"];
    let path =
        versions.into_iter().find_map(|version| path.strip_prefix(version).filter(|rest| rest.starts_with('/')))?;
    let below = match path.strip_prefix("/projects/") {
        Some(path) => path.split_once('/')?.1.strip_prefix("locations/")?.split_once('/')?.1.strip_prefix(PUBLISHER),
        None => path.strip_prefix('/')?.strip_prefix(PUBLISHER),
    };
    let (name, method) = below.unwrap_or(path).strip_prefix("/models/")?.rsplit_once(':')?;
    (!name.is_empty()).then_some((name, method))
}

/// The model's name as it was configured.
fn model(uri: &Uri) -> String {
    let name = named(uri.path()).map(|(name, _)| name).unwrap_or_default();
    percent_decode_str(name).decode_utf8_lossy().into_owned()
}

fn is_sse(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"))
}

impl ClientApi for Gemini {
    fn name(&self) -> &'static str {
        super::DIALECT.as_str()
    }

    fn operation(&self, path: &str) -> Option<Operation> {
        Some(match named(path)?.1 {
            "generateContent" | "streamGenerateContent" => Operation::Chat,
            "embedContent" | "batchEmbedContents" => Operation::Embeddings,
            "countTokens" => Operation::Count,
            _ => return None,
        })
    }

    /// Its clients show their key in a header of their own, and ask below a version of its own.
    fn speaks_at(&self, path: &str, headers: &HeaderMap) -> bool {
        let own = ["/v1beta", "/v1alpha", "/gemini/", "/vertex_ai/"].into_iter().any(|start| path.starts_with(start));
        own || named(path).is_some()
            || headers.contains_key("x-goog-api-key")
            || headers.contains_key("x-goog-api-client")
    }

    fn id_header(&self) -> HeaderName {
        HeaderName::from_static("x-request-id")
    }

    fn model(&self, name: &str) -> Value {
        json!({
            "name": format!("models/{name}"), "version": "001", "displayName": name,
            "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"],
        })
    }

    fn models(&self, names: &[&str]) -> Value {
        json!({"models": names.iter().map(|name| ClientApi::model(self, name)).collect::<Vec<_>>()})
    }

    fn parse(&self, request: &ClientRequest) -> Result<ChatRequest, Refusal> {
        let method = named(request.uri.path()).map(|(_, method)| method).unwrap_or_default();
        let model = model(&request.uri);
        match method {
            "embedContent" | "batchEmbedContents" => inputs::read(&request.body, model, method == "embedContent"),
            _ => {
                let mut read = parse::request(&request.body, model)?;
                read.stream = method == "streamGenerateContent";
                if read.stream && !is_sse(&request.uri) {
                    read.echo.insert(ARRAY.to_owned(), true.into());
                }
                Ok(read)
            }
        }
    }

    /// What is counted may stand inside a whole request.
    fn countable(&self, request: &ClientRequest) -> Result<ChatRequest, Refusal> {
        parse::counted(&request.body, model(&request.uri))
    }

    fn counted(&self, tokens: u64) -> Value {
        json!({"totalTokens": tokens})
    }

    fn reply(&self, reply: &Reply) -> Bytes {
        reply::write(reply)
    }

    fn vectors(&self, request: &ChatRequest, vectors: &Vectors) -> Bytes {
        let one = |vector: &Vector| match vector {
            Vector::Numbers(numbers) => json!({"values": numbers}),
            Vector::Base64(_) => json!({"values": vector.to_numbers()}),
        };
        let mut out = BytesMut::new();
        {
            let mut object = Object::open(&mut out);
            if request.echo.contains_key(SINGLE) {
                object.optional("embedding", vectors.list.first().map(one));
            } else {
                let mut list = object.array("embeddings");
                vectors.list.iter().for_each(|vector| list.item(&one(vector)));
            }
        }
        out.freeze()
    }

    fn refusal(&self, refusal: &Refusal, _request_id: &str) -> Bytes {
        error(refusal).to_string().into()
    }

    fn stream_type(&self, uri: &Uri) -> &'static str {
        if is_sse(uri) { "text/event-stream; charset=utf-8" } else { "application/json" }
    }

    fn stream(&self, request: &ChatRequest) -> Box<dyn StreamEncoder> {
        Box::new(encoder::Encoder::new(request.echo.contains_key(ARRAY)))
    }
}

/// An error; clients pick their exception by the code.
fn error(refusal: &Refusal) -> Value {
    let status = match (refusal.kind, refusal.status) {
        (RefusalKind::RateLimited, _) => "RESOURCE_EXHAUSTED",
        (_, 400 | 413 | 415 | 422) => "INVALID_ARGUMENT",
        (_, 401) => "UNAUTHENTICATED",
        (_, 403) => "PERMISSION_DENIED",
        (_, 404 | 405) => "NOT_FOUND",
        (_, 408 | 504) => "DEADLINE_EXCEEDED",
        (_, 502 | 503) => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    let message = match &refusal.param {
        Some(param) if !refusal.message.contains(param.as_str()) => format!("`{param}`: {}", refusal.message),
        _ => refusal.message.clone(),
    };
    let reason = refusal.code.as_deref().unwrap_or(refusal.kind.as_str());
    let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "witgate"});
    json!({"error": {"code": refusal.status, "message": message, "status": status, "details": [info]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_model_and_a_method() {
        for (path, found) in [
            ("/v1beta/models/g:generateContent", Some(("g", "generateContent"))),
            ("/v1/models/a/b:streamGenerateContent", Some(("a/b", "streamGenerateContent"))),
            ("/gemini/v1beta/models/a:b:countTokens", Some(("a:b", "countTokens"))),
            ("/v1beta1/publishers/google/models/g:generateContent", Some(("g", "generateContent"))),
            ("/v1beta1/projects/p/locations/l/publishers/google/models/g:countTokens", Some(("g", "countTokens"))),
            ("/vertex_ai/v1/projects/p/locations/l/publishers/google/models/a/b:x", Some(("a/b", "x"))),
            ("/v1/projects/p/publishers/google/models/g:generateContent", None),
            ("/v1/publishers/meta/models/g:generateContent", None),
            ("/v1beta/models/g", None),
            ("/v1beta/models/:generateContent", None),
            ("/v1betamodels/g:generateContent", None),
            ("/models/g:generateContent", None),
        ] {
            assert_eq!(named(path), found, "{path}");
        }
    }
}
