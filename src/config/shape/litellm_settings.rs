//! `litellm_settings`.

use std::time::Duration;

use super::failures::FallbackLists;
use crate::config::section::Section;

/// What acts of it.
pub(in crate::config) struct LitellmSettings {
    pub(in crate::config) request_timeout: Option<Duration>,
    pub(in crate::config) num_retries: Option<u32>,
    pub(in crate::config) allowed_fails: Option<u32>,
    pub(in crate::config) fallbacks: FallbackLists,
}

impl LitellmSettings {
    pub(in crate::config) fn read(mut section: Section<'_, '_>) -> Self {
        // Read so that a value that is neither true nor false is reported; it is as if it were always on.
        let _always = section.flag("drop_params");
        let read = Self {
            request_timeout: section.seconds("request_timeout"),
            num_retries: section.small("num_retries"),
            allowed_fails: section.small("allowed_fails"),
            fallbacks: FallbackLists::read(&mut section),
        };
        section.finish();
        read
    }
}
