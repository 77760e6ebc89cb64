//! Which of several waiting requests start now: the subset that uses most of what is free.
//!
//! Of equally good ones the earliest are taken. With 16 requests there are at most 65,536 subsets, of which bounds leave few.

use crate::limits::PerDimension;

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// What it takes of each limit.
    pub(super) takes: PerDimension<u64>,
    /// What starting it is worth.
    pub(super) worth: u64,
}

/// Looked at, and then the best so far is taken: a hundred microseconds.
const MOST_STEPS: u32 = 20_000;

/// The items to start, as a bit for each, where `free` is what is left of each limit (`None` is all one could want).
pub(super) fn best(items: &[Item], free: &PerDimension<Option<u64>>, most: u64) -> u32 {
    let mut search = Search { items, best: 0, best_worth: 0, most, steps: 0 };
    let all = items.iter().map(|item| item.worth).sum();
    search.look(0, 0, 0, all, free);
    search.best
}

/// The first items that all fit together, none passed over.
pub(super) fn prefix(items: &[Item], free: &PerDimension<Option<u64>>) -> u32 {
    let mut free = *free;
    let mut chosen = 0;
    for (place, item) in items.iter().enumerate() {
        let Some(left) = without(&free, &item.takes) else { break };
        free = left;
        chosen |= 1 << place;
    }
    chosen
}

struct Search<'a> {
    items: &'a [Item],
    best: u32,
    best_worth: u64,
    /// Nothing can be worth more.
    most: u64,
    steps: u32,
}

impl Search<'_> {
    fn look(&mut self, place: usize, chosen: u32, worth: u64, rest: u64, free: &PerDimension<Option<u64>>) {
        if worth > self.best_worth {
            (self.best, self.best_worth) = (chosen, worth);
        }
        self.steps += 1;
        let done = self.best_worth >= self.most || self.steps > MOST_STEPS;
        let Some(item) = self.items.get(place) else { return };
        if done || worth + rest <= self.best_worth {
            return;
        }
        let rest = rest - item.worth;
        if let Some(left) = without(free, &item.takes) {
            self.look(place + 1, chosen | 1 << place, worth + item.worth, rest, &left);
        }
        self.look(place + 1, chosen, worth, rest, free);
    }
}

/// What is left of each limit; `None` where it does not fit.
pub(super) fn without(
    free: &PerDimension<Option<u64>>,
    takes: &PerDimension<u64>,
) -> Option<PerDimension<Option<u64>>> {
    let mut fits = true;
    let left = PerDimension::from_fn(|dimension| {
        let free = free[dimension]?;
        let left = free.checked_sub(takes[dimension]);
        fits &= left.is_some();
        Some(left.unwrap_or(0))
    });
    fits.then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Demand, Dimension};

    fn items(tokens: &[u64]) -> Vec<Item> {
        let item = |tokens: &u64| Item {
            takes: Demand { input_tokens: *tokens, ..Demand::default() }.amounts(),
            worth: *tokens,
        };
        tokens.iter().map(item).collect()
    }

    fn free(tokens: u64) -> PerDimension<Option<u64>> {
        PerDimension::from_fn(|dimension| (dimension == Dimension::Tokens).then_some(tokens))
    }

    #[test]
    fn the_fullest_subset_is_found_and_the_earliest_of_equals() {
        assert_eq!(best(&items(&[9, 8, 7, 6, 5]), &free(15), 15), 0b01001, "9 and 6");
        assert_eq!(best(&items(&[5, 5, 5, 5]), &free(10), 10), 0b0011);
        assert_eq!(best(&items(&[20, 30]), &free(10), 10), 0);
        assert_eq!(best(&items(&[3, 4]), &free(100), 100), 0b11);
        assert_eq!(best(&items(&[11, 6, 4, 1]), &free(12), 12), 0b1001, "11 and 1");
        assert_eq!(prefix(&items(&[5, 9, 1]), &free(10)), 0b001, "nobody passes the second");
        let sixteen: Vec<u64> = (0..16).map(|number| 5_003 + 617 * number).collect();
        let chosen = best(&items(&sixteen), &free(30_000), 30_000);
        let sum: u64 = (0..16).filter(|place| chosen >> place & 1 == 1).map(|place: usize| sixteen[place]).sum();
        assert!((29_700..=30_000).contains(&sum), "{sum}");
    }

    #[test]
    fn every_limit_holds() {
        let mut free = free(100);
        free[Dimension::Requests] = Some(2);
        assert_eq!(best(&items(&[10, 20, 30]), &free, 100), 0b110, "two requests, and the most tokens");
    }
}
