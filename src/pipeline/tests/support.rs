//! A gateway from a configuration's text, on the runtime's paused time, for the tests of stages.

use std::num::NonZeroUsize;
use std::sync::Arc;

use http::{HeaderMap, Method, Uri};

use super::super::{BlockingPool, Gateway};
use crate::chat::ChatRequest;
use crate::clock::Clock;
use crate::format::{ClientApi, ClientRequest, OpenAi};
use crate::http::HttpUpstream;
use crate::moment::Moment;
use crate::policy::EngineOptions;
use crate::reload::{ConfigSource, PolicySource, Sources};
use crate::start::{self, Assembled, Options};
use crate::telemetry::DroppedLines;

/// Its clock shows 1000 s at the start.
pub(in crate::pipeline) fn gateway(config: &str) -> Arc<Gateway> {
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
    let Assembled { gateway, .. } = start::assemble(options, Arc::new(HttpUpstream::new()), pool).unwrap();
    gateway
}

/// A request in OpenAI's words.
pub(in crate::pipeline) fn request(body: &str) -> ChatRequest {
    let (headers, body) = (HeaderMap::new(), body.as_bytes().to_vec().into());
    let request = ClientRequest::new(Method::POST, Uri::from_static("/v1/chat/completions"), headers, body);
    OpenAi.parse(&request).unwrap()
}
