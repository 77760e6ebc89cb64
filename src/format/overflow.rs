//! Prompts that are too long, in whichever words a provider says so: agents shorten a conversation by a code or by words, and by
//! nothing else.

use crate::fault::{AttemptFault, FaultKind, Refusal};

/// The code by which such a fault is known, whoever reported it.
pub(super) const CODE: &str = "context_length_exceeded";

/// How providers say it. Their codes say less: mostly that the request was not valid.
const WORDS: [&str; 25] = [
    "prompt is too long",
    "maximum context length",
    "context length exceeded",
    "exceed context limit",
    "exceeds the context window",
    "exceeds the maximum number of tokens allowed",
    "input is too long for requested model",
    "too large for model with",
    "reduce the length of the messages",
    // xAI, Moonshot, MiniMax, Cohere, Together and SGLang.
    "maximum prompt length is",
    "exceeded model token limit",
    "context window exceeds limit",
    "too many tokens",
    "longer than the model's context length",
    // Servers at home: llama.cpp and what is built on it, LM Studio (two ways), Ollama, vLLM.
    "exceeds the available context size",
    "exceed context window of",
    "greater than the context length",
    "context length of only",
    "prompt too long; exceeded",
    "maximum model length is",
    "longer than the maximum model length of",
    // Text Generation Inference, and others that imitate OpenAI; OpenAI's newest models.
    "`inputs` tokens + `max_new_tokens` must be <=",
    "maximum input length is",
    "model's maximum context limit",
    "input tokens exceed the configured limit",
];

/// What one says in two parts, with a number between them.
const BEFORE_AND_AFTER: (&str, &str) = ("current length is", "while limit is");

/// Gives a refusal of a provider's its code, where its words say that the prompt is too long.
pub(super) fn name(fault: &mut AttemptFault) {
    let refused = match fault.status {
        Some(status) => matches!(status, 400 | 413 | 422),
        // Inside a stream there is none.
        None => fault.kind == FaultKind::Rejected,
    };
    if fault.code.as_deref() != Some(CODE) && refused && is_said(&fault.message) {
        fault.code = Some(CODE.to_owned());
    }
}

/// Whether a refusal is of that kind.
pub(super) fn is(refusal: &Refusal) -> bool {
    refusal.code.as_deref() == Some(CODE)
}

fn is_said(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let (before, after) = BEFORE_AND_AFTER;
    let in_two = || message.split_once(before).is_some_and(|(_, rest)| rest.contains(after));
    WORDS.iter().any(|words| message.contains(words)) || in_two()
}

/// How a message begins that counts the reply's room in: `INPUT + MAX_TOKENS > LIMIT`. Its prompt may be shorter than the limit.
const SUM: &str = "exceed context limit:";

/// Whether a message is of a sum.
pub(super) fn is_sum(message: &str) -> bool {
    sum(message).is_some()
}

/// Prompt and limit of a message of a sum; the limit is what `max_tokens` leaves to the prompt.
fn sum(message: &str) -> Option<(u64, u64)> {
    let (_, told) = message.split_once(SUM)?;
    let (input, told) = told.split_once('+')?;
    let (room, limit) = told.split_once('>')?;
    let limit = limit.trim_start();
    let end = limit.find(|sign: char| !(sign.is_ascii_digit() || sign == ',')).unwrap_or(limit.len());
    let (input, room, limit) = (number(input)?, number(room)?, number(&limit[..end])?);
    Some((input, limit.saturating_sub(room)))
}

fn number(word: &str) -> Option<u64> {
    word.trim().trim_matches(',').replace(',', "").parse().ok()
}

/// Tokens of the prompt and the most there may be, where a message tells both: those of a sum, or the largest number and the one that
/// is next to it. None of a message that adds the reply's room to the prompt in other words: which number is which is not
/// told there.
pub(super) fn numbers(message: &str) -> Option<(u64, u64)> {
    if let Some(told) = sum(message) {
        return Some(told);
    }
    if message.contains("max_new_tokens") {
        return None;
    }
    let words = message.split(|sign: char| !(sign.is_ascii_digit() || sign == ','));
    let mut found: Vec<u64> = words.filter_map(number).filter(|number| *number >= 100).collect();
    found.sort_unstable();
    found.dedup();
    let (tokens, most) = (found.pop()?, found.pop()?);
    Some((tokens, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vendor_s_words_are_known() {
        for (message, expected) in [
            (
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
                Some((9000, 8192)),
            ),
            ("prompt is too long: 208310 tokens > 200000 maximum", Some((208_310, 200_000))),
            (
                "The input token count (1,200,000) exceeds the maximum number of tokens allowed (1048576).",
                Some((1_200_000, 1_048_576)),
            ),
            (
                "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
                Some((40_000, 32_768)),
            ),
            ("Please reduce the length of the messages or completion.", None),
            (
                "input length and `max_tokens` exceed context limit: 199759 + 20000 > 200000, decrease input length or `max_tokens` and try again",
                Some((199_759, 180_000)),
            ),
            (
                "input length and `max_tokens` exceed context limit: 188,240 + 21,333 > 200,000",
                Some((188_240, 178_667)),
            ),
            ("input length and `max_tokens` exceed context limit: 4000 + 20000 > 10000.", Some((4000, 0))),
            (
                "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
                Some((537_812, 131_072)),
            ),
            (
                "Invalid request: Your request exceeded model token limit: 262144 (requested: 291351)",
                Some((291_351, 262_144)),
            ),
            ("invalid params, context window exceeds limit", None),
            (
                "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292",
                Some((4292, 4081)),
            ),
            (
                "The input (1492905 tokens) is longer than the model's context length (1048576 tokens).",
                Some((1_492_905, 1_048_576)),
            ),
            ("the request exceeds the available context size. try increasing the context size", None),
            ("request (14429 tokens) exceeds the available context size (8192 tokens)", Some((14_429, 8192))),
            ("Requested tokens (2285) exceed context window of 2048", Some((2285, 2048))),
            (
                "Trying to keep the first 15857 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens",
                Some((15_857, 4096)),
            ),
            ("The number of tokens to keep from the initial prompt is greater than the context length.", None),
            ("prompt too long; exceeded max context length by 4 tokens", None),
            (
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 500 `max_new_tokens`",
                None,
            ),
            ("The decoder prompt (length 9000) is longer than the maximum model length of 8192.", Some((9000, 8192))),
            ("Current length is 140000 while limit is 131072", Some((140_000, 131_072))),
            ("This model's maximum input length is 512 tokens, and there are 700.", Some((700, 512))),
            (
                "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
                Some((300_000, 272_000)),
            ),
            ("The request is over the model's maximum context limit of 32768 tokens", None),
        ] {
            let mut fault = AttemptFault { status: Some(400), ..AttemptFault::new(FaultKind::Rejected, message) };
            fault.code = Some("invalid_request_error".to_owned());
            name(&mut fault);
            assert_eq!((fault.code.as_deref(), numbers(message)), (Some(CODE), expected), "{message}");
        }
        let mut other = AttemptFault { status: Some(400), ..AttemptFault::new(FaultKind::Rejected, "no such field") };
        name(&mut other);
        assert_eq!(other.code, None);
    }
}
