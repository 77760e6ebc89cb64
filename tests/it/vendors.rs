//! What is one provider's own, on the wire: addresses, authorisation, framing, and what travels with a request.

use http::HeaderValue;
use serde_json::{Value, json};

use crate::chat::{OPENAI_STREAM, anthropic_reply, openai_reply};
use crate::support::gateway::Gateway;
use crate::support::upstream::{ScriptedUpstream, Step};

const BEDROCK_STREAM: &[u8] = include_bytes!("../fixtures/dialect/streams/bedrock/tools.bin");

fn hi() -> Value {
    json!({"model": "g", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]})
}

fn group(params: &str) -> String {
    format!("model_list: [{{model_name: g, litellm_params: {{{params}}}}}]\n")
}

#[tokio::test]
async fn azure_is_asked_at_the_address_of_a_deployment_and_its_version() {
    for (version, base, path, header, value) in [
        (
            "api_version: 2024-10-21, api_key: very-secret",
            "",
            "/openai/deployments/mine/chat/completions?api-version=2024-10-21",
            "api-key",
            "very-secret",
        ),
        ("api_key: very-secret", "/openai/v1/", "/openai/v1/chat/completions", "api-key", "very-secret"),
        (
            "azure_ad_token: entra-token",
            "/openai/deployments/other",
            "/openai/deployments/other/chat/completions?api-version=2025-02-01-preview",
            "authorization",
            "Bearer entra-token",
        ),
    ] {
        let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello"))]).await;
        let params = format!("model: azure/mine, api_base: \"{}{base}\", {version}", upstream.origin());
        let gateway = Gateway::start(&group(&params)).await;
        let answer = gateway.post("/v1/messages", &hi()).await;
        assert_eq!((answer.status, &answer.json()["content"][0]["text"]), (200, &json!("Hello")), "{}", answer.text);
        let asked = &upstream.asked()[0];
        assert_eq!((asked.path.as_str(), &asked.headers[header]), (path, &HeaderValue::from_static(value)));
        let others = ["api-key", "authorization"].iter().filter(|name| asked.headers.contains_key(**name));
        assert_eq!(others.count(), 1, "one credential");
    }
}

#[tokio::test]
async fn bedrock_is_signed_for_or_given_its_own_key_and_its_binary_streams_are_read() {
    let keys = "aws_access_key_id: AKIDEXAMPLE, aws_secret_access_key: very-secret-key, aws_region_name: eu-west-1";
    for (auth, authorization) in
        [(keys, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), ("api_key: bedrock-key", "Bearer bedrock-key")]
    {
        let stream = Step::bytes(200, "application/vnd.amazon.eventstream", BEDROCK_STREAM).byte_by_byte();
        let upstream = ScriptedUpstream::start([stream]).await;
        let model = "bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0";
        let params = format!("model: \"{model}\", api_base: \"{}\", {auth}", upstream.origin());
        let gateway = Gateway::start(&group(&params)).await;
        let mut request = hi();
        request["stream"] = json!(true);
        let answer = gateway.post("/v1/messages", &request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(
            answer.text.contains("\"tooluse_2\"") && answer.text.contains("\"stop_reason\":\"tool_use\""),
            "{}",
            answer.text
        );
        assert_eq!(answer.header("x-witgate-model"), "us.anthropic.claude-sonnet-4-5-20250929-v1:0");
        let asked = &upstream.asked()[0];
        assert_eq!(asked.path, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream");
        let told = asked.headers["authorization"].to_str().unwrap();
        assert!(told.starts_with(authorization), "{told}");
        assert_eq!(told.contains("/eu-west-1/bedrock/aws4_request"), asked.headers.contains_key("x-amz-date"));
    }
}

#[tokio::test]
async fn headers_that_unlock_fields_travel_with_them_and_are_joined_with_the_operators() {
    let reply = json!({"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn", "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 2}});
    let mut request = hi();
    request["context_management"] = json!({"edits": [{"type": "clear_tool_uses_20250919"}]});
    let send = async |gateway: &Gateway| {
        let call = gateway.client.post(format!("{}/v1/messages?beta=true", gateway.url));
        let call = call.header("content-type", "application/json");
        let call = call.header("anthropic-beta", "claude-code-1,context-management-1");
        call.body(request.to_string()).send().await.expect("an answer")
    };
    let upstream = ScriptedUpstream::start([Step::json(200, &reply)]).await;
    let own = "extra_headers: {anthropic-beta: \"files-1,claude-code-1\"}";
    let params = format!("model: anthropic/m, api_base: \"{}\", api_key: very-secret, {own}", upstream.origin());
    let gateway = Gateway::start(&group(&params)).await;
    assert_eq!(send(&gateway).await.status(), 200);
    let asked = &upstream.asked()[0];
    assert_eq!(asked.headers["anthropic-beta"], "claude-code-1,context-management-1,files-1");
    assert!(asked.body["context_management"].is_object() && asked.body.get("anthropic-beta").is_none());

    // Another dialect has neither header nor field.
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello"))]).await;
    let params = format!("model: openai/m, api_base: \"{}/v1\", api_key: very-secret", upstream.origin());
    let gateway = Gateway::start(&group(&params)).await;
    let answer = send(&gateway).await;
    let dropped = answer.headers()["x-witgate-dropped"].to_str().unwrap();
    assert!(dropped.contains("anthropic-beta") && dropped.contains("context_management"), "{dropped}");
    assert!(!upstream.asked()[0].headers.contains_key("anthropic-beta"));
}

#[tokio::test]
async fn a_stream_cut_off_after_its_end_is_whole_and_one_cut_before_is_not() {
    let end = OPENAI_STREAM
        .find("data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],")
        .unwrap();
    for (cut, whole) in [(end, true), (OPENAI_STREAM.find("{\"content\":\"lo\"").unwrap(), false)] {
        let upstream = ScriptedUpstream::start([Step::events(OPENAI_STREAM).cut_after(cut)]).await;
        let params =
            format!("model: openai/m, api_base: \"{}/v1\", api_key: very-secret, num_retries: 0", upstream.origin());
        let gateway = Gateway::start(&group(&params)).await;
        let mut request = hi();
        request["stream"] = json!(true);
        let answer = gateway.post("/v1/chat/completions", &request).await;
        assert_eq!(answer.text.ends_with("data: [DONE]\n\n"), whole, "{}", answer.text);
    }
}

#[tokio::test]
async fn an_answer_in_a_coding_nobody_asked_for_is_a_fault_that_names_it() {
    let coded = Step::json(200, &openai_reply("Hello")).header("content-encoding", "gzip");
    let upstream = ScriptedUpstream::start([coded, Step::json(200, &openai_reply("Hello"))]).await;
    let entry = |id| {
        format!(
            "{{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: very-secret}}, model_info: {{id: {id}}}}}",
            upstream.origin()
        )
    };
    let gateway = Gateway::start(&format!("model_list: [{}, {}]\n", entry("a"), entry("b"))).await;
    let answer = gateway.post("/v1/chat/completions", &hi()).await;
    assert_eq!((answer.status, upstream.count()), (200, 2), "{}", answer.text);
    assert_eq!(upstream.asked()[0].headers["accept-encoding"], "identity");
}

/// What an imitator of which nothing is known is asked, whatever the client speaks.
#[tokio::test]
async fn imitators_are_asked_in_the_older_words() {
    for (provider, field, role) in
        [("ollama_chat", "max_tokens", "system"), ("openai", "max_completion_tokens", "developer")]
    {
        let upstream =
            ScriptedUpstream::start([Step::json(200, &openai_reply("Hello")), Step::json(200, &openai_reply("Hello"))])
                .await;
        let params = format!("model: {provider}/m, api_base: \"{}/v1\", api_key: very-secret", upstream.origin());
        let gateway = Gateway::start(&group(&params)).await;
        let messages = json!([{"role": "developer", "content": "In French."}, {"role": "user", "content": "Hi"}]);
        let newer = json!({"model": "g", "max_completion_tokens": 50, "messages": messages});
        assert_eq!(gateway.post("/v1/chat/completions", &newer).await.status, 200);
        assert_eq!(gateway.post("/v1/messages", &hi()).await.status, 200);
        for asked in upstream.asked() {
            assert_eq!(asked.body[field], 50, "{provider}: {}", asked.body);
        }
        assert_eq!(upstream.asked()[0].body["messages"][0]["role"], role, "{provider}");
    }
}

/// `DeepSeek` wants its thinking back, though Anthropic's clients hold it without a signature.
#[tokio::test]
async fn thinking_comes_back_to_who_wants_it() {
    for (provider, back) in [("deepseek", json!("I need the file.")), ("openai", Value::Null)] {
        let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello"))]).await;
        let params = format!("model: {provider}/m, api_base: \"{}/v1\", api_key: very-secret", upstream.origin());
        let gateway = Gateway::start(&group(&params)).await;
        let mut request = hi();
        request["messages"] = json!([
            {"role": "user", "content": "Read"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "I need the file.", "signature": ""},
                {"type": "tool_use", "id": "call_1", "name": "Read", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "x"}]}
        ]);
        assert_eq!(gateway.post("/v1/messages", &request).await.status, 200);
        assert_eq!(upstream.asked()[0].body["messages"][1]["reasoning_content"], back, "{provider}");
    }
}

#[tokio::test]
async fn a_member_that_can_take_a_field_is_asked_without_a_retry() {
    let mut asked = hi();
    asked["n"] = json!(2);
    let able = ScriptedUpstream::start((0..8).map(|_| Step::json(200, &openai_reply("Hello")))).await;
    let unable = ScriptedUpstream::start([Step::json(200, &anthropic_reply("Never"))]).await;
    let entry = |provider: &str, base: String| {
        format!("  - {{model_name: g, litellm_params: {{model: {provider}, api_base: \"{base}\", api_key: k}}}}\n")
    };
    let config = "model_list:\n".to_owned()
        + &entry("anthropic/claude-x", unable.origin())
        + &entry("openai/m", format!("{}/v1", able.origin()))
        + "router_settings: {num_retries: 0}\n";
    let gateway = Gateway::start(&config).await;
    for _ in 0..8 {
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!((able.asked().len(), unable.asked().len()), (8, 0));
}

#[tokio::test]
async fn more_tokens_than_a_model_gives_are_cut_where_that_is_wanted_and_told() {
    for (more, sent, told) in [("", 90, None), (", drop_params: true", 64, Some("max_tokens"))] {
        let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello"))]).await;
        let params = format!("model: openai/m, api_base: \"{}/v1\", api_key: k{more}", upstream.origin());
        let config = format!(
            "model_list:\n  - {{model_name: g, litellm_params: {{{params}}}, model_info: {{max_output_tokens: 64}}}}\n"
        );
        let gateway = Gateway::start(&config).await;
        let mut asked = hi();
        asked["max_tokens"] = json!(90);
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        assert_eq!(answer.status, 200, "{more}: {}", answer.text);
        assert_eq!(answer.headers.get("x-witgate-dropped").and_then(|value| value.to_str().ok()), told);
        let body = &upstream.asked()[0].body;
        assert_eq!(body.get("max_tokens").or(body.get("max_completion_tokens")), Some(&json!(sent)), "{body}");
    }
}

#[tokio::test]
async fn what_a_provider_cannot_take_is_left_out_where_that_is_wanted_and_told() {
    let mut asked = hi();
    asked["n"] = json!(2);
    asked["seed"] = json!(7);
    for (more, status) in
        [("", 400), (", drop_params: true", 200), (", additional_drop_params: [\"n\", \"seed\"]", 200)]
    {
        let upstream = ScriptedUpstream::start([Step::json(200, &anthropic_reply("Hello"))]).await;
        let params = format!("model: anthropic/claude-x, api_base: \"{}\", api_key: k{more}", upstream.origin());
        let gateway = Gateway::start(&group(&params)).await;
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        assert_eq!(answer.status, status, "{more}: {}", answer.text);
        if status == 200 {
            assert_eq!(answer.header("x-witgate-dropped"), "n, seed");
            assert!(upstream.asked()[0].body.get("n").is_none());
        } else {
            let error = &answer.json()["error"];
            assert_eq!((&error["param"], &error["code"]), (&json!("n"), &json!("rejected")));
        }
    }
    // For all deployments; and the conversation is never left out.
    let upstream = ScriptedUpstream::start([Step::json(200, &anthropic_reply("Hello"))]).await;
    let params = format!("model: anthropic/claude-x, api_base: \"{}\", api_key: k", upstream.origin());
    let gateway = Gateway::start(&(group(&params) + "litellm_settings: {drop_params: true}\n")).await;
    asked["messages"][0]["content"] =
        json!([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]);
    let answer = gateway.post("/v1/chat/completions", &asked).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["param"]),
        (400, &json!("messages[0].content[0]")),
        "{}",
        answer.text
    );
}

/// Claude takes none from 4.6 on.
#[tokio::test]
async fn a_beginning_of_the_reply_goes_to_a_member_that_takes_it_or_is_refused_before_anything_is_sent() {
    let begun = json!({"role": "assistant", "content": "The answer is"});
    let mut asked = hi();
    asked["messages"].as_array_mut().unwrap().push(begun);
    for path in ["/v1/messages", "/v1/chat/completions"] {
        let newest = ScriptedUpstream::start([Step::json(200, &anthropic_reply("Hello"))]).await;
        let older = ScriptedUpstream::start([Step::json(200, &anthropic_reply(" 42"))]).await;
        let entry = |model: &str, origin: String, order: u32, more: &str| {
            format!(
                "{{model_name: g, litellm_params: {{model: anthropic/{model}, api_base: \"{origin}\", api_key: k, order: {order}{more}}}}}"
            )
        };
        let first = entry("claude-opus-4-6", newest.origin(), 1, "");
        let second = entry("claude-sonnet-4-5", older.origin(), 2, "");
        let gateway = Gateway::start(&format!("model_list: [{first}, {second}]\n")).await;
        let answer = gateway.post(path, &asked).await;
        assert!(answer.status == 200 && answer.text.contains(" 42"), "{}", answer.text);
        assert_eq!((newest.asked().len(), older.asked().len()), (0, 1));
        let last = older.asked()[0].body["messages"].as_array().unwrap().last().cloned();
        assert_eq!(last, Some(json!({"role": "assistant", "content": "The answer is"})));
        for more in ["", ", drop_params: true"] {
            let alone = entry("claude-opus-4-6", newest.origin(), 1, more);
            let gateway = Gateway::start(&format!("model_list: [{alone}]\n")).await;
            let answer = gateway.post(path, &asked).await;
            assert!(
                answer.status == 400 && answer.text.contains("`messages[1]`: this model takes no beginning"),
                "{}",
                answer.text
            );
            assert_eq!(newest.asked().len(), 0, "nothing was sent");
        }
    }
}

/// Without these a reply would be another one, and nobody could tell by it.
#[tokio::test]
async fn what_makes_another_reply_is_refused_by_name_or_left_out_where_that_is_wanted() {
    for (field, value, nothing, model) in [
        ("logit_bias", json!({"50256": -100}), json!({}), "anthropic/m"),
        ("logprobs", json!(true), json!(false), "anthropic/m"),
        ("logit_bias", json!({"50256": -100}), json!({}), "mistral/m"),
        ("seed", json!(0), Value::Null, "anthropic/m"),
        ("presence_penalty", json!(0.5), json!(0), "anthropic/m"),
        ("frequency_penalty", json!(-0.5), json!(0.0), "anthropic/claude-sonnet-4-5"),
        ("temperature", json!(0.2), json!(1), "anthropic/claude-newest"),
        ("top_p", json!(0.5), json!(1.0), "anthropic/claude-newest"),
        ("top_k", json!(5), Value::Null, "anthropic/claude-newest"),
        // It ends at 1 there.
        ("temperature", json!(1.5), json!(1), "anthropic/claude-sonnet-4-5"),
        ("top_k", json!(5), Value::Null, "azure/m"),
        ("temperature", json!(0.2), json!(1), "azure/gpt-5"),
        ("stop", json!(["x"]), json!([]), "azure/gpt-5"),
        ("logprobs", json!(true), json!(false), "azure/o4-mini"),
        ("reasoning_effort", json!("high"), json!("none"), "azure/gpt-4o"),
        ("web_search_options", json!({}), Value::Null, "mistral/m"),
        ("modalities", json!(["text", "audio"]), json!(["text"]), "mistral/m"),
    ] {
        for (more, status) in [("", 400), (", drop_params: true", 200)] {
            let anthropic = model.starts_with("anthropic");
            let reply = if anthropic { anthropic_reply("Hello") } else { openai_reply("Hello") };
            let upstream = ScriptedUpstream::start([Step::json(200, &reply)]).await;
            let params = format!("model: {model}, api_base: \"{}\", api_key: k{more}", upstream.origin());
            let gateway = Gateway::start(&group(&params)).await;
            let mut asked = hi();
            asked[field] = value.clone();
            let answer = gateway.post("/v1/chat/completions", &asked).await;
            assert_eq!(answer.status, status, "{field} at {model}: {}", answer.text);
            if status == 400 {
                let error = &answer.json()["error"];
                assert_eq!(error["param"], field, "{error}");
                let message = error["message"].as_str().unwrap();
                assert!(message.contains("drop_params"), "{error}");
                assert_eq!(message.contains("ends at 1.0"), value == json!(1.5), "{error}");
                assert_eq!(upstream.count(), 0);
            } else {
                assert_eq!(answer.header("x-witgate-dropped"), field);
            }
            // What says nothing costs nothing.
            asked[field] = nothing.clone();
            assert_eq!(gateway.post("/v1/chat/completions", &asked).await.status, 200);
        }
    }
}

/// A request may say itself what may be left out of it, all or some.
#[tokio::test]
async fn a_request_says_itself_what_may_be_left_out() {
    let mut asked = hi();
    (asked["n"], asked["seed"], asked["user"]) = (json!(2), json!(7), json!("u"));
    for (field, value, status, told) in [
        ("drop_params", json!(true), 200, "n, seed"),
        ("drop_params", json!(["seed", "n"]), 200, "n, seed"),
        ("drop_params", json!(["seed"]), 400, "n"),
        ("drop_params", json!(false), 400, "n"),
        ("additional_drop_params", json!(["n", "seed", "user"]), 200, "n, seed, user"),
        ("drop_params", json!("all"), 400, "drop_params"),
    ] {
        let upstream = ScriptedUpstream::start([Step::json(200, &anthropic_reply("Hello"))]).await;
        let params = format!("model: anthropic/claude-x, api_base: \"{}\", api_key: k", upstream.origin());
        let gateway = Gateway::start(&group(&params)).await;
        let mut asked = asked.clone();
        asked[field] = value.clone();
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        assert_eq!(answer.status, status, "{field}: {value}: {}", answer.text);
        if status == 200 {
            assert_eq!(answer.header("x-witgate-dropped"), told);
            let sent = &upstream.asked()[0].body;
            assert!(sent.get(field).is_none() && sent.get("n").is_none(), "{sent}");
            assert_eq!(sent["metadata"]["user_id"] == "u", field == "drop_params");
        } else {
            assert_eq!(answer.json()["error"]["param"], told, "{value}");
        }
    }
}

/// Servers that imitate OpenAI are reached under its name, and many take what it refuses.
#[tokio::test]
async fn what_openai_refuses_is_sent_to_servers_at_addresses_of_their_own() {
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello"))]).await;
    let gateway =
        Gateway::start(&group(&format!("model: openai/m, api_base: \"{}\", api_key: k", upstream.origin()))).await;
    let mut asked = hi();
    asked["top_k"] = json!(5);
    let answer = gateway.post("/v1/chat/completions", &asked).await;
    assert_eq!((answer.status, answer.header("x-witgate-dropped")), (200, ""), "{}", answer.text);
    assert_eq!(upstream.asked()[0].body["top_k"], 5);
}

/// Nobody but the operator asked for a deployment's defaults.
#[tokio::test]
async fn defaults_that_a_model_cannot_take_refuse_no_request() {
    let upstream = ScriptedUpstream::start([Step::json(200, &anthropic_reply("Hello"))]).await;
    let params = |model: &str, more: &str| {
        group(&format!("model: anthropic/{model}, api_base: \"{}\", api_key: k, {more}", upstream.origin()))
    };
    let gateway = Gateway::start(&params("claude-newest", "temperature: 0, seed: 3, n: 2")).await;
    let answer = gateway.post("/v1/chat/completions", &hi()).await;
    assert_eq!((answer.status, answer.header("x-witgate-dropped")), (200, "n, temperature, seed"), "{}", answer.text);
    let mut asked = hi();
    asked["seed"] = json!(4);
    let answer = gateway.post("/v1/chat/completions", &asked).await;
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("seed")), "{}", answer.text);
    let gateway = Gateway::start(&params("claude-sonnet-4-5", "temperature: 1.5")).await;
    assert_eq!(gateway.post("/v1/chat/completions", &hi()).await.status, 200);
    assert_eq!(upstream.asked().last().unwrap().body["temperature"], 1.0);
}

/// A path takes out what stands there and nothing around it.
#[tokio::test]
async fn a_path_takes_out_what_stands_there() {
    let mut asked = hi();
    (asked["store"], asked["metadata"]) = (json!(true), json!({"user_id": "u", "k": "v"}));
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "title": "A"}}});
    let function = json!({"name": "f", "description": "F", "strict": true, "parameters": schema});
    asked["tools"] = json!([
        {"type": "function", "function": function, "input_examples": [{}]},
        {"type": "function", "function": {"name": "g"}, "input_examples": [{}]}
    ]);
    let paths = [
        "tools[*].input_examples",
        "tools[0].function.parameters.properties.a.title",
        "metadata.user_id",
        "tools[7].x",
    ];
    for from_client in [true, false] {
        let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello"))]).await;
        let more = if from_client { String::new() } else { format!(", additional_drop_params: {}", json!(paths)) };
        let params = format!("model: openai/m, api_base: \"{}\", api_key: k{more}", upstream.origin());
        let gateway = Gateway::start(&group(&params)).await;
        let mut asked = asked.clone();
        if from_client {
            asked["additional_drop_params"] = json!(paths);
        }
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("x-witgate-dropped"), paths[..3].join(", "));
        let sent = upstream.asked()[0].body.clone();
        assert_eq!(sent["metadata"], json!({"k": "v"}));
        let mut left = function.clone();
        left["parameters"]["properties"]["a"].as_object_mut().unwrap().remove("title");
        assert_eq!(sent["tools"][0], json!({"type": "function", "function": left}));
        assert_eq!(sent["tools"][1], json!({"type": "function", "function": {"name": "g"}}));
        asked["additional_drop_params"] = json!(["messages[0].name"]);
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("additional_drop_params")));
    }
}

/// What is fetched to authorise requests is a secret too, though no configuration holds it.
#[tokio::test]
async fn temporary_keys_are_in_no_words_of_a_provider() {
    let keys = "<AssumeRoleResult><Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                <SessionToken>FwoG-session-token==</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>";
    let service = ScriptedUpstream::start([Step::bytes(200, "text/xml", keys)]).await;
    let said = json!({"message": "you sent x-amz-security-token: FwoG-session-token== which is wrong"});
    let upstream = ScriptedUpstream::start([Step::json(400, &said)]).await;
    let role = "aws_access_key_id: AKIA1, aws_secret_access_key: very-secret, aws_region_name: eu-west-1, aws_role_name: \"arn:aws:iam::1:role/r\"";
    let params = format!(
        "model: bedrock/amazon.nova-lite-v1:0, api_base: \"{}\", aws_sts_endpoint: \"{}\", {role}",
        upstream.origin(),
        service.origin()
    );
    let gateway = Gateway::start(&group(&params)).await;
    for stream in [false, true] {
        let mut asked = hi();
        asked["stream"] = json!(stream);
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(answer.text.contains("you sent") && !answer.text.contains("FwoG-session"), "{}", answer.text);
    }
    assert_eq!((service.count(), upstream.count()), (1, 2));
}

/// Where parameters are left out, whoever can take them is asked first.
#[tokio::test]
async fn nothing_is_left_out_while_a_member_of_the_group_can_take_it() {
    let mut asked = hi();
    asked["n"] = json!(2);
    let able = ScriptedUpstream::start([Step::json(200, &openai_reply("Able"))]).await;
    let unable = ScriptedUpstream::start([Step::json(200, &anthropic_reply("Unable"))]).await;
    let entry = |provider: &str, base: String| {
        format!(
            "  - {{model_name: g, litellm_params: {{model: {provider}, api_base: \"{base}\", api_key: k, drop_params: true}}}}\n"
        )
    };
    let two = entry("anthropic/claude-x", unable.origin()) + &entry("anthropic/claude-y", unable.origin());
    let settings = "router_settings: {num_retries: 0, routing_strategy: least-busy}\n";
    let gateway =
        Gateway::start(&format!("model_list:\n{two}{}{settings}", entry("openai/m", format!("{}/v1", able.origin()))))
            .await;
    for _ in 0..4 {
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        assert!(answer.status == 200 && answer.text.contains("Able"), "{}", answer.text);
        assert_eq!(answer.header("x-witgate-dropped"), "");
    }
    let gateway = Gateway::start(&format!("model_list:\n{two}{settings}")).await;
    let answer = gateway.post("/v1/chat/completions", &asked).await;
    assert!(answer.status == 200 && answer.text.contains("Unable"), "{}", answer.text);
    assert_eq!((answer.header("x-witgate-dropped"), unable.count()), ("n", 1), "one was sent, without it");
}

/// Azure's quirks hold at every address: a model that reasons is sent no sampling, whatever API is spoken, and an agent's wish for thinking
/// refuses nothing where a model has none.
#[tokio::test]
async fn a_model_that_reasons_is_asked_last_for_sampling_and_one_that_does_not_is_told_no_effort() {
    let entry = |params: &str, base: String| {
        format!("  - {{model_name: g, litellm_params: {{model: {params}, api_base: \"{base}\", api_key: k}}}}\n")
    };
    let settings = "router_settings: {num_retries: 0, routing_strategy: least-busy}\n";
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let mut asked = hi();
        asked["temperature"] = json!(0.2);
        let able = ScriptedUpstream::start([Step::json(200, &openai_reply("Able"))]).await;
        let reasons = ScriptedUpstream::start([Step::json(200, &openai_reply("Reasons"))]).await;
        let one = entry("azure/gpt-5", reasons.origin());
        let other = entry("openai/m", format!("{}/v1", able.origin()));
        let gateway = Gateway::start(&format!("model_list:\n{one}{other}{settings}")).await;
        let answer = gateway.post(path, &asked).await;
        assert!(answer.status == 200 && answer.text.contains("Able"), "{path}: {}", answer.text);
        let gateway = Gateway::start(&format!("model_list:\n{one}{settings}")).await;
        let refused = gateway.post(path, &asked).await;
        assert!(refused.status == 400 && refused.text.contains("`temperature`"), "{path}: {}", refused.text);
        let dropping = one.replace("api_key: k", "api_key: k, drop_params: true");
        let gateway = Gateway::start(&format!("model_list:\n{dropping}{settings}")).await;
        let answer = gateway.post(path, &asked).await;
        assert!(answer.status == 200 && answer.text.contains("Reasons"), "{path}: {}", answer.text);
        assert_eq!(answer.header("x-witgate-dropped"), "temperature", "{path}");
        assert_eq!((reasons.count(), reasons.asked()[0].body.get("temperature")), (1, None), "{path}");
    }
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Plain"))]).await;
    let gateway = Gateway::start(&format!("model_list:\n{}{settings}", entry("azure/gpt-4o", upstream.origin()))).await;
    let mut asked = hi();
    asked["max_tokens"] = json!(4000);
    asked["thinking"] = json!({"type": "enabled", "budget_tokens": 2048});
    let answer = gateway.post("/v1/messages", &asked).await;
    assert!(answer.status == 200, "{}", answer.text);
    assert_eq!(answer.header("x-witgate-dropped"), "thinking.budget_tokens");
    assert_eq!(upstream.asked()[0].body.get("reasoning_effort"), None);
}

/// One call and no more, also of models that cannot be told so.
#[tokio::test]
async fn one_call_is_passed_on_where_no_more_are_wanted() {
    const STREAM: &str = include_str!("../fixtures/dialect/streams/gemini/tools.sse");
    const WHOLE: &str = include_str!("../fixtures/dialect/replies/gemini/tools.json");
    let whole: Value = serde_json::from_str(WHOLE).unwrap();
    for (parallel, calls) in [(json!(true), 2), (Value::Null, 2), (json!(false), 1)] {
        let upstream = ScriptedUpstream::start([Step::json(200, &whole), Step::events(STREAM)]).await;
        let params = format!("model: gemini/m, api_base: \"{}\", api_key: k", upstream.origin());
        let gateway = Gateway::start(&group(&params)).await;
        let mut asked = hi();
        asked["parallel_tool_calls"] = parallel.clone();
        asked["tools"] = json!([{"type": "function", "function": {"name": "weather"}}, {"type": "function", "function": {"name": "now"}}]);
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        let message = answer.json()["choices"][0]["message"].clone();
        assert_eq!(message["tool_calls"].as_array().map(Vec::len), Some(calls), "{parallel}: {message}");
        assert_eq!(answer.header("x-witgate-dropped"), "");
        asked["stream"] = json!(true);
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        let begun =
            answer.text.matches("\"id\":\"call").count().max(answer.text.matches("\"type\":\"function\"").count());
        assert_eq!(begun, calls, "{parallel}: {}", answer.text);
        assert!(answer.text.contains("\"finish_reason\":\"tool_calls\""), "{}", answer.text);
    }
}

/// What was left out is told in the stream, where the head went out before it was known.
#[tokio::test]
async fn what_is_left_out_of_a_late_stream_is_told_in_it() {
    let gate = crate::support::upstream::Gate::closed();
    let upstream = ScriptedUpstream::start([Step::events(OPENAI_STREAM).head_after(&gate)]).await;
    let params = format!("model: mistral/m, api_base: \"{}\", api_key: k", upstream.origin());
    let config = group(&params) + "witgate: {server: {stream_ping_seconds: 0.01}}\n";
    let gateway = Gateway::start(&config).await;
    let mut asked = hi();
    asked["stream"] = json!(true);
    asked["user"] = json!("somebody");
    let mut response = gateway.open("/v1/chat/completions", &asked).await;
    assert!(response.chunk().await.unwrap().is_some(), "a sign of life");
    gate.open();
    let rest = crate::support::gateway::read(response).await.text;
    assert!(rest.contains(": x-witgate-dropped: user\n") && rest.contains("lo"), "{rest}");
}

/// How long it took, and what of it the gateway did.
#[tokio::test]
async fn a_reply_says_what_the_gateway_itself_took() {
    let gate = crate::support::upstream::Gate::closed();
    let steps = [Step::json(200, &openai_reply("Hello")).head_after(&gate), Step::events(OPENAI_STREAM)];
    let upstream = ScriptedUpstream::start(steps).await;
    let params = format!("model: openai/m, api_base: \"{}/v1\", api_key: k", upstream.origin());
    let gateway = Gateway::start(&group(&params)).await;
    let mut asked = hi();
    let (answer, ()) = tokio::join!(gateway.post("/v1/chat/completions", &asked), async {
        upstream.until_asked(1).await;
        // The provider takes a while, which is not the gateway's.
        tokio::task::yield_now().await;
        gate.open();
    });
    let told = |answer: &crate::support::gateway::Reply| {
        ["duration", "overhead"].map(|what| {
            let name =
                if what == "duration" { "x-litellm-response-duration-ms" } else { "x-litellm-overhead-duration-ms" };
            answer.header(name).parse::<f64>().expect("a number")
        })
    };
    let [took, overhead] = told(&answer);
    assert!(0.0 < overhead && overhead < took, "{overhead} of {took}");
    asked["stream"] = json!(true);
    let [took, overhead] = told(&gateway.post("/v1/chat/completions", &asked).await);
    assert!(0.0 < overhead && overhead < took, "{overhead} of {took}");
}
