//! Bandit: learns from replies which deployment is good enough for a question, and sends it to the one whose worth is highest.
//!
//! A reply's worth is `quality − cost − latency`, each with its weight, cost and latency on a logarithmic scale, so that a tenth of a cent
//! and a hundredth differ as a cent and ten do. Quality is learned per deployment: at first as a mean (UCB1, Auer et al., 2002), and after
//! `warm_up` requests of the group as a ridge regression over the question's features (`LinUCB`, Li et al., 2010), which has learned from
//! the first reply on. Cost is what the host expects, corrected by what replies did cost. Everything forgets (`memory`), so that a model
//! that turned bad is left, and one that turned good is found again. A share of requests (`uniform`) is drawn evenly; with
//! `thompson` each deployment is drawn as often as it is probably the best. Every choice carries its probability.
//!
//! A quality is what somebody said of a reply, by feedback or a judge, or what the gateway saw at its end: that it was cut short, or not
//! taken. A reply of which nothing was said counts 0.9 if it came and 0.1 if it did not, and next to nothing in a group of which replies
//! are judged now and then. Limits, the client's leaving and a request's own faults say nothing.
//!
//! What is learned is saved by deployment id and survives restarts, swaps, another algorithm and changed lists of deployments.
//!
//! Settings: see `settings.schema.json`.

mod arm;
mod brain;
mod choice;
mod features;
mod linear;
mod pacer;
mod pending;
mod settings;
mod state;

use witgate_policy::signals::{COST_USD, WAIT_MS};
use witgate_policy::{
    Ask, Choice, Fault, Needs, Outcome, Random, Ranking, Refusal, Router, SavedState, Setup, Signals, export_router,
    log,
};

use brain::{Brain, Ended, Offer, Reason, Turnout};
use features::Layout;
use settings::Rules;

/// The attribute that says that a request is not served: whoever asks wants to know why, and nothing is to be learned.
const EXPLAIN: &str = "explain";

struct Bandit {
    brain: Brain,
    layout: Layout,
    /// What the last decision was about, for their memory alone.
    numbers: Vec<f32>,
    offers: Vec<Offer>,
}

impl Router for Bandit {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let rules = Rules::parse(&setup.settings)?;
        let layout = Layout::of(&rules.features, linear::MOST)?;
        let deployments = setup.deployments.into_iter().map(|one| (one.id, one.model)).collect();
        let needs = Needs {
            features: rules.features.clone(),
            attributes: vec![EXPLAIN.to_owned()],
            ..Needs::signals(&[WAIT_MS, COST_USD])
        };
        let mut brain = Brain::new(rules, deployments, layout.width());
        if let Some(saved) = &setup.state
            && let Err(problem) = state::restore(&mut brain, saved)
        {
            log::warn(&format!("starting without what was learned: {problem}"));
        }
        Ok((Self { brain, layout, numbers: Vec::new(), offers: Vec::new() }, needs))
    }

    fn route(&mut self, ask: &Ask, table: Signals<'_>) -> Result<Ranking, Refusal> {
        let [wait, cost] = table.columns();
        self.offers.clear();
        let offer = |row| Offer { wait_ms: wait.at_or(row, f32::INFINITY), cost: cost.at_or(row, f32::NAN) };
        self.offers.extend((0..table.rows()).map(offer));
        #[expect(clippy::cast_possible_truncation, reason = "a draw")]
        let unit = Random::new(ask.seed).unit() as f32;
        self.layout.numbers(&ask.features, &mut self.numbers);
        let (numbers, offers) = (&self.numbers, &self.offers);
        let explained = ask.attributes.first().is_some_and(|told| !told.is_empty());
        let ranked = if explained {
            let (ranked, reasons) = self.brain.explain(numbers, offers, unit);
            for one in &ranked {
                log::debug(&said(&self.brain.ids[one.arm], &reasons[one.arm]));
            }
            ranked
        } else {
            self.brain.choose(numbers, offers, ask.seed, unit)
        };
        let choice = |(arm, propensity)| u32::try_from(arm).ok().map(|deployment| Choice { deployment, propensity });
        Ok(ranked.into_iter().filter_map(|one| choice((one.arm, one.propensity))).collect())
    }

    fn observe(&mut self, outcome: &Outcome) {
        let ended = match outcome.fault {
            None => Ended::Well,
            Some(Fault::Unavailable | Fault::TimedOut | Fault::BrokenStream) => Ended::Badly,
            Some(Fault::RateLimited | Fault::Rejected | Fault::Cancelled) => Ended::Otherwise,
        };
        #[expect(clippy::cast_possible_truncation, reason = "money as a mean")]
        let cost = outcome.cost_usd as f32;
        self.brain.learn(Turnout {
            seed: outcome.seed,
            attempt: outcome.attempt,
            arm: outcome.deployment as usize,
            ended,
            cost,
            latency_ms: outcome.latency_ms,
            quality: outcome.quality,
        });
    }

    fn save(&self) -> Option<SavedState> {
        Some(state::write(&self.brain))
    }
}

/// Why a deployment stands where it does, as an object of JSON.
fn said(id: &str, reason: &Reason) -> String {
    let id = id.replace('\\', "\\\\").replace('"', "\\\"");
    let Reason { quality, low, high, price, score, bonus, replies, chance } = reason;
    let bonus = if bonus.is_finite() { format!("{bonus:.4}") } else { "null".to_owned() };
    format!(
        "{{\"deployment\":\"{id}\",\"score\":{score:.4},\"bonus\":{bonus},\"probability\":{chance:.4},\"quality\":{quality:.4},\
         \"quality_low\":{low:.4},\"quality_high\":{high:.4},\"price\":{price:.4},\"replies\":{replies:.1}}}"
    )
}

export_router!(Bandit);

#[cfg(test)]
mod tests;
