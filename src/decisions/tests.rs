//! What is kept, in which order, and where it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tempfile::TempDir;

use super::*;
use crate::fault::FaultKind;
use crate::id::{DeploymentId, GroupName, PolicyName};
use crate::moment::Moment;
use crate::policy::{
    Choice, DeploymentInfo, Digest, Needs, Outcome, PolicyFault, RouteError, RouteRequest, SavedState, Setup, Traits,
};
use crate::signal::{Feature, Signal};

fn facts() -> Arc<RouterFacts> {
    let deployment = |id: &str| DeploymentInfo {
        id: DeploymentId::from(id),
        provider: "openai".to_owned(),
        model: "m \"quoted\"\n".to_owned(),
        tags: vec!["eu".to_owned()],
        weight: Some(0.1),
        order: 1,
        input_price: Some(f64::MIN_POSITIVE),
        output_price: None,
        context_window: Some(u32::MAX),
        rpm: None,
        tpm: Some(u64::MAX),
        itpm: None,
        otpm: None,
    };
    Arc::new(RouterFacts {
        policy: PolicyName::from("p"),
        digest: Digest::of(b"a component"),
        setup: Setup {
            may_read: crate::signal::Grants::All,
            group: Some(GroupName::from("g/1")),
            settings: r#"{"ttl": 1}"#.into(),
            deployments: vec![deployment("a"), deployment("b")],
            seed: u64::MAX - 1,
        },
        needs: Needs {
            signals: vec![Signal::WaitMs, Signal::CostUsd],
            features: vec![Feature::Length],
            attributes: vec![crate::signal::Attribute::Team],
            exact_tokens: true,
            pure: false,
        },
    })
}

fn request(n: u64) -> RequestId {
    RequestId::derive(Moment::from_millis(n), n)
}

fn decision(n: u64, answer: Result<Vec<Choice>, RouteError>) -> Arc<Decision> {
    Arc::new(Decision {
        request: RouteRequest {
            input_precision: crate::tokens::Precision::UpperBound,
            id: Some(request(n)),
            now: Moment::from_millis(n),
            seed: u64::MAX - n,
            input_tokens: 7,
            expected_output_tokens: 8,
            max_output_tokens: Some(9),
            priority: -3,
            deadline_ms: None,
            traits: Traits { streaming: true, tools: false, images: false, json: true },
        },
        signals: vec![f32::NAN, f32::INFINITY, f32::MIN_POSITIVE, -0.0],
        features: vec![0.1],
        attributes: vec!["a \"team\"".to_owned()],
        answer,
    })
}

fn settings(dir: &Path) -> DecisionSettings {
    DecisionSettings { share: 1.0, run: 10, keep_bytes: 1 << 20, dir: Some(dir.to_owned()), words: false }
}

/// Decisions kept in a folder of the test's own.
fn kept() -> (TempDir, Decisions) {
    let folder = TempDir::new().unwrap();
    let decisions = Decisions::new(None);
    decisions.apply(Some(&settings(&folder.path().join("runs")))).unwrap();
    (folder, decisions)
}

fn begin(decisions: &Decisions, now: u64) -> Option<RunId> {
    let state = Some(SavedState { schema: "s".to_owned(), bytes: vec![0, 255, 10] });
    decisions.begin(RunStart { facts: facts(), state, now: Moment::from_millis(now) })
}

fn runs(folder: &TempDir) -> Vec<Run> {
    let files = run_files(&folder.path().join("runs")).unwrap();
    files.iter().map(|file| Run::read(file).unwrap()).collect()
}

fn ranked() -> Vec<Choice> {
    vec![Choice { deployment: 1, propensity: 0.25 }, Choice { deployment: 0, propensity: 1.0 }]
}

#[test]
fn everything_of_a_run_comes_back() {
    let (folder, decisions) = kept();
    let run = begin(&decisions, 5).unwrap();
    let answers = [
        Ok(ranked()),
        Err(RouteError::Wait(Duration::from_millis(1500))),
        Err(RouteError::Reject("no \"more\"".to_owned())),
        Err(RouteError::Fault(PolicyFault::Trap("unreachable".to_owned()))),
        Err(RouteError::Fault(PolicyFault::CpuBudget)),
    ];
    let asked: Vec<Arc<Decision>> = (0..).zip(answers).map(|(n, answer)| decision(n, answer)).collect();
    for decision in &asked {
        assert!(decisions.keep(run, RecordedCall::Route(Arc::clone(decision))));
    }
    let outcome = Outcome {
        seed: 1 << 60,
        attempt: 2,
        deployment: 1,
        fault: Some(FaultKind::TimedOut),
        input_tokens: 1,
        output_tokens: 0,
        cost_usd: f64::NAN,
        latency_ms: 0.1,
        ttft_ms: Some(1e-30),
        quality: None,
    };
    assert!(decisions.keep(run, RecordedCall::Observe(outcome.clone(), Some(PolicyFault::Memory))));
    let state = SavedState { schema: "s".to_owned(), bytes: vec![1] };
    assert!(decisions.keep(run, RecordedCall::Save(Ok(Some(state.clone())))));
    assert!(decisions.keep(run, RecordedCall::Save(Ok(None))));
    decisions.end(run);
    let mut record = Record::new(request(0), Moment::from_millis(0), "api");
    record.status = 200;
    decisions.ended(&record);
    decisions.finish();

    let read = runs(&folder).remove(0);
    assert_eq!(read.early, None);
    let (told, wrote) = (&read.start.facts, facts());
    assert_eq!((&told.setup, &told.needs, told.digest), (&wrote.setup, &wrote.needs, wrote.digest));
    assert_eq!(read.start.state, Some(SavedState { schema: "s".to_owned(), bytes: vec![0, 255, 10] }));
    assert_eq!(read.start.now, Moment::from_millis(5));
    for (call, asked) in read.calls.iter().zip(&asked) {
        let Logged::Route(call) = call else { panic!("{call:?}") };
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&call.signals), bits(&asked.signals));
        // NaN equals nothing.
        let plain = |decision: &Decision| Decision { signals: Vec::new(), ..decision.clone() };
        assert_eq!(plain(call), plain(asked));
    }
    let Logged::Observe(told, Some(PolicyFault::Memory)) = &read.calls[5] else { panic!("{:?}", read.calls[5]) };
    assert!(told.cost_usd.is_nan());
    assert_eq!(Outcome { cost_usd: 0.0, ..told.clone() }, Outcome { cost_usd: 0.0, ..outcome });
    assert!(matches!(&read.calls[6], Logged::Save(Ok(Some(digest))) if *digest == state_digest(&state)));
    assert!(matches!(&read.calls[7], Logged::Save(Ok(None))));
    assert_eq!(read.calls.len(), 8);
    assert_eq!(read.requests[&request(0).to_string()].status, 200, "it ended after its run");
}

/// A router that reads what a client wrote, and says it again in every way it has.
#[test]
fn what_was_said_is_kept_where_words_are_wanted_alone() {
    const SAID: &str = "xylophone";
    let attributes = ["caller", "prompt", "tag:a", "metadata:b", "header:x-c"];
    let mut reads = RouterFacts::clone(&facts());
    reads.needs.attributes =
        attributes.map(|name| crate::signal::Attribute::parse(name).unwrap()).into_iter().collect();
    let reads = Arc::new(reads);
    let values = ["ada", SAID, SAID, "", SAID].map(str::to_owned).to_vec();
    let trap = || PolicyFault::Trap(format!("no {SAID}"));
    let answers = [
        Ok(ranked()),
        Err(RouteError::Reject(format!("no {SAID}"))),
        Err(RouteError::Fault(trap())),
        Err(RouteError::Fault(PolicyFault::Contract(SAID.to_owned()))),
    ];
    for words in [false, true] {
        let (folder, decisions) = kept();
        let dir = folder.path().join("runs");
        decisions.apply(Some(&DecisionSettings { words, ..settings(&dir) })).unwrap();
        let state = SavedState { schema: "s".to_owned(), bytes: SAID.into() };
        let start = RunStart { facts: Arc::clone(&reads), state: Some(state.clone()), now: Moment::from_millis(5) };
        let run = decisions.begin(start).unwrap();
        let mut shown = String::new();
        for (n, answer) in (0..).zip(answers.clone()) {
            let asked = Decision { attributes: values.clone(), ..Decision::clone(&decision(n, answer)) };
            let asked = Arc::new(asked);
            decisions.decided(&reads, &asked);
            assert!(decisions.keep(run, RecordedCall::Route(asked)));
            shown += &decisions.recent(request(n)).unwrap().to_string();
        }
        let outcome = Outcome {
            seed: 1,
            attempt: 0,
            deployment: 0,
            fault: None,
            input_tokens: 1,
            output_tokens: 1,
            cost_usd: 0.0,
            latency_ms: 1.0,
            ttft_ms: None,
            quality: None,
        };
        assert!(decisions.keep(run, RecordedCall::Observe(outcome, Some(trap()))));
        assert!(decisions.keep(run, RecordedCall::Save(Err(trap()))));
        assert!(decisions.keep(run, RecordedCall::Save(Ok(Some(state.clone())))));
        decisions.end(run);
        decisions.finish();
        let text = fs::read_to_string(&run_files(&dir).unwrap()[0]).unwrap();
        let (bytes, digest) = (BASE64.encode(SAID), state_digest(&state).to_string());
        for (said, told) in [(&text, SAID), (&shown, SAID), (&text, &bytes), (&text, &digest)] {
            assert_eq!(said.contains(told), words, "{told} with words {words}: {said}");
        }
        let read = runs(&folder).remove(0);
        assert_eq!((read.withheld, read.start.state.is_some(), read.calls.len()), (!words, words, 7));
        let Logged::Route(first) = &read.calls[0] else { panic!("{:?}", read.calls[0]) };
        assert_eq!((&*first.attributes[0], &*first.attributes[3]), ("ada", ""), "names are told, and what is absent");
        assert_eq!(first.attributes[1], first.attributes[2], "equal values look equal");
        assert_eq!(first.answer, Ok(ranked()));
    }
}

#[test]
fn nobody_else_reads_them() {
    let (folder, decisions) = kept();
    begin(&decisions, 5);
    decisions.finish();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let runs = folder.path().join("runs");
    assert_eq!((mode(&runs), mode(&run_files(&runs).unwrap()[0])), (0o700, 0o600));
    fs::set_permissions(&runs, fs::Permissions::from_mode(0o755)).unwrap();
    let told = decisions.apply(Some(&settings(&runs))).unwrap_err();
    assert!(told.contains("755") && told.contains("hint:"), "{told}");
    assert!(!decisions.is_on(), "nothing is kept where others may look");
}

#[test]
fn the_oldest_runs_go_first_and_the_bound_holds() {
    let (folder, decisions) = kept();
    let dir = folder.path().join("runs");
    decisions.apply(Some(&DecisionSettings { keep_bytes: 20_000, ..settings(&dir) })).unwrap();
    for now in 0..40 {
        let run = begin(&decisions, now).unwrap();
        assert!(decisions.keep(run, RecordedCall::Route(decision(now, Ok(ranked())))));
        decisions.end(run);
        decisions.ended(&Record::new(request(now), Moment::from_millis(now), "api"));
    }
    decisions.finish();
    let files = run_files(&dir).unwrap();
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(bytes <= 20_000 && files.len() >= 10, "{bytes} bytes in {} files", files.len());
    let last = Run::read(files.last().unwrap()).unwrap();
    assert_eq!(last.start.now, Moment::from_millis(39), "the newest is there");
}

#[test]
fn a_run_never_takes_all_the_room() {
    let (folder, decisions) = kept();
    decisions.apply(Some(&DecisionSettings { keep_bytes: 40_000, ..settings(&folder.path().join("runs")) })).unwrap();
    let run = begin(&decisions, 0).unwrap();
    for n in 0..200 {
        decisions.keep(run, RecordedCall::Route(decision(n, Ok(ranked()))));
    }
    decisions.finish();
    let read = runs(&folder).remove(0);
    assert!(read.early.is_some_and(|why| why.contains("quarter")));
    assert!((10..60).contains(&read.calls.len()), "{} calls", read.calls.len());
}

/// A folder in which nothing can be written stands for a disk that is too slow: the channel fills.
#[test]
fn who_cannot_follow_loses_a_run_and_nobody_waits() {
    let broken = Arc::new(Mutex::new(Vec::new()));
    let (sender, receiver) = std::sync::mpsc::sync_channel(3);
    let folder = TempDir::new().unwrap();
    let decisions = Decisions::new(None);
    let active = Active { settings: settings(folder.path()), first: 0, sender, broken: Arc::clone(&broken) };
    decisions.active.store(Some(Arc::new(active)));
    let run = begin(&decisions, 0).unwrap();
    let call = || RecordedCall::Route(decision(0, Ok(ranked())));
    assert!(decisions.keep(run, call()) && decisions.keep(run, call()));
    assert!(!decisions.keep(run, call()), "the channel is full");
    assert_eq!(begin(&decisions, 1), None, "no other run begins");
    drop(decisions.active.swap(None));
    Writer::new(folder.path().to_owned(), 1 << 20, None, broken).work(&receiver);
    let read = Run::read(&run_files(folder.path()).unwrap()[0]).unwrap();
    assert!(read.early.is_some_and(|why| why.contains("faster")), "the file says that it is cut short");
    assert!(read.calls.len() <= 2, "what is there has no gap");
}

#[test]
fn a_run_ends_with_the_settings_it_began_under() {
    let (folder, decisions) = kept();
    let run = begin(&decisions, 0).unwrap();
    assert!(decisions.keep(run, RecordedCall::Save(Ok(None))));
    let dir = folder.path().join("runs");
    decisions.apply(Some(&settings(&dir))).unwrap();
    assert!(decisions.keep(run, RecordedCall::Save(Ok(None))), "the same settings change nothing");
    decisions.apply(None).unwrap();
    assert!(!decisions.is_on() && !decisions.keep(run, RecordedCall::Save(Ok(None))));
    decisions.apply(Some(&settings(&dir))).unwrap();
    assert!(!decisions.keep(run, RecordedCall::Save(Ok(None))), "calls in between were not kept");
    decisions.finish();
    let read = runs(&folder).remove(0);
    assert_eq!((read.calls.len(), read.early.as_deref()), (2, Some("recording stopped")));
}

#[test]
fn so_large_a_share_of_the_runs_is_drawn() {
    let (folder, decisions) = kept();
    for (share, expected) in [(1.0, 10_000..=10_000), (0.25, 2_300..=2_700), (1e-9, 0..=0)] {
        decisions.apply(Some(&DecisionSettings { share, ..settings(&folder.path().join("runs")) })).unwrap();
        let drawn = (0..10_000).filter(|number| decisions.stretch(7, *number).kept).count();
        assert!(expected.contains(&drawn), "{share}: {drawn}");
    }
    decisions.apply(Some(&DecisionSettings { share: 0.0, ..settings(folder.path()) })).unwrap();
    assert!(!decisions.is_on());
}

#[test]
fn the_last_thousand_requests_are_remembered_with_what_became_of_them() {
    let (_folder, decisions) = kept();
    for n in 0..1001 {
        decisions.decided(&facts(), &decision(n, Ok(ranked())));
    }
    assert_eq!(decisions.recent(request(0)), None, "the oldest is forgotten");
    assert!(decisions.recent(request(1)).is_some());
    let mut record = Record::new(request(1000), Moment::from_millis(0), "api");
    record.group = Some(GroupName::from("g"));
    decisions.ended(&record);
    let shown = decisions.recent(request(1000)).unwrap();
    assert_eq!(shown["deployments"][0]["deployment"], "b", "best first: {shown}");
    assert_eq!(shown["deployments"][0]["signals"]["wait-ms"], "infinite");
    assert_eq!(shown["deployments"][1]["signals"]["wait-ms"], Value::Null);
    assert_eq!((&shown["attributes"]["team"], &shown["host"]["status"]), (&"a \"team\"".into(), &499.into()));
}

#[test]
fn a_file_that_is_none_says_where() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("x.jsonl");
    let (kept_in, decisions) = kept();
    let run = begin(&decisions, 0).unwrap();
    decisions.end(run);
    decisions.finish();
    let good = fs::read_to_string(&run_files(&kept_in.path().join("runs")).unwrap()[0]).unwrap();
    for (text, told) in [
        ("", "empty"),
        ("{}\n", "line 1"),
        ("{\"end\":{\"calls\":0,\"early\":null}}\n", "begins with a `run`"),
        (&good.replace("\"format\":1", "\"format\":2"), "format is 2"),
        (&good.replace("\"calls\":0", "\"calls\":4"), "line 2: it ends after 4 calls"),
        (&good.replace("wait-ms", "moon-phase"), "no signal is named `moon-phase`"),
    ] {
        fs::write(&file, text).unwrap();
        let why = Run::read(&file).unwrap_err();
        assert!(why.contains(told) && why.contains("x.jsonl"), "{text:?}: {why}");
    }
    fs::write(&file, good + "{\"route\":{\"id\"").unwrap();
    assert!(Run::read(&file).is_ok(), "the last line may be under way");
}
