mod changes;
mod ending;
mod older;
mod renewed;
mod server;

use super::*;
use crate::chat::Usage;
use crate::fault::FaultKind;
use crate::id::{DeploymentId, GroupName, KeyId, ProviderName, RequestId, TeamId};
use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::record::{AttemptRecord, Ending};
use crate::virtual_key::{KeptTeam, KeyHash, VirtualKey};

/// Noon of the 26th of November 2026.
const NOON: u64 = 1_795_694_400_000;

fn record(number: u64, group: &str, cost: Option<u64>) -> Record {
    let arrived = Moment::from_millis(NOON + number);
    let usage = Usage { input_tokens: 10, output_tokens: 2, ..Usage::default() };
    let mut record = Record::new(RequestId::derive(arrived, number), arrived, "openai");
    record.caller = Some(KeyId::from("master"));
    record.team = Some(TeamId::from("team"));
    record.group = Some(GroupName::from(group));
    record.tags = vec!["study".to_owned(), group.to_owned()];
    record.usage = usage.clone();
    record.cost = cost.map(NanoUsd);
    record.charged = NanoUsd(cost.unwrap_or(50));
    (record.status, record.ending) = (200, Ending::Whole);
    record.attempts = vec![AttemptRecord {
        group: GroupName::from(group),
        deployment: DeploymentId::from("one"),
        provider: ProviderName::from("simulated"),
        model: "m".into(),
        fault: None,
        latency: Duration::from_millis(5),
        usage,
        usage_refused: false,
        cost: cost.map(NanoUsd),
        charged: record.charged,
    }];
    record
}

fn of_id(id: &str) -> Wanted {
    Wanted { id: Some(id.to_owned()), ..Wanted::default() }
}

fn sums(path: &Path, by: By) -> Vec<(String, u64, u64, u64)> {
    let lines = Reader::open(path).unwrap().spend(by, &Period::default()).unwrap();
    lines.into_iter().map(|line| (line.name, line.requests, line.cost_nano_usd.0, line.unpriced)).collect()
}

#[test]
fn what_was_kept_adds_up_after_a_stop_and_is_never_counted_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/ledger.db");
    for _ in 0..2 {
        let ledger = Ledger::open(&path).unwrap();
        for number in 0..100 {
            ledger.keep(record(number, if number % 4 == 0 { "a" } else { "b" }, Some(1_000 + number)));
        }
        ledger.keep(record(500, "c", None));
        ledger.finish();
        assert_eq!(ledger.lost(), 0);
    }
    let of_a: u64 = (0..100).filter(|number| number % 4 == 0).map(|number| 1_000 + number).sum();
    let all: u64 = (0..100).map(|number| 1_000 + number).sum();
    let expected = [("b", 75, all - of_a, 0), ("a", 25, of_a, 0), ("c", 1, 0, 1)];
    let expected = expected.map(|(name, requests, cost, unpriced)| (name.to_owned(), requests, cost, unpriced));
    assert_eq!(sums(&path, By::Model), expected);
    assert_eq!(sums(&path, By::Key), [("master".to_owned(), 101, all, 1)]);
    assert_eq!(sums(&path, By::Deployment), [("one".to_owned(), 101, all, 1)]);
    assert_eq!(sums(&path, By::Day), [("2026-11-26".to_owned(), 101, all, 1)]);
    assert_eq!(sums(&path, By::Tag)[0], ("study".to_owned(), 101, all, 1));
}

#[test]
fn a_period_holds_its_first_and_its_last_day_and_what_is_no_day_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path).unwrap();
    ledger.keep(record(1, "a", Some(7)));
    ledger.finish();
    let reader = Reader::open(&path).unwrap();
    let within = |since: &str, until: &str| {
        let period = Period { since: Some(since.to_owned()), until: Some(until.to_owned()) };
        reader.spend(By::Key, &period).map(|lines| lines.len())
    };
    assert_eq!(within("2026-11-26", "2026-11-26"), Ok(1));
    assert_eq!(within("2026-11-27", "2026-11-28"), Ok(0));
    assert_eq!(within("2026-11-24", "2026-11-25"), Ok(0));
    assert!(within("yesterday", "2026-11-25").unwrap_err().contains("YYYY-MM-DD"));
    let logged = reader.requests(&Wanted::default(), &Period::default(), 10).unwrap();
    assert_eq!((logged.len(), logged[0].arrived.as_str()), (1, "2026-11-26T12:00:00.001Z"));
    assert_eq!(reader.requests(&of_id("other"), &Period::default(), 10), Ok(Vec::new()));
}

/// Requests of some keys alone, and their tags, wherever they are kept.
fn requests_of_keys(place: &Place) {
    let ledger = place.write().unwrap();
    for (number, key) in (0..).zip(["a", "b", "c", "a"]) {
        let mut one = record(number, "g", Some(7));
        (one.caller, one.tags) = (Some(KeyId::from(key)), vec!["z".to_owned(), key.to_owned()]);
        ledger.keep(one);
    }
    let mut refused = Record { attempts: Vec::new(), caller: None, ..record(4, "g", None) };
    refused.tags.clear();
    ledger.keep(refused);
    ledger.finish();
    let reader = place.read().unwrap();
    let of = |wanted: &Wanted, most| {
        let requests = reader.requests(wanted, &Period::default(), most).unwrap();
        requests.into_iter().map(|one| (one.key.unwrap_or_default(), one.tags)).collect::<Vec<_>>()
    };
    let keys = |keys: &[&str]| Wanted { keys: Some(keys.iter().map(|key| (*key).to_owned()).collect()), id: None };
    let told = |key: &str| (key.to_owned(), vec![key.to_owned(), "z".to_owned()]);
    assert_eq!(of(&keys(&["a"]), 9), [told("a"), told("a")]);
    assert_eq!(of(&keys(&["a", "c", "none"]), 9), [told("a"), told("c"), told("a")]);
    assert_eq!(of(&keys(&["a", "c"]), 2), [told("a"), told("c")], "the newest of them");
    assert!(of(&keys(&[]), 9).is_empty());
    assert_eq!(of(&Wanted::default(), 1), [(String::new(), Vec::new())]);
    let id = reader.requests(&keys(&["b"]), &Period::default(), 9).unwrap().remove(0).id;
    assert_eq!(of(&Wanted { id: Some(id.clone()), ..keys(&["b"]) }, 9), [told("b")]);
    assert!(of(&Wanted { id: Some(id), ..keys(&["a"]) }, 9).is_empty(), "it is another key's");
}

#[test]
fn requests_are_found_by_their_keys_and_told_with_their_tags() {
    let folder = tempfile::tempdir().unwrap();
    requests_of_keys(&Place::File(folder.path().join("ledger.db")));
}

#[test]
fn a_file_that_is_no_ledger_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    std::fs::write(&path, "this is a letter and no database, long enough to be looked at".repeat(20)).unwrap();
    assert!(Ledger::open(&path).unwrap_err().contains("ledger.db"));
    assert!(Reader::open(&folder.path().join("none.db")).is_err());
}

#[test]
fn budgets_find_again_what_was_spent_since_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("ledger.db")).unwrap();
    for number in 0..10 {
        ledger.keep(record(number, if number < 3 { "a" } else { "b" }, (number > 0).then_some(100)));
    }
    ledger.finish();
    let from = |number: u64| Moment::from_millis(NOON + number);
    let spent = |scope: Scope, number| ledger.spent(&scope, [from(number), from(1000)], &[]).unwrap().0;
    assert_eq!(spent(Scope::Global, 0), 950, "one was charged what its price was taken for");
    assert_eq!(spent(Scope::Global, 5), 500);
    assert_eq!(ledger.spent(&Scope::Global, [from(0), from(5)], &[]), Ok(NanoUsd(450)), "what arrived before");
    assert_eq!(spent(Scope::Key(KeyId::from("master")), 9), 100);
    assert_eq!(spent(Scope::Key(KeyId::from("other")), 0), 0);
    assert_eq!(spent(Scope::Team(TeamId::from("none")), 0), 0);
    assert_eq!(spent(Scope::Tag("a".into()), 0), 250);
    assert_eq!(spent(Scope::Group(GroupName::from("b")), 0), 700);
    assert_eq!(spent(Scope::Provider(ProviderName::from("simulated")), 1), 900);
    assert_eq!(spent(Scope::Deployment(DeploymentId::from("one")), 10), 0);
    let without = [5, 6].map(|number| record(number, "b", None).id);
    for scope in [Scope::Global, Scope::Tag("b".into()), Scope::Group(GroupName::from("b"))] {
        let [all, rest] =
            [&[] as &[RequestId], &without].map(|without| ledger.spent(&scope, [from(5), from(8)], without));
        assert_eq!(all.unwrap().0 - rest.unwrap().0, 200, "{scope:?}");
    }
}

/// A request with three calls, for two groups, and what is said of its reply.
fn judgements(ledger: &Ledger) {
    let mut one = record(3, "a", Some(7));
    (one.seed, one.policy) = (u64::MAX - 5, Some("bandit@0a1b".into()));
    let attempt = |group: &str, fault| AttemptRecord { group: group.into(), fault, ..one.attempts[0].clone() };
    one.attempts =
        vec![attempt("first", Some(FaultKind::TimedOut)), attempt("a", Some(FaultKind::Unparsed)), attempt("a", None)];
    ledger.keep(one.clone());
    // Nobody waited for it to be written.
    let found = ledger.replied(one.id).unwrap().unwrap();
    let last = LastAttempt {
        group: "a".to_owned(),
        number: 1,
        deployment: "one".to_owned(),
        fault: None,
        input_tokens: 10,
        output_tokens: 2,
        cost: Some(NanoUsd(7)),
    };
    let expected = Replied {
        arrived: one.arrived,
        key: Some("master".to_owned()),
        policy: Some("bandit@0a1b".to_owned()),
        seed: Some(u64::MAX - 5),
        last: Some(last),
    };
    assert_eq!(found, expected);
    let refused = Record { attempts: Vec::new(), ..record(4, "a", None) };
    ledger.keep(refused.clone());
    assert_eq!(ledger.replied(refused.id).unwrap().unwrap().last, None);
    assert_eq!(ledger.replied(RequestId::derive(one.arrived, 99)), Ok(None));

    let given = Moment::from_millis(NOON + 60_000);
    let said = |source: &str, score| Judgement {
        request: one.id,
        source: source.to_owned(),
        score,
        comment: Some("so it is".to_owned()),
        given,
    };
    assert_eq!(ledger.judge(&said("client", 0.1)), Ok(None));
    assert_eq!(ledger.judge(&said("judge", 0.3)), Ok(None), "another source");
    let later = Judgement { given: Moment::from_millis(NOON + 90_000), ..said("client", 1.0) };
    assert_eq!(ledger.judge(&later), Ok(Some(Earlier { score: 0.1, given })));
}

#[test]
fn a_judgement_finds_its_request_and_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    judgements(&Ledger::open(&path).unwrap());
    // One that nobody writes any more is told at once what there is.
    let ledger = Ledger::open(&path).unwrap();
    ledger.finish();
    assert_eq!(ledger.replied(RequestId::derive(Moment::from_millis(NOON), 98)), Ok(None));
}

/// One of each kind that somebody pays for, and one that has nothing.
fn scopes() -> [Scope; 8] {
    [
        Scope::Global,
        Scope::Key("master".into()),
        Scope::Team("team".into()),
        Scope::Team("none".into()),
        Scope::Tag("study".into()),
        Scope::Group("a".into()),
        Scope::Provider("simulated".into()),
        Scope::Deployment("one".into()),
    ]
}

#[test]
fn what_was_spent_is_found_without_reading_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path).unwrap();
    let span = [Moment::from_millis(NOON), Moment::from_millis(NOON + 1000)];
    for scope in scopes() {
        assert_eq!(ledger.spent(&scope, span, &[]), Ok(NanoUsd::default()), "{scope:?}");
        let question = spent::question(&scope, span, &[]).unwrap();
        let database = rusqlite::Connection::open(&path).unwrap();
        let mut plan = database.prepare(&format!("EXPLAIN QUERY PLAN {}", question.sum(spent::Layout::File))).unwrap();
        let parameters = rusqlite::params![question.name, question.span[0], question.span[1]];
        let steps = plan.query_map(parameters, |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        let [column, time] = match scope {
            Scope::Global => ["", "arrived_ms"],
            Scope::Key(_) => ["key=? AND ", "arrived_ms"],
            Scope::Team(_) => ["team=? AND ", "arrived_ms"],
            Scope::Tag(_) => ["tag=? AND ", "request"],
            Scope::Group(_) => ["model_group=? AND ", "request"],
            Scope::Provider(_) => ["provider=? AND ", "request"],
            _ => ["deployment=? AND ", "request"],
        };
        // Of calls there are two kinds of rows, each with an index of its own.
        let looked: Vec<&String> = steps.iter().filter(|step| step.starts_with("SEARCH")).collect();
        let of_calls = matches!(scope, Scope::Group(_) | Scope::Provider(_) | Scope::Deployment(_));
        assert_eq!(looked.len(), if of_calls { 2 } else { steps.len() }, "{scope:?}: {steps:?}");
        let joined = usize::from(matches!(scope, Scope::Tag(_)));
        for step in &looked[..looked.len() - joined] {
            let named = |time: &str| format!("({column}{time}>? AND {time}<?)");
            assert!(step.contains("USING COVERING INDEX"), "{scope:?}: {steps:?}");
            assert!(step.ends_with(&named(time)) || step.ends_with(&named("id")), "{scope:?}: {steps:?}");
        }
    }
}

#[test]
fn one_call_of_a_feedback_is_found_without_reading_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    drop(Ledger::open(&path).unwrap());
    let database = rusqlite::Connection::open(&path).unwrap();
    let mut plan = database.prepare(&format!("EXPLAIN QUERY PLAN {}", feedback::REPLIED)).unwrap();
    let steps = plan.query_map(["id"], |row| row.get::<_, String>(3)).unwrap();
    let steps: Vec<String> = steps.map(Result::unwrap).collect();
    let tables = ["SCAN requests", "SCAN other_attempts"];
    assert!(!steps.iter().any(|step| tables.iter().any(|table| step.starts_with(table))), "{steps:?}");
}

#[test]
fn keys_are_found_again_as_they_were_last_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let key = |alias: &str| VirtualKey {
        alias: Some(alias.to_owned()),
        ..VirtualKey::new(KeyHash::of(alias), String::new(), Moment::from_millis(NOON))
    };
    let ledger = Ledger::open(&path).unwrap();
    for alias in ["a", "b"] {
        ledger.keys().put(None, &key(alias)).unwrap();
    }
    let changed = VirtualKey { blocked: true, ..key("b") };
    ledger.keys().put(Some(&key("b")), &changed).unwrap();
    ledger.keys().delete(&[key("a")]).unwrap();
    drop(ledger);
    assert_eq!(Ledger::open(&path).unwrap().keys().load().unwrap().read, [changed]);
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(5).any(|window| window == b"sk-b\0"), "no key is written");
}

#[test]
fn a_ledger_of_the_first_version_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch(schema::STEPS[0]).unwrap();
    let id = RequestId::derive(Moment::from_millis(5), 1);
    let row = "INSERT INTO requests VALUES ('r', 5, 'openai', 'k', NULL, 'g', NULL, 0, 1, 1, 0, 0, 1, 0, 0, 70, 0, NULL, 1, 200, 'whole');
        INSERT INTO attempts VALUES ('r', 0, 'd', 'p', 'm', NULL, 1, 1, 0, 0, 1, 0, 70); PRAGMA user_version = 1";
    database.execute_batch(&row.replace("'r'", &format!("'{id}'"))).unwrap();
    drop(database);
    let ledger = Ledger::open(&path).unwrap();
    for scope in [Scope::Key(KeyId::from("k")), Scope::Group(GroupName::from("g"))] {
        assert_eq!(
            ledger.spent(&scope, [Moment::default(), Moment::from_millis(NOON)], &[]),
            Ok(NanoUsd(70)),
            "{scope:?}"
        );
    }
    let old = ledger.replied(id).unwrap().unwrap();
    assert_eq!(
        (old.seed, old.last.unwrap().deployment.as_str()),
        (None, "d"),
        "what feedback is matched by was not kept"
    );
}

/// Teams, and a key in the place of another, wherever they are kept.
fn teams_and_renewed_keys(ledger: &Ledger) {
    let now = Moment::from_millis(NOON);
    let keys = ledger.keys();
    let lab = KeptTeam { models: vec!["g".to_owned()], ..KeptTeam::new("lab".to_owned(), now) };
    let [empty, other] = ["lab", "other"].map(|id| KeptTeam::new(id.to_owned(), now));
    keys.put_team(None, &empty).unwrap();
    keys.put_team(Some(&empty), &lab).unwrap();
    keys.put_team(None, &other).unwrap();
    let key = |text: &str, team: &str| {
        let key = VirtualKey::new(KeyHash::of(text), String::new(), now);
        VirtualKey { team: Some(team.to_owned()), ..key }
    };
    for (text, team) in [("one", "lab"), ("two", "lab"), ("three", "other")] {
        keys.put(None, &key(text, team)).unwrap();
    }
    keys.replace(&key("one", "lab"), &key("four", "lab")).unwrap();
    // Of what would make two keys one nothing is done.
    assert!(keys.replace(&key("two", "lab"), &key("three", "lab")).is_err());
    assert_eq!(keys.load().unwrap().read.len(), 3);
    assert_eq!(keys.load_teams().unwrap().read, [lab.clone(), other.clone()]);
    keys.delete_teams(&[lab]).unwrap();
    assert_eq!(keys.load().unwrap().read, [key("three", "other")]);
    assert_eq!(keys.load_teams().unwrap().read, [other]);
    keys.delete(&[key("three", "other")]).unwrap();
}

#[test]
fn a_file_keeps_teams_and_renewed_keys() {
    let folder = tempfile::tempdir().unwrap();
    teams_and_renewed_keys(&Ledger::open(&folder.path().join("ledger.db")).unwrap());
}
