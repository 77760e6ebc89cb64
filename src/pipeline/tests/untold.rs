//! What is billed where a provider tells no tokens.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::support::{gateway_over, record_into};
use crate::fault::{AttemptFault, FaultKind, Refusal};
use crate::format::{ClientRequest, spoken_at};
use crate::limits::Dimension;
use crate::money::NanoUsd;
use crate::pipeline::{Gateway, ReplyStream, Served};
use crate::record::Record;
use crate::tokens::COUNTED;
use crate::upstream::{Body, Upstream, UpstreamRequest, UpstreamResponse};

const REPLY: &str = r#"{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#;

const BEGINNING: &str = "data: {\"id\":\"1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}]}\n\n";

const END: &str = "data: {\"id\":\"1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

const VECTORS: &str =
    r#"{"object":"list","model":"m","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"embeddings":[[0.5]]}"#;

/// 396 words, which are 515 tokens of a model that nobody knows, and 1980 bytes.
const TEXT: &str = "The quick brown fox jumps over the lazy dog. ";
const TIMES: usize = 44;
const TOKENS: u64 = 515;
/// What stands around a conversation of one message: 3 for it, 3 for the reply's beginning, 2 for its role.
const AROUND: u64 = 8;

/// Tells no tokens, but in the head of what the host `counts` answers. `resets` breaks off before it answers, and `hangs` sends no more than the
/// beginning of a stream.
struct Untold;

impl Upstream for Untold {
    fn send(&self, call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        let host = call.url.strip_prefix("http://").and_then(|rest| rest.split(['/', '-']).next()).unwrap().to_owned();
        if host == "resets" {
            let reset = AttemptFault::new(FaultKind::Unavailable, "connection reset");
            return Box::pin(std::future::ready(Err(reset)));
        }
        let asked: Value = serde_json::from_slice(&call.body).unwrap();
        let pieces = match (asked.get("messages").is_some(), asked["stream"] == true) {
            (false, _) => vec![VECTORS],
            (true, false) => vec![REPLY],
            (true, true) if host == "hangs" => vec![BEGINNING],
            (true, true) => vec![BEGINNING, END],
        };
        let pieces = pieces.into_iter().map(|piece: &'static str| Ok::<_, AttemptFault>(Bytes::from(piece)));
        let pieces = futures_util::stream::iter(pieces);
        let body: Body =
            if host == "hangs" { Box::pin(pieces.chain(futures_util::stream::pending())) } else { Box::pin(pieces) };
        let mut headers = HeaderMap::new();
        if host == "counts" {
            headers.insert("x-amzn-bedrock-input-token-count", "7".parse().unwrap());
        }
        Box::pin(std::future::ready(Ok(UpstreamResponse { status: StatusCode::OK, headers, body })))
    }
}

struct Scene {
    gateway: Arc<Gateway>,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Scene {
    /// A group of this model, with a deployment at each of the hosts.
    fn of(model: &str, hosts: &[&str]) -> Self {
        let entry = |host: &&str| {
            format!(
                "- {{model_name: g, litellm_params: {{model: {model}, api_base: 'http://{host}/v1', api_key: k-{host}, input_cost_per_token: 0.001, output_cost_per_token: 0.002}}, model_info: {{id: {host}}}}}\n"
            )
        };
        let list: String = hosts.iter().map(entry).collect();
        let config = format!("model_list:\n{list}router_settings: {{num_retries: 1}}");
        let (gateway, records) = record_into(gateway_over(&config, Arc::new(Untold)));
        Self { gateway, records }
    }

    async fn ask(&self, path: &str, body: &Value) -> Result<Served, Refusal> {
        let request = ClientRequest::post(path.parse().unwrap(), body.to_string());
        let guard = self.gateway.arrive(spoken_at(path, &HeaderMap::new()));
        Box::pin(self.gateway.serve(guard, Box::new(request))).await
    }

    /// A stream of which the beginning has come, of a text that is so many times as long.
    async fn begun(&self, times: usize) -> Box<ReplyStream> {
        let text = TEXT.repeat(TIMES * times);
        let body = json!({"model": "g", "messages": [{"role": "user", "content": text}], "stream": true});
        let Ok(Served::Streamed { mut stream, .. }) = self.ask("/v1/chat/completions", &body).await else {
            panic!("it streams")
        };
        let _beginning = stream.next().await;
        stream
    }

    /// Tokens that the only request is billed for, how it ended and what it cost, once it is recorded.
    async fn billed(&self) -> (&'static str, u64, u64, Option<NanoUsd>) {
        while self.records.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        self.recorded()
    }

    fn recorded(&self) -> (&'static str, u64, u64, Option<NanoUsd>) {
        let records = self.records.lock().unwrap();
        let [record] = &**records else { panic!("{} records", records.len()) };
        assert_eq!((record.usage_estimated, record.cost), (true, Some(record.charged)));
        (record.ending.as_str(), record.usage.input_tokens, record.usage.output_tokens, record.cost)
    }
}

/// So much at the prices of all here.
const fn cost(input: u64, output: u64) -> NanoUsd {
    NanoUsd(1_000_000 * input + 2_000_000 * output)
}

#[tokio::test(start_paused = true)]
async fn what_no_provider_counts_is_counted_once_and_everybody_is_told_the_same() {
    let text = TEXT.repeat(TIMES);
    let messages = json!([{"role": "user", "content": text}]);
    for (path, body, (input, output)) in [
        ("/v1/chat/completions", json!({"model": "g", "messages": messages}), (TOKENS + AROUND, 1)),
        ("/v1/chat/completions", json!({"model": "g", "messages": messages, "stream": true}), (TOKENS + AROUND, 1)),
        ("/v1/embeddings", json!({"model": "g", "input": text}), (TOKENS, 0)),
    ] {
        let scene = Scene::of("openai/m", &["whole"]);
        let before = COUNTED.get();
        let told = match scene.ask(path, &body).await.unwrap() {
            Served::Whole { body, meta } => {
                let said: Value = serde_json::from_slice(&body).unwrap();
                let usage = json!({"prompt_tokens": input, "total_tokens": input});
                assert!(path == "/v1/chat/completions" || said["usage"] == usage, "{said}");
                meta.cost
            }
            Served::Streamed { stream, .. } => {
                let pieces: Vec<Bytes> = stream.map(|piece| piece.unwrap()).collect().await;
                let said = String::from_utf8(pieces.concat()).unwrap();
                let told = said.split("x-litellm-response-cost: ").nth(1).and_then(|rest| rest.split('\n').next());
                assert_eq!(told.and_then(|told| told.trim().parse::<f64>().ok()), Some(0.525), "{said}");
                Some(cost(input, output))
            }
            _ => panic!("a reply"),
        };
        assert_eq!(COUNTED.get() - before, 1, "{body}");
        assert_eq!(told, Some(cost(input, output)));
        assert_eq!(scene.billed().await, ("whole", input, output, Some(cost(input, output))), "{path}");
        let scope = scene.gateway.live.read().group("g").unwrap().deployments[0].scope;
        let used = scene.gateway.limits.local().used(scene.gateway.clock.now(), scope);
        assert_eq!(used[Dimension::InputTokens], input, "what limits have of it");
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_of_bedrocks_vectors_tells_their_tokens() {
    let scene = Scene::of("bedrock/cohere.embed-english-v3", &["counts"]);
    let before = COUNTED.get();
    let Ok(Served::Whole { body, meta }) = scene.ask("/v1/embeddings", &json!({"model": "g", "input": TEXT})).await
    else {
        panic!("vectors")
    };
    let said: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&said["usage"]["prompt_tokens"], meta.cost), (&json!(7), Some(cost(7, 0))), "{said}");
    let records = scene.records.lock().unwrap();
    assert_eq!((records[0].usage.input_tokens, records[0].usage_estimated), (7, false));
    assert_eq!(COUNTED.get(), before, "nobody had to count");
}

#[tokio::test(start_paused = true)]
async fn attempts_that_break_off_one_after_another_are_billed_by_one_count() {
    let scene = Scene::of("openai/m", &["resets-1", "resets-2"]);
    let before = COUNTED.get();
    let messages = json!([{"role": "user", "content": TEXT.repeat(TIMES)}]);
    assert!(scene.ask("/v1/chat/completions", &json!({"model": "g", "messages": messages})).await.is_err());
    let records = scene.records.lock().unwrap();
    let billed: Vec<u64> = records[0].attempts.iter().map(|attempt| attempt.usage.input_tokens).collect();
    assert_eq!(billed, [TOKENS + AROUND; 2]);
    assert_eq!(COUNTED.get() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_its_client_left_is_counted_on_another_thread_where_it_is_long_and_here_at_a_stop() {
    // How long its text is, whether the gateway stops → how it ends, input tokens, what is counted on this thread.
    for (times, stops, ending, input, here) in [
        (1, false, "cancelled", TOKENS + AROUND, 1),
        (3, false, "cancelled", 1545 + AROUND, 0),
        (3, true, "stopped", 1545 + AROUND, 1),
    ] {
        let scene = Scene::of("openai/m", &["hangs"]);
        let (before, stream) = (COUNTED.get(), scene.begun(times).await);
        if stops {
            scene.gateway.cutoff.cancel();
        }
        drop(stream);
        assert_eq!(scene.billed().await, (ending, input, 1, Some(cost(input, 1))));
        assert_eq!(COUNTED.get() - before, here, "{times} {stops}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_its_client_left_gives_its_place_back_before_it_is_counted() {
    let scene = Scene::of("openai/m", &["hangs"]);
    let deployment = Arc::clone(&scene.gateway.live.read().group("g").unwrap().deployments[0]);
    let look = || {
        let now = scene.gateway.clock.now();
        let used = scene.gateway.limits.local().used(now, deployment.scope);
        let under_way = (used[Dimension::InFlight], deployment.health.report(now).in_flight);
        (under_way, used[Dimension::Requests], used[Dimension::Tokens])
    };
    let stream = scene.begun(3).await;
    let (under_way, requests, tokens) = look();
    assert_eq!((under_way, requests, tokens > 0), ((1, 1), 1, true));
    // The only turn to count is another's.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let pool = scene.gateway.blocking.clone();
    let counts = tokio::spawn(async move { pool.run(move || gone.recv().is_ok()).await });
    tokio::task::yield_now().await;
    let woken = scene.gateway.capacity.count();
    drop(stream);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(scene.records.lock().unwrap().is_empty() && !scene.gateway.left.is_empty(), "it is not counted yet");
    assert_eq!(look(), ((0, 0), 1, tokens), "what windows count is reserved until it is");
    assert!(scene.gateway.capacity.count() > woken, "who waits for a place looks again");
    let _other = scene.begun(1).await;
    go.send(()).unwrap();
    assert_eq!(counts.await.unwrap(), Some(true));
    let _counted = scene.billed().await;
    let (under_way, requests, _) = look();
    assert_eq!((under_way, requests), ((1, 1), 2), "the place is the other's now");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_until_what_a_client_left_is_counted_and_recorded() {
    let scene = Scene::of("openai/m", &["hangs"]);
    drop(scene.begun(3).await);
    while scene.gateway.left.is_empty() && scene.records.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    scene.gateway.left.close();
    scene.gateway.left.wait().await;
    assert_eq!(scene.recorded(), ("cancelled", 1545 + AROUND, 1, Some(cost(1545 + AROUND, 1))));
    assert!(scene.gateway.left.is_empty());
}

/// Its thread ends before it is counted: what nobody takes any more is counted where it is dropped.
#[test]
fn a_stream_that_its_client_left_is_recorded_though_nobody_is_left_to_count_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scene = runtime.block_on(async {
        let scene = Scene::of("openai/m", &["hangs"]);
        drop(scene.begun(3).await);
        scene
    });
    let before = COUNTED.get();
    drop(runtime);
    assert_eq!(scene.recorded(), ("cancelled", 1545 + AROUND, 1, Some(cost(1545 + AROUND, 1))));
    assert_eq!(COUNTED.get() - before, 1);
}
