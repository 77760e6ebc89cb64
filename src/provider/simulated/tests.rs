use futures_util::StreamExt;
use serde_json::{Value, json};

use super::*;
use crate::catalog::SimulatedSkill;
use crate::chat::{Delta, FinishReason, PartKind, Reply};
use crate::format::{OpenAi, ProviderFormat};
use crate::moment::Moment;
use crate::upstream::{Sent, Timeouts};

const START: Moment = Moment::from_millis(1_800_000_000_000);

fn simulated(model: SimulatedModel) -> Simulated {
    Simulated::new(Clock::starting_at(START), models(model))
}

fn models(model: SimulatedModel) -> BTreeMap<DeploymentId, Arc<SimulatedModel>> {
    BTreeMap::from([(DeploymentId::from("a/b"), Arc::new(model))])
}

fn ask(fields: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Tell me about the sea."}]});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn call(body: &Value) -> UpstreamRequest {
    let url = format!("{}/chat/completions", Simulated::origin(&"a/b".into()));
    let body = Bytes::from(body.to_string());
    UpstreamRequest { url, headers: HeaderMap::new(), body, timeouts: Timeouts::default(), sent: Sent::default() }
}

async fn text_of(answer: UpstreamResponse) -> String {
    let pieces: Vec<Bytes> = answer.body.map(Result::unwrap).collect().await;
    String::from_utf8(pieces.concat()).unwrap()
}

async fn json_of(answer: UpstreamResponse) -> Value {
    serde_json::from_str(&text_of(answer).await).unwrap()
}

async fn reply_to(simulated: &Simulated, fields: Value) -> Reply {
    let answer = simulated.send(call(&ask(&fields))).await.unwrap();
    assert_eq!(answer.status, 200);
    OpenAi.decode(text_of(answer).await.as_bytes()).unwrap()
}

fn words(reply: &Reply) -> &str {
    match &reply.choices[0].parts[..] {
        [part] => match &part.kind {
            PartKind::Text(text) => text,
            other => panic!("not text: {other:?}"),
        },
        other => panic!("not one part: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_conversation_gets_the_same_words() {
    let one = simulated(SimulatedModel::default());
    let first = reply_to(&one, json!({})).await;
    let again = reply_to(&one, json!({"temperature": 0.5})).await;
    assert_eq!(words(&first), words(&again));
    assert_ne!(first.id, again.id);
    let other = simulated(SimulatedModel { seed: 1, ..SimulatedModel::default() });
    assert_ne!(words(&first), words(&reply_to(&other, json!({})).await));
    let another = json!({"messages": [{"role": "user", "content": "Tell me about the see."}]});
    assert_ne!(words(&first), words(&reply_to(&one, another).await));
    let usage = first.usage.clone().unwrap();
    assert_eq!(usage.output_tokens, tokens::count(words(&first)));
    assert_eq!(usage.input_tokens, 3 + 3 + 6);
}

#[tokio::test(start_paused = true)]
async fn replies_are_about_as_long_as_the_model_says() {
    let model = simulated(SimulatedModel { output_tokens: 100, ..SimulatedModel::default() });
    let mut lengths = Vec::new();
    for n in 0..200 {
        let messages = json!([{"role": "user", "content": format!("number {n}")}]);
        lengths.push(reply_to(&model, json!({ "messages": messages })).await.usage.unwrap().output_tokens);
    }
    lengths.sort_unstable();
    assert!((92..=108).contains(&lengths[100]), "median {}", lengths[100]);
    assert!(lengths[10] < 85 && lengths[190] > 120, "{lengths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_bound_and_a_stop_text_cut_the_reply() {
    let model = simulated(SimulatedModel::default());
    let whole = reply_to(&model, json!({})).await;
    assert_eq!(whole.choices[0].finish, Some(FinishReason::Stop));
    let short = reply_to(&model, json!({"max_tokens": 5})).await;
    assert_eq!(short.choices[0].finish, Some(FinishReason::Length));
    assert_eq!(short.usage.as_ref().unwrap().output_tokens, 5);
    assert!(words(&whole).starts_with(words(&short)));
    let sentence = reply_to(&model, json!({"stop": ["."]})).await;
    assert_eq!(words(&sentence), words(&whole).split('.').next().unwrap());
    assert_eq!(sentence.choices[0].finish, Some(FinishReason::Stop), "OpenAI does not tell which");
}

fn tool(name: &str) -> Value {
    let city = json!({"type": "object", "properties": {"city": {"enum": ["Oslo"]}}, "required": ["city"]});
    json!({"type": "function", "function": {"name": name, "parameters": city}})
}

async fn called(simulated: &Simulated, fields: Value) -> Vec<String> {
    let reply = reply_to(simulated, fields).await;
    let mut names = Vec::new();
    for part in &reply.choices[0].parts {
        if let PartKind::ToolCall { name, arguments, .. } = &part.kind {
            assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({"city": "Oslo"}));
            assert_eq!(reply.choices[0].finish, Some(FinishReason::ToolCalls));
            names.push(name.clone());
        }
    }
    names
}

#[tokio::test(start_paused = true)]
async fn tools_are_called_on_demand_and_on_request() {
    let model = simulated(SimulatedModel::default());
    let tools = json!([tool("look"), tool("look_up")]);
    let say = |text: &str| json!([{"role": "user", "content": text}]);
    let none: [&str; 0] = [];
    assert_eq!(called(&model, json!({"tools": tools})).await, none);
    assert_eq!(called(&model, json!({"tools": tools, "tool_choice": "required"})).await, ["look"]);
    let this = json!({"type": "function", "function": {"name": "look_up"}});
    assert_eq!(called(&model, json!({"tools": tools, "tool_choice": this})).await, ["look_up"]);
    let asked = say("Please call look_up now");
    assert_eq!(called(&model, json!({"tools": tools, "messages": asked})).await, ["look_up"]);
    let both = say("call look, then call look_up.");
    assert_eq!(called(&model, json!({"tools": tools, "messages": both})).await, ["look", "look_up"]);
    let single = json!({"tools": tools, "messages": both, "parallel_tool_calls": false});
    assert_eq!(called(&model, single).await, ["look"]);
    assert_eq!(called(&model, json!({"tools": tools, "messages": both, "tool_choice": "none"})).await, none);
}

#[tokio::test(start_paused = true)]
async fn a_json_reply_is_json() {
    let model = simulated(SimulatedModel::default());
    let reply = reply_to(&model, json!({"response_format": {"type": "json_object"}})).await;
    assert!(serde_json::from_str::<Value>(words(&reply)).unwrap()["reply"].is_string());
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 7, "maximum": 7}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let reply = reply_to(&model, json!({"response_format": format})).await;
    assert_eq!(words(&reply), r#"{"n":7}"#);
}

/// The deltas of a streamed answer, and when each piece came.
async fn play(answer: UpstreamResponse, start: Instant) -> (Vec<Delta>, Vec<u128>) {
    let (mut decoder, mut chunks, mut times) = (ProviderFormat::stream(&OpenAi), Vec::new(), Vec::new());
    let mut body = answer.body;
    while let Some(piece) = body.next().await {
        times.push(start.elapsed().as_millis());
        decoder.push(&piece.unwrap(), &mut chunks).unwrap();
    }
    assert!(decoder.is_complete());
    (chunks.into_iter().map(|chunk| chunk.delta).collect(), times)
}

#[tokio::test(start_paused = true)]
async fn a_stream_says_the_same_at_the_models_pace() {
    let model = SimulatedModel { ttft_ms: 250.0, tokens_per_second: 20.0, ..SimulatedModel::default() };
    let model = simulated(model);
    let start = Instant::now();
    let whole = reply_to(&model, json!({})).await;
    let length = whole.usage.as_ref().unwrap().output_tokens;
    let due = 250 + 50 * (u128::from(length) - 1);
    assert_eq!(start.elapsed().as_millis(), due);

    let start = Instant::now();
    let body = ask(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    let answer = model.send(call(&body)).await.unwrap();
    assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(start.elapsed().as_millis(), 250);
    let (deltas, times) = play(answer, start).await;
    let told: String =
        deltas.iter().filter_map(|delta| if let Delta::Text(text) = delta { Some(&**text) } else { None }).collect();
    assert_eq!(told, words(&whole));
    assert!(deltas.contains(&Delta::Finish(FinishReason::Stop)));
    let usage = deltas.iter().rev().find_map(|delta| if let Delta::Usage(usage) = delta { Some(usage) } else { None });
    assert_eq!(usage.unwrap().output_tokens, length);
    assert_eq!((times[0], *times.last().unwrap()), (250, due));
}

#[tokio::test(start_paused = true)]
async fn the_callers_timeouts_hold() {
    let model = simulated(SimulatedModel { ttft_ms: 5_000.0, tokens_per_second: 0.1, ..SimulatedModel::default() });
    let mut late = call(&ask(&json!({"stream": true})));
    late.timeouts.first_byte = Duration::from_secs(4);
    let fault = model.send(late).await.err().unwrap();
    assert_eq!(fault.kind, FaultKind::TimedOut);
    let mut slow = call(&ask(&json!({"stream": true})));
    slow.timeouts.idle = Duration::from_secs(9);
    let pieces: Vec<_> = model.send(slow).await.unwrap().body.collect().await;
    assert_eq!(pieces.last().unwrap().as_ref().unwrap_err().kind, FaultKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn over_the_limit_it_says_so_like_openai_and_keeps_counting_over_a_reload() {
    let limited = SimulatedModel { tpm: Some(100), rpm: Some(10), ..SimulatedModel::default() };
    let model = simulated(limited.clone());
    // 12 of input and 60 reserved.
    let body = ask(&json!({"max_tokens": 60}));
    let answer = model.send(call(&body)).await.unwrap();
    assert_eq!(answer.headers["x-ratelimit-remaining-tokens"], "28");
    assert_eq!(answer.headers["x-ratelimit-remaining-requests"], "9");
    tokio::time::advance(Duration::from_millis(1_500)).await;
    let model = model.with_models(models(limited));
    let answer = model.send(call(&body)).await.unwrap();
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers["retry-after"], "59");
    assert_eq!(answer.headers["retry-after-ms"], "58500");
    assert_eq!(answer.headers["x-ratelimit-reset-tokens"], "58.5s");
    let error = &json_of(answer).await["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("tokens"), &json!("rate_limit_exceeded")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("Limit 100, Used 72, Requested 72. Please try again in 58.5s."), "{message}");
    tokio::time::advance(Duration::from_millis(58_500)).await;
    assert_eq!(model.send(call(&body)).await.unwrap().status, 200);
    let answer = model.send(call(&ask(&json!({"max_tokens": 200})))).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.headers.get("retry-after")), (429, None));
}

#[tokio::test(start_paused = true)]
async fn a_share_of_requests_fails() {
    let model = simulated(SimulatedModel { error_rate: 0.3, ..SimulatedModel::default() });
    let mut failed = 0;
    for _ in 0..300 {
        let answer = model.send(call(&ask(&json!({})))).await.unwrap();
        if answer.status == 500 {
            failed += 1;
            assert_eq!(json_of(answer).await["error"]["type"], "server_error");
        }
    }
    assert!((65..=115).contains(&failed), "{failed} of 300");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_served_is_refused() {
    let model = simulated(SimulatedModel::default());
    let mut nowhere = call(&ask(&json!({})));
    nowhere.url = "simulated://c/chat/completions".to_owned();
    assert_eq!(model.send(nowhere).await.err().unwrap().kind, FaultKind::Misconfigured);
    let answer = model.send(call(&json!({"model": "m"}))).await.unwrap();
    assert_eq!(answer.status, 400);
    assert!(json_of(answer).await["error"]["message"].as_str().unwrap().contains("messages"));
}

#[tokio::test(start_paused = true)]
async fn over_http_the_request_names_the_model_unless_there_is_only_one() {
    let one = simulated(SimulatedModel::default());
    let body = ask(&json!({})).to_string();
    let answer = one.respond("/chat/completions", body.clone().into()).await.unwrap();
    assert_eq!(json_of(answer).await["model"], "m");
    assert!(one.respond("/v1/images/generations", Bytes::from_static(b"{}")).await.is_none());
    let mut two = models(SimulatedModel::default());
    two.insert("c".into(), Arc::default());
    let two = one.with_models(two);
    let answer = two.respond("/v1/chat/completions", body.clone().into()).await.unwrap();
    assert_eq!(answer.status, 404);
    assert_eq!(json_of(answer).await["error"]["code"], "model_not_found");
    let known = ask(&json!({"model": "c"})).to_string();
    assert_eq!(two.respond("/v1/chat/completions", known.into()).await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn in_the_other_dialect_all_is_in_its_shape() {
    let limited = SimulatedModel { rpm: Some(2), tokens_per_second: 10.0, ..SimulatedModel::default() };
    let model = simulated(limited);
    let mut call = call(&ask(&json!({"max_tokens": 5, "stream": true})));
    call.url = format!("{}/v1/messages", Simulated::origin(&"a/b".into()));
    let answer = model.send(call.clone()).await.unwrap();
    assert_eq!(answer.headers["anthropic-ratelimit-requests-remaining"], "1");
    assert_eq!(answer.headers["anthropic-ratelimit-requests-reset"], "2027-01-15T08:01:00Z");
    let text = text_of(answer).await;
    let events: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!((events[0], events[events.len() - 1]), ("message_start", "message_stop"));
    assert_eq!(events.iter().filter(|event| **event == "content_block_delta").count(), 5);
    assert!(text.contains(r#""stop_reason":"max_tokens""#), "{text}");

    call.body = ask(&json!({"max_tokens": 5})).to_string().into();
    assert_eq!(json_of(model.send(call.clone()).await.unwrap()).await["usage"]["output_tokens"], 5);
    let answer = model.send(call).await.unwrap();
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers["retry-after"], "60", "the paused clock shows 59.2 s");
    let body = json_of(answer).await;
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("rate_limit_error")));
}

#[test]
fn pieces_are_words_numbers_and_signs() {
    let pieces = |text| tokens::pieces(text).collect::<Vec<_>>();
    assert_eq!(pieces("The sea, don't ask."), ["The", " sea", ",", " don", "'t", " ask", "."]);
    assert_eq!(pieces(r#"{"n":12345}"#), [r#"{""#, "n", r#"":"#, "123", "45", "}"]);
    assert_eq!(pieces("  \n"), ["  \n"]);
    assert_eq!(pieces("海は広い。é"), ["海は広い", "。é"]);
    assert_eq!(tokens::count(""), 0);
}

proptest::proptest! {
    #[test]
    fn pieces_are_the_text(text in "\\PC{0,60}|[ a-z0-9'\".,\n]{0,60}") {
        proptest::prop_assert_eq!(tokens::pieces(&text).collect::<String>(), text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_is_as_good_as_it_is_said_to_be_and_one_that_grades_sees_it() {
    let skill = |grades| SimulatedSkill { quality: 0.3, quality_known: 0.9, knows: vec!["python".to_owned()], grades };
    let of = |grades| SimulatedModel {
        output_tokens: 400,
        skill: Some(Arc::new(skill(grades))),
        ..SimulatedModel::default()
    };
    let schema = json!({"type": "json_schema", "json_schema": {"name": "verdict", "schema": {
        "type": "object", "properties": {"reason": {"type": "string"}, "score": {"type": "number"}}, "required": ["reason", "score"]}}});
    for (question, expected) in [("Tell me of the sea.", 0.3), ("Write Python.", 0.9)] {
        let mut scores = Vec::new();
        for number in 0..20 {
            let asked =
                json!({"model": "m", "messages": [{"role": "user", "content": format!("{question} {number}")}]});
            let said = said(&simulated(of(false)), asked).await;
            let material = json!({"conversation": [], "reply": said}).to_string();
            let graded =
                json!({"model": "m", "messages": [{"role": "user", "content": material}], "response_format": schema});
            let verdict: Value = serde_json::from_str(&self::said(&simulated(of(true)), graded).await).unwrap();
            scores.push(verdict["score"].as_f64().unwrap());
        }
        let mean = scores.iter().sum::<f64>() / 20.0;
        assert!((mean - expected).abs() < 0.05, "{question}: {mean}");
    }
}

/// What it says to a chat.
async fn said(provider: &Simulated, body: Value) -> String {
    let reply = json_of(provider.send(call(&body)).await.expect("an answer")).await;
    reply["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
}
