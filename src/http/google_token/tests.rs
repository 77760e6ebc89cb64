use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::HeaderMap;
use jsonwebtoken::{DecodingKey, Validation};

use super::super::kept::EARLY;
use super::*;
use crate::fault::{AttemptFault, FaultKind};
use crate::upstream::{Sent, Timeouts};

const ACCOUNT: &str = include_str!("../../../tests/fixtures/google/service-account.json");
const PUBLIC: &[u8] = include_bytes!("../../../tests/fixtures/google/public.pem");

/// An endpoint that checks the assertion as the provider does, and counts what it gave. Its address.
fn endpoint(refuse: bool) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/token", listener.local_addr().unwrap());
    let (given, audience) = (Arc::new(AtomicU32::new(0)), uri.clone());
    let counted = Arc::clone(&given);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut text = String::new();
            let mut piece = [0; 4096];
            while !text.contains("assertion=") {
                let length = socket.read(&mut piece).unwrap();
                text.push_str(std::str::from_utf8(&piece[..length]).unwrap());
            }
            let assertion = text.split_once("assertion=").unwrap().1;
            assert!(text.contains("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"), "{text}");
            let mut validation = Validation::new(Algorithm::RS256);
            validation.set_audience(&[&audience]);
            // The test's time is its own.
            validation.validate_exp = false;
            let key = DecodingKey::from_rsa_pem(PUBLIC).unwrap();
            let claims = jsonwebtoken::decode::<serde_json::Value>(assertion, &key, &validation).unwrap();
            assert_eq!(claims.header.kid.as_deref(), Some("key-1"));
            assert_eq!(claims.claims["iss"], "tester@test-project.iam.gserviceaccount.com");
            assert_eq!(claims.claims["exp"].as_u64().unwrap() - claims.claims["iat"].as_u64().unwrap(), 3600);
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            let (status, body) = if refuse {
                ("400 Bad Request", r#"{"error":"invalid_grant"}"#.to_owned())
            } else {
                ("200 OK", format!(r#"{{"access_token":"token-{number}","expires_in":3600,"token_type":"Bearer"}}"#))
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            socket.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    (uri, given)
}

fn account(token_uri: &str) -> GoogleToken {
    GoogleToken::new(&ACCOUNT.replace("https://oauth2.googleapis.com/token", token_uri).into()).unwrap()
}

async fn authorized(token: &GoogleToken, now: Moment) -> Result<String, AttemptFault> {
    let mut request = UpstreamRequest {
        url: "https://provider.test/v1".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        timeouts: Timeouts::default(),
        sent: Sent::default(),
    };
    token.authorize(&mut request, now).await?;
    Ok(request.headers[AUTHORIZATION].to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_token_is_exchanged_once_for_all_and_again_before_it_ends() {
    let (uri, given) = endpoint(false);
    let token = account(&uri);
    let begin = Moment::from_millis(1_700_000_000_000);
    let all = futures_util::future::join_all((0..10).map(|_| authorized(&token, begin))).await;
    assert!(all.iter().all(|value| value.as_deref() == Ok("Bearer token-1")), "{all:?}");
    let nearly_over = begin + Duration::from_secs(3600) - EARLY;
    assert_eq!(authorized(&token, nearly_over).await.as_deref(), Ok("Bearer token-2"));
    assert_eq!(given.load(Ordering::Relaxed), 2);
    assert!(!format!("{token:?}").contains("PRIVATE"));
}

#[tokio::test]
async fn a_token_that_is_refused_fails_the_attempt_before_it_is_sent() {
    let (uri, _) = endpoint(true);
    let fault = authorized(&account(&uri), Moment::from_millis(1_700_000_000_000)).await.unwrap_err();
    assert!(!fault.was_sent() && fault.kind == FaultKind::Misconfigured);
    assert!(fault.message.contains("invalid_grant") && !fault.message.contains("assertion"), "{}", fault.message);
}

#[test]
fn a_text_that_is_no_key_file_is_not_repeated() {
    for text in ["", "{\"type\": 1}", "{\"private_key\": \"very-secret\"}", &ACCOUNT.replace("BEGIN", "BEGUN")] {
        let why = GoogleToken::new(&text.to_owned().into()).unwrap_err();
        assert!(!why.contains("very-secret") && !why.contains("KEY-----"), "{why}");
    }
    let other = GoogleToken::new(&ACCOUNT.replace("service_account", "authorized_user").into()).unwrap_err();
    assert!(other.contains("not of a service account"), "{other}");
}
