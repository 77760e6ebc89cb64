//! Clients that leave with all of the reply: it was whole.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};

use super::support::{gateway, gateway_over, record_into};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::{ClientRequest, OpenAi};
use crate::pipeline::{AT_ONCE, ReplyStream, Served};
use crate::record::Record;
use crate::upstream::{Body, Upstream, UpstreamRequest, UpstreamResponse};

const STREAM: &str = concat!(
    r#"data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#,
    "\n\n",
    r#"data: {"id":"1","model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#,
    "\n\ndata: [DONE]\n\n",
);

/// Says all of a stream, and does not end its body.
struct Lingers;

impl Upstream for Lingers {
    fn send(&self, _call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        let whole = futures_util::stream::iter([Ok::<_, AttemptFault>(Bytes::from_static(STREAM.as_bytes()))]);
        let body: Body = Box::pin(whole.chain(futures_util::stream::pending()));
        Box::pin(std::future::ready(Ok(UpstreamResponse { status: StatusCode::OK, headers: HeaderMap::new(), body })))
    }
}

/// How the only request ended, once it is recorded.
async fn ending(records: &Mutex<Vec<Record>>) -> (u16, &'static str, Option<FaultKind>) {
    while records.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let records = records.lock().unwrap();
    let [record] = &**records else { panic!("{} records", records.len()) };
    (record.status, record.ending.as_str(), record.attempts.first().and_then(|attempt| attempt.fault))
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_its_client_leaves_at_the_end_is_whole() {
    let config =
        "model_list: [{model_name: g, litellm_params: {model: openai/m, api_base: 'http://x/v1', api_key: k}}]";
    let (gateway, records) = record_into(gateway_over(config, Arc::new(Lingers)));
    let body = r#"{"model": "g", "stream": true, "messages": [{"role": "user", "content": "hello"}]}"#;
    let request = ClientRequest::post("/v1/chat/completions".parse().unwrap(), body);
    let Ok(Served::Streamed { mut stream, .. }) =
        Box::pin(gateway.serve(gateway.arrive(&OpenAi), Box::new(request))).await
    else {
        panic!("it streams")
    };
    let mut said = String::new();
    while !said.contains("[DONE]") {
        said.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    drop(stream);
    assert_eq!(ending(&records).await, (200, "whole", None));
    let health = gateway.live.read().group("g").unwrap().deployments[0].health.report(gateway.clock.now());
    assert!(health.failure_rate.abs() < f32::EPSILON, "it counts as a success");
}

/// Whoever reads so many bytes as it was told asks for no more: HTTP/1 does not.
#[tokio::test(start_paused = true)]
async fn a_large_whole_reply_of_which_all_was_taken_is_whole() {
    let config = "model_list: [{model_name: g, litellm_params: {model: simulated/a}}]";
    let (gateway, records) = record_into(gateway(config));
    let length = 3 * AT_ONCE / 2;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut reply = ReplyStream::of_whole(vec![b'x'; length].into(), gateway.arrive(&OpenAi), deadline);
    let mut taken = 0;
    while taken < length {
        taken += reply.next().await.unwrap().unwrap().len();
    }
    drop(reply);
    assert_eq!(ending(&records).await, (200, "whole", None));
}
