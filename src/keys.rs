//! The virtual keys there are, in memory: who shows one is found without asking a database.
//!
//! The map is replaced as a whole and read without a lock, so that a change acts on the next request. A key is looked up by its
//! digest, which nobody can choose, and compared once more in constant time. Keys of the configuration stand above kept ones.

mod kept;
mod renewed;
mod teams;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use subtle::ConstantTimeEq;

use crate::budgets::{Budgets, Change};
use crate::id::{KeyId, TeamId};
use crate::limits::{LimitSpec, Limits, Scope};
use crate::moment::Moment;
use crate::snapshot::Caller;
use crate::virtual_key::{KeyHash, VirtualKey};

use kept::Unreadable;
use renewed::Renewed;
pub use teams::{KnownTeam, TeamBook};

/// How long whoever changes a key waits for others who do.
const TURN: Duration = Duration::from_secs(20);

/// A key that is known.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// What it may do.
    pub key: Arc<VirtualKey>,
    /// Whoever shows it.
    pub caller: Arc<Caller>,
    /// Whether the configuration gives it.
    pub configured: bool,
}

type Map = HashMap<KeyHash, KnownKey>;

/// Where the keys come from.
#[derive(Debug, Default)]
struct Sources {
    configured: BTreeMap<KeyHash, Arc<VirtualKey>>,
    kept: BTreeMap<KeyHash, Arc<VirtualKey>>,
}

/// Every key that is known.
#[derive(Debug)]
pub struct KeyBook {
    known: ArcSwap<Map>,
    /// Held by whoever changes keys.
    sources: Mutex<Sources>,
    /// Whether somebody is changing what is kept, and who waits for that.
    changing: Mutex<bool>,
    changed: Condvar,
    /// Keys that are other ones now.
    renewed: Renewed,
    /// What is kept and cannot be read.
    unreadable: Unreadable,
    /// Whether what is kept could not be read at the start, and was not since.
    awaited: AtomicBool,
    /// The teams that are kept beside.
    pub teams: TeamBook,
    limits: Arc<Limits>,
    budgets: Arc<Budgets>,
}

impl KeyBook {
    /// No keys yet; theirs will be limits and budgets of these.
    #[must_use]
    pub fn new(limits: Arc<Limits>, budgets: Arc<Budgets>) -> Self {
        let teams = TeamBook::new(Arc::clone(&limits), Arc::clone(&budgets));
        let (known, sources, renewed) = (ArcSwap::default(), Mutex::default(), Renewed::default());
        let (changing, changed, unreadable) = (Mutex::default(), Condvar::new(), Unreadable::default());
        let awaited = AtomicBool::new(false);
        Self { known, sources, changing, changed, renewed, unreadable, awaited, teams, limits, budgets }
    }

    /// The key that was shown.
    #[must_use]
    pub fn find(&self, shown: &str) -> Option<KnownKey> {
        let known = self.known.load();
        if known.is_empty() {
            return None;
        }
        let hash = KeyHash::of(shown);
        let found = known.get(&hash)?;
        bool::from(found.key.hash.as_bytes().ct_eq(hash.as_bytes())).then(|| found.clone())
    }

    /// The key with this digest.
    #[must_use]
    pub fn get(&self, hash: KeyHash) -> Option<KnownKey> {
        self.known.load().get(&hash).cloned()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.load().is_empty()
    }

    /// All of them, in the order of their digests.
    #[must_use]
    pub fn all(&self) -> Vec<KnownKey> {
        let mut all: Vec<KnownKey> = self.known.load().values().cloned().collect();
        all.sort_by_key(|known| known.key.hash);
        all
    }

    /// A configuration is put in force: its keys, and its limits beside those of all keys and of the teams that are none of its own.
    /// Blocks: spend may be read.
    pub fn apply(
        &self,
        now: Moment,
        configured: &[VirtualKey],
        teams: BTreeSet<TeamId>,
        mut specs: BTreeMap<Scope, LimitSpec>,
    ) {
        specs.extend(self.teams.configure(teams));
        let (change, mut sources) = (self.budgets.change(), self.lock());
        sources.configured = configured.iter().map(|key| (key.hash, Arc::new(key.clone()))).collect();
        let keys = sources.all();
        specs.extend(keys.values().filter_map(|(key, _)| Some((scope(key), key.allowance.limits()?))));
        self.limits.apply(&specs, now);
        let known = keys.into_values().map(|(key, configured)| (key.hash, self.known(&change, now, key, configured)));
        let known = Arc::new(known.collect());
        // Where the teams' spend is read, that of all keys is read with it.
        self.teams.renew(now);
        change.read();
        let before = self.known.swap(known);
        let now_known = self.known.load();
        for gone in before.keys().filter(|hash| !now_known.contains_key(hash)) {
            let _none = change.set(now, &Scope::Key(gone.id()), &[]);
        }
    }

    /// The kept keys that are none of these.
    fn gone(&self, kept: &[VirtualKey]) -> Vec<KeyHash> {
        let kept: BTreeSet<KeyHash> = kept.iter().map(|key| key.hash).collect();
        self.lock().kept.keys().filter(|hash| !kept.contains(hash)).copied().collect()
    }

    /// The keys that are kept are these, some of them in the place of others: what is under way for a first one of `renewed` counts as the
    /// second's. Says whether they are other than they were. Blocks, as [`KeyBook::apply`].
    fn load(&self, now: impl Fn() -> Moment, kept: Vec<VirtualKey>, renewed: &[(KeyHash, KeyHash)]) -> bool {
        let (change, mut sources) = (self.budgets.change(), self.lock());
        let kept: BTreeMap<_, _> = kept.into_iter().map(|key| (key.hash, Arc::new(key))).collect();
        if sources.kept == kept {
            return false;
        }
        for (old, new) in renewed {
            self.renewed.note(*old, *new);
        }
        // Not before it was this one's turn: what ends while others are waited for counts in no budget that comes to be now, and is read. As
        // for one that is renewed here, to the millisecond.
        let now = now() + Duration::from_millis(1);
        sources.kept = kept;
        let known = sources.all().into_values();
        let known = known.map(|(key, configured)| (key.hash, self.known(&change, now, key, configured)));
        let known = Arc::new(known.collect::<Map>());
        change.read();
        let before = self.known.swap(Arc::clone(&known));
        for (hash, gone) in before.iter().filter(|(hash, _)| !known.contains_key(hash)) {
            let _none = change.set(now, &Scope::Key(hash.id()), &[]);
            if gone.key.allowance.limits().is_some() {
                self.limits.restrict(&scope(&gone.key), None, now);
            }
        }
        true
    }

    /// Reads, writes and puts in force, while nobody else changes a kept key. `None` where somebody else takes too long for that, and
    /// nothing is done. Blocks.
    pub fn change<R>(&self, act: impl FnOnce() -> R) -> Option<R> {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(changing, TURN, |changing| *changing);
        let (mut changing, late) = waited.unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            return None;
        }
        *changing = true;
        drop(changing);
        let _alone = Alone(self);
        Some(act())
    }

    /// A kept key takes the place of another: what that spends counts as its own. `now` tells the time. Blocks, as [`KeyBook::apply`].
    pub fn renew(&self, now: impl Fn() -> Moment, old: KeyHash, key: VirtualKey) {
        self.renewed.note(old, key.hash);
        // Whoever began before the new one's budget came to be counts in it at its end: nobody must begin with the old one after that.
        self.remove(now(), old);
        // Later than whatever began with the old one: who changes all keys may have been waited for, and requests began meanwhile. What is kept for
        // good has moments to the millisecond: all that was begun until now is read there.
        self.put(now() + Duration::from_millis(1), key);
    }

    /// The key that took the place of this one, where one did.
    #[must_use]
    pub fn renewed(&self, name: &KeyId) -> Option<KeyId> {
        self.renewed.find(KeyHash::parse(name.as_str())?).map(|hash| hash.id())
    }

    /// A kept key is new, or other than it was. Blocks, as [`KeyBook::apply`].
    pub fn put(&self, now: Moment, key: VirtualKey) {
        let (change, mut sources) = (self.budgets.change(), self.lock());
        let key = Arc::new(key);
        sources.kept.insert(key.hash, Arc::clone(&key));
        if sources.configured.contains_key(&key.hash) {
            return;
        }
        let mut known = Map::clone(&self.known.load());
        known.insert(key.hash, self.known(&change, now, key, false));
        change.read();
        self.known.store(Arc::new(known));
    }

    /// A kept key is no more.
    pub fn remove(&self, now: Moment, hash: KeyHash) {
        let mut sources = self.lock();
        let removed = sources.kept.remove(&hash);
        if sources.configured.contains_key(&hash) {
            return;
        }
        let mut known = Map::clone(&self.known.load());
        known.remove(&hash);
        self.known.store(Arc::new(known));
        self.budgets.set(now, &Scope::Key(hash.id()), &[]);
        if let Some(key) = removed.filter(|key| key.allowance.limits().is_some()) {
            self.limits.restrict(&scope(&key), None, now);
        }
    }

    /// A key with its limits and its budget in force.
    fn known(&self, change: &Change<'_>, now: Moment, key: Arc<VirtualKey>, configured: bool) -> KnownKey {
        let scope = scope(&key);
        let mut scopes = vec![self.limits.id(&Scope::Global)];
        let before = self.get(key.hash).is_some_and(|before| before.key.allowance.limits().is_some());
        match key.allowance.limits() {
            Some(spec) => scopes.push(self.limits.restrict(&scope, Some(&spec), now)),
            None if before => drop(self.limits.restrict(&scope, None, now)),
            None => {}
        }
        let caller = Caller {
            key: key.hash.id(),
            name: key.label().into(),
            team: key.team_id(),
            scopes,
            budgets: change.set(now, &scope, &[key.budget()]),
            virtual_key: Some(Arc::clone(&key)),
        };
        KnownKey { key, caller: Arc::new(caller), configured }
    }

    fn lock(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody is changing what is kept; dropping it ends that.
struct Alone<'b>(&'b KeyBook);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        *self.0.changing.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.changed.notify_one();
    }
}

impl Sources {
    /// Every key, and whether the configuration gives it.
    fn all(&self) -> BTreeMap<KeyHash, (Arc<VirtualKey>, bool)> {
        let of = |(hash, key): (&KeyHash, &Arc<VirtualKey>), configured| (*hash, (Arc::clone(key), configured));
        let kept = self.kept.iter().map(|one| of(one, false));
        kept.chain(self.configured.iter().map(|one| of(one, true))).collect()
    }
}

fn scope(key: &VirtualKey) -> Scope {
    Scope::Key(key.hash.id())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::budgets::SpendReader;
    use crate::id::RequestId;
    use crate::money::NanoUsd;
    use crate::virtual_key::KeptTeam;

    #[test]
    fn a_change_acts_at_once_and_the_configuration_stands_above_what_is_kept() {
        let limits = Arc::new(Limits::new(&BTreeMap::new()));
        let book = KeyBook::new(Arc::clone(&limits), Arc::default());
        let now = Moment::from_millis(1);
        let key = |alias: &str| {
            let key = VirtualKey::new(KeyHash::of("sk-one"), String::new(), now);
            VirtualKey { alias: Some(alias.to_owned()), ..key }
        };
        assert!(book.find("sk-one").is_none());
        book.put(now, key("kept"));
        let label = || book.find("sk-one").map(|known| known.key.label());
        assert_eq!((label().as_deref(), book.find("sk-two").is_none()), (Some("kept"), true));
        let mut given = key("given");
        given.allowance.rpm = Some(1);
        book.apply(now, &[given], BTreeSet::new(), BTreeMap::new());
        assert_eq!(label().as_deref(), Some("given"));
        let scope = limits.id(&Scope::Key(KeyHash::of("sk-one").id()));
        assert_eq!(limits.used(now, scope).free[crate::limits::Dimension::Requests], Some(1));
        book.apply(now, &[], BTreeSet::new(), BTreeMap::new());
        assert_eq!(label().as_deref(), Some("kept"));
        assert_eq!(limits.used(now, scope).free[crate::limits::Dimension::Requests], None);
        book.remove(now, KeyHash::of("sk-one"));
        assert_eq!(label(), None);
    }

    #[test]
    fn what_was_spent_is_waited_for_once_whatever_is_put_in_force_and_not_for_a_key_made_just_now() {
        let budgets = Arc::<Budgets>::default();
        let book = Arc::new(KeyBook::new(Arc::new(Limits::new(&BTreeMap::new())), Arc::clone(&budgets)));
        let (waits, now) = (Arc::new(AtomicU64::new(0)), Moment::of_date(2026, 11, 27));
        let (told, known, of) = (Arc::clone(&waits), Arc::clone(&book), Arc::downgrade(&budgets));
        let sum = move |scope: &Scope, _: [Moment; 2], _: &[RequestId]| {
            // Whoever begins now does not find it, and must not be taken for somebody who does.
            let Scope::Team(team) = scope else { return Some(NanoUsd::default()) };
            let budgets = of.upgrade().unwrap();
            assert!(known.teams.get(team).is_none() && budgets.in_force() < budgets.added());
            Some(NanoUsd(5))
        };
        let catch_up = move || {
            told.fetch_add(1, Ordering::Relaxed);
            true
        };
        budgets.read_from(SpendReader { catch_up: Box::new(catch_up), ..SpendReader::of(sum) });
        let key = |number: u32, made| VirtualKey::new(KeyHash::of(&format!("sk-{number}")), String::new(), made);
        book.put(now, key(0, now));
        assert_eq!(waits.load(Ordering::Relaxed), 0);
        let before = Moment::of_date(2026, 11, 26);
        book.load(|| now, (1..500).map(|number| key(number, before)).collect(), &[]);
        book.put(now, key(1000, before));
        assert_eq!(waits.load(Ordering::Relaxed), 2);
        book.teams.put(now, KeptTeam::new("t".to_owned(), before));
        let team = book.teams.get(&TeamId::from("t")).unwrap();
        assert_eq!(budgets.report(now, team.budgets[0]).unwrap().spent, NanoUsd(5));
        book.apply(now, &[], BTreeSet::new(), BTreeMap::new());
        assert_eq!((waits.load(Ordering::Relaxed), budgets.in_force()), (3, budgets.added()));
    }

    #[test]
    fn keys_that_another_gateway_changed_act_and_those_it_took_away_do_not() {
        let limits = Arc::new(Limits::new(&BTreeMap::new()));
        let book = KeyBook::new(Arc::clone(&limits), Arc::default());
        let now = Moment::from_millis(1);
        let key = |secret: &str| {
            let mut key = VirtualKey::new(KeyHash::of(secret), String::new(), now);
            key.allowance.rpm = Some(1);
            key
        };
        assert!(!book.load(|| now, Vec::new(), &[]));
        assert!(book.load(|| now, vec![key("sk-one"), key("sk-two")], &[]));
        assert!(!book.load(|| now, vec![key("sk-one"), key("sk-two")], &[]));
        let [one, two, three] = ["sk-one", "sk-two", "sk-three"].map(KeyHash::of);
        let scope = limits.id(&Scope::Key(one.id()));
        assert_eq!(limits.used(now, scope).free[crate::limits::Dimension::Requests], Some(1));
        let others = [VirtualKey { blocked: true, ..key("sk-two") }, key("sk-three")];
        assert_eq!(book.gone(&others), [one]);
        assert!(book.load(|| now, others.into(), &[(one, three)]));
        assert!(book.get(one).is_none() && book.get(three).is_some());
        assert!(book.get(two).is_some_and(|known| known.key.blocked));
        assert_eq!(book.renewed(&one.id()), Some(three.id()));
        assert_eq!(limits.used(now, scope).free[crate::limits::Dimension::Requests], None);
    }

    #[test]
    fn what_is_under_way_when_a_key_is_renewed_counts_as_the_new_one_s() {
        let budgets = Arc::<Budgets>::default();
        let book = KeyBook::new(Arc::new(Limits::new(&BTreeMap::new())), Arc::clone(&budgets));
        let [old, new] = ["sk-old", "sk-new"].map(KeyHash::of);
        let begun = Moment::of_date(2026, 11, 27);
        let later = begun + Duration::from_secs(1);
        book.put(begun, VirtualKey::new(old, String::new(), begun));
        let knew = budgets.in_force();
        let held = budgets.hold(begun, &book.get(old).unwrap().caller.budgets, NanoUsd(9)).unwrap();
        assert_eq!(book.renewed(&old.id()), None);
        book.renew(|| later, old, VirtualKey::new(new, String::new(), begun));
        assert!(book.get(old).is_none());
        let name = book.renewed(&old.id()).unwrap();
        assert_eq!(name, new.id());
        assert!(budgets.settle(later, begun, held, NanoUsd(7)).is_empty());
        let request = (RequestId::derive(begun, 1), begun);
        let reached = budgets.settle_added(later, request, (knew, &[]), &[(Scope::Key(name), NanoUsd(7))]);
        assert!(reached.is_empty());
        let account = book.get(new).unwrap().caller.budgets[0];
        assert_eq!(budgets.report(later, account).unwrap().spent, NanoUsd(7));
    }

    #[test]
    fn whoever_begins_while_a_key_is_being_renewed_is_read_for_the_new_one() {
        let budgets = Arc::<Budgets>::default();
        let book = KeyBook::new(Arc::new(Limits::new(&BTreeMap::new())), Arc::clone(&budgets));
        let [old, new] = ["sk-old", "sk-new"].map(KeyHash::of);
        let made = Moment::of_date(2026, 11, 27);
        let [asked, last] = [5, 9].map(|seconds| made + Duration::from_secs(seconds));
        // What is kept for good has a request that began with the old one just before that went.
        let sum = move |scope: &Scope, [since, before]: [Moment; 2], _: &[RequestId]| {
            let is_there = *scope == Scope::Key(new.id()) && (since..before).contains(&last);
            Some(NanoUsd(if is_there { 7 } else { 0 }))
        };
        budgets.read_from(SpendReader::of(sum));
        book.put(made, VirtualKey::new(old, String::new(), made));
        // As long as the old one is there, time goes by.
        let now = || if book.get(old).is_some() { asked } else { last };
        book.renew(now, old, VirtualKey::new(new, String::new(), made));
        let account = book.get(new).unwrap().caller.budgets[0];
        assert_eq!(budgets.report(last, account).unwrap().spent, NanoUsd(7));
    }

    #[test]
    fn one_change_waits_for_another_and_the_next_one_has_its_turn_whatever_became_of_that() {
        let book = KeyBook::new(Arc::new(Limits::new(&BTreeMap::new())), Arc::default());
        assert_eq!(book.change(|| 1), Some(1));
        let failed =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| book.change(|| -> u8 { panic!("on purpose") })));
        assert!(failed.is_err());
        assert_eq!(book.change(|| 2), Some(2));
    }
}
