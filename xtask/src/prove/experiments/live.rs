//! The built command over HTTP against the simulated provider, in a window of seconds: as planned, with and without faults; and killed with
//! -9 at random moments until it is done, by the provider's own count.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use witgate::store::{ItemState, ItemStore, Items as _, KeptItem};

use super::{SHARE, WITHIN, figure, saturated, words};
use crate::say;

const KILLS: usize = 10;
/// Seconds of the window in which limits count.
pub(super) const WINDOW: f64 = 20.0;

/// What is run over HTTP.
#[derive(Clone, Copy)]
struct Live {
    name: &'static str,
    batch: Option<u32>,
    /// The share of calls that fail.
    faults: &'static str,
    texts: usize,
    /// Tokens within the window.
    limit: u64,
}

/// Sixty calls fit into a window, and eighteen batches: what they leave of a limit is half a call, so that fewer and larger ones would leave
/// a twentieth of it, and a machine with more to do would be measured by more of them. They are so many that the last window is half full,
/// since one more or less must not be another window; and of few windows, since it is at the start of each that a real clock is late.
const LIVE: [Live; 3] = [
    Live { name: "live", batch: None, faults: "0", texts: 220, limit: 64_000 },
    Live { name: "live, batched", batch: Some(6_000), faults: "0", texts: 363, limit: 110_000 },
    Live { name: "live, 3 % faults", batch: None, faults: "0.03", texts: 220, limit: 64_000 },
];
/// How long texts are. A reply is held with what replies seldom exceed, ten tokens above the usual twenty: of 250 tokens that was a
/// twenty-fifth of the limit, of a study's prompts it is nothing.
pub(super) const LONG: u64 = 4;
/// Milliseconds that a reply takes. A call counts from when its provider must have read it, which its reply says at the latest, and a
/// busy machine is a fifth of a second late with the next one: of a window of ten seconds that was a fiftieth of the limit.
pub(super) const QUICK: u32 = 50;
/// The same for runs that are killed, so that calls are under way then.
pub(super) const SLOW: u32 = 150;

/// What was wrong.
pub(super) fn prove() -> Result<Vec<String>, String> {
    let killed = std::thread::spawn(killed);
    let runs = LIVE.map(|live| (live.name, std::thread::spawn(move || run(live))));
    let mut wrong = Vec::new();
    for (name, run) in runs {
        wrong.extend(run.join().map_err(|_panicked| format!("{name} ended with a panic"))??);
    }
    wrong.extend(killed.join().map_err(|_panicked| "the killed run ended with a panic")??);
    Ok(wrong)
}

/// The built command.
fn binary() -> Result<PathBuf, String> {
    Ok(std::env::current_exe().map_err(|problem| problem.to_string())?.with_file_name("witgate"))
}

/// A child that does not outlive this proof.
pub(super) struct Killed(pub(super) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// The simulated provider over HTTP.
pub(super) struct Provider {
    _process: Killed,
    address: String,
}

/// What it has answered: replies, refusals by its limits, faults.
pub(super) struct Answered(pub(super) [u64; 3]);

impl Answered {
    pub(super) const fn replies(&self) -> u64 {
        self.0[0]
    }
}

impl Provider {
    pub(super) fn start(window: f64, tpm: u64, faults: &str, reply_ms: u32) -> Result<Self, String> {
        let mut process = Killed(
            Command::new(binary()?)
                .args([
                    "simulate-provider",
                    "--port",
                    "0",
                    "--ttft-ms",
                    &reply_ms.to_string(),
                    "--tokens-per-second",
                    "0",
                ])
                .args(["--window-seconds", &window.to_string(), "--tpm", &tpm.to_string(), "--error-rate", faults])
                .args(["--output-tokens", "20", "--log", "error"])
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|problem| format!("the simulated provider: {problem}\nhint: cargo build"))?,
        );
        let mut line = String::new();
        let stdout = process.0.stdout.take().ok_or("no standard output")?;
        BufReader::new(stdout).read_line(&mut line).map_err(|problem| problem.to_string())?;
        let address = line.trim().rsplit("http://").next().ok_or("no address")?.to_owned();
        Ok(Self { _process: process, address })
    }

    pub(super) fn answered(&self) -> Result<Answered, String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.address)?;
            write!(stream, "GET /answered HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().map_err(|fault| format!("the provider's count: {fault}"))?;
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let told: Value = serde_json::from_str(body).map_err(|fault| format!("the provider's count: {fault}"))?;
        let count = |name: &str| told[name].as_u64().ok_or_else(|| format!("the provider tells no {name}: {body}"));
        Ok(Answered([count("replies")?, count("rate_limited")?, count("faults")?]))
    }
}

/// A folder with an experiment over a provider, its texts of 150 to 353 tokens, so many times as long.
pub(super) fn experiment(
    provider: &Provider,
    texts: usize,
    long: u64,
    more: &str,
    window: f64,
    tpm: u64,
) -> Result<tempfile::TempDir, String> {
    let folder = tempfile::tempdir().map_err(|fault| fault.to_string())?;
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).map_err(|fault| fault.to_string());
    let address = &provider.address;
    write(
        "gateway.yaml",
        &format!(
            "model_list:\n- {{model_name: g, litellm_params: {{model: openai/gpt-4o, api_base: \"http://{address}/v1\", api_key: sk-x, tpm: {tpm}, token_usage_window: {window}}}}}\n\
             router_settings: {{num_retries: 3, cooldown_time: 0, allowed_fails: 1000}}\n"
        ),
    )?;
    let lines: Vec<String> = (0..texts)
        .map(|number| {
            format!(
                "{{\"name\": \"t{number:03}\", \"text\": \"{} {number}\"}}\n",
                words(long * (150 + 7 * (number as u64 % 30)))
            )
        })
        .collect();
    write("texts.jsonl", &lines.concat())?;
    write(
        "e.yaml",
        &format!(
            "config: gateway.yaml\ninputs: {{jsonl: texts.jsonl, id: name}}\nprompt: {{user: \"{{{{text}}}}\"}}\nmatrix: {{models: [g]}}\noutput: out\n{more}"
        ),
    )?;
    Ok(folder)
}

pub(super) fn command(folder: &Path) -> Result<Command, String> {
    let mut command = Command::new(binary()?);
    command.args(["run", "e.yaml"]).current_dir(folder).env("XDG_STATE_HOME", folder).stdout(Stdio::null());
    Ok(command)
}

pub(super) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|fault| format!("{}: {fault}", path.display()))
}

/// The items of rows.
pub(super) fn ids(results: &str) -> Vec<&str> {
    results.lines().filter_map(|line| line.split("\"item\":\"").nth(1)?.split('"').next()).collect()
}

/// A run that is let alone, against its plan.
fn run(case: Live) -> Result<Vec<String>, String> {
    let Live { name, batch, faults, texts, limit } = case;
    let mut wrong = Vec::new();
    // The provider holds the usual length of a reply for each call, the gateway what it has learned.
    let provider = Provider::start(WINDOW, limit + 100, faults, QUICK)?;
    let schema = "parser: {schema: {type: object, required: [score], properties: {score: {type: integer}}}}\n";
    let more = match batch {
        Some(tokens) => format!(
            "{schema}batch: {{max_tokens: {tokens}, instruction_tokens: 100}}\nexpect: {{output_tokens: 11, first_token_seconds: 0.05, tokens_per_second: 1000000}}\n"
        ),
        None => "expect: {output_tokens: 20, first_token_seconds: 0.05, tokens_per_second: 1000000}\n".to_owned(),
    };
    let folder = experiment(&provider, texts, LONG, &more, WINDOW, limit)?;
    let done = command(folder.path())?.stderr(Stdio::piped()).output().map_err(|problem| problem.to_string())?;
    if !done.status.success() {
        return Ok(vec![format!("{name}: {}", String::from_utf8_lossy(&done.stderr))]);
    }
    let out = folder.path().join("out");
    let told: Value = serde_json::from_str(&read(&out.join("calibration.json"))?).map_err(|fault| fault.to_string())?;
    let Answered([replies, limited, failed]) = provider.answered()?;
    // A plan knows of no faults. A call that fails and is made again takes its tokens and its place in the limit twice, which the provider counts.
    let again = 1.0 + figure(failed) / figure(replies);
    let mut line = format!("{name:<18}");
    for (what, digits) in [("minutes", 3), ("cost_usd", 4), ("input_tokens", 0), ("output_tokens", 0)] {
        let of = |which: &str| told["models"][0][what][which].as_f64();
        let (Some(planned), Some(done)) = (of("planned"), of("done")) else {
            return Err(format!("{name}: no {what} in {told}"));
        };
        let _ = write!(line, " {what} {planned:.digits$} → {done:.digits$}");
        // Replies are as long as the provider draws them; what is held to its plan is their cost. Time is from the first call that is
        // sent to the last reply: a plan knows nothing of how long a process takes to start.
        if what != "output_tokens" && (done / (planned * again) - 1.0).abs() > WITHIN {
            wrong
                .push(format!("{name}: {what} was planned as {planned:.4} and came to {done:.4} with {failed} faults"));
        }
    }
    let rows = read(&out.join("results.jsonl"))?;
    let share = saturated(&rows, Duration::from_secs_f64(WINDOW), limit)?;
    // Faults take their place in the limit and are in no row.
    if share * again < SHARE {
        wrong.push(format!(
            "{name}: while calls waited {share:.3} of the limit was used, and {failed} faults took some"
        ));
    }
    say(&format!("{line} {replies} replies, {limited} 429s, {failed} faults, share {share:.3}"));
    if limited > 0 || rows.lines().count() != texts {
        wrong.push(format!("{name}: {limited} refusals by limits, {} rows of {texts}", rows.lines().count()));
    }
    Ok(wrong)
}

/// Items of a run's file.
fn counted(state: &Path, which: impl Fn(&KeptItem) -> bool) -> Result<usize, String> {
    let mut count = 0;
    ItemStore::open(state)?.each(&mut |item| {
        count += usize::from(which(&item));
        Ok(())
    })?;
    Ok(count)
}

/// A run that is killed at random moments until it is done.
fn killed() -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    let provider = Provider::start(0.4, 1_800, "0", SLOW)?;
    let folder = experiment(&provider, 160, 1, "", 0.4, 1_700)?;
    let state = folder.path().join("out/state.db");
    let mut chance = 42_u64;
    let (mut kills, mut under_way) = (0, 0);
    loop {
        let mut run =
            Killed(command(folder.path())?.stderr(Stdio::piped()).spawn().map_err(|problem| problem.to_string())?);
        if kills == KILLS {
            let status = run.0.wait().map_err(|problem| problem.to_string())?;
            if !status.success() {
                wrong.push(format!("the run that was killed {KILLS} times ended with {status}"));
            }
            break;
        }
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(1_700 + (chance >> 33) % 1_500));
        if run.0.try_wait().map_err(|problem| problem.to_string())?.is_some() {
            say(&format!("the run was done before kill {}", kills + 1));
            break;
        }
        drop(run);
        kills += 1;
        if state.exists() {
            under_way += counted(&state, |item| item.state == ItemState::Sent)?;
        }
    }
    let results = read(&folder.path().join("out/results.jsonl"))?;
    let ids = ids(&results);
    let different: BTreeSet<&str> = ids.iter().copied().collect();
    let items = counted(&state, |_| true)?;
    let Answered([replies, limited, _]) = provider.answered()?;
    say(&format!(
        "killed {kills} times: {items} items, {} rows of {} items; the provider counts {replies} replies and {limited} 429s, {under_way} under way at the kills",
        ids.len(),
        different.len()
    ));
    if ids.len() != items || different.len() != items {
        wrong.push("an item is missing from the results, or there twice".to_owned());
    }
    if replies > (items + under_way) as u64 {
        wrong.push(format!("{replies} replies for {items} items and {under_way} under way at the kills"));
    }
    Ok(wrong)
}
