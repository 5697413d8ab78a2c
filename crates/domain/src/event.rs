//! The closed, versioned list of events. Adding a variant is a new version of the log; changing one's meaning is not done.

use crate::entity::{GitEvent, RunState, RunStatus, StepState, TriggerKind, WindowKind};
use crate::{Digest, ExperimentId, IncidentId, ModelName, PipelineRunId, Range, RunId, Timestamp, TrainingSetId, Verdict, VersionNumber};
use serde::{Deserialize, Serialize};

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $topic:ident $name:ident { $($(#[$fm:meta])* $field:ident : $type:ty),* $(,)? })*) => {
        /// Something that happened. The log of these is the truth that every block meets in.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type")]
        pub enum Event {
            $($(#[doc = $doc])+ $name { $($(#[$fm])* $field: $type),* },)*
        }

        impl Event {
            /// The version of the list.
            pub const VERSION: u32 = 1;

            /// The event's name, as in the log.
            pub fn name(&self) -> &'static str {
                match self { $(Event::$name { .. } => stringify!($name),)* }
            }

            /// The block it belongs to.
            pub fn topic(&self) -> Topic {
                match self { $(Event::$name { .. } => Topic::$topic,)* }
            }

            /// Name, topic, fields with types, and meaning of every event: what `docs/events.md` is made from.
            pub fn catalogue() -> Vec<(&'static str, Topic, Vec<(&'static str, &'static str)>, String)> {
                vec![$((stringify!($name), Topic::$topic, vec![$((stringify!($field), stringify!($type))),*], [$($doc),+].concat().trim().to_owned()),)*]
            }
        }
    };
}

/// The block that an event belongs to: the stations of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    Features,
    Tracking,
    Pipelines,
    Delivery,
    Serving,
    Monitoring,
}

events! {
    /// The project file was applied.
    Features ProjectApplied { hash: Digest, changes: Vec<String> }
    /// A feature view got a new version.
    Features FeatureViewVersioned { view: String, version: u64, hash: Digest }
    /// A piece of a row stream became immutable. `watermark`: no earlier event time is expected.
    Features SegmentSealed { stream: String, segment: u64, rows: u64, time: Range, watermark: Timestamp }
    /// Rows of a source were written to its table.
    Features TableWritten { source: String, table_version: i64, rows: u64, segment: Option<u64> }
    /// A view's newest values are in the online store.
    Features FeaturesMaterialized { view: String, rows: u64 }
    /// A training set was built and recorded.
    Features TrainingSetRecorded { training_set: TrainingSetId, model: String, rows: u64, cutoff: Timestamp, content: Digest }
    /// An experiment was created.
    Tracking ExperimentCreated { experiment: ExperimentId, name: String }
    /// Something that another tracking server knew was taken in, as it was there.
    Tracking Imported { what: String }
    /// A run began.
    Tracking RunStarted { run: RunId, experiment: ExperimentId, name: String, pipeline_run: Option<PipelineRunId> }
    /// A run ended.
    Tracking RunFinished { run: RunId, status: RunStatus }
    /// A model got a version: a challenger, until a gate says more.
    Tracking ModelVersionRegistered { model: ModelName, version: VersionNumber, run: Option<RunId>, pipeline_run: Option<PipelineRunId> }
    /// A client moved an alias by hand.
    Tracking AliasSet { model: ModelName, alias: String, version: Option<VersionNumber>, previous: Option<VersionNumber> }
    /// A pipeline was asked for.
    Pipelines PipelineRunRequested { pipeline_run: PipelineRunId, pipeline: String, version: u64, trigger: TriggerKind }
    /// A git host told of a commit that a pipeline is to look at.
    Pipelines CommitArrived { pipeline: String, delivery: Digest, event: GitEvent, reference: String, commit: Option<String>, by: String }
    /// What should have started a pipeline did not: why.
    Pipelines TriggerSkipped { pipeline: String, trigger: TriggerKind, why: String }
    /// A range of past instants is to be worked off.
    Pipelines BackfillRequested { backfill: String, pipeline: String, from: Timestamp, to: Timestamp, runs: u64 }
    /// Every pipeline run of a backfill has ended.
    Pipelines BackfillFinished { backfill: String, pipeline: String, succeeded: u64, failed: u64, cancelled: bool }
    /// A person or a time-out asked a pipeline run to stop.
    Pipelines PipelineCancelRequested { pipeline_run: PipelineRunId }
    /// An attempt of a step began.
    Pipelines StepStarted { pipeline_run: PipelineRunId, step: String, attempt: u32, why: String }
    /// A step came to its end.
    Pipelines StepFinished { pipeline_run: PipelineRunId, step: String, state: StepState, attempts: u32, error: Option<String>, why: Option<String> }
    /// A pipeline run came to its end.
    Pipelines PipelineRunFinished { pipeline_run: PipelineRunId, pipeline: String, state: RunState, error: Option<String> }
    /// A version is to be judged.
    Delivery GateRequested { model: ModelName, challenger: VersionNumber, holdout: Range }
    /// A gate has judged; the figures are the model's main metric on the same rows.
    Delivery GateDecided { model: ModelName, challenger: VersionNumber, champion: Option<VersionNumber>, verdict: Verdict, challenger_figure: Option<f64>, champion_figure: Option<f64>, why: String }
    /// A version went on to the next stage of its rollout.
    Delivery RolloutAdvanced { model: ModelName, version: VersionNumber, stage: String }
    /// A rollout was given up.
    Delivery RolloutAborted { model: ModelName, version: VersionNumber, why: String }
    /// A passed version waits for people.
    Delivery ApprovalRequested { model: ModelName, version: VersionNumber, people: u32, expires: Option<Timestamp> }
    /// A person approved of a version; `overrides`: although the gate did not pass. Enough of them let it out.
    Delivery ApprovalGiven { model: ModelName, version: VersionNumber, by: String, reason: String, given: u32, people: u32, overrides: bool }
    /// A person rejected a version.
    Delivery ApprovalRejected { model: ModelName, version: VersionNumber, by: String, reason: String }
    /// A version waited too long for people: it must be judged again.
    Delivery ApprovalExpired { model: ModelName, version: VersionNumber }
    /// A rollout stands still until a person says how to go on.
    Delivery RolloutPaused { model: ModelName, version: VersionNumber, why: String }
    /// A person let a rollout that stood still go on.
    Delivery RolloutResumed { model: ModelName, version: VersionNumber, by: String }
    /// Labels said more about a canary: mean losses of a row on both sides, and the always-valid p of no difference.
    Delivery CanaryLabelled { model: ModelName, version: VersionNumber, champion_rows: u64, canary_rows: u64, champion_loss: f64, canary_loss: f64, p: f64 }
    /// A version became champion.
    Delivery ChampionPromoted { model: ModelName, version: VersionNumber, previous: Option<VersionNumber>, by: String, why: String }
    /// The challenger in the shadow has answered the requests that it must.
    Serving ShadowServed { model: ModelName, version: VersionNumber, answered: u64, failed: u64 }
    /// What a canary has answered so far at its weight, in percent of the entities.
    Serving CanaryServed { model: ModelName, version: VersionNumber, weight: u8, answered: u64, failed: u64, champion_answered: u64, latency_ratio: Option<f64>, score_psi: Option<f64> }
    /// A model worker died and is being restarted.
    Serving WorkerCrashed { model: ModelName, version: VersionNumber, why: String }
    /// What a version's workers see was locked, and is installed.
    Serving EnvironmentLocked { model: ModelName, version: VersionNumber, lock: Digest, python: String, packages: u64 }
    /// A version's environment could not be locked or installed.
    Serving EnvironmentRefused { model: ModelName, version: VersionNumber, code: String, why: String }
    /// A version is watched from now on, against its own reference.
    Monitoring MonitorStarted { model: ModelName, version: VersionNumber, reference: String }
    /// A watermark passed a window's end.
    Monitoring WindowClosed { model: ModelName, version: VersionNumber, kind: WindowKind, range: Range, whole: bool }
    /// A window was judged.
    Monitoring WindowJudged { model: ModelName, version: VersionNumber, kind: WindowKind, range: Range, whole: bool, verdict: Verdict, metric: Option<f64>, threshold: Option<f64>, why: String }
    /// Rows that came after a window was judged changed what it says; incidents do not count it again.
    Monitoring WindowAmended { model: ModelName, version: VersionNumber, kind: WindowKind, range: Range, late: u64, verdict: Verdict, why: String }
    /// Inputs or predictions moved beyond what the reference's own windows do.
    Monitoring DriftFound { model: ModelName, version: VersionNumber, range: Range, features: Vec<String> }
    /// A model does harm.
    Monitoring IncidentOpened { incident: IncidentId, model: ModelName, version: VersionNumber, why: String }
    /// People are to be told.
    Monitoring AlertRaised { topic: String, model: Option<ModelName>, title: String }
    /// An incident asks for a retraining; `auto` is false when a person did.
    Monitoring RetrainRequested { incident: IncidentId, model: ModelName, pipeline: String, pipeline_run: PipelineRunId, holdout_to: Timestamp, auto: bool, why: String }
    /// A retraining did not help: the challenger was refused, or its first windows are bad.
    Monitoring RetrainUnhelpful { incident: IncidentId, model: ModelName, pipeline_run: PipelineRunId, in_a_row: u32, why: String }
    /// The first good window after a retraining.
    Monitoring IncidentResolved { incident: IncidentId, model: ModelName, why: String }
    /// Retraining does not help: people are called, with the evidence.
    Monitoring IncidentEscalated { incident: IncidentId, model: ModelName, why: String }
}
