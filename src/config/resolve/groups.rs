//! From deployments to groups: who belongs together, which router decides, which other names lead there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::deployment::Member;
use super::{quota, strategy};
use crate::catalog::{
    BuilderChoice, Deployment, EmbeddingChoice, EmbeddingSource, Group, JudgeChoice, ParserChoice, Pattern, RUBRIC,
    RouterChoice, TagFilter,
};
use crate::config::problem::closest;
use crate::config::reader::Reader;
use crate::config::settings::Alias;
use crate::config::shape::{
    AliasEntry, BuilderGrants, EmbeddingEntry, JudgeEntry, ParserGrants, PolicyEntry, RouterGrants, RoutingGroup,
};
use crate::config::yaml::Place;
use crate::failover::FailurePolicies;
use crate::id::{DeploymentId, GroupName, PolicyName};

/// The share of replies that is judged where a judge is named and no share.
const JUDGED: f64 = 0.1;
/// How long a decision waits for the vector of its question where `timeout_seconds` does not say: what a provider's model takes at most times.
const EMBEDDED_WITHIN: Duration = Duration::from_millis(250);

/// Tags as a filter, as the router has them.
pub(super) struct Tags {
    pub(super) on: bool,
    pub(super) filter: TagFilter,
}

/// The groups with their policies.
pub(super) struct Groups {
    default: RouterChoice,
    tags: Tags,
    /// Groups whose deployments say otherwise.
    tag_filtering: BTreeMap<GroupName, bool>,
    deployments: BTreeMap<GroupName, Vec<Arc<Deployment>>>,
    routers: BTreeMap<GroupName, RouterChoice>,
    builders: BTreeMap<GroupName, BuilderChoice>,
    parsers: BTreeMap<GroupName, ParserChoice>,
    judges: BTreeMap<GroupName, JudgeChoice>,
    embeddings: BTreeMap<GroupName, EmbeddingChoice>,
}

impl Groups {
    /// The groups that `members` make, with a router for those that get no other.
    pub(super) fn new(reader: &Reader<'_>, members: Vec<Member>, default: RouterChoice, tags: Tags) -> Self {
        let mut tag_filtering = BTreeMap::new();
        let mut groups: BTreeMap<GroupName, Vec<Member>> = BTreeMap::new();
        let mut ids: BTreeMap<DeploymentId, Place> = BTreeMap::new();
        let mut members = members;
        for member in &mut members {
            identify(reader, member, &ids);
            ids.insert(member.deployment.id.clone(), member.at);
            if let Some(said) = member.tag_filtering {
                tag_filtering.entry(member.group.clone()).or_insert(said);
            }
        }
        quota::assign(&mut members);
        for member in members {
            if !member.blocked {
                groups.entry(member.group.clone()).or_default().push(member);
            }
        }
        let deployments = groups.into_iter().map(|(name, members)| (name, in_order(members))).collect();
        Self {
            default,
            tags,
            tag_filtering,
            deployments,
            routers: BTreeMap::new(),
            builders: BTreeMap::new(),
            parsers: BTreeMap::new(),
            judges: BTreeMap::new(),
            embeddings: BTreeMap::new(),
        }
    }

    /// Says which groups the deployments that cannot be used leave empty.
    pub(super) fn check_emptied(&self, reader: &Reader<'_>, unusable: Vec<(Option<String>, Place)>) {
        // Where something is wrong already, that is what to mend first.
        if !reader.is_sound() {
            return;
        }
        for (name, at) in unusable {
            let Some(name) = name.filter(|name| !self.deployments.contains_key(name.as_str())) else { continue };
            reader.problem(at, format!("no deployment of `{name}` can be used"), "remove them, or mend one of them");
        }
    }

    /// Every group, whole.
    pub(super) fn finish(self, mut failures: BTreeMap<GroupName, FailurePolicies>) -> BTreeMap<GroupName, Arc<Group>> {
        let Self { default, tags, tag_filtering, deployments, routers, mut builders, mut parsers, .. } = self;
        let (mut judges, mut embeddings) = (self.judges, self.embeddings);
        let whole = |(name, deployments): (GroupName, Vec<Arc<Deployment>>)| {
            let router = routers.get(&name).unwrap_or(&default).clone();
            let (builder, parser) = (builders.remove(&name), parsers.remove(&name));
            let (judge, embedding) = (judges.remove(&name), embeddings.remove(&name));
            let failures = failures.remove(&name).unwrap_or_default();
            let filtered = tag_filtering.get(&name).copied().unwrap_or(tags.on);
            let (pattern, tag_filter) = (Pattern::parse(name.as_str()), filtered.then(|| tags.filter.clone()));
            let group = Group {
                name: name.clone(),
                pattern,
                deployments,
                router,
                builder,
                parser,
                judge,
                embedding,
                tag_filter,
                failures,
            };
            (name, Arc::new(group))
        };
        deployments.into_iter().map(whole).collect()
    }

    /// `routing_groups`: models that share a strategy. The name is one clients may send, and stands for the
    /// deployments of all its models.
    pub(super) fn routing_groups(&mut self, groups: &[RoutingGroup<'_, '_>]) {
        let unions: Vec<_> = groups.iter().filter_map(|group| self.routing_group(group)).collect();
        // Only now, so that a group of groups is made of models alone.
        for (name, deployments, router) in unions {
            self.routers.insert(name.clone(), router);
            self.deployments.insert(name, deployments);
        }
    }

    fn routing_group(
        &mut self,
        group: &RoutingGroup<'_, '_>,
    ) -> Option<(GroupName, Vec<Arc<Deployment>>, RouterChoice)> {
        let places = &group.strategy.places;
        let by_priority = group.strategy.name.as_deref() == Some("priority");
        let router = strategy::router(&group.strategy);
        let mut deployments = Vec::new();
        for model in &group.models {
            let Some(found) = self.deployments.get(model.as_str()) else {
                places.error_at(
                    "models",
                    format!("no deployment has the model_name `{model}`"),
                    self.did_you_mean(model),
                );
                continue;
            };
            match group.model_priorities.get(model).copied().filter(|_| by_priority) {
                Some(order) => {
                    deployments.extend(found.iter().map(|one| Arc::new(Deployment { order, ..(**one).clone() })));
                }
                None => deployments.extend(found.iter().cloned()),
            }
            let name = GroupName::from(model.as_str());
            if !by_priority && self.routers.insert(name, router.clone()).is_some() {
                places.error_at("models", format!("`{model}` is in two routing groups"), "a model has one strategy");
            }
        }
        let name = group.name.as_deref()?;
        let callable = !deployments.is_empty() && !self.deployments.contains_key(name);
        callable.then(|| (GroupName::from(name), deployments, router))
    }

    /// `witgate.routers`: any policy for any group, over all else.
    pub(super) fn routers(&mut self, reader: &Reader<'_>, routers: &[PolicyEntry<RouterGrants>]) {
        for (group, policy, settings, entry) in self.of_groups(reader, routers) {
            let choice = RouterChoice {
                policy,
                settings,
                may_reject: entry.grants.may_reject.unwrap_or(false),
                may_read: entry.may_read.clone(),
                when_none: entry.grants.when_none.unwrap_or_default(),
                roll_out: entry.grants.roll_out.unwrap_or_default(),
                asked_again: entry.grants.asked_again,
                at: strategy::places(Some(reader.told(entry.at)), entry.settings.as_ref()),
            };
            self.routers.insert(group, choice);
        }
    }

    /// `witgate.prompt_builders`.
    pub(super) fn builders(&mut self, reader: &Reader<'_>, builders: &[PolicyEntry<BuilderGrants>]) {
        for (group, policy, settings, entry) in self.of_groups(reader, builders) {
            let choice = BuilderChoice {
                policy,
                settings,
                may_reject: entry.grants.may_reject.unwrap_or(false),
                may_read: entry.may_read.clone(),
                pass_on_fault: entry.grants.pass_on_fault.unwrap_or(false),
                roll_out: entry.grants.roll_out.unwrap_or_default(),
                at: strategy::places(Some(reader.told(entry.at)), entry.settings.as_ref()),
            };
            self.builders.insert(group, choice);
        }
    }

    /// `witgate.response_parsers`.
    pub(super) fn parsers(&mut self, reader: &Reader<'_>, parsers: &[PolicyEntry<ParserGrants>]) {
        for (group, policy, settings, entry) in self.of_groups(reader, parsers) {
            let choice = ParserChoice {
                policy,
                settings,
                hold: entry.grants.hold.unwrap_or(false),
                may_read: entry.may_read.clone(),
                roll_out: entry.grants.roll_out.unwrap_or_default(),
                at: strategy::places(Some(reader.told(entry.at)), entry.settings.as_ref()),
            };
            self.parsers.insert(group, choice);
        }
    }

    /// `witgate.judges`. Those who judge may be named by an alias.
    pub(super) fn judges(&mut self, reader: &Reader<'_>, judges: &[JudgeEntry], aliases: &BTreeMap<GroupName, Alias>) {
        for entry in judges {
            if !self.deployments.contains_key(entry.of.as_str()) {
                let message = format!("there is no group `{}`", entry.of);
                reader.problem(entry.at, message, self.did_you_mean(&entry.of));
                continue;
            }
            let Some((group, at)) = &entry.group else { continue };
            if !self.serves(group) && !aliases.contains_key(group.as_str()) {
                let message = format!("there is no group `{group}` that could judge");
                reader.problem(*at, message, self.did_you_mean(group));
                continue;
            }
            let judge = JudgeChoice {
                group: GroupName::from(group.as_str()),
                sample: entry.sample.unwrap_or(JUDGED),
                rubric: entry.rubric.as_deref().unwrap_or(RUBRIC).into(),
                max_per_day: entry.max_per_day.unwrap_or_default(),
            };
            self.judges.insert(GroupName::from(entry.of.as_str()), judge);
        }
    }

    /// `witgate.embeddings`. Those who make vectors may be named by an alias.
    pub(super) fn embeddings(
        &mut self,
        reader: &Reader<'_>,
        entries: &[EmbeddingEntry],
        aliases: &BTreeMap<GroupName, Alias>,
    ) {
        for entry in entries {
            if !self.deployments.contains_key(entry.of.as_str()) {
                let message = format!("there is no group `{}`", entry.of);
                reader.problem(entry.at, message, self.did_you_mean(&entry.of));
                continue;
            }
            let source = match (&entry.group, &entry.path) {
                (Some((group, _)), _) if self.serves(group) || aliases.contains_key(group.as_str()) => {
                    EmbeddingSource::Group(GroupName::from(group.as_str()))
                }
                (Some((group, at)), _) => {
                    let message = format!("there is no group `{group}` that could make vectors");
                    reader.problem(*at, message, self.did_you_mean(group));
                    continue;
                }
                (None, Some((path, _))) if cfg!(feature = "sentence-transformers") => {
                    EmbeddingSource::Folder(path.clone())
                }
                (None, Some((_, at))) => {
                    let message = "this build cannot run a model: it lacks the cargo feature `sentence-transformers`";
                    let hint =
                        "build it with `cargo build --release --features sentence-transformers`, or name a `group`";
                    reader.problem(*at, message, hint);
                    continue;
                }
                (None, None) => continue,
            };
            let choice = EmbeddingChoice {
                source,
                timeout: entry.timeout.unwrap_or(EMBEDDED_WITHIN),
                max_per_day: entry.max_per_day,
            };
            self.embeddings.insert(GroupName::from(entry.of.as_str()), choice);
        }
    }

    /// The entries whose groups there are, with group, policy and settings.
    fn of_groups<'e, G>(
        &self,
        reader: &Reader<'_>,
        entries: &'e [PolicyEntry<G>],
    ) -> Vec<(GroupName, PolicyName, Arc<str>, &'e PolicyEntry<G>)> {
        let mut found = Vec::new();
        for entry in entries {
            if !self.deployments.contains_key(entry.group.as_str()) {
                let message = format!("there is no group `{}`", entry.group);
                reader.problem(entry.at, message, self.did_you_mean(&entry.group));
            } else if let Some(policy) = &entry.policy {
                let settings = strategy::settings(entry.settings.as_ref());
                let (group, policy) = (GroupName::from(entry.group.as_str()), PolicyName::from(policy.as_str()));
                found.push((group, policy, settings, entry));
            }
        }
        found
    }

    /// `model_group_alias`: other names of groups.
    pub(super) fn aliases(&self, reader: &Reader<'_>, written: Vec<AliasEntry>) -> BTreeMap<GroupName, Alias> {
        let mut aliases = BTreeMap::new();
        for AliasEntry { at, name, target, hidden } in written {
            if self.serves(&target) {
                let alias = Alias { group: GroupName::from(target), hidden: hidden.unwrap_or(false) };
                aliases.insert(GroupName::from(name), alias);
            } else {
                reader.leave_out(at, format!("the alias `{name}` leads to no group"), self.did_you_mean(&target));
            }
        }
        aliases
    }

    /// The names of all groups.
    pub(super) fn names(&self) -> impl Iterator<Item = &GroupName> {
        self.deployments.keys()
    }

    /// Whether a group has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.deployments.contains_key(name)
    }

    /// Whether requests for `model` are served: by a group of this name, or one whose pattern it fits.
    pub(super) fn serves(&self, model: &str) -> bool {
        let fits =
            |name: &GroupName| Pattern::parse(name.as_str()).is_some_and(|pattern| pattern.parts(model).is_some());
        self.deployments.contains_key(model) || self.deployments.keys().any(fits)
    }

    pub(super) fn did_you_mean(&self, written: &str) -> String {
        let name = closest(written, self.deployments.keys().map(GroupName::as_str));
        name.map_or_else(String::new, |name| format!("did you mean `{name}`?"))
    }
}

/// No two deployments share an id.
fn identify(reader: &Reader<'_>, member: &mut Member, taken: &BTreeMap<DeploymentId, Place>) {
    let id = &mut member.deployment.id;
    if member.own_id {
        if let Some(first) = taken.get(id) {
            let message = format!("the id `{id}` is taken by the deployment of line {}", first.line);
            reader.problem(member.at, message, "limits and learned state follow the id: give each its own");
        }
        return;
    }
    // Deployments that are otherwise equal are distinguished by their order.
    let plain = id.clone();
    let mut count = 1;
    while taken.contains_key(id) {
        count += 1;
        *id = DeploymentId::from(format!("{plain}-{count}"));
    }
}

/// As in LiteLLM, a deployment without an order comes after those of its group that have one.
fn in_order(members: Vec<Member>) -> Vec<Arc<Deployment>> {
    let any = members.iter().any(|member| member.ordered);
    let ordered = |mut member: Member| {
        if any && !member.ordered {
            member.deployment.order = u32::MAX;
        }
        Arc::new(member.deployment)
    };
    members.into_iter().map(ordered).collect()
}
