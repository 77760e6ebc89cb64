//! Coding agents through the gateway: what Claude Code, Codex CLI and Cursor send in a session, in the shape of recordings, over their own
//! vendor's models and over others'. Each is played as it plays itself: it reads the stream event by event, calls its tool, sends
//! everything back with the result, and shortens the conversation when it is told that it is too long.
//!
//! Shapes: Claude Code's gateway requirements (code.claude.com/docs/en/llm-gateway), openai/codex (`codex-rs/core/src/client.rs`), Cursor's
//! custom endpoints; the vendors' own SDKs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Reply, read};

mod vendors;

use vendors::{VENDORS, Vendor};

async fn post(gateway: &Gateway, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let mut call = gateway.client.post(format!("{}{path}", gateway.url)).header("content-type", "application/json");
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    read(call.body(body.to_string()).send().await.expect("an answer")).await
}

fn events(reply: &Reply) -> Vec<Value> {
    let of = |text: String| serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
    reply.events().into_iter().filter(|event| event != "[DONE]").map(of).collect()
}

// ── Claude Code ──

const CLAUDE_CODE: [(&str, &str); 5] = [
    ("authorization", "Bearer sk-gate"),
    ("anthropic-version", "2023-06-01"),
    (
        "anthropic-beta",
        "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,fine-grained-tool-streaming-2025-05-14",
    ),
    ("user-agent", "claude-cli/2.1.0 (external, cli)"),
    ("x-app", "cli"),
];

fn claude_code() -> Value {
    let mark = json!({"type": "ephemeral"});
    json!({"model": "coder", "max_tokens": 32000, "stream": true,
        "metadata": {"user_id": "user_1_account__session_2"},
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "system": [{"type": "text", "text": "You are Claude Code.", "cache_control": mark}, {"type": "text", "text": "Be brief.", "cache_control": mark}],
        "tools": [
            {"name": "Read", "description": "Reads a file", "input_schema": {"$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"], "additionalProperties": false}},
            {"name": "Bash", "description": "Runs a command", "eager_input_streaming": true, "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "<system-reminder>today</system-reminder>"},
            {"type": "text", "text": "What is in a.rs?", "cache_control": mark}]}]})
}

/// The message that the events of a stream come to, as its SDK puts it together: deltas belong to the block that is open.
pub(crate) fn accumulated(reply: &Reply) -> Value {
    let mut message = Value::Null;
    let (mut open, mut arguments) = (None, String::new());
    for event in events(reply) {
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert!(open.is_none() && event["index"] == content.len(), "blocks come one after another: {event}");
                content.push(event["content_block"].clone());
                (open, arguments) = (Some(content.len() - 1), String::new());
            }
            "content_block_delta" => {
                let at = open.expect("a block is open");
                assert_eq!(event["index"], at, "{event}");
                let (block, delta) = (&mut message["content"][at], &event["delta"]);
                let mut add = |name: &str, more: &Value| {
                    block[name] = json!(block[name].as_str().unwrap_or_default().to_owned() + more.as_str().unwrap());
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => add("text", &delta["text"]),
                    "thinking_delta" => add("thinking", &delta["thinking"]),
                    "signature_delta" => add("signature", &delta["signature"]),
                    "input_json_delta" => arguments += delta["partial_json"].as_str().unwrap(),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                let block = &mut message["content"][open.take().expect("a block is open")];
                if block["type"] == "tool_use" {
                    block["input"] = serde_json::from_str(&arguments).expect("whole arguments");
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                for (name, count) in event["usage"].as_object().unwrap() {
                    message["usage"][name] = count.clone();
                }
            }
            "ping" | "message_stop" => {}
            other => panic!("{other}: {event}"),
        }
    }
    message
}

/// The second turn: what the model said as it was, and the tool's result with a mark for the cache.
fn with_result(request: &mut Value, message: &Value) {
    let call = message["content"].as_array().unwrap().iter().find(|block| block["type"] == "tool_use").expect("a call");
    let result = json!({"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "1\tfn main() {}"}],
        "cache_control": {"type": "ephemeral"}});
    let messages = request["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": message["content"]}));
    messages.push(
        json!({"role": "user", "content": [result, {"type": "text", "text": "<system-reminder>x</system-reminder>"}]}),
    );
}

#[tokio::test]
async fn claude_code_works_in_a_loop_over_every_vendor_and_shortens_what_is_too_long() {
    for vendor in VENDORS {
        let steps = vec![
            vendor.stream(false),
            vendor.stream(true),
            vendor.stream(false),
            vendor.too_long(),
            vendor.stream(false),
        ];
        let (gateway, upstream) = vendor.serving(steps).await;
        let path = "/v1/messages?beta=true";

        // A side request, with a small bound and no tools: what the conversation is about.
        let side = json!({"model": "coder", "max_tokens": 512, "stream": true, "temperature": 1, "tools": [], "metadata": {"user_id": "u"},
            "system": [{"type": "text", "text": "Write a short title."}], "messages": [{"role": "user", "content": "What is in a.rs?"}]});
        let said = post(&gateway, path, &CLAUDE_CODE, &side).await;
        assert_eq!(
            (said.status, &accumulated(&said)["stop_reason"]),
            (200, &json!("end_turn")),
            "{vendor:?}: {}",
            said.text
        );

        // Counting eats no request of the provider's.
        let mut counted = claude_code();
        for name in ["max_tokens", "stream", "metadata", "context_management"] {
            counted.as_object_mut().unwrap().remove(name);
        }
        let count = post(&gateway, "/v1/messages/count_tokens?beta=true", &CLAUDE_CODE, &counted).await;
        assert!(count.status == 200 && count.json()["input_tokens"].as_u64() > Some(20), "{vendor:?}: {}", count.text);
        assert_eq!(upstream.count(), 1, "{vendor:?}");

        // A turn that calls a tool, and the one with its result.
        let mut request = claude_code();
        let said = post(&gateway, path, &CLAUDE_CODE, &request).await;
        assert_eq!(said.status, 200, "{vendor:?}: {}", said.text);
        let message = accumulated(&said);
        assert_eq!(message["stop_reason"], "tool_use", "{vendor:?}: {message}");
        let kinds: Vec<&Value> = message["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
        assert_eq!(kinds.contains(&&json!("thinking")), vendor.thinks(), "{vendor:?}: {message}");
        assert_eq!(kinds.contains(&&json!("redacted_thinking")), vendor.hides(), "{vendor:?}: {message}");
        assert_eq!(message["usage"]["cache_read_input_tokens"], 100, "{vendor:?}: {message}");
        with_result(&mut request, &message);
        let said = post(&gateway, path, &CLAUDE_CODE, &request).await;
        assert_eq!(said.status, 200, "{vendor:?}: {}", said.text);
        assert_eq!(accumulated(&said)["stop_reason"], "end_turn", "{vendor:?}");

        // It is too long by now: the words at which it shortens the conversation, and the request that does.
        let refused = post(&gateway, path, &CLAUDE_CODE, &request).await;
        let error = refused.json();
        assert_eq!(
            (refused.status, &error["error"]["type"]),
            (400, &json!("invalid_request_error")),
            "{vendor:?}: {error}"
        );
        let words = error["error"]["message"].as_str().unwrap();
        assert!(words.starts_with("prompt is too long: 210000 tokens > 200000 maximum"), "{vendor:?}: {words}");
        request["messages"]
            .as_array_mut()
            .unwrap()
            .push(json!({"role": "user", "content": "Summarise the conversation."}));
        request["system"] = json!([{"type": "text", "text": "You summarise conversations."}]);
        let said = post(&gateway, path, &CLAUDE_CODE, &request).await;
        assert_eq!(said.status, 200, "{vendor:?}: {}", said.text);

        let asked = upstream.asked();
        vendor.loop_closed(&with_result_alone(&asked[2].body));
        sent_as_claude_code_means_it(vendor, &asked[1].body, &asked[2].body, &asked[1].headers, &said);
    }
}

/// A body without the reminder that follows a tool's result: vendors have it in places of their own.
fn with_result_alone(body: &Value) -> Value {
    let mut body = body.clone();
    for name in ["messages", "contents"] {
        let Some(list) = body[name].as_array_mut() else { continue };
        let newest = list.last().unwrap().clone();
        let results = ["tool_result", "functionResponse", "toolResult"];
        let only_words = newest["role"] == "user" && !results.iter().any(|kind| newest.to_string().contains(kind));
        if only_words {
            list.pop();
        }
        // What one vendor wants said in between.
        if list.last().is_some_and(|last| last["role"] == "assistant" && last["content"] == "OK.") {
            list.pop();
        }
    }
    body
}

fn sent_as_claude_code_means_it(
    vendor: Vendor,
    first: &Value,
    second: &Value,
    headers: &http::HeaderMap,
    said: &Reply,
) {
    let dropped = said.header("x-witgate-dropped");
    vendor.thinking_is_back(second);
    match vendor {
        Vendor::Anthropic => {
            let mut asked = claude_code();
            asked["model"] = json!("claude-sonnet-4-5");
            assert_eq!(first, &asked, "its own vendor reads what it wrote");
            assert_eq!(headers["anthropic-beta"], CLAUDE_CODE[2].1);
            assert_eq!(dropped, "");
        }
        Vendor::VertexClaude => {
            let mut asked = claude_code();
            asked.as_object_mut().unwrap().remove("model");
            asked["anthropic_version"] = json!("vertex-2023-10-16");
            assert_eq!(first, &asked, "its own words, at a cloud's address");
            assert_eq!(headers["anthropic-beta"], CLAUDE_CODE[2].1);
            assert_eq!(dropped, "");
        }
        Vendor::Bedrock => {
            let system = first["system"].as_array().unwrap();
            assert_eq!(system[1], json!({"cachePoint": {"type": "default"}}), "{first}");
            assert_eq!(first["additionalModelRequestFields"]["thinking"]["budget_tokens"], 31999, "{first}");
            assert!(dropped.contains("context_management"), "{dropped}");
        }
        Vendor::Mistral => {
            let told = first.to_string();
            assert!(!told.contains("stream_options") && !told.contains("cache_control"), "{told}");
            let roles: Vec<&Value> = second["messages"].as_array().unwrap().iter().map(|one| &one["role"]).collect();
            assert!(roles.windows(2).all(|two| two != [&json!("tool"), &json!("user")]), "{roles:?}");
            assert!(dropped.contains("context_management"), "{dropped}");
        }
        Vendor::OpenAi | Vendor::DeepSeek => {
            assert!(dropped.contains("context_management") && dropped.contains("anthropic-beta"), "{dropped}");
        }
        Vendor::Gemini | Vendor::Vertex => {
            assert!(first["systemInstruction"].to_string().contains("You are Claude Code."), "{first}");
            assert!(dropped.contains("context_management"), "{dropped}");
        }
        Vendor::Cohere => {
            assert_eq!(first["thinking"]["type"], "enabled", "{first}");
            assert!(dropped.contains("context_management"), "{dropped}");
        }
    }
    assert!(!format!("{headers:?}").contains("sk-gate"));
}

// ── Codex CLI ──

const CODEX: [(&str, &str); 4] = [
    ("authorization", "Bearer sk-gate"),
    ("accept", "text/event-stream"),
    ("originator", "codex_cli_rs"),
    ("session_id", "0197-session"),
];

fn codex() -> Value {
    let text = |text: &str| json!([{"type": "input_text", "text": text}]);
    json!({"model": "coder", "instructions": "You are a coding agent running in the Codex CLI.", "store": false, "stream": true,
        "tool_choice": "auto", "parallel_tool_calls": false, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "0197-session",
        "reasoning": {"effort": "medium", "summary": "auto"}, "text": {"verbosity": "low"},
        "tools": [
            {"type": "function", "name": "Read", "description": "Reads a file", "strict": false,
                "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"], "additionalProperties": false}},
            {"type": "custom", "name": "apply_patch", "description": "Edits files", "format": {"type": "grammar", "syntax": "lark", "definition": "start: \"x\""}},
            {"type": "function", "name": "update_plan", "strict": false, "parameters": {"type": "object", "properties": {"plan": {"type": "array", "items": {"type": "object"}}}}},
            {"type": "namespace", "name": "mcp__jira", "description": "Tickets", "tools": [
                {"type": "function", "name": "search", "strict": false, "parameters": {"type": "object", "properties": {"text": {"type": "string"}}}}]}],
        "input": [
            {"type": "message", "role": "developer", "content": text("<permissions instructions>")},
            {"type": "message", "role": "user", "content": text("<environment_context><cwd>/x</cwd></environment_context>")},
            {"type": "message", "role": "user", "content": text("What is in a.rs?")}]})
}

/// The items that are done, in their order, and the last event.
fn items(reply: &Reply) -> (Vec<Value>, Value) {
    let events = events(reply);
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert_eq!(events[0]["type"], "response.created");
    let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
    let items: Vec<Value> = done.map(|event| event["item"].clone()).collect();
    let last = events.last().unwrap().clone();
    assert_eq!(last["response"]["output"], json!(items), "what was told piece by piece is what is told at the end");
    (items, last)
}

#[tokio::test]
async fn codex_works_in_a_loop_over_every_vendor_and_brings_its_thinking_back() {
    for vendor in VENDORS {
        let steps = vec![vendor.stream(true), vendor.stream(false), vendor.stream(false), vendor.too_long()];
        let (gateway, upstream) = vendor.serving(steps).await;
        let mut request = codex();
        let said = post(&gateway, "/v1/responses", &CODEX, &request).await;
        assert_eq!(said.status, 200, "{vendor:?}: {}", said.text);
        let (said, last) = items(&said);
        assert_eq!(
            (&last["type"], &last["response"]["store"]),
            (&json!("response.completed"), &json!(false)),
            "{last}"
        );
        let usage = &last["response"]["usage"];
        assert_eq!(
            (&usage["input_tokens"], &usage["input_tokens_details"]["cached_tokens"]),
            (&json!(109), &json!(100)),
            "{vendor:?}"
        );
        let call = said.iter().find(|item| item["type"] == "function_call").expect("a call");
        assert_eq!((&call["name"], &call["status"]), (&json!("Read"), &json!("completed")));
        let thought = said.iter().find(|item| item["type"] == "reasoning");
        assert_eq!(thought.is_some(), vendor.thinks(), "{vendor:?}: {said:?}");

        // Everything goes back as it came, and the tool's output.
        let input = request["input"].as_array_mut().unwrap();
        input.extend(said.iter().cloned());
        input.push(json!({"type": "function_call_output", "call_id": call["call_id"], "output": "fn main() {}"}));
        let answer = post(&gateway, "/v1/responses", &CODEX, &request).await;
        assert_eq!(answer.status, 200, "{vendor:?}: {}", answer.text);
        let (said, _) = items(&answer);
        assert!(said.iter().any(|item| item["content"][0]["text"] == "Done."), "{said:?}");

        // It shortens a conversation by asking for a summary of it, without tools.
        let mut compact = request.clone();
        compact["tools"] = json!([]);
        compact["input"].as_array_mut().unwrap().push(
            json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Create a handoff summary."}]}));
        let answer = post(&gateway, "/v1/responses", &CODEX, &compact).await;
        assert_eq!(answer.status, 200, "{vendor:?}: {}", answer.text);
        let refused = post(&gateway, "/v1/responses", &CODEX, &request).await.json();
        assert_eq!(refused["error"]["code"], "context_length_exceeded", "{vendor:?}: {refused}");

        let asked = upstream.asked();
        vendor.loop_closed(&asked[1].body);
        let (first, second) = (asked[0].body.to_string(), &asked[1].body);
        assert!(first.contains("You are a coding agent") && first.contains("<permissions instructions>"), "{first}");
        assert!(first.contains("apply_patch") && first.contains("start: "), "the grammar is told: {first}");
        assert!(first.contains("\"mcp__jira__search\""), "what an MCP server has is a tool: {first}");
        vendor.thinking_is_back(second);
    }
}

#[tokio::test]
async fn what_codex_asks_of_openai_alone_is_refused_with_what_to_do() {
    let (gateway, upstream) = Vendor::OpenAi.serving(vec![Vendor::OpenAi.stream(false)]).await;
    for path in ["/v1/responses/compact", "/responses/compact", "/openai/v1/responses/compact"] {
        let asked = json!({"model": "coder", "instructions": "x", "input": codex()["input"]});
        let answer = post(&gateway, path, &CODEX, &asked).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"]), (404, &json!("compaction_not_served")), "{path}: {error}");
        assert!(error["message"].as_str().unwrap().contains("neither `OpenAI` nor `Azure`"), "{error}");
    }
    let mut sealed = codex();
    sealed["input"].as_array_mut().unwrap().push(json!({"type": "compaction", "encrypted_content": "gAAA"}));
    let answer = post(&gateway, "/v1/responses", &CODEX, &sealed).await;
    assert!(answer.status == 400 && answer.text.contains("`compaction`"), "{}", answer.text);
    assert_eq!(upstream.count(), 0);
}

// ── Cursor ──

fn cursor() -> Value {
    json!({"model": "coder", "stream": true, "stream_options": {"include_usage": true}, "temperature": 0, "user": "cursor-user",
        "tools": [
            {"type": "function", "function": {"name": "Read", "description": "Reads a file", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}},
            // Its custom endpoints are sent the shapes of other APIs too.
            {"type": "function", "name": "grep", "description": "Searches", "parameters": {"type": "object", "properties": {}}, "strict": false},
            {"name": "edit", "description": "Edits", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": "auto",
        "messages": [{"role": "system", "content": "You are a coding assistant in Cursor."},
            {"role": "user", "content": [{"type": "text", "text": "<user_info>x</user_info>"}, {"type": "text", "text": "What is in a.rs?"}]}]})
}

/// What the chunks come to, as OpenAI's SDK puts it together; the finish and the usage beside it.
fn assembled(reply: &Reply) -> (Value, Value, Value) {
    let (mut text, mut finish, mut usage) = (String::new(), Value::Null, Value::Null);
    let mut calls: BTreeMap<u64, Value> = BTreeMap::new();
    for chunk in events(reply) {
        if chunk["usage"].is_object() {
            usage = chunk["usage"].clone();
        }
        for choice in chunk["choices"].as_array().unwrap() {
            text += choice["delta"]["content"].as_str().unwrap_or_default();
            if choice["finish_reason"].is_string() {
                finish = choice["finish_reason"].clone();
            }
            for piece in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                let call = calls.entry(piece["index"].as_u64().unwrap()).or_insert_with(
                    || json!({"id": piece["id"], "type": "function", "function": {"name": piece["function"]["name"], "arguments": ""}}));
                let arguments = call["function"]["arguments"].as_str().unwrap().to_owned();
                call["function"]["arguments"] =
                    json!(arguments + piece["function"]["arguments"].as_str().unwrap_or_default());
            }
        }
    }
    let calls: Vec<Value> = calls.into_values().collect();
    (json!({"role": "assistant", "content": text, "tool_calls": calls}), finish, usage)
}

#[tokio::test]
async fn cursor_works_in_a_loop_over_every_vendor() {
    let headers = [("authorization", "Bearer sk-gate")];
    for vendor in VENDORS {
        let (gateway, upstream) = vendor.serving(vec![vendor.stream(true), vendor.stream(false)]).await;
        let mut request = cursor();
        let said = post(&gateway, "/v1/chat/completions", &headers, &request).await;
        assert_eq!(said.status, 200, "{vendor:?}: {}", said.text);
        assert!(said.text.ends_with("data: [DONE]\n\n"), "{vendor:?}");
        let (message, finish, usage) = assembled(&said);
        assert_eq!((&finish, &message["content"]), (&json!("tool_calls"), &json!("Reading.")), "{vendor:?}: {message}");
        assert_eq!(
            (&usage["prompt_tokens"], &usage["prompt_tokens_details"]["cached_tokens"]),
            (&json!(109), &json!(100)),
            "{vendor:?}"
        );
        let id = message["tool_calls"][0]["id"].clone();
        let messages = request["messages"].as_array_mut().unwrap();
        messages.push(message);
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": "fn main() {}"}));
        let said = post(&gateway, "/v1/chat/completions", &headers, &request).await;
        assert_eq!(said.status, 200, "{vendor:?}: {}", said.text);
        let (message, finish, _) = assembled(&said);
        assert_eq!((&finish, &message["content"]), (&json!("stop"), &json!("Done.")), "{vendor:?}");
        let asked = upstream.asked();
        let of = |name: &str| asked[0].body[name].to_string();
        let tools = of("tools") + &of("toolConfig");
        assert!(
            ["Read", "grep", "edit"].iter().all(|name| tools.contains(&format!("\"{name}\""))),
            "{vendor:?}: {tools}"
        );
        vendor.loop_closed(&asked[1].body);
    }
}
