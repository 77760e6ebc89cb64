//! Tokens as Anthropic counts them: three kinds of input, apart. The canonical input is their sum.

use crate::chat::{ByOther, ServiceTier, Surcharges, Usage};
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path};
use crate::format::rest::nested;
use crate::format::write::Object;

/// What the iterations of a kind used that are billed and in no total of the wire's.
#[derive(Default)]
struct Apart {
    fresh: u64,
    cache_write: u64,
    cache_write_1h: u64,
    cache_read: u64,
    output: u64,
}

impl Apart {
    /// What was used to sum a conversation up within a request, by the model itself.
    fn compaction(wire: &Json<'_>) -> Self {
        let mut sum = Self::default();
        for one in iterations(wire, "compaction").map(Self::of) {
            sum.fresh = sum.fresh.saturating_add(one.fresh);
            sum.cache_write = sum.cache_write.saturating_add(one.cache_write);
            sum.cache_write_1h = sum.cache_write_1h.saturating_add(one.cache_write_1h);
            sum.cache_read = sum.cache_read.saturating_add(one.cache_read);
            sum.output = sum.output.saturating_add(one.output);
        }
        sum
    }

    fn of(made: &Json<'_>) -> Self {
        let count = |name: &str| made.get(name).and_then(Json::as_u64).unwrap_or(0);
        Self {
            fresh: count("input_tokens"),
            cache_write: count("cache_creation_input_tokens"),
            cache_write_1h: of_an_hour(made),
            cache_read: count("cache_read_input_tokens"),
            output: count("output_tokens"),
        }
    }
}

/// The iterations of one kind.
fn iterations<'w, 'b>(wire: &'w Json<'b>, kind: &'static str) -> impl Iterator<Item = &'w Json<'b>> {
    wire.items("iterations").iter().filter(move |made| made.get("type").is_some_and(|told| told == kind))
}

/// What the models used that this one asked for advice: each is billed at its own prices, and in no total of the wire's. Where the request is
/// served holds for all that is made for it; how fast its own model is does not.
fn advice(wire: &Json<'_>, us: bool) -> Vec<ByOther> {
    let of = |made: &Json<'_>| {
        let Apart { fresh, cache_write, cache_write_1h, cache_read, output } = Apart::of(made);
        let usage = Usage {
            input_tokens: fresh.saturating_add(cache_write).saturating_add(cache_read),
            cache_read_tokens: cache_read,
            cache_write_tokens: cache_write,
            cache_write_1h_tokens: cache_write_1h.min(cache_write),
            output_tokens: output,
            surcharges: Surcharges { fast: false, us },
            ..Usage::default()
        };
        ByOther { model: made.get("model").and_then(Json::as_str).unwrap_or_default().to_owned(), usage }
    };
    iterations(wire, "advisor_message").map(of).collect()
}

/// Of what was written to the cache, what is to stay there for an hour.
fn of_an_hour(counted: &Json<'_>) -> u64 {
    counted.within("cache_creation", "ephemeral_1h_input_tokens").and_then(Json::as_u64).unwrap_or(0)
}

/// Reads a usage object.
pub(super) fn read(wire: Json<'_>) -> Result<Usage, Mismatch> {
    // Looked at and left where they are: clients of this API read them, too.
    let (compaction, of_an_hour) = (Apart::compaction(&wire), of_an_hour(&wire));
    let word = |name: &str| wire.get(name).and_then(Json::as_str);
    let tier = word("service_tier").and_then(ServiceTier::named);
    let surcharges = Surcharges::named(word("speed"), word("inference_geo"));
    let by_others = advice(&wire, surcharges.us);
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
        by_others,
        tier,
        surcharges,
        rest: fields.telling_rest(),
        ..Usage::default()
    })
}

/// Writes the fields of a usage object; its own unknown fields only where they are of this dialect.
pub(super) fn write(usage: &Usage, same_dialect: bool, object: &mut Object<'_>) {
    // Clients of this API are told its totals, and what stands beside them.
    let beside = if same_dialect { Apart::compaction(&(&usage.rest).into()) } else { Apart::default() };
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
