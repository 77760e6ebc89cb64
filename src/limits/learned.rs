//! What a deployment's replies teach about what comes next: how its provider's count of input differs from ours, how long its
//! replies are where nobody bounds them, and how long after its last byte a request is counted.
//!
//! - *Input.* The ratio of reported to counted input tokens, as a mean that forgets (one in twenty) with its spread. What is
//!   reserved is the count times the mean and two spreads, once five replies are known.
//! - *Output.* Of the last 64 replies that no `max_tokens` bounded, the length that 95 in a hundred do not exceed; of one or two replies,
//!   four times and twice the longest. Before its first, what the same model's other deployments of its group have taught.
//! - *Slack.* Half a second at first. A refusal by the provider that contradicts our own account doubles it (an amount was forgotten
//!   here before it was there); an answer while the window is nearly full confirms it and takes a twentieth off.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentId, GroupName};

/// The slack where nothing was learned.
const SLACK: Duration = Duration::from_millis(500);
/// A request on its way takes some time wherever the provider is.
const LEAST_SLACK: Duration = Duration::from_millis(50);
/// Beyond that it is not the slack.
const MOST_SLACK: Duration = Duration::from_secs(30);
/// Ratios by which the corrected input is worth something.
const ENOUGH_RATIOS: u32 = 5;
/// Lengths by which the expected output is; for each that is missing, the longest is doubled.
const ENOUGH_LENGTHS: usize = 3;
/// Lengths that are remembered.
const LENGTHS: usize = 64;
/// What one reply more weighs among many.
const WEIGHT: f64 = 0.05;

/// What is expected of a deployment's next reply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Its count of input tokens as a multiple of ours, the spread taken into account.
    pub input: f64,
    /// Its output tokens where nothing bounds them; `None` is not known yet.
    pub output: Option<u64>,
}

impl Default for Expected {
    fn default() -> Self {
        Self { input: 1.0, output: None }
    }
}

/// What a whole reply reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Input tokens as counted here, uncorrected; `None` where they were not counted.
    pub counted_input: Option<u64>,
    /// Input tokens as reported.
    pub input: u64,
    /// Output tokens as reported, where nothing bounded them.
    pub output: Option<u64>,
}

/// What one deployment has taught.
#[derive(Debug)]
pub struct Learned {
    lessons: Mutex<Lessons>,
    /// The bits of the input's factor, and the expected output (the largest number is unknown): read for every decision.
    input: AtomicU64,
    output: AtomicU64,
    /// Nanoseconds.
    slack: AtomicU64,
    /// Whether it takes streams only without options.
    bare_streams: AtomicBool,
    /// Whether its model gives no thinking under a seal.
    unsealed: AtomicBool,
    /// What its replies have used that no price is known of, as far as it was told.
    unpriced: Mutex<Vec<&'static str>>,
}

/// What is kept of it from one start to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Lessons {
    ratios: u32,
    mean: f64,
    variance: f64,
    lengths: VecDeque<u64>,
    /// Written alone: it is kept beside.
    slack_ms: u64,
}

impl Default for Learned {
    fn default() -> Self {
        Self {
            lessons: Mutex::default(),
            input: AtomicU64::new(1.0_f64.to_bits()),
            output: AtomicU64::new(u64::MAX),
            slack: AtomicU64::new(nanos(SLACK)),
            bare_streams: AtomicBool::new(false),
            unsealed: AtomicBool::new(false),
            unpriced: Mutex::default(),
        }
    }
}

impl Learned {
    /// What is expected of the next reply.
    #[must_use]
    pub fn expected(&self) -> Expected {
        Expected {
            input: f64::from_bits(self.input.load(Ordering::Relaxed)),
            output: Some(self.output.load(Ordering::Relaxed)).filter(|output| *output != u64::MAX),
        }
    }

    /// A reply ended, and its provider reported what it used.
    pub fn observe(&self, seen: Observation) {
        let mut lessons = self.lock();
        if let Some(counted) = seen.counted_input.filter(|counted| *counted > 0 && seen.input > 0) {
            lessons.ratio(ratio(seen.input, counted));
            self.publish_input(&lessons);
        }
        if let Some(output) = seen.output
            && lessons.length(output, self.expected().output)
        {
            self.publish_output(&lessons);
        }
    }

    fn publish_input(&self, lessons: &Lessons) {
        self.input.store(lessons.input().to_bits(), Ordering::Relaxed);
    }

    fn publish_output(&self, lessons: &Lessons) {
        self.output.store(lessons.output().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long after its last byte a request counts at the latest, the time that `bytes` of it take on a slow line (a
    /// mebibyte in a second) included.
    #[must_use]
    pub fn slack(&self, bytes: usize) -> Duration {
        let line = Duration::from_micros(u64::try_from(bytes).unwrap_or(u64::MAX));
        Duration::from_nanos(self.slack.load(Ordering::Relaxed)).saturating_add(line)
    }

    /// The provider refused a request that should have fitted.
    pub fn contradicted(&self) {
        self.change(|slack| slack.saturating_mul(2));
    }

    /// The provider took a request that filled the window.
    pub fn confirmed(&self) {
        self.change(|slack| slack - slack / 20);
    }

    /// Whether the provider takes streams only without options, which it has shown once.
    #[must_use]
    pub fn takes_bare_streams(&self) -> bool {
        self.bare_streams.load(Ordering::Relaxed)
    }

    /// It refused a stream with options, and took the same without.
    pub fn took_a_bare_stream(&self) {
        self.bare_streams.store(true, Ordering::Relaxed);
    }

    /// Whether the model refuses to give thinking under a seal, which it has shown once.
    #[must_use]
    pub fn gives_nothing_sealed(&self) -> bool {
        self.unsealed.load(Ordering::Relaxed)
    }

    /// It refused to, and took the same without being asked for it.
    pub fn gave_nothing_sealed(&self) {
        self.unsealed.store(true, Ordering::Relaxed);
    }

    /// A reply used something that no price is known of. Whether it is the first.
    pub fn is_first_unpriced(&self, what: &'static str) -> bool {
        let mut told = self.unpriced.lock().unwrap_or_else(PoisonError::into_inner);
        if told.contains(&what) {
            return false;
        }
        told.push(what);
        drop(told);
        true
    }

    fn change(&self, other: impl Fn(u64) -> u64) {
        let bounded = |slack| other(slack).clamp(nanos(LEAST_SLACK), nanos(MOST_SLACK));
        self.slack.update(Ordering::Relaxed, Ordering::Relaxed, bounded);
    }

    fn saved(&self) -> Lessons {
        Lessons { slack_ms: self.slack.load(Ordering::Relaxed) / 1_000_000, ..self.lock().clone() }
    }

    fn restore(&self, lessons: &Lessons) {
        let bounded = Duration::from_millis(lessons.slack_ms).clamp(LEAST_SLACK, MOST_SLACK);
        self.slack.store(nanos(bounded), Ordering::Relaxed);
        let mut lessons = lessons.clone();
        lessons.lengths.truncate(LENGTHS);
        self.publish_input(&lessons);
        self.publish_output(&lessons);
        *self.lock() = lessons;
    }

    fn lock(&self) -> MutexGuard<'_, Lessons> {
        self.lessons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lessons {
    fn ratio(&mut self, ratio: f64) {
        self.ratios = self.ratios.saturating_add(1);
        let weight = WEIGHT.max(1.0 / f64::from(self.ratios));
        let off = ratio - self.mean;
        self.mean = weight.mul_add(off, self.mean);
        if self.ratios > 1 {
            self.variance = (1.0 - weight) * weight.mul_add(off * off, self.variance);
        }
    }

    /// Keeps one length more; whether it may change what is `expected`. Where as many are known as before, and the one that is
    /// forgotten stands on the same side of it as the new one, it does not.
    fn length(&mut self, output: u64, expected: Option<u64>) -> bool {
        let forgotten = if self.lengths.len() == LENGTHS { self.lengths.pop_front() } else { None };
        self.lengths.push_back(output);
        match forgotten.zip(expected) {
            Some((forgotten, expected)) => forgotten != output && forgotten.cmp(&expected) != output.cmp(&expected),
            None => true,
        }
    }

    fn input(&self) -> f64 {
        if self.ratios < ENOUGH_RATIOS {
            return 1.0;
        }
        2.0_f64.mul_add(self.variance.max(0.0).sqrt(), self.mean).clamp(0.25, 4.0)
    }

    fn output(&self) -> Option<u64> {
        if self.lengths.len() < ENOUGH_LENGTHS {
            // Little is known, and that much better than the most a model may write: with it the first window would stay half empty.
            let longest = self.lengths.iter().max()?;
            return Some(longest.saturating_mul(1 << (ENOUGH_LENGTHS - self.lengths.len())));
        }
        // Asked at the end of every reply: no memory is taken, and no more put in order than the answer needs.
        let mut lengths = [0; LENGTHS];
        let known = self.lengths.len().min(LENGTHS);
        lengths.iter_mut().zip(&self.lengths).for_each(|(place, length)| *place = *length);
        let (_, length, _) = lengths[..known].select_nth_unstable((known * 95).div_ceil(100).saturating_sub(1));
        Some(*length)
    }
}

#[expect(clippy::cast_precision_loss, reason = "tokens are far below 2^52")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// What every deployment has taught, by id. It survives reloads, and restarts where it is saved.
#[derive(Debug, Default)]
pub struct LearnedBook {
    all: Mutex<BTreeMap<DeploymentId, Arc<Learned>>>,
}

/// The lessons as they are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedLessons(BTreeMap<String, Lessons>);

impl SavedLessons {
    /// What these have taught; those that taught nothing are left out.
    pub fn of<'a>(all: impl Iterator<Item = (&'a DeploymentId, &'a Learned)>) -> Self {
        let saved = all.map(|(id, learned)| (id.to_string(), learned.saved()));
        Self(saved.filter(|(_, lessons)| *lessons != Learned::default().saved()).collect())
    }

    /// Whether nothing was learned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl LearnedBook {
    /// What this deployment has taught.
    #[must_use]
    pub fn of(&self, id: &DeploymentId) -> Arc<Learned> {
        Arc::clone(self.lock().entry(id.clone()).or_default())
    }

    /// What the replies of a model have taught in a group.
    #[must_use]
    pub fn of_model(&self, group: &GroupName, model: &str) -> Arc<Learned> {
        self.of(&Self::id_of_model(group, model))
    }

    /// What stands for an id where a model has taught a group. No deployment's id has a line break.
    #[must_use]
    pub fn id_of_model(group: &GroupName, model: &str) -> DeploymentId {
        DeploymentId::from(format!("{group}\n{model}"))
    }

    /// What an earlier process has learned.
    pub fn restore(&self, saved: &SavedLessons) {
        for (id, lessons) in &saved.0 {
            self.of(&DeploymentId::from(id.as_str())).restore(lessons);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeploymentId, Arc<Learned>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(counted: u64, input: u64, output: u64) -> Observation {
        Observation { counted_input: Some(counted), input, output: Some(output) }
    }

    #[test]
    fn of_few_replies_little_is_expected_and_that_with_room() {
        let learned = Learned::default();
        assert_eq!(learned.expected(), Expected::default());
        for expected in [40, 20, 10] {
            learned.observe(seen(100, 150, 10));
            assert_eq!(learned.expected(), Expected { input: 1.0, output: Some(expected) });
        }
        (0..2).for_each(|_| learned.observe(seen(100, 150, 10)));
        assert!((learned.expected().input - 1.5).abs() < 1e-9);
        assert_eq!(learned.expected().output, Some(10));
    }

    #[test]
    fn the_spread_is_on_top_and_old_replies_are_forgotten() {
        let learned = Learned::default();
        for number in 0..200 {
            learned.observe(seen(1000, if number % 2 == 0 { 700 } else { 900 }, number));
        }
        let input = learned.expected().input;
        assert!((0.95..1.05).contains(&input), "a mean of 0.8 and a spread of 0.1: {input}");
        assert_eq!(learned.expected().output, Some(196), "of the last 64, 136 to 199");
        (0..200).for_each(|_| learned.observe(seen(1000, 2000, 5)));
        let expected = learned.expected();
        assert!((1.99..2.05).contains(&expected.input), "{expected:?}");
        assert_eq!(expected.output, Some(5));
    }

    #[test]
    fn the_slack_moves_between_its_bounds_and_all_is_kept() {
        let book = LearnedBook::default();
        let learned = book.of(&DeploymentId::from("a"));
        assert_eq!(learned.slack(500_000), Duration::from_secs(1));
        (0..100).for_each(|_| learned.confirmed());
        assert_eq!(learned.slack(0), LEAST_SLACK);
        (0..2).for_each(|_| learned.contradicted());
        assert_eq!(learned.slack(0), LEAST_SLACK * 4);
        (0..20).for_each(|_| learned.observe(seen(100, 130, 40)));
        let id = DeploymentId::from("a");
        let text = serde_json::to_string(&SavedLessons::of(std::iter::once((&id, &*learned)))).unwrap();
        let other = LearnedBook::default();
        other.restore(&serde_json::from_str(&text).unwrap());
        let restored = other.of(&DeploymentId::from("a"));
        assert_eq!((restored.slack(0), restored.expected()), (learned.slack(0), learned.expected()));
    }
}
