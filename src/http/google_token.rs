//! Requests to Google's clouds, authorised by a service account: a signed assertion is exchanged for an access token, which is
//! kept until shortly before it ends.
//!
//! The exchange is with the account's own `token_uri`. A token that could not be had fails the attempt before anything is sent.

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::ask::Exchanged;
use super::kept::{Kept, Unfetched};
use crate::authorization::{Authorizer, Authorizing};
use crate::moment::Moment;
use crate::upstream::UpstreamRequest;

/// What a token is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long an assertion holds; the longest that is taken.
const ASSERTION: Duration = Duration::from_secs(3600);

/// The key file of a service account, as far as it is needed.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: Option<String>,
    token_uri: String,
}

/// One service account and its token.
pub struct GoogleToken {
    email: String,
    token_uri: String,
    header: Header,
    key: EncodingKey,
    token: Kept<HeaderValue>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

impl GoogleToken {
    /// An account by the text of its key file. Nothing is asked of anybody yet.
    ///
    /// # Errors
    /// The text is no key file of a service account; the message holds nothing of it.
    pub fn new(key_file: &SecretString) -> Result<Self, String> {
        let file: KeyFile = serde_json::from_str(key_file.expose_secret()).map_err(|error| {
            format!("not a service account's key file: line {}, column {}", error.line(), error.column())
        })?;
        if file.kind != "service_account" {
            return Err("the credentials are not of a service account, the one kind that is spoken yet".to_owned());
        }
        let key = EncodingKey::from_rsa_pem(file.private_key.as_bytes())
            .map_err(|_| "its `private_key` is not an RSA key in PEM".to_owned())?;
        let header = Header { kid: file.private_key_id, ..Header::new(Algorithm::RS256) };
        Ok(Self { email: file.client_email, token_uri: file.token_uri, header, key, token: Kept::default() })
    }

    async fn exchange(&self, now: Moment) -> Result<(HeaderValue, Duration), Unfetched> {
        let iat = now.as_millis() / 1000;
        let exp = iat + ASSERTION.as_secs();
        let claims = Claims { iss: &self.email, scope: SCOPE, aud: &self.token_uri, iat, exp };
        let assertion = jsonwebtoken::encode(&self.header, &claims, &self.key)
            .map_err(|_| "the assertion could not be signed with the account's key".to_owned())?;
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion.as_str())];
        Exchanged::by_form(&self.token_uri, HeaderMap::new(), &form, &[assertion.as_str().into()]).await
    }
}

impl Authorizer for GoogleToken {
    fn authorize<'a>(&'a self, request: &'a mut UpstreamRequest, now: Moment) -> Authorizing<'a> {
        async move {
            let value = self
                .token
                .get(now, self.exchange(now))
                .await
                .map_err(|unfetched| unfetched.fault(format_args!("access token for `{}`", self.email)))?;
            request.headers.insert(AUTHORIZATION, value);
            Ok(())
        }
        .boxed()
    }
}

impl fmt::Debug for GoogleToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleToken").field("email", &self.email).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
