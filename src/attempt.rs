//! The outcome of one call to a provider, as one value that limits, breaker and averages, the router, money and the record each
//! read.
//!
//! The rule of what was used: what the provider reported; else the input as estimated and the output that was seen. Usage that
//! was reported on the way counts for a broken reply, with the output seen since. Nothing was used where the provider refused
//! the request with a 4xx, failed with a 5xx before anything of a reply came, or cannot have seen it. A report of more tokens than any reply can have used is not
//! believed: the estimate takes its place, so that no provider can use up limits and budgets with a number. A bound of the input is no
//! estimate to bill by: whoever ends an attempt asks [`AttemptProgress::assumes_input`], and counts first.

use std::time::Duration;

use crate::chat::{ServiceTier, Surcharges, Usage};
use crate::failover::FaultClass;
use crate::fault::{AttemptFault, Cause, FaultKind};
use crate::limits::Demand;
use crate::moment::Moment;
use crate::money::{Bill, NanoUsd, Prices};

/// An attempt under way: what is known of it so far.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any of them may hold beside any other"
)]
pub struct AttemptProgress {
    begun: Moment,
    streamed: bool,
    /// Input tokens where the provider tells none.
    assumed_input: u64,
    first_content: Option<Moment>,
    sent: bool,
    usage: Option<Usage>,
    seen_bytes: u64,
    seen_pieces: u64,
    truncated: bool,
    /// The service tier it asks for, and what else makes it dearer.
    tier: Option<ServiceTier>,
    surcharges: Surcharges,
    /// Whether the provider's own word of the cost is taken.
    believed: bool,
}

/// Tokens of one kind that no reply has used, whatever ran behind it. What a model takes or gives at once is no bound: where the provider
/// searches and calls tools of its own, it reads the conversation once for each and reports the sum.
const LARGEST: u64 = 16_000_000;
/// Searches that no reply has had made.
const MOST_SEARCHES: u64 = 10_000;

/// Whether a reply can have used this much.
fn can_be(usage: &Usage) -> bool {
    usage.input_tokens <= LARGEST
        && usage.cache_read_tokens <= LARGEST
        && usage.cache_write_tokens <= LARGEST
        && usage.output_tokens <= LARGEST
        && usage.searches <= MOST_SEARCHES
        && usage.by_others.iter().all(|other| can_be(&other.usage))
}

/// What an attempt counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Billing {
    /// Nothing: the provider cannot have seen it.
    #[default]
    Unsent,
    /// One request and no tokens: the provider refused it with a 4xx.
    Refused,
    /// One request, the input towards the provider's limits, and nothing to pay: it failed with a 5xx before anything of a reply came.
    Failed,
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
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any of them may hold beside any other"
)]
pub struct AttemptOutcome {
    /// Why it failed; `None` is a whole reply.
    pub fault: Option<FaultKind>,
    /// Its class; `None` where it says nothing about the deployment.
    pub class: Option<FaultClass>,
    /// What it is about, where known.
    pub cause: Option<Cause>,
    /// The provider's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Its words say what its limit counts: limits know from that when there is room.
    pub limit_told: bool,
    /// What it counts for.
    pub billing: Billing,
    /// Tokens used; none where it is not billed.
    pub usage: Usage,
    /// Whether the provider reported more than can be, so that the estimate counts instead.
    pub usage_refused: bool,
    /// What it cost; `None` where the price is unknown or nothing is billed.
    pub cost: Option<NanoUsd>,
    /// From the reservation to the last byte.
    pub latency: Duration,
    /// From the reservation to the first content.
    pub ttft: Option<Duration>,
    /// Whether the reply ends where its bound was reached.
    pub truncated: bool,
    /// Whether the reply was to be streamed: only then says the first content how fast a deployment begins.
    pub streamed: bool,
}

impl AttemptProgress {
    /// An attempt that begins, with what was reserved for it.
    #[must_use]
    pub const fn begin(now: Moment, streamed: bool, assumed_input: u64) -> Self {
        Self {
            begun: now,
            streamed,
            assumed_input,
            first_content: None,
            sent: false,
            usage: None,
            seen_bytes: 0,
            seen_pieces: 0,
            truncated: false,
            tier: None,
            surcharges: Surcharges { fast: false, us: false },
            believed: false,
        }
    }

    /// It asks for this, by which it is billed where nothing of what it used comes.
    #[must_use]
    pub const fn asking(mut self, tier: Option<ServiceTier>, surcharges: Surcharges) -> Self {
        self.tier = tier;
        self.surcharges = surcharges;
        self
    }

    /// Its input is so many tokens where its provider tells none: what was reserved, until this is known better.
    pub const fn assume_input(&mut self, tokens: u64) {
        self.assumed_input = tokens;
    }

    /// How long ago it began.
    #[must_use]
    pub fn age(&self, now: Moment) -> Duration {
        now.since(self.begun)
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

    /// The same of several pieces together.
    pub const fn saw_pieces(&mut self, bytes: u64, pieces: u64) {
        self.seen_bytes += bytes;
        self.seen_pieces += pieces;
    }

    /// Whether the reply ends where its bound was reached, and not where the model was done.
    pub const fn truncated(&mut self, truncated: bool) {
        self.truncated |= truncated;
    }

    /// The provider reported what was used so far, of which is kept what is counted.
    pub fn reported(&mut self, usage: &Usage) {
        self.usage = Some(usage.counted());
    }

    /// What the provider reported so far, where it can be.
    #[must_use]
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref().filter(|usage| can_be(usage))
    }

    /// What the provider says of the cost is what it costs.
    #[must_use]
    pub const fn believing(mut self, believed: bool) -> Self {
        self.believed = believed;
        self
    }

    /// What the provider says that it costs, where that is believed.
    #[must_use]
    pub fn told_cost(&self) -> Option<NanoUsd> {
        self.usage().and_then(|usage| usage.told_cost).filter(|_| self.believed)
    }

    /// What it costs if it ends here with a whole reply: what its provider says, else at these prices.
    #[must_use]
    pub fn cost(&self, prices: Option<&Prices>) -> Option<NanoUsd> {
        self.told_cost().or_else(|| prices.map(|prices| self.bill(prices).total()))
    }

    /// The same at these prices, by what it is for: of what was reported, else of what is assumed.
    #[must_use]
    pub fn bill(&self, prices: &Prices) -> Bill {
        self.usage().map_or_else(|| prices.bill(&self.assumed()), |usage| prices.bill(usage))
    }

    /// What it is taken to have used where its provider does not say.
    #[must_use]
    pub fn assumed(&self) -> Usage {
        Usage {
            input_tokens: self.assumed_input,
            output_tokens: self.seen(),
            tier: self.tier,
            surcharges: self.surcharges,
            ..Usage::default()
        }
    }

    /// Whether, where it ends so, it is billed by the input that is assumed.
    #[must_use]
    pub fn assumes_input(&self, fault: Option<&AttemptFault>) -> bool {
        self.usage().is_none() && self.billing(fault) == Billing::Estimated
    }

    /// About how many tokens of output were seen.
    fn seen(&self) -> u64 {
        self.seen_pieces.max(self.seen_bytes.div_ceil(4))
    }

    /// Ends it: with a whole reply, or with a fault.
    #[must_use]
    pub fn end(mut self, now: Moment, fault: Option<&AttemptFault>, prices: Option<&Prices>) -> AttemptOutcome {
        let usage_refused = self.usage.is_some() && self.usage().is_none();
        let billing = self.billing(fault);
        let usage = match self.usage.take().filter(|_| !usage_refused) {
            _ if !billing.is_billed() => Usage::default(),
            None => self.assumed(),
            Some(usage) if billing == Billing::Reported => usage,
            Some(usage) => Usage { output_tokens: usage.output_tokens.max(self.seen()), ..usage },
        };
        // Of a stream that broke off, the provider has said no last word.
        let told = usage.told_cost.filter(|_| self.believed && billing == Billing::Reported);
        let cost = told.or_else(|| prices.filter(|_| billing.is_billed()).map(|prices| prices.cost(&usage)));
        AttemptOutcome {
            fault: fault.map(|fault| fault.kind),
            class: fault.and_then(|fault| FaultClass::of(fault.kind, fault.status, fault.cause)),
            cause: fault.and_then(|fault| fault.cause),
            retry_after: fault.and_then(|fault| fault.retry_after),
            limit_told: false,
            billing,
            cost,
            usage,
            usage_refused,
            latency: now.since(self.begun),
            ttft: self.first_content.map(|at| at.since(self.begun)),
            truncated: self.truncated,
            streamed: self.streamed,
        }
    }

    /// What it counts for where it ends so.
    fn billing(&self, fault: Option<&AttemptFault>) -> Billing {
        let told = self.usage().is_some();
        let nothing_came = self.seen() == 0 && !told;
        match fault {
            None if told => Billing::Reported,
            None => Billing::Estimated,
            Some(fault) if !(self.sent && fault.was_sent()) => Billing::Unsent,
            Some(fault) => match fault.status.unwrap_or_default() {
                400..500 => Billing::Refused,
                500.. if nothing_came => Billing::Failed,
                _ if nothing_came => refused_in_words(fault).unwrap_or(Billing::Estimated),
                _ => Billing::Estimated,
            },
        }
    }
}

/// What an error counts for that came as the body, or as the first event, of an answer which began as a good one (`OpenRouter` and streams
/// do so): nothing was made, as with the status that it stands for. `None` where the provider said nothing: it may be at work still.
fn refused_in_words(fault: &AttemptFault) -> Option<Billing> {
    match fault.kind {
        _ if fault.made || fault.met_closed_connection() => None,
        FaultKind::RateLimited | FaultKind::Rejected | FaultKind::Misconfigured => Some(Billing::Refused),
        FaultKind::Unavailable if fault.code.is_some() => Some(Billing::Failed),
        _ => None,
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
    use crate::chat::ByOther;
    use crate::money::Price;

    const INPUT: u64 = 1000;
    const PRICES: Prices = Prices::flat(Price(1_000_000_000), Price(4_000_000_000));

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
        let limited = AttemptFault::new(FaultKind::RateLimited, "slow down");
        let overloaded = AttemptFault {
            code: Some("overloaded_error".to_owned()),
            ..AttemptFault::new(FaultKind::Unavailable, "busy")
        };
        let reset = AttemptFault::new(FaultKind::Unavailable, "connection reset");
        let closed = reset.clone().on_closed_connection();
        let held_back = AttemptFault { made: true, ..AttemptFault::new(FaultKind::Rejected, "moderated") };
        let cancelled = AttemptFault::new(FaultKind::Cancelled, "the client went away");
        // reported, pieces and bytes seen, the fault → what it counts for, tokens used
        let cases = [
            (Some(usage(900, 40)), 3, 60, None, (Billing::Reported, usage(900, 40))),
            (None, 3, 60, None, (Billing::Estimated, usage(1000, 15))),
            (None, 30, 60, None, (Billing::Estimated, usage(1000, 30))),
            (Some(usage(900, 1)), 3, 60, Some(&broken), (Billing::Estimated, usage(900, 15))),
            (None, 0, 0, Some(&broken), (Billing::Estimated, usage(1000, 0))),
            (None, 4, 0, Some(&cancelled), (Billing::Estimated, usage(1000, 4))),
            (None, 0, 0, Some(&failed), (Billing::Failed, nothing.clone())),
            (None, 4, 0, Some(&failed), (Billing::Estimated, usage(1000, 4))),
            (None, 0, 0, Some(&refused(400)), (Billing::Refused, nothing.clone())),
            (None, 0, 0, Some(&refused(429)), (Billing::Refused, nothing.clone())),
            // Errors within an answer that began well, and a connection that broke off after the request was sent.
            (None, 0, 0, Some(&limited), (Billing::Refused, nothing.clone())),
            (None, 0, 0, Some(&overloaded), (Billing::Failed, nothing.clone())),
            (None, 4, 0, Some(&limited), (Billing::Estimated, usage(1000, 4))),
            (None, 0, 0, Some(&reset), (Billing::Estimated, usage(1000, 0))),
            (None, 0, 0, Some(&closed), (Billing::Estimated, usage(1000, 0))),
            (None, 0, 0, Some(&held_back), (Billing::Estimated, usage(1000, 0))),
            (None, 0, 0, Some(&unsent), (Billing::Unsent, nothing)),
        ];
        for (number, (reported, pieces, bytes, fault, expected)) in cases.into_iter().enumerate() {
            let mut attempt = AttemptProgress::begin(at(0), true, INPUT);
            attempt.sent();
            for piece in 0..pieces {
                attempt.saw(if piece == 0 { bytes } else { 0 });
            }
            if let Some(usage) = reported {
                attempt.reported(&usage);
            }
            let outcome = attempt.end(at(1000), fault, Some(&PRICES));
            assert_eq!((outcome.billing, outcome.usage.clone()), expected, "case {number}");
            assert_eq!(outcome.cost, outcome.billing.is_billed().then(|| PRICES.cost(&outcome.usage)), "case {number}");
            assert_eq!(outcome.fault, fault.map(|fault| fault.kind));
        }
    }

    #[test]
    fn an_input_that_nobody_tells_is_what_it_is_known_to_be_at_the_end() {
        let broken = AttemptFault::new(FaultKind::BrokenStream, "cut");
        // reported, the fault → whether its input is assumed
        for (reported, fault, assumed) in [
            (None, None, true),
            (None, Some(&broken), true),
            (None, Some(&refused(400)), false),
            (Some(usage(900, 40)), None, false),
            (Some(usage(900, 40)), Some(&broken), false),
            (Some(usage(u64::MAX, 1)), None, true),
        ] {
            let mut attempt = AttemptProgress::begin(at(0), true, INPUT);
            attempt.sent();
            attempt.saw(40);
            if let Some(usage) = &reported {
                attempt.reported(usage);
            }
            assert_eq!(attempt.assumes_input(fault), assumed, "{reported:?} {fault:?}");
            attempt.assume_input(220);
            if assumed {
                assert_eq!(attempt.assumed(), usage(220, 10));
                assert_eq!(attempt.cost(Some(&PRICES)), Some(PRICES.cost(&usage(220, 10))));
                assert_eq!(attempt.end(at(10), fault, Some(&PRICES)).usage, usage(220, 10));
            } else {
                assert_ne!(attempt.end(at(10), fault, Some(&PRICES)).usage.input_tokens, 220);
            }
        }
        let unsent = AttemptProgress::begin(at(0), true, INPUT);
        assert!(!unsent.assumes_input(Some(&broken)), "it was never sent");
    }

    #[test]
    fn a_cost_that_a_believed_provider_tells_is_the_cost_of_a_whole_reply() {
        let told = Usage { told_cost: Some(NanoUsd(77)), ..usage(900, 40) };
        let broken = AttemptFault::new(FaultKind::BrokenStream, "cut");
        let by_price = PRICES.cost(&told);
        for (believed, fault, prices, expected) in [
            (true, None, Some(&PRICES), Some(NanoUsd(77))),
            (true, None, None, Some(NanoUsd(77))),
            (false, None, Some(&PRICES), Some(by_price)),
            (false, None, None, None),
            (true, Some(&broken), Some(&PRICES), Some(by_price)),
        ] {
            let attempt = AttemptProgress::begin(at(0), true, INPUT);
            let mut attempt = attempt.believing(believed);
            attempt.sent();
            attempt.reported(&told);
            if fault.is_none() {
                assert_eq!(attempt.cost(prices), expected);
            }
            assert_eq!(attempt.end(at(10), fault, prices).cost, expected);
        }
    }

    #[test]
    fn a_report_of_more_than_can_be_is_not_believed() {
        let other = |usage| ByOther { model: "m".to_owned(), usage };
        for (reported, believed) in [
            // A model of 200,000 tokens that searched the web.
            (usage(1_200_000, 20_000), true),
            (usage(1_900_000, 100_000), true),
            (usage(u64::MAX, 1), false),
            (usage(1, 16_000_001), false),
            (Usage { cache_read_tokens: u64::MAX, ..usage(1, 1) }, false),
            (Usage { searches: 10_000, ..usage(1, 1) }, true),
            (Usage { searches: 10_001, ..usage(1, 1) }, false),
            (Usage { by_others: vec![other(usage(200_000, 1_800))], ..usage(1, 1) }, true),
            (Usage { by_others: vec![other(usage(16_000_001, 1_800))], ..usage(1, 1) }, false),
        ] {
            let mut attempt = AttemptProgress::begin(at(0), false, INPUT);
            attempt.sent();
            attempt.saw(40);
            attempt.reported(&reported);
            let outcome = attempt.end(at(10), None, Some(&PRICES));
            let expected = if believed { reported } else { usage(1000, 10) };
            assert_eq!((outcome.usage, outcome.usage_refused), (expected, !believed));
            assert_eq!(outcome.billing == Billing::Reported, believed);
        }
    }

    #[test]
    fn what_never_left_was_not_sent_whatever_the_fault() {
        let cancelled = AttemptFault::new(FaultKind::Cancelled, "the client went away");
        let outcome = AttemptProgress::begin(at(0), false, INPUT).end(at(5), Some(&cancelled), Some(&PRICES));
        assert_eq!((outcome.billing, outcome.cost), (Billing::Unsent, None));
        assert_eq!(outcome.demand(), Demand::default());
    }

    #[test]
    fn times_are_from_the_beginning_and_the_first_content_is_the_first() {
        let mut attempt = AttemptProgress::begin(at(1000), true, INPUT);
        attempt.first_content(at(1200));
        attempt.first_content(at(1900));
        let outcome = attempt.end(at(3000), None, None);
        assert_eq!((outcome.latency.as_millis(), outcome.ttft.map(|ttft| ttft.as_millis())), (2000, Some(200)));
        assert_eq!(outcome.cost, None, "an unknown price is not free");
    }
}
