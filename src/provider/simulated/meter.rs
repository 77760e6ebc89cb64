//! One model's limits, kept strictly: of any window, no more was let in than the limit says.

use std::collections::VecDeque;
use std::time::Duration;

use crate::catalog::SimulatedModel;
use crate::moment::Moment;

/// What was let in, and when.
#[derive(Debug, Default)]
pub(super) struct Meter {
    arrivals: u64,
    entries: VecDeque<(Moment, u64)>,
    tokens: u64,
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
        self.expire(now, model.window);
        let verdict = self.judge(now, requested, model);
        if verdict == Verdict::Admitted && (model.rpm.is_some() || model.tpm.is_some()) {
            self.entries.push_back((now, requested));
            self.tokens += requested;
        }
        (arrival, verdict)
    }

    /// Where the limits of `model` stand.
    pub(super) fn level(&self, now: Moment, model: &SimulatedModel) -> Level {
        let reset = self.entries.back().map_or(Duration::ZERO, |(at, _)| (*at + model.window).since(now));
        let gauge = |limit: Option<u64>, used: u64| {
            limit.map(|limit| Gauge { limit, remaining: limit.saturating_sub(used), reset })
        };
        Level { requests: gauge(model.rpm, self.requests()), tokens: gauge(model.tpm, self.tokens) }
    }

    fn requests(&self) -> u64 {
        self.entries.len() as u64
    }

    fn expire(&mut self, now: Moment, window: Duration) {
        while let Some((at, tokens)) = self.entries.front()
            && *at + window <= now
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
        if let Some(limit) = model.rpm
            && self.requests() + 1 > limit
        {
            let wait = self.wait(now, model.window, (self.requests() + 1).saturating_sub(limit), |_| 1);
            return Verdict::Later { per: Per::Requests, limit, used: self.requests(), requested: 1, wait };
        }
        if let Some(limit) = model.tpm
            && self.tokens + requested > limit
        {
            let wait = self.wait(now, model.window, self.tokens + requested - limit, |tokens| tokens);
            return Verdict::Later { per: Per::Tokens, limit, used: self.tokens, requested, wait };
        }
        Verdict::Admitted
    }

    /// Until the oldest entries that together weigh `excess` have left the window; a whole window where
    /// even all of them do not (a limit of 0).
    fn wait(&self, now: Moment, window: Duration, excess: u64, weight: impl Fn(u64) -> u64) -> Duration {
        let mut freed = 0;
        for (at, tokens) in &self.entries {
            freed += weight(*tokens);
            if freed >= excess {
                return (*at + window).since(now);
            }
        }
        window
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
}
