//! Requests to Google's clouds, authorised by a service account, a user or whom another service knows: an assertion that the account's key
//! has signed, the token of the user's consent or that of the other service is exchanged for an access token, which is kept until shortly
//! before it ends.
//!
//! The exchange is with the account's own `token_uri`. A token that could not be had fails the attempt before anything is sent.

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::ask::Exchanged;
use super::kept::{Kept, Unfetched};
use crate::authorization::{Authorizer, Authorizing};
use crate::catalog::{GoogleAccount, GoogleProof};
use crate::moment::Moment;
use crate::upstream::UpstreamRequest;
use federated::Federated;

mod federated;

/// What a token is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long an assertion holds; the longest that is taken.
const ASSERTION: Duration = Duration::from_secs(3600);
/// The header that names the project for which requests count.
const QUOTA_PROJECT: &str = "x-goog-user-project";

/// One account and its token.
pub struct GoogleToken {
    /// Who it is, in words.
    who: String,
    token_uri: String,
    quota_project: Option<HeaderValue>,
    proof: Proof,
    token: Kept<HeaderValue>,
}

/// What a token is exchanged for.
enum Proof {
    Assertion { email: String, header: Box<Header>, key: EncodingKey },
    Refresh { client: String, secret: SecretString, token: SecretString },
    Federated(Box<Federated>),
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
    /// An account and no token yet. Nothing is asked of anybody.
    ///
    /// # Errors
    /// Its key is none, or its project or a header of its cannot be sent; the message holds nothing of the key.
    pub fn new(account: &GoogleAccount) -> Result<Self, String> {
        let (who, proof) = match &account.proof {
            GoogleProof::Key { email, id, key } => {
                let key = EncodingKey::from_rsa_pem(key.expose_secret().as_bytes())
                    .map_err(|_| format!("the `private_key` of `{email}` is not an RSA key in PEM"))?;
                let header = Box::new(Header { kid: id.clone(), ..Header::new(Algorithm::RS256) });
                (format!("`{email}`"), Proof::Assertion { email: email.clone(), header, key })
            }
            GoogleProof::Refresh { client, secret, token } => {
                let proof = Proof::Refresh { client: client.clone(), secret: secret.clone(), token: token.clone() };
                (format!("the user of the client `{client}`"), proof)
            }
            GoogleProof::Federated(federation) => {
                let proof = Proof::Federated(Box::new(Federated::new(federation)?));
                (format!("the identity that is known to `{}`", federation.audience), proof)
            }
        };
        let quota_project = account.quota_project.as_deref().map(HeaderValue::from_str).transpose();
        let quota_project = quota_project.map_err(|_| format!("the `quota_project_id` of {who} cannot be sent"))?;
        Ok(Self { who, token_uri: account.token_uri.clone(), quota_project, proof, token: Kept::default() })
    }

    async fn exchange(&self, now: Moment) -> Result<(HeaderValue, Duration), Unfetched> {
        match &self.proof {
            Proof::Assertion { email, header, key } => {
                let iat = now.as_millis() / 1000;
                let exp = iat + ASSERTION.as_secs();
                let claims = Claims { iss: email, scope: SCOPE, aud: &self.token_uri, iat, exp };
                let assertion = jsonwebtoken::encode(header, &claims, key)
                    .map_err(|_| "the assertion could not be signed with the account's key".to_owned())?;
                let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                let form = [("grant_type", grant), ("assertion", assertion.as_str())];
                Exchanged::by_form(&self.token_uri, HeaderMap::new(), &form, &[assertion.as_str().into()]).await
            }
            Proof::Refresh { client, secret, token } => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", client.as_str()),
                    ("client_secret", secret.expose_secret()),
                    ("refresh_token", token.expose_secret()),
                ];
                let secrets = [secret.clone(), token.clone()];
                Exchanged::by_form(&self.token_uri, HeaderMap::new(), &form, &secrets).await
            }
            Proof::Federated(federated) => federated.exchange(&self.token_uri, now).await,
        }
    }
}

impl Authorizer for GoogleToken {
    fn authorize<'a>(&'a self, request: &'a mut UpstreamRequest, now: Moment) -> Authorizing<'a> {
        async move {
            let value = self
                .token
                .get(now, self.exchange(now))
                .await
                .map_err(|unfetched| unfetched.fault(format_args!("access token for {}", self.who)))?;
            request.headers.insert(AUTHORIZATION, value);
            if let Some(project) = &self.quota_project {
                // What the operator writes in the deployment's headers stands.
                request.headers.entry(QUOTA_PROJECT).or_insert_with(|| project.clone());
            }
            Ok(())
        }
        .boxed()
    }
}

impl fmt::Debug for GoogleToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleToken").field("who", &self.who).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
