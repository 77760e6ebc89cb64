//! Tokens as OpenAI counts them: the prompt's count is all of the input, the cached part included.

use crate::chat::{ServiceTier, Usage};
use crate::format::json::Json;
use crate::format::read::{Fields, Path};
use crate::format::rest::nested;
use crate::format::write::Object;
use crate::money::NanoUsd;

/// xAI bills in ten-billionths of a dollar.
const TICKS_PER_NANO_USD: u64 = 10;

/// Reads a usage object; anything else, and an object that counts nothing, is no usage.
pub(super) fn read(value: Json<'_>) -> Option<Usage> {
    let mut fields = Fields::of(value, &Path::Root).ok()?;
    if fields.peek("prompt_tokens").is_none() && fields.peek("completion_tokens").is_none() {
        return None;
    }
    let mut usage = Usage {
        input_tokens: fields.count("prompt_tokens"),
        output_tokens: fields.count("completion_tokens"),
        ..Usage::default()
    };
    let total = fields.count("total_tokens");
    let mut cached = None;
    if let Some(Ok(mut details)) = fields.take("prompt_tokens_details").map(|value| Fields::of(value, &Path::Root)) {
        cached = details.peek("cached_tokens").is_some().then(|| details.count("cached_tokens"));
        usage.cache_write_tokens = details.count("cache_write_tokens");
        usage.audio_input_tokens = audio(&details);
        fields.keep("prompt_tokens_details", details.telling_rest());
    }
    if let Some(Ok(mut details)) = fields.take("completion_tokens_details").map(|value| Fields::of(value, &Path::Root))
    {
        usage.reasoning_tokens = details.count("reasoning_tokens");
        usage.audio_output_tokens = audio(&details);
        // Gateways that imitate this API tell it, of models that draw.
        usage.image_output_tokens = details.peek("image_tokens").and_then(Json::as_u64).unwrap_or(0);
        fields.keep("completion_tokens_details", details.telling_rest());
    }
    // DeepSeek's name for it, and Moonshot's place. They are left where they are for who asked that provider itself.
    let otherwise = || ["prompt_cache_hit_tokens", "cached_tokens"].iter().find_map(|name| fields.peek(name)?.as_u64());
    usage.cache_read_tokens = cached.or_else(otherwise).unwrap_or(0);
    usage.told_cost = told_cost(&fields);
    // xAI counts thoughts beside what is said: only its total has both.
    let said = usage.input_tokens.saturating_add(usage.output_tokens);
    if usage.reasoning_tokens > 0 && total == said.saturating_add(usage.reasoning_tokens) {
        usage.output_tokens = usage.output_tokens.saturating_add(usage.reasoning_tokens);
    }
    usage.rest = fields.telling_rest();
    Some(usage)
}

/// Of such tokens, those of recordings or of speech. They stay where they are for who asked that provider itself.
fn audio(details: &Fields<'_>) -> u64 {
    details.peek("audio_tokens").and_then(Json::as_u64).unwrap_or(0)
}

/// Whether what an alternative says was searched for: models that search by themselves cite what they found. How often they did nobody
/// tells, and it is one fee.
pub(super) fn cites(choice: &Json<'_>, said: &str) -> bool {
    let annotations = choice.get(said).map(|said| said.items("annotations")).unwrap_or_default();
    annotations.iter().any(|annotation| annotation.get("type").is_some_and(|kind| kind == "url_citation"))
}

/// What the provider says that it bills: a number of dollars (`OpenRouter`), their sum beside its parts (Perplexity), or ticks of a
/// dollar (xAI, <https://docs.x.ai/developers/cost-tracking>). It stays where it is for who asked that provider itself.
fn told_cost(fields: &Fields<'_>) -> Option<NanoUsd> {
    if let Some(ticks) = fields.peek("cost_in_usd_ticks").and_then(Json::as_u64) {
        return Some(NanoUsd(ticks / TICKS_PER_NANO_USD));
    }
    let told = fields.peek("cost")?;
    let usd = match told.as_f64() {
        // Where the account brings its own key, this is a fee, and the model's provider bills the rest.
        Some(fee) if fields.peek("is_byok").and_then(Json::as_bool) == Some(true) => {
            fee + fields.peek("cost_details")?.get("upstream_inference_cost")?.as_f64()?
        }
        Some(usd) => usd,
        None => told.get("total_cost")?.as_f64()?,
    };
    NanoUsd::from_usd(usd)
}

/// The service tier that a reply says it was served in.
pub(super) fn tier(value: Option<&Json<'_>>) -> Option<ServiceTier> {
    value.and_then(Json::as_str).and_then(ServiceTier::named)
}

/// Writes the fields of a usage object; its own unknown fields only where they are of this dialect.
pub(super) fn write(usage: &Usage, same_dialect: bool, object: &mut Object<'_>) {
    object.field("prompt_tokens", &usage.input_tokens);
    object.field("completion_tokens", &usage.output_tokens);
    object.field("total_tokens", &usage.input_tokens.saturating_add(usage.output_tokens));
    let left = |name: &str| nested(&usage.rest, name).filter(|_| same_dialect);
    {
        let mut details = object.object("prompt_tokens_details");
        details.field("cached_tokens", &usage.cache_read_tokens);
        details.optional("cache_write_tokens", Some(usage.cache_write_tokens).filter(|&count| count > 0));
        if let Some(left) = left("prompt_tokens_details") {
            details.rest(left, &[]);
        }
    }
    {
        let mut details = object.object("completion_tokens_details");
        details.field("reasoning_tokens", &usage.reasoning_tokens);
        if let Some(left) = left("completion_tokens_details") {
            details.rest(left, &[]);
        }
    }
    // Providers that say a cost (OpenRouter does) have their own word for what ours is.
    if let Some(cost) = usage.cost {
        object.field("cost", &cost.as_usd());
    }
    if same_dialect && usage.cost.is_some() {
        object.rest(&usage.rest, &["prompt_tokens_details", "completion_tokens_details", "cost"]);
    } else if same_dialect {
        object.rest(&usage.rest, &["prompt_tokens_details", "completion_tokens_details"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(usage: &str) -> Option<u64> {
        let text = format!(r#"{{"prompt_tokens":1,"completion_tokens":1,{usage}}}"#);
        read(Json::parse(text.as_bytes(), 100).unwrap()).unwrap().told_cost.map(|cost| cost.0)
    }

    #[test]
    fn a_cost_is_read_as_each_provider_tells_it() {
        assert_eq!(
            told(r#""cost":0.00014,"is_byok":false,"cost_details":{"upstream_inference_cost":null}"#),
            Some(140_000)
        );
        assert_eq!(
            told(r#""cost":0.01,"is_byok":true,"cost_details":{"upstream_inference_cost":0.2}"#),
            Some(210_000_000)
        );
        assert_eq!(told(r#""cost":0.01,"is_byok":true"#), None, "a fee alone is not the cost");
        assert_eq!(
            told(r#""cost":{"input_tokens_cost":0.001,"request_cost":0.005,"total_cost":0.007}"#),
            Some(7_000_000)
        );
        assert_eq!(told(r#""cost_in_usd_ticks":37756000"#), Some(3_775_600));
        assert_eq!([told(r#""cost":-1"#), told(r#""cost":"x""#), told(r#""cost":null"#)], [None; 3]);
    }
}
