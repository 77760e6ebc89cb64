//! What scripts ask of keys and of spend beside making and changing them, in LiteLLM's paths and shapes.

use reqwest::Method;
use serde_json::{Value, json};

use witgate::virtual_key::KeyHash;

use crate::keys::{MODELS, chat, get, made, post, send, started};
use crate::support::gateway::Gateway;
use crate::support::until;

async fn spent(gateway: &Gateway, key: &str) -> f64 {
    let info = get(gateway, "/key/info", key).await.json();
    info["info"]["spend"].as_f64().expect("a number")
}

#[tokio::test]
async fn spend_that_is_reset_stays_so_and_what_comes_after_counts_also_after_a_restart() {
    let (gateway, folder) = started("  keys:\n    - {key: sk-given-by-file, key_alias: given}\n").await;
    let key = made(&gateway, json!({"key_alias": "poor", "max_budget": 0.03})).await;
    let mut served = 0;
    while chat(&gateway, "g", &key).await.status == 200 {
        served += 1;
        assert!(served < 10, "nothing is refused");
    }
    let before = spent(&gateway, &key).await;
    let path = format!("/key/{key}/reset_spend");
    for wrong in [json!({}), json!({"reset_to": null}), json!({"reset_to": true}), json!({"reset_to": -1})] {
        let refused = post(&gateway, &path, wrong.clone()).await;
        assert!(refused.status == 400 && refused.json()["error"]["param"] == "reset_to", "{wrong}: {}", refused.text);
    }
    let more = post(&gateway, &path, json!({"reset_to": before + 0.001})).await;
    assert!(more.status == 400 && more.text.contains("no more than what is spent"), "{}", more.text);
    assert_eq!(post(&gateway, "/key/sk-nobody-has-it/reset_spend", json!({"reset_to": 0})).await.status, 404);
    let given = post(&gateway, "/key/sk-given-by-file/reset_spend", json!({"reset_to": 0})).await;
    assert!(given.status == 400 && given.text.contains("witgate.keys"), "{}", given.text);
    let own = send(&gateway, Method::POST, &path, &key, Some(&json!({"reset_to": 0}))).await;
    assert_eq!(own.status, 403, "nobody resets what was spent with a key of one's own");
    assert_eq!(chat(&gateway, "g", &key).await.status, 422, "nothing was changed");

    let reset = post(&gateway, &path, json!({"reset_to": 0})).await.json();
    let digest = KeyHash::of(&key).to_string();
    let told = json!({"key_hash": digest, "spend": 0.0, "previous_spend": before, "max_budget": 0.03, "budget_reset_at": null});
    assert_eq!(reset, told);
    let clock = &gateway.app.gateway.clock;
    let at = clock.now().as_millis();
    until("the next millisecond", || clock.now().as_millis() > at).await;
    let reply = chat(&gateway, "g", &key).await;
    let cost: f64 = reply.header("x-litellm-response-cost").parse().expect("dollars");
    assert!((spent(&gateway, &key).await - cost).abs() < 1e-9, "what it cost before counts no more");

    gateway.app.gateway.ledger.as_ref().expect("a ledger").finish();
    gateway.drain().await;
    let config = format!(
        "{MODELS}general_settings: {{master_key: sk-master}}\nwitgate: {{ledger: {{file: {}}}}}\n",
        folder.path().join("ledger.db").display()
    );
    let again = Gateway::start(&config).await;
    assert!((spent(&again, &key).await - cost).abs() < 1e-9, "as before the restart");
    // Of a part of it, by the digest; and no more than the budget is, whatever was spent.
    let part = post(&again, &format!("/key/{digest}/reset_spend"), json!({"reset_to": "0.001"})).await.json();
    assert_eq!((&part["spend"], spent(&again, &key).await), (&json!(0.001), 0.001), "{part}");
    post(&again, "/key/update", json!({"key": key, "max_budget": 0.0005})).await;
    let refused = post(&again, &path, json!({"reset_to": 0.001})).await;
    assert!(refused.status == 400 && refused.text.contains("the budget of the key"), "{}", refused.text);
}

#[tokio::test]
async fn several_keys_are_told_of_at_once_and_aliases_by_page_to_the_operator_alone() {
    let (gateway, _folder) = started("").await;
    let mut keys = Vec::new();
    for (alias, team) in [("beta", "lab"), ("Alpha", "lab"), ("gamma", "other")] {
        keys.push(made(&gateway, json!({"key_alias": alias, "team_id": team})).await);
    }
    made(&gateway, json!({})).await;
    let digest = KeyHash::of(&keys[1]).to_string();
    let asked = json!({"keys": [keys[0], "sk-nobody-has-it", digest, keys[0]], "key_aliases": ["gamma", "delta"]});
    let told = post(&gateway, "/v2/key/info", asked.clone()).await;
    let body = told.json();
    let aliases: Vec<&Value> = body["info"].as_array().expect("a list").iter().map(|one| &one["key_alias"]).collect();
    assert_eq!(aliases, ["beta", "Alpha", "gamma"], "each once, and nothing of those there are not");
    assert_eq!((&body["key"], &body["info"][1]["token"]), (&asked["keys"], &json!(digest)), "{body}");
    let by_alias = post(&gateway, "/v2/key/info", json!({"key_aliases": ["gamma"]})).await;
    assert!(!by_alias.text.contains(&keys[2]) && by_alias.json()["key"].is_null(), "{}", by_alias.text);
    assert_eq!(post(&gateway, "/v2/key/info", json!({"keys": []})).await.status, 400);

    let aliases = async |query: &str| get(&gateway, &format!("/key/aliases{query}"), "sk-master").await;
    let all = json!({"aliases": ["Alpha", "beta", "gamma"], "total_count": 3, "current_page": 1, "total_pages": 1, "size": 50});
    assert_eq!(aliases("").await.json(), all);
    let second = json!({"aliases": ["gamma"], "total_count": 3, "current_page": 2, "total_pages": 2, "size": 2});
    assert_eq!(aliases("?size=2&page=2").await.json(), second);
    assert_eq!(aliases("?size=2&page=3").await.json()["aliases"], json!([]));
    assert_eq!(aliases("?search=ALPH").await.json()["aliases"], json!(["Alpha"]));
    assert_eq!(aliases("?team_id=other").await.json()["aliases"], json!(["gamma"]));
    assert_eq!(aliases("?user_id=ada").await.json()["error"]["param"], "user_id");

    for (method, path) in [
        (Method::POST, "/v2/key/info"),
        (Method::GET, "/key/aliases"),
        (Method::POST, "/spend/calculate"),
        (Method::POST, "/v2/key/nothing"),
    ] {
        let refused = send(&gateway, method, path, &keys[0], Some(&json!({"keys": [keys[0]]}))).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.text);
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_is_refused_and_not_taken_for_the_first() {
    let (gateway, _folder) = started("").await;
    for number in 0..3 {
        made(&gateway, json!({"key_alias": number.to_string()})).await;
    }
    for path in ["/key/list", "/key/aliases"] {
        for (query, blamed) in
            [("page=0", "page"), ("page=two", "page"), ("page=-1", "page"), ("size=0", "size"), ("size=101", "size")]
        {
            let refused = get(&gateway, &format!("{path}?{query}"), "sk-master").await;
            let param = &refused.json()["error"]["param"];
            assert!(refused.status == 400 && param == blamed, "{path}?{query}: {}", refused.text);
        }
        let whole = get(&gateway, &format!("{path}?size=100&page="), "sk-master").await.json();
        assert_eq!((&whole["total_count"], &whole["total_pages"]), (&json!(3), &json!(1)), "{whole}");
    }
    let last = get(&gateway, "/key/list?size=2&page=2&return_full_object=True", "sk-master").await.json();
    assert_eq!(last["keys"][0]["key_alias"], "0", "the oldest last: {last}");
    let beyond = get(&gateway, &format!("/key/list?page={}", u64::MAX), "sk-master").await.json();
    assert_eq!(beyond["keys"], json!([]));
}

#[tokio::test]
async fn numbers_are_taken_as_litellm_takes_them_and_names_as_every_database_does() {
    let (gateway, _folder) = started("").await;
    let fields = json!({"rpm_limit": 60.0, "tpm_limit": "1000", "max_parallel_requests": 2e1, "max_budget": "1.5", "soft_budget": ""});
    let told = post(&gateway, "/key/generate", fields).await.json();
    for (name, number) in [
        ("rpm_limit", json!(60)),
        ("tpm_limit", json!(1000)),
        ("max_parallel_requests", json!(20)),
        ("max_budget", json!(1.5)),
    ] {
        assert_eq!(told[name], number, "{told}");
    }
    assert!(told["soft_budget"].is_null(), "{told}");
    let team = json!({"team_id": "lab", "rpm_limit": "7", "max_budget": "2"});
    let team = post(&gateway, "/team/new", team).await.json();
    assert_eq!((&team["rpm_limit"], &team["max_budget"]), (&json!(7), &json!(2.0)), "{team}");
    for (path, fields, blamed) in [
        ("/key/generate", json!({"rpm_limit": 1.5}), "rpm_limit"),
        ("/key/generate", json!({"rpm_limit": "many"}), "rpm_limit"),
        ("/key/generate", json!({"rpm_limit": 1e30}), "rpm_limit"),
        ("/key/generate", json!({"tpm_limit": true}), "tpm_limit"),
        ("/key/generate", json!({"max_budget": "NaN"}), "max_budget"),
        ("/key/generate", json!({"max_budget": "inf"}), "max_budget"),
        ("/key/generate", json!({"max_budget": "-1"}), "max_budget"),
        ("/key/generate", json!({"key_alias": "a\u{0}b"}), "key_alias"),
        ("/key/generate", json!({"team_id": "a\nb"}), "team_id"),
        ("/key/generate", json!({"user_id": "\u{1b}[2J"}), "user_id"),
        ("/team/update", json!({"team_id": "lab", "team_alias": "a\u{0}b"}), "team_alias"),
    ] {
        let refused = post(&gateway, path, fields.clone()).await;
        assert!(refused.status == 400 && refused.json()["error"]["param"] == blamed, "{fields}: {}", refused.text);
    }
}

#[tokio::test]
async fn the_operator_s_key_is_made_no_caller_s() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "{MODELS}general_settings: {{master_key: sk-the-master-key-itself}}\nwitgate:\n  admin_key: sk-the-admin-key-itself\n  \
         ledger: {{file: {}}}\n",
        folder.path().join("ledger.db").display()
    );
    let gateway = Gateway::start(&config).await;
    let ask = async |path: &str, body: Value| {
        send(&gateway, Method::POST, path, "sk-the-admin-key-itself", Some(&body)).await
    };
    let key = ask("/key/generate", json!({})).await.json()["key"].clone();
    for own in ["sk-the-master-key-itself", "sk-the-admin-key-itself"] {
        for (path, body, blamed) in [
            ("/key/generate", json!({"key": own, "max_budget": 1}), "key"),
            ("/key/regenerate", json!({"key": key, "new_key": own}), "new_key"),
        ] {
            let refused = ask(path, body).await;
            assert!(refused.status == 400 && refused.json()["error"]["param"] == blamed, "{path}: {}", refused.text);
            assert!(!refused.text.contains(own), "{}", refused.text);
        }
    }
}

#[tokio::test]
async fn what_a_key_spent_before_it_was_made_anew_is_told_as_its_own_and_its_user_s() {
    let (gateway, _folder) = started("").await;
    let key = made(&gateway, json!({"key_alias": "study", "user_id": "ada"})).await;
    let other = made(&gateway, json!({"user_id": "bob"})).await;
    for key in [&key, &other] {
        assert_eq!(chat(&gateway, "g", key).await.status, 200);
    }
    let renewed = post(&gateway, "/key/regenerate", json!({"key": key})).await.json();
    let renewed = renewed["key"].as_str().expect("a key");
    assert_eq!(chat(&gateway, "g", renewed).await.status, 200);
    let own = spent(&gateway, renewed).await;
    gateway.app.gateway.ledger.as_ref().expect("a ledger").finish();
    let ask = async |path: &str| get(&gateway, path, "sk-master").await.json();
    for path in [format!("/spend/logs?api_key={renewed}"), "/spend/logs?user_id=ada".to_owned()] {
        let logs = ask(&path).await;
        let users: Vec<&Value> = logs.as_array().expect("a list").iter().map(|row| &row["user"]).collect();
        assert_eq!(users, ["ada", "ada"], "{path}: {logs}");
    }
    let old = ask(&format!("/spend/logs?api_key={key}")).await;
    assert_eq!(old.as_array().map(Vec::len), Some(1), "what was asked with the key of before: {old}");
    let users = ask("/spend/users").await;
    assert_eq!((&users[0]["user_id"], &users[1]["user_id"]), (&json!("ada"), &json!("bob")), "{users}");
    let keys = ask("/global/spend/keys").await;
    assert!(keys.as_array().map(Vec::len) == Some(2) && keys[0]["key_alias"] == "study", "{keys}");
    for told in [&users[0]["spend"], &keys[0]["total_spend"]] {
        assert!((told.as_f64().expect("a number") - own).abs() < 1e-9, "{told} {own}");
    }
}

#[tokio::test]
async fn what_an_input_would_cost_and_a_reply_did_is_told_by_the_dearest_price() {
    let dear = "  - model_name: g
    litellm_params: {model: simulated/dear, input_cost_per_token: 0.002, output_cost_per_token: 0.003}
general_settings: {master_key: sk-master}
";
    let gateway = Gateway::start(&format!("{MODELS}{dear}")).await;
    let cost = async |body: &Value| {
        let reply = post(&gateway, "/spend/calculate", body.clone()).await;
        assert_eq!(reply.status, 200, "{body}: {}", reply.text);
        reply.json()["cost"].as_f64().expect("a number")
    };
    let input = json!({"model": "g", "messages": [{"role": "user", "content": "Hello there"}]});
    let counted = post(&gateway, "/utils/token_counter", input.clone()).await.json()["total_tokens"].as_f64();
    let counted = counted.expect("a number");
    assert!(counted > 0.0 && (cost(&input).await - counted * 0.002).abs() < 1e-9, "{counted}");
    let unserved = json!({"model": "openai/gpt-4o", "messages": input["messages"]});
    assert!(cost(&unserved).await > 0.0, "the table of models knows it");

    let reply = |model: &str| {
        json!({"completion_response": {"id": "c", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null, "message": {"role": "assistant", "content": "Hi"}}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}})
    };
    for (model, expected) in [("g", 2.3), ("dear", 2.3), ("m", 1.1), ("gpt-4o-2024-08-06", 0.0035)] {
        let told = cost(&reply(model)).await;
        assert!((told - expected).abs() < 1e-9, "{model}: {told}");
    }
    let mut uncounted = reply("g");
    uncounted["completion_response"]["usage"] = json!(null);
    for (body, blamed) in [
        (json!({}), "model"),
        (json!({"model": "g"}), "messages"),
        (json!({"model": "nobody-knows-it", "messages": input["messages"]}), "model"),
        (reply("nobody-knows-it"), "model"),
        (uncounted, "completion_response"),
        (json!({"completion_response": {"model": "g"}}), "completion_response"),
    ] {
        let refused = post(&gateway, "/spend/calculate", body.clone()).await;
        assert!(refused.status == 400 && refused.json()["error"]["param"] == blamed, "{body}: {}", refused.text);
    }
}

#[tokio::test]
async fn what_is_made_has_what_the_configuration_says_where_its_maker_says_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "{MODELS}general_settings: {{master_key: sk-master}}\nwitgate: {{ledger: {{file: {}}}}}\nlitellm_settings:\n  \
         default_key_generate_params: {{max_budget: 0.03, budget_duration: 1d, models: [g], duration: 30d, metadata: {{tags: [t]}}}}\n  \
         default_team_params: {{max_budget: 5, rpm_limit: 7}}\n",
        folder.path().join("ledger.db").display()
    );
    let gateway = Gateway::start(&config).await;
    let info = async |fields: Value| {
        let key = made(&gateway, fields).await;
        let info = get(&gateway, "/key/info", &key).await.json()["info"].clone();
        (key, info)
    };
    // LiteLLM's clients write all fields, empty where nothing is meant.
    let (key, bare) = info(json!({"models": [], "metadata": {}, "max_budget": null, "duration": null})).await;
    assert_eq!(
        (&bare["max_budget"], &bare["budget_duration"], &bare["models"], &bare["metadata"]),
        (&json!(0.03), &json!("1d"), &json!(["g"]), &json!({"tags": ["t"]}))
    );
    assert!(bare["expires"].is_string(), "{bare}");
    assert_eq!(chat(&gateway, "other", &key).await.status, 403, "not among its models");
    let served = async {
        let mut served = 0;
        while chat(&gateway, "g", &key).await.status == 200 {
            served += 1;
            assert!(served < 10, "nothing is refused");
        }
        served
    };
    assert!(served.await > 0);
    let (_, said) =
        info(json!({"models": ["other"], "max_budget": 1, "budget_duration": null, "duration": "-1"})).await;
    assert_eq!(
        (&said["max_budget"], &said["budget_duration"], &said["models"], &said["expires"]),
        (&json!(1.0), &Value::Null, &json!(["other"]), &Value::Null)
    );
    let team = post(&gateway, "/team/new", json!({"team_id": "t", "max_budget": null, "tpm_limit": 9})).await.json();
    assert_eq!(
        (&team["max_budget"], &team["rpm_limit"], &team["tpm_limit"]),
        (&json!(5.0), &json!(7), &json!(9)),
        "{team}"
    );
}
