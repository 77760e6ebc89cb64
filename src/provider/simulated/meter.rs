//! One model's limits, kept strictly: no more is let in than the limit says of any window, of each minute of the clock, or than has
//! drained out of a bucket.

use std::collections::VecDeque;
use std::time::Duration;

use crate::catalog::SimulatedModel;
use crate::limits::WindowModel;
use crate::moment::Moment;

/// What was let in, and until when it counts.
#[derive(Debug, Default)]
pub(super) struct Meter {
    arrivals: u64,
    /// Of windows: when each was let in, and its tokens.
    entries: VecDeque<(Moment, u64)>,
    tokens: u64,
    /// Of token buckets: what stands in them.
    buckets: [Bucket; 2],
}

/// What drains steadily, a whole limit in one window.
#[derive(Debug, Default)]
struct Bucket {
    at: Moment,
    /// What stands in it, times the nanoseconds of a window: exact, however little drains.
    level: u128,
}

impl Bucket {
    fn drain(&mut self, now: Moment, limit: u64) {
        self.level = self.level.saturating_sub(u128::from(limit) * now.since(self.at).as_nanos());
        self.at = self.at.max(now);
    }

    fn fill(&mut self, amount: u64, window: Duration) {
        self.level += u128::from(amount) * window.as_nanos();
    }

    /// What stands in it, a part counted as a whole.
    fn stands(&self, window: Duration) -> u64 {
        u64::try_from(self.level.div_ceil(window.as_nanos().max(1))).unwrap_or(u64::MAX)
    }

    /// Until so much more fits; a whole window where that is never.
    fn wait(&self, limit: u64, amount: u64, window: Duration) -> Duration {
        let over =
            (self.level + u128::from(amount) * window.as_nanos()).saturating_sub(u128::from(limit) * window.as_nanos());
        match over.checked_div(u128::from(limit)) {
            Some(whole) => {
                let nanos = whole + u128::from(!over.is_multiple_of(u128::from(limit)));
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
            None => window,
        }
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Per {
    Requests,
    Tokens,
}

/// Whether a request is let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Admitted,
    /// Not now; `wait` is exact, if nobody else comes first.
    Later {
        per: Per,
        limit: u64,
        used: u64,
        requested: u64,
        wait: Duration,
    },
    /// Larger than the whole limit.
    Never {
        limit: u64,
        requested: u64,
    },
}

/// Where one limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gauge {
    pub(super) limit: u64,
    pub(super) remaining: u64,
    /// Until all of it is free again.
    pub(super) reset: Duration,
}

/// Where a model's limits stand. `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) requests: Option<Gauge>,
    pub(super) tokens: Option<Gauge>,
}

impl Level {
    /// Those that are limited, by what they count.
    pub(super) fn gauges(&self) -> impl Iterator<Item = (&'static str, Gauge)> {
        let all = [("requests", self.requests), ("tokens", self.tokens)];
        all.into_iter().filter_map(|(what, gauge)| Some((what, gauge?)))
    }
}

impl Meter {
    /// Lets a request of `requested` tokens in, or not. Also its number among all that came, from 0.
    pub(super) fn admit(&mut self, now: Moment, requested: u64, model: &SimulatedModel) -> (u64, Verdict) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.expire(now, model);
        let verdict = self.judge(now, requested, model);
        if verdict == Verdict::Admitted && (model.rpm.is_some() || model.tpm.is_some()) {
            if model.window_model == WindowModel::TokenBucket {
                for (bucket, amount) in self.buckets.iter_mut().zip([1, requested]) {
                    bucket.fill(amount, model.window);
                }
            } else {
                self.entries.push_back((now, requested));
                self.tokens += requested;
            }
        }
        (arrival, verdict)
    }

    /// Where the limits of `model` stand.
    pub(super) fn level(&self, now: Moment, model: &SimulatedModel) -> Level {
        let gauge = |per: Per, limit: Option<u64>| {
            let limit = limit?;
            let reset = match model.window_model {
                WindowModel::TokenBucket => self.bucket(per).wait(limit, limit, model.window),
                _ => self.entries.back().map_or(Duration::ZERO, |(at, _)| ends(*at, model).since(now)),
            };
            Some(Gauge { limit, remaining: limit.saturating_sub(self.used(per, model)), reset })
        };
        Level { requests: gauge(Per::Requests, model.rpm), tokens: gauge(Per::Tokens, model.tpm) }
    }

    const fn bucket(&self, per: Per) -> &Bucket {
        let [requests, tokens] = &self.buckets;
        match per {
            Per::Requests => requests,
            Per::Tokens => tokens,
        }
    }

    fn used(&self, per: Per, model: &SimulatedModel) -> u64 {
        match (model.window_model, per) {
            (WindowModel::TokenBucket, per) => self.bucket(per).stands(model.window),
            (_, Per::Requests) => self.entries.len() as u64,
            (_, Per::Tokens) => self.tokens,
        }
    }

    fn expire(&mut self, now: Moment, model: &SimulatedModel) {
        for (bucket, limit) in self.buckets.iter_mut().zip([model.rpm, model.tpm]) {
            bucket.drain(now, limit.unwrap_or(u64::MAX));
        }
        while let Some((at, tokens)) = self.entries.front()
            && ends(*at, model) <= now
        {
            self.tokens -= tokens;
            self.entries.pop_front();
        }
    }

    fn judge(&self, now: Moment, requested: u64, model: &SimulatedModel) -> Verdict {
        if let Some(limit) = model.tpm
            && requested > limit
        {
            return Verdict::Never { limit, requested };
        }
        for (per, limit, requested) in [(Per::Requests, model.rpm, 1), (Per::Tokens, model.tpm, requested)] {
            let Some(limit) = limit else { continue };
            let used = self.used(per, model);
            if used + requested > limit {
                let wait = match model.window_model {
                    WindowModel::TokenBucket => self.bucket(per).wait(limit, requested, model.window),
                    _ => self.wait(now, model, used + requested - limit, per),
                };
                return Verdict::Later { per, limit, used, requested, wait };
            }
        }
        Verdict::Admitted
    }

    /// Until the oldest entries that together weigh `excess` have left the window; a whole window where
    /// even all of them do not (a limit of 0).
    fn wait(&self, now: Moment, model: &SimulatedModel, excess: u64, per: Per) -> Duration {
        let mut freed = 0;
        for (at, tokens) in &self.entries {
            freed += if per == Per::Requests { 1 } else { *tokens };
            if freed >= excess {
                return ends(*at, model).since(now);
            }
        }
        model.window
    }
}

/// When what was let in then counts no more.
fn ends(at: Moment, model: &SimulatedModel) -> Moment {
    let length = u64::try_from(model.window.as_nanos()).unwrap_or(u64::MAX).max(1);
    match model.window_model {
        WindowModel::Fixed => Moment::from_nanos((at.as_nanos() / length + 1).saturating_mul(length)),
        _ => at + model.window,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_mins(1);

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    #[test]
    fn waits_exactly_until_enough_has_left() {
        let model = SimulatedModel { tpm: Some(100), ..SimulatedModel::default() };
        let mut meter = Meter::default();
        assert_eq!(meter.admit(at(0), 40, &model), (0, Verdict::Admitted));
        assert_eq!(meter.admit(at(10), 50, &model), (1, Verdict::Admitted));
        let later = |wait| Verdict::Later {
            per: Per::Tokens,
            limit: 100,
            used: 90,
            requested: 60,
            wait: Duration::from_secs(wait),
        };
        assert_eq!(meter.admit(at(20), 60, &model), (2, later(50)), "the oldest alone frees too little");
        assert_eq!(meter.admit(at(59), 10, &model), (3, Verdict::Admitted), "a refused request takes nothing");
        assert_eq!(meter.admit(at(70), 90, &model), (4, Verdict::Admitted));
        assert_eq!(meter.admit(at(70), 101, &model), (5, Verdict::Never { limit: 100, requested: 101 }));
        assert_eq!(meter.level(at(70), &model).tokens, Some(Gauge { limit: 100, remaining: 0, reset: WINDOW }));
    }

    #[test]
    fn counts_requests() {
        let model = SimulatedModel { rpm: Some(2), ..SimulatedModel::default() };
        let mut meter = Meter::default();
        assert_eq!(meter.admit(at(0), 1, &model).1, Verdict::Admitted);
        assert_eq!(meter.admit(at(5), 1, &model).1, Verdict::Admitted);
        let wait = Duration::from_secs(54);
        let later = Verdict::Later { per: Per::Requests, limit: 2, used: 2, requested: 1, wait };
        assert_eq!(meter.admit(at(6), 1, &model).1, later);
        assert_eq!(meter.admit(at(60), 1, &model).1, Verdict::Admitted);
    }

    #[test]
    fn a_limit_of_nothing_never_ends() {
        let model = SimulatedModel { rpm: Some(0), ..SimulatedModel::default() };
        let later = Verdict::Later { per: Per::Requests, limit: 0, used: 0, requested: 1, wait: WINDOW };
        assert_eq!(Meter::default().admit(at(0), 1, &model).1, later);
    }

    #[test]
    fn a_fixed_window_forgets_all_of_it_at_its_end() {
        let model = SimulatedModel { tpm: Some(100), window_model: WindowModel::Fixed, ..SimulatedModel::default() };
        let mut meter = Meter::default();
        assert_eq!(meter.admit(at(50), 90, &model).1, Verdict::Admitted);
        let wait = Duration::from_secs(8);
        let later = Verdict::Later { per: Per::Tokens, limit: 100, used: 90, requested: 20, wait };
        assert_eq!(meter.admit(at(52), 20, &model).1, later);
        assert_eq!(meter.level(at(52), &model).tokens, Some(Gauge { limit: 100, remaining: 10, reset: wait }));
        assert_eq!(meter.admit(at(60), 100, &model).1, Verdict::Admitted);
    }

    #[test]
    fn a_bucket_drains_steadily() {
        let model =
            SimulatedModel { tpm: Some(60), window_model: WindowModel::TokenBucket, ..SimulatedModel::default() };
        let mut meter = Meter::default();
        assert_eq!(meter.admit(at(100), 60, &model).1, Verdict::Admitted);
        let later = |used, seconds| Verdict::Later {
            per: Per::Tokens,
            limit: 60,
            used,
            requested: 20,
            wait: Duration::from_secs(seconds),
        };
        assert_eq!(meter.admit(at(110), 20, &model).1, later(50, 10));
        let reset = Duration::from_secs(50);
        assert_eq!(meter.level(at(110), &model).tokens, Some(Gauge { limit: 60, remaining: 10, reset }));
        assert_eq!(meter.admit(at(120), 20, &model).1, Verdict::Admitted);
        assert_eq!(meter.admit(at(130), 20, &model).1, later(50, 10));
        assert_eq!(meter.admit(at(300), 60, &model).1, Verdict::Admitted);
    }
}
