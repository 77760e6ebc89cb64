//! Experiments from end to end: the commands of the documentation, what is refused, and a run that goes on.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// The example's models without limits and without time, so that a test is quick.
const FAST: &str = "\
model_list:
- {model_name: large, litellm_params: {model: simulated/large, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, simulated: {output_tokens: 50}}}
- {model_name: small, litellm_params: {model: simulated/small, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, simulated: {error_rate: 0.2}}}
- {model_name: careful, litellm_params: {model: simulated/careful, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}}
- {model_name: open, litellm_params: {model: simulated/open, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}}
router_settings: {num_retries: 2}
witgate: {ledger: {file: ledger.db}}
";

fn witgate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_witgate"))
        .current_dir(folder)
        .args(arguments)
        .env("XDG_STATE_HOME", folder.join("state"))
        .env_remove("OPENAI_API_KEY")
        .env_remove("ANTHROPIC_API_KEY")
        .output()
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/experiments").join(name).display().to_string()
}

fn rows(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("results.jsonl")).expect("results");
    text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

#[test]
fn the_page_s_commands_plan_and_carry_out_the_example() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("fast.yaml"), FAST).expect("written");
    let file = example("speeches.yaml");
    let planned = witgate(folder.path(), &["plan", &file, "--json", "--no-advice"]);
    assert!(planned.status.success(), "{}", text(&planned));
    let plan: Value = serde_json::from_slice(&planned.stdout).expect("a plan");
    assert_eq!(
        (plan["feasible"].as_bool(), plan["model_utilization"].as_object().map(serde_json::Map::len)),
        (Some(true), Some(4))
    );
    assert!(plan["total_estimated_tokens"].as_u64() > Some(20_000), "{plan:#}");
    let run = ["run", &file, "--config", "fast.yaml", "--output", "out"];
    for _ in 0..2 {
        let done = witgate(folder.path(), &run);
        assert!(done.status.success(), "{}", text(&done));
    }
    let out = folder.path().join("out");
    let rows = rows(&out);
    let mut items: Vec<&str> = rows.iter().filter_map(|row| row["item"].as_str()).collect();
    items.sort_unstable();
    items.dedup();
    let texts = std::fs::read_dir(example("speeches")).expect("speeches").count();
    assert_eq!((rows.len(), items.len()), (4 * texts, 4 * texts));
    assert!(rows.iter().all(|row| row["result"]["score"].is_u64() && row["cost_usd"].as_f64() > Some(0.0)), "{rows:?}");
    let page = std::fs::read_to_string(out.join("report.html")).expect("a page");
    assert!(page.contains("<svg") && !page.contains("http"), "{page}");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).expect("a manifest")).expect("JSON");
    let digest = manifest["results_sha256"]["results.jsonl"].as_str().expect("a digest").to_owned();
    assert_eq!(digest, witgate_digest(&out.join("results.jsonl")));
    assert!(text(&witgate(folder.path(), &["runs", "."])).contains(&format!("{0}/{0} answered", 4 * texts)));
    // Once in the ledger, though it was started twice: what was answered was not asked again.
    let spent = text(&witgate(folder.path(), &["spend", "--ledger", "ledger.db", "--by", "tag", "--format", "json"]));
    let spent: Value = serde_json::from_str(&spent).expect("JSON");
    assert_eq!(spent[0]["name"], "experiment:speeches", "{spent}");
    assert_eq!(spent[0]["requests"], 4 * texts, "{spent}");
}

fn witgate_digest(path: &Path) -> String {
    witgate::policy::Digest::of(&std::fs::read(path).expect("a file")).to_string()
}

#[test]
fn several_texts_in_one_call_come_back_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("fast.yaml"), FAST).expect("written");
    let done = witgate(folder.path(), &["run", &example("batched.yaml"), "--config", "fast.yaml", "--output", "out"]);
    assert!(done.status.success(), "{}", text(&done));
    let rows = rows(&folder.path().join("out"));
    assert!(rows.iter().all(|row| row["result"]["score"].is_u64()), "{rows:?}");
    assert!(rows.iter().any(|row| row["together"].as_u64() > Some(1)), "{rows:?}");
}

#[test]
fn nothing_is_sent_where_the_plan_says_that_it_cannot_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let config = "model_list:\n- {model_name: a, litellm_params: {model: simulated/a, tpm: 40, input_cost_per_token: 0.01, output_cost_per_token: 0.01, \
                  simulated: {output_tokens: 5}}}\n\
                  - {model_name: wide, litellm_params: {model: simulated/wide, tpm: 4000}}\n";
    std::fs::write(path.join("gateway.yaml"), config).expect("written");
    std::fs::write(path.join("texts.csv"), format!("id,text\nshort,a b c\nlong,\"{}\"\n", "word ".repeat(60)))
        .expect("written");
    let file =
        "config: gateway.yaml\ninputs: {csv: texts.csv, id: id}\nprompt: {user: \"{{text}}\"}\nmatrix: {models: [a]}\n";
    std::fs::write(path.join("large.yaml"), file).expect("written");
    let refused = witgate(path, &["run", "large.yaml"]);
    let told = text(&refused);
    assert!(!refused.status.success() && told.contains("nothing was sent") && told.contains("long of a"), "{told}");
    assert!(told.contains("would take it"), "{told}");
    let tried = witgate(path, &["plan", "large.yaml", "--what-if", "add-key nobody"]);
    assert!(tried.stdout.is_empty() && text(&tried).contains("no model `nobody` is asked here"), "{}", text(&tried));
    std::fs::write(path.join("dear.yaml"), format!("{file}budget_usd: 0.001\n")).expect("written");
    let planned = witgate(path, &["plan", "dear.yaml", "--no-advice"]);
    assert!(
        planned.status.code() == Some(2) && text(&planned).contains("below what the first request may cost"),
        "{}",
        text(&planned)
    );
    // Whoever wants to goes on: what cannot be answered rests with its reason, and the folder is its own.
    let anyway = witgate(path, &["run", "large.yaml", "--anyway"]);
    assert_eq!(anyway.status.code(), Some(3), "{}", text(&anyway));
    let dead = std::fs::read_to_string(path.join("large-results/dead-letter.jsonl")).expect("dead letters");
    assert!(dead.contains("\"text\":\"long\"") && dead.contains("never-fits"), "{dead}");
    std::fs::write(path.join("texts.csv"), "id,text\nshort,a b c d\n").expect("written");
    let changed = witgate(path, &["run", "large.yaml"]);
    assert!(text(&changed).contains("holds results of another experiment"), "{}", text(&changed));
}

/// An experiment over a simulated model, `texts` of them.
fn simulated(folder: &Path, texts: usize, model: &str, more: &str) {
    let config = format!(
        "model_list:\n- {{model_name: a, litellm_params: {{model: simulated/a, input_cost_per_token: 0.001, output_cost_per_token: 0.001, simulated: {{{model}}}}}}}\n\
         router_settings: {{num_retries: 0, allowed_fails: 1000, cooldown_time: 0}}\nwitgate: {{ledger: {{file: ledger.db}}}}\n"
    );
    std::fs::write(folder.join("gateway.yaml"), config).expect("written");
    let texts: Vec<String> = (0..texts).map(|number| format!("{{\"text\": \"text {number}\"}}\n")).collect();
    std::fs::write(folder.join("texts.jsonl"), texts.concat()).expect("written");
    let file = format!(
        "config: gateway.yaml\ninputs: {{jsonl: texts.jsonl}}\nprompt: {{user: \"{{{{text}}}}\"}}\nmatrix: {{models: [a]}}\noutput: out\n{more}"
    );
    std::fs::write(folder.join("e.yaml"), file).expect("written");
}

/// Requests that the ledger has of an experiment.
fn requests(folder: &Path) -> u64 {
    let spent = text(&witgate(folder, &["spend", "--ledger", "ledger.db", "--by", "tag", "--format", "json"]));
    let spent: Value = serde_json::from_str(&spent).unwrap_or_else(|fault| panic!("{fault}: {spent}"));
    spent[0]["requests"].as_u64().unwrap_or_default()
}

fn answered(folder: &Path) -> usize {
    let told = text(&witgate(folder, &["runs", "."]));
    let count = told.split_once("/30 answered").and_then(|(before, _)| before.rsplit(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn after_an_interrupt_the_same_command_goes_on_and_nothing_is_asked_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    simulated(
        folder,
        30,
        "ttft_ms: 100, ttft_sigma: 0, tokens_per_second: 100000, output_tokens: 5",
        "concurrency: 2\n",
    );
    let mut run = Command::new(env!("CARGO_BIN_EXE_witgate"));
    let run = run.current_dir(folder).args(["run", "e.yaml"]).env("XDG_STATE_HOME", folder.join("state"));
    let run = run.stdout(std::process::Stdio::piped()).spawn().expect("the binary runs");
    crate::support::until("it has answers", || answered(folder) > 3).await;
    let process = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("it is told to stop");
    let ended = run.wait_with_output().expect("it ends");
    let told = text(&ended);
    assert_eq!(ended.status.code(), Some(3), "{told}");
    assert!(
        told.contains("stopping: what was sent is waited for") && told.contains("the same command goes on"),
        "{told}"
    );
    let before = rows(&folder.join("out")).len();
    assert!((3..30).contains(&before), "{before}");
    assert!(folder.join("out/report.html").exists() && folder.join("out/manifest.json").exists());
    let again = witgate(folder, &["run", "e.yaml"]);
    assert!(again.status.success() && text(&again).contains("30 of 30 answered"), "{}", text(&again));
    assert_eq!((rows(&folder.join("out")).len(), requests(folder)), (30, 30));
}

#[tokio::test]
async fn what_failed_rests_until_it_is_asked_for_and_a_run_in_the_background_is_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    simulated(folder, 30, "error_rate: 0.5, ttft_ms: 0, tokens_per_second: 0, output_tokens: 5", "retries: 0\n");
    // What its plan says that it cannot be is said here, and not in a log.
    let refused = witgate(folder, &["run", "e.yaml", "--detach"]);
    assert!(!refused.status.success() && text(&refused).contains("nothing was sent"), "{}", text(&refused));
    let detached = witgate(folder, &["run", "e.yaml", "--detach", "--anyway"]);
    assert!(detached.status.success() && text(&detached).contains("goes on in the background"), "{}", text(&detached));
    let log = || std::fs::read_to_string(folder.join("out/run.log")).unwrap_or_default();
    crate::support::until("it ends", || log().contains("results and report.html in")).await;
    let first = requests(folder);
    let dead = || std::fs::read_to_string(folder.join("out/dead-letter.jsonl")).expect("dead letters").lines().count();
    let failed = dead();
    assert!(
        failed > 0 && failed + rows(&folder.join("out")).len() == 30 && first == 30,
        "{failed}, {first}: {}",
        log()
    );
    crate::support::until("it let go of its folder", || text(&witgate(folder, &["runs", "."])).contains("lies still"))
        .await;
    let again = witgate(folder, &["run", "e.yaml"]);
    assert_eq!((again.status.code(), dead(), requests(folder)), (Some(3), failed, first), "{}", text(&again));
    let retried = witgate(folder, &["run", "e.yaml", "--retry-failed"]);
    let left = dead();
    assert!(left < failed && requests(folder) == first + failed as u64, "{left} of {failed}: {}", text(&retried));
    assert_eq!(left + rows(&folder.join("out")).len(), 30);
    // Replies that came to nothing were paid for too, and what tells of the run tells of them.
    let spent = text(&witgate(folder, &["spend", "--ledger", "ledger.db", "--by", "tag", "--format", "json"]));
    let spent: Value = serde_json::from_str(&spent).expect("JSON");
    let paid = format!("${}", spent[0]["cost_usd"].as_f64().expect("a cost"));
    let told = text(&witgate(folder, &["runs", "."]));
    assert!(told.contains(&paid) && text(&retried).contains(&paid), "{paid}: {told}{}", text(&retried));
}
