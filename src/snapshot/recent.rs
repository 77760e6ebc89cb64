//! Values by name of which those are kept that were asked for last.
//!
//! One that was asked for since its last turn has a second chance; so a lookup moves nothing, and of names that come once and never again
//! none displaces one in use.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Up to so many values by name.
#[derive(Debug)]
pub(super) struct Recent<T> {
    most: usize,
    values: HashMap<Arc<str>, Kept<T>>,
    /// Each name once, the next to go first.
    turns: VecDeque<Arc<str>>,
}

#[derive(Debug)]
struct Kept<T> {
    value: Arc<T>,
    /// Whether it was asked for since its last turn.
    used: bool,
}

impl<T> Recent<T> {
    pub(super) fn of(most: usize) -> Self {
        Self { most, values: HashMap::new(), turns: VecDeque::new() }
    }

    pub(super) fn get(&mut self, name: &str) -> Option<Arc<T>> {
        let kept = self.values.get_mut(name)?;
        kept.used = true;
        Some(Arc::clone(&kept.value))
    }

    /// Keeps a value, and returns the one that goes for it.
    pub(super) fn keep(&mut self, name: &str, value: Arc<T>) -> Option<Arc<T>> {
        if let Some(kept) = self.values.get_mut(name) {
            return Some(std::mem::replace(&mut kept.value, value));
        }
        let gone = if self.values.len() < self.most { None } else { self.give_up() };
        let name = Arc::<str>::from(name);
        self.turns.push_back(Arc::clone(&name));
        self.values.insert(name, Kept { value, used: false });
        gone
    }

    /// Takes out the first whose turn it is that was not asked for since its last. Who was has none left for the next round.
    fn give_up(&mut self) -> Option<Arc<T>> {
        loop {
            let name = self.turns.pop_front()?;
            match self.values.get_mut(&name) {
                Some(kept) if kept.used => {
                    kept.used = false;
                    self.turns.push_back(name);
                }
                _ => return self.values.remove(&name).map(|kept| kept.value),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_outlives_any_number_of_names_that_come_once() {
        let mut recent = Recent::of(4);
        for (number, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            assert!(recent.keep(name, Arc::new(number)).is_none());
        }
        for number in 0..100 {
            assert_eq!(recent.get("b").as_deref(), Some(&1));
            let gone = recent.keep(&format!("junk-{number}"), Arc::new(100 + number)).unwrap();
            assert_ne!(*gone, 1, "{number}");
            assert_eq!((recent.values.len(), recent.turns.len()), (4, 4));
        }
        assert!(["a", "c", "d", "junk-0"].into_iter().all(|name| recent.get(name).is_none()));
        assert_eq!(recent.get("junk-99").as_deref(), Some(&199));
    }

    #[test]
    fn a_name_that_came_late_takes_the_place_of_one_that_nobody_asks_for_any_more() {
        let mut recent = Recent::of(2);
        let keep = |recent: &mut Recent<u32>, name: &str, value| recent.keep(name, Arc::new(value)).as_deref().copied();
        assert_eq!([keep(&mut recent, "a", 1), keep(&mut recent, "b", 2)], [None, None]);
        assert_eq!([recent.get("a").as_deref(), recent.get("b").as_deref()], [Some(&1), Some(&2)]);
        // Both were asked for: their turns go round once, and the eldest goes.
        assert_eq!(keep(&mut recent, "c", 3), Some(1));
        assert_eq!(keep(&mut recent, "d", 4), Some(2));
        // Built twice at once: one name is kept once.
        assert_eq!(keep(&mut recent, "d", 5), Some(4));
        assert_eq!((recent.get("d").as_deref(), recent.turns.len()), (Some(&5), 2));
    }
}
