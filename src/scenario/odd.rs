//! What nobody means to send and somebody will, and what must not come of it: for the checks that every policy gets.

use std::sync::Arc;

use crate::policy::PolicyProblem;

/// Growth of memory that is none: an allocator may round up once more.
const PAGE: usize = 64 * 1024;

/// Starts a policy with settings that make no sense, one after the other. That it refuses them is a good answer.
pub(super) fn try_settings<P>(start: impl Fn(Arc<str>) -> Result<P, PolicyProblem>) -> Result<(), String> {
    for settings in settings() {
        match start(Arc::from(settings.as_str())) {
            Ok(_) | Err(PolicyProblem::Configure(_)) => {}
            Err(problem) => {
                let shown: String = settings.chars().take(40).collect();
                return Err(format!("settings {shown:?}: {problem}"));
            }
        }
    }
    Ok(())
}

/// The bytes that an instance has now, unless these are more than when it was warm. `calls` says between which two that was.
pub(super) fn without_growth(warm: usize, now: usize, calls: &str) -> Result<usize, String> {
    match now.saturating_sub(warm) {
        0..=PAGE => Ok(now),
        growth => Err(format!("it grew by {growth} bytes {calls}")),
    }
}

/// Settings that make no sense.
pub(super) fn settings() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "null",
        "[]",
        "1",
        "\"\"",
        "{",
        "}",
        "{}}",
        "{\"",
        "{\"\u{0}\":1}",
        "{\"a\":1e999999}",
        "{\"a\":-",
        "{\"a\":\"\\ud800\"}",
        "{\"no such setting\":{\"a\":[1,2,{}]}}",
        "\u{feff}{}",
        "{'a':1}",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("[".repeat(100_000));
    texts.push(format!("{{\"{}\": 1}}", "x".repeat(60_000)));
    texts
}

/// Texts, JSON texts among them, whole and in part.
pub(super) const TEXTS: [&str; 16] = [
    "",
    " \n\t\r ",
    "Hello, world.",
    "grüße, 世界, 👩‍👩‍👧, e\u{301}, \u{202e}txt\u{202c}, \u{0}\u{7}\u{1b}[31m\u{feff}",
    "<think>hm, so</think>\n\nYes.",
    "<thinking>a<think>b</thinking>c</think>d",
    "</think><think",
    "<<<EMAIL_1>> <EMAIL_ <EMAIL_1",
    "{{a}} {{ {{{{ }} {% if %}",
    "Sure:\n```json\n{\"a\": [1, 2, {\"b\": \"}\"}]}\n```\nThere.",
    "```\n{'a': True, // why\n b: None,}",
    "{\"a\":\"\\ud83d\\",
    "[[[[[[{\"a\":{\"b\":[",
    "1e400 -0 NaN {\"a\":1e999999}",
    "write to ada@example.org, +49 30 1234567, DE89370400440532013000, 4111 1111 1111 1111 and 10.0.0.1",
    "\\\"\\\\\\n{\"a\":\"\\u0000\"}",
];
