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
    fields.take("total_tokens");
    if let Some(Ok(mut details)) = fields.take("prompt_tokens_details").map(|value| Fields::of(value, &Path::Root)) {
        usage.cache_read_tokens = details.count("cached_tokens");
        usage.cache_write_tokens = details.count("cache_write_tokens");
        fields.keep("prompt_tokens_details", details.telling_rest());
    }
    if let Some(Ok(mut details)) = fields.take("completion_tokens_details").map(|value| Fields::of(value, &Path::Root))
    {
        usage.reasoning_tokens = details.count("reasoning_tokens");
        fields.keep("completion_tokens_details", details.telling_rest());
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
