//! Monitors, windows, incidents.

use crate::{IncidentId, ModelName, PipelineRunId, Range, Timestamp, Verdict, VersionNumber};
use serde::{Deserialize, Serialize};

/// The watch over one model version: its reference and its learnt thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    pub model: ModelName,
    pub version: VersionNumber,
    /// Where the reference profile is in the artifact store.
    pub reference: Option<String>,
    /// What the reference is: `training set ID, 1204 rows`.
    pub reference_what: String,
    /// Since when the version is champion; windows before are not its own.
    pub from: Timestamp,
    /// Until when it was, if it is no more.
    pub to: Option<Timestamp>,
    /// End of the newest input window that closed.
    #[serde(default)]
    pub input_closed_to: Option<Timestamp>,
    /// End of the newest performance window that closed.
    #[serde(default)]
    pub performance_closed_to: Option<Timestamp>,
    /// The bad windows that count: since the last good one, retraining decision or escalation.
    #[serde(default)]
    pub bad: Vec<Range>,
    /// The newest event time that a segment of predictions has told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
}

/// What a window is closed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// The data watermark.
    Input,
    /// The label watermark.
    Performance,
}

impl WindowKind {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            WindowKind::Input => "input",
            WindowKind::Performance => "performance",
        }
    }
}

/// The drift of one column within one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureDrift {
    pub feature: String,
    /// `wasserstein` (of the reference's standard deviations), `psi`.
    pub statistic: String,
    pub value: Option<f64>,
    pub threshold: f64,
    /// How the threshold came: `greatest of 7 reference windows`, `fixed`.
    pub threshold_what: String,
    pub verdict: Verdict,
    pub nulls: u64,
}

/// The performance within one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    pub metric: String,
    pub value: Option<f64>,
    pub labelled: u64,
    pub predicted: u64,
    /// What it is compared with; `None`: nothing to compare with yet.
    pub threshold: Option<f64>,
}

/// A window of one model version, from its closing on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub model: ModelName,
    pub version: VersionNumber,
    pub kind: WindowKind,
    pub range: Range,
    /// Whether the version served the whole of it as champion: only then it counts.
    pub whole: bool,
    pub closed: Timestamp,
    /// Rows that were lost or not logged: such a window is incomplete.
    pub lost: u64,
    pub rows: u64,
    pub verdict: Option<Verdict>,
    /// One sentence: `inputs moved (temp), performance holds`.
    pub why: Option<String>,
    pub drift: Vec<FeatureDrift>,
    pub performance: Option<Performance>,
    /// Rows that came after it was judged.
    pub late: u64,
    /// Segments of its stream that the judgement read: rows in later ones are late.
    #[serde(default)]
    pub segments: u64,
}

/// How a retraining that an incident asked for went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrainOutcome {
    /// The pipeline runs, or the gate or the rollout is not done.
    Open,
    /// The pipeline failed or registered nothing.
    Failed,
    /// The gate said no.
    Refused,
    /// The challenger is champion; its windows will tell.
    Promoted,
    /// The new champion's first windows are bad.
    Unhelpful,
    /// The new champion's first counted window is good.
    Helped,
}

/// One retraining of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrainAttempt {
    pub pipeline_run: PipelineRunId,
    pub asked: Timestamp,
    pub challenger: Option<VersionNumber>,
    pub outcome: RetrainOutcome,
    pub why: String,
}

/// How an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    Open,
    Resolved,
    /// Handed to people, with the evidence, and closed.
    Escalated,
}

/// A model that does harm, from the first sign to the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub id: IncidentId,
    pub model: ModelName,
    pub state: IncidentState,
    pub opened: Timestamp,
    pub closed: Option<Timestamp>,
    /// The rule, as the file says it.
    pub rule: String,
    /// About how serving behaves, not about what the model predicts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub system: bool,
    /// The windows that opened it.
    pub evidence: Vec<Range>,
    /// Bad windows counted since the last retraining decision.
    pub bad_windows: u32,
    pub attempts: Vec<RetrainAttempt>,
    /// Unhelpful retrainings in a row.
    pub unhelpful: u32,
    /// Why it waits, if it does: `cool-down until ...`, `waiting for a person`.
    pub waiting: Option<String>,
    pub why: String,
}
