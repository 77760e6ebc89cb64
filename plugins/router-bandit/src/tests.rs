//! Worlds in which it is known what there is to learn.

use witgate_policy::Random;

use crate::brain::{Brain, Ended, Offer, Ranked, Turnout};
use crate::choice::{Belief, probably_best};
use crate::linear::{Linear, Prior, Question};
use crate::settings::Rules;
use crate::state;

const IDS: [&str; 3] = ["small", "middle", "large"];
/// US dollars.
const COSTS: [f32; 3] = [0.000_03, 0.000_5, 0.015];

/// A world: what a reply of a deployment is worth for an easy question and for a hard one.
struct World {
    brain: Brain,
    random: Random,
    quality: fn(usize, bool) -> f32,
    judged: bool,
    spent: f64,
}

impl World {
    fn new(settings: &str, quality: fn(usize, bool) -> f32) -> Self {
        let deployments = IDS.map(|id| (id.to_owned(), format!("model-{id}"))).to_vec();
        let brain = Brain::new(Rules::parse(settings).unwrap(), deployments, 2);
        Self { brain, random: Random::new(7), quality, judged: true, spent: 0.0 }
    }

    fn unit(&mut self) -> f32 {
        f32::from(u16::try_from(self.random.below(1 << 16)).unwrap()) / 65_536.0
    }

    fn one(&mut self) -> (usize, f32) {
        let hard = self.random.below(2) == 1;
        let (seed, unit) = (self.random.bits(), self.unit());
        let x = [1.0, if hard { 1.0 } else { -1.0 }];
        let ranked = self.brain.choose(&x, &COSTS.map(|cost| Offer { wait_ms: 0.0, cost }), seed, unit);
        let Ranked { arm, propensity } = ranked[0];
        assert_eq!(ranked.len(), 3, "{ranked:?}");
        assert!(propensity > 0.0 && propensity <= 1.0);
        let noise = self.unit() * 0.2 - 0.1;
        let quality = ((self.quality)(arm, hard) + noise).clamp(0.0, 1.0);
        self.spent += f64::from(COSTS[arm]);
        let turnout = turnout(seed, arm);
        self.brain.learn(turnout);
        if self.judged {
            self.brain.learn(Turnout { quality: Some(quality), ..turnout });
        }
        (arm, propensity)
    }

    /// How often each was chosen in so many requests.
    fn shares(&mut self, requests: u16) -> [f32; 3] {
        let mut shares = [0.0; 3];
        (0..requests).for_each(|_| shares[self.one().0] += 1.0 / f32::from(requests));
        shares
    }
}

fn turnout(seed: u64, arm: usize) -> Turnout {
    Turnout { seed, attempt: 1, arm, ended: Ended::Well, cost: COSTS[arm], latency_ms: 800.0, quality: None }
}

/// The small one is good enough for what is easy.
fn by_question(arm: usize, hard: bool) -> f32 {
    match (arm, hard) {
        (0, true) => 0.3,
        (0 | 1, false) => 0.88,
        (1, true) => 0.85,
        (_, _) => 0.9,
    }
}

#[test]
fn each_question_goes_to_the_cheapest_that_answers_it_well() {
    for algorithm in ["ucb1-linucb", "linucb", "thompson"] {
        let mut world = World::new(&format!(r#"{{"features": ["code"], "algorithm": "{algorithm}"}}"#), by_question);
        world.shares(600);
        let shares = world.shares(1_000);
        assert!(shares[0] > 0.4 && shares[1] > 0.4 && shares[2] < 0.1, "{algorithm}: {shares:?}");
    }
    let mut world = World::new(r#"{"features": ["code"], "algorithm": "ucb1"}"#, by_question);
    world.shares(600);
    let shares = world.shares(1_000);
    assert!(shares[1] > 0.9, "by means alone the middle one is best: {shares:?}");
}

#[test]
fn one_that_turns_bad_is_left_within_200_requests_and_one_that_turns_good_is_found_again() {
    for algorithm in ["ucb1-linucb", "ucb1", "linucb", "thompson"] {
        let settings = format!(r#"{{"features": ["code"], "algorithm": "{algorithm}", "uniform": 0.03}}"#);
        let mut world = World::new(&settings, |arm, _| [0.3, 0.9, 0.6][arm]);
        assert!(world.shares(3_000)[1] > 0.9, "{algorithm}");
        world.quality = |arm, _| [0.3, 0.2, 0.6][arm];
        world.shares(200);
        let shares = world.shares(300);
        assert!(shares[2] > 0.9, "{algorithm}: {shares:?}");
        world.quality = |arm, _| [0.3, 0.9, 0.6][arm];
        world.shares(1_000);
        let shares = world.shares(300);
        assert!(shares[1] > 0.9, "{algorithm}: {shares:?}");
    }
}

#[test]
fn money_is_spent_evenly_and_to_the_end() {
    let quality = |arm: usize, _| [0.5, 0.7, 0.95][arm];
    for (settings, budget) in [
        (r#""max_cost_usd_per_request": 0.004"#, 0.004 * 6_000.0),
        (r#""budget_usd": 12.0, "budget_requests": 6000"#, 12.0),
        (r#""budget_usd": 40.0, "budget_requests": 6000"#, 40.0),
    ] {
        let settings = format!(r#"{{"features": ["code"], "reward": {{"cost": 0}}, {settings}}}"#);
        let mut world = World::new(&settings, quality);
        world.shares(3_000);
        let half = world.spent;
        world.shares(3_000);
        assert!((world.spent / budget - 1.0).abs() < 0.02, "{settings}: {} of {budget}", world.spent);
        assert!((half / budget - 0.5).abs() < 0.1, "{settings}: {half} of {budget} at half");
    }
}

#[test]
fn what_is_learned_outlives_a_restart_another_algorithm_and_another_list() {
    let settings = r#"{"features": ["code"]}"#;
    let mut world = World::new(settings, by_question);
    world.shares(800);
    let saved = state::write(&world.brain);
    let mut again = World::new(settings, by_question);
    state::restore(&mut again.brain, &saved).unwrap();
    assert_eq!(again.brain.arms.len(), world.brain.arms.len());
    for (one, other) in again.brain.arms.iter().zip(&world.brain.arms) {
        assert_eq!(one.linear, other.linear);
        assert_eq!((one.quality, one.cost, one.at), (other.quality, other.cost, other.at));
        assert_eq!((one.variance, one.better, one.surprises), (other.variance, other.better, other.surprises));
    }
    assert_eq!(state::write(&again.brain), saved);

    let mut other = World::new(r#"{"features": ["code"], "algorithm": "thompson"}"#, by_question);
    state::restore(&mut other.brain, &saved).unwrap();
    let shares = other.shares(300);
    assert!(shares[0] > 0.35 && shares[1] > 0.35, "{shares:?}");

    // A new one is tried, and the others are not forgotten; one that went leaves no trace.
    let deployments = ["large", "new", "small"].map(|id| (id.to_owned(), String::new())).to_vec();
    let mut brain = Brain::new(Rules::parse(settings).unwrap(), deployments, 2);
    state::restore(&mut brain, &saved).unwrap();
    assert_eq!(brain.arms[0].linear, world.brain.arms[2].linear);
    assert_eq!(brain.arms[1].quality.known(), None);
    assert_eq!(brain.arms[2].quality, world.brain.arms[0].quality);

    // Other features: the means are kept.
    let mut brain =
        Brain::new(Rules::parse(r#"{"features": ["length"]}"#).unwrap(), vec![("small".into(), String::new())], 2);
    state::restore(&mut brain, &saved).unwrap();
    assert_eq!(brain.arms[0].quality, world.brain.arms[0].quality);
    assert_ne!(brain.arms[0].linear, world.brain.arms[0].linear);
}

#[test]
fn damaged_state_is_refused_whole() {
    let mut world = World::new(r#"{"features": ["code"]}"#, by_question);
    world.shares(50);
    let saved = state::write(&world.brain);
    for cut in 0..saved.bytes.len() {
        let mut fresh = World::new(r#"{"features": ["code"]}"#, by_question).brain;
        let before = state::write(&fresh);
        let cut = witgate_policy::SavedState { schema: saved.schema.clone(), bytes: saved.bytes[..cut].to_vec() };
        assert!(state::restore(&mut fresh, &cut).is_err());
        assert_eq!(state::write(&fresh), before);
    }
}

#[test]
fn what_was_saved_before_replies_were_compared_with_beliefs_is_read() {
    let settings = r#"{"features": ["code"]}"#;
    let mut world = World::new(settings, by_question);
    world.shares(200);
    let saved = state::write(&world.brain);
    // Of each deployment, four means less behind the first four.
    let (head, rest) = saved.bytes.split_at(37 + 4 + 8 + 4);
    let (mut bytes, mut rest) = (head.to_vec(), rest);
    for id in IDS {
        let (means, after) = rest.split_at(4 + id.len() + 32);
        let (others, after) = after[32..].split_at(8 + 12 + 16);
        bytes.extend([means, others].concat());
        rest = after;
    }
    bytes.extend(rest);
    let before = witgate_policy::SavedState { schema: "bandit-1".to_owned(), bytes };
    let mut again = World::new(settings, by_question).brain;
    state::restore(&mut again, &before).unwrap();
    for (one, other) in again.arms.iter().zip(&world.brain.arms) {
        assert_eq!((one.quality, &one.linear, one.at), (other.quality, &other.linear, other.at));
    }
    assert_eq!(again.pending.len(), world.brain.pending.len());
}

#[test]
fn a_judgement_counts_for_the_question_it_is_about_however_late() {
    let mut world = World::new(r#"{"features": ["code"], "algorithm": "linucb"}"#, by_question);
    world.judged = false;
    let offers = COSTS.map(|cost| Offer { wait_ms: 0.0, cost });
    world.brain.choose(&[1.0, 1.0], &offers, 99, 0.5);
    world.brain.learn(turnout(99, 1));
    world.shares(1_000);
    let question = |hard| Question::new(&[1.0, hard]);
    let before = [1.0, -1.0].map(|hard| world.brain.arms[1].linear.mean(&question(hard)));
    world.brain.learn(Turnout { quality: Some(0.0), ..turnout(99, 1) });
    let after = [1.0, -1.0].map(|hard| world.brain.arms[1].linear.mean(&question(hard)));
    assert!(before[0] - after[0] > before[1] - after[1], "{before:?} {after:?}");
    let spent = world.brain.pacer;
    world.brain.learn(Turnout { quality: Some(0.0), ..turnout(99, 1) });
    assert_eq!(world.brain.pacer, spent, "a judgement costs nothing twice");
}

/// A gateway says of some replies what they are worth; that one was cut does not mean that somebody judges the others.
#[test]
fn what_comes_with_the_end_says_nothing_of_who_judges() {
    let mut world = World::new(r#"{"features": ["code"]}"#, by_question);
    let offers = COSTS.map(|cost| Offer { wait_ms: 0.0, cost });
    world.brain.choose(&[1.0, 1.0], &offers, 5, 0.5);
    world.brain.learn(Turnout { quality: Some(0.5), ..turnout(5, 1) });
    assert!(!world.brain.judged);
    world.brain.learn(Turnout { quality: Some(0.9), ..turnout(5, 1) });
    assert!(world.brain.judged);
}

/// Of a group in which nobody judges: what is asked again lowers its deployment, and does not make the others' replies count for nothing.
#[test]
fn what_is_asked_again_was_poor_and_nobodys_judgement() {
    let mut world = World::new(r#"{"features": ["code"]}"#, by_question);
    let offers = COSTS.map(|cost| Offer { wait_ms: 0.0, cost });
    world.brain.choose(&[1.0, 1.0], &offers, 5, 0.5);
    world.brain.learn(Turnout { quality: None, ..turnout(5, 1) });
    let before = world.brain.arms[1].quality;
    world.brain.learn(Turnout { quality: Some(0.2), ended: Ended::Otherwise, latency_ms: f32::NAN, ..turnout(5, 1) });
    assert!(!world.brain.judged && world.brain.arms[1].quality.mean < before.mean, "{:?}", world.brain.arms[1].quality);
}

#[test]
fn those_that_must_wait_stand_behind_and_nobody_is_left_out() {
    let mut world = World::new(r#"{"features": ["code"]}"#, by_question);
    let wait = [f32::INFINITY, 0.0, 900.0];
    let offers: Vec<Offer> = wait.into_iter().zip(COSTS).map(|(wait_ms, cost)| Offer { wait_ms, cost }).collect();
    let ranked = world.brain.choose(&[1.0, 1.0], &offers, 1, 0.3);
    assert_eq!(ranked.iter().map(|one| one.arm).collect::<Vec<_>>(), [1, 2, 0]);
    assert!((ranked[0].propensity - 1.0).abs() < 1e-6);
    let offers: Vec<Offer> = COSTS.into_iter().map(|cost| Offer { wait_ms: f32::INFINITY, cost }).collect();
    assert_eq!(world.brain.choose(&[1.0, 1.0], &offers, 2, 0.3).len(), 3);
}

#[test]
fn propensities_are_how_often_each_is_drawn() {
    let mut world = World::new(r#"{"features": ["code"], "algorithm": "thompson", "uniform": 0.1}"#, by_question);
    world.shares(30);
    let (brain, mut drawn, mut told) = (world.brain.clone(), [0.0_f32; 3], [0.0_f32; 3]);
    for draw in 0..4_000_u16 {
        let unit = (f32::from(draw) + 0.5) / 4_000.0;
        let offers = COSTS.map(|cost| Offer { wait_ms: 0.0, cost });
        let first = brain.clone().choose(&[1.0, 1.0], &offers, 5, unit)[0];
        drawn[first.arm] += 1.0 / 4_000.0;
        told[first.arm] = first.propensity;
    }
    for (drawn, told) in drawn.into_iter().zip(told) {
        assert!((drawn - told).abs() < 0.002, "{drawn} {told}");
    }
}

#[test]
fn chances_are_those_of_the_normal_distribution() {
    let chances = probably_best(&[Belief { worth: 0.0, spread: 1.0 }, Belief { worth: 0.0, spread: 1.0 }]);
    assert!((chances[0] - 0.5).abs() < 1e-3);
    // The difference of two is normal with the deviation √2: P(one above the other by 1) = Φ(1/√2) = 0.7602.
    let chances = probably_best(&[Belief { worth: 1.0, spread: 1.0 }, Belief { worth: 0.0, spread: 1.0 }]);
    assert!((chances[0] - 0.7602).abs() < 5e-3, "{chances:?}");
}

#[test]
fn the_regression_is_the_solution_of_its_equations() {
    // Without forgetting: A = diag(1, 4) + Σ x xᵀ, θ = A⁻¹ (prior + Σ x y), solved by hand for two replies.
    let prior = Prior { quality: 0.5, strength: 1.0, ridge: 4.0 };
    let mut linear = Linear::new(2, prior);
    linear.learn(&Question::new(&[1.0, 1.0]), 1.0, 1.0);
    linear.learn(&Question::new(&[1.0, -1.0]), 0.0, 1.0);
    // A = [[3, 0], [0, 6]], b = [0.5 + 1, 1] → θ = [0.5, 1/6].
    assert!((linear.mean(&Question::new(&[1.0, 0.0])) - 0.5).abs() < 1e-6);
    assert!((linear.mean(&Question::new(&[0.0, 1.0])) - 1.0 / 6.0).abs() < 1e-6);
    assert!((linear.variance(&Question::new(&[1.0, 1.0])) - (1.0 / 3.0 + 1.0 / 6.0)).abs() < 1e-6);
    linear.fade(1e-9, prior);
    assert!((linear.variance(&Question::new(&[1.0, 1.0])) - 1.25).abs() < 1e-5, "no less certain than at first");
}

#[test]
fn settings_are_checked() {
    for (settings, words) in [
        (r#"{"algorithm": "ucb2"}"#, "ucb1-linucb, ucb1, linucb, thompson"),
        (r#"{"reward": {"speed": 1}}"#, "quality, cost, latency"),
        (r#"{"budget_usd": 5}"#, "`budget_requests`"),
        (r#"{"max_cost_usd_per_request": 1, "budget_usd": 5, "budget_requests": 2}"#, "either"),
        (r#"{"cost_range_usd": [1, 0.1]}"#, "the lower one first"),
        (r#"{"priors": {"a": 2}}"#, "from 0 to 1"),
        (r#"{"memory": 0.5}"#, "0.9"),
        (r#"{"warm": 1}"#, "unknown setting `warm`"),
    ] {
        let said = Rules::parse(settings).unwrap_err();
        assert!(said.contains(words), "{settings}: {said}");
    }
    let rules = Rules::parse(r#"{"priors": {"model-large": 0.9}}"#).unwrap();
    let brain = Brain::new(rules, IDS.map(|id| (id.to_owned(), format!("model-{id}"))).to_vec(), 2);
    assert!((brain.arms[2].prior.quality - 0.9).abs() < 1e-6 && (brain.arms[0].prior.quality - 0.5).abs() < 1e-6);
}

#[test]
fn an_explanation_says_what_would_be_drawn_and_leaves_no_trace() {
    let mut world = World::new(r#"{"features": ["code"]}"#, by_question);
    world.shares(400);
    let offers = COSTS.map(|cost| Offer { wait_ms: 0.0, cost });
    let before = state::write(&world.brain);
    let (ranked, reasons) = world.brain.explain(&[1.0, -1.0], &offers, 0.5);
    assert_eq!(state::write(&world.brain), before);
    assert_eq!(world.brain.choose(&[1.0, -1.0], &offers, 3, 0.5), ranked);
    let chances: f32 = reasons.iter().map(|reason| reason.chance).sum();
    assert!((chances - 1.0).abs() < 1e-5 && (reasons[ranked[0].arm].chance - ranked[0].propensity).abs() < 1e-6);
    for reason in &reasons {
        assert!((reason.score - (reason.quality - reason.price)).abs() < 1e-5, "{reason:?}");
        assert!(reason.low <= reason.quality && reason.quality <= reason.high && reason.replies > 0.0, "{reason:?}");
    }
    let fresh = World::new(r#"{"features": ["code"]}"#, by_question).brain;
    let (_, reasons) = fresh.explain(&[1.0, 0.0], &offers, 0.5);
    assert!(reasons[0].bonus.is_infinite() && (reasons[0].low, reasons[0].high) == (0.0, 1.0), "{:?}", reasons[0]);
    let said = crate::said("a \"b\"", &reasons[0]);
    assert!(said.starts_with(r#"{"deployment":"a \"b\"","score":"#) && said.contains(r#""bonus":null"#), "{said}");
}

#[test]
fn no_reply_is_expected_to_be_better_than_a_reply_can_be() {
    let good_at_easy = |_, hard: bool| if hard { 0.1 } else { 0.95 };
    let mut world = World::new(r#"{"features": ["code"], "algorithm": "linucb"}"#, good_at_easy);
    world.shares(300);
    // It becomes good at hard questions too: that it is better is said of all.
    world.quality = |_, _| 0.95;
    for _ in 0..300 {
        world.one();
        for x in [[1.0, 1.0], [1.0, -1.0]] {
            let (_, reasons) = world.brain.explain(&x, &COSTS.map(|cost| Offer { wait_ms: 0.0, cost }), 0.5);
            assert!(
                reasons.iter().all(|reason| reason.quality <= 1.0),
                "{:?}",
                reasons.iter().map(|reason| reason.quality).collect::<Vec<_>>()
            );
        }
    }
}
