#![allow(clippy::unwrap_used)]
//! The engine on in-memory ports, killed at every write.

use super::*;
use crate::Fingerprint;
use domain::Timestamp;
use domain::entity::AppliedProject;
use domain::spec::{PipelineSpec, Project, TrainingSetSpec};
use ports::JobEnd;
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

/// What came of a pipeline run whose server was killed at a write, if it was, and started again until the run was over.
struct Ride {
    events: Vec<Event>,
    /// How often the built-in step ran.
    ran: u64,
    /// Jobs, in the order in which they ran.
    jobs: Vec<String>,
    /// Writes of the engine in its last process.
    writes: u64,
}

async fn ride(spec: Project, pipeline: &str, halt: Option<(u64, Halt)>) -> Ride {
    let (home, store, rows) = (tempfile::tempdir().unwrap(), MemoryStore::new(), Arc::new(Rows::default()));
    let (clock, artifacts) = (Arc::new(ManualClock::new(Timestamp::from_ms(0))), MemoryArtifacts::new());
    let applied =
        AppliedProject { hash: spec.hash(), spec, root: home.path().to_string_lossy().into_owned(), applied: Timestamp::from_ms(0) };
    store.commit(Batch::new(Actor::User("ann".into()), Timestamp::from_ms(0)).put(&applied)).await.unwrap();
    let trigger = Trigger { kind: TriggerKind::Command, time: Timestamp::from_ms(0), holdout_to: Timestamp::from_ms(0) };
    let fingerprint = Fingerprint { code: Digest::of(b""), environment: Digest::of(b""), git_commit: None, git_diff: None };
    let request = Request::new(pipeline, trigger, fingerprint);
    let ann = Actor::User("ann".into());
    decide(&*store, |world| commands::request(world, &request, &ann, Timestamp::from_ms(0))).await.unwrap();
    let jobs = Arc::new(Mutex::new(Vec::new()));
    let mut deaths = halt.into_iter();
    loop {
        let mortal = Halting::new(store.clone());
        if let Some((n, side)) = deaths.next() {
            mortal.halt_at(n, side);
        }
        let (activity, compute) = (Activity::default(), Arc::new(MemoryCompute::default()));
        for (program, exit) in [("good", 0), ("bad", 1)] {
            let jobs = jobs.clone();
            compute.install(program, move |job| {
                jobs.lock().push(job.env.iter().find(|(name, _)| name == "TRIMTAB_STEP").unwrap().1.clone());
                JobEnd { exit: Some(exit), ..JobEnd::default() }
            });
        }
        let config = EngineConfig { home: home.path().into(), tracking_uri: String::new(), instance: "test".into() };
        let engine = Engine::new(mortal.clone(), compute, artifacts.clone(), clock.clone(), rows.clone(), config, activity.clone());
        engine.resume().unwrap();
        let mut halted = mortal.halted();
        tokio::select! {
            () = activity.idle() => {
                let events = store.events(0, 1000).unwrap().into_iter().map(|recorded| recorded.event).collect();
                let jobs = jobs.lock().clone();
                return Ride { events, ran: rows.0.load(Ordering::SeqCst), jobs, writes: mortal.writes() };
            }
            _ = halted.wait_for(|halted| *halted) => {}
        }
    }
}

/// A step's success and its cache entry were two commits. A server that was killed between them ran the step's key again,
/// found its own entry, and told that the step was cached, in a pipeline run in which it had run.
#[tokio::test]
async fn a_step_that_ran_is_never_told_as_cached_because_the_server_was_killed() {
    let ends = |ride: &Ride| -> Vec<StepState> {
        let state = |event: &Event| if let Event::StepFinished { state, .. } = event { Some(*state) } else { None };
        ride.events.iter().filter_map(state).collect()
    };
    let whole = ride(project(), "retrain", None).await;
    assert_eq!((ends(&whole), whole.ran, whole.writes), (vec![StepState::Succeeded], 1, 4));
    for n in 1..=whole.writes {
        for side in [Halt::Before, Halt::After] {
            let ride = ride(project(), "retrain", Some((n, side))).await;
            assert_eq!(ends(&ride), [StepState::Succeeded], "{side:?} write {n}");
            assert!(ride.ran <= 2, "{side:?} write {n}: it ran {} times", ride.ran);
        }
    }
}

/// A chain, a step of its own beside it, one that fails, one that cannot run for that, and an exit step.
fn steps() -> Project {
    let text = r#"
        [p.step]
        a = { run = ["good", "a"] }
        b = { run = ["good", "b"], after = ["a"] }
        c = { run = ["good", "c"], after = ["b"] }
        bad = { run = ["bad"], after = ["c"] }
        never = { run = ["good", "never"], after = ["bad"] }
        [p.on_exit]
        tell = { run = ["good", "tell"] }
    "#;
    Project { pipeline: toml::from_str(text).unwrap(), ..Project::default() }
}

/// `started a`, `succeeded a`, in the order of the log.
fn told(ride: &Ride) -> Vec<String> {
    let line = |event: &Event| match event {
        Event::StepStarted { step, .. } => Some(format!("started {step}")),
        Event::StepFinished { step, state, .. } => Some(format!("{} {step}", serde_json::to_value(state).unwrap().as_str().unwrap())),
        _ => None,
    };
    ride.events.iter().filter_map(line).collect()
}

#[tokio::test]
async fn an_end_and_the_start_that_follows_from_it_are_one_commit() {
    let ride = ride(steps(), "p", None).await;
    let expected = "started a, succeeded a, started b, succeeded b, started c, succeeded c, started bad, failed bad, upstream_failed never, \
                    started tell, succeeded tell";
    assert_eq!(told(&ride).join(", "), expected);
    // The run begins, four starts, each but the first with an end; `bad` ends with `never` and with the exit step's start, that ends, and
    // the run is over.
    assert_eq!(ride.writes, 1 + 4 + 1 + 1 + 1);
}

#[tokio::test]
async fn a_server_killed_at_any_write_of_a_chain_repeats_no_step_that_was_committed() {
    let writes = ride(steps(), "p", None).await.writes;
    for n in 1..=writes {
        for side in [Halt::Before, Halt::After] {
            let ride = ride(steps(), "p", Some((n, side))).await;
            let told = told(&ride);
            let first = |what: &str| told.iter().position(|line| line == what).unwrap_or_else(|| panic!("{side:?} write {n}: no {what}"));
            for (end, start) in [("succeeded a", "started b"), ("succeeded b", "started c"), ("succeeded c", "started bad")] {
                assert!(first(end) < first(start), "{side:?} write {n}: {told:?}");
            }
            for end in ["succeeded a", "succeeded b", "succeeded c", "failed bad", "upstream_failed never", "succeeded tell"] {
                assert_eq!(told.iter().filter(|line| *line == end).count(), 1, "{side:?} write {n}: {told:?}");
            }
            assert!(ride.jobs.len() <= 6, "{side:?} write {n}: one job at most ran again, not {:?}", ride.jobs);
        }
    }
}

#[tokio::test]
async fn a_step_finds_what_the_one_before_it_made_a_moment_ago() {
    let pipeline = toml::from_str("[p.step]\na = { run = [\"good\"] }\nb = { run = [\"good\"], after = [\"a\"] }").unwrap();
    let ride = ride(Project { pipeline, ..Project::default() }, "p", None).await;
    assert_eq!((told(&ride).join(", ").as_str(), ride.jobs.len()), ("started a, succeeded a, cached b", 1));
}

/// Steps that are found in the cache need no process: a commit holds many of them.
#[tokio::test]
async fn a_chain_that_is_found_in_the_cache_is_few_commits() {
    let mut spec = steps();
    let pipeline = &mut spec.pipeline["p"];
    pipeline.on_exit.clear();
    pipeline.step.shift_remove("bad");
    pipeline.step.shift_remove("never");
    let again = pipeline.clone();
    // A second pipeline of the same steps: the same keys.
    pipeline.step.insert("then".into(), toml::from_str("pipeline = \"q\"\nafter = [\"c\"]").unwrap());
    spec.pipeline.insert("q".into(), again);
    let ride = ride(spec, "p", None).await;
    let told = told(&ride);
    assert_eq!(told.iter().filter(|line| line.starts_with("cached")).count(), 3, "{told:?}");
    // The first three steps and what frames them, as above; `then` starts, asks for `q` and ends; `q` keeps its code, begins, has one commit
    // for all its steps, and ends.
    assert_eq!(ride.writes, (1 + 3 + 1 + 1) + 3 + 4);
}
