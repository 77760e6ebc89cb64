//! What the server is known to have of this gateway's own part, and how its time differs from ours.

use std::collections::{BTreeMap, BTreeSet};

use super::script::{Answer, Counted, Cut, Keys, WindowAnswer, amounts, counted, less, of_counted, packed};
use crate::limits::{Limits, OthersCounted, OthersPart, OwnPart, PerDimension, ScopeId};
use crate::moment::Moment;

/// So far apart may the measured difference of the clocks be from the one in use, microseconds: slices must not move to and fro.
const STEADY: i64 = 20_000;
/// What is added where it is set anew.
const AHEAD: i64 = 2_000;

#[derive(Debug, Default)]
pub(super) struct Book {
    windows: BTreeMap<String, Known>,
    /// As what each window of a scope was told last: a reload may give it another name, or take its limit away.
    told: BTreeMap<(ScopeId, u32), OwnPart>,
    /// What was told under names that no window has any more: the server is yet to know that nothing is held there.
    left: BTreeMap<String, OwnPart>,
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
    /// Nothing is told under this name any more.
    pub(super) is_last: bool,
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
    /// Nothing is known any more but what is yet to be told.
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

    /// What has to be told of these scopes, which have these parts and no others: what the server has not yet, and what `always` asks for. What
    /// is held under a name that a window has no more would count for as long as this gateway lives: that it is not is told once.
    pub(super) fn updates(
        &mut self,
        scopes: &[ScopeId],
        parts: Vec<OwnPart>,
        now: Moment,
        always: impl Fn(ScopeId) -> bool,
    ) -> Vec<Update> {
        self.leave(scopes, &parts);
        let last: Vec<Update> = self.left.values().map(|part| self.last(part, now)).collect();
        let told = parts.into_iter().filter_map(|part| {
            let always = always(part.scope);
            self.update(part, now, always)
        });
        told.chain(last).collect()
    }

    /// Finds the names under which nothing will be told any more.
    fn leave(&mut self, scopes: &[ScopeId], parts: &[OwnPart]) {
        let names: BTreeSet<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let windows = scopes.iter().flat_map(|scope| self.told.range((*scope, 0)..=(*scope, u32::MAX)));
        let gone = windows.filter(|(_, part)| !names.contains(part.name.as_str())).map(|(window, _)| *window);
        let gone: Vec<(ScopeId, u32)> = gone.collect();
        let gone: Vec<OwnPart> = gone.iter().filter_map(|window| self.told.remove(window)).collect();
        if !gone.is_empty() {
            let used: BTreeSet<&str> = self.told.values().map(|part| part.name.as_str()).collect();
            let gone = gone.into_iter().filter(|part| !used.contains(part.name.as_str()));
            self.left.extend(gone.map(|part| (part.name.clone(), part)));
        }
        // A window that takes such a name tells its own.
        self.left.retain(|name, _| !names.contains(name.as_str()));
    }

    /// The last that is told under a name: nothing is held there. What was counts as if it had been counted now, as wherever what is under way
    /// is lost sight of.
    fn last(&self, part: &OwnPart, now: Moment) -> Update {
        let cut = Cut::new(part.length, part.fixed);
        let held = self.windows.get(&part.name).filter(|known| known.held != PerDimension::default());
        let changed: Option<(u64, Counted)> = held.map(|known| {
            let slice = self.server_time(now) / cut.slice;
            let (before, held) = (known.slices.get(&slice).copied().unwrap_or_default(), counted(&known.held));
            (slice, std::array::from_fn(|at| before[at] + held[at]))
        });
        Update { part: part.clone(), cut, changed: changed.into_iter().collect(), is_last: true }
    }

    /// What has to be told of a part; `None` where the server has it already and `always` does not ask for it.
    fn update(&self, part: OwnPart, now: Moment, always: bool) -> Option<Update> {
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
        (news || always).then_some(Update { part, cut, changed, is_last: false })
    }

    /// The server has it.
    pub(super) fn updated(&mut self, update: &Update) {
        let window = (update.part.scope, update.part.meter);
        if update.is_last {
            self.left.remove(&update.part.name);
        } else if self.told.get(&window).is_none_or(|told| told.name != update.part.name) {
            self.told.insert(window, nothing_of(&update.part));
        }
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
        let told = self.told.entry((part.scope, part.meter)).or_insert_with(|| nothing_of(part));
        if told.name != part.name {
            // The window has got another name since this was asked.
            self.left.insert(part.name.clone(), nothing_of(part));
        }
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

/// The same window, and nothing in it.
fn nothing_of(part: &OwnPart) -> OwnPart {
    OwnPart { name: part.name.clone(), open: PerDimension::default(), counted: Vec::new(), ..*part }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::{Dimension, Scope};

    #[test]
    fn a_window_that_gets_another_name_holds_nothing_under_the_one_before() {
        let (mut book, now) = (Book::default(), Moment::from_millis(1_000_000));
        let scope = Limits::new(&BTreeMap::new()).id(&Scope::Global);
        let part = |name: &str, open: u64| OwnPart {
            scope,
            meter: 0,
            name: name.to_owned(),
            length: Duration::from_secs(60),
            fixed: false,
            limits: PerDimension::default(),
            open: PerDimension::from_fn(|_| open),
            counted: Vec::new(),
        };
        let tell =
            |book: &mut Book, parts: &[OwnPart], always: bool| book.updates(&[scope], parts.to_vec(), now, |_| always);
        let shown = |updates: &[Update]| -> Vec<(String, u64, bool)> {
            let one = |update: &Update| (update.part.name.clone(), update.part.open[Dimension::Tokens], update.is_last);
            updates.iter().map(one).collect()
        };
        let is = |name: &str, open: u64, last: bool| (name.to_owned(), open, last);
        let [old, new] = ["old", "new"].map(|name| part(name, 5));
        for update in tell(&mut book, std::slice::from_ref(&old), false) {
            book.updated(&update);
        }
        let told = tell(&mut book, std::slice::from_ref(&new), false);
        assert_eq!(shown(&told), [is("new", 5, false), is("old", 0, true)]);
        let counted: u64 = told[1].changed.iter().map(|(_, amount)| of_counted(amount)[Dimension::Tokens]).sum();
        assert_eq!(counted, 5, "what was under way there");
        // The server may not have heard it.
        book.forget();
        let told = tell(&mut book, std::slice::from_ref(&new), true);
        assert_eq!(shown(&told), [is("new", 5, false), is("old", 0, true)]);
        for update in &told {
            book.updated(update);
        }
        assert!(tell(&mut book, std::slice::from_ref(&new), false).is_empty());
        // Granted under the name that it had when it was asked for.
        book.granted(&old, &old.open);
        let told = tell(&mut book, std::slice::from_ref(&new), false);
        assert_eq!(shown(&told), [is("old", 0, true)]);
        for update in &told {
            book.updated(update);
        }
        // Its limit is taken away, and comes back.
        let told = tell(&mut book, &[], false);
        assert_eq!(shown(&told), [is("new", 0, true)]);
        for update in &told {
            book.updated(update);
        }
        assert!(tell(&mut book, &[], false).is_empty());
        assert_eq!(shown(&tell(&mut book, std::slice::from_ref(&new), false)), [is("new", 5, false)]);
    }
}
