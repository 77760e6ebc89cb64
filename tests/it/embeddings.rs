//! Vectors of questions over a running gateway: asked for where a router wants them, and never in a request's way.

use std::path::Path;

use serde_json::{Value, json};
use witgate::pipeline::Vector;
use witgate::store::{By, Period};

use crate::support::gateway::Gateway;
use crate::support::upstream::{Gate, ScriptedUpstream, Step};
use crate::support::{fixture, until};

/// A group whose router is `policy`, and another that makes vectors at `upstream`.
fn config(folder: &Path, upstream: &ScriptedUpstream, policy: &str, embedding: &str) -> String {
    format!(
        "model_list:
  - {{model_name: g, litellm_params: {{model: simulated/a, mock_response: It is nine.}}}}
  - {{model_name: g, litellm_params: {{model: simulated/b, mock_response: It is nine.}}}}
  - model_name: embedder
    litellm_params: {{model: openai/e, api_key: none, api_base: {}/v1, input_cost_per_token: 0.000001, output_cost_per_token: 0}}
router_settings: {{num_retries: 0}}
witgate:
  ledger: {{file: {}}}
  routers: {{g: {{policy: {policy}}}}}
  embeddings: {{g: {{group: embedder, {embedding}}}, embedder: {{group: embedder}}}}
",
        upstream.origin(),
        folder.join("ledger.db").display()
    )
}

const LEARNER: &str = r#"bandit, settings: {features: ["embedding/4", length]}"#;
/// Longer than any test lasts.
const LONG: &str = "timeout_seconds: 60";

/// A reply with a vector.
fn vector(numbers: &[f64]) -> Step {
    used(numbers, 7)
}

/// The same, with what it says it used.
fn used(numbers: &[f64], tokens: u64) -> Step {
    Step::json(
        200,
        &json!({
            "object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": numbers}],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }),
    )
}

fn question(text: &str) -> Value {
    json!({"model": "g", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]})
}

async fn ask(gateway: &Gateway, text: &str) {
    let reply = gateway.post("/v1/chat/completions", &question(text)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

/// What the router is shown of a question: its vector of four numbers.
async fn shown(gateway: &Gateway, text: &str) -> [f64; 4] {
    let explained = gateway.post("/route/explain", &question(text)).await.json();
    let number = |place: usize| explained["features"][format!("embedding/4.{place}")].as_f64().expect("a number");
    std::array::from_fn(number)
}

/// The first four of what a model says.
fn expected(numbers: &[f64]) -> [f64; 4] {
    let bytes = Vector::of(numbers).expect("a direction").to_bytes();
    let (all, _) = bytes.as_chunks::<4>();
    let four: [f64; 4] = std::array::from_fn(|place| f32::from_le_bytes(all[place]).into());
    let length = four.iter().map(|number| number * number).sum::<f64>().sqrt();
    four.map(|number| number / length)
}

#[track_caller]
fn close(one: [f64; 4], other: [f64; 4]) {
    assert!(one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-5), "{one:?} {other:?}");
}

fn counted(gateway: &Gateway, outcome: &str) -> u64 {
    let line = format!("witgate_embeddings_total{{group=\"g\",outcome=\"{outcome}\"}}");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let count = gateway.metric(&line).unwrap_or_default() as u64;
    count
}

#[tokio::test]
async fn a_router_is_shown_the_vector_that_a_deployment_makes_once_and_pays_on_an_account_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = ([0.1, -0.7, 0.2, 0.5, 0.3], [0.9, 0.1, 0.0, -0.4, 0.2]);
    let upstream = ScriptedUpstream::start([vector(&first), vector(&second)]).await;
    let gateway = Gateway::start(&config(folder.path(), &upstream, LEARNER, LONG)).await;
    ask(&gateway, "What is 3 times 3?").await;
    close(shown(&gateway, "What is 3 times 3?").await, expected(&first));
    ask(&gateway, "What is 3 times 3?").await;
    close(shown(&gateway, "And the root of 81?").await, expected(&second));
    assert_eq!((upstream.count(), counted(&gateway, "made"), counted(&gateway, "remembered")), (2, 2, 2));
    let asked = upstream.asked();
    assert_eq!(asked[0].body, json!({"model": "e", "input": "What is 3 times 3?"}), "what the user said last");
    let spent = gateway.app.gateway.ledger.clone().expect("a ledger").reader().expect("a reader");
    until("written", || {
        let lines = spent.spend(By::Key, &Period::default()).expect("sums");
        lines.iter().any(|line| line.name == "embedding:g" && line.requests == 2 && line.cost_nano_usd.0 == 14_000)
    })
    .await;
}

#[tokio::test]
async fn a_decision_goes_on_without_a_vector_that_takes_too_long_and_the_next_one_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let numbers = [0.3, 0.4, -0.5, 0.1];
    let gate = Gate::closed();
    let upstream = ScriptedUpstream::start([vector(&numbers).head_after(&gate)]).await;
    let gateway = Gateway::start(&config(folder.path(), &upstream, LEARNER, "timeout_seconds: 0.02")).await;
    ask(&gateway, "What is 3 times 3?").await;
    assert_eq!((counted(&gateway, "late"), counted(&gateway, "made")), (1, 0));
    // Whoever asks the same meanwhile waits for the same call.
    close(shown(&gateway, "What is 3 times 3?").await, [0.0; 4]);
    assert_eq!(upstream.count(), 1);
    gate.open();
    while counted(&gateway, "remembered") == 0 {
        ask(&gateway, "What is 3 times 3?").await;
    }
    close(shown(&gateway, "What is 3 times 3?").await, expected(&numbers));
    assert_eq!(upstream.count(), 1, "it was finished and remembered");
}

#[tokio::test]
async fn what_fails_at_a_source_of_vectors_fails_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = [
        Step::json(400, &json!({"error": {"message": "no such field", "type": "invalid_request_error"}})),
        vector(&[0.0, 0.0]),
        Step::json(200, &json!({"object": "list", "data": [], "model": "e"})),
    ];
    let upstream = ScriptedUpstream::start(script).await;
    let gateway = Gateway::start(&config(folder.path(), &upstream, LEARNER, LONG)).await;
    for (text, failed) in [("One?", 1), ("Two?", 2), ("Three?", 3)] {
        ask(&gateway, text).await;
        assert_eq!(counted(&gateway, "failed"), failed);
    }
    assert_eq!((upstream.count(), counted(&gateway, "made")), (3, 0));
    // Of nothing there is no vector, and nobody is asked for one.
    ask(&gateway, " ").await;
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn what_may_be_spent_in_a_day_bounds_the_vectors_and_not_the_requests() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = ScriptedUpstream::start([used(&[1.0, 2.0], 2_000_000)]).await;
    let embedding = format!("{LONG}, max_usd_per_day: 1");
    let gateway = Gateway::start(&config(folder.path(), &upstream, LEARNER, &embedding)).await;
    ask(&gateway, "Why?").await;
    ask(&gateway, "How?").await;
    assert_eq!((upstream.count(), counted(&gateway, "made"), counted(&gateway, "skipped")), (1, 1, 1));
}

#[tokio::test]
async fn a_router_that_wants_no_vector_has_none_made_and_who_makes_them_asks_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = ScriptedUpstream::start([vector(&[1.0, 2.0])]).await;
    let config = config(folder.path(), &upstream, "least-busy", LONG);
    let config = config.replace("routers: {", "routers: {embedder: {policy: bandit}, ");
    let gateway = Gateway::start(&config).await;
    ask(&gateway, "What is 3 times 3?").await;
    assert_eq!(upstream.count(), 0);
    let reply = gateway.post("/v1/embeddings", &json!({"model": "embedder", "input": "hi"})).await;
    assert_eq!((reply.status, upstream.count()), (200, 1), "{}", reply.text);
}

#[cfg(not(feature = "sentence-transformers"))]
#[tokio::test]
async fn a_folder_needs_a_build_that_can_read_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, of_folder("models/minilm")).expect("written");
    let sources = crate::support::files(&file, folder.path());
    let options = crate::support::options(sources, witgate::clock::Clock::system());
    let why = witgate::start::start(options).err().expect("no start").join("\n");
    assert!(why.contains("config.yaml:6") && why.contains("the cargo feature `sentence-transformers`"), "{why}");
}

/// A group whose questions have their vectors by the model in `folder`.
fn of_folder(folder: &str) -> String {
    format!(
        "model_list:
  - {{model_name: g, litellm_params: {{model: simulated/a, mock_response: It is nine.}}}}
  - {{model_name: g, litellm_params: {{model: simulated/b, mock_response: It is nine.}}}}
witgate:
  routers: {{g: {{policy: bandit, settings: {{features: [embedding/32]}}}}}}
  embeddings: {{g: {{path: '{folder}', {LONG}}}}}
"
    )
}

#[cfg(feature = "sentence-transformers")]
#[tokio::test]
#[ignore = "it needs the weights that `cargo xtask prove embeddings` fetches"]
async fn a_folder_makes_vectors_in_this_process() {
    let folder = std::env::var("SENTENCE_MODEL").expect("SENTENCE_MODEL names the folder");
    let gateway = Gateway::start(&of_folder(&folder)).await;
    let shown = async |text: &str| {
        let explained = gateway.post("/route/explain", &question(text)).await.json();
        let number = |place: usize| explained["features"][format!("embedding/32.{place}")].as_f64().expect("a number");
        (0..32).map(number).collect::<Vec<f64>>()
    };
    ask(&gateway, "What is the capital of Norway?").await;
    let asked = shown("What is the capital of Norway?").await;
    let near = shown("Which city is Norway's seat of government?").await;
    let far = shown("Write a function in Python that sorts a list.").await;
    let alike = |other: &[f64]| asked.iter().zip(other).map(|(one, other)| one * other).sum::<f64>();
    println!("by 32 numbers: a question that means the same {:.2}, another {:.2}", alike(&near), alike(&far));
    assert!(alike(&near) > 0.6 && alike(&far) < 0.4, "{} {}", alike(&near), alike(&far));
    assert_eq!((counted(&gateway, "made"), counted(&gateway, "remembered")), (3, 1));
}

#[tokio::test]
async fn a_shadow_has_its_vectors_made_beside_the_requests() {
    let folder = tempfile::tempdir().expect("a folder");
    let gate = Gate::closed();
    let upstream = ScriptedUpstream::start([vector(&[1.0, 2.0]).head_after(&gate)]).await;
    let config = config(folder.path(), &upstream, "counting, roll_out: shadow", LONG);
    let gateway = Gateway::start_with(&config, &[("counting.wasm", &fixture("policies/counting-a.wasm"))]).await;
    let learner = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/bandit.wasm")).expect("a component");
    gateway.replace("policies/counting.wasm", &learner);
    until("a shadow", || gateway.app.gateway.live.read().groups["g"].rollout.is_some()).await;
    ask(&gateway, "What is 3 times 3?").await;
    upstream.until_asked(1).await;
    assert_eq!(counted(&gateway, "made"), 0, "the reply was there before the vector");
    gate.open();
    until("made", || counted(&gateway, "made") == 1).await;
}

/// What waits for a limit is given up when the decision has gone on without it.
#[tokio::test]
async fn nobody_waits_at_a_limit_for_a_vector_that_no_decision_waits_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = ScriptedUpstream::start([vector(&[0.3, 0.4, -0.5, 0.1])]).await;
    let config = config(folder.path(), &upstream, LEARNER, "timeout_seconds: 0.02");
    let gateway =
        Gateway::start(&config.replace("output_cost_per_token: 0}", "output_cost_per_token: 0, rpm: 1}")).await;
    ask(&gateway, "What is 3 times 3?").await;
    until("the only one of this minute", || upstream.count() == 1).await;
    ask(&gateway, "And the root of 81?").await;
    let spent = gateway.app.gateway.ledger.clone().expect("a ledger").reader().expect("a reader");
    until("given up", || {
        let lines = spent.spend(By::Key, &Period::default()).expect("sums");
        lines.iter().any(|line| line.name == "embedding:g" && line.requests == 2)
    })
    .await;
    assert_eq!(upstream.count(), 1);
    let late = counted(&gateway, "late") + counted(&gateway, "skipped");
    assert!(late >= 1, "the second decision had no vector");
}

/// What a provider has is waited for; where it refuses it when nobody waits for it any more, it does not queue again.
#[tokio::test]
async fn a_vector_that_a_provider_refuses_too_late_is_given_up() {
    let (folder, gate) = (tempfile::tempdir().expect("a folder"), Gate::closed());
    let upstream = ScriptedUpstream::start([Step::openai_rate_limited(25).head_after(&gate)]).await;
    let config = config(folder.path(), &upstream, LEARNER, "timeout_seconds: 0.02");
    let gateway = Gateway::start(&config.replace("num_retries: 0", "num_retries: 2")).await;
    ask(&gateway, "What is 3 times 3?").await;
    until("asked, and too late", || upstream.count() == 1 && counted(&gateway, "late") == 1).await;
    gate.open();
    let spent = gateway.app.gateway.ledger.clone().expect("a ledger").reader().expect("a reader");
    until("given up", || {
        let lines = spent.spend(By::Key, &Period::default()).expect("sums");
        lines.iter().any(|line| line.name == "embedding:g" && line.requests == 1)
    })
    .await;
    assert_eq!(upstream.count(), 1);
}
