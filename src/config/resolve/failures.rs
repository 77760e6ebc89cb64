//! From what files say about failures to what is done: fallbacks of each group, retries by class of fault.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::reader::Reader;
use crate::config::settings::Alias;
use crate::config::shape::{FallbackEntry, FallbackLists, TargetEntry};
use crate::config::yaml::Place;
use crate::failover::{ByClass, Fallbacks, Overrides, RetryRule, Target};
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
    ) -> BTreeMap<GroupName, (RetryRule, Fallbacks)> {
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
        let mut other_names: BTreeMap<&GroupName, Vec<&GroupName>> = BTreeMap::new();
        for (alias, Alias { group, .. }) in aliases {
            other_names.entry(group).or_default().push(alias);
        }
        let of = |name: &GroupName| {
            let others = other_names.get(name).map_or(&[][..], Vec::as_slice);
            let retry = self.of_groups.get(name.as_str());
            let retry = retry.map_or(self.retry, |(_, by_class)| RetryRule { by_class: *by_class, ..self.retry });
            let fallbacks = Fallbacks {
                generic: of_group(&generic, name, others),
                context_window: of_group(&context_window, name, others),
                content_policy: of_group(&content_policy, name, others),
            };
            (name.clone(), (retry, fallbacks))
        };
        groups.names().map(of).collect()
    }
}

/// LiteLLM's look-up: the name, the name without its provider, another name of the group, any group. No group takes over from itself.
fn of_group(lists: &BTreeMap<String, Vec<Target>>, name: &GroupName, other_names: &[&GroupName]) -> Vec<Target> {
    let stripped = || name.as_str().split_once('/').and_then(|(_, model)| lists.get(model));
    let alias = || other_names.iter().find_map(|alias| lists.get(alias.as_str()));
    let found = lists.get(name.as_str()).or_else(stripped).or_else(alias).or_else(|| lists.get(ANY));
    found.into_iter().flatten().filter(|target| target.group != *name).cloned().collect()
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
        for FallbackEntry { source, targets } in entries {
            let targets = self.targets(targets);
            lists.entry(source.clone()).or_insert(targets);
        }
        lists
    }

    fn targets(&self, targets: &[TargetEntry]) -> Vec<Target> {
        targets.iter().filter_map(|target| self.target(target)).collect()
    }

    fn target(&self, target: &TargetEntry) -> Option<Target> {
        let Self { reader, groups, aliases } = self;
        let name = target.model.as_str();
        // As requests are led: what fits a pattern and is an alias, too, is the alias.
        let group = if groups.has(name) {
            GroupName::from(name)
        } else if let Some(alias) = aliases.get(name) {
            alias.group.clone()
        } else if groups.serves(name) {
            GroupName::from(name)
        } else {
            let message = format!("the fallback `{name}` leads to no group");
            reader.problem(target.at, message, groups.did_you_mean(name));
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
