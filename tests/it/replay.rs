//! Decisions kept by a whole gateway and repeated without one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use witgate::decisions::run_files;
use witgate::format::OpenAi;
use witgate::pipeline::Served;
use witgate::replay::{Options, Report, replay};

use crate::support::gateway::Gateway;
use crate::support::virtual_time::{assembled, chat};

/// Three deployments that differ in speed, price and reliability, a limit, and a policy that learns.
fn config(policy: &str, decisions: &Value) -> String {
    format!(
        "model_list:
  - {{model_name: g, litellm_params: {{model: simulated/a, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, rpm: 200, \
         simulated: {{seed: 1, ttft_ms: 50, ttft_sigma: 0.6, tokens_per_second: 200, output_tokens: 20}}}}, model_info: {{id: a}}}}
  - {{model_name: g, litellm_params: {{model: simulated/b, input_cost_per_token: 0.000004, output_cost_per_token: 0.000008, \
         simulated: {{seed: 2, ttft_ms: 90, ttft_sigma: 0.6, tokens_per_second: 120, output_tokens: 30, error_rate: 0.1}}}}, model_info: {{id: b}}}}
  - {{model_name: g, litellm_params: {{model: simulated/c, \
         simulated: {{seed: 3, ttft_ms: 70, ttft_sigma: 0.9, tokens_per_second: 90, output_tokens: 25}}}}, model_info: {{id: c}}}}
router_settings: {{num_retries: 2, disable_cooldowns: true}}
witgate:
  routers: {{g: {{policy: {policy}}}}}
  decisions: {decisions}
"
    )
}

/// A folder in which runs are kept.
struct Kept {
    folder: TempDir,
    ids: Vec<String>,
}

impl Kept {
    fn runs(&self) -> PathBuf {
        self.folder.path().join("runs")
    }

    /// Sends `requests` requests, five at once, on virtual time, with every decision kept.
    fn by(policy: &str, requests: usize) -> Self {
        let folder = TempDir::new().expect("a folder");
        let decisions = json!({"share": 1.0, "run": 100, "dir": folder.path().join("runs")});
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let ids = runtime.block_on(async {
            let gateway = assembled(&config(policy, &decisions));
            let mut ids = Vec::new();
            for round in 0..requests / 5 {
                let asked = (0..5).map(|n| {
                    let gateway = Arc::clone(&gateway);
                    async move {
                        let guard = gateway.arrive(&OpenAi);
                        let id = guard.id().to_string();
                        let text = "word ".repeat(1 + (round * 5 + n) % 90);
                        let body = json!({"model": "g", "max_tokens": 40, "stream": n == 0,
                            "messages": [{"role": "user", "content": text}]});
                        if let Ok(Served::Streamed { stream, .. }) = gateway.serve(guard, Box::new(chat(&body))).await {
                            futures_util::StreamExt::count(stream).await;
                        }
                        id
                    }
                });
                ids.extend(join_all(asked).await);
            }
            gateway.decisions.finish();
            ids
        });
        Self { folder, ids }
    }

    fn repeat(&self, policy: Option<PathBuf>) -> Report {
        replay(&self.runs(), &Options { policy, policies: fixture_policies(), ..Options::default() })
    }
}

fn fixture_policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/policies")
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name)
}

fn witgate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_witgate"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().expect("the binary runs")
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What the page on learning shows, over decisions that were kept.
#[test]
fn another_router_is_estimated_from_what_was_kept() {
    // Whoever hardly ever tries one that fails now and then has not seen it fail.
    let kept = Kept::by("bandit, settings: {uniform: 0.9}", 300);
    let page = include_str!("../../docs/learning.md");
    let shown = page.lines().find(|line| line.starts_with("witgate evaluate --log RUNS")).expect("a command");
    let html = kept.folder.path().join("next.html");
    let runs = kept.runs();
    let of = |path: &Path| path.to_str().expect("a path").to_owned();
    let words = shown.split_whitespace().skip(1).map(|word| match word {
        "RUNS" => of(&runs),
        "next.wasm" => of(&shipped("bandit.wasm")),
        "next.html" => of(&html),
        word => word.trim_matches('\'').to_owned(),
    });
    let words: Vec<String> = words.collect();
    let output = witgate(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let told = text_of(&output);
    assert!(told.contains("doubly robust") && told.contains("300 decisions"), "{told}");
    // Nothing was judged, and one of three fails now and then: 300 decisions may or may not say enough.
    assert!(matches!(output.status.code(), Some(0 | 2)), "{told}");
    assert!(std::fs::read_to_string(&html).expect("a page").contains("Mean worth"), "{told}");
    let settings = ["--worth", r#"{"reward":{"quality":1,"cost":0}}"#, "--json"];
    let words = ["evaluate", "--log", &of(&runs), "--router", "simple-shuffle"];
    let output = witgate(&[&words[..], &settings[..]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text_of(&output)));
    let quality = &report["quality"]["doubly_robust"];
    let [low, high] = ["low", "high"].map(|end| quality[end].as_f64().expect("a number"));
    // It takes the one with a written limit, which never fails; the log's took one that did, too.
    assert!(low < 0.9 && high > 0.9 && high - low < 0.05, "{report:#}");
    let better = report["quality"]["better_by"]["low"].as_f64().expect("a number");
    assert!(better > 0.0 && report["shares"][0]["chosen"] == 1.0, "{report:#}");
    let both = witgate(&["evaluate", "examples/learning.jsonl", "--log", &of(&runs)]);
    assert!(!both.status.success() && text_of(&both).contains("--log"), "{}", text_of(&both));
}

/// A router that learns nothing is told nothing, in service as in a replay; what came of its decisions is kept, so that others are
/// judged by it.
#[test]
fn the_log_of_a_router_that_learns_nothing_says_what_others_would_have_got() {
    let kept = Kept::by("simple-shuffle", 300);
    let report = kept.repeat(None);
    let outcomes = |report: &Report| report.runs.iter().map(|run| run.outcomes).sum::<usize>();
    assert_eq!((report.exit_code(), report.identical(), outcomes(&report)), (0, 300, 0), "{report}");
    // One that learns is told them.
    let learner = kept.repeat(Some(shipped("latency-based.wasm")));
    assert!(learner.decisions() == 300 && outcomes(&learner) > 250, "{learner}");
    let runs = kept.runs();
    let path = runs.to_str().expect("a path");
    let worth = r#"{"reward":{"quality":1,"cost":0}}"#;
    for router in ["bandit", "simple-shuffle", "cost-based"] {
        let output = witgate(&["evaluate", "--log", path, "--router", router, "--worth", worth, "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text_of(&output)));
        let decisions = report["quality"]["decisions"].as_u64().expect("a count");
        // It takes the one with a limit, and what that did not let through says nothing of it.
        assert!(decisions > 150, "{router}: {report:#}");
    }
}

#[test]
fn decisions_of_a_policy_that_learns_come_out_the_same() {
    let kept = Kept::by("latency-based", 500);
    let report = kept.repeat(None);
    assert_eq!((report.exit_code(), report.decisions(), report.identical()), (0, 500, 500), "{report}");
    assert_eq!(report.runs.len(), 5, "{report}");
    let outcomes: usize = report.runs.iter().map(|run| run.outcomes).sum();
    assert!(outcomes > 450, "most are told within their run: {report}");
    let shown = witgate(&["policy", "replay", kept.runs().to_str().expect("a path")]);
    assert_eq!(shown.status.code(), Some(0), "{}", text_of(&shown));
    assert!(text_of(&shown).ends_with("5 runs, 500 decisions, 500 identical: the same\n"), "{}", text_of(&shown));
    // A run in the middle begins with what was learned before it: alone it comes out the same.
    let files = run_files(&kept.runs()).expect("runs");
    let third = replay(&files[2], &Options::default());
    assert_eq!((third.exit_code(), third.decisions()), (0, 100), "{third}");
    assert!(std::fs::read_to_string(&files[2]).expect("a run").contains("\"schema\":\"latency-1\""));
}

#[test]
fn a_decision_that_is_changed_is_found() {
    let kept = Kept::by("latency-based", 100);
    let file = run_files(&kept.runs()).expect("runs").remove(0);
    let lines: Vec<String> = std::fs::read_to_string(&file).expect("a run").lines().map(str::to_owned).collect();
    let at = lines.iter().position(|line| line.contains(&kept.ids[60])).expect("the decision");
    let mut lines = lines;
    let (before, rest) = lines[at].split_once("\"deployments\":[").expect("its ranking");
    let (ranking, after) = rest.split_once(']').expect("its end");
    let mut ranking: Vec<&str> = ranking.split(',').collect();
    ranking.rotate_left(1);
    lines[at] = format!("{before}\"deployments\":[{}]{after}", ranking.join(","));
    std::fs::write(&file, lines.join("\n") + "\n").expect("written");
    let report = kept.repeat(None);
    assert_eq!((report.exit_code(), report.identical()), (1, 99), "{report}");
    assert_eq!(report.runs[0].first[0].shown["id"], kept.ids[60].as_str());
}

#[test]
fn another_policy_differs_and_it_is_said_where_and_at_what_cost() {
    let kept = Kept::by("cost-based", 200);
    let same = kept.repeat(None);
    assert_eq!((same.exit_code(), same.identical()), (0, 200), "{same}");
    let other = kept.repeat(Some(shipped("least-busy.wasm")));
    let run = &other.runs[0];
    assert_eq!(other.exit_code(), 1, "{other}");
    assert!(run.differing > 0 && run.identical + run.differing == 100 && run.first.len() == 5, "{other}");
    assert!(run.same_first < 100 && run.repeated_by.starts_with("least-busy@"), "{other}");
    assert!(run.notes.iter().any(|note| note.contains("in-flight")), "what was not recorded is said: {other}");
    let costs = run.costs.as_ref().expect("two of the deployments have prices");
    assert!(costs.decisions > 0 && costs.repeated_usd >= costs.recorded_usd, "{other}");
    let first = &run.first[0];
    assert!(kept.ids.iter().any(|id| first.shown["id"] == id.as_str()), "{first:?}");
    assert!(first.shown["deployments"][0]["signals"]["wait-ms"].is_number(), "{first:?}");
    let (file, runs) = (shipped("least-busy.wasm"), kept.runs());
    let arguments = ["policy", "replay", runs.to_str().expect("a path"), "--policy", file.to_str().expect("a path")];
    let shown = witgate(&arguments);
    assert_eq!(shown.status.code(), Some(1), "{}", text_of(&shown));
    assert!(text_of(&shown).contains("    then: ") && text_of(&shown).contains("US dollars"), "{}", text_of(&shown));
    let json: Value = serde_json::from_slice(&witgate(&[&arguments[..], &["--json"]].concat()).stdout).expect("JSON");
    assert_eq!(json["runs"][0]["differing"], run.differing);
}

#[test]
fn another_version_of_a_policy_is_compared_place_by_place() {
    let folder = TempDir::new().expect("a folder");
    let policies = folder.path().join("policies");
    std::fs::create_dir(&policies).expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let runs = folder.path().join("runs");
    runtime.block_on(async {
        let decisions = json!({"share": 1.0, "run": 50, "dir": runs});
        let counting = fixture_policies().join("counting-a.wasm");
        let gateway = Gateway::start_with(&config("counting-a", &decisions), &[("counting-a.wasm", &counting)]).await;
        let body = json!({"model": "g", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
        for _ in 0..20 {
            gateway.post("/v1/chat/completions", &body).await;
        }
        gateway.app.gateway.decisions.finish();
    });
    let options = |policy: Option<&str>| Options {
        policy: policy.map(|name| fixture_policies().join(name)),
        policies: fixture_policies(),
        ..Options::default()
    };
    let same = replay(&runs, &options(None));
    assert_eq!((same.exit_code(), same.identical()), (0, 20), "{same}");
    let other = replay(&runs, &options(Some("counting-b.wasm")));
    assert_eq!((other.exit_code(), other.runs[0].differing, other.runs[0].same_first), (1, 20, 0), "{other}");
    assert_eq!((&*other.runs[0].first[0].recorded, &*other.runs[0].first[0].repeated), ("a, b, c", "c, b, a"));
    let broken = replay(&runs, &options(Some("no-such.wasm")));
    assert_eq!(broken.exit_code(), 2, "{broken}");
    let json = Options { policy: Some(shipped("json.wasm")), policies: fixture_policies(), ..Options::default() };
    let other_role = replay(&runs, &json);
    assert!(other_role.exit_code() == 2 && other_role.to_string().contains("no router"), "{other_role}");
}

#[test]
fn explain_tells_what_the_policy_saw_and_what_the_gateway_did() {
    let kept = Kept::by("latency-based", 100);
    let runs = kept.runs();
    let runs = runs.to_str().expect("a path");
    let shown = witgate(&["explain", &kept.ids[77], "--dir", runs]);
    let told = text_of(&shown);
    assert_eq!(shown.status.code(), Some(0), "{told}");
    for expected in
        ["g by latency-based@", "   1  ", "wait-ms 0", "the gateway: waited", "status 200", "repeated: identical"]
    {
        assert!(told.contains(expected), "`{expected}` is missing:\n{told}");
    }
    let json: Value =
        serde_json::from_slice(&witgate(&["explain", &kept.ids[77], "--dir", runs, "--json"]).stdout).expect("JSON");
    assert_eq!((&json["id"], &json["repeated"]), (&kept.ids[77].as_str().into(), &"identical".into()), "{json}");
    let served = json["host"]["attempts"].as_array().and_then(|all| all.last()).expect("an attempt");
    assert_eq!(served["fault"], Value::Null, "{json}");
    let stranger = witgate(&["explain", "01890000-0000-7000-8000-000000000000", "--dir", runs]);
    assert!(stranger.status.code() == Some(2) && text_of(&stranger).contains("no run in"), "{}", text_of(&stranger));
    let nowhere = witgate(&["explain", &kept.ids[77], "--dir", "nowhere/at/all"]);
    assert!(text_of(&nowhere).contains("hint: decisions are kept where a gateway has `witgate.decisions`"));
    let none = witgate(&["explain", "hello", "--dir", runs]);
    assert!(none.status.code() == Some(2) && text_of(&none).contains("x-request-id"), "{}", text_of(&none));
}

/// The commands that the documentation shows, each with an end that it names, and the file that it shows.
#[test]
fn what_the_documentation_shows_is_so() {
    let text = include_str!("../../wit/README.md");
    let (_, section) = text.split_once("## Why did it decide so").expect("the section");
    let block = |language: &str| {
        let (_, rest) = section.split_once(&format!("```{language}\n")).expect("a block");
        rest.split_once("```").expect("its end").0
    };
    let kept = Kept::by("latency-based", 100);
    let (runs, other) = (kept.runs(), shipped("least-busy.wasm"));
    let mut ends = Vec::new();
    for line in block("sh").lines() {
        let command = line.split(" #").next().unwrap_or_default().trim().strip_prefix("witgate ").expect("a command");
        let words: Vec<&str> = command
            .split(' ')
            .map(|word| match word {
                "RUNS" => runs.to_str().expect("a path"),
                "other.wasm" => other.to_str().expect("a path"),
                "REQUEST_ID" => &kept.ids[3],
                word => word,
            })
            .collect();
        ends.push(witgate(&words).status.code());
    }
    assert_eq!(ends, [Some(0), Some(1), Some(0)]);
    let file = kept.folder.path().join("shown.jsonl");
    std::fs::write(&file, block("jsonl")).expect("written");
    let shown = witgate::decisions::Run::read(&file).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((shown.calls.len(), shown.early, shown.requests.len()), (3, None, 1));
    let config = format!("model_list: [{{model_name: g, litellm_params: {{model: simulated/m}}}}]\n{}", block("yaml"));
    let config = config.replace("/var/lib/witgate/decisions", kept.folder.path().join("new").to_str().expect("a path"));
    let file = kept.folder.path().join("config.yaml");
    std::fs::write(&file, config).expect("written");
    let checked = witgate(&["check", file.to_str().expect("a path")]);
    assert!(checked.status.success(), "{}", text_of(&checked));
}

/// No prompt and no key is in a run: of a request there are numbers, the names the policy asked for, and digests of what else it reads.
#[test]
fn runs_hold_nothing_that_was_said() {
    let folder = TempDir::new().expect("a folder");
    let runs = folder.path().join("runs");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let decisions = json!({"share": 1.0, "dir": runs});
        let gateway =
            Gateway::start(&(config("latency-based", &decisions) + "general_settings: {master_key: sk-secret-key}\n"))
                .await;
        let body = json!({"model": "g", "max_tokens": 5, "messages": [{"role": "user", "content": "xylophone"}]});
        let chats = format!("{}/v1/chat/completions", gateway.url);
        let request =
            gateway.client.post(chats).header("content-type", "application/json").bearer_auth("sk-secret-key");
        assert_eq!(request.body(body.to_string()).send().await.expect("an answer").status(), 200);
        gateway.app.gateway.decisions.finish();
    });
    let text = std::fs::read_to_string(run_files(&runs).expect("runs").remove(0)).expect("a run");
    assert!(text.contains("\"route\"") && text.contains("\"observe\""), "{text}");
    assert!(!text.contains("xylophone") && !text.contains("sk-secret-key"), "{text}");
}

/// The same of a router that the operator lets read what was said, unless he wants words, and what is told of such a run.
#[test]
fn runs_of_a_router_that_reads_prompts_hold_none() {
    for words in [false, true] {
        let folder = TempDir::new().expect("a folder");
        let runs = folder.path().join("runs");
        let hostile = fixture_policies().join("hostile.wasm");
        let router = r#"{policy: hostile, settings: {do: "attribute prompt"}, may_read: [prompt]}"#;
        let decisions = json!({"share": 1.0, "dir": runs, "words": words});
        let config = config("x", &decisions).replace("{policy: x}", router);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let (id, shown) = runtime.block_on(async {
            let gateway = Gateway::start_with(&config, &[("hostile.wasm", &hostile)]).await;
            let body = json!({"model": "g", "max_tokens": 5, "messages": [{"role": "user", "content": "zylophone"}]});
            let reply = gateway.post("/v1/chat/completions", &body).await;
            let id = reply.header("x-request-id").to_owned();
            let shown = gateway.get(&format!("/admin/decisions/{id}")).await.text;
            gateway.app.gateway.decisions.finish();
            (id, shown)
        });
        let file = run_files(&runs).expect("runs").remove(0);
        let text = std::fs::read_to_string(&file).expect("a run");
        let policies = fixture_policies();
        let (runs_arg, policies_arg) = (runs.to_str().expect("a path"), policies.to_str().expect("a path"));
        let explained = text_of(&witgate(&["explain", &id, "--dir", runs_arg, "--policies", policies_arg]));
        for told in [&text, &shown, &explained] {
            assert!(told.contains("withheld:") != words && told.contains("zylophone") == words, "{words}: {told}");
        }
        let same = replay(&runs, &Options { policies, ..Options::default() });
        let told = (same.exit_code(), same.decisions(), same.identical(), same.withheld());
        assert_eq!(told, if words { (0, 1, 1, 0) } else { (2, 1, 0, 1) }, "{same}");
        let repeated = if words { "repeated: identical" } else { "repeated: not repeated" };
        assert!(explained.contains(repeated), "{explained}");
        assert!(words || same.to_string().contains("1 not repeatable") && same.to_string().contains("words: true"));
    }
}

#[tokio::test]
async fn a_recent_decision_is_told_while_decisions_are_kept() {
    let folder = TempDir::new().expect("a folder");
    // A share so small that no run is drawn.
    let decisions = json!({"share": 1e-12, "dir": folder.path().join("runs")});
    let gateway = Gateway::start(&config("latency-based", &decisions)).await;
    let body = json!({"model": "g", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
    let reply = gateway.post("/v1/chat/completions", &body).await;
    let id = reply.header("x-request-id").to_owned();
    let shown = gateway.get(&format!("/admin/decisions/{id}")).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    let shown = shown.json();
    assert_eq!((&shown["id"], &shown["group"]), (&id.clone().into(), &"g".into()), "{shown}");
    assert_eq!(shown["deployments"].as_array().map(Vec::len), Some(3), "{shown}");
    assert_eq!(
        shown["host"]["attempts"].as_array().and_then(|all| all.last()).map(|last| &last["deployment"]),
        Some(&reply.header("x-witgate-deployment").into()),
        "{shown}"
    );
    for path in ["/admin/decisions/hello", "/admin/decisions/01890000-0000-7000-8000-000000000000"] {
        assert_eq!(gateway.get(path).await.status, 404, "{path}");
    }
    assert!(run_files(&folder.path().join("runs")).expect("the folder").is_empty());
    let generation = gateway.generation();
    gateway.replace("config.yaml", config("latency-based", &json!(null)).as_bytes());
    crate::support::until("the new configuration", || gateway.generation() > generation).await;
    let off = gateway.get(&format!("/admin/decisions/{id}")).await;
    assert!(off.status == 404 && off.text.contains("witgate.decisions"), "{}", off.text);
}
