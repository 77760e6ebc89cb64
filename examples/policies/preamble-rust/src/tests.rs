use witgate_prompt_builder::{BuiltPart, Kind, Message, Part, PromptBuilder, Request, Role, Setup};

use super::Preamble;

fn configured(settings: &str) -> Result<Preamble, String> {
    Preamble::configure(Setup { settings: settings.to_owned(), seed: 1 }).map(|(policy, _)| policy)
}

#[test]
fn the_instructions_come_first_and_the_rest_is_kept() {
    let said = Message { role: Role::User, parts: vec![Part { kind: Kind::Text, text: "hi".to_owned() }] };
    let request = Request {
        now_ms: 0,
        seed: 1,
        messages: vec![said],
        variables: "{}".to_owned(),
        items: Vec::new(),
        budget: None,
        attributes: Vec::new(),
    };
    let prompt = configured(r#"{"text": "Be brief."}"#).unwrap().build(request).unwrap();
    assert_eq!(prompt.messages[0].parts, [BuiltPart::new("Be brief.")]);
    assert_eq!(prompt.messages[1].parts, [BuiltPart::kept(0)]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for settings in ["{}", r#"{"text": 3}"#, r#"{"text": "x", "more": 1}"#] {
        assert!(configured(settings).is_err(), "{settings}");
    }
}
