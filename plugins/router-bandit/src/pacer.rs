//! What requests may cost, kept on average: a price is put on money that rises while more is spent than may be, and falls while less is.
//!
//! The dual ascent of budget pacing (Balseiro and Gur, 2019), and beside it a part in proportion to what was overspent so far, so that it
//! does not only stop overspending but makes up for it. What stays overspent moves the price too: rare dear replies, which the ascent counts
//! in part, would else be paid for by a price that only stands while something is overspent.

use crate::settings::Pace;

/// The state of a pace.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pacer {
    /// The price, in worth for each target spent.
    pub(crate) price: f32,
    /// US dollars spent since it began.
    pub(crate) spent: f64,
    /// Requests answered since then.
    pub(crate) requests: u64,
    /// US dollars that were to be spent by now.
    pub(crate) planned: f64,
}

/// How fast the price moves.
const STEP: f64 = 0.02;
/// Overspending of so many targets is answered with a price of one more.
const REACH: f64 = 100.0;
/// How fast the price moves with each target that is overspent.
const PULL: f64 = 1e-4;
/// A single reply counts at most so many targets: a rare dear one is made up for slowly.
const MOST: f64 = 20.0;
/// No more is asked.
const HIGHEST: f64 = 100.0;

impl Pacer {
    /// US dollars that the next request may cost on average.
    pub(crate) fn target(&self, pace: Pace) -> f64 {
        match pace {
            Pace::PerRequest(usd) => usd,
            Pace::Budget { usd, requests } => {
                #[expect(clippy::cast_precision_loss, reason = "requests are far below 2^52")]
                let left = (requests - self.requests as f64).max(1.0);
                ((usd - self.spent) / left).max(usd / requests * 1e-3)
            }
        }
    }

    /// A reply cost so much.
    pub(crate) fn spent(&mut self, pace: Pace, usd: f64) {
        let target = self.target(pace);
        self.spent += usd;
        self.requests += 1;
        self.planned += target;
        let step = STEP * ((usd / target).min(MOST) - 1.0) + PULL * self.over(pace);
        #[expect(clippy::cast_possible_truncation, reason = "bounded")]
        let price = (f64::from(self.price) + step).clamp(0.0, HIGHEST) as f32;
        self.price = price;
    }

    /// What each US dollar takes off a choice's worth now.
    pub(crate) fn weight(&self, pace: Pace) -> f64 {
        let target = self.target(pace);
        (f64::from(self.price) + self.over(pace) / REACH).clamp(0.0, HIGHEST) * UNIT / target
    }

    /// What was overspent, in targets.
    fn over(&self, pace: Pace) -> f64 {
        match pace {
            // Its target follows what was spent already.
            Pace::Budget { .. } => 0.0,
            Pace::PerRequest(usd) => (self.spent - self.planned) / usd,
        }
    }
}

/// The worth of a price of one for a reply that costs its target.
const UNIT: f64 = 0.1;
