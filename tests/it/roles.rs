//! Builders and parsers where replies are more than one text for one client of OpenAI's: other APIs, tool calls, several
//! alternatives; and where a request does not end well: clients that leave, time that is over, limits while a model is asked again.

use serde_json::{Value, json};
use witgate::fault::RefusalKind;
use witgate::format::OpenAi;

use crate::chat::openai_reply;
use crate::prompts::{ask, config, content, read, stream};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Gate, ScriptedUpstream, Step};
use crate::support::{until, virtual_time};

const MASKED: &str = "  prompt_builders:\n    g: {policy: redact}\n  response_parsers:\n    g: {policy: restore}";
const JSON: &str = "  response_parsers:\n    g: {policy: json, settings: {schema: {type: object, required: [a]}}";

fn anthropic(streamed: bool) -> Value {
    json!({"model": "g", "max_tokens": 10, "stream": streamed,
        "messages": [{"role": "user", "content": "write to ada@example.org"}]})
}

/// A chunk of a stream, in OpenAI's words.
fn chunk(index: u32, delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": index, "delta": delta, "finish_reason": finish});
    let chunk = json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
    format!("data: {chunk}\n\n")
}

fn call(arguments: &str) -> Value {
    json!([{"id": "t1", "type": "function", "index": 0, "function": {"name": "send", "arguments": arguments}}])
}

/// A stream of one tool call whose arguments come in these pieces.
fn calls(pieces: &[&str]) -> String {
    let arguments = pieces.iter().map(|piece| json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}));
    let arguments: String = arguments.map(|delta| chunk(0, &delta, None)).collect();
    chunk(0, &json!({"role": "assistant", "tool_calls": call("")}), None)
        + &arguments
        + &chunk(0, &json!({}), Some("tool_calls"))
        + "data: [DONE]\n\n"
}

/// What events of Anthropic's API say under this key of their deltas, together.
fn spoken(events: &[String], key: &str) -> String {
    let events = events.iter().map(|event| serde_json::from_str::<Value>(event).expect("JSON"));
    events.filter_map(|event| event["delta"][key].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn anthropics_clients_read_what_was_masked() {
    let upstream = ScriptedUpstream::start([
        Step::json(200, &openai_reply("I wrote to <EMAIL_1>.")),
        Step::events(stream(&["to <EM", "AIL_1", "> it", " went"], "stop")),
    ])
    .await;
    let gateway = Gateway::start(&config(&upstream, MASKED)).await;
    let reply = gateway.post("/v1/messages", &anthropic(false)).await;
    assert_eq!(reply.json()["content"][0]["text"], "I wrote to ada@example.org.", "{}", reply.text);
    let reply = gateway.post("/v1/messages", &anthropic(true)).await;
    assert_eq!(spoken(&reply.events(), "text"), "to ada@example.org it went", "{}", reply.text);
    assert!(reply.text.contains("message_stop"), "{}", reply.text);
    for request in upstream.asked() {
        assert_eq!(request.body["messages"][0]["content"], "write to <EMAIL_1>");
    }
}

#[tokio::test]
async fn arguments_of_tool_calls_are_read_like_texts() {
    let mut whole = openai_reply("");
    whole["choices"][0] = json!({"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": null, "tool_calls": call("{\"to\": \"<EMAIL_1>\"}")}});
    let pieces = ["{\"to\": \"<EM", "AIL_1>", "\"}"];
    let replies =
        [Step::json(200, &whole), Step::events(calls(&pieces)), Step::json(200, &whole), Step::events(calls(&pieces))];
    let upstream = ScriptedUpstream::start(replies).await;
    let gateway = Gateway::start(&config(&upstream, MASKED)).await;
    let meant = json!({"to": "ada@example.org"});
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
    let reply = gateway.post("/v1/chat/completions", &ask("write to ada@example.org")).await.json();
    let found = &reply["choices"][0];
    assert_eq!(found["finish_reason"], "tool_calls", "{reply}");
    let function = &found["message"]["tool_calls"][0]["function"];
    assert_eq!(parsed(function["arguments"].as_str().expect("arguments")), meant, "{reply}");
    let mut streamed = ask("write to ada@example.org");
    streamed["stream"] = json!(true);
    let reply = gateway.post("/v1/chat/completions", &streamed).await;
    let events = reply.events();
    let events = events.iter().filter(|event| *event != "[DONE]").map(|event| parsed(event));
    let fragments = events.filter_map(|event| {
        let function = &event["choices"][0]["delta"]["tool_calls"][0]["function"];
        function["arguments"].as_str().map(str::to_owned)
    });
    assert_eq!(parsed(&fragments.collect::<String>()), meant, "{}", reply.text);
    let reply = gateway.post("/v1/messages", &anthropic(false)).await.json();
    let block = reply["content"].as_array().expect("blocks").iter().find(|block| block["type"] == "tool_use");
    assert_eq!(block.expect("a call")["input"], meant, "{reply}");
    let reply = gateway.post("/v1/messages", &anthropic(true)).await;
    assert_eq!(parsed(&spoken(&reply.events(), "partial_json")), meant, "{}", reply.text);
}

#[tokio::test]
async fn each_alternative_is_read_by_itself() {
    let mut whole = openai_reply("<think>one</think>1");
    let mut second = whole["choices"][0].clone();
    second["index"] = json!(1);
    second["message"]["content"] = json!("<think>two</think>2");
    whole["choices"].as_array_mut().expect("choices").push(second);
    let text = |index, text: &str| chunk(index, &json!({"content": text}), None);
    // Cut in the middle of a mark, the alternatives in turns.
    let wire = [
        text(0, "<thi"),
        text(1, "<think>tw"),
        text(0, "nk>one</th"),
        text(1, "o</think>"),
        text(0, "ink>1"),
        text(1, "2"),
        chunk(0, &json!({}), Some("stop")),
        chunk(1, &json!({}), Some("stop")),
    ]
    .concat();
    let upstream = ScriptedUpstream::start([Step::json(200, &whole), Step::events(wire + "data: [DONE]\n\n")]).await;
    let gateway = Gateway::start(&config(&upstream, "  response_parsers:\n    g: {policy: reasoning}")).await;
    let mut request = ask("?");
    request["n"] = json!(2);
    let reply = gateway.post("/v1/chat/completions", &request).await.json();
    let said = |choice: &Value| {
        let message = &choice["message"];
        (message["content"].as_str().map(str::to_owned), message["reasoning_content"].as_str().map(str::to_owned))
    };
    let both: Vec<_> = reply["choices"].as_array().expect("choices").iter().map(said).collect();
    let owned = |text: &str| Some(text.to_owned());
    assert_eq!(both, [(owned("1"), owned("one")), (owned("2"), owned("two"))], "{reply}");
    request["stream"] = json!(true);
    let reply = gateway.post("/v1/chat/completions", &request).await;
    let mut both = [(String::new(), String::new()), (String::new(), String::new())];
    for event in reply.events().iter().filter(|event| *event != "[DONE]") {
        let event: Value = serde_json::from_str(event).expect("JSON");
        for choice in event["choices"].as_array().expect("choices") {
            let (text, reasoning) = &mut both[usize::from(choice["index"] == 1)];
            *text += choice["delta"]["content"].as_str().unwrap_or_default();
            *reasoning += choice["delta"]["reasoning_content"].as_str().unwrap_or_default();
        }
    }
    assert_eq!(both, [("1".to_owned(), "one".to_owned()), ("2".to_owned(), "two".to_owned())], "{}", reply.text);
}

#[tokio::test]
async fn a_client_that_leaves_while_its_reply_is_held_frees_everything() {
    let gate = Gate::closed();
    let wire = stream(&["{\"a\"", ": 1}"], "stop");
    let cut = wire.find("\n\n").expect("an event") + 2;
    let paused = (0..10).map(|_| Step::events(wire.clone()).pause_after(cut, &gate));
    let upstream = ScriptedUpstream::start(paused.chain([Step::events(wire.clone())])).await;
    // One request at once: whoever leaves a hold behind keeps all others out.
    let text = config(&upstream, &format!("{JSON}, hold: true}}\n  queue: {{max_wait_seconds: 20}}"));
    let gateway = Gateway::start(&text.replace("api_key: sk", "max_parallel_requests: 1, api_key: sk")).await;
    let mut request = ask("?");
    request["stream"] = json!(true);
    let left = "witgate_requests_total{group=\"g\",api=\"openai\",ending=\"cancelled\",status=\"499\"}";
    for n in 1..=10_u8 {
        let asking = gateway.open("/v1/chat/completions", &request);
        let asked = until("it is asked", || upstream.asked().len() == usize::from(n));
        tokio::select! { reply = asking => panic!("nothing may come before the reply is whole: {reply:?}"), () = asked => {} }
        until("it has left", || gateway.metric(left) == Some(f64::from(n))).await;
    }
    gate.open();
    let reply = gateway.post("/v1/chat/completions", &request).await;
    assert_eq!(read(&reply.events()), ("{\"a\": 1}".to_owned(), String::new(), None), "{}", reply.text);
    until("nothing is held", || gateway.app.gateway.memory.held() == 0).await;
}

#[test]
fn time_that_is_over_ends_a_held_reply_and_frees_everything() {
    let text = "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, max_parallel_requests: 1, simulated: {ttft_ms: 50, tokens_per_second: 1, output_tokens: 100}}, model_info: {id: slow}}
router_settings: {num_retries: 2}
witgate:
  server: {request_timeout_seconds: 5}
  response_parsers: {g: {policy: reasoning, hold: true}}
";
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let gateway = virtual_time::assembled(text);
        for _ in 0..3 {
            let before = gateway.clock.now();
            let mut body = ask("?");
            body["stream"] = json!(true);
            let refused = virtual_time::ask(&gateway, &OpenAi, &body).await.expect_err("no reply in time");
            assert_eq!(refused.kind, RefusalKind::TimedOut, "{}", refused.message);
            let whose = ["within 5 s", "`witgate.server.request_timeout_seconds`"];
            assert!(whose.iter().all(|words| refused.message.contains(words)), "{}", refused.message);
            // The next one finds its place free, and waits for nobody.
            assert_eq!(gateway.clock.now().since(before).as_secs(), 5);
            assert_eq!(gateway.memory.held(), 0);
        }
    });
}

#[tokio::test]
async fn a_model_that_is_asked_again_is_counted_once_for_each_attempt() {
    let replies = ["{\"b\": 1}", "{\"a\": 1}", "{\"b\": 2}", "{\"a\": 2}", "{\"a\": 3}"];
    for (streamed, own) in [(false, ""), (true, ", hold: true")] {
        let steps = replies.map(|reply| {
            if streamed { Step::events(stream(&[reply], "stop")) } else { Step::json(200, &openai_reply(reply)) }
        });
        let upstream = ScriptedUpstream::start(steps).await;
        // Four requests a minute here and in all, one at once: two clients whose models are asked twice.
        let text = config(&upstream, &format!("{JSON}{own}}}\n  global: {{rpm: 4}}\n  queue: {{max_wait_seconds: 0}}"));
        let text = text.replace("api_key: sk", "rpm: 4, max_parallel_requests: 1, api_key: sk");
        let gateway = Gateway::start(&text).await;
        let mut request = ask("?");
        request["stream"] = json!(streamed);
        for meant in ["{\"a\": 1}", "{\"a\": 2}"] {
            let reply = gateway.post("/v1/chat/completions", &request).await;
            let found = if streamed { read(&reply.events()).0 } else { content(&reply.json()).to_owned() };
            assert_eq!((found.as_str(), reply.header("x-witgate-attempts")), (meant, "2"), "{}", reply.text);
        }
        let refused = gateway.post("/v1/chat/completions", &request).await;
        assert_eq!((refused.status, upstream.asked().len()), (429, 4), "{}", refused.text);
        assert_eq!(gateway.app.gateway.memory.held(), 0);
    }
}

#[tokio::test]
async fn where_the_limits_have_no_room_nobody_is_asked_again_and_the_client_is_told() {
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("{\"b\": 1}"))]).await;
    let text = config(&upstream, &format!("{JSON}}}\n  queue: {{max_wait_seconds: 0}}"));
    let gateway = Gateway::start(&text.replace("api_key: sk", "rpm: 1, api_key: sk")).await;
    let refused = gateway.post("/v1/chat/completions", &ask("?")).await;
    assert_eq!((refused.status, upstream.asked().len()), (429, 1), "{}", refused.text);
}
