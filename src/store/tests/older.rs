//! Files of other versions: read as they are, brought up to date by who writes them, and never added up wrongly.

use super::*;

/// What the version before wrote of requests and of their calls.
const REQUEST: &str = "INSERT OR IGNORE INTO requests VALUES (?1, ?2, 'openai', 'k', 'team', 'a', NULL, 0, 9, 10, 0, 0, 2, 0, 0, 70, \
     0, NULL, 5, 200, 'whole', 70, 3)";
const ATTEMPT: &str =
    "INSERT OR IGNORE INTO attempts VALUES (?1, ?2, 'one', 'simulated', 'm', ?3, 5, 10, 0, 0, 2, 0, 70, 35, 'a')";

fn id(number: u64) -> String {
    RequestId::derive(Moment::from_millis(NOON + number), number).to_string()
}

/// A file of the version before: three requests, the last with two calls.
fn file(path: &Path) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(path).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.execute_batch(&schema::STEPS.concat()).unwrap();
    database.execute_batch("PRAGMA user_version = 6").unwrap();
    for number in 0..3 {
        let arrived = i64::try_from(NOON + number).unwrap();
        database.execute(REQUEST, rusqlite::params![id(number), arrived]).unwrap();
        let fault = (number == 2).then_some("timeout");
        database.execute(ATTEMPT, rusqlite::params![id(number), 0, fault]).unwrap();
    }
    database.execute(ATTEMPT, rusqlite::params![id(2), 1, None::<String>]).unwrap();
    database.execute("INSERT INTO tags VALUES (?1, 'study')", [id(2)]).unwrap();
    database
}

fn version(path: &Path) -> u32 {
    let database = rusqlite::Connection::open(path).unwrap();
    database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

/// All that reports and simulations read of it.
fn told(path: &Path) -> (Vec<Vec<Spend>>, Vec<Logged>, Vec<Arrived>) {
    let (reader, all) = (Reader::open(path).unwrap(), Period::default());
    let ways = [By::Key, By::Team, By::Model, By::Tag, By::Day, By::Deployment, By::Provider];
    let sums = ways.map(|by| reader.spend(by, &all).unwrap());
    (sums.to_vec(), reader.requests(&Wanted::default(), &all, 100).unwrap(), reader.arrived(&all, None, 100).unwrap())
}

#[test]
fn a_file_of_the_version_before_is_read_as_it_is_and_taken_over_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    drop(file(&path));
    let before = told(&path);
    assert_eq!((version(&path), before.1.len(), before.2[2].tags.len()), (6, 3, 1), "who reads it changes nothing");
    assert_eq!((before.0[5][0].requests, before.0[5][0].cost_nano_usd), (4, NanoUsd(280)), "each call counts");
    assert_eq!(Reader::open(&path).unwrap().replies().unwrap()[0].replies, 3);
    let ledger = Ledger::open(&path).unwrap();
    assert_eq!((version(&path), told(&path)), (7, before));
    let span = [Moment::from_millis(NOON), Moment::from_millis(NOON + 1000)];
    let spent = || {
        let scopes = [
            Scope::Key("k".into()),
            Scope::Group("a".into()),
            Scope::Deployment("one".into()),
            Scope::Tag("study".into()),
        ];
        scopes.map(|scope| ledger.spent(&scope, span, &[]).unwrap().0)
    };
    assert_eq!(spent(), [210, 140, 140, 70]);
    let old = ledger.replied(RequestId::parse(&id(2)).unwrap()).unwrap().unwrap();
    assert_eq!((old.seed, old.last.unwrap().number), (Some(3), 1));
    // What is there already is not there twice, in whichever rows it stands.
    for number in 0..4 {
        ledger.keep(record(number, "a", Some(70)));
    }
    ledger.wait_until_written().unwrap();
    assert_eq!(spent(), [210, 210, 210, 280]);
    ledger.finish();
    assert_eq!((told(&path).1.len(), sums(&path, By::Deployment)[0].1), (4, 5));
}

#[test]
fn a_gateway_of_the_version_before_that_still_runs_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let old = file(&path);
    let ledger = Ledger::open(&path).unwrap();
    let request = old.execute(REQUEST, rusqlite::params![id(8), 8]).unwrap_err().to_string();
    assert!(request.contains("27 columns"), "{request}");
    let attempt = old.execute(ATTEMPT, rusqlite::params![id(8), 0, None::<String>]).unwrap_err().to_string();
    assert!(attempt.contains("view"), "{attempt}");
    drop(ledger);
    assert_eq!(told(&path).1.len(), 3);
}

#[test]
fn a_newer_file_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    file(&path).execute_batch("PRAGMA user_version = 8").unwrap();
    for told in [Ledger::open(&path).unwrap_err(), Reader::open(&path).err().unwrap()] {
        let words = "written by a newer version of witgate (its tables are version 8, this one knows 7)";
        assert!(told.contains(words) && told.contains("ledger.db"), "{told}");
    }
    file(&folder.path().join("early.db")).execute_batch("PRAGMA user_version = 1").unwrap();
    let early = Reader::open(&folder.path().join("early.db")).err().unwrap();
    assert!(early.contains("an early version"), "{early}");
}

/// Requests of every shape: whose only call is in their row, and whose calls have rows of their own.
#[test]
fn calls_count_once_wherever_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path).unwrap();
    let only = |number, change: &dyn Fn(&mut AttemptRecord)| {
        let mut one = record(number, "a", Some(7));
        change(&mut one.attempts[0]);
        ledger.keep(one);
    };
    only(0, &|_| ());
    only(1, &|call| call.fault = Some(FaultKind::BrokenStream));
    only(2, &|call| call.group = "b".into());
    only(3, &|call| call.usage.output_tokens = 1);
    only(4, &|call| (call.cost, call.charged) = (Some(NanoUsd(3)), NanoUsd(4)));
    ledger.keep(Record { attempts: Vec::new(), ..record(5, "a", Some(7)) });
    let span = [Moment::from_millis(NOON), Moment::from_millis(NOON + 1000)];
    ledger.wait_until_written().unwrap();
    let spent = |scope: Scope| ledger.spent(&scope, span, &[]).unwrap().0;
    assert_eq!(spent(Scope::Global), 42);
    assert_eq!((spent(Scope::Group("a".into())), spent(Scope::Group("b".into()))), (25, 7));
    assert_eq!((spent(Scope::Provider("simulated".into())), spent(Scope::Deployment("one".into()))), (32, 32));
    ledger.finish();
    assert_eq!(sums(&path, By::Deployment), [("one".to_owned(), 5, 31, 0)]);
    assert_eq!(sums(&path, By::Model), [("a".to_owned(), 6, 42, 0)]);
    let arrived = Reader::open(&path).unwrap().arrived(&Period::default(), None, 9).unwrap();
    let of = |one: &Arrived| (one.model_group.clone(), one.input_tokens, one.output_tokens);
    let group = |name: &str, input, output| (name.to_owned(), input, output);
    let expected = [
        group("a", 10, Some(2)),
        group("a", 0, None),
        group("b", 10, Some(2)),
        group("a", 10, Some(1)),
        group("a", 10, Some(2)),
        group("a", 0, None),
    ];
    assert_eq!(arrived.iter().map(of).collect::<Vec<_>>(), expected);
    let database = rusqlite::Connection::open(&path).unwrap();
    let rows: i64 = database.query_row("SELECT count(*) FROM other_attempts", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 4, "the first has none");
}
