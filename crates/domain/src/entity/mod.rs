//! What was observed of the nouns: each entity is stored whole under its collection and key, with a revision.

mod checks;
mod datasets;
mod delivery;
mod features;
mod git;
mod monitoring;
mod notify;
mod pipelines;
mod registry;
mod runs;
mod usage;
mod webhooks;

pub use checks::{CaseState, CheckCase, CheckCounts, CheckHistory, CheckReport, FlakyCase, Reported};
pub use datasets::{DatasetRecord, EvaluationDataset};
pub use delivery::{
    Approval, ApprovalState, Canary, CanaryLabels, CanarySeen, Check, Deployment, GateFigure, GateReport, GateRequest, Interval, Override,
    Promotion, Shadow, Slice, Tested, Vote,
};
pub use features::{AppliedProject, FeatureViewVersion, MaterializationState, Segment, SourceTable, TrainingSet};
pub use git::{Arrival, CommitState, CommitStatus, GitEvent, HookDelivery, LineageState};
pub use monitoring::{FeatureDrift, Incident, IncidentState, Monitor, Performance, RetrainAttempt, RetrainOutcome, Window, WindowKind};
pub use notify::Notification;
pub use pipelines::{
    Again, Backfill, CacheEntry, Item, KeptCode, LastStepKey, PipelineRun, PipelineStep, PipelineVersion, RunState, ScheduleMark,
    StepArtifact, StepAttempt, StepState, Sweep, Trial, Trigger, TriggerKind,
};
pub use registry::{
    EnvironmentLock, LoggedModel, LoggedModelStatus, ModelVersion, PROMPT_TAG, RegisteredModel, VersionEnvironment, VersionStatus,
};
pub use runs::{DatasetInput, Experiment, LifecycleStage, Metric, ModelOutput, Param, Run, RunStatus, Tag};
pub use usage::{Consumed, OpenRun, RunCount, RunIndex, UsedByModel, UsedByRun, usage_day, usage_days};
pub use webhooks::{Webhook, WebhookDelivery, WebhookEvent};
