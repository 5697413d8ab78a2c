//! Which pipeline runs are under way, how many there were, and what those used that are over: kept beside them, so that no decision reads
//! all that ever ran.

use domain::entity::{OpenRun, PipelineRun, PipelineStep, PipelineVersion, RunCount, RunIndex, UsedByRun};
use domain::{Actor, Batch, Fault, Timestamp};
use ports::{CommitError, MetadataStore, World, decide};

/// The runs of a pipeline that are not over.
pub fn under_way(world: &World, pipeline: &str) -> Result<Vec<PipelineRun>, Fault> {
    resolve(world, world.scope::<OpenRun>(pipeline)?)
}

/// The runs of all pipelines that are not over.
pub fn all_under_way(world: &World) -> Result<Vec<PipelineRun>, Fault> {
    resolve(world, world.list::<OpenRun>()?)
}

fn resolve(world: &World, open: Vec<OpenRun>) -> Result<Vec<PipelineRun>, Fault> {
    let mut runs = Vec::new();
    for open in open {
        runs.extend(world.get::<PipelineRun>(open.pipeline_run.as_str())?.filter(|run| !run.state.is_over()));
    }
    Ok(runs)
}

/// How many runs a pipeline has had.
pub(crate) fn count(world: &World, pipeline: &str) -> Result<u64, Fault> {
    Ok(world.get::<RunCount>(pipeline)?.map_or(0, |count| count.runs))
}

/// A run that is new: it is under way, and counted.
pub(crate) fn add(world: &World, batch: &mut Batch, run: &PipelineRun) -> Result<(), Fault> {
    batch.write(&RunCount { pipeline: run.pipeline.clone(), runs: count(world, &run.pipeline)? + 1 });
    batch.write(&OpenRun::of(run));
    Ok(())
}

/// A run that is over, with what it used.
pub(crate) fn close<'a>(
    batch: &mut Batch,
    run: &PipelineRun,
    version: &PipelineVersion,
    steps: impl IntoIterator<Item = &'a PipelineStep>,
) {
    batch.delete::<OpenRun>(OpenRun::key_of(&run.pipeline, &run.id));
    batch.write(&UsedByRun::of(run, version, steps));
}

/// Runs at a time that a home of before is read by.
const STRIDE: usize = 200;

/// Makes the index of a home that was written before there was one. To be called before anything decides.
pub async fn bring_up_to_date(store: &dyn MetadataStore, now: Timestamp) -> Result<(), Fault> {
    let world = World::new(store.snapshot()?);
    if world.get::<RunIndex>("run_index")?.is_some() {
        return Ok(());
    }
    let fault = |error: CommitError| match error {
        CommitError::Fault(fault) => fault,
        other => Fault::because("indexing pipeline runs", other),
    };
    let new = || Batch::new(Actor::System("pipelines.index".into()), now);
    let runs = world.list::<PipelineRun>()?;
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    for some in runs.chunks(STRIDE) {
        let mut batch = new();
        // A world remembers what was read of it, and looks through that at each read.
        let world = World::new(store.snapshot()?);
        for run in some {
            *counts.entry(&run.pipeline).or_default() += 1;
            let version = world.get::<PipelineVersion>(&format!("{}/{}", run.pipeline, run.version))?;
            match version {
                _ if !run.state.is_over() => batch.write(&OpenRun::of(run)),
                Some(version) => batch.write(&UsedByRun::of(run, &version, &world.scope::<PipelineStep>(run.id.as_str())?)),
                None => {}
            }
        }
        store.commit(batch).await.map_err(fault)?;
    }
    decide(store, |_| {
        let mut batch = new();
        for (pipeline, runs) in &counts {
            batch.write(&RunCount { pipeline: (*pipeline).into(), runs: *runs });
        }
        Ok((batch.put(&RunIndex { since: now }), ()))
    })
    .await
    .map_err(fault)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::PipelineRunId;
    use domain::entity::{RunState, Trigger, TriggerKind};
    use ports::memory::MemoryStore;

    #[tokio::test]
    async fn a_home_of_before_is_indexed_once() {
        let store = MemoryStore::new();
        let at = Timestamp::from_ms(1_000);
        let mut batch = Batch::new(Actor::User("ann".into()), at);
        for (pipeline, number, state) in
            [("a", 1, RunState::Succeeded), ("a", 2, RunState::Running), ("b", 1, RunState::Queued), ("a", 3, RunState::Failed)]
        {
            let trigger = Trigger { kind: TriggerKind::Command, time: at, holdout_to: at };
            let id = PipelineRunId::new(format!("{pipeline}-{number}"));
            batch.write(&PipelineRun { state, ..PipelineRun::queued(id, pipeline, trigger, at) });
        }
        store.commit(batch).await.unwrap();
        for _ in 0..2 {
            bring_up_to_date(&*store, at).await.unwrap();
            let world = World::new(store.snapshot().unwrap());
            let open: Vec<String> = all_under_way(&world).unwrap().iter().map(|run| run.id.to_string()).collect();
            assert_eq!(open, ["a-2", "b-1"]);
            assert_eq!((under_way(&world, "a").unwrap().len(), count(&world, "a").unwrap(), count(&world, "c").unwrap()), (1, 3, 0));
        }
    }
}
