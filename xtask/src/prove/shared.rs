//! Limits over real sockets, in windows of six seconds: one gateway alone; two gateways that share a Redis server; and two whose
//! server is killed in the middle and started again; last a budget that two gateways share. The first three at once, for each of them mostly waits.

mod budget;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::limits::{figure, sizes};
use super::redis::Redis;
use crate::bench::client::Client;
use crate::bench::watch::now;
use crate::say;

/// Tokens in a window.
const LIMIT: u64 = 30_000;
const WINDOW: Duration = Duration::from_secs(6);
/// Output tokens of every reply, which the provider counts on arrival, and what a chat takes beside its words.
const BESIDE: u64 = 100 + 6;
const REPLY: Duration = Duration::from_millis(100);
/// Tokens of each case: five windows.
const TOKENS: u64 = 150_000;
/// When the server is killed, and how long it is gone.
const KILLED: Duration = Duration::from_secs(7);
const GONE: Duration = Duration::from_secs(4);
/// Less of it used means that something is broken.
const LEAST: f64 = 0.55;

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Outcome {
    served: usize,
    failures: Vec<String>,
    refused: u64,
    share: f64,
}

/// Runs the three cases and prints the table.
///
/// # Errors
/// Requests that fail, refusals by the provider while the limit is shared, or far too little use of it.
pub(super) fn prove(root: &Path) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|problem| problem.to_string())?;
    let redis = Redis::is_installed();
    if !redis {
        say("SKIPPED: no redis-server is installed, so that gateways which share limits are not tried");
    }
    let began = now();
    let cases: [(&str, usize, bool); 3] =
        [("one gateway", 1, false), ("two gateways", 2, false), ("two, Redis killed and back", 2, true)];
    let outcomes = runtime.block_on(async {
        let running = cases.iter().filter(|case| redis || case.1 == 1).map(|(name, gateways, killed)| {
            let (root, gateways, killed) = (root.to_owned(), *gateways, *killed);
            (*name, killed, tokio::spawn(async move { run(&root, gateways, killed).await }))
        });
        let mut outcomes = Vec::new();
        for (name, killed, outcome) in running.collect::<Vec<_>>() {
            outcomes.push((name, killed, outcome.await.map_err(|problem| problem.to_string())??));
        }
        Ok::<_, String>(outcomes)
    })?;
    say(&format!("{:<30} {:>7} {:>7} {:>6} {:>6}", "case, over real sockets", "served", "failed", "429s", "share"));
    let mut wrong = Vec::new();
    for (name, killed, Outcome { served, failures, refused, share }) in outcomes {
        say(&format!("{name:<30} {served:>7} {:>7} {refused:>6} {share:>6.3}", failures.len()));
        wrong.extend(failures.into_iter().map(|failure| format!("{name}: {failure}")));
        if refused > 0 && !killed {
            wrong.push(format!("{name}: the provider refused {refused} requests"));
        }
        if share < LEAST {
            wrong.push(format!("{name}: a share of {share:.3} of the limit"));
        }
    }
    if redis && let Err(why) = runtime.block_on(budget::prove(root)) {
        wrong.push(why);
    }
    say(&format!("in {:.0} s", began.elapsed().as_secs_f64()));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

async fn run(root: &Path, count: usize, killed: bool) -> Result<Outcome, String> {
    let folder = tempfile::tempdir().map_err(|problem| problem.to_string())?;
    let binary = root.join("target/debug/witgate");
    let (provider, at) = provider(&binary, &folder)?;
    let mut redis = if count > 1 { Some(Redis::start(folder.path())?) } else { None };
    let port = redis.as_ref().map(Redis::port);
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, configuration(at, port)).map_err(|problem| problem.to_string())?;
    let gateways = (0..count).map(|number| gateway(&binary, &folder, &config, number));
    let gateways = gateways.collect::<Result<Vec<_>, _>>()?;
    let began = now();
    let sizes = sizes(TOKENS);
    let tokens: u64 = sizes.iter().map(|size| size + BESIDE).sum();
    let clients = sizes.into_iter().enumerate().map(|(number, size)| {
        let address = gateways[number % gateways.len()].1;
        tokio::spawn(async move { ask(address, size).await.map(|attempts| (attempts, now())) })
    });
    let clients: Vec<_> = clients.collect();
    if let Some(redis) = redis.as_mut().filter(|_| killed) {
        tokio::time::sleep(KILLED).await;
        redis.kill();
        tokio::time::sleep(GONE).await;
        redis.begin()?;
    }
    let (mut served, mut refused, mut last, mut failures) = (0, 0, began, Vec::new());
    for client in clients {
        match client.await.map_err(|problem| problem.to_string())? {
            Ok((attempts, ended)) => {
                served += 1;
                refused += attempts - 1;
                last = Instant::max(last, ended);
            }
            Err(failure) => failures.push(failure),
        }
    }
    drop((gateways, provider, redis));
    let last = (last - began).saturating_sub(REPLY).as_secs_f64();
    let share = figure(tokens) / (figure(LIMIT) * (last / WINDOW.as_secs_f64() + 1.0));
    Ok(Outcome { served, failures, refused, share })
}

/// One request to its end; how many attempts it took.
async fn ask(address: SocketAddr, size: u64) -> Result<u64, String> {
    let words = " word".repeat(usize::try_from(size).unwrap_or_default());
    let body = format!(r#"{{"model": "g", "messages": [{{"role": "user", "content": "{words}"}}]}}"#);
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length";
    let mut client = Client::connect(address).await?;
    client.ask(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let attempts = client.header("x-witgate-attempts").and_then(|attempts| attempts.parse().ok());
    attempts.ok_or_else(|| "x-witgate-attempts is not told".to_owned())
}

fn configuration(provider: SocketAddr, redis: Option<u16>) -> String {
    let redis = redis.map_or_else(String::new, |port| format!(", redis_host: 127.0.0.1, redis_port: {port}"));
    format!(
        "model_list:\n- {{model_name: g, litellm_params: {{model: openai/gpt-4o, api_base: \"http://{provider}/v1\", api_key: sk-prove, tpm: {LIMIT}}}}}\n\
         router_settings: {{token_usage_window: {}{redis}}}\n",
        WINDOW.as_secs()
    )
}

fn provider(binary: &Path, folder: &TempDir) -> Result<(Process, SocketAddr), String> {
    let mut command = Command::new(binary);
    let ttft = REPLY.as_millis().to_string();
    command.args(["simulate-provider", "--port", "0", "--ttft-sigma", "0", "--tokens-per-second", "0"]);
    command.args(["--ttft-ms", &ttft, "--output-tokens", "100", "--tpm", &LIMIT.to_string()]);
    command.args(["--window-seconds", &WINDOW.as_secs().to_string()]);
    listening(command, &folder.path().join("provider.log"))
}

fn gateway(binary: &Path, folder: &TempDir, config: &Path, number: usize) -> Result<(Process, SocketAddr), String> {
    let own = |name: &str| folder.path().join(format!("{name}-{number}"));
    let policies = folder.path().join("policies");
    std::fs::create_dir_all(&policies).map_err(|problem| problem.to_string())?;
    let mut command = Command::new(binary);
    command.args(["serve", "--port", "0", "--log", "warn", "--config"]).arg(config).arg("--policies").arg(policies);
    command.arg("--cache").arg(own("cache")).env("XDG_STATE_HOME", own("state"));
    listening(command, &own("gateway.log"))
}

/// Starts what tells in its first line where it listens.
fn listening(mut command: Command, log: &Path) -> Result<(Process, SocketAddr), String> {
    let stderr = File::create(log).map_err(|problem| format!("{}: {problem}", log.display()))?;
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn();
    let mut process = Process(child.map_err(|problem| format!("{}: {problem}", command.get_program().display()))?);
    let mut line = String::new();
    if let Some(stdout) = process.0.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let _read = stdout.read_line(&mut line);
        // What it says later must not fill a pipe.
        std::thread::spawn(move || stdout.lines().for_each(drop));
    }
    let address = line.split_once("listening on http://").and_then(|(_, address)| address.trim().parse().ok());
    address
        .map(|address| (process, address))
        .ok_or_else(|| format!("a process did not start:\n{}", std::fs::read_to_string(log).unwrap_or_default()))
}
