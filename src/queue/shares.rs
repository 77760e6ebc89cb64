//! What each caller's requests took within the last minute: who took less comes first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::id::KeyId;
use crate::moment::Moment;

/// How long what was taken counts against its caller.
const COUNTS: Duration = Duration::from_mins(1);
/// Requests that are remembered; of more the oldest are forgotten before their time.
const REMEMBERED: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Shares {
    /// In the order in which they were told, which is nearly that of time.
    taken: VecDeque<(Moment, KeyId, u64)>,
    sums: BTreeMap<KeyId, u64>,
}

impl Shares {
    /// A request of this caller started then, and takes so many tokens.
    pub(super) fn took(&mut self, at: Moment, caller: &KeyId, tokens: u64) {
        self.forget(at);
        if self.taken.len() == REMEMBERED {
            self.forget_first();
        }
        match self.sums.get_mut(caller) {
            Some(sum) => *sum = sum.saturating_add(tokens),
            None => drop(self.sums.insert(caller.clone(), tokens)),
        }
        self.taken.push_back((at, caller.clone(), tokens));
    }

    /// What was taken a minute ago counts no more.
    pub(super) fn forget(&mut self, now: Moment) {
        while self.taken.front().is_some_and(|(at, ..)| *at + COUNTS <= now) {
            self.forget_first();
        }
    }

    pub(super) fn of(&self, caller: &KeyId) -> u64 {
        self.sums.get(caller).copied().unwrap_or(0)
    }

    fn forget_first(&mut self) {
        let Some((_, caller, tokens)) = self.taken.pop_front() else { return };
        if let Some(sum) = self.sums.get_mut(&caller) {
            *sum = sum.saturating_sub(tokens);
            if *sum == 0 {
                self.sums.remove(&caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_counts_for_a_minute() {
        let (mut shares, at) = (Shares::default(), |second: u64| Moment::from_millis(second * 1000));
        let (one, other) = (KeyId::from("one"), KeyId::from("other"));
        shares.took(at(0), &one, 10);
        shares.took(at(30), &one, 5);
        shares.took(at(30), &other, 7);
        assert_eq!((shares.of(&one), shares.of(&other), shares.of(&KeyId::from("none"))), (15, 7, 0));
        shares.forget(at(60));
        assert_eq!((shares.of(&one), shares.of(&other)), (5, 7));
        (0..REMEMBERED).for_each(|_| shares.took(at(61), &other, 1));
        assert_eq!((shares.of(&one), shares.taken.len()), (0, REMEMBERED), "the oldest are forgotten");
        shares.forget(at(1000));
        assert!(shares.sums.is_empty() && shares.taken.is_empty());
    }
}
