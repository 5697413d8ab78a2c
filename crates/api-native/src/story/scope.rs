//! Which events belong to a story.

use domain::entity::{Incident, ModelVersion, PipelineRun, TriggerKind, WindowKind};
use domain::{Event, Fault, IncidentId, ModelName, PipelineRunId, Range, Recorded, RunId, TrainingSetId, Verdict, VersionNumber};
use ports::World;
use std::collections::HashSet;

/// The things that a story is about; an event belongs to it if it is about one of them.
#[derive(Default)]
pub(super) struct Scope {
    /// All events of these threads.
    threads: HashSet<String>,
    incidents: HashSet<IncidentId>,
    /// A model's windows that speak for an incident, and the time that they span.
    evidence: Vec<(ModelName, Vec<Range>)>,
    versions: HashSet<(ModelName, VersionNumber)>,
    pipeline_runs: HashSet<PipelineRunId>,
    runs: HashSet<RunId>,
    training_sets: HashSet<TrainingSetId>,
    /// The version whose later fate belongs to the story too: replaced, found harmful.
    fate: Option<(ModelName, VersionNumber)>,
}

impl Scope {
    /// An incident: its thread, its evidence, and all that its retrainings made.
    pub(super) fn incident(world: &World, incident: &Incident) -> Result<Scope, Fault> {
        let mut scope = Scope::default();
        scope.threads.insert(incident.id.to_string());
        scope.add_incident(incident);
        for attempt in &incident.attempts {
            scope.add_pipeline_run(world, &attempt.pipeline_run)?;
        }
        Ok(scope)
    }

    /// A model version: how it was made, who asked for it, how it was judged, and what became of it.
    pub(super) fn version(world: &World, model: &ModelName, number: VersionNumber) -> Result<Scope, Fault> {
        let mut scope = Scope { fate: Some((model.clone(), number)), ..Scope::default() };
        scope.versions.insert((model.clone(), number));
        let Some(version) = world.get::<ModelVersion>(&format!("{model}/{number}"))? else { return Ok(scope) };
        scope.add_version(&version);
        let run = version.pipeline_run.map(|id| world.get::<PipelineRun>(id.as_str())).transpose()?.flatten();
        if let Some(TriggerKind::Incident { incident }) = run.map(|run| run.trigger.kind) {
            let asked = world.list::<Incident>()?.into_iter().find(|known| known.id == incident);
            asked.iter().for_each(|incident| scope.add_incident(incident));
        }
        Ok(scope)
    }

    /// A pipeline run: its steps and what it made.
    pub(super) fn pipeline_run(world: &World, id: &PipelineRunId) -> Result<Scope, Fault> {
        let mut scope = Scope::default();
        scope.add_pipeline_run(world, id)?;
        Ok(scope)
    }

    fn add_incident(&mut self, incident: &Incident) {
        self.incidents.insert(incident.id.clone());
        self.evidence.push((incident.model.clone(), incident.evidence.clone()));
    }

    fn add_pipeline_run(&mut self, world: &World, id: &PipelineRunId) -> Result<(), Fault> {
        self.pipeline_runs.insert(id.clone());
        for version in world.list::<ModelVersion>()? {
            if version.pipeline_run.as_ref() == Some(id) {
                self.add_version(&version);
            }
        }
        Ok(())
    }

    fn add_version(&mut self, version: &ModelVersion) {
        self.versions.insert((version.model.clone(), version.version));
        self.pipeline_runs.extend(version.pipeline_run.clone());
        self.runs.extend(version.run.clone());
        self.training_sets.extend(version.training_set.clone());
    }

    /// Whether an event belongs to the story. Alerts only repeat what other events say.
    pub(super) fn holds(&self, recorded: &Recorded) -> bool {
        let quiet = matches!(recorded.event, Event::AlertRaised { .. } | Event::StepStarted { .. });
        let threaded = recorded.thread.as_ref().is_some_and(|thread| self.threads.contains(thread));
        !quiet && (threaded || self.is_about(&recorded.event) || self.is_fate(&recorded.event))
    }

    fn is_about(&self, event: &Event) -> bool {
        let version = |model: &ModelName, number: &VersionNumber| self.versions.contains(&(model.clone(), *number));
        match event {
            Event::ModelVersionRegistered { model, version: number, .. }
            | Event::GateRequested { model, challenger: number, .. }
            | Event::GateDecided { model, challenger: number, .. }
            | Event::RolloutAdvanced { model, version: number, .. }
            | Event::RolloutAborted { model, version: number, .. }
            | Event::RolloutPaused { model, version: number, .. }
            | Event::RolloutResumed { model, version: number, .. }
            | Event::ApprovalRequested { model, version: number, .. }
            | Event::ApprovalGiven { model, version: number, .. }
            | Event::ApprovalRejected { model, version: number, .. }
            | Event::ApprovalExpired { model, version: number, .. }
            | Event::CanaryServed { model, version: number, .. }
            | Event::CanaryLabelled { model, version: number, .. }
            | Event::ChampionPromoted { model, version: number, .. }
            | Event::ShadowServed { model, version: number, .. }
            | Event::MonitorStarted { model, version: number, .. }
            | Event::AliasSet { model, version: Some(number), .. } => version(model, number),
            Event::PipelineRunRequested { pipeline_run, .. }
            | Event::PipelineCancelRequested { pipeline_run }
            | Event::StepFinished { pipeline_run, .. }
            | Event::PipelineRunFinished { pipeline_run, .. }
            | Event::RetrainRequested { pipeline_run, .. }
            | Event::RetrainUnhelpful { pipeline_run, .. }
            | Event::RunStarted { pipeline_run: Some(pipeline_run), .. } => self.pipeline_runs.contains(pipeline_run),
            Event::RunStarted { run, .. } | Event::RunFinished { run, .. } => self.runs.contains(run),
            Event::TrainingSetRecorded { training_set, .. } => self.training_sets.contains(training_set),
            Event::IncidentOpened { incident, .. } => self.incidents.contains(incident),
            Event::WindowJudged { model, kind: WindowKind::Performance, range, verdict: Verdict::Fail, .. } => {
                self.evidence.iter().any(|(of, ranges)| of == model && ranges.contains(range))
            }
            Event::DriftFound { model, range, .. } => {
                let spans = |ranges: &[Range]| ranges.iter().any(|evidence| evidence.from < range.to && range.from < evidence.to);
                self.evidence.iter().any(|(of, ranges)| of == model && spans(ranges))
            }
            _ => false,
        }
    }

    /// What became of the version later.
    fn is_fate(&self, event: &Event) -> bool {
        let Some((model, number)) = &self.fate else { return false };
        match event {
            Event::ChampionPromoted { model: of, previous, .. } => of == model && *previous == Some(*number),
            Event::IncidentOpened { model: of, version, .. } => of == model && version == number,
            _ => false,
        }
    }
}
