//! Places that are kept for those who were sent away and told when to come back.

use std::collections::BTreeMap;

use crate::id::KeyId;
use crate::moment::Moment;

/// Places that are kept at once; of more the ones that run out first are given up.
const MOST: usize = 4096;

/// Where a request was.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) begins: u64,
    /// Of equals the one that came first is first again.
    pub(super) came: u64,
    pub(super) overtaken: u32,
    /// It is kept until then.
    pub(super) until: Moment,
}

/// By caller and by what is asked. The same request that is asked twice has two places.
#[derive(Debug, Default)]
pub(super) struct KeptPlaces(BTreeMap<(KeyId, u64), Vec<Kept>>);

impl KeptPlaces {
    pub(super) fn keep(&mut self, whose: (KeyId, u64), kept: Kept) {
        if self.0.values().map(Vec::len).sum::<usize>() >= MOST {
            let first = self.0.values().flatten().map(|kept| kept.until).min();
            self.retain(|kept| Some(kept.until) != first);
        }
        self.0.entry(whose).or_default().push(kept);
    }

    /// The first place of this request, where one is kept still.
    pub(super) fn take(&mut self, now: Moment, caller: &KeyId, digest: u64) -> Option<Kept> {
        if self.0.is_empty() {
            return None;
        }
        self.retain(|kept| kept.until > now);
        let whose = (caller.clone(), digest);
        let places = self.0.get_mut(&whose)?;
        let first = places.iter().enumerate().min_by_key(|(_, kept)| (kept.begins, kept.came)).map(|(at, _)| at)?;
        let kept = places.swap_remove(first);
        if places.is_empty() {
            self.0.remove(&whose);
        }
        Some(kept)
    }

    /// Nobody waits any more, so that whoever comes begins at nothing: so do they.
    pub(super) fn begin_anew(&mut self) {
        self.0.values_mut().flatten().for_each(|kept| kept.begins = 0);
    }

    fn retain(&mut self, stays: impl Fn(&Kept) -> bool) {
        self.0.retain(|_, places| {
            places.retain(&stays);
            !places.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_once_by_its_own_request_in_time() {
        let (mut places, at) = (KeptPlaces::default(), Moment::from_millis);
        let one = KeyId::from("one");
        let kept = |begins, until| Kept { begins, came: 0, overtaken: 3, until: at(until) };
        places.keep((one.clone(), 7), kept(20, 100));
        places.keep((one.clone(), 7), kept(10, 100));
        places.keep((one.clone(), 8), kept(5, 50));
        assert!(places.take(at(0), &KeyId::from("other"), 7).is_none() && places.take(at(0), &one, 9).is_none());
        assert!(places.take(at(50), &one, 8).is_none(), "too late");
        let taken: Vec<u64> = (0..3).filter_map(|_| places.take(at(60), &one, 7)).map(|kept| kept.begins).collect();
        assert_eq!(taken, [10, 20]);
        assert!(places.0.is_empty());
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut places = KeptPlaces::default();
        for number in 0..MOST as u64 + 10 {
            let until = Moment::from_millis(1000 + number);
            places.keep((KeyId::from("one"), number), Kept { begins: number, came: number, overtaken: 0, until });
        }
        assert_eq!(places.0.len(), MOST);
        assert!(places.take(Moment::default(), &KeyId::from("one"), 9).is_none(), "the first to run out");
    }
}
