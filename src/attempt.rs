//! The outcome of one call to a provider, as one value that limits, breaker and averages, the router, money and the record each
//! read.
//!
//! The rule of what was used: what the provider reported; else the input as estimated and the output that was seen. Usage that
//! was reported on the way counts for a broken reply, with the output seen since. Nothing was used where the provider refused
//! the request with a 4xx, or where it cannot have seen it.

use std::time::Duration;

use crate::chat::Usage;
use crate::fault::{AttemptFault, FaultKind};
use crate::limits::Demand;
use crate::moment::Moment;
use crate::money::{NanoUsd, Prices};

/// An attempt under way: what is known of it so far.
#[derive(Clone, Debug)]
pub struct AttemptProgress {
    begun: Moment,
    streamed: bool,
    estimated: Demand,
    first_content: Option<Moment>,
    sent: bool,
    usage: Option<Usage>,
    seen_bytes: u64,
    seen_pieces: u64,
}

/// What an attempt counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Billing {
    /// Nothing: the provider cannot have seen it.
    #[default]
    Unsent,
    /// One request and no tokens: the provider refused it with a 4xx.
    Refused,
    /// The tokens that the provider reported.
    Reported,
    /// Tokens as estimated here, because the provider reported none or the reply broke off.
    Estimated,
}

impl Billing {
    /// Whether the provider has seen it.
    #[must_use]
    pub const fn is_sent(self) -> bool {
        !matches!(self, Self::Unsent)
    }

    /// Whether the provider bills its tokens.
    #[must_use]
    pub const fn is_billed(self) -> bool {
        matches!(self, Self::Reported | Self::Estimated)
    }
}

/// An attempt that is over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttemptOutcome {
    /// Why it failed; `None` is a whole reply.
    pub fault: Option<FaultKind>,
    /// The provider's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// What it counts for.
    pub billing: Billing,
    /// Tokens used; none where it is not billed.
    pub usage: Usage,
    /// What it cost; `None` where the price is unknown or nothing is billed.
    pub cost: Option<NanoUsd>,
    /// From the reservation to the last byte.
    pub latency: Duration,
    /// From the reservation to the first content.
    pub ttft: Option<Duration>,
    /// Whether the reply was to be streamed: only then says the first content how fast a deployment begins.
    pub streamed: bool,
}

impl AttemptProgress {
    /// An attempt that begins, with what was reserved for it.
    #[must_use]
    pub const fn begin(now: Moment, streamed: bool, estimated: Demand) -> Self {
        Self {
            begun: now,
            streamed,
            estimated,
            first_content: None,
            sent: false,
            usage: None,
            seen_bytes: 0,
            seen_pieces: 0,
        }
    }

    /// What was reserved for it.
    #[must_use]
    pub const fn estimated(&self) -> Demand {
        self.estimated
    }

    /// The request is about to leave: from here on the provider may have seen it.
    pub const fn sent(&mut self) {
        self.sent = true;
    }

    /// The first piece of the reply itself has come.
    pub fn first_content(&mut self, now: Moment) {
        self.first_content.get_or_insert(now);
    }

    /// Output was received: bytes of text, reasoning or arguments. Providers send about a token in each piece.
    pub const fn saw(&mut self, bytes: u64) {
        self.seen_bytes += bytes;
        self.seen_pieces += 1;
    }

    /// The provider reported what was used so far.
    pub fn reported(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// Ends it: with a whole reply, or with a fault.
    #[must_use]
    pub fn end(mut self, now: Moment, fault: Option<&AttemptFault>, prices: Option<Prices>) -> AttemptOutcome {
        let refused = fault.is_some_and(|fault| fault.status.is_some_and(|status| (400..500).contains(&status)));
        let (billing, usage) = match fault {
            Some(fault) if !(self.sent && fault.was_sent()) => (Billing::Unsent, Usage::default()),
            Some(_) if refused => (Billing::Refused, Usage::default()),
            _ => self.used(fault.is_none()),
        };
        AttemptOutcome {
            fault: fault.map(|fault| fault.kind),
            retry_after: fault.and_then(|fault| fault.retry_after),
            billing,
            cost: prices.filter(|_| billing.is_billed()).map(|prices| prices.cost(&usage)),
            usage,
            latency: now.since(self.begun),
            ttft: self.first_content.map(|at| at.since(self.begun)),
            streamed: self.streamed,
        }
    }

    fn used(&mut self, whole: bool) -> (Billing, Usage) {
        let seen = self.seen_pieces.max(self.seen_bytes.div_ceil(4));
        match self.usage.take() {
            Some(usage) if whole => (Billing::Reported, usage),
            Some(usage) => (Billing::Estimated, Usage { output_tokens: usage.output_tokens.max(seen), ..usage }),
            None => {
                let input_tokens = self.estimated.input_tokens;
                (Billing::Estimated, Usage { input_tokens, output_tokens: seen, ..Usage::default() })
            }
        }
    }
}

impl AttemptOutcome {
    /// What it takes from limits.
    #[must_use]
    pub const fn demand(&self) -> Demand {
        Demand {
            input_tokens: self.usage.input_tokens,
            output_tokens: self.usage.output_tokens,
            cost: match self.cost {
                Some(cost) => cost,
                None => NanoUsd(0),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Price;

    const RESERVED: Demand = Demand { input_tokens: 1000, output_tokens: 500, cost: NanoUsd(0) };
    const PRICES: Prices =
        Prices { input: Price(1_000_000_000), output: Price(4_000_000_000), cache_read: None, cache_write: None };

    fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, ..Usage::default() }
    }

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn refused(status: u16) -> AttemptFault {
        AttemptFault { status: Some(status), ..AttemptFault::new(FaultKind::Rejected, "no") }
    }

    /// Every ending: what it counts for and what is settled.
    #[test]
    fn an_ending_says_what_was_used() {
        let broken = AttemptFault::new(FaultKind::BrokenStream, "cut");
        let unsent = AttemptFault::new(FaultKind::Unavailable, "no connection").before_sending();
        let failed = AttemptFault { status: Some(503), ..AttemptFault::new(FaultKind::Unavailable, "down") };
        let nothing = Usage::default();
        let cancelled = AttemptFault::new(FaultKind::Cancelled, "the client went away");
        // reported, pieces and bytes seen, the fault → what it counts for, tokens used
        let cases = [
            (Some(usage(900, 40)), 3, 60, None, (Billing::Reported, usage(900, 40))),
            (None, 3, 60, None, (Billing::Estimated, usage(1000, 15))),
            (None, 30, 60, None, (Billing::Estimated, usage(1000, 30))),
            (Some(usage(900, 1)), 3, 60, Some(&broken), (Billing::Estimated, usage(900, 15))),
            (None, 0, 0, Some(&broken), (Billing::Estimated, usage(1000, 0))),
            (None, 4, 0, Some(&cancelled), (Billing::Estimated, usage(1000, 4))),
            (None, 0, 0, Some(&failed), (Billing::Estimated, usage(1000, 0))),
            (None, 0, 0, Some(&refused(400)), (Billing::Refused, nothing.clone())),
            (None, 0, 0, Some(&refused(429)), (Billing::Refused, nothing.clone())),
            (None, 0, 0, Some(&unsent), (Billing::Unsent, nothing)),
        ];
        for (number, (reported, pieces, bytes, fault, expected)) in cases.into_iter().enumerate() {
            let mut attempt = AttemptProgress::begin(at(0), true, RESERVED);
            attempt.sent();
            for piece in 0..pieces {
                attempt.saw(if piece == 0 { bytes } else { 0 });
            }
            if let Some(usage) = reported {
                attempt.reported(usage);
            }
            let outcome = attempt.end(at(1000), fault, Some(PRICES));
            assert_eq!((outcome.billing, outcome.usage.clone()), expected, "case {number}");
            assert_eq!(outcome.cost, outcome.billing.is_billed().then(|| PRICES.cost(&outcome.usage)), "case {number}");
            assert_eq!(outcome.fault, fault.map(|fault| fault.kind));
        }
    }

    #[test]
    fn what_never_left_was_not_sent_whatever_the_fault() {
        let cancelled = AttemptFault::new(FaultKind::Cancelled, "the client went away");
        let outcome = AttemptProgress::begin(at(0), false, RESERVED).end(at(5), Some(&cancelled), Some(PRICES));
        assert_eq!((outcome.billing, outcome.cost), (Billing::Unsent, None));
        assert_eq!(outcome.demand(), Demand::default());
    }

    #[test]
    fn times_are_from_the_beginning_and_the_first_content_is_the_first() {
        let mut attempt = AttemptProgress::begin(at(1000), true, RESERVED);
        attempt.first_content(at(1200));
        attempt.first_content(at(1900));
        let outcome = attempt.end(at(3000), None, None);
        assert_eq!((outcome.latency.as_millis(), outcome.ttft.map(|ttft| ttft.as_millis())), (2000, Some(200)));
        assert_eq!(outcome.cost, None, "an unknown price is not free");
    }
}
