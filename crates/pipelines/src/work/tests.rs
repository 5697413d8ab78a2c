#![allow(clippy::unwrap_used)]
//! The engine on in-memory ports, killed at every write.

use super::*;
use crate::Fingerprint;
use domain::Timestamp;
use domain::entity::AppliedProject;
use domain::spec::{PipelineSpec, Project, TrainingSetSpec};
use ports::memory::{Halt, Halting, ManualClock, MemoryArtifacts, MemoryCompute, MemoryStore};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes its file; how often it had to.
#[derive(Default)]
pub(super) struct Rows(AtomicU64);

#[async_trait]
impl BuiltIn for Rows {
    async fn key(&self, _: &BuiltInStep<'_>) -> Result<Option<Digest>, StepFailure> {
        Ok(Some(Digest::of(b"the same data")))
    }

    async fn run(&self, step: &BuiltInStep<'_>) -> Result<Option<TrainingSetId>, StepFailure> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::fs::write(step.out.join("rows"), b"rows").map_err(|e| Fault::because("writing", e))?;
        Ok(Some(TrainingSetId::new("ts-1")))
    }

    async fn open_sweep(&self, _: &BuiltInStep<'_>, _: usize) -> Result<RunId, StepFailure> {
        Ok(RunId::new("parent"))
    }

    async fn trial_run(&self, key: &str, _: &StepSpec) -> Result<Option<(RunId, Option<f64>)>, StepFailure> {
        Ok(Some((RunId::new(key), key.split('/').nth(2).and_then(|number| number.parse().ok()))))
    }

    async fn close_sweep(&self, _: &BuiltInStep<'_>, _: &RunId, _: &[Trial], _: Option<&Trial>) -> Result<(), StepFailure> {
        Ok(())
    }
}

fn project() -> Project {
    let set = TrainingSetSpec {
        model: "demand".into(),
        labels: "rides".into(),
        label: "bikers".into(),
        features: Vec::new(),
        until: "trigger.time".into(),
    };
    let step =
        StepSpec { training_set: Some(set), output: [("rows".to_owned(), "rows".to_owned())].into(), cache: true, ..StepSpec::default() };
    let pipeline = PipelineSpec { step: [("set".to_owned(), step)].into(), ..PipelineSpec::default() };
    Project { pipeline: [("retrain".to_owned(), pipeline)].into(), ..Project::default() }
}

/// How the step ended, by the log; how often it ran; and the writes of the engine.
async fn killed_at(halt: Option<(u64, Halt)>) -> (Vec<StepState>, u64, u64) {
    let (home, store, rows) = (tempfile::tempdir().unwrap(), MemoryStore::new(), Arc::new(Rows::default()));
    let (clock, artifacts) = (Arc::new(ManualClock::new(Timestamp::from_ms(0))), MemoryArtifacts::new());
    let spec = project();
    let applied =
        AppliedProject { hash: spec.hash(), spec, root: home.path().to_string_lossy().into_owned(), applied: Timestamp::from_ms(0) };
    store.commit(Batch::new(Actor::User("ann".into()), Timestamp::from_ms(0)).put(&applied)).await.unwrap();
    let trigger = Trigger { kind: TriggerKind::Command, time: Timestamp::from_ms(0), holdout_to: Timestamp::from_ms(0) };
    let fingerprint = Fingerprint { code: Digest::of(b""), environment: Digest::of(b""), git_commit: None, git_diff: None };
    let request = Request::new("retrain", trigger, fingerprint);
    let ann = Actor::User("ann".into());
    decide(&*store, |world| commands::request(world, &request, &ann, Timestamp::from_ms(0))).await.unwrap();
    let mut deaths = halt.into_iter();
    loop {
        let mortal = Halting::new(store.clone());
        if let Some((n, side)) = deaths.next() {
            mortal.halt_at(n, side);
        }
        let (activity, compute) = (Activity::default(), Arc::new(MemoryCompute::default()));
        let config = EngineConfig { home: home.path().into(), tracking_uri: String::new(), instance: "test".into() };
        let engine = Engine::new(mortal.clone(), compute, artifacts.clone(), clock.clone(), rows.clone(), config, activity.clone());
        engine.resume().unwrap();
        let mut halted = mortal.halted();
        tokio::select! {
            () = activity.idle() => {
                let ends = store.events(0, 1000).unwrap().into_iter().filter_map(|recorded| match recorded.event {
                    Event::StepFinished { state, .. } => Some(state),
                    _ => None,
                });
                return (ends.collect(), rows.0.load(Ordering::SeqCst), mortal.writes());
            }
            _ = halted.wait_for(|halted| *halted) => {}
        }
    }
}

/// A step's success and its cache entry were two commits. A server that was killed between them ran the step's key again,
/// found its own entry, and told that the step was cached, in a pipeline run in which it had run.
#[tokio::test]
async fn a_step_that_ran_is_never_told_as_cached_because_the_server_was_killed() {
    let (whole, ran, writes) = killed_at(None).await;
    assert_eq!((whole, ran, writes), (vec![StepState::Succeeded], 1, 4));
    for n in 1..=writes {
        for side in [Halt::Before, Halt::After] {
            let (ends, ran, _) = killed_at(Some((n, side))).await;
            assert_eq!(ends, [StepState::Succeeded], "{side:?} write {n}");
            assert!(ran <= 2, "{side:?} write {n}: it ran {ran} times");
        }
    }
}
