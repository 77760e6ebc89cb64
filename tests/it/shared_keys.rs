//! Keys and teams that two gateways keep in one Postgres: what one of them changes acts at the other.

use std::io::Write as _;

use serde_json::json;

use crate::keys::{MODELS, chat, get, made, post};
use crate::support::gateway::Gateway;
use crate::support::postgres::Postgres;

/// Asks with this key until the answer has this status.
async fn until_answered(gateway: &Gateway, model: &str, key: &str, status: u16) {
    let asking = async { while chat(gateway, model, key).await.status != status {} };
    let told = tokio::time::timeout(std::time::Duration::from_secs(30), asking).await;
    assert!(told.is_ok(), "never {status}");
}

#[tokio::test]
async fn what_one_gateway_changes_of_keys_and_teams_acts_at_the_other() {
    let Some(server) = Postgres::start().await else {
        // A line of its own, past what captures output: not tested is not passed.
        let _closed =
            writeln!(std::io::stderr(), "SKIPPED: no Postgres server is installed; shared keys are not tested");
        return;
    };
    let url = server.url();
    let config = format!("{MODELS}general_settings: {{master_key: sk-master, database_url: \"{url}\"}}\n");
    let (one, other) = (Gateway::start(&config).await, Gateway::start(&config).await);
    let key = made(&one, json!({"key_alias": "study", "models": ["g"], "max_budget": 5})).await;
    until_answered(&other, "g", &key, 200).await;
    until_answered(&other, "other", &key, 403).await;
    assert_eq!(post(&one, "/key/update", json!({"key": key, "models": []})).await.status, 200);
    until_answered(&other, "other", &key, 200).await;

    // Made anew at the one, it is the same key at the other: what it had spent is the new one's.
    let renewed = post(&one, "/key/regenerate", json!({"key": key})).await.json();
    let renewed = renewed["key"].as_str().expect("a key").to_owned();
    until_answered(&other, "g", &renewed, 200).await;
    assert_eq!(chat(&other, "g", &key).await.status, 401);
    let info = get(&other, "/key/info", &renewed).await.json();
    assert!(info["info"]["key_alias"] == "study" && info["info"]["spend"].as_f64() > Some(0.02), "{info}");

    assert_eq!(post(&one, "/key/block", json!({"key": renewed})).await.status, 200);
    until_answered(&other, "g", &renewed, 401).await;
    assert_eq!(post(&other, "/key/unblock", json!({"key": renewed})).await.status, 200);
    until_answered(&one, "g", &renewed, 200).await;

    // A team's budget acts at both, and a team that is gone takes its keys along.
    assert_eq!(post(&one, "/team/new", json!({"team_id": "lab", "max_budget": 0.001})).await.status, 200);
    let member = made(&one, json!({"team_id": "lab"})).await;
    until_answered(&other, "g", &member, 422).await;
    assert_eq!(post(&one, "/team/update", json!({"team_id": "lab", "max_budget": null})).await.status, 200);
    until_answered(&other, "g", &member, 200).await;
    assert_eq!(post(&one, "/team/delete", json!({"team_ids": ["lab"]})).await.status, 200);
    until_answered(&other, "g", &member, 401).await;
}
