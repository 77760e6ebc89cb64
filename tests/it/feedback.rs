//! Feedback over a running gateway: matched through the ledger, heard once, by the router that decided.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use witgate::chat::Usage;
use witgate::clock::Clock;
use witgate::decisions::{Logged, Run, run_files};
use witgate::fault::FaultKind;
use witgate::id::{GroupName, KeyId, ProviderName, RequestId};
use witgate::money::NanoUsd;
use witgate::record::{AttemptRecord, Ending, Record};
use witgate::store::Ledger;

use crate::chat::openai_reply;
use crate::support::gateway::{Gateway, Reply, read};
use crate::support::upstream::{ScriptedUpstream, Step};
use crate::support::{fixture, until};

/// Two deployments behind one name, and two keys.
fn config(ledger: &Path, router: &str) -> String {
    let model = "litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 2}}";
    format!(
        "model_list:
  - {{model_name: g, {model}, model_info: {{id: first}}}}
  - {{model_name: g, {model}, model_info: {{id: last}}}}
general_settings: {{master_key: sk-master}}
witgate:
  admin_key: sk-admin
  ledger: {{file: {}}}
  keys: [{{key: sk-ada-aaaaaaaaaaaa, key_alias: ada}}, {{key: sk-bob-bbbbbbbbbbbb, key_alias: bob}}]
  routers: {{g: {router}}}
",
        ledger.display()
    )
}

const ADA: &str = "sk-ada-aaaaaaaaaaaa";
const BOB: &str = "sk-bob-bbbbbbbbbbbb";

async fn post(gateway: &Gateway, path: &str, key: &str, body: &Value) -> Reply {
    let request = gateway.client.request(Method::POST, format!("{}{path}", gateway.url)).bearer_auth(key);
    let request = request.header("content-type", "application/json").body(body.to_string());
    read(request.send().await.expect("an answer")).await
}

async fn chat(gateway: &Gateway, key: &str) -> Reply {
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hello there"}]});
    let reply = post(gateway, "/v1/chat/completions", key, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

async fn feedback(gateway: &Gateway, key: &str, body: &Value) -> Reply {
    post(gateway, "/v1/feedback", key, body).await
}

/// The error's status, code and field.
fn refused(reply: &Reply) -> (u16, String, String) {
    let error = &reply.json()["error"];
    let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    (reply.status, text("code"), text("param"))
}

#[tokio::test]
async fn feedback_is_heard_once_for_each_source_by_the_router_that_decided() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(&folder.path().join("ledger.db"), "{policy: counting}");
    let counting = fixture("policies/counting-a.wasm");
    let gateway = Gateway::start_with(&config, &[("counting.wasm", &counting)]).await;
    let heard = || {
        let router = gateway.app.gateway.live.read().groups["g"].router.clone().expect("a router");
        let bytes = router.save().expect("a counting policy saves").bytes;
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    };
    let reply = chat(&gateway, ADA).await;
    let id = reply.header("x-request-id").to_owned();
    assert_eq!(heard(), 1, "its end");

    // At once: what is not written yet is waited for.
    let told = feedback(&gateway, ADA, &json!({"request_id": id, "score": 0.25, "comment": "too short"})).await;
    let expected = json!({
        "request_id": id, "source": "client", "score": 0.25, "policy": reply.header("x-witgate-policy"),
        "deployment": "first", "repeated": false,
    });
    assert_eq!((told.status, told.json()), (200, expected), "{}", told.text);
    assert_eq!(heard(), 2);

    // The same again, as a client does that heard no answer; something else; another source, as LiteLLM's clients write it.
    let again = feedback(&gateway, ADA, &json!({"request_id": id, "score": 0.25})).await;
    assert_eq!((again.status, &again.json()["repeated"]), (200, &json!(true)), "{}", again.text);
    let other = feedback(&gateway, ADA, &json!({"request_id": id, "score": 0.75})).await;
    assert_eq!(refused(&other), (409, "feedback_given".to_owned(), "source".to_owned()), "{}", other.text);
    assert!(other.text.contains("gave 0.25"), "{}", other.text);
    assert_eq!(heard(), 2);
    let metadata = json!({"metadata": {"litellm_call_id": id, "score": 0.75, "source": "editor", "user_api_key": "x"}});
    assert_eq!(feedback(&gateway, ADA, &metadata).await.json()["source"], "editor");
    assert_eq!(heard(), 3);

    // Another's request is none; operators judge any.
    let body = json!({"request_id": id, "score": 1, "source": "bob"});
    let nothing = (404, "request_not_found".to_owned(), "request_id".to_owned());
    assert_eq!(refused(&feedback(&gateway, BOB, &body).await), nothing);
    assert_eq!(refused(&feedback(&gateway, "sk-master", &body).await), nothing);
    assert_eq!(feedback(&gateway, "sk-nobody", &body).await.status, 401);
    assert_eq!(feedback(&gateway, "sk-admin", &body).await.status, 200);
    assert_eq!(heard(), 4);

    // A version that takes over has what was learned, and hears the rest.
    let next = std::fs::read(fixture("policies/counting-b.wasm")).expect("a component");
    gateway.replace("policies/counting.wasm", &next);
    until("replaced", || gateway.generation() == 2).await;
    let late = feedback(&gateway, ADA, &json!({"request_id": id, "score": 0, "source": "late"})).await;
    assert_eq!((late.status, heard()), (200, 5), "{}", late.text);
}

/// A router that learns nothing hears nothing: the judgement is kept, and nobody is named who heard it.
#[tokio::test]
async fn feedback_on_a_router_that_learns_nothing_is_kept_and_heard_by_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(&config(&folder.path().join("ledger.db"), "{policy: simple-shuffle}")).await;
    let reply = chat(&gateway, ADA).await;
    let body = json!({"request_id": reply.header("x-request-id"), "score": 0.25});
    let told = feedback(&gateway, ADA, &body).await;
    assert_eq!((told.status, &told.json()["policy"]), (200, &Value::Null), "{}", told.text);
    let again = feedback(&gateway, ADA, &body).await;
    assert_eq!((again.status, &again.json()["repeated"]), (200, &json!(true)), "{}", again.text);
}

/// The command of the learning page, with a request's id in its place.
#[tokio::test]
async fn the_page_on_learning_shows_feedback_that_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let counting = fixture("policies/counting-a.wasm");
    let config = config(&folder.path().join("ledger.db"), "{policy: counting}");
    let gateway = Gateway::start_with(&config, &[("counting.wasm", &counting)]).await;
    let page = include_str!("../../docs/learning.md");
    let command = page.split("```sh\n").find(|block| block.starts_with("curl ")).expect("a command");
    assert!(command.starts_with("curl http://127.0.0.1:4000/v1/feedback -H 'content-type: application/json' "));
    let body = command.split("-d '").nth(1).and_then(|rest| rest.split('\'').next()).expect("its body");
    let id = chat(&gateway, ADA).await.header("x-request-id").to_owned();
    let body: Value = serde_json::from_str(&body.replace("REQUEST_ID", &id)).expect("JSON");
    let told = feedback(&gateway, ADA, &body).await;
    assert_eq!((told.status, &told.json()["source"]), (200, &json!("editor")), "{}", told.text);
}

#[tokio::test]
async fn what_nobody_can_learn_from_is_refused_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ledger.db");
    let days = |days: u64| {
        let now = Clock::system().now();
        witgate::moment::Moment::from_millis(now.as_millis() - days * 24 * 3_600_000)
    };
    let ledger = Ledger::open(&file).expect("a ledger");
    let kept_with = |arrived, seed, deployment: &str, fault| {
        let mut record = Record::new(RequestId::derive(arrived, seed), arrived, "openai");
        (record.seed, record.policy, record.caller) = (seed, Some("counting@0".into()), Some(KeyId::from("admin")));
        (record.group, record.status, record.ending) = (Some(GroupName::from("g")), 200, Ending::Whole);
        record.attempts = vec![AttemptRecord {
            group: GroupName::from("g"),
            deployment: deployment.into(),
            provider: ProviderName::from("simulated"),
            model: "m".into(),
            fault,
            latency: Duration::from_millis(5),
            usage: Usage::default(),
            usage_refused: false,
            cost: None,
            charged: NanoUsd::default(),
        }];
        let id = record.id.to_string();
        ledger.keep(record);
        id
    };
    let kept = |arrived, seed, deployment| kept_with(arrived, seed, deployment, None);
    let [broken, limited] = [FaultKind::BrokenStream, FaultKind::RateLimited];
    let (broken, limited) =
        (kept_with(days(1), 4, "first", Some(broken)), kept_with(days(1), 5, "first", Some(limited)));
    let (old, week, removed) = (kept(days(8), 1, "first"), kept(days(6), 2, "first"), kept(days(1), 3, "sold"));
    ledger.finish();
    let config = config(&file, "{policy: counting}");
    let counting = fixture("policies/counting-a.wasm");
    let gateway = Gateway::start_with(&config, &[("counting.wasm", &counting)]).await;
    let tell = async |id: &str| feedback(&gateway, "sk-admin", &json!({"request_id": id, "score": 1})).await;
    let gone = (409, "router_gone".to_owned(), "request_id".to_owned());

    let unknown = RequestId::derive(days(0), 9).to_string();
    assert_eq!(refused(&tell(&unknown).await).1, "request_not_found");
    let too_old = tell(&old).await;
    assert_eq!(refused(&too_old), (410, "request_too_old".to_owned(), "request_id".to_owned()), "{}", too_old.text);
    assert_eq!(tell(&week).await.status, 200, "days later");
    let limited = tell(&limited).await;
    assert_eq!(refused(&limited), (409, "no_reply".to_owned(), "request_id".to_owned()), "{}", limited.text);
    assert_eq!(tell(&broken).await.status, 200, "the client has read what came");
    let removed = tell(&removed).await;
    assert_eq!(refused(&removed), gone, "{}", removed.text);
    assert!(removed.text.contains("`sold` that replied is no more in the group `g`"), "{}", removed.text);
    let wrong = feedback(&gateway, "sk-admin", &json!({"request_id": week, "score": 7})).await;
    assert_eq!((refused(&wrong).0, refused(&wrong).2), (400, "score".to_owned()), "{}", wrong.text);

    // Another policy decides: what it was told of a request it never saw would teach it nothing.
    let decided = chat(&gateway, "sk-master").await.header("x-request-id").to_owned();
    std::fs::write(gateway.config(), config.replace("{policy: counting}", "{policy: least-busy}")).expect("written");
    until("another policy", || gateway.generation() == 2).await;
    let told = tell(&decided).await;
    assert_eq!(refused(&told), gone, "{}", told.text);
    assert!(told.text.contains("decides `least-busy@"), "{}", told.text);
}

#[tokio::test]
async fn feedback_teaches_the_bandit_which_deployment_is_good_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = "{policy: bandit, settings: {uniform: 0.0, reward: {quality: 1.0, cost: 0.0, latency: 0.0}}}";
    let gateway = Gateway::start(&config(&folder.path().join("ledger.db"), settings)).await;
    let ask = async || {
        let reply = chat(&gateway, ADA).await;
        (reply.header("x-request-id").to_owned(), reply.header("x-witgate-deployment").to_owned())
    };
    for _ in 0..40 {
        let (id, deployment) = ask().await;
        let score = if deployment == "last" { 0.9 } else { 0.1 };
        let told = feedback(&gateway, ADA, &json!({"request_id": id, "score": score})).await;
        assert_eq!((told.status, told.json()["deployment"].as_str()), (200, Some(&*deployment)), "{}", told.text);
    }
    let mut last = 0;
    for _ in 0..20 {
        last += usize::from(ask().await.1 == "last");
    }
    assert!(last >= 15, "{last} of 20");
    what_it_came_to(&gateway, last).await;
}

/// Who was chosen, and what replies were worth, as operators see it.
async fn what_it_came_to(gateway: &Gateway, last: usize) {
    let admin = async |path: &str| {
        let request = gateway.client.get(format!("{}{path}", gateway.url)).bearer_auth("sk-admin");
        read(request.send().await.expect("an answer")).await
    };
    let told = admin("/admin/learning").await;
    let shown = told.json();
    let group = &shown["groups"][0];
    assert_eq!((told.status, group["requests"].as_u64()), (200, Some(60)), "{shown}");
    let row = |id: &str| {
        let rows = group["deployments"].as_array().expect("rows");
        rows.iter().find(|row| row["deployment"] == id).unwrap_or_else(|| panic!("{id} in {shown}")).clone()
    };
    let (good, all) = (row("last"), group["deployments"].as_array().expect("rows"));
    let total = |of: &str| all.iter().filter_map(|row| row[of].as_u64()).sum::<u64>();
    assert_eq!((total("requests"), total("judged"), total("replies")), (60, 40, 60), "{shown}");
    assert!(good["requests"].as_u64() >= u64::try_from(last).ok() && good["share"].as_f64() >= Some(0.25), "{shown}");
    // Money and time count nothing here: worth is quality.
    let quality = &good["quality"];
    assert!((quality["mean"].as_f64().expect("a mean") - 0.9).abs() < 1e-6, "{shown}");
    assert!(quality["low"].as_f64() < Some(0.9) && quality["high"].as_f64() > Some(0.9), "{shown}");
    assert_eq!(good["worth"]["mean"], quality["mean"], "{shown}");
    let minutes = good["requests_by_minute"].as_array().expect("minutes");
    assert_eq!(minutes.iter().filter_map(Value::as_u64).sum::<u64>(), good["requests"].as_u64().expect("a count"));

    // As a browser asks, which shows no header.
    let page = gateway.get("/admin/learning/page?group=g&key=sk-admin").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(page.text.contains("60 requests") && page.text.contains("<td>last</td>"), "{}", page.text);
    let unknown = admin("/admin/learning?group=%3Cb%3E").await;
    assert_eq!((unknown.status, unknown.json()["error"]["code"].as_str()), (404, Some("unknown_group")));
}

#[tokio::test]
async fn without_a_ledger_there_is_nothing_to_match() {
    let model = "model_list: [{model_name: g, litellm_params: {model: simulated/m}}]\n";
    let gateway = Gateway::start(model).await;
    let id = RequestId::derive(Clock::system().now(), 9).to_string();
    let told = gateway.post("/v1/feedback", &json!({"request_id": id, "score": 1})).await;
    assert!(told.status == 400 && told.text.contains("`witgate.ledger`"), "{}", told.text);
}

/// Every quality that the router of the one group was told, in order, with the fault and whether times came with it.
fn qualities(runs: &Path) -> Vec<(f32, Option<FaultKind>, bool)> {
    let mut told = Vec::new();
    for file in run_files(runs).expect("runs") {
        let run = Run::read(&file).expect("a run");
        told.extend(run.calls.iter().filter_map(|call| match call {
            Logged::Observe(outcome, _) => Some((outcome.quality?, outcome.fault, outcome.latency_ms.is_finite())),
            _ => None,
        }));
    }
    told
}

/// A group whose decisions are kept, in front of an upstream.
fn kept(folder: &Path, upstream: &ScriptedUpstream, router: &str) -> String {
    format!(
        "model_list:
  - {{model_name: g, litellm_params: {{model: openai/gpt-4o, api_base: \"{}/v1\", api_key: none}}, model_info: {{id: only}}}}
witgate:
  routers: {{g: {router}}}
  decisions: {{share: 1.0, dir: {}}}
",
        upstream.origin(),
        folder.join("runs").display()
    )
}

#[tokio::test]
async fn a_reply_that_was_cut_short_tells_half_unless_the_client_wanted_it_short() {
    let mut cut = openai_reply("It goes on and");
    cut["choices"][0]["finish_reason"] = json!("length");
    let pieces = [
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "On"}}]}),
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}),
    ];
    let events = format!("data: {}\n\ndata: {}\n\ndata: [DONE]\n\n", pieces[0], pieces[1]);
    let whole = Step::json(200, &openai_reply("It is."));
    let upstream =
        ScriptedUpstream::start([Step::json(200, &cut), Step::events(events), Step::json(200, &cut), whole]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(&kept(folder.path(), &upstream, "{policy: latency-based}")).await;
    for (bound, stream) in [(None, false), (None, true), (Some(5), false), (None, false)] {
        let mut body = json!({"model": "g", "stream": stream, "messages": [{"role": "user", "content": "Go on"}]});
        if let Some(bound) = bound {
            body["max_tokens"] = json!(bound);
        }
        let reply = gateway.post("/v1/chat/completions", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    until("ended", || gateway.metric("witgate_under_way") == Some(0.0)).await;
    gateway.app.gateway.decisions.finish();
    assert_eq!(qualities(&folder.path().join("runs")), [(0.5, None, true); 2]);
}

#[tokio::test]
async fn the_same_question_asked_again_tells_that_the_first_answer_was_poor() {
    let answer = || Step::json(200, &openai_reply("It is."));
    let upstream = ScriptedUpstream::start([answer(), answer(), answer(), answer()]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let router = "{policy: latency-based, asked_again_seconds: 60}";
    let gateway = Gateway::start(&kept(folder.path(), &upstream, router)).await;
    for question in ["What is it?", "And why?", "What is it?"] {
        let body = json!({"model": "g", "messages": [{"role": "user", "content": question}]});
        assert_eq!(gateway.post("/v1/chat/completions", &body).await.status, 200);
    }
    gateway.app.gateway.decisions.finish();
    assert_eq!(qualities(&folder.path().join("runs")), [(0.2, Some(FaultKind::Cancelled), false)]);
    // Who does not want to know is told nothing.
    let gateway = Gateway::start(&kept(&folder.path().join("other"), &upstream, "{policy: latency-based}")).await;
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "What is it?"}]});
    assert_eq!(gateway.post("/v1/chat/completions", &body).await.status, 200);
    gateway.app.gateway.decisions.finish();
    assert_eq!(qualities(&folder.path().join("other/runs")), []);
}
