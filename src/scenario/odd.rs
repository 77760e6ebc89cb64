//! What nobody means to send and somebody will: for the checks that every builder and parser gets.

/// Settings that make no sense.
pub(super) fn settings() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        "null",
        "[]",
        "1",
        "{",
        "{}}",
        "{\"\u{0}\":1}",
        "{\"a\":1e999999}",
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
