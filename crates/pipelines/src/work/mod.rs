//! Runs pipelines: one task a pipeline run, one a step; processes through the compute port, files through the artifact store.

mod attempt;
mod checks;
mod child;
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
use crate::schedule::{Act, Schedule};
use async_trait::async_trait;
use domain::entity::{
    AppliedProject, CacheEntry, LastStepKey, PipelineRun, PipelineStep, PipelineVersion, RunState, StepState, Trial, Trigger, TriggerKind,
};
use domain::spec::{Overlap, StepSpec};
use domain::{Actor, Batch, Digest, Event, Fault, ModelName, PipelineRunId, Recorded, Refusal, RunId, TrainingSetId, VersionNumber};
use indexmap::IndexMap;
use job::{Ground, Job, RunEnd};
use parking_lot::Mutex;
use ports::{ArtifactStore, Clock, CommitError, ComputeBackend, MetadataStore, World, decide};
use reactor::{Activity, Busy, Worker};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

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

    async fn drive_to_end(self: &Arc<Self>, id: &PipelineRunId, mut cancelled: watch::Receiver<bool>) -> Result<(), Fault> {
        self.keep_code(id).await?;
        let Some(mut job) = self.begin(id).await? else { return Ok(()) };
        let mut schedule = Schedule::new(&job.version.spec, &job.steps);
        let mut cancel = job.run.cancel_asked;
        if cancel {
            schedule.cancel();
        }
        // Exit steps run to their end even if the run is cancelled.
        let (_keep, never) = watch::channel(false);
        let mut tasks: JoinSet<(String, Result<Outcome, Fault>)> = JoinSet::new();
        let mut ready: VecDeque<(Work, String)> = VecDeque::new();
        loop {
            let mut skipped = Vec::new();
            for act in schedule.acts() {
                match act {
                    Act::Start(name) => ready.push_back((Work::Run, name)),
                    Act::Expand(name) => ready.push_back((Work::Expand, name)),
                    Act::Gather(name) => ready.push_back((Work::Gather, name)),
                    Act::Skip { step, state, blame } => {
                        let verb = if state == StepState::Skipped { "was skipped" } else { "did not succeed" };
                        skipped.push(PipelineStep { state, why: Some(format!("{blame} {verb}")), ..job.step(&step) });
                    }
                    Act::Exit(state) => job.end = Some(Arc::new(RunEnd { state, error: job.first_error() })),
                    Act::Over(state) => {
                        self.skip(&mut job, skipped).await?;
                        return self.finish(&job, state).await;
                    }
                }
            }
            self.skip(&mut job, skipped).await?;
            while tasks.len() < IN_FLIGHT
                && let Some((work, name)) = ready.pop_front()
            {
                if cancel && !job.is_exit(&name) && work != Work::Gather {
                    // Asked to stop before its turn came: it never began.
                    let step = self.end_step(&job, &name, StepState::Cancelled, None).await?;
                    schedule.ended(&name, step.state);
                    job.steps.insert(name, step);
                    continue;
                }
                if let Some(step) = job.steps.get_mut(&name) {
                    step.state = StepState::Running;
                }
                let cancelled = if job.is_exit(&name) { never.clone() } else { cancelled.clone() };
                let (engine, part) = (self.clone(), job.part(&name, work));
                tasks.spawn(async move {
                    let outcome = match work {
                        Work::Run => engine.run_step(&part, &name, cancelled).await.map(Outcome::Ended),
                        Work::Expand => engine.expand(&part, &name).await,
                        Work::Gather => {
                            let stop = *cancelled.borrow();
                            engine.gather(&part, &name, stop).await.map(Outcome::Ended)
                        }
                    };
                    (name, outcome)
                });
            }
            if tasks.is_empty() {
                continue;
            }
            tokio::select! {
                joined = tasks.join_next() => {
                    let Some(joined) = joined else { continue };
                    let (name, outcome) = joined.map_err(|e| Fault::because(format!("a step of {id}"), e))?;
                    match outcome? {
                        Outcome::Ended(step) => {
                            schedule.ended(&name, step.state);
                            job.steps.insert(name, step);
                        }
                        Outcome::Expanded(step, items) => {
                            let states: Vec<_> = items.iter().map(|item| (item.name.clone(), item.state)).collect();
                            job.steps.insert(name.clone(), step);
                            job.steps.extend(items.into_iter().map(|item| (item.name.clone(), item)));
                            schedule.expanded(&name, &states);
                        }
                    }
                }
                () = raised(&mut cancelled), if !cancel => {
                    cancel = true;
                    schedule.cancel();
                }
            }
        }
    }

    /// Commits the steps that can never run, all at once.
    async fn skip(&self, job: &mut Job, skipped: Vec<PipelineStep>) -> Result<(), Fault> {
        if skipped.is_empty() {
            return Ok(());
        }
        let mut batch = job.batch(self.clock.event_now());
        for step in &skipped {
            batch.write(step);
            batch.say(ended(step));
        }
        self.store.commit(batch).await.map_err(|e| as_fault("skipping steps", e))?;
        job.steps.extend(skipped.into_iter().map(|step| (step.name.clone(), step)));
        Ok(())
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
            let project = world.get::<AppliedProject>("project")?;
            let project = project.map(|project| match &run.root {
                Some(root) => hooks::elsewhere(project, root),
                None => project,
            });
            let project = project.map(|mut project| {
                if run.python.is_some() {
                    project.spec.project.python.clone_from(&run.python);
                }
                project
            });
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

    /// Commits a step's end with its event; gives the step as it is now.
    async fn end_step(&self, job: &Job, name: &str, state: StepState, why: Option<String>) -> Result<PipelineStep, Fault> {
        let mut step = job.step(name);
        step.state = state;
        step.why = why.or(step.why);
        self.commit_step(job, step, None).await
    }

    /// Commits a step as it is now, with its end if it has come to one, and with what its success leaves for others.
    async fn commit_step(&self, job: &Job, step: PipelineStep, entry: Option<&CacheEntry>) -> Result<PipelineStep, Fault> {
        let now = self.clock.event_now();
        let mut batch = job.batch(now).put(&step);
        entry.into_iter().for_each(|entry| batch.write(entry));
        if step.state.is_over() {
            batch.say(ended(&step));
        }
        self.store.commit(batch).await.map_err(|e| as_fault("committing a step", e))?;
        Ok(step)
    }
}

/// Steps of one pipeline run that are begun at a time; the pool decides how many of them run.
const IN_FLIGHT: usize = 256;

/// What a task does for a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Run,
    Expand,
    Gather,
}

enum Outcome {
    Ended(PipelineStep),
    Expanded(PipelineStep, Vec<PipelineStep>),
}

fn ended(step: &PipelineStep) -> Event {
    Event::StepFinished {
        pipeline_run: step.pipeline_run.clone(),
        step: step.name.clone(),
        state: step.state,
        attempts: step.attempts.len() as u32,
        error: step.attempts.last().and_then(|attempt| attempt.error.clone()).filter(|_| step.state == StepState::Failed),
        why: step.why.clone(),
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
