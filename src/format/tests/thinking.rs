//! What goes out beside thinking that a client of another dialect asked for.

use serde_json::{Value, json};

use super::{parse, provider};
use crate::format::{Quirks, Target};

#[test]
fn beside_thinking_goes_what_is_taken_beside_it() {
    let quirks =
        |effort: &str| -> &'static Quirks { Box::leak(serde_json::from_value(json!({"effort": effort})).unwrap()) };
    let (budget, adaptive) = (quirks("budget"), quirks("adaptive"));
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
            let target =
                Target { model: "m", api_version: version, quirks, bare_stream: false, default_max_tokens: 4000 };
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
