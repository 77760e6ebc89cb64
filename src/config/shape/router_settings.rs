//! `router_settings`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Redis;
use super::allowance;
use super::failures::{self, FallbackLists};
use crate::budgets::BudgetSpec;
use crate::config::report::Grade;
use crate::config::section::{KeyPlaces, Kind, Section};
use crate::config::yaml::{Place, Value};
use crate::failover::ByClass;

/// What acts of it.
pub(in crate::config) struct RouterSettings<'r, 'e> {
    pub(in crate::config) strategy: Strategy<'r, 'e>,
    pub(in crate::config) routing_groups: Vec<RoutingGroup<'r, 'e>>,
    pub(in crate::config) model_group_alias: Vec<AliasEntry>,
    pub(in crate::config) enable_tag_filtering: Option<bool>,
    pub(in crate::config) tag_filtering_match_any: Option<bool>,
    pub(in crate::config) tag_routing_prefix: Option<String>,
    pub(in crate::config) timeout: Option<Duration>,
    pub(in crate::config) stream_timeout: Option<Duration>,
    pub(in crate::config) num_retries: Option<u32>,
    pub(in crate::config) retry_after: Option<Duration>,
    pub(in crate::config) allowed_fails: Option<u32>,
    pub(in crate::config) cooldown_time: Option<Duration>,
    pub(in crate::config) disable_cooldowns: Option<bool>,
    pub(in crate::config) fallbacks: FallbackLists,
    pub(in crate::config) retry_policy: ByClass,
    pub(in crate::config) group_retry_policies: BTreeMap<String, (Place, ByClass)>,
    pub(in crate::config) allowed_fails_policy: ByClass,
    pub(in crate::config) default_max_parallel_requests: Option<u32>,
    pub(in crate::config) token_usage_window: Option<Duration>,
    pub(in crate::config) max_tokens_per_minute: Option<u64>,
    pub(in crate::config) queue_on_tpm_limit: Option<bool>,
    pub(in crate::config) redis: Redis,
    pub(in crate::config) provider_budgets: Vec<(String, BudgetSpec)>,
}

/// `routing_strategy` and its arguments, which a routing group may give too.
pub(in crate::config) struct Strategy<'r, 'e> {
    pub(in crate::config) places: KeyPlaces<'r, 'e>,
    pub(in crate::config) name: Option<String>,
    /// JSON text.
    pub(in crate::config) args: Option<super::PolicySettings>,
}

/// One of `routing_groups`: models that share a strategy.
pub(in crate::config) struct RoutingGroup<'r, 'e> {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) models: Vec<String>,
    pub(in crate::config) strategy: Strategy<'r, 'e>,
    pub(in crate::config) model_priorities: BTreeMap<String, u32>,
}

/// One of `model_group_alias`: a name, or a mapping with `model` and `hidden`.
pub(in crate::config) struct AliasEntry {
    pub(in crate::config) at: Place,
    pub(in crate::config) name: String,
    pub(in crate::config) target: String,
    pub(in crate::config) hidden: Option<bool>,
}

impl<'r, 'e> RouterSettings<'r, 'e> {
    pub(in crate::config) fn read(mut section: Section<'r, 'e>) -> Self {
        // Read so that a value that is neither true nor false is reported; all are as if they were always on.
        for key in ["enable_pre_call_checks", "enable_pre_call_check", "tpm_budget_management"] {
            let _always = section.flag(key);
        }
        pre_call_checks(&mut section);
        // Given to the deployments already.
        let shared = section.get("default_litellm_params", Kind::Section("litellm_params"));
        if shared.is_some_and(|node| !matches!(node.value, Value::Map(_))) {
            section.places.error_at("default_litellm_params", "`default_litellm_params` must be a mapping", "");
        }
        let read = Self {
            strategy: Strategy::read(&mut section),
            routing_groups: RoutingGroup::read_all(&mut section),
            model_group_alias: AliasEntry::read_all(&mut section),
            enable_tag_filtering: section.flag("enable_tag_filtering"),
            tag_filtering_match_any: section.flag("tag_filtering_match_any"),
            tag_routing_prefix: section.text("tag_routing_prefix"),
            timeout: section.seconds("timeout"),
            stream_timeout: section.seconds("stream_timeout"),
            num_retries: section.small("num_retries").or(section.small("max_retries")),
            fallbacks: FallbackLists::read(&mut section),
            retry_policy: failures::retry_policy(&mut section),
            group_retry_policies: failures::group_retry_policies(&mut section),
            allowed_fails_policy: failures::allowed_fails_policy(&mut section),
            retry_after: section.seconds_or_none("retry_after"),
            allowed_fails: section.small("allowed_fails"),
            cooldown_time: section.seconds_or_none("cooldown_time"),
            disable_cooldowns: section.flag("disable_cooldowns"),
            default_max_parallel_requests: section.small("default_max_parallel_requests"),
            token_usage_window: section.seconds("token_usage_window"),
            max_tokens_per_minute: section.count("max_tokens_per_minute"),
            queue_on_tpm_limit: section.flag("queue_on_tpm_limit"),
            redis: Redis::read(&mut section),
            provider_budgets: allowance::budgets(&mut section, "provider_budget_config"),
        };
        section.finish();
        read
    }
}

/// Checks that LiteLLM makes where they are asked for. Some are made here whatever stands there; the others are named.
fn pre_call_checks(section: &mut Section<'_, '_>) {
    const KEY: &str = "optional_pre_call_checks";
    const MADE: [&str; 2] = ["enforce_model_rate_limits", "router_budget_limiting"];
    let other: Vec<String> = section.texts(KEY).into_iter().filter(|check| !MADE.contains(&check.as_str())).collect();
    if !other.is_empty() {
        let note = format!("{} are made; not there yet: {}", MADE.join(" and "), other.join(", "));
        section.places.downgrade(KEY, Grade::Approximate, note);
    }
}

impl<'r, 'e> Strategy<'r, 'e> {
    fn read(section: &mut Section<'r, 'e>) -> Self {
        let (name, args) = (section.text("routing_strategy"), super::settings(section, "routing_strategy_args"));
        Self { places: section.places.clone(), name, args }
    }
}

impl<'r, 'e> RoutingGroup<'r, 'e> {
    fn read_all(router: &mut Section<'r, 'e>) -> Vec<Self> {
        let Some(list) = router.descend("routing_groups", Kind::Sections("routing_groups")) else { return Vec::new() };
        let reader = router.reader();
        let nodes = reader.list(list, "routing_groups").iter().enumerate();
        let section = |(index, node)| {
            let path = format!("router_settings.routing_groups[{index}]");
            Self::read(reader.section(node, "routing_groups", &path))
        };
        nodes.map(section).collect()
    }

    fn read(mut section: Section<'r, 'e>) -> Self {
        let name = section.text("group_name");
        if name.is_none() {
            section.places.error_at("group_name", "a routing group needs a `group_name`", "");
        }
        let read = Self {
            name,
            models: section.texts("models"),
            strategy: Strategy::read(&mut section),
            model_priorities: priorities(&mut section),
        };
        section.finish();
        read
    }
}

fn priorities(section: &mut Section<'_, '_>) -> BTreeMap<String, u32> {
    let Some(node) = section.get("model_priorities", Kind::Map) else { return BTreeMap::new() };
    let mut priorities = BTreeMap::new();
    for entry in section.reader().map(node, "model_priorities") {
        match entry.node.value {
            Value::Integer(number) if u32::try_from(number).is_ok_and(|number| number > 0) => {
                priorities.insert(entry.key.clone(), u32::try_from(number).unwrap_or(u32::MAX));
            }
            _ => {
                let hint = "1 is tried first";
                section.reader().problem(entry.node.at, "a priority must be a whole number from 1", hint);
            }
        }
    }
    priorities
}

impl AliasEntry {
    fn read_all(router: &mut Section<'_, '_>) -> Vec<Self> {
        let Some(node) = router.get("model_group_alias", Kind::Map) else { return Vec::new() };
        let reader = router.reader();
        let mut aliases = Vec::new();
        for entry in reader.map(node, "model_group_alias") {
            let (target, hidden) = match &entry.node.value {
                Value::Map(_) => {
                    let path = format!("router_settings.model_group_alias.{}", entry.key);
                    let mut section = reader.section(&entry.node, "model_group_alias", &path);
                    let read = (section.text("model"), section.flag("hidden"));
                    section.finish();
                    read
                }
                _ => (reader.text(&entry.node, &entry.key), None),
            };
            let Some(target) = target else { continue };
            aliases.push(Self { at: entry.node.at, name: entry.key.clone(), target, hidden });
        }
        aliases
    }
}
