//! `general_settings`.

use std::time::Duration;

use secrecy::SecretString;

use super::Redis;
use crate::config::section::Section;

/// What acts of it.
pub(in crate::config) struct GeneralSettings {
    pub(in crate::config) master_key: Option<SecretString>,
    /// The environment's, which counts where the section has none.
    pub(in crate::config) environment_master_key: Option<SecretString>,
    pub(in crate::config) max_request_size_mb: Option<u64>,
    pub(in crate::config) global_max_parallel_requests: Option<u32>,
    pub(in crate::config) max_in_flight_requests_per_worker: Option<u32>,
    pub(in crate::config) max_queued_requests_per_worker: Option<u32>,
    pub(in crate::config) admission_queue_timeout: Option<Duration>,
    pub(in crate::config) redis: Redis,
    pub(in crate::config) fail_closed: Option<bool>,
}

impl GeneralSettings {
    pub(in crate::config) fn read(mut section: Section<'_, '_>) -> Self {
        let max_request_size_mb = section.count("max_request_size_mb");
        if max_request_size_mb == Some(0) {
            section.places.error_at("max_request_size_mb", "`max_request_size_mb` must be at least 1", "");
        }
        let read = Self {
            master_key: section.secret("master_key").map(|(key, _)| key),
            environment_master_key: section.reader().variable("LITELLM_MASTER_KEY").map(SecretString::from),
            max_request_size_mb,
            global_max_parallel_requests: section.small("global_max_parallel_requests"),
            max_in_flight_requests_per_worker: section.small("max_in_flight_requests_per_worker"),
            max_queued_requests_per_worker: section.small("max_queued_requests_per_worker"),
            admission_queue_timeout: section.seconds("admission_queue_timeout_seconds"),
            redis: Redis::read(&mut section),
            fail_closed: section.flag("fail_closed_rate_limit_enforcement"),
        };
        section.finish();
        read
    }
}
