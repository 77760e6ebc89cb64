//! A provider that is nobody's: replies in JSON lines, fields of its own, a key in a header of its own. It goes through the
//! same contracts as the others and touches nothing of theirs.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{DIALECTS, Read, fixtures, json, parse, write_stream};
use crate::chat::{
    ChatRequest, Choice, Chunk, Delta, Dialect, FinishReason, Message, Part, PartKind, Reply, Rest, Usage,
};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::{Encoded, ProviderFormat, StreamDecoder, Target};

const DIALECT: Dialect = Dialect::named("lines");

/// The provider.
struct Lines;

/// Its stream: one JSON object a line.
#[derive(Default)]
struct LineDecoder {
    rest: Vec<u8>,
    complete: bool,
}

fn broken(what: &str) -> AttemptFault {
    AttemptFault::new(FaultKind::BrokenStream, what)
}

fn text(message: &Message) -> String {
    let said = message.parts.iter().filter_map(|part| match &part.kind {
        PartKind::Text(text) => Some(text.as_str()),
        _ => None,
    });
    said.collect()
}

impl ProviderFormat for Lines {
    fn name(&self) -> &'static str {
        DIALECT.as_str()
    }

    fn path_endings(&self) -> &'static [&'static str] {
        &["/say"]
    }

    fn organization_header(&self) -> Option<HeaderName> {
        None
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        let lines: Vec<String> = request.messages.iter().map(text).collect();
        let body = json!({"engine": target.model, "lines": lines, "limit": target.default_max_tokens});
        let dropped = if request.tools.is_empty() { Vec::new() } else { vec!["tools".to_owned()] };
        Ok(Encoded {
            path: "/say".to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_string()),
            dropped,
            lost: Vec::new(),
        })
    }

    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault> {
        let value: Value = serde_json::from_slice(body).map_err(|_| broken("no JSON"))?;
        let said = value["said"].as_str().ok_or_else(|| broken("nothing said"))?;
        let choice = Choice {
            index: 0,
            parts: vec![Part::text(said)],
            finish: Some(FinishReason::Stop),
            rest: Rest::new(),
            message_rest: Rest::new(),
            logprobs: Vec::new(),
        };
        let usage = Usage { output_tokens: value["cost"].as_u64().unwrap_or(0), ..Usage::default() };
        Ok(Reply {
            id: "line-1".to_owned(),
            model: "engine".to_owned(),
            created: Some(0),
            choices: vec![choice],
            usage: Some(usage),
            dialect: DIALECT,
            rest: Rest::new(),
        })
    }

    fn decode_error(&self, status: u16, _headers: &HeaderMap, body: &[u8]) -> AttemptFault {
        let kind = if status == 429 { FaultKind::RateLimited } else { FaultKind::Unavailable };
        let fault = AttemptFault::new(kind, String::from_utf8_lossy(body).into_owned());
        AttemptFault { status: Some(status), ..fault }
    }

    fn stream(&self) -> Box<dyn StreamDecoder> {
        Box::<LineDecoder>::default()
    }

    fn credential_header(&self, key: &SecretString, _version: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
        Some((HeaderName::from_static("x-line-key"), HeaderValue::from_str(key.expose_secret()).ok()?))
    }
}

impl StreamDecoder for LineDecoder {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let value: Value = serde_json::from_slice(&line).map_err(|_| broken("no JSON line"))?;
            if let Some(id) = value["begin"].as_str() {
                let (id, model) = (id.to_owned(), "engine".to_owned());
                out.push(Chunk::of(Delta::Start { id, model, created: Some(0), dialect: DIALECT }));
            } else if let Some(word) = value["word"].as_str() {
                out.push(Chunk::of(Delta::Text(word.to_owned())));
            } else {
                out.push(Chunk::of(Delta::Finish(FinishReason::Stop)));
                self.complete = true;
            }
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}

const STREAM: &[u8] = b"{\"begin\": \"line-1\"}\n{\"word\": \"Hel\"}\n{\"word\": \"lo\"}\n{\"end\": true}\n";

fn read(pieces: &[&[u8]]) -> Read {
    let (mut decoder, mut chunks) = (Lines.stream(), Vec::new());
    for piece in pieces {
        decoder.push(piece, &mut chunks).unwrap();
    }
    Read { chunks, fault: decoder.finish(&mut Vec::new()).err(), is_complete: decoder.is_complete() }
}

#[test]
fn every_request_can_be_written_for_it() {
    for from in DIALECTS {
        for (name, body) in fixtures(&format!("requests/{from}")) {
            let request = parse(from, &body).unwrap();
            let target = Target::plain("engine", &crate::format::NO_QUIRKS, 5);
            let encoded = Lines.encode(&request, &target).unwrap();
            assert_eq!(json(&encoded.body)["lines"].as_array().unwrap().len(), request.messages.len(), "{name}");
        }
    }
}

#[test]
fn its_replies_and_streams_are_read_by_every_client() {
    let reply = Lines.decode(br#"{"said": "Hello", "cost": 2}"#).unwrap();
    for to in DIALECTS {
        assert!(super::api(to).reply(&reply).windows(5).any(|word| word == b"Hello"), "{to}");
        let whole = write_stream(to, &read(&[STREAM]));
        assert!(whole.contains("Hel") && whole.contains("\"lo\""), "{to}: {whole}");
        for cut in 0..STREAM.len() {
            assert_eq!(write_stream(to, &read(&[&STREAM[..cut], &STREAM[cut..]])), whole, "{to}, cut at {cut}");
        }
    }
}
