//! The learner: draws a deployment for a question, and learns from how its reply turned out, now or days later.

use std::borrow::Cow;

use crate::arm::{Arm, VARY};
use crate::choice::{Belief, draw, mix, optimistic, probably_best};
use crate::linear::{Linear, Prior, Question};
use crate::pacer::Pacer;
use crate::pending::{NOBODY, Pending, TOLD};
use crate::settings::{Algorithm, Rules, UNKNOWN_QUALITY};

/// The quality of a reply that nobody judged: one that came, and one that did not.
const ANSWERED: f32 = 0.9;
const FAILED: f32 = 0.1;
/// What a reply that nobody judged counts in a group whose replies are judged now and then: that it came says little there.
const UNJUDGED: f32 = 0.02;

/// What is known of a deployment at a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Offer {
    /// Milliseconds until it may start; infinite is never.
    pub(crate) wait_ms: f32,
    /// What this request is expected to cost there, US dollars; NaN where unknown.
    pub(crate) cost: f32,
}

/// How a reply turned out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Turnout {
    pub(crate) seed: u64,
    pub(crate) attempt: u32,
    pub(crate) arm: usize,
    pub(crate) ended: Ended,
    pub(crate) cost: f32,
    pub(crate) latency_ms: f32,
    pub(crate) quality: Option<f32>,
}

/// What an end says of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It answered.
    Well,
    /// It did not.
    Badly,
    /// Nothing: the client left, a limit was reached, the request itself was at fault.
    Otherwise,
}

/// A deployment in the order of choice, and how probable its place was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ranked {
    pub(crate) arm: usize,
    pub(crate) propensity: f32,
}

/// Why a deployment stands where it does: what is believed of its reply to this question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reason {
    /// The quality that is expected,
    pub(crate) quality: f32,
    /// and where it is at 95 %, if replies vary as they usually do.
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// What its cost and time take off.
    pub(crate) price: f32,
    /// What remains: the worth that is expected.
    pub(crate) score: f32,
    /// What it is credited with for what is not known of it; infinite where that is all.
    pub(crate) bonus: f32,
    /// Replies that are remembered.
    pub(crate) replies: f32,
    /// How probable it is that it comes first.
    pub(crate) chance: f32,
}

/// A draw.
struct Weighed {
    ranked: Vec<Ranked>,
    /// Those that may come first, and how probable that is of each.
    ready: Vec<usize>,
    chances: Vec<f32>,
}

/// What is known of a quality.
#[derive(Clone, Copy)]
struct Known {
    quality: f32,
    /// How far it may be off, as the algorithm reckons it.
    spread: f32,
    /// Its standard error, in units of a reply's own.
    error: f32,
}

/// The learner of one group.
#[derive(Clone, Debug)]
pub(crate) struct Brain {
    pub(crate) rules: Rules,
    pub(crate) ids: Vec<String>,
    pub(crate) arms: Vec<Arm>,
    /// Decisions made.
    pub(crate) decisions: u64,
    /// Whether a reply was ever judged.
    pub(crate) judged: bool,
    pub(crate) pacer: Pacer,
    pub(crate) pending: Pending,
    /// The question of the last decision, for its memory alone.
    question: Question,
}

impl Brain {
    /// Of a group's deployments: their ids, and their models, of which nothing is known yet.
    pub(crate) fn new(rules: Rules, deployments: Vec<(String, String)>, width: usize) -> Self {
        let prior = |(id, model): &(String, String)| {
            let quality = rules.priors.get(id).or_else(|| rules.priors.get(model));
            Prior {
                quality: quality.copied().unwrap_or(UNKNOWN_QUALITY),
                strength: rules.prior_strength,
                ridge: rules.ridge,
            }
        };
        let arms = deployments.iter().map(|one| Arm::new(width, prior(one), 0)).collect();
        Self {
            rules,
            ids: deployments.into_iter().map(|(id, _)| id).collect(),
            arms,
            decisions: 0,
            judged: false,
            pacer: Pacer::default(),
            pending: Pending::new(width),
            question: Question::default(),
        }
    }

    /// Numbers of a question.
    pub(crate) fn width(&self) -> usize {
        self.arms.first().map_or(0, |arm| arm.linear.parts().0.len())
    }

    /// Draws with `unit`, from 0 to 1. Those that may start now come first; the others stand behind, the shortest wait first.
    pub(crate) fn choose(&mut self, x: &[f32], offers: &[Offer], seed: u64, unit: f32) -> Vec<Ranked> {
        let mut question = std::mem::take(&mut self.question);
        question.ask(x);
        let ranked = self.weigh(&question, offers, unit).ranked;
        self.decisions += 1;
        let mut costs = [NOBODY; TOLD];
        for (cost, one) in costs.iter_mut().zip(&ranked) {
            *cost = (u32::try_from(one.arm).unwrap_or(u32::MAX), offers[one.arm].cost);
        }
        self.pending.keep(seed, x, costs);
        self.question = question;
        ranked
    }

    /// What would be drawn, and all that is believed of each deployment. Nothing is remembered of it.
    pub(crate) fn explain(&self, x: &[f32], offers: &[Offer], unit: f32) -> (Vec<Ranked>, Vec<Reason>) {
        let question = Question::new(x);
        let Weighed { ranked, ready, chances } = self.weigh(&question, offers, unit);
        let mut first = vec![0.0; offers.len()];
        ready.iter().zip(&chances).for_each(|(arm, chance)| first[*arm] = *chance);
        let remembered = self.remembered();
        let reason = |((arm, offer), chance): ((&Arm, &Offer), &f32)| {
            let Known { quality, spread, error } = self.known(arm, &question, remembered);
            let around = 1.96 * VARY * error;
            Reason {
                quality,
                low: (quality - around).max(0.0),
                high: (quality + around).min(1.0),
                price: self.price(arm, *offer),
                score: self.belief(arm, &question, *offer, remembered).worth,
                bonus: self.rules.worth.quality * self.rules.exploration * spread,
                replies: arm.quality.count * arm.kept(self.rules.memory, self.decisions),
                chance: *chance,
            }
        };
        let reasons = self.arms.iter().zip(offers).zip(&first).map(reason).collect();
        (ranked, reasons)
    }

    fn weigh(&self, question: &Question, offers: &[Offer], unit: f32) -> Weighed {
        let remembered = if self.by_means() { self.remembered() } else { 0.0 };
        let soonest = offers.iter().map(|offer| offer.wait_ms).filter(|wait| wait.is_finite()).fold(f32::NAN, f32::min);
        let may_start = |offer: &Offer| offer.wait_ms <= soonest.max(0.0);
        // Of those that stand behind only the worth is asked, which costs a twentieth.
        let belief = |(arm, offer): (&Arm, &Offer)| {
            if may_start(offer) {
                self.belief(arm, question, *offer, remembered)
            } else {
                Belief { worth: self.worth(arm, *offer, self.quality(arm, question)), spread: 0.0 }
            }
        };
        let beliefs: Vec<Belief> = self.arms.iter().zip(offers).map(belief).collect();
        let ready: Vec<usize> = (0..beliefs.len()).filter(|arm| may_start(&offers[*arm])).collect();
        let mut ranked: Vec<Ranked> = Vec::with_capacity(beliefs.len());
        let mut chances = Vec::new();
        if !ready.is_empty() {
            // Mostly all of them are.
            let asked: Cow<'_, [Belief]> = if ready.len() == beliefs.len() {
                Cow::Borrowed(&beliefs)
            } else {
                ready.iter().map(|arm| beliefs[*arm]).collect()
            };
            chances = match self.rules.algorithm {
                Algorithm::Thompson => probably_best(&asked),
                Algorithm::Ucb1Linucb | Algorithm::Ucb1 | Algorithm::Linucb => optimistic(&asked),
            };
            mix(&mut chances, self.rules.uniform, self.tried(&ready, offers).as_deref());
            let place = draw(&chances, unit);
            ranked.push(Ranked { arm: ready[place], propensity: chances[place] });
        }
        let chosen = ranked.first().map(|one| one.arm);
        let rest = (0..beliefs.len()).filter(|arm| Some(*arm) != chosen);
        // The shortest wait first, then the greatest worth, as one whole number: it is compared without a branch in between.
        let key = |arm: usize| {
            let (wait, worth) = (ordered(offers[arm].wait_ms), ordered(beliefs[arm].worth));
            (u64::from(wait) << 32 | u64::from(!worth), arm)
        };
        let mut keys: Vec<(u64, usize)> = rest.map(key).collect();
        keys.sort_unstable();
        ranked.extend(keys.into_iter().map(|(_, arm)| Ranked { arm, propensity: 1.0 }));
        Weighed { ranked, ready, chances }
    }

    /// How many replies of the group are remembered.
    fn remembered(&self) -> f32 {
        self.arms.iter().map(|arm| arm.quality.count * arm.kept(self.rules.memory, self.decisions)).sum()
    }

    /// The quality that is expected of one deployment's reply to this question.
    fn quality(&self, arm: &Arm, question: &Question) -> f32 {
        let expected =
            if self.by_means() { arm.quality.known().unwrap_or(arm.prior.quality) } else { arm.linear.mean(question) };
        // One that has become better for some questions was shifted for all, also for those that it answered well before.
        expected.min(1.0)
    }

    /// What is known of it.
    fn known(&self, arm: &Arm, question: &Question, remembered: f32) -> Known {
        let (quality, kept) = (self.quality(arm, question), arm.kept(self.rules.memory, self.decisions));
        if self.by_means() {
            let count = arm.quality.count * kept;
            if count <= 0.0 {
                return Known { quality, spread: f32::INFINITY, error: f32::INFINITY };
            }
            Known { quality, spread: (2.0 * (1.0 + remembered).ln() / count).sqrt(), error: count.sqrt().recip() }
        } else {
            let most = Linear::most_variance(question, arm.prior);
            let error = (arm.linear.variance(question) / kept.max(1e-6)).min(most).sqrt();
            Known { quality, spread: error, error }
        }
    }

    /// What is believed of one deployment's reply to this question.
    fn belief(&self, arm: &Arm, question: &Question, offer: Offer, remembered: f32) -> Belief {
        let rules = &self.rules;
        let Known { quality, spread, .. } = self.known(arm, question, remembered);
        Belief {
            worth: self.worth(arm, offer, quality),
            spread: if spread.is_finite() { rules.worth.quality * rules.exploration * spread } else { spread },
        }
    }

    /// What a reply of this quality is worth.
    fn worth(&self, arm: &Arm, offer: Offer, quality: f32) -> f32 {
        self.rules.worth.quality * quality - self.price(arm, offer)
    }

    /// Whether the question is not asked yet.
    fn by_means(&self) -> bool {
        match self.rules.algorithm {
            Algorithm::Ucb1 => true,
            Algorithm::Ucb1Linucb => self.decisions < u64::from(self.rules.warm_up),
            Algorithm::Linucb | Algorithm::Thompson => false,
        }
    }

    /// How often each of these is drawn that is drawn only to be tried: evenly (`None`), but where money is paced no oftener than a
    /// request's money pays for, so that trying a dear one takes no more of a budget than trying another.
    fn tried(&self, ready: &[usize], offers: &[Offer]) -> Option<Vec<f32>> {
        let pace = self.rules.pace?;
        #[expect(clippy::cast_possible_truncation, reason = "money as a share")]
        let target = self.pacer.target(pace) as f32;
        let share = |arm: &usize| {
            let cost = self.arms[*arm].expected_ln_cost(offers[*arm].cost).map(f32::exp);
            cost.filter(|cost| *cost > target).map_or(1.0, |cost| target / cost)
        };
        Some(ready.iter().map(share).collect())
    }

    /// What a reply's cost and time take off its worth.
    fn price(&self, arm: &Arm, offer: Offer) -> f32 {
        let rules = &self.rules;
        let cost = arm.expected_ln_cost(offer.cost);
        let paced = rules.pace.zip(cost).map_or(0.0, |(pace, cost)| self.pacer.weight(pace) * f64::from(cost.exp()));
        #[expect(clippy::cast_possible_truncation, reason = "a worth")]
        let paced = paced as f32;
        let cost = cost.map_or(0.5, |cost| on_scale(cost, rules.cost_range));
        let latency = arm.latency.known().map_or(0.5, |latency| on_scale(latency, rules.latency_range));
        rules.worth.cost * cost + rules.worth.latency * latency + paced
    }

    /// Learns what a reply says.
    pub(crate) fn learn(&mut self, turnout: Turnout) {
        let Some(arm) = self.arms.get_mut(turnout.arm) else { return };
        let numbers = self.pending.numbers(turnout.seed);
        let question =
            numbers.map(|x| Question::new(&x)).filter(|question| question.x.len() == arm.linear.parts().0.len());
        // A judgement of a reply whose end was told already has no times.
        let first = self.pending.settle(turnout.seed, turnout.attempt) && turnout.latency_ms.is_finite();
        if first && turnout.ended == Ended::Well {
            arm.took(self.pending.cost(turnout.seed, turnout.arm), turnout.cost, turnout.latency_ms);
        }
        if let Some(pace) = self.rules.pace.filter(|_| first && turnout.cost.is_finite()) {
            self.pacer.spent(pace, f64::from(turnout.cost));
        }
        let (quality, weight) = match (turnout.quality, turnout.ended) {
            // Nobody judged it: it was asked again, which is told of replies that were no good alone.
            (Some(quality), Ended::Otherwise) if !first => {
                (quality.clamp(0.0, 1.0), if self.judged { UNJUDGED } else { 1.0 })
            }
            (Some(quality), _) => {
                // What comes with an attempt's end is the gateway's: a reply that was cut or not taken. It says nothing of who else judges.
                self.judged |= !first;
                (quality.clamp(0.0, 1.0), 1.0)
            }
            (None, Ended::Well) => (ANSWERED, if self.judged { UNJUDGED } else { 1.0 }),
            (None, Ended::Badly) => (FAILED, 1.0),
            (None, Ended::Otherwise) => return,
        };
        arm.learn(question.as_ref(), quality, weight, self.rules.memory, self.decisions);
    }
}

/// Bits that compare as the numbers do.
const fn ordered(number: f32) -> u32 {
    let bits = number.to_bits();
    // All ones where it is negative.
    let negative = (bits >> 31).wrapping_neg();
    bits ^ (negative | 1 << 31)
}

/// Where a logarithm stands between those of two ends, from 0 to 1.
fn on_scale(logarithm: f32, (low, high): (f32, f32)) -> f32 {
    ((logarithm - low) / (high - low)).clamp(0.0, 1.0)
}
