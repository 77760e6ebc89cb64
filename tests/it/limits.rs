//! Limits through the whole pipeline, on virtual time: nothing is sent too early, nobody waits too long.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use witgate::fault::RefusalKind;
use witgate::format::OpenAi;
use witgate::limits::{Dimension, Used};
use witgate::pipeline::{Gateway as Pipeline, Served};

use crate::chat::openai_reply;
use crate::support::gateway::Gateway;
use crate::support::until;
use crate::support::upstream::{ScriptedUpstream, Step};
use crate::support::virtual_time::{BEGIN, ask, assembled, chat};

/// About 1,000 tokens in, at most 100 out.
fn long(model: &str) -> Value {
    let text = "word ".repeat(1000);
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}]})
}

fn used(gateway: &Arc<Pipeline>, deployment: &str) -> Used {
    let found =
        gateway.live.read().groups["g"].deployments.iter().find(|one| one.config.id.as_str() == deployment).cloned();
    let found = found.expect("a deployment");
    gateway.limits.local().used(gateway.clock.now(), found.scope)
}

#[tokio::test(start_paused = true)]
async fn at_a_limit_a_request_goes_elsewhere_then_waits_until_the_exact_instant() {
    let gateway = assembled(
        "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, rpm: 1, order: 1, simulated: {ttft_ms: 0}}, model_info: {id: a}}
  - {model_name: g, litellm_params: {model: simulated/m, rpm: 1, order: 2, simulated: {ttft_ms: 0}}, model_info: {id: b}}
witgate: {queue: {max_waiting: 10, max_wait_seconds: 120}}
",
    );
    let mut served = Vec::new();
    for _ in 0..3 {
        let (about, _) = ask(&gateway, &OpenAi, &long("g")).await.expect("served");
        served.push((about.deployment.to_string(), gateway.clock.now().since(BEGIN).as_secs(), about.waited));
    }
    assert_eq!(served[0], ("a".to_owned(), 0, Duration::ZERO));
    assert_eq!(served[1], ("b".to_owned(), 0, Duration::ZERO));
    // The first slice leaves the window after a minute and a slice, a quarter of a second, and not later.
    assert_eq!((served[2].0.as_str(), served[2].1), ("a", 60));
    assert!(served[2].2 > Duration::from_secs(60) && served[2].2 <= Duration::from_millis(60_250), "{:?}", served[2].2);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_fit_is_refused_at_once_with_the_limit_named() {
    let gateway = assembled(
        "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, tpm: 500}, model_info: {id: small}}
  - {model_name: g, litellm_params: {model: simulated/m, tpm: 900}, model_info: {id: large}}
",
    );
    let refusal = ask(&gateway, &OpenAi, &long("g")).await.expect_err("too large");
    assert_eq!((refusal.kind, refusal.status), (RefusalKind::NeverFits, 413));
    assert!(refusal.message.contains("`large`") && refusal.message.contains("900"), "{}", refusal.message);
    assert_eq!(gateway.clock.now().since(BEGIN), Duration::ZERO);
}

#[tokio::test]
async fn a_prompt_of_more_bytes_than_the_limit_has_tokens_is_counted_and_served() {
    let gateway = Gateway::start(
        "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, tpm: 30000, simulated: {ttft_ms: 0}}, model_info: {id: a}}
",
    )
    .await;
    let text = "word ".repeat(8000);
    let body = json!({"model": "g", "max_tokens": 10, "messages": [{"role": "user", "content": text}]});
    let first = gateway.post("/v1/chat/completions", &body).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let counted = used(&gateway.app.gateway, "a")[Dimension::Tokens];
    assert!((8000..15_000).contains(&counted), "{counted}");
    let text = "word ".repeat(40_000);
    let body = json!({"model": "g", "max_tokens": 10, "messages": [{"role": "user", "content": text}]});
    let second = gateway.post("/v1/chat/completions", &body).await;
    assert_eq!((second.status, second.header("x-witgate-refusal")), (413, "never-fits"), "{}", second.text);
}

#[tokio::test(start_paused = true)]
async fn waiting_is_first_come_first_served_and_bounded() {
    let gateway = assembled(
        "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, max_parallel_requests: 1, simulated: {ttft_ms: 1000, output_tokens: 5}}, model_info: {id: a}}
witgate: {queue: {max_waiting: 3, max_wait_seconds: 60}}
",
    );
    let mut waiting = Vec::new();
    for index in 0..5 {
        let gateway = Arc::clone(&gateway);
        waiting.push(tokio::spawn(async move {
            let ended = ask(
                &gateway,
                &OpenAi,
                &json!({"model": "g", "messages": [{"role": "user", "content": index.to_string()}]}),
            )
            .await;
            (index, ended.map(|_| gateway.clock.now().since(BEGIN).as_millis()))
        }));
        // Each arrives before the next one does.
        tokio::task::yield_now().await;
    }
    let mut ends = Vec::new();
    for one in waiting {
        ends.push(one.await.expect("no panic"));
    }
    let times: Vec<u128> = ends.iter().filter_map(|(_, ended)| ended.as_ref().ok().copied()).collect();
    assert_eq!(times.len(), 4, "one under way, three in the queue: {ends:?}");
    assert!(times.is_sorted(), "in the order they came: {times:?}");
    let refused = ends[4].1.as_ref().expect_err("the queue is full");
    assert_eq!((refused.kind, refused.retry_after.is_some()), (RefusalKind::RateLimited, true));
    assert_eq!(used(&gateway, "a")[Dimension::InFlight], 0, "nothing leaks");
}

#[tokio::test(start_paused = true)]
async fn a_wait_known_to_be_too_long_is_refused_at_once_and_who_comes_back_in_time_has_its_place() {
    let gateway = assembled(
        "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, rpm: 1, simulated: {ttft_ms: 0}}, model_info: {id: a}}
witgate: {queue: {max_wait_seconds: 130}}
",
    );
    let start = |word: &str| {
        let (gateway, body) =
            (Arc::clone(&gateway), json!({"model": "g", "messages": [{"role": "user", "content": word}]}));
        tokio::spawn(async move {
            let ended = ask(&gateway, &OpenAi, &body).await;
            (ended, gateway.clock.now().since(BEGIN).as_secs())
        })
    };
    let mut waiting = Vec::new();
    for word in ["one", "two", "three"] {
        waiting.push(start(word));
        tokio::task::yield_now().await;
    }
    // One a minute: the fourth would start after three, and may wait for two and a sixth.
    let (refused, at) = start("four").await.expect("no panic");
    let refusal = refused.expect_err("it is known to be too long");
    assert_eq!((refusal.kind, at), (RefusalKind::RateLimited, 0), "{}", refusal.message);
    assert!(refusal.message.contains("2 requests with") && refusal.message.contains("in 180."), "{}", refusal.message);
    let away = refusal.retry_after.expect("a time");
    assert!((50..52).contains(&away.as_secs()), "as much as it may not wait: {away:?}");
    tokio::time::sleep(away).await;
    let later = start("five");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (back, served_at) = start("four").await.expect("no panic");
    back.expect("served");
    assert_eq!(served_at, 180, "before the one that came while it was away");
    let (overtaken, _) = later.await.expect("no panic");
    assert_eq!(overtaken.expect_err("its time is over").kind, RefusalKind::RateLimited);
    for (one, expected) in waiting.into_iter().zip([0, 60, 120]) {
        let (ended, at) = one.await.expect("no panic");
        ended.expect("served");
        assert_eq!(at, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_the_queue_leaves_nothing_behind() {
    let gateway = assembled(
        "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, max_parallel_requests: 1, simulated: {ttft_ms: 5000, output_tokens: 5}}, model_info: {id: a}}
",
    );
    let start = |gateway: &Arc<Pipeline>| {
        let gateway = Arc::clone(gateway);
        tokio::spawn(async move {
            ask(&gateway, &OpenAi, &long("g")).await.map(|_| gateway.clock.now().since(BEGIN).as_secs())
        })
    };
    let (first, left, third) = (start(&gateway), start(&gateway), start(&gateway));
    tokio::time::sleep(Duration::from_secs(1)).await;
    left.abort();
    assert!(left.await.is_err_and(|ended| ended.is_cancelled()));
    let ends = [first.await.expect("no panic"), third.await.expect("no panic")];
    assert_eq!(ends.map(|end| end.expect("served")), [5, 10]);
    assert_eq!(used(&gateway, "a")[Dimension::InFlight], 0);
    assert_eq!(gateway.live.read().groups["g"].queue.waiting(), 0);
}

/// The promise of the whole thing: under strict limits that the gateway knows, no provider ever says 429.
#[tokio::test(start_paused = true)]
async fn a_strict_provider_never_refuses() {
    let gateway = assembled(
        "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, tpm: 5000, rpm: 20, simulated: {ttft_ms: 700, ttft_sigma: 0.5, tokens_per_second: 50, tpm: 5000, rpm: 20}}, model_info: {id: a}}
  - {model_name: g, litellm_params: {model: simulated/m, tpm: 9000, rpm: 5, simulated: {ttft_ms: 300, tokens_per_second: 90, tpm: 9000, rpm: 5}}, model_info: {id: b}}
router_settings: {routing_strategy: tpm-aware}
witgate: {queue: {max_waiting: 1000, max_wait_seconds: 6000}, server: {stream_ping_seconds: 0}}
",
    );
    let all: Vec<_> = (0..60)
        .map(|index| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move {
                let mut body = long("g");
                body["stream"] = json!(index % 2 == 0);
                ask(&gateway, &OpenAi, &body).await
            })
        })
        .collect();
    let mut attempts = 0;
    for one in all {
        let (about, _) = one.await.expect("no panic").expect("served");
        attempts += about.attempts;
    }
    assert_eq!(attempts, 60, "each request needed one attempt: no 429 among them");
    let minutes = gateway.clock.now().since(BEGIN).as_secs_f64() / 60.0;
    // 60 requests of about 1,115 tokens over 14,000 tokens a minute.
    assert!(minutes < 9.0, "took {minutes} minutes");
    assert_eq!((used(&gateway, "a")[Dimension::InFlight], used(&gateway, "b")[Dimension::InFlight]), (0, 0));
}

/// A client that was told that its reply is waited for may read no further: nobody waits behind it for that.
#[tokio::test(start_paused = true)]
async fn a_late_stream_that_nobody_reads_holds_nobody_up() {
    let gateway = assembled(
        "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, rpm: 1, simulated: {ttft_ms: 10, tokens_per_second: 0}}, model_info: {id: a}}
",
    );
    ask(&gateway, &OpenAi, &long("g")).await.expect("the first of this minute");
    let mut streamed = long("g");
    streamed["stream"] = json!(true);
    let late = gateway.serve(gateway.arrive(&OpenAi), Box::new(chat(&streamed))).await.expect("its head");
    assert!(matches!(late, Served::Late { .. }), "it waits for the next minute");
    ask(&gateway, &OpenAi, &long("g")).await.expect("the minute after that");
    assert!(gateway.clock.now().since(BEGIN).as_secs() < 240, "both were called in their turn");
    // It has its reply, whenever it reads.
    let Served::Late { mut stream } = late else { unreachable!("seen above") };
    let mut told = String::new();
    while let Some(Ok(piece)) = stream.next().await {
        told += &String::from_utf8_lossy(&piece);
    }
    assert!(told.contains(": waiting") && told.ends_with("data: [DONE]\n\n"), "{told}");
}

/// A provider's reply to an agent that sends its conversation again: nearly all of it was in the cache.
fn cached(provider: &str) -> Value {
    if provider == "anthropic" {
        return json!({"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Hello"}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 400, "cache_read_input_tokens": 28000, "cache_creation_input_tokens": 0, "output_tokens": 20}});
    }
    let mut reply = crate::chat::openai_reply("Hello");
    reply["usage"] = json!({"prompt_tokens": 28400, "completion_tokens": 20, "total_tokens": 28420,
        "prompt_tokens_details": {"cached_tokens": 28000}});
    reply
}

/// What was read from a cache counts as the provider counts it, or as the configuration says.
#[tokio::test]
async fn cached_input_counts_as_its_provider_counts_it() {
    for (provider, counting, counted) in [
        ("anthropic", "", 3 * 400),
        ("anthropic", ", counting: {cache_reads_free: false}", 3 * 28400),
        ("openai", "", 3 * 28400),
        ("openai", ", counting: {cache_reads_free: true}", 3 * 400),
    ] {
        let upstream = ScriptedUpstream::start([Step::json(200, &cached(provider))]).await;
        let gateway = Gateway::start(&format!(
            "model_list:
  - {{model_name: g, litellm_params: {{model: {provider}/m, api_base: \"{}/v1\", api_key: sk-up, itpm: 100000{counting}}}, model_info: {{id: a}}}}
",
            upstream.origin()
        ))
        .await;
        let body = json!({"model": "g", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]});
        for _ in 0..3 {
            let said = gateway.post("/v1/messages", &body).await;
            assert_eq!(said.status, 200, "{}", said.text);
        }
        assert_eq!(used(&gateway.app.gateway, "a")[Dimension::InputTokens], counted, "{provider}{counting}");
    }
}

/// A large bound is no reason to refuse where output counts as it is made, and one where the bound counts on arrival.
#[tokio::test]
async fn a_bound_above_the_limit_is_taken_where_output_counts_as_it_is_made() {
    for (provider, limits, status) in [
        ("anthropic", "itpm: 30000, otpm: 8000", 200),
        ("anthropic", "tpm: 30000", 200),
        ("anthropic", "tpm: 30000, counting: {output: bound}", 413),
        ("openai", "tpm: 30000", 413),
        ("openai", "tpm: 30000, counting: {output: made}", 200),
    ] {
        let upstream = ScriptedUpstream::start([Step::json(200, &cached(provider))]).await;
        let gateway = Gateway::start(&format!(
            "model_list:
  - {{model_name: g, litellm_params: {{model: {provider}/m, api_base: \"{}/v1\", api_key: sk-up, {limits}}}, model_info: {{id: a}}}}
",
            upstream.origin()
        ))
        .await;
        let body = json!({"model": "g", "max_tokens": 32000, "messages": [{"role": "user", "content": "Hi"}]});
        let said = gateway.post("/v1/messages", &body).await;
        assert_eq!(said.status, status, "{provider} {limits}: {}", said.text);
        let refusal = if status == 200 { "" } else { "never-fits" };
        assert_eq!(said.header("x-witgate-refusal"), refusal, "{}", said.text);
    }
}

/// A document is as many tokens as it has pages, not as its base64 would be as text.
#[tokio::test]
async fn a_document_of_a_megabyte_fits_into_a_limit_that_its_pages_fit_into() {
    use base64::Engine as _;
    let file = ["%PDF-1.7\n".to_owned(), "<< /Type /Page >>\n".repeat(20), "x".repeat(1 << 20)].concat();
    let data = base64::engine::general_purpose::STANDARD.encode(file);
    let upstream = ScriptedUpstream::start([Step::json(200, &cached("anthropic"))]).await;
    let gateway = Gateway::start(&format!(
        "model_list:
  - {{model_name: g, litellm_params: {{model: anthropic/m, api_base: \"{}\", api_key: sk-up, itpm: 70000}}}}
",
        upstream.origin()
    ))
    .await;
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": data});
    for (pages, status) in [(1, 200), (2, 413)] {
        let content = vec![json!({"type": "document", "source": source}); pages];
        let body = json!({"model": "g", "max_tokens": 50, "messages": [{"role": "user", "content": content}]});
        let said = gateway.post("/v1/messages", &body).await;
        assert_eq!(
            said.status,
            status,
            "{pages} documents of 20 pages: {}",
            said.text.chars().take(300).collect::<String>()
        );
    }
}

/// While somebody waits for a limit, an operator sees how many, how long, until when, and how much of the limit is left.
#[tokio::test]
async fn who_waits_and_what_is_left_is_in_the_metrics() {
    let config = "model_list: [{model_name: g, litellm_params: {model: simulated/m, rpm: 1, rpd: 10}, model_info: {id: only}}]\n";
    let gateway = Gateway::start(config).await;
    let body = json!({"model": "g", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
    assert_eq!(gateway.post("/v1/chat/completions", &body).await.status, 200);
    let second = gateway.client.post(format!("{}/v1/chat/completions", gateway.url));
    let waits = tokio::spawn(second.header("content-type", "application/json").body(body.to_string()).send());
    let metrics = async || gateway.get("/metrics").await.text;
    let value = |text: &str, name: &str, of: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("witgate_{name}{{")) && line.contains(of));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let waiting = async {
        loop {
            let text = metrics().await;
            if value(&text, "queue_waiting", "") == Some(1.0) {
                break text;
            }
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it waits");
    let [oldest, next] =
        ["queue_oldest_seconds", "queue_next_start_seconds"].map(|name| value(&text, name, "").unwrap());
    assert!((0.0..60.0).contains(&oldest) && (0.1..=60.25).contains(&next), "{oldest} {next}");
    assert_eq!(value(&text, "queue_tokens", "").map(|tokens| tokens > 0.0), Some(true));
    for (name, expected) in [("limit", 1.0), ("limit_configured", 1.0), ("limit_used", 1.0), ("limit_headroom", 0.0)] {
        assert_eq!(value(&text, name, "\"requests\""), Some(expected), "{name}: {text}");
    }
    for (name, expected) in [("limit", 10.0), ("limit_configured", 10.0), ("limit_used", 1.0), ("limit_headroom", 9.0)]
    {
        assert_eq!(value(&text, name, "\"requests-per-day\""), Some(expected), "{name}: {text}");
    }
    waits.abort();
}

/// A provider counts by its account, whichever rows a file has today.
#[tokio::test]
async fn a_reload_that_changes_who_shares_a_quota_forgets_nothing() {
    let replies = ["one", "two"].map(|text| Step::json(200, &openai_reply(text)));
    let upstream = ScriptedUpstream::start(replies).await;
    let row = |id: &str, more: &str| {
        format!(
            "  - {{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: k, rpm: 2{more}}}, model_info: {{id: {id}}}}}\n",
            upstream.origin()
        )
    };
    let config = |rows: &[String]| {
        let more = "router_settings: {num_retries: 0}\nwitgate: {queue: {max_wait_seconds: 0}}\n";
        format!("model_list:\n{}{more}", rows.concat())
    };
    let gateway = Gateway::start(&config(&[row("a", "")])).await;
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}]});
    for status in [200, 200, 429] {
        assert_eq!(gateway.post("/v1/chat/completions", &body).await.status, status);
    }
    for (generation, rows) in [
        (2, vec![row("a", ""), row("b", "")]),
        (3, vec![row("a", ", quota: acct"), row("b", ", quota: acct")]),
        (4, vec![row("a", ", quota: acct")]),
        (5, vec![row("a", "")]),
    ] {
        gateway.replace("config.yaml", config(&rows).as_bytes());
        until("applied", || gateway.generation() == generation).await;
        let refused = gateway.post("/v1/chat/completions", &body).await;
        assert_eq!((refused.status, upstream.count()), (429, 2), "{generation}: {}", refused.text);
    }
}
