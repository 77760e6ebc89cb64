use std::rc::Rc;

use serde_json::{Value, json};
use witgate_provider::{Decoder, Event, Fault, Finish, Provider, Setup, Target};

use super::Teller;

const TELLER: Teller = Teller { words_per_100_tokens: 75 };

fn sent(request: &Value) -> Result<Value, Fault> {
    let target = Target { model: "m".to_owned(), api_version: None, max_output_tokens: 100 };
    let encoded = TELLER.encode(request.to_string().as_bytes(), &target)?;
    Ok(serde_json::from_slice(&encoded.body).unwrap())
}

#[test]
fn tokens_become_words_and_words_become_tokens() {
    assert_eq!((TELLER.words(100), TELLER.words(0), TELLER.words(u64::MAX)), (75, 1, u64::MAX / 100));
    assert_eq!((TELLER.tokens(75), TELLER.tokens(1), TELLER.tokens(0)), (100, 2, 0));
}

#[test]
fn a_conversation_says_who_said_what() {
    let hi = json!({"role": "user", "content": "hi"});
    let one = sent(&json!({"messages": [hi], "max_tokens": 8})).unwrap();
    assert_eq!(one, json!({"model": "m", "prompt": "hi", "max_words": 6, "stream": false}));
    let two = sent(&json!({"messages": [{"role": "system", "content": "Be brief."}, hi]})).unwrap();
    assert_eq!(two["prompt"], "system: Be brief.\n\nuser: hi");
    assert_eq!(two["max_words"], 75);
}

#[test]
fn what_has_no_words_there_is_refused_by_name() {
    let blamed = |request: Value| sent(&request).unwrap_err().param;
    assert_eq!(blamed(json!({"messages": [], "n": 2})).as_deref(), Some("n"));
    assert_eq!(blamed(json!({"messages": [], "stop": "x"})).as_deref(), Some("stop"));
    let answered = json!({"role": "tool", "tool_call_id": "c", "content": "1"});
    assert_eq!(blamed(json!({"messages": [answered]})).as_deref(), Some("messages[0]"));
    // These ask for nothing.
    assert!(sent(&json!({"messages": [], "n": 1, "tools": [], "response_format": {"type": "text"}})).is_ok());
}

#[test]
fn a_stream_begins_once_and_ends_with_its_words() {
    let mut stream = Rc::new(TELLER).open();
    let first = stream.push("", br#"{"id": "t1", "answer": "So"}"#).unwrap();
    assert!(matches!(&first[..], [Event::Beginning(_), Event::Text(_)]), "{first:?}");
    assert_eq!(stream.push("", br#"{"answer": " it is."}"#).unwrap(), [Event::Text(" it is.".to_owned())]);
    let last = stream.push("", br#"{"words": {"in": 1, "out": 3}, "cut": true}"#).unwrap();
    assert!(matches!(&last[..], [Event::Finish(Finish::Length), Event::Usage(_), Event::End]), "{last:?}");
}

#[test]
fn what_is_no_reply_is_a_fault() {
    for body in ["", "[]", "{}", r#"{"answer": "So"}"#, r#"{"error": {"says": "no"}}"#] {
        assert!(TELLER.decode(body.as_bytes()).is_err(), "{body}");
    }
    assert_eq!(TELLER.decode_error(502, b"<html>").message, "the provider refused with status 502");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let configured = |settings: &str| Teller::configure(Setup { settings: settings.to_owned(), seed: 1 });
    assert!(configured(r#"{"words_per_100_tokens": 60}"#).is_ok());
    for settings in [r#"{"words_per_100_tokens": 0}"#, r#"{"words_per_100_tokens": "all"}"#, r#"{"least": 1}"#] {
        assert!(configured(settings).is_err(), "{settings}");
    }
}
