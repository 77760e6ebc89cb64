//! Streams that say something in several events which others say in one.

use super::*;

fn event(candidate: &Value) -> String {
    format!("data: {}\r\n\r\n", json!({"candidates": [candidate], "modelVersion": "m", "responseId": "r"}))
}

fn part(part: &Value) -> String {
    event(&json!({"content": {"role": "model", "parts": [part]}, "index": 0}))
}

fn ended(word: &str, parts: &Value) -> String {
    event(&json!({"content": {"role": "model", "parts": parts}, "finishReason": word, "index": 0}))
}

/// What a stream comes to, but for its beginning.
fn read(events: &[String]) -> Result<Vec<Delta>, AttemptFault> {
    let (mut decoder, mut chunks) = (ProviderFormat::stream(&Gemini), Vec::<Chunk>::new());
    for event in events {
        decoder.push(event.as_bytes(), &mut chunks)?;
    }
    decoder.finish(&mut chunks)?;
    assert!(decoder.is_complete());
    Ok(chunks.into_iter().map(|chunk| chunk.delta).filter(|delta| !matches!(delta, Delta::Start { .. })).collect())
}

fn call(index: u32, id: &str, name: &str, arguments: &str) -> [Delta; 2] {
    [
        Delta::ToolCall { index, id: id.to_owned(), name: name.to_owned() },
        Delta::ToolArguments { index, fragment: arguments.to_owned() },
    ]
}

#[test]
fn arguments_that_come_in_pieces_are_told_whole() {
    let piece = |pieces: Value| part(&json!({"functionCall": {"partialArgs": pieces, "willContinue": true}}));
    let events = [
        part(&json!({"functionCall": {"name": "light", "willContinue": true}, "thoughtSignature": "c2ln"})),
        piece(json!([{"jsonPath": "$.room", "stringValue": "liv", "willContinue": true}])),
        piece(json!([{"jsonPath": "$.room", "stringValue": "ing"}, {"jsonPath": "$.level", "numberValue": 50}])),
        piece(json!([{"jsonPath": "$.on", "boolValue": true}, {"jsonPath": "$.scene", "nullValue": "NULL_VALUE"}])),
        piece(
            json!([{"jsonPath": "$.lamps[0].id", "stringValue": "a"}, {"jsonPath": "$.lamps[1]['the id']", "stringValue": "b"}]),
        ),
        part(&json!({"functionCall": {}})),
        // The next one begins where nobody ended the one before.
        part(&json!({"functionCall": {"id": "own", "name": "wait", "willContinue": true}})),
        piece(json!([{"jsonPath": "$.text", "stringValue": "a"}])),
        part(&json!({"functionCall": {"name": "stop", "args": {}}})),
        ended("STOP", &json!([])),
    ];
    let first = r#"{"room":"living","level":50,"on":true,"scene":null,"lamps":[{"id":"a"},{"the id":"b"}]}"#;
    let told = read(&events).unwrap();
    let calls: Vec<Delta> = told.iter().filter(|delta| matches!(delta, Delta::ToolCall { .. })).cloned().collect();
    let arguments = |wanted: u32| {
        let of = |delta: &Delta| matches!(delta, Delta::ToolArguments { index, .. } if *index == wanted);
        told.iter().filter(|delta| of(delta)).cloned().collect::<Vec<_>>()
    };
    let expected = [
        (0, "call_r_1__thought__c2ln", "light", first),
        (1, "own", "wait", r#"{"text":"a"}"#),
        (2, "call_r_2", "stop", "{}"),
    ];
    for (begun, (index, id, name, fragment)) in calls.iter().zip(expected) {
        let [begins, all] = call(index, id, name, fragment);
        assert_eq!((begun, arguments(index)), (&begins, vec![all]));
    }
    assert_eq!((calls.len(), told.last()), (3, Some(&Delta::Finish(FinishReason::ToolCalls))));
}

#[test]
fn pieces_that_belong_nowhere_break_the_stream() {
    let begun = part(&json!({"functionCall": {"name": "f", "willContinue": true}}));
    let deep = format!("${}", ".a".repeat(65));
    for path in ["", "a", "$", "$.", "$.a[x]", "$.a[", "$['a", "$.a[1000000000]", deep.as_str()] {
        let piece =
            json!({"functionCall": {"partialArgs": [{"jsonPath": path, "stringValue": "x"}], "willContinue": true}});
        let fault = read(&[begun.clone(), part(&piece)]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BrokenStream, "{path}: {fault}");
        let fault = read(&[part(&piece)]).unwrap_err();
        assert!(fault.message.contains("names no tool"), "{path}: {fault}");
    }
}

#[test]
fn a_reason_to_finish_is_told_once_and_behind_all_else() {
    let text = |text: &str| json!([{"text": text}]);
    let said = |texts: &[&str], finish: FinishReason| {
        let texts = texts.iter().map(|text| Delta::Text((*text).to_owned()));
        texts.chain([Delta::Finish(finish)]).collect::<Vec<_>>()
    };
    for (events, expected) in [
        // As the cloud had it once, in every event.
        ([ended("STOP", &text("a")), ended("STOP", &text("b"))], said(&["a", "b"], FinishReason::Stop)),
        // As translators have it, before there is anything.
        ([ended("STOP", &json!([])), ended("MAX_TOKENS", &text("a"))], said(&["a"], FinishReason::Length)),
        ([ended("STOP", &text("a")), ended("STOP", &json!([]))], said(&["a"], FinishReason::Stop)),
    ] {
        assert_eq!(read(&events).unwrap(), expected, "{events:?}");
    }
    let events = [ended("RECITATION", &text("a")), ended("STOP", &json!([]))];
    let (mut decoder, mut chunks) = (ProviderFormat::stream(&Gemini), Vec::<Chunk>::new());
    for event in &events {
        decoder.push(event.as_bytes(), &mut chunks).unwrap();
    }
    decoder.finish(&mut chunks).unwrap();
    let last = chunks.last().unwrap();
    assert_eq!((&last.delta, last.rest.get("finishReason")), (&Delta::Finish(FinishReason::Stop), None));
}
