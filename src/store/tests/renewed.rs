//! What is spent with a key counts as another's that took its place.

use super::*;

/// Wherever they are kept.
pub(super) fn spend_of_renewed_keys(place: &Place) {
    let now = Moment::from_millis(NOON);
    let names = ["one", "two", "three"].map(KeyHash::of);
    let key = |at: usize| VirtualKey::new(names[at], String::new(), now);
    let spent = |ledger: &Ledger, at: usize| {
        let span = [now, Moment::from_millis(NOON + 1000)];
        ledger.spent(&Scope::Key(names[at].id()), span, &[]).unwrap().0
    };
    let keep = |ledger: &Ledger, number| {
        let mut one = record(number, "g", Some(100));
        one.caller = Some(names[0].id());
        ledger.keep(one);
        ledger.wait_until_written().unwrap();
    };
    let ledger = place.write().unwrap();
    ledger.keys().put(None, &key(0)).unwrap();
    keep(&ledger, 0);
    assert_eq!((spent(&ledger, 0), spent(&ledger, 1)), (100, 0));
    ledger.keys().replace(&key(0), &key(1)).unwrap();
    // What was under way keeps the name that it was asked with.
    keep(&ledger, 1);
    assert_eq!(spent(&ledger, 1), 200);
    ledger.keys().replace(&key(1), &key(2)).unwrap();
    assert_eq!((spent(&ledger, 1), spent(&ledger, 2)), (0, 200));
    drop(ledger);
    let ledger = place.write().unwrap();
    assert_eq!((spent(&ledger, 1), spent(&ledger, 2)), (0, 200));
    let took = |ledger: &Ledger| names.map(|name| ledger.keys().renewed_to(name).unwrap());
    let is = |at: usize| Some(names[at].to_string());
    assert_eq!(took(&ledger), [is(2), is(2), None]);
    let renewals = ledger.keys().renewals().unwrap();
    assert_eq!(names.map(|name| renewals.get(&name.to_string()).cloned()), [is(2), is(2), None]);
    let lines = || place.read().unwrap().spend(By::Key, &Period::default()).unwrap();
    let told = |lines: Vec<Spend>| {
        lines.into_iter().map(|one| (Some(one.name), one.requests, one.cost_nano_usd.0)).collect::<Vec<_>>()
    };
    assert_eq!(told(lines()), [(is(2), 2, 200)]);
    // It comes back to what it was first.
    ledger.keys().replace(&key(2), &key(0)).unwrap();
    for ledger in [ledger, place.write().unwrap()] {
        assert_eq!(took(&ledger), [None, is(0), is(0)]);
        assert_eq!([0, 1, 2].map(|at| spent(&ledger, at)), [200, 0, 0]);
    }
}

#[test]
fn what_a_renewed_key_has_spent_is_what_it_was_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    spend_of_renewed_keys(&Place::File(folder.path().join("ledger.db")));
}
