//! Short memories: the mean of the last 10 values, the share of the last 20 outcomes, the counts of the last minute.

use crate::moment::Moment;

const MEAN_OF: usize = 10;
const SHARE_OF: u32 = 20;
const SECONDS: usize = 60;

/// The mean of the last 10 values.
#[derive(Debug, Default)]
pub(super) struct Mean {
    values: [f64; MEAN_OF],
    count: usize,
    next: usize,
}

impl Mean {
    pub(super) fn add(&mut self, value: f64) {
        self.values[self.next] = value;
        self.next = (self.next + 1) % MEAN_OF;
        self.count = (self.count + 1).min(MEAN_OF);
    }

    /// NaN while there is no value.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "signals are f32, and the count is at most 10"
    )]
    pub(super) fn value(&self) -> f32 {
        (self.values[..self.count].iter().sum::<f64>() / self.count as f64) as f32
    }
}

/// The share of failures among the last 20 outcomes, one bit each.
#[derive(Debug, Default)]
pub(super) struct Shares {
    failed: u32,
    count: u32,
}

impl Shares {
    pub(super) fn add(&mut self, failed: bool) {
        self.failed = ((self.failed << 1) | u32::from(failed)) & ((1 << SHARE_OF) - 1);
        self.count = (self.count + 1).min(SHARE_OF);
    }

    /// NaN while there is no outcome.
    #[expect(clippy::cast_precision_loss, reason = "both numbers are at most 20")]
    pub(super) fn value(&self) -> f32 {
        self.failed.count_ones() as f32 / self.count as f32
    }
}

/// Attempts and failures of the last minute, by second.
#[derive(Debug)]
pub(super) struct Minute {
    seconds: [Second; SECONDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    number: u64,
    attempts: u32,
    failures: u32,
}

impl Default for Minute {
    fn default() -> Self {
        Self { seconds: [Second::default(); SECONDS] }
    }
}

impl Minute {
    pub(super) fn add(&mut self, now: Moment, failed: bool) {
        let number = now.as_millis() / 1000;
        let second = &mut self.seconds[(number % SECONDS as u64) as usize];
        if second.number < number {
            *second = Second { number, ..Second::default() };
        }
        second.attempts = second.attempts.saturating_add(1);
        second.failures = second.failures.saturating_add(u32::from(failed));
    }

    /// Attempts, and failures among them.
    pub(super) fn counts(&self, now: Moment) -> (u32, u32) {
        let number = now.as_millis() / 1000;
        let recent = self.seconds.iter().filter(|second| number.saturating_sub(second.number) < SECONDS as u64);
        recent.fold((0, 0), |(attempts, failures), second| {
            (attempts.saturating_add(second.attempts), failures.saturating_add(second.failures))
        })
    }
}
