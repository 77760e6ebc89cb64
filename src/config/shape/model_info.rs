//! `model_info` of a deployment.

use std::time::Duration;

use super::failures;
use crate::catalog::{Capability, Support, Supports};
use crate::config::section::{KeyPlaces, Section};
use crate::failover::ByClass;
use crate::money::Costs;

/// What acts of it.
#[derive(Clone)]
pub(in crate::config) struct ModelInfo<'r, 'e> {
    pub(in crate::config) places: KeyPlaces<'r, 'e>,
    pub(in crate::config) id: Option<String>,
    pub(in crate::config) base_model: Option<String>,
    pub(in crate::config) mode: Option<String>,
    pub(in crate::config) rpm: Option<u64>,
    pub(in crate::config) tpm: Option<u64>,
    pub(in crate::config) order: Option<u32>,
    pub(in crate::config) max_tokens: Option<u32>,
    pub(in crate::config) max_input_tokens: Option<u32>,
    pub(in crate::config) max_output_tokens: Option<u32>,
    pub(in crate::config) blocked: Option<bool>,
    pub(in crate::config) cooldown_time: Option<Duration>,
    pub(in crate::config) allowed_fails: Option<u32>,
    pub(in crate::config) allowed_fails_policy: ByClass,
    /// Of its group, over the router's.
    pub(in crate::config) enable_tag_filtering: Option<bool>,
    pub(in crate::config) supports: Supports,
    pub(in crate::config) costs: Costs,
}

impl<'r, 'e> ModelInfo<'r, 'e> {
    pub(in crate::config) fn read(mut section: Section<'r, 'e>) -> Self {
        let read = Self {
            places: section.places.clone(),
            id: id(&mut section),
            base_model: section.text("base_model"),
            mode: section.text("mode"),
            rpm: section.count("rpm"),
            tpm: section.count("tpm"),
            order: section.small("order"),
            max_tokens: section.small("max_tokens"),
            max_input_tokens: section.small("max_input_tokens"),
            max_output_tokens: section.small("max_output_tokens"),
            blocked: section.flag("blocked"),
            cooldown_time: section.seconds_or_none("cooldown_time"),
            allowed_fails: section.small("allowed_fails"),
            allowed_fails_policy: failures::allowed_fails_policy(&mut section),
            enable_tag_filtering: section.flag("enable_tag_filtering"),
            supports: supports(&mut section),
            costs: Costs::read(&mut section),
        };
        section.finish();
        read
    }
}

fn supports(section: &mut Section<'_, '_>) -> Supports {
    Capability::ALL.into_iter().fold(Supports::default(), |known, capability| match section.flag(capability.key()) {
        Some(true) => known.with(capability, Support::Yes),
        Some(false) => known.with(capability, Support::No),
        None => known,
    })
}

fn id(section: &mut Section<'_, '_>) -> Option<String> {
    let id = section.text("id")?;
    let fits = !id.is_empty() && id.len() <= 200 && id.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        let hint = "1 to 200 visible ASCII characters: it is sent as a header and shown in metrics";
        section.places.error_at("id", "`model_info.id` is not an id that can be used", hint);
        return None;
    }
    Some(id)
}
