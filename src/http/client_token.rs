//! Requests authorised by a token that a client's id and secret are exchanged for (OAuth's client credentials), kept until shortly before
//! it ends.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;

use super::ask::Exchanged;
use super::kept::{Kept, Unfetched};
use crate::authorization::{Authorizer, Authorizing};
use crate::catalog::OauthClient;
use crate::moment::Moment;
use crate::upstream::UpstreamRequest;

/// One client and its token.
pub struct ClientToken {
    client: OauthClient,
    token: Kept<HeaderValue>,
}

impl ClientToken {
    /// Nothing is asked of anybody yet.
    #[must_use]
    pub fn new(client: &OauthClient) -> Self {
        Self { client: client.clone(), token: Kept::default() }
    }

    async fn exchange(&self) -> Result<(HeaderValue, Duration), Unfetched> {
        let OauthClient { url, id, secret, scope } = &self.client;
        let both = STANDARD.encode(format!("{id}:{}", secret.expose_secret()));
        let basic = HeaderValue::try_from(format!("Basic {both}"));
        let mut basic = basic.map_err(|_| "the client's id and secret cannot be sent in a header")?;
        basic.set_sensitive(true);
        let form = [("grant_type", "client_credentials"), ("scope", scope.as_str())];
        let headers = HeaderMap::from_iter([(AUTHORIZATION, basic)]);
        Exchanged::by_form(url, headers, &form, &[secret.clone(), both.into()]).await
    }
}

impl Authorizer for ClientToken {
    fn authorize<'a>(&'a self, request: &'a mut UpstreamRequest, now: Moment) -> Authorizing<'a> {
        async move {
            let value = self.token.get(now, self.exchange()).await.map_err(|unfetched| {
                unfetched.fault(format_args!("access token for the client `{}`", self.client.id))
            })?;
            request.headers.insert(AUTHORIZATION, value);
            Ok(())
        }
        .boxed()
    }
}

impl fmt::Debug for ClientToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientToken").field("client", &self.client).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::kept::EARLY;
    use super::super::tests::exchange::{Endpoint, authorized};
    use super::*;
    use crate::fault::FaultKind;

    fn client(origin: &str) -> ClientToken {
        ClientToken::new(&OauthClient {
            url: format!("{origin}/oidc/v1/token"),
            id: "app-1".to_owned(),
            secret: "s3cret".into(),
            scope: "all-apis".to_owned(),
        })
    }

    #[tokio::test]
    async fn a_client_s_token_is_exchanged_once_for_all_and_again_before_it_ends() {
        let endpoint = Endpoint::start(|number| {
            ("200 OK", format!(r#"{{"token_type":"Bearer","expires_in":3600,"access_token":"token-{number}"}}"#))
        });
        let token = client(&endpoint.origin);
        let begin = Moment::from_millis(1_700_000_000_000);
        let all = futures_util::future::join_all((0..10).map(|_| authorized(&token, begin))).await;
        assert!(all.iter().all(|headers| headers.as_ref().unwrap()[AUTHORIZATION] == "Bearer token-1"), "{all:?}");
        assert!(all[0].as_ref().unwrap()[AUTHORIZATION].is_sensitive());
        let nearly_over = begin + Duration::from_secs(3600) - EARLY;
        assert_eq!(authorized(&token, nearly_over).await.unwrap()[AUTHORIZATION], "Bearer token-2");
        let asked = endpoint.asked();
        assert_eq!(asked.len(), 2);
        assert!(asked[0].starts_with("POST /oidc/v1/token HTTP/1.1\r\n"), "{}", asked[0]);
        // `app-1:s3cret`.
        assert!(asked[0].contains("authorization: Basic YXBwLTE6czNjcmV0\r\n"), "{}", asked[0]);
        assert!(asked[0].ends_with("grant_type=client_credentials&scope=all-apis"), "{}", asked[0]);
        assert!(!format!("{token:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn a_client_that_is_refused_fails_the_attempt_before_it_is_sent() {
        let body = r#"{"error":"invalid_client","error_description":"no app-1 with s3cret or YXBwLTE6czNjcmV0"}"#;
        let endpoint = Endpoint::start(|_| ("401 Unauthorized", body.to_owned()));
        let fault = authorized(&client(&endpoint.origin), Moment::from_millis(1)).await.unwrap_err();
        assert!(!fault.was_sent() && fault.kind == FaultKind::Misconfigured);
        assert!(fault.message.contains("invalid_client") && fault.message.contains("app-1"), "{}", fault.message);
        assert!(!fault.message.contains("s3cret") && !fault.message.contains("YXBwLTE6"), "{}", fault.message);
    }
}
