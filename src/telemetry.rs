//! What operators see: one log line and a set of metrics per record. No prompt, no reply, no secret.

mod lately;
mod limits;
mod log;
mod metrics;
mod policies;

pub use lately::{ByMinute, Happened, Lately, MINUTES};
pub use limits::{BudgetFigures, LimitFigures, QueueFigures, StateFigures};
pub use log::{DroppedLines, LogFormat, LogGuard, init as init_log};
pub use metrics::Metrics;
pub use policies::PolicyFigures;

use crate::record::Record;

/// Writes a finished request to the log and the metrics.
pub fn write(record: &Record, metrics: &Metrics) {
    log::write(record);
    metrics.write(record);
    metrics.lately.ended(record);
}
