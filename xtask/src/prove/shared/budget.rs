//! One budget that two gateways spend of through Redis, as fast as their clients can: together they never exceed it, and leave less than
//! what their clients could have under way.

use std::net::SocketAddr;
use std::path::Path;

use super::{Redis, gateway};
use crate::bench::client::Client;
use crate::say;

/// Clients of each gateway, each with one request at a time.
const CLIENTS: usize = 6;
/// What the budget is, and what a call costs at most, in dollars.
const BUDGET: f64 = 0.3;
const DEAREST: f64 = 0.0025;
/// What a sum of costs that were read from text may be off by.
const ROUNDED: f64 = 1e-9;

const CONFIG: &str = "model_list:\n\
    - {model_name: g, litellm_params: {model: simulated/m, input_cost_per_token: 0.000001, output_cost_per_token: 0.0001, simulated: {ttft_ms: 20, ttft_sigma: 0, output_tokens: 20, tokens_per_second: 0}}}\n\
    router_settings: {num_retries: 0, redis_host: 127.0.0.1, redis_port: PORT}\n\
    litellm_settings: {max_budget: 0.3, budget_duration: 30d}\n";

/// Spends all of it, and says how much came of it.
pub(super) async fn prove(root: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|problem| problem.to_string())?;
    let redis = Redis::start(folder.path())?;
    let config = folder.path().join("config.yaml");
    let text = CONFIG.replace("PORT", &redis.port().to_string());
    std::fs::write(&config, text).map_err(|problem| problem.to_string())?;
    let binary = root.join("target/debug/witgate");
    let gateways = [gateway(&binary, &folder, &config, 0)?, gateway(&binary, &folder, &config, 1)?];
    let clients = gateways.iter().flat_map(|(_, address)| (0..CLIENTS).map(|_| tokio::spawn(spend(*address))));
    let (mut served, mut spent) = (0, 0.0);
    for client in clients.collect::<Vec<_>>() {
        let (calls, cost) = client.await.map_err(|problem| problem.to_string())??;
        (served, spent) = (served + calls, spent + cost);
    }
    say(&format!("two gateways, one budget of {BUDGET} USD: {served} served for {spent:.4} USD, then refused by both"));
    #[expect(clippy::cast_precision_loss, reason = "a dozen")]
    let under_way = DEAREST * (2 * CLIENTS) as f64;
    if spent > BUDGET + ROUNDED {
        Err(format!("the budget is exceeded by {:.4} USD", spent - BUDGET))
    } else if BUDGET - spent > under_way {
        Err(format!("more than {under_way} USD of the budget are left"))
    } else {
        Ok(())
    }
}

/// Asks until the budget refuses; how often it was served, and for how much.
async fn spend(address: SocketAddr) -> Result<(u32, f64), String> {
    let body = r#"{"model":"g","max_tokens":20,"messages":[{"role":"user","content":"How much is left?"}]}"#;
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length";
    let request = format!("{head}: {}\r\n\r\n{body}", body.len());
    let mut client = Client::connect(address).await?;
    let (mut calls, mut spent) = (0, 0.0);
    loop {
        match client.ask(request.as_bytes()).await {
            Ok(_) => {
                let cost = client.header("x-litellm-response-cost").and_then(|cost| cost.parse::<f64>().ok());
                spent += cost.ok_or("a reply does not say what it cost")?;
                calls += 1;
            }
            Err(why) if why.to_lowercase().contains("budget") => return Ok((calls, spent)),
            Err(why) => return Err(why),
        }
    }
}
