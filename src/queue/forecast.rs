//! When somebody who waits can start at the earliest: those before it take of the same limits first, window by window.
//!
//! It is a lower bound, so that nobody is sent away who could have been served (for whoever is sent away, those count too who will come back): of those before it only the input is counted, which is
//! known, and only where they can go nowhere else. They may leave, and some may be overtaken.

use std::time::Duration;

use super::State;
use super::kept::{Asks, Kept};
use crate::limits::{Demand, Dimension, LimitReport, Limits, ScopeId, Wait};
use crate::moment::Moment;

/// Limits whose amounts are known of each request beforehand.
const KNOWN: [Dimension; 3] = [Dimension::Requests, Dimension::Tokens, Dimension::InputTokens];

/// `away`: whether those count too who are away and will come back before it.
pub(super) fn starts(state: &State, limits: &Limits, now: Moment, number: u64, away: bool) -> Option<Moment> {
    let place = state.waiting.iter().position(|waiter| waiter.number == number)?;
    let (before, waiter) = (&state.waiting[..place], &state.waiting[place]);
    let me = Asks::of(&waiter.want);
    let mut first: Vec<Asks> = before.iter().map(|other| Asks::of(&other.want)).collect();
    if away {
        let is_before = |kept: &Kept, asks: &Asks| {
            (asks.priority, kept.begins, kept.came) < (me.priority, waiter.begins, waiter.came)
        };
        let awaited = state.kept.awaited(now).filter(|(kept, asks)| is_before(kept, asks));
        first.extend(awaited.map(|(_, asks)| asks.clone()));
    }
    let goes_there = |other: &&Asks| other.candidates.iter().all(|one| me.candidates.contains(one));
    let waits = std::iter::once(wait(limits, now, &me.candidates, me.input, first.iter().filter(goes_there)));
    // All of these must have room; the same ones hold back those before it.
    let shared = me.all.iter().map(|scope| {
        let takes = |other: &&Asks| other.all.contains(scope);
        wait(limits, now, &[*scope], me.input, first.iter().filter(takes))
    });
    waits.chain(shared).flatten().max().map(|wait| now + wait)
}

/// How long it takes at least until scopes of which any may be taken have given what all of these ask for.
fn wait<'w>(
    limits: &Limits,
    now: Moment,
    scopes: &[ScopeId],
    asked: u64,
    before: impl Iterator<Item = &'w Asks>,
) -> Option<Duration> {
    let reports: Vec<LimitReport> = scopes.iter().map(|scope| limits.report(now, *scope)).collect();
    let window = reports.iter().map(|report| report.window).min()?;
    let (requests, tokens) = before
        .fold((1, asked), |(requests, tokens): (u64, u64), other| (requests + 1, tokens.saturating_add(other.input)));
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
