#![allow(clippy::unwrap_used)]
//! What starts pipelines, on in-memory ports and a clock that is moved by hand.

use super::tests::Rows;
use super::*;
use crate::Fingerprint;
use crate::triggers::{self, BackfillRequest};
use domain::entity::{AppliedProject, Backfill, ScheduleMark};
use domain::spec::{Overlap, PipelineSpec, Project};
use domain::{Span, Timestamp};
use parking_lot::Condvar;
use ports::JobEnd;
use ports::memory::{ManualClock, MemoryArtifacts, MemoryCompute, MemoryStore};

/// A barrier that the program `wait` stands at.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

struct Yard {
    home: tempfile::TempDir,
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    artifacts: Arc<MemoryArtifacts>,
    gate: Arc<Gate>,
    engine: Arc<Engine>,
    activity: Activity,
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

impl Yard {
    /// A project with these pipelines, applied at the beginning of 20 November.
    async fn new(toml: &str) -> Yard {
        let (home, store, clock) = (tempfile::tempdir().unwrap(), MemoryStore::new(), Arc::new(ManualClock::new(at("2026-11-20"))));
        let spec = Project { pipeline: toml::from_str(toml).unwrap(), ..Project::default() };
        spec.pipeline.iter().for_each(|(name, pipeline): (&String, &PipelineSpec)| crate::check::check(name, pipeline).unwrap());
        let applied =
            AppliedProject { hash: spec.hash(), spec, root: home.path().to_string_lossy().into_owned(), applied: at("2026-11-20") };
        store.commit(Batch::new(Actor::User("ann".into()), at("2026-11-20")).put(&applied)).await.unwrap();
        let (artifacts, gate, activity) = (MemoryArtifacts::new(), Arc::new(Gate::default()), Activity::default());
        let engine = engine(&home, &store, &clock, &artifacts, &gate, &activity);
        Yard { home, store, clock, artifacts, gate, engine, activity }
    }

    /// The same store in a new process.
    fn restart(&mut self) {
        self.activity = Activity::default();
        self.engine = engine(&self.home, &self.store, &self.clock, &self.artifacts, &self.gate, &self.activity);
        self.engine.resume().unwrap();
    }

    /// Lets the engine hear what it has not heard, until nothing is under way.
    async fn settle(&self, mut heard: u64) -> u64 {
        loop {
            for recorded in self.store.events(heard, 1000).unwrap() {
                heard = recorded.seq;
                if self.engine.worker().wants(&recorded.event) {
                    self.engine.worker().work(&recorded).await.unwrap();
                }
            }
            self.activity.idle().await;
            if *self.store.head().borrow() == heard {
                return heard;
            }
        }
    }

    /// Goes to an instant, and looks at the clock there.
    async fn tick(&self, time: &str) {
        self.clock.advance_to(at(time));
        self.engine.tick(true).await.unwrap();
    }

    fn runs(&self) -> Vec<PipelineRun> {
        let mut runs = World::new(self.store.snapshot().unwrap()).list::<PipelineRun>().unwrap();
        runs.sort_by_key(|run| (run.requested, run.id.clone()));
        runs
    }

    fn skipped(&self) -> Vec<String> {
        let events = self.store.events(0, 10_000).unwrap();
        let why = |event| if let Event::TriggerSkipped { why, .. } = event { Some(why) } else { None };
        events.into_iter().filter_map(|recorded| why(recorded.event)).collect()
    }

    async fn ask(&self, pipeline: &str) -> Result<PipelineRunId, CommitError> {
        let now = self.clock.event_now();
        let trigger = Trigger { kind: TriggerKind::Command, time: now, holdout_to: now };
        let fingerprint = Fingerprint { code: Digest::of(b""), environment: Digest::of(b""), git_commit: None, git_diff: None };
        let request = Request::new(pipeline, trigger, fingerprint);
        decide(&*self.store, |world| commands::request(world, &request, &Actor::User("ann".into()), now)).await
    }

    /// Waits for something that another task commits: it is looked at again after each event.
    async fn until(&self, is: impl Fn() -> bool) {
        let mut head = self.store.head();
        while !is() {
            head.changed().await.unwrap();
        }
    }

    fn open(&self) {
        *self.gate.0.lock() = true;
        self.gate.1.notify_all();
    }
}

fn engine(
    home: &tempfile::TempDir,
    store: &Arc<MemoryStore>,
    clock: &Arc<ManualClock>,
    artifacts: &Arc<MemoryArtifacts>,
    gate: &Arc<Gate>,
    activity: &Activity,
) -> Arc<Engine> {
    let compute = Arc::new(MemoryCompute::default());
    let end = |exit| JobEnd { exit: Some(exit), ..JobEnd::default() };
    compute.install("good", move |_| end(0));
    compute.install("bad", move |_| end(1));
    let gate = gate.clone();
    compute.install("wait", move |_| {
        let mut open = gate.0.lock();
        while !*open {
            gate.1.wait(&mut open);
        }
        end(0)
    });
    let config = EngineConfig { home: home.path().into(), tracking_uri: String::new(), instance: "test".into() };
    Engine::new(store.clone(), compute, artifacts.clone(), clock.clone(), Arc::new(Rows::default()), config, activity.clone())
}

#[tokio::test]
async fn a_schedule_fires_once_at_its_time_and_after_a_pause_as_far_as_it_says() {
    let mut yard =
        Yard::new("[nightly]\non = [\"cron:0 3 * * *\"]\ncatchup = \"6h\"\n[nightly.step.a]\nrun = [\"good\"]\ncache = false").await;
    yard.tick("2026-11-20T02:00:00Z").await;
    assert!(yard.runs().is_empty(), "it begins now");
    yard.tick("2026-11-20T03:00:00Z").await;
    yard.tick("2026-11-20T03:00:01Z").await;
    let runs = yard.runs();
    let night = at("2026-11-20T03:00:00Z");
    assert_eq!((runs.len(), &runs[0].trigger.kind, runs[0].trigger.time), (1, &TriggerKind::Schedule { at: night }, night));
    let heard = yard.settle(0).await;
    assert_eq!(yard.runs()[0].state, RunState::Succeeded);
    // Down for two nights, up again at eight: the newest is made good, the other counted.
    yard.restart();
    yard.tick("2026-11-22T08:00:00Z").await;
    assert_eq!(yard.runs().len(), 2);
    assert_eq!(yard.runs()[1].trigger.time, at("2026-11-22T03:00:00Z"));
    // Down until the afternoon: too late, which is said.
    yard.restart();
    yard.settle(heard).await;
    yard.tick("2026-11-23T15:00:00Z").await;
    assert_eq!((yard.runs().len(), yard.skipped().len()), (2, 1));
    let mark = World::new(yard.store.snapshot().unwrap()).list::<ScheduleMark>().unwrap().remove(0);
    assert_eq!((mark.last, mark.missed), (at("2026-11-23T03:00:00Z"), 2));
    yard.engine.tick(false).await.unwrap();
    yard.clock.advance_to(at("2026-11-24T03:00:00Z"));
    yard.engine.tick(false).await.unwrap();
    assert_eq!(yard.runs().len(), 2, "a server for one command leaves schedules alone");
}

#[tokio::test]
async fn an_event_starts_what_waits_for_it_once_and_nothing_starts_itself() {
    let yard = Yard::new(
        "[fresh]\non = [\"source:rides\", \"model:demand\"]\n[fresh.step.a]\nrun = [\"good\"]\n\
         [after]\non = [\"pipeline:fresh\"]\n[after.step.a]\nrun = [\"good\"]",
    )
    .await;
    let event = |rows| Event::TableWritten { source: "rides".into(), table_version: 1, rows, segment: None };
    for rows in [0, 12] {
        yard.store.commit(Batch::new(Actor::User("ann".into()), at("2026-11-20")).event(event(rows))).await.unwrap();
    }
    yard.settle(0).await;
    yard.settle(0).await;
    let told = |run: &PipelineRun| (run.id.to_string(), run.state);
    let runs: Vec<_> = yard.runs().iter().map(told).collect();
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(runs.iter().all(|(_, state)| *state == RunState::Succeeded) && runs.iter().any(|(id, _)| id == "fresh-on-2"), "{runs:?}");
    // A version that a run of `fresh` registered does not start it again.
    let registered = Event::ModelVersionRegistered {
        model: domain::ModelName::new("demand"),
        version: domain::VersionNumber(1),
        run: None,
        pipeline_run: Some(PipelineRunId::new("fresh-on-2")),
    };
    yard.store.commit(Batch::new(Actor::User("ann".into()), at("2026-11-20")).event(registered)).await.unwrap();
    yard.settle(0).await;
    assert_eq!(yard.runs().len(), 2);
}

#[tokio::test]
async fn runs_that_overlap_wait_or_are_refused_or_take_the_place() {
    for (overlap, states) in [
        (Overlap::Allow, vec![RunState::Running, RunState::Running]),
        (Overlap::Queue, vec![RunState::Running, RunState::Queued]),
        (Overlap::Skip, vec![RunState::Running]),
        (Overlap::CancelOlder, vec![RunState::Running, RunState::Running]),
    ] {
        let word = serde_json::to_value(overlap).unwrap();
        let yard = Yard::new(&format!("[p]\noverlap = {word}\n[p.step.a]\nrun = [\"wait\"]\ncache = false")).await;
        let first = yard.ask("p").await.unwrap();
        let mut heard = 0;
        for recorded in yard.store.events(heard, 10).unwrap() {
            heard = recorded.seq;
            yard.engine.worker().work(&recorded).await.unwrap();
        }
        yard.until(|| yard.runs()[0].state == RunState::Running).await;
        yard.clock.advance_to(at("2026-11-20T01:00:00Z"));
        let second = yard.ask("p").await;
        assert_eq!(second.is_err(), overlap == Overlap::Skip, "{overlap:?}: {second:?}");
        for recorded in yard.store.events(heard, 10).unwrap() {
            yard.engine.worker().work(&recorded).await.unwrap();
        }
        yard.until(|| yard.runs().iter().map(|run| run.state).collect::<Vec<_>>() == states).await;
        assert_eq!(yard.runs()[0].cancel_asked, overlap == Overlap::CancelOlder);
        yard.open();
        yard.settle(0).await;
        assert!(yard.runs().iter().all(|run| run.state.is_over()), "{overlap:?}: {:?}", yard.runs());
        assert_eq!(yard.runs()[0].id, first);
    }
}

#[tokio::test]
async fn a_backfill_is_worked_off_a_few_at_a_time_through_restarts() {
    for (program, succeeded, failed) in [("good", 5, 0), ("bad", 0, 5)] {
        let mut yard = Yard::new(&format!("[p]\n[p.step.a]\nrun = [\"{program}\"]\ncache = false")).await;
        let asked = BackfillRequest {
            pipeline: "p".into(),
            from: at("2026-11-01"),
            to: at("2026-11-05T12:00:00Z"),
            every: Span::days(1),
            parallel: 2,
            params: IndexMap::new(),
        };
        let (ann, now) = (Actor::User("ann".into()), at("2026-11-20"));
        let made = decide(&*yard.store, |world| triggers::backfill(world, &asked, &ann, now)).await.unwrap();
        let mut heard = 0;
        for _ in 0..20 {
            yard.engine.tick(false).await.unwrap();
            let under_way = yard.runs().iter().filter(|run| !run.state.is_over()).count();
            assert!(under_way <= 2, "{under_way} at a time");
            heard = yard.settle(heard).await;
            yard.restart();
        }
        let done = World::new(yard.store.snapshot().unwrap()).get::<Backfill>(&made.id).unwrap().unwrap();
        assert!(done.is_over() && done.succeeded == succeeded && done.failed.len() == failed, "{done:?}");
        let times: Vec<Timestamp> = yard.runs().iter().map(|run| run.trigger.time).collect();
        assert_eq!(times, (1..=5).map(|day| at(&format!("2026-11-{day:02}"))).collect::<Vec<_>>());
        let ends = yard.store.events(0, 10_000).unwrap().into_iter().filter(|one| matches!(one.event, Event::BackfillFinished { .. }));
        assert_eq!(ends.count(), 1);
    }
}

#[tokio::test]
async fn a_backfill_that_cannot_be_is_refused_and_one_can_be_stopped() {
    let yard = Yard::new("[p]\n[p.step.a]\nrun = [\"good\"]").await;
    let asked = |from: &str, to: &str, every: Span, parallel: u32| BackfillRequest {
        pipeline: "p".into(),
        from: at(from),
        to: at(to),
        every,
        parallel,
        params: IndexMap::new(),
    };
    let (ann, now) = (Actor::User("ann".into()), at("2026-11-20"));
    let begin = |asked: BackfillRequest| {
        let (store, ann) = (yard.store.clone(), ann.clone());
        async move { decide(&*store, |world| triggers::backfill(world, &asked, &ann, now)).await }
    };
    let day = Span::days(1);
    let bad = [
        asked("2026-01-02", "2026-01-02", day, 1),
        asked("2026-01-02", "2026-01-01", day, 1),
        asked("2026-01-01", "2026-01-02", Span::from_ms(0), 1),
        asked("2000-01-01", "2026-01-01", Span::from_ms(1000), 1),
        asked("2026-01-01", "2026-01-02", day, 0),
        BackfillRequest { pipeline: "q".into(), ..asked("2026-01-01", "2026-01-02", day, 1) },
    ];
    for one in bad {
        assert!(matches!(begin(one.clone()).await, Err(CommitError::Refused(_))), "{one:?}");
    }
    let made = begin(asked("2026-01-01", "2026-02-01", day, 1)).await.unwrap();
    yard.engine.tick(false).await.unwrap();
    decide(&*yard.store, |world| triggers::cancel_backfill(world, &made.id, &ann, now)).await.unwrap();
    let mut heard = 0;
    for _ in 0..3 {
        heard = yard.settle(heard).await;
        yard.engine.tick(false).await.unwrap();
    }
    let done = World::new(yard.store.snapshot().unwrap()).get::<Backfill>(&made.id).unwrap().unwrap();
    assert!(done.is_over() && done.cancelled && yard.runs().len() == 1, "{done:?}");
}
