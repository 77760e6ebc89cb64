//! A whole reply, and what a stream's events have in common with it.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use crate::chat::{Choice, FinishReason, ImageSource, Part, PartKind, Reply, Rest, Usage};
use crate::format::call_id::{SIGNATURE, signature_of};
use crate::format::gemini::candidate::{FINISH, SIGNED, TOOLS_READ, TOTAL};
use crate::format::gemini::logprobs::{self, AVERAGE, RESULT};
use crate::format::gemini::{DIALECT, merge};
use crate::format::write::{self, Object};

/// Writes a reply.
pub(super) fn write(reply: &Reply) -> Bytes {
    let same = reply.dialect == DIALECT;
    let mut out = BytesMut::with_capacity(write::reply_size_hint(reply));
    {
        let mut object = Object::open(&mut out);
        {
            let mut candidates = object.array("candidates");
            for choice in &reply.choices {
                candidates.item(&candidate(choice, same));
            }
        }
        if let Some(usage) = &reply.usage {
            object.field("usageMetadata", &counted(usage, same));
        }
        object.field("modelVersion", &reply.model);
        object.field("responseId", &reply.id);
        if same {
            object.rest(&reply.rest, &[]);
        }
    }
    out.freeze()
}

/// What a provider of the `same` dialect said beside it goes out as it came.
fn candidate(choice: &Choice, same: bool) -> Value {
    let parts: Vec<Value> = choice.parts.iter().filter_map(|one| part(one, same)).collect();
    let declined = choice.parts.iter().any(|part| matches!(part.kind, PartKind::Refusal(_)));
    let finish = choice.finish.as_ref().map_or("STOP", |finish| finish_word(finish.told(declined)));
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, FINISH: finish, "index": choice.index});
    if same {
        merge(&mut candidate, &choice.rest);
    } else if let Some(average) = logprobs::average(&choice.logprobs) {
        candidate[RESULT] = logprobs::result(&choice.logprobs);
        candidate[AVERAGE] = average.into();
    }
    candidate
}

/// Why it ended. Calls are no reason here.
pub(super) fn finish_word(finish: &FinishReason) -> &str {
    match finish {
        FinishReason::Length => "MAX_TOKENS",
        FinishReason::ContentFilter => "SAFETY",
        FinishReason::Other(word) if word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') => word,
        _ => "STOP",
    }
}

fn part(part: &Part, same: bool) -> Option<Value> {
    let mut value = match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => json!({"text": text}),
        PartKind::Reasoning { text, signature: None } => json!({"text": text, "thought": true}),
        PartKind::Reasoning { text, signature } => {
            json!({"text": text, "thought": true, "thoughtSignature": signature})
        }
        PartKind::ToolCall { id, name, arguments } => call(id, name, arguments),
        PartKind::Image(ImageSource::Base64 { media_type, data, .. }) => {
            json!({"inlineData": {"mimeType": media_type, "data": data}})
        }
        PartKind::Image(ImageSource::Url { url, .. }) => json!({"fileData": {"fileUri": url}}),
        kind @ PartKind::Other(_) if let Some(data) = kind.redacted() => redacted(data),
        PartKind::Other(value) if same => value.clone(),
        PartKind::Other(_) | PartKind::ToolResult { .. } => return None,
    };
    if same {
        merge(&mut value, &part.rest);
    }
    Some(value)
}

/// Before what another provider hid of its thinking, among signatures: in letters of base64, so many that what follows stays base64.
pub(super) const REDACTED: &str = "redactedThinking";

/// Thinking that another provider hid: it comes back as the signature under a thought without words.
pub(super) fn redacted(data: &str) -> Value {
    json!({"text": "", "thought": true, SIGNED: format!("{REDACTED}{data}")})
}

/// A call, with the signature that its id carries where it has its place here.
pub(super) fn call(id: &str, name: &str, arguments: &str) -> Value {
    // A model that wrote no object is shown as what it wrote.
    let args = match serde_json::from_str(arguments) {
        Ok(Value::Object(args)) => Value::Object(args),
        _ if arguments.trim().is_empty() => json!({}),
        _ => json!({"arguments": arguments}),
    };
    let own = id.split_once(SIGNATURE).map_or(id, |(own, _)| own);
    let mut part = json!({"functionCall": {"id": own, "name": name, "args": args}});
    if let Some(signature) = signature_of(id) {
        part["thoughtSignature"] = signature.into();
    }
    part
}

/// Tokens: thoughts stand beside the candidates'.
pub(super) fn counted(usage: &Usage, same: bool) -> Value {
    let nothing = Rest::new();
    let rest = if same { &usage.rest } else { &nothing };
    // Where the provider's total is kept, what tools read is in no count of ours.
    let read_by_tools = rest.get(TOOLS_READ).filter(|_| !rest.contains_key(TOTAL));
    let read_by_tools = read_by_tools.and_then(Value::as_u64).unwrap_or(0);
    let said = usage.output_tokens.saturating_sub(usage.reasoning_tokens);
    let mut counted = json!({
        "promptTokenCount": usage.input_tokens.saturating_sub(read_by_tools),
        "candidatesTokenCount": said,
        "totalTokenCount": usage.input_tokens.saturating_add(usage.output_tokens),
    });
    for (name, count) in
        [("cachedContentTokenCount", usage.cache_read_tokens), ("thoughtsTokenCount", usage.reasoning_tokens)]
    {
        if count > 0 {
            counted[name] = count.into();
        }
    }
    merge(&mut counted, rest);
    if let Some(cost) = usage.cost {
        counted["cost"] = cost.as_usd().into();
    }
    counted
}
