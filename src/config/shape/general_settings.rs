//! `general_settings`.

use std::time::Duration;

use secrecy::SecretString;

use super::Redis;
use super::allowance::budget;
use super::postgres_server;
use crate::config::report::Grade;
use crate::config::section::Section;
use crate::virtual_key::Allowance;

/// What acts of it.
pub(in crate::config) struct GeneralSettings {
    pub(in crate::config) master_key: Option<SecretString>,
    /// The environment's, which counts where the section has none.
    pub(in crate::config) environment_master_key: Option<SecretString>,
    /// A budget of all.
    pub(in crate::config) budget: Allowance,
    /// Where budgets are told of: a webhook, and Slack.
    pub(in crate::config) webhook: Option<SecretString>,
    pub(in crate::config) slack: Option<SecretString>,
    pub(in crate::config) max_request_size_mb: Option<u64>,
    pub(in crate::config) global_max_parallel_requests: Option<u32>,
    pub(in crate::config) max_in_flight_requests_per_worker: Option<u32>,
    pub(in crate::config) max_queued_requests_per_worker: Option<u32>,
    pub(in crate::config) admission_queue_timeout: Option<Duration>,
    pub(in crate::config) redis: Redis,
    pub(in crate::config) fail_closed: Option<bool>,
    pub(in crate::config) database_url: Option<SecretString>,
    pub(in crate::config) database_may_be_away: bool,
}

impl GeneralSettings {
    pub(in crate::config) fn read(mut section: Section<'_, '_>) -> Self {
        let max_request_size_mb = section.count("max_request_size_mb");
        if max_request_size_mb == Some(0) {
            section.places.error_at("max_request_size_mb", "`max_request_size_mb` must be at least 1", "");
        }
        let [webhook, slack] = alerting(&mut section);
        let read = Self {
            budget: budget(&mut section),
            webhook,
            slack,
            master_key: section.secret("master_key").map(|(key, _)| key),
            environment_master_key: section.reader().variable("LITELLM_MASTER_KEY").map(SecretString::from),
            max_request_size_mb,
            global_max_parallel_requests: section.small("global_max_parallel_requests"),
            max_in_flight_requests_per_worker: section.small("max_in_flight_requests_per_worker"),
            max_queued_requests_per_worker: section.small("max_queued_requests_per_worker"),
            admission_queue_timeout: section.seconds("admission_queue_timeout_seconds"),
            redis: Redis::read(&mut section),
            database_url: postgres_server::read(&mut section),
            database_may_be_away: section.flag("allow_requests_on_db_unavailable") == Some(true),
            fail_closed: section.flag("fail_closed_rate_limit_enforcement"),
        };
        section.finish();
        read
    }
}

/// `alerting`: who is told, each at the address its variable holds.
fn alerting(section: &mut Section<'_, '_>) -> [Option<SecretString>; 2] {
    let told = section.texts("alerting");
    let kinds = section.texts("alert_types");
    let other = told.iter().filter(|name| !matches!(name.as_str(), "webhook" | "slack"));
    let other: Vec<&str> = other.map(String::as_str).collect();
    if !other.is_empty() {
        section.places.downgrade("alerting", Grade::NotYet, format!("nobody is told by {}", other.join(", ")));
    }
    let wanted = kinds.is_empty() || kinds.iter().any(|kind| kind == "budget_alerts");
    [("webhook", "WEBHOOK_URL"), ("slack", "SLACK_WEBHOOK_URL")].map(|(name, variable)| {
        if !wanted || !told.iter().any(|told| told == name) {
            return None;
        }
        let url = section.reader().variable(variable);
        let sound = url.as_ref().filter(|url| url.starts_with("https://") || url.starts_with("http://"));
        if sound.is_none() {
            let note = format!("`{variable}` holds no address, so that nobody is told by {name}");
            section.places.downgrade("alerting", Grade::NotYet, note);
        }
        sound.map(|url| SecretString::from(url.as_str()))
    })
}
