//! `witgate.keys`: virtual keys that the configuration gives, with the fields of LiteLLM's `/key/generate`.

use secrecy::ExposeSecret;
use serde_json::Value;

use super::allowance::allowance;
use crate::config::section::{Kind, Section};
use crate::config::yaml::Place;
use crate::moment::Moment;
use crate::virtual_key::{KeyHash, VirtualKey};

/// Shorter ones are guessed.
const SHORTEST: usize = 8;

/// One of them.
pub(in crate::config) struct KeyEntry {
    pub(in crate::config) at: Place,
    pub(in crate::config) key: VirtualKey,
}

/// Reads every one.
pub(in crate::config) fn read_all(section: &mut Section<'_, '_>) -> Vec<KeyEntry> {
    let (reader, node) = (section.reader(), section.descend("keys", Kind::Sections("keys")));
    let nodes = node.map_or(&[][..], |node| reader.list(node, "keys"));
    let read = |(index, node)| {
        let section = reader.section(node, "keys", &format!("witgate.keys[{index}]")).strict();
        Some(KeyEntry { at: section.places.at, key: one(section)? })
    };
    nodes.iter().enumerate().filter_map(read).collect()
}

fn one(mut section: Section<'_, '_>) -> Option<VirtualKey> {
    let given = (section.secret("key"), section.text("hash"));
    let key = match &given {
        (Some((key, _)), None) => {
            let key = key.expose_secret();
            if key.len() < SHORTEST {
                section.places.error_at(
                    "key",
                    "a key of so few letters is guessed",
                    "`openssl rand -hex 32` makes one",
                );
            }
            Some((KeyHash::of(key), VirtualKey::tail_of(key)))
        }
        (None, Some(hash)) => {
            let hash = KeyHash::parse(&hash.to_ascii_lowercase());
            if hash.is_none() {
                let hint = "SHA-256 of the key in 64 hexadecimal digits: printf %s KEY | sha256sum";
                section.places.error_at("hash", "`hash` is no digest of a key", hint);
            }
            hash.map(|hash| (hash, String::new()))
        }
        _ => {
            section.places.error_at("key", "it needs a `key` or a `hash`, and not both", "key: os.environ/NAME");
            None
        }
    };
    let (alias, team, user) = (section.text("key_alias"), section.text("team_id"), section.text("user_id"));
    let (models, tags) = (section.texts("models"), section.texts("tags"));
    let (allowance, blocked) = (allowance(&mut section), section.flag("blocked").unwrap_or(false));
    let metadata = match super::settings(&mut section, "metadata").map(|told| serde_json::from_str(&told.json)) {
        Some(Ok(Value::Object(metadata))) => metadata,
        _ => serde_json::Map::new(),
    };
    let expires = section.text("expires").and_then(|text| {
        let expires = Moment::parse(&text);
        if expires.is_none() {
            section.places.error_at("expires", "`expires` is no date", "2027-01-31, or 2027-01-31T12:00:00Z");
        }
        expires
    });
    section.finish();
    let (hash, tail) = key?;
    let key = VirtualKey::new(hash, tail, Moment::default());
    Some(VirtualKey { alias, models, allowance, team, user, metadata, tags, blocked, expires, ..key })
}
