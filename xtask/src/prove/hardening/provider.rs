//! A provider that misbehaves in the way its model's name says.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Its thread lives as long as the process.
pub(super) struct Provider {
    pub(super) address: SocketAddr,
    /// Requests of the model `failing` that are answered with a 503 before it hangs.
    pub(super) failures: Arc<AtomicUsize>,
}

impl Provider {
    pub(super) fn start() -> Result<Self, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|problem| problem.to_string())?;
        let address = listener.local_addr().map_err(|problem| problem.to_string())?;
        let failures = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&failures);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let left = Arc::clone(&left);
                thread::spawn(move || serve(&socket, &left));
            }
        });
        Ok(Self { address, failures })
    }
}

/// Answers one connection's requests until either side closes it.
fn serve(socket: &TcpStream, failures: &AtomicUsize) -> Option<()> {
    let _slower = socket.set_nodelay(true);
    let (mut reads, mut writes) = (BufReader::new(socket), socket);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if reads.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reads.read_exact(&mut body).ok()?;
        let body = String::from_utf8_lossy(&body);
        let model = body.split_once(r#""model":""#)?.1.split('"').next()?;
        match model {
            "failing" if failures.load(Ordering::Relaxed) > 0 => {
                failures.fetch_sub(1, Ordering::Relaxed);
                writes.write_all(b"HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n").ok()?;
            }
            "failing" => thread::sleep(Duration::from_secs(3600)),
            "pings" => pings(writes)?,
            "large" => whole(writes, &reply(&"word ".repeat(4 << 20), 3))?,
            "values" => whole(writes, &values(30 << 20))?,
            "absurd" => whole(writes, &reply("Hi", u64::MAX))?,
            "stream" => stream(writes)?,
            "closing" => {
                whole(writes, &reply("Hi", 3))?;
                // Not announced: the gateway believes that the connection can be used again.
                thread::sleep(Duration::from_micros(200));
                return None;
            }
            _ => whole(writes, &reply("Hi", 3))?,
        }
    }
}

fn whole(mut socket: &TcpStream, body: &str) -> Option<()> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(head.as_bytes()).ok()?;
    socket.write_all(body.as_bytes()).ok()
}

fn begin_stream(mut socket: &TcpStream) -> Option<()> {
    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n").ok()
}

/// Comments and roles without end, and never a word.
fn pings(mut socket: &TcpStream) -> Option<()> {
    begin_stream(socket)?;
    let role = r#"data: {"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant"}}]}"#;
    loop {
        socket.write_all(format!(": {}\n\n{role}\n\n", "ping ".repeat(200)).as_bytes()).ok()?;
        thread::sleep(Duration::from_micros(300));
    }
}

fn stream(mut socket: &TcpStream) -> Option<()> {
    begin_stream(socket)?;
    for _ in 0..20 {
        let chunk = r#"data: {"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"word "}}]}"#;
        socket.write_all(format!("{chunk}\n\n").as_bytes()).ok()?;
        thread::sleep(Duration::from_millis(1));
    }
    socket.write_all(b"data: [DONE]\n\n").ok()?;
    None
}

fn reply(text: &str, output: u64) -> String {
    format!(
        r#"{{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":9,"completion_tokens":{output},"total_tokens":12}}}}"#
    )
}

/// A reply of so many bytes, nearly all of them short values that nobody asked for.
fn values(bytes: usize) -> String {
    let mut text = r#"{"id":"1","object":"chat.completion","model":"m","x":["#.to_owned();
    for _ in 0..bytes / 2 {
        text.push_str("0,");
    }
    // Writing to a string cannot fail.
    let _ = write!(text, r#"0],"choices":[]}}"#);
    text
}
