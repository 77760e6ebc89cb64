//! One cell of the benchmark: so many clients ask one path as fast as they are answered, for a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::client::{Client, Reply, request};
use super::stats::{micros, percentile, ratio};
use super::watch::{Processes, now};

/// What is asked, and by how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Case {
    /// One client, whole replies.
    OnePlain,
    /// One client, streams.
    OneStreamed,
    /// 64 clients, whole replies.
    ManyPlain,
    /// 64 clients, streams as fast as they go.
    ManyStreamed,
    /// 64 clients, streams with a millisecond between two pieces.
    ManyPaced,
}

impl Case {
    pub(crate) const ALL: [Self; 5] =
        [Self::OnePlain, Self::OneStreamed, Self::ManyPlain, Self::ManyStreamed, Self::ManyPaced];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OnePlain => "1 at a time, whole",
            Self::OneStreamed => "1 at a time, streamed",
            Self::ManyPlain => "64 at once, whole",
            Self::ManyStreamed => "64 at once, streamed",
            Self::ManyPaced => "64 at once, streamed, 1 ms a chunk",
        }
    }

    pub(crate) const fn streamed(self) -> bool {
        !matches!(self, Self::OnePlain | Self::ManyPlain)
    }

    /// Whether there is one client.
    pub(crate) const fn alone(self) -> bool {
        self.clients() == 1
    }

    const fn clients(self) -> usize {
        match self {
            Self::OnePlain | Self::OneStreamed => 1,
            Self::ManyPlain | Self::ManyStreamed | Self::ManyPaced => 64,
        }
    }

    const fn model(self) -> &'static str {
        if matches!(self, Self::ManyPaced) { "paced" } else { "fast" }
    }
}

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// Whose CPU time counts; empty where nobody's does.
    pub(crate) processes: Processes,
}

/// What a cell came to. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// To the first byte of the body.
    pub(crate) first: f64,
    /// CPU time of the path's processes, a request.
    pub(crate) cpu: f64,
}

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

/// Runs one cell: `warm_up` uncounted, then `window`.
///
/// # Errors
/// Any request fails.
pub(crate) async fn run(path: &Path, case: Case, warm_up: Duration, window: Duration) -> Result<Cell, String> {
    run_model(path, case, case.model(), warm_up, window).await
}

/// The same, asking for another model than the case's own.
///
/// # Errors
/// Any request fails.
pub(crate) async fn run_model(
    path: &Path,
    case: Case,
    model: &str,
    warm_up: Duration,
    window: Duration,
) -> Result<Cell, String> {
    let phase = Arc::new(AtomicU8::new(WARMING));
    let bytes: Arc<[u8]> = request("/v1/chat/completions", model, case.streamed()).into();
    let mut clients = JoinSet::new();
    for _ in 0..case.clients() {
        let client = Client::connect(path.address).await?;
        clients.spawn(keep_asking(client, Arc::clone(&bytes), Arc::clone(&phase)));
    }
    tokio::time::sleep(warm_up).await;
    let (start, cpu) = (now(), path.processes.cpu());
    phase.store(COUNTING, Ordering::Release);
    tokio::time::sleep(window).await;
    phase.store(OVER, Ordering::Release);
    let (took, cpu) = (start.elapsed(), path.processes.cpu().saturating_sub(cpu));
    let mut replies = Vec::new();
    while let Some(done) = clients.join_next().await {
        let done = done.map_err(|problem| problem.to_string())?;
        replies.extend(done.map_err(|problem| format!("{}, {}: {problem}", path.name, case.name()))?);
    }
    if replies.is_empty() {
        return Err(format!("{}, {}: no request ended in {window:?}", path.name, case.name()));
    }
    let of = |time: fn(&Reply) -> Duration| replies.iter().map(|reply| micros(time(reply))).collect::<Vec<f64>>();
    let mut totals = of(|reply| reply.total);
    Ok(Cell {
        per_second: ratio(replies.len(), took.as_secs_f64()),
        p50: percentile(&mut totals, 50),
        p99: percentile(&mut totals, 99),
        first: percentile(&mut of(|reply| reply.first), 50),
        cpu: micros(cpu) / ratio(replies.len(), 1.0),
    })
}

/// Asks until it is over; the replies that came while it counted.
async fn keep_asking(mut client: Client, bytes: Arc<[u8]>, phase: Arc<AtomicU8>) -> Result<Vec<Reply>, String> {
    let mut replies = Vec::with_capacity(16 * 1024);
    loop {
        let reply = client.ask(&bytes).await?;
        match phase.load(Ordering::Acquire) {
            WARMING => {}
            COUNTING => replies.push(reply),
            _ => return Ok(replies),
        }
    }
}
