//! `witgate.embeddings`: by group, where its routers get the vectors of questions from.

use std::path::PathBuf;
use std::time::Duration;

use super::allowance::dollars;
use crate::config::section::{Kind, Section};
use crate::config::yaml::{Entry, Place};
use crate::money::NanoUsd;

/// The source of one group's vectors.
pub(in crate::config) struct EmbeddingEntry {
    pub(in crate::config) at: Place,
    /// Whose routers.
    pub(in crate::config) of: String,
    /// The group that makes them, and where it is named.
    pub(in crate::config) group: Option<(String, Place)>,
    /// The folder of the model that makes them instead, and where it is named.
    pub(in crate::config) path: Option<(PathBuf, Place)>,
    pub(in crate::config) timeout: Option<Duration>,
    pub(in crate::config) max_per_day: Option<NanoUsd>,
}

/// Reads every one.
pub(in crate::config) fn read_all(section: &mut Section<'_, '_>) -> Vec<EmbeddingEntry> {
    let (reader, node) = (section.reader(), section.descend("embeddings", Kind::SectionByName("embeddings")));
    let entries = node.map_or(&[] as &[Entry], |node| reader.map(node, "witgate.embeddings"));
    let read = |entry: &Entry| {
        let path = format!("witgate.embeddings.{}", entry.key);
        one(reader.section(&entry.node, "embeddings", &path).strict(), entry)
    };
    entries.iter().map(read).collect()
}

fn one(mut section: Section<'_, '_>, entry: &Entry) -> EmbeddingEntry {
    let group = section.text("group");
    let path = section.text("path");
    match (&group, &path) {
        (None, None) => {
            let hint =
                "`group`: the model_name of the models that make vectors; `path`: a folder of sentence-transformers";
            section.places.error_at("group", "it needs a `group` or a `path`", hint);
        }
        (Some(_), Some(_)) => {
            section.places.error_at("path", "it has a `group` and a `path`", "keep one of them");
        }
        _ => {}
    }
    let max_per_day = dollars(&mut section, "max_usd_per_day");
    if path.is_some() && max_per_day.is_some() {
        section.places.error_at("max_usd_per_day", "a model in this process costs nothing", "leave it out");
    } else if max_per_day.is_some_and(|max| max.0 == 0) {
        let hint = "without this source routers get vectors of words, which cost nothing";
        section.places.error_at("max_usd_per_day", "`max_usd_per_day` must be above 0", hint);
    }
    let read = EmbeddingEntry {
        at: entry.at,
        of: entry.key.clone(),
        group: group.map(|group| (group, section.places.place_of("group"))),
        path: path.map(|path| (PathBuf::from(path), section.places.place_of("path"))),
        timeout: section.seconds("timeout_seconds"),
        max_per_day,
    };
    section.finish();
    read
}
