use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::HeaderMap;
use jsonwebtoken::{DecodingKey, Validation};

use super::super::kept::EARLY;
use super::super::tests::exchange::{self, Endpoint};
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

fn account(token_uri: &str) -> GoogleAccount {
    let file: serde_json::Value = serde_json::from_str(ACCOUNT).unwrap();
    let text = |name: &str| file[name].as_str().unwrap().to_owned();
    let (email, id, key) = (text("client_email"), Some(text("private_key_id")), text("private_key").into());
    let proof = GoogleProof::Key { email, id, key };
    GoogleAccount { token_uri: token_uri.to_owned(), quota_project: None, proof }
}

fn token(token_uri: &str) -> GoogleToken {
    GoogleToken::new(&account(token_uri)).unwrap()
}

fn user(token_uri: &str) -> GoogleToken {
    let proof = GoogleProof::Refresh {
        client: "client-1".to_owned(),
        secret: "very-secret&client".into(),
        token: "1//very-secret-consent".into(),
    };
    let quota_project = Some("quota-project".to_owned());
    GoogleToken::new(&GoogleAccount { token_uri: token_uri.to_owned(), quota_project, proof }).unwrap()
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
    let token = token(&uri);
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
    let fault = authorized(&token(&uri), Moment::from_millis(1_700_000_000_000)).await.unwrap_err();
    assert!(!fault.was_sent() && fault.kind == FaultKind::Misconfigured);
    assert!(fault.message.contains("invalid_grant") && !fault.message.contains("assertion"), "{}", fault.message);
}

#[test]
fn a_key_that_is_none_is_not_repeated() {
    let mut other = account("https://token.test");
    other.proof = GoogleProof::Key { email: "a@b.test".to_owned(), id: None, key: "very-secret".into() };
    let why = GoogleToken::new(&other).unwrap_err();
    assert!(why.contains("`a@b.test` is not an RSA key") && !why.contains("very-secret"), "{why}");
}

#[tokio::test]
async fn a_user_s_consent_is_exchanged_once_for_all_and_again_before_the_token_ends() {
    let endpoint = Endpoint::start(|number| {
        ("200 OK", format!(r#"{{"access_token":"token-{number}","expires_in":3599,"token_type":"Bearer"}}"#))
    });
    let token = user(&format!("{}/token", endpoint.origin));
    let begin = Moment::from_millis(1_700_000_000_000);
    let all = futures_util::future::join_all((0..10).map(|_| exchange::authorized(&token, begin))).await;
    for headers in &all {
        let headers = headers.as_ref().unwrap();
        assert!(headers[AUTHORIZATION] == "Bearer token-1" && headers[AUTHORIZATION].is_sensitive());
        assert_eq!(headers[QUOTA_PROJECT], "quota-project");
    }
    let nearly_over = begin + Duration::from_secs(3599) - EARLY;
    assert_eq!(authorized(&token, nearly_over).await.as_deref(), Ok("Bearer token-2"));
    let asked = endpoint.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].starts_with("POST /token HTTP/1.1\r\n"), "{}", asked[0]);
    let form = "grant_type=refresh_token&client_id=client-1&client_secret=very-secret%26client\
                &refresh_token=1%2F%2Fvery-secret-consent";
    assert!(asked[0].ends_with(form), "{}", asked[0]);
    assert!(!format!("{token:?}").contains("very-secret"));
}

#[tokio::test]
async fn a_consent_that_was_withdrawn_fails_the_attempt_before_it_is_sent() {
    let told = r#"{"error":"invalid_grant","error_description":"1//very-secret-consent has been revoked."}"#;
    let endpoint = Endpoint::start(move |_| ("400 Bad Request", told.to_owned()));
    let fault = authorized(&user(&endpoint.origin), Moment::from_millis(1)).await.unwrap_err();
    assert!(!fault.was_sent() && fault.kind == FaultKind::Misconfigured);
    assert!(fault.message.contains("invalid_grant") && fault.message.contains("client-1"), "{}", fault.message);
    assert!(!fault.message.contains("very-secret"), "{}", fault.message);
}
