//! TPM-aware: spreads while there is room, closes gaps when it gets tight. Our own rule, for prompts that are large
//! beside the token limits.
//!
//! The least wait comes first. Among deployments that wait alike, for a request of `size` tokens (input and
//! expected output):
//! 1. *Tight fits*: those that would be left with less than another `size`. The tightest first: such a rest is
//!    likely to stay unused, so the smallest is the smallest waste, and the room elsewhere stays whole.
//! 2. *Roomy ones*: the one with the largest share of its limit left after this request first; without a limit
//!    that share is 1. While nothing is tight, every deployment carries load in proportion to its limit.
//! 3. Those whose free tokens are unknown, then those where it does not fit now.
//!
//! Equals are drawn.
//!
//! Why not simply "most tokens free": it leaves every deployment with a rest no prompt fits in. Simulated with a
//! sliding window, a plain queue and prompts of 5,000 to 15,000 tokens, at saturation, share of the limits used: most
//! free share 0.94, 0.95 and 0.66, tightest fit 0.96, 0.97 and 0.79, this rule 0.95, 0.96 and 0.79, for
//! three deployments of 100,000, for 60,000 + 100,000 + 200,000 and for six of 20,000 tokens a minute. The tightest
//! fit alone would send all traffic of a quiet group to its smallest deployment.
//!
//! No settings.

use witgate_policy::rank::{Score, best_first_within};
use witgate_policy::signals::{TOKENS_FREE, TOKENS_USED, WAIT_MS};
use witgate_policy::{Ask, Needs, Random, Ranking, Refusal, Router, Settings, Setup, Signals, export_router};

struct TpmAware;

/// How badly a request of `size` tokens fits: below 1 tight, 1 to 2 roomy, 3 unknown, 4 not now.
fn misfit(size: f64, free: f64, used: f64) -> f64 {
    // Which case it is cannot be foreseen from one deployment to the next, and a wrong guess of the processor costs more
    // than all of them together. So nothing branches: bits are picked.
    let rest = free - size;
    let used = f64::from_bits(used.to_bits().cast_signed().max(0).cast_unsigned());
    let tight = rest < size;
    let share = rest / picked(tight, size, free + used);
    let fits = picked(tight, share, 2.0 - share);
    let fits = picked(free == f64::INFINITY, 1.0, fits);
    picked(rest.is_nan(), 3.0, picked(rest < 0.0, 4.0, fits))
}

/// `one` where it is so, else `other`.
const fn picked(so: bool, one: f64, other: f64) -> f64 {
    let (one, other) = (one.to_bits(), other.to_bits());
    f64::from_bits(other ^ ((other ^ one) & (so as u64).wrapping_neg()))
}

impl Router for TpmAware {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        Settings::parse(&setup.settings)?.finish()?;
        Ok((Self, Needs { pure: true, ..Needs::signals(&[WAIT_MS, TOKENS_FREE, TOKENS_USED]) }))
    }

    fn route(&mut self, ask: &Ask, table: Signals<'_>) -> Result<Ranking, Refusal> {
        let size = (f64::from(ask.input_tokens) + f64::from(ask.expected_output_tokens)).max(1.0);
        let [wait, free, used] = table.columns();
        let scores = wait.iter().zip(free.iter()).zip(used.iter_or(0.0));
        let scores =
            scores.map(|((wait, free), used)| Score::new(wait, misfit(size, f64::from(free), f64::from(used))));
        Ok(best_first_within(scores, 0.0, &mut Random::new(ask.seed)))
    }
}

export_router!(TpmAware);

#[cfg(test)]
mod tests {
    use super::misfit;

    #[test]
    fn fits_are_ordered_tight_roomy_unknown_not_now() {
        let tight = misfit(10_000.0, 12_000.0, 0.0);
        let tighter = misfit(10_000.0, 10_000.0, 0.0);
        let roomy = misfit(10_000.0, 50_000.0, 50_000.0);
        let roomier = misfit(10_000.0, 50_000.0, 0.0);
        let unlimited = misfit(10_000.0, f64::INFINITY, 3.0);
        let unknown = misfit(10_000.0, f64::NAN, 0.0);
        let full = misfit(10_000.0, 9_999.0, 0.0);
        let order = [tighter, tight, unlimited, roomier, roomy, unknown, full];
        assert!(order.is_sorted_by(|one, other| one < other), "{order:?}");
    }

    /// The rule as one would say it; `misfit` picks bits in the place of these branches.
    fn plain_misfit(size: f64, free: f64, used: f64) -> f64 {
        let rest = free - size;
        match rest {
            _ if rest.is_nan() => 3.0,
            _ if rest < 0.0 => 4.0,
            _ if free == f64::INFINITY => 1.0,
            _ if rest < size => rest / size,
            _ => 2.0 - rest / (free + used.max(0.0)),
        }
    }

    #[test]
    fn picking_bits_comes_to_the_rule() {
        let amounts = [-1.0, 0.0, 1.0, 999.0, 1_000.0, 1_999.0, 2_000.0, 30_000.0, f64::INFINITY, f64::NAN];
        for (size, free, used) in amounts.iter().flat_map(|free| {
            [1.0, 1_000.0].into_iter().flat_map(move |size| [0.0, 500.0, 30_000.0].map(move |used| (size, *free, used)))
        }) {
            let (picked, plain) = (misfit(size, free, used), plain_misfit(size, free, used));
            assert_eq!(picked.to_bits(), plain.to_bits(), "{size} {free} {used}: {picked} {plain}");
        }
    }

    #[test]
    fn any_numbers_give_a_place() {
        for free in [f64::NEG_INFINITY, -1.0, 0.0, 1e300, f64::INFINITY, f64::NAN] {
            for used in [-1.0, 0.0, 1e300, f64::INFINITY] {
                let place = misfit(1.0, free, used);
                assert!((0.0..=4.0).contains(&place), "{free} {used}: {place}");
            }
        }
    }
}
