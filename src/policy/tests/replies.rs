//! Response parsers that mean it no good. The guest is `plugins/hostile-reply`.

use std::time::Duration;

use super::*;
use crate::chat::{Choice as Alternative, Chunk, Delta, Dialect, FinishReason, Part, PartKind, Reply, Rest};

const HOSTILE_REPLY: &[u8] = include_bytes!("../../../tests/fixtures/policies/hostile-reply.wasm");

static PARSER: LazyLock<Arc<Component>> =
    LazyLock::new(|| ENGINE.load(&PolicyName::from("hostile-reply"), HOSTILE_REPLY).unwrap());

fn parser_of(component: &Arc<Component>, deed: &str) -> Arc<ResponseParser> {
    let setup = PolicySetup {
        may_read: crate::signal::Grants::All,
        group: None,
        settings: deed.into(),
        model: "".into(),
        seed: 1,
    };
    ResponseParser::start(Arc::clone(component), setup, None).unwrap()
}

fn now() -> Moment {
    Moment::from_millis(1_000_000)
}

fn text(choice: u32, text: &str) -> Chunk {
    Chunk { choice, delta: Delta::Text(text.to_owned()), rest: Rest::new() }
}

fn finish(choice: u32) -> Chunk {
    Chunk { choice, delta: Delta::Finish(FinishReason::Stop), rest: Rest::new() }
}

/// What the client reads of alternative `choice`.
fn heard(chunks: &[Chunk], choice: u32) -> String {
    let texts = chunks.iter().filter(|chunk| chunk.choice == choice).filter_map(|chunk| match &chunk.delta {
        Delta::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// Reads `chunks` one by one.
fn stream(parser: &Arc<ResponseParser>, chunks: &[Chunk]) -> (Vec<Chunk>, Result<(), Complaint>) {
    let mut reader = ReplyParser::begin(parser, ReplyInfo { streamed: true, ..ReplyInfo::default() });
    let mut all = Vec::new();
    for chunk in chunks {
        let mut new = vec![chunk.clone()];
        let read = reader.read(now(), &mut new);
        all.append(&mut new);
        if read.is_err() {
            return (all, read);
        }
    }
    let mut new = Vec::new();
    let end = reader.end(now(), &mut new);
    all.append(&mut new);
    (all, end)
}

fn whole(parser: &Arc<ResponseParser>, parts: Vec<PartKind>) -> Result<Option<Vec<Alternative>>, Complaint> {
    let parts = parts.into_iter().map(Part::from).collect();
    let (finish, rest) = (Some(FinishReason::Stop), Rest::new());
    let choices = vec![Alternative {
        index: 0,
        parts,
        finish,
        rest: rest.clone(),
        message_rest: rest.clone(),
        logprobs: Vec::new(),
    }];
    let (id, model, dialect) = ("r".to_owned(), "m".to_owned(), Dialect::named("test"));
    let reply = Reply { id, model, created: None, choices, usage: None, dialect, rest };
    ReplyParser::begin(parser, ReplyInfo::default()).read_whole(now(), &reply)
}

/// Whatever goes wrong in a reply of two alternatives: all of both is read, and the third fault is the last.
fn check_fault(deed: &str, kind: &str) {
    let parser = parser_of(&PARSER, deed);
    let said =
        [text(0, "one "), text(1, "uno "), text(0, "666 "), text(1, "dos "), text(0, "two"), finish(0), finish(1)];
    for n in 1..=3 {
        let (chunks, end) = stream(&parser, &said);
        assert_eq!(end, Ok(()), "{deed}");
        assert_eq!((heard(&chunks, 0), heard(&chunks, 1)), ("one 666 two".into(), "uno dos ".into()), "{deed}");
        let finishes = chunks.iter().filter(|chunk| matches!(chunk.delta, Delta::Finish(_))).count();
        assert_eq!(finishes, 2, "{deed}");
        assert_eq!(parser.report().faults, n, "{deed}");
        if n == 1 {
            let read = whole(&parser_of(&PARSER, deed), vec![PartKind::Text("666".into())]);
            // What it is told only of streams it does only there.
            assert!(matches!(&read, Ok(None)) || deed.starts_with("open"), "{deed}: {read:?}");
        }
    }
    let report = parser.report();
    let index = PolicyFault::KINDS.iter().position(|name| *name == kind).unwrap();
    assert_eq!((report.faults_by_kind[index], report.quarantined), (3, true), "{deed}: {:?}", report.faults_by_kind);
    let (chunks, _) = stream(&parser, &said);
    assert_eq!(heard(&chunks, 0), "one 666 two", "{deed}: raw while it is quarantined");
}

#[test]
fn a_reply_is_whole_whatever_its_parser_does() {
    for (deed, kind) in [
        ("push-loop", "cpu-budget"),
        ("log-loop", "cpu-budget"),
        ("push-trap", "trap"),
        ("push-panic", "trap"),
        ("finish-trap", "trap"),
        ("finish-loop", "cpu-budget"),
        ("open-trap", "trap"),
        ("open-loop", "cpu-budget"),
        ("arguments-of-nothing", "contract"),
        ("call-twice", "contract"),
        ("hold-trap", "trap"),
        ("late", "trap"),
    ] {
        check_fault(deed, kind);
    }
}

#[test]
fn what_grows_without_end_is_stopped() {
    let engine = Engine::new(EngineOptions { cpu_budget: Duration::from_secs(2), ..EngineOptions::default() }).unwrap();
    let component = engine.load(&PolicyName::from("hostile-reply"), HOSTILE_REPLY).unwrap();
    let said = [text(0, "a "), text(0, "666"), text(0, " b"), finish(0)];
    for (deed, kinds) in [
        ("push-memory", &["memory"][..]),
        ("push-stack", &["trap", "stack-overflow"]),
        ("push-endless", &["trap"]),
        ("push-endless-list", &["trap"]),
        ("finish-endless", &["trap"]),
        ("count-loop", &["trap", "cpu-budget"]),
    ] {
        let parser = parser_of(&component, deed);
        let (chunks, _) = stream(&parser, &said);
        assert_eq!(heard(&chunks, 0), "a 666 b", "{deed}");
        let faults = PolicyFault::KINDS.iter().zip(parser.report().faults_by_kind).filter(|(_, count)| *count > 0);
        let faults: Vec<_> = faults.map(|(kind, _)| *kind).collect();
        assert!(faults.len() == 1 && kinds.contains(&faults[0]), "{deed}: {faults:?}");
    }
    let parser = parser_of(&component, "log-flood");
    assert_eq!(heard(&stream(&parser, &said).0, 0), "a 666 b");
    assert_eq!(parser.report().faults, 0);
}

#[test]
fn a_parser_cannot_make_endless_much_of_little() {
    let parser = parser_of(&PARSER, "amplify");
    let said: Vec<Chunk> = (0..400).map(|_| text(0, "666")).collect();
    let (chunks, _) = stream(&parser, &said);
    let heard = heard(&chunks, 0);
    // Up to 16 MiB and no more; then the raw reply.
    assert!((1 << 20..17 << 20).contains(&heard.len()), "{}", heard.len());
    assert!(heard.ends_with("666666"));
    assert_eq!(parser.report().faults_by_kind[4], 1, "{:?}", parser.report().faults_by_kind);
}

#[test]
fn a_complaint_is_cut_and_ends_a_reply() {
    for deed in ["complain", "hold-complain"] {
        let parser = parser_of(&PARSER, deed);
        let (_, end) = stream(&parser, &[text(1, "666"), text(0, "a"), finish(1), finish(0)]);
        let complaint = end.unwrap_err();
        assert_eq!((complaint.choice, complaint.problem.len()), (1, 1024), "{deed}");
        assert_eq!(complaint.repair.map(|repair| repair.len()), Some(64 << 10), "{deed}");
        assert_eq!(parser.report().faults, 0, "a complaint is no fault");
    }
}

#[test]
fn a_thousand_clients_that_leave_take_no_instance_along() {
    let engine = Engine::new(EngineOptions { instances: 8, ..EngineOptions::default() }).unwrap();
    let component = engine.load(&PolicyName::from("hostile-reply"), HOSTILE_REPLY).unwrap();
    for deed in ["", "impure"] {
        let parser = parser_of(&component, deed);
        for _ in 0..1000 {
            let mut reader = ReplyParser::begin(&parser, ReplyInfo { streamed: true, ..ReplyInfo::default() });
            let mut new = vec![text(0, "a"), text(1, "b")];
            assert_eq!(reader.read(now(), &mut new), Ok(()));
            assert!(reader.is_reading());
        }
        let report = parser.report();
        assert_eq!((report.faults, report.faults_by_kind[PolicyFault::NoInstance.index()]), (0, 0), "{deed}");
    }
}

#[test]
fn an_instance_that_grew_does_not_wait_for_another_reply() {
    let parser = parser_of(&PARSER, "grow");
    let first = parser.memory_bytes();
    let said: Vec<Chunk> = (0..8).map(|_| text(0, "a")).chain([finish(0)]).collect();
    assert_eq!(stream(&parser, &said).1, Ok(()));
    assert!(parser.memory_bytes() <= first + (4 << 20), "{} of {first}", parser.memory_bytes());
}

#[test]
fn arguments_that_come_late_reach_their_call() {
    let call = |id: &str, arguments: &str| PartKind::ToolCall {
        id: id.to_owned(),
        name: "f".to_owned(),
        arguments: arguments.to_owned(),
    };
    let parts = vec![
        PartKind::Reasoning { text: String::new(), signature: Some("proof".to_owned()) },
        call("c1", "{\"a\":1}"),
        PartKind::Text("then".to_owned()),
        call("c2", "{\"b\":2}"),
    ];
    // One delta late: each call's arguments come behind the part that follows.
    let read = whole(&parser_of(&PARSER, "late"), parts.clone()).unwrap().unwrap();
    let kinds: Vec<PartKind> = read[0].parts.iter().map(|part| part.kind.clone()).collect();
    assert_eq!(kinds, parts, "and the signature is kept");
}

/// Where a language takes long to start, its policies do.
#[test]
fn one_whose_instances_take_long_to_make_is_slow() {
    // So long settings take milliseconds to be copied into it.
    let parser = parser_of(&PARSER, &" ".repeat(16 << 20));
    assert!(!parser.is_slow(), "its calls are quick");
    for _ in 0..3 {
        // Its client leaves: the next reply gets another one.
        let mut reader = ReplyParser::begin(&parser, ReplyInfo::default());
        assert_eq!(reader.read(now(), &mut vec![text(0, "one")]), Ok(()));
    }
    assert!(parser.is_slow());
}

/// Log probabilities spell out what the provider said: they pass beside words that pass, and no longer once other words stand for them.
#[test]
fn altered_words_are_not_told_by_their_log_probabilities() {
    let scored = |token: &str| {
        let chosen = crate::chat::ScoredToken { text: token.to_owned(), logprob: -0.5 };
        crate::chat::TokenLogprob { chosen, likeliest: Vec::new() }
    };
    let beside = |token: &str| Chunk { choice: 0, delta: Delta::Logprobs(vec![scored(token)]), rest: Rest::new() };
    let parser = parser_of(&PARSER, "amplify");
    let said =
        [text(0, "one "), beside("one "), text(0, "666 "), beside("666 "), text(0, "two"), beside("two"), finish(0)];
    let (chunks, end) = stream(&parser, &said);
    assert_eq!(end, Ok(()));
    let told: Vec<&Chunk> = chunks.iter().filter(|chunk| matches!(chunk.delta, Delta::Logprobs(_))).collect();
    assert_eq!(told, [&beside("one ")]);
    for (word, left) in [("one", 1), ("666", 0)] {
        let parts = vec![Part::from(PartKind::Text(word.to_owned()))];
        let rest = Rest::from_iter([("logprobs".to_owned(), serde_json::json!({"content": []}))]);
        let logprobs = vec![scored(word)];
        let finish = Some(FinishReason::Stop);
        let choice = Alternative { index: 0, parts, finish, rest, message_rest: Rest::new(), logprobs };
        let (id, model, dialect) = ("r".to_owned(), "m".to_owned(), Dialect::named("test"));
        let reply = Reply { id, model, created: None, choices: vec![choice], usage: None, dialect, rest: Rest::new() };
        let read = ReplyParser::begin(&parser, ReplyInfo::default()).read_whole(now(), &reply).unwrap().unwrap();
        assert_eq!((read[0].logprobs.len(), read[0].rest.len()), (left, left), "{word}");
    }
}
