//! A client that costs little: HTTP/1.1 with keep-alive over one socket, whole and chunked bodies, nothing else.
//! A reply that is not a whole 200 is an error, so a benchmark cannot count failures as speed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::upstream::{content_length, find, header};
use super::watch::now;

/// The bytes of a request to `path`, streamed or not. `model` is a group of the gateway's and a pace of the upstream's.
pub(crate) fn request(path: &str, model: &str, streamed: bool) -> Vec<u8> {
    let words = "The quick brown fox jumps over the lazy dog. ".repeat(14);
    let body = format!(
        r#"{{"model":"{model}","stream":{streamed},"max_tokens":64,"temperature":0.2,"messages":[{{"role":"system","content":"You answer in one short paragraph."}},{{"role":"user","content":"{words}"}}]}}"#
    );
    request_of(path, &body)
}

/// The bytes of a request with this body.
pub(crate) fn request_of(path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: */*\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// How a request went.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// From the request's first byte to the first byte of the reply's body.
    pub(crate) first: Duration,
    /// From the request's first byte to the reply's last.
    pub(crate) total: Duration,
}

/// One connection.
pub(crate) struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
    head: Vec<u8>,
    body: Vec<u8>,
    /// How a whole stream ends.
    ending: &'static [u8],
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, String> {
        let failed = |problem| format!("{address} cannot be reached: {problem}");
        let socket = TcpStream::connect(address).await.map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(64 * 1024),
            head: Vec::new(),
            body: Vec::new(),
            ending: b"data: [DONE]\n\n",
        })
    }

    /// Another API's streams end so.
    pub(crate) const fn set_ending(&mut self, ending: &'static [u8]) {
        self.ending = ending;
    }

    /// Sends a request and reads the whole reply.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Reply, String> {
        let start = now();
        self.socket.write_all(request).await.map_err(|problem| format!("the request could not be sent: {problem}"))?;
        self.read_head().await?;
        let first = match content_length(&self.head) {
            Some(length) => self.read_whole(start, length).await?,
            None => self.read_chunked(start).await?,
        };
        let total = start.elapsed();
        if !self.head.starts_with(b"HTTP/1.1 200") {
            let shown = |bytes| String::from_utf8_lossy(bytes).into_owned();
            return Err(format!("not a 200:\n{}{}", shown(&self.head), shown(&self.body)));
        }
        Ok(Reply { first, total })
    }

    /// A header of the last reply.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The body of the last reply.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    async fn read_head(&mut self) -> Result<(), String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n").map(|at| at + 4) {
                self.head.clear();
                self.head.extend(self.buffer.drain(..end));
                return Ok(());
            }
            self.fill().await?;
        }
    }

    async fn read_whole(&mut self, start: Instant, length: usize) -> Result<Duration, String> {
        if self.buffer.is_empty() && length > 0 {
            self.fill().await?;
        }
        let first = start.elapsed();
        while self.buffer.len() < length {
            self.fill().await?;
        }
        self.body.clear();
        self.body.extend(self.buffer.drain(..length));
        if self.head.starts_with(b"HTTP/1.1 200") && !self.body.ends_with(b"}") {
            return Err("a reply is not whole".to_owned());
        }
        Ok(first)
    }

    async fn read_chunked(&mut self, start: Instant) -> Result<Duration, String> {
        self.body.clear();
        let mut first = None;
        // Bytes of the buffer that are read already; they are removed when more are needed.
        let mut at = 0;
        loop {
            let Some(line) = find(&self.buffer[at..], b"\r\n") else {
                at = self.fill_behind(at).await?;
                continue;
            };
            first.get_or_insert_with(|| start.elapsed());
            let size = std::str::from_utf8(&self.buffer[at..at + line]).ok();
            let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
            let size = size.ok_or("a chunk has no size")?;
            while self.buffer.len() < at + line + 2 + size + 2 {
                at = self.fill_behind(at).await?;
            }
            let data = at + line + 2;
            self.body.extend_from_slice(&self.buffer[data..data + size]);
            at = data + size + 2;
            if size == 0 {
                break;
            }
        }
        self.buffer.drain(..at);
        if self.head.starts_with(b"HTTP/1.1 200") && !self.body.ends_with(self.ending) {
            let end = String::from_utf8_lossy(&self.body[self.body.len().saturating_sub(400)..]).into_owned();
            return Err(format!("a stream is not whole: …{end}"));
        }
        Ok(first.unwrap_or_else(|| start.elapsed()))
    }

    /// Reads more and forgets the first `read` bytes; where reading goes on.
    async fn fill_behind(&mut self, read: usize) -> Result<usize, String> {
        self.buffer.drain(..read);
        self.fill().await?;
        Ok(0)
    }

    async fn fill(&mut self) -> Result<(), String> {
        match self.socket.read_buf(&mut self.buffer).await {
            Ok(0) => Err("the connection was closed in the middle of a reply".to_owned()),
            Ok(_) => Ok(()),
            Err(problem) => Err(format!("the reply could not be read: {problem}")),
        }
    }
}
