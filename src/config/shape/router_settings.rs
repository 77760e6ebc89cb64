//! `router_settings`.

use std::time::Duration;

use crate::config::reader::Section;

/// What acts of it, but routers and aliases.
pub(in crate::config) struct RouterSettings {
    pub(in crate::config) timeout: Option<Duration>,
    pub(in crate::config) stream_timeout: Option<Duration>,
    pub(in crate::config) num_retries: Option<u32>,
    pub(in crate::config) retry_after: Option<Duration>,
    pub(in crate::config) allowed_fails: Option<u32>,
    pub(in crate::config) cooldown_time: Option<Duration>,
    pub(in crate::config) disable_cooldowns: Option<bool>,
    pub(in crate::config) default_max_parallel_requests: Option<u32>,
    pub(in crate::config) token_usage_window: Option<Duration>,
    pub(in crate::config) max_tokens_per_minute: Option<u64>,
    pub(in crate::config) queue_on_tpm_limit: Option<bool>,
}

impl RouterSettings {
    pub(in crate::config) fn read(section: &mut Section<'_, '_>) -> Self {
        // Read so that a value that is neither true nor false is told; all are as if they were always on.
        for key in ["enable_pre_call_checks", "enable_pre_call_check", "tpm_budget_management"] {
            let _always = section.flag(key);
        }
        Self {
            timeout: section.seconds("timeout"),
            stream_timeout: section.seconds("stream_timeout"),
            num_retries: section.small("num_retries"),
            retry_after: section.seconds_or_none("retry_after"),
            allowed_fails: section.small("allowed_fails"),
            cooldown_time: section.seconds_or_none("cooldown_time"),
            disable_cooldowns: section.flag("disable_cooldowns"),
            default_max_parallel_requests: section.small("default_max_parallel_requests"),
            token_usage_window: section.seconds("token_usage_window"),
            max_tokens_per_minute: section.count("max_tokens_per_minute"),
            queue_on_tpm_limit: section.flag("queue_on_tpm_limit"),
        }
    }
}
