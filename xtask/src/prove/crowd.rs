//! Clients that never rest and forgive nothing: over real sockets, half of them streaming, each reply checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::bench::client::{Client, request};
use crate::bench::micros;
use crate::bench::upstream::{CHUNKS, WORD, WORDS, find};

/// Clients; every other one streams.
pub(super) const CLIENTS: usize = 8;
/// The window of replies that are checked but not timed.
pub(super) const UNTIMED: usize = 0;

/// What the one who swaps tells the clients.
pub(super) struct Word {
    /// Even: nothing is being changed and the decider is `deciders[(phase / 2) % 2]`; odd: either may decide.
    pub(super) phase: AtomicU64,
    /// Where times go.
    pub(super) window: AtomicUsize,
    pub(super) over: AtomicBool,
    /// `x-witgate-policy` of the two.
    pub(super) deciders: [String; 2],
}

/// What one client saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Whole, right replies.
    pub(super) whole: u64,
    /// Calls to providers, as the gateway told them.
    pub(super) attempts: u64,
    /// Replies by decider.
    pub(super) by: [u64; 2],
    /// Times the decider was another than of the reply before.
    pub(super) changes: u64,
    /// What was wrong.
    pub(super) failures: Vec<String>,
    /// Window and microseconds of every timed reply.
    pub(super) times: Vec<(usize, f64)>,
}

/// Runs the crowd until it is told that it is over. Blocks.
pub(super) fn run(address: SocketAddr, word: &Arc<Word>) -> Result<Vec<Seen>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|problem| problem.to_string())?;
    runtime.block_on(async {
        let clients: Vec<_> =
            (0..CLIENTS).map(|index| tokio::spawn(one(address, index % 2 == 1, Arc::clone(word)))).collect();
        let mut seen = Vec::new();
        for client in clients {
            seen.push(client.await.map_err(|problem| problem.to_string())?);
        }
        Ok(seen)
    })
}

async fn one(address: SocketAddr, streamed: bool, word: Arc<Word>) -> Seen {
    let mut seen = Seen::default();
    let asked = request("/v1/chat/completions", "paced", streamed);
    let wanted = if streamed { CHUNKS as usize } else { WORDS };
    let mut client = None;
    let mut last = None;
    while !word.over.load(Ordering::Acquire) {
        let (phase, window) = (word.phase.load(Ordering::Acquire), word.window.load(Ordering::Acquire));
        let answer = ask(address, &mut client, &asked, wanted, &word).await;
        let stable = phase % 2 == 0 && word.phase.load(Ordering::Acquire) == phase;
        match answer {
            Ok(answer) => {
                seen.whole += 1;
                seen.attempts += answer.attempts;
                seen.by[answer.decider] += 1;
                seen.changes += u64::from(last.is_some_and(|last| last != answer.decider));
                last = Some(answer.decider);
                if stable && answer.decider as u64 != (phase / 2) % 2 {
                    seen.failures.push(format!("decided by {} in phase {phase}", word.deciders[answer.decider]));
                }
                if window != UNTIMED && word.window.load(Ordering::Acquire) == window {
                    seen.times.push((window, answer.micros));
                }
            }
            Err(problem) => {
                seen.failures.push(problem);
                client = None;
            }
        }
    }
    seen
}

struct UpstreamResponse {
    decider: usize,
    attempts: u64,
    micros: f64,
}

async fn ask(
    address: SocketAddr,
    client: &mut Option<Client>,
    asked: &[u8],
    wanted: usize,
    word: &Word,
) -> Result<UpstreamResponse, String> {
    let client = match client {
        Some(client) => client,
        None => client.insert(Client::connect(address).await?),
    };
    let reply = client.ask(asked).await?;
    let words = words(client.body());
    if words != wanted {
        return Err(format!("{words} of {wanted} words arrived"));
    }
    let policy = client.header("x-witgate-policy").unwrap_or("nobody");
    let decider = word.deciders.iter().position(|decider| decider == policy);
    let decider = decider.ok_or_else(|| format!("decided by {policy}"))?;
    let attempts = client.header("x-witgate-attempts").and_then(|attempts| attempts.parse().ok());
    let attempts = attempts.ok_or("x-witgate-attempts is not told")?;
    Ok(UpstreamResponse { decider, attempts, micros: micros(reply.total) })
}

/// How often the upstream's word stands in a body.
fn words(mut body: &[u8]) -> usize {
    let mut count = 0;
    while let Some(at) = find(body, WORD.as_bytes()) {
        count += 1;
        body = &body[at + WORD.len()..];
    }
    count
}
