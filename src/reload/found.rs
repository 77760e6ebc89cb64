//! What there is under the names of policies: the folder's files, those built in, and what decides on though its file is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::components::Components;
use super::folder::Contents;
use super::rollouts::{Offered, Place};
use super::setting_up::placed;
use crate::builtin_policies::SHIPPED;
use crate::catalog::PolicyPlaces;
use crate::config::Settings;
use crate::id::PolicyName;
use crate::policy::{Component, Digest};
use crate::snapshot::Snapshot;

/// The name that stands for "whatever the folder says": a file `default.wasm`, else simple-shuffle.
const DEFAULT: &str = "default";
/// Who decides where nobody was asked to.
const FALLBACK: &str = "simple-shuffle";

/// What there is by name; `None` under a name whose file cannot be used, which is told already.
pub(super) type Found = BTreeMap<PolicyName, Option<Offered>>;

/// Loads every policy some group names. What else the folder holds is left to be checked aside, so that a bad one is
/// reported when it arrives and not when it is needed. A bad file, or one that is gone, leaves each group the versions it has.
pub(super) fn load(
    components: &mut Components,
    settings: &Settings,
    contents: &Contents,
    previous: Option<&Snapshot>,
    problems: &mut Vec<String>,
) -> Found {
    let mut found = Found::new();
    components.begin(&settings.policies.allow_wasi_stubs);
    let named: BTreeSet<&str> =
        settings.catalog.groups.values().flat_map(|group| group.policies()).map(PolicyName::as_str).collect();
    let wanted = |name: &str| named.contains(name) || (name == FALLBACK && named.contains(DEFAULT));
    for (name, bytes) in contents {
        let loaded = match bytes {
            Ok(bytes) if wanted(name.as_str()) => components.load(name, bytes),
            Ok(bytes) => match components.known(name, bytes) {
                Some(known) => known,
                None => continue,
            },
            Err(problem) => Err(problem.clone()),
        };
        match loaded {
            Ok(component) => {
                found.insert(name.clone(), Some(Offered::File(component)));
            }
            Err(problem) => {
                problems.push(problem);
                let before = previous.and_then(|snapshot| in_force(snapshot, name));
                found.insert(name.clone(), before.map(Offered::Broken));
            }
        }
    }
    for (name, bytes) in SHIPPED {
        if wanted(name) && !contents.contains_key(name) {
            let name = PolicyName::from(name);
            match components.load(&name, bytes) {
                Ok(component) => {
                    found.insert(name, Some(Offered::File(component)));
                }
                Err(problem) => problems.push(problem),
            }
        }
    }
    for name in named {
        let shipped = name == DEFAULT || SHIPPED.iter().any(|(known, _)| *known == name);
        if shipped || found.contains_key(name) {
            continue;
        }
        let name = PolicyName::from(name);
        // Where nobody is decided by it, whoever names it is refused.
        if let Some(component) = previous.and_then(|snapshot| in_force(snapshot, &name)) {
            problems.push(format!(
                "policy `{name}`: {name}.wasm is no longer in the policies folder: each group that has it keeps the version it has\nhint: put the file back before the gateway is started again"
            ));
            found.insert(name, Some(Offered::Gone(component)));
        }
    }
    let present = contents.values().flatten().map(|bytes| Digest::of(bytes)).collect();
    let in_use = found.values().flatten().map(|offered| offered.component().digest()).collect();
    components.keep(&present, &in_use);
    found
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
    let usable = |name: &str| found.get(name).and_then(Option::as_ref);
    let fallback = || if asked.as_str() == DEFAULT { usable(FALLBACK) } else { None };
    match usable(asked.as_str()).or_else(fallback) {
        // What is gone goes on where it decides, and nowhere else.
        Some(Offered::Gone(_)) if !place.has(asked) => {}
        Some(offered) => return Ok(offered),
        None if found.contains_key(asked.as_str()) => return Err(Vec::new()),
        None => {}
    }
    let known: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    let problem = format!(
        "group `{}`: no policy is named `{asked}`\nhint: put {asked}.wasm into the policies folder, or use one of {}",
        place.group.name,
        known.join(", ")
    );
    Err(vec![placed(at.entry.as_deref(), &problem)])
}

/// The component that decides now under this name, in whichever group. One that is only tried is none.
fn in_force(snapshot: &Snapshot, name: &PolicyName) -> Option<Arc<Component>> {
    snapshot.groups.values().flat_map(|group| group.in_force()).find(|component| component.name() == name).cloned()
}
