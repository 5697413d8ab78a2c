//! Words and numbers of MLflow's stores, as ours.

use domain::Timestamp;
use domain::entity::{LifecycleStage, LoggedModelStatus, RunStatus, VersionStatus};

pub(crate) fn stage(word: &str) -> LifecycleStage {
    if word == "deleted" { LifecycleStage::Deleted } else { LifecycleStage::Active }
}

/// A word, or the number that folder stores write.
pub(crate) fn run_status(word: &str) -> RunStatus {
    match word {
        "1" => RunStatus::Running,
        "2" => RunStatus::Scheduled,
        "3" => RunStatus::Finished,
        "4" => RunStatus::Failed,
        "5" => RunStatus::Killed,
        word => RunStatus::of_word(word).unwrap_or(RunStatus::Finished),
    }
}

/// The number that stores keep, or the word of the REST API.
pub(crate) fn model_status(word: &str) -> LoggedModelStatus {
    match word.trim_start_matches("LOGGED_MODEL_") {
        "2" | "READY" => LoggedModelStatus::Ready,
        "3" | "FAILED" | "UPLOAD_FAILED" => LoggedModelStatus::Failed,
        _ => LoggedModelStatus::Pending,
    }
}

pub(crate) fn version_status(word: &str) -> VersionStatus {
    match word {
        "PENDING_REGISTRATION" => VersionStatus::PendingRegistration,
        "FAILED_REGISTRATION" => VersionStatus::FailedRegistration,
        _ => VersionStatus::Ready,
    }
}

/// Milliseconds; nothing known is the epoch.
pub(crate) fn time(ms: Option<i64>) -> Timestamp {
    Timestamp::from_ms(ms.unwrap_or(0)).clamp(Timestamp::MIN, Timestamp::MAX)
}

/// The SQL stores keep an infinity as the greatest number there is, and NaN as zero with a mark.
pub(crate) fn stored_value(value: f64, is_nan: bool) -> f64 {
    match value {
        _ if is_nan => f64::NAN,
        value if value == f64::MAX => f64::INFINITY,
        value if value == f64::MIN => f64::NEG_INFINITY,
        value => value,
    }
}
