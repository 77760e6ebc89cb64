//! Prices that a configuration gives for a deployment, and what they come to over those that are publicly known of its model.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{NanoUsd, Price, Prices, Rates, SearchFee, Steps};
use crate::chat::ServiceTier;

/// The prices that are given of one length of prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Of fresh input tokens.
    pub input: Option<Price>,
    /// Of output tokens.
    pub output: Option<Price>,
    /// Of input tokens read from the provider's cache.
    pub cache_read: Option<Price>,
    /// Of those written to it.
    pub cache_write: Option<Price>,
    /// Of those that are to stay there for an hour.
    pub cache_write_1h: Option<Price>,
    /// Of input tokens of recordings.
    pub audio_input: Option<Price>,
    /// Of those read from the provider's cache.
    pub audio_cache_read: Option<Price>,
    /// Of output tokens of speech.
    pub audio_output: Option<Price>,
    /// Of input tokens of pictures.
    pub image_input: Option<Price>,
    /// Of those read from the provider's cache.
    pub image_cache_read: Option<Price>,
    /// Of output tokens of pictures.
    pub image_output: Option<Price>,
}

/// The same by the tokens that a prompt must exceed.
pub type GivenSteps = BTreeMap<u64, Given>;

/// What is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Of any prompt.
    pub base: Given,
    /// Of longer ones.
    pub above: GivenSteps,
    /// Of the provider's own batch API.
    pub batch: Given,
    /// The same of longer prompts.
    pub batch_above: GivenSteps,
    /// Of service tiers, in the order of [`ServiceTier::ALL`].
    pub tiers: [(Given, GivenSteps); 3],
    /// Of a search that the provider makes.
    pub search: Option<NanoUsd>,
}

impl Given {
    /// Whether no price is given.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What it does not say is as in another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            input: self.input.or(other.input),
            output: self.output.or(other.output),
            cache_read: self.cache_read.or(other.cache_read),
            cache_write: self.cache_write.or(other.cache_write),
            cache_write_1h: self.cache_write_1h.or(other.cache_write_1h),
            audio_input: self.audio_input.or(other.audio_input),
            audio_cache_read: self.audio_cache_read.or(other.audio_cache_read),
            audio_output: self.audio_output.or(other.audio_output),
            image_input: self.image_input.or(other.image_input),
            image_cache_read: self.image_cache_read.or(other.image_cache_read),
            image_output: self.image_output.or(other.image_output),
        }
    }

    /// What it does not say is as below it.
    fn over(self, below: &Rates) -> Rates {
        Rates {
            input: self.input.unwrap_or(below.input),
            output: self.output.unwrap_or(below.output),
            cache_read: self.cache_read.or(below.cache_read),
            cache_write: self.cache_write.or(below.cache_write),
            cache_write_1h: self.cache_write_1h.or(below.cache_write_1h),
            audio_input: self.audio_input.or(below.audio_input),
            audio_cache_read: self.audio_cache_read.or(below.audio_cache_read),
            audio_output: self.audio_output.or(below.audio_output),
            image_input: self.image_input.or(below.image_input),
            image_cache_read: self.image_cache_read.or(below.image_cache_read),
            image_output: self.image_output.or(below.image_output),
        }
    }
}

impl Costs {
    /// Whether nothing is given.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What it does not say is as in another; steps are of one of them alone.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let steps = |own: &GivenSteps, other: &GivenSteps| if own.is_empty() { other.clone() } else { own.clone() };
        let tier = |place: usize| {
            let ((own, own_above), (given, above)) = (&self.tiers[place], &other.tiers[place]);
            (own.or(*given), steps(own_above, above))
        };
        Self {
            base: self.base.or(other.base),
            above: steps(&self.above, &other.above),
            batch: self.batch.or(other.batch),
            batch_above: steps(&self.batch_above, &other.batch_above),
            tiers: [tier(0), tier(1), tier(2)],
            search: self.search.or(other.search),
        }
    }

    /// What holds of a model of which `public` is known; `None` where no price of its tokens is.
    #[must_use]
    pub fn over(&self, public: Option<Prices>) -> Option<Prices> {
        // A price of cached tokens or of recordings in the public table belongs to the public input price, not to one the file sets.
        let cached = public.as_ref().filter(|_| self.base.input.is_none()).map(|public| public.base);
        let listed = public.as_ref().map(|public| public.base);
        // As in LiteLLM a side that nobody knows costs nothing where the other is said: a model that makes vectors has one alone.
        let unsaid = self.base.input.or(self.base.output).map(|_| Price(0));
        let below = Rates {
            input: self.base.input.or(listed.map(|listed| listed.input)).or(unsaid)?,
            output: self.base.output.or(listed.map(|listed| listed.output)).or(unsaid)?,
            ..cached.unwrap_or_else(|| Rates::flat(Price(0), Price(0)))
        };
        let base = self.base.over(&below);
        // Factors hold for any price, and a fee is beside them all.
        let surcharges = public.as_ref().map(|public| public.surcharges).unwrap_or_default();
        let fee = public.as_ref().and_then(|public| public.search);
        let once = fee.is_some_and(|fee| fee.once);
        let search = self.search.map(|each| SearchFee { each, once }).or(fee);
        let others = public.as_ref().and_then(|public| public.others);
        // Public steps and batch prices belong to public prices: where the file sets one of those, its own hold throughout.
        let public = public.filter(|_| self.base.is_nothing());
        let long = match &public {
            Some(public) => laid_over(&self.above, public),
            None => steps(&self.above, base),
        };
        let tiers = self.tiers_over(base, &long, public.as_ref());
        let of_batches = public.and_then(|public| public.batch);
        let batch = if self.batch.is_nothing() && self.batch_above.is_empty() {
            of_batches
        } else {
            // A price of cached tokens or of recordings in other requests says nothing of a batch's.
            let below = Rates::flat(base.input, base.output);
            let batch = self.batch.over(of_batches.as_deref().map_or(&below, |(rates, _)| rates));
            Some((batch, steps(&self.batch_above, batch)).into())
        };
        Some(Prices { base, long, batch, tiers, surcharges, search, others })
    }

    /// Prices of service tiers: what the file does not say of one is as it is publicly known, else as for everybody.
    fn tiers_over(
        &self,
        base: Rates,
        long: &Steps,
        public: Option<&Prices>,
    ) -> Option<Arc<[(ServiceTier, Rates, Steps)]>> {
        let known = |tier: ServiceTier| {
            let mut all = public?.tiers.as_ref()?.iter();
            all.find(|(one, ..)| *one == tier).map(|(_, rates, steps)| (*rates, steps.clone()))
        };
        let given = ServiceTier::ALL.into_iter().zip(&self.tiers).filter_map(|(tier, (given, above))| {
            let known = known(tier);
            if given.is_nothing() && above.is_empty() {
                return known.map(|(rates, steps)| (tier, rates, steps));
            }
            let (rates, steps) = known.unwrap_or_else(|| (base, long.clone()));
            let prices = Prices { long: steps, ..Prices::flat(base.input, base.output) };
            let prices = Prices { base: given.over(&rates), ..prices };
            let steps = laid_over(above, &prices);
            Some((tier, prices.base, steps))
        });
        let given: Vec<_> = given.collect();
        (!given.is_empty()).then(|| given.into())
    }
}

/// Of each step what the file says, and else what holds below it.
fn steps(given: &GivenSteps, base: Rates) -> Steps {
    let step = |below: &mut Rates, (above, given): (&u64, &Given)| {
        *below = given.over(below);
        Some((*above, *below))
    };
    Steps::of(given.iter().scan(base, step).collect())
}

/// Public steps, with what the file says of them in its place.
fn laid_over(given: &GivenSteps, public: &Prices) -> Steps {
    let mut all: BTreeMap<u64, Rates> = public.long.iter().copied().collect();
    for (above, given) in given {
        all.insert(*above, given.over(public.at(above.saturating_add(1))));
    }
    Steps::of(all.into_iter().collect())
}
