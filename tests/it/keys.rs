//! Virtual keys and budgets over a running gateway: made, used, bounded, blocked, spent.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use witgate::budgets::BudgetSpec;
use witgate::fault::RefusalKind;
use witgate::format::OpenAi;
use witgate::limits::Scope;
use witgate::money::NanoUsd;

use crate::support::gateway::{Gateway, Reply, read};
use crate::support::upstream::{ScriptedUpstream, Step};
use crate::support::virtual_time;

/// Two models: one whose reply costs what it is said to, at a dollar for a thousand tokens in and out.
pub(crate) const MODELS: &str = "model_list:
  - model_name: g
    litellm_params: {model: simulated/m, input_cost_per_token: 0.001, output_cost_per_token: 0.001}
    model_info: {id: one}
  - model_name: other
    litellm_params: {model: simulated/m}
";

/// A gateway with a ledger of its own, and the folder that holds it.
pub(crate) async fn started(more: &str) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = format!("  ledger: {{file: {}}}\n", folder.path().join("ledger.db").display());
    let config = format!("{MODELS}general_settings: {{master_key: sk-master}}\nwitgate:\n{ledger}{more}");
    (Gateway::start(&config).await, folder)
}

pub(crate) async fn send(gateway: &Gateway, method: Method, path: &str, key: &str, body: Option<&Value>) -> Reply {
    let request = gateway.client.request(method, format!("{}{path}", gateway.url)).bearer_auth(key);
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    };
    read(request.send().await.expect("an answer")).await
}

pub(crate) async fn post(gateway: &Gateway, path: &str, body: Value) -> Reply {
    send(gateway, Method::POST, path, "sk-master", Some(&body)).await
}

pub(crate) async fn get(gateway: &Gateway, path: &str, key: &str) -> Reply {
    send(gateway, Method::GET, path, key, None).await
}

/// Makes a key with these fields.
pub(crate) async fn made(gateway: &Gateway, fields: Value) -> String {
    let reply = post(gateway, "/key/generate", fields).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["key"].as_str().expect("a key").to_owned()
}

pub(crate) async fn chat(gateway: &Gateway, model: &str, key: &str) -> Reply {
    let body = json!({"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": "Hello there"}]});
    send(gateway, Method::POST, "/v1/chat/completions", key, Some(&body)).await
}

#[tokio::test]
async fn a_key_is_made_used_changed_blocked_and_taken_away() {
    let (gateway, folder) = started("").await;
    let fields = json!({
        "key_alias": "study", "models": ["g"], "team_id": "lab", "user_id": "ada", "metadata": {"room": 7},
        "duration": "30d", "tags": ["thesis"],
    });
    let reply = post(&gateway, "/key/generate", fields).await;
    let generated = reply.json();
    let key = generated["key"].as_str().expect("a key").to_owned();
    assert!(key.starts_with("sk-") && key.len() > 40, "{generated}");
    assert!(generated["token"].as_str().is_some_and(|token| token.len() == 64), "{generated}");
    assert!(generated["expires"].is_string(), "{generated}");
    // What is kept is no key.
    let kept = std::fs::read(folder.path().join("ledger.db")).expect("a ledger");
    let wal = std::fs::read(folder.path().join("ledger.db-wal")).unwrap_or_default();
    assert!(![kept, wal].iter().any(|bytes| bytes.windows(key.len()).any(|window| window == key.as_bytes())));

    assert_eq!(chat(&gateway, "g", &key).await.status, 200);
    let denied = chat(&gateway, "other", &key).await;
    let code = &denied.json()["error"]["code"];
    assert!(denied.status == 403 && code == "key_model_access_denied", "{}", denied.text);
    let models = get(&gateway, "/v1/models", &key).await.json();
    let told: Vec<&str> =
        models["data"].as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(told, ["g"]);
    assert_eq!(get(&gateway, "/v1/models/other", &key).await.status, 404);
    let all = get(&gateway, "/model/info", &key).await.json();
    assert_eq!(all["data"].as_array().map(Vec::len), Some(1), "{all}");
    // Callers make no keys, and read nobody's spend.
    for (method, path) in [(Method::POST, "/key/generate"), (Method::GET, "/key/list"), (Method::GET, "/global/spend")]
    {
        let reply = send(&gateway, method, path, &key, Some(&json!({}))).await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text);
    }

    // Its holder is told of it; another's is the operator's to know.
    let own = get(&gateway, "/key/info", &key).await.json();
    assert!(own["info"]["key_alias"] == "study" && own["info"]["spend"].as_f64() > Some(0.0), "{own}");
    assert_eq!(own["info"]["status"], "active");
    let other = made(&gateway, json!({})).await;
    assert_eq!(get(&gateway, &format!("/key/info?key={other}"), &key).await.status, 403);
    let info = get(&gateway, &format!("/key/info?key={key}"), "sk-master").await.json();
    assert_eq!(info["info"]["metadata"], json!({"room": 7}));

    let changed = post(&gateway, "/key/update", json!({"key": key, "models": [], "user_id": null})).await.json();
    assert!(changed["models"] == json!([]) && changed["user_id"].is_null() && changed["team_id"] == "lab", "{changed}");
    assert_eq!(chat(&gateway, "other", &key).await.status, 200);
    assert_eq!(post(&gateway, "/key/update", json!({"key": other, "key_alias": "study"})).await.status, 400);

    assert_eq!(post(&gateway, "/key/block", json!({"key": key})).await.json()["blocked"], true);
    let blocked = chat(&gateway, "g", &key).await;
    assert!(blocked.status == 401 && blocked.text.contains("blocked"), "{}", blocked.text);
    post(&gateway, "/key/unblock", json!({"key": key})).await;
    assert_eq!(chat(&gateway, "g", &key).await.status, 200);

    let listed = get(&gateway, "/key/list?return_full_object=true&team_id=lab", "sk-master").await.json();
    assert!(listed["total_count"] == 1 && listed["keys"][0]["key_alias"] == "study", "{listed}");
    let deleted = post(&gateway, "/key/delete", json!({"key_aliases": ["study"]})).await;
    assert_eq!(deleted.json(), json!({"deleted_keys": ["study"]}));
    assert_eq!(chat(&gateway, "g", &key).await.status, 401);
    assert_eq!(post(&gateway, "/key/block", json!({"key": key})).await.status, 404);
    assert_eq!(chat(&gateway, "g", &other).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_once_do_not_lose_each_other() {
    let (gateway, _folder) = started("").await;
    let same = (0..16).map(|_| post(&gateway, "/key/generate", json!({"key_alias": "one"})));
    let made_of = futures_util::future::join_all(same).await;
    assert_eq!(made_of.iter().filter(|reply| reply.status == 200).count(), 1, "an alias is one key's");
    for _ in 0..8 {
        let key = made(&gateway, json!({})).await;
        let update = |at: u32| post(&gateway, "/key/update", json!({"key": key, "user_id": at.to_string()}));
        let changes = futures_util::future::join_all((0..4).map(update));
        let (_, blocked) = tokio::join!(changes, post(&gateway, "/key/block", json!({"key": key})));
        assert_eq!(blocked.status, 200);
        assert_eq!(chat(&gateway, "g", &key).await.status, 401, "a change of something else unblocks nothing");
        let changes = futures_util::future::join_all((0..4).map(update));
        let (_, deleted) = tokio::join!(changes, post(&gateway, "/key/delete", json!({"keys": [key]})));
        assert_eq!(deleted.status, 200);
        assert_eq!(get(&gateway, &format!("/key/info?key={key}"), "sk-master").await.status, 404);
        let kept = gateway.app.gateway.ledger.as_ref().expect("a ledger").keys().load().expect("keys");
        assert_eq!(kept.read.len(), 1, "what is kept is what is in force");
    }
}

#[tokio::test]
async fn what_would_restrict_a_key_and_is_not_there_is_refused() {
    let (gateway, _folder) = started("").await;
    for (fields, blamed) in [
        (json!({"model_max_budget": {"g": {"budget_limit": 1}}}), "model_max_budget"),
        (json!({"max_budget": "much"}), "max_budget"),
        (json!({"budget_duration": "soon"}), "budget_duration"),
        (json!({"key": "short"}), "key"),
        (json!({"rpm_limit": -1}), "rpm_limit"),
        (json!({"organization_id": "o"}), "organization_id"),
        (json!({"project_id": "p"}), "project_id"),
        (json!({"agent_id": "a"}), "agent_id"),
        (json!({"allowed_cache_controls": ["no-cache"]}), "allowed_cache_controls"),
        (json!({"permissions": {"get_spend_routes": true}}), "permissions"),
        (json!({"aliases": {"g": "other"}}), "aliases"),
        (json!({"metadata": {"room": 7, "model_rpm_limit": {"g": 1}}}), "metadata.model_rpm_limit"),
        (json!({"metadata": {"model_tpm_limit": {"g": 1}}}), "metadata.model_tpm_limit"),
        (json!({"metadata": {"guardrails": ["no-names"]}}), "metadata.guardrails"),
        (json!({"metadata": {"tags": "study"}}), "metadata.tags"),
    ] {
        let reply = post(&gateway, "/key/generate", fields.clone()).await;
        assert!(reply.status == 400 && reply.json()["error"]["param"] == blamed, "{fields}: {}", reply.text);
    }
    let usual = json!({"models": [], "aliases": {}, "config": {}, "metadata": {}, "permissions": {}, "key_type": "default",
        "max_budget": null, "spend": 0, "guardrails": [], "organization_id": null, "allowed_cache_controls": []});
    assert_eq!(post(&gateway, "/key/generate", usual).await.status, 200, "what the clients of LiteLLM send");
    let empty = json!({"metadata": {"tags": null, "guardrails": [], "model_rpm_limit": {}}});
    assert_eq!(post(&gateway, "/key/generate", empty).await.status, 200);
    let team = json!({"team_id": "lab", "metadata": {"model_rpm_limit": {"g": 1}}});
    let reply = post(&gateway, "/team/new", team).await;
    assert!(reply.status == 400 && reply.text.contains("a team are not supported"), "{}", reply.text);
    let reply = get(&gateway, "/key/list?user=ada&size=5&expand=", "sk-master").await;
    assert!(reply.status == 400 && reply.json()["error"]["param"] == "user", "{}", reply.text);
    assert_eq!(
        get(&gateway, "/key/list?user_id=ada&size=5&expand=&include_team_keys=false", "sk-master").await.status,
        200
    );
    let both = json!({"duration": "30d", "expires": null});
    let ends = post(&gateway, "/key/generate", both).await.json();
    assert!(ends["expires"].is_string(), "{ends}");
    let elsewhere = post(&gateway, "/key/generate", json!({"expires": "2199-01-31T14:00:00+02:00"})).await.json();
    assert_eq!(elsewhere["expires"], "2199-01-31T12:00:00.000Z", "{elsewhere}");
    let none = Gateway::start(&format!("{MODELS}general_settings: {{master_key: sk-master}}\n")).await;
    let reply = post(&none, "/key/generate", json!({})).await;
    assert!(reply.status == 400 && reply.text.contains("witgate.ledger"), "{}", reply.text);
    let open = Gateway::start(&format!("{MODELS}witgate: {{admin_key: sk-master}}\n")).await;
    let reply = post(&open, "/key/generate", json!({})).await;
    assert!(reply.status == 400 && reply.text.contains("general_settings.master_key"), "{}", reply.text);
}

#[tokio::test]
async fn keys_and_what_they_spent_are_there_after_a_restart() {
    let (gateway, folder) = started("").await;
    let key = made(&gateway, json!({"key_alias": "study", "max_budget": 0.1, "budget_duration": "1d"})).await;
    let reply = chat(&gateway, "g", &key).await;
    let cost: f64 = reply.header("x-litellm-response-cost").parse().expect("dollars");
    let spend = async |gateway: &Gateway| {
        let info = get(gateway, "/key/info", &key).await.json();
        info["info"]["spend"].as_f64().expect("a number")
    };
    assert!((spend(&gateway).await - cost).abs() < 1e-9);
    gateway.app.gateway.ledger.as_ref().expect("a ledger").finish();
    let metrics = get(&gateway, "/metrics", "sk-master").await.text;
    let line = |name: &str| {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix("{scope=\"key:study\",period=\"1d\"} "));
        line.unwrap_or_else(|| panic!("{name}: {metrics}")).parse::<f64>().expect("a number")
    };
    assert!(
        (line("witgate_budget_spent_usd") - cost).abs() < 1e-9
            && (line("witgate_budget_left_usd") - 0.1 + cost).abs() < 1e-9
    );
    assert_eq!((line("witgate_budget_max_usd"), line("witgate_budget_held_usd")), (0.1, 0.0));
    let keys = get(&gateway, "/global/spend/keys", "sk-master").await.json();
    assert_eq!(
        (&keys[0]["key_alias"], &keys[0]["key_name"]),
        (&json!("study"), &json!(format!("sk-...{}", &key[key.len() - 4..])))
    );
    assert_eq!(keys[0]["api_key"].as_str().map(str::len), Some(64), "{keys}");
    gateway.drain().await;
    let arguments = ["spend", "--by", "key", "--ledger"];
    let file = folder.path().join("ledger.db");
    let output = Command::new(env!("CARGO_BIN_EXE_witgate")).args(arguments).arg(file).output().expect("it runs");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.lines().nth(1).is_some_and(|line| line.starts_with("study ")), "{output:?}");
    let config = format!(
        "{MODELS}general_settings: {{master_key: sk-master}}\nwitgate: {{ledger: {{file: {}}}}}\n",
        folder.path().join("ledger.db").display()
    );
    let again = Gateway::start(&config).await;
    assert!((spend(&again).await - cost).abs() < 1e-9, "never twice");
    // Another period counts what was spent in it.
    let changed = post(&again, "/key/update", json!({"key": key, "budget_duration": "1mo"})).await.json();
    assert!((changed["spend"].as_f64().expect("a number") - cost).abs() < 1e-9, "{changed}");
    let set = post(&again, "/key/update", json!({"key": key, "spend": 0})).await.json();
    assert_eq!(set["spend"], 0.0, "{set}");
}

#[tokio::test]
async fn a_budget_refuses_before_a_call_in_litellm_s_words_with_what_is_left() {
    let (gateway, _folder) = started("  teams: {lab: {max_budget: 0.05}}\n").await;
    let key = made(&gateway, json!({"key_alias": "poor", "max_budget": 0.03, "budget_duration": "1d"})).await;
    let mut served = 0;
    let refused = loop {
        let reply = chat(&gateway, "g", &key).await;
        if reply.status != 200 {
            break reply;
        }
        served += 1;
        assert!(served < 10, "nothing is refused");
    };
    let error = &refused.json()["error"];
    assert!(served >= 1 && refused.status == 422 && error["type"] == "budget_exceeded", "{}", refused.text);
    let message = error["message"].as_str().expect("a message");
    for part in ["Budget has been exceeded!", "Max budget: 0.03", "the key `poor`", "left", "begins anew at"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(refused.header("x-should-retry"), "false");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds <= 86_400));
    let spent = get(&gateway, "/key/info", &key).await.json()["info"]["spend"].as_f64().expect("a number");
    assert!(spent <= 0.03, "{spent}");
    // In Anthropic's words; what costs nothing too where all is spent.
    let body = json!({"model": "g", "max_tokens": 30, "messages": [{"role": "user", "content": "Hello"}]});
    let reply = send(&gateway, Method::POST, "/v1/messages", &key, Some(&body)).await;
    assert!(reply.status == 422 && reply.json()["error"]["type"] == "billing_error", "{}", reply.text);
    // The team's budget stands beside the key's.
    let mate = made(&gateway, json!({"team_id": "lab"})).await;
    let refused = loop {
        let reply = chat(&gateway, "g", &mate).await;
        if reply.status != 200 {
            break reply;
        }
    };
    assert!(refused.status == 422 && refused.text.contains("the team `lab`"), "{}", refused.text);
    // More money helps at once.
    post(&gateway, "/key/update", json!({"key": key, "max_budget": 10})).await;
    assert_eq!(chat(&gateway, "g", &key).await.status, 200);
}

#[tokio::test]
async fn a_key_s_limits_refuse_with_numbers_and_leave_others_alone() {
    let (gateway, _folder) = started("  queue: {max_wait_seconds: 0}\n").await;
    let key = made(&gateway, json!({"key_alias": "slow", "rpm_limit": 2})).await;
    let other = made(&gateway, json!({})).await;
    for _ in 0..2 {
        assert_eq!(chat(&gateway, "other", &key).await.status, 200);
    }
    let refused = chat(&gateway, "other", &key).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert!(refused.text.contains("the key `slow` is at its limit: 2 of 2 requests"), "{}", refused.text);
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((50..=61).contains(&wait), "{wait}");
    assert_eq!(chat(&gateway, "other", &other).await.status, 200);
    post(&gateway, "/key/update", json!({"key": key, "rpm_limit": null})).await;
    assert_eq!(chat(&gateway, "other", &key).await.status, 200);
}

/// It is no request's size: a 413 would have clients shorten their prompts for nothing.
#[tokio::test]
async fn a_key_that_may_make_no_requests_is_told_so_and_not_to_try_again() {
    let (gateway, _folder) = started("").await;
    for (fields, told) in [
        (json!({"key_alias": "idle", "rpm_limit": 0}), "the limit of the key `idle` is 0 requests per window"),
        (json!({"key_alias": "none", "max_parallel_requests": 0}), "the limit of the key `none` is 0 requests at once"),
    ] {
        let key = made(&gateway, fields).await;
        let refused = chat(&gateway, "g", &key).await;
        assert!(refused.status == 429 && refused.text.contains(told), "{}", refused.text);
        assert_eq!((refused.header("x-should-retry"), refused.header("retry-after")), ("false", ""));
        assert!(refused.json()["error"]["type"] == "rate_limit_error" && !refused.text.contains("too large"));
        post(&gateway, "/key/update", json!({"key": key, "rpm_limit": null, "max_parallel_requests": null})).await;
        assert_eq!(chat(&gateway, "g", &key).await.status, 200);
    }
}

#[tokio::test]
async fn tags_in_the_metadata_of_a_key_or_its_team_are_those_of_its_requests() {
    let tags = "  tags: {study: {rpm_limit: 1}, lab-wide: {rpm_limit: 1}}\n";
    let (gateway, _folder) = started(&format!("  queue: {{max_wait_seconds: 0}}\n{tags}")).await;
    let key = made(&gateway, json!({"tags": ["own"], "metadata": {"tags": ["study", "own"]}})).await;
    let info = get(&gateway, &format!("/key/info?key={key}"), "sk-master").await.json();
    assert_eq!(info["info"]["tags"], json!(["own", "study"]), "{info}");
    assert_eq!(chat(&gateway, "g", &key).await.status, 200);
    let refused = chat(&gateway, "g", &key).await;
    assert!(refused.status == 429 && refused.text.contains("the tag `study`"), "{}", refused.text);
    // Who sets the tags of a key means all of them.
    post(&gateway, "/key/update", json!({"key": key, "tags": ["own"]})).await;
    assert_eq!(chat(&gateway, "g", &key).await.status, 200);

    let team = json!({"team_id": "lab", "metadata": {"tags": ["lab-wide"]}});
    assert_eq!(post(&gateway, "/team/new", team).await.status, 200);
    let mate = made(&gateway, json!({"team_id": "lab"})).await;
    assert_eq!(chat(&gateway, "g", &mate).await.status, 200);
    let refused = chat(&gateway, "g", &mate).await;
    assert!(refused.status == 429 && refused.text.contains("the tag `lab-wide`"), "{}", refused.text);
    gateway.app.gateway.ledger.as_ref().expect("a ledger").finish();
    let logs = get(&gateway, &format!("/spend/logs?api_key={mate}"), "sk-master").await.json();
    assert!(logs.as_array().is_some_and(|logs| logs.len() == 2), "{logs}");
    assert_eq!(logs[0]["request_tags"], json!(["lab-wide"]), "{logs}");
}

#[tokio::test]
async fn spend_is_told_of_the_key_or_user_that_is_asked_for_and_of_nobody_else() {
    let (gateway, _folder) = started("litellm_settings: {max_budget: 100, budget_duration: 30d}\n").await;
    let ada =
        made(&gateway, json!({"user_id": "ada", "key_alias": "study", "models": ["g"], "tags": ["thesis"]})).await;
    let bob = made(&gateway, json!({"user_id": "bob"})).await;
    for (key, model, status) in [(&ada, "g", 200), (&ada, "other", 403), (&bob, "g", 200), (&bob, "g", 200)] {
        assert_eq!(chat(&gateway, model, key).await.status, status);
    }
    assert_eq!(chat(&gateway, "g", "sk-master").await.status, 200);
    gateway.app.gateway.ledger.as_ref().expect("a ledger").finish();
    let ask = async |path: &str| get(&gateway, path, "sk-master").await;
    let digest = witgate::virtual_key::KeyHash::of(&ada).to_string();
    let by_user = ask("/spend/logs?user_id=ada&summarize=false").await.json();
    let told = |row: &Value| (row["api_key"].clone(), row["user"].clone());
    let rows: Vec<_> = by_user.as_array().expect("a list").iter().map(told).collect();
    assert_eq!(rows, vec![(json!(digest), json!("ada")); 2], "{by_user}");
    for named in [&ada, &digest, &digest.to_uppercase()] {
        assert_eq!(ask(&format!("/spend/logs?api_key={named}")).await.json(), by_user);
    }
    let ended =
        |status: &str| by_user.as_array().into_iter().flatten().find(|row| row["status"] == status).expect("one");
    let (refused, served) = (ended("failure"), ended("success"));
    assert_eq!(refused["spend"], json!(0.0), "{refused}");
    assert!(served["spend"].as_f64() > Some(0.0) && served["request_tags"] == json!(["thesis"]), "{served}");
    for path in [format!("/spend/logs?api_key={ada}&user_id=bob"), "/spend/logs?user_id=nobody".to_owned()] {
        assert_eq!(ask(&path).await.json(), json!([]), "{path}");
    }
    let own = ask("/spend/logs?api_key=sk-master").await.json();
    assert!(own.as_array().map(Vec::len) == Some(1) && own[0]["api_key"] == "master", "{own}");

    let all = ask("/global/spend").await.json();
    assert_eq!((&all["max_budget"], &all["budget_duration"]), (&json!(100.0), &json!("30d")), "{all}");
    let keys = ask("/global/spend/keys?limit=1").await.json();
    assert!(keys.as_array().map(Vec::len) == Some(1) && keys[0]["total_spend"].as_f64() > Some(0.0), "{keys}");
    let users = ask("/spend/users").await.json();
    let named: Vec<_> = users.as_array().expect("a list").iter().filter_map(|user| user["user_id"].as_str()).collect();
    assert_eq!(named, ["bob", "ada"], "who spent most first: {users}");
    let one = ask("/spend/users?user_id=ada").await.json();
    assert_eq!(one, json!([users[1]]));
    let keys = ask("/spend/keys").await.json();
    assert!(keys.as_array().map(Vec::len) == Some(2) && keys[1]["key_alias"] == "study", "{keys}");
    for (path, blamed) in [
        ("/spend/logs?user=ada", "user"),
        ("/spend/logs?summarize=true", "summarize"),
        ("/spend/tags?limit=none", "limit"),
        ("/global/spend?team_id=lab", "team_id"),
        ("/global/spend/keys?limit=0", "limit"),
        ("/global/spend/models?api_key=sk-none", "api_key"),
        ("/spend/keys?user_id=ada", "user_id"),
    ] {
        let refused = ask(path).await;
        assert!(refused.status == 400 && refused.json()["error"]["param"] == blamed, "{path}: {}", refused.text);
    }
}

#[tokio::test]
async fn a_key_and_its_team_have_limits_of_input_of_output_and_of_a_day() {
    let team = "  teams: {lab: {otpm_limit: 15, tpd_limit: 100000}}\n";
    let (gateway, _folder) = started(&format!("  queue: {{max_wait_seconds: 0}}\n{team}")).await;
    // What a key is given, how many of its calls are served, and what the next is told.
    for (fields, served, told) in [
        (json!({"rpd_limit": 2}), 2, "is at its limit: 2 of 2 requests per 24 h are used and 1 are asked for"),
        (json!({"tpd_limit": 30}), 1, " of 30 tokens per 24 h are used and "),
        (json!({"itpm_limit": 15}), 1, " of 15 input tokens per window are used and "),
        (json!({"otpm_limit": 15}), 1, " of 15 output tokens per window are used and 10 are asked for"),
        (json!({"team_id": "lab"}), 1, "the team `lab` is at its limit: 10 of 15 output tokens per window"),
    ] {
        let key = made(&gateway, fields.clone()).await;
        for _ in 0..served {
            let reply = chat(&gateway, "other", &key).await;
            assert_eq!(reply.status, 200, "{fields}: {}", reply.text);
        }
        let refused = chat(&gateway, "other", &key).await;
        assert!(refused.status == 429 && refused.text.contains(told), "{fields}: {}", refused.text);
        let wait: u64 = refused.header("retry-after").parse().expect("seconds");
        let of_a_day = fields.get("rpd_limit").or(fields.get("tpd_limit")).is_some();
        assert!(
            if of_a_day { (86_000..=86_800).contains(&wait) } else { (1..=61).contains(&wait) },
            "{fields}: {wait}"
        );
        let (name, limit) = fields.as_object().and_then(|all| all.iter().next()).expect("one field");
        let info = get(&gateway, &format!("/key/info?key={key}"), "sk-master").await.json();
        assert_eq!(&info["info"][name], limit, "{info}");
        if name != "team_id" {
            post(&gateway, "/key/update", json!({"key": key, name: null})).await;
            assert_eq!(chat(&gateway, "other", &key).await.status, 200, "{fields}");
        }
    }
    let team = get(&gateway, "/team/info?team_id=lab", "sk-master").await.json();
    assert_eq!((&team["team_info"]["otpm_limit"], &team["team_info"]["tpd_limit"]), (&json!(15), &json!(100_000)));
}

#[tokio::test]
async fn whoever_waits_for_a_key_s_limit_starts_when_it_is_raised() {
    let (gateway, _folder) = started("").await;
    let key = made(&gateway, json!({"rpm_limit": 1})).await;
    assert_eq!(chat(&gateway, "g", &key).await.status, 200);
    let raise = async {
        let live = &gateway.app.gateway.live;
        let waiting = || live.read().groups.values().any(|group| group.queue.waiting() > 0);
        while !waiting() {
            tokio::task::yield_now().await;
        }
        post(&gateway, "/key/update", json!({"key": key, "rpm_limit": 10})).await
    };
    let both = async { tokio::join!(chat(&gateway, "g", &key), raise) };
    let within = tokio::time::timeout(std::time::Duration::from_secs(30), both).await;
    let (second, raised) = within.expect("a minute is not waited for");
    assert_eq!((second.status, raised.status), (200, 200), "{}", second.text);
}

#[tokio::test]
async fn the_configuration_gives_keys_which_a_reload_changes() {
    let own = "  keys:\n    - {key: sk-given-by-file, key_alias: given, models: [g]}\n";
    let (gateway, _folder) = started(own).await;
    assert_eq!(chat(&gateway, "g", "sk-given-by-file").await.status, 200);
    assert_eq!(chat(&gateway, "other", "sk-given-by-file").await.status, 403);
    let reply = post(&gateway, "/key/block", json!({"key": "sk-given-by-file"})).await;
    assert!(reply.status == 400 && reply.text.contains("witgate.keys"), "{}", reply.text);
    let text = std::fs::read_to_string(gateway.config()).expect("the configuration");
    gateway.replace("config.yaml", text.replace("models: [g]", "blocked: true").as_bytes());
    crate::support::until("the reload", || gateway.generation() == 2).await;
    assert_eq!(chat(&gateway, "g", "sk-given-by-file").await.status, 401);
}

#[tokio::test]
async fn a_price_that_nobody_knows_counts_as_the_configuration_says() {
    let reply = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}],
    });
    let upstream = ScriptedUpstream::start([Step::json(200, &reply), Step::json(200, &reply)]).await;
    let config = |rule: &str| {
        format!(
            "model_list:
  - {{model_name: g, litellm_params: {{model: openai/nobody-knows-it, api_base: \"{}/v1\", api_key: sk-x}}}}
general_settings: {{master_key: sk-master}}
litellm_settings: {{max_budget: 100}}
witgate: {{unknown_price: {rule}}}
",
            upstream.origin()
        )
    };
    for (rule, status, counts) in [("estimate", 200, true), ("allow", 200, false), ("refuse", 422, false)] {
        let gateway = Gateway::start(&config(rule)).await;
        let reply = chat(&gateway, "g", "sk-master").await;
        assert_eq!((reply.status, reply.header("x-litellm-response-cost")), (status, ""), "{rule}: {}", reply.text);
        let global = gateway.app.gateway.live.read().payers.global[0];
        let budgets = &gateway.app.gateway.budgets;
        let spent = budgets.report(gateway.app.gateway.clock.now(), global).expect("a budget").spent;
        assert_eq!(spent.0 > 0, counts, "{rule}: {spent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_begins_anew_with_its_period_on_virtual_time() {
    let config = format!("{MODELS}cost_controls: {{max_budget: 0.2, budget_duration: 1h}}\n");
    let gateway = virtual_time::assembled(&config);
    let body = json!({"model": "g", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello there"}]});
    let mut served = 0;
    let refusal = loop {
        match virtual_time::ask(&gateway, &OpenAi, &body).await {
            Ok(_) => served += 1,
            Err(refusal) => break refusal,
        }
        assert!(served < 100, "nothing is refused");
    };
    assert_eq!((refusal.kind, served > 2), (RefusalKind::BudgetExceeded, true), "{refusal}");
    let wait = refusal.retry_after.expect("it begins anew");
    tokio::time::advance(wait.saturating_sub(std::time::Duration::from_secs(1))).await;
    assert!(virtual_time::ask(&gateway, &OpenAi, &body).await.is_err(), "a second before");
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    for _ in 0..served {
        virtual_time::ask(&gateway, &OpenAi, &body).await.expect("a new hour");
    }
    assert!(virtual_time::ask(&gateway, &OpenAi, &body).await.is_err());
    // What costs nothing is asked of another group, which its own budget does not bound; all share this one.
    let free = json!({"model": "other", "messages": [{"role": "user", "content": "Hello"}]});
    assert!(virtual_time::ask(&gateway, &OpenAi, &free).await.is_ok(), "something is left, and it is free");
}

#[tokio::test(start_paused = true)]
async fn who_only_lacks_what_others_hold_waits_for_them() {
    let slow = "model_list:
  - model_name: g
    litellm_params: {model: simulated/m, input_cost_per_token: 0.001, output_cost_per_token: 0.001, simulated: {ttft_ms: 5000, output_tokens: 5}}
cost_controls: {max_budget: 0.5}
";
    let gateway = virtual_time::assembled(slow);
    // Each may cost three fifths of it, and costs far less.
    let body = json!({"model": "g", "max_tokens": 280, "messages": [{"role": "user", "content": "Hello there"}]});
    let began = tokio::time::Instant::now();
    let asked = (0..3).map(|_| virtual_time::ask(&gateway, &OpenAi, &body));
    for reply in futures_util::future::join_all(asked).await {
        reply.expect("none is refused");
    }
    assert!(began.elapsed() >= std::time::Duration::from_secs(15), "one after another: {:?}", began.elapsed());
}

/// Neither is at a provider while it waits: who holds the money that the other waits for would wait for it, too.
#[tokio::test(start_paused = true)]
async fn two_retries_of_one_budget_do_not_wait_for_each_other_s_money() {
    let config = "model_list:
  - model_name: g
    litellm_params: {model: simulated/m, order: 1, input_cost_per_token: 0, output_cost_per_token: 0.0003, simulated: {ttft_ms: 3000, error_rate: 1}}
    model_info: {id: cheap}
  - model_name: g
    litellm_params: {model: simulated/m, order: 2, input_cost_per_token: 0, output_cost_per_token: 0.0009, simulated: {ttft_ms: 1000, output_tokens: 5}}
    model_info: {id: dear}
  - model_name: other
    litellm_params: {model: simulated/m, input_cost_per_token: 0, output_cost_per_token: 0.0003, simulated: {ttft_ms: 2000, output_tokens: 5}}
router_settings: {num_retries: 1, disable_cooldowns: true}
cost_controls: {max_budget: 1}
";
    let gateway = virtual_time::assembled(config);
    let [first, both] = ["other", "g"].map(
        |model| json!({"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": "Hello there"}]}),
    );
    let began = tokio::time::Instant::now();
    // While the first holds three tenths, the other two can pay for the cheap deployment alone, which fails; and never both for the dear one.
    let others = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        tokio::join!(virtual_time::ask(&gateway, &OpenAi, &both), virtual_time::ask(&gateway, &OpenAi, &both))
    };
    let (first, (second, third)) = tokio::join!(virtual_time::ask(&gateway, &OpenAi, &first), others);
    first.expect("it can pay for it");
    for reply in [second, third] {
        let (about, _) = reply.expect("none is refused");
        assert_eq!((about.deployment.as_str(), about.tried.retries), ("dear", 1));
    }
    assert_eq!(began.elapsed().as_secs(), 5, "one after the other");
    let held = gateway.budgets.reports(gateway.clock.now()).iter().map(|budget| budget.held.0).sum::<u64>();
    assert_eq!(held, 0, "nothing is held when all has ended");
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_counts_in_a_budget_that_is_added_meanwhile() {
    let slow = "model_list:
  - model_name: g
    litellm_params: {model: simulated/m, input_cost_per_token: 0.001, output_cost_per_token: 0.001, simulated: {ttft_ms: 5000, output_tokens: 5}}
    model_info: {id: slow}
cost_controls: {max_budget: 1}
";
    let gateway = virtual_time::assembled(slow);
    let body = json!({"model": "g", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello there"}]});
    let spec = BudgetSpec { max: Some(NanoUsd(1_000_000_000)), ..BudgetSpec::default() };
    let add = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let now = gateway.clock.now();
        for scope in [Scope::Group("g".into()), Scope::Deployment("slow".into()), Scope::Group("another".into())] {
            gateway.budgets.set(now, &scope, std::slice::from_ref(&spec));
        }
    };
    let (reply, ()) = tokio::join!(virtual_time::ask(&gateway, &OpenAi, &body), add);
    reply.expect("a reply");
    let spent = gateway.budgets.reports(gateway.clock.now());
    let spent = |scope: Scope| spent.iter().find(|budget| budget.scope == scope).expect("it is there").spent.0;
    let all = spent(Scope::Global);
    assert!(all > 0);
    let added = [Scope::Group("g".into()), Scope::Deployment("slow".into()), Scope::Group("another".into())].map(spent);
    assert_eq!(added, [all, all, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_a_budget_cannot_pay_for_leaves_the_request_to_one_that_it_can() {
    let config = "model_list:
  - model_name: g
    litellm_params: {model: simulated/m, order: 1, input_cost_per_token: 0.01, output_cost_per_token: 0.01}
    model_info: {id: dear}
  - model_name: g
    litellm_params: {model: simulated/m, order: 2, input_cost_per_token: 0.0001, output_cost_per_token: 0.0001, simulated: {output_tokens: 5}}
    model_info: {id: cheap}
cost_controls: {max_budget: 1.5}
";
    let gateway = virtual_time::assembled(config);
    let body =
        |most: u32| json!({"model": "g", "max_tokens": most, "messages": [{"role": "user", "content": "Hello there"}]});
    let (first, _) = virtual_time::ask(&gateway, &OpenAi, &body(80)).await.expect("it can pay for either");
    let (second, _) = virtual_time::ask(&gateway, &OpenAi, &body(200)).await.expect("it can pay for one");
    assert_eq!([first.deployment.as_str(), second.deployment.as_str()], ["dear", "cheap"]);
    let refusal = virtual_time::ask(&gateway, &OpenAi, &body(60_000)).await.expect_err("for none");
    assert!(refusal.kind == RefusalKind::BudgetExceeded && refusal.message.contains("Max budget: 1.5"), "{refusal}");
    let budgets = &gateway.budgets;
    let held = budgets.reports(gateway.clock.now()).iter().map(|budget| budget.held.0).sum::<u64>();
    assert_eq!(held, 0, "nothing is held when all has ended");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_the_most_a_call_may_cost_however_output_is_counted() {
    let config = "model_list:
  - model_name: g
    litellm_params: {model: simulated/m, input_cost_per_token: 0.001, output_cost_per_token: 0.001, simulated: {ttft_ms: 5000, output_tokens: 5}}
    model_info: {max_output_tokens: 280}
cost_controls: {max_budget: 0.5}
";
    let gateway = virtual_time::assembled(config);
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hello there"}]});
    // That replies are short is learned, and says nothing about the next.
    for _ in 0..4 {
        virtual_time::ask(&gateway, &OpenAi, &body).await.expect("a reply");
    }
    let began = tokio::time::Instant::now();
    let asked = (0..2).map(|_| virtual_time::ask(&gateway, &OpenAi, &body));
    for reply in futures_util::future::join_all(asked).await {
        reply.expect("none is refused");
    }
    assert!(began.elapsed() >= std::time::Duration::from_secs(10), "one after the other: {:?}", began.elapsed());
}

#[tokio::test]
async fn whoever_is_to_be_told_of_a_budget_is_told_once() {
    let hook = ScriptedUpstream::start((0..8).map(|_| Step::json(200, &json!({}))).collect::<Vec<_>>()).await;
    let config = format!(
        "{MODELS}environment_variables: {{WEBHOOK_URL: \"{}/hook\"}}
general_settings: {{master_key: sk-master, alerting: [webhook]}}
litellm_settings: {{max_budget: 0.1, soft_budget: 0.001, budget_duration: 1d}}
",
        hook.origin()
    );
    let gateway = Gateway::start(&config).await;
    assert_eq!(chat(&gateway, "g", "sk-master").await.status, 200);
    hook.until_asked(1).await;
    let told = hook.asked()[0].body.clone();
    assert!(told["event"] == "soft_budget_crossed" && told["event_group"] == "proxy", "{told}");
    assert!(told["soft_budget"] == 0.001 && told["spend"].as_f64() > Some(0.001), "{told}");
    // Each request is beyond the soft part too. The next that is told of is the one that leaves little of the whole.
    let mut served = 1;
    while chat(&gateway, "g", "sk-master").await.status == 200 {
        served += 1;
    }
    assert!(served > 3, "{served}");
    hook.until_asked(2).await;
    let told: Vec<Value> = hook.asked().into_iter().skip(1).map(|asked| asked.body).collect();
    assert!(told.iter().all(|told| told["event"] != "soft_budget_crossed"), "{told:?}");
    assert_eq!((&told[0]["event"], &told[0]["max_budget"]), (&json!("threshold_crossed"), &json!(0.1)), "{told:?}");
}
