//! A stop while the ledger cannot be written.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// Requests in a file that was laid aside.
fn laid_aside(file: &Path) -> u64 {
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let lines = Reader::open(file).unwrap().spend(By::Key, &Period::default()).unwrap();
    lines.iter().map(|line| line.requests).sum()
}

#[test]
fn what_a_stop_cannot_write_waits_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path).unwrap();
    ledger.keep(record(0, "a", Some(1)));
    ledger.wait_until_written().unwrap();
    assert!(ledger.is_connected());
    let locked = rusqlite::Connection::open(&path).unwrap();
    locked.execute_batch("BEGIN IMMEDIATE").unwrap();
    for number in 0..10 {
        ledger.keep(record(number, "a", Some(1)));
    }
    ledger.hurry();
    ledger.finish();
    let aside = aside::beside(&path);
    assert_eq!((laid_aside(&aside), ledger.is_connected()), (10, false));
    locked.execute_batch("ROLLBACK").unwrap();
    let ledger = Ledger::open(&path).unwrap();
    ledger.wait_until_written().unwrap();
    assert!(!aside.exists());
    assert_eq!(sums(&path, By::Model), [("a".to_owned(), 10, 10, 0)]);
}

#[test]
fn a_file_that_cannot_be_taken_in_is_put_away_and_one_that_somebody_holds_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let aside = aside::beside(&path);
    let bad = |number: &str| folder.path().join(format!("ledger.db.unwritten.bad{number}"));
    let damaged = "this is no database at all; ".repeat(100);
    std::fs::write(&aside, &damaged).unwrap();
    let ledger = Ledger::open(&path).unwrap();
    ledger.wait_until_written().unwrap();
    assert!(!aside.exists());
    assert_eq!(std::fs::read_to_string(bad("")).unwrap(), damaged);
    drop(ledger);
    // One of a newer version, which may hold something, is put beside that.
    let newer = rusqlite::Connection::open(&aside).unwrap();
    newer.pragma_update(None, "user_version", 1000).unwrap();
    drop(newer);
    let ledger = Ledger::open(&path).unwrap();
    ledger.wait_until_written().unwrap();
    assert!(!aside.exists() && bad("").exists() && bad(".2").exists());
    drop(ledger);
    aside::lay(&aside, &[Box::new(record(0, "a", Some(1)))]).unwrap();
    let held = rusqlite::Connection::open(&aside).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let ledger = Ledger::open(&path).unwrap();
    assert!(ledger.wait_until_written().is_err(), "what it holds would be missed");
    drop(held);
    ledger.wait_until_written().unwrap();
    assert!(!aside.exists() && !bad(".3").exists());
    assert_eq!(sums(&path, By::Model), [("a".to_owned(), 1, 1, 0)]);
}

/// A place to write to that does not come back, and says so when it is written to.
struct Stuck(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);

impl Sink for Stuck {
    fn insert(&mut self, _batch: &[Box<Record>]) -> Result<(), String> {
        let _gone = self.0.send(());
        let _freed = self.1.recv();
        Err("it was stuck".to_owned())
    }

    fn is_silent(&self) -> bool {
        true
    }

    fn take_in(&mut self, _file: &Path) -> Result<(), aside::Untaken> {
        Ok(())
    }
}

#[test]
fn a_writer_that_is_stuck_with_no_room_for_more_holds_up_no_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (tell, begun) = std::sync::mpsc::channel();
    let (free, held) = std::sync::mpsc::channel();
    let keys = KeyStore::open(&path).unwrap();
    let writer = Writer { sink: Stuck(tell, held), state: Arc::default(), aside: None };
    let ledger = Ledger::begin(Read::File(path), keys, writer, true).unwrap();
    let arrived = Moment::from_millis(NOON);
    let keep = || ledger.keep(Record::new(RequestId::derive(arrived, 1), arrived, "openai"));
    keep();
    begun.recv().unwrap();
    while ledger.lost() == 0 {
        keep();
    }
    ledger.hurry();
    ledger.finish();
    drop(free);
}

/// Something that takes connections and says nothing.
fn silent() -> (std::net::TcpListener, SecretString) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u:unused@{}/x", listener.local_addr().unwrap());
    (listener, url.into())
}

#[test]
fn a_server_that_does_not_answer_holds_up_no_stop() {
    let (_listener, url) = silent();
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::connect_beside(&url, true, Some(folder.path())).unwrap();
    for number in 0..3 {
        ledger.keep(record(number, "a", Some(1)));
    }
    ledger.hurry();
    ledger.finish();
    assert_eq!((laid_aside(&aside::within(folder.path())), ledger.is_connected()), (3, false));
    // Where there is no folder nothing can be kept, and the stop is as short.
    let ledger = Ledger::connect_later(&url).unwrap();
    ledger.keep(record(0, "a", Some(1)));
    ledger.hurry();
    ledger.finish();
}
