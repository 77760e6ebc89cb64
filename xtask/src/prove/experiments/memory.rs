//! What a run keeps in memory does not grow with its items: the same command with few items and with ten times as many, the replies of
//! which would be tens of megabytes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::live::{Killed, command};
use crate::say;

/// Repetitions of a text, few and many.
const REPETITIONS: [u64; 2] = [300, 3_000];
/// Tokens of a reply, about 12 KB.
const OUTPUT: u32 = 2_000;
/// What the peak may grow by with the items: each is a name, a place and a call that waits.
const GROWTH_KB: u64 = 8 << 10;

/// What was wrong.
pub(super) fn prove() -> Result<Vec<String>, String> {
    let mut peaks = Vec::new();
    for items in REPETITIONS {
        peaks.push(peak(items)?);
    }
    let replies = ((REPETITIONS[1] - REPETITIONS[0]) * u64::from(OUTPUT) * 6) >> 10;
    let grown = peaks[1].saturating_sub(peaks[0]);
    say(&format!(
        "memory at most: {} items {} KB, {} items {} KB: {grown} KB more, for {replies} KB more of replies",
        REPETITIONS[0], peaks[0], REPETITIONS[1], peaks[1]
    ));
    let wrong = format!("a run of {} items takes {grown} KB more than one of {}", REPETITIONS[1], REPETITIONS[0]);
    Ok(if grown > GROWTH_KB { vec![wrong] } else { Vec::new() })
}

/// The most memory that a run of so many items had, in kilobytes.
fn peak(items: u64) -> Result<u64, String> {
    let folder = tempfile::tempdir().map_err(|fault| fault.to_string())?;
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).map_err(|fault| fault.to_string());
    write(
        "gateway.yaml",
        &format!(
            "model_list:\n- {{model_name: g, litellm_params: {{model: simulated/g, simulated: {{output_tokens: {OUTPUT}, ttft_ms: 0, tokens_per_second: 0}}}}}}\n"
        ),
    )?;
    write("texts.jsonl", "{\"text\": \"a question\"}\n")?;
    write(
        "e.yaml",
        &format!(
            "config: gateway.yaml\ninputs: {{jsonl: texts.jsonl}}\nprompt: {{user: \"{{{{text}}}}\"}}\nmatrix: {{models: [g]}}\n\
             repetitions: {items}\nconcurrency: 16\noutput: out\n"
        ),
    )?;
    let mut run = Killed(command(folder.path())?.stderr(Stdio::inherit()).spawn().map_err(|fault| fault.to_string())?);
    let status = Path::new("/proc").join(run.0.id().to_string()).join("status");
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = run.0.try_wait().map_err(|fault| fault.to_string())? {
            break ended;
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let told =
            text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
        peak = peak.max(told.unwrap_or_default());
        std::thread::sleep(Duration::from_millis(5));
    };
    if !ended.success() {
        return Err(format!("a run of {items} items ended with {ended}"));
    }
    Ok(peak)
}
