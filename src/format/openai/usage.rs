//! Tokens as OpenAI counts them: the prompt's count is all of the input, the cached part included.

use crate::chat::{ServiceTier, Usage};
use crate::format::json::Json;
use crate::format::read::{Fields, Path};
use crate::format::rest::nested;
use crate::format::write::Object;

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
        fields.keep("prompt_tokens_details", details.telling_rest());
    }
    if let Some(Ok(mut details)) = fields.take("completion_tokens_details").map(|value| Fields::of(value, &Path::Root))
    {
        usage.reasoning_tokens = details.count("reasoning_tokens");
        fields.keep("completion_tokens_details", details.telling_rest());
    }
    // DeepSeek's name for it, and Moonshot's place. They are left where they are for who asked that provider itself.
    let otherwise = || ["prompt_cache_hit_tokens", "cached_tokens"].iter().find_map(|name| fields.peek(name)?.as_u64());
    usage.cache_read_tokens = cached.or_else(otherwise).unwrap_or(0);
    // xAI counts thoughts beside what is said: only its total has both.
    let said = usage.input_tokens.saturating_add(usage.output_tokens);
    if usage.reasoning_tokens > 0 && total == said.saturating_add(usage.reasoning_tokens) {
        usage.output_tokens = usage.output_tokens.saturating_add(usage.reasoning_tokens);
    }
    usage.rest = fields.telling_rest();
    Some(usage)
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
