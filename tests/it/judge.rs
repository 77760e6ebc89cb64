//! A sample of replies judged over a running gateway, beside the requests.

use std::path::Path;

use serde_json::{Value, json};
use witgate::id::RequestId;
use witgate::moment::Moment;
use witgate::store::{Earlier, Judgement};

use crate::support::gateway::Gateway;
use crate::support::upstream::{Gate, ScriptedUpstream, Step};
use crate::support::{fixture, until};

/// A group whose replies are judged by another.
fn config(folder: &Path, grader: &str, judge: &str) -> String {
    format!(
        "model_list:
  - {{model_name: g, litellm_params: {{model: simulated/m, mock_response: It is nine.}}}}
  - model_name: grader
    litellm_params: {{{grader}, input_cost_per_token: 0.000001, output_cost_per_token: 0.000001, max_tokens: 50}}
witgate:
  ledger: {{file: {}}}
  routers: {{g: {{policy: counting}}}}
  judges: {{g: {{group: grader, {judge}}}, grader: {{group: grader, sample: 1, max_usd_per_day: 1}}}}
",
        folder.join("ledger.db").display()
    )
}

async fn started(config: &str) -> Gateway {
    Gateway::start_with(config, &[("counting.wasm", &fixture("policies/counting-a.wasm"))]).await
}

/// Asks, and tells the request's id.
async fn ask(gateway: &Gateway, stream: bool) -> RequestId {
    let body = json!({
        "model": "g", "stream": stream,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 3 times 3?"}],
    });
    let reply = gateway.post("/v1/chat/completions", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    RequestId::parse(reply.header("x-request-id")).expect("an id")
}

fn judged(gateway: &Gateway, outcome: &str) -> u64 {
    let line = format!("witgate_judgements_total{{group=\"g\",outcome=\"{outcome}\"}}");
    let count = gateway.metric(&line).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let count = count as u64;
    count
}

/// What the router of `g` has heard.
fn heard(gateway: &Gateway) -> u64 {
    let router = gateway.app.gateway.live.read().groups["g"].router.clone().expect("a router");
    let bytes = router.save().expect("a counting policy saves").bytes;
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// What its judge has said of a reply. Where it has said nothing, nothing can come any more.
fn verdict(gateway: &Gateway, request: RequestId) -> Option<f64> {
    let ledger = gateway.app.gateway.ledger.clone().expect("a ledger");
    let source = Judgement::JUDGE.to_owned();
    let asked = Judgement { request, source, score: 0.0, comment: None, given: Moment::default() };
    ledger.judge(&asked).expect("a ledger that is read").map(|Earlier { score, .. }| score)
}

/// A judge's reply, with what it says it used.
fn graded(said: &str, tokens: u64) -> Step {
    Step::json(
        200,
        &json!({
            "id": "c", "object": "chat.completion", "created": 1, "model": "j",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 10, "total_tokens": tokens + 10},
        }),
    )
}

fn at(upstream: &ScriptedUpstream) -> String {
    format!("model: openai/j, api_key: none, api_base: {}/v1", upstream.origin())
}

const GOOD: &str = r#"{"reason": "It is.", "score": 0.75}"#;

#[tokio::test]
async fn a_reply_is_judged_on_an_account_of_its_own_and_the_router_hears_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = ScriptedUpstream::start([graded(GOOD, 100)]).await;
    let judge = "sample: 1, rubric: Is the number right?, max_usd_per_day: 1";
    let gateway = started(&config(folder.path(), &at(&upstream), judge)).await;
    let ids = [ask(&gateway, false).await, ask(&gateway, true).await];
    until("both judged", || judged(&gateway, "judged") == 2).await;
    // Each reply at its end and by its verdict. That of a judge is never judged, though its group's replies are.
    assert_eq!((heard(&gateway), upstream.count()), (4, 2));
    assert_eq!(ids.map(|id| verdict(&gateway, id)), [Some(0.75); 2]);

    for asked in upstream.asked() {
        let messages = &asked.body["messages"];
        let told = messages[0]["content"].as_str().expect("instructions");
        assert!(told.contains("Is the number right?"), "{told}");
        let material: Value = serde_json::from_str(messages[1]["content"].as_str().expect("a text")).expect("JSON");
        let expected = json!({
            "conversation": [
                {"role": "instructions", "text": "Be brief."}, {"role": "user", "text": "What is 3 times 3?"},
            ],
            "reply": "It is nine.",
        });
        assert_eq!(material, expected);
        assert_eq!(asked.body["response_format"]["json_schema"]["schema"]["required"], json!(["reason", "score"]));
    }
    let live = gateway.app.gateway.live.read();
    let account = live.groups["g"].judge.clone().expect("an account");
    let report = gateway.app.gateway.budgets.report(gateway.app.gateway.clock.now(), account.budgets[0]);
    assert_eq!((account.key.as_str(), report.expect("its budget").spent.0), ("judge:g", 2 * 110 * 1000));
    let spent = gateway.app.gateway.ledger.clone().expect("a ledger").reader().expect("a reader");
    until("written", || {
        let lines = spent.spend(witgate::store::By::Key, &witgate::store::Period::default()).expect("sums");
        lines.iter().any(|line| line.name == "judge:g" && line.requests == 2 && line.cost_nano_usd.0 == 220_000)
    })
    .await;
}

#[tokio::test]
async fn what_fails_at_a_judge_fails_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let gate = Gate::closed();
    let script = [
        graded("I like it.", 100).head_after(&gate),
        graded(r#"{"reason": "Good.", "score": 9}"#, 100),
        Step::json(400, &json!({"error": {"message": "no such field", "type": "invalid_request_error"}})),
        // Dearer than all that may be spent in a day.
        graded(GOOD, 2_000_000),
    ];
    let upstream = ScriptedUpstream::start(script).await;
    let gateway = started(&config(folder.path(), &at(&upstream), "sample: 1, max_usd_per_day: 1")).await;
    // The reply is there while its judge thinks.
    let mut ids = vec![ask(&gateway, false).await];
    upstream.until_asked(1).await;
    assert_eq!(judged(&gateway, "failed"), 0);
    gate.open();
    for failed in 1..=3 {
        until("failed", || judged(&gateway, "failed") == failed).await;
        assert_eq!(heard(&gateway), failed, "its end alone");
        ids.push(ask(&gateway, failed % 2 == 0).await);
    }
    until("judged", || judged(&gateway, "judged") == 1).await;
    ask(&gateway, false).await;
    until("skipped", || judged(&gateway, "skipped") == 1).await;
    assert_eq!((upstream.count(), judged(&gateway, "failed")), (4, 3), "a day's money is spent");
    let last = ids.pop().expect("the last");
    assert_eq!(verdict(&gateway, last), Some(0.75));
    assert!(ids.into_iter().all(|id| verdict(&gateway, id).is_none()));
}

#[tokio::test]
async fn what_one_call_may_cost_is_looked_at_before_it_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = ScriptedUpstream::start([graded(GOOD, 100)]).await;
    // A call costs 110 millionths of a dollar, and may cost 2,000 and its prompt: so much is left once, and then no more.
    let text =
        config(folder.path(), &at(&upstream), "sample: 1, max_usd_per_day: 0.0026").replace(", max_tokens: 50", "");
    let gateway = started(&text).await;
    ask(&gateway, false).await;
    until("judged", || judged(&gateway, "judged") == 1).await;
    assert_eq!(upstream.asked()[0].body["max_completion_tokens"], 2_000);
    let mut asked = 1;
    while judged(&gateway, "skipped") == 0 {
        ask(&gateway, false).await;
        asked += 1;
        until("looked at", || judged(&gateway, "judged") + judged(&gateway, "skipped") == asked).await;
    }
    assert!(judged(&gateway, "failed") == 0 && asked < 8, "{asked}");
    let calls = upstream.count() as u64;
    assert_eq!(calls, asked - 1);
    ask(&gateway, false).await;
    until("skipped", || judged(&gateway, "skipped") == 2).await;
    // Nothing is recorded of those that were not asked for.
    let spent = gateway.app.gateway.ledger.clone().expect("a ledger").reader().expect("a reader");
    until("written", || {
        let lines = spent.spend(witgate::store::By::Key, &witgate::store::Period::default()).expect("sums");
        lines.iter().any(|line| line.name == "judge:g" && line.requests == calls)
    })
    .await;
    let told = spent.spend(witgate::store::By::Key, &witgate::store::Period::default()).expect("sums");
    assert!(told.iter().any(|line| line.name == "judge:g" && line.requests == calls), "{calls}");
}

#[tokio::test]
async fn a_configuration_that_is_read_again_begins_to_judge_and_ends_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let grader = format!("model: simulated/j, mock_response: '{GOOD}'");
    let config = config(folder.path(), &grader, "sample: 0, max_usd_per_day: 1");
    let gateway = started(&config).await;
    for _ in 0..5 {
        ask(&gateway, false).await;
    }
    std::fs::write(gateway.config(), config.replace("sample: 0", "sample: 1")).expect("written");
    until("all are judged", || gateway.generation() == 2).await;
    let id = ask(&gateway, true).await;
    until("judged", || judged(&gateway, "judged") == 1).await;
    assert_eq!((verdict(&gateway, id), heard(&gateway)), (Some(0.75), 7));
    let gone = config.replace("g: {group: grader, sample: 0, max_usd_per_day: 1}, ", "");
    assert_ne!(gone, config);
    std::fs::write(gateway.config(), gone).expect("written");
    until("none is judged", || gateway.generation() == 3).await;
    ask(&gateway, false).await;
    let counts = ["judged", "skipped", "failed"].map(|outcome| judged(&gateway, outcome));
    assert_eq!((heard(&gateway), counts), (8, [1, 0, 0]));
}
