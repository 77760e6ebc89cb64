//! `witgate simulate`: the page's commands, what is refused, and what a configuration that knows its limits gains.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use witgate::chat::Usage;
use witgate::id::{DeploymentId, GroupName, KeyId, ProviderName, RequestId};
use witgate::moment::Moment;
use witgate::money::NanoUsd;
use witgate::record::{AttemptRecord, Ending, Record};
use witgate::store::Ledger;

fn witgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_witgate"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env_remove("OPENAI_API_KEY")
        .output()
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A file in `folder`, by its path.
fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

fn compared(arguments: &[&str]) -> Value {
    let output = witgate(&[&["simulate", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Two keys with these limits.
fn config(limits: [&str; 2]) -> String {
    let row = |number: usize| {
        let limit = limits[number];
        format!("- {{model_name: m, litellm_params: {{model: openai/gpt-4o, api_key: sk-{number}{limit}}}}}\n")
    };
    format!("model_list:\n{}{}router_settings: {{num_retries: 0}}\n", row(0), row(1))
}

#[test]
fn the_page_s_commands_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("compare.html").display().to_string();
    let shown = include_str!("../../docs/simulate.md").split("```").nth(1).expect("a block");
    let lines: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("witgate ")).collect();
    assert_eq!(lines.len(), 3);
    for line in lines {
        let words = line.split_whitespace().map(|word| if word == "compare.html" { &page } else { word });
        let output = witgate(&words.collect::<Vec<_>>());
        assert!(output.status.success(), "{line}: {}", text(&output));
        let told = text(&output);
        assert!(line.contains("--json") || told.contains("p99 s"), "{told}");
    }
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("<polyline") && page.contains("</html>") && !page.contains("http"), "{page}");
}

#[test]
fn a_configuration_that_knows_its_limits_meets_no_429_and_the_same_seed_gives_the_same_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let knows = written(folder.path(), "knows.yaml", &config([", tpm: 20000, rpm: 100", ", tpm: 10000, rpm: 100"]));
    let blind = written(folder.path(), "blind.yaml", &config(["", ""]));
    let mut load = String::new();
    // Faster than the first reply comes, whose headers tell the limits.
    for tenth in 0..60 {
        let _ = writeln!(
            load,
            r#"{{"at": 0.{tenth:02}, "model": "m", "input_tokens": 900, "output_tokens": 100, "max_tokens": 100}}"#
        );
    }
    let load = written(folder.path(), "load.jsonl", &load);
    let ask = || compared(&["--config", &knows, "--config", &blind, "--load", &load, "--seed", "7"]);
    let first = ask();
    assert_eq!(first, ask());
    let [knows, blind] = [0, 1].map(|place| &first["contenders"][place]);
    assert_eq!((knows["answered"].as_u64(), knows["rate_limited"].as_u64()), (Some(60), Some(0)), "{knows:#}");
    assert!(blind["rate_limited"].as_u64() > Some(0), "{blind:#}");
    // 60 requests of 1,000 tokens, of which 30,000 pass a minute.
    assert!(knows["makespan_seconds"].as_f64() > Some(60.0) && knows["limit_used"].as_f64() > Some(0.9), "{knows:#}");
    assert_eq!(knows["input_tokens"].as_u64(), Some(54_000));
    let deployments = knows["deployments"].as_array().expect("a list");
    let calls: u64 = deployments.iter().filter_map(|of| of["calls"].as_u64()).sum();
    assert_eq!((deployments.len(), calls), (2, 60));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = written(folder.path(), "a.yaml", &config(["", ""]));
    let refused = |lines: &str, words: &[&str]| {
        let load = written(folder.path(), "load.jsonl", lines);
        let output = witgate(&["simulate", "--config", &config, "--load", &load]);
        assert!(!output.status.success(), "{lines}");
        for word in words {
            assert!(text(&output).contains(word), "{word}: {}", text(&output));
        }
    };
    let fine = r#"{"at": 1, "model": "m", "input_tokens": 9}"#;
    refused(
        &format!(
            "{fine}\n{{\"at\": 2, \"model\": \"m\"}}\n{{\"at\": 0, \"model\": \"m\", \"input_tokens\": 9}}\nnonsense\n"
        ),
        &[
            "load.jsonl:2:23: missing field `input_tokens`",
            "load.jsonl:3: it arrives before",
            "load.jsonl:4:2: expected",
        ],
    );
    refused(&fine.replace("\"m\"", "\"other\""), &["load.jsonl:1: no model is named `other`", "known: m"]);
    refused("", &["no request is in it"]);
    let missing = witgate(&["simulate", "--config", &config, "--load", "no-such.jsonl"]);
    assert!(text(&missing).contains("no-such.jsonl: No such file"), "{}", text(&missing));
    let router = ["simulate", "--config", &config, "--load", "examples/load.jsonl", "--routers", "no-such"];
    assert!(text(&witgate(&router)).contains("no-such"), "{}", text(&witgate(&router)));
}

#[test]
fn a_ledger_s_requests_are_a_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path).expect("a ledger");
    // More than are read at once, several in one millisecond.
    for number in 0..2_100 {
        ledger.keep(record(number, if number % 3 == 0 { "gone" } else { "m" }));
    }
    ledger.finish();
    let config = written(folder.path(), "a.yaml", &config(["", ""]));
    let ledger = path.display().to_string();
    let all = ["--config", &config, "--from-ledger", "--ledger", &ledger];
    let told = compared(&all);
    let outcome = &told["contenders"][0];
    assert_eq!(
        (outcome["answered"].as_u64(), outcome["left_out"]["gone"].as_u64()),
        (Some(1_400), Some(700)),
        "{told:#}"
    );
    assert_eq!(
        (outcome["input_tokens"].as_u64(), outcome["output_tokens"].as_u64()),
        (Some(1_400 * 40), Some(1_400 * 7))
    );
    // As long as the ledger has seen it take: 7 tokens in 140 ms.
    assert!((outcome["latency_seconds"]["p50"].as_f64().expect("a number") - 0.12).abs() < 0.03, "{outcome:#}");
    let none = witgate(&[&["simulate"], &all[..], &["--since", "2030-01-01"]].concat());
    assert!(text(&none).contains("no request of that time"), "{}", text(&none));
}

fn record(number: u64, group: &str) -> Record {
    let arrived = Moment::from_millis(1_795_694_400_000 + number / 4);
    let usage = Usage { input_tokens: 40, output_tokens: 7, ..Usage::default() };
    let mut record = Record::new(RequestId::derive(arrived, number), arrived, "openai");
    (record.caller, record.group) = (Some(KeyId::from("ann")), Some(GroupName::from(group)));
    (record.tags, record.usage) = (vec!["study".to_owned()], usage.clone());
    (record.status, record.ending) = (200, Ending::Whole);
    let attempt = AttemptRecord {
        group: GroupName::from(group),
        deployment: DeploymentId::from("one"),
        provider: ProviderName::from("openai"),
        model: "gpt-4o".into(),
        fault: None,
        latency: Duration::from_millis(140),
        usage,
        usage_refused: false,
        cost: None,
        charged: NanoUsd::default(),
    };
    record.attempts = vec![attempt];
    record
}
