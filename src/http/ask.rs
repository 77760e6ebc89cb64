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
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::connect::tls;
use super::kept::Unfetched;
use super::{root, scrub};

const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(30);
/// A request waits for what authorises it no longer than this.
const TOKEN: Duration = Duration::from_secs(10);
/// Letters of what a token service says that are told.
const TOLD: usize = 200;

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
    let answer = send(url, headers, Some(body.into()), WHOLE).await;
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
    /// The header that carries the token which is answered to a form posted to `url` with these headers, and how long the token holds.
    ///
    /// # Errors
    /// As [`post`], or there is no token in what is answered.
    pub(super) async fn by_form(
        url: &str,
        mut headers: HeaderMap,
        form: &[(&str, &str)],
        secrets: &[SecretString],
    ) -> Result<(HeaderValue, Duration), Unfetched> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, kind);
        let answer = post(url, headers, body.into(), secrets).await?;
        let Self { access_token, expires_in } =
            serde_json::from_str(&answer).map_err(|_| format!("{url}: the answer holds no token"))?;
        Ok((bearer(url, &access_token)?, Duration::from_secs(expires_in)))
    }
}

/// The header that carries a token that `url` gave.
///
/// # Errors
/// The token holds what no header takes.
pub(super) fn bearer(url: &str, token: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| format!("{url}: the token cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The text that a token service answers to a body posted to `url` with these headers. Of a refusal no more is told than its code and
/// the beginning of its description, without `secrets`: such services repeat what they were sent.
///
/// # Errors
/// No connection, no answer in time, or a status that is not a success.
pub(super) async fn post(
    url: &str,
    headers: HeaderMap,
    body: Bytes,
    secrets: &[SecretString],
) -> Result<String, Unfetched> {
    fetched(url, headers, Some(body), secrets).await
}

/// The text behind `url`, asked for with these headers. What follows its path is not told: it may hold a secret.
///
/// # Errors
/// As [`post`].
pub(super) async fn get(url: &str, headers: HeaderMap, secrets: &[SecretString]) -> Result<String, Unfetched> {
    fetched(url, headers, None, secrets).await
}

/// An address without what follows its path.
pub(super) fn shown(url: &str) -> &str {
    url.split_once('?').map_or(url, |(address, _)| address)
}

async fn fetched(
    url: &str,
    headers: HeaderMap,
    body: Option<Bytes>,
    secrets: &[SecretString],
) -> Result<String, Unfetched> {
    let answer = send(url, headers, body, TOKEN).await;
    let url = shown(url);
    let (status, body) = answer.map_err(|cause| Unfetched::unavailable(format!("{url}: {}", root(&*cause))))?;
    let text = String::from_utf8_lossy(&body);
    if status.is_success() {
        return Ok(text.into_owned());
    }
    let (code, description) = said(&text);
    let words: String = [code.as_str(), &description].join(": ");
    let words = scrub(words.trim_matches([':', ' ']), secrets).chars().take(TOLD).collect::<String>();
    let why = format!("{url}: answered {status}{}{words}", if words.is_empty() { "" } else { ": " });
    // Some say so with a status that is about the request.
    let busy = ["Throttl", "IDPCommunicationError", "temporarily_unavailable"].iter().any(|word| code.contains(word));
    let busy = busy || status.is_server_error() || status == reqwest::StatusCode::TOO_MANY_REQUESTS;
    Err(if busy { Unfetched::unavailable(why) } else { why.into() })
}

/// The code and the first line of the description of a refusal: `OAuth`'s JSON, that of Google's other services or AWS's XML, else nothing.
fn said(body: &str) -> (String, String) {
    let first_line = |text: &str| text.trim().lines().next().unwrap_or_default().trim().to_owned();
    if let Ok(json) = serde_json::from_str::<Value>(body) {
        let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(first_line).unwrap_or_default();
        return match json.get("error").filter(|error| error.is_object()) {
            Some(error) => (text(error, "status"), text(error, "message")),
            None => (text(&json, "error"), text(&json, "error_description")),
        };
    }
    let text = |name: &str| text_of(body, name).map(first_line).unwrap_or_default();
    (text("Code"), text("Message"))
}

/// The text between `<NAME>` and its end: all that is needed of AWS's answers, and nothing in it is escaped.
pub(super) fn text_of<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = answer.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// What a refusal says to people: its message, where it is an error in OpenAI's form, else all of it.
fn refusal(body: &[u8]) -> String {
    let json = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let message = json.pointer("/error/message").and_then(Value::as_str);
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
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
    let answer = send(url, headers, body, WHOLE).await;
    let (status, body) = answer.map_err(|cause| format!("{url}: {}", root(&*cause)))?;
    if !status.is_success() {
        return Err(format!("{url}: answered {status}: {}", refusal(&body)));
    }
    serde_json::from_slice(&body).map_err(|cause| format!("{url}: the answer is not JSON: {cause}"))
}

async fn send(
    url: &str,
    headers: HeaderMap,
    body: Option<Bytes>,
    whole: Duration,
) -> Result<(reqwest::StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    // The system's certificates are read only for whoever needs them.
    let tls = if url.starts_with("https:") { tls()? } else { no_authorities()? };
    let mut client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .timeout(whole);
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

#[cfg(test)]
mod tests {
    use super::super::tests::exchange::Endpoint;
    use super::*;
    use crate::fault::FaultKind;

    #[test]
    fn of_an_error_in_openais_form_the_message_is_told() {
        assert_eq!(refusal(br#"{"error":{"message":"there is no group `g`","type":"x"}}"#), "there is no group `g`");
        for other in ["<html>", r#"{"error":"no"}"#, ""] {
            assert_eq!(refusal(other.as_bytes()), other);
        }
    }

    #[tokio::test]
    async fn of_a_refusal_the_code_and_one_line_are_told_and_nothing_that_was_sent() {
        let signature = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match.\n\nThe \
                         Canonical String was 'x-amz-security-token:FwoG/1=='</Message></Error></ErrorResponse>";
        let entra =
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: not s3cret-value.\r\nTrace ID: 1"}"#;
        for (status, body, kind, told) in [
            (
                "403 Forbidden",
                signature,
                FaultKind::Misconfigured,
                ": SignatureDoesNotMatch: The signature does not match.",
            ),
            ("401 Unauthorized", entra, FaultKind::Misconfigured, ": invalid_client: AADSTS7000215: not ***."),
            (
                "403 Forbidden",
                r#"{"error": {"code": 403, "message": "May not act as s3cret-value.", "status": "PERMISSION_DENIED"}}"#,
                FaultKind::Misconfigured,
                ": PERMISSION_DENIED: May not act as ***.",
            ),
            ("429 Too Many Requests", "slow down s3cret-value", FaultKind::Unavailable, "429 Too Many Requests"),
            ("503 Service Unavailable", "{}", FaultKind::Unavailable, "503 Service Unavailable"),
            ("400 Bad Request", "<Error><Code>Throttling</Code></Error>", FaultKind::Unavailable, ": Throttling"),
        ] {
            let endpoint = Endpoint::start(move |_| (status, body.to_owned()));
            let answer = post(&endpoint.origin, HeaderMap::new(), Bytes::new(), &["s3cret-value".into()]).await;
            let fault = answer.unwrap_err().fault("token");
            assert!(fault.kind == kind && fault.message.ends_with(told), "{fault}");
        }
        // Nobody listens there any more.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let fault =
            post(&format!("http://{closed}"), HeaderMap::new(), Bytes::new(), &[]).await.unwrap_err().fault("token");
        assert!(fault.kind == FaultKind::Unavailable && !fault.was_sent(), "{fault}");
    }
}
