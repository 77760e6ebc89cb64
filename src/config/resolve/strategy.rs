//! Which policy decides where a file names a strategy of LiteLLM's.

use crate::catalog::{RollOut, RouterChoice, WhenNone};
use crate::config::problem::closest;
use crate::config::report::Grade;
use crate::config::shape::Strategy;
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
    ("provider-budget-routing", None, "budgets are not there yet: simple-shuffle decides"),
    ("auto_router", None, "a model that routes is a policy here: simple-shuffle decides"),
];

/// Settings of a policy that is given none.
pub(super) const NO_SETTINGS: &str = "{}";

/// The router that a strategy and its arguments come to.
pub(super) fn router(strategy: &Strategy<'_, '_>) -> RouterChoice {
    let settings = strategy.args.as_deref().unwrap_or(NO_SETTINGS).into();
    RouterChoice {
        policy: policy(strategy),
        settings,
        may_reject: false,
        may_read: Grants::default(),
        when_none: WhenNone::default(),
        roll_out: RollOut::Replace,
        at: strategy.places.told("routing_strategy"),
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
