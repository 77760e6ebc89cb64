//! The first pass: what a file says, section by section, with no default filled in and nothing preferred to anything.
//!
//! One file for each section. A value that cannot be what it should be is a problem where it stands, and is then as if it were
//! not there. A key that is to act is read in its section's file, given its grade in `data/litellm-keys.tsv`, and used in
//! `resolve`. (`model_list` is read by `deployment`, entry by entry; routers and aliases, which name groups, by `groups`.)

mod general_settings;
mod litellm_settings;
mod router_settings;
mod witgate;

pub(super) use general_settings::GeneralSettings;
pub(super) use litellm_settings::LitellmSettings;
pub(super) use router_settings::RouterSettings;
pub(super) use witgate::Witgate;

/// The sections beside `model_list`.
pub(super) struct Shape {
    pub(super) router: RouterSettings,
    pub(super) litellm: LitellmSettings,
    pub(super) general: GeneralSettings,
    pub(super) own: Witgate,
}
