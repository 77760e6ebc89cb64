//! A policy that speaks to providers and cannot read their replies. The guest is `plugins/hostile-provider`.

use http::{HeaderMap, Uri};

use super::*;
use crate::fault::AttemptFault;
use crate::format::{self, ClientRequest, NO_QUIRKS, ProviderFormat, Target};
use crate::id::RequestId;

const HOSTILE_PROVIDER: &[u8] = include_bytes!("../../../tests/fixtures/policies/hostile-provider.wasm");

fn provider(deed: &str) -> Arc<ProviderPolicy> {
    let component = ENGINE.load(&PolicyName::from("hostile-provider"), HOSTILE_PROVIDER).unwrap();
    let settings = format!(r#"{{"do":"{deed}"}}"#).into();
    ProviderPolicy::start(component, ProviderSetup { group: None, settings, model: "m".into(), seed: 1 }, None).unwrap()
}

fn at(secs: u64) -> Moment {
    Moment::from_millis(1_000_000 + secs * 1000)
}

/// Its format for the calls of request `number` at this time.
fn serving(policy: &Arc<ProviderPolicy>, number: u64, secs: u64) -> ComponentFormat {
    let request = RequestId::derive(at(0), number);
    ComponentFormat::new(Arc::clone(policy), format::own().0).serving(Some(request), at(secs))
}

fn encode(format: &ComponentFormat) -> Result<(), AttemptFault> {
    encode_body(format, r#"{"model":"m","messages":[{"role":"user","content":"Hello"}]}"#)
}

fn encode_body(format: &ComponentFormat, body: &str) -> Result<(), AttemptFault> {
    let uri = Uri::from_static("/v1/chat/completions");
    let api = format::spoken_at(uri.path(), &HeaderMap::new());
    let request = api.parse(&ClientRequest::post(uri, body.to_owned())).unwrap();
    let target = Target::plain("m", &NO_QUIRKS, 100);
    format.encode(&request, &target).map(drop)
}

/// Writes a request and reads a stream of such events as its reply.
fn stream(format: &ComponentFormat, events: &str) -> Result<(), AttemptFault> {
    encode(format)?;
    stream_of(format, events)
}

fn stream_of(format: &ComponentFormat, events: &str) -> Result<(), AttemptFault> {
    let (mut decoder, mut chunks) = (format.stream(), Vec::new());
    decoder.push(events.as_bytes(), &mut chunks)?;
    decoder.finish(&mut chunks)
}

#[test]
fn a_request_that_is_written_well_ends_no_quarantine_before_its_reply_is_read() {
    let policy = provider("decode-trap");
    let decode = |number, secs, reply: &[u8]| {
        let format = serving(&policy, number, secs);
        encode(&format)?;
        format.decode(reply).map(drop)
    };
    (0..3).for_each(|number| assert!(decode(number, number, b"666").is_err()));
    assert!(policy.quarantined() && encode(&serving(&policy, 3, 4)).is_err());
    // The probe of a minute later is written, and its reply is not read.
    assert!(decode(4, 62, b"666").is_err() && policy.quarantined());
    assert!(encode(&serving(&policy, 4, 63)).is_err(), "it has failed this request");
    // What its provider refuses shows nothing of replies either.
    let refused = serving(&policy, 5, 122);
    assert!(encode(&refused).is_ok());
    refused.decode_error(503, &HeaderMap::new(), b"not now");
    assert!(policy.quarantined());
    assert!(decode(5, 123, b"good").is_ok(), "the same request, asked again");
    assert!(!policy.quarantined() && decode(6, 124, b"good").is_ok());
}

#[test]
fn a_slow_reply_to_a_request_of_before_the_quarantine_is_no_probe() {
    let policy = provider("encode-trap");
    let slow = |secs| serving(&policy, 9, secs);
    assert!(encode(&slow(0)).is_ok());
    let cursed = |number, secs| {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"666"}]}"#;
        encode_body(&serving(&policy, number, secs), body)
    };
    (0..3).for_each(|number| assert!(cursed(number, number).is_err()));
    assert!(slow(62).decode(b"good").is_err() && stream_of(&slow(62), "data: x\n\ndata: [DONE]\n\n").is_err());
    assert!(policy.quarantined());
    let probe = serving(&policy, 4, 62);
    assert!(encode(&probe).is_ok(), "its place was not taken");
    assert!(probe.decode(b"good").is_ok() && !policy.quarantined());
}

#[test]
fn a_stream_ends_a_quarantine_when_it_is_read_to_its_end() {
    let policy = provider("push-trap");
    for number in 0..3 {
        assert!(stream(&serving(&policy, number, number), "data: 666\n\n").is_err());
    }
    assert!(policy.quarantined());
    assert!(stream(&serving(&policy, 3, 62), "data: cut\n\n").is_ok() && policy.quarantined(), "it was cut short");
    assert!(stream(&serving(&policy, 4, 122), "data: whole\n\ndata: [DONE]\n\n").is_ok());
    assert!(!policy.quarantined());
}

#[test]
fn a_reply_that_began_under_an_older_quarantine_does_not_end_a_newer_one() {
    let policy = provider("decode-trap");
    let fail = |number, secs| {
        let format = serving(&policy, number, secs);
        assert!(encode(&format).is_ok() && format.decode(b"666").is_err());
    };
    (0..3).for_each(|number| fail(number, number));
    let slow = serving(&policy, 3, 62);
    assert!(encode(&slow).is_ok());
    let mut reading = slow.stream();
    let next = serving(&policy, 4, 122);
    assert!(encode(&next).is_ok() && next.decode(b"good").is_ok() && !policy.quarantined());
    (5..8).for_each(|number| fail(number, 118 + number));
    assert!(policy.quarantined());
    reading.push(b"data: late\n\ndata: [DONE]\n\n", &mut Vec::new()).unwrap();
    assert!(reading.is_complete() && policy.quarantined());
}
