//! What imitators take otherwise, from the table of providers: the same request, with and without quirks.

use serde_json::{Value, json};

use super::{OpenAi, TARGET, body, encode, parse};
use crate::format::{ProviderFormat, Quirks, Target};

fn quirks(text: &str) -> &'static Quirks {
    Box::leak(Box::new(serde_json::from_str(text).unwrap()))
}

fn request() -> Value {
    json!({
        "model": "g", "stream": true, "max_completion_tokens": 9, "seed": 7, "user": "me", "temperature": 0.5,
        "logit_bias": {"1": 2}, "safe_prompt": true,
        "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    })
}

#[test]
fn fields_and_roles_go_under_the_providers_names_and_refused_ones_are_reported() {
    let quirks = quirks(
        r#"{"refuses": ["stream_options", "user", "logit_bias"],
            "renames": {"max_completion_tokens": "max_tokens", "seed": "random_seed"}, "roles": {"developer": "system"}}"#,
    );
    let encoded = OpenAi.encode(&parse(&request()), &Target { quirks, ..TARGET }).unwrap();
    let expected = json!({
        "model": "upstream-model", "stream": true, "max_tokens": 9, "random_seed": 7, "temperature": 0.5, "safe_prompt": true,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    });
    assert_eq!(body(&encoded), expected);
    assert_eq!(encoded.dropped, ["user", "logit_bias"], "asking for usage is our own wish");
}

#[test]
fn what_a_client_asks_of_a_stream_is_not_left_out_in_silence() {
    let mut request = request();
    request["stream_options"] = json!({"include_usage": true, "include_obfuscation": false});
    let quirks = quirks(r#"{"refuses": ["stream_options"]}"#);
    let encoded = OpenAi.encode(&parse(&request), &Target { quirks, ..TARGET }).unwrap();
    assert_eq!(encoded.dropped, ["stream_options"]);
}

#[test]
fn without_quirks_nothing_differs() {
    let parsed = parse(&request());
    let encoded =
        OpenAi.encode(&parsed, &Target { quirks: quirks(r#"{"refuses": ["never_sent"]}"#), ..TARGET }).unwrap();
    assert_eq!(body(&encoded), body(&encode(&parsed)));
}

#[test]
fn a_quirk_that_is_none_is_an_error() {
    assert!(serde_json::from_str::<Quirks>(r#"{"refuse": ["user"]}"#).is_err());
}

#[test]
fn the_assistant_speaks_between_a_tool_s_result_and_a_user_where_that_is_wanted() {
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let result = json!({"role": "tool", "tool_call_id": "a", "content": "x"});
    let user = json!({"role": "user", "content": "Go on"});
    let bridge = json!({"role": "assistant", "content": "OK."});
    let own = quirks(r#"{"bridge": "OK."}"#);
    for (before, after) in [
        (vec![&user, &call, &result, &user], vec![&user, &call, &result, &bridge, &user]),
        (vec![&call, &result, &result, &user, &user], vec![&call, &result, &result, &bridge, &user, &user]),
        (vec![&user, &call, &result], vec![&user, &call, &result]),
        (vec![&call, &result, &bridge, &user], vec![&call, &result, &bridge, &user]),
    ] {
        let request = parse(&json!({"model": "g", "messages": before}));
        assert_eq!(
            body(&OpenAi.encode(&request, &Target { quirks: own, ..TARGET }).unwrap())["messages"],
            json!(after)
        );
        assert_eq!(body(&encode(&request))["messages"], json!(before), "others take any order");
    }
}

#[test]
fn efforts_are_told_in_the_words_of_the_model_and_what_it_cannot_be_told_is_refused_by_name() {
    let qwen = quirks(r#"{"thinking": {"levels": ["none", "default"]}}"#);
    let magistral = quirks(r#"{"refuses": ["thinking"], "effort": "never", "thinking": {"always": true}}"#);
    let llama = quirks(r#"{"refuses": ["thinking"], "effort": "never"}"#);
    for (quirks, effort, word, is_told, is_lost) in [
        (qwen, "none", Some("none"), false, false),
        (qwen, "default", Some("default"), false, false),
        (qwen, "low", Some("default"), true, false),
        (qwen, "high", Some("default"), true, false),
        // It thinks, at whatever effort.
        (magistral, "high", None, true, false),
        (magistral, "none", None, true, true),
        (llama, "high", None, true, true),
    ] {
        let asked = json!({"model": "g", "reasoning_effort": effort, "messages": [{"role": "user", "content": "Hi"}]});
        let encoded = OpenAi.encode(&parse(&asked), &Target { quirks, ..TARGET }).unwrap();
        assert_eq!(body(&encoded).get("reasoning_effort").and_then(Value::as_str), word, "{effort}");
        let reported = |is: bool| if is { vec!["reasoning_effort"] } else { vec![] };
        assert_eq!(
            (encoded.dropped, encoded.lost),
            (reported(is_told).iter().map(ToString::to_string).collect(), reported(is_lost)),
            "{effort}"
        );
    }
    // Not to think is no wish that an agent insists on: it is told that its model does.
    let off = json!({"model": "g", "thinking": {"type": "disabled"}, "messages": [{"role": "user", "content": "Hi"}]});
    for (quirks, dropped) in [(magistral, vec!["thinking.type".to_owned()]), (llama, vec![])] {
        let encoded = OpenAi.encode(&parse(&off), &Target { quirks, ..TARGET }).unwrap();
        assert_eq!((encoded.dropped, encoded.lost), (dropped, vec![]));
    }
}
