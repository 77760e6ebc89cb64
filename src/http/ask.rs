//! Asking over HTTP for whatever is not a provider's reply: today the command line, which asks a running gateway about
//! itself. Provider calls are `http`'s own; all else goes through a client that does more than they need.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::Value;

use super::connect::tls;
use super::root;

const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(30);

/// The JSON behind `url`; `key` is sent as a bearer token.
///
/// # Errors
/// Why there is none, in words: no connection, a status that is not a success, a body that is not JSON.
pub async fn get_json(url: &str, key: Option<&str>) -> Result<Value, String> {
    json(url, key, None).await
}

/// The JSON that is answered to a JSON body posted to `url`.
///
/// # Errors
/// As [`get_json`].
pub async fn post_json(url: &str, key: Option<&str>, body: Vec<u8>) -> Result<Value, String> {
    json(url, key, Some(("application/json", body))).await
}

/// Posts a JSON body to `url`; what is answered is not read. The address is not in the message: it may hold a secret.
///
/// # Errors
/// No connection, or a status that is not a success.
pub async fn tell(url: &str, body: Vec<u8>) -> Result<(), String> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let answer = send(url, headers, Some(body.into())).await;
    let (status, _) = answer.map_err(|cause| root(&*cause))?;
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
}

/// A token that was given in exchange for something.
#[derive(Deserialize)]
pub(super) struct Exchanged {
    access_token: String,
    expires_in: u64,
}

impl Exchanged {
    /// The header that carries the token which is answered to a form posted to `url`, and how long the token holds.
    ///
    /// # Errors
    /// As [`get_json`], or there is no token in what is answered.
    pub(super) async fn by_form(url: &str, form: &[(&str, &str)]) -> Result<(HeaderValue, Duration), String> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let answer = json(url, None, Some(("application/x-www-form-urlencoded", body.into_bytes()))).await?;
        let Self { access_token, expires_in } =
            serde_json::from_value(answer).map_err(|_| format!("{url}: the answer holds no token"))?;
        let mut value = HeaderValue::try_from(format!("Bearer {access_token}"))
            .map_err(|_| format!("{url}: the token cannot be sent in a header"))?;
        value.set_sensitive(true);
        Ok((value, Duration::from_secs(expires_in)))
    }
}

/// The text that is answered to a body posted to `url` with these headers.
///
/// # Errors
/// No connection, or a status that is not a success.
pub(super) async fn post(url: &str, headers: HeaderMap, body: Bytes) -> Result<String, String> {
    let answer = send(url, headers, Some(body)).await;
    let (status, body) = answer.map_err(|cause| format!("{url}: {}", root(&*cause)))?;
    let text = String::from_utf8_lossy(&body);
    if status.is_success() { Ok(text.into_owned()) } else { Err(format!("{url}: answered {status}: {text}")) }
}

async fn json(url: &str, key: Option<&str>, body: Option<(&'static str, Vec<u8>)>) -> Result<Value, String> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let value = HeaderValue::try_from(format!("Bearer {key}"));
        let mut value = value.map_err(|_| format!("{url}: the key cannot be sent in a header"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let body = body.map(|(kind, body)| {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        body.into()
    });
    let answer = send(url, headers, body).await;
    let (status, body) = answer.map_err(|cause| format!("{url}: {}", root(&*cause)))?;
    if !status.is_success() {
        return Err(format!("{url}: answered {status}: {}", String::from_utf8_lossy(&body)));
    }
    serde_json::from_slice(&body).map_err(|cause| format!("{url}: the answer is not JSON: {cause}"))
}

async fn send(
    url: &str,
    headers: HeaderMap,
    body: Option<Bytes>,
) -> Result<(reqwest::StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    // The system's certificates are read only for whoever needs them.
    let tls = if url.starts_with("https:") { tls()? } else { no_authorities()? };
    let mut client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .timeout(WHOLE);
    // What is not encrypted goes through no proxy, as with providers; what is, by the same variables.
    if !url.starts_with("https:") {
        client = client.no_proxy();
    }
    let client = client.build()?;
    let request = match body {
        None => client.get(url),
        Some(body) => client.post(url).body(body),
    };
    let response = request.headers(headers).send().await?;
    Ok((response.status(), response.bytes().await?))
}

fn no_authorities() -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}
