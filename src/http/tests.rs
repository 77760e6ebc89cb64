use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::upstream::{Sent, Timeouts};

pub(super) mod exchange;

/// A provider that reads one request, answers with `answer` and holds the connection until told.
async fn provider(answer: &'static [u8]) -> (String, oneshot::Receiver<String>, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/chat?key=secret", listener.local_addr().unwrap());
    let (seen, request) = oneshot::channel();
    let (close, closed) = oneshot::channel();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        seen.send(read_request(&mut socket).await).unwrap();
        socket.write_all(answer).await.unwrap();
        drop(closed.await);
    });
    (url, request, close)
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !text.ends_with(b"{}") {
        let read = socket.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "the client closed before its request was whole");
        text.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(text).unwrap().to_ascii_lowercase()
}

fn call(url: &str) -> UpstreamRequest {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("Bearer top-secret"));
    UpstreamRequest {
        url: url.to_owned(),
        headers,
        body: Bytes::from_static(b"{}"),
        timeouts: Timeouts::default(),
        sent: Sent::default(),
    }
}

async fn fault_of(call: UpstreamRequest) -> AttemptFault {
    match HttpUpstream::new().send(call).await {
        Ok(answer) => panic!("answered {}", answer.status),
        Err(fault) => fault,
    }
}

#[tokio::test]
async fn a_call_is_a_post_of_json_and_its_answer_comes_in_pieces() {
    let (url, request, _close) =
        provider(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\ncontent-length: 5\r\n\r\nhello").await;
    let upstream = HttpUpstream::new();
    let answer = upstream.send(call(&url)).await.unwrap();
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "3");
    let body: Vec<Bytes> = answer.body.map(Result::unwrap).collect().await;
    assert_eq!(body.concat(), b"hello");
    let request = request.await.unwrap();
    assert!(request.starts_with("post /v1/chat?key=secret http/1.1\r\n"), "{request}");
    for header in ["content-type: application/json", "content-length: 2", "authorization: bearer top-secret"] {
        assert!(request.contains(header), "{header} is not in {request}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (url, _request, _close) =
        provider(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    let answer = HttpUpstream::new().send(call(&url)).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
}

#[tokio::test]
async fn a_refused_connection_names_host_and_cause_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let fault = fault_of(call(&format!("http://{address}/v1/chat?key=secret"))).await;
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert!(fault.message.starts_with(&format!("{address}: cannot connect: Connection refused")), "{fault}");
    assert!(!fault.message.contains("secret"), "{fault}");
}

#[tokio::test]
async fn a_bad_origin_is_a_fault_of_the_configuration() {
    let fault = fault_of(call("not a url")).await;
    assert_eq!(fault.kind, FaultKind::Misconfigured);
    let fault = fault_of(call("ftp://127.0.0.1/")).await;
    assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
}

#[tokio::test]
async fn a_connection_closed_before_the_head_is_unavailable() {
    let (url, _request, close) = provider(b"").await;
    close.send(()).unwrap();
    let fault = fault_of(call(&url)).await;
    assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
    assert!(!fault.message.contains("secret"), "{fault}");
}

#[tokio::test]
async fn no_head_within_its_time_is_timed_out() {
    let (url, request, _close) = provider(b"").await;
    let mut call = call(&url);
    call.timeouts.first_byte = Duration::from_secs(7);
    let sent = tokio::spawn(fault_of(call));
    request.await.unwrap();
    tokio::time::pause();
    let fault = sent.await.unwrap();
    assert_eq!(fault.kind, FaultKind::TimedOut);
    assert!(fault.message.ends_with("no answer within 7s"), "{fault}");
}

#[tokio::test]
async fn a_body_cut_short_is_a_broken_stream() {
    let (url, _request, close) = provider(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    let mut answer = HttpUpstream::new().send(call(&url)).await.unwrap();
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "abc");
    close.send(()).unwrap();
    let fault = answer.body.next().await.unwrap().unwrap_err();
    assert_eq!(fault.kind, FaultKind::BrokenStream, "{fault}");
}

#[tokio::test]
async fn silence_inside_the_body_is_timed_out_after_the_idle_time() {
    let (url, _request, _close) = provider(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    let mut call = call(&url);
    call.timeouts.idle = Duration::from_secs(11);
    let mut answer = HttpUpstream::new().send(call).await.unwrap();
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "abc");
    tokio::time::pause();
    let before = Instant::now();
    let fault = answer.body.next().await.unwrap().unwrap_err();
    assert_eq!(fault.kind, FaultKind::TimedOut, "{fault}");
    assert!((11_000..11_010).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
}

#[tokio::test]
async fn dropping_the_body_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
        let mut rest = Vec::new();
        // Returns only when the client has gone away.
        socket.read_to_end(&mut rest).await.map_or(0, |read| read)
    });
    let upstream = HttpUpstream::new();
    let mut answer = upstream.send(call(&url)).await.unwrap();
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "abc");
    drop(answer);
    assert_eq!(server.await.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        for _ in 0..3 {
            read_request(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    });
    let upstream = HttpUpstream::new();
    for _ in 0..3 {
        let answer = upstream.send(call(&url)).await.unwrap();
        let body: Vec<Bytes> = answer.body.map(Result::unwrap).collect().await;
        assert_eq!(body.concat(), b"ok");
    }
    server.await.unwrap();
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (closed, told) = oneshot::channel();
    let server = tokio::spawn(async move {
        let mut closed = Some(closed);
        for _ in 0..2 {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_request(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            // Whole by now: nothing is left to read, so that the end is a plain one.
            drop(socket);
            closed.take().map(|closed| closed.send(()));
        }
    });
    let upstream = HttpUpstream::new();
    let read =
        |answer: UpstreamResponse| async { answer.body.map(Result::unwrap).collect::<Vec<Bytes>>().await.concat() };
    assert_eq!(read(upstream.send(call(&url)).await.unwrap()).await, b"ok");
    told.await.unwrap();
    // The runtime looks at its sockets at least every 61 turns.
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(read(upstream.send(call(&url)).await.unwrap()).await, b"ok");
    server.await.unwrap();
}

/// What a provider does to the second request of a connection: whether it may be sent once more without anybody being told.
#[tokio::test]
async fn only_what_was_closed_at_once_and_in_silence_was_not_looked_at() {
    for (seconds, said, unseen) in [(0, "", true), (0, "HTTP/1.1 200", false), (2, "", false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_request(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            read_request(&mut socket).await;
            socket.write_all(said.as_bytes()).await.unwrap();
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(seconds)).await;
            tokio::time::resume();
        });
        let upstream = HttpUpstream::new();
        let answer = upstream.send(call(&url)).await.unwrap();
        assert_eq!(answer.body.map(Result::unwrap).collect::<Vec<Bytes>>().await.concat(), b"ok");
        let Err(fault) = upstream.send(call(&url)).await else { panic!("no answer was given") };
        assert_eq!(fault.kind, FaultKind::Unavailable);
        assert_eq!(fault.met_closed_connection(), unseen, "after {seconds} s, {said:?}: {fault}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_nobody_uses_is_closed_without_being_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        socket.read(&mut [0; 1]).await.unwrap()
    });
    let upstream = HttpUpstream::new();
    let answer = upstream.send(call(&url)).await.unwrap();
    assert_eq!(answer.body.map(Result::unwrap).collect::<Vec<Bytes>>().await.concat(), b"ok");
    let idle_since = Instant::now();
    // From here on time goes as fast as nobody has anything to do.
    tokio::time::pause();
    assert_eq!(server.await.unwrap(), 0, "closed");
    let kept = idle_since.elapsed();
    assert!((connect::POOL_IDLE..2 * connect::POOL_IDLE).contains(&kept), "{kept:?}");
}

/// A place nobody ever gets to.
#[derive(Clone)]
struct Nowhere;

impl tower_service::Service<Uri> for Nowhere {
    type Response = ();
    type Error = std::io::Error;
    type Future = std::future::Pending<Result<(), std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::pending()
    }
}

#[tokio::test(start_paused = true)]
async fn no_connection_within_its_time_is_timed_out_and_nothing_was_sent() {
    let limit = Duration::from_secs(7);
    let url = Uri::from_static("http://example.com:81/v1?key=secret");
    let start = Instant::now();
    let mut connector = connect::ConnectTimeout { connector: Nowhere, limit };
    let cause = tower_service::Service::call(&mut connector, url.clone()).await.unwrap_err();
    assert_eq!(start.elapsed(), limit);
    let fault = no_answer(&url, &SendError::Connect(cause), limit);
    assert_eq!((fault.kind, fault.was_sent()), (FaultKind::TimedOut, false));
    assert_eq!(fault.message, "example.com:81: no connection within 7s");
}

#[test]
fn the_clients_of_threads_that_ended_are_not_kept() {
    let upstream = Arc::new(HttpUpstream::new());
    for _ in 0..3 {
        let upstream = Arc::clone(&upstream);
        let asking = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // Nobody listens there; a client is made all the same.
            let answer = runtime.block_on(upstream.send(call("http://127.0.0.1:1/v1/chat")));
            assert!(answer.is_err());
        };
        std::thread::spawn(asking).join().unwrap();
    }
    assert_eq!(upstream.clients.read().unwrap().len(), 1, "the last thread's, until somebody asks again");
}
