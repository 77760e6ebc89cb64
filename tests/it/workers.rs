//! Several workers of one experiment, as processes of the command, who meet in a Postgres server.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::postgres::Postgres;
use crate::support::until;

const TEXTS: usize = 40;

/// A process that does not outlive its test.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_witgate"));
    command.current_dir(folder).args(arguments).env("XDG_STATE_HOME", folder.join("state"));
    command
}

fn worker(folder: &Path, file: &str, lease: &str, output: &str) -> Worker {
    let mut command =
        command(folder, &["run", file, "--worker", "--lease", lease, "--output", output, "--log", "error"]);
    Worker(command.stdout(Stdio::null()).spawn().expect("the binary runs"))
}

/// What `witgate runs` tells.
fn seen(folder: &Path, arguments: &[&str]) -> String {
    let told = command(folder, &[&["runs"], arguments].concat()).output().expect("the binary runs");
    String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr)
}

/// Items with an answer, as it tells.
fn answered(told: &str) -> usize {
    let count = told.split_once(&format!("/{TEXTS} answered")).and_then(|(before, _)| before.rsplit(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_default()
}

fn write(folder: &Path, server: &Postgres) {
    let file = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
    file(
        "gateway.yaml",
        &format!(
            "model_list:\n- {{model_name: a, litellm_params: {{model: simulated/a, input_cost_per_token: 0.001, output_cost_per_token: 0.001, \
             simulated: {{ttft_ms: 120, ttft_sigma: 0, tokens_per_second: 100000, output_tokens: 5}}}}}}\n\
             general_settings: {{database_url: \"{}\"}}\n",
            server.url()
        ),
    );
    let texts: Vec<String> = (0..TEXTS).map(|number| format!("{{\"text\": \"text {number}\"}}\n")).collect();
    file("texts.jsonl", &texts.concat());
    let experiment = "config: gateway.yaml\ninputs: {jsonl: texts.jsonl}\nprompt: {user: \"{{text}}\"}\nmatrix: {models: [a]}\nconcurrency: 2\n";
    file("two.yaml", experiment);
    file("outage.yaml", experiment);
}

/// Each item once; and what was paid is what its answers cost, and nothing twice.
fn whole(out: &Path) {
    let rows = std::fs::read_to_string(out.join("results.jsonl")).expect("results");
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    let items: BTreeSet<&str> = rows.iter().filter_map(|row| row["item"].as_str()).collect();
    assert_eq!((rows.len(), items.len()), (TEXTS, TEXTS));
    let cost: f64 = rows.iter().filter_map(|row| row["cost_usd"].as_f64()).sum();
    let manifest = std::fs::read(out.join("manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let paid = manifest["paid_usd"].as_f64().expect("a sum");
    assert!((paid / cost - 1.0).abs() < 1e-6, "{cost} for answers, and {paid} was paid");
}

#[tokio::test]
async fn of_two_workers_one_is_killed_and_a_server_that_goes_away_comes_back() {
    let Some(mut server) = Postgres::start().await else {
        // A line of its own, past what captures output: not tested is not passed.
        let _closed = writeln!(std::io::stderr(), "SKIPPED: no Postgres server is installed; workers are not tested");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write(folder, &server);
    let first = worker(folder, "two.yaml", "2", "first");
    until("the first has answers", || answered(&seen(folder, &["first"])) > 3).await;
    let mut second = worker(folder, "two.yaml", "2", "second");
    let both = || seen(folder, &["--config", "gateway.yaml"]).matches("works, heard of").count() == 2;
    until("both are seen at work", both).await;
    drop(first);
    assert!(second.0.wait().expect("it ends").success());
    whole(&folder.join("second"));
    let told = seen(folder, &["."]);
    assert_eq!(told.matches("two ").count(), 1, "one run, whatever folders it has: {told}");
    assert!(told.contains("gone, heard of") && told.contains("left; holds 0") && told.contains("done"), "{told}");

    let mut alone = worker(folder, "outage.yaml", "60", "outage");
    until("it has answers", || answered(&seen(folder, &["outage"])) > 3).await;
    server.kill();
    let told = seen(folder, &["outage"]);
    assert!(told.contains("a run of several workers") && !told.contains("answered"), "{told}");
    server.begin().await;
    assert!(alone.0.wait().expect("it ends").success(), "{}", seen(folder, &["outage"]));
    whole(&folder.join("outage"));
}
