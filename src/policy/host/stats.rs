//! What is known of a policy's work: counts of calls, outcomes and faults, the time calls take, and whether
//! it has failed so often that it is not called any more.
//!
//! Time is what calls say it is; a fault without a time of its own happens at the time of the last call.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::call_context::CallContext;
use super::fault::PolicyFault;
use super::quarantine::{Probe, Quarantine};
use super::ticker::stopwatch;
use crate::id::RequestId;
use crate::moment::Moment;

/// A call this long holds up everything else on its thread.
const SLOW: Duration = Duration::from_millis(1);
/// From this on a policy is slow.
const IS_SLOW: u32 = 16;
const MOST_SLOWNESS: u32 = 48;
/// One call in so many is timed.
const SAMPLE: u64 = 8;
/// Four buckets to each power of two, in nanoseconds.
const BUCKETS: usize = 64 * 4;

/// The time calls take, of one in eight. Percentiles are at most 19 % too high.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTimes {
    /// Calls measured.
    pub samples: u64,
    /// The mean.
    pub mean: Duration,
    /// The median.
    pub p50: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// Bounds of a histogram's buckets as powers of two of a nanosecond: about 1, 4, 16, … microseconds up to a quarter of a second.
const HISTOGRAM_POWERS: [usize; 10] = [10, 12, 14, 16, 18, 20, 22, 24, 26, 28];

/// The time calls take, of one in eight, in buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallHistogram {
    /// What the measured calls took together.
    pub total: Duration,
    /// How many took less than each bound of `in_seconds`, and not less than the one before; the last: all others.
    pub counts: [u64; HISTOGRAM_POWERS.len() + 1],
}

impl CallHistogram {
    /// Upper bounds in seconds, the last one infinite, and the calls of each.
    #[must_use]
    pub fn in_seconds(&self) -> Vec<(f64, u64)> {
        let bounds = HISTOGRAM_POWERS.iter().map(|power| Duration::from_nanos(1 << power).as_secs_f64());
        bounds.chain([f64::INFINITY]).zip(self.counts).collect()
    }
}

/// The counters behind a report.
pub(in crate::policy) struct Stats {
    calls: AtomicU64,
    pub(in crate::policy) outcomes: AtomicU64,
    pub(in crate::policy) saves: AtomicU64,
    pub(in crate::policy) refusals: AtomicU64,
    faults: [AtomicU64; PolicyFault::KINDS.len()],
    now: AtomicU64,
    quarantine: Quarantine,
    buckets: Box<[AtomicU32]>,
    total_nanos: AtomicU64,
    max_nanos: AtomicU64,
    last_fuel: AtomicU64,
    max_fuel: AtomicU64,
    slowness: AtomicU32,
}

impl Stats {
    pub(in crate::policy) fn new() -> Self {
        Self {
            calls: AtomicU64::new(0),
            outcomes: AtomicU64::new(0),
            saves: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            faults: Default::default(),
            now: AtomicU64::new(0),
            quarantine: Quarantine::default(),
            buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            total_nanos: AtomicU64::new(0),
            max_nanos: AtomicU64::new(0),
            last_fuel: AtomicU64::new(0),
            max_fuel: AtomicU64::new(0),
            slowness: AtomicU32::new(0),
        }
    }

    /// Counts a call; `Some` start if it is one to be timed.
    pub(in crate::policy) fn call(&self, now: Moment) -> Option<Duration> {
        self.saw(now);
        let n = self.calls.fetch_add(1, Ordering::Relaxed);
        n.is_multiple_of(SAMPLE).then(stopwatch)
    }

    /// Notes the callers' time.
    pub(in crate::policy) fn saw(&self, now: Moment) {
        self.now.store(now.as_nanos(), Ordering::Relaxed);
    }

    pub(in crate::policy) fn last_seen(&self) -> Moment {
        Moment::from_nanos(self.now.load(Ordering::Relaxed))
    }

    pub(in crate::policy) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Counts a measured call. True if it is the one by which the policy becomes slow.
    pub(in crate::policy) fn timed(&self, start: Duration) -> bool {
        let length = stopwatch().saturating_sub(start);
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket(nanos)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.total_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.max_nanos.fetch_max(nanos, Ordering::Relaxed);
        self.weigh(length)
    }

    /// Two slow calls make a policy slow, and it stays so until many more were fast: a processor that was busy with something
    /// else makes one look slow now and then.
    pub(in crate::policy) fn weigh(&self, length: Duration) -> bool {
        let step = |slowness: u32| {
            Some(if length >= SLOW { (slowness + 8).min(MOST_SLOWNESS) } else { slowness.saturating_sub(1) })
        };
        let before = self.slowness.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or_default();
        before < IS_SLOW && self.is_slow()
    }

    /// Whether calls take so long that they must not be made on a thread that serves.
    pub(in crate::policy) fn is_slow(&self) -> bool {
        self.slowness.load(Ordering::Relaxed) >= IS_SLOW
    }

    pub(in crate::policy) fn fuel(&self, used: u64) {
        self.last_fuel.store(used, Ordering::Relaxed);
        self.max_fuel.fetch_max(used, Ordering::Relaxed);
    }

    /// Counts a fault in a call for `request`. True if it is the one that quarantines.
    pub(in crate::policy) fn fault(&self, fault: &PolicyFault, request: Option<RequestId>) -> bool {
        self.faults[fault.index()].fetch_add(1, Ordering::Relaxed);
        fault.is_the_policys() && self.quarantine.failed(self.last_seen(), request)
    }

    /// Whether a use may begin now: always, but for one that is quarantined, of which it is then a probe.
    ///
    /// # Errors
    /// It is quarantined, and this is no probe.
    pub(in crate::policy) fn admits(&self, context: CallContext) -> Result<Option<Probe>, PolicyFault> {
        self.quarantine.admits(context.now(), context.request(), context.begins())
    }

    /// A probe was good to its end. True if that ends the quarantine.
    pub(in crate::policy) fn passed(&self, probe: Probe) -> bool {
        self.quarantine.passed(probe)
    }

    pub(in crate::policy) fn quarantined(&self) -> bool {
        self.quarantine.is_on()
    }

    /// From when on one that is quarantined is tried again.
    pub(in crate::policy) fn next_probe(&self) -> Option<Moment> {
        self.quarantine.next_probe()
    }

    pub(in crate::policy) fn faults(&self) -> [u64; PolicyFault::KINDS.len()] {
        std::array::from_fn(|kind| self.faults[kind].load(Ordering::Relaxed))
    }

    /// Faults that are the policy's own: not the calls its quarantine refused, not the host's shortage of instances.
    pub(in crate::policy) fn own_faults(&self) -> u64 {
        let others = [PolicyFault::Quarantined, PolicyFault::NoInstance].map(|kind| kind.index());
        let own = self.faults.iter().enumerate().filter(|(kind, _)| !others.contains(kind));
        own.map(|(_, count)| count.load(Ordering::Relaxed)).sum()
    }

    /// Fuel of the last call, and the most of any.
    pub(in crate::policy) fn fuel_used(&self) -> (u64, u64) {
        (self.last_fuel.load(Ordering::Relaxed), self.max_fuel.load(Ordering::Relaxed))
    }

    pub(in crate::policy) fn histogram(&self) -> CallHistogram {
        let total = Duration::from_nanos(self.total_nanos.load(Ordering::Relaxed));
        let mut counts = [0; HISTOGRAM_POWERS.len() + 1];
        for (number, bucket) in self.buckets.iter().enumerate() {
            // Four buckets to a power of two, so each lies between two bounds.
            counts[HISTOGRAM_POWERS.partition_point(|power| *power <= number / 4)] +=
                u64::from(bucket.load(Ordering::Relaxed));
        }
        CallHistogram { total, counts }
    }

    pub(in crate::policy) fn times(&self) -> CallTimes {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| u64::from(bucket.load(Ordering::Relaxed))).collect();
        let samples: u64 = counts.iter().sum();
        if samples == 0 {
            return CallTimes::default();
        }
        let max = self.max_nanos.load(Ordering::Relaxed);
        let percentile = |share: u64| {
            let (mut seen, rank) = (0, (samples * share).div_ceil(100));
            let at = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            Duration::from_nanos(upper_bound(at.unwrap_or_default()).min(max))
        };
        CallTimes {
            samples,
            mean: Duration::from_nanos(self.total_nanos.load(Ordering::Relaxed) / samples),
            p50: percentile(50),
            p99: percentile(99),
            max: Duration::from_nanos(max),
        }
    }
}

/// Two bits after the leading one, so neighbouring bounds differ by at most a quarter.
fn bucket(nanos: u64) -> usize {
    if nanos < 4 {
        return usize::try_from(nanos).unwrap_or_default();
    }
    let power = nanos.ilog2();
    let quarter = (nanos >> (power - 2)) & 3;
    (power as usize) * 4 + usize::try_from(quarter).unwrap_or_default()
}

/// The largest value of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4, bucket as u64 % 4);
    if power < 2 {
        return bucket as u64;
    }
    let below = (4 + quarter + 1).checked_shl(u32::try_from(power - 2).unwrap_or_default()).unwrap_or(u64::MAX);
    below - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_within_its_bounds() {
        for nanos in (0..20).chain([100, 999, 1_000_000, 12_345_678_901, u64::MAX / 2]) {
            let at = bucket(nanos);
            assert!(nanos <= upper_bound(at), "{nanos} is above bucket {at}");
            assert!(at == 0 || bucket(upper_bound(at) + 1) != at, "bucket {at} ends at its bound");
        }
    }

    #[test]
    fn a_histogram_counts_each_measured_call_under_its_bound() {
        let stats = Stats::new();
        for nanos in [0, 1023, 1024, 5000, 1 << 40] {
            stats.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        }
        let histogram = stats.histogram().in_seconds();
        let found: Vec<_> = histogram.iter().filter(|(_, calls)| *calls > 0).copied().collect();
        assert_eq!(found, [(1.024e-6, 2), (4.096e-6, 1), (1.638_4e-5, 1), (f64::INFINITY, 1)]);
    }

    #[test]
    fn two_slow_calls_make_a_policy_slow_and_many_fast_ones_fast_again() {
        let stats = Stats::new();
        let weigh = |micros| stats.weigh(Duration::from_micros(micros));
        assert!(!weigh(5000) && !weigh(20) && !weigh(5000), "one that ran while something else did");
        assert!(weigh(5000), "the one that makes it slow");
        assert!(!weigh(5000) && stats.is_slow());
        let fast = (0..100).position(|_| {
            weigh(900);
            !stats.is_slow()
        });
        assert!(fast.is_some_and(|calls| (10..40).contains(&calls)), "{fast:?}");
    }

    #[test]
    fn the_hosts_shortage_quarantines_nobody() {
        let stats = Stats::new();
        assert!((0..10).all(|_| !stats.fault(&PolicyFault::NoInstance, None)));
        assert!(!stats.quarantined());
    }
}
