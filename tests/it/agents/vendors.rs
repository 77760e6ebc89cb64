//! The vendors that agents are played over: a turn of each one's models on its own wire, its refusal of what is too long, and what must come
//! back to it.
//!
//! Shapes: the vendors' own SDKs (anthropic, openai, google-genai, mistralai, cohere, botocore's bedrock-runtime).

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::upstream::{ScriptedUpstream, Step};

/// Which models answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Vendor {
    Anthropic,
    OpenAi,
    DeepSeek,
    Mistral,
    Gemini,
    Vertex,
    VertexClaude,
    Bedrock,
    Cohere,
}

pub(super) const VENDORS: [Vendor; 9] = [
    Vendor::Anthropic,
    Vendor::OpenAi,
    Vendor::DeepSeek,
    Vendor::Mistral,
    Vendor::Gemini,
    Vendor::Vertex,
    Vendor::VertexClaude,
    Vendor::Bedrock,
    Vendor::Cohere,
];

impl Vendor {
    fn model(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic/claude-sonnet-4-5",
            Self::OpenAi => "openai/gpt-5",
            Self::DeepSeek => "deepseek/deepseek-reasoner",
            Self::Mistral => "mistral/magistral-medium-latest",
            Self::Gemini => "gemini/gemini-2.5-pro",
            Self::Vertex => "vertex_ai/gemini-3.1-pro-preview",
            Self::VertexClaude => "vertex_ai/claude-sonnet-4-5@20250929",
            Self::Bedrock => "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            Self::Cohere => "cohere/command-a-reasoning-08-2025",
        }
    }

    /// Whether it tells what it thinks.
    pub(super) fn thinks(self) -> bool {
        self != Self::OpenAi
    }

    /// Whether it hides some of it, and wants that back.
    pub(super) fn hides(self) -> bool {
        matches!(self, Self::Anthropic | Self::VertexClaude | Self::Bedrock)
    }

    fn is_chat_completions(self) -> bool {
        matches!(self, Self::OpenAi | Self::DeepSeek | Self::Mistral)
    }

    /// A turn of its model's: it thinks, says a word, and calls `Read`; or it says that it is done.
    pub(super) fn stream(self, calls: bool) -> Step {
        let events: Vec<Value> = match self {
            Self::Anthropic | Self::VertexClaude => anthropic_turn(calls),
            Self::OpenAi | Self::DeepSeek | Self::Mistral => openai_turn(calls, self),
            Self::Gemini | Self::Vertex => gemini_turn(calls),
            Self::Cohere => cohere_turn(calls),
            Self::Bedrock => {
                let frames: Vec<u8> = bedrock_turn(calls).iter().flat_map(|(name, data)| frame(name, data)).collect();
                return Step::bytes(200, "application/vnd.amazon.eventstream", frames).byte_by_byte();
            }
        };
        let has_names = matches!(self, Self::Anthropic | Self::VertexClaude | Self::Cohere);
        let named = |event: Value| {
            let name = event["type"].as_str().filter(|_| has_names);
            name.map_or_else(String::new, |name| format!("event: {name}\n")) + &format!("data: {event}\n\n")
        };
        let mut wire: String = events.into_iter().map(named).collect();
        if self.is_chat_completions() {
            wire += "data: [DONE]\n\n";
        }
        Step::events(wire).byte_by_byte()
    }

    /// Its refusal of a conversation that is too long.
    pub(super) fn too_long(self) -> Step {
        let told = match self {
            Self::Anthropic | Self::VertexClaude => {
                json!({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}})
            }
            Self::OpenAi | Self::DeepSeek => {
                json!({"error": {"type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded",
                    "message": "This model's maximum context length is 200000 tokens. However, your messages resulted in 210000 tokens."}})
            }
            Self::Mistral => {
                json!({"object": "error", "type": "invalid_request_prompt", "param": null, "code": "3051",
                    "message": "Prompt contains 210000 tokens and 0 draft tokens, too large for model with 200000 maximum context length"})
            }
            Self::Gemini | Self::Vertex => {
                json!({"error": {"code": 400, "status": "INVALID_ARGUMENT",
                    "message": "The input token count (210000) exceeds the maximum number of tokens allowed (200000)."}})
            }
            Self::Bedrock => {
                let told = json!({"message": "The model returned the following errors: prompt is too long: 210000 tokens > 200000 maximum"});
                return Step::json(400, &told).header("x-amzn-errortype", "ValidationException");
            }
            Self::Cohere => {
                json!({"id": "r", "message": "too many tokens: total number of tokens in the prompt cannot exceed 200000 - received 210000"})
            }
        };
        Step::json(400, &told)
    }

    pub(super) async fn serving(self, steps: Vec<Step>) -> (Gateway, ScriptedUpstream) {
        let upstream = ScriptedUpstream::start(steps).await;
        let origin = upstream.origin();
        let base = match self {
            Self::Anthropic | Self::Bedrock | Self::Cohere => origin,
            Self::OpenAi | Self::DeepSeek | Self::Mistral => format!("{origin}/v1"),
            Self::Gemini => format!("{origin}/v1beta"),
            Self::Vertex => format!("{origin}/v1/projects/p/locations/us-east5/publishers/google"),
            Self::VertexClaude => format!("{origin}/v1/projects/p/locations/us-east5/publishers/anthropic"),
        };
        let credential = match self {
            Self::Vertex | Self::VertexClaude => format!("vertex_credentials: {}", account().await),
            _ => "api_key: sk-up".to_owned(),
        };
        let config = format!(
            "model_list: [{{model_name: coder, litellm_params: {{model: \"{}\", api_base: \"{base}\", {credential}}}}}]
general_settings: {{master_key: sk-gate}}
router_settings: {{num_retries: 0}}
",
            self.model()
        );
        (Gateway::start(&config).await, upstream)
    }

    /// The results of tools in the second turn as it was sent: the call's id there, and what is tied to it.
    pub(super) fn loop_closed(self, body: &Value) {
        let arguments = json!({"path": "a.rs"});
        match self {
            Self::Anthropic | Self::VertexClaude => {
                let [said, answered] = last_two(&body["messages"]);
                let call = block(said, "content", |part| part["type"] == "tool_use");
                assert_eq!((&call["name"], &call["input"]), (&json!("Read"), &arguments), "{body}");
                assert_eq!(answered["content"][0]["tool_use_id"], call["id"], "{body}");
                assert!(answered["content"][0].to_string().contains("fn main"), "{body}");
            }
            Self::OpenAi | Self::DeepSeek | Self::Mistral | Self::Cohere => {
                let [said, answered] = last_two(&body["messages"]);
                let call = &said["tool_calls"][0];
                let told: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
                assert_eq!((&call["function"]["name"], &told), (&json!("Read"), &arguments), "{body}");
                assert_eq!((&answered["role"], &answered["tool_call_id"]), (&json!("tool"), &call["id"]), "{body}");
                assert!(answered["content"].to_string().contains("fn main"), "{body}");
                let length = call["id"].as_str().map(str::len);
                assert!(self != Self::Mistral || length == Some(9), "{call}");
            }
            Self::Gemini | Self::Vertex => {
                let [said, answered] = last_two(&body["contents"]);
                let call = block(said, "parts", |part| part["functionCall"].is_object());
                assert_eq!(call["functionCall"]["args"], arguments, "{body}");
                // Its newer models refuse a call without it.
                assert_eq!(call["thoughtSignature"], "c2lnbmVk", "{body}");
                assert_eq!(answered["parts"][0]["functionResponse"]["name"], "Read", "{body}");
                assert!(answered.to_string().contains("fn main"), "{body}");
            }
            Self::Bedrock => {
                let [said, answered] = last_two(&body["messages"]);
                let call = &block(said, "content", |part| part["toolUse"].is_object())["toolUse"];
                assert_eq!((&call["name"], &call["input"]), (&json!("Read"), &arguments), "{body}");
                let result = &answered["content"][0]["toolResult"];
                assert_eq!(result["toolUseId"], call["toolUseId"], "{body}");
                assert!(result.to_string().contains("fn main"), "{body}");
                assert!(body["toolConfig"].to_string().contains("\"Read\""), "{body}");
            }
        }
    }

    /// What it thought before it called a tool comes back as it wants it: in the words it had, before the call, with what proves it.
    pub(super) fn thinking_is_back(self, body: &Value) {
        let thought = "I need the file.";
        let turn = |list: &Value, says: fn(&Value) -> bool| -> Value {
            list.as_array().unwrap().iter().find(|one| says(one)).cloned().unwrap_or_default()
        };
        match self {
            Self::Anthropic | Self::VertexClaude => {
                let said = turn(&body["messages"], |one| one["role"] == "assistant");
                let signed = json!({"type": "thinking", "thinking": thought, "signature": "c2lnbmVk"});
                assert_eq!(said["content"][0], signed, "thinking stands before the call, with its signature: {body}");
                assert_eq!(said["content"][1], json!({"type": "redacted_thinking", "data": "c2VhbGVk"}), "{body}");
            }
            Self::Bedrock => {
                let said = turn(&body["messages"], |one| one["role"] == "assistant");
                let signed = json!({"reasoningContent": {"reasoningText": {"text": thought, "signature": "c2lnbmVk"}}});
                assert_eq!(said["content"][0], signed, "{body}");
                assert_eq!(said["content"][1], json!({"reasoningContent": {"redactedContent": "c2VhbGVk"}}), "{body}");
            }
            Self::DeepSeek => {
                let said = turn(&body["messages"], |one| one["tool_calls"].is_array());
                assert_eq!(said["reasoning_content"], thought, "{body}");
            }
            Self::Cohere => {
                let said = turn(&body["messages"], |one| one["tool_calls"].is_array());
                assert_eq!(said["content"][0], json!({"type": "thinking", "thinking": thought}), "{body}");
            }
            // What it thought is its own; the signature is under the call.
            Self::Gemini | Self::Vertex => assert!(body["contents"].to_string().contains("c2lnbmVk"), "{body}"),
            // It has no field for it, or wants none of it.
            Self::OpenAi | Self::Mistral => {
                let said = turn(&body["messages"], |one| one["tool_calls"].is_array());
                assert_eq!(said["reasoning_content"], Value::Null, "{body}");
            }
        }
    }
}

fn block(turn: &Value, of: &str, is_it: fn(&Value) -> bool) -> Value {
    turn[of].as_array().unwrap().iter().find(|part| is_it(part)).cloned().unwrap_or_else(|| panic!("{turn}"))
}

/// A service account whose tokens are had nearby, as YAML.
async fn account() -> Value {
    let token = json!({"access_token": "vertex-token", "expires_in": 3600, "token_type": "Bearer"});
    // It serves as long as the test runs.
    let tokens = Box::leak(Box::new(ScriptedUpstream::start([Step::json(200, &token)]).await));
    let account = include_str!("../../fixtures/google/service-account.json");
    json!(account.replace("https://oauth2.googleapis.com/token", &format!("{}/token", tokens.origin())))
}

pub(super) fn last_two(list: &Value) -> [&Value; 2] {
    let list = list.as_array().expect("a list");
    [&list[list.len() - 2], &list[list.len() - 1]]
}

fn anthropic_turn(calls: bool) -> Vec<Value> {
    let usage = json!({"input_tokens": 9, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 100, "output_tokens": 1});
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage});
    let delta = |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let begin =
        |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let stop = |index: u32| json!({"type": "content_block_stop", "index": index});
    let mut events = vec![
        json!({"type": "message_start", "message": message}),
        begin(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "I need the file."})),
        delta(0, json!({"type": "signature_delta", "signature": "c2lnbmVk"})),
        stop(0),
        begin(1, json!({"type": "redacted_thinking", "data": "c2VhbGVk"})),
        stop(1),
        begin(2, json!({"type": "text", "text": ""})),
        delta(2, json!({"type": "text_delta", "text": if calls { "Reading." } else { "Done." }})),
        stop(2),
    ];
    if calls {
        events.extend([
            begin(3, json!({"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}})),
            delta(3, json!({"type": "input_json_delta", "partial_json": ""})),
            delta(3, json!({"type": "input_json_delta", "partial_json": "{\"path\":"})),
            delta(3, json!({"type": "input_json_delta", "partial_json": " \"a.rs\"}"})),
            stop(3),
        ]);
    }
    let reason = if calls { "tool_use" } else { "end_turn" };
    events.extend([
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 30}}),
        json!({"type": "message_stop"}),
    ]);
    events
}

fn openai_turn(calls: bool, vendor: Vendor) -> Vec<Value> {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    match vendor {
        Vendor::DeepSeek => events.push(chunk(json!({"reasoning_content": "I need the file."}), Value::Null)),
        Vendor::Mistral => {
            let text = json!({"type": "text", "text": "I need the file."});
            events.push(chunk(json!({"content": [{"type": "thinking", "thinking": [text]}]}), Value::Null));
        }
        _ => {}
    }
    events.push(chunk(json!({"content": if calls { "Reading." } else { "Done." }}), Value::Null));
    if calls {
        let call = json!({"index": 0, "id": if vendor == Vendor::Mistral { "D681PevKs" } else { "call_1" }, "type": "function", "function": {"name": "Read", "arguments": ""}});
        events.push(chunk(json!({"tool_calls": [call]}), Value::Null));
        for piece in ["{\"path\":", "\"a.rs\"}"] {
            events.push(chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}), Value::Null));
        }
    }
    events.push(chunk(json!({}), json!(if calls { "tool_calls" } else { "stop" })));
    events.push(json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
        "usage": {"prompt_tokens": 109, "completion_tokens": 30, "total_tokens": 139, "prompt_tokens_details": {"cached_tokens": 100}}}));
    events
}

fn gemini_turn(calls: bool) -> Vec<Value> {
    let event = |parts: Value, finish: Option<&str>| {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        if let Some(finish) = finish {
            candidate["finishReason"] = json!(finish);
        }
        json!({"candidates": [candidate], "modelVersion": "gemini-2.5-pro", "responseId": "r1",
            "usageMetadata": {"promptTokenCount": 109, "candidatesTokenCount": 20, "thoughtsTokenCount": 10, "cachedContentTokenCount": 100}})
    };
    let call = json!({"functionCall": {"name": "Read", "args": {"path": "a.rs"}}, "thoughtSignature": "c2lnbmVk"});
    let last = if calls { event(json!([call]), Some("STOP")) } else { event(json!([{"text": ""}]), Some("STOP")) };
    vec![
        event(json!([{"text": "I need the file.", "thought": true}]), None),
        event(json!([{"text": if calls { "Reading." } else { "Done." }}]), None),
        last,
    ]
}

fn cohere_turn(calls: bool) -> Vec<Value> {
    let content = |event: &str, index: u32, part: Value| json!({"type": event, "index": index, "delta": {"message": {"content": part}}});
    let call =
        |event: &str, call: Value| json!({"type": event, "index": 0, "delta": {"message": {"tool_calls": call}}});
    let message = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
    let mut events = vec![
        json!({"type": "message-start", "id": "r1", "delta": {"message": message}}),
        content("content-start", 0, json!({"type": "thinking", "thinking": ""})),
        content("content-delta", 0, json!({"thinking": "I need the file."})),
        json!({"type": "content-end", "index": 0}),
        content("content-start", 1, json!({"type": "text", "text": ""})),
        content("content-delta", 1, json!({"text": if calls { "Reading." } else { "Done." }})),
        json!({"type": "content-end", "index": 1}),
    ];
    if calls {
        let begun = json!({"id": "Read_1", "type": "function", "function": {"name": "Read", "arguments": ""}});
        events.push(call("tool-call-start", begun));
        for piece in ["{\"path\":", "\"a.rs\"}"] {
            events.push(call("tool-call-delta", json!({"function": {"arguments": piece}})));
        }
        events.push(json!({"type": "tool-call-end", "index": 0}));
    }
    let usage = json!({"billed_units": {"input_tokens": 109, "output_tokens": 30}, "tokens": {"input_tokens": 900, "output_tokens": 30},
        "cached_tokens": 100});
    let reason = if calls { "TOOL_CALL" } else { "COMPLETE" };
    events.push(json!({"type": "message-end", "delta": {"finish_reason": reason, "usage": usage}}));
    events
}

fn bedrock_turn(calls: bool) -> Vec<(&'static str, Value)> {
    let delta = |block: u32, delta: Value| ("contentBlockDelta", json!({"contentBlockIndex": block, "delta": delta}));
    let stop = |block: u32| ("contentBlockStop", json!({"contentBlockIndex": block}));
    let mut events = vec![
        ("messageStart", json!({"role": "assistant"})),
        delta(0, json!({"reasoningContent": {"text": "I need the file."}})),
        delta(0, json!({"reasoningContent": {"signature": "c2lnbmVk"}})),
        stop(0),
        delta(1, json!({"reasoningContent": {"redactedContent": "c2VhbGVk"}})),
        stop(1),
        delta(2, json!({"text": if calls { "Reading." } else { "Done." }})),
        stop(2),
    ];
    if calls {
        let start = json!({"toolUse": {"toolUseId": "tooluse_1", "name": "Read"}});
        events.extend([
            ("contentBlockStart", json!({"contentBlockIndex": 3, "start": start})),
            delta(3, json!({"toolUse": {"input": "{\"path\":"}})),
            delta(3, json!({"toolUse": {"input": "\"a.rs\"}"}})),
            stop(3),
        ]);
    }
    let usage = json!({"inputTokens": 9, "outputTokens": 30, "totalTokens": 139, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 0});
    events.extend([
        ("messageStop", json!({"stopReason": if calls { "tool_use" } else { "end_turn" }})),
        ("metadata", json!({"usage": usage, "metrics": {"latencyMs": 9}})),
    ]);
    events
}

/// An event in `vnd.amazon.eventstream`.
fn frame(name: &str, data: &Value) -> Vec<u8> {
    let payload = data.to_string();
    let mut headers = Vec::new();
    for (header, value) in [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")] {
        headers.push(u8::try_from(header.len()).unwrap());
        headers.extend_from_slice(header.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
    let mut out = [length(16 + headers.len() + payload.len()), length(headers.len())].concat();
    out.extend_from_slice(&checksum(&out).to_be_bytes());
    out.extend_from_slice(&headers);
    out.extend_from_slice(payload.as_bytes());
    out.extend_from_slice(&checksum(&out).to_be_bytes());
    out
}

/// CRC-32, bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 })
    })
}
