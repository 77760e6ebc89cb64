//! What policies are told of a request as text: looked up by name, and kept only where some policy may read it.
//!
//! Headers go no further than reading the request, but for those that a policy of this snapshot reads. Tags are the gateway's to
//! read, as LiteLLM's are: no provider gets them.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use crate::chat::{ChatRequest, PartKind, Role};
use crate::signal::Attribute;
use crate::snapshot::{Caller, GroupRuntime};

/// Bytes of a prompt that a policy is told at most.
const PROMPT_BYTES: usize = 64 << 10;

/// The headers that policies read, by name.
pub(super) type KeptHeaders = Vec<(HeaderName, String)>;

/// Of `headers`, those in `wanted`. One that was sent several times has all values, with commas between.
pub(super) fn keep(wanted: &[HeaderName], headers: &HeaderMap) -> KeptHeaders {
    let told = |name: &HeaderName| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let values: Vec<_> = values.collect();
        (!values.is_empty()).then(|| (name.clone(), values.join(", ")))
    };
    wanted.iter().filter_map(told).collect()
}

/// Takes out the request's tags: `tags`, and `tags` of its `metadata` and its `litellm_metadata`, where they are lists.
pub(super) fn take_tags(request: &mut ChatRequest) -> Vec<String> {
    if request.rest.is_empty() && request.echo.is_empty() {
        return Vec::new();
    }
    let mut tags = Vec::new();
    let mut add = |list: Vec<Value>| {
        tags.extend(list.into_iter().filter_map(|tag| if let Value::String(tag) = tag { Some(tag) } else { None }));
    };
    if request.rest.get("tags").is_some_and(Value::is_array)
        && let Some(Value::Array(list)) = request.rest.shift_remove("tags")
    {
        add(list);
    }
    if let Some(Value::Object(metadata)) = request.rest.get_mut("metadata")
        && metadata.get("tags").is_some_and(Value::is_array)
    {
        if let Some(Value::Array(list)) = metadata.shift_remove("tags") {
            add(list);
        }
        if metadata.is_empty() {
            request.rest.shift_remove("metadata");
        }
    }
    // An API that repeats them in its reply keeps them where no provider looks.
    if let Some(Value::Array(list)) = request.echo.get("metadata").and_then(|metadata| metadata.get("tags")) {
        add(list.clone());
    }
    // LiteLLM's own, beside what an API calls `metadata`: no provider is to read it.
    if request.rest.get("litellm_metadata").is_some_and(Value::is_object)
        && let Some(Value::Object(mut own)) = request.rest.shift_remove("litellm_metadata")
    {
        if let Some(Value::Array(list)) = own.shift_remove("tags") {
            add(list);
        }
        request.untold.extend(own.keys().map(|name| format!("litellm_metadata.{name}")));
    }
    tags
}

// Looked up in every request: made when this is compiled.
const TAGS: HeaderName = HeaderName::from_static("x-litellm-tags");

/// The tags of LiteLLM's header, with commas between.
pub(super) fn header_tags(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(TAGS).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// What there is to tell of one request.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) group: &'a GroupRuntime,
    pub(super) caller: &'a Caller,
    pub(super) api: &'static str,
    /// It is not served.
    pub(super) explained: bool,
    pub(super) tags: &'a [String],
    pub(super) headers: &'a KeptHeaders,
    pub(super) request: &'a ChatRequest,
}

/// All attributes that a policy wants.
pub(super) fn attributes(wanted: &[Attribute], facts: Facts<'_>) -> Vec<String> {
    wanted.iter().map(|wanted| attribute(wanted, facts).into_owned()).collect()
}

/// One attribute; "" where it is absent.
pub(super) fn attribute<'a>(wanted: &Attribute, facts: Facts<'a>) -> Cow<'a, str> {
    let plain = match wanted {
        Attribute::Caller => &facts.caller.name,
        Attribute::Team => facts.caller.team.as_ref().map_or("", |team| team.as_str()),
        Attribute::Group => facts.group.config.name.as_str(),
        Attribute::Api => facts.api,
        Attribute::Explain => {
            if facts.explained {
                "1"
            } else {
                ""
            }
        }
        Attribute::Prompt => return prompt(facts.request),
        Attribute::Tag(name) => tag(name, facts.tags),
        Attribute::Metadata(key) => return metadata(key, facts.request),
        Attribute::Header(name) => {
            facts.headers.iter().find(|(kept, _)| kept == name).map_or("", |(_, value)| value.as_str())
        }
    };
    Cow::Borrowed(plain)
}

/// The text of the user's last message, cut at a whole character.
fn prompt(request: &ChatRequest) -> Cow<'_, str> {
    let Some(message) = request.messages.iter().rfind(|message| message.role == Role::User) else {
        return Cow::Borrowed("");
    };
    let mut texts = message.parts.iter().filter_map(|part| match &part.kind {
        PartKind::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let first = texts.next().unwrap_or("");
    let cut = |text: &str| text.floor_char_boundary(PROMPT_BYTES);
    let mut all = Cow::Borrowed(&first[..cut(first)]);
    for text in texts {
        if all.len() >= PROMPT_BYTES {
            break;
        }
        let all = all.to_mut();
        all.push('\n');
        all.push_str(&text[..cut(text)]);
        all.truncate(cut(all));
    }
    all
}

/// "1" where the tag is there alone, its value where it is written `NAME:VALUE` or `NAME=VALUE`.
fn tag<'a>(name: &str, tags: &'a [String]) -> &'a str {
    let value = |tag: &'a String| match tag.strip_prefix(name)? {
        "" => Some("1"),
        rest => rest.strip_prefix([':', '=']),
    };
    tags.iter().find_map(value).unwrap_or("")
}

fn metadata<'a>(key: &str, request: &'a ChatRequest) -> Cow<'a, str> {
    let said = request.rest.get("metadata").or_else(|| request.echo.get("metadata"));
    match said.and_then(|metadata| metadata.get(key)) {
        None | Some(Value::Null) => Cow::Borrowed(""),
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(other) => Cow::Owned(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::format::{ClientRequest, operation_at};
    use crate::pipeline::tests::support::request;

    #[test]
    fn tags_are_taken_out_and_all_else_stays() {
        let mut tagged = request(
            r#"{"model":"g","messages":[{"role":"user","content":"hi"}],"tags":["tier:gold","batch"],
                "metadata":{"tags":["team=blue",7],"job":"42"}}"#,
        );
        let tags = take_tags(&mut tagged);
        assert_eq!(tags, ["tier:gold", "batch", "team=blue"]);
        assert_eq!(tagged.rest.get("metadata").map(Value::to_string).as_deref(), Some(r#"{"job":"42"}"#));
        assert!(!tagged.rest.contains_key("tags"));
        let told = |name: &str| tag(name, &tags);
        assert_eq!(
            [told("tier"), told("batch"), told("team"), told("tie"), told("none")],
            ["gold", "1", "blue", "", ""]
        );
        let mut own = request(
            r#"{"model":"g","messages":[{"role":"user","content":"hi"}],"tags":"mine","metadata":{"tags":["a"]}}"#,
        );
        assert_eq!(take_tags(&mut own), ["a"]);
        assert_eq!(own.rest.keys().collect::<Vec<_>>(), ["tags"], "no list is nobody's tags; empty metadata is none");
    }

    #[test]
    fn tags_are_read_alike_in_every_api() {
        let message = json!({"role": "user", "content": "hi"});
        for (path, mut body) in [
            ("/v1/chat/completions", json!({"model": "g", "messages": [message]})),
            ("/v1/messages", json!({"model": "g", "max_tokens": 9, "messages": [message]})),
            ("/v1/responses", json!({"model": "g", "input": "hi"})),
            ("/v1/completions", json!({"model": "g", "prompt": "hi"})),
        ] {
            body["metadata"] = json!({"tags": ["tier:gold"]});
            body["litellm_metadata"] = json!({"tags": ["batch"], "trace": "t-1"});
            let (api, _) = operation_at(path).unwrap();
            let asked = ClientRequest::post(path.parse().unwrap(), body.to_string());
            let mut request = api.parse(&asked).unwrap();
            assert_eq!(take_tags(&mut request), ["tier:gold", "batch"], "{path}");
            assert!(!request.rest.contains_key("litellm_metadata"), "{path}: no provider gets it");
            assert!(request.untold.iter().any(|told| told == "litellm_metadata.trace"), "{path}: {:?}", request.untold);
        }
    }

    #[test]
    fn the_prompt_is_the_last_message_of_the_user() {
        let said = request(
            r#"{"model":"g","messages":[{"role":"user","content":"first"},{"role":"assistant","content":"no"},
                {"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":"two"}]},
                {"role":"assistant","content":"later"}]}"#,
        );
        assert_eq!(prompt(&said), "one\ntwo");
        let long =
            format!(r#"{{"model":"g","messages":[{{"role":"user","content":"a{}"}}]}}"#, "ä".repeat(PROMPT_BYTES));
        let long = request(&long);
        assert_eq!(prompt(&long).len(), PROMPT_BYTES - 1, "no character is split");
    }

    #[test]
    fn metadata_is_told_as_it_was_written() {
        let said = request(
            r#"{"model":"g","messages":[{"role":"user","content":"x"}],"metadata":{"a":"b","n":7,"none":null}}"#,
        );
        assert_eq!(["a", "n", "none", "other"].map(|key| metadata(key, &said).into_owned()), ["b", "7", "", ""]);
    }

    #[test]
    fn headers_are_kept_by_name_alone() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-tier", "gold"), ("x-tier", "blue"), ("authorization", "Bearer k")] {
            headers.append(name, value.parse().unwrap());
        }
        assert!(keep(&[], &headers).is_empty());
        let wanted = [HeaderName::from_static("x-tier"), HeaderName::from_static("x-other")];
        assert_eq!(keep(&wanted, &headers), [(wanted[0].clone(), "gold, blue".to_owned())]);
    }
}
