//! From deployments to groups: who belongs together, which router decides, which other names lead there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::deployment::{self, Defaults};
use super::problem::closest;
use super::reader::{Reader, Section};
use super::report::Grade;
use super::settings::Alias;
use super::yaml::{Node, Place, Value};
use crate::catalog::{Deployment, Group, RouterChoice};
use crate::id::{DeploymentId, GroupName, PolicyName};

/// The router of groups that name none: `default.wasm` of the policies folder, else simple-shuffle as in LiteLLM.
const DEFAULT_ROUTER: &str = "default";

/// LiteLLM's strategies, the shipped policies that keep their rules, and what differs. Without a policy, the
/// default decides and the report says so.
const STRATEGIES: [(&str, Option<&str>, &str); 15] = [
    ("simple-shuffle", Some("simple-shuffle"), ""),
    ("least-busy", Some("least-busy"), ""),
    ("latency-based-routing", Some("latency-based"), ""),
    ("cost-based-routing", Some("cost-based"), ""),
    ("usage-based-routing-v2", Some("usage-based"), "counts over a sliding window and holds before the call"),
    ("usage-based-routing", Some("usage-based"), "the rule of usage-based-routing-v2"),
    ("latency-based", Some("latency-based"), ""),
    ("cost-based", Some("cost-based"), ""),
    ("usage-based", Some("usage-based"), ""),
    ("tpm-aware", Some("tpm-aware"), ""),
    ("tpm-aware-routing", Some("tpm-aware"), ""),
    ("priority", None, ""),
    ("lar1", None, "`lar1` is not there yet: simple-shuffle decides"),
    ("provider-budget-routing", None, "budgets are not there yet: simple-shuffle decides"),
    ("auto_router", None, "a model that routes is a policy here: simple-shuffle decides"),
];

/// Reads `model_list` into groups without routers.
pub(super) fn deployments(
    reader: &Reader<'_>,
    list: Option<&Node>,
    defaults: &Defaults,
) -> BTreeMap<GroupName, Vec<Arc<Deployment>>> {
    let mut groups: BTreeMap<GroupName, Vec<deployment::Entry>> = BTreeMap::new();
    let mut ids: BTreeMap<DeploymentId, Place> = BTreeMap::new();
    for (index, node) in list.map_or(&[] as &[Node], |list| reader.list(list, "model_list")).iter().enumerate() {
        let section = reader.section(node, "model_list", &format!("model_list[{index}]"));
        if !matches!(node.value, Value::Map(_)) {
            // Told by the line above, but for an empty entry.
            if matches!(node.value, Value::Null) {
                reader.problem(node.at, "an empty deployment", "remove the dash, or write a `model_name`");
            }
            continue;
        }
        let Some(mut entry) = deployment::read(section, defaults) else { continue };
        if entry.own_id {
            if let Some(first) = ids.get(&entry.deployment.id) {
                let message =
                    format!("the id `{}` is taken by the deployment of line {}", entry.deployment.id, first.line);
                reader.problem(node.at, message, "limits and learned state follow the id: give each its own");
            }
        } else {
            // Deployments that nothing tells apart are told apart by their order.
            let plain = entry.deployment.id.clone();
            let mut count = 1;
            while ids.contains_key(&entry.deployment.id) {
                count += 1;
                entry.deployment.id = DeploymentId::from(format!("{plain}-{count}"));
            }
        }
        ids.insert(entry.deployment.id.clone(), node.at);
        if !entry.blocked {
            groups.entry(entry.group.clone()).or_default().push(entry);
        }
    }
    groups.into_iter().map(|(name, entries)| (name, in_order(entries))).collect()
}

/// As in LiteLLM, a deployment without an order comes after those of its group that have one.
fn in_order(entries: Vec<deployment::Entry>) -> Vec<Arc<Deployment>> {
    let any = entries.iter().any(|entry| entry.ordered);
    let ordered = |mut entry: deployment::Entry| {
        if any && !entry.ordered {
            entry.deployment.order = u32::MAX;
        }
        Arc::new(entry.deployment)
    };
    entries.into_iter().map(ordered).collect()
}

/// Who decides where nothing else is said: `routing_strategy` and its arguments.
pub(super) fn default_router(router: &mut Section<'_, '_>) -> RouterChoice {
    let policy = strategy(router);
    RouterChoice { policy, settings: settings(router, "routing_strategy_args"), may_reject: false }
}

fn strategy(section: &mut Section<'_, '_>) -> PolicyName {
    let written = section.text("routing_strategy");
    let Some(written) = written else { return PolicyName::from(DEFAULT_ROUTER) };
    let Some((_, policy, note)) = STRATEGIES.iter().find(|(name, ..)| *name == written) else {
        let hint = match closest(&written, STRATEGIES.iter().map(|(name, ..)| *name)) {
            Some(name) => format!("did you mean `{name}`? a policy of your own goes under `witgate.routers`"),
            None => "a policy of your own goes under `witgate.routers`".to_owned(),
        };
        section.error_at("routing_strategy", format!("there is no routing strategy `{written}`"), hint);
        return PolicyName::from(DEFAULT_ROUTER);
    };
    let grade = match (policy, note.is_empty()) {
        (Some(_), true) => Grade::Exact,
        (Some(_), false) => Grade::Approximate,
        (None, _) => Grade::NotYet,
    };
    // `priority` is read where it is allowed, in a routing group.
    if written != "priority" {
        section.downgrade("routing_strategy", grade, *note);
    } else if section.path == "router_settings" {
        let hint = "give it to one of `routing_groups`, with `model_priorities`";
        section.error_at("routing_strategy", "`priority` is a strategy of routing groups", hint);
    }
    PolicyName::from(policy.unwrap_or(DEFAULT_ROUTER))
}

/// A policy's settings: any mapping, as JSON text.
fn settings(section: &mut Section<'_, '_>, key: &'static str) -> Arc<str> {
    let Some(node) = section.get(key) else { return Arc::from("{}") };
    if !matches!(node.value, Value::Map(_)) {
        section.error_at(key, format!("`{key}` must be a mapping, not {}", node.value.kind()), "");
        return Arc::from("{}");
    }
    Arc::from(section.reader.json(node).to_string())
}

/// The groups with their routers, from `routing_groups` and `witgate.routers`.
pub(super) struct Groups {
    default: RouterChoice,
    deployments: BTreeMap<GroupName, Vec<Arc<Deployment>>>,
    routers: BTreeMap<GroupName, RouterChoice>,
}

impl Groups {
    pub(super) fn new(default: RouterChoice, deployments: BTreeMap<GroupName, Vec<Arc<Deployment>>>) -> Self {
        Self { default, deployments, routers: BTreeMap::new() }
    }

    /// Every group, whole.
    pub(super) fn finish(self, retries: u32) -> BTreeMap<GroupName, Arc<Group>> {
        let Self { default, deployments, routers } = self;
        let whole = |(name, deployments): (GroupName, Vec<Arc<Deployment>>)| {
            let router = routers.get(&name).unwrap_or(&default).clone();
            (name.clone(), Arc::new(Group { name, deployments, router, retries }))
        };
        deployments.into_iter().map(whole).collect()
    }

    /// `routing_groups`: models that share a strategy. The name is one clients may send, and stands for the
    /// deployments of all its models.
    pub(super) fn routing_groups(&mut self, router: &mut Section<'_, '_>) {
        let Some(list) = router.descend("routing_groups") else { return };
        let mut unions = Vec::new();
        for (index, node) in router.reader.list(list, "routing_groups").iter().enumerate() {
            let path = format!("router_settings.routing_groups[{index}]");
            let mut section = router.reader.section(node, "routing_groups", &path);
            unions.extend(self.routing_group(&mut section));
            section.finish();
        }
        // Only now, so that a group of groups is made of models alone.
        for (name, deployments, choice) in unions {
            self.routers.insert(name.clone(), choice);
            self.deployments.insert(name, deployments);
        }
    }

    fn routing_group(
        &mut self,
        section: &mut Section<'_, '_>,
    ) -> Option<(GroupName, Vec<Arc<Deployment>>, RouterChoice)> {
        let (name, models) = (section.text("group_name"), section.texts("models"));
        let by_priority = section.text("routing_strategy").as_deref() == Some("priority");
        let (policy, settings) = (strategy(section), settings(section, "routing_strategy_args"));
        let choice = RouterChoice { policy, settings, may_reject: false };
        let priorities = priorities(section);
        let mut deployments = Vec::new();
        for model in &models {
            let Some(found) = self.deployments.get(model.as_str()) else {
                let hint = closest(model, self.deployments.keys().map(GroupName::as_str));
                let hint = hint.map_or_else(String::new, |name| format!("did you mean `{name}`?"));
                section.error_at("models", format!("no deployment has the model_name `{model}`"), hint);
                continue;
            };
            match priorities.get(model).copied().filter(|_| by_priority) {
                Some(order) => {
                    deployments.extend(found.iter().map(|one| Arc::new(Deployment { order, ..(**one).clone() })));
                }
                None => deployments.extend(found.iter().cloned()),
            }
            let name = GroupName::from(model.as_str());
            if !by_priority && self.routers.insert(name, choice.clone()).is_some() {
                section.error_at("models", format!("`{model}` is in two routing groups"), "a model has one strategy");
            }
        }
        let Some(name) = name else {
            section.error_at("group_name", "a routing group needs a `group_name`", "");
            return None;
        };
        let callable = !deployments.is_empty() && !self.deployments.contains_key(name.as_str());
        callable.then(|| (GroupName::from(name), deployments, choice))
    }

    /// `witgate.routers`: any policy for any group, over all else.
    pub(super) fn routers(&mut self, routers: &mut Section<'_, '_>, node: Option<&Node>) {
        let reader = routers.reader;
        for entry in node.map_or(&[] as &[_], |node| reader.map(node, "witgate.routers")) {
            let mut section =
                reader.section(&entry.node, "routers", &format!("witgate.routers.{}", entry.key)).strict();
            let (policy, settings) = (section.text("policy"), settings(&mut section, "settings"));
            let may_reject = section.flag("may_reject").unwrap_or(false);
            if policy.is_none() {
                section.error_at(
                    "policy",
                    "a router needs a `policy`",
                    "the stem of its file: tpm-aware for tpm-aware.wasm",
                );
            }
            section.finish();
            if !self.deployments.contains_key(entry.key.as_str()) {
                let hint = closest(&entry.key, self.deployments.keys().map(GroupName::as_str));
                let hint = hint.map_or_else(String::new, |name| format!("did you mean `{name}`?"));
                reader.problem(entry.at, format!("there is no group `{}`", entry.key), hint);
            } else if let Some(policy) = policy {
                let choice = RouterChoice { policy: PolicyName::from(policy), settings, may_reject };
                self.routers.insert(GroupName::from(entry.key.as_str()), choice);
            }
        }
    }

    /// `model_group_alias`: a name, or a mapping with `model` and `hidden`.
    pub(super) fn aliases(&self, router: &mut Section<'_, '_>) -> BTreeMap<GroupName, Alias> {
        let mut aliases = BTreeMap::new();
        let Some(node) = router.get("model_group_alias") else { return aliases };
        let reader = router.reader;
        for entry in reader.map(node, "model_group_alias") {
            let (target, hidden) = match &entry.node.value {
                Value::Map(_) => {
                    let path = format!("router_settings.model_group_alias.{}", entry.key);
                    let mut section = reader.section(&entry.node, "model_group_alias", &path);
                    let read = (section.text("model"), section.flag("hidden").unwrap_or(false));
                    section.finish();
                    read
                }
                _ => (reader.text(&entry.node, &entry.key), false),
            };
            let Some(target) = target else { continue };
            if self.deployments.contains_key(target.as_str()) {
                let alias = Alias { group: GroupName::from(target), hidden };
                aliases.insert(GroupName::from(entry.key.as_str()), alias);
                continue;
            }
            let hint = closest(&target, self.deployments.keys().map(GroupName::as_str));
            let hint = hint.map_or_else(String::new, |name| format!("did you mean `{name}`?"));
            reader.problem(entry.node.at, format!("the alias `{}` leads to no group", entry.key), hint);
        }
        aliases
    }
}

fn priorities(section: &mut Section<'_, '_>) -> BTreeMap<String, u32> {
    let Some(node) = section.get("model_priorities") else { return BTreeMap::new() };
    let mut priorities = BTreeMap::new();
    for entry in section.reader.map(node, "model_priorities") {
        match entry.node.value {
            Value::Integer(number) if u32::try_from(number).is_ok_and(|number| number > 0) => {
                priorities.insert(entry.key.clone(), u32::try_from(number).unwrap_or(u32::MAX));
            }
            _ => section.reader.problem(entry.node.at, "a priority must be a whole number from 1", "1 is tried first"),
        }
    }
    priorities
}
