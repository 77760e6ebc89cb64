//! How likely tokens were, in Gemini's words.

use serde_json::{Value, json};

use crate::chat::{ScoredToken, TokenLogprob};
use crate::format::json::Json;

/// The field of a candidate.
pub(super) const RESULT: &str = "logprobsResult";
/// Beside it: the mean over a whole reply.
pub(super) const AVERAGE: &str = "avgLogprobs";

/// Reads them; what is none is passed over, since the field goes to clients of this dialect as it came.
pub(super) fn read(value: &Json<'_>) -> Vec<TokenLogprob> {
    let steps = value.items("topCandidates");
    let chosen = value.items("chosenCandidates").iter().enumerate();
    chosen
        .filter_map(|(place, chosen)| {
            let likeliest = steps.get(place).map_or(&[][..], |step| step.items("candidates"));
            Some(TokenLogprob { chosen: scored(chosen)?, likeliest: likeliest.iter().filter_map(scored).collect() })
        })
        .collect()
}

/// A number that is 0, which is a certain token, is left out by servers that leave out what is usual.
fn scored(token: &Json<'_>) -> Option<ScoredToken> {
    let text = token.get("token")?.as_str()?.to_owned();
    let logprob = token.get("logProbability").map_or(Some(0.0), Json::as_f64)?;
    Some(ScoredToken { text, logprob })
}

/// Another dialect's, as [`RESULT`].
pub(super) fn result(tokens: &[TokenLogprob]) -> Value {
    let one = |token: &ScoredToken| json!({"token": token.text, "logProbability": token.logprob});
    let chosen: Vec<Value> = tokens.iter().map(|token| one(&token.chosen)).collect();
    let mut result = json!({"chosenCandidates": chosen});
    if tokens.iter().any(|token| !token.likeliest.is_empty()) {
        let step = |token: &TokenLogprob| json!({"candidates": token.likeliest.iter().map(one).collect::<Vec<_>>()});
        result["topCandidates"] = tokens.iter().map(step).collect();
    }
    result
}

/// The mean; `None` of no tokens.
#[expect(clippy::cast_precision_loss, reason = "a reply has fewer tokens than a float counts")]
pub(super) fn average(tokens: &[TokenLogprob]) -> Option<f64> {
    let sum: f64 = tokens.iter().map(|token| token.chosen.logprob).sum();
    (!tokens.is_empty()).then(|| sum / tokens.len() as f64)
}
