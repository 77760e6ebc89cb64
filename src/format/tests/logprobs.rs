//! Log probabilities, asked for and told in each of the two dialects that have them.

use serde_json::{Value, json};

use super::{api, fixtures, json, parse, provider, read_stream, write_stream};
use crate::format::{NO_QUIRKS, Target};

fn fixture(folder: &str) -> Vec<u8> {
    fixtures(folder).into_iter().find(|(name, _)| name == "logprobs").map(|(_, bytes)| bytes).unwrap()
}

/// The objects of a stream of events.
fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.trim_end().strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn openai_tokens() -> Value {
    let one = |token: &str, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
    let with = |token: &str, logprob: f64, top: [Value; 2]| {
        let mut chosen = one(token, logprob);
        chosen["top_logprobs"] = json!(top);
        chosen
    };
    json!([
        with("Hel", -0.25, [one("Hel", -0.25), one("Hi", -1.5)]),
        with("lö", -0.5, [one("lö", -0.5), one("p", -2.0)]),
    ])
}

fn gemini_tokens() -> Value {
    let one = |token: &str, logprob: f64| json!({"token": token, "logProbability": logprob});
    json!({
        "chosenCandidates": [one("Hel", -0.25), one("lö", -0.5)],
        "topCandidates": [
            {"candidates": [one("Hel", -0.25), one("Hi", -1.5)]},
            {"candidates": [one("lö", -0.5), one("p", -2.0)]},
        ],
    })
}

#[test]
fn they_are_asked_for_in_each_provider_s_words() {
    let sent = |from: &str, to: &str, body: &Value| {
        let request = parse(from, body.to_string().as_bytes()).unwrap();
        let target = Target::plain("m", &NO_QUIRKS, 9);
        let encoded = provider(to).encode(&request, &target).unwrap();
        assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
        json(&encoded.body)
    };
    let chat = |more: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (asked, config) in [
        (json!({"logprobs": true}), json!({"responseLogprobs": true})),
        (json!({"logprobs": true, "top_logprobs": 0}), json!({"responseLogprobs": true})),
        (json!({"logprobs": true, "top_logprobs": 5}), json!({"responseLogprobs": true, "logprobs": 5})),
        (json!({"logprobs": false}), json!({})),
    ] {
        assert_eq!(sent("openai", "gemini", &chat(asked.clone()))["generationConfig"], config, "{asked}");
    }
    let asked = json!({"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": {"responseLogprobs": true, "logprobs": 5}});
    let body = sent("gemini", "openai", &asked);
    assert_eq!((&body["logprobs"], &body["top_logprobs"]), (&json!(true), &json!(5)));
    assert_eq!(sent("gemini", "gemini", &asked)["generationConfig"], asked["generationConfig"]);
}

#[test]
fn whole_replies_tell_them_in_the_client_s_words() {
    let read = provider("gemini").decode(&fixture("replies/gemini")).unwrap();
    let told = json(&api("openai").reply(&read));
    assert_eq!(told["choices"][0]["logprobs"], json!({"content": openai_tokens(), "refusal": null}));
    let read = provider("openai").decode(&fixture("replies/openai")).unwrap();
    let told = json(&api("gemini").reply(&read));
    assert_eq!(told["candidates"][0]["logprobsResult"], gemini_tokens());
    assert_eq!(told["candidates"][0]["avgLogprobs"], json!(-0.375));
    // Those who speak as their provider get its own words, once.
    for (dialect, place) in [("openai", "/choices/0/logprobs"), ("gemini", "/candidates/0")] {
        let body = fixture(&format!("replies/{dialect}"));
        let reply = api(dialect).reply(&provider(dialect).decode(&body).unwrap());
        assert_eq!(json(&reply).pointer(place), json(&body).pointer(place), "{dialect}");
        let text = String::from_utf8_lossy(&reply);
        assert_eq!(text.matches("ogprobs\":{").count() + text.matches("logprobsResult").count(), 1, "{text}");
    }
    // Nobody asked: nothing is told.
    let quiet = fixtures("replies/gemini").into_iter().find(|(name, _)| name == "text").unwrap().1;
    let told = json(&api("openai").reply(&provider("gemini").decode(&quiet).unwrap()));
    assert!(told["choices"][0].get("logprobs").is_none(), "{told}");
}

#[test]
fn streams_tell_them_after_the_text_they_are_of() {
    let stream = fixture("streams/gemini");
    let told = events(&write_stream("openai", &read_stream("gemini", [&stream[..]])));
    let said: Vec<&Value> = told.iter().flat_map(|event| event["choices"].as_array().unwrap()).collect();
    let tokens: Vec<&Value> =
        said.iter().filter_map(|choice| choice["logprobs"]["content"].as_array()).flatten().collect();
    assert_eq!(json!(tokens), openai_tokens());
    let order: Vec<&str> = said
        .iter()
        .filter_map(|choice| {
            match (choice["delta"]["content"].as_str(), choice["logprobs"]["content"][0]["token"].as_str()) {
                (Some(text), None) if !text.is_empty() => Some(text),
                (_, token) => token,
            }
        })
        .collect();
    assert_eq!(order, ["Hel", "Hel", "lö", "lö"], "text, then how likely it was");
    assert_eq!(said.last().unwrap()["finish_reason"], "stop");

    let stream = fixture("streams/openai");
    let told = events(&write_stream("gemini", &read_stream("openai", [&stream[..]])));
    let candidates: Vec<&Value> = told.iter().flat_map(|event| event["candidates"].as_array().unwrap()).collect();
    let all = |name: &str| -> Vec<&Value> {
        let lists = candidates.iter().filter_map(|candidate| candidate["logprobsResult"][name].as_array());
        lists.flatten().collect()
    };
    let expected = gemini_tokens();
    assert_eq!(json!(all("chosenCandidates")), expected["chosenCandidates"]);
    assert_eq!(json!(all("topCandidates")), expected["topCandidates"]);

    // Those who speak as their provider get its own words, once.
    for (dialect, name) in [("openai", "\"top_logprobs\""), ("gemini", "chosenCandidates")] {
        let stream = fixture(&format!("streams/{dialect}"));
        let told = write_stream(dialect, &read_stream(dialect, [&stream[..]]));
        assert_eq!(told.matches(name).count(), 2, "{told}");
        assert!(
            String::from_utf8_lossy(&stream).matches("tokenId").count() == told.matches("tokenId").count(),
            "{told}"
        );
    }
}

/// The older completions say them in lists.
#[test]
fn the_older_completions_tell_them_too() {
    let likeliest = json!([{"Hel": -0.25, "Hi": -1.5}, {"lö": -0.5, "p": -2.0}]);
    for provider_name in ["openai", "gemini"] {
        let read = provider(provider_name).decode(&fixture(&format!("replies/{provider_name}"))).unwrap();
        let told = json(&api("openai-completions").reply(&read));
        let expected = json!({"tokens": ["Hel", "lö"], "token_logprobs": [-0.25, -0.5], "top_logprobs": likeliest, "text_offset": [0, 3]});
        assert_eq!(told["choices"][0]["logprobs"], expected, "{provider_name}");

        let stream = fixture(&format!("streams/{provider_name}"));
        let told = events(&write_stream("openai-completions", &read_stream(provider_name, [&stream[..]])));
        let all = |name: &str| -> Vec<Value> {
            let lists = told.iter().filter_map(|event| event["choices"][0]["logprobs"][name].as_array());
            lists.flatten().cloned().collect()
        };
        for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(json!(all(name)), expected[name], "{provider_name}: {name}");
        }
    }
}

/// The Responses API tells them beside its first text, and in a stream by a piece without words.
#[test]
fn responses_tell_them_beside_their_text() {
    for provider_name in ["openai", "gemini"] {
        let read = provider(provider_name).decode(&fixture(&format!("replies/{provider_name}"))).unwrap();
        let told = json(&api("openai-responses").reply(&read));
        assert_eq!(told["output"][0]["content"][0]["logprobs"], openai_tokens(), "{provider_name}");

        let stream = fixture(&format!("streams/{provider_name}"));
        let told = events(&write_stream("openai-responses", &read_stream(provider_name, [&stream[..]])));
        let deltas = told.iter().filter(|event| event["type"] == "response.output_text.delta");
        let tokens: Vec<&Value> = deltas.clone().flat_map(|event| event["logprobs"].as_array().unwrap()).collect();
        assert_eq!(json!(tokens), openai_tokens(), "{provider_name}");
        let text: String = deltas.map(|event| event["delta"].as_str().unwrap()).collect();
        assert_eq!(text, "Hellö");
        let done = told.iter().find(|event| event["type"] == "response.output_text.done").unwrap();
        assert_eq!(done["logprobs"], openai_tokens(), "{provider_name}");
        let whole = told.iter().find(|event| event["type"] == "response.completed").unwrap();
        assert_eq!(whole["response"]["output"][0]["content"][0]["logprobs"], openai_tokens(), "{provider_name}");
    }
}
