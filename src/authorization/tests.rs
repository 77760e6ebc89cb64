//! The three ways a provider wants to be convinced, each through the one contract.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::*;
use crate::fault::FaultKind;
use crate::upstream::{Sent, Timeouts};

fn request(body: &'static str) -> UpstreamRequest {
    UpstreamRequest {
        url: "https://provider.test/v1/chat".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(body.as_bytes()),
        timeouts: Timeouts::default(),
        sent: Sent::default(),
    }
}

/// A token that holds for a minute and takes a while to get; many that want it at once get the same one.
#[derive(Default)]
struct Token {
    held: Mutex<Option<(HeaderValue, Moment)>>,
    fetched: AtomicU32,
    refused: bool,
}

impl Authorizer for Token {
    fn authorize<'a>(&'a self, request: &'a mut UpstreamRequest, now: Moment) -> Authorizing<'a> {
        async move {
            let mut held = self.held.lock().await;
            let value = match &*held {
                Some((value, until)) if now < *until => value.clone(),
                _ => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    if self.refused {
                        let fault = AttemptFault::new(FaultKind::Misconfigured, "the token endpoint refused");
                        return Err(fault.before_sending());
                    }
                    let number = self.fetched.fetch_add(1, Ordering::Relaxed) + 1;
                    let value = HeaderValue::try_from(format!("Bearer token-{number}")).unwrap();
                    *held = Some((value.clone(), now + Duration::from_mins(1)));
                    value
                }
            };
            request.headers.insert(AUTHORIZATION, value);
            Ok(())
        }
        .boxed()
    }
}

/// A digest of secret, moment and body.
struct Signature;

fn signature(body: &[u8], now: Moment) -> String {
    let mut digest = Sha256::new();
    digest.update(b"secret");
    digest.update(now.as_millis().to_be_bytes());
    digest.update(body);
    format!("{:x}", digest.finalize())
}

impl Authorizer for Signature {
    fn authorize<'a>(&'a self, request: &'a mut UpstreamRequest, now: Moment) -> Authorizing<'a> {
        let value = HeaderValue::try_from(signature(&request.body, now)).unwrap();
        request.headers.insert("x-signature", value);
        std::future::ready(Ok(())).boxed()
    }
}

async fn header(authorization: &Authorization, name: &str, now: Moment) -> String {
    let mut request = request("{}");
    authorization.apply(&mut request, now).await.unwrap();
    request.headers[name].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_header_is_added_as_it_was_prepared() {
    let mut key = HeaderValue::from_static("Bearer sk-secret");
    key.set_sensitive(true);
    let authorization = Authorization::Header(AUTHORIZATION, key);
    assert_eq!(header(&authorization, "authorization", Moment::default()).await, "Bearer sk-secret");
    assert!(!format!("{authorization:?}").contains("sk-secret"));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_for_many_and_again_when_it_ends() {
    let token = Arc::new(Token::default());
    let authorization = Authorization::PerRequest(token.clone());
    let begin = Moment::default();
    let all = (0..20).map(|_| header(&authorization, "authorization", begin));
    let values = futures_util::future::join_all(all).await;
    assert!(values.iter().all(|value| value == "Bearer token-1"), "{values:?}");
    let later = begin + Duration::from_secs(61);
    assert_eq!(header(&authorization, "authorization", later).await, "Bearer token-2");
    assert_eq!(token.fetched.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_token_nothing_is_sent() {
    let authorization = Authorization::PerRequest(Arc::new(Token { refused: true, ..Token::default() }));
    let fault = authorization.apply(&mut request("{}"), Moment::default()).await.unwrap_err();
    assert!(!fault.was_sent());
}

#[tokio::test]
async fn a_signature_is_of_the_body_and_the_moment() {
    let authorization = Authorization::PerRequest(Arc::new(Signature));
    let (one, other) = (Moment::from_nanos(1_000_000), Moment::from_nanos(2_000_000));
    assert_eq!(header(&authorization, "x-signature", one).await, signature(b"{}", one));
    assert_ne!(header(&authorization, "x-signature", other).await, signature(b"{}", one));
}
