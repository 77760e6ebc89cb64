//! How large a request is, before it is sent.
//!
//! Counting tokens is dear, so the length in bytes, which no count can exceed, stands in for it until a
//! decision depends on more: a limit that is more than half used, a context window, a policy that asks.

use std::sync::Arc;

use crate::catalog::Deployment;
use crate::chat::ChatRequest;
use crate::limits::{Demand, Dimension};
use crate::tokens::{self, Precision};

use super::RequestContext;

/// Reserved for output where neither the client nor the catalogue knows a bound.
const UNKNOWN_OUTPUT: u64 = 4096;

/// Bytes of a request from which counting takes so long (about 50 µs a KiB) that it is done beside.
const LONG: u64 = 4 << 10;

/// What a request is expected to use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    upper_bound: u64,
    counted: Option<u64>,
    precision: Precision,
    max_tokens: Option<u32>,
    choices: u64,
}

impl Estimate {
    /// The cheap estimate.
    pub(super) fn of(request: &ChatRequest) -> Self {
        Self {
            upper_bound: tokens::upper_bound(request),
            counted: None,
            precision: Precision::UpperBound,
            max_tokens: request.max_tokens,
            choices: u64::from(request.choices.max(1)),
        }
    }

    /// Counts, once.
    pub(super) async fn count(&mut self, context: &RequestContext<'_>, model: &str) {
        if self.counted.is_some() {
            return;
        }
        let count = if self.upper_bound > LONG || !tokens::is_loaded(model) {
            let (request, model) = (Arc::clone(&context.request), model.to_owned());
            context.gateway.blocking.run(move || tokens::count(&request, &model)).await
        } else {
            Some(tokens::count(&context.request, model))
        };
        // What could not be counted is taken to be as large as it may be.
        self.counted = Some(count.map_or(self.upper_bound, |count| count.tokens));
        self.precision = match count {
            None => Precision::UpperBound,
            Some(count) if count.exact => Precision::Exact,
            Some(_) => Precision::Estimate,
        };
    }

    /// Input tokens: counted, else the upper bound.
    pub(super) fn input(&self) -> u64 {
        self.counted.unwrap_or(self.upper_bound)
    }

    /// Whether tokens were counted.
    pub(super) const fn is_counted(&self) -> bool {
        self.counted.is_some()
    }

    /// Whether [`Estimate::input`] is the provider's own way of counting.
    pub(super) fn is_exact(&self) -> bool {
        self.precision == Precision::Exact
    }

    /// What [`Estimate::input`] is.
    pub(super) const fn precision(&self) -> Precision {
        self.precision
    }

    /// What one deployment would be asked for. Output is the client's bound, else the model's, but never
    /// more than a quarter of the deployment's token limit where the client set none.
    pub(super) fn demand(&self, deployment: &Deployment) -> Demand {
        let defaults = deployment.defaults.as_deref();
        let output = self.max_tokens.or_else(|| defaults?.max_tokens).map_or_else(
            || {
                let model = deployment.max_output_tokens.map_or(UNKNOWN_OUTPUT, u64::from).min(UNKNOWN_OUTPUT);
                let limits = &deployment.limits.limits;
                let limit = limits[Dimension::Tokens].into_iter().chain(limits[Dimension::OutputTokens]).min();
                model.min(limit.map_or(u64::MAX, |limit| limit / 4))
            },
            u64::from,
        );
        let choices =
            if self.choices == 1 { defaults.map_or(1, |defaults| defaults.choices.into()) } else { self.choices };
        let (input_tokens, output_tokens) = (self.input(), output.saturating_mul(choices));
        let cost = deployment.prices.map(|prices| prices.of(input_tokens, output_tokens));
        Demand { input_tokens, output_tokens, cost: cost.unwrap_or_default() }
    }

    /// Whether the request certainly does not fit into a context window of so many tokens.
    pub(super) fn overflows(&self, window: u32) -> bool {
        self.is_exact() && self.input() > u64::from(window)
    }

    /// Whether it takes a count to tell if the request fits.
    pub(super) fn may_overflow(&self, window: u32) -> bool {
        self.input() > u64::from(window)
    }
}
