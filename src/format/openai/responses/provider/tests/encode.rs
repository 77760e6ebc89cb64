use super::*;

#[test]
fn a_chat_is_a_request_of_items() {
    let tool =
        json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}});
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}});
    let picture = json!({"type": "image_url", "image_url": {"url": "https://a.test/b.png", "detail": "low"}});
    let body = sent(
        "openai",
        &json!({
            "model": "m", "max_completion_tokens": 900, "temperature": 0.5, "user": "u", "service_tier": "flex",
            "metadata": {"a": "b"}, "safety_identifier": "s", "prompt_cache_key": "k", "parallel_tool_calls": false,
            "reasoning_effort": "high", "verbosity": "low", "logprobs": true, "top_logprobs": 2,
            "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
            "tools": [tool], "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": "Rules."},
                {"role": "user", "content": [{"type": "text", "text": "Look."}, picture,
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
                    {"type": "file", "file": {"file_id": "file-1"}}, {"type": "file", "file": {"file_id": "https://a.test/c.pdf"}}]},
                {"role": "assistant", "content": "I look.", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "ok"},
                {"role": "assistant", "content": null, "refusal": "No."},
                {"role": "user", "content": "Go on."},
            ],
        }),
    );
    let expected = json!({
        "model": "m",
        "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "developer", "content": "Rules."},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "Look."},
                {"type": "input_image", "image_url": "https://a.test/b.png", "detail": "low"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
                {"type": "input_file", "file_data": PDF, "filename": "a.pdf"},
                {"type": "input_file", "file_id": "file-1"},
                {"type": "input_file", "file_url": "https://a.test/c.pdf"},
            ]},
            {"type": "message", "role": "assistant", "content": "I look."},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "ok"},
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            user("Go on."),
        ],
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": false}],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": false,
        "max_output_tokens": 900,
        "temperature": 0.5,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
        "reasoning": {"effort": "high"},
        "top_logprobs": 2,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "user": "u",
        "store": false,
        "stream": true,
        "stream_options": {"include_obfuscation": false},
        "service_tier": "flex",
        "metadata": {"a": "b"},
        "safety_identifier": "s",
        "prompt_cache_key": "k",
    });
    assert_eq!(body, expected);
}

#[test]
fn what_it_has_no_word_for_is_refused_by_name_or_reported() {
    for (more, dropped, refused) in [
        (json!({"stop": ["x"]}), vec!["stop"], Some("stop")),
        (json!({"seed": 1}), vec!["seed"], Some("seed")),
        (json!({"top_k": 5}), vec!["top_k"], Some("top_k")),
        (
            json!({"presence_penalty": 0, "frequency_penalty": 0.5}),
            vec!["presence_penalty", "frequency_penalty"],
            Some("frequency_penalty"),
        ),
        (json!({"logit_bias": {"1": 2}}), vec!["logit_bias"], Some("logit_bias")),
        (
            json!({"modalities": ["text", "audio"], "audio": {"voice": "a"}}),
            vec!["modalities", "audio"],
            Some("modalities"),
        ),
        (json!({"functions": [{"name": "f"}]}), vec!["functions"], Some("functions")),
        (json!({"prediction": {"type": "content", "content": "x"}}), vec!["prediction"], None),
        (
            json!({"response_format": {"type": "grammar", "value": "x"}}),
            vec!["response_format.type", "response_format.value"],
            Some("response_format.type"),
        ),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}), vec!["thinking.budget_tokens"], None),
        (json!({"max_tokens": 5}), vec!["max_tokens"], None),
    ] {
        let (encoded, body, lost) = encoded("openai", &NO_QUIRKS, &chat(&more)).unwrap();
        assert_eq!(
            (&encoded.dropped[..], lost.first().copied()),
            (&dropped.iter().map(ToString::to_string).collect::<Vec<_>>()[..], refused),
            "{more}"
        );
        for name in more.as_object().unwrap().keys() {
            assert!(body.get(name).is_none(), "{name}: {body}");
        }
    }
    let sound = json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}]}]);
    let older = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}}]);
    for (more, blamed) in [
        (json!({"n": 2}), "n"),
        (json!({"messages": sound}), "messages[0].content[0]"),
        (json!({"messages": older}), "messages[1].function_call"),
    ] {
        let fault = encoded("openai", &NO_QUIRKS, &chat(&more)).unwrap_err();
        assert_eq!((fault.kind, fault.param.as_deref()), (FaultKind::Rejected, Some(blamed)), "{fault:?}");
    }
}

#[test]
fn models_that_reason_are_sent_no_sampling_and_others_no_effort() {
    let fixed =
        quirks(&json!({"sampling": "fixed", "refuses": ["thinking"], "thinking": {"levels": ["medium", "high"]}}));
    let asked =
        chat(&json!({"temperature": 1, "top_p": 0.5, "logprobs": true, "top_logprobs": 2, "reasoning_effort": "low"}));
    let (told, body, lost) = encoded("openai", fixed, &asked).unwrap();
    assert_eq!(told.dropped, ["temperature", "top_p", "reasoning_effort", "logprobs", "top_logprobs"]);
    assert_eq!(lost, ["top_p", "logprobs"]);
    assert_eq!(
        (&body["reasoning"], &body["include"]),
        (&json!({"effort": "medium"}), &json!(["reasoning.encrypted_content"]))
    );
    let never = quirks(&json!({"effort": "never"}));
    let (_, body, lost) = encoded("openai", never, &chat(&json!({"reasoning_effort": "low"}))).unwrap();
    assert_eq!((body.get("reasoning"), body.get("include"), lost), (None, None, vec!["reasoning_effort"]));
}

#[test]
fn fields_of_its_own_that_a_configuration_gives_stand_beside_what_is_asked() {
    let body = sent(
        "openai",
        &chat(
            &json!({"reasoning_effort": "high", "reasoning": {"summary": "auto"}, "include": ["web_search_call.results"],
            "text": {"verbosity": "low"}, "store": true, "truncation": "auto", "max_tool_calls": 3,
            "tools": [{"type": "web_search_preview"}, {"type": "function", "name": "f", "strict": false}],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required",
                "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "web_search_preview"}]}}}),
        ),
    );
    assert_eq!(body["reasoning"], json!({"effort": "high", "summary": "auto"}));
    assert_eq!(body["include"], json!(["web_search_call.results", "reasoning.encrypted_content"]));
    assert_eq!((&body["text"], &body["store"]), (&json!({"verbosity": "low"}), &json!(true)));
    assert_eq!((&body["truncation"], &body["max_tool_calls"]), (&json!("auto"), &json!(3)));
    let empty = json!({"type": "object", "properties": {}});
    assert_eq!(
        body["tools"],
        json!([{"type": "web_search_preview"}, {"type": "function", "name": "f", "parameters": empty, "strict": false}])
    );
    let some = json!([{"type": "function", "name": "f"}, {"type": "web_search_preview"}]);
    assert_eq!(body["tool_choice"], json!({"type": "allowed_tools", "mode": "required", "tools": some}));
    let place = json!({"type": "approximate", "approximate": {"country": "DE"}});
    let body =
        sent("openai", &chat(&json!({"web_search_options": {"search_context_size": "low", "user_location": place}})));
    let place = json!({"type": "approximate", "country": "DE"});
    assert_eq!(body["tools"], json!([{"type": "web_search", "search_context_size": "low", "user_location": place}]));
}

#[test]
fn any_json_is_asked_for_where_its_word_is_looked_for() {
    let messages = json!([{"role": "system", "content": "Answer in JSON."}, {"role": "user", "content": "Hi"}]);
    let body = sent("openai", &chat(&json!({"messages": messages, "response_format": {"type": "json_object"}})));
    assert_eq!(body["text"], json!({"format": {"type": "json_object"}}));
    assert_eq!(body["input"], json!([{"type": "message", "role": "system", "content": "Answer in JSON."}, user("Hi")]));
    assert!(body.get("instructions").is_none());
}

#[test]
fn thinking_goes_back_where_it_was_sealed_here_and_nowhere_else() {
    let (first, second) = (seal("rs_1", "gAAAfirst-_="), seal("rs_2", "gAAAsecond"));
    let thoughts = json!([
        {"type": "thinking", "thinking": "hm", "signature": first},
        {"type": "redacted_thinking", "data": second},
        {"type": "thinking", "thinking": "foreign", "signature": "EqRk"},
    ]);
    let mut blocks = thoughts.as_array().unwrap().clone();
    blocks.push(json!({"type": "text", "text": "Yes."}));
    let asked = user("Hi");
    let claude = json!({"model": "m", "max_tokens": 99, "messages": [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": blocks}, {"role": "user", "content": "Go on."}]});
    let of_chats = json!({"model": "m", "messages": [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes.", "thinking_blocks": thoughts}, {"role": "user", "content": "Go on."}]});
    let items = json!([
        asked,
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAAfirst-_="},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAAsecond"},
        {"type": "message", "role": "assistant", "content": "Yes."},
        user("Go on."),
    ]);
    for (client, body) in [("anthropic", &claude), ("openai", &of_chats)] {
        let (encoded, body, _) = encoded(client, &NO_QUIRKS, body).unwrap();
        assert_eq!(
            (&body["input"], &encoded.dropped[..]),
            (&items, &["messages[1].content[2]".to_owned()][..]),
            "{client}"
        );
    }
    let thought = |text: &str, signature: &str| json!({"text": text, "thought": true, "thoughtSignature": signature});
    let google = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "model", "parts": [thought("hm", &first), thought("", &format!("redactedThinking{second}")), {"text": "Yes."}]},
        {"role": "user", "parts": [{"text": "Go on."}]}]});
    assert_eq!(sent("gemini", &google)["input"], items);
    // What led to nothing is refused there.
    let cut = json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [thoughts[0]]}, {"role": "user", "content": "Go on."}]});
    let (_, body, _) = encoded("anthropic", &NO_QUIRKS, &cut).unwrap();
    assert_eq!(body["input"], json!([asked, user("Go on.")]));
    // Others leave it out.
    for to in ["anthropic", "bedrock", "gemini", "openai"] {
        let api = client_apis().find(|api| api.name() == "anthropic").unwrap();
        let request = api.parse(&ClientRequest::post("/".parse().unwrap(), claude.to_string())).unwrap();
        let target = Target::plain("m", &NO_QUIRKS, 9);
        let encoded = crate::format::provider_format(to).unwrap().encode(&request, &target).unwrap();
        assert!(!String::from_utf8_lossy(&encoded.body).contains("openaiR"), "{to}");
    }
}

#[test]
fn clients_of_the_same_api_have_their_words_back() {
    let patch = json!({"type": "custom", "name": "patch", "description": "d", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}});
    let function = json!({"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true});
    let sealed = format!("witgate:signature:{}", seal("rs_1", "gAAA"));
    let asked = json!({
    "model": "m", "instructions": "Be brief.", "max_output_tokens": 9, "store": true, "include": ["reasoning.encrypted_content"],
    "reasoning": {"effort": "high", "summary": "auto"}, "text": {"verbosity": "low", "format": {"type": "text"}},
    "tools": [function, patch, {"type": "local_shell"}], "tool_choice": {"type": "custom", "name": "patch"},
    "input": [
        user("Hi"),
        {"type": "reasoning", "id": "rs_x", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": sealed},
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "x\ny"},
        {"type": "local_shell_call", "id": "c2", "call_id": "c2", "action": {"type": "exec", "command": ["ls"]}, "status": "completed"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        {"type": "local_shell_call_output", "id": "c2", "output": "a"},
        {"type": "reasoning", "id": "rs_3", "summary": [], "encrypted_content": "gAAAown"},
        {"type": "function_call", "call_id": "c3", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c3", "output": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
    ]});
    let body = sent("openai-responses", &asked);
    assert_eq!(body["instructions"], "Be brief.");
    assert_eq!(
        (&body["tools"], &body["tool_choice"]),
        (&json!([function, patch, {"type": "local_shell"}]), &asked["tool_choice"])
    );
    assert_eq!((&body["reasoning"], &body["text"]), (&asked["reasoning"], &asked["text"]));
    assert_eq!((&body["max_output_tokens"], &body["store"]), (&json!(9), &json!(false)));
    let mut items = asked["input"].as_array().unwrap().clone();
    items[1] = json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"});
    items[3]["action"]["env"] = json!({});
    assert_eq!(body["input"], Value::Array(items));
}

#[test]
fn claude_s_and_google_s_clients_are_understood() {
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="});
    let found = json!([{"type": "text", "text": "Here."}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}]);
    let claude = json!({"model": "m", "max_tokens": 99, "system": "Be brief.", "thinking": {"type": "enabled", "budget_tokens": 2048},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": [{"type": "document", "source": source, "title": "a.pdf"}, {"type": "text", "text": "Read."}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"b": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": found, "is_error": true}, {"type": "text", "text": "And?"}]}]});
    let (encoded, body, _) = encoded("anthropic", &NO_QUIRKS, &claude).unwrap();
    assert_eq!(encoded.dropped, ["messages[3].content[0].is_error", "thinking.budget_tokens"]);
    assert_eq!(
        (&body["instructions"], &body["tool_choice"], &body["parallel_tool_calls"]),
        (&json!("Be brief."), &json!("required"), &json!(false))
    );
    assert_eq!(body["reasoning"], json!({"effort": "low"}));
    assert_eq!(
        body["input"],
        json!([
            {"type": "message", "role": "user", "content": [{"type": "input_file", "file_data": PDF, "filename": "a.pdf"}, {"type": "input_text", "text": "Read."}]},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{\"b\":1}"},
            {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "Here."},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}]},
            user("And?"),
        ])
    );
    let google = json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "generationConfig": {"maxOutputTokens": 99, "responseLogprobs": true, "logprobs": 2, "topP": 0.5}});
    let body = sent("gemini", &google);
    assert_eq!(
        (&body["instructions"], &body["max_output_tokens"], &body["top_p"], &body["top_logprobs"]),
        (&json!("Be brief."), &json!(99), &json!(0.5), &json!(2))
    );
    assert_eq!(body["include"], json!(["reasoning.encrypted_content", "message.output_text.logprobs"]));
}

#[test]
fn azure_is_asked_where_it_is() {
    let api = client_apis().find(|api| api.name() == "openai").unwrap();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), chat(&json!({})).to_string())).unwrap();
    for (api_version, path) in [
        (None, "/openai/v1/responses"),
        (Some("v1"), "/openai/v1/responses"),
        (Some("preview"), "/openai/v1/responses?api-version=preview"),
        (Some("2025-04-01-preview"), "/openai/responses?api-version=2025-04-01-preview"),
        (Some("2025-02-01-preview"), "/openai/v1/responses"),
    ] {
        let target = Target { api_version, ..Target::plain("mine", &NO_QUIRKS, 9) };
        let encoded = AzureResponses.encode(&request, &target).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!((encoded.path.as_str(), &body["model"]), (path, &json!("mine")), "{api_version:?}");
    }
    let (name, _) = AzureResponses.credential_header(&"very-secret".into(), None).unwrap();
    assert_eq!(name.as_str(), "api-key");
    assert!(AzureResponses.decode_error(401, &HeaderMap::new(), b"{}").message.contains("401"));
}

/// They were refused before there was anybody who runs them; who is asked through another API refuses them still, by name.
#[test]
fn tools_that_the_provider_runs_are_for_whoever_is_asked_through_this_api() {
    let tools = json!([{"type": "web_search", "search_context_size": "low"}, {"type": "mcp", "server_label": "a", "server_url": "https://a.test"}]);
    let searched = json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}});
    let items = json!([
        user("Hi"),
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        searched,
        {"type": "message", "role": "assistant", "content": "Found."},
        {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "a", "name": "f", "arguments": "{}"},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": true},
    ]);
    let asked = json!({"model": "m", "input": items, "tools": tools, "tool_choice": {"type": "web_search"}});
    let body = sent("openai-responses", &asked);
    assert_eq!((&body["tools"], &body["tool_choice"], &body["input"]), (&tools, &asked["tool_choice"], &items));
    let some = json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]});
    let body = sent("openai-responses", &json!({"model": "m", "input": "Hi", "tools": tools, "tool_choice": some}));
    assert_eq!(body["tool_choice"], some);
    let server = json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "a"}]});
    let body = sent("openai-responses", &json!({"model": "m", "input": "Hi", "tools": tools, "tool_choice": server}));
    assert_eq!(body["tool_choice"], server);
    let api = client_apis().find(|api| api.name() == "openai-responses").unwrap();
    let target = Target::plain("m", &NO_QUIRKS, 9);
    let function = json!({"type": "function", "name": "f", "parameters": {"type": "object"}});
    for to in ["openai", "azure", "anthropic", "gemini", "bedrock"] {
        let encode = |body: &Value| {
            let request = api.parse(&ClientRequest::post("/".parse().unwrap(), body.to_string())).unwrap();
            crate::format::provider_format(to).unwrap().encode(&request, &target)
        };
        let fault = encode(&json!({"model": "m", "input": "Hi", "tools": tools})).unwrap_err();
        assert_eq!((fault.kind, fault.param.as_deref()), (FaultKind::Rejected, Some("tools[0]")), "{to}");
        let fault =
            encode(&json!({"model": "m", "input": "Hi", "tools": [function], "tool_choice": {"type": "web_search"}}))
                .unwrap_err();
        assert_eq!((fault.kind, fault.param.as_deref()), (FaultKind::Rejected, Some("tool_choice")), "{to}");
        let asked = json!({"model": "m", "input": "Hi", "tools": [function, tools[1]], "tool_choice": server});
        let fault = encode(&asked).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Rejected, "{to}: it is not left out");
        let encoded = encode(&json!({"model": "m", "input": items})).unwrap();
        let body = String::from_utf8_lossy(&encoded.body);
        assert!(body.contains("Found.") && !body.contains("web_search_call") && !body.contains("mcp_"), "{to}: {body}");
        // Google's says nothing of what a model's own turn loses.
        assert!(
            to == "gemini" || encoded.dropped.contains(&"messages[1].content[1]".to_owned()),
            "{to}: {:?}",
            encoded.dropped
        );
    }
}

#[test]
fn tools_go_out_as_they_were_written_wherever_they_stood() {
    let late = |mut tool: Value| {
        tool["defer_loading"] = true.into();
        tool
    };
    let patch = json!({"type": "custom", "name": "patch", "format": {"type": "text"}});
    let exec = json!({"type": "custom", "name": "exec"});
    let server = json!({"type": "mcp", "server_label": "a", "server_url": "https://a.test"});
    let called = json!({"type": "custom_tool_call", "call_id": "c1", "name": "exec", "input": ""});
    let output = json!({"type": "custom_tool_call_output", "call_id": "c1", "output": "done"});
    let body = sent(
        "openai-responses",
        &json!({
            "model": "m", "tools": [late(patch.clone()), late(server.clone()), {"type": "shell"}],
            "tool_choice": {"type": "custom", "name": "exec"},
            "input": [{"type": "additional_tools", "role": "developer", "tools": [exec]}, user("Hi"), called, output],
        }),
    );
    let tools = &body["tools"];
    assert_eq!((&tools[0], &tools[2], &tools[3]), (&patch, &exec, &server));
    assert_eq!(
        (&tools[1]["name"], &tools[1]["strict"]),
        (&json!("shell"), &json!(false)),
        "its fields may be left out"
    );
    assert_eq!(body["tool_choice"], json!({"type": "custom", "name": "exec"}));
    assert_eq!(body["input"], json!([user("Hi"), called, output]));
}

#[test]
fn what_bounds_and_shows_what_the_provider_runs_is_told_where_it_is_known() {
    let asked = json!({"model": "m", "input": "Hi", "max_tool_calls": 3, "truncation": "auto",
        "include": ["web_search_call.action.sources", "reasoning.encrypted_content"], "reasoning": {"summary": "detailed"}});
    let body = sent("openai-responses", &asked);
    assert_eq!((&body["max_tool_calls"], &body["truncation"]), (&json!(3), &json!("auto")));
    assert_eq!((&body["include"], &body["reasoning"]), (&asked["include"], &json!({"summary": "detailed"})));
    let api = client_apis().find(|api| api.name() == "openai-responses").unwrap();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), asked.to_string())).unwrap();
    assert_eq!(request.untold, ["include[0]", "truncation", "max_tool_calls", "reasoning.summary"]);
    let chats = crate::format::provider_format("openai").unwrap();
    for path in &request.untold {
        assert!(AzureResponses.tells(path) && ResponsesProvider.tells(path) && !chats.tells(path), "{path}");
    }
    assert!(!ResponsesProvider.tells("reasoning.context"));
    let reply = crate::chat::Reply {
        id: "r".to_owned(),
        model: "m".to_owned(),
        created: None,
        choices: Vec::new(),
        usage: None,
        dialect: super::super::DIALECT,
        rest: crate::chat::Rest::new(),
    };
    let told = api.reply_to(&request, &reply);
    assert!(!String::from_utf8_lossy(&told).contains("witgate:"), "no reply repeats what is kept for its writers");
    let body = sent("openai-responses", &json!({"model": "m", "input": "Hi"}));
    assert!(body.get("truncation").is_none() && body.get("max_tool_calls").is_none(), "{body}");
    let never = quirks(&json!({"effort": "never"}));
    let (encoded, body, _) = encoded("openai-responses", never, &asked).unwrap();
    assert_eq!((encoded.dropped, body.get("reasoning")), (vec!["reasoning.summary".to_owned()], None));
}

#[test]
fn messages_go_back_in_the_phase_they_were_told_in() {
    let said =
        |phase: &str, text: &str| json!({"type": "message", "role": "assistant", "phase": phase, "content": text});
    let thought = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"});
    let items =
        json!([user("Hi"), thought, said("commentary", "I look."), said("final_answer", "Done."), user("Go on.")]);
    let body = sent("openai-responses", &json!({"model": "m", "input": items}));
    assert_eq!(body["input"], items);
    let api = client_apis().find(|api| api.name() == "openai-responses").unwrap();
    let asked = json!({"model": "m", "input": items}).to_string();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), asked)).unwrap();
    let target = Target::plain("m", &NO_QUIRKS, 9);
    for to in ["openai", "azure", "anthropic", "gemini", "bedrock"] {
        let encoded = crate::format::provider_format(to).unwrap().encode(&request, &target).unwrap();
        let body = String::from_utf8_lossy(&encoded.body);
        assert!(body.contains("I look.") && body.contains("Done.") && !body.contains("phase"), "{to}: {body}");
    }
}

/// As the same vendor's chats do: a function's name has 64 letters at most.
#[test]
fn a_long_name_of_another_dialect_s_tool_is_shortened() {
    let name = format!("mcp__{}", "a".repeat(80));
    let claude = json!({"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"name": name, "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": name}});
    let (_, body, _) = encoded("anthropic", &NO_QUIRKS, &claude).unwrap();
    let sent = body["tools"][0]["name"].as_str().unwrap();
    assert!(sent.len() <= 64 && name.starts_with(&sent[..50]), "{sent}");
    assert_eq!(body["tool_choice"]["name"], sent);
}

#[test]
fn what_is_kept_at_openai_goes_out_by_its_id_and_to_nobody_who_cannot_look_there() {
    let content = json!([
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_image", "file_id": "file-2", "detail": "high"},
        {"type": "input_text", "text": "Look."},
    ]);
    let asked = |content: &Value| json!({"model": "m", "input": [{"role": "user", "content": content}]});
    let body = sent("openai-responses", &asked(&content));
    assert_eq!(body["input"][0]["content"], content);
    let api = client_apis().find(|api| api.name() == "openai-responses").unwrap();
    let target = Target::plain("m", &NO_QUIRKS, 9);
    let encode = |to: &str, part: &Value| {
        let asked = asked(&json!([part])).to_string();
        let request = api.parse(&ClientRequest::post("/".parse().unwrap(), asked)).unwrap();
        crate::format::provider_format(to).unwrap().encode(&request, &target)
    };
    for (to, part) in [
        ("openai", 1),
        ("azure", 1),
        ("anthropic", 0),
        ("anthropic", 1),
        ("gemini", 0),
        ("gemini", 1),
        ("bedrock", 0),
        ("bedrock", 1),
    ] {
        let fault = encode(to, &content[part]).unwrap_err();
        let blamed = (fault.kind, fault.param.as_deref());
        assert_eq!(blamed, (FaultKind::Rejected, Some("messages[0].content[0]")), "{to}: {fault}");
    }
    let body: Value = serde_json::from_slice(&encode("openai", &content[0]).unwrap().body).unwrap();
    assert_eq!(body["messages"][0]["content"], json!([{"type": "file", "file": {"file_id": "file-1"}}]));
}

#[test]
fn a_picture_that_was_made_goes_back_to_who_made_it() {
    let made = json!({"type": "image_generation_call", "id": "ig_1-0a1b_0", "status": "completed", "result": "AA==", "size": "1024x1024"});
    // Another provider's model drew it.
    let drawn = json!({"type": "image_generation_call", "id": "ig_0a1b_1", "status": "completed", "result": "BB=="});
    let api = client_apis().find(|api| api.name() == "openai-responses").unwrap();
    let asked = json!({"model": "m", "input": "Again.", "previous_response_id": "resp_0a1b"}).to_string();
    let mut request = ClientRequest::post("/".parse().unwrap(), asked);
    request.earlier = vec![Turn {
        request: json!({"model": "m", "input": "Draw."}).to_string().into(),
        reply: json!({"id": "resp_0a1b", "output": [made, drawn]}).to_string().into(),
    }];
    let request = api.parse(&request).unwrap();
    let target = Target::plain("m", &NO_QUIRKS, 9);
    let encoded = ResponsesProvider.encode(&request, &target).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    let mut own = made;
    own["id"] = "ig_1".into();
    assert_eq!((&body["input"], encoded.dropped), (&json!([user("Draw."), own, user("Again.")]), vec![]));
    for to in ["openai", "azure", "anthropic", "gemini", "bedrock"] {
        let encoded = crate::format::provider_format(to).unwrap().encode(&request, &target).unwrap();
        let body = String::from_utf8_lossy(&encoded.body);
        assert!(body.contains("Again.") && !body.contains("AA==") && !body.contains("BB=="), "{to}: {body}");
        assert_eq!(encoded.dropped, ["messages[1].content[0]"], "{to}");
        // A turn of which nothing is left is none.
        assert!(!body.contains("assistant") && !body.contains("\"model\",\"parts"), "{to}: {body}");
    }
}

#[test]
fn how_closely_to_look_at_a_file_and_where_a_cache_ends_behind_it_are_told() {
    let mark = json!({"mode": "explicit"});
    let content = json!([
        {"type": "input_file", "file_data": PDF, "filename": "a.pdf", "detail": "low", "prompt_cache_breakpoint": mark},
        {"type": "input_file", "file_url": "https://a.test/b.pdf", "detail": "high"},
        {"type": "input_file", "file_id": "file-1", "prompt_cache_breakpoint": mark},
    ]);
    let asked = json!({"model": "m", "input": [{"role": "user", "content": content}]});
    assert_eq!(sent("openai-responses", &asked)["input"][0]["content"], content);
    // What it refuses there, and what no other API has a word for, is reported.
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": [
        {"type": "file", "file": {"file_id": "file-1"}, "cache_control": {"type": "ephemeral"}}]}]});
    let strict = quirks(&json!({"message_refuses": ["cache_control"]}));
    let (encoded, body, _) = encoded("openai", strict, &chat).unwrap();
    assert_eq!(body["input"][0]["content"], json!([{"type": "input_file", "file_id": "file-1"}]));
    assert_eq!(encoded.dropped, ["messages[0].content[0].cache_control"]);
    let api = client_apis().find(|api| api.name() == "openai-responses").unwrap();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), asked.to_string())).unwrap();
    let target = Target::plain("m", &NO_QUIRKS, 9);
    let encoded = crate::format::provider_format("openai").unwrap().encode(&request, &target).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    let file =
        json!({"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}, "prompt_cache_breakpoint": mark});
    assert_eq!(body["messages"][0]["content"][0], file);
    assert_eq!(encoded.dropped, ["messages[0].content[0].detail", "messages[0].content[1].detail"]);
}

#[test]
fn a_model_that_gives_nothing_sealed_is_not_asked_for_it() {
    let written = |more: &Value, unsealed: bool| {
        let api = client_apis().find(|api| api.name() == "openai").unwrap();
        let request = api.parse(&ClientRequest::post("/".parse().unwrap(), chat(more).to_string())).unwrap();
        let target = Target {
            model: "m",
            api_version: None,
            quirks: &NO_QUIRKS,
            bare_stream: false,
            unsealed,
            default_max_tokens: 9,
        };
        let encoded = ResponsesProvider.encode(&request, &target).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        (body["include"].clone(), encoded.dropped)
    };
    let sealed = "reasoning.encrypted_content";
    assert_eq!(written(&json!({}), false), (json!([sealed]), vec![]));
    assert_eq!(written(&json!({}), true), (Value::Null, vec![]));
    let likely = json!(["message.output_text.logprobs"]);
    assert_eq!(written(&json!({"logprobs": true}), true), (likely, vec![]));
    let own = json!({"include": [sealed, "file_search_call.results"]});
    assert_eq!(written(&own, true), (json!(["file_search_call.results"]), vec!["include".to_owned()]));

    let fault = |status: u16, message: &str, param: Option<&str>| {
        let body =
            json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": null}});
        ResponsesProvider.decode_error(status, &HeaderMap::new(), body.to_string().as_bytes())
    };
    let words = "Encrypted content is not supported with this model.";
    for (status, message, param, is_about) in [
        (400, words, Some("include"), true),
        (400, words, None, true),
        (400, "Unsupported value.", Some("include[0]"), true),
        (400, "Unsupported value.", Some("input"), false),
        (400, "You wrote: Encrypted content is not supported", None, false),
        (500, words, Some("include"), false),
    ] {
        let fault = fault(status, message, param);
        assert_eq!(ResponsesProvider.refuses_sealing(&fault), is_about, "{status} {message} {param:?}");
        assert_eq!(AzureResponses.refuses_sealing(&fault), is_about);
    }
}
