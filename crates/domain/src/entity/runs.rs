//! Experiments and runs. The `RunStore` owns them; the other entities are documents in the metadata store.

use crate::filter::{Field, Found, Searchable};
use crate::{ExperimentId, OrderedNumber, RunId, Timestamp};
use serde::{Deserialize, Serialize};

/// Whether a thing is there or in the bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleStage {
    #[default]
    Active,
    Deleted,
}

impl LifecycleStage {
    /// The word that stores and clients use.
    pub fn word(self) -> &'static str {
        match self {
            LifecycleStage::Active => "active",
            LifecycleStage::Deleted => "deleted",
        }
    }
}

/// A named group of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    pub id: ExperimentId,
    pub name: String,
    pub artifact_location: String,
    pub lifecycle_stage: LifecycleStage,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub tags: Vec<Tag>,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    #[default]
    Running,
    Scheduled,
    Finished,
    Failed,
    Killed,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [RunStatus; 5] = [RunStatus::Running, RunStatus::Scheduled, RunStatus::Finished, RunStatus::Failed, RunStatus::Killed];

    /// The word that stores, filters and clients use.
    pub fn word(self) -> &'static str {
        match self {
            RunStatus::Running => "RUNNING",
            RunStatus::Scheduled => "SCHEDULED",
            RunStatus::Finished => "FINISHED",
            RunStatus::Failed => "FAILED",
            RunStatus::Killed => "KILLED",
        }
    }

    /// The status of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        RunStatus::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// A tracking run with what was logged to it; `metrics` holds the latest value of each key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub experiment: ExperimentId,
    pub name: String,
    pub user: String,
    pub status: RunStatus,
    pub start: Timestamp,
    pub end: Option<Timestamp>,
    pub lifecycle_stage: LifecycleStage,
    pub artifact_uri: String,
    pub params: Vec<Param>,
    pub tags: Vec<Tag>,
    pub metrics: Vec<Metric>,
    pub inputs: Vec<DatasetInput>,
    pub outputs: Vec<ModelOutput>,
}

impl Run {
    /// The value of a tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str())
    }
}

impl Searchable for Run {
    fn find(&self, field: &Field) -> Vec<Found<'_>> {
        match field {
            Field::Attribute(name) => match name.as_str() {
                "run_id" => vec![Found::Text(self.id.as_str())],
                "run_name" => vec![Found::Text(&self.name)],
                "status" => vec![Found::Text(self.status.word())],
                "user_id" => vec![Found::Text(&self.user)],
                "artifact_uri" => vec![Found::Text(&self.artifact_uri)],
                "start_time" => vec![Found::Number(self.start.ms() as f64)],
                "end_time" => self.end.map(|end| Found::Number(end.ms() as f64)).into_iter().collect(),
                "duration" => self.end.map(|end| Found::Number((end - self.start).ms() as f64)).into_iter().collect(),
                _ => Vec::new(),
            },
            Field::Metric(key) => self.metrics.iter().filter(|m| m.key == *key).map(|m| Found::Number(m.value)).collect(),
            Field::Param(key) => self.params.iter().filter(|p| p.key == *key).map(|p| Found::Text(&p.value)).collect(),
            Field::Tag(key) => self.tag(key).map(Found::Text).into_iter().collect(),
            Field::Dataset(part) => self.inputs.iter().flat_map(|input| input.part(part)).map(Found::Text).collect(),
        }
    }
}

impl Searchable for Experiment {
    fn find(&self, field: &Field) -> Vec<Found<'_>> {
        match field {
            Field::Attribute(name) => match name.as_str() {
                "name" => vec![Found::Text(&self.name)],
                "experiment_id" => vec![Found::Text(self.id.as_str())],
                "creation_time" => vec![Found::Number(self.created.ms() as f64)],
                "last_update_time" => vec![Found::Number(self.updated.ms() as f64)],
                _ => Vec::new(),
            },
            Field::Tag(key) => self.tags.iter().filter(|tag| tag.key == *key).map(|tag| Found::Text(&tag.value)).collect(),
            _ => Vec::new(),
        }
    }
}

/// A hyper-parameter: set once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    pub key: String,
    pub value: String,
}

/// A label of an experiment, run, model or version: the last value wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

impl Tag {
    /// A tag.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Tag { key: key.into(), value: value.into() }
    }
}

/// One point of a metric. `value` may be NaN or infinite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    pub key: String,
    #[serde(with = "crate::any_number")]
    pub value: f64,
    /// When it was logged.
    pub time: Timestamp,
    pub step: i64,
    /// The logged model that the value is about.
    pub model_id: Option<String>,
    pub dataset_name: Option<String>,
    pub dataset_digest: Option<String>,
}

impl Metric {
    /// The point of a key with the greatest rank is its latest: step, then time, then value.
    pub fn rank(&self) -> (i64, i64, OrderedNumber) {
        (self.step, self.time.ms(), OrderedNumber::new(self.value))
    }

    /// Where the point stands in its key's history: time, then step, then value. Two points at one place are the same point.
    pub fn place(&self) -> (i64, i64, OrderedNumber) {
        (self.time.ms(), self.step, OrderedNumber::new(self.value))
    }
}

/// A dataset that a run read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetInput {
    pub name: String,
    pub digest: String,
    pub source_type: String,
    pub source: String,
    pub schema: Option<String>,
    pub profile: Option<String>,
    pub tags: Vec<Tag>,
}

impl DatasetInput {
    /// The tag that says what a dataset was for.
    pub const CONTEXT_TAG: &str = "mlflow.data.context";

    /// What the dataset was for.
    pub fn context(&self) -> Option<&str> {
        self.tags.iter().find(|tag| tag.key == Self::CONTEXT_TAG).map(|tag| tag.value.as_str())
    }

    /// `name`, `digest` or `context`, as a filter asks for it.
    fn part(&self, part: &str) -> Option<&str> {
        match part {
            "name" => Some(&self.name),
            "digest" => Some(&self.digest),
            "context" => self.context(),
            _ => None,
        }
    }
}

/// A logged model that a run wrote, or read when `input` is true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelOutput {
    pub model_id: String,
    pub step: i64,
    pub input: bool,
}
