//! `witgate.judges`: by group, who judges a sample of its replies.

use super::allowance::dollars;
use crate::config::section::{Kind, Section};
use crate::config::yaml::{Entry, Place};
use crate::money::NanoUsd;

/// The judge of one group.
pub(in crate::config) struct JudgeEntry {
    pub(in crate::config) at: Place,
    /// Whose replies.
    pub(in crate::config) of: String,
    /// The group that judges, and where it is named.
    pub(in crate::config) group: Option<(String, Place)>,
    pub(in crate::config) sample: Option<f64>,
    pub(in crate::config) rubric: Option<String>,
    pub(in crate::config) max_per_day: Option<NanoUsd>,
}

/// Reads every one.
pub(in crate::config) fn read_all(section: &mut Section<'_, '_>) -> Vec<JudgeEntry> {
    let (reader, node) = (section.reader(), section.descend("judges", Kind::SectionByName("judges")));
    let entries = node.map_or(&[] as &[Entry], |node| reader.map(node, "witgate.judges"));
    let read = |entry: &Entry| {
        let path = format!("witgate.judges.{}", entry.key);
        let section = reader.section(&entry.node, "judges", &path).strict();
        one(section, entry)
    };
    entries.iter().map(read).collect()
}

fn one(mut section: Section<'_, '_>, entry: &Entry) -> JudgeEntry {
    let group = section.text("group");
    if group.is_none() {
        section.places.error_at("group", "it needs a `group`", "the model_name of the models that judge");
    }
    let max_per_day = dollars(&mut section, "max_usd_per_day");
    if max_per_day.is_none_or(|max| max.0 == 0) {
        let message = "it needs a `max_usd_per_day` above 0";
        let hint = "dollars: judging is paid for by this account and by no client's";
        section.places.error_at("max_usd_per_day", message, hint);
    }
    let read = JudgeEntry {
        at: entry.at,
        of: entry.key.clone(),
        group: group.map(|group| (group, section.places.place_of("group"))),
        sample: section.share("sample"),
        rubric: section.text("rubric"),
        max_per_day,
    };
    section.finish();
    read
}
