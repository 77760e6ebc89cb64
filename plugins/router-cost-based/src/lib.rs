//! Cost: the cheapest deployment among those that may start now, then those that must wait, the shortest wait
//! first; of equals the one named first.
//!
//! The rule of LiteLLM's `cost-based-routing`: a deployment's cost is its input price plus its output price, and
//! an unknown price counts as 5 dollars per token. Differences, on purpose: a price of 0 is 0 (LiteLLM takes it for
//! unknown), and limits are the gateway's exact windows (LiteLLM counts per clock minute).
//!
//! Settings:
//! - `by`: `"price"` (the default, as above) or `"request"`: what this very request is expected to cost, from its
//!   input tokens and expected output tokens. That is the truer measure where one deployment is cheap to
//!   read and another cheap to write; an unknown cost is then the last choice.
//! - `ttl`: taken for compatibility and without effect; the gateway's limits have their own window.

use witgate_policy::rank::{Score, best_first};
use witgate_policy::signals::{COST_USD, WAIT_MS};
use witgate_policy::{Ask, Deployment, Needs, Ranking, Refusal, Router, Settings, Setup, Signals, export_router};

/// US dollars per million tokens: LiteLLM's 5.0 per token.
const UNKNOWN_PRICE: f64 = 5_000_000.0;

struct CostBased {
    /// Per deployment; `None` where the cost of the request decides.
    prices: Option<Vec<f64>>,
}

fn price(deployment: &Deployment) -> f64 {
    deployment.input_price.unwrap_or(UNKNOWN_PRICE) + deployment.output_price.unwrap_or(UNKNOWN_PRICE)
}

impl Router for CostBased {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let mut settings = Settings::parse(&setup.settings)?;
        let by_request = settings.word("by", &["price", "request"])? == Some(1);
        settings.number("ttl", "at least 0", 0.0..=f64::MAX)?;
        settings.finish()?;
        let prices = (!by_request).then(|| setup.deployments.iter().map(price).collect());
        let columns: &[&str] = if by_request { &[WAIT_MS, COST_USD] } else { &[WAIT_MS] };
        Ok((Self { prices }, Needs { pure: true, ..Needs::signals(columns) }))
    }

    fn route(&mut self, _: &Ask, table: Signals<'_>) -> Result<Ranking, Refusal> {
        let [wait, cost] = table.columns();
        Ok(if let Some(prices) = &self.prices {
            best_first(wait.iter().zip(prices).map(|(wait, &price)| Score::new(wait, price)))
        } else {
            best_first(wait.iter().zip(cost.iter()).map(|(wait, cost)| Score::new(wait, f64::from(cost))))
        })
    }
}

export_router!(CostBased);
