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
    let faces = Arc::new(Faces { chats: None, others: router });
    let (ours, theirs) = tokio::io::duplex(4096);
    let stopping = CancellationToken::new();
    let served = tokio::spawn(connection(theirs, faces, stopping.clone()));
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
async fn a_stop_waits_for_the_request_under_way_and_for_nothing_else() {
    for (sent, wait) in [
        (&b""[..], 0),
        (b"GET / HTT", 0),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET / HT", 0),
        (b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n", 10),
    ] {
        let (mut socket, stopping, served) = connect();
        socket.write_all(sent).await.expect("writable");
        if sent.starts_with(REQUEST) {
            reply(&mut socket).await;
        }
        tokio::task::yield_now().await;
        stopping.cancel();
        let start = Instant::now();
        if wait > 0 {
            assert!(reply(&mut socket).await.ends_with("slow"));
        }
        served.await.expect("no panic");
        assert_eq!(start.elapsed().as_secs(), wait, "{sent:?}");
    }
}
