//! What a request's reservations cost in memory, over every kind of scope: reserved, sent, answered and settled, and its money held in
//! budgets and counted.

use std::collections::BTreeMap;
use std::time::Duration;

use witgate::budgets::{BudgetSpec, Budgets, Period};
use witgate::id::{GroupName, KeyId, RequestId, TeamId};
use witgate::limits::{Certainty, Decision, Demand, Dimension, LimitSpec, Limits, ReserveRequest, Scope};
use witgate::moment::Moment;
use witgate::money::NanoUsd;

use super::stats::{micros, percentile, ratio};
use super::watch::now;

/// Where a request may go.
const CANDIDATES: usize = 10;
/// Cycles timed together: a clock's own time would be most of one.
const TOGETHER: usize = 200;
/// Virtual time between two.
const APART: Duration = Duration::from_millis(2);

/// Median of a cycle, microseconds.
///
/// # Errors
/// A reservation is not granted: there is room for all.
pub(crate) fn measure(cycles: usize) -> Result<f64, String> {
    let common = [
        Scope::Global,
        Scope::Key(KeyId::from("key")),
        Scope::Team(TeamId::from("team")),
        Scope::Tag("tag".into()),
        Scope::Group(GroupName::from("group")),
    ];
    let quotas: Vec<Scope> = (0..CANDIDATES).map(|number| Scope::Quota(format!("quota-{number}").into())).collect();
    let spec = LimitSpec::default()
        .with(Dimension::Requests, 1 << 40)
        .with(Dimension::Tokens, 1 << 50)
        .with(Dimension::InFlight, 1 << 20);
    let specs: BTreeMap<Scope, LimitSpec> =
        common.iter().chain(&quotas).map(|one| (one.clone(), spec.clone())).collect();
    let (limits, budgets) = (Limits::new(&specs), Budgets::default());
    let begin = Moment::from_millis(1_800_000_000_000);
    let shared: Vec<_> = common.iter().map(|scope| limits.id(scope)).collect();
    let money = BudgetSpec { max: Some(NanoUsd(u64::MAX / 4)), period: Period::parse("1d"), ..BudgetSpec::default() };
    let paying: Vec<_> =
        common.iter().flat_map(|scope| budgets.set(begin, scope, std::slice::from_ref(&money))).collect();
    let demand = Demand { input_tokens: 900, output_tokens: 200, cost: NanoUsd(4_000_000) };
    let actual = Demand { output_tokens: 120, ..demand };
    let candidates: Vec<_> = quotas.iter().map(|scope| (limits.id(scope), demand)).collect();
    let cycle = |at: Moment, seed: usize| {
        let held = budgets.hold(at, &paying, demand.cost).map_err(|short| format!("{short:?}"))?;
        let request = ReserveRequest {
            request: RequestId::derive(at, seed as u64),
            attempt: 0,
            shared: &shared,
            shared_demand: demand,
            candidates: &candidates,
            certainty: Certainty::Counted,
        };
        let Decision::Granted { shared: Some(common), own, .. } = limits.reserve(at, &request) else {
            return Err("nothing was granted".to_owned());
        };
        limits.sent_together(at, &[own.handle(), common.handle()], at + APART);
        limits.response_heads(at + APART, &[&own, &common]);
        for one in [common, own] {
            limits.settle(at + APART, one, actual);
        }
        let _nothing_to_tell = budgets.settle(at + APART, at, held, actual.cost);
        Ok(())
    };
    let mut at = begin;
    let mut times = Vec::with_capacity(cycles / TOGETHER);
    // The first ones fill a window.
    for batch in 0..cycles / TOGETHER + 50 {
        let start = now();
        for number in 0..TOGETHER {
            cycle(at, number)?;
            at = at + APART;
        }
        if batch >= 50 {
            times.push(micros(start.elapsed()) / ratio(TOGETHER, 1.0));
        }
    }
    Ok(percentile(&mut times, 50))
}
