//! How long things take and may take, on virtual time: a provider whose head and body come when the test says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use witgate::fault::{AttemptFault, Refusal, RefusalKind};
use witgate::format::OpenAi;
use witgate::limits::{Dimension, Scope};
use witgate::moment::Moment;
use witgate::pipeline::{Gateway, ReplyMeta, Served};
use witgate::upstream::{Timeouts, Upstream, UpstreamRequest, UpstreamResponse};

use crate::chat::openai_reply;
use crate::support::virtual_time::{BEGIN, ask, assemble_beside_threads, assemble_over, assembled, chat};

/// Answers every call with a whole reply: its head after one time, its body after another. Remembers its calls.
#[derive(Default)]
struct Slow {
    head: Duration,
    body: Duration,
    timeouts: Mutex<Vec<Timeouts>>,
}

impl Upstream for Slow {
    fn send(&self, call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        self.timeouts.lock().expect("timeouts").push(call.timeouts);
        let (head, body) = (self.head, self.body);
        async move {
            tokio::time::sleep(head).await;
            let reply = async move {
                tokio::time::sleep(body).await;
                Ok(Bytes::from(openai_reply("Hello").to_string()))
            };
            Ok(UpstreamResponse {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: Box::pin(stream::once(reply)),
            })
        }
        .boxed()
    }
}

fn request(stream: bool) -> Value {
    json!({"model": "g", "stream": stream, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]})
}

type Asked = Result<(ReplyMeta, Moment), Refusal>;

/// Asks now; tells when the answer was there.
fn asking(gateway: &Arc<Gateway>) -> tokio::task::JoinHandle<Asked> {
    let gateway = Arc::clone(gateway);
    tokio::spawn(async move {
        let (about, _) = ask(&gateway, &OpenAi, &request(false)).await?;
        Ok((about, gateway.clock.now()))
    })
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_as_long_as_the_queue_allows_and_not_in_vain() {
    let gateway = assembled(
        "model_list:\n  - {model_name: g, litellm_params: {model: simulated/m, rpm: 1, simulated: {ttft_ms: 0}}}\nwitgate: {queue: {max_wait_seconds: 75}}\n",
    );
    let all = [asking(&gateway), asking(&gateway), asking(&gateway)];
    let mut ended = Vec::new();
    for one in all {
        ended.push(one.await.expect("no panic").map(|(about, at)| (about.waited.as_secs(), at.since(BEGIN).as_secs())));
    }
    assert_eq!((&ended[0], &ended[1]), (&Ok((0, 0)), &Ok((60, 60))));
    let refused = ended[2].as_ref().expect_err("two windows are longer than anybody waits");
    assert_eq!((refused.kind, refused.status), (RefusalKind::RateLimited, 429));
    let again = refused.retry_after.expect("it is known").as_secs_f64();
    assert!((45.0..=46.0).contains(&again), "when the second's window ends: {again}, {refused}");
    assert!(gateway.clock.now().since(BEGIN) <= Duration::from_secs(75), "nobody waits in vain");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_tells_who_waits_until_when() {
    let slow = Slow { head: Duration::from_secs(10), body: Duration::from_secs(200), ..Slow::default() };
    let config = "model_list:\n  - {model_name: g, litellm_params: {model: openai/m, api_base: \"http://slow/v1\", api_key: k, rpm: 1}}\n";
    let gateway = assemble_over(config, Arc::new(slow));
    let (first, second) = (asking(&gateway), asking(&gateway));
    let (_, ended) = first.await.expect("no panic").expect("served");
    assert_eq!(ended.since(BEGIN).as_secs(), 210);
    // The window began with the head, and the second learned of it long before the first had ended.
    let (about, ended) = second.await.expect("no panic").expect("served");
    assert_eq!((about.waited.as_secs(), ended.since(BEGIN).as_secs()), (70, 70 + 210));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_gives_its_place_back() {
    let gateway = assembled(
        "model_list:\n  - {model_name: g, litellm_params: {model: simulated/m, max_parallel_requests: 1, simulated: {tokens_per_second: 10, output_tokens: 5000}}}\n",
    );
    let under_way = || {
        let deployment = Arc::clone(&gateway.live.read().groups["g"].deployments[0]);
        gateway.limits.local().used(gateway.clock.now(), deployment.scope)[Dimension::InFlight]
    };
    let body =
        json!({"model": "g", "stream": true, "max_tokens": 5000, "messages": [{"role": "user", "content": "Hi"}]});
    let served = gateway.serve(gateway.arrive(&OpenAi), Box::new(chat(&body))).await;
    let Ok(Served::Streamed { mut stream, .. }) = served else { panic!("not streamed") };
    assert!(stream.next().await.is_some(), "it begins");
    // As when its socket is full: nobody asks the stream for more.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(under_way(), 1, "a slow reader is borne");
    tokio::time::sleep(Duration::from_secs(570)).await;
    assert_eq!(under_way(), 0, "one that stopped is not");
    assert!(stream.next().await.is_none(), "and gets no more");
}

/// Its provider tells no tokens of what it had, so that a text of this length is counted, on another thread.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_gives_its_place_back_before_its_prompt_is_counted() {
    let slow = Slow { head: Duration::from_secs(100), ..Slow::default() };
    let config = "model_list:\n  - {model_name: g, litellm_params: {model: openai/m, api_base: \"http://slow/v1\", api_key: k, max_parallel_requests: 1}}\ngeneral_settings: {global_max_parallel_requests: 1}\n";
    let gateway = assemble_beside_threads(config, Arc::new(slow));
    let used = || {
        let limits = gateway.limits.local();
        let scopes = [gateway.live.read().groups["g"].deployments[0].scope, limits.id(&Scope::Global)];
        let used = scopes.map(|scope| limits.used(gateway.clock.now(), scope));
        used.map(|used| (used[Dimension::InFlight], used[Dimension::Requests]))
    };
    let mut body = request(false);
    body["messages"][0]["content"] = json!("The quick brown fox jumps over the lazy dog. ".repeat(200));
    let mut leaves = Box::pin(gateway.serve(gateway.arrive(&OpenAi), Box::new(chat(&body))));
    let waits = tokio::time::timeout(Duration::from_secs(1), &mut leaves).await;
    assert!(waits.is_err(), "its provider takes longer");
    let next = asking(&gateway);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(used(), [(1, 1); 2], "the next waits for its place");
    drop(leaves);
    assert_eq!(used(), [(0, 1); 2], "nothing was counted since");
    let (about, ended) = next.await.expect("no panic").expect("served");
    assert_eq!((about.waited.as_secs(), ended.since(BEGIN).as_secs()), (1, 102));
    while !gateway.left.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(used().map(|(under_way, _)| under_way), [0; 2], "each gave back its own");
}

#[tokio::test(start_paused = true)]
async fn a_streamed_request_has_its_own_timeout_of_any_level_before_all_others() {
    let deployment = |name: &str, more: &str| {
        format!(
            "  - {{model_name: {name}, litellm_params: {{model: openai/m, api_base: \"http://slow/v1\", api_key: k{more}}}}}\n"
        )
    };
    let list = [deployment("plain", ""), deployment("own", ", timeout: 20, stream_timeout: 3")].concat();
    let seconds = Duration::from_secs;
    for (settings, name, whole, streamed) in [
        ("{}", "own", seconds(20), seconds(3)),
        ("{stream_timeout: 7}", "plain", seconds(600), seconds(7)),
        ("{timeout: 40, stream_timeout: 7}", "plain", seconds(40), seconds(7)),
        ("{timeout: 40}", "plain", seconds(40), seconds(40)),
        ("{timeout: 40, stream_timeout: 7}", "own", seconds(20), seconds(3)),
    ] {
        let slow = Arc::new(Slow::default());
        let config = format!("model_list:\n{list}router_settings: {settings}\n");
        let gateway = assemble_over(&config, Arc::clone(&slow) as Arc<dyn Upstream>);
        for (stream, expected) in [(false, whole), (true, streamed)] {
            let mut body = request(stream);
            body["model"] = json!(name);
            let _not_a_stream = ask(&gateway, &OpenAi, &body).await;
            let seen = slow.timeouts.lock().expect("timeouts").drain(..).next().expect("a call");
            assert_eq!(seen.first_byte, expected, "{settings} {name} streamed: {stream}");
        }
    }
}

/// The pause before a retry is as long as is asked for, and none follows the last attempt.
#[tokio::test(start_paused = true)]
async fn a_retry_waits_as_long_as_configured_and_nobody_waits_after_the_last() {
    for (retries, paused) in [(0, 0), (1, 20), (2, 40)] {
        let gateway = assembled(&format!(
            "model_list: [{{model_name: g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 0, error_rate: 1}}}}}}]
router_settings: {{num_retries: {retries}, retry_after: 20, disable_cooldowns: true}}
"
        ));
        let began = gateway.clock.now();
        let refusal =
            ask(&gateway, &OpenAi, &json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}]})).await;
        let refusal = refusal.expect_err("it always fails");
        assert_eq!(refusal.tried.map(|tried| tried.retries), Some(retries));
        let took = gateway.clock.now().since(began).as_secs();
        assert_eq!(took, paused, "after {retries} retries");
    }
}

/// No cooldown is one: a deployment that fails is called again at once.
#[tokio::test(start_paused = true)]
async fn a_cooldown_of_none_leaves_nobody_alone() {
    for (cooldown, kind) in [("0", RefusalKind::Upstream), ("60", RefusalKind::Unavailable)] {
        let gateway = assembled(&format!(
            "model_list:
  - {{model_name: g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 0, error_rate: 1}}}}}}
  - {{model_name: g, litellm_params: {{model: simulated/n, simulated: {{ttft_ms: 0, error_rate: 1}}}}}}
  - {{model_name: other, litellm_params: {{model: simulated/elsewhere, simulated: {{ttft_ms: 0, error_rate: 1}}}}}}
  - {{model_name: other, litellm_params: {{model: simulated/farther, simulated: {{ttft_ms: 0, error_rate: 1}}}}}}
router_settings: {{num_retries: 0, allowed_fails: 0, cooldown_time: {cooldown}}}
witgate: {{queue: {{max_wait_seconds: 0}}}}
"
        ));
        let mut last = None;
        // Another group is left alone, too.
        for model in ["other", "other", "other", "g", "g", "g", "g"] {
            let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
            last = Some(ask(&gateway, &OpenAi, &body).await.expect_err("it always fails"));
        }
        let last = last.expect("asked");
        assert_eq!(last.kind, kind, "cooldown {cooldown}: {}", last.message);
        assert!(
            ["other", "elsewhere", "farther"].iter().all(|name| !last.message.contains(name)),
            "of its own group alone: {}",
            last.message
        );
    }
}
