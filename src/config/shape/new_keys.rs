//! `default_key_generate_params` and `default_team_params`: what keys and teams have that are made while the gateway runs, where nobody says
//! otherwise.

use serde_json::{Map, Value};

use super::allowance::{allowance, period};
use crate::config::section::Section;
use crate::virtual_key::{KeyDefaults, TeamDefaults};

/// Of keys.
pub(super) fn keys(section: &mut Section<'_, '_>) -> KeyDefaults {
    let mut section = section.inner("default_key_generate_params", "default_key_generate_params");
    let metadata = super::settings(&mut section, "metadata").map(|told| serde_json::from_str(&told.json));
    let read = KeyDefaults {
        allowance: allowance(&mut section),
        models: section.texts("models"),
        team: section.text("team_id"),
        user: section.text("user_id"),
        metadata: if let Some(Ok(Value::Object(metadata))) = metadata { metadata } else { Map::new() },
        duration: period(&mut section, "duration"),
    };
    section.finish();
    read
}

/// Of teams.
pub(super) fn teams(section: &mut Section<'_, '_>) -> TeamDefaults {
    let mut section = section.inner("default_team_params", "default_team_params");
    let read = TeamDefaults { allowance: allowance(&mut section), models: section.texts("models") };
    section.finish();
    read
}
