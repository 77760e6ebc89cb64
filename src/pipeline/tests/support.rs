//! A gateway from a configuration's text, on the runtime's paused time, for the tests of stages.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Method, Uri};

use super::super::{BlockingPool, Gateway, Recorder};
use crate::chat::ChatRequest;
use crate::clock::Clock;
use crate::format::{ClientApi, ClientRequest, OpenAi};
use crate::http::HttpUpstream;
use crate::moment::Moment;
use crate::policy::EngineOptions;
use crate::record::Record;
use crate::reload::{ConfigSource, PolicySource, Sources};
use crate::start::{self, Assembled, Options};
use crate::telemetry::DroppedLines;
use crate::upstream::Upstream;

/// Its clock shows 1000 s at the start.
pub(in crate::pipeline) fn gateway(config: &str) -> Arc<Gateway> {
    gateway_over(config, Arc::new(HttpUpstream::new()))
}

/// The same, its providers behind `upstream`.
pub(in crate::pipeline) fn gateway_over(config: &str, upstream: Arc<dyn Upstream>) -> Arc<Gateway> {
    let sources = Sources {
        config: ConfigSource::Text(config.into()),
        policies: PolicySource::Memory(Arc::default()),
        ..Sources::default()
    };
    let options = Options {
        sources,
        engine: EngineOptions::default(),
        environment: Arc::new(|_| None),
        clock: Clock::starting_at(Moment::from_nanos(1_000_000_000_000)),
        seed: 1,
        dropped_lines: DroppedLines::default(),
    };
    let pool = BlockingPool::on_threads(NonZeroUsize::MIN);
    let Assembled { gateway, .. } = start::assemble(options, upstream, pool).unwrap();
    gateway
}

/// A request in OpenAI's words.
pub(in crate::pipeline) fn request(body: &str) -> ChatRequest {
    let (headers, body) = (HeaderMap::new(), body.as_bytes().to_vec().into());
    let request = ClientRequest::new(Method::POST, Uri::from_static("/v1/chat/completions"), headers, body);
    OpenAi.parse(&request).unwrap()
}

/// Keeps every record.
struct Kept(Arc<Mutex<Vec<Record>>>);

impl Recorder for Kept {
    fn begun(&self) {}

    fn ended(&self, record: &Record) {
        self.0.lock().unwrap().push(record.clone());
    }
}

/// The same gateway, its records in a list.
pub(in crate::pipeline) fn record_into(gateway: Arc<Gateway>) -> (Arc<Gateway>, Arc<Mutex<Vec<Record>>>) {
    let records = Arc::default();
    let mut gateway = Arc::into_inner(gateway).unwrap();
    gateway.recorder = Arc::new(Kept(Arc::clone(&records)));
    (Arc::new(gateway), records)
}
