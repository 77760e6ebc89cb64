//! Both dialects together: every fixture through every client API and every provider.
//!
//! Fixtures are in `tests/fixtures/dialect`, written in the shapes of the providers' own client types. A
//! snapshot that changes is a change on the wire: read it before you accept it.

use std::path::PathBuf;

use bytes::BytesMut;
use serde_json::Value;

use super::{ClientApi, ClientRequest, FAMILIES, ProviderFormat, client_apis};
use crate::chat::{ChatRequest, Chunk, Dialect, Message, Part, Role};
use crate::fault::{AttemptFault, Refusal};

mod arbitrary;
mod details;
mod documents;
mod golden;
mod imitators;
mod logprobs;
mod round_trip;
mod streams;
mod taken;
mod thinking;
mod throwaway;
mod turns;

/// What clients and providers speak alike, and streams as lines.
const DIALECTS: [&str; 2] = ["openai", "anthropic"];

/// The folders of fixtures of one kind: their names are those of client APIs (`requests`) and of providers' formats (`replies`, `streams`,
/// `errors`).
fn folders(kind: &str) -> Vec<&'static str> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dialect").join(kind);
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<&'static str> =
        entries.map(|name| &*String::leak(name.to_string_lossy().into_owned())).collect();
    names.sort_unstable();
    names
}

/// All that clients speak in which there are replies.
fn clients() -> impl Iterator<Item = &'static str> {
    client_apis().filter(|api| api.operation("/v1/embeddings").is_none()).map(ClientApi::name)
}

/// A format is in the golden matrix by its fixtures: no family is without.
#[test]
fn every_family_has_fixtures() {
    let requests = folders("requests");
    for family in &FAMILIES {
        let spoken = |kind: &str| {
            let folders = folders(kind);
            family.providers.iter().any(|format| folders.contains(&format.name()))
        };
        let told = || family.providers.iter().map(|format| format.name()).collect::<Vec<_>>();
        assert!(["replies", "streams", "errors"].into_iter().all(spoken), "{:?} has no fixtures", told());
        let asked = family.clients.iter().any(|api| requests.contains(&api.name()));
        assert!(asked || family.clients.is_empty(), "{:?}: no requests of its clients", told());
    }
}

fn api(name: &str) -> &'static dyn ClientApi {
    client_apis().find(|api| api.name() == name).unwrap()
}

fn provider(name: &str) -> &'static dyn ProviderFormat {
    super::provider_format(name).unwrap()
}

fn parse(name: &str, body: &[u8]) -> Result<ChatRequest, Refusal> {
    // One of them keeps the model in the path.
    let path = if name == "gemini" { "/v1beta/models/chat:generateContent" } else { "/" };
    api(name).parse(&ClientRequest::post(path.parse().unwrap(), body.to_vec()))
}

/// The fixtures of one folder, by name, in order.
fn fixtures(folder: &str) -> Vec<(String, Vec<u8>)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dialect").join(folder);
    let mut found: Vec<_> = std::fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(&path).unwrap())
        })
        .collect();
    found.sort();
    assert!(found.len() >= 5, "{folder}: the fixtures are gone");
    found
}

/// A request with one message, for the writers of streams.
fn request(dialect: &'static str) -> ChatRequest {
    let message =
        Message { role: Role::User, parts: vec![Part::text("Hi")], name: None, rest: crate::chat::Rest::new() };
    let bare = ChatRequest::bare("chat".to_owned(), vec![message], Dialect::named(dialect));
    ChatRequest { stream: true, stream_usage: true, ..bare }
}

/// What a provider's stream says.
#[derive(Debug, PartialEq)]
struct Read {
    chunks: Vec<Chunk>,
    fault: Option<AttemptFault>,
    is_complete: bool,
}

/// Reads a stream that arrives in `pieces`.
fn read_stream<'a>(dialect: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut decoder = provider(dialect).stream();
    let mut chunks = Vec::new();
    let mut fault = None;
    for piece in pieces {
        // What went wrong once stays wrong: the pipeline reads no further.
        fault = fault.or_else(|| decoder.push(piece, &mut chunks).err());
    }
    fault = fault.or_else(|| decoder.finish(&mut chunks).err());
    Read { chunks, fault, is_complete: decoder.is_complete() }
}

/// What a client of `dialect` is sent for what was read: the pipeline's part, in small.
fn write_stream(dialect: &'static str, read: &Read) -> String {
    let mut encoder = api(dialect).stream(&request(dialect));
    let mut out = BytesMut::new();
    for chunk in &read.chunks {
        encoder.chunk(chunk, &mut out);
    }
    let fault = match &read.fault {
        Some(fault) => Some(fault.clone()),
        None if read.is_complete => None,
        None => Some(AttemptFault::new(crate::fault::FaultKind::BrokenStream, "the reply ended early")),
    };
    match fault {
        Some(fault) => encoder.error(&fault.into(), "req-1", &mut out),
        None => encoder.end(&mut out),
    }
    String::from_utf8(out.to_vec()).unwrap()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

/// Every fixture's shape has a source that is named.
#[test]
fn every_fixture_has_a_source() {
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dialect");
    let said = std::fs::read_to_string(base.join("SOURCES.md")).unwrap();
    let sections: Vec<(&str, &str)> =
        said.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect();
    let mut files = 0;
    for group in ["bad", "errors", "replies", "requests", "streams", "vectors"] {
        for entry in std::fs::read_dir(base.join(group)).unwrap().map(|entry| entry.unwrap().path()) {
            let folder = entry.strip_prefix(&base).unwrap().to_string_lossy().into_owned();
            let (folder, paths) = if entry.is_dir() {
                (folder, std::fs::read_dir(&entry).unwrap().map(|file| file.unwrap().path()).collect())
            } else {
                (group.to_owned(), vec![entry])
            };
            let (_, rows) = sections.iter().find(|(name, _)| *name == folder).unwrap_or_else(|| panic!("{folder}"));
            for path in paths {
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                assert!(rows.contains(&format!("`{name}`")), "{folder}/{name} has no source in SOURCES.md");
                files += 1;
            }
        }
    }
    assert!(files > 100, "{files}");
}
