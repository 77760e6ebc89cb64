//! The provider every path calls: HTTP/1.1 with keep-alive, fixed replies in OpenAI's shape, on a thread of its
//! own, and as cheap as it can be, so that what is measured is what stands before it.
//!
//! A request with `"stream":true` gets [`CHUNKS`] pieces of content, each in a write of its own. Where the body
//! names the model `paced`, a millisecond passes before every piece, as tokens come from a real provider.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Pieces of content in a streamed reply.
pub(crate) const CHUNKS: u32 = 32;
/// The word each piece holds, so that a reader can count them; it stands nowhere else in a reply.
pub(crate) const WORD: &str = "zap";
/// Words in a whole reply, so that its body is about 1 KB.
pub(crate) const WORDS: usize = 253;
/// Between two pieces of a paced stream.
const PACE: Duration = Duration::from_millis(1);

/// A provider that runs until the process ends.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    served: Arc<AtomicU64>,
}

impl Upstream {
    /// Starts the thread and listens on a free port.
    pub(crate) fn start() -> Result<Self, String> {
        let failed = |problem: io::Error| format!("the upstream could not start: {problem}");
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let served = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&served);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        std::thread::Builder::new()
            .name("upstream".to_owned())
            .spawn(move || runtime.block_on(accept(listener, counter)))
            .map_err(failed)?;
        Ok(Self { address, served })
    }

    /// Requests it has read so far.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Acquire)
    }
}

async fn accept(listener: std::net::TcpListener, served: Arc<AtomicU64>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let replies = Arc::new(Replies::new());
    while let Ok((socket, _)) = listener.accept().await {
        let (replies, served) = (Arc::clone(&replies), Arc::clone(&served));
        tokio::spawn(async move {
            // A client that breaks off is its own measurer's problem.
            let _ = serve(socket, &replies, &served).await;
        });
    }
}

/// The answers, as they go over the wire.
struct Replies {
    whole: Vec<u8>,
    pieces: Vec<Vec<u8>>,
}

impl Replies {
    fn new() -> Self {
        let content = WORD.repeat(WORDS);
        let body = format!(
            r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench-model","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}"}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":150,"completion_tokens":32,"total_tokens":182}}}}"#
        );
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        let whole = format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let choices = |content: &str, end: &str| {
            format!(r#"[{{"index":0,"delta":{{{content}}},"logprobs":null,"finish_reason":{end}}}]"#)
        };
        let first = choices(&format!(r#""role":"assistant","content":"{WORD}""#), "null");
        let next = choices(&format!(r#""content":"{WORD}""#), "null");
        let mut pieces = vec![format!("{head}{}", chunk(&event(&first, "null"))).into_bytes()];
        pieces.extend((1..CHUNKS).map(|_| chunk(&event(&next, "null")).into_bytes()));
        let usage = r#"{"prompt_tokens":150,"completion_tokens":32,"total_tokens":182}"#;
        let ending = event(&choices("", r#""stop""#), "null") + &event("[]", usage) + "data: [DONE]\n\n";
        pieces.push((chunk(&ending) + "0\r\n\r\n").into_bytes());
        Self { whole, pieces }
    }
}

fn event(choices: &str, usage: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench-model\",\"choices\":{choices},\"usage\":{usage}}}\n\n"
    )
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

async fn serve(mut socket: TcpStream, replies: &Replies, served: &AtomicU64) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let Some((head, length)) = read_request(&mut socket, &mut buffer).await? else { return Ok(()) };
        let request = &buffer[head..head + length];
        let paced = contains(request, br#""model":"paced""#);
        let streamed = contains(request, br#""stream":true"#);
        buffer.drain(..head + length);
        served.fetch_add(1, Ordering::AcqRel);
        if !streamed {
            if paced {
                tokio::time::sleep(PACE).await;
            }
            socket.write_all(&replies.whole).await?;
            continue;
        }
        for piece in &replies.pieces {
            if paced {
                tokio::time::sleep(PACE).await;
            }
            socket.write_all(piece).await?;
            // Others get their turn between two pieces, as they would from a provider with many streams.
            tokio::task::yield_now().await;
        }
    }
}

/// Reads one request: bytes of its head and of its body, both in the buffer. `None` at the end.
async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<(usize, usize)>> {
    loop {
        if let Some(head) = find(buffer, b"\r\n\r\n").map(|at| at + 4) {
            let length = content_length(&buffer[..head]).unwrap_or(0);
            while buffer.len() < head + length {
                if socket.read_buf(buffer).await? == 0 {
                    return Ok(None);
                }
            }
            return Ok(Some((head, length)));
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// The announced length of a body.
pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    header(head, "content-length")?.parse().ok()
}

/// A header's value in a head.
pub(crate) fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let line = head.split(|byte| *byte == b'\n').find(|line| {
        line.len() > name.len() && line[name.len()] == b':' && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    })?;
    std::str::from_utf8(&line[name.len() + 1..]).ok().map(str::trim)
}

/// Where `needle` begins.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first).map(|at| from + at) {
        if bytes[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    find(bytes, needle).is_some()
}
