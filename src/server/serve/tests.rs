use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A connection in memory; `/` answers at once, `/slow` after ten seconds.
fn connect() -> (DuplexStream, CancellationToken, JoinHandle<()>) {
    let slow = || async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        "slow"
    };
    let router = Router::new().route("/", get(|| async { "quick" })).route("/slow", get(slow));
    let service = Arc::new(HttpService { gateway: None, router });
    let (ours, theirs) = tokio::io::duplex(4096);
    let stopping = CancellationToken::new();
    let served = tokio::spawn(connection(theirs, service, stopping.clone()));
    (ours, stopping, served)
}

async fn reply(socket: &mut DuplexStream) -> String {
    let mut text = String::new();
    while !text.ends_with("quick") && !text.ends_with("slow") {
        let mut piece = [0; 1024];
        let length = socket.read(&mut piece).await.expect("readable");
        assert!(length > 0, "it ended after {text:?}");
        text.push_str(std::str::from_utf8(&piece[..length]).expect("text"));
    }
    text
}

/// How long the connection lasts if nothing more is sent.
async fn lasts(socket: &mut DuplexStream) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.expect("readable");
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_the_connection() {
    for sent in [&b""[..], b"PRI * HT", b"GET / HTTP/1.1\r\nhost: local"] {
        let (mut socket, _stopping, _served) = connect();
        socket.write_all(sent).await.expect("writable");
        let lasted = lasts(&mut socket).await;
        assert!((FIRST_HEAD..FIRST_HEAD + Duration::from_secs(1)).contains(&lasted), "{sent:?}: {lasted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_longer() {
    let (mut socket, _stopping, _served) = connect();
    socket.write_all(REQUEST).await.expect("writable");
    reply(&mut socket).await;
    let lasted = lasts(&mut socket).await;
    assert!((NEXT_HEAD..NEXT_HEAD + Duration::from_secs(1)).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_request_under_way_and_a_moment_for_the_next() {
    for (sent, wait) in [
        (&b""[..], LAST_CALL),
        (b"GET / HTT", LAST_CALL),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET / HT", LAST_CALL),
        (b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n", Duration::from_secs(10)),
    ] {
        let (mut socket, stopping, served) = connect();
        socket.write_all(sent).await.expect("writable");
        if sent.starts_with(REQUEST) {
            reply(&mut socket).await;
        }
        tokio::task::yield_now().await;
        stopping.cancel();
        let start = Instant::now();
        if wait > LAST_CALL {
            let reply = reply(&mut socket).await;
            assert!(reply.contains("connection: close\r\n") && reply.ends_with("slow"), "{reply}");
        }
        served.await.expect("no panic");
        let took = start.elapsed();
        assert!((wait..wait + Duration::from_millis(10)).contains(&took), "{sent:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_stop_is_served_and_is_the_last() {
    for before in [&b""[..], REQUEST] {
        let (mut socket, stopping, served) = connect();
        socket.write_all(before).await.expect("writable");
        if !before.is_empty() {
            assert!(!reply(&mut socket).await.contains("connection: close"));
        }
        stopping.cancel();
        tokio::time::sleep(LAST_CALL / 2).await;
        socket.write_all(REQUEST).await.expect("writable");
        let reply = reply(&mut socket).await;
        assert!(reply.contains("connection: close\r\n") && reply.ends_with("quick"), "{reply}");
        assert_eq!(lasts(&mut socket).await, Duration::ZERO);
        served.await.expect("no panic");
    }
}
