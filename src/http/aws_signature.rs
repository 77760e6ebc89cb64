//! Requests to Amazon's clouds, authorised by a signature over method, path, headers and body (Signature Version 4).
//!
//! Signed are the host, the content's type, the date and a session's token, as `botocore` does it; whoever stands between may add
//! other headers. The path is encoded once more for the signature, as every service but S3 wants it.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use futures_util::FutureExt;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Uri};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::authorization::{Authorizer, Authorizing};
use crate::catalog::AwsKeys;
use crate::fault::{AttemptFault, FaultKind};
use crate::moment::Moment;
use crate::upstream::UpstreamRequest;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The name of Bedrock's runtime in signatures.
const SERVICE: &str = "bedrock";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// One access key, and the region it signs for.
#[derive(Clone)]
pub struct AwsSignature {
    access_key: String,
    secret_key: SecretString,
    token: Option<HeaderValue>,
    region: String,
    service: &'static str,
}

impl AwsSignature {
    /// Signatures with these keys, for Bedrock.
    ///
    /// # Errors
    /// The session's token cannot be sent in a header.
    pub fn new(keys: &AwsKeys) -> Result<Self, String> {
        Self::of_service(keys, SERVICE)
    }

    /// The same, for the service of this name.
    pub(super) fn of_service(keys: &AwsKeys, service: &'static str) -> Result<Self, String> {
        let token = keys.session_token.as_ref().map(|token| HeaderValue::from_str(token.expose_secret()));
        let mut token =
            token.transpose().map_err(|_| "its `aws_session_token` cannot be sent in a header".to_owned())?;
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        let AwsKeys { access_key, secret_key, region, .. } = keys;
        Ok(Self {
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
            token,
            region: region.clone(),
            service,
        })
    }

    /// Signs a request that is otherwise finished.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub(super) fn sign(&self, request: &mut UpstreamRequest, now: Moment) -> Result<(), &'static str> {
        self.sign_in(&self.region, request, now)
    }

    /// The same for this region.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub(super) fn sign_in(&self, region: &str, request: &mut UpstreamRequest, now: Moment) -> Result<(), &'static str> {
        let uri: Uri = request.url.parse().map_err(|_| "its address is none")?;
        let host = uri.authority().ok_or("its address has no host")?.as_str();
        let (year, month, day, hour, minute, second) = now.civil();
        let day = format!("{year:04}{month:02}{day:02}");
        let time = format!("{day}T{hour:02}{minute:02}{second:02}Z");
        let mut headers = String::new();
        let mut names = String::new();
        let mut signed = |name: &str, value: &str| {
            names.push_str(if names.is_empty() { "" } else { ";" });
            names.push_str(name);
            let _never = writeln!(headers, "{name}:{}", value.trim());
        };
        if let Some(kind) = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) {
            signed(CONTENT_TYPE.as_str(), kind);
        }
        signed("host", host);
        signed(DATE.as_str(), &time);
        if let Some(token) = self.token.as_ref().and_then(|token| token.to_str().ok()) {
            signed(TOKEN.as_str(), token);
        }
        let body = hex(&Sha256::digest(&request.body));
        let canonical = format!("POST\n{}\n{}\n{headers}\n{names}\n{body}", encoded(uri.path()), query(&uri));
        let scope = format!("{day}/{region}/{}/aws4_request", self.service);
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let first = format!("AWS4{}", self.secret_key.expose_secret());
        let parts = [day.as_str(), region, self.service, "aws4_request", &to_sign];
        let mut key = first.into_bytes();
        for part in parts {
            key = keyed(&key, part.as_bytes());
        }
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.access_key,
            hex(&key)
        );
        let mut authorization =
            HeaderValue::try_from(authorization).map_err(|_| "its access key cannot be sent in a header")?;
        authorization.set_sensitive(true);
        let time = HeaderValue::try_from(time).map_err(|_| "the date cannot be sent")?;
        request.headers.insert(AUTHORIZATION, authorization);
        request.headers.insert(DATE, time);
        if let Some(token) = &self.token {
            request.headers.insert(TOKEN, token.clone());
        }
        Ok(())
    }
}

impl Authorizer for AwsSignature {
    fn authorize<'a>(&'a self, request: &'a mut UpstreamRequest, now: Moment) -> Authorizing<'a> {
        let signed = self.sign(request, now).map_err(|why| {
            let message = format!("the request could not be signed with an AWS access key: {why}");
            AttemptFault::new(FaultKind::Misconfigured, message).before_sending()
        });
        std::future::ready(signed).boxed()
    }

    fn in_region(&self, region: &str) -> Option<Arc<dyn Authorizer>> {
        Some(Arc::new(Self { region: region.to_owned(), ..self.clone() }))
    }
}

impl fmt::Debug for AwsSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSignature").field("region", &self.region).finish_non_exhaustive()
    }
}

fn keyed(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _never = write!(text, "{byte:02x}");
        text
    })
}

/// A path in which everything but letters, digits, `-._~` and `/` is encoded, signs of encoding too.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len() + 8);
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _never = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The query in the order of its names.
fn query(uri: &Uri) -> String {
    let mut pairs: Vec<String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

#[cfg(test)]
mod tests;
