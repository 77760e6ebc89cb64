//! Requests to Azure, authorised as an application of its directory (Entra ID): the application's secret is exchanged for an access
//! token, which is kept until shortly before it ends.

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;

use super::ask::Exchanged;
use super::kept::{Kept, Unfetched};
use crate::authorization::{Authorizer, Authorizing};
use crate::catalog::AzureApp;
use crate::moment::Moment;
use crate::upstream::UpstreamRequest;

/// One application and its token.
pub struct AzureToken {
    app: AzureApp,
    token: Kept<HeaderValue>,
}

impl AzureToken {
    /// Nothing is asked of anybody yet.
    #[must_use]
    pub fn new(app: &AzureApp) -> Self {
        Self { app: app.clone(), token: Kept::default() }
    }

    async fn exchange(&self) -> Result<(HeaderValue, Duration), Unfetched> {
        let AzureApp { tenant, client, secret, scope, authority } = &self.app;
        let url = format!("{authority}/{tenant}/oauth2/v2.0/token");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret.expose_secret()),
            ("scope", scope),
        ];
        Exchanged::by_form(&url, HeaderMap::new(), &form, std::slice::from_ref(secret)).await
    }
}

impl Authorizer for AzureToken {
    fn authorize<'a>(&'a self, request: &'a mut UpstreamRequest, now: Moment) -> Authorizing<'a> {
        async move {
            let value = self.token.get(now, self.exchange()).await.map_err(|unfetched| {
                unfetched.fault(format_args!("access token for the application `{}`", self.app.client))
            })?;
            request.headers.insert(AUTHORIZATION, value);
            Ok(())
        }
        .boxed()
    }
}

impl fmt::Debug for AzureToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureToken").field("app", &self.app).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::kept::EARLY;
    use super::super::tests::exchange::{Endpoint, authorized};
    use super::*;
    use crate::fault::FaultKind;

    fn app(authority: &str) -> AzureToken {
        AzureToken::new(&AzureApp {
            tenant: "dir-1".to_owned(),
            client: "app-1".to_owned(),
            secret: "s3cret&more".into(),
            scope: "https://cognitiveservices.azure.com/.default".to_owned(),
            authority: authority.to_owned(),
        })
    }

    #[tokio::test]
    async fn a_token_is_exchanged_once_for_all_and_again_before_it_ends() {
        let endpoint = Endpoint::start(|number| {
            ("200 OK", format!(r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"token-{number}"}}"#))
        });
        let token = app(&endpoint.origin);
        let begin = Moment::from_millis(1_700_000_000_000);
        let all = futures_util::future::join_all((0..10).map(|_| authorized(&token, begin))).await;
        assert!(all.iter().all(|headers| headers.as_ref().unwrap()[AUTHORIZATION] == "Bearer token-1"), "{all:?}");
        assert!(all[0].as_ref().unwrap()[AUTHORIZATION].is_sensitive());
        let nearly_over = begin + Duration::from_secs(3599) - EARLY;
        assert_eq!(authorized(&token, nearly_over).await.unwrap()[AUTHORIZATION], "Bearer token-2");
        let asked = endpoint.asked();
        assert_eq!(asked.len(), 2);
        assert!(asked[0].starts_with("POST /dir-1/oauth2/v2.0/token HTTP/1.1\r\n"), "{}", asked[0]);
        let form = "grant_type=client_credentials&client_id=app-1&client_secret=s3cret%26more\
                    &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default";
        assert!(asked[0].ends_with(form), "{}", asked[0]);
        assert!(!format!("{token:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn a_secret_that_is_refused_fails_the_attempt_before_it_is_sent() {
        let endpoint = Endpoint::start(|_| ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned()));
        let fault = authorized(&app(&endpoint.origin), Moment::from_millis(1)).await.unwrap_err();
        assert!(!fault.was_sent() && fault.kind == FaultKind::Misconfigured);
        assert!(fault.message.contains("invalid_client") && fault.message.contains("app-1"), "{}", fault.message);
        assert!(!fault.message.contains("s3cret"));
    }
}
