//! `counting` of a deployment: our own, how its provider counts what a request uses, where that is not as the table has it.

use crate::config::section::{Kind, Section};
use crate::limits::{Counting, OutputCounting};

/// What it says.
#[derive(Clone, Copy)]
pub(in crate::config) struct CountingKeys {
    output: Option<OutputCounting>,
    cache_reads_free: Option<bool>,
}

impl CountingKeys {
    pub(in crate::config) fn read(params: &mut Section<'_, '_>) -> Option<Self> {
        params.get("counting", Kind::Section("counting"))?;
        let mut section = params.inner("counting", "counting").strict();
        let hint = "bound: what the request allows counts when it arrives; made: what is made, as it is made";
        let ways = [OutputCounting::Bound, OutputCounting::Made];
        let read = Self {
            output: section.word("output", &["bound", "made"], &ways, hint),
            cache_reads_free: section.flag("cache_reads_free"),
        };
        section.finish();
        Some(read)
    }

    /// What it says, over what the table says of the provider.
    pub(in crate::config) fn over(self, table: Counting) -> Counting {
        Counting {
            output: self.output.unwrap_or(table.output),
            cache_reads_free: self.cache_reads_free.unwrap_or(table.cache_reads_free),
            tells_cost: table.tells_cost,
        }
    }
}
