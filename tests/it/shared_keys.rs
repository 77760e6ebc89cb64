//! Keys and teams that two gateways keep in one Postgres: what one of them changes acts at the other, and is not lost. And rows that cannot be
//! read, wherever they are.

use std::io::Write as _;

use serde_json::json;

use witgate::moment::Moment;
use witgate::store::{Ledger, Place};
use witgate::virtual_key::{KeyHash, VirtualKey};

use crate::keys::{MODELS, chat, get, made, post, started};
use crate::support::gateway::Gateway;
use crate::support::postgres::Postgres;

/// Two gateways over one server; `None` where none is installed.
async fn both() -> Option<(Postgres, Gateway, Gateway)> {
    let Some(server) = Postgres::start().await else {
        // A line of its own, past what captures output: not tested is not passed.
        let _closed =
            writeln!(std::io::stderr(), "SKIPPED: no Postgres server is installed; shared keys are not tested");
        return None;
    };
    let config = format!("{MODELS}general_settings: {{master_key: sk-master, database_url: \"{}\"}}\n", server.url());
    let (one, other) = (Gateway::start(&config).await, Gateway::start(&config).await);
    Some((server, one, other))
}

fn ledger(gateway: &Gateway) -> &Ledger {
    gateway.app.gateway.ledger.as_ref().expect("a ledger")
}

/// Asks with this key until the answer has this status.
async fn until_answered(gateway: &Gateway, model: &str, key: &str, status: u16) {
    let asking = async { while chat(gateway, model, key).await.status != status {} };
    let told = tokio::time::timeout(std::time::Duration::from_secs(30), asking).await;
    assert!(told.is_ok(), "never {status}");
}

#[tokio::test]
async fn what_one_gateway_changes_of_keys_and_teams_acts_at_the_other() {
    let Some((_server, one, other)) = both().await else { return };
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

#[tokio::test]
async fn spend_that_one_gateway_resets_is_reset_at_the_other() {
    let Some((_server, one, other)) = both().await else { return };
    let key = made(&one, json!({"max_budget": 0.03})).await;
    until_answered(&other, "g", &key, 200).await;
    until_answered(&other, "g", &key, 422).await;
    let reset = post(&one, &format!("/key/{key}/reset_spend"), json!({"reset_to": 0})).await;
    assert_eq!(reset.status, 200, "{}", reset.text);
    until_answered(&other, "g", &key, 200).await;
}

#[tokio::test]
async fn a_key_that_one_gateway_blocks_stays_blocked_whatever_the_other_changes_at_once() {
    let Some((_server, one, other)) = both().await else { return };
    let key = made(&one, json!({"team_id": "lab"})).await;
    until_answered(&other, "g", &key, 200).await;
    assert_eq!(post(&one, "/key/block", json!({"key": key})).await.status, 200);
    // The other has not looked yet.
    let changed = post(&other, "/key/update", json!({"key": key, "user_id": "ada"})).await.json();
    assert!(changed["blocked"] == true && changed["user_id"] == "ada", "{changed}");
    for gateway in [&other, &one] {
        assert_eq!(chat(gateway, "g", &key).await.status, 401);
    }
    let kept = ledger(&one).keys().load().expect("keys").read;
    assert!(kept.len() == 1 && kept[0].blocked && kept[0].user.as_deref() == Some("ada"), "{kept:?}");

    // A team is no other.
    assert_eq!(post(&one, "/team/new", json!({"team_id": "lab"})).await.status, 200);
    assert_eq!(post(&other, "/team/block", json!({"team_id": "lab"})).await.status, 200);
    let changed = post(&one, "/team/update", json!({"team_id": "lab", "max_budget": 5})).await.json();
    assert!(changed["data"]["blocked"] == true && changed["data"]["max_budget"] == 5.0, "{changed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_two_gateways_change_at_once_nothing_is_lost_and_nothing_is_there_twice() {
    let Some((_server, one, other)) = both().await else { return };
    for round in 0..10 {
        let alias = format!("alias-{round}");
        let generate = |gateway| post(gateway, "/key/generate", json!({"key_alias": alias}));
        let (first, second) = tokio::join!(generate(&one), generate(&other));
        let made = if first.status == 200 { &first } else { &second };
        let statuses = [first.status, second.status];
        assert!(statuses == [200, 400] || statuses == [400, 200], "{} {}", first.text, second.text);
        let key = made.json()["key"].as_str().expect("a key").to_owned();

        let (first, second) = tokio::join!(
            post(&one, "/key/update", json!({"key": key, "user_id": "ada"})),
            post(&other, "/key/update", json!({"key": key, "models": ["g"]})),
        );
        assert_eq!([first.status, second.status], [200, 200], "{} {}", first.text, second.text);
        let kept = ledger(&one).keys().load().expect("keys").read;
        let now = kept.iter().find(|kept| kept.hash == KeyHash::of(&key)).expect("it is kept");
        assert_eq!((now.user.as_deref(), now.models.as_slice()), (Some("ada"), &["g".to_owned()][..]));

        let renew = |gateway| post(gateway, "/key/regenerate", json!({"key": key}));
        let (first, second) = tokio::join!(renew(&one), renew(&other));
        let statuses = [first.status, second.status];
        assert!(statuses == [200, 404] || statuses == [404, 200], "{} {}", first.text, second.text);
        let kept = ledger(&one).keys().load().expect("keys").read;
        let successors = kept.iter().filter(|kept| kept.alias.as_deref() == Some(&alias)).count();
        assert_eq!((successors, kept.len()), (1, round + 1));
    }
}

/// Who manages keys is told to come back, and that it is the database; once it is there again, what is asked again is done.
#[tokio::test]
async fn while_the_database_is_away_whoever_changes_keys_is_told_to_come_back() {
    let Some((mut server, one, _other)) = both().await else { return };
    assert_eq!(post(&one, "/team/new", json!({"team_id": "lab"})).await.status, 200);
    let key = made(&one, json!({"team_id": "lab"})).await;
    server.kill();
    for (path, body) in [
        ("/key/generate", json!({})),
        ("/key/update", json!({"key": key, "user_id": "ada"})),
        ("/key/delete", json!({"keys": [key]})),
        ("/team/new", json!({"team_id": "other"})),
        ("/team/block", json!({"team_id": "lab"})),
    ] {
        let refused = post(&one, path, body).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{path}: {}", refused.text);
        assert!(refused.text.contains("the database that keeps the API keys does not answer"), "{}", refused.text);
    }
    server.begin().await;
    assert_eq!(post(&one, "/key/delete", json!({"keys": [key]})).await.status, 200);
}

/// Whoever changes what another one has changed meanwhile, of whom it knew nothing, begins anew with that.
#[tokio::test]
async fn a_change_is_made_to_what_is_kept_by_now() {
    let (gateway, folder) = started("").await;
    let key = made(&gateway, json!({"key_alias": "study"})).await;
    assert_eq!(post(&gateway, "/team/new", json!({"team_id": "lab"})).await.status, 200);
    let behind = Place::File(folder.path().join("ledger.db")).write().expect("a ledger");
    let keys = behind.keys();
    let before = keys.load().expect("keys").read.remove(0);
    let blocked = VirtualKey { blocked: true, ..before.clone() };
    keys.put(Some(&before), &blocked).expect("written");
    let changed = post(&gateway, "/key/update", json!({"key": key, "user_id": "ada"})).await;
    let told = changed.json();
    assert!(changed.status == 200 && told["blocked"] == true && told["user_id"] == "ada", "{told}");
    assert_eq!(chat(&gateway, "g", &key).await.status, 401);

    let now = Moment::default();
    let other =
        VirtualKey { alias: Some("taken".to_owned()), ..VirtualKey::new(KeyHash::of("sk-b"), String::new(), now) };
    keys.put(None, &other).expect("written");
    let refused = post(&gateway, "/key/generate", json!({"key_alias": "taken"})).await;
    assert!(refused.status == 400 && refused.json()["error"]["param"] == "key_alias", "{}", refused.text);

    let before = keys.load().expect("keys").read.into_iter().find(|kept| kept.hash == KeyHash::of(&key)).expect("it");
    keys.replace(&before, &VirtualKey { hash: KeyHash::of("sk-c"), ..before.clone() }).expect("written");
    for (path, body) in [
        ("/key/regenerate", json!({"key": key})),
        ("/key/update", json!({"key": key, "user_id": "bob"})),
        ("/key/delete", json!({"keys": [key]})),
    ] {
        let refused = post(&gateway, path, body).await;
        assert_eq!(refused.status, 404, "{path}: {}", refused.text);
    }
    let lab = keys.load_teams().expect("teams").read.remove(0);
    keys.delete_teams(&[lab]).expect("written");
    assert_eq!(post(&gateway, "/team/block", json!({"team_id": "lab"})).await.status, 404);
    assert_eq!(keys.load().expect("keys").read.len(), 2);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_refused_and_holds_up_nobody_else() {
    let (gateway, folder) = started("").await;
    let damaged = made(&gateway, json!({"key_alias": "damaged"})).await;
    let sound = made(&gateway, json!({"key_alias": "sound"})).await;
    assert_eq!(post(&gateway, "/team/new", json!({"team_id": "lab"})).await.status, 200);
    let member = made(&gateway, json!({"team_id": "lab"})).await;
    gateway.drain().await;
    let file = folder.path().join("ledger.db");
    let database = rusqlite::Connection::open(&file).expect("a ledger");
    let ask = |text: &str| database.query_row(text, [], |row| row.get::<_, String>(0)).expect("a row");
    let whole = ask("SELECT key FROM keys WHERE key_alias = 'damaged'");
    let write = |text: &str| {
        let changed = database.execute("UPDATE keys SET key = ?1 WHERE key_alias = 'damaged'", [text]);
        assert_eq!(changed.expect("written"), 1);
    };
    write(r#"{"hash": {"of": "a newer version"}}"#);
    database.execute("UPDATE teams SET team = '{'", []).expect("written");

    let config = format!(
        "{MODELS}general_settings: {{master_key: sk-master}}\nwitgate: {{ledger: {{file: {}}}}}\n",
        file.display()
    );
    let again = Gateway::start(&config).await;
    let mut statuses = Vec::new();
    for key in [&sound, &damaged, &member] {
        statuses.push(chat(&again, "g", key).await.status);
    }
    assert_eq!(statuses, [200, 401, 401]);
    assert_eq!(post(&again, "/key/update", json!({"key": sound, "user_id": "ada"})).await.status, 200);
    for (path, body) in [
        ("/key/unblock", json!({"key": damaged})),
        ("/key/update", json!({"key_alias": "damaged", "user_id": "ada"})),
        ("/key/regenerate", json!({"key": damaged})),
        ("/key/delete", json!({"keys": [sound, damaged]})),
        ("/team/unblock", json!({"team_id": "lab"})),
        ("/team/delete", json!({"team_ids": ["lab"]})),
    ] {
        let refused = post(&again, path, body).await;
        assert!(refused.status == 409 && refused.json()["error"]["code"] == "unreadable", "{path}: {}", refused.text);
        assert!(!refused.text.contains(&damaged), "{}", refused.text);
    }
    let path = "/key/list?key_alias=damaged&return_full_object=true";
    let listed = get(&again, path, "sk-master").await.json();
    assert!(listed["keys"][0]["unreadable"] == true && listed["keys"][0]["blocked"] == true, "{listed}");
    let team = get(&again, "/team/info?team_id=lab", "sk-master").await.json();
    assert_eq!(team["team_info"]["unreadable"], true, "{team}");
    assert!(ask("SELECT key FROM keys WHERE key_alias = 'damaged'").contains("newer version"));

    // Once it can be read again, whoever changes it finds it.
    write(&whole);
    let changed = post(&again, "/key/update", json!({"key": damaged, "user_id": "ada"})).await.json();
    assert!(changed["user_id"] == "ada" && changed["blocked"] == false && changed["unreadable"].is_null(), "{changed}");
    assert_eq!(chat(&again, "g", &damaged).await.status, 200);
}
