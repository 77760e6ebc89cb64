//! Changes of keys and teams that somebody else changes too, and rows that cannot be read.

use std::slice::from_ref;

use super::*;

fn key(secret: &str) -> VirtualKey {
    VirtualKey::new(KeyHash::of(secret), String::new(), Moment::from_millis(NOON))
}

fn named(secret: &str, alias: &str) -> VirtualKey {
    VirtualKey { alias: Some(alias.to_owned()), ..key(secret) }
}

/// Two gateways over one ledger, wherever it is.
pub(super) fn as_they_were_read(one: &Ledger, other: &Ledger) {
    let (one, other) = (one.keys(), other.keys());
    let before = named("sk-one", "a");
    one.put(None, &before).unwrap();
    let blocked = VirtualKey { blocked: true, ..before.clone() };
    one.put(Some(&before), &blocked).unwrap();
    // The other has read it before that.
    let mine = VirtualKey { user: Some("ada".to_owned()), ..before.clone() };
    assert_eq!(other.put(Some(&before), &mine), Err(Unchanged::Overtaken));
    assert_eq!(other.put(None, &mine), Err(Unchanged::Overtaken));
    assert_eq!(other.delete(from_ref(&before)), Err(Unchanged::Overtaken));
    assert_eq!(other.replace(&before, &named("sk-two", "a")), Err(Unchanged::Overtaken));
    assert_eq!(one.load().unwrap().read.as_slice(), from_ref(&blocked));
    // Whose answer was lost asks once more.
    assert_eq!(one.put(Some(&before), &blocked), Ok(()));

    assert_eq!(other.put(None, &named("sk-two", "a")), Err(Unchanged::AliasTaken("a".to_owned())));
    other.put(None, &named("sk-two", "b")).unwrap();
    let same = named("sk-two", "a");
    assert_eq!(other.put(Some(&named("sk-two", "b")), &same), Err(Unchanged::AliasTaken("a".to_owned())));

    // One of two is another one by now: neither goes.
    let changed = VirtualKey { blocked: true, ..named("sk-two", "b") };
    other.put(Some(&named("sk-two", "b")), &changed).unwrap();
    assert_eq!(one.delete(&[blocked.clone(), named("sk-two", "b")]), Err(Unchanged::Overtaken));
    assert_eq!(one.load().unwrap().read.len(), 2);

    let [first, second] = ["sk-three", "sk-four"].map(|secret| VirtualKey { blocked: true, ..named(secret, "a") });
    one.replace(&blocked, &first).unwrap();
    assert_eq!(other.replace(&blocked, &second), Err(Unchanged::Overtaken), "it has one successor");
    assert_eq!(other.put(Some(&blocked), &before), Err(Unchanged::Overtaken), "it does not come back");
    assert_eq!(other.delete(from_ref(&blocked)), Err(Unchanged::Overtaken));
    assert_eq!(one.replace(&blocked, &first), Ok(()));

    let lab = KeptTeam::new("lab".to_owned(), Moment::from_millis(NOON));
    one.put_team(None, &lab).unwrap();
    let closed = KeptTeam { blocked: true, ..lab.clone() };
    one.put_team(Some(&lab), &closed).unwrap();
    let renamed = KeptTeam { alias: Some("L".to_owned()), ..lab.clone() };
    assert_eq!(other.put_team(Some(&lab), &renamed), Err(Unchanged::Overtaken));
    assert_eq!(other.put_team(None, &renamed), Err(Unchanged::Overtaken));
    assert_eq!(other.delete_teams(&[lab]), Err(Unchanged::Overtaken));
    // A key that the other has made meanwhile goes with its team.
    other.put(None, &VirtualKey { team: Some("lab".to_owned()), ..key("sk-member") }).unwrap();
    one.delete_teams(&[closed]).unwrap();
    one.delete(&[first, changed]).unwrap();
    assert_eq!((one.load().unwrap().read, other.load_teams().unwrap().read), (Vec::new(), Vec::new()));
}

/// Rows that `damage` writes over with SQL.
pub(super) fn rows_that_cannot_be_read(ledger: &Ledger, damage: impl Fn(&str)) {
    let keys = ledger.keys();
    let member = VirtualKey { team: Some("lab".to_owned()), ..named("sk-member", "a") };
    let lab = KeptTeam::new("lab".to_owned(), Moment::from_millis(NOON));
    keys.put(None, &key("sk-sound")).unwrap();
    keys.put(None, &member).unwrap();
    keys.put_team(None, &lab).unwrap();
    // A newer version's, one that is cut off, and one whose name somebody took for the key.
    damage(r#"UPDATE keys SET key = '{"hash": 7}' WHERE key_alias = 'a'"#);
    damage(r#"INSERT INTO teams VALUES ('cut', '{"id": "cut", "ali')"#);
    damage("INSERT INTO keys VALUES ('sk-in-plain-words', NULL, NULL, '{}')");
    let (loaded, teams) = (keys.load().unwrap(), keys.load_teams().unwrap());
    assert_eq!((loaded.read.as_slice(), teams.read.as_slice()), (&[key("sk-sound")][..], from_ref(&lab)));
    let stand_in = |row: &Unread<VirtualKey>| row.stand_in.clone();
    let known: Vec<VirtualKey> = loaded.unread.iter().filter_map(stand_in).collect();
    let [known] = known.as_slice() else { panic!("{known:?}") };
    assert!(known.blocked && known.hash == member.hash && known.alias == member.alias && known.team == member.team);
    assert!(!format!("{loaded:?}").contains("plain-words"), "{loaded:?}");
    let cut = &teams.unread[0];
    assert!(cut.name == "the team `cut`" && cut.stand_in.as_ref().is_some_and(|team| team.blocked), "{cut:?}");

    let named_so = || Err(Unchanged::Unread(format!("the key {}", member.hash)));
    assert_eq!(keys.put(Some(&member), &VirtualKey { blocked: true, ..member.clone() }), named_so());
    assert_eq!(keys.put(None, &member), named_so());
    assert_eq!(keys.delete(&[key("sk-sound"), known.clone()]), named_so());
    assert_eq!(keys.replace(known, &key("sk-new")), named_so());
    assert_eq!(keys.delete_teams(from_ref(&lab)), named_so(), "its key would go with it");
    let taken = keys.put(None, &named("sk-other", "a"));
    assert_eq!(taken, Err(Unchanged::AliasTaken("a".to_owned())));
    let cut = KeptTeam::new("cut".to_owned(), Moment::from_millis(NOON));
    assert_eq!(keys.put_team(None, &cut), Err(Unchanged::Unread("the team `cut`".to_owned())));
    assert_eq!(keys.load().unwrap(), loaded, "nothing has changed");
    // All else goes on.
    keys.delete(&[key("sk-sound")]).unwrap();
    assert!(keys.load().unwrap().read.is_empty());
}

/// All of them change one key, and make one more, at the same time.
pub(super) fn at_once(ledgers: &[Ledger], round: usize) {
    let before = key(&format!("sk-shared-{round}"));
    ledgers[0].keys().put(None, &before).unwrap();
    let ways = |at: usize| {
        let (before, alias) = (&before, format!("alias-{round}"));
        let keys = ledgers[at].keys();
        move || {
            let put = keys.put(Some(before), &VirtualKey { user: Some(at.to_string()), ..before.clone() });
            let named = keys.put(None, &named(&format!("sk-{round}-{at}"), &alias));
            [put, named]
        }
    };
    let told = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..ledgers.len()).map(|at| scope.spawn(ways(at))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let done = |which: usize| told.iter().filter(|told| told[which] == Ok(())).count();
    assert_eq!([done(0), done(1)], [1, 1], "{told:?}");
    let refused = [Unchanged::Overtaken, Unchanged::AliasTaken(format!("alias-{round}"))];
    for told in &told {
        assert!(told.iter().zip(&refused).all(|(told, refused)| *told == Ok(()) || told.as_ref() == Err(refused)));
    }
}

#[test]
fn a_file_s_rows_are_changed_as_they_were_read_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let [one, other] = [(), ()].map(|()| Ledger::open(&path).unwrap());
    as_they_were_read(&one, &other);
    let database = rusqlite::Connection::open(&path).unwrap();
    rows_that_cannot_be_read(&one, |text| database.execute_batch(text).unwrap());
}

#[test]
fn changes_of_a_file_at_once_do_not_lose_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledgers: Vec<Ledger> = (0..4).map(|_| Ledger::open(&path).unwrap()).collect();
    for round in 0..5 {
        at_once(&ledgers, round);
    }
}
