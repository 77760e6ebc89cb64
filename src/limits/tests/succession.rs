//! What was counted goes on counting wherever the next configuration keeps it.

use super::*;

fn quota(name: &str) -> Scope {
    Scope::Quota(name.into())
}

/// What one reading of a configuration comes to: each deployment's id, its scope and its limit of tokens.
fn read(rows: &[(&str, Scope, u64)]) -> BTreeMap<Scope, LimitSpec> {
    let places = rows.iter().map(|(id, scope, _)| (DeploymentId::from(*id), scope.clone())).collect();
    let places: Arc<Places> = Arc::new(places);
    let mut specs: BTreeMap<Scope, LimitSpec> = BTreeMap::new();
    for (_, scope, limit) in rows {
        let spec = LimitSpec { places: Some(Arc::clone(&places)), ..tokens(*limit) };
        specs.entry(scope.clone()).and_modify(|known| known.lower(&spec)).or_insert(spec);
    }
    specs
}

/// A gateway that keeps the limits of what went for those who began before, as a reload does.
struct Reloads {
    limits: Limits,
    in_force: BTreeMap<Scope, LimitSpec>,
    gone: BTreeMap<Scope, LimitSpec>,
}

impl Reloads {
    fn new(rows: &[(&str, Scope, u64)]) -> Self {
        let mut new = Self { limits: Limits::new(&BTreeMap::new()), in_force: BTreeMap::new(), gone: BTreeMap::new() };
        new.reload(at(0), rows);
        new
    }

    fn reload(&mut self, now: Moment, rows: &[(&str, Scope, u64)]) {
        let next = read(rows);
        self.gone.extend(std::mem::replace(&mut self.in_force, next.clone()));
        self.gone.retain(|scope, _| !next.contains_key(scope));
        let all = next.into_iter().chain(self.gone.clone()).collect();
        self.limits.apply(&all, now);
    }

    fn take(&self, now: Moment, scope: &Scope, amount: u64) -> Decision {
        let id = self.limits.id(scope);
        reserve(&self.limits, now, &[], demand(0, 0), &[(id, demand(amount, 0))])
    }

    fn spend(&self, now: Moment, scope: &Scope, amount: u64) {
        let (_, _, one) = granted(self.take(now, scope, amount));
        self.limits.response_head(now, &one);
        self.limits.settle(now, one, demand(amount, 0));
    }

    fn used(&self, now: Moment, scope: &Scope) -> u64 {
        self.limits.used(now, self.limits.id(scope))[Tokens]
    }
}

#[test]
fn a_row_that_comes_to_share_its_account_goes_on_counting() {
    let (lone, shared, named) = (deployment("s1"), quota("m-1234"), quota("acct"));
    let mut run = Reloads::new(&[("s1", lone.clone(), 100)]);
    run.spend(at(0), &lone, 60);
    let (_, _, open) = granted(run.take(at(1), &lone, 30));
    let before = run.limits.id(&lone);
    // Another row of the same account; the quota is named; and back again, twice.
    for second in [2, 10] {
        run.reload(at(second), &[("s1", shared.clone(), 100), ("s2", shared.clone(), 100)]);
        assert_eq!((run.used(at(second), &shared), run.limits.name(before)), (90, Some(shared.clone())));
        assert_eq!(
            run.limits.wait(at(second), before, demand(20, 0)),
            Wait::At(a_slice_after(60)),
            "whoever began before waits too"
        );
        run.reload(at(second + 2), &[("s1", named.clone(), 100)]);
        assert_eq!(run.used(at(second + 2), &named), 90);
        run.reload(at(second + 4), &[("s1", lone.clone(), 100)]);
        assert_eq!((run.used(at(second + 4), &lone), run.limits.id(&lone)), (90, before));
    }
    run.limits.response_head(at(15), &open);
    run.limits.settle(at(20), open, demand(10, 0));
    assert_eq!(run.used(at(20), &lone), 70);
    assert_eq!(run.used(at(61), &lone), 10);
    assert_eq!(run.used(at(76), &lone), 0);
    run.spend(at(80), &lone, 100);
    run.reload(at(81), &[("s1", lone.clone(), 150)]);
    assert_eq!(run.used(at(81), &lone), 100, "a reload that moves nothing counts nothing twice");
}

#[test]
fn a_place_that_was_left_is_given_back_once_wherever_its_limits_are_kept() {
    let (lone, shared) = (deployment("s1"), quota("m-1234"));
    let mut run = Reloads::new(&[("s1", lone.clone(), 100)]);
    let (_, _, left) = granted(run.take(at(1), &lone, 30));
    let (_, _, _stays) = granted(run.take(at(1), &lone, 5));
    let under_way = |run: &Reloads, now, scope| run.limits.used(now, run.limits.id(scope))[InFlight];
    run.reload(at(2), &[("s1", shared.clone(), 100), ("s2", shared.clone(), 100)]);
    run.limits.leave(&[&left]);
    assert_eq!((under_way(&run, at(3), &shared), run.used(at(3), &shared)), (1, 35));
    run.reload(at(4), &[("s1", lone.clone(), 100)]);
    run.limits.settle(at(5), left, demand(40, 0));
    assert_eq!((under_way(&run, at(5), &lone), run.used(at(5), &lone)), (1, 45));
}

#[test]
fn what_comes_together_is_added_and_what_is_divided_is_known_to_each() {
    let (one, two, both) = (deployment("s1"), deployment("s2"), quota("acct"));
    let lone = [("s1", one.clone(), 100), ("s2", two.clone(), 100)];
    let mut run = Reloads::new(&lone);
    run.spend(at(0), &one, 30);
    run.spend(at(1), &two, 20);
    let (_, _, open) = granted(run.take(at(2), &two, 5));
    run.reload(at(3), &[("s1", both.clone(), 200), ("s2", both.clone(), 200)]);
    assert_eq!(run.used(at(3), &both), 55);
    run.limits.refund(at(4), open);
    run.spend(at(5), &both, 40);
    run.reload(at(6), &lone);
    // What was under way counts where it was copied to as if it had been counted.
    assert_eq!((run.used(at(6), &one), run.used(at(6), &two)), (95, 95));
    run.spend(at(7), &one, 5);
    assert_eq!((run.used(at(7), &one), run.used(at(7), &two)), (100, 95), "they are two again");
    // One of three leaves: the others stay where they are.
    let mut run = Reloads::new(&[("a", both.clone(), 100), ("b", both.clone(), 100), ("c", both.clone(), 100)]);
    run.spend(at(0), &both, 70);
    run.reload(at(1), &[("a", quota("own"), 100), ("b", both.clone(), 100), ("c", both.clone(), 100)]);
    assert_eq!((run.used(at(1), &quota("own")), run.used(at(1), &both)), (70, 70));
    run.spend(at(2), &quota("own"), 10);
    run.reload(at(3), &[("a", quota("own"), 100), ("b", both.clone(), 100), ("c", both.clone(), 100)]);
    assert_eq!((run.used(at(3), &quota("own")), run.used(at(3), &both)), (80, 70), "nothing moved");
    assert_eq!((run.used(at(63), &quota("own")), run.used(at(63), &both)), (0, 0));
}

#[test]
fn a_name_that_comes_back_for_another_row_begins_anew() {
    let (one, two, both) = (deployment("s1"), deployment("s2"), quota("acct"));
    let mut run = Reloads::new(&[("s1", one.clone(), 100)]);
    run.spend(at(0), &one, 70);
    run.reload(at(1), &[("s1", both.clone(), 100), ("s2", both.clone(), 100)]);
    run.reload(at(2), &[("s2", two.clone(), 100)]);
    assert_eq!(run.used(at(2), &two), 70);
    run.reload(at(3), &[("s1", one.clone(), 100), ("s2", two.clone(), 100)]);
    assert_eq!((run.used(at(3), &one), run.used(at(3), &two)), (0, 70));
}

#[test]
fn a_restart_with_another_configuration_finds_what_was_counted() {
    let (one, two, both) = (deployment("s1"), deployment("s2"), quota("acct"));
    let lone = [("s1", one.clone(), 100), ("s2", two.clone(), 100)];
    let together = [("s1", both.clone(), 200), ("s2", both.clone(), 200)];
    let restarted = |before: &Limits, rows: &[(&str, Scope, u64)], older: bool| {
        let mut saved = serde_json::to_value(before.save(at(5))).unwrap();
        if older {
            for scope in saved["scopes"].as_array_mut().unwrap() {
                scope.as_object_mut().unwrap().remove("deployments");
            }
        }
        let run = Reloads::new(rows);
        run.limits.restore(at(6), &serde_json::from_value(saved).unwrap());
        run
    };
    let run = Reloads::new(&lone);
    run.spend(at(0), &one, 30);
    run.spend(at(1), &two, 20);
    for older in [false, true] {
        assert_eq!(restarted(&run.limits, &together, older).used(at(6), &both), 50);
        let same = restarted(&run.limits, &lone, older);
        assert_eq!((same.used(at(6), &one), same.used(at(6), &two)), (30, 20));
    }
    let mut run = Reloads::new(&lone);
    run.spend(at(0), &one, 30);
    run.spend(at(1), &two, 20);
    run.reload(at(2), &together);
    assert_eq!(
        restarted(&run.limits, &together, false).used(at(6), &both),
        50,
        "what a retired one holds is not added"
    );
    let divided = restarted(&run.limits, &lone, false);
    // What the second had before they came together may count twice for a window, and never not at all.
    assert_eq!((divided.used(at(6), &one), divided.used(at(6), &two)), (50, 70));
}

#[test]
fn a_day_is_carried_over_beside_the_minute() {
    let (lone, named, other) = (deployment("s1"), quota("acct"), quota("other"));
    let with_day = |rows: &[(&str, Scope, u64)]| {
        let mut specs = read(rows);
        for spec in specs.values_mut() {
            spec.others = LimitSpec::daily(None, Some(1000));
        }
        specs
    };
    let limits = Limits::new(&with_day(&[("s1", lone.clone(), 500), ("s2", other.clone(), 500)]));
    for scope in [&lone, &other] {
        let id = limits.id(scope);
        let (_, _, one) = granted(reserve(&limits, at(0), &[], demand(0, 0), &[(id, demand(400, 0))]));
        limits.settle(at(0), one, demand(400, 0));
    }
    limits.apply(&with_day(&[("s1", named.clone(), 500), ("s2", named.clone(), 500)]), at(90));
    let used = limits.used(at(90), limits.id(&named));
    assert_eq!((used[Tokens], used.free[Tokens]), (0, Some(200)), "the minute is over, and the day is not");
}

#[test]
fn a_day_waits_for_its_limit_which_may_be_read_later_than_what_was_counted() {
    let key = Scope::Key(crate::id::KeyId::from("kept"));
    let daily = LimitSpec { others: LimitSpec::daily(None, Some(1000)), ..LimitSpec::default() };
    let before = Limits::new(&BTreeMap::from([(key.clone(), daily.clone())]));
    let id = before.id(&key);
    let (_, _, one) = granted(reserve(&before, at(0), &[], demand(0, 0), &[(id, demand(400, 0))]));
    before.settle(at(0), one, demand(400, 0));
    let mut saved = before.save(at(90));
    for restart in 0..2 {
        let limits = Limits::new(&BTreeMap::new());
        limits.restore(at(100), &saved);
        saved = limits.save(at(110 + restart));
    }
    let after = Limits::new(&BTreeMap::new());
    after.restore(at(120), &saved);
    let id = after.restrict(&key, Some(&daily), at(121));
    assert_eq!(after.used(at(121), id).free[Tokens], Some(600));
    let after = Limits::new(&BTreeMap::new());
    after.restore(at(86_500), &saved);
    let id = after.restrict(&key, Some(&daily), at(86_501));
    assert_eq!(after.used(at(86_501), id).free[Tokens], Some(1000), "a day later nothing of it counts");
}
