//! Groups whose names are patterns, at run time.
//!
//! A name that fits one gets the group with its deployments' models filled in. They keep their ids, so limits, breakers,
//! queues, policies and metrics are those of the configured deployments, whatever names clients think of. What was filled in is kept for the
//! next request, up to a bound: of the names that were asked for last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::authorization::Authorization;
use crate::catalog::{Deployment, Origin, Pattern, Wildcard};
use crate::config;
use crate::id::GroupName;

use super::recent::Recent;
use super::{DeploymentRuntime, GroupRuntime, SpokenFormat};

/// Names whose groups are kept.
const KEPT: usize = 256;
/// Bytes of a name that is looked for.
const LONGEST: usize = 256;

/// The patterns of a snapshot, and what was filled in lately.
#[derive(Debug)]
pub struct Wildcards {
    /// Those that say most first.
    patterns: Vec<(Pattern, GroupName)>,
    filled: Mutex<Recent<GroupRuntime>>,
}

impl Default for Wildcards {
    fn default() -> Self {
        Self { patterns: Vec::new(), filled: Mutex::new(Recent::of(KEPT)) }
    }
}

impl Wildcards {
    /// Those of `groups`.
    #[must_use]
    pub fn of(groups: &BTreeMap<GroupName, Arc<GroupRuntime>>) -> Self {
        let named = |group: &Arc<GroupRuntime>| Some((group.config.pattern.clone()?, group.config.name.clone()));
        let mut patterns: Vec<_> = groups.values().filter_map(named).collect();
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.weight()));
        Self { patterns, ..Self::default() }
    }

    /// The group of `groups` that serves `model`. As in LiteLLM a name without a provider is looked for with it, too.
    pub(super) fn find(
        &self,
        groups: &BTreeMap<GroupName, Arc<GroupRuntime>>,
        model: &str,
    ) -> Option<Arc<GroupRuntime>> {
        if self.patterns.is_empty() || model.len() > LONGEST || model.chars().any(char::is_control) {
            return None;
        }
        let known = self.kept().get(model);
        if known.is_some() {
            return known;
        }
        let with_provider = || {
            let provider = config::provider_of(model)?;
            let has_it = model.strip_prefix(provider).is_some_and(|rest| rest.starts_with('/'));
            if has_it { None } else { self.fitting(groups, &format!("{provider}/{model}")) }
        };
        let found = Arc::new(self.fitting(groups, model).or_else(with_provider)?);
        // What goes is dropped when the lock is free again.
        let gone = self.kept().keep(model, Arc::clone(&found));
        drop(gone);
        Some(found)
    }

    fn kept(&self) -> MutexGuard<'_, Recent<GroupRuntime>> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fitting(&self, groups: &BTreeMap<GroupName, Arc<GroupRuntime>>, model: &str) -> Option<GroupRuntime> {
        self.patterns.iter().find_map(|(pattern, name)| {
            let parts = pattern.parts(model)?;
            groups.get(name)?.filled(&parts, model)
        })
    }
}

impl GroupRuntime {
    /// The group as it serves `name`, of which its pattern's stars stand for `parts`. `None` where no deployment serves it.
    fn filled(&self, parts: &[&str], name: &str) -> Option<Self> {
        let deployments: Vec<_> = self.deployments.iter().map(|deployment| deployment.filled(parts, name)).collect();
        let served = deployments.iter().any(|deployment| deployment.config.serves);
        served.then(|| Self {
            config: Arc::clone(&self.config),
            router: self.router.clone(),
            policy: Arc::clone(&self.policy),
            rollout: self.rollout.clone(),
            builder: self.builder.clone(),
            builder_rollout: self.builder_rollout.clone(),
            parser: self.parser.clone(),
            parser_rollout: self.parser_rollout.clone(),
            judge: self.judge.clone(),
            embedding: self.embedding.clone(),
            deployments,
            scope: self.scope,
            budgets: self.budgets.clone(),
            queue: Arc::clone(&self.queue),
        })
    }
}

impl DeploymentRuntime {
    fn filled(self: &Arc<Self>, parts: &[&str], name: &str) -> Arc<Self> {
        let Some(wildcard) = &self.config.wildcard else { return Arc::clone(self) };
        let model = wildcard.fill(parts, name, config::provider_of);
        let filled = model.and_then(|model| self.with_model(wildcard, &model));
        filled.unwrap_or_else(|| self.with(Deployment { serves: false, ..(*self.config).clone() }, None))
    }

    /// The same deployment, which is `wildcard`, as it serves a model that fills its stars; `None` where it serves none of this name.
    #[must_use]
    pub fn with_model(&self, wildcard: &Wildcard, model: &str) -> Option<Arc<Self>> {
        let own = &self.config;
        let filled = config::filled(own, wildcard, model)?;
        let config::Filled { model, format, quirks, api_version, known, origin, region } = filled;
        let config = Deployment {
            prices: wildcard.prices(own.prices.as_ref(), known.prices),
            context_window: own.context_window.or(known.context_window),
            max_output_tokens: own.max_output_tokens.or(known.max_output_tokens),
            api_version,
            supports: own.supports.or(known.supports),
            quirks,
            format,
            origin,
            model: model.into(),
            ..(**own).clone()
        };
        Some(self.with(config, region.as_deref()))
    }

    /// The same deployment as `config` has it, whose requests are for `region` where that is another.
    fn with(&self, config: Deployment, region: Option<&str>) -> Arc<Self> {
        let authorization = self.authorized(&config, region);
        let format = match &self.format {
            SpokenFormat::Native(_) => SpokenFormat::Native(config.format),
            component @ SpokenFormat::Component(_) => component.clone(),
        };
        let base_url = match &config.origin {
            Origin::Http(base) => Arc::clone(base),
            Origin::Simulated(_) => Arc::clone(&self.base_url),
        };
        Arc::new(Self {
            config: Arc::new(config),
            format,
            transport: Arc::clone(&self.transport),
            base_url,
            authorization,
            health: Arc::clone(&self.health),
            scope: self.scope,
            budgets: self.budgets.clone(),
            learned: Arc::clone(&self.learned),
            learned_of_model: Arc::clone(&self.learned_of_model),
        })
    }

    /// How its requests are authorised as `config` has it: a model may need another version of the provider's API, which may want the key in
    /// another header, and one of another region may need a signature for that.
    fn authorized(&self, config: &Deployment, region: Option<&str>) -> Authorization {
        if let (Authorization::PerRequest(account), Some(region)) = (&self.authorization, region) {
            return account.in_region(region).map_or_else(|| self.authorization.clone(), Authorization::PerRequest);
        }
        if config.api_version == self.config.api_version || config.identity.is_some() || config.credential.is_none() {
            return self.authorization.clone();
        }
        // That the key can be sent was found out when the configuration was put in force.
        Authorization::by_key(config).unwrap_or_else(|_| self.authorization.clone())
    }
}
