//! The laws, on random schedules in virtual time: grants, answers, leaves, settlements, refunds and reloads in any order.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;

/// Scopes 0 and 1 are shared, the others candidates.
const SCOPES: usize = 5;

/// The most windows of one scope.
const WINDOWS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Reserve {
        shared: [bool; 2],
        candidates: Vec<(usize, Demand)>,
        shared_demand: Demand,
        chase: bool,
    },
    Answer(usize),
    /// Its last byte was sent, and it is read so many nanoseconds later at the latest.
    Send(usize, u64),
    /// Its client left, and it ends later.
    Leave(usize),
    /// Settles with a share of what was reserved, in percent.
    Settle(usize, u64),
    Refund(usize),
    Reload(Vec<Option<LimitSpec>>),
}

/// What the provider may see of one reservation in one scope.
#[derive(Debug)]
struct Event {
    scope: usize,
    reserved: Moment,
    answered: Option<Moment>,
    read_by: Option<Moment>,
    amount: Demand,
    refunded: bool,
    /// The limits under which it was granted.
    spec: LimitSpec,
    /// For each window of the scope: older than it at a reload, or there before it. The events from this one on may be
    /// granted under a window that cannot know it.
    forgotten: [Option<usize>; WINDOWS],
}

/// Two reservations at most, and their events.
struct Live {
    reservations: Vec<(Reservation, Vec<usize>)>,
    left: bool,
}

struct Run {
    limits: Limits,
    ids: Vec<ScopeId>,
    specs: Vec<Option<LimitSpec>>,
    /// How many windows each scope has had.
    known: [usize; SCOPES],
    now: Moment,
    events: Vec<Event>,
    live: Vec<Live>,
    granted: usize,
    chased: usize,
}

fn scope(number: usize) -> Scope {
    match number {
        0 => Scope::Global,
        1 => Scope::Key(KeyId::from("key")),
        other => deployment(&other.to_string()),
    }
}

fn named(specs: &[Option<LimitSpec>]) -> BTreeMap<Scope, LimitSpec> {
    specs.iter().enumerate().filter_map(|(number, spec)| Some((scope(number), spec.clone()?))).collect()
}

fn usable(limit: Option<u64>, margin: f64) -> u64 {
    let Some(limit) = limit else { return u64::MAX };
    // Margins in these tests are whole tenths.
    let tenths = (1..10_u32).find(|tenths| f64::from(*tenths) / 10.0 >= margin).unwrap_or(10);
    (limit * u64::from(tenths) / 10).max(limit.min(1))
}

impl Run {
    fn new(specs: Vec<Option<LimitSpec>>) -> Self {
        let limits = Limits::new(&named(&specs));
        let ids = (0..SCOPES).map(|number| limits.id(&scope(number))).collect();
        let now = Moment::from_nanos(1_700_000_000_123_456_789);
        let known = std::array::from_fn(|scope| specs[scope].as_ref().map_or(1, |spec| spec.windows().count()));
        Self { limits, ids, specs, known, now, events: Vec::new(), live: Vec::new(), granted: 0, chased: 0 }
    }

    fn all_used(&self, now: Moment) -> Vec<Used> {
        self.ids.iter().map(|id| self.limits.used(now, *id)).collect()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Pass(nanos) => self.now = self.now + Duration::from_nanos(nanos),
            Step::Reserve { shared, candidates, shared_demand, chase } => {
                self.reserve(shared, &candidates, shared_demand, chase);
            }
            Step::Answer(which) => {
                let Some(which) = pick(which, self.live.len()) else { return };
                for (reservation, events) in &self.live[which].reservations {
                    self.limits.response_head(self.now, reservation);
                    for event in events {
                        self.events[*event].answered.get_or_insert(self.now);
                    }
                }
            }
            Step::Send(which, slack) => {
                let Some(which) = pick(which, self.live.len()) else { return };
                let by = self.now + Duration::from_nanos(slack);
                for (reservation, events) in &self.live[which].reservations {
                    let first = &self.events[events[0]];
                    if first.read_by.is_some() || first.answered.is_some() {
                        continue;
                    }
                    self.limits.sent(self.now, reservation.handle(), by);
                    for event in events {
                        self.events[*event].read_by = Some(by);
                    }
                }
            }
            Step::Leave(which) => {
                let Some(which) = pick(which, self.live.len()) else { return };
                let live = &mut self.live[which];
                live.left = true;
                let held: Vec<&Reservation> = live.reservations.iter().map(|(held, _)| held).collect();
                self.limits.leave(&held);
            }
            Step::Settle(which, percent) => {
                let Some(which) = pick(which, self.live.len()) else { return };
                for (reservation, events) in self.live.swap_remove(which).reservations {
                    let first = &self.events[events[0]];
                    let actual =
                        demand(first.amount.input_tokens * percent / 100, first.amount.output_tokens * percent / 100);
                    self.limits.settle(self.now, reservation, actual);
                    for event in events {
                        self.events[event].amount = actual;
                        self.events[event].answered.get_or_insert(self.now);
                    }
                }
            }
            Step::Refund(which) => {
                let Some(which) = pick(which, self.live.len()) else { return };
                for (reservation, events) in self.live.swap_remove(which).reservations {
                    self.limits.refund(self.now, reservation);
                    for event in events {
                        self.events[event].refunded = true;
                    }
                }
            }
            Step::Reload(specs) => self.reload(specs),
        }
    }

    fn reload(&mut self, specs: Vec<Option<LimitSpec>>) {
        let next = self.events.len();
        for event in &mut self.events {
            let before = self.specs[event.scope].as_ref();
            let known = self.known[event.scope];
            for (number, forgotten) in event.forgotten.iter_mut().enumerate() {
                // A window without limits is kept, but not looked at here: it may know more than is assumed.
                let length =
                    before.and_then(|spec| spec.windows().nth(number)).map_or(Duration::ZERO, |(length, _)| length);
                let latest = [event.answered, event.read_by].into_iter().flatten().min();
                let expired = latest.is_some_and(|latest| self.now.since(latest) >= length);
                if expired || number >= known {
                    forgotten.get_or_insert(next);
                }
            }
        }
        self.limits.apply(&named(&specs), self.now);
        self.specs = specs;
        for (known, spec) in self.known.iter_mut().zip(&self.specs) {
            *known = (*known).max(spec.as_ref().map_or(1, |spec| spec.windows().count()));
        }
    }

    fn reserve(&mut self, shared: [bool; 2], candidates: &[(usize, Demand)], shared_demand: Demand, chase: bool) {
        let shared: Vec<_> = (0..2).filter(|number| shared[*number]).collect();
        let ask = |run: &Self, now| {
            let shared: Vec<_> = shared.iter().map(|number| run.ids[*number]).collect();
            let candidates: Vec<_> = candidates.iter().map(|(number, demand)| (run.ids[*number], *demand)).collect();
            reserve(&run.limits, now, &shared, shared_demand, &candidates)
        };
        let before = self.all_used(self.now);
        let mut decision = ask(self, self.now);
        if !matches!(decision, Decision::Granted { .. }) {
            assert_eq!(self.all_used(self.now), before, "a refusal reserves nothing anywhere");
        }
        match &decision {
            Decision::Until(Some(until)) if chase => {
                let until = *until;
                assert!(until > self.now);
                let just_before = Moment::from_nanos(until.as_nanos() - 1);
                assert_eq!(ask(self, just_before), Decision::Until(Some(until)), "not a nanosecond earlier");
                self.now = until;
                decision = ask(self, until);
                assert!(matches!(decision, Decision::Granted { .. }), "{decision:?} at the moment promised");
                self.chased += 1;
            }
            Decision::Until(None) if chase => {
                self.now = self.now + Duration::from_mins(5);
                assert_eq!(ask(self, self.now), Decision::Until(None), "time alone does not help");
            }
            Decision::Never(_) => {
                let later = self.now + Duration::from_mins(5);
                let empty = Run::new(self.specs.clone());
                assert!(matches!(ask(&empty, later), Decision::Never(_)), "it would not fit empty limits either");
            }
            _ => {}
        }
        let Decision::Granted { index, shared: both, own } = decision else { return };
        self.granted += 1;
        let mut reservations = Vec::new();
        assert_eq!(both.is_some(), !shared.is_empty());
        if let Some(both) = both {
            let events = shared.iter().map(|number| self.note(*number, shared_demand)).collect();
            reservations.push((both, events));
        }
        reservations.push((own, vec![self.note(candidates[index].0, candidates[index].1)]));
        self.live.push(Live { reservations, left: false });
        for (number, id) in self.ids.iter().enumerate() {
            let under_way = self.live.iter().filter(|live| !live.left);
            let under_way = under_way.flat_map(|live| &live.reservations).flat_map(|(_, events)| events);
            let under_way = under_way.filter(|event| self.events[**event].scope == number).count();
            let used = self.limits.used(self.now, *id);
            assert_eq!(used[InFlight], under_way as u64);
            let was_granted = shared.contains(&number) || candidates[index].0 == number;
            if let Some(limit) =
                self.specs[number].as_ref().and_then(|spec| spec.limits[InFlight]).filter(|_| was_granted)
            {
                assert!(used[InFlight] <= limit);
            }
        }
    }

    fn note(&mut self, number: usize, amount: Demand) -> usize {
        self.events.push(Event {
            scope: number,
            reserved: self.now,
            answered: None,
            read_by: None,
            amount,
            refunded: false,
            spec: self.specs[number].clone().unwrap_or_default(),
            forgotten: [None; WINDOWS],
        });
        self.events.len() - 1
    }

    /// Ends everything, then asserts that nothing stays behind.
    fn finish(&mut self) {
        while !self.live.is_empty() {
            self.step(Step::Pass(777_777_777));
            self.step(Step::Settle(0, 100));
        }
        let longest = Duration::from_mins(4);
        let used = self.all_used(self.now + longest);
        for used in used {
            assert_eq!(Used { free: PerDimension::default(), ..used }, Used::default(), "an ending leaks");
        }
        assert_eq!(self.limits.lock().open_reservations(), 0);
    }

    /// Lets a provider count every request at some moment between sending and answer, and looks at every window.
    fn check_windows(&self, draws: &[u64]) {
        let counted: Vec<_> = self
            .events
            .iter()
            .enumerate()
            .map(|(number, event)| {
                let latest = [event.answered, event.read_by].into_iter().flatten().min();
                let span = latest.unwrap_or(self.now).since(event.reserved).as_nanos();
                let share = u128::from(draws[number % draws.len()]);
                event.reserved + Duration::from_nanos(u64::try_from(span * share / 100).expect("a short span"))
            })
            .collect();
        for (last, event) in self.events.iter().enumerate().filter(|(_, event)| !event.refunded) {
            for (window, (length, limits)) in event.spec.windows().enumerate() {
                if event.spec.model == WindowModel::TokenBucket {
                    self.check_bucket(&counted, last, length, limits);
                    continue;
                }
                // As its slices are: a little longer than it was said.
                let period = u64::try_from(length.as_nanos()).expect("a length").div_ceil(240) * 240;
                let together = |one: Moment, end: Moment| match event.spec.model {
                    WindowModel::Fixed => one.as_nanos() / period == end.as_nanos() / period,
                    _ => one <= end && end.since(one) < length,
                };
                let seen = |number: usize, end: Moment| {
                    let other = &self.events[number];
                    other.scope == event.scope
                        && !other.refunded
                        && other.forgotten[window].is_none_or(|from| last < from)
                        && together(counted[number], end)
                };
                // The fullest windows end where something is counted.
                for end in counted.iter().filter(|end| seen(last, **end)) {
                    let sum = (0..=last).filter(|number| seen(*number, *end)).fold((0, 0, 0), |sum, number| {
                        let amount = self.events[number].amount;
                        (sum.0 + 1, sum.1 + amount.input_tokens, sum.2 + amount.output_tokens)
                    });
                    let usable = |dimension| usable(limits[dimension], event.spec.margin);
                    let spec = &event.spec;
                    assert!(sum.0 <= usable(Requests), "{sum:?} requests in {length:?} under {spec:?}");
                    assert!(sum.1 <= usable(InputTokens), "{sum:?} input in {length:?} under {spec:?}");
                    assert!(sum.2 <= usable(OutputTokens), "{sum:?} output in {length:?} under {spec:?}");
                    assert!(sum.1 + sum.2 <= usable(Tokens), "{sum:?} tokens in {length:?} under {spec:?}");
                }
            }
        }
    }
}

impl Run {
    /// A bucket that drains steadily never stands above its limit, whatever was granted up to `last`.
    fn check_bucket(&self, counted: &[Moment], last: usize, length: Duration, limits: &PerDimension<Option<u64>>) {
        let event = &self.events[last];
        let of_scope = |number: &usize| self.events[*number].scope == event.scope && !self.events[*number].refunded;
        let mut order: Vec<usize> = (0..=last).filter(of_scope).collect();
        order.sort_by_key(|number| counted[*number]);
        for dimension in [Requests, Tokens, InputTokens, OutputTokens] {
            let limit = usable(limits[dimension], event.spec.margin);
            if limit == u64::MAX {
                continue;
            }
            let (mut level, mut at) = (0_u128, Moment::default());
            for number in &order {
                let amount = self.events[*number].amount;
                let amount = match dimension {
                    Requests => 1,
                    Tokens => amount.input_tokens + amount.output_tokens,
                    InputTokens => amount.input_tokens,
                    _ => amount.output_tokens,
                };
                // In billionths, so that nothing is lost to rounding.
                let drained =
                    u128::from(limit) * 1_000_000_000 * counted[*number].since(at).as_nanos() / length.as_nanos();
                level = level.saturating_sub(drained) + u128::from(amount) * 1_000_000_000;
                at = counted[*number];
                assert!(
                    level <= u128::from(limit) * 1_000_000_000,
                    "{dimension:?} stands at {level} of {limit}: {:?}",
                    event.spec
                );
            }
        }
    }
}

fn pick(which: usize, count: usize) -> Option<usize> {
    which.checked_rem(count)
}

fn any_demand() -> impl Strategy<Value = Demand> {
    (0_u64..120, 0_u64..120).prop_map(|(input_tokens, output_tokens)| demand(input_tokens, output_tokens))
}

fn any_length() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::from_mins(1)),
        Just(Duration::from_secs(1)),
        Just(Duration::from_mins(2)),
        (1_000_u64..20_000_000_000).prop_map(Duration::from_nanos),
    ]
}

fn any_limits() -> impl Strategy<Value = PerDimension<Option<u64>>> {
    let limit = |range: std::ops::Range<u64>| prop::option::weighted(0.5, range);
    (limit(0..8), limit(50..500), limit(50..300), limit(50..300)).prop_map(|(requests, tokens, input, output)| {
        PerDimension::from_fn(|dimension| match dimension {
            Requests => requests,
            Tokens => tokens,
            InputTokens => input,
            OutputTokens => output,
            InFlight | Cost => None,
        })
    })
}

/// Of one kind of windows, or of any.
fn any_model(any: bool) -> impl Strategy<Value = WindowModel> {
    prop_oneof![Just(WindowModel::Sliding), Just(WindowModel::Fixed), Just(WindowModel::TokenBucket)]
        .prop_map(move |model| if any { model } else { WindowModel::Sliding })
}

fn any_spec(models: bool) -> impl Strategy<Value = Option<LimitSpec>> {
    let in_flight = prop::option::weighted(0.3, 1_u64..6);
    let others = prop::collection::vec((any_length(), any_limits()), 0..WINDOWS);
    let spec = (any_limits(), in_flight, any_length(), others, 1_u32..=10, any_model(models)).prop_map(
        |(limits, in_flight, window, others, margin, model)| {
            LimitSpec { limits, window, others, margin: f64::from(margin) / 10.0, model, places: None }
                .with(InFlight, in_flight)
        },
    );
    prop::option::weighted(0.85, spec)
}

fn any_specs(models: bool) -> impl Strategy<Value = Vec<Option<LimitSpec>>> {
    prop::collection::vec(any_spec(models), SCOPES)
}

fn any_step(reloads: u32) -> impl Strategy<Value = Step> {
    let pass = prop_oneof![0_u64..1_000, 0_u64..2_000_000_000, 0_u64..30_000_000_000];
    prop_oneof![
        4 => pass.prop_map(Step::Pass),
        8 => (
            any::<[bool; 2]>(),
            prop::collection::vec((2..SCOPES, any_demand()), 1..4),
            any_demand(),
            prop::bool::weighted(0.3),
        )
            .prop_map(|(shared, candidates, shared_demand, chase)| Step::Reserve { shared, candidates, shared_demand, chase }),
        3 => any::<usize>().prop_map(Step::Answer),
        4 => (any::<usize>(), 0_u64..3_000_000_000).prop_map(|(which, slack)| Step::Send(which, slack)),
        1 => any::<usize>().prop_map(Step::Leave),
        3 => (any::<usize>(), 0_u64..=100).prop_map(|(which, percent)| Step::Settle(which, percent)),
        1 => any::<usize>().prop_map(Step::Refund),
        reloads => any_specs(false).prop_map(Step::Reload),
    ]
}

fn run(specs: Vec<Option<LimitSpec>>, steps: Vec<Step>, draws: &[u64]) -> (usize, usize) {
    let mut run = Run::new(specs);
    for step in steps {
        run.step(step);
    }
    run.finish();
    run.check_windows(draws);
    run.check_windows(&[0]);
    run.check_windows(&[100]);
    run.check_windows(&[0, 100]);
    run.check_windows(&[100, 0, 0]);
    (run.granted, run.chased)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_window_of_any_alignment_exceeds_its_limit(
        specs in any_specs(true),
        steps in prop::collection::vec(any_step(0), 1..120),
        draws in prop::collection::vec(0_u64..=100, 1..40),
    ) {
        run(specs, steps, &draws);
    }

    #[test]
    fn reloads_in_the_middle_change_nothing_about_it(
        specs in any_specs(false),
        steps in prop::collection::vec(any_step(1), 1..120),
        draws in prop::collection::vec(0_u64..=100, 1..40),
    ) {
        run(specs, steps, &draws);
    }
}

#[test]
fn the_schedules_do_grant_and_do_wait() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (any_specs(true), prop::collection::vec(any_step(0), 1..120));
    let (mut granted, mut chased) = (0, 0);
    for _ in 0..200 {
        let (specs, steps) = strategy.new_tree(&mut runner).expect("a schedule").current();
        let counts = run(specs, steps, &[50]);
        granted += counts.0;
        chased += counts.1;
    }
    assert!(granted > 500 && chased > 50, "{granted} grants, {chased} exact waits");
}
