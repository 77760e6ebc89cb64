//! The reservations under way: one entry for each meter of each scope, in one table that reuses its places.
//!
//! An entry lives from the reservation to its settling or refund. Entries of one reservation are linked, so that it is
//! one number and reserving allocates nothing once the table has grown. (With slotmap and the entries inside its slots a whole
//! cycle takes 0.20 µs where it takes 0.12 so: what is large is moved in and out.)

use super::ScopeId;
use super::dimension::Amount;
use super::window::Placement;

/// No further entry.
const END: u32 = u32::MAX;

/// The first of one reservation's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entries {
    generation: u32,
    first: u32,
}

impl Entries {
    /// Nothing yet.
    pub(super) const NONE: Self = Self { generation: 0, first: END };
}

/// What one reservation holds at one meter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) scope: ScopeId,
    /// Which of the scope's meters.
    pub(super) meter: u32,
    pub(super) amount: Amount,
    pub(super) placement: Placement,
}

#[derive(Debug)]
struct Place {
    /// Grows whenever the place is freed: a reservation of an earlier use finds nothing.
    generation: u32,
    /// The reservation's next entry, or the next free place.
    next: u32,
    entry: Option<Entry>,
}

/// All entries.
#[derive(Debug)]
pub(super) struct Reservations {
    places: Vec<Place>,
    free: u32,
}

impl Default for Reservations {
    fn default() -> Self {
        Self { places: Vec::new(), free: END }
    }
}

impl Reservations {
    /// A reservation with one entry more, at this meter of a scope.
    #[inline]
    pub(super) fn open(&mut self, scope: ScopeId, meter: u32, amount: Amount, before: Entries) -> Entries {
        let entry = Some(Entry { scope, meter, amount, placement: Placement::Open });
        let at = self.free;
        if let Some(place) = self.places.get_mut(at as usize) {
            self.free = place.next;
            (place.next, place.entry) = (before.first, entry);
            return Entries { generation: place.generation, first: at };
        }
        // Four billion requests under way do not fit in memory; should they, the last place is shared, not overrun.
        let at = u32::try_from(self.places.len()).unwrap_or(END - 1).min(END - 1);
        self.places.push(Place { generation: 0, next: before.first, entry });
        Entries { generation: 0, first: at }
    }

    fn first(&self, entries: Entries) -> u32 {
        match self.places.get(entries.first as usize) {
            Some(place) if place.generation == entries.generation => entries.first,
            _ => END,
        }
    }

    /// Every entry of a reservation, to be changed.
    pub(super) fn each(&mut self, entries: Entries, mut act: impl FnMut(&mut Entry)) {
        let mut at = self.first(entries);
        while let Some(place) = self.places.get_mut(at as usize) {
            if let Some(entry) = &mut place.entry {
                act(entry);
            }
            at = place.next;
        }
    }

    /// Ends a reservation; every entry of it is shown a last time.
    pub(super) fn close(&mut self, entries: Entries, mut act: impl FnMut(&Entry)) {
        let mut at = self.first(entries);
        while let Some(place) = self.places.get_mut(at as usize) {
            if let Some(entry) = &place.entry {
                act(entry);
            }
            place.entry = None;
            place.generation = place.generation.wrapping_add(1);
            let next = std::mem::replace(&mut place.next, self.free);
            self.free = at;
            at = next;
        }
    }

    /// Every entry on one scope, to be changed.
    pub(super) fn of(&mut self, scope: ScopeId) -> impl Iterator<Item = &mut Entry> {
        self.places.iter_mut().filter_map(|place| place.entry.as_mut()).filter(move |entry| entry.scope == scope)
    }
}

#[cfg(test)]
impl Reservations {
    /// Entries that have not ended.
    pub(super) fn open_entries(&self) -> usize {
        self.places.iter().filter(|place| place.entry.is_some()).count()
    }
}
