//! Who may use how much: keys, teams, tags, groups, providers and all together; and what a call is taken to cost whose price nobody
//! knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::deployment::Member;
use super::groups::Groups;
use crate::budgets::BudgetSpec;
use crate::catalog::UnknownPrice;
use crate::config::reader::Reader;
use crate::config::settings::{AlertSettings, PayerSettings, PayerSpec, TeamSpec};
use crate::config::shape::{Named, Shape, UnknownPriceRule};
use crate::id::{GroupName, ProviderName, TeamId};
use crate::money::{Price, Prices, Rates};
use crate::virtual_key::{Allowance, VirtualKey};

/// The status of a request for which a budget has no money left: LiteLLM's, which no SDK tries again.
const BUDGET_STATUS: u16 = 422;
/// What a million tokens are taken to cost where no price is known at all: as much as of a dear model. Nano-dollars a million.
const ASSUMED: Prices = Prices::flat(Price(5_000_000_000), Price(25_000_000_000));

/// Sets what each deployment without a price is taken to cost: the dearest of its group, else of all.
pub(super) fn assume(members: &mut [Member], rule: Option<UnknownPriceRule>) {
    let dearer = |one: Rates, other: Rates| if other.output > one.output { other } else { one };
    let mut of_all = None;
    let mut groups: BTreeMap<GroupName, Rates> = BTreeMap::new();
    for member in &*members {
        let Some(rates) = member.deployment.prices.as_ref().map(|prices| prices.base) else { continue };
        of_all = Some(of_all.map_or(rates, |dearest| dearer(dearest, rates)));
        groups.entry(member.group.clone()).and_modify(|dearest| *dearest = dearer(*dearest, rates)).or_insert(rates);
    }
    for member in members {
        member.deployment.unknown_price = match rule.unwrap_or_default() {
            UnknownPriceRule::Refuse => UnknownPrice::Refuse,
            UnknownPriceRule::Allow => UnknownPrice::Allow,
            UnknownPriceRule::Estimate => {
                let known = groups.get(&member.group).copied().or(of_all);
                // What is free elsewhere says nothing of this one.
                let known = known.filter(|rates| rates.output.0 > 0);
                UnknownPrice::Assume(Box::new(known.map_or(ASSUMED, |rates| Prices::flat(rates.input, rates.output))))
            }
        };
    }
}

/// All who pay.
pub(super) fn payers(reader: &Reader<'_>, shape: &mut Shape<'_, '_>, groups: &Groups) -> PayerSettings {
    let budgets = [&shape.cost_controls, &shape.litellm.budget, &shape.general.budget];
    let mut global: Vec<BudgetSpec> = Vec::new();
    // Each is a bound of its own; of two for the same time the lower one holds.
    for budget in budgets.into_iter().filter_map(Allowance::budget) {
        match global.iter_mut().find(|other| other.period == budget.period) {
            Some(other) => {
                let lower = |one: Option<_>, other: Option<_>| one.into_iter().chain(other).min();
                (other.max, other.soft) = (lower(other.max, budget.max), lower(other.soft, budget.soft));
            }
            None => global.push(budget),
        }
    }
    let mut tags: BTreeMap<Arc<str>, PayerSpec> = BTreeMap::new();
    for named in &shape.own.tags {
        tags.insert(named.name.as_str().into(), spec(&named.allowance));
    }
    for (name, budget) in std::mem::take(&mut shape.litellm.tag_budgets) {
        tags.entry(name.into()).or_default().budgets.push(budget);
    }
    let mut providers: BTreeMap<ProviderName, Vec<BudgetSpec>> = BTreeMap::new();
    for (name, budget) in std::mem::take(&mut shape.router.provider_budgets) {
        providers.entry(ProviderName::from(name)).or_default().push(budget);
    }
    let of_group = |named: &Named| {
        if groups.names().any(|group| group.as_str() == named.name) {
            return Some((GroupName::from(named.name.as_str()), spec(&named.allowance)));
        }
        reader.problem(named.at, format!("there is no group `{}`", named.name), groups.did_you_mean(&named.name));
        None
    };
    let team = |named: &Named| {
        let team = TeamSpec { payer: spec(&named.allowance), models: named.models.clone() };
        (TeamId::from(named.name.as_str()), team)
    };
    let status = shape.litellm.budget_status.and_then(|status| u16::try_from(status).ok());
    PayerSettings {
        keys: keys(reader, shape),
        global,
        teams: shape.own.teams.iter().map(team).collect(),
        tags,
        groups: shape.own.groups.iter().filter_map(of_group).collect(),
        providers,
        budget_status: status.unwrap_or(BUDGET_STATUS),
        new_keys: std::mem::take(&mut shape.litellm.new_keys),
        new_teams: std::mem::take(&mut shape.litellm.new_teams),
        alerts: AlertSettings { webhook: shape.general.webhook.take(), slack: shape.general.slack.take() },
    }
}

fn spec(allowance: &Allowance) -> PayerSpec {
    PayerSpec { limits: allowance.limits(), budgets: allowance.budget().into_iter().collect() }
}

/// The keys, no two of which are the same or have the same alias.
fn keys(reader: &Reader<'_>, shape: &mut Shape<'_, '_>) -> Vec<VirtualKey> {
    let (mut hashes, mut aliases) = (BTreeSet::new(), BTreeSet::new());
    let entries = std::mem::take(&mut shape.own.keys);
    let operators = shape.general.master_key.as_ref().or(shape.general.environment_master_key.as_ref());
    if let Some(first) = entries.first().filter(|_| operators.or(shape.own.admin_key.as_ref()).is_none()) {
        let hint = "set `general_settings.master_key`, which makes, changes and sees the others";
        reader.problem(first.at, "`witgate.keys` needs a key of the operator's", hint);
    }
    for entry in &entries {
        if !hashes.insert(entry.key.hash) {
            reader.problem(entry.at, "the same key is given twice", "");
        }
        if let Some(alias) = entry.key.alias.as_ref().filter(|alias| !aliases.insert((*alias).clone())) {
            reader.problem(entry.at, format!("two keys have the alias `{alias}`"), "");
        }
    }
    entries.into_iter().map(|entry| entry.key).collect()
}
