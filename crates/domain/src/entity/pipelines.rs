//! Pipelines as they ran.

use super::GitEvent;
use crate::spec::{ParamValue, PipelineSpec};
use crate::{Digest, IncidentId, PipelineRunId, RunId, Scalar, Span, Timestamp, TrainingSetId};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A pipeline's definition, by the hash of definition, code, parameters and environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineVersion {
    pub pipeline: String,
    pub number: u64,
    pub hash: Digest,
    pub spec: PipelineSpec,
    /// Content of the code files that the steps name.
    pub code: Digest,
    /// Interpreter and lock file.
    pub environment: Digest,
    pub git_commit: Option<String>,
    /// What the working tree differed from that commit by, as a patch, and the files that git did not know; `None` if by nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_diff: Option<String>,
    pub created: Timestamp,
}

/// The code and lock files of a pipeline version, kept by content when it first ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptCode {
    pub pipeline: String,
    pub version: u64,
    /// Path within the project's folder to content.
    pub files: IndexMap<String, StepArtifact>,
    /// Files that are too large to be kept.
    pub left_out: Vec<String>,
}

/// Who asked for a pipeline run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum TriggerKind {
    Command,
    Api,
    Incident {
        incident: IncidentId,
    },
    /// A cron expression; `at` is when it was due.
    Schedule {
        at: Timestamp,
    },
    /// Something that happened: `model:demand`, and the event's number.
    Event {
        on: String,
        seq: u64,
    },
    /// A step of another pipeline run.
    Step {
        pipeline_run: PipelineRunId,
        step: String,
    },
    /// A commit that a git host told of.
    Git {
        event: GitEvent,
        reference: String,
        commit: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
        by: String,
    },
    /// One instant of a backfill.
    Backfill {
        backfill: String,
        at: Timestamp,
    },
}

/// How far a cron expression of a pipeline has come: a firing is decided on once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleMark {
    pub pipeline: String,
    pub cron: String,
    pub tz: String,
    /// Firings up to here are decided on.
    pub last: Timestamp,
    /// Firings that nobody made good, because the server was down for longer than the pipeline's `catchup`.
    pub missed: u64,
}

impl ScheduleMark {
    /// The key of an expression of a pipeline; another zone is another schedule.
    pub fn key_of(pipeline: &str, cron: &str, tz: &str) -> String {
        format!("{pipeline}/{}", Digest::of_parts([cron.as_bytes(), tz.as_bytes()]).short())
    }
}

/// Pipeline runs for a range of past instants, some at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backfill {
    pub id: String,
    pub pipeline: String,
    pub from: Timestamp,
    /// Exclusive.
    pub to: Timestamp,
    pub every: Span,
    /// Pipeline runs at a time.
    pub parallel: u32,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub params: IndexMap<String, ParamValue>,
    pub requested: Timestamp,
    /// The first instant that has no run yet; `to` or later when all have.
    pub next: Timestamp,
    /// Those under way.
    pub running: Vec<PipelineRunId>,
    pub succeeded: u64,
    /// Those that failed or were cancelled; the others go on.
    pub failed: Vec<PipelineRunId>,
    pub cancelled: bool,
}

impl Backfill {
    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.running.is_empty() && (self.cancelled || self.next >= self.to)
    }
}

/// Why and for what time a pipeline run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    #[serde(flatten)]
    pub kind: TriggerKind,
    /// `trigger.time`: labels that had arrived by then may be used.
    pub time: Timestamp,
    /// Where the gate's holdout ends: the end of the window that asked, or `time`.
    pub holdout_to: Timestamp,
}

/// How a pipeline run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl TriggerKind {
    /// `push of main`, `pull request 7 from fix`, `tag v1`: what a commit came with, and its first digits.
    pub fn git_words(&self) -> Option<(String, &str)> {
        let TriggerKind::Git { event, reference, commit, number, .. } = self else { return None };
        let what = match (event, number) {
            (GitEvent::Push, _) => format!("push of {reference}"),
            (GitEvent::Tag, _) => format!("tag {reference}"),
            (GitEvent::PullRequest, Some(number)) => format!("pull request {number} from {reference}"),
            (GitEvent::PullRequest, None) => format!("pull request from {reference}"),
        };
        Some((what, commit.get(..7).unwrap_or(commit)))
    }
}

impl RunState {
    /// The state's word.
    pub fn word(self) -> &'static str {
        match self {
            RunState::Queued => "queued",
            RunState::Running => "running",
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen.
    pub fn is_over(self) -> bool {
        matches!(self, RunState::Succeeded | RunState::Failed | RunState::Cancelled)
    }
}

/// One execution of a pipeline version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineRun {
    pub id: PipelineRunId,
    pub pipeline: String,
    pub version: u64,
    pub params: IndexMap<String, ParamValue>,
    /// What the step of another pipeline run gave it.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub inputs: IndexMap<String, StepArtifact>,
    pub trigger: Trigger,
    pub state: RunState,
    pub cancel_asked: bool,
    pub requested: Timestamp,
    /// Wall clock.
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    /// The first failure, as it is shown.
    pub error: Option<String>,
    /// Set when it repeats another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// Where its steps work, if that is not the project's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The interpreter of its steps, if that is not the project's: that of a locked environment, for an exact repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
}

impl PipelineRun {
    /// A run that waits for the engine: version 0 and no parameters, until they are told.
    pub fn queued(id: PipelineRunId, pipeline: &str, trigger: Trigger, requested: Timestamp) -> Self {
        PipelineRun {
            id,
            pipeline: pipeline.into(),
            version: 0,
            params: IndexMap::new(),
            inputs: IndexMap::new(),
            trigger,
            state: RunState::Queued,
            cancel_asked: false,
            requested,
            started: None,
            ended: None,
            error: None,
            again: None,
            root: None,
            python: None,
        }
    }
}

/// How a pipeline run repeats another: the same version, parameters and trigger time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Again {
    pub of: PipelineRunId,
    /// The one step that runs, with the inputs that it had; `None`: all of them, as the cache allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The one trial of that step's search that runs, by its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<u32>,
    /// The steps work in a folder with the code as it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    #[default]
    Waiting,
    Running,
    Succeeded,
    /// Its outputs were taken from an earlier attempt with the same key.
    Cached,
    Failed,
    /// Its `when` was not true, or a step before it was skipped.
    Skipped,
    /// A step before it did not succeed.
    UpstreamFailed,
    Cancelled,
}

impl StepState {
    /// Whether its outputs are there.
    pub fn is_done(self) -> bool {
        matches!(self, StepState::Succeeded | StepState::Cached)
    }

    /// Whether nothing more will happen.
    pub fn is_over(self) -> bool {
        !matches!(self, StepState::Waiting | StepState::Running)
    }
}

/// A step within a pipeline run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineStep {
    pub pipeline_run: PipelineRunId,
    pub name: String,
    pub state: StepState,
    /// Why it ran or was cached: `first run`, `params.max_iter changed`, `same key as RUN`.
    pub why: Option<String>,
    pub cache_key: Option<Digest>,
    /// The components of the key by name, to tell why it reran.
    pub key_parts: IndexMap<String, Digest>,
    pub attempts: Vec<StepAttempt>,
    pub outputs: IndexMap<String, StepArtifact>,
    /// What a training-set step recorded.
    pub training_set: Option<TrainingSetId>,
    /// A search's parent run and its trials so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// It runs whatever the cache holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fresh: bool,
    /// The items of a step with `each`, once they are known; each has a step of its own, `NAME[0]` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<Item>>,
    /// The values of the one item that this step is for.
    #[serde(default, skip_serializing_if = "Item::is_empty")]
    pub item: Item,
    /// The run of another pipeline that the step is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<PipelineRunId>,
}

/// The values of one item of `each`, by name.
pub type Item = IndexMap<String, Scalar>;

impl PipelineStep {
    /// A step that waits for its turn.
    pub fn waiting(pipeline_run: PipelineRunId, name: &str) -> Self {
        PipelineStep {
            pipeline_run,
            name: name.into(),
            state: StepState::Waiting,
            why: None,
            cache_key: None,
            key_parts: IndexMap::new(),
            attempts: Vec::new(),
            outputs: IndexMap::new(),
            training_set: None,
            sweep: None,
            fresh: false,
            items: None,
            item: Item::new(),
            child: None,
        }
    }
}

/// A hyper-parameter search as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// The parent of the trials' runs.
    pub run: RunId,
    /// Those that have ended, in the order of their end.
    pub trials: Vec<Trial>,
}

/// One trial that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// From 0, in the order of the definition.
    pub number: u32,
    pub params: IndexMap<String, Scalar>,
    /// The run that its command started, if it did.
    pub run: Option<RunId>,
    /// The metric's latest value; never NaN.
    pub value: Option<f64>,
    pub error: Option<String>,
    pub outputs: IndexMap<String, StepArtifact>,
    pub cpu_ms: Option<u64>,
}

/// The cache key of a step as it was last computed, by component: what "why it reran" is told from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastStepKey {
    pub pipeline: String,
    pub step: String,
    pub parts: IndexMap<String, Digest>,
}

/// An output file of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepArtifact {
    pub digest: Digest,
    pub bytes: u64,
    /// File name as the step wrote it.
    pub name: String,
    /// The outputs of a step with `each`: the content is a JSON list of the items' artifacts, and who takes it gets a folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub list: bool,
}

/// One attempt of a step, kept whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepAttempt {
    pub number: u32,
    pub command: Vec<String>,
    /// Names and values of the variables it was given, secrets masked.
    pub env: IndexMap<String, String>,
    pub code: Option<Digest>,
    pub git_commit: Option<String>,
    /// Wall clock.
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub exit: Option<i32>,
    pub signal: Option<i32>,
    pub timed_out: bool,
    pub cpu_ms: Option<u64>,
    pub peak_memory_bytes: Option<u64>,
    /// The GPUs that it had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    /// How long it waited for room in the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<Span>,
    /// How long it held its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<Span>,
    /// The log of both streams, under the home.
    pub log: String,
    /// `pipeline retrain, step train, attempt 2: exit 1: ...`.
    pub error: Option<String>,
}

impl StepAttempt {
    /// An attempt that begins now: nothing is known of its end.
    pub fn begun(number: u32, started: Timestamp) -> Self {
        StepAttempt {
            number,
            command: Vec::new(),
            env: IndexMap::new(),
            code: None,
            git_commit: None,
            started,
            ended: None,
            exit: None,
            signal: None,
            timed_out: false,
            cpu_ms: None,
            peak_memory_bytes: None,
            gpus: Vec::new(),
            waited: None,
            ran: None,
            log: String::new(),
            error: None,
        }
    }
}

/// What a cache key gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheEntry {
    pub key: Digest,
    pub outputs: IndexMap<String, StepArtifact>,
    pub pipeline_run: PipelineRunId,
    pub step: String,
    pub training_set: Option<TrainingSetId>,
    pub created: Timestamp,
}
