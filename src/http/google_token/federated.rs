//! Tokens of Google's for those of another service (workload identity federation): the token is read or asked for, exchanged (RFC 8693),
//! and what was given exchanged once more for a service account's, where requests are to be that account's.
//!
//! Shapes are those of `google-auth` 2.63 on `PyPI` (`oauth2/sts.py`, `auth/impersonated_credentials.py`).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::SCOPE;
use crate::catalog::{Federation, Impersonation, SubjectSource};
use crate::http::ask::{self, Exchanged};
use crate::http::aws_role;
use crate::http::kept::Unfetched;
use crate::moment::Moment;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const WANTED: &str = "urn:ietf:params:oauth:token-type:access_token";

/// One identity of another service.
pub(super) struct Federated {
    federation: Federation,
    /// What is sent to the source of its tokens.
    asking: HeaderMap,
    /// By which the client that asks is known.
    client: HeaderMap,
}

/// What a service account's token is told as.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: String,
    expire_time: String,
}

impl Federated {
    /// Nothing is asked of anybody yet.
    ///
    /// # Errors
    /// A header cannot be sent; the message holds nothing of its value.
    pub(super) fn new(federation: &Federation) -> Result<Self, String> {
        let (mut asking, mut client) = (HeaderMap::new(), HeaderMap::new());
        if let SubjectSource::Url { headers, .. } = &federation.source {
            for (name, value) in headers {
                let told = || format!("the header `{name}` of the `credential_source` cannot be sent");
                let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| told())?;
                asking.insert(key, secret(value.expose_secret()).ok_or_else(told)?);
            }
        }
        if let Some((id, own)) = &federation.client {
            let both = STANDARD.encode(format!("{id}:{}", own.expose_secret()));
            let basic = secret(&format!("Basic {both}"));
            client.insert(AUTHORIZATION, basic.ok_or("the client's id and secret cannot be sent in a header")?);
        }
        Ok(Self { federation: federation.clone(), asking, client })
    }

    /// The header that carries a token, and how long that holds.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn exchange(&self, token_url: &str, now: Moment) -> Result<(HeaderValue, Duration), Unfetched> {
        let Federation { audience, subject_type, client, user_project, impersonation, .. } = &self.federation;
        let subject = self.subject().await?;
        // Whom a client asks for is known by the client.
        let options = user_project.as_ref().filter(|_| client.is_none()).map(|project| {
            let told = json!({"userProject": project}).to_string();
            form_urlencoded::byte_serialize(told.as_bytes()).collect::<String>()
        });
        let mut form = vec![
            ("grant_type", GRANT),
            ("audience", audience.as_str()),
            ("scope", SCOPE),
            ("requested_token_type", WANTED),
            ("subject_token", subject.expose_secret()),
            ("subject_token_type", subject_type.as_str()),
        ];
        form.extend(options.as_deref().map(|options| ("options", options)));
        let secrets: Vec<SecretString> = client.iter().map(|(_, own)| own).chain([&subject]).cloned().collect();
        let (token, length) = Exchanged::by_form(token_url, self.client.clone(), &form, &secrets).await?;
        match impersonation {
            None => Ok((token, length)),
            Some(account) => impersonated(account, token, now).await,
        }
    }

    /// The other service's token.
    async fn subject(&self) -> Result<SecretString, Unfetched> {
        let (text, place) = match &self.federation.source {
            SubjectSource::File(path) => (aws_role::read(path).await?, path.display().to_string()),
            SubjectSource::Url { url, headers } => {
                let secrets: Vec<SecretString> = headers.iter().map(|(_, value)| value.clone()).collect();
                let text = ask::get(url, self.asking.clone(), &secrets).await?;
                (SecretString::from(text.trim()), ask::shown(url).to_owned())
            }
        };
        let token = match &self.federation.field {
            None => text,
            Some(field) => {
                let value: Value = serde_json::from_str(text.expose_secret())
                    .map_err(|_| format!("{place}: this is not the JSON that its `format` says"))?;
                let token = value.get(field).and_then(Value::as_str);
                SecretString::from(token.ok_or_else(|| format!("{place}: `{field}` is no text there"))?)
            }
        };
        if token.expose_secret().is_empty() {
            return Err(format!("{place}: there is no token in it").into());
        }
        Ok(token)
    }
}

/// A header's value that is shown to nobody.
fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A service account's token, given to whoever brings `token` and may act as the account.
async fn impersonated(
    account: &Impersonation,
    token: HeaderValue,
    now: Moment,
) -> Result<(HeaderValue, Duration), Unfetched> {
    let Impersonation { url, lifetime } = account;
    let body = json!({"scope": [SCOPE], "lifetime": format!("{}s", lifetime.as_secs())}).to_string();
    let own = token.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
    let secrets: Vec<SecretString> = own.map(SecretString::from).into_iter().collect();
    let kind = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, token), (CONTENT_TYPE, kind)]);
    let answer = ask::post(url, headers, body.into(), &secrets).await?;
    let Impersonated { access_token, expire_time } =
        serde_json::from_str(&answer).map_err(|_| format!("{url}: the answer holds no token"))?;
    let until = Moment::parse(&expire_time).ok_or_else(|| format!("{url}: the token has no end"))?;
    Ok((ask::bearer(url, &access_token)?, until.since(now)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::GoogleToken;
    use super::*;
    use crate::catalog::{GoogleAccount, GoogleProof};
    use crate::fault::FaultKind;
    use crate::http::kept::EARLY;
    use crate::http::tests::exchange::{Endpoint, authorized};

    /// 2026-11-26T15:04:05Z.
    const NOW: Moment = Moment::from_millis(1_795_705_445_000);
    const FORM: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&audience=%2F%2Fiam.test%2Fx\
                        &scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform\
                        &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token";

    fn of(source: SubjectSource) -> Federation {
        Federation {
            audience: "//iam.test/x".to_owned(),
            subject_type: "jwt".to_owned(),
            source,
            field: None,
            client: None,
            user_project: None,
            impersonation: None,
        }
    }

    fn token(origin: &str, federation: Federation) -> GoogleToken {
        let proof = GoogleProof::Federated(Box::new(federation));
        GoogleToken::new(&GoogleAccount { token_uri: format!("{origin}/v1/token"), quota_project: None, proof })
            .unwrap()
    }

    fn given(number: u32) -> (&'static str, String) {
        ("200 OK", format!(r#"{{"access_token":"token-{number}","expires_in":3600,"token_type":"Bearer"}}"#))
    }

    #[tokio::test]
    async fn a_token_in_a_file_is_exchanged_once_for_all_and_read_anew_before_the_end() {
        let endpoint = Endpoint::start(given);
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "ey.one\n").unwrap();
        let token = token(&endpoint.origin, of(SubjectSource::File(path.clone())));
        let all = futures_util::future::join_all((0..10).map(|_| authorized(&token, NOW))).await;
        for headers in &all {
            let value = &headers.as_ref().unwrap()[AUTHORIZATION];
            assert!(value == "Bearer token-1" && value.is_sensitive());
        }
        std::fs::write(&path, "ey.two").unwrap();
        let nearly_over = NOW + Duration::from_secs(3600) - EARLY;
        assert_eq!(authorized(&token, nearly_over).await.unwrap()[AUTHORIZATION], "Bearer token-2");
        let asked = endpoint.asked();
        assert_eq!(asked.len(), 2);
        assert!(asked[0].starts_with("POST /v1/token HTTP/1.1\r\n") && !asked[0].contains("authorization:"));
        for (asked, subject) in asked.iter().zip(["ey.one", "ey.two"]) {
            let form = format!("{FORM}&subject_token={subject}&subject_token_type=jwt");
            assert!(asked.ends_with(&form), "{asked}");
        }
        std::fs::remove_file(&path).unwrap();
        let fault = authorized(&token, NOW + Duration::from_secs(9000)).await.unwrap_err();
        assert!(!fault.was_sent() && fault.kind == FaultKind::Misconfigured, "{fault}");
        assert!(fault.message.contains("//iam.test/x") && fault.message.contains("cannot be read"), "{fault}");
    }

    #[tokio::test]
    async fn a_token_behind_an_address_is_exchanged_and_a_service_account_is_acted_as() {
        let source = Endpoint::start(|_| ("200 OK", r#"{"id_token":"ey.three"}"#.to_owned()));
        let endpoint = Endpoint::start(given);
        let account = Endpoint::start(|number| {
            ("200 OK", format!(r#"{{"accessToken":"of-the-account-{number}","expireTime":"2026-11-26T16:04:05Z"}}"#))
        });
        let headers = vec![("Metadata".to_owned(), "True".into())];
        let url = format!("{}/identity?resource=very-secret", source.origin);
        let impersonation = Impersonation {
            url: format!("{}/v1/projects/-/serviceAccounts/a@p.test:generateAccessToken", account.origin),
            lifetime: Duration::from_secs(1200),
        };
        let token = token(
            &endpoint.origin,
            Federation {
                field: Some("id_token".to_owned()),
                client: Some(("client-1".to_owned(), "s3cret".into())),
                user_project: Some("12".to_owned()),
                impersonation: Some(impersonation),
                ..of(SubjectSource::Url { url, headers })
            },
        );
        let told = authorized(&token, NOW).await.unwrap();
        assert!(told[AUTHORIZATION] == "Bearer of-the-account-1" && told[AUTHORIZATION].is_sensitive());
        let nearly_over = NOW + Duration::from_secs(3600) - EARLY;
        assert_eq!(authorized(&token, nearly_over).await.unwrap()[AUTHORIZATION], "Bearer of-the-account-2");
        let asked = &source.asked()[0];
        assert!(asked.starts_with("GET /identity?resource=very-secret HTTP/1.1\r\n"), "{asked}");
        assert!(asked.to_ascii_lowercase().contains("metadata: true\r\n"), "{asked}");
        let asked = &endpoint.asked()[0];
        // Of a client that asks, the project is known.
        assert!(asked.ends_with(&format!("{FORM}&subject_token=ey.three&subject_token_type=jwt")), "{asked}");
        assert!(asked.contains("authorization: Basic Y2xpZW50LTE6czNjcmV0\r\n"), "{asked}");
        let asked = &account.asked()[0];
        let path = "POST /v1/projects/-/serviceAccounts/a@p.test:generateAccessToken HTTP/1.1\r\n";
        assert!(asked.starts_with(path) && asked.contains("authorization: Bearer token-1\r\n"), "{asked}");
        let (_, body) = asked.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body, json!({"scope": [SCOPE], "lifetime": "1200s"}));
        assert!(!format!("{token:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn people_s_exchanges_count_for_their_project() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("token.json");
        std::fs::write(&path, r#"{"t": "ey.four"}"#).unwrap();
        let endpoint = Endpoint::start(given);
        let federation = Federation {
            field: Some("t".to_owned()),
            user_project: Some("12".to_owned()),
            ..of(SubjectSource::File(path))
        };
        authorized(&token(&endpoint.origin, federation), NOW).await.unwrap();
        let form =
            "&subject_token=ey.four&subject_token_type=jwt&options=%257B%2522userProject%2522%253A%252212%2522%257D";
        assert!(endpoint.asked()[0].ends_with(form), "{}", endpoint.asked()[0]);
    }

    #[tokio::test]
    async fn what_is_refused_fails_the_attempt_before_it_is_sent_and_tells_no_token() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "very-secret-token").unwrap();
        let refused = Endpoint::start(|_| {
            let told = r#"{"error":"invalid_grant","error_description":"very-secret-token is too old."}"#;
            ("400 Bad Request", told.to_owned())
        });
        let gone = Endpoint::start(|_| ("404 Not Found", String::new()));
        let closed = format!("{}/x?key=very-secret", gone.origin);
        let json = |path: PathBuf| Federation { field: Some("t".to_owned()), ..of(SubjectSource::File(path)) };
        for (federation, told) in [
            (of(SubjectSource::File(path.clone())), "invalid_grant: *** is too old."),
            (json(path), "this is not the JSON that its `format` says"),
            (of(SubjectSource::Url { url: closed, headers: Vec::new() }), "/x: answered 404"),
        ] {
            let fault = authorized(&token(&refused.origin, federation), NOW).await.unwrap_err();
            assert!(!fault.was_sent() && fault.kind == FaultKind::Misconfigured, "{fault}");
            assert!(fault.message.contains(told) && !fault.message.contains("very-secret"), "{fault}");
        }
    }
}
