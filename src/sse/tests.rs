use proptest::prelude::*;

use super::{MAX_EVENT_BYTES, SseDecoder};
use crate::fault::FaultKind;

type Event = (String, String);

fn read(pieces: &[&[u8]]) -> Vec<Event> {
    let mut decoder = SseDecoder::new();
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(event) = decoder.next_event().unwrap() {
            events.push((event.name.to_owned(), event.data.to_owned()));
        }
    }
    decoder.finish();
    while let Some(event) = decoder.next_event().unwrap() {
        events.push((event.name.to_owned(), event.data.to_owned()));
    }
    events
}

fn events(pairs: &[(&str, &str)]) -> Vec<Event> {
    pairs.iter().map(|&(name, data)| (name.to_owned(), data.to_owned())).collect()
}

/// Text → events; each is also read split at every byte, byte by byte, and with other line ends.
#[test]
fn reads_alike_however_it_is_cut() {
    for (text, expected) in [
        ("", events(&[])),
        ("data: a\n\n", events(&[("", "a")])),
        ("data:a\n\ndata:  b\n\n", events(&[("", "a"), ("", " b")])),
        ("event: x\ndata: a\n\nevent: y\n\ndata: b\n\n", events(&[("x", "a"), ("", "b")])),
        ("data: one\ndata: two\ndata\n\n", events(&[("", "one\ntwo\n")])),
        (": comment\n\n:\nid: 7\nretry: 10\ndata: a\nfoo\nfoo: bar\n\n", events(&[("", "a")])),
        ("data\n\n", events(&[("", "")])),
        (
            "data: {\"t\":\"grüße 😀 \u{2028}\u{2029}\u{85} x\"}\n\n",
            events(&[("", "{\"t\":\"grüße 😀 \u{2028}\u{2029}\u{85} x\"}")]),
        ),
        ("data: last", events(&[("", "last")])),
        ("data: last\n", events(&[("", "last")])),
        ("event: only a name\n", events(&[])),
        ("data: a\ndata: half", events(&[("", "a\nhalf")])),
        ("\n\n\ndata: a\n\n\n\n", events(&[("", "a")])),
        ("data: a:b: c\n\n", events(&[("", "a:b: c")])),
    ] {
        for end in ["\n", "\r\n", "\r"] {
            for mark in ["", "\u{feff}"] {
                let body = format!("{mark}{}", text.replace('\n', end)).into_bytes();
                assert_eq!(read(&[&body]), expected, "{text:?} {end:?}");
                for cut in 0..=body.len() {
                    let (head, tail) = body.split_at(cut);
                    assert_eq!(read(&[head, tail]), expected, "{text:?} {end:?} cut at {cut}");
                }
                let bytes: Vec<&[u8]> = body.chunks(1).collect();
                assert_eq!(read(&bytes), expected, "{text:?} {end:?} byte by byte");
            }
        }
    }
}

#[test]
fn a_byte_order_mark_counts_at_the_beginning_only() {
    assert_eq!(read(&["data: a\n\n\u{feff}data: b\n\ndata: c\n\n".as_bytes()]), events(&[("", "a"), ("", "c")]));
    assert_eq!(read(&[b"\xef\xbb"]), []);
    assert_eq!(read(&[b"\xef\xbbdata: a\n\ndata: b\n\n"]), events(&[("", "b")]));
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    assert_eq!(read(&[b"data: a\xffb\n\n"]), events(&[("", "a\u{fffd}b")]));
}

#[test]
fn an_event_has_a_bound() {
    let fault = |pieces: &mut dyn Iterator<Item = Vec<u8>>| {
        let mut decoder = SseDecoder::new();
        for piece in pieces {
            decoder.push(&piece);
            loop {
                match decoder.next_event() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(fault) => return Some(fault.kind),
                }
            }
        }
        None
    };
    let piece = MAX_EVENT_BYTES / 8;
    let endless_line = &mut (0..9).map(|_| vec![b'x'; piece]);
    assert_eq!(fault(endless_line), Some(FaultKind::BrokenStream));
    let line = [b"data: ".as_slice(), &vec![b'x'; piece], b"\n"].concat();
    assert_eq!(fault(&mut std::iter::repeat_n(line.clone(), 9)), Some(FaultKind::BrokenStream));
    assert_eq!(fault(&mut std::iter::once(line.repeat(9))), Some(FaultKind::BrokenStream));
    let whole_events = [line, b"\n".to_vec()].concat();
    assert_eq!(fault(&mut std::iter::repeat_n(whole_events.clone(), 9)), None);
    assert_eq!(fault(&mut std::iter::once(whole_events.repeat(9))), None);
}

proptest! {
    #[test]
    fn any_bytes_cut_anywhere_read_alike(
        body in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'd'), any::<u8>()], 0..200),
        cuts in proptest::collection::vec(0_usize..200, 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        prop_assert_eq!(read(&pieces), read(&[&body]));
    }
}
