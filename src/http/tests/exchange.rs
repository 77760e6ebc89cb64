//! An endpoint that gives tokens or keys, and who asks it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};

use crate::authorization::Authorizer;
use crate::fault::AttemptFault;
use crate::moment::Moment;
use crate::upstream::{Sent, Timeouts, UpstreamRequest};

/// It listens for as long as the test's process lives.
pub(in crate::http) struct Endpoint {
    pub(in crate::http) origin: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    /// Answers the request of each number, from 1, with a status and a body.
    pub(in crate::http) fn start(answer: impl Fn(u32) -> (&'static str, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for (number, mut socket) in (1..).zip(listener.incoming().flatten()) {
                let mut bytes = Vec::new();
                let mut piece = [0; 4096];
                while !is_whole(&bytes) {
                    let length = socket.read(&mut piece).unwrap();
                    assert_ne!(length, 0, "a request that ended early");
                    bytes.extend_from_slice(&piece[..length]);
                }
                kept.lock().unwrap().push(String::from_utf8(bytes).unwrap());
                let (status, body) = answer(number);
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                socket.write_all((head + &body).as_bytes()).unwrap();
            }
        });
        Self { origin, asked }
    }

    /// The requests so far, heads and bodies.
    pub(in crate::http) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_none_or(|length: usize| body.len() >= length)
}

/// The headers of a request that was authorised.
pub(in crate::http) async fn authorized(by: &dyn Authorizer, now: Moment) -> Result<HeaderMap, AttemptFault> {
    let mut request = UpstreamRequest {
        url: "https://provider.test/model/m/converse".to_owned(),
        headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
        body: Bytes::from_static(b"{}"),
        timeouts: Timeouts::default(),
        sent: Sent::default(),
    };
    by.authorize(&mut request, now).await?;
    Ok(request.headers)
}
