//! What the server is known to have of this gateway's own part, and how its time differs from ours.

use std::collections::BTreeMap;

use super::script::{Answer, Counted, Cut, Keys, WindowAnswer, amounts, counted, less, of_counted, packed};
use crate::limits::{Limits, OthersCounted, OthersPart, OwnPart, PerDimension};
use crate::moment::Moment;

/// So far apart may the measured difference of the clocks be from the one in use, microseconds: slices must not move to and fro.
const STEADY: i64 = 20_000;
/// What is added where it is set anew.
const AHEAD: i64 = 2_000;

#[derive(Debug, Default)]
pub(super) struct Book {
    windows: BTreeMap<String, Known>,
    /// The server's time less ours, microseconds: the most it can be, and the least.
    most: i64,
    least: i64,
}

/// What the server has of one window.
#[derive(Debug, Default)]
struct Known {
    held: PerDimension<u64>,
    slices: BTreeMap<u64, Counted>,
}

/// What is told of one window.
pub(super) struct Update {
    pub(super) part: OwnPart,
    pub(super) cut: Cut,
    /// Slices that changed.
    changed: Vec<(u64, Counted)>,
}

impl Update {
    /// As the script reads it.
    pub(super) fn packed(&self, wanted: bool) -> Vec<u8> {
        let head = self.cut.head().into_iter().chain([self.cut.forget(), if wanted { 1.0 } else { 0.0 }]);
        let slices = self
            .changed
            .iter()
            .flat_map(|(slice, amount)| std::iter::once(super::script::number(*slice)).chain(amount.iter().copied()));
        packed(head.chain(amounts(&self.part.open)).chain(slices))
    }

    pub(super) fn keys(&self) -> Keys<'_> {
        Keys(&self.part.name)
    }
}

impl Book {
    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        self.windows.clear();
    }

    /// The server said what time it is between `sent` and `back`.
    pub(super) fn clocks(&mut self, server: u64, sent: Moment, back: Moment) {
        let micros = |moment: Moment| i64::try_from(moment.as_nanos() / 1000).unwrap_or(i64::MAX);
        let server = i64::try_from(server).unwrap_or(i64::MAX);
        let most = server - micros(sent);
        if !(self.most - STEADY..=self.most).contains(&most) {
            self.most = most + AHEAD;
        }
        self.least = server - micros(back);
    }

    /// The server's time at a moment, at the latest.
    fn server_time(&self, at: Moment) -> u64 {
        (at.as_nanos() / 1000).saturating_add_signed(self.most)
    }

    /// Our time at the end of a slice of the server's, at the latest.
    fn end_of(&self, cut: Cut, slice: u64) -> Moment {
        let end = slice.saturating_add(1).saturating_mul(cut.slice).saturating_sub(1);
        Moment::from_nanos(end.saturating_add_signed(-self.least).saturating_mul(1000))
    }

    /// What has to be told of a part; `None` where the server has it already and `always` does not ask for it.
    pub(super) fn update(&self, part: OwnPart, now: Moment, always: bool) -> Option<Update> {
        let cut = Cut::new(part.length, part.fixed);
        let mut slices: BTreeMap<u64, Counted> = BTreeMap::new();
        for (at, amount) in &part.counted {
            let place = slices.entry(self.server_time(*at) / cut.slice).or_default();
            let amount = counted(amount);
            *place = std::array::from_fn(|at| place[at] + amount[at]);
        }
        let known = self.windows.get(&part.name);
        let none = BTreeMap::new();
        let before = known.map_or(&none, |known| &known.slices);
        let mut changed: Vec<(u64, Counted)> = Vec::new();
        let is_new = |(slice, amount): &(&u64, &Counted)| before.get(slice) != Some(amount);
        changed.extend(slices.iter().filter(is_new).map(|(slice, amount)| (*slice, *amount)));
        // Those that are gone for us: taken back, or too old.
        changed.extend(before.keys().filter(|slice| !slices.contains_key(slice)).map(|slice| (*slice, [0.0; 5])));
        let oldest = cut.oldest(self.server_time(now));
        let news = changed.iter().any(|(slice, _)| *slice >= oldest)
            || known.map_or(!part.open.eq(&PerDimension::default()), |known| known.held != part.open);
        (news || always).then_some(Update { part, cut, changed })
    }

    /// The server has it.
    pub(super) fn updated(&mut self, update: &Update) {
        let known = self.windows.entry(update.part.name.clone()).or_default();
        known.held = update.part.open;
        for (slice, amount) in &update.changed {
            if amount.iter().all(|amount| *amount == 0.0) {
                known.slices.remove(slice);
            } else {
                known.slices.insert(*slice, *amount);
            }
        }
    }

    /// The server has granted this more.
    pub(super) fn granted(&mut self, part: &OwnPart, amount: &PerDimension<u64>) {
        let known = self.windows.entry(part.name.clone()).or_default();
        known.held = PerDimension::from_fn(|dimension| known.held[dimension] + amount[dimension]);
    }

    /// What an answer says of the others goes to the limits. Returns whether it was news.
    pub(super) fn others(
        &self,
        limits: &Limits,
        now: Moment,
        answer: &Answer,
        part: &OwnPart,
        window: &WindowAnswer,
    ) -> bool {
        let cut = Cut::new(part.length, part.fixed);
        let oldest = cut.oldest(answer.now);
        let none = BTreeMap::new();
        let own = self.windows.get(&part.name).map_or(&none, |known| &known.slices);
        let counted = if let Some(slices) = &window.slices {
            let others = slices.iter().map(|(slice, amount)| {
                let own = own.get(slice).copied().unwrap_or_default();
                (self.end_of(cut, *slice), of_counted(&less(amount, &own)))
            });
            OthersCounted::Since(others.collect())
        } else {
            let add = |sum: Counted, (_, amount): (&u64, &Counted)| std::array::from_fn(|at| sum[at] + amount[at]);
            let own = own.range(oldest..).fold([0.0; 5], add);
            OthersCounted::Total(of_counted(&less(&window.total, &own)))
        };
        limits.others_use(now, part.scope, part.meter, &OthersPart { open: window.held, counted })
    }
}
