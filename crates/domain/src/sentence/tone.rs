//! How an event is to be taken at a glance.

use crate::entity::{RunState, RunStatus, StepState, WindowKind};
use crate::{Event, Verdict};
use serde::Serialize;

/// How an event is to be taken at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// Housekeeping.
    Quiet,
    /// Work going on.
    Plain,
    /// A turn for the better.
    Good,
    /// Something to look at.
    Warn,
    /// Harm.
    Bad,
}

impl Event {
    /// How it is to be taken at a glance.
    pub fn tone(&self) -> Tone {
        match self {
            Event::SegmentSealed { .. }
            | Event::TableWritten { .. }
            | Event::FeaturesMaterialized { .. }
            | Event::StepStarted { .. }
            | Event::WindowClosed { .. }
            | Event::GateRequested { .. }
            | Event::CanaryServed { .. }
            | Event::CanaryLabelled { .. }
            | Event::EnvironmentLocked { .. }
            | Event::AlertRaised { .. } => Tone::Quiet,
            Event::ChampionPromoted { .. } | Event::IncidentResolved { .. } | Event::GateDecided { verdict: Verdict::Pass, .. } => {
                Tone::Good
            }
            Event::WindowJudged { verdict: Verdict::Pass, .. } => Tone::Good,
            Event::DriftFound { .. }
            | Event::RetrainUnhelpful { .. }
            | Event::TriggerSkipped { .. }
            | Event::RolloutAborted { .. }
            | Event::RolloutPaused { .. }
            | Event::ApprovalRejected { .. }
            | Event::ApprovalExpired { .. }
            | Event::ApprovalGiven { overrides: true, .. }
            | Event::WorkerCrashed { .. }
            | Event::EnvironmentRefused { .. }
            | Event::GateDecided { .. }
            | Event::PipelineRunFinished { state: RunState::Failed, .. }
            | Event::StepFinished { state: StepState::Failed, .. }
            | Event::RunFinished { status: RunStatus::Failed, .. }
            | Event::WindowJudged { verdict: Verdict::Fail, kind: WindowKind::Input, .. } => Tone::Warn,
            Event::WindowJudged { verdict: Verdict::Fail, .. } | Event::IncidentOpened { .. } | Event::IncidentEscalated { .. } => {
                Tone::Bad
            }
            _ => Tone::Plain,
        }
    }
}
