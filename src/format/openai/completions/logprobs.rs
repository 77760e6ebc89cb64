//! How likely tokens were, in the words of the older completions.

use serde_json::Value;

use crate::chat::{Rest, TokenLogprob};
use crate::format::write::Object;

/// Writes them as the fields of `object`. `offset` is how many characters of the text came before them, and after it how many did with them.
pub(super) fn write(tokens: &[TokenLogprob], offset: &mut usize, object: &mut Object<'_>) {
    let texts: Vec<&str> = tokens.iter().map(|token| token.chosen.text.as_str()).collect();
    let chances: Vec<f64> = tokens.iter().map(|token| token.chosen.logprob).collect();
    let likeliest = |token: &TokenLogprob| -> Rest {
        token.likeliest.iter().map(|other| (other.text.clone(), Value::from(other.logprob))).collect()
    };
    let asked = tokens.iter().any(|token| !token.likeliest.is_empty());
    let likeliest: Option<Vec<Rest>> = asked.then(|| tokens.iter().map(likeliest).collect());
    let mut offsets = Vec::with_capacity(tokens.len());
    for text in &texts {
        offsets.push(*offset);
        *offset += text.chars().count();
    }
    object.field("tokens", &texts);
    object.field("token_logprobs", &chances);
    object.field("top_logprobs", &likeliest);
    object.field("text_offset", &offsets);
}
