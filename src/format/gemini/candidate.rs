//! One alternative of a reply or of a stream's event, and what it cost: read alike in both.

use serde_json::Value;

use super::{logprobs, pieces};
use crate::chat::{FinishReason, ImageSource, Part, PartKind, Rest, ServiceTier, TokenLogprob, Usage};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::call_id::signed;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path};

/// Why an alternative ended, in a candidate.
pub(super) const FINISH: &str = "finishReason";
/// The signature under a part.
pub(super) const SIGNED: &str = "thoughtSignature";

/// What one event says of one alternative.
#[derive(Default)]
pub(super) struct Candidate {
    pub(super) index: u32,
    pub(super) parts: Vec<Part>,
    pub(super) finish: Option<FinishReason>,
    pub(super) logprobs: Vec<TokenLogprob>,
    pub(super) rest: Rest,
}

/// Reads one. `call` makes the id of the next tool call. Pieces of a call, which streams alone have, are left as they are.
pub(super) fn read(
    value: Json<'_>,
    path: &Path<'_>,
    in_stream: bool,
    call: &mut dyn FnMut() -> String,
) -> Result<Candidate, Mismatch> {
    let mut fields = Fields::of(value, path)?;
    let index = fields.whole("index")?.unwrap_or(0);
    let parts = match fields.take("content") {
        None => Vec::new(),
        Some(content) => {
            let path = path.key("content");
            let mut content = Fields::of(content, &path)?;
            let path = path.key("parts");
            let parts = content.list("parts")?.unwrap_or_default();
            let parts = parts.into_iter().enumerate().map(|(place, part)| {
                if in_stream && pieces::is_piece(&part) {
                    return Ok(Part::from(PartKind::Other(part.into())));
                }
                read_part(part, &path.index(place), call)
            });
            parts.collect::<Result<_, _>>()?
        }
    };
    let word = fields.word(FINISH)?;
    let finish = word.as_deref().and_then(finish);
    // Which filter it was, and which bound, has a word in this dialect alone.
    let is_plain = |word: &str| match &finish {
        Some(FinishReason::ContentFilter) => word == "SAFETY",
        Some(FinishReason::Length) => word == "MAX_TOKENS",
        _ => true,
    };
    if let Some(word) = word.filter(|word| !is_plain(word)) {
        fields.put(FINISH, word.into());
    }
    let logprobs = fields.peek(logprobs::RESULT).map(logprobs::read).unwrap_or_default();
    Ok(Candidate { index, parts, finish, logprobs, rest: fields.telling_rest() })
}

fn finish(word: &str) -> Option<FinishReason> {
    Some(match word {
        "FINISH_REASON_UNSPECIFIED" => return None,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" | "CONTINUATION" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "LANGUAGE"
        | "ESCALATION"
        | "PUP_LIMITED_DISABLED"
        | "NO_IMAGE"
        | "IMAGE_OTHER"
        | "OTHER"
        | "MODEL_ARMOR" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    })
}

/// Ends of a reply that went wrong while it was made: the model called a function in no words that can be read, or one that is not there, or what
/// it said is no reply, or it drew nothing; or it was stopped for a reason that is not told.
const MALFORMED: [&str; 9] = [
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
    "TOO_MANY_TOOL_CALLS",
    "NO_IMAGE",
    "IMAGE_OTHER",
    "PUP_LIMITED_DISABLED",
    "OTHER",
];

impl Candidate {
    /// Whether it has anything that is content. What was only thought is none.
    pub(super) fn says_something(&self) -> bool {
        self.parts.iter().any(|part| match &part.kind {
            PartKind::Text(text) => !text.is_empty(),
            PartKind::Reasoning { .. } => false,
            _ => true,
        })
    }
}

/// Why a reply of these alternatives, none of which says anything, is none: told as a stop, an agent would take it for the end of its work.
pub(super) fn malformed(candidates: &[Candidate]) -> Option<AttemptFault> {
    let (word, ended) = candidates.iter().find_map(|candidate| {
        let word = match &candidate.finish {
            Some(FinishReason::Other(word)) => word.as_str(),
            _ => candidate.rest.get(FINISH)?.as_str()?,
        };
        MALFORMED.contains(&word).then_some((word, candidate))
    })?;
    if candidates.iter().any(Candidate::says_something) {
        return None;
    }
    let told = ended.rest.get("finishMessage").and_then(Value::as_str).map(|told| format!(": {told}"));
    let message = format!("the provider ended its reply before any content with {word}{}", told.unwrap_or_default());
    Some(AttemptFault { code: Some(word.to_owned()), ..AttemptFault::new(FaultKind::BrokenStream, message) })
}

fn read_part(value: Json<'_>, path: &Path<'_>, call: &mut dyn FnMut() -> String) -> Result<Part, Mismatch> {
    let whole = || Value::from(value.clone());
    if value.get("functionCall").is_none() && value.get("text").is_none() && value.get("inlineData").is_none() {
        return Ok(Part::from(PartKind::Other(whole())));
    }
    let mut fields = Fields::of(value, path)?;
    let mut signature = fields.text(SIGNED)?;
    let thought = fields.flag("thought")?.unwrap_or(false);
    let kind = if let Some(wire) = fields.take("functionCall") {
        let path = path.key("functionCall");
        let mut wire = Fields::of(wire, &path)?;
        let own = wire.text("id")?.filter(|id| !id.is_empty());
        let mut id = own.unwrap_or_else(call);
        if let Some(signature) = signature.take() {
            id = signed(&id, &signature);
        }
        let arguments = wire.take("args").map_or_else(|| "{}".to_owned(), |args| args.to_json());
        let name = wire.need_text("name")?;
        fields.keep("functionCall", wire.telling_rest());
        PartKind::ToolCall { id, name, arguments }
    } else if let Some(wire) = fields.take("inlineData") {
        let path = path.key("inlineData");
        let mut wire = Fields::of(wire, &path)?;
        let media_type = wire.text("mimeType")?.unwrap_or_else(|| "application/octet-stream".to_owned());
        let data = wire.need_text("data")?;
        fields.keep("inlineData", wire.telling_rest());
        PartKind::Image(ImageSource::Base64 { media_type, data, detail: None })
    } else {
        let text = fields.text("text")?.unwrap_or_default();
        if thought { PartKind::Reasoning { text, signature: signature.take() } } else { PartKind::Text(text) }
    };
    if let Some(signature) = signature {
        fields.put(SIGNED, signature.into());
    }
    Ok(Part { kind, rest: fields.telling_rest() })
}

/// Input that tools read, beside the prompt.
pub(super) const TOOLS_READ: &str = "toolUsePromptTokenCount";

/// What was said, by what it is of.
const SAID_BY_KIND: &str = "candidatesTokensDetails";

/// The provider's sum of all tokens, which is kept where it is not that of what is counted here.
pub(super) const TOTAL: &str = "totalTokenCount";

/// What the model looked up. There is a fee for it, and none for the tokens of what it found: Google charges no input for these.
#[derive(Default)]
pub(super) struct Searched {
    /// What it searched the web for, each query once.
    queries: Vec<String>,
    /// It asked maps, too, which is no search of the web.
    on_maps: bool,
}

impl Searched {
    /// Adds what a reply, or a piece of one, tells of it.
    pub(super) fn add(&mut self, reply: &Json<'_>) {
        for grounding in reply.items("candidates").iter().filter_map(|candidate| candidate.get("groundingMetadata")) {
            let found = |kind: &str| grounding.items("groundingChunks").iter().any(|chunk| chunk.get(kind).is_some());
            let on_maps = found("maps");
            self.on_maps |= on_maps;
            if on_maps && !found("web") {
                continue;
            }
            for query in grounding.items("webSearchQueries").iter().filter_map(Json::as_str) {
                if !query.is_empty() && !self.queries.iter().any(|known| known == query) {
                    self.queries.push(query.to_owned());
                }
            }
        }
    }

    /// Whether it looked anything up.
    const fn has_found(&self) -> bool {
        self.on_maps || !self.queries.is_empty()
    }
}

/// Of the tokens that are told by what they are of, those of recordings or of speech.
fn audio(usage: &Json<'_>, name: &str) -> u64 {
    of_kind(usage, name, "AUDIO")
}

/// Of the same, those of one kind.
fn of_kind(usage: &Json<'_>, name: &str, kind: &'static str) -> u64 {
    let of_kind = usage.items(name).iter().filter(|told| told.get("modality").is_some_and(|told| told == kind));
    of_kind.filter_map(|told| told.get("tokenCount")?.as_u64()).fold(0, u64::saturating_add)
}

/// Reads `usageMetadata`. Thoughts are output that is not among the candidates'; what tools read is input, but for what was looked up.
pub(super) fn usage(value: Json<'_>, searched: &Searched) -> Result<Usage, Mismatch> {
    let heard_by_tools = if searched.has_found() { 0 } else { audio(&value, "toolUsePromptTokensDetails") };
    let heard = audio(&value, "promptTokensDetails").saturating_add(heard_by_tools);
    let (heard_before, spoken) = (audio(&value, "cacheTokensDetails"), audio(&value, SAID_BY_KIND));
    let drawn = of_kind(&value, SAID_BY_KIND, "IMAGE");
    let mut fields = Fields::of(value, &Path::Root)?;
    let (prompt, read_by_tools) = (fields.count("promptTokenCount"), fields.count(TOOLS_READ));
    let (said, thoughts) = (fields.count("candidatesTokenCount"), fields.count("thoughtsTokenCount"));
    let (all_input, output) = (prompt.saturating_add(read_by_tools), said.saturating_add(thoughts));
    let input = if searched.has_found() { prompt } else { all_input };
    fields.take(TOTAL);
    if read_by_tools > 0 {
        fields.put(TOOLS_READ, read_by_tools.into());
    }
    if input < all_input {
        fields.put(TOTAL, all_input.saturating_add(output).into());
    }
    // What Vertex calls the way it was served; what is asked of a batch API is none of ours. Elsewhere it has the name that it is asked by.
    let named = fields.peek("serviceTier").and_then(Json::as_str).map(str::to_ascii_lowercase);
    let traffic = match fields.peek("trafficType").and_then(Json::as_str) {
        Some("ON_DEMAND_PRIORITY") => Some(ServiceTier::Priority),
        Some("ON_DEMAND_FLEX" | "FLEX") => Some(ServiceTier::Flex),
        _ => None,
    };
    Ok(Usage {
        input_tokens: input,
        cache_read_tokens: fields.count("cachedContentTokenCount"),
        output_tokens: output,
        reasoning_tokens: thoughts,
        audio_input_tokens: heard,
        audio_cache_read_tokens: heard_before,
        audio_output_tokens: spoken,
        image_output_tokens: drawn,
        searches: searched.queries.len() as u64,
        tier: traffic.or(named.as_deref().and_then(ServiceTier::named)),
        rest: fields.telling_rest(),
        ..Usage::default()
    })
}

/// Why the prompt was not answered at all.
pub(super) fn blocked(value: &Json<'_>) -> bool {
    value.within("promptFeedback", "blockReason").and_then(Json::as_str).is_some()
}

/// A reply that calls tools waits for them, though the wire says only that it stopped.
pub(super) fn finish_of(finish: FinishReason, calls: bool) -> FinishReason {
    if calls && finish == FinishReason::Stop { FinishReason::ToolCalls } else { finish }
}
