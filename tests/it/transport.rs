//! The real transport against a real socket, and so the scripted provider against a real client.

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use serde_json::json;
use witgate::fault::FaultKind;
use witgate::http::HttpUpstream;
use witgate::upstream::{Sent, Timeouts, Upstream, UpstreamRequest, UpstreamResponse};

use crate::support::upstream::{Gate, ScriptedUpstream, Step};

async fn ask(http: &HttpUpstream, upstream: &ScriptedUpstream) -> UpstreamResponse {
    let url = format!("{}/v1/chat/completions", upstream.origin());
    let body = Bytes::from_static(br#"{"model":"m"}"#);
    http.send(UpstreamRequest {
        url,
        headers: HeaderMap::new(),
        body,
        timeouts: Timeouts::default(),
        sent: Sent::default(),
    })
    .await
    .unwrap()
}

async fn read(answer: UpstreamResponse) -> String {
    let pieces: Vec<Bytes> = answer.body.map(Result::unwrap).collect().await;
    String::from_utf8(pieces.concat()).unwrap()
}

#[tokio::test]
async fn the_script_is_played_in_order_and_its_last_step_stays() {
    let (openai, anthropic) = (Step::openai_rate_limited(7), Step::anthropic_rate_limited(8));
    let steps = [openai, anthropic, Step::openai_broken(503), Step::json(200, &json!({"ok": true}))];
    let upstream = ScriptedUpstream::start(steps).await;
    let http = HttpUpstream::new();
    for (status, retry_after) in [(429, Some("7")), (429, Some("8")), (503, None), (200, None), (200, None)] {
        let answer = ask(&http, &upstream).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers.get("retry-after").map(|value| value.to_str().unwrap()), retry_after);
        assert!(read(answer).await.starts_with('{'));
    }
    assert_eq!(upstream.count(), 5);
    let asked = upstream.asked();
    assert_eq!((asked[0].path.as_str(), &asked[0].body), ("/v1/chat/completions", &json!({"model": "m"})));
    assert_eq!(asked[0].headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_split_stream_is_the_same_stream() {
    let wire = "data: {\"text\":\"é\u{2028}\"}\n\n";
    let upstream =
        ScriptedUpstream::start([Step::events(wire).byte_by_byte(), Step::events(wire).split_at(&[3, 18])]).await;
    let http = HttpUpstream::new();
    assert_eq!(read(ask(&http, &upstream).await).await, wire);
    assert_eq!(read(ask(&http, &upstream).await).await, wire);
}

#[tokio::test]
async fn a_piece_comes_when_its_gate_opens() {
    let gate = Gate::closed();
    let upstream = ScriptedUpstream::start([Step::events("data: a\n\ndata: b\n\n").pause_after(9, &gate)]).await;
    let mut answer = ask(&HttpUpstream::new(), &upstream).await;
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "data: a\n\n");
    gate.open();
    assert_eq!(read(answer).await, "data: b\n\n");
}

#[tokio::test]
async fn a_cut_stream_ends_in_a_fault_and_counts_as_nobodys_cancellation() {
    let upstream = ScriptedUpstream::start([Step::events("data: a\n\ndata: b\n\n").cut_after(9)]).await;
    let pieces: Vec<_> = ask(&HttpUpstream::new(), &upstream).await.body.collect().await;
    assert_eq!(pieces.last().unwrap().as_ref().unwrap_err().kind, FaultKind::BrokenStream);
}

#[tokio::test]
async fn going_away_reaches_the_provider() {
    let wire = "data: a\n\ndata: b\n\n";
    let upstream = ScriptedUpstream::start([Step::events(wire).hang_after(9), Step::silent()]).await;
    let http = HttpUpstream::new();
    let mut answer = ask(&http, &upstream).await;
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "data: a\n\n");
    drop(answer);
    upstream.until_cancelled(1).await;
    {
        let waiting = ask(&http, &upstream);
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("answered"),
            () = upstream.until_asked(2) => {}
        }
    }
    upstream.until_cancelled(2).await;
}
