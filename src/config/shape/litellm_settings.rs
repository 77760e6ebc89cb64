//! `litellm_settings`.

use std::time::Duration;

use super::allowance::{budget, budgets};
use super::failures::FallbackLists;
use super::new_keys;
use crate::budgets::BudgetSpec;
use crate::config::section::Section;
use crate::virtual_key::{Allowance, KeyDefaults, TeamDefaults};

/// What acts of it.
pub(in crate::config) struct LitellmSettings {
    pub(in crate::config) drop_params: Option<bool>,
    pub(in crate::config) request_timeout: Option<Duration>,
    pub(in crate::config) num_retries: Option<u32>,
    pub(in crate::config) num_retries_per_request: Option<u32>,
    pub(in crate::config) allowed_fails: Option<u32>,
    pub(in crate::config) fallbacks: FallbackLists,
    /// A budget of all.
    pub(in crate::config) budget: Allowance,
    pub(in crate::config) tag_budgets: Vec<(String, BudgetSpec)>,
    pub(in crate::config) budget_status: Option<u32>,
    /// What new keys and teams have.
    pub(in crate::config) new_keys: KeyDefaults,
    pub(in crate::config) new_teams: TeamDefaults,
}

impl LitellmSettings {
    pub(in crate::config) fn read(mut section: Section<'_, '_>) -> Self {
        let read = Self {
            drop_params: section.flag("drop_params"),
            request_timeout: section.seconds("request_timeout"),
            num_retries: section.small("num_retries"),
            num_retries_per_request: section.small("num_retries_per_request"),
            allowed_fails: section.small("allowed_fails"),
            fallbacks: FallbackLists::read(&mut section),
            budget: budget(&mut section),
            tag_budgets: budgets(&mut section, "tag_budget_config"),
            budget_status: section.small("budget_exceeded_status_code"),
            new_keys: new_keys::keys(&mut section),
            new_teams: new_keys::teams(&mut section),
        };
        if read.budget_status.is_some_and(|status| !(400..500).contains(&status)) {
            let hint = "422, or 429 for clients that look for it";
            section.places.error_at("budget_exceeded_status_code", "it must be a status from 400 to 499", hint);
        }
        section.finish();
        read
    }
}
