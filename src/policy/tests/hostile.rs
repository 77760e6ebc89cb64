use std::time::Duration;

use super::*;
use crate::policy::host::ticker::thread_cpu;

fn at(secs: u64) -> Moment {
    Moment::from_millis(1_000_000 + secs * 1000)
}

/// Whatever goes wrong in `route`: it ends in the right fault within its CPU budget, the next request is
/// answered, faults are counted, and the third within a minute ends it.
fn check_fault(settings: &str, expected: impl Fn(&PolicyFault) -> bool) {
    for (engine, component) in [("cpu", &COMPONENT), ("fuel", &FUEL)] {
        let router = Router::start(Arc::clone(component), setup(settings, &["a", "b", "c"]), None).unwrap();
        router.observe(&outcome(2));
        assert_eq!(counted(&router), (1, 2));
        for n in 0..3 {
            assert_eq!(ask(&router, 0, at(n)), Ok(vec![0, 1, 2]), "{settings}/{engine}: healthy before fault {n}");
            let before = thread_cpu();
            let end = ask(&router, CURSED, at(n)).unwrap_err();
            let used = thread_cpu().saturating_sub(before);
            let RouteError::Fault(fault) = end else { panic!("{settings}/{engine}: {end:?}") };
            assert!(expected(&fault), "{settings}/{engine}: {fault:?}");
            assert!(used < Duration::from_millis(500), "{settings}/{engine}: took {used:?} of CPU time");
        }
        assert_eq!(ask(&router, 0, at(3)), Err(RouteError::Fault(PolicyFault::Quarantined)));
        let report = router.report();
        assert_eq!((report.calls, report.faults, report.quarantined), (7, 3, true), "{settings}/{engine}");
        assert_eq!(report.faults_by_kind[PolicyFault::Quarantined.index()], 1);
        assert_eq!(counted(&router), (1, 2), "{settings}/{engine}: what was saved is still there");
    }
}

fn trapped(fault: &PolicyFault) -> bool {
    matches!(fault, PolicyFault::Trap(_))
}

fn contract(words: &'static str) -> impl Fn(&PolicyFault) -> bool {
    move |fault| matches!(fault, PolicyFault::Contract(found) if found.contains(words))
}

#[test]
fn an_endless_loop_ends() {
    check_fault("route-loop", |fault| *fault == PolicyFault::CpuBudget);
}

#[test]
fn an_endless_loop_of_log_calls_ends() {
    check_fault("route-call-loop", |fault| *fault == PolicyFault::CpuBudget);
}

#[test]
fn a_trap_is_a_fault() {
    check_fault("route-trap", |fault| matches!(fault, PolicyFault::Trap(words) if words.contains("unreachable")));
}

#[test]
fn a_panic_is_a_fault() {
    check_fault("route-panic", trapped);
}

#[test]
fn a_stack_overflow_is_a_fault() {
    // The guest's own stack, in its memory, may end first.
    check_fault("stack-overflow", |fault| trapped(fault) || *fault == PolicyFault::StackOverflow);
}

#[test]
fn a_memory_hog_is_stopped() {
    let engine = Engine::new(EngineOptions { cpu_budget: Duration::from_secs(1), ..EngineOptions::default() }).unwrap();
    let component = engine.load(&PolicyName::from("hostile"), HOSTILE).unwrap();
    let router = Router::start(component, setup("memory-hog", &["a"]), None).unwrap();
    for n in 0..2 {
        assert_eq!(ask(&router, CURSED, at(n)), Err(RouteError::Fault(PolicyFault::Memory)));
        assert_eq!(ask(&router, 0, at(n)), Ok(vec![0]));
    }
}

#[test]
fn a_component_that_needs_more_memory_than_it_may_have_is_refused_when_it_is_loaded() {
    let engine = Engine::new(EngineOptions { memory_bytes: 1 << 16, ..EngineOptions::default() }).unwrap();
    let problem = match engine.load(&PolicyName::from("hostile"), HOSTILE) {
        Err(problem) => problem,
        Ok(component) => Router::start(component, setup("", &["a"]), None).map(drop).unwrap_err(),
    };
    // What it needs, and what it may have.
    let told = problem.to_string();
    assert!(told.contains("1114112") && told.contains("0x10000"), "{told}");
}

#[test]
fn an_index_out_of_range_is_refused() {
    check_fault("out-of-range", contract("names deployment 3 of 3"));
    check_fault("far-out-of-range", contract("names deployment 4294967295 of 3"));
}

#[test]
fn a_propensity_that_is_none_is_refused() {
    for settings in ["propensity-nan", "propensity-negative", "propensity-zero", "propensity-above-one"] {
        check_fault(settings, contract("propensity"));
    }
}

#[test]
fn propensities_are_for_all_or_for_none() {
    check_fault("propensity-missing", contract("3 deployments and 1 propensities"));
}

#[test]
fn a_deployment_named_twice_is_refused() {
    check_fault("duplicate", contract("place 3 names deployment 0 again"));
}

#[test]
fn a_huge_answer_is_not_copied() {
    let engine = Engine::new(EngineOptions { cpu_budget: Duration::from_secs(1), ..EngineOptions::default() }).unwrap();
    let component = engine.load(&PolicyName::from("hostile"), HOSTILE).unwrap();
    let router = Router::start(component, setup("huge-list", &["a"]), None).unwrap();
    let end = ask(&router, CURSED, at(0));
    assert!(
        matches!(&end, Err(RouteError::Fault(PolicyFault::Trap(words))) if words.contains("too much data")),
        "{end:?}"
    );
    assert_eq!(ask(&router, 0, at(0)), Ok(vec![0]));
}

#[test]
fn a_flood_of_log_lines_is_cut_to_twenty() {
    let router = start("log-flood");
    for n in 0..2 {
        assert_eq!(ask(&router, CURSED, at(n)), Ok(vec![0, 1, 2]), "logging too much is no fault");
        let lines = router.take_log();
        assert_eq!(lines.len(), 20);
        assert_eq!(lines[19], LogLine { level: LogLevel::Info, message: "line 19".to_owned() });
    }
}

#[test]
fn a_long_log_line_is_cut_and_an_endless_one_is_a_fault() {
    let router = start("log-long");
    assert_eq!(ask(&router, CURSED, at(0)), Ok(vec![0, 1, 2]));
    assert_eq!(router.take_log(), [LogLine { level: LogLevel::Warn, message: "ä".repeat(512) }]);
    check_fault("log-endless", |fault| matches!(fault, PolicyFault::Trap(words) if words.contains("too much data")));
}

#[test]
fn refusals_are_passed_on() {
    assert_eq!(ask(&start("wait"), CURSED, at(0)), Err(RouteError::Wait(Duration::from_millis(1500))));
    assert_eq!(ask(&start("reject"), CURSED, at(0)), Err(RouteError::Reject("no".repeat(512))));
}

#[test]
fn faults_of_observe_are_counted_and_go_no_further() {
    for (settings, kind) in [("observe-trap", "trap"), ("observe-loop", "cpu-budget")] {
        let router = start(settings);
        assert_eq!(ask(&router, 0, at(0)), Ok(vec![0, 1, 2]));
        for n in 1..=2 {
            router.observe(&outcome(0));
            assert_eq!(ask(&router, 0, at(0)), Ok(vec![0, 1, 2]), "{settings}: fault {n}");
        }
        let index = PolicyFault::KINDS.iter().position(|name| *name == kind).unwrap();
        assert_eq!(router.report().faults_by_kind[index], 2, "{settings}");
        router.observe(&outcome(0));
        assert!(router.report().quarantined);
        router.observe(&outcome(0));
        assert_eq!(router.report().faults, 3, "a quarantined policy is not called");
    }
}

#[test]
fn faults_of_save_are_counted_and_go_no_further() {
    for settings in ["save-loop", "save-huge"] {
        let router = start(settings);
        router.observe(&outcome(0));
        assert_eq!(router.save(), None, "{settings}");
        assert_eq!(router.report().faults, 1, "{settings}");
        assert_eq!(ask(&router, 0, at(0)), Ok(vec![0, 1, 2]), "{settings}");
    }
}

#[test]
fn an_outcome_of_no_deployment_is_not_told() {
    let router = start("");
    router.observe(&outcome(3));
    router.observe(&outcome(u32::MAX));
    assert_eq!(counted(&router), (0, 0));
}

#[test]
fn a_router_saves_every_thousand_outcomes() {
    let router = start("");
    for _ in 0..2500 {
        router.observe(&outcome(1));
    }
    assert_eq!(router.report().saves, 2);
    assert_eq!(counted(&router), (2500, 2500));
}

#[test]
fn a_router_saves_now_and_then_if_it_did_anything() {
    let router = start("");
    let mut saves = Vec::new();
    for secs in [0, 9, 10, 15, 20, 30] {
        if secs != 15 {
            router.tick(at(secs));
        }
        if secs == 9 || secs == 15 {
            router.observe(&outcome(0));
        }
        saves.push(router.report().saves);
    }
    assert_eq!(saves, [0, 0, 1, 1, 2, 2], "at 10 and 20 s, and not at 30 s, when nothing had happened");
}

#[test]
fn a_trap_costs_what_was_learned_since_the_last_save_and_no_more() {
    let router = start("route-trap");
    for _ in 0..1100 {
        router.observe(&outcome(1));
    }
    assert!(ask(&router, CURSED, at(0)).is_err());
    router.observe(&outcome(1));
    assert_eq!(counted(&router), (1001, 1001));
}

#[test]
fn a_pure_router_answers_from_several_threads() {
    let router = start("pure");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    assert_eq!(ask(&router, 0, at(0)), Ok(vec![0, 1, 2]));
                }
            });
        }
    });
    let report = router.report();
    assert_eq!((report.calls, report.faults), (2000, 0));
}

#[test]
fn healthy_calls_on_a_crowded_machine_are_never_ended() {
    let router = start("pure");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..4000 {
                    assert!(ask(&router, 0, at(0)).is_ok());
                }
            });
        }
    });
    let report = router.report();
    assert_eq!((report.calls, report.faults), (64_000, 0));
}

#[test]
fn fuel_is_the_same_every_time() {
    let used = || {
        let router = Router::start(Arc::clone(&FUEL), setup("", &["a", "b", "c"]), None).unwrap();
        ask(&router, 0, at(0)).unwrap();
        router.report().fuel.unwrap()
    };
    let (last, most) = used();
    assert!(last > 0 && last == most);
    assert_eq!(used(), (last, most));
    assert_eq!(start("").report().fuel, None);
}

#[test]
fn calls_are_timed_and_memory_is_known() {
    let router = start("");
    let memory = router.report().memory_bytes;
    assert!((64 << 10..2 << 20).contains(&memory), "{memory}");
    for _ in 0..80 {
        ask(&router, 0, at(0)).unwrap();
    }
    assert_eq!(router.report().memory_bytes, memory, "answering keeps nothing");
    let times = router.report().times;
    assert_eq!(times.samples, 10);
    assert!(times.p50 <= times.p99 && times.p99 <= times.max && times.mean <= times.max, "{times:?}");
    assert!(!times.p50.is_zero());
}

#[test]
fn a_loop_ends_though_the_ticker_had_gone_to_sleep() {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let component = engine.load(&PolicyName::from("hostile"), HOSTILE).unwrap();
    let router = Router::start(component, setup("route-loop", &["a"]), None).unwrap();
    while !engine.ticker().unwrap().asleep() {
        std::thread::yield_now();
    }
    assert_eq!(ask(&router, CURSED, at(0)), Err(RouteError::Fault(PolicyFault::CpuBudget)));
}

#[test]
fn none_of_them_is_an_answer_and_no_fault() {
    let router = start("empty");
    for n in 0..5 {
        assert_eq!(ask(&router, CURSED, at(n)), Ok(Vec::new()));
    }
    assert_eq!(router.report().faults, 0);
}

#[test]
fn a_policy_is_told_whether_its_tokens_were_counted() {
    let router = start("threshold");
    for (precision, expected) in
        [(Precision::Exact, [2, 1, 0]), (Precision::Estimate, [2, 1, 0]), (Precision::UpperBound, [0, 1, 2])]
    {
        let question = RouteRequest { input_precision: precision, ..question(CURSED, at(0)) };
        let mut out = Vec::new();
        router.route(&question, &[], &[], &[], &mut out).unwrap();
        let order: Vec<u32> = out.iter().map(|choice| choice.deployment).collect();
        assert_eq!(order, expected, "{precision:?}");
    }
}

/// Asked aside, as for `/route/explain`.
fn explain(router: &Router, priority: i32, now: Moment) -> Result<Vec<u32>, RouteError> {
    let (mut out, mut said) = (Vec::new(), Vec::new());
    router.explain(&question(priority, now), &[], &[], &[], &mut out, &mut said)?;
    Ok(out.into_iter().map(|choice| choice.deployment).collect())
}

#[test]
fn who_only_asks_takes_no_policy_out_of_service() {
    let router = start("route-trap");
    router.observe(&outcome(2));
    for n in 0..5 {
        let end = explain(&router, CURSED, at(n));
        assert!(matches!(&end, Err(RouteError::Fault(fault)) if trapped(fault)), "{end:?}");
        assert_eq!(explain(&router, 0, at(n)), Ok(vec![0, 1, 2]));
    }
    let report = router.report();
    assert_eq!((report.calls, report.faults, report.quarantined), (0, 0, false));
    assert_eq!(counted(&router), (1, 2), "nothing is forgotten");
    for n in 0..3 {
        assert!(ask(&router, CURSED, at(n)).is_err());
    }
    for _ in 0..2 {
        assert_eq!(explain(&router, 0, at(70)), Err(RouteError::Fault(PolicyFault::Quarantined)));
    }
    assert_eq!(router.report().faults_by_kind[PolicyFault::Quarantined.index()], 0);
    assert_eq!(ask(&router, 0, at(70)), Ok(vec![0, 1, 2]), "the probe is still there for a request");
}

#[test]
fn who_only_asks_is_answered_by_what_was_learned() {
    // It finds none fit until it has heard of an outcome.
    let router = start("empty-first");
    assert_eq!(explain(&router, CURSED, at(0)), Ok(Vec::new()));
    router.observe(&outcome(0));
    assert_eq!(explain(&router, CURSED, at(0)), Ok(vec![0, 1, 2]));
    assert_eq!((router.report().calls, counted(&router)), (0, (1, 0)));
}

#[test]
fn who_only_asks_has_no_more_saved_than_is_saved_anyway() {
    let router = start("empty-first");
    // A call is as good a reason to save as an outcome.
    assert_eq!(ask(&router, CURSED, at(0)), Ok(Vec::new()));
    assert_eq!(explain(&router, CURSED, at(0)), Ok(Vec::new()));
    router.observe(&outcome(0));
    assert_eq!(explain(&router, CURSED, at(4)), Ok(Vec::new()), "from what was saved last");
    assert_eq!(router.report().saves, 1);
    assert_eq!(explain(&router, CURSED, at(5)), Ok(vec![0, 1, 2]), "it is due again");
    router.observe(&outcome(0));
    router.tick(at(6));
    assert_eq!(router.report().saves, 2, "and not due twice");
}

/// Each such fault costs what was learned since the last time.
#[test]
fn who_only_asks_does_a_policy_that_fails_in_save_no_more_harm_than_time_does() {
    let router = start("save-loop");
    for n in 0..5 {
        router.observe(&outcome(0));
        assert_eq!(explain(&router, 0, at(n)), Ok(vec![0, 1, 2]));
        router.tick(at(n));
    }
    assert_eq!((router.report().faults, router.report().quarantined), (1, false));
    assert_eq!(explain(&router, 0, at(5)), Ok(vec![0, 1, 2]));
    assert_eq!((router.report().faults, router.last_saved()), (2, None));
}
