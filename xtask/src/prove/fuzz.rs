//! `cargo xtask prove fuzz`: bytes that nobody would send, through everything that reads bytes of strangers. Inputs are made of the
//! fixtures, and of what earlier runs kept, by changing them. Nothing may panic, and nothing may take long.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderMap;
use witgate::format::{ClientRequest, NO_QUIRKS, Target, client_apis, provider_formats};
use witgate::{config, policy, reload, seed};

use self::corpus::Said;
use crate::bench::watch::{now, own_cpu};
use crate::say;

mod corpus;

/// Where inputs are kept.
const KEPT: &str = "tests/fixtures/fuzz";

/// The longest that one input may take, in CPU time: a dev build is slow, and the machine may be busy.
const SLOW: Duration = Duration::from_secs(2);
/// Inputs are cut to this many bytes.
const LONGEST: usize = 64 << 10;
/// Pieces that say much in few bytes.
const WORDS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b":",
    b",",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"\n\n",
    b"\r",
    b"data: ",
    b"event: ",
    b": ",
    b"[DONE]",
    b"&a ",
    b"*a",
    b"<<: ",
    b"\xff\xfe",
];

/// What is fed: its name, where its first inputs are, and who reads it.
type Reading = fn(&[u8], u64, &mut Said);
const TARGETS: [(&str, &[&str], Reading); 6] = [
    ("request bodies", &["tests/fixtures/dialect/requests", "tests/fixtures/dialect/bad"], request),
    ("replies and errors", &["tests/fixtures/dialect/replies", "tests/fixtures/dialect/errors"], reply),
    ("streams", &["tests/fixtures/dialect/streams"], stream),
    ("configurations", &["tests/fixtures/config", "examples"], configuration),
    ("locks", &["policies/policies.lock"], lock),
    ("components", &["tests/fixtures/policies", "policies"], component),
];

/// Feeds each reader, or the one that is named, for so long; with `keep`, inputs of which something new was said are kept for later runs.
pub(super) fn prove(root: &Path, each: Duration, parent: u64, keep: bool, only: Option<&str>) -> Result<(), String> {
    let names = || TARGETS.map(|(name, ..)| name).join(", ");
    if let Some(only) = only.filter(|only| TARGETS.iter().all(|(name, ..)| name != only)) {
        return Err(format!("`{only}` is none of {}", names()));
    }
    std::panic::set_hook(Box::new(|_| {}));
    let run = Run { root, each, parent, keep };
    let targets = TARGETS.iter().filter(|(name, ..)| only.is_none_or(|only| only == *name));
    let found = targets.map(|(name, corpus, read)| run.feed(name, corpus, *read));
    let broken: Vec<String> = found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

struct Run<'r> {
    root: &'r Path,
    each: Duration,
    parent: u64,
    keep: bool,
}

impl Run<'_> {
    /// `Some` says what broke, and where the input is kept.
    fn feed(&self, name: &str, corpus: &[&str], read: Reading) -> Result<Option<String>, String> {
        let folder = self.root.join(KEPT).join(name.replace(' ', "-"));
        let mut inputs = Vec::new();
        for path in corpus {
            gather(&self.root.join(path), &mut inputs);
        }
        if inputs.is_empty() {
            return Err(format!("{name}: no inputs to begin with"));
        }
        let given = inputs.len();
        gather(&folder, &mut inputs);
        let (mut known, mut heard, mut slowest) = (BTreeSet::new(), BTreeSet::new(), Duration::ZERO);
        for (number, input) in inputs.iter().enumerate() {
            let took = said_of(read, input);
            let Some((said, took)) = took.filter(|(_, took)| *took <= SLOW) else {
                return self.broken(name, &format!("kept-{number}"), input).map(Some);
            };
            slowest = slowest.max(took);
            if number < given {
                known.extend(&said.0);
            }
            heard.extend(said.0);
        }
        let (start, spent, mut count, begun) = (now(), own_cpu(), 0_u64, inputs.len());
        while start.elapsed() < self.each {
            count += 1;
            let mut draw = Draw { seed: seed::derive(self.parent, count), drawn: 0 };
            let input = mutated(&inputs, &mut draw);
            let Some((said, took)) = said_of(read, &input).filter(|(_, took)| *took <= SLOW) else {
                return self.broken(name, &count.to_string(), &input).map(Some);
            };
            slowest = slowest.max(took);
            if !said.0.is_subset(&heard) {
                heard.extend(said.0);
                inputs.push(input);
            }
        }
        let new = inputs.len() - begun;
        let (ran, spent) = (start.elapsed().as_secs(), own_cpu().saturating_sub(spent).as_secs());
        say(&format!(
            "{name}: {count} inputs in {ran} s ({spent} s of CPU time), the slowest {slowest:?}; of {new} something new was said"
        ));
        if self.keep {
            let said = |input: &[u8]| said_of(read, input).map(|(said, _)| said.0);
            let kept = corpus::keep(&folder, &known, &inputs[given..], &said)?;
            say(&format!("{name}: {kept} are kept in {}", folder.display()));
        }
        Ok(None)
    }

    /// Writes down an input that broke a reader, or took too long.
    fn broken(&self, name: &str, which: &str, input: &[u8]) -> Result<String, String> {
        let path = self.root.join("target").join(format!("fuzz-{}-{which}", name.replace(' ', "-")));
        fs::write(&path, input).map_err(|problem| format!("{}: {problem}", path.display()))?;
        let (seed, path) = (self.parent, path.display());
        Ok(format!("{name}: input {which} of seed {seed} panicked or took longer than {SLOW:?}; it is kept in {path}"))
    }
}

/// What a reader says of an input, and how long that takes; nothing where it panics.
fn said_of(read: Reading, input: &[u8]) -> Option<(Said, Duration)> {
    let (mut said, begin) = (Said::default(), own_cpu());
    // How it is cut is the input's own, so that it means the same in every run.
    let draw = seed::derive(input.len() as u64, 1);
    catch_unwind(AssertUnwindSafe(|| read(input, draw, &mut said))).ok()?;
    Some((said, own_cpu().saturating_sub(begin)))
}

fn gather(path: &Path, inputs: &mut Vec<Vec<u8>>) {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
        // Whatever order the system lists them in, a seed means the same inputs.
        entries.sort();
        for entry in &entries {
            gather(entry, inputs);
        }
    } else if let Ok(bytes) = fs::read(path) {
        inputs.push(bytes);
    }
}

struct Draw {
    seed: u64,
    drawn: u64,
}

impl Draw {
    fn next(&mut self) -> u64 {
        self.drawn += 1;
        seed::derive(self.seed, self.drawn)
    }

    /// Below `end`, or 0 where that is 0.
    fn below(&mut self, end: usize) -> usize {
        let drawn = usize::try_from(self.next() >> 1).unwrap_or_default();
        drawn.checked_rem(end).unwrap_or_default()
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let index = self.below(list.len());
        &list[index]
    }
}

/// One of the inputs, changed in a few places.
fn mutated(inputs: &[Vec<u8>], draw: &mut Draw) -> Vec<u8> {
    let mut bytes = draw.of(inputs).clone();
    for _ in 0..=draw.below(6) {
        let (at, length) = (draw.below(bytes.len() + 1), draw.below(32));
        let end = (at + length).min(bytes.len());
        match draw.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << draw.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, WORDS[draw.below(WORDS.len())].iter().copied())),
            3 => bytes.truncate(at),
            4 => {
                let piece = bytes[at..end].repeat(1 + draw.below(200));
                drop(bytes.splice(at..at, piece));
            }
            5 => {
                let other = draw.of(inputs);
                let from = draw.below(other.len());
                let to = (from + draw.below(400)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            _ => drop(bytes.splice(at..end, draw.next().to_string().into_bytes())),
        }
    }
    bytes.truncate(LONGEST.max(inputs.first().map_or(0, Vec::len)));
    bytes
}

/// Where requests of each API go: one may read its path, too.
const PATHS: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1/completions",
    "/v1/embeddings",
    "/v1beta/models/m:streamGenerateContent?alt=sse",
];

fn request(bytes: &[u8], _: u64, said: &mut Said) {
    for api in client_apis() {
        let own = PATHS.into_iter().find(|path| api.operation(path.split('?').next().unwrap_or(path)).is_some());
        let uri = own.unwrap_or(PATHS[0]).parse().unwrap_or_default();
        drop(api.several(bytes));
        match api.parse(&ClientRequest::post(uri, bytes.to_vec())) {
            Ok(request) => {
                let target = Target::plain("m", &NO_QUIRKS, 100);
                for format in provider_formats() {
                    for encoded in [format.encode(&request, &target), format.encode_vectors(&request, &target)] {
                        match encoded {
                            // Names may be the input's own; where they stand is not.
                            Ok(encoded) => encoded.dropped.iter().for_each(|name| {
                                let depth = name.matches(['.', '[']).count().min(6);
                                said.by(format.name(), &"deeper".repeat(1 + depth));
                            }),
                            Err(fault) => said.by(format.name(), &fault.message),
                        }
                    }
                }
            }
            Err(refusal) => {
                said.by(api.name(), &refusal.message);
                drop(api.refusal(&refusal, "id"));
            }
        }
    }
}

fn reply(bytes: &[u8], draw: u64, said: &mut Said) {
    for format in provider_formats() {
        match format.decode(bytes) {
            Ok(reply) => {
                for api in client_apis() {
                    drop(api.reply(&reply));
                }
                for choice in &reply.choices {
                    said.by(format.name(), &format!("{:?}", choice.finish));
                    choice.parts.iter().for_each(|part| said.by(format.name(), &kind(&part.kind)));
                }
            }
            Err(fault) => said.fault(format.name(), &fault),
        }
        match format.decode_vectors(bytes) {
            Ok(vectors) => said.by(format.name(), if vectors.usage.is_some() { "counted vectors" } else { "vectors" }),
            Err(fault) => said.fault(format.name(), &fault),
        }
        let status = 400 + u16::try_from(draw % 200).unwrap_or_default();
        said.fault(format.name(), &format.decode_error(status, &HeaderMap::default(), bytes));
    }
}

/// The name of something's kind: what stands before its content.
fn kind(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(['(', '{']).next().unwrap_or_default().to_owned()
}

fn stream(bytes: &[u8], draw: u64, said: &mut Said) {
    let body = br#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    for api in client_apis() {
        let uri = "/v1/chat/completions".parse().unwrap_or_default();
        let Ok(request) = api.parse(&ClientRequest::post(uri, body.to_vec())) else { continue };
        for format in provider_formats() {
            let (mut decoder, mut encoder) = (format.stream(), api.stream(&request));
            let (mut chunks, mut out) = (Vec::new(), BytesMut::new());
            let cut = 1 + usize::try_from(draw % 97).unwrap_or_default();
            let read = bytes.chunks(cut).try_for_each(|piece| decoder.push(piece, &mut chunks));
            if let Err(fault) = read.and_then(|()| decoder.finish(&mut chunks)) {
                said.fault(format.name(), &fault);
            }
            for chunk in &chunks {
                said.by(format.name(), &kind(&chunk.delta));
                encoder.chunk(chunk, &mut out);
            }
            encoder.end(&mut out);
        }
    }
}

fn configuration(bytes: &[u8], _: u64, said: &mut Said) {
    let text = String::from_utf8_lossy(bytes);
    let environment = |name: &str| name.len().is_multiple_of(2).then(|| "value".to_owned());
    match config::parse(&text, "fuzz.yaml", &environment) {
        Ok(loaded) => loaded.left_out.iter().for_each(|problem| said.by("left out", &problem.to_string())),
        Err(problems) => problems.iter().for_each(|problem| said.by("problem", &problem.to_string())),
    }
}

fn lock(bytes: &[u8], _: u64, said: &mut Said) {
    if let Err(problem) = reload::PoliciesLock::parse(&String::from_utf8_lossy(bytes), "policies.lock") {
        said.by("lock", &problem);
    }
}

fn component(bytes: &[u8], draw: u64, said: &mut Said) {
    match policy::inspect(bytes, draw.is_multiple_of(2)) {
        Ok(_) => said.by("component", "sound"),
        Err(problem) => said.by("component", &problem.to_string()),
    }
}
