//! One step: its key, the cache, its attempts, its outputs.

use super::{BuiltInStep, Engine, Job, StepFailure, as_fault, files, raised};
use crate::key::{self, KeyInput};
use domain::entity::{AppliedProject, CacheEntry, LastStepKey, PipelineStep, StepArtifact, StepAttempt, StepState};
use domain::spec::StepSpec;
use domain::{Digest, Event, Fault, Refusal};
use indexmap::IndexMap;
use ports::World;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// Folders and facts of one step while it runs.
pub(super) struct Place {
    pub(super) project: AppliedProject,
    pub(super) spec: StepSpec,
    pub(super) folder: PathBuf,
    pub(super) log: PathBuf,
    pub(super) code: IndexMap<String, Digest>,
}

impl Place {
    pub(super) fn input(&self, name: &str, artifact: &StepArtifact) -> PathBuf {
        self.folder.join("in").join(name).join(&artifact.name)
    }

    pub(super) fn out(&self) -> PathBuf {
        self.folder.join("out")
    }
}

impl Engine {
    /// Brings a step to its end; `Err` only when the store itself fails.
    pub(super) async fn run_step(&self, job: &Job, name: &str, cancelled: watch::Receiver<bool>) -> Result<PipelineStep, Fault> {
        let mut step = job.step(name);
        for attempt in &mut step.attempts {
            if attempt.ended.is_none() {
                self.compute.reap(&self.job_id(job, name, attempt.number)).await?;
                attempt.ended = Some(self.clock.wall_now());
                attempt.error = Some("the server stopped while it ran".into());
            }
        }
        let prepared = self.prepare(job, name, &mut step).await;
        let place = match prepared {
            Ok(place) => place,
            Err(failure) => return self.fail_unstarted(job, step, failure).await,
        };
        if let Some(cached) = self.cached(&step).await? {
            step.outputs = cached.outputs;
            step.training_set = cached.training_set;
            step.why = Some(format!("same key as {}", cached.pipeline_run));
            step.state = StepState::Cached;
            return self.commit_step(job, step, None).await;
        }
        self.attempts(job, name, step, &place, cancelled).await
    }

    /// Fetches the inputs and makes the key.
    async fn prepare(&self, job: &Job, name: &str, step: &mut PipelineStep) -> Result<Place, StepFailure> {
        let world = World::new(self.store.snapshot()?);
        let project = world.get::<AppliedProject>("project")?;
        let mut project = project.ok_or_else(|| Refusal::not_found("project/none", "no project file is applied").hint("trimtab apply"))?;
        if let Some(root) = &job.run.root {
            project.root.clone_from(root);
        }
        let last = world.get::<LastStepKey>(&format!("{}/{name}", job.run.pipeline))?;
        let spec = job.version.spec.step.get(name).cloned();
        let spec = spec.ok_or_else(|| Fault::broken(format!("step {name} is not in version {}", job.version.number)))?;
        let runs = self.config.home.join("pipelines").join(job.run.id.as_str());
        let code = files::code_of(Path::new(&project.root), &spec);
        let place = Place { folder: runs.join(name), log: runs.join(format!("{name}.log")), project, spec, code };
        let mut inputs = IndexMap::new();
        for (input, source) in &place.spec.input {
            let artifact = input_artifact(job, source)?;
            files::fetch(&*self.artifacts, artifact, &place.input(input, artifact)).await?;
            inputs.insert(input.clone(), artifact.digest.clone());
        }
        let built_in = BuiltInStep { run: &job.run, name, spec: &place.spec, out: place.out() };
        let is_command = !place.spec.run.is_empty();
        let data = if is_command { None } else { self.built_in.key(&built_in).await? };
        let used = |name: &str| place.spec.run.iter().any(|argument| argument.contains(&format!("{{params.{name}}}")));
        let params = job.run.params.iter().filter(|(name, _)| used(name)).map(|(name, value)| (name.clone(), value.to_string()));
        let env = place.spec.env.iter().map(|name| (name.clone(), std::env::var(name).unwrap_or_default()));
        let parts = key::parts(&KeyInput {
            step: &place.spec,
            params: params.collect(),
            inputs,
            code: place.code.clone(),
            env: env.collect(),
            environment: files::environment_of(&place.project),
            built_in: data.clone(),
        });
        step.why = Some(key::why(last.as_ref().map(|last| &last.parts), &parts));
        step.cache_key = (place.spec.cache && (is_command || data.is_some())).then(|| key::key(&parts));
        step.key_parts = parts;
        Ok(place)
    }

    async fn cached(&self, step: &PipelineStep) -> Result<Option<CacheEntry>, Fault> {
        let Some(key) = step.cache_key.as_ref().filter(|_| !step.fresh) else { return Ok(None) };
        let Some(entry) = World::new(self.store.snapshot()?).get::<CacheEntry>(key.as_str())? else { return Ok(None) };
        for artifact in entry.outputs.values() {
            if self.artifacts.get(&files::address(&artifact.digest)).await?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(entry))
    }

    async fn attempts(
        &self,
        job: &Job,
        name: &str,
        mut step: PipelineStep,
        place: &Place,
        mut cancelled: watch::Receiver<bool>,
    ) -> Result<PipelineStep, Fault> {
        let retry = place.spec.retry.clone();
        let allowed = 1 + retry.as_ref().map_or(0, |retry| retry.max);
        let mut wait = retry.as_ref().map_or(std::time::Duration::ZERO, |retry| retry.wait.duration());
        for count in 1..=allowed {
            let number = step.attempts.len() as u32 + 1;
            step.state = StepState::Running;
            step.attempts.push(self.describe_attempt(job, name, place, number));
            self.start_attempt(job, &step, number).await?;
            let outcome = self.attempt(job, name, &mut step, place, &cancelled).await;
            let last = step.attempts.last_mut().expect("an attempt was pushed above");
            last.ended = Some(self.clock.wall_now());
            let stop = *cancelled.borrow();
            match outcome {
                Ok(()) => return self.succeed(job, step, place).await,
                Err(_) if stop => {
                    last.error = Some(format!("pipeline {}, step {name}: cancelled", job.run.pipeline));
                    step.state = StepState::Cancelled;
                    return self.commit_step(job, step, None).await;
                }
                Err(what) => last.error = Some(self.explain(job, name, place, number, allowed, &what)),
            }
            if count == allowed {
                step.state = StepState::Failed;
                return self.commit_step(job, step, None).await;
            }
            step = self.commit_step(job, step, None).await?;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = raised(&mut cancelled) => {}
            }
            wait = wait.mul_f64(retry.as_ref().map_or(1.0, |retry| retry.factor));
        }
        unreachable!("the last attempt returns")
    }

    async fn start_attempt(&self, job: &Job, step: &PipelineStep, number: u32) -> Result<(), Fault> {
        let last = LastStepKey { pipeline: job.run.pipeline.clone(), step: step.name.clone(), parts: step.key_parts.clone() };
        let batch = job.batch(self.clock.event_now()).put(step).put(&last).event(Event::StepStarted {
            pipeline_run: job.run.id.clone(),
            step: step.name.clone(),
            attempt: number,
            why: step.why.clone().unwrap_or_default(),
        });
        self.store.commit(batch).await.map(|_| ()).map_err(|e| as_fault("starting a step", e))
    }

    /// Commits step, cache entry and event together; the outputs are kept already.
    async fn succeed(&self, job: &Job, mut step: PipelineStep, place: &Place) -> Result<PipelineStep, Fault> {
        step.state = StepState::Succeeded;
        let entry = step.cache_key.as_ref().map(|key| CacheEntry {
            key: key.clone(),
            outputs: step.outputs.clone(),
            pipeline_run: job.run.id.clone(),
            step: step.name.clone(),
            training_set: step.training_set.clone(),
            created: self.clock.event_now(),
        });
        let committed = self.commit_step(job, step, entry.as_ref()).await?;
        // The outputs are in the artifact store; the folder was only for the process.
        let _ = tokio::fs::remove_dir_all(&place.folder).await;
        Ok(committed)
    }

    /// A step that could not even begin: its inputs or its environment are not there.
    async fn fail_unstarted(&self, job: &Job, mut step: PipelineStep, failure: StepFailure) -> Result<PipelineStep, Fault> {
        let number = step.attempts.len() as u32 + 1;
        let now = self.clock.wall_now();
        let what = match failure {
            StepFailure::Refused(refusal) => refusal.to_string(),
            StepFailure::Fault(fault) => {
                tracing::error!(step = %step.name, %fault, "a step could not begin");
                fault.to_string()
            }
        };
        step.attempts.push(StepAttempt {
            number,
            command: Vec::new(),
            env: IndexMap::new(),
            code: None,
            git_commit: None,
            started: now,
            ended: Some(now),
            exit: None,
            signal: None,
            timed_out: false,
            cpu_ms: None,
            peak_memory_bytes: None,
            log: String::new(),
            error: Some(format!("pipeline {}, step {}, attempt {number}: could not begin: {what}", job.run.pipeline, step.name)),
        });
        step.state = StepState::Failed;
        self.commit_step(job, step, None).await
    }
}

pub(super) fn input_artifact<'a>(job: &'a Job, source: &str) -> Result<&'a StepArtifact, Refusal> {
    let found = source.split_once('.').and_then(|(step, output)| job.steps.get(step)?.outputs.get(output));
    found.ok_or_else(|| Refusal::invalid("step/input", format!("`{source}` has not been written")))
}
