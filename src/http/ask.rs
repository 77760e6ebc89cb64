//! Asking a running gateway about itself, for the command line.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::AUTHORIZATION;
use serde_json::Value;

use super::{Kind, build, root};

/// The JSON behind `url`; `key` is sent as a bearer token.
///
/// # Errors
/// Why there is none, in words: no connection, a status that is not a success, a body that is not JSON.
pub async fn get_json(url: &str, key: Option<&str>) -> Result<Value, String> {
    let told = |cause: &reqwest::Error| format!("{url}: {}", root(cause));
    let kind = Kind { encrypted: url.starts_with("https:"), connect: Duration::from_secs(5) };
    let client: Client = build(kind).map_err(|cause| told(&cause))?;
    let mut request = client.get(url).timeout(Duration::from_secs(30));
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    let response = request.send().await.map_err(|cause| told(&cause))?;
    let status = response.status();
    let body = response.bytes().await.map_err(|cause| told(&cause))?;
    if !status.is_success() {
        return Err(format!("{url}: answered {status}: {}", String::from_utf8_lossy(&body)));
    }
    serde_json::from_slice(&body).map_err(|cause| format!("{url}: the answer is not JSON: {cause}"))
}
