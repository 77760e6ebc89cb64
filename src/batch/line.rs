//! One line: a request by its path and body, read by the API that serves the path.

use std::borrow::Cow;

use bytes::Bytes;
use http::Uri;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::Refusal;
use crate::format::{ClientApi, ClientRequest, Operation, operation_at};

/// What is wrong with a line, or with all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its number in the file, from 1; `None` where it is about the file.
    pub line: Option<u64>,
    /// A stable name.
    pub code: String,
    /// In words.
    pub message: String,
    /// The field to blame.
    pub param: Option<String>,
}

impl Problem {
    pub(super) fn new(code: &str, message: impl Into<String>, param: Option<&str>) -> Self {
        Self { line: None, code: code.to_owned(), message: message.into(), param: param.map(str::to_owned) }
    }

    fn of(code: &str, refusal: Refusal) -> Self {
        let code = refusal.code.unwrap_or_else(|| code.to_owned());
        let param = Some(refusal.param.map_or_else(|| "body".to_owned(), |param| format!("body.{param}")));
        Self { line: None, code, message: refusal.message, param }
    }
}

/// A line as it is written.
#[derive(Deserialize)]
struct Written<'l> {
    #[serde(borrow)]
    custom_id: Cow<'l, str>,
    #[serde(borrow)]
    method: Cow<'l, str>,
    #[serde(borrow)]
    url: Cow<'l, str>,
    #[serde(borrow)]
    body: &'l RawValue,
}

/// A line that can be sent.
pub(super) struct Line {
    /// Its own name.
    pub(super) custom_id: String,
    /// Where it is asked.
    pub(super) uri: Uri,
    /// The API that is spoken there.
    pub(super) api: &'static dyn ClientApi,
    /// What is asked.
    pub(super) body: Bytes,
}

/// Bytes of a name that are repeated, and that a name may have.
const NAME_BYTES: usize = 512;

impl Line {
    /// Reads one. `endpoint`: the path that all of them must have, where there is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(text: &[u8], endpoint: Option<&str>) -> Result<Self, Problem> {
        let written: Written<'_> = serde_json::from_slice(text).map_err(|fault| {
            // It stands in a file of lines: the column is what is left to say.
            let told = fault.to_string();
            let words = told.rsplit_once(" at line ").map_or(told.as_str(), |(words, _)| words);
            let message = format!(
                "column {}: {words}; a line is {{\"custom_id\", \"method\", \"url\", \"body\"}}",
                fault.column()
            );
            Problem::new("invalid_json_line", message, None)
        })?;
        let Written { custom_id, method, url, body } = written;
        if custom_id.is_empty() || custom_id.len() > NAME_BYTES {
            let message = format!("a `custom_id` has 1 to {NAME_BYTES} bytes");
            return Err(Problem::new("invalid_custom_id", message, Some("custom_id")));
        }
        if method != "POST" {
            return Err(Problem::new("invalid_method", "the `method` of a line is `POST`", Some("method")));
        }
        let shown = &url[..url.floor_char_boundary(100)];
        if endpoint.is_some_and(|endpoint| endpoint != url) {
            let message = format!("`{shown}` is not the endpoint of the batch");
            return Err(Problem::new("mismatched_url", message, Some("url")));
        }
        let Some(api) = served_at(&url) else {
            let message = format!(
                "nothing is served at `{shown}`; try /v1/chat/completions, /v1/embeddings, /v1/responses or /v1/completions"
            );
            return Err(Problem::new("invalid_url", message, Some("url")));
        };
        let uri = url.parse::<Uri>().map_err(|_| Problem::new("invalid_url", "this is no path", Some("url")))?;
        let body = Bytes::copy_from_slice(body.get().as_bytes());
        Ok(Self { custom_id: custom_id.into_owned(), uri, api, body })
    }

    /// The request.
    pub(super) fn request(&self, body: &Bytes) -> ClientRequest {
        ClientRequest::post(self.uri.clone(), body.clone())
    }

    /// Reads what it asks, as the pipeline will; the model it asks.
    ///
    /// # Errors
    /// What would be refused whenever it is sent.
    pub(super) fn model(&self) -> Result<String, Problem> {
        let wrong = |refusal| Problem::of("invalid_request", refusal);
        let remembered = self.api.remembered(&self.body);
        if remembered.is_some_and(|remembered| remembered.previous.is_some() || !remembered.named.is_empty()) {
            let message = "a line of a batch cannot go on from a reply that is kept; send the whole conversation";
            return Err(Problem::new("invalid_request", message, Some("body.previous_response_id")));
        }
        let several = self.api.several(&self.body).map_err(wrong)?;
        let bodies = several.map_or_else(|| vec![self.body.clone()], |several| several.bodies);
        let mut model = None;
        for body in &bodies {
            let parsed = self.api.parse(&self.request(body)).map_err(wrong)?;
            if parsed.stream {
                let message = "the replies of a batch are whole; leave `stream` out";
                return Err(Problem::new("invalid_request", message, Some("body.stream")));
            }
            model = Some(parsed.model);
        }
        model.ok_or_else(|| Problem::new("invalid_request", "nothing is asked", Some("body")))
    }
}

/// The API that serves replies at this path.
pub(super) fn served_at(url: &str) -> Option<&'static dyn ClientApi> {
    let path = url.split('?').next().unwrap_or_default();
    let (api, operation) = operation_at(path)?;
    matches!(operation, Operation::Chat | Operation::Embeddings).then_some(api)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> (String, Option<String>) {
        let read = Line::read(text.as_bytes(), Some("/v1/chat/completions"));
        let problem = read.and_then(|line| line.model()).expect_err(text);
        (problem.code, problem.param)
    }

    #[test]
    fn each_mistake_of_a_line_has_its_name_and_its_field() {
        let line = |url: &str, body: &str| {
            format!(r#"{{"custom_id": "a", "method": "POST", "url": "{url}", "body": {body}}}"#)
        };
        let chat = "/v1/chat/completions";
        let told = |code: &str, param: Option<&str>| (code.to_owned(), param.map(str::to_owned));
        assert_eq!(problem("{"), told("invalid_json_line", None));
        assert_eq!(problem(r#"{"custom_id": "a", "method": "POST"}"#), told("invalid_json_line", None));
        assert_eq!(
            problem(r#"{"custom_id": "", "method": "POST", "url": "/", "body": 1}"#),
            told("invalid_custom_id", Some("custom_id"))
        );
        assert_eq!(
            problem(r#"{"custom_id": "a", "method": "GET", "url": "/", "body": 1}"#),
            told("invalid_method", Some("method"))
        );
        assert_eq!(problem(&line("/v1/embeddings", "{}")), told("mismatched_url", Some("url")));
        assert_eq!(problem(&line(chat, "7")).0, "invalid_request");
        let streamed = r#"{"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}]}"#;
        assert_eq!(problem(&line(chat, streamed)), told("invalid_request", Some("body.stream")));
        let read = Line::read(line("/v1/images", "{}").as_bytes(), None).err().expect("no such path");
        assert_eq!(read.code, "invalid_url");
    }
}
