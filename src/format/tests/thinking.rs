//! What goes out beside thinking that a client of another dialect asked for.

use serde_json::{Value, json};

use super::{parse, provider};
use crate::format::{NO_QUIRKS, Quirks, Target, lost};

fn quirks(told: &Value) -> &'static Quirks {
    Box::leak(serde_json::from_value(told.clone()).unwrap())
}

/// What a provider is sent for a client's request, what is reported of it, and what it is refused for where nothing may be lost.
fn sent(client: &str, more: &Value, to: &str, quirks: &'static Quirks) -> (Value, Vec<String>, Option<&'static str>) {
    let mut asked = match client {
        "openai-responses" => json!({"model": "m", "input": "Hi"}),
        _ => json!({"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": "Hi"}]}),
    };
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = parse(client, asked.to_string().as_bytes()).unwrap();
    let target = Target::plain("m", quirks, 4000);
    let encoded = provider(to).encode(&request, &target).unwrap();
    let refused = lost(&request, &encoded).next();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped, refused)
}

#[test]
fn beside_thinking_goes_what_is_taken_beside_it() {
    let (budget, adaptive) = (quirks(&json!({"effort": "budget"})), quirks(&json!({"effort": "adaptive"})));
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let written = json!({"type": "enabled", "budget_tokens": 1024});
    // What is asked for, whether the model is told to think, what is left out.
    let table = [
        (json!({"reasoning_effort": "low", "temperature": 0.2, "top_k": 5}), true, vec!["temperature", "top_k"]),
        (json!({"reasoning_effort": "low", "temperature": 1, "tools": tools, "tool_choice": "auto"}), true, vec![]),
        (json!({"reasoning_effort": "low", "top_p": 0.5}), true, vec!["top_p"]),
        (json!({"reasoning_effort": "low", "top_p": 0.95}), true, vec![]),
        (json!({"thinking": written, "temperature": 0}), true, vec!["temperature"]),
        (json!({"thinking": {"type": "disabled"}, "temperature": 0, "top_k": 5}), false, vec![]),
        (json!({"temperature": 0.2, "top_k": 5, "tools": tools, "tool_choice": "required"}), false, vec![]),
        (
            json!({"reasoning_effort": "low", "temperature": 0.2, "tools": tools, "tool_choice": "required"}),
            false,
            vec!["reasoning_effort"],
        ),
        (
            json!({"thinking": written, "top_k": 5, "tools": tools,
                "tool_choice": {"type": "function", "function": {"name": "f"}}}),
            false,
            vec!["thinking"],
        ),
    ];
    for (more, thinks, dropped) in table {
        let mut asked = json!({"model": "m", "max_tokens": 4000, "messages": [{"role": "user", "content": "Hi"}]});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = parse("openai", asked.to_string().as_bytes()).unwrap();
        for (name, quirks) in
            [("anthropic", budget), ("anthropic", adaptive), ("bedrock", budget), ("bedrock", adaptive)]
        {
            let version = Some("2023-06-01").filter(|_| name == "anthropic");
            let target = Target { api_version: version, ..Target::plain("m", quirks, 4000) };
            let encoded = provider(name).encode(&request, &target).unwrap();
            let body: Value = serde_json::from_slice(&encoded.body).unwrap();
            let own = if name == "bedrock" { &body["additionalModelRequestFields"] } else { &body };
            let told = own["thinking"]["type"].as_str().is_some_and(|kind| kind != "disabled");
            assert_eq!(
                (told, &encoded.dropped[..]),
                (thinks, &dropped.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{name}: {more}: {body}"
            );
            let sampled = body.to_string();
            for (field, theirs) in [("temperature", "temperature"), ("top_k", "top_k"), ("top_p", "top")] {
                let sent = sampled.contains(&format!("\"{theirs}"));
                let kept = more.get(field).is_some() && !dropped.contains(&field);
                assert!(sent == kept || theirs == "top" && sampled.contains("top_k"), "{field} by {name}: {body}");
            }
        }
    }
}

/// Clients of chats bring no thinking back, or what another provider thought without a signature.
#[test]
fn a_turn_that_began_without_thinking_ends_without_where_thinking_has_a_budget() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let history = |blocks: Value| {
        let called =
            json!({"role": "assistant", "content": "I look.", "thinking_blocks": blocks, "tool_calls": [call]});
        let result = json!({"role": "tool", "tool_call_id": "a", "content": "x"});
        json!([{"role": "user", "content": "Go"}, called, result])
    };
    let (budget, adaptive) = (quirks(&json!({"effort": "budget"})), quirks(&json!({"effort": "adaptive"})));
    let signed = |signature: &str| json!([{"type": "thinking", "thinking": "hm", "signature": signature}]);
    let written = json!({"type": "enabled", "budget_tokens": 2048});
    for (quirks, blocks, asked, kind, dropped) in [
        (budget, json!([]), json!({"reasoning_effort": "low"}), None, vec!["reasoning_effort"]),
        (adaptive, json!([]), json!({"reasoning_effort": "low"}), Some("adaptive"), vec![]),
        (adaptive, json!([]), json!({"thinking": written}), None, vec!["thinking"]),
        (budget, signed("c2ln"), json!({"reasoning_effort": "low"}), Some("enabled"), vec![]),
        (
            budget,
            json!([{"type": "redacted_thinking", "data": "c2ln"}]),
            json!({"thinking": written}),
            Some("enabled"),
            vec![],
        ),
        (
            budget,
            signed(""),
            json!({"reasoning_effort": "low"}),
            None,
            vec!["messages[1].content[0]", "reasoning_effort"],
        ),
    ] {
        for to in ["anthropic", "bedrock"] {
            let mut more = asked.clone();
            more["messages"] = history(blocks.clone());
            let (body, mut left, _) = sent("openai", &more, to, quirks);
            let own = if to == "bedrock" { &body["additionalModelRequestFields"] } else { &body };
            left.sort();
            assert_eq!(own["thinking"]["type"].as_str(), kind, "{to}: {body}");
            assert_eq!(left, dropped, "{to}: {body}");
        }
    }
}

/// A model that is to think by a budget would have to think before the words that are begun.
#[test]
fn a_reply_that_is_begun_goes_on_without_thinking_where_thinking_has_a_budget() {
    let budget = quirks(&json!({"effort": "budget"}));
    let (user, begun) = (json!({"role": "user", "content": "Go"}), json!({"role": "assistant", "content": "{"}));
    for (messages, is_told) in [(json!([user, begun]), false), (json!([user, begun, user]), true)] {
        for to in ["anthropic", "bedrock"] {
            let asked = json!({"reasoning_effort": "low", "messages": messages});
            let (body, dropped, _) = sent("openai", &asked, to, budget);
            let own = if to == "bedrock" { &body["additionalModelRequestFields"] } else { &body };
            assert_eq!(own.get("thinking").is_some(), is_told, "{to}: {body}");
            assert_eq!(dropped.iter().any(|name| name == "reasoning_effort"), !is_told, "{to}: {body}");
        }
    }
}

/// What models that reason take of sampling: none that is not their own, by any client API.
#[test]
fn models_that_reason_are_sent_no_sampling() {
    let refuses = ["top_k", "presence_penalty", "frequency_penalty", "logit_bias", "stop"];
    let fixed = quirks(&json!({"refuses": refuses, "sampling": "fixed"}));
    for (client, more, refused) in [
        ("openai", json!({"temperature": 0.2}), Some("temperature")),
        ("openai", json!({"temperature": 1, "top_p": 1.0}), None),
        ("openai", json!({"top_p": 0.9}), Some("top_p")),
        ("openai", json!({"top_k": 5}), Some("top_k")),
        ("openai", json!({"stop": ["x"]}), Some("stop")),
        ("openai", json!({"presence_penalty": 0, "frequency_penalty": 0.0}), None),
        ("openai", json!({"frequency_penalty": 0.5}), Some("frequency_penalty")),
        ("openai", json!({"logit_bias": {"1": 2}}), Some("logit_bias")),
        ("openai", json!({"logprobs": true, "top_logprobs": 2}), Some("logprobs")),
        ("openai-responses", json!({"temperature": 0.2}), Some("temperature")),
        ("anthropic", json!({"temperature": 0.2}), Some("temperature")),
        ("anthropic", json!({"stop_sequences": ["x"]}), Some("stop")),
    ] {
        let (body, dropped, told) = sent(client, &more, "openai", fixed);
        assert_eq!(told, refused, "{client}: {more}");
        assert_eq!(dropped.len(), more.as_object().unwrap().len(), "{client}: {more}: {dropped:?}");
        assert!(dropped.iter().all(|name| body.get(name).is_none()), "{client}: {body}");
    }
    // Some take it where they do not think.
    let drawn = json!({"temperature": 0.2, "top_p": 0.9, "logprobs": true});
    for (kind, effort, taken) in [
        ("beside_none", Value::Null, false),
        ("beside_none", json!("none"), true),
        ("beside_none", json!("low"), false),
        ("unless_asked", Value::Null, true),
        ("unless_asked", json!("none"), true),
        ("unless_asked", json!("low"), false),
    ] {
        let mut more = drawn.clone();
        more["reasoning_effort"] = effort.clone();
        let (body, dropped, _) = sent("openai", &more, "openai", quirks(&json!({"sampling": kind})));
        let is_sent = drawn.as_object().unwrap().iter().all(|(name, value)| body[name] == *value);
        assert_eq!((is_sent, dropped.is_empty()), (taken, taken), "{kind} at {effort}: {body}");
    }
}

/// Agents wish for thinking whatever they speak to; a client of chats that wrote an effort means a model that has one.
#[test]
fn models_that_do_not_reason_are_told_no_effort() {
    let never = quirks(&json!({"refuses": ["thinking"], "effort": "never"}));
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    for (client, more, dropped, refused) in [
        ("openai", json!({"reasoning_effort": "high"}), vec!["reasoning_effort"], Some("reasoning_effort")),
        ("openai", json!({"reasoning_effort": "none"}), vec!["reasoning_effort"], None),
        ("openai", thinking.clone(), vec!["thinking.budget_tokens"], None),
        ("openai-responses", json!({"reasoning": {"effort": "high"}}), vec!["reasoning_effort"], None),
        ("anthropic", thinking, vec!["thinking.budget_tokens"], None),
        ("anthropic", json!({"output_config": {"effort": "high"}}), vec!["reasoning_effort"], None),
        ("anthropic", json!({"thinking": {"type": "disabled"}}), vec![], None),
    ] {
        let (body, left, told) = sent(client, &more, "openai", never);
        assert_eq!(left, dropped, "{client}: {more}");
        assert_eq!(told, refused, "{client}: {more}");
        assert!(body.get("reasoning_effort").is_none() && body.get("thinking").is_none(), "{client}: {body}");
    }
}

#[test]
fn an_effort_is_the_next_that_a_model_knows() {
    let levels = |levels: &[&str]| quirks(&json!({"refuses": ["thinking"], "thinking": {"levels": levels}}));
    let first = levels(&["minimal", "low", "medium", "high"]);
    let later = levels(&["none", "low", "medium", "high"]);
    let one = levels(&["medium"]);
    let off = json!({"thinking": {"type": "disabled"}});
    let on = json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    for (quirks, client, more, effort, dropped) in [
        (first, "openai", json!({"reasoning_effort": "none"}), Some("minimal"), vec!["reasoning_effort"]),
        (first, "openai", json!({"reasoning_effort": "low"}), Some("low"), vec![]),
        (first, "openai", json!({"reasoning_effort": "xhigh"}), Some("high"), vec!["reasoning_effort"]),
        (first, "openai", json!({"reasoning_effort": "newer"}), Some("newer"), vec![]),
        (first, "anthropic", off.clone(), Some("minimal"), vec!["reasoning_effort"]),
        (later, "anthropic", off.clone(), Some("none"), vec![]),
        (later, "openai", off.clone(), Some("none"), vec![]),
        (later, "openai", on.clone(), Some("low"), vec!["thinking.budget_tokens"]),
        (later, "openai", json!({"thinking": {"type": "adaptive"}}), None, vec!["thinking"]),
        (later, "openai", json!({"reasoning_effort": "minimal"}), Some("low"), vec!["reasoning_effort"]),
        (one, "anthropic", json!({"output_config": {"effort": "max"}}), Some("medium"), vec!["reasoning_effort"]),
        (&NO_QUIRKS, "anthropic", off.clone(), None, vec!["thinking.type"]),
    ] {
        let (body, left, refused) = sent(client, &more, "openai", quirks);
        assert_eq!(left, dropped, "{client}: {more}");
        assert_eq!((body["reasoning_effort"].as_str(), body.get("thinking"), refused), (effort, None, None), "{more}");
    }
}

/// Clients know some of Claude's models; their requests, Anthropic's own clients' too, may be led to others.
#[test]
fn claude_is_told_to_think_in_the_words_of_its_model() {
    let kind = |effort: &str, thinking: Value| quirks(&json!({"effort": effort, "thinking": thinking}));
    let budget = kind("budget", json!({}));
    let both = kind("budget", json!({"levels": ["low", "medium", "high"]}));
    let early = kind("adaptive", json!({"levels": ["low", "medium", "high", "max"]}));
    let newest = kind("adaptive", json!({"no_budget": true}));
    let always = kind("adaptive", json!({"no_budget": true, "always": true}));
    let told = |tokens: u32| json!({"type": "enabled", "budget_tokens": tokens, "display": "omitted"});
    let on = json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    let off = json!({"thinking": {"type": "disabled"}});
    let agent = |effort: &str| json!({"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": effort}});
    let effort = |effort: &str| json!({"effort": effort});
    let (own, budget_tokens) = ("output_config.effort", "thinking.budget_tokens");
    for (quirks, client, more, thinking, output, dropped) in [
        (newest, "openai", on.clone(), json!({"type": "adaptive"}), effort("low"), vec![budget_tokens]),
        (
            newest,
            "anthropic",
            json!({"thinking": told(8000)}),
            json!({"type": "adaptive", "display": "omitted"}),
            effort("medium"),
            vec![budget_tokens],
        ),
        (newest, "anthropic", off.clone(), off["thinking"].clone(), Value::Null, vec![]),
        (newest, "anthropic", agent("max"), agent("max")["thinking"].clone(), effort("max"), vec![]),
        (
            early,
            "openai",
            json!({"reasoning_effort": "xhigh"}),
            json!({"type": "adaptive"}),
            effort("max"),
            vec!["reasoning_effort"],
        ),
        (early, "anthropic", agent("xhigh"), agent("xhigh")["thinking"].clone(), effort("max"), vec![own]),
        (early, "anthropic", json!({"thinking": told(8000)}), told(8000), Value::Null, vec![]),
        (budget, "anthropic", agent("xhigh"), told(4096), Value::Null, vec![own, "thinking.type"]),
        (budget, "anthropic", json!({"output_config": effort("low")}), Value::Null, Value::Null, vec![own]),
        (budget, "anthropic", on.clone(), on["thinking"].clone(), Value::Null, vec![]),
        (both, "anthropic", agent("max"), told(4096), effort("high"), vec![own, "thinking.type"]),
        (always, "openai", json!({"reasoning_effort": "none"}), Value::Null, Value::Null, vec!["reasoning_effort"]),
        (always, "anthropic", off.clone(), Value::Null, Value::Null, vec!["thinking.type"]),
    ] {
        let (body, left, _) = sent(client, &more, "anthropic", quirks);
        assert_eq!((&body["thinking"], &body["output_config"]), (&thinking, &output), "{client}: {more}");
        assert_eq!(left, dropped, "{client}: {more}");
    }
    let adaptive = |effort: &str| json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}});
    for (quirks, client, more, expected, dropped) in [
        (newest, "openai", on, adaptive("low"), vec![budget_tokens]),
        (early, "openai", json!({"reasoning_effort": "xhigh"}), adaptive("max"), vec!["reasoning_effort"]),
        (
            budget,
            "anthropic",
            json!({"thinking": {"type": "adaptive"}}),
            json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}),
            vec![],
        ),
        (always, "openai", json!({"reasoning_effort": "none"}), Value::Null, vec!["reasoning_effort"]),
        (always, "anthropic", off, Value::Null, vec!["thinking.type"]),
    ] {
        let (body, left, _) = sent(client, &more, "bedrock", quirks);
        assert_eq!((&body["additionalModelRequestFields"], left), (&expected, strings(&dropped)), "{client}: {more}");
    }
}

/// A call that is forced is another request than one that is not: it is refused by name, unless it may be left out.
#[test]
fn a_call_is_not_forced_where_models_cannot_be_told_so() {
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let free = quirks(&json!({"effort": "adaptive", "no_forced_calls": true}));
    let held = quirks(&json!({"effort": "adaptive"}));
    for choice in [json!("required"), json!({"type": "function", "function": {"name": "f"}})] {
        let more = json!({"tools": [tool], "tool_choice": choice, "reasoning_effort": "low"});
        for to in ["anthropic", "bedrock"] {
            let chosen = |body: &Value| {
                body["tool_choice"]["type"] == "auto" || body["toolConfig"]["toolChoice"]["auto"].is_object()
            };
            let (body, dropped, refused) = sent("openai", &more, to, free);
            assert!(chosen(&body) && body.to_string().contains("adaptive"), "{to}: {body}");
            assert_eq!((dropped, refused), (strings(&["tool_choice"]), Some("tool_choice")), "{to}");
            let (body, dropped, refused) = sent("openai", &more, to, held);
            assert!(!chosen(&body), "{to}: {body}");
            assert_eq!((dropped, refused), (strings(&["reasoning_effort"]), None), "{to}");
        }
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// Many that imitate OpenAI take it in these words.
#[test]
fn thinking_that_a_client_of_chats_wrote_goes_to_imitators_as_it_was() {
    for (more, effort) in [
        (json!({"thinking": {"type": "enabled", "budget_tokens": 2048, "clear_thinking": false}}), None),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 2048}, "reasoning_effort": "high"}), Some("high")),
        (json!({"thinking": {"type": "enabled"}}), None),
        (json!({"thinking": {"type": "disabled"}}), None),
        (json!({"thinking": true}), None),
    ] {
        let (body, dropped, _) = sent("openai", &more, "openai", &NO_QUIRKS);
        assert_eq!((&body["thinking"], body["reasoning_effort"].as_str()), (&more["thinking"], effort));
        assert!(dropped.is_empty(), "{more}: {dropped:?}");
    }
}

#[test]
fn thinking_that_is_turned_off_is_off_everywhere() {
    let off = json!({"thinking": {"type": "disabled"}});
    let with_effort = json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}});
    for more in [&off, &with_effort] {
        let (body, dropped, _) = sent("anthropic", more, "anthropic", &NO_QUIRKS);
        assert_eq!(body.get("thinking"), more.get("thinking"));
        assert_eq!(body.get("output_config"), more.get("output_config"));
        assert!(dropped.is_empty(), "{dropped:?}");
    }
    for client in ["anthropic", "openai"] {
        let (body, dropped, _) = sent(client, &off, "gemini", &NO_QUIRKS);
        let told = json!({"includeThoughts": false, "thinkingBudget": 0});
        assert_eq!((&body["generationConfig"]["thinkingConfig"], dropped), (&told, vec![]), "{client}");
        for effort in ["word", "budget", "adaptive", "never"] {
            let (body, _, _) = sent(client, &off, "bedrock", quirks(&json!({"effort": effort})));
            assert_eq!(body["additionalModelRequestFields"], off, "{client}: {effort}");
        }
    }
    let on = json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    let (body, dropped, _) = sent("openai", &on, "gemini", &NO_QUIRKS);
    let told = json!({"includeThoughts": true, "thinkingBudget": 2048});
    assert_eq!((&body["generationConfig"]["thinkingConfig"], dropped), (&told, vec![]));
    let (body, dropped, _) = sent("openai", &on, "anthropic", &NO_QUIRKS);
    assert_eq!((&body["thinking"], dropped), (&on["thinking"], vec![]));
}

#[test]
fn a_budget_is_one_that_the_model_takes() {
    let (budget, adaptive) = (json!({"effort": "budget"}), json!({"effort": "adaptive"}));
    let never = json!({"effort": "never"});
    let pro = json!({"thinking": {"least": 128, "most": 32768, "always": true}});
    let (flash, lite) = (json!({"thinking": {"most": 24576}}), json!({"thinking": {"least": 512, "most": 24576}}));
    let cut = &["thinking.budget_tokens"][..];
    for (to, takes, asked, bound, told, dropped) in [
        ("anthropic", &budget, 2000, 4000, Some(2000), &[][..]),
        ("anthropic", &budget, 500, 4000, Some(1024), cut),
        ("anthropic", &budget, 20_000, 4000, Some(3999), cut),
        ("anthropic", &budget, 2000, 1024, None, &["thinking"]),
        ("anthropic", &never, 2000, 4000, None, &["thinking"]),
        ("anthropic", &adaptive, 500, 4000, Some(1024), cut),
        ("anthropic", &adaptive, 20_000, 4000, Some(3999), cut),
        ("bedrock", &budget, 2000, 4000, Some(2000), &[]),
        ("bedrock", &budget, 500, 4000, Some(1024), cut),
        ("bedrock", &budget, 20_000, 4000, Some(3999), cut),
        ("bedrock", &budget, 2000, 1024, None, &["thinking"]),
        ("bedrock", &adaptive, 500, 4000, Some(1024), cut),
        ("bedrock", &adaptive, 2000, 1024, None, &["thinking"]),
        ("gemini", &pro, 31_999, 64_000, Some(31_999), &[]),
        ("gemini", &pro, 40_000, 64_000, Some(32_768), cut),
        ("gemini", &pro, 100, 64_000, Some(128), cut),
        ("gemini", &flash, 31_999, 64_000, Some(24_576), cut),
        ("gemini", &flash, 100, 64_000, Some(100), &[]),
        ("gemini", &flash, 20_000, 4000, Some(3999), cut),
        ("gemini", &lite, 100, 64_000, Some(512), cut),
    ] {
        // In the words of chats and of Anthropic's clients alike, where these are another dialect's.
        for client in ["openai", "anthropic"].into_iter().filter(|client| *client != to) {
            let more = json!({"max_tokens": bound, "thinking": {"type": "enabled", "budget_tokens": asked}});
            let (body, reported, _) = sent(client, &more, to, quirks(takes));
            let found = match to {
                "gemini" => &body["generationConfig"]["thinkingConfig"]["thinkingBudget"],
                "bedrock" => &body["additionalModelRequestFields"]["thinking"]["budget_tokens"],
                _ => &body["thinking"]["budget_tokens"],
            };
            assert_eq!(found.as_u64(), told, "{client} {to} {takes} {asked}: {body}");
            assert_eq!(reported, strings(dropped), "{client} {to} {takes} {asked}");
        }
    }
    // A model that finds out itself how much to think does so where a budget has no room.
    let more = json!({"max_tokens": 1000, "thinking": {"type": "enabled", "budget_tokens": 2000}});
    let (body, dropped, _) = sent("openai", &more, "anthropic", quirks(&adaptive));
    assert_eq!((&body["thinking"], dropped), (&json!({"type": "adaptive"}), strings(cut)));
    assert_eq!(body["output_config"]["effort"], "low");
    // Its own clients are told by the provider.
    let (body, dropped, _) = sent("anthropic", &more, "anthropic", quirks(&budget));
    assert_eq!((&body["thinking"]["budget_tokens"], dropped), (&json!(2000), vec![]));
}
