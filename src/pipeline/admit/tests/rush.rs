//! Many wait for one deployment whose provider has refused one of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::fault::AttemptFault;
use crate::format::{ClientRequest, OpenAi};
use crate::pipeline::Gateway;
use crate::pipeline::tests::support::gateway_over;
use crate::upstream::{Body, Upstream, UpstreamRequest, UpstreamResponse};

const REPLY: &str = r#"{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#;

const MINUTE: Duration = Duration::from_mins(1);

/// Takes five requests within any minute. Of others it says for how long, and not how many it takes.
struct Limited {
    begun: Instant,
    taken: Mutex<VecDeque<Instant>>,
    /// The second of each that came, and its status.
    seen: Mutex<Vec<(u64, u16)>>,
}

impl Limited {
    /// For how long it takes no more, where it does not take this one.
    fn refuses(&self) -> Option<Duration> {
        let mut taken = self.taken.lock().unwrap();
        taken.retain(|one| one.elapsed() < MINUTE);
        if let Some(first) = taken.front().filter(|_| taken.len() >= 5) {
            return Some(MINUTE.saturating_sub(first.elapsed()));
        }
        taken.push_back(Instant::now());
        None
    }
}

impl Upstream for Limited {
    fn send(&self, call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        call.sent.tell();
        let refused = self.refuses();
        let (status, body) = match refused {
            None => (StatusCode::OK, REPLY),
            Some(_) => (StatusCode::TOO_MANY_REQUESTS, r#"{"error": {"message": "slow down"}}"#),
        };
        self.seen.lock().unwrap().push((self.begun.elapsed().as_secs(), status.as_u16()));
        let again = refused.map(|again| ("retry-after-ms".parse().unwrap(), again.as_millis().max(1).to_string()));
        let headers = again.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect::<HeaderMap>();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let body: Body = Box::pin(futures_util::stream::iter([Ok(Bytes::from_static(body.as_bytes()))]));
            Ok(UpstreamResponse { status, headers, body })
        })
    }
}

async fn ask(gateway: Arc<Gateway>, number: usize) -> bool {
    let body = format!(r#"{{"model": "g", "messages": [{{"role": "user", "content": "number {number}"}}]}}"#);
    let request = ClientRequest::post("/v1/chat/completions".parse().unwrap(), body);
    let mut guard = gateway.arrive(&OpenAi);
    guard.set_caller(Some(Arc::clone(&gateway.live.read().callers.anonymous)));
    gateway.serve(guard, Box::new(request)).await.is_ok()
}

/// What its limit is, nobody knows: one looks whether its provider takes any again, and of the others no more than a few are refused once more.
#[tokio::test(start_paused = true)]
async fn who_waits_for_the_end_of_an_unknown_limit_does_not_come_all_at_once() {
    let begun = Instant::now();
    let provider = Arc::new(Limited { begun, taken: Mutex::default(), seen: Mutex::default() });
    let gateway = gateway_over(
        "model_list: [{model_name: g, litellm_params: {model: openai/m, api_base: 'http://p/v1', api_key: k}}]\n\
         witgate: {queue: {max_wait_seconds: 900}}",
        Arc::clone(&provider) as Arc<dyn Upstream>,
    );
    let asking = (0..20).map(|number| tokio::spawn(ask(Arc::clone(&gateway), number)));
    let served = join_all(asking).await;
    assert!(served.iter().all(|one| *one.as_ref().unwrap()), "all are served");
    assert!(begun.elapsed() < MINUTE * 4, "five a minute: {:?}", begun.elapsed());
    let seen = provider.seen.lock().unwrap();
    assert_eq!(seen[..20].iter().filter(|(_, status)| *status == 429).count(), 15, "nobody knew");
    let later = &seen[20..];
    let at_once = later.chunk_by(|one, other| one.0 == other.0).map(<[_]>::len).max();
    assert!(at_once <= Some(4), "{later:?}");
    let refused = later.iter().filter(|(_, status)| *status == 429).count();
    assert!(refused <= 9, "{refused} of {later:?}");
}
