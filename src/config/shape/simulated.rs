//! `simulated` of a deployment: our own, for models of the simulated provider.

use std::time::Duration;

use super::litellm_params::window_model;
use crate::config::section::{Kind, Section};
use crate::limits::WindowModel;

/// What it says.
#[derive(Clone, Default)]
pub(in crate::config) struct Simulated {
    pub(in crate::config) seed: Option<u64>,
    pub(in crate::config) ttft_ms: Option<f64>,
    pub(in crate::config) ttft_sigma: Option<f64>,
    pub(in crate::config) tokens_per_second: Option<f64>,
    pub(in crate::config) output_tokens: Option<u32>,
    pub(in crate::config) error_rate: Option<f64>,
    pub(in crate::config) window: Option<Duration>,
    pub(in crate::config) window_model: Option<WindowModel>,
    pub(in crate::config) rpm: Option<u64>,
    pub(in crate::config) tpm: Option<u64>,
    pub(in crate::config) quality: Option<f64>,
    pub(in crate::config) quality_known: Option<f64>,
    pub(in crate::config) knows: Vec<String>,
    pub(in crate::config) grades: Option<bool>,
}

impl Simulated {
    pub(in crate::config) fn read(params: &mut Section<'_, '_>) -> Option<Self> {
        params.get("simulated", Kind::Section("simulated"))?;
        let mut section = params.inner("simulated", "simulated").strict();
        let read = Self {
            seed: section.count("seed"),
            ttft_ms: section.amount("ttft_ms"),
            ttft_sigma: section.amount("ttft_sigma"),
            tokens_per_second: section.amount("tokens_per_second"),
            output_tokens: section.small("output_tokens"),
            error_rate: section.share("error_rate"),
            window: section.seconds("window_seconds"),
            window_model: window_model(&mut section),
            rpm: section.count("rpm"),
            tpm: section.count("tpm"),
            quality: section.share("quality"),
            quality_known: section.share("quality_known"),
            knows: section.texts("knows"),
            grades: section.flag("grades"),
        };
        section.finish();
        Some(read)
    }
}
