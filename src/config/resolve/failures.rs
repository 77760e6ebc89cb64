//! From what files say about failures to what is done: fallbacks of each group, retries by class of fault.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::Pattern;
use crate::config::reader::Reader;
use crate::config::settings::Alias;
use crate::config::shape::{FallbackEntry, FallbackLists, TargetEntry};
use crate::config::yaml::Place;
use crate::failover::{ByClass, FailurePolicies, FailurePolicy, Fallbacks, Overrides, RetryRule, Target};
use crate::id::GroupName;

use super::groups::Groups;

/// LiteLLM's sign for any group.
const ANY: &str = "*";

/// What is done about the failures of every group.
pub(super) struct Failures {
    lists: FallbackLists,
    /// The default of all groups.
    retry: RetryRule,
    of_groups: BTreeMap<String, (Place, ByClass)>,
}

impl Failures {
    pub(super) const fn new(
        lists: FallbackLists,
        retry: RetryRule,
        of_groups: BTreeMap<String, (Place, ByClass)>,
    ) -> Self {
        Self { lists, retry, of_groups }
    }

    /// Every group's, by name. A name that leads to no group is a problem.
    pub(super) fn resolve(
        &self,
        reader: &Reader<'_>,
        groups: &Groups,
        aliases: &BTreeMap<GroupName, Alias>,
    ) -> BTreeMap<GroupName, FailurePolicies> {
        for (name, (at, _)) in &self.of_groups {
            if !groups.serves(name) && !aliases.contains_key(name.as_str()) {
                reader.problem(*at, format!("there is no group `{name}`"), groups.did_you_mean(name));
            }
        }
        let known = Known { reader, groups, aliases };
        let lists = &self.lists;
        let mut generic = known.entries(lists.generic.as_deref().unwrap_or_default());
        if let Some(default) = &lists.default {
            // What is said of any group in the list itself stands above the default.
            generic.entry(ANY.to_owned()).or_insert(known.targets(default));
        }
        let context_window = known.entries(lists.context_window.as_deref().unwrap_or_default());
        let content_policy = known.entries(lists.content_policy.as_deref().unwrap_or_default());
        let policy = |asked: &str, group: &GroupName| FailurePolicy {
            retry: self.retry(asked, group),
            fallbacks: Fallbacks {
                generic: taking_over(&generic, asked, group),
                context_window: taking_over(&context_window, asked, group),
                content_policy: taking_over(&content_policy, asked, group),
            },
        };
        let said: BTreeSet<&String> = [&generic, &context_window, &content_policy]
            .into_iter()
            .flat_map(BTreeMap::keys)
            .chain(self.of_groups.keys())
            .collect();
        // Names that fit a pattern are many: whichever of the others leads to one is looked for when it is asked for.
        let (mut by_group, mut others): (BTreeMap<&GroupName, Vec<&String>>, Vec<&String>) = Default::default();
        for name in said {
            match aliases.get(name.as_str()) {
                Some(alias) => by_group.entry(&alias.group).or_default().push(name),
                None if name == ANY || groups.has(name) => {}
                None => others.push(name),
            }
        }
        let of = |name: &GroupName| {
            let has_pattern = Pattern::parse(name.as_str()).is_some();
            let others = others.iter().filter(|_| has_pattern);
            let named = by_group.get(name).into_iter().flatten().chain(others);
            let mut named: BTreeMap<_, _> = named.map(|other| ((*other).clone(), policy(other, name))).collect();
            let own = policy(name.as_str(), name);
            if !named.is_empty() {
                // What is said of it stands above what is said of its name without the provider.
                named.insert(name.to_string(), own.clone());
            }
            (name.clone(), FailurePolicies { own, named })
        };
        groups.names().map(of).collect()
    }

    /// By the name that is asked for, or the group's.
    fn retry(&self, asked: &str, group: &GroupName) -> RetryRule {
        let said = self.of_groups.get(asked).or_else(|| self.of_groups.get(group.as_str()));
        said.map_or(self.retry, |(_, by_class)| RetryRule { by_class: *by_class, ..self.retry })
    }
}

/// LiteLLM's look-up: the name that is asked for, the name without its provider, the same of the group, any group. No group takes over from
/// itself.
fn taking_over(lists: &BTreeMap<String, Vec<Target>>, asked: &str, group: &GroupName) -> Vec<Target> {
    let of = |name: &str| {
        let stripped = || name.split_once('/').and_then(|(_, model)| lists.get(model));
        lists.get(name).or_else(stripped)
    };
    let found = of(asked).or_else(|| of(group.as_str())).or_else(|| lists.get(ANY));
    let is_other = |target: &&Target| target.group != *group && target.group.as_str() != asked;
    found.into_iter().flatten().filter(is_other).cloned().collect()
}

struct Known<'a, 'e> {
    reader: &'a Reader<'e>,
    groups: &'a Groups,
    aliases: &'a BTreeMap<GroupName, Alias>,
}

impl Known<'_, '_> {
    /// The lists by source. Of a source named twice the first counts, as in LiteLLM.
    fn entries(&self, entries: &[FallbackEntry]) -> BTreeMap<String, Vec<Target>> {
        let mut lists = BTreeMap::new();
        for FallbackEntry { at, source, targets } in entries {
            if !self.is_asked_for(source) {
                let hint = self.groups.did_you_mean(source);
                self.reader.leave_out(*at, format!("no request is for `{source}`, which has fallbacks"), hint);
            }
            let targets = self.targets(targets);
            lists.entry(source.clone()).or_insert(targets);
        }
        lists
    }

    /// Whether a request may be for this name, with its provider or without. Patterns may serve any without.
    fn is_asked_for(&self, name: &str) -> bool {
        let Self { groups, aliases, .. } = self;
        let fits = |group: &GroupName| {
            let stripped = group.as_str().split_once('/').is_some_and(|(_, model)| model == name);
            stripped || Pattern::parse(group.as_str()).is_some()
        };
        name == ANY || groups.has(name) || aliases.contains_key(name) || groups.names().any(fits)
    }

    fn targets(&self, targets: &[TargetEntry]) -> Vec<Target> {
        targets.iter().filter_map(|target| self.target(target)).collect()
    }

    fn target(&self, target: &TargetEntry) -> Option<Target> {
        let Self { reader, groups, aliases } = self;
        let name = target.model.as_str();
        // As requests are led: what is an alias, too, is the alias.
        let group = if let Some(alias) = aliases.get(name) {
            alias.group.clone()
        } else if groups.serves(name) {
            GroupName::from(name)
        } else {
            let message = format!("the fallback `{name}` leads to no group");
            // Requests that come to it are served by the others of the list, or told what went wrong before.
            reader.leave_out(target.at, message, groups.did_you_mean(name));
            return None;
        };
        let mut fields = target.fields.clone();
        for field in Overrides::leave_out(&mut fields) {
            let message =
                format!("`{field}` acts on a request as a whole, and not at the fallback `{name}`: it is left out");
            reader.leave_out(target.at, message, "make a group with what it is to say");
        }
        match Overrides::parse(fields) {
            Ok(overrides) => Some(Target { group, overrides: overrides.map(Arc::new) }),
            Err(refusal) => {
                reader.problem(target.at, refusal.message, "as a client would write it in a request");
                None
            }
        }
    }
}
