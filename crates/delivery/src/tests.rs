#![allow(clippy::unwrap_used)]
//! Delivery end to end on the in-memory store: versions are registered, judged, let out, taken back.

use crate::commands::{request_gate, rollback};
use crate::gate::Signature;
use crate::work::{Dossier, GateWorker, Holdout, HoldoutRows, TrainingRows};
use arrow::array::{ArrayRef, Float64Array};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::*;
use domain::*;
use ports::memory::{Halt, Halting, ManualClock, MemoryStore};
use ports::{MetadataStore, QueryError, ScoreError, Scorer, World, decide};
use reactor::{Activity, Reactor};
use std::sync::Arc;

mod people;

const FILE: &str = r#"{ "model": { "demand": { "task": "regression", "metric": "mae",
    "gate": { "holdout": "last 7d", "must": ["mae < 60", "non_inferior(mae, margin = 1.0)"] },
    "serve": { "keep_shadow": ["1"], "rollout": { "shadow": { "min_requests": 24 } } } } } }"#;

fn day(n: i64) -> Timestamp {
    Timestamp::from_ms(n * 86_400_000)
}

/// Version N is off by `ERRORS[N]`; version 9 does not load.
struct Versions;
const ERRORS: [f64; 6] = [0.0, 20.0, 10.0, 15.0, 80.0, 10.4];

#[async_trait]
impl Scorer for Versions {
    async fn score(&self, _: &ModelName, version: VersionNumber, features: &RecordBatch) -> Result<Vec<Scalar>, ScoreError> {
        let Some(error) = ERRORS.get(version.0 as usize) else {
            return Err(Refusal::invalid("model/load", "no module named sklearn").into());
        };
        Ok(vec![Scalar::Float(100.0 + error); features.num_rows()])
    }
}

struct Hourly;

#[async_trait]
impl Holdout for Hourly {
    async fn rows(&self, _: &ModelName, range: Range, _: Timestamp) -> Result<HoldoutRows, QueryError> {
        let times: Vec<_> =
            (0..(range.to - range.from).ms() / 3_600_000).map(|hour| range.from + Span::from_ms(hour * 3_600_000)).collect();
        let column: ArrayRef = Arc::new(Float64Array::from(vec![1.0; times.len()]));
        let features = RecordBatch::try_from_iter([("temp", column)]).unwrap();
        let identity: ArrayRef = Arc::new(arrow::array::Int64Array::from(times.iter().map(|time| time.ms()).collect::<Vec<_>>()));
        let identity = RecordBatch::try_from_iter([("ts", identity)]).unwrap();
        Ok(HoldoutRows { features, truth: vec![100.0; times.len()], hash: Digest::of_json(&times), times, identity })
    }
}

/// Every version is a megabyte, takes `temp`, and was trained on ten rows.
struct Known;

#[async_trait]
impl Dossier for Known {
    async fn size(&self, _: &ModelName, _: VersionNumber) -> Result<Option<u64>, Fault> {
        Ok(Some(1_000_000))
    }

    async fn signature(&self, _: &ModelName, _: VersionNumber) -> Result<Option<Signature>, Fault> {
        Ok(Some(Signature::default()))
    }

    async fn training(&self, _: &ModelName, _: VersionNumber) -> Result<Option<TrainingRows>, QueryError> {
        let column: ArrayRef = Arc::new(Float64Array::from_iter_values((0..10).map(f64::from)));
        let rows = RecordBatch::try_from_iter([("temp", column.clone()), ("y", column)]).unwrap();
        Ok(Some(TrainingRows { rows, features: vec!["temp".into()], label: "y".into() }))
    }
}

struct House {
    store: Arc<MemoryStore>,
    /// What delivery itself writes through: it can die, while the rest of the world goes on.
    mortal: Arc<Halting<MemoryStore>>,
    reactor: tokio::sync::Mutex<Reactor>,
}

/// Delivery as a process starts it.
fn start(store: Arc<Halting<MemoryStore>>) -> Reactor {
    let clock = Arc::new(ManualClock::new(day(100)));
    let worker =
        GateWorker { store: store.clone(), holdout: Arc::new(Hourly), scorer: Arc::new(Versions), dossier: Arc::new(Known), clock };
    Reactor::start(store, Activity::default(), crate::reactions(), vec![Arc::new(worker)]).unwrap()
}

impl House {
    async fn new() -> Self {
        House::with(FILE).await
    }

    async fn with(file: &str) -> Self {
        let store = Arc::new(MemoryStore::default());
        let mortal = Halting::new(store.clone());
        let house = House { store, reactor: tokio::sync::Mutex::new(start(mortal.clone())), mortal };
        let spec: spec::Project = serde_json::from_str(file).unwrap();
        let project = AppliedProject { hash: spec.hash(), spec, root: "/".into(), applied: day(0) };
        let model = RegisteredModel {
            name: model(),
            description: String::new(),
            tags: vec![],
            aliases: Default::default(),
            created: day(0),
            updated: day(0),
            next_version: 1,
        };
        house.commit(|batch| batch.put(&project).put(&model)).await;
        house
    }

    async fn commit(&self, fill: impl Fn(Batch) -> Batch) {
        self.store.commit(fill(Batch::new(Actor::User("ann".into()), day(100)))).await.unwrap();
        self.drained().await;
    }

    /// Waits until nothing is left to do; starts again what died on the way.
    async fn drained(&self) {
        let mut reactor = self.reactor.lock().await;
        let mut halted = self.mortal.halted();
        loop {
            tokio::select! {
                _ = reactor.drained() => return,
                _ = halted.wait_for(|halted| *halted) => {}
            }
            self.mortal.revive();
            // The old one ends where it waits for a write.
            *reactor = start(self.mortal.clone());
        }
    }

    async fn register(&self, number: u64, trained_until: Option<Timestamp>, pipeline_run: Option<&str>) {
        let pipeline_run = pipeline_run.map(PipelineRunId::new);
        let version = ModelVersion {
            model: model(),
            version: VersionNumber(number),
            run: None,
            source: String::new(),
            artifact_path: String::new(),
            model_id: None,
            status: VersionStatus::Ready,
            stage: String::new(),
            description: String::new(),
            tags: vec![],
            created: day(100),
            updated: day(100),
            pipeline_run: pipeline_run.clone(),
            training_set: None,
            trained_until,
        };
        let event = Event::ModelVersionRegistered { model: model(), version: version.version, run: None, pipeline_run };
        self.commit(|batch| batch.put(&version).event(event.clone())).await;
    }

    async fn shadow(&self, number: u64, answered: u64, failed: u64) {
        let event = Event::ShadowServed { model: model(), version: VersionNumber(number), answered, failed };
        self.commit(|batch| batch.event(event.clone())).await;
    }

    fn get<E: Entity>(&self, key: &str) -> E {
        World::new(self.store.snapshot().unwrap()).get(key).unwrap().unwrap()
    }

    fn deployment(&self) -> Deployment {
        self.get("demand")
    }

    /// The names of the events after the first `skip`, registrations left out.
    fn story(&self) -> Vec<&'static str> {
        self.store
            .events(0, 1000)
            .unwrap()
            .iter()
            .map(|recorded| recorded.event.name())
            .filter(|name| *name != "ModelVersionRegistered")
            .collect()
    }
}

fn model() -> ModelName {
    ModelName::new("demand")
}

#[tokio::test]
async fn the_first_version_needs_only_its_limits_and_the_next_goes_through_the_shadow() {
    let house = House::new().await;
    house.register(1, Some(day(93)), None).await;
    assert_eq!(house.story(), ["GateRequested", "GateDecided", "ChampionPromoted", "AlertRaised"]);
    let report: GateReport = house.get("demand/1");
    assert_eq!((report.rows, report.verdict, report.holdout), (168, Verdict::Pass, Range::new(day(93), day(100))));
    assert_eq!(house.get::<RegisteredModel>("demand").aliases["champion"], VersionNumber(1));

    house.register(2, Some(day(93)), None).await;
    assert_eq!(house.story()[4..], ["GateRequested", "GateDecided", "RolloutAdvanced"]);
    house.shadow(2, 23, 0).await;
    assert_eq!(house.deployment().champion, Some(VersionNumber(1)), "23 answers are not enough");
    house.shadow(2, 24, 0).await;
    let deployment = house.deployment();
    assert_eq!((deployment.champion, deployment.challenger, deployment.shadows), (Some(VersionNumber(2)), None, vec![VersionNumber(1)]));
    assert_eq!((deployment.gated, deployment.best), (Some(10.0), Some(10.0)));

    // A worse one is refused; with an override it serves all the same, and the best figure stays.
    house.register(3, Some(day(93)), None).await;
    assert_eq!(house.get::<GateReport>("demand/3").verdict, Verdict::Fail);
    assert_eq!(house.deployment().champion, Some(VersionNumber(2)));
    let mut registered: RegisteredModel = house.get("demand");
    registered.aliases.insert("champion".into(), VersionNumber(3));
    let event =
        Event::AliasSet { model: model(), alias: "champion".into(), version: Some(VersionNumber(3)), previous: Some(VersionNumber(2)) };
    house.commit(|batch| batch.put(&registered).event(event.clone())).await;
    let deployment = house.deployment();
    assert_eq!((deployment.champion, deployment.gated, deployment.best), (Some(VersionNumber(3)), None, Some(10.0)));

    // A person goes back.
    let ann = Actor::User("ann".into());
    let to = decide(&*house.store, |world| rollback(world, &model(), &ann, day(101))).await.unwrap();
    assert_eq!((to, house.deployment().champion, house.deployment().gated), (VersionNumber(2), Some(VersionNumber(2)), Some(10.0)));
}

#[tokio::test]
async fn no_evidence_refuses_and_says_what_is_missing() {
    let cases = [
        (None, Verdict::Inconclusive, "trimtab.trained_until"),
        (Some(day(100)), Verdict::Inconclusive, "later than both training cut-offs"),
        (Some(day(99)), Verdict::Inconclusive, "24 rows, needs 30"),
    ];
    for (trained_until, verdict, why) in cases {
        let house = House::new().await;
        house.register(1, trained_until, None).await;
        let report: GateReport = house.get("demand/1");
        assert_eq!(report.verdict, verdict);
        assert!(report.why.contains(why), "{}", report.why);
        assert_eq!(house.story(), ["GateRequested", "GateDecided", "AlertRaised"]);
    }
}

#[tokio::test]
async fn a_challenger_that_does_not_load_fails_and_a_champion_that_does_not_is_no_evidence() {
    let house = House::new().await;
    house.register(9, Some(day(93)), None).await;
    let report: GateReport = house.get("demand/9");
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.why.contains("no module named sklearn"), "{}", report.why);

    let mut registered: RegisteredModel = house.get("demand");
    registered.aliases.insert("champion".into(), VersionNumber(9));
    house.commit(|batch| batch.put(&registered)).await;
    house.register(1, Some(day(93)), None).await;
    assert_eq!(house.get::<GateReport>("demand/1").verdict, Verdict::Inconclusive);
}

#[tokio::test]
async fn versions_of_a_pipeline_wait_for_its_end_and_are_judged_before_its_windows_end() {
    let house = House::new().await;
    let kind = TriggerKind::Incident { incident: IncidentId::new("demand-1") };
    let run = PipelineRun {
        id: PipelineRunId::new("retrain-1"),
        pipeline: "retrain".into(),
        version: 1,
        params: Default::default(),
        trigger: Trigger { kind, time: day(99), holdout_to: day(98) },
        state: RunState::Running,
        cancel_asked: false,
        requested: day(99),
        started: None,
        ended: None,
        error: None,
        again: None,
        root: None,
        python: None,
        inputs: Default::default(),
    };
    house.commit(|batch| batch.put(&run)).await;
    house.register(2, Some(day(91)), Some("retrain-1")).await;
    assert!(house.story().is_empty());
    let event =
        Event::PipelineRunFinished { pipeline_run: run.id.clone(), pipeline: "retrain".into(), state: RunState::Succeeded, error: None };
    house.commit(|batch| batch.event(event.clone())).await;
    let request: GateRequest = house.get("demand/2");
    assert_eq!((request.holdout, request.until), (Range::new(day(91), day(98)), day(99)));
    let decided = house.store.events(0, 100).unwrap().into_iter().find(|recorded| recorded.event.name() == "GateDecided").unwrap();
    assert_eq!(decided.thread.as_deref(), Some("demand-1"));
}

#[tokio::test]
async fn a_rollout_ends_when_answers_fail_or_the_champion_moves() {
    let house = House::new().await;
    house.register(1, Some(day(93)), None).await;
    house.register(2, Some(day(93)), None).await;
    house.shadow(2, 100, 2).await;
    assert_eq!(house.story().last(), Some(&"RolloutAborted"));
    assert_eq!((house.deployment().champion, house.deployment().challenger), (Some(VersionNumber(1)), None));

    // Another version takes its place in the shadow.
    let ann = Actor::User("ann".into());
    decide(&*house.store, |world| request_gate(world, &model(), VersionNumber(2), &ann, day(100))).await.unwrap();
    house.drained().await;
    house.register(5, Some(day(93)), None).await;
    assert_eq!(house.story()[house.story().len() - 2..], ["RolloutAborted", "RolloutAdvanced"]);

    // The alias is moved behind the deployment's back: compare-and-set gives up.
    let mut registered: RegisteredModel = house.get("demand");
    registered.aliases.insert("champion".into(), VersionNumber(4));
    house.commit(|batch| batch.put(&registered)).await;
    house.shadow(5, 24, 0).await;
    assert_eq!(house.story().last(), Some(&"RolloutAborted"));
    assert_eq!(house.deployment().champion, Some(VersionNumber(1)));
}

#[tokio::test]
async fn what_cannot_be_done_says_why() {
    let house = House::new().await;
    house.register(1, Some(day(93)), None).await;
    let ann = Actor::User("ann".into());
    let code = |result: Result<(), ports::CommitError>| match result {
        Err(ports::CommitError::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    };
    let ask = |name: &'static str, number| {
        let (store, ann) = (house.store.clone(), ann.clone());
        async move { decide(&*store, |world| request_gate(world, &ModelName::new(name), VersionNumber(number), &ann, day(100))).await }
    };
    assert_eq!(code(ask("other", 1).await), "gate/none");
    assert_eq!(code(ask("demand", 7).await), "model_version/not_found");
    assert_eq!(code(ask("demand", 1).await), "gate/champion");
    let back = decide(&*house.store, |world| rollback(world, &model(), &ann, day(101))).await;
    assert_eq!(code(back.map(|_| ())), "rollback/none");
}

#[tokio::test]
async fn killed_at_any_write_the_story_is_the_same() {
    let (whole, writes) = killed_at(None).await;
    assert!(whole.ends_with(&["ChampionPromoted", "AlertRaised"]) && writes > 8, "{writes}: {whole:?}");
    for n in 1..=writes {
        for side in [Halt::Before, Halt::After] {
            assert_eq!(killed_at(Some((n, side))).await.0, whole, "{side:?} write {n}");
        }
    }
}

/// A first version, and a second through the shadow; with the story, how many writes delivery made.
async fn killed_at(halt: Option<(u64, Halt)>) -> (Vec<&'static str>, u64) {
    let house = House::new().await;
    let before = house.mortal.writes();
    if let Some((n, side)) = halt {
        house.mortal.halt_at(n, side);
    }
    house.register(1, Some(day(93)), None).await;
    house.register(2, Some(day(93)), None).await;
    house.shadow(2, 24, 0).await;
    (house.story(), house.mortal.writes() - before)
}
