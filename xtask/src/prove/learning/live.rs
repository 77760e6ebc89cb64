//! The example over HTTP: 2,000 questions to a gateway that is restarted, swaps its policy, and is killed with -9 while it learns.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use witgate::evaluate::{Contender, DataSet, Example, LEARNER, Players, Replied};

use super::super::ledger::{Gateway, exchange};
use crate::bench::watch::now;
use crate::say;

/// Questions in all, and after which something happens.
const QUESTIONS: usize = 2_000;
const RESTARTED: usize = 700;
const SWAPPED: usize = 1_200;
const KILLED: usize = 1_700;
/// Questions at the end, and at the beginning, whose cost is compared.
const LAST: usize = 300;
const FIRST: usize = 200;
const CLIENTS: usize = 4;
/// What a process that is killed may lose.
const SAVED_EVERY: Duration = Duration::from_secs(10);
/// What the last requests may cost beside what they do offline, where every reply is graded and none is later than the next question.
const AS_OFFLINE: f64 = 0.3;
/// Spend falls to this share of what it is at first, at most.
const FALLS: f64 = 0.6;
/// Of what was known, what must be known after a restart: replies are told by a tenth, and fade with each question.
const KEPT: f64 = 0.995;

/// A model of the example: its name, and the quality of its replies to questions about code and to others.
const MODELS: [(&str, f64, f64); 4] =
    [("coder", 0.95, 0.4), ("large", 0.97, 0.97), ("middle", 0.6, 0.95), ("tiny", 0.45, 0.45)];

/// A reply: the model's place, and what it cost.
type Reply = (usize, f64);

/// What was wrong.
pub(super) fn prove(root: &Path, players: &mut Players) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    let folder = tempfile::tempdir().map_err(|problem| problem.to_string())?;
    let text = |path: &Path| fs::read_to_string(path).map_err(|problem| format!("{}: {problem}", path.display()));
    let policies = folder.path().join("policies");
    let example = text(&root.join("examples/learning.yaml"))?;
    let config = format!("{example}  policies: {{dir: {}}}\n", policies.display());
    let component = fs::read(root.join("policies/bandit.wasm")).map_err(|problem| problem.to_string())?;
    fs::create_dir(&policies).map_err(|problem| problem.to_string())?;
    fs::write(folder.path().join("config.yaml"), config).map_err(|problem| problem.to_string())?;
    fs::write(policies.join("bandit.wasm"), &component).map_err(|problem| problem.to_string())?;

    let began = now();
    let mut replies = Vec::with_capacity(QUESTIONS);
    let mut keeps = |what: &str, before: f64, after: f64| {
        say(&format!("  {what}: {before:.1} replies known before, {after:.1} after"));
        if after < before * KEPT {
            wrong.push(format!("{what}: of {before:.1} replies {after:.1} are known"));
        }
    };

    let gateway = Gateway::start(folder.path())?;
    ask(&gateway, 0..RESTARTED, &mut replies)?;
    let before = known(&gateway)?;
    gateway.stop()?;
    let gateway = Gateway::start(folder.path())?;
    keeps("restarted", before, known(&gateway)?);
    ask(&gateway, RESTARTED..SWAPPED, &mut replies)?;

    let (before, version) = (known(&gateway)?, deciding(&gateway)?);
    // Another component that does the same: an empty custom section changes its digest.
    let aside = policies.join("bandit.tmp");
    let other = [&component[..], &[0, 5, 4][..], &b"next"[..]].concat();
    fs::write(&aside, other)
        .and_then(|()| fs::rename(&aside, policies.join("bandit.wasm")))
        .map_err(|p| p.to_string())?;
    let until = now() + Duration::from_secs(30);
    while deciding(&gateway)? == version {
        if now() > until {
            return Err("the policy was not swapped within 30 s".to_owned());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    keeps("swapped", before, known(&gateway)?);
    ask(&gateway, SWAPPED..KILLED, &mut replies)?;

    let before = known(&gateway)?;
    // What is learned within its last ten seconds may go with it, and no more.
    std::thread::sleep(SAVED_EVERY + Duration::from_secs(1));
    gateway.kill()?;
    let gateway = Gateway::start(folder.path())?;
    keeps("killed ten seconds later", before, known(&gateway)?);
    ask(&gateway, KILLED..QUESTIONS, &mut replies)?;
    gateway.stop()?;

    let spent = began.elapsed().as_secs_f64();
    wrong.extend(compared(&replies, players)?);
    say(&format!("  {QUESTIONS} questions, {spent:.0} s"));
    Ok(wrong)
}

/// The example's questions: half of them about code.
fn question(number: usize) -> (bool, String) {
    let about_code = witgate::seed::derive(1, number as u64).is_multiple_of(2);
    let text = if about_code {
        format!("Write a Python function that sorts {number} numbers, and explain each line of the function.")
    } else {
        format!("Tell me how {number} quiet people in a small town by the sea spend an evening in winter.")
    };
    (about_code, text)
}

/// Asks these, several at once, and waits until what is to be judged is judged.
fn ask(gateway: &Gateway, questions: std::ops::Range<usize>, replies: &mut Vec<Reply>) -> Result<(), String> {
    let next = AtomicUsize::new(questions.start);
    let told: Mutex<Vec<(usize, Reply)>> = Mutex::default();
    let failed: Mutex<Option<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= questions.end {
                        return;
                    }
                    match asked(gateway, number) {
                        Ok(reply) => told.lock().unwrap_or_else(PoisonError::into_inner).push((number, reply)),
                        Err(why) => *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why),
                    }
                }
            });
        }
    });
    if let Some(why) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(why);
    }
    let mut told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    told.sort_by_key(|(number, _)| *number);
    replies.extend(told.into_iter().map(|(_, reply)| reply));
    // A judge is a moment behind.
    let mut before = known(gateway)?;
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(100));
        let after = known(gateway)?;
        if (after - before).abs() < 1e-6 {
            break;
        }
        before = after;
    }
    Ok(())
}

fn asked(gateway: &Gateway, number: usize) -> Result<Reply, String> {
    let (_, text) = question(number);
    let (head, body) = posted(gateway, "/v1/chat/completions", &text)?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let deployment = header("x-witgate-deployment").ok_or_else(|| format!("no reply: {head} {body}"))?.trim();
    let model = MODELS.iter().position(|(name, ..)| *name == deployment);
    let cost = header("x-litellm-response-cost").and_then(|cost| cost.trim().parse().ok());
    model.zip(cost).ok_or_else(|| format!("a reply of nobody, or without its cost: {head}"))
}

fn posted(gateway: &Gateway, path: &str, text: &str) -> Result<(String, String), String> {
    let body = json!({"model": "assistant", "messages": [{"role": "user", "content": text}]}).to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    exchange(gateway.address, &request).ok_or_else(|| format!("no answer at {path}"))
}

fn explained(gateway: &Gateway) -> Result<Value, String> {
    let (_, body) = posted(gateway, "/route/explain", "How many?")?;
    serde_json::from_str(&body).map_err(|problem| format!("{body}: {problem}"))
}

/// How many replies the router remembers, of all models.
fn known(gateway: &Gateway) -> Result<f64, String> {
    let told = explained(gateway)?;
    let rows = told["deployments"].as_array().ok_or_else(|| format!("no deployments: {told}"))?;
    rows.iter()
        .map(|row| row["reasons"]["replies"].as_f64())
        .sum::<Option<f64>>()
        .ok_or_else(|| format!("no reasons: {told}"))
}

/// Which version decides.
fn deciding(gateway: &Gateway) -> Result<String, String> {
    Ok(explained(gateway)?["policy"].as_str().unwrap_or_default().to_owned())
}

/// What was spent against the same questions offline.
fn compared(replies: &[Reply], players: &mut Players) -> Result<Vec<String>, String> {
    let mean = |costs: &[f64]| witgate::evaluate::Interval::of(costs).mean;
    let costs: Vec<f64> = replies.iter().map(|(_, cost)| *cost).collect();
    let mean_cost = |model: usize| {
        let own: Vec<f64> = replies.iter().filter(|(chosen, _)| *chosen == model).map(|(_, cost)| *cost).collect();
        mean(&own)
    };
    let costs_of: Vec<f64> = (0..MODELS.len()).map(mean_cost).collect();
    let example = |number: usize| {
        let (about_code, prompt) = question(number);
        let reply = |(place, (_, code, other)): (usize, &(&str, f64, f64))| Replied {
            reward: if about_code { *code } else { *other },
            cost: costs_of[place],
            latency_ms: None,
        };
        Example { prompt, vector: None, replies: MODELS.iter().enumerate().map(reply).collect() }
    };
    let data = DataSet {
        models: MODELS.iter().map(|(name, ..)| (*name).to_owned()).collect(),
        examples: (0..QUESTIONS).map(example).collect(),
    };
    let contender = Contender {
        name: "offline".to_owned(),
        router: LEARNER.to_owned(),
        settings: json!({"reward": {"quality": 1, "cost": 0.3}, "exploration": 0.3}),
    };
    let run = players.play(&contender, &data, &(0..QUESTIONS).collect::<Vec<_>>(), 1)?;
    let offline: Vec<f64> = run.steps.iter().map(|step| costs_of[step.model]).collect();
    let share = |from: usize, to: usize, model: usize| {
        let own = replies[from..to].iter().filter(|(chosen, _)| *chosen == model).count();
        format!("{} {:.0} %", MODELS[model].0, 100.0 * super::count(own) / super::count(to - from))
    };
    let shares =
        |from: usize, to: usize| (0..MODELS.len()).map(|model| share(from, to, model)).collect::<Vec<_>>().join(", ");
    let (first, last) = (mean(&costs[..FIRST]), mean(&costs[QUESTIONS - LAST..]));
    let foretold = mean(&offline[QUESTIONS - LAST..]);
    say(&format!(
        "  the first {FIRST}: USD {first:.6} each ({}); the last {LAST}: USD {last:.6} ({}), offline USD {foretold:.6}",
        shares(0, FIRST),
        shares(QUESTIONS - LAST, QUESTIONS)
    ));
    let mut wrong = Vec::new();
    if last > FALLS * first {
        wrong.push(format!("live: spend falls to {:.2} of what it was, {FALLS} at most wanted", last / first));
    }
    if (last / foretold - 1.0).abs() > AS_OFFLINE {
        wrong.push(format!("live: USD {last:.6} each at the end, and offline {foretold:.6}"));
    }
    Ok(wrong)
}
