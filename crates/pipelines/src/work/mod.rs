//! Runs pipelines: one task a pipeline run, one a step; processes through the compute port, files through the artifact store.

mod attempt;
mod checks;
mod child;
mod drive;
mod each;
mod files;
mod git;
pub mod hooks;
mod job;
mod kept;
pub mod lineage;
pub mod statuses;
mod step;
mod sweep;
mod triggers;

pub use files::{changes, fingerprint};
pub use kept::{environments_in_use, not_restored};
pub(crate) use sweep::OUTPUTS as SWEEP_OUTPUTS;

use crate::commands::{self, Request};
use crate::graph;
use crate::index;
use async_trait::async_trait;
use domain::entity::{LastStepKey, PipelineRun, PipelineStep, PipelineVersion, RunState, StepState, Trial, Trigger, TriggerKind};
use domain::spec::{Overlap, StepSpec};
use domain::{Actor, Batch, Digest, Event, Fault, ModelName, PipelineRunId, Recorded, Refusal, RunId, TrainingSetId, VersionNumber};
use indexmap::IndexMap;
use job::{Ground, Job};
use parking_lot::Mutex;
use ports::{ArtifactStore, Clock, CommitError, ComputeBackend, MetadataStore, World, decide};
use reactor::{Activity, Busy, Worker};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Where the engine works and what its steps are told.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The home: logs and step folders are below `pipelines/`.
    pub home: PathBuf,
    /// `MLFLOW_TRACKING_URI` of the steps.
    pub tracking_uri: String,
    /// Unique to the home, so that jobs of two homes on one machine are told apart.
    pub instance: String,
}

/// A built-in step at the time it runs.
pub struct BuiltInStep<'a> {
    pub run: &'a PipelineRun,
    pub name: &'a str,
    pub spec: &'a StepSpec,
    /// Output files go here, under the names that `spec.output` gives.
    pub out: PathBuf,
}

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StepFailure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The steps that other blocks do: the wiring brings them in.
#[async_trait]
pub trait BuiltIn: Send + Sync {
    /// What the step's result depends on besides its definition; `None`: it runs every time.
    async fn key(&self, step: &BuiltInStep<'_>) -> Result<Option<Digest>, StepFailure>;
    /// Does it. A training set gives its id.
    async fn run(&self, step: &BuiltInStep<'_>) -> Result<Option<TrainingSetId>, StepFailure>;
    /// Installs the locked environment of a model version, unless it is there; its SHA-256. `None`: the file asks for none.
    async fn environment(&self, _model: &ModelName, _version: VersionNumber) -> Result<Option<Digest>, StepFailure> {
        Ok(None)
    }
    /// Starts the tracking run that a search's trials have as their parent.
    async fn open_sweep(&self, step: &BuiltInStep<'_>, trials: usize) -> Result<RunId, StepFailure>;
    /// The run that a trial's command started, found by its tag `trimtab.trial`, and what it logged for the metric last.
    async fn trial_run(&self, key: &str, spec: &StepSpec) -> Result<Option<(RunId, Option<f64>)>, StepFailure>;
    /// Ends the parent run: it says which trial was best.
    async fn close_sweep(&self, step: &BuiltInStep<'_>, run: &RunId, trials: &[Trial], best: Option<&Trial>) -> Result<(), StepFailure>;
}

/// Runs pipelines.
pub struct Engine {
    store: Arc<dyn MetadataStore>,
    compute: Arc<dyn ComputeBackend>,
    artifacts: Arc<dyn ArtifactStore>,
    clock: Arc<dyn Clock>,
    built_in: Arc<dyn BuiltIn>,
    config: EngineConfig,
    activity: Activity,
    running: Mutex<HashMap<PipelineRunId, watch::Sender<bool>>>,
    /// Counts the runs that have come to their end, for those who wait for one.
    ends: watch::Sender<u64>,
    /// Contents of code files by path, as long as their time and length stay.
    code: files::Known,
    /// The head of the log at which nothing was due, and until when that holds.
    quiet: Mutex<Option<(u64, domain::Timestamp)>>,
}

const NAME: &str = "pipelines.engine";

impl Engine {
    /// An engine; [`Engine::resume`] goes on with what a stopped process left.
    pub fn new(
        store: Arc<dyn MetadataStore>,
        compute: Arc<dyn ComputeBackend>,
        artifacts: Arc<dyn ArtifactStore>,
        clock: Arc<dyn Clock>,
        built_in: Arc<dyn BuiltIn>,
        config: EngineConfig,
        activity: Activity,
    ) -> Arc<Engine> {
        Arc::new(Engine {
            store,
            compute,
            artifacts,
            clock,
            built_in,
            config,
            activity,
            running: Mutex::default(),
            ends: watch::Sender::new(0),
            code: files::Known::default(),
            quiet: Mutex::default(),
        })
    }

    /// Goes on with every pipeline run that is not over.
    pub fn resume(self: &Arc<Self>) -> Result<(), Fault> {
        for run in index::all_under_way(&World::new(self.store.snapshot()?))? {
            self.start(run.id);
        }
        Ok(())
    }

    /// The worker that drives this engine from the log.
    pub fn worker(self: &Arc<Self>) -> Arc<dyn Worker> {
        Arc::new(EngineWorker(self.clone()))
    }

    fn start(self: &Arc<Self>, id: PipelineRunId) {
        let (cancel, cancelled) = watch::channel(false);
        {
            let mut running = self.running.lock();
            if running.contains_key(&id) {
                return;
            }
            running.insert(id.clone(), cancel);
        }
        let busy = self.activity.begin();
        let engine = self.clone();
        tokio::spawn(async move { engine.drive(id, cancelled, busy).await });
    }

    async fn drive(self: Arc<Self>, id: PipelineRunId, cancelled: watch::Receiver<bool>, busy: Busy) {
        let outcome = self.drive_to_end(&id, cancelled).await;
        self.running.lock().remove(&id);
        self.ends.send_modify(|count| *count += 1);
        if let Err(fault) = outcome {
            tracing::error!(pipeline_run = %id, %fault, "the pipeline run stands still until the next start");
        }
        drop(busy);
    }

    /// Loads the run and marks it as running; steps that a stopped process left in the middle wait again.
    async fn begin(&self, id: &PipelineRunId) -> Result<Option<Job>, Fault> {
        let now = self.clock.event_now();
        let wall = self.clock.wall_now();
        let job = decide(&*self.store, |world| {
            let batch = Batch::new(Actor::System(NAME.into()), now);
            let Some(mut run) = world.get::<PipelineRun>(id.as_str())? else { return Ok((batch, None)) };
            if run.state.is_over() {
                return Ok((batch, None));
            }
            let version = world.get::<PipelineVersion>(&format!("{}/{}", run.pipeline, run.version))?;
            let missing = || Fault::broken(format!("version {} of pipeline {} is missing", run.version, run.pipeline));
            let mut version = version.ok_or_else(missing)?;
            if must_wait(world, &run, &version)? {
                return Ok((batch, None));
            }
            if let Some(step) = run.again.as_ref().and_then(|again| again.step.as_deref()) {
                let needed = graph::needed_for(&version.spec, step);
                version.spec.step.retain(|name, _| needed.contains(name));
                version.spec.on_exit.clear();
            }
            run.state = RunState::Running;
            run.started.get_or_insert(wall);
            let mut steps = IndexMap::new();
            for mut step in world.scope::<PipelineStep>(id.as_str())? {
                if step.state == StepState::Running {
                    step.state = StepState::Waiting;
                }
                steps.insert(step.name.clone(), step);
            }
            let batch = batch.put(&run);
            let mut project = world.project()?;
            if let (Some(project), Some(root)) = (&mut project, &run.root) {
                *project = Arc::new(hooks::elsewhere(project, root));
            }
            if let (Some(project), Some(python)) = (&mut project, &run.python) {
                Arc::make_mut(project).spec.project.python = Some(python.clone());
            }
            let ground = project.map(|project| Arc::new(Ground { environment: files::environment_of(&project), project }));
            Ok((batch, Some(Job { run: Arc::new(run), version: Arc::new(version), ground, end: None, last: Arc::default(), steps })))
        });
        let Some(job) = job.await.map_err(|e| as_fault("starting a pipeline run", e))? else { return Ok(None) };
        let last = World::newest(&*self.store).scope::<LastStepKey>(&job.run.pipeline)?;
        let last = last.into_iter().map(|last| (last.step, last.parts)).collect();
        Ok(Some(Job { last: Arc::new(last), ..job }))
    }

    async fn finish(&self, job: &Job, state: RunState) -> Result<(), Fault> {
        let error = job.first_error();
        let now = self.clock.event_now();
        let wall = self.clock.wall_now();
        let finished = decide(&*self.store, |world| {
            let mut batch = job.batch(now);
            let Some(mut run) = world.get::<PipelineRun>(job.run.id.as_str())? else { return Ok((batch, ())) };
            run.state = state;
            run.ended = Some(wall);
            run.error = error.clone();
            batch.write(&run);
            index::close(&mut batch, &run, &job.version, job.steps.values());
            batch.say(Event::PipelineRunFinished {
                pipeline_run: run.id.clone(),
                pipeline: run.pipeline.clone(),
                state,
                error: error.clone(),
            });
            if state == RunState::Failed {
                let title = format!(
                    "pipeline run {} failed: {}",
                    run.id,
                    error.as_deref().and_then(|e| e.lines().next()).unwrap_or("a step did not succeed")
                );
                batch.say(Event::AlertRaised { topic: "pipeline.fail".into(), model: None, title });
            }
            Ok((batch, ()))
        });
        finished.await.map_err(|e| as_fault("finishing a pipeline run", e))
    }

    /// Commits a step as it is now; its end is the driver's to commit.
    async fn commit_step(&self, job: &Job, step: &PipelineStep) -> Result<(), Fault> {
        let batch = job.batch(self.clock.event_now()).put(step);
        self.store.commit(batch).await.map(|_| ()).map_err(|e| as_fault("committing a step", e))
    }
}

/// Whether a run waits for an earlier one of its pipeline; the end of that one wakes it.
fn must_wait(world: &World, run: &PipelineRun, version: &PipelineVersion) -> Result<bool, Fault> {
    if run.state != RunState::Queued || !matches!(version.spec.overlap, Overlap::Queue | Overlap::Skip) {
        return Ok(false);
    }
    let earlier = |other: &PipelineRun| (other.requested, &other.id) < (run.requested, &run.id) || other.state == RunState::Running;
    Ok(index::under_way(world, &run.pipeline)?.iter().any(|other| other.id != run.id && earlier(other)))
}

async fn raised(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|yes| *yes).await.is_err() {
        std::future::pending().await
    }
}

fn as_fault(what: &str, error: CommitError) -> Fault {
    match error {
        CommitError::Fault(fault) => fault,
        other => Fault::because(what, other),
    }
}

struct EngineWorker(Arc<Engine>);

#[async_trait]
impl Worker for EngineWorker {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self, event: &Event) -> bool {
        use Event::{ChampionPromoted, ModelVersionRegistered, PipelineRunFinished, TableWritten};
        matches!(event, Event::PipelineRunRequested { .. } | Event::PipelineCancelRequested { .. } | Event::RetrainRequested { .. })
            || matches!(event, PipelineRunFinished { .. } | ModelVersionRegistered { .. } | ChampionPromoted { .. } | TableWritten { .. })
    }

    async fn work(&self, recorded: &Recorded) -> Result<(), Fault> {
        match &recorded.event {
            Event::PipelineRunRequested { pipeline_run, .. } => self.0.start(pipeline_run.clone()),
            Event::PipelineCancelRequested { pipeline_run } => {
                if let Some(cancel) = self.0.running.lock().get(pipeline_run) {
                    cancel.send_replace(true);
                }
            }
            Event::RetrainRequested { incident, pipeline, pipeline_run, holdout_to, .. } => {
                let trigger =
                    Trigger { kind: TriggerKind::Incident { incident: incident.clone() }, time: recorded.at, holdout_to: *holdout_to };
                self.0.request_retraining(recorded, pipeline, pipeline_run, trigger).await?;
            }
            Event::PipelineRunFinished { pipeline, .. } => {
                self.0.wake(pipeline)?;
                self.0.go_on_with_backfills().await?;
                self.0.hear(recorded).await?;
            }
            _ => self.0.hear(recorded).await?,
        }
        Ok(())
    }
}

impl Engine {
    async fn request_retraining(&self, recorded: &Recorded, pipeline: &str, id: &PipelineRunId, trigger: Trigger) -> Result<(), Fault> {
        let fingerprint = fingerprint(&*self.store, pipeline).map_err(|e| as_fault("looking at a pipeline's code", e))?;
        let request = Request {
            id: Some(id.clone()),
            cause: Some(recorded.seq),
            thread: recorded.thread.clone(),
            ..Request::new(pipeline, trigger, fingerprint)
        };
        let actor = Actor::System(NAME.into());
        let asked = decide(&*self.store, |world| commands::request(world, &request, &actor, recorded.at)).await;
        match asked {
            Ok(_) => Ok(()),
            Err(CommitError::Refused(refusal)) => self.refuse_retraining(recorded, pipeline, id, refusal).await,
            Err(other) => Err(as_fault("asking for a retraining", other)),
        }
    }

    /// A retraining that cannot even be asked for is one that failed: the incident must hear of it.
    async fn refuse_retraining(&self, recorded: &Recorded, pipeline: &str, id: &PipelineRunId, refusal: Refusal) -> Result<(), Fault> {
        let mut batch = Batch::reacting(NAME, recorded).event(Event::PipelineRunFinished {
            pipeline_run: id.clone(),
            pipeline: pipeline.into(),
            state: RunState::Failed,
            error: Some(refusal.to_string()),
        });
        // There is no pipeline run that would tell a second hearing of the first.
        batch.cursor = Some((NAME.into(), recorded.seq));
        self.store.commit(batch).await.map(|_| ()).map_err(|e| as_fault("refusing a retraining", e))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_triggers;
