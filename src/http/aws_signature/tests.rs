use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::upstream::{Sent, Timeouts};

/// 2026-11-26T15:04:05Z.
const NOW: Moment = Moment::from_millis(1_795_705_445_000);

async fn signed(url: &str, body: &'static str, token: Option<&str>, region: &str) -> HeaderMap {
    let keys = AwsKeys {
        access_key: "AKIDEXAMPLE".to_owned(),
        secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        session_token: token.map(SecretString::from),
        region: region.to_owned(),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // One that is not signed, whatever it says.
    headers.insert("accept", HeaderValue::from_static("text/plain"));
    let (url, body) = (url.to_owned(), Bytes::from_static(body.as_bytes()));
    let mut request = UpstreamRequest { url, headers, body, timeouts: Timeouts::default(), sent: Sent::default() };
    AwsSignature::new(&keys).unwrap().authorize(&mut request, NOW).await.unwrap();
    request.headers
}

/// What `SigV4Auth` of `botocore` 1.44.8 makes of the same requests at the same second.
#[tokio::test]
async fn signatures_are_those_of_the_vendors_own_client() {
    let url =
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse";
    let headers = signed(url, r#"{"messages":[]}"#, None, "us-east-1").await;
    assert_eq!(headers["x-amz-date"], "20261126T150405Z");
    assert_eq!(
        headers["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261126/us-east-1/bedrock/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, \
         Signature=c662d716121adec28f739d0b47538b4e58e1aec8481a553bd98c8aa41eba9e32"
    );
    assert!(headers["authorization"].is_sensitive() && !headers.contains_key("x-amz-security-token"));

    let url = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A\
               123456789012%3Ainference-profile%2Feu.anthropic.claude/converse-stream";
    let headers = signed(url, "", Some("FwoGZXIvYXdzEXAMPLE=="), "eu-central-1").await;
    assert_eq!(
        headers["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261126/eu-central-1/bedrock/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
         Signature=a826ecfd2366179569d724bb11378808e932cc85f2b81652d2a4713498af88ac"
    );
    assert_eq!(headers["x-amz-security-token"], "FwoGZXIvYXdzEXAMPLE==");
}
