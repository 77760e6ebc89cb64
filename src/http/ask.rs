//! Asking a running gateway about itself, for the command line.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use super::connect::{Client, tls};
use super::root;

const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(30);

/// The JSON behind `url`; `key` is sent as a bearer token.
///
/// # Errors
/// Why there is none, in words: no connection, a status that is not a success, a body that is not JSON.
pub async fn get_json(url: &str, key: Option<&str>) -> Result<Value, String> {
    let answer = tokio::time::timeout(WHOLE, get(url, key)).await;
    let answer = answer.unwrap_or_else(|_elapsed| Err(format!("nothing came within {} s", WHOLE.as_secs()).into()));
    let (status, body) = answer.map_err(|cause| format!("{url}: {}", root(&*cause)))?;
    if !status.is_success() {
        return Err(format!("{url}: answered {status}: {}", String::from_utf8_lossy(&body)));
    }
    serde_json::from_slice(&body).map_err(|cause| format!("{url}: the answer is not JSON: {cause}"))
}

async fn get(url: &str, key: Option<&str>) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    let url: Uri = url.parse()?;
    let encrypted = url.scheme_str() == Some("https");
    let client = if encrypted { Client::encrypted(tls()?, CONNECT) } else { Client::plain(CONNECT) };
    let mut request = Request::get(url);
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    let response = client.send(request.body(Full::default())?).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}
