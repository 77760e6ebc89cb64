use std::sync::OnceLock;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::connection::{HEAD, IDLE};
use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(10)).await;
    "slow"
}

/// A connection in memory; `/` answers at once, `/slow` after ten seconds.
fn connect() -> (DuplexStream, CancellationToken, JoinHandle<()>) {
    let router = Router::new().route("/", get(|| async { "quick" })).route("/slow", get(slow));
    let service = Arc::new(HttpService { gateway: None, router, last_call: OnceLock::new() });
    let (ours, theirs) = tokio::io::duplex(4096);
    let stopping = CancellationToken::new();
    let served = tokio::spawn(connection::serve(theirs, service, ConnectionState::new(), stopping.clone()));
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
        assert!((HEAD..HEAD + Duration::from_secs(1)).contains(&lasted), "{sent:?}: {lasted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_longer() {
    let (mut socket, _stopping, _served) = connect();
    socket.write_all(REQUEST).await.expect("writable");
    reply(&mut socket).await;
    let lasted = lasts(&mut socket).await;
    assert!((IDLE..IDLE + Duration::from_secs(1)).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_half_head_after_a_reply_has_as_little_time_as_the_first() {
    let (mut socket, _stopping, _served) = connect();
    socket.write_all(REQUEST).await.expect("writable");
    reply(&mut socket).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    socket.write_all(b"GET / HT").await.expect("writable");
    let lasted = lasts(&mut socket).await;
    assert!((HEAD..HEAD + Duration::from_secs(1)).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_refused_before_it_fills_memory() {
    let (mut socket, _stopping, _served) = connect();
    let (mut reads, mut writes) = tokio::io::split(&mut socket);
    let head = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}", "y".repeat(200 << 10));
    let write = async { writes.write_all(head.as_bytes()).await.is_err() };
    let read = async {
        let mut text = Vec::new();
        let _reset = reads.read_to_end(&mut text).await;
        String::from_utf8(text).expect("text")
    };
    let (cut, text) = tokio::join!(write, read);
    assert!(cut && text.starts_with("HTTP/1.1 431"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_idle_connections_make_some_and_busy_ones_stay() {
    let mut connections = Connections::up_to(2);
    let service = Arc::new(HttpService {
        gateway: None,
        router: Router::new().route("/slow", get(slow)),
        last_call: OnceLock::new(),
    });
    let mut open = Vec::new();
    for sent in [&b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n"[..], b"GET"] {
        let room = connections.room().await;
        let (mut ours, theirs) = tokio::io::duplex(4096);
        let stopping = CancellationToken::new();
        let state = connections.add(stopping.clone());
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            connection::serve(theirs, service, state, stopping).await;
            drop(room);
        });
        ours.write_all(sent).await.expect("writable");
        open.push(ours);
    }
    tokio::time::sleep(YOUNG).await;
    let _room = connections.room().await;
    assert_eq!(lasts(&mut open[1]).await, Duration::ZERO, "closed already");
    assert!(reply(&mut open[0]).await.ends_with("slow"));
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

#[tokio::test(start_paused = true)]
async fn a_longer_delay_takes_requests_for_as_long() {
    let service = HttpService {
        gateway: None,
        router: Router::new().route("/", get(|| async { "quick" })),
        last_call: OnceLock::from(Duration::from_secs(20)),
    };
    let (mut ours, theirs) = tokio::io::duplex(4096);
    let stopping = CancellationToken::new();
    tokio::spawn(connection::serve(theirs, Arc::new(service), ConnectionState::new(), stopping.clone()));
    stopping.cancel();
    tokio::time::sleep(Duration::from_secs(19)).await;
    ours.write_all(REQUEST).await.expect("writable");
    assert!(reply(&mut ours).await.ends_with("quick"));
}
