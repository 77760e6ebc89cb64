//! Why a request went as it did, as operators read it: which rule kept which deployment, and what the policies of all roles did.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use witgate::decisions::run_files;

use crate::chat::openai_reply;
use crate::prompts::{ask, config, content, stream};
use crate::support::gateway::{Gateway, Reply};
use crate::support::upstream::{ScriptedUpstream, Step};
use crate::support::{fixture, until};

/// Decisions kept in a folder of the test's own; `more` is written beside.
fn decisions(folder: &TempDir, more: &str) -> String {
    format!("  decisions: {{share: 1.0, dir: {}{more}}}", folder.path().join("runs").display())
}

/// What the gateway tells of the request that was replied to.
async fn told(gateway: &Gateway, reply: &Reply) -> Value {
    let path = format!("/admin/decisions/{}", reply.header("x-request-id"));
    let answer = gateway.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn row<'a>(shown: &'a Value, deployment: &str) -> &'a Value {
    let rows = shown["deployments"].as_array().expect("rows");
    rows.iter().find(|row| row["deployment"] == deployment).unwrap_or_else(|| panic!("{deployment} in {shown}"))
}

/// `witgate explain` over the runs that were kept.
fn explained(folder: &TempDir, id: &str) -> String {
    let runs = folder.path().join("runs");
    let mut command = Command::new(env!("CARGO_BIN_EXE_witgate"));
    let command = command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["explain", id, "--dir"]).arg(&runs);
    let output = command.output().expect("the binary runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn every_rule_that_keeps_a_deployment_is_named() {
    let upstream = ScriptedUpstream::start([
        Step::json(200, &openai_reply("one")),
        Step::json(500, &json!({"error": {"message": "broken"}})),
        Step::json(200, &openai_reply("two")),
    ])
    .await;
    let folder = TempDir::new().expect("a folder");
    let deployment = |id: &str, order: u32, params: &str, info: &str| {
        format!(
            "  - {{model_name: g, litellm_params: {{model: openai/gpt-4o, api_base: \"{}/v1\", api_key: k-{id}, order: {order}{params}}}, model_info: {{id: {id}{info}}}}}\n",
            upstream.origin()
        )
    };
    let text = format!(
        "model_list:\n{}{}{}{}{}router_settings: {{num_retries: 2}}\nwitgate:\n  routers: {{g: {{policy: least-busy}}}}\n{}\n",
        deployment("small", 1, "", ", max_input_tokens: 3"),
        deployment("tiny", 2, ", tpm: 3", ""),
        deployment("once", 3, ", rpm: 1", ""),
        deployment("broken", 4, "", ""),
        deployment("last", 5, "", ""),
        decisions(&folder, ""),
    );
    let gateway = Gateway::start(&text).await;
    let body = json!({"model": "g", "max_tokens": 5, "messages": [{"role": "user", "content": "a few words too many for some"}]});
    let first = gateway.post("/v1/chat/completions", &body).await;
    assert_eq!(first.header("x-witgate-deployment"), "once", "{}", first.text);
    let second = gateway.post("/v1/chat/completions", &body).await;
    assert_eq!((second.header("x-witgate-deployment"), second.header("x-witgate-attempts")), ("last", "2"));
    let shown = told(&gateway, &second).await;
    let rules: Vec<(u64, &str, &str)> = shown["host"]["passed_over"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|one| {
            let text = |key: &str| one[key].as_str().expect("a text");
            (one["attempt"].as_u64().expect("a number"), text("deployment"), text("rule"))
        })
        .collect();
    let expected = [
        (1, "small", "context-window"),
        (1, "tiny", "never-fits"),
        (1, "once", "limit"),
        (2, "small", "context-window"),
        (2, "tiny", "never-fits"),
        (2, "once", "limit"),
        (2, "broken", "failed-before"),
    ];
    assert_eq!(rules, expected, "{shown}");
    assert!(row(&shown, "small")["removed"].as_str().is_some_and(|why| why.contains("takes 3 tokens")), "{shown}");
    assert_eq!((&row(&shown, "broken")["called"], &row(&shown, "last")["called"]), (&json!(true), &json!(true)));
    assert_eq!((&row(&shown, "last")["removed"], &row(&shown, "last")["order"]), (&Value::Null, &json!(5)));
    gateway.app.gateway.decisions.finish();
    let text = explained(&folder, second.header("x-request-id"));
    for words in ["not called: ", "its model takes 3 tokens", "its limits", "is full for", "failed this request before"]
    {
        assert!(text.contains(words), "`{words}` in:\n{text}");
    }
}

#[tokio::test]
async fn what_keeps_all_of_them_is_named_too() {
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("one"))]).await;
    let folder = TempDir::new().expect("a folder");
    let own = format!("{}\n  global: {{rpm: 1}}\n  queue: {{max_wait_seconds: 0}}", decisions(&folder, ""));
    let gateway = Gateway::start(&config(&upstream, &own)).await;
    assert_eq!(gateway.post("/v1/chat/completions", &ask("hi")).await.status, 200);
    let refused = gateway.post("/v1/chat/completions", &ask("hi")).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    let shown = told(&gateway, &refused).await;
    assert_eq!(shown["host"]["passed_over"][0]["rule"], "shared-limit", "{shown}");
    assert_eq!(row(&shown, "one")["called"], false, "{shown}");
}

const JSON: &str = "  response_parsers:\n    g: {policy: json, settings: {schema: {type: object, required: [a]}}}\n";

#[tokio::test]
async fn builders_and_parsers_are_told_without_what_was_said() {
    let replies = ["secret thoughts", "{\"a\": 2}"];
    let upstream = ScriptedUpstream::start(replies.map(|reply| Step::json(200, &openai_reply(reply)))).await;
    let folder = TempDir::new().expect("a folder");
    let own = format!(
        "{JSON}  prompt_builders:\n    g: {{policy: template, settings: {{system: \"Be brief.\", user: \"Rate:\\n{{{{items}}}}\"}}}}\n{}",
        decisions(&folder, "")
    );
    let gateway = Gateway::start(&config(&upstream, &own)).await;
    let items = ["one two three four five", "six seven eight nine ten", "it goes on and on", "and on and on and on"];
    let asked = json!({"model": "g", "prompt_items": items, "max_tokens": 10});
    let reply = gateway.post("/v1/chat/completions", &asked).await;
    assert_eq!((content(&reply.json()), reply.header("x-witgate-attempts")), ("{\"a\": 2}", "2"), "{}", reply.text);
    let shown = told(&gateway, &reply).await;
    let prompt = &shown["host"]["prompt"];
    assert!(prompt["policy"].as_str().is_some_and(|policy| policy.starts_with("template@")), "{prompt}");
    assert_eq!((&prompt["end"], &prompt["items"]), (&json!("built"), &json!(4)), "{prompt}");
    assert_eq!((&prompt["messages_before"], &prompt["messages_after"]), (&json!(0), &json!(2)), "{prompt}");
    assert!(prompt["items_kept"].as_u64().is_some_and(|kept| (1..4).contains(&kept)), "{prompt}");
    assert!(prompt["tokens_after"].as_u64() > prompt["tokens_before"].as_u64(), "{prompt}");
    let read = &shown["host"]["replies"];
    assert!(read[0]["policy"].as_str().is_some_and(|policy| policy.starts_with("json@")), "{read}");
    assert_eq!(read[0]["complaint"], json!({"choice": 0, "repair": true}), "{read}");
    assert_eq!((&read[0]["attempt"], &read[0]["bytes_in"]), (&json!(1), &json!(replies[0].len())), "{read}");
    assert_eq!((&read[1]["attempt"], &read[1]["complaint"]), (&json!(2), &Value::Null), "{read}");
    gateway.app.gateway.decisions.finish();
    let text = explained(&folder, reply.header("x-request-id"));
    for words in ["prompt by template@", "messages 0 → 2", "of 4", "reply 1, read by json@", "it complained, and what"]
    {
        assert!(text.contains(words), "`{words}` in:\n{text}");
    }
    for file in run_files(&folder.path().join("runs")).expect("runs") {
        let text = std::fs::read_to_string(&file).expect("a run");
        assert!(!text.contains("secret thoughts") && !text.contains("seven"), "{text}");
        assert!(!text.contains("no JSON"), "a policy's words may quote: {text}");
    }
}

#[tokio::test]
async fn words_of_policies_are_kept_where_the_operator_says_so() {
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("I cannot do that, sk-very-secret."))]).await;
    let folder = TempDir::new().expect("a folder");
    let own = format!("{JSON}{}", decisions(&folder, ", words: true"));
    let gateway = Gateway::start(&config(&upstream, &own)).await;
    let refused = gateway.post("/v1/chat/completions", &ask("?")).await;
    assert_eq!(refused.status, 502, "{}", refused.text);
    let shown = told(&gateway, &refused).await;
    let replies = shown["host"]["replies"].as_array().expect("replies");
    assert_eq!(replies.len(), 3, "{shown}");
    for reply in replies {
        let words = reply["complaint"]["words"].as_str().expect("words");
        assert!(words.contains("there is no JSON in it") && !words.contains("sk-very-secret"), "{words}");
    }
}

#[tokio::test]
async fn a_builder_that_refuses_or_fails_is_told_though_nothing_was_decided() {
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Yes"))]).await;
    let guest = fixture("policies/hostile-prompt.wasm");
    for (deed, pass, status, end, fault) in [
        ("trap", false, 500, "failed", json!("trap")),
        ("trap", true, 200, "passed-over", json!("trap")),
        ("part-twice", false, 500, "failed", json!("contract")),
        ("refuse", false, 500, "refused", Value::Null),
    ] {
        let folder = TempDir::new().expect("a folder");
        let more = if pass { ", on_fault: pass" } else { "" };
        let own = format!(
            "  prompt_builders:\n    g: {{policy: hostile-prompt{more}, settings: {{do: {deed}}}}}\n{}",
            decisions(&folder, "")
        );
        let gateway = Gateway::start_with(&config(&upstream, &own), &[("hostile-prompt.wasm", &guest)]).await;
        let reply = gateway.post("/v1/chat/completions", &ask("666")).await;
        assert_eq!(reply.status, status, "{deed}: {}", reply.text);
        let shown = told(&gateway, &reply).await;
        let prompt = &shown["host"]["prompt"];
        assert_eq!(
            (&prompt["end"], &prompt["fault"], &prompt["words"]),
            (&json!(end), &fault, &Value::Null),
            "{shown}"
        );
        assert_eq!((&shown["group"], &shown["host"]["status"]), (&json!("g"), &json!(status)), "{shown}");
        let refusals = gateway.get("/metrics").await.text;
        let line =
            refusals.lines().find(|line| line.contains("policy_refusals_total") && line.contains("prompt-builder"));
        let expected = if end == "refused" { " 1" } else { " 0" };
        assert!(line.is_some_and(|line| line.ends_with(expected)), "{deed}: {line:?}");
    }
}

#[tokio::test]
async fn a_parser_that_fails_in_a_stream_is_told_with_the_kind_of_its_fault() {
    let upstream = ScriptedUpstream::start([Step::events(stream(&["one ", "666 ", "two"], "stop"))]).await;
    let folder = TempDir::new().expect("a folder");
    let own = format!(
        "  response_parsers:\n    g: {{policy: hostile-reply, settings: {{do: push-trap}}}}\n{}",
        decisions(&folder, "")
    );
    let guest = fixture("policies/hostile-reply.wasm");
    let gateway = Gateway::start_with(&config(&upstream, &own), &[("hostile-reply.wasm", &guest)]).await;
    let mut body = ask("?");
    body["stream"] = json!(true);
    let reply = gateway.post("/v1/chat/completions", &body).await;
    until("it has ended", || gateway.metric("witgate_requests_total{").is_some()).await;
    let shown = told(&gateway, &reply).await;
    let read = &shown["host"]["replies"][0];
    assert_eq!(
        (&read["fault"], &read["bytes_in"], &read["bytes_out"]),
        (&json!("trap"), &json!(8), &json!(4)),
        "{shown}"
    );
    let metrics = gateway.get("/metrics").await.text;
    let of_kind = |kind: &str| {
        let labels = format!("role=\"response-parser\",kind=\"{kind}\"");
        let line = metrics
            .lines()
            .find(|line| line.starts_with("witgate_policy_faults_total{group=\"g\"") && line.contains(&labels));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert_eq!((of_kind("trap"), of_kind("cpu-budget"), of_kind("contract")), (Some(1), Some(0), Some(0)), "{metrics}");
}

#[tokio::test]
async fn what_a_version_on_trial_would_answer_is_told_beside() {
    let deployment = |id: &str| {
        format!(
            "  - {{model_name: g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 1, output_tokens: 1}}}}, model_info: {{id: {id}}}}}\n"
        )
    };
    for mode in ["shadow", "{canary: 5%}"] {
        let folder = TempDir::new().expect("a folder");
        let text = format!(
            "model_list:\n{}{}witgate:\n  state_dir: {}\n  routers: {{g: {{policy: counting, roll_out: {mode}}}}}\n",
            deployment("first"),
            deployment("last"),
            folder.path().join("state").display()
        );
        let component =
            |name: &str| std::fs::read(fixture(&format!("policies/counting-{name}.wasm"))).expect("a guest");
        let guest = fixture("policies/counting-a.wasm");
        let gateway = Gateway::start_with(&text, &[("counting.wasm", &guest)]).await;
        let plain = gateway.post("/route/explain", &ask("hi")).await.json();
        assert_eq!((&plain["trial"], &plain["next"]), (&Value::Null, &json!("call first")), "{plain}");
        gateway.replace("policies/counting.wasm", &component("b"));
        until("it is tried", || gateway.app.gateway.live.read().groups["g"].rollout.is_some()).await;
        let explained = gateway.post("/route/explain", &ask("hi")).await.json();
        assert_eq!(explained["next"], "call first", "the one in force decides: {explained}");
        let trial = &explained["trial"];
        assert_eq!(trial["mode"], if mode == "shadow" { "shadow" } else { "canary" }, "{trial}");
        assert!(trial["policy"] != explained["policy"] && trial["instead"].is_null(), "{trial}");
        let ranked: Vec<&Value> =
            trial["ranking"].as_array().expect("a ranking").iter().map(|one| &one["deployment"]).collect();
        assert_eq!(ranked, ["last", "first"], "{trial}");
        let request = folder.path().join("request.json");
        std::fs::write(&request, ask("hi").to_string()).expect("written");
        let text = dry_run(&gateway, &request).await;
        assert!(text.contains("on trial") && text.contains("would say: last, first"), "{text}");
    }
}

/// The learning router tells its reasons, and learns nothing by being asked for them.
#[tokio::test]
async fn a_router_tells_its_reasons_to_who_only_asks() {
    let deployment = |id: &str, price: &str| {
        format!(
            "  - {{model_name: g, litellm_params: {{model: simulated/m, input_cost_per_token: {price}, output_cost_per_token: {price}, simulated: {{ttft_ms: 0, output_tokens: 2}}}}, model_info: {{id: {id}}}}}\n"
        )
    };
    let (cheap, dear) = (deployment("cheap", "0.0000001"), deployment("dear", "0.001"));
    let text = format!("model_list:\n{cheap}{dear}witgate: {{routers: {{g: {{policy: bandit}}}}}}\n");
    let gateway = Gateway::start(&text).await;
    let reasons = async |of: &str, what: &str| {
        let explained = gateway.post("/route/explain", &ask("hi")).await.json();
        row(&explained, of)["reasons"][what].as_f64().unwrap_or_else(|| panic!("{what} in {explained}"))
    };
    for _ in 0..3 {
        assert_eq!(gateway.post("/v1/chat/completions", &ask("hi")).await.status, 200);
    }
    let mut replies = [0.0, 0.0];
    // Where it saved between these requests, it does so again in five seconds.
    for _ in 0..100 {
        replies = [reasons("cheap", "replies").await, reasons("dear", "replies").await];
        if replies.iter().sum::<f64>() > 2.9 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!((replies.iter().sum::<f64>() - 3.0).abs() < 0.1, "{replies:?}");
    assert!(reasons("cheap", "price").await < reasons("dear", "price").await);
    assert!((reasons("cheap", "replies").await - replies[0]).abs() < 1e-9, "nothing is learned by asking");
    let chances = reasons("cheap", "probability").await + reasons("dear", "probability").await;
    assert!((chances - 1.0).abs() < 1e-3, "{chances}");
    assert!(
        gateway.metric("witgate_chosen_total{group=\"g\",deployment=\"cheap\"}").is_some_and(|chosen| chosen > 0.0)
    );
    let folder = TempDir::new().expect("a folder");
    let request = folder.path().join("request.json");
    std::fs::write(&request, ask("hi").to_string()).expect("written");
    let text = dry_run(&gateway, &request).await;
    assert!(
        text.contains("score ") && text.contains("quality low ") && text.contains("drawn with probability"),
        "{text}"
    );
}

/// Two simulated deployments of one group, behind what `own` says.
fn two_deployments(own: &str) -> String {
    let deployment = |id: &str| {
        format!(
            "  - {{model_name: g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 1, output_tokens: 1}}}}, model_info: {{id: {id}}}}}\n"
        )
    };
    format!("model_list:\n{}{}witgate:\n{own}\n", deployment("first"), deployment("last"))
}

#[tokio::test]
async fn who_only_asks_takes_no_policy_out_of_service() {
    let text = two_deployments(
        "  routers: {g: {policy: hostile, settings: {do: route-trap}}}\n  prompt_builders: {g: {policy: hostile-prompt, settings: {do: trap}}}",
    );
    let (router, builder) = (fixture("policies/hostile.wasm"), fixture("policies/hostile-prompt.wasm"));
    let guests = [("hostile.wasm", &*router), ("hostile-prompt.wasm", &*builder)];
    let gateway = Gateway::start_with(&text, &guests).await;
    let mut cursed = ask("hi");
    cursed["priority"] = json!(666);
    for _ in 0..4 {
        let explained = gateway.post("/route/explain", &cursed).await.json();
        let fault = explained["policy_fault"].as_str().unwrap_or_default();
        assert!(fault.contains("trapped") && explained["next"] == "call first", "{explained}");
        let explained = gateway.post("/route/explain", &ask("666")).await;
        assert_eq!(explained.status, 200, "{}", explained.text);
        let explained = explained.json();
        let next = explained["next"].as_str().unwrap_or_default();
        assert!(next.starts_with("refuse: the prompt builder `hostile-prompt` made no prompt"), "{explained}");
        let prompt = &explained["prompt"];
        assert_eq!((&prompt["end"], &prompt["fault"]), (&json!("failed"), &json!("trap")), "{explained}");
        assert!(prompt["words"].as_str().is_some_and(|words| words.starts_with("trapped")), "{explained}");
    }
    let served = gateway.post("/v1/chat/completions", &ask("hi")).await;
    assert!(served.header("x-witgate-policy").starts_with("hostile@"), "{:?}", served.headers);
    let report = gateway.get("/admin/policies").await.json();
    for policy in report["policies"].as_array().expect("policies") {
        assert_eq!((&policy["faults"], &policy["quarantined"]), (&json!(0), &json!(false)), "{report}");
    }
    let folder = TempDir::new().expect("a folder");
    let request = folder.path().join("request.json");
    std::fs::write(&request, ask("666").to_string()).expect("written");
    let text = dry_run(&gateway, &request).await;
    assert!(text.contains("the prompt builder failed: it trapped") && !text.contains("hint:"), "{text}");
}

#[tokio::test]
async fn who_only_asks_ends_no_canary() {
    let folder = TempDir::new().expect("a folder");
    let text = two_deployments(&format!(
        "  state_dir: {}\n  routers: {{g: {{policy: counting, roll_out: {{canary: 50%}}}}}}",
        folder.path().join("state").display()
    ));
    let gateway = Gateway::start_with(&text, &[("counting.wasm", &fixture("policies/counting-a.wasm"))]).await;
    let faulty = std::fs::read(fixture("policies/counting-faulty.wasm")).expect("a guest");
    gateway.replace("policies/counting.wasm", &faulty);
    let rollout = || gateway.app.gateway.live.read().groups["g"].rollout.clone();
    until("it is tried", || rollout().is_some()).await;
    let mut cursed = ask("hi");
    cursed["priority"] = json!(666);
    // It fails on half of the seeds.
    let mut trapped = 0;
    for _ in 0..20 {
        let explained = gateway.post("/route/explain", &cursed).await.json();
        trapped += usize::from(explained["trial"]["instead"].as_str().is_some_and(|told| told.contains("trapped")));
    }
    assert!(trapped > 3, "{trapped}");
    for _ in 0..5 {
        assert_eq!(gateway.post("/v1/chat/completions", &ask("hi")).await.status, 200);
    }
    let rollout = rollout().expect("it is tried still");
    assert!(rollout.figures().verdict().is_none() && !rollout.candidate().quarantined());
    assert_eq!((rollout.candidate().faults(), rollout.figures().counts().faults), (0, 0));
}

#[tokio::test]
async fn a_router_that_may_not_refuse_is_told_with_the_order_that_applied() {
    let guest = fixture("policies/hostile.wasm");
    let mut cursed = ask("hi");
    cursed["priority"] = json!(666);
    for (grant, status, says) in [
        ("", 200, "rejected without the grant `may_reject`, so that the built-in order applied: "),
        (", may_reject: true", 403, "refused: "),
    ] {
        let folder = TempDir::new().expect("a folder");
        let own = format!(
            "  routers: {{g: {{policy: hostile, settings: {{do: reject}}{grant}}}}}\n{}",
            decisions(&folder, "")
        );
        let gateway = Gateway::start_with(&two_deployments(&own), &[("hostile.wasm", &guest)]).await;
        let reply = gateway.post("/v1/chat/completions", &cursed).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        let shown = told(&gateway, &reply).await;
        assert!(shown["answer"].as_str().is_some_and(|answer| answer.starts_with(says)), "{shown}");
        assert_eq!(row(&shown, "first")["called"], status == 200, "{shown}");
        gateway.app.gateway.decisions.finish();
        let text = explained(&folder, reply.header("x-request-id"));
        assert!(text.contains(says), "{text}");
    }
}

#[tokio::test]
async fn a_request_that_a_router_refuses_is_explained_too() {
    let own = "  routers: {g: {policy: hostile, settings: {do: reject}, may_reject: true}}";
    let guest = fixture("policies/hostile.wasm");
    let gateway = Gateway::start_with(&two_deployments(own), &[("hostile.wasm", &guest)]).await;
    let mut cursed = ask("hi");
    cursed["priority"] = json!(666);
    assert_eq!(gateway.post("/v1/chat/completions", &cursed).await.status, 403);
    let explained = gateway.post("/route/explain", &cursed).await;
    assert_eq!(explained.status, 200, "{}", explained.text);
    let explained = explained.json();
    assert!(explained["next"].as_str().is_some_and(|next| next.starts_with("refuse: nono")), "{explained}");
    assert_eq!((&explained["policy_fault"], &row(&explained, "first")["rank"]), (&Value::Null, &Value::Null));
    let folder = TempDir::new().expect("a folder");
    let request = folder.path().join("request.json");
    std::fs::write(&request, cursed.to_string()).expect("written");
    let text = dry_run(&gateway, &request).await;
    assert!(text.contains(": refuse: nono") && text.contains("first"), "{text}");
}

#[tokio::test]
async fn what_would_wait_too_long_is_told_as_refused() {
    let text = "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, rpm: 1, simulated: {ttft_ms: 1, output_tokens: 1}}, model_info: {id: a}}
witgate: {queue: {max_wait_seconds: 5}}
";
    let gateway = Gateway::start(text).await;
    let next = async || gateway.post("/route/explain", &ask("hi")).await.json()["next"].clone();
    assert_eq!(next().await, "call a");
    assert_eq!(gateway.post("/v1/chat/completions", &ask("hi")).await.status, 200);
    let refused = gateway.post("/v1/chat/completions", &ask("hi")).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    let next = next().await;
    let told = "refuse: `g`: every deployment is at a limit; the next can start in ";
    assert!(next.as_str().is_some_and(|next| next.starts_with(told)), "{next}");
}

async fn dry_run(gateway: &Gateway, request: &Path) -> String {
    let (url, request) = (gateway.url.clone(), request.to_owned());
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_witgate"));
        let output =
            command.args(["route", "--dry-run", "--url", &url]).arg(request).output().expect("the binary runs");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    tokio::task::spawn_blocking(run).await.expect("no panic")
}
