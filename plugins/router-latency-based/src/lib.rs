//! Latency: the deployment with the fastest replies among those that may start now, then those that must wait,
//! the shortest wait first. Those within `lowest_latency_buffer` of the fastest are drawn evenly.
//!
//! The rule of LiteLLM's `latency-based-routing`. A deployment's latency is the mean of its last samples. A whole
//! reply gives one: its seconds per output token (its seconds, where it has none); a reply that timed out counts as
//! 1,000 seconds; other faults count nothing. For a streamed request the time to the first token in seconds
//! decides where it is known, else the same mean. A deployment without samples has latency 0, so a new one is tried.
//! Differences, on purpose: the newest samples are kept (LiteLLM replaces only the last one once the list is full),
//! each sample is forgotten `ttl` after it came (LiteLLM forgets all at once, after `ttl` without any), and limits are
//! the gateway's exact windows.
//!
//! What is learned is saved by deployment id and survives a restart, a swap and a changed list of deployments.
//!
//! Settings, LiteLLM's names and defaults:
//! - `ttl`: 3600 seconds.
//! - `lowest_latency_buffer`: 0; 0.5 draws among all up to half as slow again as the fastest.
//! - `max_latency_list_size`: 10 samples, at most 1,000.
//! - `ttft_percentile`: above 0 up to 1; decides streams by this percentile of the times to the first token in the
//!   place of their mean.

mod history;
mod state;

use std::collections::BTreeMap;

use witgate_policy::rank::{Score, best_first_within};
use witgate_policy::signals::WAIT_MS;
use witgate_policy::{
    Ask, Fault, Needs, Outcome, Random, Ranking, Refusal, Router, SavedState, Settings, Setup, Signals, Traits,
    export_router, log,
};

use history::{Figure, History, Rule};

/// Seconds a timeout counts as.
const TIMED_OUT: f64 = 1_000.0;

#[derive(Clone, Debug, Default, PartialEq)]
struct Learned {
    /// Seconds per output token.
    replies: History,
    /// Seconds to the first token.
    first_tokens: History,
}

struct LatencyBased {
    rule: Rule,
    first_token_figure: Figure,
    buffer: f64,
    ids: Vec<String>,
    learned: Vec<Learned>,
    /// The latest moment seen, for outcomes carry none; 0 before the first.
    now: u64,
}

impl Router for LatencyBased {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let mut settings = Settings::parse(&setup.settings)?;
        let ttl = settings.number("ttl", "0 to 1e12", 0.0..=1e12)?.unwrap_or(3_600.0);
        let buffer = settings.number("lowest_latency_buffer", "0 to 1e6", 0.0..=1e6)?.unwrap_or(0.0);
        let size = settings.whole("max_latency_list_size", 1..=1_000)?.unwrap_or(10);
        let percentile = settings.number("ttft_percentile", "above 0, at most 1", f64::MIN_POSITIVE..=1.0)?;
        settings.finish()?;
        let saved = setup.state.as_ref().map_or_else(|| Ok((0, BTreeMap::new())), state::read);
        let (now, mut known) = saved.unwrap_or_else(|problem| {
            log::warn(&format!("starting without what was learned: {problem}"));
            (0, BTreeMap::new())
        });
        let ids: Vec<String> = setup.deployments.into_iter().map(|deployment| deployment.id).collect();
        let rule = Rule::new(ttl, size);
        let learned = ids.iter().map(|id| known.remove(id).unwrap_or_default().trimmed(&rule)).collect();
        let first_token_figure = percentile.map_or(Figure::Mean, Figure::Percentile);
        Ok((Self { rule, first_token_figure, buffer, ids, learned, now }, Needs::signals(&[WAIT_MS])))
    }

    fn route(&mut self, ask: &Ask, table: Signals<'_>) -> Result<Ranking, Refusal> {
        if self.now == 0 {
            // Outcomes may come first: those of requests under way when the gateway started or swapped.
            let histories =
                self.learned.iter_mut().flat_map(|learned| [&mut learned.replies, &mut learned.first_tokens]);
            histories.for_each(|history| history.date(ask.now_ms));
        }
        self.now = self.now.max(ask.now_ms);
        let streamed = ask.traits.contains(Traits::STREAMING);
        let [wait] = table.columns();
        let (now, rule, figure) = (self.now, &self.rule, self.first_token_figure);
        let scores = self.learned.iter_mut().zip(wait.iter()).map(|(learned, wait)| {
            let first_token = if streamed { learned.first_tokens.figure(now, rule, figure) } else { None };
            let latency = first_token.or_else(|| learned.replies.figure(now, rule, Figure::Mean)).unwrap_or(0.0);
            Score::new(wait, latency)
        });
        Ok(best_first_within(scores, self.buffer, &mut Random::new(ask.seed)))
    }

    fn observe(&mut self, outcome: &Outcome) {
        // A late quality score tells of the same attempt again, without its times, which are counted already.
        if outcome.latency_ms.is_nan() {
            return;
        }
        let Some(learned) = self.learned.get_mut(outcome.deployment as usize) else { return };
        let seconds = f64::from(outcome.latency_ms) / 1_000.0;
        match outcome.fault {
            None => {
                learned.replies.push(self.now, seconds / f64::from(outcome.output_tokens.max(1)), &self.rule);
                if let Some(ttft) = outcome.ttft_ms {
                    learned.first_tokens.push(self.now, f64::from(ttft) / 1_000.0, &self.rule);
                }
            }
            Some(Fault::TimedOut) => learned.replies.push(self.now, TIMED_OUT, &self.rule),
            Some(_) => {}
        }
    }

    fn save(&self) -> Option<SavedState> {
        Some(state::write(self.now, self.ids.iter().zip(&self.learned)))
    }
}

impl Learned {
    /// A smaller list than the one that was saved keeps the newest.
    fn trimmed(mut self, rule: &Rule) -> Self {
        self.replies.trim(rule);
        self.first_tokens.trim(rule);
        self
    }
}

export_router!(LatencyBased);

#[cfg(test)]
mod tests;
