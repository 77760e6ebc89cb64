//! When somebody who waits can start at the earliest: those before it take of the same limits first, window by window.
//!
//! It is a lower bound, so that nobody is sent away who could have been served (for whoever is sent away, those count too who will come back): of those before it only the input is counted, which is
//! known, and only where they can go nowhere else. They may leave, and some may be overtaken.

use std::time::Duration;

use super::kept::{Asks, Kept};
use super::{State, Want};
use crate::limits::{Demand, Dimension, LimitReport, Limits, ScopeId, Wait};
use crate::moment::Moment;

/// Limits whose amounts are known of each request beforehand.
const KNOWN: [Dimension; 3] = [Dimension::Requests, Dimension::Tokens, Dimension::InputTokens];

/// `away`: whether those count too who are away and will come back before it.
pub(super) fn starts(state: &State, limits: &Limits, now: Moment, number: u64, away: bool) -> Option<Moment> {
    let place = state.waiting.iter().position(|waiter| waiter.number == number)?;
    let (before, waiter) = (&state.waiting[..place], &state.waiting[place]);
    let mine = (waiter.want.priority, waiter.begins, waiter.came);
    let is_before = |kept: &Kept, asks: &Asks| (asks.priority, kept.begins, kept.came) < mine;
    let awaited = away.then(|| state.kept.awaited(now)).into_iter().flatten();
    let awaited = awaited.filter(|(kept, asks)| is_before(kept, asks)).map(|(_, asks)| Ahead::Away(asks));
    let ahead: Vec<Ahead<'_>> = before.iter().map(|other| Ahead::Waiting(&other.want)).chain(awaited).collect();
    let (want, input) = (&waiter.want, input(&waiter.want));
    let candidates: Vec<ScopeId> = want.candidates.iter().map(|one| one.scope).collect();
    let goes_there = |other: &&Ahead<'_>| other.goes_nowhere_else(&candidates);
    let waits = std::iter::once(wait(limits, now, &candidates, input, ahead.iter().filter(goes_there)));
    // All of these must have room; the same ones hold back those before it.
    let shared = want.shared.iter().chain(&want.own).map(|scope| {
        let takes = |other: &&Ahead<'_>| other.takes(*scope);
        wait(limits, now, &[*scope], input, ahead.iter().filter(takes))
    });
    waits.chain(shared).flatten().max().map(|wait| now + wait)
}

/// Somebody whose place is before another's.
enum Ahead<'q> {
    Waiting(&'q Want),
    Away(&'q Asks),
}

impl Ahead<'_> {
    fn input(&self) -> u64 {
        match self {
            Self::Waiting(want) => input(want),
            Self::Away(asks) => asks.input,
        }
    }

    fn goes_nowhere_else(&self, scopes: &[ScopeId]) -> bool {
        match self {
            Self::Waiting(want) => want.candidates.iter().all(|one| scopes.contains(&one.scope)),
            Self::Away(asks) => asks.candidates.iter().all(|one| scopes.contains(one)),
        }
    }

    fn takes(&self, scope: ScopeId) -> bool {
        match self {
            Self::Waiting(want) => want.shared.contains(&scope) || want.own.contains(&scope),
            Self::Away(asks) => asks.all.contains(&scope),
        }
    }
}

/// Input tokens, the smallest that any candidate counts.
fn input(want: &Want) -> u64 {
    want.candidates.iter().map(|one| (one.demand)().input_tokens).min().unwrap_or(0)
}

impl Asks {
    pub(super) fn of(want: &Want) -> Self {
        Self {
            priority: want.priority,
            input: input(want),
            candidates: want.candidates.iter().map(|one| one.scope).collect(),
            all: want.shared.iter().chain(&want.own).copied().collect(),
        }
    }
}

/// How long it takes at least until scopes of which any may be taken have given what all of these ask for.
fn wait<'a, 'q: 'a>(
    limits: &Limits,
    now: Moment,
    scopes: &[ScopeId],
    asked: u64,
    before: impl Iterator<Item = &'a Ahead<'q>>,
) -> Option<Duration> {
    let reports: Vec<LimitReport> = scopes.iter().map(|scope| limits.report(now, *scope)).collect();
    let window = reports.iter().map(|report| report.window).min()?;
    let (requests, tokens) = before
        .fold((1, asked), |(requests, tokens): (u64, u64), other| (requests + 1, tokens.saturating_add(other.input())));
    let of_limit = |dimension: Dimension| {
        let needed = if dimension == Dimension::Requests { requests } else { tokens };
        // One without this limit is full of nothing.
        let held = reports.iter().map(|report| Some((report.limits[dimension]?, report.used[dimension])));
        let held: Vec<(u64, u64)> = held.collect::<Option<_>>()?;
        let capacity: u64 = held.iter().map(|(limit, _)| limit).sum();
        let free: u64 = held.iter().map(|(limit, used)| limit.saturating_sub(*used)).sum();
        let lacking = needed.checked_sub(free).filter(|lacking| *lacking > 0 && capacity > 0)?;
        // Within a window no more than all of the limit comes free, and of what is left nothing before the first does.
        let windows = (lacking - 1) / capacity;
        let rest = lacking - windows * capacity;
        let first = scopes.iter().zip(&held).filter_map(|(scope, (limit, used))| {
            let tokens = if dimension == Dimension::Requests { 0 } else { rest.div_ceil(scopes.len() as u64) };
            let most = limit.saturating_sub(*used).saturating_add(tokens).min(*limit);
            let demand = Demand { input_tokens: if tokens == 0 { 0 } else { most }, ..Demand::default() };
            match limits.wait(now, *scope, demand) {
                Wait::At(moment) => Some(moment.since(now)),
                Wait::Now | Wait::Unknown => Some(Duration::ZERO),
                Wait::Never => None,
            }
        });
        let first = first.min().unwrap_or_default();
        Some(window.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX)).saturating_add(first))
    };
    KNOWN.into_iter().filter_map(of_limit).max()
}
