//! Which policy decides where a file names a strategy of LiteLLM's.

use std::sync::Arc;

use crate::catalog::{PolicyPlaces, RollOut, RouterChoice, WhenNone};
use crate::config::problem::closest;
use crate::config::report::Grade;
use crate::config::shape::{PolicySettings, Strategy};
use crate::id::PolicyName;
use crate::signal::Grants;

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
    ("provider-budget-routing", None, "`provider_budget_config` counts whatever the strategy: simple-shuffle decides"),
    ("auto_router", None, "a model that routes is a policy here: simple-shuffle decides"),
];

/// The settings of a policy as text; none are an empty object.
pub(super) fn settings(given: Option<&PolicySettings>) -> Arc<str> {
    given.map_or("{}", |given| &given.json).into()
}

/// Where a policy is named, and where its settings stand.
pub(super) fn places(entry: Option<Arc<str>>, given: Option<&PolicySettings>) -> Arc<PolicyPlaces> {
    Arc::new(PolicyPlaces { entry, settings: given.map(|given| given.places.clone()).unwrap_or_default() })
}

/// The router that a strategy and its arguments come to.
pub(super) fn router(strategy: &Strategy<'_, '_>) -> RouterChoice {
    let args = strategy.args.as_ref();
    RouterChoice {
        policy: policy(strategy),
        settings: settings(args),
        may_reject: false,
        may_read: Grants::default(),
        when_none: WhenNone::default(),
        roll_out: RollOut::Replace,
        asked_again: None,
        at: places(strategy.places.told("routing_strategy"), args),
    }
}

fn policy(strategy: &Strategy<'_, '_>) -> PolicyName {
    let places = &strategy.places;
    let Some(written) = strategy.name.as_deref() else { return PolicyName::from(DEFAULT_ROUTER) };
    let Some((_, policy, note)) = STRATEGIES.iter().find(|(name, ..)| *name == written) else {
        let hint = match closest(written, STRATEGIES.iter().map(|(name, ..)| *name)) {
            Some(name) => format!("did you mean `{name}`? a policy of your own goes under `witgate.routers`"),
            None => "a policy of your own goes under `witgate.routers`".to_owned(),
        };
        places.error_at("routing_strategy", format!("there is no routing strategy `{written}`"), hint);
        return PolicyName::from(DEFAULT_ROUTER);
    };
    let grade = match (policy, note.is_empty()) {
        (Some(_), true) => Grade::Exact,
        (Some(_), false) => Grade::Approximate,
        (None, _) => Grade::NotYet,
    };
    // `priority` is read where it is allowed, in a routing group.
    if written != "priority" {
        places.downgrade("routing_strategy", grade, *note);
    } else if &*places.path == "router_settings" {
        let hint = "give it to one of `routing_groups`, with `model_priorities`";
        places.error_at("routing_strategy", "`priority` is a strategy of routing groups", hint);
    }
    PolicyName::from(policy.unwrap_or(DEFAULT_ROUTER))
}
