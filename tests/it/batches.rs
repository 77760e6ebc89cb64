//! OpenAI's batch interface: the command, what is refused, files and batches over HTTP, and a batch that waits for limits.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use witgate::batch::{Finish, Progress, Rules, Runner, check, write_outcomes};
use witgate::format::OpenAi;
use witgate::pipeline::Gateway as Pipeline;
use witgate::store::BatchStore;

use crate::chat::openai_reply;
use crate::support::gateway::{Gateway, Reply, read};
use crate::support::upstream::{Gate, ScriptedUpstream, Step};
use crate::support::virtual_time::{BEGIN, ask, assembled, chat};

const PRICED: &str = "\
model_list:
- {model_name: m, litellm_params: {model: simulated/m, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, simulated: {output_tokens: 5}}}
- {model_name: slow, litellm_params: {model: simulated/slow, simulated: {output_tokens: 5, ttft_ms: 60000}}}
witgate: {ledger: {file: ledger.db}}
";

fn witgate(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_witgate"));
    command
        .current_dir(folder)
        .args(arguments)
        .env("XDG_STATE_HOME", folder.join("state"))
        .env_remove("OPENAI_API_KEY")
        .env_remove("ANTHROPIC_API_KEY");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    witgate(folder, arguments).output().expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn line(custom_id: &str, url: &str, body: &Value) -> String {
    json!({"custom_id": custom_id, "method": "POST", "url": url, "body": body}).to_string() + "\n"
}

fn chat_line(custom_id: &str, model: &str) -> String {
    let body = json!({"model": model, "messages": [{"role": "user", "content": format!("I am {custom_id}")}]});
    line(custom_id, "/v1/chat/completions", &body)
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn asked(folder: &Path) -> u64 {
    let spent = run(folder, &["spend", "--ledger", "ledger.db", "--by", "model", "--format", "json"]);
    let spent: Value = serde_json::from_str(&text(&spent)).expect("JSON");
    spent.as_array().expect("rows").iter().filter_map(|row| row["requests"].as_u64()).sum()
}

#[test]
fn a_file_of_requests_is_answered_in_its_order_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    std::fs::write(path.join("config.yaml"), PRICED).expect("written");
    let input = chat_line("chat", "m")
        + "\n"
        + &line("response", "/v1/responses", &json!({"model": "m", "input": "Hello"}))
        + &line("prompts", "/v1/completions", &json!({"model": "m", "prompt": ["one", "two"]}))
        + &line("vector", "/v1/embeddings", &json!({"model": "m", "input": "Hello"}))
        + &line(
            "refused",
            "/v1/chat/completions",
            &json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "api_base": "http://elsewhere"}),
        );
    std::fs::write(path.join("in.jsonl"), &input).expect("written");
    let command = ["batch", "in.jsonl", "-o", "out.jsonl", "--config", "config.yaml"];
    let mut answered = 0;
    for _ in 0..2 {
        let done = run(path, &command);
        assert_eq!(done.status.code(), Some(3), "{}", text(&done));
        assert!(text(&done).contains("4 of 5 answered, 1 failed"), "{}", text(&done));
        let rows = rows(&std::fs::read_to_string(path.join("out.jsonl")).expect("an output"));
        let names: Vec<&str> = rows.iter().filter_map(|row| row["custom_id"].as_str()).collect();
        assert_eq!(names, ["chat", "response", "prompts", "vector", "refused"]);
        let bodies: Vec<&Value> = rows.iter().map(|row| &row["response"]["body"]).collect();
        assert!(bodies[0]["choices"][0]["message"]["content"].is_string(), "{rows:#?}");
        assert_eq!(bodies[1]["object"], "response");
        assert_eq!(bodies[2]["choices"].as_array().map(Vec::len), Some(2));
        assert!(bodies[3]["data"][0]["embedding"].is_array());
        assert_eq!((rows[4]["response"]["status_code"].as_u64(), rows[0]["error"].is_null()), (Some(400), true));
        assert!(bodies[4]["error"]["message"].is_string(), "{rows:#?}");
        let now = asked(path);
        assert!(answered == 0 || now == answered, "nothing is asked again: {answered} {now}");
        answered = now;
    }
    std::fs::write(path.join("in.jsonl"), chat_line("other", "m")).expect("written");
    let changed = run(path, &command);
    assert!(text(&changed).contains("replies to another file"), "{}", text(&changed));
    std::fs::write(path.join("mine.jsonl"), "mine").expect("written");
    let taken = run(path, &["batch", "in.jsonl", "-o", "mine.jsonl", "--config", "config.yaml"]);
    assert!(text(&taken).contains("exists already"), "{}", text(&taken));
    assert_eq!(std::fs::read_to_string(path.join("mine.jsonl")).expect("it is there"), "mine");
}

#[test]
fn every_bad_line_is_named_before_any_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    std::fs::write(path.join("config.yaml"), PRICED).expect("written");
    let input = chat_line("a", "m")
        + "not JSON\n"
        + &chat_line("a", "m")
        + &chat_line("b", "nobody")
        + &line("c", "/v1/images", &json!({}))
        + &line("d", "/v1/chat/completions", &json!({"model": "m", "messages": "Hello"}))
        + &chat_line("e", "m").replace("POST", "GET");
    std::fs::write(path.join("in.jsonl"), &input).expect("written");
    let refused = run(path, &["batch", "in.jsonl", "-o", "out.jsonl", "--config", "config.yaml"]);
    let told = text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    for bad in 2..=7 {
        assert!(told.contains(&format!("line {bad}: ")), "{told}");
    }
    assert!(!told.contains("line 1: ") && told.contains("nothing was sent: 6 problems"), "{told}");
    assert!(!path.join("out.jsonl").exists() && !path.join("out.jsonl.state").exists());
}

#[test]
fn after_a_kill_only_what_was_under_way_is_asked_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    std::fs::write(path.join("config.yaml"), PRICED).expect("written");
    // One model answers at once, the other not before a minute: some lines are answered when the process dies.
    let input: String = (0..20).map(|at| chat_line(&format!("l{at}"), if at < 18 { "m" } else { "slow" })).collect();
    std::fs::write(path.join("in.jsonl"), input).expect("written");
    let command = ["batch", "in.jsonl", "-o", "out.jsonl", "--config", "config.yaml"];
    let mut first = witgate(path, &command).stdout(Stdio::null()).spawn().expect("the binary runs");
    let state = path.join("out.jsonl.state");
    // Written once the file is set up.
    let ready = path.join("out.jsonl.state-wal");
    let answered = || {
        let known = ready.exists().then(|| BatchStore::open(&state).ok()).flatten();
        known.and_then(|store| store.counts("batch").ok()).map_or(0, |counts| counts.answered)
    };
    while answered() < 18 {
        assert!(first.try_wait().expect("a child").is_none(), "it cannot be done");
        std::thread::yield_now();
    }
    first.kill().expect("killed");
    first.wait().expect("it ended");
    let quick = PRICED.replace(", ttft_ms: 60000", "");
    std::fs::write(path.join("config.yaml"), quick).expect("written");
    let done = run(path, &command);
    assert!(done.status.success() && text(&done).contains("going on"), "{}", text(&done));
    let rows = rows(&std::fs::read_to_string(path.join("out.jsonl")).expect("an output"));
    let mut names: Vec<&str> = rows.iter().filter_map(|row| row["custom_id"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((rows.len(), names.len()), (20, 20));
    // The killed process lost at most a flush of its ledger; nothing was asked twice but the two under way.
    assert!(asked(path) <= 20, "{}", asked(path));
}

/// The lines of `input`, carried out on virtual time.
async fn carried_out(gateway: &Arc<Pipeline>, input: &str) -> (Finish, Vec<Value>) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = BatchStore::open(&folder.path().join("batches.db")).expect("a store");
    let path = folder.path().join("in.jsonl");
    std::fs::write(&path, input).expect("written");
    let file = std::fs::File::open(&path).expect("the input");
    let caller = Arc::clone(&gateway.live.read().callers.anonymous);
    let known = |model: &str| gateway.known_model(&caller, model);
    let rules = Rules { endpoint: None, most: None, longest: 4096, known: &known, given_up: &|| false };
    let mut problems = Vec::new();
    check(&file, &store, "b", &rules, &mut |problem| problems.push(problem)).expect("checked");
    assert_eq!(problems, []);
    let runner = Runner {
        gateway,
        store: &store,
        batch: "b",
        input: &file,
        caller: &|| Ok(Arc::clone(&caller)),
        most: 8,
        permits: &Semaphore::new(64),
        stop: &CancellationToken::new(),
        until: None,
        stop_when_refused: false,
        progress: &Progress::default(),
    };
    let finish = runner.run().await.expect("carried out");
    let mut out = Vec::new();
    write_outcomes(&store, "b", None, &mut out).expect("written");
    (finish, rows(&String::from_utf8(out).expect("UTF-8")))
}

#[tokio::test(start_paused = true)]
async fn to_wait_for_a_limit_is_no_failure() {
    let config = "model_list: [{model_name: g, litellm_params: {model: simulated/g, rpm: 5}}]\n\
                  witgate: {queue: {max_wait_seconds: 1, max_waiting: 2}}";
    let gateway = assembled(config);
    let input: String = (0..40).map(|at| chat_line(&format!("l{at}"), "g")).collect();
    let (finish, rows) = carried_out(&gateway, &input).await;
    assert_eq!((finish, rows.len()), (Finish::Done, 40));
    assert!(rows.iter().all(|row| row["response"]["status_code"] == 200), "{rows:#?}");
    let minutes = gateway.clock.now().since(BEGIN).as_secs() / 60;
    assert!((7..=9).contains(&minutes), "{minutes}");
}

#[tokio::test(start_paused = true)]
async fn a_request_of_a_batch_is_the_last_in_the_queue() {
    let config = "model_list: [{model_name: g, litellm_params: {model: simulated/g, rpm: 1}}]";
    let gateway = assembled(config);
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}], "priority": 1000});
    ask(&gateway, &OpenAi, &body).await.expect("the first");
    let mut ends = tokio::task::JoinSet::new();
    for background in [true, false] {
        let (gateway, body) = (Arc::clone(&gateway), body.clone());
        ends.spawn(async move {
            let mut guard = gateway.arrive(&OpenAi);
            let followed = background.then(|| guard.follow());
            assert!(followed.as_ref().is_none_or(|followed| !followed.was_sent()));
            gateway.serve(guard, Box::new(chat(&body))).await.map(drop).expect("served");
            assert!(followed.is_none_or(|followed| followed.was_sent() && followed.is_under_way()));
            background
        });
        // The one of the batch stands in the queue first.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut order = Vec::new();
    while let Some(end) = ends.join_next().await {
        order.push(end.expect("no panic"));
    }
    assert_eq!(order, [false, true]);
}

const KEYED: &str = "\
model_list:
- {model_name: m, litellm_params: {model: simulated/m, simulated: {output_tokens: 5}}}
- {model_name: slow, litellm_params: {model: simulated/slow, rpm: 1}}
general_settings: {master_key: sk-master-of-tests}
witgate:
  keys:
    - {key: sk-one-of-the-test, key_alias: one, models: [m, slow]}
    - {key: sk-two-of-the-test, key_alias: two}
";

/// A client with a key.
struct Client<'g>(&'g Gateway, &'static str);

impl Client<'_> {
    async fn ask(&self, method: &str, path: &str, body: Option<(&str, String)>) -> Reply {
        let method = method.parse().expect("a method");
        let mut request = self.0.client.request(method, format!("{}{path}", self.0.url)).bearer_auth(self.1);
        if let Some((kind, body)) = body {
            request = request.header("content-type", kind).body(body);
        }
        read(request.send().await.expect("an answer")).await
    }

    async fn get(&self, path: &str) -> Value {
        let reply = self.ask("GET", path, None).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        reply.json()
    }

    async fn upload(&self, content: &str) -> Reply {
        let form = format!(
            "--cut\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--cut\r\n\
             content-disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\r\n{content}\r\n--cut--\r\n"
        );
        self.ask("POST", "/v1/files", Some(("multipart/form-data; boundary=cut", form))).await
    }

    async fn begin(&self, content: &str) -> String {
        let file = self.upload(content).await.json();
        let wanted = json!({"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"a": "b"}});
        let begun = self.ask("POST", "/v1/batches", Some(("application/json", wanted.to_string()))).await;
        assert_eq!((begun.status, begun.json()["status"].as_str()), (200, Some("validating")), "{}", begun.text);
        begun.json()["id"].as_str().expect("an id").to_owned()
    }

    async fn until(&self, id: &str, statuses: &[&str]) -> Value {
        let path = format!("/v1/batches/{id}");
        let asking = async {
            loop {
                let batch = self.get(&path).await;
                if statuses.contains(&batch["status"].as_str().unwrap_or_default()) {
                    return batch;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asking).await.expect("it gets so far")
    }

    async fn content(&self, file: &Value) -> Vec<Value> {
        let path = format!("/v1/files/{}/content", file.as_str().expect("a file"));
        let reply = self.ask("GET", &path, None).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        rows(&reply.text)
    }
}

#[tokio::test]
async fn a_batch_is_its_key_s_from_its_file_to_its_replies() {
    let gateway = Gateway::start(KEYED).await;
    let (one, two) = (Client(&gateway, "sk-one-of-the-test"), Client(&gateway, "sk-two-of-the-test"));
    let steers = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "api_base": "http://elsewhere"});
    let input = chat_line("a", "m") + &line("bad", "/v1/chat/completions", &steers) + &chat_line("b", "m");
    let id = one.begin(&input).await;
    let done = one.until(&id, &["completed", "failed"]).await;
    assert_eq!(done["request_counts"], json!({"total": 3, "completed": 2, "failed": 1}), "{done:#}");
    assert_eq!(done["metadata"], json!({"a": "b"}));
    assert_eq!(done["model"], "m", "all its lines ask it");
    let replies = one.content(&done["output_file_id"]).await;
    let names: Vec<&str> = replies.iter().filter_map(|row| row["custom_id"].as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let used =
        |name: &str| -> u64 { replies.iter().filter_map(|row| row["response"]["body"]["usage"][name].as_u64()).sum() };
    let (input, output) = (used("prompt_tokens"), used("completion_tokens"));
    assert!(input > 0 && output > 0, "{replies:#?}");
    assert_eq!(
        done["usage"],
        json!({
            "input_tokens": input, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input + output
        })
    );
    assert_eq!(one.content(&done["error_file_id"]).await[0]["response"]["status_code"], 400);
    // Another key sees nothing of it, nor does the master.
    for other in [&two, &Client(&gateway, "sk-master-of-tests")] {
        let file = done["output_file_id"].as_str().expect("a file");
        for path in [format!("/v1/batches/{id}"), format!("/v1/files/{file}"), format!("/v1/files/{file}/content")] {
            assert_eq!(other.ask("GET", &path, None).await.status, 404, "{path}");
        }
        assert_eq!(other.ask("DELETE", &format!("/v1/files/{file}"), None).await.status, 404);
        assert_eq!(other.ask("POST", &format!("/v1/batches/{id}/cancel"), None).await.status, 404);
        assert_eq!(other.get("/v1/files").await["data"], json!([]));
        assert_eq!(other.get("/v1/batches").await["data"], json!([]));
    }
    let files = one.get("/v1/files?purpose=batch_output&limit=1").await;
    assert_eq!((files["has_more"].as_bool(), files["data"].as_array().map(Vec::len)), (Some(true), Some(1)));
    let after = files["last_id"].as_str().expect("an id");
    let next = one.get(&format!("/v1/files?purpose=batch_output&after={after}")).await;
    assert_eq!((next["has_more"].as_bool(), next["data"].as_array().map(Vec::len)), (Some(false), Some(1)));
    let again = one.ask("POST", &format!("/v1/batches/{id}/cancel"), None).await;
    assert_eq!(again.status, 409, "{}", again.text);
    let gone = one.ask("DELETE", &format!("/v1/files/{after}"), None).await;
    assert_eq!(gone.json()["deleted"], true);
    assert_eq!(one.ask("GET", &format!("/v1/files/{after}"), None).await.status, 404);
}

#[tokio::test]
async fn a_line_goes_on_after_the_stop_s_time_as_long_as_clients_have_more() {
    let gate = Gate::closed();
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello")).head_after(&gate)]).await;
    let config = format!(
        "model_list: [{{model_name: m, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-up}}}}]\n\
         general_settings: {{master_key: sk-master-of-tests}}\n\
         witgate:\n  server: {{shutdown_grace_seconds: 0}}\n  keys: [{{key: sk-one-of-the-test, key_alias: one}}]\n",
        upstream.origin()
    );
    let gateway = Gateway::start(&config).await;
    let one = Client(&gateway, "sk-one-of-the-test");
    let id = one.begin(&chat_line("a", "m")).await;
    upstream.until_asked(1).await;
    gateway.app.batches.stop();
    // The time of the stop, which is none, is over.
    tokio::time::sleep(Duration::from_millis(100)).await;
    gate.open();
    let path = format!("/v1/batches/{id}");
    let answered = async {
        while one.get(&path).await["request_counts"]["completed"] != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), answered).await.expect("it is answered, and that is kept");
    gateway.app.batches.finish();
    assert!(!gateway.app.gateway.cutoff.is_cancelled(), "nothing was left to be cut off");
}

#[tokio::test]
async fn a_batch_with_bad_lines_fails_and_one_is_cancelled() {
    let gateway = Gateway::start(KEYED).await;
    let one = Client(&gateway, "sk-one-of-the-test");
    let id = one.begin(&(chat_line("a", "m") + "{\n" + &chat_line("a", "nobody"))).await;
    let failed = one.until(&id, &["failed", "completed"]).await;
    let lines: Vec<Option<u64>> =
        failed["errors"]["data"].as_array().expect("errors").iter().map(|error| error["line"].as_u64()).collect();
    assert_eq!(lines, [Some(2), Some(3)], "{failed:#}");
    assert_eq!(failed["request_counts"]["total"], 0);
    assert_eq!((&failed["model"], &failed["usage"]), (&Value::Null, &Value::Null));
    // A request a minute: it would take an hour.
    let input: String = (0..60).map(|at| chat_line(&format!("l{at}"), "slow")).collect();
    let id = one.begin(&input).await;
    let begun = one.until(&id, &["in_progress"]).await;
    let read =
        one.ask("DELETE", &format!("/v1/files/{}", begun["input_file_id"].as_str().expect("a file")), None).await;
    assert_eq!(read.status, 409, "{}", read.text);
    let told = one.ask("POST", &format!("/v1/batches/{id}/cancel"), None).await.json();
    assert!(["cancelling", "cancelled"].contains(&told["status"].as_str().unwrap_or_default()), "{told:#}");
    let cancelled = one.until(&id, &["cancelled"]).await;
    let counts = &cancelled["request_counts"];
    assert_eq!(counts["total"], 60);
    assert_eq!(counts["completed"].as_u64().zip(counts["failed"].as_u64()).map(|(a, b)| a + b), Some(60));
    let errors = one.content(&cancelled["error_file_id"]).await;
    assert!(errors.iter().all(|row| row["error"]["code"] == "batch_cancelled"), "{errors:#?}");
    for (wanted, param) in [
        (json!({"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h"}), "id"),
        (json!({"input_file_id": "x", "endpoint": "/v1/nothing", "completion_window": "24h"}), "endpoint"),
        (json!({"input_file_id": "x", "endpoint": "/v1/embeddings", "completion_window": "1y"}), "completion_window"),
    ] {
        let refused = one.ask("POST", "/v1/batches", Some(("application/json", wanted.to_string()))).await;
        assert_eq!(refused.json()["error"]["param"], param, "{}", refused.text);
    }
    let form = "--cut\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nx\r\n--cut--\r\n".to_owned();
    let refused = one.ask("POST", "/v1/files", Some(("multipart/form-data; boundary=cut", form))).await;
    assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some("purpose")));
}
