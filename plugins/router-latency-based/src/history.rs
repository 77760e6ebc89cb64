//! The last samples of one kind from one deployment.

/// How many samples are kept, and how long each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    ttl_ms: u64,
    size: usize,
}

/// What is made of the samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Figure {
    Mean,
    /// The smallest sample that at least this share of them does not exceed.
    Percentile(f64),
}

/// Samples in seconds, oldest first, each with the moment it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    samples: Vec<(u64, f64)>,
    /// The figure, and the moment at which the oldest sample is forgotten. Decisions outnumber samples.
    figure: Option<(f64, u64)>,
}

impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        self.samples == other.samples
    }
}

impl Rule {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the setting is from 0 to 1e12 seconds"
    )]
    pub(crate) fn new(ttl_seconds: f64, size: u32) -> Self {
        Self { ttl_ms: (ttl_seconds * 1_000.0) as u64, size: size as usize }
    }
}

impl History {
    pub(crate) fn samples(&self) -> &[(u64, f64)] {
        &self.samples
    }

    /// Adds a sample. What cannot be a time that passed is left out.
    pub(crate) fn push(&mut self, at_ms: u64, seconds: f64, rule: &Rule) {
        if seconds.is_finite() && seconds >= 0.0 {
            self.samples.push((at_ms, seconds));
            self.trim(rule);
        }
    }

    pub(crate) fn trim(&mut self, rule: &Rule) {
        self.samples.drain(..self.samples.len().saturating_sub(rule.size));
        self.figure = None;
    }

    /// Gives samples that came before the policy knew any time the time it knows first.
    pub(crate) fn date(&mut self, now_ms: u64) {
        self.samples.iter_mut().filter(|(at, _)| *at == 0).for_each(|(at, _)| *at = now_ms);
        self.figure = None;
    }

    /// The figure at this moment; `None` without samples.
    pub(crate) fn figure(&mut self, now_ms: u64, rule: &Rule, figure: Figure) -> Option<f64> {
        if self.samples.is_empty() {
            return None;
        }
        if self.figure.is_none_or(|(_, until)| now_ms >= until) {
            self.samples.retain(|(at, _)| now_ms < at.saturating_add(rule.ttl_ms));
            let until = self.samples.iter().map(|(at, _)| at.saturating_add(rule.ttl_ms)).min()?;
            self.figure = Some((figure.of(&self.samples), until));
        }
        self.figure.map(|(value, _)| value)
    }
}

impl Figure {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 1,000 samples"
    )]
    fn of(self, samples: &[(u64, f64)]) -> f64 {
        let count = samples.len();
        match self {
            Self::Mean => samples.iter().map(|(_, seconds)| seconds).sum::<f64>() / count as f64,
            Self::Percentile(share) => {
                let mut seconds: Vec<f64> = samples.iter().map(|&(_, seconds)| seconds).collect();
                seconds.sort_unstable_by(f64::total_cmp);
                let place = (count as f64 * share).ceil() as usize;
                seconds.get(place.clamp(1, count) - 1).copied().unwrap_or(0.0)
            }
        }
    }
}
