//! How likely tokens were, in OpenAI's words.

use serde_json::{Value, json};

use crate::chat::{ScoredToken, TokenLogprob};
use crate::format::json::Json;
use crate::format::write::Object;

/// The field of a choice.
pub(super) const FIELD: &str = "logprobs";

/// Reads them; what is none is passed over, since the field goes to clients of this dialect as it came.
pub(super) fn read(value: &Json<'_>) -> Vec<TokenLogprob> {
    ["content", "refusal"].into_iter().flat_map(|name| of_tokens(value.items(name))).collect()
}

/// The same of a list of tokens, which is all that the newer API has.
pub(super) fn of_tokens(tokens: &[Json<'_>]) -> Vec<TokenLogprob> {
    let one = |token: &Json<'_>| {
        let likeliest = token.items("top_logprobs").iter().filter_map(scored).collect();
        Some(TokenLogprob { chosen: scored(token)?, likeliest })
    };
    tokens.iter().filter_map(one).collect()
}

fn scored(token: &Json<'_>) -> Option<ScoredToken> {
    let text = token.get("token")?.as_str()?.to_owned();
    Some(ScoredToken { text, logprob: token.get("logprob")?.as_f64()? })
}

/// Writes another dialect's as the fields of `object`.
pub(super) fn write(tokens: &[TokenLogprob], object: &mut Object<'_>) {
    {
        let mut content = object.array("content");
        for TokenLogprob { chosen, likeliest } in tokens {
            let mut token = content.object();
            write_token(chosen, &mut token);
            let mut top = token.array("top_logprobs");
            for other in likeliest {
                write_token(other, &mut top.object());
            }
        }
    }
    object.field("refusal", &());
}

/// The same as values: what the Responses API holds of them.
pub(super) fn values(tokens: &[TokenLogprob]) -> Vec<Value> {
    let one =
        |token: &ScoredToken| json!({"token": token.text, "logprob": token.logprob, "bytes": token.text.as_bytes()});
    let with = |token: &TokenLogprob| {
        let mut value = one(&token.chosen);
        value["top_logprobs"] = token.likeliest.iter().map(one).collect();
        value
    };
    tokens.iter().map(with).collect()
}

fn write_token(token: &ScoredToken, object: &mut Object<'_>) {
    object.field("token", &token.text);
    object.field("logprob", &token.logprob);
    object.field("bytes", token.text.as_bytes());
}
