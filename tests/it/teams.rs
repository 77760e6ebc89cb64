//! Teams over a running gateway, and keys that take another's place.

use serde_json::{Value, json};

use crate::keys::{MODELS, chat, get, made, post, started};
use crate::support::gateway::Gateway;

#[tokio::test]
async fn a_team_is_made_bounds_its_keys_is_changed_and_taken_away_with_them() {
    let (gateway, folder) =
        started("  queue: {max_wait_seconds: 0}\n  teams: {given: {models: [g], rpm_limit: 5}}\n").await;
    let fields = json!({"team_alias": "Lab", "team_id": "lab", "models": ["g"], "rpm_limit": 2, "max_budget": 9.5,
        "budget_duration": "30d", "metadata": {"room": 7}, "organization_id": null, "members_with_roles": []});
    let team = post(&gateway, "/team/new", fields.clone()).await;
    assert_eq!(team.status, 200, "{}", team.text);
    assert_eq!(post(&gateway, "/team/new", fields).await.status, 400, "it is there already");
    let drawn = post(&gateway, "/team/new", json!({})).await.json();
    assert!(drawn["team_id"].as_str().is_some_and(|id| id.len() == 36), "{drawn}");
    let key = made(&gateway, json!({"team_id": "lab"})).await;
    let mate = made(&gateway, json!({"team_id": "lab"})).await;
    assert_eq!(chat(&gateway, "other", &key).await.status, 403);
    assert_eq!(chat(&gateway, "g", &key).await.status, 200);
    assert_eq!(chat(&gateway, "g", &mate).await.status, 200);
    let refused = chat(&gateway, "g", &key).await;
    assert!(refused.status == 429 && refused.text.contains("the team `lab`"), "{}", refused.text);

    let changed = json!({"team_id": "lab", "rpm_limit": null, "models": []});
    let changed = post(&gateway, "/team/update", changed).await.json();
    assert!(changed["data"]["rpm_limit"].is_null() && changed["data"]["team_alias"] == "Lab", "{changed}");
    assert!(changed["data"]["spend"].as_f64() > Some(0.0), "{changed}");
    assert_eq!(chat(&gateway, "other", &mate).await.status, 200);
    post(&gateway, "/team/update", json!({"team_id": "lab", "max_budget": 0.02})).await;
    let refused = chat(&gateway, "g", &key).await;
    assert!(refused.status == 422 && refused.text.contains("the team `lab`"), "{}", refused.text);
    post(&gateway, "/team/update", json!({"team_id": "lab", "max_budget": 10})).await;

    assert_eq!(post(&gateway, "/team/block", json!({"team_id": "lab"})).await.json()["blocked"], true);
    let blocked = chat(&gateway, "g", &key).await;
    assert!(blocked.status == 401 && blocked.json()["error"]["code"] == "team_blocked", "{}", blocked.text);
    post(&gateway, "/team/unblock", json!({"team_id": "lab"})).await;
    assert_eq!(chat(&gateway, "g", &key).await.status, 200);

    let info = get(&gateway, "/team/info?team_id=lab", "sk-master").await.json();
    assert!(info["team_info"]["metadata"]["room"] == 7 && info["keys"].as_array().map(Vec::len) == Some(2), "{info}");
    let listed = get(&gateway, "/team/list", "sk-master").await.json();
    let listed: Vec<&Value> = listed.as_array().expect("a list").iter().collect();
    assert_eq!(listed.len(), 3);
    assert!(
        listed.iter().any(|team| team["team_id"] == "given" && team["configured"] == true && team["rpm_limit"] == 5)
    );
    for (path, body, status) in [
        ("/team/update", json!({"team_id": "given", "rpm_limit": 1}), 400),
        ("/team/update", json!({"team_id": "lab", "organization_id": "o"}), 400),
        ("/team/block", json!({"team_id": "none"}), 404),
        ("/team/delete", json!({"team_ids": ["lab", "none"]}), 404),
    ] {
        assert_eq!(post(&gateway, path, body.clone()).await.status, status, "{path} {body}");
    }
    assert_eq!(get(&gateway, "/team/list", &key).await.status, 403, "callers are told of no team");
    gateway.app.gateway.ledger.as_ref().expect("a ledger").finish();
    gateway.drain().await;

    // It is there after a restart, and its keys go with it.
    let ledger = folder.path().join("ledger.db");
    let config = format!(
        "{MODELS}general_settings: {{master_key: sk-master}}\nwitgate: {{ledger: {{file: {}}}}}\n",
        ledger.display()
    );
    let again = Gateway::start(&config).await;
    let info = get(&again, "/team/info?team_id=lab", "sk-master").await.json();
    assert!(info["team_info"]["spend"].as_f64() > Some(0.0) && info["team_info"]["max_budget"] == 10.0, "{info}");
    assert_eq!(post(&again, "/team/delete", json!({"team_ids": ["lab"]})).await.status, 200);
    assert_eq!(chat(&again, "g", &key).await.status, 401);
    assert_eq!(get(&again, "/team/info?team_id=lab", "sk-master").await.status, 404);
}

#[tokio::test]
async fn a_blank_team_leaves_a_key_in_its_own_and_null_takes_it_out() {
    let (gateway, _folder) = started("").await;
    assert_eq!(post(&gateway, "/team/new", json!({"team_id": "lab", "models": ["g"]})).await.status, 200);
    let key = made(&gateway, json!({"team_id": "lab"})).await;
    let blank = post(&gateway, "/key/update", json!({"key": key, "team_id": "", "user_id": "ada"})).await.json();
    assert!(blank["team_id"] == "lab" && blank["user_id"] == "ada", "{blank}");
    assert_eq!(chat(&gateway, "other", &key).await.status, 403, "its team bounds it still");
    let out = post(&gateway, "/key/update", json!({"key": key, "team_id": null})).await.json();
    assert!(out["team_id"].is_null(), "{out}");
    assert_eq!(chat(&gateway, "other", &key).await.status, 200);
    for own in ["sk-with some spaces", "sk-with\nlines-in-it", "sk-größer-als-ascii"] {
        let refused = post(&gateway, "/key/generate", json!({"key": own})).await;
        assert!(refused.status == 400 && refused.json()["error"]["param"] == "key", "{own}: {}", refused.text);
    }
    for (path, blamed) in [
        ("/team/list?user_id=ada", "user_id"),
        ("/team/info?team_id=lab&page=2", "page"),
        ("/key/info?key_alias=study", "key_alias"),
    ] {
        let refused = get(&gateway, path, "sk-master").await;
        assert!(refused.status == 400 && refused.json()["error"]["param"] == blamed, "{path}: {}", refused.text);
    }
}

#[tokio::test]
async fn whoever_makes_a_key_of_a_team_that_is_nowhere_is_warned() {
    let (gateway, _folder) = started("  teams: {given: {models: [g], rpm_limit: 5}}\n").await;
    let stray = post(&gateway, "/key/generate", json!({"team_id": "stray"})).await;
    let told = stray.json();
    let warning = told["warning"].as_str().unwrap_or_default();
    assert!(stray.status == 200 && warning.contains("no team `stray`") && warning.contains("/team/new"), "{told}");
    for fields in [json!({}), json!({"team_id": "given"})] {
        let told = post(&gateway, "/key/generate", fields).await.json();
        assert!(told["key"].is_string() && told["warning"].is_null(), "{told}");
    }
    let update = json!({"key": told["key"], "user_id": "ada"});
    let again = post(&gateway, "/key/update", update.clone()).await.json();
    assert_eq!(again["warning"], warning, "{again}");
    assert_eq!(post(&gateway, "/team/new", json!({"team_id": "stray"})).await.status, 200);
    let bound = post(&gateway, "/key/update", update).await.json();
    assert!(bound["team_id"] == "stray" && bound["warning"].is_null(), "{bound}");
}

#[tokio::test]
async fn a_key_is_made_anew_and_what_it_may_do_and_has_spent_stays() {
    let (gateway, _folder) = started("").await;
    let key = made(&gateway, json!({"key_alias": "study", "models": ["g"], "max_budget": 1})).await;
    assert_eq!(chat(&gateway, "g", &key).await.status, 200);
    let spent = get(&gateway, "/key/info", &key).await.json()["info"]["spend"].clone();
    let path = format!("/key/{key}/regenerate");
    let renewed = post(&gateway, &path, json!({"rpm_limit": 7})).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    let told = renewed.json();
    let other = told["key"].as_str().expect("a key").to_owned();
    assert!(other != key && told["key_alias"] == "study" && told["rpm_limit"] == 7 && told["spend"] == spent, "{told}");
    assert_eq!(chat(&gateway, "g", &key).await.status, 401, "the old one is no key any more");
    assert_eq!(chat(&gateway, "g", &other).await.status, 200);
    assert_eq!(chat(&gateway, "other", &other).await.status, 403);
    let own = json!({"key": other, "new_key": "sk-one-of-their-own"});
    assert_eq!(post(&gateway, "/key/regenerate", own).await.json()["key"], "sk-one-of-their-own");
    assert_eq!(post(&gateway, "/key/regenerate", json!({"key": key})).await.status, 404);
    // What was spent with a key that it was before counts as its own: no other can be that, and it can.
    let stranger = made(&gateway, json!({})).await;
    let spent = get(&gateway, "/key/info", "sk-one-of-their-own").await.json()["info"]["spend"].clone();
    for (path, body) in
        [("/key/generate", json!({"key": other})), ("/key/regenerate", json!({"key": stranger, "new_key": other}))]
    {
        let refused = post(&gateway, path, body).await;
        assert!(refused.status == 400 && refused.text.contains("was renewed"), "{path}: {}", refused.text);
    }
    let back = json!({"key": "sk-one-of-their-own", "new_key": other});
    let back = post(&gateway, "/key/regenerate", back).await.json();
    assert!(back["key"] == json!(other) && back["spend"] == spent, "{back}");
    assert_eq!(post(&gateway, "/key/delete", json!({"keys": [stranger]})).await.status, 200);
    let kept = gateway.app.gateway.ledger.as_ref().expect("a ledger").keys().load().expect("keys");
    assert_eq!(kept.read.len(), 1);
}
