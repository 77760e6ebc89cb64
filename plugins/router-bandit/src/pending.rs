//! Questions whose replies may still be judged: the last so many, each number in a byte, in memory that is taken once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Questions that are remembered.
pub(crate) const MOST: usize = 2_048;
/// Deployments of a ranking whose expected cost is remembered: those that may come to be called.
pub(crate) const TOLD: usize = 3;

/// A deployment, and what a request was expected to cost there, US dollars; NaN where unknown.
pub(crate) type Cost = (u32, f32);

/// A question that was decided.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) seed: u64,
    /// Its numbers, in 127ths.
    pub(crate) x: Vec<i8>,
    /// The deployments that stood first.
    pub(crate) costs: [Cost; TOLD],
    /// The attempts that are settled, one bit each.
    pub(crate) settled: u32,
}

/// What is remembered of a question beside its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    seed: u64,
    costs: [Cost; TOLD],
    settled: u32,
}

/// No deployment.
pub(crate) const NOBODY: Cost = (u32::MAX, f32::NAN);

/// A seed as its own hash, stirred once: seeds are the gateway's own draws, which nobody outside chooses.
#[derive(Clone, Copy, Debug, Default)]
struct Stirred(u64);

impl Hasher for Stirred {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((self.0 << 8) ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, seed: u64) {
        let stirred = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = stirred ^ (stirred >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The last questions.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    width: usize,
    numbers: Vec<i8>,
    entries: Vec<Entry>,
    /// By seed, its place.
    places: HashMap<u64, usize, BuildHasherDefault<Stirred>>,
    /// The place that is written next; the oldest, once all are taken.
    next: usize,
}

impl Pending {
    /// Of questions with so many numbers.
    pub(crate) fn new(width: usize) -> Self {
        Self {
            width,
            numbers: vec![0; MOST * width],
            entries: Vec::with_capacity(MOST),
            // Twice as many: a map that is never full is never made anew.
            places: HashMap::with_capacity_and_hasher(2 * MOST, BuildHasherDefault::default()),
            next: 0,
        }
    }

    /// A question was decided.
    pub(crate) fn keep(&mut self, seed: u64, x: &[f32], costs: [Cost; TOLD]) {
        // Added to so large a number, one from -127 to 127 stands rounded in its last bits: no conversion, whose ends would be asked
        // for each number.
        const LARGE: f32 = 12_582_912.0;
        #[expect(clippy::cast_possible_truncation, reason = "these bits are wanted")]
        let byte = |number: &f32| (number.clamp(-1.0, 1.0) * 127.0 + LARGE).to_bits() as i8;
        let place = self.place(Entry { seed, costs, settled: 0 });
        let kept = &mut self.numbers[place * self.width..(place + 1) * self.width];
        for (kept, number) in kept.iter_mut().zip(x) {
            *kept = byte(number);
        }
    }

    /// One that was saved, with so many numbers as these have.
    pub(crate) fn restore(&mut self, asked: &Asked) {
        if asked.x.len() == self.width {
            let place = self.place(Entry { seed: asked.seed, costs: asked.costs, settled: asked.settled });
            self.numbers[place * self.width..(place + 1) * self.width].copy_from_slice(&asked.x);
        }
    }

    fn place(&mut self, entry: Entry) -> usize {
        let place = self.next;
        self.next = (place + 1) % MOST;
        match self.entries.get_mut(place) {
            None => self.entries.push(entry),
            Some(oldest) => {
                if self.places.get(&oldest.seed) == Some(&place) {
                    self.places.remove(&oldest.seed);
                }
                *oldest = entry;
            }
        }
        self.places.insert(entry.seed, place);
        place
    }

    /// The numbers of a question that is remembered.
    pub(crate) fn numbers(&self, seed: u64) -> Option<Vec<f32>> {
        let place = *self.places.get(&seed)?;
        let bytes = &self.numbers[place * self.width..(place + 1) * self.width];
        Some(bytes.iter().map(|byte| f32::from(*byte) / 127.0).collect())
    }

    /// What it was expected to cost at a deployment; NaN where that is unknown.
    pub(crate) fn cost(&self, seed: u64, arm: usize) -> f32 {
        let known = self.places.get(&seed).map_or([NOBODY; TOLD], |place| self.entries[*place].costs);
        known.iter().find(|(one, _)| usize::try_from(*one) == Ok(arm)).map_or(f32::NAN, |(_, cost)| *cost)
    }

    /// Whether this is the first that is heard of an attempt.
    pub(crate) fn settle(&mut self, seed: u64, attempt: u32) -> bool {
        let Some(place) = self.places.get(&seed) else { return true };
        let (settled, bit) = (&mut self.entries[*place].settled, 1 << attempt.min(31));
        let first = *settled & bit == 0;
        *settled |= bit;
        first
    }

    /// All of them, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Asked> {
        let (newer, older) = self.entries.split_at(self.next.min(self.entries.len()));
        let first = newer.len();
        let places = (0..older.len()).map(move |place| first + place).chain(0..newer.len());
        places.map(|place| {
            let Entry { seed, costs, settled } = self.entries[place];
            Asked { seed, x: self.numbers[place * self.width..(place + 1) * self.width].to_vec(), costs, settled }
        })
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }
}
