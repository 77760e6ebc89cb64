//! The first pass: what a file says, section by section, with no default filled in and nothing preferred to anything.
//!
//! One file for each section. A value that cannot be what it should be is a problem where it stands, and is then as if it were
//! not there. A key that is to act is read in its section's file, given its grade in `data/litellm-keys.tsv`, and used in
//! `resolve`.

mod allowance;
mod costs;
mod counting;
mod credential;
mod embeddings;
mod failures;
mod general_settings;
mod identity;
mod judges;
mod keys;
mod litellm_params;
mod litellm_settings;
mod model_info;
mod model_list;
mod new_keys;
mod postgres_server;
mod redis_server;
mod roll_out;
mod router_settings;
mod simulated;
mod witgate;

pub(super) use allowance::Named;
pub(super) use costs::is_price;
pub(super) use counting::CountingKeys;
pub(super) use embeddings::EmbeddingEntry;
pub(super) use failures::{FallbackEntry, FallbackLists, TargetEntry};
pub(super) use general_settings::GeneralSettings;
pub(super) use judges::JudgeEntry;
pub(super) use litellm_params::{LitellmParams, SAFETY, VERTEX_CREDENTIALS, VERTEX_LOCATION, VERTEX_PROJECT, header};
pub(super) use litellm_settings::LitellmSettings;
pub(super) use model_info::ModelInfo;
pub(super) use model_list::ModelEntry;
pub(super) use redis_server::Redis;
pub(super) use router_settings::{AliasEntry, RouterSettings, RoutingGroup, Strategy};
pub(super) use simulated::Simulated;
pub(super) use witgate::{
    BuilderGrants, Decisions, ParserGrants, PolicyEntry, RouterGrants, UnknownPriceRule, Witgate,
};

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reader::Reader;
use super::section::{Kind, Section};
use super::yaml::{Entry, Node, Value};
use crate::virtual_key::Allowance;

/// A whole file.
pub(super) struct Shape<'r, 'e> {
    pub(super) models: Vec<ModelEntry<'r, 'e>>,
    pub(super) router: RouterSettings<'r, 'e>,
    pub(super) litellm: LitellmSettings,
    pub(super) general: GeneralSettings,
    pub(super) own: Witgate,
    /// `cost_controls`: a budget of all.
    pub(super) cost_controls: Allowance,
}

/// The value of a variable, in the words in which Python writes it; nothing where it is to be another's that is not set.
fn variable(reader: &Reader<'_>, Entry { key, node, .. }: &Entry) -> Option<String> {
    match &node.value {
        Value::Null => None,
        Value::Bool(flag) => Some(if *flag { "True" } else { "False" }.to_owned()),
        Value::Text(text) => reader.resolve_if_set(text),
        _ => reader.text(node, key),
    }
}

impl<'r, 'e> Shape<'r, 'e> {
    pub(super) fn read(reader: &'r Reader<'e>, root: &'r Node) -> Self {
        let mut top = reader.section(root, "top", "");
        // Before all else, which may name them.
        if let Some(node) = top.descend("environment_variables", Kind::TextByName) {
            for entry in reader.map(node, "environment_variables") {
                if let Some(value) = variable(reader, entry) {
                    reader.set_variable(&entry.key, value);
                }
            }
        }
        // Merged and joined already; read here so that they count as keys that act.
        let _merged = top.get("include", Kind::Any);
        credential::read_all(reader, top.descend("credential_list", Kind::Sections("credential_list")));
        let mut cost_controls = top.inner("cost_controls", "cost_controls");
        let budget_of_all = allowance::budget(&mut cost_controls);
        cost_controls.finish();
        let shape = Self {
            cost_controls: budget_of_all,
            router: RouterSettings::read(top.inner("router_settings", "router_settings")),
            litellm: LitellmSettings::read(top.inner("litellm_settings", "litellm_settings")),
            general: GeneralSettings::read(top.inner("general_settings", "general_settings")),
            own: Witgate::read(top.inner("witgate", "witgate").strict()),
            models: ModelEntry::read_all(reader, top.descend("model_list", Kind::Sections("model_list"))),
        };
        top.finish();
        shape
    }
}

/// A policy's settings: any mapping.
#[derive(Clone, Debug)]
pub(super) struct PolicySettings {
    /// As JSON text.
    pub(super) json: String,
    /// Where it and all within it stands, in words, by JSON pointers.
    pub(super) places: BTreeMap<String, Arc<str>>,
}

fn settings(section: &mut Section<'_, '_>, key: &'static str) -> Option<PolicySettings> {
    let node = section.get(key, Kind::Map)?;
    if !matches!(node.value, Value::Map(_)) {
        section.places.error_at(key, format!("`{key}` must be a mapping, not {}", node.value.kind()), "");
        return None;
    }
    let (reader, mut places) = (section.reader(), BTreeMap::new());
    note_places(reader, node, String::new(), &mut places);
    Some(PolicySettings { json: reader.json(node).to_string(), places })
}

fn note_places(reader: &Reader<'_>, node: &Node, pointer: String, places: &mut BTreeMap<String, Arc<str>>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let name = entry.key.replace('~', "~0").replace('/', "~1");
                note_places(reader, &entry.node, format!("{pointer}/{name}"), places);
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                note_places(reader, item, format!("{pointer}/{index}"), places);
            }
        }
        _ => {}
    }
    places.insert(pointer, reader.told(node.at));
}
