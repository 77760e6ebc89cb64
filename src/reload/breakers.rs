//! The rules of all breakers, from the settings.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::catalog::{Deployment, Group, Origin};
use crate::config::Settings;
use crate::failover::ByClass;
use crate::health::{AccountId, BreakerRule, Cooldown};
use crate::id::DeploymentId;

/// Every deployment's rule. One may stand in several groups; it is alone only where it is alone in all of them. What an entry
/// says itself stands above what is said for all.
pub(super) fn rules(settings: &Settings) -> BTreeMap<DeploymentId, BreakerRule> {
    let breaker = &settings.breaker;
    let mut rules: BTreeMap<DeploymentId, BreakerRule> = BTreeMap::new();
    for group in settings.catalog.groups.values() {
        let single = is_served_by_one(group);
        let alone = single && group.failures.all().all(|one| one.fallbacks.generic.is_empty());
        for deployment in &group.deployments {
            let own = &deployment.failures;
            let policy = if own.allowed_fails_policy == ByClass::default() {
                breaker.allowed_fails_policy
            } else {
                own.allowed_fails_policy
            };
            let cooldown = own.cooldown.unwrap_or(breaker.cooldown);
            let rule = rules.entry(deployment.id.clone()).or_insert_with(|| BreakerRule {
                allowed_fails: own.allowed_fails.or(breaker.allowed_fails),
                allowed_fails_policy: policy,
                cooldown: if own.cooldown.is_none() && breaker.cooldown_grows {
                    Cooldown::Growing(cooldown)
                } else {
                    Cooldown::Fixed(cooldown)
                },
                disabled: breaker.disabled || cooldown.is_zero(),
                alone,
                single,
                account: account(deployment),
            });
            rule.alone &= alone;
            rule.single &= single;
        }
    }
    rules
}

/// Whether each name of a group has one deployment: there is one, or they have the models of different rows of one provider.
fn is_served_by_one(group: &Group) -> bool {
    let wildcards: Vec<_> = group.deployments.iter().filter_map(|one| one.wildcard.as_ref()).collect();
    let rows: BTreeSet<_> = wildcards.iter().map(|wildcard| wildcard.row).collect();
    let providers: BTreeSet<_> = wildcards.iter().map(|wildcard| &wildcard.provider).collect();
    group.deployments.len() == 1 || rows.len() == group.deployments.len() && providers.len() == 1
}

/// The account of a deployment's credential: where it is sent, and a digest of it.
fn account(deployment: &Deployment) -> Option<AccountId> {
    let Origin::Http(base) = &deployment.origin else { return None };
    let mut digest = Sha256::new();
    digest.update(deployment.account()?.as_bytes());
    digest.update([0]);
    digest.update(host(base));
    let digest = digest.finalize();
    Some(AccountId(digest.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))))
}

/// Scheme, host and port: an account has many paths.
fn host(base: &str) -> &str {
    let start = base.find("://").map_or(0, |at| at + 3);
    base[start..].find('/').map_or(base, |at| &base[..start + at])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Cooldown, host, rules};

    fn settings(text: &str) -> crate::config::Settings {
        crate::config::parse(text, "a.yaml", &|_| None).unwrap().settings
    }

    #[test]
    fn hosts_end_where_paths_begin() {
        assert_eq!(host("https://a.example:8443/v1/x"), "https://a.example:8443");
        assert_eq!(host("http://a"), "http://a");
    }

    #[test]
    fn an_entry_stands_above_all_and_a_credential_is_one_account() {
        let settings = settings(
            "model_list:\n\
             - {model_name: g, litellm_params: {model: openai/a, api_key: k1, cooldown_time: 7}, model_info: {id: a, allowed_fails: 1}}\n\
             - {model_name: g, litellm_params: {model: openai/b, api_key: k1}, model_info: {id: b}}\n\
             - {model_name: h, litellm_params: {model: openai/c, api_key: k2}, model_info: {id: c}}\n\
             - {model_name: i, litellm_params: {model: openai/d, api_key: k2, api_base: \"http://other/v1\"}, model_info: {id: d}}\n\
             router_settings: {cooldown_time: 30, allowed_fails: 4, fallbacks: [{h: [g]}]}",
        );
        let rules = rules(&settings);
        let rule = |id: &str| rules[id];
        // What is written is meant.
        let fixed = |seconds| Cooldown::Fixed(Duration::from_secs(seconds));
        assert_eq!((rule("a").cooldown, rule("a").allowed_fails), (fixed(7), Some(1)));
        assert_eq!((rule("b").cooldown, rule("b").allowed_fails), (fixed(30), Some(4)));
        assert!(rule("a").account.is_some() && rule("a").account == rule("b").account);
        assert_ne!(rule("c").account, rule("d").account, "another origin");
        assert_eq!((rule("c").alone, rule("c").single, rule("d").alone), (false, true, true));
    }

    #[test]
    fn deployments_of_one_entry_with_stars_are_each_alone_with_their_models() {
        let entry = |id: &str, model: &str| {
            format!(
                "- {{model_name: \"x/*\", litellm_params: {{model: \"{model}/*\", api_base: \"https://a.test\", api_key: k}}, model_info: {{id: {id}}}}}\n"
            )
        };
        let all = settings(&format!("model_list:\n{}", entry("a", "azure_ai")));
        let told: Vec<_> = rules(&all).into_iter().map(|(id, rule)| (id.to_string(), rule.alone)).collect();
        assert_eq!(told, [("a".to_owned(), true), ("a-anthropic".to_owned(), true)]);
        let two = settings(&format!("model_list:\n{}{}", entry("a", "azure_ai"), entry("b", "openai")));
        assert!(rules(&two).values().all(|rule| !rule.alone && !rule.single));
    }
}
