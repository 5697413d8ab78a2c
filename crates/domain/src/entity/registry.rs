//! The model registry.

use super::{LifecycleStage, Metric, Param, Tag};
use crate::filter::{Field, Found, Searchable};
use crate::{Digest, ExperimentId, ModelName, PipelineRunId, Refusal, RunId, Timestamp, TrainingSetId, VersionNumber};
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
    /// Where the files are in the artifact store; empty when they are elsewhere and only `source` tells.
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

/// The locked environment of a version, or why it has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionEnvironment {
    pub model: ModelName,
    pub version: VersionNumber,
    /// `None`: it could not be locked or installed, as `problem` says.
    pub lock: Option<EnvironmentLock>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Refusal>,
    pub at: Timestamp,
}

/// What an environment holds, to the byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentLock {
    /// Of the lock's text; the name of the environment that is installed from it.
    pub sha256: Digest,
    /// The lock, in the artifact store: a requirements file with hashes.
    pub path: String,
    /// The interpreter's version: `3.12.4`.
    pub python: String,
    /// `NAME==VERSION`, or `NAME @ ADDRESS`.
    pub packages: Vec<String>,
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
    /// In the bin it is found by nobody, but versions that came of it still have their files.
    #[serde(default)]
    pub lifecycle_stage: LifecycleStage,
    pub tags: Vec<Tag>,
    pub params: Vec<Param>,
    /// The latest point of each metric and dataset that its source run logged about it.
    pub metrics: Vec<Metric>,
    /// The same of other runs: evaluations.
    #[serde(default)]
    pub by_others: BTreeMap<RunId, Vec<Metric>>,
}

impl LoggedModel {
    /// Every metric about the model with the run that logged it.
    pub fn all_metrics(&self) -> impl Iterator<Item = (Option<&RunId>, &Metric)> {
        let own = self.metrics.iter().map(|metric| (self.source_run.as_ref(), metric));
        own.chain(self.by_others.iter().flat_map(|(run, metrics)| metrics.iter().map(move |metric| (Some(run), metric))))
    }
}

/// MLflow keeps prompts as registered models with this tag; clients that want models ask for `false`, which no model says.
pub const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";

fn find_tag<'a>(tags: &'a [Tag], key: &str) -> Vec<Found<'a>> {
    match tags.iter().find(|tag| tag.key == key) {
        Some(tag) => vec![Found::Text(&tag.value)],
        None if key == PROMPT_TAG => vec![Found::Text("false")],
        None => Vec::new(),
    }
}

impl Searchable for RegisteredModel {
    fn find(&self, field: &Field) -> Vec<Found<'_>> {
        match field {
            Field::Attribute(name) => match name.as_str() {
                "name" => vec![Found::Text(self.name.as_str())],
                "creation_timestamp" => vec![Found::Number(self.created.ms() as f64)],
                "last_updated_timestamp" => vec![Found::Number(self.updated.ms() as f64)],
                _ => Vec::new(),
            },
            Field::Tag(key) => find_tag(&self.tags, key),
            _ => Vec::new(),
        }
    }
}

impl Searchable for ModelVersion {
    fn find(&self, field: &Field) -> Vec<Found<'_>> {
        match field {
            Field::Attribute(name) => match name.as_str() {
                "name" => vec![Found::Text(self.model.as_str())],
                "version_number" => vec![Found::Number(self.version.0 as f64)],
                "run_id" => vec![Found::Text(self.run.as_ref().map_or("", RunId::as_str))],
                "source_path" => vec![Found::Text(&self.source)],
                "creation_timestamp" => vec![Found::Number(self.created.ms() as f64)],
                "last_updated_timestamp" => vec![Found::Number(self.updated.ms() as f64)],
                _ => Vec::new(),
            },
            Field::Tag(key) => find_tag(&self.tags, key),
            _ => Vec::new(),
        }
    }
}

impl LoggedModelStatus {
    /// The word that filters use.
    pub fn word(self) -> &'static str {
        match self {
            LoggedModelStatus::Pending => "PENDING",
            LoggedModelStatus::Ready => "READY",
            LoggedModelStatus::Failed => "FAILED",
        }
    }
}

impl Searchable for LoggedModel {
    fn find(&self, field: &Field) -> Vec<Found<'_>> {
        match field {
            Field::Attribute(name) => match name.as_str() {
                "name" => vec![Found::Text(&self.name)],
                "model_id" => vec![Found::Text(&self.id)],
                "model_type" => vec![Found::Text(self.model_type.as_deref().unwrap_or_default())],
                "status" => vec![Found::Text(self.status.word())],
                "source_run_id" => vec![Found::Text(self.source_run.as_ref().map_or("", RunId::as_str))],
                "creation_timestamp" => vec![Found::Number(self.created.ms() as f64)],
                "last_updated_timestamp" => vec![Found::Number(self.updated.ms() as f64)],
                _ => Vec::new(),
            },
            Field::Metric(key) => self.all_metrics().filter(|(_, m)| m.key == *key).map(|(_, m)| Found::Number(m.value)).collect(),
            Field::Param(key) => self.params.iter().filter(|p| p.key == *key).map(|p| Found::Text(&p.value)).collect(),
            Field::Tag(key) => self.tags.iter().filter(|tag| tag.key == *key).map(|tag| Found::Text(&tag.value)).collect(),
            Field::Dataset(_) => Vec::new(),
        }
    }
}
