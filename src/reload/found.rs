//! What there is under the names of policies: the folder's files, those built in, and what decides on though its file is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::components::Components;
use super::folder::Contents;
use super::rollouts::{Offered, Place, Rollouts};
use super::setting_up::placed;
use crate::builtin_policies::SHIPPED;
use crate::catalog::{Group, PolicyPlaces};
use crate::config::{Settings, closest, nearest_first};
use crate::id::PolicyName;
use crate::policy::{Component, Digest, PolicyProblem, Role, inspect};
use crate::snapshot::Snapshot;

/// The name that stands for "whatever the folder says": a file `default.wasm`, else simple-shuffle.
const DEFAULT: &str = "default";
/// Who decides where nobody was asked to.
const FALLBACK: &str = "simple-shuffle";

/// What there is by name.
#[derive(Default)]
pub(super) struct Found {
    /// `None` under a name whose file cannot be used, which is told already, or is being compiled.
    offered: BTreeMap<PolicyName, Option<Offered>>,
    /// What is built in under names whose files are gone: for those who are not decided by such a file.
    built_in: BTreeMap<PolicyName, Offered>,
    /// All policies there are with their roles, where a name is asked for that none has.
    known: Vec<(PolicyName, Vec<Role>)>,
    /// Whether what somebody names is being compiled, and nothing of its name decides until then.
    pub(super) is_lacking: bool,
}

/// The policies that groups name, each with the roles it is named in and who names it first in each.
struct Named<'s>(BTreeMap<&'s str, Askers<'s>>);

/// By role, a group and where it says so.
type Askers<'s> = BTreeMap<Role, (&'s Group, &'s PolicyPlaces)>;

impl<'s> Named<'s> {
    fn by(settings: &'s Settings) -> Self {
        let mut named: BTreeMap<&str, Askers<'s>> = BTreeMap::new();
        for group in settings.catalog.groups.values() {
            for (name, role, at) in policies(group) {
                named.entry(name.as_str()).or_default().entry(role).or_insert((&**group, at));
            }
        }
        Self(named)
    }

    /// Who names it. Whoever asks for "default" may get the fallback.
    fn askers(&self, name: &str) -> Option<&Askers<'s>> {
        self.0.get(name).or_else(|| if name == FALLBACK { self.0.get(DEFAULT) } else { None })
    }
}

/// Every policy that a group names, with its role and its place.
fn policies(group: &Group) -> impl Iterator<Item = (&PolicyName, Role, &PolicyPlaces)> {
    let router = (&group.router.policy, Role::Router, &*group.router.at);
    let builder = group.builder.as_ref().map(|choice| (&choice.policy, Role::PromptBuilder, &*choice.at));
    let parser = group.parser.as_ref().map(|choice| (&choice.policy, Role::ResponseParser, &*choice.at));
    let providers = group.deployments.iter().filter_map(|deployment| deployment.policy.as_ref());
    let providers = providers.map(|choice| (&choice.policy, Role::Provider, &*choice.at));
    std::iter::once(router).chain(builder).chain(parser).chain(providers)
}

/// Loads every policy some group names. One that is new in the folder is compiled aside, where there are threads for that, and the version
/// in force decides until then. What else the folder holds is left to be checked aside, so that a bad one is
/// reported when it arrives and not when it is needed. A bad file, or one that is gone, leaves each group the versions it has.
pub(super) fn load(
    components: &mut Components,
    settings: &Settings,
    contents: &Contents,
    (previous, rollouts): (Option<&Snapshot>, &Rollouts),
    problems: &mut Vec<String>,
) -> Found {
    let mut found = Found::default();
    components.begin(&settings.policies.allow_wasi_stubs);
    let named = Named::by(settings);
    found.take_files(components, contents, (&named, previous), problems);
    for (name, bytes) in SHIPPED {
        if named.askers(name).is_some() && !contents.contains_key(name) {
            let name = PolicyName::from(name);
            match components.load(&name, bytes) {
                Ok(component) => {
                    let own = component.digest();
                    // Another version may also be one of an older gateway's.
                    let other = in_force(previous, &name).find(|component| component.digest() != own);
                    let before = other.filter(|_| rollouts.had_file(&name, own)).cloned();
                    found.without_file(name, component, before, problems);
                }
                Err(problem) => problems.push(problem),
            }
        }
    }
    let is_there = |name: &str| name == DEFAULT || contents.contains_key(name) || built_in(name);
    if !named.0.keys().all(|name| is_there(name)) {
        found.known = known(contents);
    }
    for name in named.0.into_keys() {
        if found.offered.contains_key(name) {
            continue;
        }
        let name = PolicyName::from(name);
        let before = in_force(previous, &name).next().cloned();
        // Where nobody is decided by it, whoever names it is refused, or has what is built in.
        if let Some(before) = before {
            let without = if name.as_str() == DEFAULT { Some(FALLBACK) } else { None };
            problems.push(gone(&name, without));
            found.offered.insert(name, Some(Offered::Gone(before)));
        }
    }
    let present = contents.values().flatten().map(|bytes| Digest::of(bytes)).collect();
    let offered = found.offered.values().flatten().chain(found.built_in.values());
    let in_use = offered.map(|offered| offered.component().digest()).collect();
    components.keep(&present, &in_use);
    found
}

/// Whether a policy of this name is built in.
fn built_in(name: &str) -> bool {
    SHIPPED.iter().any(|(known, _)| *known == name)
}

/// The folder's policies that can be read, and those that are built in under other names.
fn known(contents: &Contents) -> Vec<(PolicyName, Vec<Role>)> {
    let own = contents.iter().filter_map(|(name, bytes)| Some((name.as_str(), bytes.as_deref().ok()?)));
    let others = SHIPPED.into_iter().filter(|(name, _)| !contents.contains_key(*name));
    let roles = |(name, bytes): (&str, &[u8])| Some((PolicyName::from(name), inspect(bytes, true).ok()?.roles));
    own.chain(others).filter_map(roles).collect()
}

/// Looks at a file: its digest, where it is loaded or put down to be compiled.
///
/// # Errors
/// It has none of the roles that it is named in.
fn looked_at(
    components: &mut Components,
    name: &PolicyName,
    bytes: &[u8],
    askers: Option<&Askers<'_>>,
) -> Result<Digest, String> {
    let digest = Digest::of(bytes);
    if let Some(askers) = askers {
        has_role(components, (name, digest), bytes, askers)?;
    }
    if components.found(name, digest).is_none() {
        components.put_down(name, digest, bytes, askers.is_some());
    }
    Ok(digest)
}

/// Whether a component has a role that it is named in. It says so itself, and nobody waits half a minute to learn that it is another.
fn has_role(
    components: &mut Components,
    (name, digest): (&PolicyName, Digest),
    bytes: &[u8],
    askers: &Askers<'_>,
) -> Result<(), String> {
    // What is wrong with one that can have no role at all is told when it is loaded.
    let Some(inspection) = components.inspection(name, digest, bytes) else { return Ok(()) };
    let (has_one, first) = (inspection.roles.iter().any(|role| askers.contains_key(role)), askers.first_key_value());
    let Some((role, (group, at))) = first.filter(|_| !has_one) else { return Ok(()) };
    let problem = PolicyProblem::WrongRole { found: inspection.role_names(), wanted: role.as_str() };
    let who = format!("group `{}`, policy `{name}` ({})", group.name, digest.short());
    Err(placed(at.entry.as_deref(), &format!("{who}: {problem}")))
}

impl Found {
    /// What the folder holds.
    fn take_files(
        &mut self,
        components: &mut Components,
        contents: &Contents,
        (named, previous): (&Named<'_>, Option<&Snapshot>),
        problems: &mut Vec<String>,
    ) {
        let mut files = Vec::new();
        for (name, bytes) in contents {
            let askers = named.askers(name.as_str());
            let looked_at = match bytes {
                Ok(bytes) => looked_at(components, name, bytes, askers),
                Err(problem) => Err(problem.clone()),
            };
            files.push((name, askers, looked_at));
        }
        components.compile();
        let mut lacking = Vec::new();
        for (name, askers, file) in files {
            let offered = match file.map(|digest| (digest, components.found(name, digest))) {
                Ok((_, Some(Ok(component)))) => Some(Offered::File(component)),
                Ok((_, None)) if askers.is_none() => continue,
                Ok((digest, None)) => {
                    let before = before(previous, name, askers);
                    // Who asks for "default" has the fallback meanwhile.
                    let goes_on = before.is_some() || name.as_str() == DEFAULT;
                    lacking.push((name.clone(), digest, goes_on));
                    self.is_lacking |= !goes_on;
                    before.map(Offered::Before)
                }
                Ok((_, Some(Err(problem)))) | Err(problem) => {
                    // A lock that is not there is told once, and not with every file.
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                    before(previous, name, askers).map(Offered::Before)
                }
            };
            self.offered.insert(name.clone(), offered);
        }
        components.await_all(lacking);
    }

    /// What is built in under a name that no file has. Where one had it and decides still (`before`), that one is gone.
    fn without_file(
        &mut self,
        name: PolicyName,
        component: Arc<Component>,
        before: Option<Arc<Component>>,
        problems: &mut Vec<String>,
    ) {
        let built_in = Offered::File(component);
        let Some(before) = before else {
            self.offered.insert(name, Some(built_in));
            return;
        };
        problems.push(gone(&name, Some(name.as_str())));
        self.built_in.insert(name.clone(), built_in);
        self.offered.insert(name, Some(Offered::Gone(before)));
    }

    /// What a place may have of this name. What is gone goes on where it decides, and nowhere else.
    fn usable(&self, place: &Place<'_>, name: &PolicyName) -> Option<&Offered> {
        match self.offered.get(name)?.as_ref()? {
            Offered::Gone(_) if !place.has(name) => self.built_in.get(name),
            offered => Some(offered),
        }
    }
}

/// What is told of a file that is gone while it decides; `without` is the built-in policy that takes its place at a start.
fn gone(name: &PolicyName, without: Option<&str>) -> String {
    let hint = match without {
        Some(built_in) => format!(
            "put the file back; when the gateway is started without it, the built-in `{built_in}` takes its place"
        ),
        None => "put the file back before the gateway is started again".to_owned(),
    };
    format!(
        "policy `{name}`: {name}.wasm is no longer in the policies folder: each group that has it keeps the version it has\nhint: {hint}"
    )
}

/// The component that a group asks for by this name.
///
/// # Errors
/// There is none; nothing is told of one whose file cannot be used, for that is.
pub(super) fn named<'c>(
    place: &Place<'_>,
    asked: &PolicyName,
    at: &PolicyPlaces,
    found: &'c Found,
) -> Result<&'c Offered, Vec<String>> {
    let fallback = || if asked.as_str() == DEFAULT { found.usable(place, &PolicyName::from(FALLBACK)) } else { None };
    if let Some(offered) = found.usable(place, asked).or_else(fallback) {
        return Ok(offered);
    }
    if matches!(found.offered.get(asked), Some(None)) {
        return Err(Vec::new());
    }
    let hint = hint(asked.as_str(), place.role, &found.known);
    let problem = format!("group `{}`: no policy is named `{asked}`\nhint: {hint}", place.group.name);
    Err(vec![placed(at.entry.as_deref(), &problem)])
}

/// What helps whoever names a policy that is not there.
fn hint(asked: &str, role: Role, known: &[(PolicyName, Vec<Role>)]) -> String {
    let fit = known.iter().filter(|(_, roles)| roles.contains(&role));
    let names = nearest_first(asked, fit.map(|(name, _)| name.as_str()));
    let meant = closest(asked, names.iter().copied()).map(|name| format!("did you mean `{name}`? Else "));
    // A file of another name would be passed over.
    let put = if PolicyName::is_fit(asked) {
        format!("put {asked}.wasm into the policies folder")
    } else {
        format!("put it into the policies folder under a name that it can have ({})", PolicyName::RULE)
    };
    let others = if names.is_empty() { String::new() } else { format!(", or use one of {}", names.join(", ")) };
    format!("{}{put}{others}", meant.unwrap_or_default())
}

/// The version of this name that decides somewhere now, and has a role in which it is named.
fn before(previous: Option<&Snapshot>, name: &PolicyName, askers: Option<&Askers<'_>>) -> Option<Arc<Component>> {
    let fits = |component: &&Arc<Component>| {
        let roles = &component.inspection().roles;
        askers.is_none_or(|askers| roles.iter().any(|role| askers.contains_key(role)))
    };
    in_force(previous, name).find(fits).cloned()
}

/// The components that decide now under this name, in whichever groups. One that is only tried is none.
fn in_force<'s>(previous: Option<&'s Snapshot>, name: &PolicyName) -> impl Iterator<Item = &'s Arc<Component>> {
    let groups = previous.into_iter().flat_map(|snapshot| snapshot.groups.values());
    groups.flat_map(|group| group.in_force()).filter(move |component| component.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_a_policy_that_is_not_there_is_told_those_of_the_role_the_nearest_first() {
        let router = SHIPPED.iter().find(|(name, _)| *name == "least-busy").unwrap().1;
        let files =
            [("thrifty", Ok(router.to_vec())), ("broken", Ok(b"none".to_vec())), ("link", Err("a link".into()))];
        let contents: Contents = files.into_iter().map(|(name, file)| (PolicyName::from(name), file)).collect();
        let known = known(&contents);
        let told = hint("thrify", Role::Router, &known);
        let wanted = "did you mean `thrifty`? Else put thrify.wasm into the policies folder, or use one of thrifty, ";
        assert!(told.starts_with(wanted) && told.contains("simple-shuffle"), "{told}");
        assert!(["batch", "cohere", "broken", "link"].iter().all(|name| !told.contains(name)), "{told}");
        let told = hint("spoken", Role::Provider, &known);
        assert_eq!(told, "put spoken.wasm into the policies folder, or use one of cohere");
        let told = hint("my router", Role::Provider, &[]);
        assert!(
            told.starts_with("put it into the policies folder under a name") && told.ends_with("at most 64)"),
            "{told}"
        );
    }
}
