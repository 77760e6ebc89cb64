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
