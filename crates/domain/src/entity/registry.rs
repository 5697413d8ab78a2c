//! The model registry.

use super::{Metric, Param, Tag};
use crate::{ExperimentId, ModelName, PipelineRunId, RunId, Timestamp, TrainingSetId, VersionNumber};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A registered model: a name, its aliases, and the number that its next version gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisteredModel {
    pub name: ModelName,
    pub description: String,
    pub tags: Vec<Tag>,
    pub aliases: BTreeMap<String, VersionNumber>,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Never goes down, so that a deleted version's number is not given again.
    pub next_version: u64,
}

/// How a version's files stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VersionStatus {
    PendingRegistration,
    #[default]
    Ready,
    FailedRegistration,
}

/// One version of a registered model, with what is known of its making.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    pub model: ModelName,
    pub version: VersionNumber,
    pub run: Option<RunId>,
    /// As the client gave it: `models:/m-...`, `runs:/...`, `mlflow-artifacts:/...`.
    pub source: String,
    /// Where the files are in the artifact store.
    pub artifact_path: String,
    pub model_id: Option<String>,
    pub status: VersionStatus,
    pub stage: String,
    pub description: String,
    pub tags: Vec<Tag>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub pipeline_run: Option<PipelineRunId>,
    pub training_set: Option<TrainingSetId>,
    /// No row at or after this instant was trained on; `None`: not known.
    pub trained_until: Option<Timestamp>,
}

/// How a logged model stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoggedModelStatus {
    #[default]
    Pending,
    Ready,
    Failed,
}

/// A model that a run logged: `m-` and 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedModel {
    pub id: String,
    pub experiment: ExperimentId,
    pub name: String,
    pub artifact_uri: String,
    pub model_type: Option<String>,
    pub source_run: Option<RunId>,
    pub status: LoggedModelStatus,
    pub status_message: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub tags: Vec<Tag>,
    pub params: Vec<Param>,
    pub metrics: Vec<Metric>,
}
