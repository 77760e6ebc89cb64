//! `cargo xtask prove replay`: a running gateway decides many requests, every decision is kept, and all of them come out the same
//! when they are repeated without it. The same load without keeping stands beside it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use witgate::decisions::run_files;
use witgate::replay::{Options, replay};

use crate::bench::client::{Client, request};
use crate::bench::watch::now;
use crate::say;

/// Clients at once.
const CLIENTS: usize = 16;
/// Decisions of a run.
const RUN: usize = 1000;
/// Groups, each with a policy of its own: one that learns, one that draws, and one that saves nothing and reads many columns.
const GROUPS: [(&str, &str); 3] = [("learns", "latency-based"), ("draws", "simple-shuffle"), ("reads", "tpm-aware")];

/// Proves it, or says what is wrong.
pub(super) fn prove(root: &Path, decisions: usize) -> Result<(), String> {
    let place = tempfile::tempdir().map_err(|problem| format!("no folder to work in: {problem}"))?;
    let folder = place.path();
    let without = load(folder, None, decisions)?;
    let runs = folder.join("runs");
    let with = load(folder, Some(&runs), decisions)?;
    let files = run_files(&runs).map_err(|problem| problem.to_string())?;
    let bytes: u64 = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|about| about.len()).sum();
    let start = now();
    let report = replay(&runs, &Options { policies: root.join("policies"), ..Options::default() });
    let took = start.elapsed();
    say(&report.to_string());
    #[expect(clippy::cast_precision_loss, reason = "counts of requests and bytes")]
    let per = |time: Duration| decisions as f64 / time.as_secs_f64();
    say(&format!(
        "{decisions} requests by {CLIENTS} clients: {:.0}/s with every decision kept, {:.0}/s with none; {} runs, {} KiB, {} bytes a \
         decision; repeated in {:.1} s",
        per(with),
        per(without),
        files.len(),
        bytes >> 10,
        bytes / decisions as u64,
        took.as_secs_f64()
    ));
    let cut = report.runs.iter().filter(|run| run.early.as_deref().is_some_and(|why| why.contains("faster"))).count();
    let other = report.runs.iter().map(|run| run.other_differences).sum::<usize>();
    let claims = [
        (cut == 0, "no run was given up"),
        (report.decisions() >= decisions, "every decision is in a run"),
        (report.exit_code() == 0 && report.identical() == report.decisions() && other == 0, "all come out the same"),
    ];
    match claims.iter().find(|(holds, _)| !holds) {
        Some((_, claim)) => Err(format!("not true: {claim}")),
        None => Ok(()),
    }
}

/// So many requests to a gateway of their own; how long they took.
fn load(folder: &Path, runs: Option<&PathBuf>, requests: usize) -> Result<Duration, String> {
    let gateway = Gateway::start(folder, runs)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|problem| problem.to_string())?;
    // The first of each group by itself: a run begins with it.
    runtime.block_on(async {
        for index in 0..GROUPS.len() {
            one(gateway.address, index, Arc::new(AtomicUsize::new(1))).await?;
        }
        Ok::<_, String>(())
    })?;
    let start = now();
    runtime.block_on(async {
        let left = Arc::new(AtomicUsize::new(requests));
        let clients: Vec<_> =
            (0..CLIENTS).map(|index| tokio::spawn(one(gateway.address, index, Arc::clone(&left)))).collect();
        for client in clients {
            client.await.map_err(|problem| problem.to_string())??;
        }
        Ok::<_, String>(())
    })?;
    let took = start.elapsed();
    gateway.stop()?;
    Ok(took)
}

async fn one(address: SocketAddr, index: usize, left: Arc<AtomicUsize>) -> Result<(), String> {
    let (group, _) = GROUPS[index % GROUPS.len()];
    let asked = request("/v1/chat/completions", group, index % 2 == 1);
    let mut client = Client::connect(address).await?;
    while left.try_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok() {
        client.ask(&asked).await?;
    }
    Ok(())
}

/// The built gateway, ended cleanly or with the proof.
struct Gateway {
    child: Child,
    address: SocketAddr,
}

impl Gateway {
    fn start(folder: &Path, runs: Option<&PathBuf>) -> Result<Self, String> {
        let binary = std::env::current_exe().map_err(|problem| problem.to_string())?.with_file_name("witgate");
        let config = folder.join("config.yaml");
        fs::write(&config, configuration(runs)).map_err(|problem| problem.to_string())?;
        let mut child = Command::new(&binary)
            .args(["serve", "--port", "0", "--seed", "1", "--log", "error", "--config"])
            .arg(&config)
            .arg("--policies")
            .arg(folder.join("policies"))
            .arg("--cache")
            .arg(folder.join("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|problem| format!("{}: {problem}\nhint: cargo build", binary.display()))?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("the gateway has no standard output")?);
        let mut line = String::new();
        stdout.read_line(&mut line).map_err(|problem| problem.to_string())?;
        let address = line.rsplit("http://").next().and_then(|address| address.trim().parse().ok());
        // The rest of the greeting, so that nothing breaks for want of a reader.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let mut gateway = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        gateway.address = address.ok_or_else(|| format!("the gateway did not start: {line}"))?;
        Ok(gateway)
    }

    /// A clean stop writes every run to its end.
    fn stop(mut self) -> Result<(), String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(|problem| problem.to_string())?;
        let ended = self.child.wait().map_err(|problem| problem.to_string())?;
        if ended.success() { Ok(()) } else { Err(format!("the gateway ended with {ended}")) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Groups of three deployments that differ and sometimes fail.
fn configuration(runs: Option<&PathBuf>) -> String {
    let deployment = |group: &str, seed: usize, speed: f64| {
        format!(
            "  - {{model_name: {group}, litellm_params: {{model: simulated/{group}-{seed}, tpm: 100000000, input_cost_per_token: 0.00000{seed}, \
             output_cost_per_token: 0.00000{seed}, simulated: {{seed: {seed}, ttft_ms: {speed}, ttft_sigma: 0.6, output_tokens: 8, error_rate: 0.02}}}}, \
             model_info: {{id: {group}-{seed}}}}}\n"
        )
    };
    let groups: String = GROUPS
        .iter()
        .flat_map(|(group, _)| [(1, 0.4), (2, 0.8), (3, 1.2)].map(|(seed, speed)| deployment(group, seed, speed)))
        .collect();
    let router = |(group, policy): &(&str, &str)| format!("    {group}: {{policy: {policy}}}\n");
    let routers: Vec<String> = GROUPS.iter().map(router).collect();
    let routers = routers.concat();
    let decisions = runs.map_or_else(String::new, |runs| {
        format!("  decisions: {{share: 1, run: {RUN}, keep_mb: 1024, dir: \"{}\"}}\n", runs.display())
    });
    format!(
        "model_list:\n{groups}router_settings: {{num_retries: 6, disable_cooldowns: true}}\nwitgate:\n  routers:\n{routers}{decisions}"
    )
}
