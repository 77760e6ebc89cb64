//! What a run leaves behind. Its items are read twice, a page at a time: first what the tables and the page are to look like, then the rows.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::found::Found;
use super::plan::Sums;
use super::planned::{Expectation, Expectations};
use super::results::{Columns, Tables, replace};
use super::{End, Experiment, Plan, RunFolder, manifest, report};
use crate::moment::Moment;
use crate::pipeline::Gateway;

/// What the first reading finds.
#[derive(Default)]
struct Overview {
    /// When the first request that was answered was sent.
    first: Option<Moment>,
    columns: Columns,
    found: Found,
}

impl Overview {
    fn of(run: &RunFolder, experiment: &Experiment) -> Result<Self, String> {
        let mut overview = Self::default();
        run.each(experiment, &mut |kept| {
            if let Some(End::Answered(answer)) = &kept.end {
                let sent = Moment::from_millis(answer.sent_ms);
                overview.first = Some(overview.first.map_or(sent, |first| first.min(sent)));
                overview.columns.see(&answer.result);
                overview.found.measured.see(experiment.run_of(kept.item).model.as_str(), &answer.result);
            }
            Ok(())
        })?;
        Ok(overview)
    }

    /// From when on times count.
    fn begin(&self, run: &RunFolder) -> Result<Moment, String> {
        self.first.map_or_else(|| run.begun(), Ok)
    }
}

/// The sums in the figures of a plan, in which nothing is expected any more.
fn done(sums: &Sums, experiment: &Experiment) -> Plan {
    let nothing = Expectation { output_tokens: 0, first_token: Duration::ZERO, tokens_per_second: 1.0, learned: false };
    sums.plan(experiment, &BTreeMap::new(), &Expectations::new(BTreeMap::new(), nothing))
}

/// What was done, in the figures of a plan.
pub(super) fn summary(run: &RunFolder, experiment: &Experiment) -> Result<Plan, String> {
    let mut sums = Sums::new(experiment, Overview::of(run, experiment)?.begin(run)?);
    run.each(experiment, &mut |kept| {
        if let Some(end) = &kept.end {
            sums.add(experiment, kept.item, end);
        }
        Ok(())
    })?;
    Ok(done(&sums, experiment))
}

/// Writes results, manifest, calibration and report of what is kept now.
pub(super) fn write(run: &RunFolder, experiment: &Experiment, gateway: &Gateway) -> Result<(), String> {
    let store = run.store();
    let plan = store.about("plan")?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(json!(null));
    let overview = Overview::of(run, experiment)?;
    let begin = overview.begin(run)?;
    let Overview { columns, mut found, .. } = overview;
    let mut sums = Sums::new(experiment, begin);
    let mut tables = Tables::begin(experiment, &columns, run.path())?;
    run.each(experiment, &mut |kept| {
        let Some(end) = &kept.end else { return Ok(()) };
        sums.add(experiment, kept.item, end);
        match end {
            End::Answered(answer) => found.waits.add(experiment.run_of(kept.item).model.as_str(), answer, begin),
            End::Failed(failure) => found.failures.add(kept.item, failure),
        }
        tables.add(kept.item, end)
    })?;
    let digests = tables.finish()?;
    let done = done(&sums, experiment);
    let calibration = manifest::calibration(&plan, &done);
    let file = |name: &str, text: String| replace(&run.path().join(name), text.as_bytes());
    file("calibration.json", format!("{calibration:#}\n"))?;
    let mut manifest = manifest::manifest(experiment, gateway, &done, &digests, [run.begun()?, gateway.clock.now()]);
    // Beside the cost of what is answered or failed: that of replies that came to nothing too.
    manifest["paid_usd"] = store.paid()?.as_usd().into();
    file("manifest.json", format!("{manifest:#}\n"))?;
    file("report.html", report::page(experiment, &found, &done, &calibration, &manifest))
}
