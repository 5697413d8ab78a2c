//! A step that is another pipeline: a pipeline run of its own, with its page, its log and its cache.

use super::step::Place;
use super::{Engine, Job, NAME, as_fault, attempt, files, raised};
use crate::commands::{self, Request};
use crate::template;
use domain::entity::{PipelineRun, PipelineStep, PipelineVersion, RunState, Trigger, TriggerKind};
use domain::spec::ParamValue;
use domain::{Actor, PipelineRunId, Refusal, Scalar};
use indexmap::IndexMap;
use ports::{CommitError, World, decide};
use std::sync::Arc;
use tokio::sync::watch;

impl Engine {
    /// Runs the pipeline that the step names to its end and takes what `out` says of it.
    pub(super) async fn run_child(
        self: &Arc<Self>,
        job: &Job,
        name: &str,
        step: &mut PipelineStep,
        place: &Place,
        cancelled: &watch::Receiver<bool>,
    ) -> Result<(), String> {
        let id = PipelineRunId::new(format!("{}.{name}", job.run.id));
        step.child = Some(id.clone());
        self.ask_child(job, name, place, &id).await.map_err(|error| match error {
            CommitError::Refused(refusal) => refusal.to_string(),
            other => as_fault("asking for a pipeline", other).to_string(),
        })?;
        let run = self.until_over(&id, cancelled).await?;
        match run.state {
            RunState::Succeeded => self.take_outputs(step, place, &id).map_err(|fault| fault.to_string()),
            RunState::Cancelled => Err(format!("pipeline run {id} was cancelled")),
            _ => {
                let why = run.error.as_deref().unwrap_or("a step did not succeed").replace('\n', "\n  ");
                Err(format!("pipeline run {id} failed:\n  {why}"))
            }
        }
    }

    /// Asks for the run; one that is there from an earlier attempt goes on.
    async fn ask_child(self: &Arc<Self>, job: &Job, name: &str, place: &Place, id: &PipelineRunId) -> Result<(), CommitError> {
        let pipeline = place.spec.pipeline.clone().unwrap_or_default();
        let mut params = IndexMap::new();
        for (param, value) in &place.spec.params {
            params.insert(param.clone(), filled(job, place, value)?);
        }
        let now = self.clock.event_now();
        let kind = TriggerKind::Step { pipeline_run: job.run.id.clone(), step: name.into() };
        let trigger = Trigger { kind, ..job.run.trigger.clone() };
        let store = self.store.clone();
        let named = pipeline.clone();
        let looked = tokio::task::spawn_blocking(move || files::fingerprint(&*store, &named)).await;
        let fingerprint = looked.map_err(|e| domain::Fault::because("looking at a pipeline's code", e))??;
        // A run that repeats an older one repeats its children's versions too.
        let spec = match &job.run.again {
            Some(again) => self.spec_of_child(&PipelineRunId::new(format!("{}.{name}", again.of)))?,
            None => None,
        };
        let request = Request {
            id: Some(id.clone()),
            params,
            inputs: place.inputs.clone(),
            thread: job.batch(now).thread,
            spec,
            root: job.run.root.clone(),
            ..Request::new(pipeline, trigger, fingerprint)
        };
        let actor = Actor::System(NAME.into());
        decide(&*self.store, |world| match world.get::<PipelineRun>(id.as_str())? {
            None => commands::request(world, &request, &actor, now).map(|(batch, _)| (batch, ())),
            Some(run) if matches!(run.state, RunState::Failed | RunState::Cancelled) => commands::resume(world, id, None, &actor, now),
            Some(_) => Ok((domain::Batch::new(actor.clone(), now), ())),
        })
        .await?;
        self.start(id.clone());
        Ok(())
    }

    fn spec_of_child(&self, id: &PipelineRunId) -> Result<Option<domain::spec::PipelineSpec>, domain::Fault> {
        let world = World::new(self.store.snapshot()?);
        let Some(run) = world.get::<PipelineRun>(id.as_str())? else { return Ok(None) };
        Ok(world.get::<PipelineVersion>(&format!("{}/{}", run.pipeline, run.version))?.map(|version| version.spec))
    }

    async fn until_over(&self, id: &PipelineRunId, cancelled: &watch::Receiver<bool>) -> Result<PipelineRun, String> {
        let mut ends = self.ends.subscribe();
        let mut cancelled = cancelled.clone();
        let mut asked = false;
        loop {
            ends.mark_unchanged();
            let run = self.store.snapshot().and_then(|snapshot| World::new(snapshot).get::<PipelineRun>(id.as_str()));
            match run.map_err(|fault| fault.to_string())? {
                Some(run) if run.state.is_over() => return Ok(run),
                Some(_) => {}
                None => return Err(format!("pipeline run {id} is gone")),
            }
            tokio::select! {
                changed = ends.changed() => if changed.is_err() {
                    return Err("the engine stops".into());
                },
                () = raised(&mut cancelled), if !asked => {
                    asked = true;
                    let now = self.clock.event_now();
                    let actor = Actor::System(NAME.into());
                    let done = decide(&*self.store, |world| commands::cancel(world, id, &actor, now)).await;
                    done.map_err(|error| as_fault("cancelling a pipeline run", error).to_string())?;
                    if let Some(cancel) = self.running.lock().get(id) {
                        cancel.send_replace(true);
                    }
                }
            }
        }
    }

    fn take_outputs(&self, step: &mut PipelineStep, place: &Place, id: &PipelineRunId) -> Result<(), domain::Fault> {
        let world = World::new(self.store.snapshot()?);
        for (output, source) in &place.spec.output {
            let Some((from, made)) = source.split_once('.') else { continue };
            let of = world.get::<PipelineStep>(&format!("{id}/{from}"))?;
            let artifact = of.and_then(|of| of.outputs.get(made).cloned());
            let artifact =
                artifact.ok_or_else(|| domain::Fault::broken(format!("pipeline run {id} made no `{source}`: its step was skipped")))?;
            step.outputs.insert(output.clone(), artifact);
        }
        Ok(())
    }
}

/// A parameter for the other pipeline, its placeholders filled; a text that is one placeholder keeps the value's type.
fn filled(job: &Job, place: &Place, value: &ParamValue) -> Result<ParamValue, Refusal> {
    let ParamValue::One(Scalar::Text(text)) = value else { return Ok(value.clone()) };
    let whole = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).and_then(|hole| hole.split_once('.'));
    match whole {
        Some(("params", name)) if job.run.params.contains_key(name) => return Ok(job.run.params[name].clone()),
        Some(("each", name)) if place.item.contains_key(name) => return Ok(place.item[name].clone().into()),
        _ => {}
    }
    let rendered = template::render(std::slice::from_ref(text), |kind, hole| attempt::tell(job, place, kind, hole))?;
    Ok(ParamValue::One(Scalar::Text(rendered.concat())))
}
