//! A gateway that starts while its database is away (`allow_requests_on_db_unavailable`): the keys of its configuration act, one that the
//! database alone knows is told to come back until it answers, and what was served meanwhile is written then.

use std::net::SocketAddr;
use std::time::Duration;

use witgate::store::{By, Period, Place};

use super::{Gateway, KEY, exchange};
use crate::bench::watch::now;
use crate::prove::postgres::Postgres;
use crate::say;

const OPERATOR: &str = "sk-operator-of-the-proof";
/// Requests while it is away, and how long it may take until all is as if it had never been.
const MEANWHILE: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a gateway with its database, one without, and brings the database back.
pub(super) fn prove(server: &mut Postgres) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|problem| problem.to_string())?;
    let url = server.url();
    let config = format!(
        "model_list: [{{model_name: g, litellm_params: {{model: simulated/m, input_cost_per_token: 0.000002, output_cost_per_token: 0.000008}}}}]\n\
         general_settings: {{master_key: {OPERATOR}, database_url: \"{url}\", allow_requests_on_db_unavailable: true}}\n\
         witgate: {{keys: [{{key: {KEY}, key_alias: proof}}]}}\n"
    );
    std::fs::write(folder.path().join("config.yaml"), config).map_err(|problem| problem.to_string())?;
    let gateway = Gateway::start(folder.path())?;
    let reply = post(gateway.address, "/key/generate", OPERATOR, r#"{"key_alias": "kept"}"#)?;
    let key = reply.split_once("\"key\":\"").and_then(|(_, rest)| rest.split('"').next());
    let key = key.ok_or_else(|| format!("no key was made: {reply}"))?.to_owned();
    expect(gateway.address, &key, "200")?;
    gateway.stop()?;
    let before = requests(&url)?;
    server.stop();
    let gateway = Gateway::start(folder.path())?;
    for _ in 0..MEANWHILE {
        expect(gateway.address, KEY, "200")?;
    }
    // Nobody knows whether it is one: its owner is to come back, and not to believe that it is none.
    expect(gateway.address, &key, "503")?;
    server.begin()?;
    let began = now();
    while let Err(why) = expect(gateway.address, &key, "200") {
        if began.elapsed() > PATIENCE {
            return Err(format!("the database is back, and its key is not: {why}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let after = began.elapsed().as_secs_f64();
    gateway.stop()?;
    let written = requests(&url)? - before;
    say(&format!(
        "started without it: {MEANWHILE} served meanwhile, its own key acts {after:.1} s after it is back, {written} requests written"
    ));
    // Those of the key itself, of which the last was served.
    if written > MEANWHILE { Ok(()) } else { Err(format!("{MEANWHILE} were served without it, and {written} written")) }
}

/// How many requests that were served stand in the ledger.
fn requests(url: &str) -> Result<u64, String> {
    let sums = Place::Server(url.into()).read()?.spend(By::Key, &Period::default())?;
    Ok(sums.iter().map(|sum| sum.requests).sum())
}

fn expect(address: SocketAddr, key: &str, status: &str) -> Result<(), String> {
    let body = r#"{"model":"g","max_tokens":20,"messages":[{"role":"user","content":"Are you there?"}]}"#;
    let reply = post(address, "/v1/chat/completions", key, body)?;
    let told = reply.split(' ').nth(1).unwrap_or_default();
    if told == status { Ok(()) } else { Err(format!("{status} was expected: {reply}")) }
}

/// Asks, and gives the whole reply as it came.
fn post(address: SocketAddr, path: &str, key: &str, body: &str) -> Result<String, String> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    exchange(address, &request).map(|(head, body)| format!("{head}\r\n\r\n{body}")).ok_or("no reply".to_owned())
}
