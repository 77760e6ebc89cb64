use witgate_response_parser::{Delta, Reply, ResponseParser, Setup};

use super::{Clip, Clipped};

#[test]
fn characters_are_counted_over_all_pieces() {
    let mut reply = Clipped(4);
    let text = |words: &str| Delta::Text(words.to_owned());
    assert_eq!(reply.push(text("äö")), [text("äö")]);
    assert_eq!(reply.push(text("üxyz")), [text("üx")]);
    assert!(reply.push(text("more")).is_empty());
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let configured = |settings: &str| Clip::configure(Setup { settings: settings.to_owned(), seed: 1 });
    assert!(configured(r#"{"most": 10}"#).is_ok());
    for settings in [r#"{"most": 0}"#, r#"{"most": "all"}"#, r#"{"least": 1}"#] {
        assert!(configured(settings).is_err(), "{settings}");
    }
}
