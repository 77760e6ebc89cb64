//! What `router_settings`, `litellm_settings` and `model_info` say about failures: fallbacks and policies by class of fault.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::config::section::{Kind, Section};
use crate::config::yaml::{Entry, Node, Place, Value};
use crate::failover::{ByClass, FaultClass};

/// The lists of one section. `None` is a list that is not given.
#[derive(Default)]
pub(in crate::config) struct FallbackLists {
    pub(in crate::config) generic: Option<Vec<FallbackEntry>>,
    pub(in crate::config) context_window: Option<Vec<FallbackEntry>>,
    pub(in crate::config) content_policy: Option<Vec<FallbackEntry>>,
    pub(in crate::config) default: Option<Vec<TargetEntry>>,
    pub(in crate::config) max: Option<u32>,
}

/// A group, and those that take over from it.
#[derive(Clone)]
pub(in crate::config) struct FallbackEntry {
    pub(in crate::config) at: Place,
    /// `*` is any group.
    pub(in crate::config) source: String,
    pub(in crate::config) targets: Vec<TargetEntry>,
}

/// A group that takes over, with the fields a request has there.
#[derive(Clone)]
pub(in crate::config) struct TargetEntry {
    pub(in crate::config) at: Place,
    pub(in crate::config) model: String,
    pub(in crate::config) fields: Map<String, Json>,
}

impl FallbackLists {
    pub(in crate::config) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            generic: entries(section, "fallbacks"),
            context_window: entries(section, "context_window_fallbacks"),
            content_policy: entries(section, "content_policy_fallbacks"),
            default: section
                .get("default_fallbacks", Kind::List)
                .map(|node| targets(section, node, "default_fallbacks")),
            max: section.small("max_fallbacks"),
        }
    }

    /// The same, with the lists of `other` where this has none.
    pub(in crate::config) fn or(self, other: Self) -> Self {
        Self {
            generic: self.generic.or(other.generic),
            context_window: self.context_window.or(other.context_window),
            content_policy: self.content_policy.or(other.content_policy),
            default: self.default.or(other.default),
            max: self.max.or(other.max),
        }
    }
}

/// A list of mappings from a group to its targets.
fn entries(section: &mut Section<'_, '_>, key: &'static str) -> Option<Vec<FallbackEntry>> {
    let node = section.get(key, Kind::List)?;
    let reader = section.reader();
    let maps = reader.list(node, key).iter();
    let sources = maps.flat_map(|map| reader.map(map, key)).map(|Entry { key: source, at, node }| FallbackEntry {
        at: *at,
        source: source.clone(),
        targets: targets(section, node, source),
    });
    Some(sources.collect())
}

fn targets(section: &Section<'_, '_>, node: &Node, key: &str) -> Vec<TargetEntry> {
    let reader = section.reader();
    let target = |node: &Node| {
        let at = node.at;
        if !matches!(node.value, Value::Map(_)) {
            return Some(TargetEntry { at, model: reader.text(node, key)?, fields: Map::new() });
        }
        let Json::Object(fields) = reader.json(node) else { return None };
        if let Some(Json::String(model)) = fields.get("model") {
            Some(TargetEntry { at, model: model.clone(), fields })
        } else {
            reader.problem(at, "a fallback that is a mapping needs a `model`", "the group that takes over");
            None
        }
    };
    reader.list(node, key).iter().filter_map(target).collect()
}

/// LiteLLM's name of each class.
const RETRIES: [(&str, FaultClass); 8] = [
    ("BadRequestErrorRetries", FaultClass::BadRequest),
    ("AuthenticationErrorRetries", FaultClass::Authentication),
    ("TimeoutErrorRetries", FaultClass::Timeout),
    ("RateLimitErrorRetries", FaultClass::RateLimit),
    ("ContentPolicyViolationErrorRetries", FaultClass::ContentPolicy),
    ("InternalServerErrorRetries", FaultClass::InternalServer),
    ("ServiceUnavailableErrorRetries", FaultClass::ServiceUnavailable),
    ("NotFoundErrorRetries", FaultClass::NotFound),
];
const ALLOWED_FAILS: [(&str, FaultClass); 9] = [
    ("BadRequestErrorAllowedFails", FaultClass::BadRequest),
    ("AuthenticationErrorAllowedFails", FaultClass::Authentication),
    ("TimeoutErrorAllowedFails", FaultClass::Timeout),
    ("RateLimitErrorAllowedFails", FaultClass::RateLimit),
    ("ContentPolicyViolationErrorAllowedFails", FaultClass::ContentPolicy),
    ("InternalServerErrorAllowedFails", FaultClass::InternalServer),
    ("ServiceUnavailableErrorAllowedFails", FaultClass::ServiceUnavailable),
    ("BadGatewayErrorAllowedFails", FaultClass::BadGateway),
    ("NotFoundErrorAllowedFails", FaultClass::NotFound),
];

/// `retry_policy`.
pub(in crate::config) fn retry_policy(section: &mut Section<'_, '_>) -> ByClass {
    retries(section.inner("retry_policy", "retry_policy"))
}

fn retries(mut policy: Section<'_, '_>) -> ByClass {
    let mut retries = RETRIES.iter().fold(ByClass::default(), |all, (key, class)| all.with(*class, policy.small(key)));
    retries.default = policy.small("DefaultRetries");
    policy.finish();
    retries
}

/// `model_group_retry_policy`: a policy for each of some groups.
pub(in crate::config) fn group_retry_policies(section: &mut Section<'_, '_>) -> BTreeMap<String, (Place, ByClass)> {
    let Some(node) = section.descend("model_group_retry_policy", Kind::SectionByName("retry_policy")) else {
        return BTreeMap::new();
    };
    let reader = section.reader();
    let mut policies = BTreeMap::new();
    for entry in reader.map(node, "model_group_retry_policy") {
        let path = format!("{}.{}", section.places.path_of("model_group_retry_policy"), entry.key);
        let policy = retries(reader.section(&entry.node, "retry_policy", &path));
        policies.insert(entry.key.clone(), (entry.at, policy));
    }
    policies
}

/// `allowed_fails_policy`.
pub(in crate::config) fn allowed_fails_policy(section: &mut Section<'_, '_>) -> ByClass {
    let mut policy = section.inner("allowed_fails_policy", "allowed_fails_policy");
    let fails = ALLOWED_FAILS.iter().fold(ByClass::default(), |all, (key, class)| all.with(*class, policy.small(key)));
    policy.finish();
    fails
}
