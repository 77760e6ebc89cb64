//! Prompt builders that mean it no good. The guest is `plugins/hostile-prompt`.

use std::time::Duration;

use super::*;
use crate::chat::{Message, Part, Rest, Role as Speaker};
use crate::policy::host::ticker::thread_cpu;

const HOSTILE_PROMPT: &[u8] = include_bytes!("../../../tests/fixtures/policies/hostile-prompt.wasm");

static BUILDER: LazyLock<Arc<Component>> =
    LazyLock::new(|| ENGINE.load(&PolicyName::from("hostile-prompt"), HOSTILE_PROMPT).unwrap());

fn builder_of(component: &Arc<Component>, deed: &str) -> Arc<PromptBuilder> {
    let setup = PolicySetup {
        may_read: crate::signal::Grants::All,
        group: None,
        settings: deed.into(),
        model: "".into(),
        seed: 1,
    };
    PromptBuilder::start(Arc::clone(component), setup, None).unwrap()
}

fn messages(text: &str) -> Vec<Message> {
    vec![Message { role: Speaker::User, parts: vec![Part::text(text)], name: None, rest: Rest::new() }]
}

fn build(builder: &Arc<PromptBuilder>, text: &str, secs: u64) -> Result<BuiltPrompt, BuildError> {
    let request = BuildRequest {
        id: None,
        now: Moment::from_millis(1_000_000 + secs * 1000),
        seed: 1,
        variables: "{}".to_owned(),
        items: Vec::new(),
        budget: None,
        attributes: Vec::new(),
    };
    builder.build(&request, messages(text))
}

/// Whatever goes wrong: it ends in the right fault in time, the next prompt is built, and the third fault within a minute is the
/// last.
fn check_fault(deed: &str, expected: impl Fn(&PolicyFault) -> bool) {
    let builder = builder_of(&BUILDER, deed);
    for n in 0..3 {
        assert_eq!(
            build(&builder, "Hello", n).unwrap().messages,
            messages("Hello"),
            "{deed}: healthy before fault {n}"
        );
        let before = thread_cpu();
        let end = build(&builder, "666", n);
        let used = thread_cpu().saturating_sub(before);
        let Err(BuildError::Fault(fault)) = end else { panic!("{deed}: {end:?}") };
        assert!(expected(&fault), "{deed}: {fault:?}");
        assert!(used < Duration::from_secs(2), "{deed}: took {used:?} of CPU time");
    }
    assert_eq!(build(&builder, "Hello", 4), Err(BuildError::Fault(PolicyFault::Quarantined)), "{deed}");
    let report = builder.report();
    assert_eq!((report.faults, report.quarantined), (3, true), "{deed}");
    // A minute after its last fault it is given one call, and another each minute until one goes well.
    let quarantined = Err(BuildError::Fault(PolicyFault::Quarantined));
    assert_eq!(build(&builder, "Hello", 61), quarantined, "{deed}");
    assert!(matches!(build(&builder, "666", 62), Err(BuildError::Fault(fault)) if expected(&fault)), "{deed}");
    assert_eq!(build(&builder, "Hello", 63), quarantined, "{deed}");
    for secs in [122, 123] {
        assert_eq!(build(&builder, "Hello", secs).unwrap().messages, messages("Hello"), "{deed}");
    }
    assert!(!builder.report().quarantined, "{deed}");
}

fn contract(words: &'static str) -> impl Fn(&PolicyFault) -> bool {
    move |fault| matches!(fault, PolicyFault::Contract(found) if found.contains(words))
}

fn trapped(words: &'static str) -> impl Fn(&PolicyFault) -> bool {
    move |fault| matches!(fault, PolicyFault::Trap(found) if found.contains(words))
}

#[test]
fn loops_end_whatever_they_call() {
    for deed in ["loop", "log-loop", "count-nothing-loop"] {
        check_fault(deed, |fault| *fault == PolicyFault::CpuBudget);
    }
}

#[test]
fn counting_for_ever_ends() {
    // It runs out of time, or of what it may hand over.
    for deed in ["count-loop", "count-much"] {
        check_fault(deed, |fault| *fault == PolicyFault::CpuBudget || trapped("too much data")(fault));
    }
}

#[test]
fn traps_and_overflows_are_faults() {
    for deed in ["trap", "panic"] {
        check_fault(deed, trapped("unreachable"));
    }
    check_fault("stack", |fault| trapped("")(fault) || *fault == PolicyFault::StackOverflow);
}

#[test]
fn a_hoarder_is_stopped() {
    let engine = Engine::new(EngineOptions { cpu_budget: Duration::from_secs(2), ..EngineOptions::default() }).unwrap();
    let component = engine.load(&PolicyName::from("hostile-prompt"), HOSTILE_PROMPT).unwrap();
    let builder = builder_of(&component, "memory");
    assert_eq!(build(&builder, "666", 0), Err(BuildError::Fault(PolicyFault::Memory)));
    assert_eq!(build(&builder, "Hello", 0).unwrap().messages, messages("Hello"));
}

#[test]
fn an_answer_of_what_is_not_there_is_none() {
    for (deed, words) in [
        ("no-such-part", "part 4294967295 is not there"),
        ("part-twice", "part 0 is not there, or no more"),
        ("empty-part", "neither a source nor a text"),
        ("no-message", "a prompt without a message"),
        ("no-such-message", "message 7 is not there"),
        ("no-such-item", "item 3 is not one of 0"),
        ("huge-note", "a note of more than 1024 KiB"),
    ] {
        check_fault(deed, contract(words));
    }
}

#[test]
fn an_endless_answer_is_not_taken_in() {
    let engine = Engine::new(EngineOptions { cpu_budget: Duration::from_secs(2), ..EngineOptions::default() }).unwrap();
    let component = engine.load(&PolicyName::from("hostile-prompt"), HOSTILE_PROMPT).unwrap();
    for deed in ["endless-text", "endless-list"] {
        let end = build(&builder_of(&component, deed), "666", 0);
        assert!(matches!(&end, Err(BuildError::Fault(fault)) if trapped("too much data")(fault)), "{deed}: {end:?}");
    }
}

#[test]
fn floods_are_cut_and_are_no_faults() {
    let builder = builder_of(&BUILDER, "log-flood");
    assert!(build(&builder, "666", 0).is_ok());
    assert_eq!(builder.take_log().len(), 20);
    assert_eq!(build(&builder_of(&BUILDER, "refuse"), "666", 0), Err(BuildError::Refused("no".repeat(512))));
}

/// What keeps an instance from being had happens when it is asked for, and not when a call was last made.
#[test]
fn a_fault_before_the_call_has_a_time_of_its_own() {
    let builder = builder_of(&BUILDER, "trap");
    (0..3).for_each(|secs| assert!(build(&builder, "666", secs).is_err()));
    assert_eq!(build(&builder, "Hello", 30), Err(BuildError::Fault(PolicyFault::Quarantined)));
    assert_eq!(builder.last_seen(), Moment::from_millis(1_030_000));
}

#[test]
fn instances_that_wait_leave_room_for_others() {
    let engine = Engine::new(EngineOptions { instances: 16, ..EngineOptions::default() }).unwrap();
    let component = engine.load(&PolicyName::from("hostile-prompt"), HOSTILE_PROMPT).unwrap();
    let builders: Vec<_> = (0..5).map(|_| builder_of(&component, "")).collect();
    // Each keeps one for itself and could keep 16 more; five such would leave nothing.
    for builder in &builders {
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| assert!(build(builder, "Hello", 0).is_ok_and(|built| built.note.is_none())));
            }
        });
    }
    let waiting = engine.idle().load(std::sync::atomic::Ordering::Relaxed);
    assert!((1..=8).contains(&waiting), "{waiting} wait");
    drop(builders);
    assert_eq!(engine.idle().load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn who_only_asks_for_a_prompt_takes_no_builder_out_of_service() {
    let builder = builder_of(&BUILDER, "trap");
    let explain = |text: &str| {
        let request = BuildRequest {
            id: None,
            now: Moment::from_millis(1_000_000),
            seed: 1,
            variables: "{}".to_owned(),
            items: Vec::new(),
            budget: None,
            attributes: Vec::new(),
        };
        builder.explain(&request, messages(text))
    };
    for _ in 0..5 {
        let end = explain("666");
        assert!(matches!(&end, Err(BuildError::Fault(fault)) if trapped("unreachable")(fault)), "{end:?}");
        assert_eq!(explain("Hello").unwrap().messages, messages("Hello"));
    }
    let report = builder.report();
    assert_eq!((report.calls, report.faults, report.quarantined), (0, 0, false));
}
