//! Places that are kept for those who were sent away and told when to come back.

use std::collections::BTreeMap;

use crate::id::KeyId;
use crate::limits::ScopeId;
use crate::moment::Moment;

/// Places that are kept at once; of more those that run out first are given up, a sixteenth of all.
const MOST: usize = 4096;

/// What a request takes from which limits, as far as it is known before it starts.
#[derive(Clone, Debug)]
pub(super) struct Asks {
    pub(super) priority: i32,
    /// Input tokens, the smallest that any candidate counts.
    pub(super) input: u64,
    /// Where it may go.
    pub(super) candidates: Vec<ScopeId>,
    /// Scopes that must all have room.
    pub(super) all: Vec<ScopeId>,
}

/// Where a request was.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// What it takes, where it has come back once: then it surely will again, and counts for those behind it.
    pub(super) asks: Option<Asks>,
    pub(super) begins: u64,
    /// Of equals the one that came first is first again.
    pub(super) came: u64,
    pub(super) overtaken: u32,
    /// It is kept until then.
    pub(super) until: Moment,
}

/// By caller and by what is asked. The same request that is asked twice has two places. Nothing is walked through but at [`MOST`].
#[derive(Debug, Default)]
pub(super) struct KeptPlaces {
    places: BTreeMap<(KeyId, u64), Vec<(u64, Kept)>>,
    count: usize,
    /// Until then the last of them is kept, or longer.
    latest: Moment,
    /// How often nobody waited any more: places of before begin at nothing.
    epoch: u64,
}

impl KeptPlaces {
    /// Whether any is kept still: those of callers who never come back must not have everybody looked for.
    pub(super) fn any(&mut self, now: Moment) -> bool {
        if self.count > 0 && self.latest <= now {
            self.places.clear();
            self.count = 0;
        }
        self.count > 0
    }

    pub(super) fn keep(&mut self, whose: (KeyId, u64), kept: Kept, now: Moment) {
        if self.count >= MOST {
            self.give_up(now);
        }
        self.latest = self.latest.max(kept.until);
        self.places.entry(whose).or_default().push((self.epoch, kept));
        self.count += 1;
    }

    /// The first place of this request, where one is kept still.
    pub(super) fn take(&mut self, now: Moment, caller: &KeyId, digest: u64) -> Option<Kept> {
        if self.count == 0 {
            return None;
        }
        let whose = (caller.clone(), digest);
        let places = self.places.get_mut(&whose)?;
        let before = places.len();
        places.retain(|(_, kept)| kept.until > now);
        let epoch = self.epoch;
        for (of, kept) in places.iter_mut().filter(|(of, _)| *of < epoch) {
            (*of, kept.begins) = (epoch, 0);
        }
        let first = places.iter().enumerate().min_by_key(|(_, (_, kept))| (kept.begins, kept.came));
        let taken = first.map(|(at, _)| at).map(|at| places.swap_remove(at).1);
        self.count -= before - places.len();
        if places.is_empty() {
            self.places.remove(&whose);
        }
        taken
    }

    /// Those who will come back.
    pub(super) fn awaited(&self, now: Moment) -> impl Iterator<Item = (&Kept, &Asks)> {
        let kept = self.places.values().flatten().map(|(_, kept)| kept).filter(move |kept| kept.until > now);
        kept.filter_map(|kept| Some((kept, kept.asks.as_ref()?)))
    }

    /// Nobody waits any more, so that whoever comes begins at nothing: so do they.
    pub(super) const fn begin_anew(&mut self) {
        self.epoch += 1;
    }

    fn give_up(&mut self, now: Moment) {
        let mut ends: Vec<Moment> = self.places.values().flatten().map(|(_, kept)| kept.until).collect();
        ends.sort_unstable();
        let first = ends.get(MOST / 16).copied().unwrap_or(now).max(now);
        self.places.retain(|_, places| {
            places.retain(|(_, kept)| kept.until > first);
            !places.is_empty()
        });
        self.count = self.places.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_once_by_its_own_request_in_time() {
        let (mut places, at) = (KeptPlaces::default(), Moment::from_millis);
        let one = KeyId::from("one");
        let kept = |begins, until| Kept { asks: None, begins, came: 0, overtaken: 3, until: at(until) };
        places.keep((one.clone(), 7), kept(20, 100), at(0));
        places.keep((one.clone(), 7), kept(10, 100), at(0));
        places.keep((one.clone(), 8), kept(5, 50), at(0));
        assert!(places.take(at(0), &KeyId::from("other"), 7).is_none() && places.take(at(0), &one, 9).is_none());
        assert!(places.take(at(50), &one, 8).is_none(), "too late");
        let taken: Vec<u64> = (0..3).filter_map(|_| places.take(at(60), &one, 7)).map(|kept| kept.begins).collect();
        assert_eq!(taken, [10, 20]);
        assert!(places.places.is_empty() && places.count == 0);
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut places = KeptPlaces::default();
        for number in 0..MOST as u64 + 10 {
            let until = Moment::from_millis(1000 + number);
            places.keep(
                (KeyId::from("one"), number),
                Kept { asks: None, begins: number, came: number, overtaken: 0, until },
                Moment::default(),
            );
        }
        assert!(places.count <= MOST && places.count > MOST - MOST / 8, "{}", places.count);
        assert!(places.take(Moment::default(), &KeyId::from("one"), 9).is_none(), "the first to run out");
    }
}
