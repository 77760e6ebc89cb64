//! `cargo xtask prove ledger`: a gateway is killed under load and started again, several times. What its ledger and its budgets
//! say is then held against what clients were told.
//!
//! Every client keeps its connection's one request at a time and adds up the cost of each reply it has read to its end. A killed
//! process may lose the requests under way and what was not written within one flush; it may count nothing twice. Each kill is
//! one more such loss, and no more. Last, a gateway starts while its database is away.

mod away;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use witgate::store::{By, Period, Place};

use super::postgres::Postgres;
use crate::bench::watch::now;
use crate::say;

const KEY: &str = "sk-a-key-of-the-proof";
const KILLS: usize = 3;
const CLIENTS: usize = 8;
/// How long each gateway is under load before it is killed.
const LOAD: Duration = Duration::from_millis(700);
/// As long as a killed process may lose what was told already; with a server, also a batch that is under way to it, on a machine
/// that eight clients, the gateway and the server keep busy.
const FLUSH: Duration = Duration::from_millis(50);
const FLUSH_TO_SERVER: Duration = Duration::from_millis(250);

/// A gateway as a process of its own.
pub(super) struct Gateway {
    child: Child,
    pub(super) address: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

impl Gateway {
    /// With `config.yaml` of this folder, which is its folder of state too.
    pub(super) fn start(folder: &Path) -> Result<Self, String> {
        let binary = std::env::current_exe().map_err(|problem| problem.to_string())?.with_file_name("witgate");
        let mut child = Command::new(&binary)
            .args(["serve", "--port", "0", "--log", "error", "--config"])
            .arg(folder.join("config.yaml"))
            .env("XDG_STATE_HOME", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|problem| format!("{}: {problem}\nhint: cargo build", binary.display()))?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("the gateway has no standard output")?);
        let mut line = String::new();
        stdout.read_line(&mut line).map_err(|problem| problem.to_string())?;
        let address = line.split_once("listening on http://").ok_or("the gateway did not start")?.1;
        let address = address.trim().parse().map_err(|problem| format!("{line}: {problem}"))?;
        Ok(Self { child, address, _stdout: stdout })
    }

    /// Ends it at once: `kill -9`.
    pub(super) fn kill(mut self) -> Result<(), String> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(|problem| problem.to_string())
    }

    /// Has it stop by itself.
    pub(super) fn stop(mut self) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).ok_or("no process")?;
        let told = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        told.map_err(|problem| problem.to_string())?;
        self.child.wait().map(drop).map_err(|problem| problem.to_string())
    }

    /// What the gateway says its key has spent, in billionths of a dollar.
    fn spend(&self) -> Result<u64, String> {
        let request = format!(
            "GET /key/info HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\r\n"
        );
        let (_, body) = exchange(self.address, &request).ok_or("no answer about the key")?;
        let found = body.split_once("\"spend\":").and_then(|(_, rest)| rest.split(',').next()?.parse::<f64>().ok());
        found.map(nano).ok_or_else(|| format!("no spend in {body}"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few dollars in billionths")]
fn nano(usd: f64) -> u64 {
    (usd * 1e9).round() as u64
}

/// One request over a connection of its own: its head and its body, where a whole reply came.
pub(super) fn exchange(address: SocketAddr, request: &str) -> Option<(String, String)> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    socket.write_all(request.as_bytes()).ok()?;
    let mut reply = Vec::new();
    socket.read_to_end(&mut reply).ok()?;
    let text = String::from_utf8(reply).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

/// What the clients were told.
#[derive(Default)]
struct Told {
    /// When each whole reply came, and what it cost.
    replies: Mutex<Vec<(Instant, u64)>>,
    /// Requests that were sent, whatever became of them.
    sent: AtomicU64,
    stop: AtomicBool,
}

fn client(address: SocketAddr, told: &Told) {
    let body = r#"{"model":"g","max_tokens":20,"messages":[{"role":"user","content":"How much is it?"}]}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    while !told.stop.load(Ordering::Acquire) {
        told.sent.fetch_add(1, Ordering::Relaxed);
        let cost = exchange(address, &request).and_then(|(head, _)| {
            let line = head.lines().find_map(|line| line.strip_prefix("x-litellm-response-cost: "))?;
            line.trim().parse::<f64>().ok()
        });
        let Some(cost) = cost else { continue };
        told.replies.lock().unwrap_or_else(PoisonError::into_inner).push((now(), nano(cost)));
    }
}

/// What one life of the gateway told its clients: all of it, and what came in its last flush; requests that were sent.
struct Life {
    told: u64,
    late: u64,
    replies: usize,
    sent: u64,
    dearest: u64,
}

/// Loads a gateway and kills it.
fn live(gateway: Gateway, flush: Duration) -> Result<Life, String> {
    let told = Arc::new(Told::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (told, address) = (Arc::clone(&told), gateway.address);
            std::thread::spawn(move || client(address, &told))
        })
        .collect();
    std::thread::sleep(LOAD);
    let ended = now();
    gateway.kill()?;
    told.stop.store(true, Ordering::Release);
    for client in clients {
        client.join().map_err(|_| "a client panicked")?;
    }
    let replies = told.replies.lock().unwrap_or_else(PoisonError::into_inner);
    let late = replies.iter().filter(|(at, _)| *at + flush >= ended).map(|(_, cost)| cost);
    let life = Life {
        told: replies.iter().map(|(_, cost)| cost).sum(),
        late: late.sum(),
        replies: replies.len(),
        sent: told.sent.load(Ordering::Relaxed),
        dearest: replies.iter().map(|(_, cost)| *cost).max().unwrap_or_default(),
    };
    drop(replies);
    Ok(life)
}

/// Runs it, over a file and over a Postgres server.
pub(super) fn prove() -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|problem| problem.to_string())?;
    let file = folder.path().join("ledger.db");
    say("the ledger in a file");
    let of_file = over(folder.path(), &Place::File(file.clone()), "", &format!("{{file: {}}}", file.display()));
    let Some(mut server) = Postgres::start()? else {
        say("SKIPPED: no Postgres server is installed, so that the ledger there is not tried");
        return of_file;
    };
    say("the ledger in Postgres");
    let folder = tempfile::tempdir().map_err(|problem| problem.to_string())?;
    let url = server.url();
    let database = format!(", database_url: \"{url}\"");
    let of_server = over(folder.path(), &Place::Server(url.into()), &database, "{}");
    let away = away::prove(&mut server);
    let failures: Vec<String> = [of_file, of_server, away].into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// Kills and starts a gateway that keeps its ledger there. `general` and `ledger` are what its configuration says of it.
fn over(folder: &Path, place: &Place, general: &str, ledger: &str) -> Result<(), String> {
    let config = format!(
        "model_list: [{{model_name: g, litellm_params: {{model: simulated/m, input_cost_per_token: 0.000002, output_cost_per_token: 0.000008, simulated: {{ttft_ms: 3}}}}}}]\n\
         general_settings: {{master_key: sk-operator-of-the-proof{general}}}\n\
         witgate:\n  ledger: {ledger}\n  keys: [{{key: {KEY}, key_alias: proof, max_budget: 1000}}]\n"
    );
    std::fs::write(folder.join("config.yaml"), config).map_err(|problem| problem.to_string())?;
    let flush = if matches!(place, Place::Server(_)) { FLUSH_TO_SERVER } else { FLUSH };
    let began = now();
    let (mut told, mut may_lack, mut may_exceed) = (0, 0, 0);
    let (mut replies, mut sent, mut failures) = (0, 0, Vec::new());
    say("start  told to clients  in the ledger  the budget says  may lack  may exceed");
    for start in 1..=KILLS + 1 {
        let gateway = Gateway::start(folder)?;
        let kept = kept(place)?;
        let budget = gateway.spend()?;
        say(&format!("{start:>5}  {told:>15}  {kept:>13}  {budget:>15}  {may_lack:>8}  {may_exceed:>10}"));
        if budget != kept {
            failures.push(format!("start {start}: the budget says {budget} and the ledger {kept}"));
        }
        if kept + may_lack < told {
            failures.push(format!("start {start}: {} are lost, and {may_lack} may be", told - kept));
        }
        if kept > told + may_exceed {
            failures.push(format!("start {start}: {} too much, and {may_exceed} may be", kept - told));
        }
        if start > KILLS {
            gateway.stop()?;
            break;
        }
        let life = live(gateway, flush)?;
        let under_way = life.dearest * CLIENTS as u64;
        told += life.told;
        // What was told in the last flush may not be written; what was written may not have been told to the end.
        may_lack += life.late + under_way;
        may_exceed += under_way;
        replies += life.replies;
        sent += life.sent;
    }
    say(&format!("{replies} whole replies of {sent} requests, {KILLS} kills, {:.1} s", began.elapsed().as_secs_f64()));
    if replies < 100 {
        failures.push(format!("{replies} replies are no load"));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// What the ledger has, in billionths of a dollar.
fn kept(place: &Place) -> Result<u64, String> {
    let sums = place.read()?.spend(By::Key, &Period::default())?;
    Ok(sums.iter().map(|sum| sum.cost_nano_usd.0).sum())
}
