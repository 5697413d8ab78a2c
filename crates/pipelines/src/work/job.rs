//! A pipeline run as the engine's tasks see it.

use super::NAME;
use super::drive::Work;
use super::step::Ended;
use crate::graph;
use crate::schedule::Schedule;
use domain::entity::{AppliedProject, PipelineRun, PipelineStep, PipelineVersion, RunState, StepState, TriggerKind};
use domain::spec::step_of;
use domain::{Actor, Batch, Digest};
use indexmap::IndexMap;
use std::collections::HashMap;
use std::sync::Arc;

/// What the steps of a run stand on; read once.
pub(super) struct Ground {
    /// Its root is the run's own, if the run has one.
    pub(super) project: Arc<AppliedProject>,
    pub(super) environment: Digest,
}

/// How a run stands when its exit steps begin.
pub(super) struct RunEnd {
    pub(super) state: RunState,
    pub(super) error: Option<String>,
}

/// A pipeline run as its tasks see it: a task has only those steps that its own step takes something from.
pub(super) struct Job {
    pub(super) run: Arc<PipelineRun>,
    pub(super) version: Arc<PipelineVersion>,
    pub(super) ground: Option<Arc<Ground>>,
    pub(super) end: Option<Arc<RunEnd>>,
    /// The parts of each step's key when it last ran before this run went on: why it runs is told from them.
    pub(super) last: Arc<HashMap<String, IndexMap<String, Digest>>>,
    pub(super) steps: IndexMap<String, PipelineStep>,
}

impl Job {
    pub(super) fn step(&self, name: &str) -> PipelineStep {
        self.steps.get(name).cloned().unwrap_or_else(|| PipelineStep::waiting(self.run.id.clone(), name))
    }

    /// A step that came to its end without a process.
    pub(super) fn ended(&self, name: &str, state: StepState, why: Option<String>) -> Ended {
        let step = self.step(name);
        Ended::from(PipelineStep { state, why: why.or_else(|| step.why.clone()), ..step })
    }

    pub(super) fn is_exit(&self, name: &str) -> bool {
        self.version.spec.on_exit.contains_key(step_of(name))
    }

    pub(super) fn part(&self, name: &str, work: Work) -> Job {
        let spec = &self.version.spec;
        let needed = spec.find(name).map(|step| graph::needs(spec, step)).unwrap_or_default().into_iter().flatten();
        let mut names: Vec<String> = needed.chain([name.to_owned()]).collect();
        if work != Work::Run {
            names.extend(Schedule::items_of(&self.steps, name).map(|item| item.name.clone()));
        }
        let steps = names.into_iter().filter_map(|name| Some((name.clone(), self.steps.get(&name)?.clone()))).collect();
        Job { steps, ..self.bare() }
    }

    /// Without its steps.
    pub(super) fn bare(&self) -> Job {
        Job {
            run: self.run.clone(),
            version: self.version.clone(),
            ground: self.ground.clone(),
            end: self.end.clone(),
            last: self.last.clone(),
            steps: IndexMap::new(),
        }
    }

    /// The first failure, as it is shown.
    pub(super) fn first_error(&self) -> Option<String> {
        let failed = self.steps.values().filter(|step| step.state == StepState::Failed);
        failed.filter_map(|step| step.attempts.last()?.error.clone()).next()
    }

    /// A batch in the thread of whoever asked for the run.
    pub(super) fn batch(&self, now: domain::Timestamp) -> Batch {
        let mut batch = Batch::new(Actor::System(NAME.into()), now);
        batch.thread = Some(match &self.run.trigger.kind {
            TriggerKind::Incident { incident } => incident.to_string(),
            TriggerKind::Backfill { backfill, .. } => backfill.clone(),
            TriggerKind::Step { pipeline_run, .. } => pipeline_run.to_string(),
            _ => self.run.id.to_string(),
        });
        batch
    }
}
