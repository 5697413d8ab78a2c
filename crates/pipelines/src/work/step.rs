//! One step: its key, the cache, its attempts, its outputs.

use super::job::{Ground, Job};
use super::{BuiltInStep, Engine, StepFailure, as_fault, files, raised};
use crate::graph::{self, Source};
use crate::key::{self, KeyInput};
use crate::when;
use domain::entity::{CacheEntry, Item, LastStepKey, PipelineStep, StepArtifact, StepAttempt, StepState};
use domain::spec::StepSpec;
use domain::{Batch, Digest, Event, Fault, Refusal};
use indexmap::IndexMap;
use ports::World;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// Folders and facts of one step while it runs.
pub(super) struct Place {
    pub(super) ground: Arc<Ground>,
    pub(super) spec: StepSpec,
    /// Input name to what was taken.
    pub(super) inputs: IndexMap<String, StepArtifact>,
    /// The values of the item that it is for, if it is one of several.
    pub(super) item: Item,
    pub(super) folder: PathBuf,
    pub(super) log: PathBuf,
    pub(super) code: IndexMap<String, Digest>,
    /// What its processes see; made when the first of them starts.
    pub(super) env: OnceLock<IndexMap<String, String>>,
}

impl Place {
    pub(super) fn input(&self, name: &str, artifact: &StepArtifact) -> PathBuf {
        let folder = self.folder.join("in").join(name);
        if artifact.list { folder } else { folder.join(&artifact.name) }
    }

    /// Whether it needs a folder at all: many a command neither takes nor makes a file.
    pub(super) fn has_folder(&self) -> bool {
        self.spec.run.is_empty() || self.spec.sweep.is_some() || !self.spec.output.is_empty()
    }

    pub(super) fn out(&self) -> PathBuf {
        self.folder.join("out")
    }
}

/// A step at its end, which nobody has committed yet, with what its success leaves for others.
pub(super) struct Ended {
    pub(super) step: PipelineStep,
    pub(super) entry: Option<CacheEntry>,
}

impl From<PipelineStep> for Ended {
    fn from(step: PipelineStep) -> Self {
        Ended { step, entry: None }
    }
}

/// How far a step came at once.
pub(super) enum Begun {
    /// It was skipped, found in the cache, or could not begin.
    Ended(Box<Ended>),
    /// Its first attempt may run as soon as its start is committed.
    Started(Box<(PipelineStep, Place)>),
}

impl Engine {
    /// Brings a step to its end; `Err` only when the store itself fails.
    pub(super) async fn run_step(self: &Arc<Self>, job: &Job, name: &str, cancelled: watch::Receiver<bool>) -> Result<Ended, Fault> {
        match self.begin_step(job, name, &[]).await? {
            Begun::Ended(ended) => Ok(*ended),
            Begun::Started(started) => {
                let (step, place) = *started;
                self.commit_start(job, &step).await?;
                self.attempts(job, name, step, &place, cancelled).await
            }
        }
    }

    /// Takes a step up to its first attempt, or to its end if it needs none; `made` is in the cache as soon as it is committed.
    pub(super) async fn begin_step(&self, job: &Job, name: &str, made: &[CacheEntry]) -> Result<Begun, Fault> {
        let mut step = job.step(name);
        for attempt in &mut step.attempts {
            if attempt.ended.is_none() {
                self.compute.reap(&self.job_id(job, name, attempt.number)).await?;
                attempt.ended = Some(self.clock.wall_now());
                attempt.error = Some("the server stopped while it ran".into());
            }
        }
        let prepared = match self.is_wanted(job, name, &step.item).await {
            Ok(None) => self.prepare(job, name, &mut step).await,
            Ok(Some(why)) => return Ok(Begun::Ended(Box::new(job.ended(name, StepState::Skipped, Some(why))))),
            Err(failure) => Err(failure),
        };
        let place = match prepared {
            Ok(place) => place,
            Err(failure) => return Ok(Begun::Ended(Box::new(self.fail_unstarted(job, step, failure)))),
        };
        if let Some(cached) = self.cached(&step, made).await? {
            step.outputs = cached.outputs;
            step.training_set = cached.training_set;
            step.why = Some(format!("same key as {}", cached.pipeline_run));
            step.state = StepState::Cached;
            return Ok(Begun::Ended(Box::new(step.into())));
        }
        self.open_attempt(job, name, &mut step, &place);
        Ok(Begun::Started(Box::new((step, place))))
    }

    /// Fetches the inputs and makes the key.
    async fn prepare(&self, job: &Job, name: &str, step: &mut PipelineStep) -> Result<Place, StepFailure> {
        let ground = job.ground.clone();
        let ground = ground.ok_or_else(|| Refusal::not_found("project/none", "no project file is applied").hint("trimtab apply"))?;
        let spec = job.version.spec.find(name).cloned().map(crate::checks::as_command);
        let spec = spec.ok_or_else(|| Fault::broken(format!("step {name} is not in version {}", job.version.number)))?;
        let runs = self.config.home.join("pipelines").join(job.run.id.as_str());
        let code = files::code_of(Path::new(&ground.project.root), &spec, &self.code);
        let inputs = inputs_of(job, &spec)?;
        let item = step.item.clone();
        let (folder, log, env) = (runs.join(name), runs.join(format!("{name}.log")), OnceLock::new());
        let place = Place { folder, log, ground, spec, inputs, item, code, env };
        for (input, artifact) in place.inputs.iter().filter(|_| place.spec.pipeline.is_none()) {
            files::fetch(&*self.artifacts, artifact, &place.input(input, artifact)).await?;
        }
        let inputs = place.inputs.iter().map(|(input, artifact)| (input.clone(), artifact.digest.clone()));
        let built_in = BuiltInStep { run: &job.run, name, spec: &place.spec, out: place.out() };
        let is_command = !place.spec.run.is_empty();
        let data = if is_command || place.spec.pipeline.is_some() { None } else { self.built_in.key(&built_in).await? };
        let used = |hole: &str| place.spec.run.iter().any(|argument| argument.contains(&format!("{{{hole}}}")));
        let of_params = job.run.params.iter().filter(|(name, _)| used(&format!("params.{name}")));
        let params = of_params.map(|(name, value)| (name.clone(), value.to_string()));
        let told = [("trigger.time", job.run.trigger.time.to_string()), ("run.id", job.run.id.to_string())];
        let env = place.spec.env.iter().map(|name| (name.clone(), std::env::var(name).unwrap_or_default()));
        let parts = key::parts(&KeyInput {
            step: &place.spec,
            params: params.collect(),
            inputs: inputs.collect(),
            item: place.item.clone(),
            told: told.into_iter().filter(|(hole, _)| used(hole)).collect(),
            code: place.code.clone(),
            env: env.collect(),
            environment: place.ground.environment.clone(),
            built_in: data.clone(),
        });
        let may = place.spec.cache && !job.is_exit(name) && super::checks::is_keyed(&place.spec) && (is_command || data.is_some());
        step.cache_key = may.then(|| key::key(&parts));
        step.why = Some(match job.last.get(name) {
            Some(last) if step.cache_key.is_none() && *last == parts => "it runs every time".into(),
            last => key::why(last, &parts),
        });
        step.key_parts = parts;
        Ok(place)
    }

    /// Whether a step is to run at all; the reason if not.
    pub(super) async fn is_wanted(&self, job: &Job, name: &str, item: &Item) -> Result<Option<String>, StepFailure> {
        let spec = &job.version.spec;
        let Some(condition) = spec.find(name).and_then(|step| step.when.as_deref()) else { return Ok(None) };
        let kind = serde_json::to_value(&job.run.trigger.kind).unwrap_or_default();
        let mut facts = json!({
            "params": job.run.params,
            "each": item,
            "trigger": { "time": job.run.trigger.time.to_string(), "kind": kind["kind"] },
        });
        for (step, output) in when::outputs_of(condition, spec) {
            let Some(artifact) = job.steps.get(&step).and_then(|step| step.outputs.get(&output)) else { continue };
            facts[when::spelt(&step)][&output] = files::read_json(&*self.artifacts, artifact).await?;
        }
        let is = when::is_true(condition, &facts).map_err(|what| Refusal::invalid("step/when", what))?;
        Ok((!is).then(|| format!("when: `{condition}` is not true")))
    }

    async fn cached(&self, step: &PipelineStep, made: &[CacheEntry]) -> Result<Option<CacheEntry>, Fault> {
        let Some(key) = step.cache_key.as_ref().filter(|_| !step.fresh) else { return Ok(None) };
        if let Some(entry) = made.iter().find(|entry| entry.key == *key) {
            return Ok(Some(entry.clone()));
        }
        let Some(entry) = World::new(self.store.snapshot()?).get::<CacheEntry>(key.as_str())? else { return Ok(None) };
        for artifact in entry.outputs.values() {
            if self.artifacts.get(&files::address(&artifact.digest)).await?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(entry))
    }

    /// Runs a step whose first attempt is committed as started.
    pub(super) async fn attempts(
        self: &Arc<Self>,
        job: &Job,
        name: &str,
        mut step: PipelineStep,
        place: &Place,
        mut cancelled: watch::Receiver<bool>,
    ) -> Result<Ended, Fault> {
        let retry = place.spec.retry.clone();
        let allowed = 1 + retry.as_ref().map_or(0, |retry| retry.max);
        let mut wait = retry.as_ref().map_or(std::time::Duration::ZERO, |retry| retry.wait.duration());
        for count in 1..=allowed {
            if count > 1 {
                self.open_attempt(job, name, &mut step, place);
                self.commit_start(job, &step).await?;
            }
            let outcome = self.attempt(job, name, &mut step, place, &cancelled).await;
            let last = step.attempts.last_mut().expect("an attempt was opened above or by the caller");
            last.ended = Some(self.clock.wall_now());
            let stop = *cancelled.borrow();
            match outcome {
                Ok(()) => return Ok(self.succeed(job, step, place).await),
                Err(_) if stop => {
                    last.error = Some(format!("pipeline {}, step {name}: cancelled", job.run.pipeline));
                    step.state = StepState::Cancelled;
                    return Ok(step.into());
                }
                Err(what) => last.error = Some(self.explain(job, name, place, last.number, allowed, &what)),
            }
            if count == allowed {
                step.state = StepState::Failed;
                return Ok(step.into());
            }
            self.commit_step(job, &step).await?;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = raised(&mut cancelled) => {}
            }
            wait = wait.mul_f64(retry.as_ref().map_or(1.0, |retry| retry.factor));
        }
        unreachable!("the last attempt returns")
    }

    fn open_attempt(&self, job: &Job, name: &str, step: &mut PipelineStep, place: &Place) {
        step.state = StepState::Running;
        step.attempts.push(self.describe_attempt(job, name, place, step.attempts.len() as u32 + 1));
    }

    async fn commit_start(&self, job: &Job, step: &PipelineStep) -> Result<(), Fault> {
        let mut batch = job.batch(self.clock.event_now());
        // It is for whoever finds the process running; no process outlives the machine's power.
        batch.may_be_lost = true;
        started(job, step, &mut batch);
        self.store.commit(batch).await.map(|_| ()).map_err(|e| as_fault("starting a step", e))
    }

    /// The outputs are kept already; step and cache entry are for the driver to commit together.
    async fn succeed(&self, job: &Job, mut step: PipelineStep, place: &Place) -> Ended {
        step.state = StepState::Succeeded;
        let entry = step.cache_key.as_ref().map(|key| CacheEntry {
            key: key.clone(),
            outputs: step.outputs.clone(),
            pipeline_run: job.run.id.clone(),
            step: step.name.clone(),
            training_set: step.training_set.clone(),
            created: self.clock.event_now(),
        });
        // The outputs are in the artifact store; the folder was only for the process.
        if place.has_folder() || !place.inputs.is_empty() {
            let _ = tokio::fs::remove_dir_all(&place.folder).await;
        }
        Ended { step, entry }
    }

    /// A step that could not even begin: its inputs or its environment are not there.
    pub(super) fn fail_unstarted(&self, job: &Job, mut step: PipelineStep, failure: StepFailure) -> Ended {
        let number = step.attempts.len() as u32 + 1;
        let now = self.clock.wall_now();
        let what = match failure {
            StepFailure::Refused(refusal) => refusal.to_string(),
            StepFailure::Fault(fault) => {
                tracing::error!(step = %step.name, %fault, "a step could not begin");
                fault.to_string()
            }
        };
        let error = format!(
            "pipeline {}, step {}, attempt {number}: could not begin: {what}\nresume: trimtab pipeline resume {}",
            job.run.pipeline, step.name, job.run.id
        );
        step.attempts.push(StepAttempt { ended: Some(now), error: Some(error), ..StepAttempt::begun(number, now) });
        step.state = StepState::Failed;
        step.into()
    }
}

/// Writes a step down whose newest attempt starts, and what it was made of.
pub(super) fn started(job: &Job, step: &PipelineStep, batch: &mut Batch) {
    batch.write(step);
    if job.last.get(&step.name) != Some(&step.key_parts) {
        batch.write(&LastStepKey { pipeline: job.run.pipeline.clone(), step: step.name.clone(), parts: step.key_parts.clone() });
    }
    batch.say(Event::StepStarted {
        pipeline_run: job.run.id.clone(),
        step: step.name.clone(),
        attempt: step.attempts.len() as u32,
        why: step.why.clone().unwrap_or_default(),
    });
}

/// What a step takes: of each input's alternatives, the first that was made.
fn inputs_of(job: &Job, spec: &StepSpec) -> Result<IndexMap<String, StepArtifact>, Refusal> {
    let taken = |(input, text): (&String, &String)| {
        let found = graph::sources(text).flatten().find_map(|source| match source {
            Source::Output(step, output) => job.steps.get(step)?.outputs.get(output),
            Source::Given(name) => job.run.inputs.get(name),
        });
        let found = found.ok_or_else(|| Refusal::invalid("step/input", format!("`{text}` has not been written")))?;
        Ok((input.clone(), found.clone()))
    };
    spec.input.iter().map(taken).collect()
}
