//! What is told of a batch: OpenAI's object, and what is kept of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::line::Problem;
use super::usage::BatchUsage;
use crate::moment::Moment;
use crate::store::{KeptBatch, LineCounts};

/// How far a batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its lines are read, or it waits for others.
    #[default]
    Validating,
    /// Lines are wrong: nothing was sent.
    Failed,
    /// Its lines are asked.
    InProgress,
    /// Its files are written.
    Finalizing,
    /// Every line has ended.
    Completed,
    /// Its time was over before that.
    Expired,
    /// It is to stop.
    Cancelling,
    /// It was stopped.
    Cancelled,
}

impl Status {
    /// Whether anything is left to do.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Validating | Self::InProgress | Self::Finalizing | Self::Cancelling)
    }
}

/// What is kept of a batch beside its lines. Times are seconds of the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The path of its lines.
    pub endpoint: String,
    /// How long it may take, as its owner wrote it.
    pub completion_window: String,
    /// When its time is over.
    pub expires_at: u64,
    /// How far it is.
    pub status: Status,
    /// Its owner's notes.
    pub metadata: Option<Map<String, Value>>,
    /// When each status began.
    pub(super) times: Times,
    /// What is wrong with its lines, as it is told.
    pub problems: Vec<Value>,
    /// Where the answers are.
    pub output_file: Option<String>,
    /// Where the other lines are.
    pub error_file: Option<String>,
    /// Seconds after which these are gone.
    pub output_expires_after: Option<u64>,
    /// How its lines ended, once all have.
    pub counts: Option<[u64; 3]>,
    /// The model that all its lines ask, once they are read.
    #[serde(default)]
    pub model: Option<String>,
    /// What its replies used, once all have ended.
    #[serde(default)]
    pub usage: Option<BatchUsage>,
}

/// When each status began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) in_progress: Option<u64>,
    pub(super) finalizing: Option<u64>,
    pub(super) completed: Option<u64>,
    pub(super) failed: Option<u64>,
    pub(super) expired: Option<u64>,
    pub(super) cancelling: Option<u64>,
    pub(super) cancelled: Option<u64>,
}

/// Whole seconds.
pub(super) const fn seconds(at: Moment) -> u64 {
    at.as_millis() / 1000
}

impl Order {
    /// Reads what is kept.
    pub(super) fn of(about: &str) -> Self {
        serde_json::from_str(about).unwrap_or_default()
    }

    pub(super) fn kept(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// It is so far now.
    pub(super) fn becomes(&mut self, status: Status, now: Moment) {
        self.status = status;
        let times = &mut self.times;
        let at = match status {
            Status::Validating => return,
            Status::Failed => &mut times.failed,
            Status::InProgress => &mut times.in_progress,
            Status::Finalizing => &mut times.finalizing,
            Status::Completed => &mut times.completed,
            Status::Expired => &mut times.expired,
            Status::Cancelling => &mut times.cancelling,
            Status::Cancelled => &mut times.cancelled,
        };
        at.get_or_insert(seconds(now));
    }

    /// What is wrong with it, as it is told and kept.
    pub(super) fn problem(problem: &Problem) -> Value {
        json!({"code": problem.code, "message": problem.message, "param": problem.param, "line": problem.line})
    }

    /// OpenAI's object. `counts`: of its lines now, where it is not at its end.
    pub(super) fn told(&self, batch: &KeptBatch, counts: LineCounts) -> Value {
        let Self { endpoint, completion_window, status, metadata, times, problems, output_file, error_file, .. } = self;
        let [total, completed, failed] = self.counts.unwrap_or([counts.total, counts.answered, counts.failed]);
        let errors = (!problems.is_empty()).then(|| json!({"object": "list", "data": problems}));
        json!({
            "id": batch.id,
            "object": "batch",
            "endpoint": endpoint,
            "errors": errors,
            "input_file_id": batch.input,
            "completion_window": completion_window,
            "status": status,
            "output_file_id": output_file,
            "error_file_id": error_file,
            "created_at": batch.created_ms / 1000,
            "in_progress_at": times.in_progress,
            "expires_at": self.expires_at,
            "finalizing_at": times.finalizing,
            "completed_at": times.completed,
            "failed_at": times.failed,
            "expired_at": times.expired,
            "cancelling_at": times.cancelling,
            "cancelled_at": times.cancelled,
            "request_counts": {"total": total, "completed": completed, "failed": failed},
            "model": self.model,
            "usage": self.usage.map(BatchUsage::told),
            "metadata": metadata,
        })
    }
}
