use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

fn succeed(predecessor: &Arc<Router>, settings: &str, ids: &[&str]) -> Result<Arc<Router>, PolicyProblem> {
    Router::succeed(Arc::clone(&COMPONENT), setup(settings, ids), predecessor)
}

/// A successor for these deployments that is not in charge yet.
fn prepare(predecessor: &Arc<Router>, ids: &[&str]) -> RouterSuccession {
    RouterSuccession::prepare(Arc::clone(&COMPONENT), setup("", ids), predecessor, Offers::default()).unwrap()
}

#[test]
fn three_hundred_swaps_under_load_lose_no_outcome_and_count_none_twice() {
    let current = Mutex::new(start(""));
    let first = Arc::clone(&current.lock().unwrap());
    let (stop, told, weight) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for n in 0..3 {
            let (current, first, stop, told, weight) = (&current, &first, &stop, &told, &weight);
            scope.spawn(move || {
                let mut seed = n;
                while !stop.load(Ordering::Relaxed) {
                    seed = crate::seed::mix(seed);
                    // As requests do: some hold an old router for long, all report to the one they asked.
                    let router = if seed % 5 == 0 { Arc::clone(first) } else { Arc::clone(&current.lock().unwrap()) };
                    assert_eq!(ask(&router, 0, Moment::default()), Ok(vec![0, 1, 2]));
                    let deployment = u32::try_from(seed % 3).unwrap();
                    router.observe(&outcome(deployment));
                    told.fetch_add(1, Ordering::Relaxed);
                    weight.fetch_add(deployment.into(), Ordering::Relaxed);
                }
            });
        }
        for _ in 0..300 {
            let old = Arc::clone(&current.lock().unwrap());
            let new = succeed(&old, "", &["a", "b", "c"]).unwrap();
            *current.lock().unwrap() = new;
        }
        stop.store(true, Ordering::Relaxed);
    });
    let newest = current.into_inner().unwrap();
    assert_eq!(counted(&newest), (told.into_inner(), weight.into_inner()));
    let report = newest.report();
    assert_eq!((report.generation, report.faults), (301, 0));
}

#[test]
fn outcomes_follow_their_deployment_when_the_list_changes() {
    let old = start("");
    let new = succeed(&old, "", &["c", "d", "a"]).unwrap();
    old.observe(&outcome(0));
    assert_eq!(counted(&new), (1, 2), "`a` is at place 2 now");
    old.observe(&outcome(2));
    assert_eq!(counted(&new), (2, 2), "`c` is at place 0 now");
    old.observe(&outcome(1));
    assert_eq!(counted(&new), (2, 2), "`b` is gone");
}

#[test]
fn outcomes_seen_while_the_successor_is_made_are_replayed() {
    let old = start("");
    old.observe(&outcome(0));
    let succession = prepare(&old, &["b", "a", "c"]);
    for _ in 0..200 {
        old.observe(&outcome(0));
    }
    assert_eq!(counted(succession.successor()), (1, 0));
    assert_eq!(counted(&old), (201, 0), "the old one goes on learning");
    let new = succession.publish();
    assert_eq!(counted(&new), (201, 200), "`a` is at place 1 now");
}

#[test]
fn a_succession_that_fails_or_is_dropped_leaves_the_old_router_as_it_was() {
    let old = start("");
    let problem = succeed(&old, "configure-refuse", &["a", "b", "c"]).unwrap_err();
    assert!(matches!(problem, PolicyProblem::Configure(_)));
    drop(prepare(&old, &["a"]));
    old.observe(&outcome(1));
    assert_eq!(counted(&old), (1, 1));
    let new = succeed(&old, "", &["a", "b", "c"]).unwrap();
    assert_eq!(counted(&new), (1, 1));
}

#[test]
fn a_router_is_succeeded_once() {
    let old = start("");
    let succession = prepare(&old, &["a"]);
    assert_eq!(succeed(&old, "", &["a"]).unwrap_err(), PolicyProblem::AlreadySucceeded);
    let new = succession.publish();
    assert_eq!(succeed(&old, "", &["a"]).unwrap_err(), PolicyProblem::AlreadySucceeded);
    assert_eq!(succeed(&new, "", &["a"]).unwrap().report().generation, 3);
}

#[test]
fn a_successor_that_will_not_take_the_state_begins_empty_and_says_so() {
    let old = start("");
    old.observe(&outcome(1));
    let new = succeed(&old, "state-refuse", &["a", "b", "c"]).unwrap();
    assert!(new.report().state_refused);
    assert_eq!(counted(&new), (0, 0));
}

/// The guest takes whatever is called `count`, and leaves out without a word what is called otherwise.
#[test]
fn a_successor_begins_with_the_first_state_that_it_takes() {
    let count = |n: u64| [n.to_le_bytes(), [0; 8]].concat();
    let state = |schema: &str, n| SavedState { schema: schema.to_owned(), bytes: count(n) };
    let begins = |settings: &str, own: SavedState, kept: &[SavedState]| {
        let offers = Offers { own: Some(own), kept: kept.to_vec(), ..Offers::default() };
        Router::start_from(Arc::clone(&COMPONENT), setup(settings, &["a"]), offers).unwrap()
    };
    let router = begins("", state("other", 9), &[state("strange", 8), state("count", 7), state("count", 6)]);
    assert_eq!(counted(&router), (7, 0));
    let left_out = Untaken { schema: "other".to_owned(), problem: PolicyProblem::StateLeftOut };
    assert_eq!(router.untaken(), Some(&left_out));
    assert!(!router.goes_on_in("count"), "what it was offered first is not in what it knows");
    let router = begins("", state("count", 7), &[state("other", 9)]);
    assert_eq!((counted(&router), router.untaken(), router.goes_on_in("count")), ((7, 0), None, true));
    let router = begins("state-refuse", state("count", 7), &[state("count", 6)]);
    let problem = router.untaken().map(|untaken| &untaken.problem);
    assert!(matches!(problem, Some(PolicyProblem::Configure(_))) && counted(&router) == (0, 0), "{problem:?}");
    // With nothing else to begin with, too.
    assert_eq!(begins("", state("other", 9), &[]).untaken(), Some(&left_out));
}

/// Of a predecessor's state and one that is kept.
#[test]
fn a_router_that_is_gone_back_to_begins_with_what_is_kept_in_its_own_schema() {
    let bytes = [5_u64.to_le_bytes(), [0; 8]].concat();
    let kept = vec![SavedState { schema: "count".to_owned(), bytes }];
    for (gone_back_to, own, expected) in [(true, "newer", 5), (true, "count", 1), (false, "count", 1)] {
        let own = Some(SavedState { schema: own.to_owned(), bytes: [1_u64.to_le_bytes(), [0; 8]].concat() });
        let offers = Offers { own, kept: kept.clone(), gone_back_to };
        let router = Router::start_from(Arc::clone(&COMPONENT), setup("", &["a"]), offers).unwrap();
        assert_eq!((counted(&router), router.untaken()), ((expected, 0), None));
    }
}

#[test]
fn a_quarantined_router_is_replaced_by_one_that_knows_its_last_save() {
    let old = start("route-trap");
    old.observe(&outcome(2));
    assert_eq!(counted(&old), (1, 2));
    for _ in 0..3 {
        assert!(ask(&old, CURSED, Moment::default()).is_err());
    }
    assert!(old.report().quarantined);
    let new = succeed(&old, "", &["a", "b", "c"]).unwrap();
    assert_eq!(ask(&new, 0, Moment::default()), Ok(vec![0, 1, 2]));
    assert_eq!(counted(&new), (1, 2));
}

#[test]
fn an_old_router_keeps_no_other_alive() {
    let first = start("");
    let mut newest = Arc::clone(&first);
    let mut passed = Vec::new();
    for _ in 0..5 {
        newest = succeed(&newest, "", &["a", "b", "c"]).unwrap();
        passed.push(Arc::downgrade(&newest));
    }
    let alive = passed.iter().filter(|router| router.upgrade().is_some()).count();
    assert_eq!(alive, 1, "only the newest, though the first is still held");
    first.observe(&outcome(0));
    assert_eq!(counted(&newest), (1, 0));
}
