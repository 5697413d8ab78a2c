//! Starts pipelines at their times and after the events that they wait for, and works backfills off.

use super::{Engine, NAME, as_fault, fingerprint};
use crate::index;
use crate::triggers::{self, Firing};
use domain::entity::{Backfill, PipelineRun, RunState};
use domain::{Actor, Event, Fault, PipelineRunId, Recorded, Timestamp};
use ports::{World, decide};
use std::sync::Arc;

impl Engine {
    /// Decides on everything that is due; to be called once a second or so. What has nothing due costs one look at the clock. A server
    /// that is up only for one command goes on with backfills, but leaves schedules (`by_clock`) to one that stays.
    pub async fn tick(self: &Arc<Self>, by_clock: bool) -> Result<(), Fault> {
        let (head, now) = (*self.store.head().borrow(), self.clock.event_now());
        let quiet = *self.quiet.lock();
        if quiet.is_some_and(|(seen, until)| seen == head && now < until) {
            return Ok(());
        }
        let project = World::newest(&*self.store).project()?;
        let actor = Actor::System(NAME.into());
        let mut until = Timestamp::MAX;
        for (name, spec) in project.iter().flat_map(|project| &project.spec.pipeline).filter(|_| by_clock) {
            for cron in triggers::crons(spec) {
                let fingerprint = self.fingerprint(name).await?;
                let firing = Firing { pipeline: name, cron, spec, fingerprint: &fingerprint };
                let fired = decide(&*self.store, |world| triggers::fire(world, &firing, &actor, now)).await;
                fired.map_err(|e| as_fault("deciding on a schedule", e))?;
            }
            until = triggers::upcoming(spec, now, 1).first().map_or(until, |(at, _)| until.min(*at));
        }
        self.go_on_with_backfills().await?;
        let is_done = *self.store.head().borrow() == head;
        *self.quiet.lock() = is_done.then_some((head, until));
        Ok(())
    }

    /// Asks for the next runs of each backfill, as far as it may have them at a time.
    pub(super) async fn go_on_with_backfills(&self) -> Result<(), Fault> {
        let backfills = World::newest(&*self.store).list::<Backfill>()?;
        let (now, actor) = (self.clock.event_now(), Actor::System(NAME.into()));
        for backfill in backfills.iter().filter(|backfill| !backfill.is_over()) {
            let fingerprint = self.fingerprint(&backfill.pipeline).await?;
            let went_on = decide(&*self.store, |world| triggers::advance(world, &backfill.id, &fingerprint, &actor, now)).await;
            went_on.map_err(|e| as_fault("going on with a backfill", e))?;
        }
        Ok(())
    }

    /// Starts what waits for an event.
    pub(super) async fn hear(self: &Arc<Self>, recorded: &Recorded) -> Result<(), Fault> {
        let world = World::new(self.store.snapshot()?);
        let Some(project) = world.project()? else { return Ok(()) };
        let made_by = made_by(&world, &recorded.event)?;
        drop(world);
        let actor = Actor::System(NAME.into());
        for (name, spec) in &project.spec.pipeline {
            let Some(on) = triggers::wanted(spec, &recorded.event, made_by.as_deref(), name) else { continue };
            let fingerprint = self.fingerprint(name).await?;
            let firing = Firing { pipeline: name, cron: "", spec, fingerprint: &fingerprint };
            let heard = decide(&*self.store, |world| triggers::hear(world, &firing, on, recorded, &actor)).await;
            heard.map_err(|e| as_fault("starting a pipeline after an event", e))?;
        }
        Ok(())
    }

    /// Starts the queued runs of a pipeline again: whoever must still wait goes back to sleep.
    pub(super) fn wake(self: &Arc<Self>, pipeline: &str) -> Result<(), Fault> {
        let runs = index::under_way(&World::new(self.store.snapshot()?), pipeline)?;
        let queued = runs.into_iter().filter(|run| run.state == RunState::Queued);
        queued.for_each(|run| self.start(run.id));
        Ok(())
    }

    async fn fingerprint(&self, pipeline: &str) -> Result<crate::commands::Fingerprint, Fault> {
        let (store, pipeline) = (self.store.clone(), pipeline.to_owned());
        let read = tokio::task::spawn_blocking(move || fingerprint(&*store, &pipeline)).await;
        let read = read.map_err(|e| Fault::because("looking at a pipeline's code", e))?;
        read.map_err(|e| as_fault("looking at a pipeline's code", e))
    }
}

/// The pipeline whose run an event came of.
fn made_by(world: &World, event: &Event) -> Result<Option<String>, Fault> {
    let id: Option<&PipelineRunId> = match event {
        Event::ModelVersionRegistered { pipeline_run, .. } => pipeline_run.as_ref(),
        Event::PipelineRunFinished { pipeline_run, .. } => Some(pipeline_run),
        _ => None,
    };
    let Some(id) = id else { return Ok(None) };
    Ok(world.get::<PipelineRun>(id.as_str())?.map(|run| run.pipeline))
}
