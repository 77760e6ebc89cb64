//! The same pipeline on the paused clock: no socket, no file, one thread.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::Uri;
use serde_json::Value;
use witgate::clock::Clock;
use witgate::fault::{Refusal, RefusalKind};
use witgate::format::{ClientApi, ClientRequest};
use witgate::http::HttpUpstream;
use witgate::id::PolicyName;
use witgate::moment::Moment;
use witgate::pipeline::{BlockingPool, Gateway, ReplyMeta, Served};
use witgate::reload::{ConfigSource, PolicySource, Sources};
use witgate::start::{Assembled, assemble};
use witgate::upstream::Upstream;

use super::options;

/// When virtual time begins.
pub(crate) const BEGIN: Moment = Moment::from_millis(1_800_000_000_000);

/// A gateway over `config` whose HTTP providers are `http`.
pub(crate) fn assemble_over(config: &str, http: Arc<dyn Upstream>) -> Arc<Gateway> {
    assemble_all(config, &[], http, BlockingPool::in_place())
}

/// The same, and long work is done on other threads: what nobody waits for is not done before somebody waits for something.
pub(crate) fn assemble_beside_threads(config: &str, http: Arc<dyn Upstream>) -> Arc<Gateway> {
    assemble_all(config, &[], http, BlockingPool::on_threads(NonZeroUsize::MIN))
}

/// A gateway over `config`, which names no provider on the network, and these components.
pub(crate) fn assembled_with(config: &str, policies: &[(&str, &Path)]) -> Arc<Gateway> {
    assemble_all(config, policies, Arc::new(HttpUpstream::new()), BlockingPool::in_place())
}

fn assemble_all(
    config: &str,
    policies: &[(&str, &Path)],
    http: Arc<dyn Upstream>,
    blocking: BlockingPool,
) -> Arc<Gateway> {
    let policy = |(name, file): &(&str, &Path)| (PolicyName::from(*name), std::fs::read(file).expect("a component"));
    let policies = PolicySource::Memory(Arc::new(policies.iter().map(policy).collect()));
    let config = ConfigSource::Text(config.into());
    let options = options(Sources { config, policies, ..Sources::default() }, Clock::starting_at(BEGIN));
    let Assembled { gateway, .. } =
        assemble(options, http, blocking).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    gateway
}

/// A gateway over `config`, which names no provider on the network.
pub(crate) fn assembled(config: &str) -> Arc<Gateway> {
    assemble_over(config, Arc::new(HttpUpstream::new()))
}

/// A request with this body. The API reads the body alone.
pub(crate) fn chat(body: &Value) -> ClientRequest {
    ClientRequest::post(Uri::from_static("/v1/chat/completions"), body.to_string())
}

/// One request to its very end.
pub(crate) async fn ask(
    gateway: &Arc<Gateway>,
    api: &'static dyn ClientApi,
    body: &Value,
) -> Result<(ReplyMeta, Bytes), Refusal> {
    let guard = gateway.arrive(api);
    match gateway.serve(guard, Box::new(chat(body))).await? {
        Served::Whole { body, meta } => Ok((meta, body)),
        Served::Large { body, meta, .. } => {
            let pieces: Vec<Bytes> = body.map(|piece| piece.expect("infallible")).collect().await;
            Ok((meta, pieces.concat().into()))
        }
        // What became of it stands in the stream; who replied is told nowhere.
        Served::Late { stream } => {
            let pieces: Vec<Bytes> = stream.map(|piece| piece.unwrap_or_else(|never| match never {})).collect().await;
            let told = String::from_utf8_lossy(&pieces.concat()).into_owned();
            Err(Refusal::new(RefusalKind::TimedOut, told))
        }
        Served::Streamed { stream, meta } => {
            let pieces: Vec<Bytes> = stream.map(|piece| piece.unwrap_or_else(|never| match never {})).collect().await;
            Ok((meta, pieces.concat().into()))
        }
    }
}
