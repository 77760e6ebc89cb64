use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

fn succeed(predecessor: &Arc<Router>, settings: &str, ids: &[&str]) -> Result<Arc<Router>, PolicyProblem> {
    Router::succeed(Arc::clone(&COMPONENT), setup(settings, ids), predecessor)
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
    let succession =
        RouterSuccession::prepare(Arc::clone(&COMPONENT), setup("", &["b", "a", "c"]), &old, None).unwrap();
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
    drop(RouterSuccession::prepare(Arc::clone(&COMPONENT), setup("", &["a"]), &old, None).unwrap());
    old.observe(&outcome(1));
    assert_eq!(counted(&old), (1, 1));
    let new = succeed(&old, "", &["a", "b", "c"]).unwrap();
    assert_eq!(counted(&new), (1, 1));
}

#[test]
fn a_router_is_succeeded_once() {
    let old = start("");
    let succession = RouterSuccession::prepare(Arc::clone(&COMPONENT), setup("", &["a"]), &old, None).unwrap();
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
