//! Tokens as Anthropic counts them: three kinds of input, apart. The canonical input is their sum.

use crate::chat::{ServiceTier, Surcharges, Usage};
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path};
use crate::format::rest::nested;
use crate::format::write::Object;

/// What was used to sum a conversation up within a request: it is billed, and in no total of the wire's.
#[derive(Default)]
struct Compaction {
    fresh: u64,
    cache_write: u64,
    cache_write_1h: u64,
    cache_read: u64,
    output: u64,
}

impl Compaction {
    fn of(wire: &Json<'_>) -> Self {
        let mut sum = Self::default();
        let is_one = |made: &&Json<'_>| made.get("type").is_some_and(|kind| kind == "compaction");
        for made in wire.items("iterations").iter().filter(is_one) {
            let count = |name: &str| made.get(name).and_then(Json::as_u64).unwrap_or(0);
            sum.fresh = sum.fresh.saturating_add(count("input_tokens"));
            sum.cache_write = sum.cache_write.saturating_add(count("cache_creation_input_tokens"));
            sum.cache_write_1h = sum.cache_write_1h.saturating_add(of_an_hour(made));
            sum.cache_read = sum.cache_read.saturating_add(count("cache_read_input_tokens"));
            sum.output = sum.output.saturating_add(count("output_tokens"));
        }
        sum
    }
}

/// Of what was written to the cache, what is to stay there for an hour.
fn of_an_hour(counted: &Json<'_>) -> u64 {
    counted.within("cache_creation", "ephemeral_1h_input_tokens").and_then(Json::as_u64).unwrap_or(0)
}

/// Reads a usage object.
pub(super) fn read(wire: Json<'_>) -> Result<Usage, Mismatch> {
    // Looked at and left where they are: clients of this API read them, too.
    let (compaction, of_an_hour) = (Compaction::of(&wire), of_an_hour(&wire));
    let mut fields = Fields::of(wire, &Path::Root)?;
    let fresh = fields.count("input_tokens").saturating_add(compaction.fresh);
    let cache_write_tokens = fields.count("cache_creation_input_tokens").saturating_add(compaction.cache_write);
    let cache_read_tokens = fields.count("cache_read_input_tokens").saturating_add(compaction.cache_read);
    let cache_write_1h_tokens = of_an_hour.saturating_add(compaction.cache_write_1h).min(cache_write_tokens);
    let output_tokens = fields.count("output_tokens").saturating_add(compaction.output);
    let mut reasoning_tokens = 0;
    if let Some(details) = fields.take("output_tokens_details") {
        let path = Path::Root.key("output_tokens_details");
        let mut details = Fields::of(details, &path)?;
        reasoning_tokens = details.count("thinking_tokens");
        fields.keep("output_tokens_details", details.telling_rest());
    }
    let word = |name: &str| fields.peek(name).and_then(Json::as_str);
    let tier = word("service_tier").and_then(ServiceTier::named);
    let surcharges = Surcharges::named(word("speed"), word("inference_geo"));
    let searches = fields.peek("server_tool_use").and_then(|made| made.get("web_search_requests"));
    let searches = searches.and_then(Json::as_u64).unwrap_or(0);
    Ok(Usage {
        input_tokens: fresh.saturating_add(cache_write_tokens).saturating_add(cache_read_tokens),
        cache_read_tokens,
        cache_write_tokens,
        cache_write_1h_tokens,
        output_tokens,
        reasoning_tokens,
        searches,
        tier,
        surcharges,
        rest: fields.telling_rest(),
        ..Usage::default()
    })
}

/// Writes the fields of a usage object; its own unknown fields only where they are of this dialect.
pub(super) fn write(usage: &Usage, same_dialect: bool, object: &mut Object<'_>) {
    // Clients of this API are told its totals, and what stands beside them.
    let beside = if same_dialect { Compaction::of(&(&usage.rest).into()) } else { Compaction::default() };
    let cached = usage.cache_read_tokens.saturating_add(usage.cache_write_tokens);
    object.field("input_tokens", &usage.input_tokens.saturating_sub(cached).saturating_sub(beside.fresh));
    object.field("cache_creation_input_tokens", &usage.cache_write_tokens.saturating_sub(beside.cache_write));
    object.field("cache_read_input_tokens", &usage.cache_read_tokens.saturating_sub(beside.cache_read));
    object.field("output_tokens", &usage.output_tokens.saturating_sub(beside.output));
    let left = nested(&usage.rest, "output_tokens_details").filter(|_| same_dialect);
    if usage.reasoning_tokens > 0 || left.is_some() {
        let mut details = object.object("output_tokens_details");
        details.field("thinking_tokens", &usage.reasoning_tokens);
        if let Some(left) = left {
            details.rest(left, &[]);
        }
    }
    // Providers that say a cost (OpenRouter does) have their own word for what ours is.
    let mut own: &[&str] = &["output_tokens_details"];
    if let Some(cost) = usage.cost {
        object.field("cost", &cost.as_usd());
        own = &["output_tokens_details", "cost"];
    }
    if same_dialect {
        object.rest(&usage.rest, own);
    }
}
