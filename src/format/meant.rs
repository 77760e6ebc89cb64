//! What a request asks for that nobody may leave out in silence: without it the reply is another one, and nobody can tell by it.
//!
//! A provider's format that has no word for such a field drops it like any other; who sends the request refuses it for that, by
//! name, unless such are to be left out (`drop_params`). What is dropped beside these are hints (who asks, what may be cached or
//! kept, how fast it is to be): they are reported and refuse nothing.

use serde_json::Value;

use crate::chat::{ChatRequest, IN_BACKGROUND, Rest};

use super::Encoded;

/// Whether a value asks for anything that goes without saying where the field is absent.
type Asks = fn(&Value) -> bool;

/// Fields without a canonical meaning: where they stand in a request, and when they ask for something.
const MEANT: [(&str, Asks); 37] = [
    // OpenAI's.
    ("seed", always),
    ("random_seed", always),
    ("presence_penalty", not_zero),
    ("frequency_penalty", not_zero),
    ("logit_bias", something),
    ("logprobs", something),
    ("modalities", more_than_text),
    ("audio", something),
    ("web_search_options", always),
    ("moderation", always),
    ("functions", something),
    ("response_format.type", always),
    // Of those that imitate it.
    ("min_p", not_zero),
    ("top_a", not_zero),
    ("repetition_penalty", not_one),
    ("length_penalty", not_one),
    ("min_tokens", not_zero),
    ("ignore_eos", something),
    ("bad_words", something),
    ("stop_token_ids", something),
    ("guided_json", something),
    ("guided_regex", something),
    ("guided_choice", something),
    ("guided_grammar", something),
    ("structured_outputs", something),
    ("chat_template_kwargs", something),
    ("safe_prompt", something),
    ("guardrails", something),
    // Anthropic's.
    ("mcp_servers", something),
    ("container", something),
    ("inference_geo", something),
    // Gemini's.
    ("cachedContent", something),
    ("safetySettings", filters),
    ("modelArmorConfig", something),
    ("generationConfig.responseModalities", more_than_text),
    ("generationConfig.speechConfig", something),
    ("generationConfig.imageConfig", something),
];

/// The parameters that were left out of this request, or cut, and whose loss makes another reply of it.
pub fn lost<'e>(request: &'e ChatRequest, encoded: &'e Encoded) -> impl Iterator<Item = &'static str> + 'e {
    let dropped = |name: &str| encoded.dropped.iter().any(|dropped| dropped == name);
    let asked = |(name, asks): &(&str, Asks)| at(&request.rest, name).is_some_and(asks);
    // Most requests are sent whole, and nothing is looked up.
    let meant = MEANT.iter().filter(move |_| !encoded.dropped.is_empty());
    let meant = meant.filter(move |(name, _)| dropped(name)).filter(move |meant| asked(meant)).map(|meant| meant.0);
    // Nobody makes it there, whatever a provider takes: who wants to ask for the reply later would wait for it now.
    let background = request.echo.contains_key(IN_BACKGROUND).then_some("background");
    encoded.lost.iter().copied().chain(meant).chain(background)
}

/// The names of them, for documentation.
#[cfg(test)]
pub(crate) fn meant() -> impl Iterator<Item = &'static str> {
    MEANT.iter().map(|(name, _)| *name)
}

/// What stands there; a null says nothing.
fn at<'r>(rest: &'r Rest, path: &str) -> Option<&'r Value> {
    let mut names = path.split('.');
    let mut value = rest.get(names.next()?)?;
    for name in names {
        value = value.get(name)?;
    }
    Some(value).filter(|value| !value.is_null())
}

const fn always(_: &Value) -> bool {
    true
}

fn something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

fn is(value: &Value, number: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - number).abs() < f64::EPSILON)
}

fn not_zero(value: &Value) -> bool {
    !is(value, 0.0)
}

fn not_one(value: &Value) -> bool {
    !is(value, 1.0)
}

fn more_than_text(value: &Value) -> bool {
    let is_text = |kind: &Value| kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("text"));
    !value.as_array().is_some_and(|kinds| kinds.iter().all(is_text))
}

/// Whether anything is to be held back that providers without such filters would say.
fn filters(value: &Value) -> bool {
    const NONE: [&str; 3] = ["BLOCK_NONE", "OFF", "HARM_BLOCK_THRESHOLD_UNSPECIFIED"];
    let is_off = |setting: &Value| {
        let threshold = setting.get("threshold").map(Value::as_str);
        threshold.is_none_or(|threshold| threshold.is_some_and(|threshold| NONE.contains(&threshold)))
    };
    !value.as_array().is_some_and(|settings| settings.iter().all(is_off))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::format::{ClientRequest, NO_QUIRKS, Target, operation_at, provider_format};

    fn refused(path: &str, fields: &Value, to: &str) -> Option<&'static str> {
        let (api, _) = operation_at(path).unwrap();
        let request = api.parse(&ClientRequest::post(path.parse().unwrap(), fields.to_string())).unwrap();
        let target = Target::plain("m", &NO_QUIRKS, 9);
        let encoded = provider_format(to).unwrap().encode(&request, &target).unwrap();
        assert!(!encoded.dropped.is_empty(), "{fields}");
        lost(&request, &encoded).next()
    }

    #[test]
    fn what_is_meant_is_told_and_what_says_nothing_is_not() {
        let chat = "/v1/chat/completions";
        for (fields, name) in [
            (json!({"seed": 0}), Some("seed")),
            (json!({"random_seed": 0}), Some("random_seed")),
            (json!({"presence_penalty": 0.5}), Some("presence_penalty")),
            (json!({"presence_penalty": 0, "frequency_penalty": 0.0}), None),
            (json!({"modalities": ["text"]}), None),
            (json!({"modalities": ["text", "audio"], "audio": {"voice": "x"}}), Some("modalities")),
            (json!({"web_search_options": {}}), Some("web_search_options")),
            (json!({"repetition_penalty": 1.0, "min_p": 0}), None),
            (json!({"repetition_penalty": 1.1}), Some("repetition_penalty")),
            (json!({"response_format": {"type": "grammar", "value": "x"}}), Some("response_format.type")),
            (json!({"logit_bias": {}, "service_tier": "flex", "store": true, "metadata": {"a": "b"}}), None),
        ] {
            let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
            body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            assert_eq!(refused(chat, &body, "anthropic"), name, "{fields}");
        }
        let gemini = "/v1beta/models/m:generateContent";
        for (fields, name) in [
            (json!({"cachedContent": "cachedContents/x"}), Some("cachedContent")),
            (json!({"safetySettings": [{"category": "A", "threshold": "BLOCK_NONE"}]}), None),
            (
                json!({"safetySettings": [{"category": "A", "threshold": "BLOCK_LOW_AND_ABOVE"}]}),
                Some("safetySettings"),
            ),
            (json!({"generationConfig": {"responseModalities": ["TEXT"], "mediaResolution": "X"}}), None),
            (
                json!({"generationConfig": {"responseModalities": ["IMAGE"]}}),
                Some("generationConfig.responseModalities"),
            ),
        ] {
            let mut body = json!({"contents": [{"parts": [{"text": "Hi"}]}]});
            body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            assert_eq!(refused(gemini, &body, "openai"), name, "{fields}");
        }
        let claude = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}],
            "context_management": {"edits": []}, "inference_geo": "eu"});
        assert_eq!(refused("/v1/messages", &claude, "openai"), Some("inference_geo"));
    }
}
