//! `litellm_settings`.

use std::time::Duration;

use super::failures::FallbackLists;
use crate::config::section::Section;

/// What acts of it.
pub(in crate::config) struct LitellmSettings {
    pub(in crate::config) drop_params: Option<bool>,
    pub(in crate::config) request_timeout: Option<Duration>,
    pub(in crate::config) num_retries: Option<u32>,
    pub(in crate::config) allowed_fails: Option<u32>,
    pub(in crate::config) fallbacks: FallbackLists,
}

impl LitellmSettings {
    pub(in crate::config) fn read(mut section: Section<'_, '_>) -> Self {
        let read = Self {
            drop_params: section.flag("drop_params"),
            request_timeout: section.seconds("request_timeout"),
            num_retries: section.small("num_retries"),
            allowed_fails: section.small("allowed_fails"),
            fallbacks: FallbackLists::read(&mut section),
        };
        section.finish();
        read
    }
}
