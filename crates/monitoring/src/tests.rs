#![allow(clippy::unwrap_used)]
//! Monitoring end to end on in-memory ports: weeks of predictions and labels go by, and the log tells what came of them.

mod canary;

use crate::commands::{close_idle, retrain};
use crate::work::{JudgeWorker, ReferenceShelf, ReferenceWorker, References};
use arrow::array::{ArrayRef, Float64Array, TimestampMillisecondArray};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::*;
use domain::*;
use ports::memory::{Halt, Halting, MemoryArtifacts, MemoryRowLog, MemoryStore};
use ports::{CommitError, MetadataStore, QueryError, RowLog, ScoreError, Scorer, World, decide};
use reactor::{Activity, Reactor};
use std::sync::Arc;

const FILE: &str = r#"{
    "source": { "rides": { "time": "ts", "label_delay": "1d" } },
    "pipeline": { "retrain": { "step": { "set": { "training_set":
        { "model": "demand", "labels": "rides", "label": "bikers", "features": ["weather"] } } } } },
    "model": { "demand": { "task": "regression", "metric": "mae",
        "gate": { "holdout": "last 7d", "must": ["mae < 60"] },
        "monitor": { "window": "7d", "origin": "2011-03-01", "incident_if": "mae > 1.5 * best.mae for 2 windows",
                     "on_incident": { "run": "retrain" } } } } }"#;

fn day(n: i64) -> Timestamp {
    Timestamp::parse("2011-03-01").unwrap() + Span::days(n)
}

fn hour(n: i64) -> Timestamp {
    day(0) + Span::from_ms(n * 3_600_000)
}

fn model() -> ModelName {
    ModelName::new("demand")
}

/// A daily swing of 1 around `level`.
fn temp(level: f64, hour: i64) -> f64 {
    level + hour.rem_euclid(24) as f64 / 24.0
}

/// Four weeks before the origin, a row an hour.
struct History;

#[async_trait]
impl References for History {
    async fn training_rows(&self, _: &TrainingSetId) -> Result<RecordBatch, QueryError> {
        let hours: Vec<i64> = (-672..0).collect();
        let temps: ArrayRef = Arc::new(Float64Array::from_iter_values(hours.iter().map(|n| temp(0.0, *n))));
        let labels: ArrayRef = Arc::new(Float64Array::from(vec![100.0; hours.len()]));
        let times = TimestampMillisecondArray::from_iter_values(hours.iter().map(|n| hour(*n).ms())).with_timezone("UTC");
        Ok(RecordBatch::try_from_iter([("ts", Arc::new(times) as ArrayRef), ("temp", temps), ("bikers", labels)]).unwrap())
    }
}

struct Swing;

#[async_trait]
impl Scorer for Swing {
    async fn score(&self, _: &ModelName, _: VersionNumber, features: &RecordBatch) -> Result<Vec<Scalar>, ScoreError> {
        assert_eq!(features.num_columns(), 1, "features alone");
        Ok((0..features.num_rows() as i64).map(|row| Scalar::Float(100.0 + row.rem_euclid(24) as f64)).collect())
    }
}

struct House {
    store: Arc<MemoryStore>,
    /// What monitoring itself writes through: it can die, while the rest of the world goes on.
    mortal: Arc<Halting<MemoryStore>>,
    rows: Arc<MemoryRowLog>,
    artifacts: Arc<MemoryArtifacts>,
    reactor: tokio::sync::Mutex<Reactor>,
}

/// Monitoring as a process starts it.
fn start(store: Arc<Halting<MemoryStore>>, rows: Arc<MemoryRowLog>, artifacts: Arc<MemoryArtifacts>) -> Reactor {
    let shelf = ReferenceShelf::new(store.clone(), artifacts, Arc::new(History), Arc::new(Swing));
    let judge = JudgeWorker { store: store.clone(), rows, shelf: shelf.clone() };
    let workers: Vec<Arc<dyn reactor::Worker>> = vec![Arc::new(ReferenceWorker(shelf)), Arc::new(judge)];
    Reactor::start(store, Activity::default(), crate::reactions(), workers).unwrap()
}

impl House {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        let rows = Arc::new(MemoryRowLog::default());
        let (mortal, artifacts) = (Halting::new(store.clone()), MemoryArtifacts::new());
        let reactor = tokio::sync::Mutex::new(start(mortal.clone(), rows.clone(), artifacts.clone()));
        let house = House { store, mortal, rows, artifacts, reactor };
        let spec: spec::Project = serde_json::from_str(FILE).unwrap();
        crate::check(&spec, "demand").unwrap();
        let project = AppliedProject { hash: spec.hash(), spec, root: "/".into(), applied: day(0) };
        let set = TrainingSet {
            id: TrainingSetId::new("t1"),
            model: "demand".into(),
            definition: Digest::of(b""),
            views: vec![],
            table_versions: Default::default(),
            until: day(0),
            cutoff: day(0),
            holdout_to: day(0),
            holdout: Span::days(7),
            rows: 672,
            time: None,
            features: vec!["temp".into()],
            label: "bikers".into(),
            time_column: "ts".into(),
            content: Digest::of(b""),
            created: day(0),
        };
        house.commit(day(0), |batch| batch.put(&project).put(&set)).await;
        house
    }

    async fn commit(&self, at: Timestamp, fill: impl Fn(Batch) -> Batch) {
        self.store.commit(fill(Batch::new(Actor::User("ann".into()), at))).await.unwrap();
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
            *reactor = start(self.mortal.clone(), self.rows.clone(), self.artifacts.clone());
        }
    }

    async fn register(&self, number: u64, training_set: Option<&str>, pipeline_run: Option<&str>) {
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
            created: day(0),
            updated: day(0),
            pipeline_run: pipeline_run.map(PipelineRunId::new),
            training_set: training_set.map(TrainingSetId::new),
            trained_until: None,
        };
        self.commit(day(0), |batch| batch.put(&version)).await;
    }

    async fn promote(&self, number: u64, at: Timestamp) {
        let mut deployment = Deployment::new(model());
        deployment.champion = Some(VersionNumber(number));
        deployment.best = Some(20.0);
        let event = Event::ChampionPromoted {
            model: model(),
            version: VersionNumber(number),
            previous: None,
            by: "gate".into(),
            why: "passed".into(),
        };
        self.commit(at, |batch| batch.put(&deployment).event(event.clone())).await;
    }

    async fn seal(&self, stream: &str, watermark: Timestamp, at: Timestamp) {
        let segment = self.rows.seal(stream).await.unwrap().unwrap();
        let event =
            Event::SegmentSealed { stream: stream.into(), segment: segment.number, rows: segment.rows, time: segment.time, watermark };
        self.commit(at, |batch| batch.put(&segment).event(event.clone())).await;
    }

    /// Predictions of week `n`, sealed at its end.
    async fn predicted(&self, n: i64, version: u64, level: f64) {
        let answer = |hour: i64| {
            row(
                format!("p{hour}"),
                hour,
                hour,
                &[
                    ("version", Scalar::Int(version as i64)),
                    ("role", Scalar::Text("champion".into())),
                    ("prediction", Scalar::Float(100.0 + hour.rem_euclid(24) as f64)),
                    ("temp", Scalar::Float(temp(level, hour))),
                ],
            )
        };
        self.rows.append("prediction/demand", (168 * n..168 * (n + 1)).map(answer).collect()).await.unwrap();
        self.seal("prediction/demand", day(7 * n + 7), day(7 * n + 7)).await;
    }

    /// Labels of the hours given, `error` away from the answers, sealed a day after the end of week `n`.
    async fn labelled(&self, n: i64, hours: std::ops::Range<i64>, error: f64) {
        let label =
            |hour: i64| row(format!("l{hour}"), hour, hour + 24, &[("label", Scalar::Float(100.0 + hour.rem_euclid(24) as f64 + error))]);
        self.rows.append("label/demand", hours.map(label).collect()).await.unwrap();
        self.seal("label/demand", day(7 * n + 7), day(7 * n + 8)).await;
    }

    async fn week(&self, n: i64, version: u64, level: f64, error: f64) {
        self.predicted(n, version, level).await;
        self.labelled(n, 168 * n..168 * (n + 1), error).await;
    }

    fn get<E: Entity>(&self, key: &str) -> E {
        World::new(self.store.snapshot().unwrap()).get(key).unwrap().unwrap()
    }

    /// The log after the first `skip` events of interest; what others say is left out.
    fn story(&self, skip: usize) -> Vec<String> {
        let told = self.store.events(0, 1000).unwrap().into_iter().filter_map(|recorded| match recorded.event {
            Event::WindowClosed { kind, version, .. } => Some(format!("closed {} {version}", kind.word())),
            Event::WindowJudged { kind, verdict, .. } => Some(format!("{} {}", kind.word(), verdict.word())),
            Event::WindowAmended { late, verdict, .. } => Some(format!("amended {late} {}", verdict.word())),
            Event::DriftFound { features, .. } => Some(format!("drift {}", features.join(","))),
            Event::AlertRaised { topic, .. } => Some(format!("alert {topic}")),
            Event::RetrainRequested { pipeline_run, .. } => Some(format!("retrain {pipeline_run} [{}]", recorded.thread.unwrap())),
            Event::RetrainUnhelpful { in_a_row, .. } => Some(format!("unhelpful {in_a_row}")),
            Event::IncidentOpened { .. } => Some("opened".into()),
            Event::IncidentResolved { .. } => Some("resolved".into()),
            Event::IncidentEscalated { .. } => Some("escalated".into()),
            Event::MonitorStarted { reference, .. } => Some(format!("watched against {reference}")),
            _ => None,
        });
        told.skip(skip).collect()
    }
}

fn row(id: String, time: i64, at: i64, fields: &[(&str, Scalar)]) -> Row {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Row { id, time: hour(time), at: hour(at), key: EntityKey::one("city", "dc"), fields }
}

const QUIET_WEEK: [&str; 4] = ["closed input 1", "input pass", "closed performance 1", "performance pass"];

#[tokio::test]
async fn drift_warns_first_and_harm_opens_an_incident_that_a_good_version_resolves() {
    let house = House::new().await;
    house.register(1, Some("t1"), None).await;
    house.promote(1, day(0)).await;
    assert_eq!(house.story(0), ["watched against training set t1"]);
    assert_eq!(house.get::<Monitor>("demand/1").reference.as_deref(), Some("monitors/demand/1/reference.json"));
    house.week(0, 1, 0.0, 10.0).await;
    assert_eq!(house.story(1), QUIET_WEEK);

    // Warmer, and no harm yet; the second warm week is no news.
    house.week(1, 1, 3.0, 10.0).await;
    assert_eq!(house.story(5), ["closed input 1", "input fail", "drift temp", "alert drift", "closed performance 1", "performance pass"]);
    let window: Window = house.get("demand/performance-1-2011-03-08T00:00:00Z");
    assert_eq!(window.why.unwrap(), "inputs moved (temp), performance holds: mae 10.0000, at most 30.0000");
    house.week(2, 1, 3.0, 40.0).await;
    assert_eq!(house.story(11), ["closed input 1", "input fail", "drift temp", "closed performance 1", "performance fail"]);
    house.week(3, 1, 3.0, 40.0).await;
    assert_eq!(
        house.story(19)[..],
        ["closed performance 1", "performance fail", "opened", "alert incident", "retrain retrain-demand-1-1 [demand-1]"]
    );

    house.register(2, Some("t1"), Some("retrain-demand-1-1")).await;
    house.promote(2, day(30)).await;
    let old: Monitor = house.get("demand/1");
    assert_eq!((old.to, old.bad), (Some(day(30)), vec![]));
    house.week(4, 2, 0.0, 10.0).await;
    let cut = house.story(25);
    assert_eq!(
        cut,
        [
            "closed input 1",
            "closed input 2",
            "input inconclusive",
            "input inconclusive",
            "closed performance 1",
            "closed performance 2",
            "performance inconclusive",
            "performance inconclusive"
        ]
    );
    house.week(5, 2, 0.0, 10.0).await;
    assert_eq!(house.story(33)[2..], ["closed performance 2", "performance pass", "resolved"]);
    assert_eq!(house.get::<Incident>("demand/demand-1").attempts[0].outcome, RetrainOutcome::Helped);
}

#[tokio::test]
async fn retrainings_that_come_to_nothing_escalate() {
    let house = House::new().await;
    house.register(1, Some("t1"), None).await;
    house.promote(1, day(0)).await;
    house.week(0, 1, 0.0, 40.0).await;
    house.week(1, 1, 0.0, 40.0).await;
    let incident: Incident = house.get("demand/demand-1");
    assert_eq!((incident.state, incident.evidence.len()), (IncidentState::Open, 2));
    let said = house.story(0).len();

    // The gate refuses the first, the second pipeline fails.
    house.register(2, Some("t1"), Some("retrain-demand-1-1")).await;
    let refused = Event::GateDecided {
        model: model(),
        challenger: VersionNumber(2),
        champion: Some(VersionNumber(1)),
        verdict: Verdict::Inconclusive,
        challenger_figure: Some(38.8),
        champion_figure: Some(39.3),
        why: "38.8 against 39.3".into(),
    };
    house.commit(day(15), |batch| batch.event(refused.clone())).await;
    assert_eq!(house.story(said), ["unhelpful 1"]);

    let ann = Actor::User("ann".into());
    let by_hand = || decide(&*house.store, |world| retrain(world, &IncidentId::new("demand-1"), &ann, day(15)));
    let id = by_hand().await.unwrap();
    assert_eq!(id.as_str(), "retrain-demand-1-2");
    assert!(matches!(by_hand().await, Err(CommitError::Refused(refusal)) if refusal.code == "incident/cannot_retrain"));
    let run = PipelineRun {
        id: id.clone(),
        pipeline: "retrain".into(),
        version: 1,
        params: Default::default(),
        trigger: Trigger { kind: TriggerKind::Incident { incident: incident.id }, time: day(15), holdout_to: day(14) },
        state: RunState::Failed,
        cancel_asked: false,
        requested: day(15),
        started: None,
        ended: None,
        error: None,
        again: None,
        root: None,
        python: None,
        inputs: Default::default(),
    };
    let failed =
        Event::PipelineRunFinished { pipeline_run: id, pipeline: "retrain".into(), state: RunState::Failed, error: Some("exit 1".into()) };
    house.commit(day(16), |batch| batch.put(&run).event(failed.clone())).await;
    assert_eq!(house.story(said + 2), ["unhelpful 2", "escalated", "alert escalation"]);
    let incident: Incident = house.get("demand/demand-1");
    assert_eq!(incident.state, IncidentState::Escalated);
    assert!(incident.why.contains("38.8 against 39.3") && incident.why.contains("exit 1"), "{}", incident.why);
    assert!(matches!(by_hand().await, Err(CommitError::Refused(refusal)) if refusal.code == "incident/closed"));
}

/// A retraining whose version waited for people would have kept its incident open for ever.
#[tokio::test]
async fn a_version_that_people_do_not_want_came_to_nothing() {
    let rejected =
        Event::ApprovalRejected { model: model(), version: VersionNumber(2), by: "ann".into(), reason: "not before the fair".into() };
    let expired = Event::ApprovalExpired { model: model(), version: VersionNumber(2) };
    for (event, why) in [(rejected, "ann rejected version 2: not before the fair"), (expired, "nobody approved of version 2 in time")] {
        let house = House::new().await;
        house.register(1, Some("t1"), None).await;
        house.promote(1, day(0)).await;
        house.week(0, 1, 0.0, 40.0).await;
        house.week(1, 1, 0.0, 40.0).await;
        let said = house.story(0).len();
        house.register(2, Some("t1"), Some("retrain-demand-1-1")).await;
        house.commit(day(15), |batch| batch.event(event.clone())).await;
        assert_eq!(house.story(said), ["unhelpful 1"]);
        let incident: Incident = house.get("demand/demand-1");
        assert!(incident.attempts[0].why.contains(why), "{:?}", incident.attempts);
    }
}

/// A reader that lags, or that hears old events once more after a crash, met `ProjectApplied` when the champion that came after
/// it was there already: the watch began in the wrong story, and once more with the promotion.
#[tokio::test]
async fn a_champion_of_after_the_file_is_watched_by_its_own_event() {
    let applied = || Event::ProjectApplied { hash: Digest::of(b""), changes: vec![] };
    let promoted = |at| {
        let mut deployment = Deployment::new(model());
        deployment.champion = Some(VersionNumber(1));
        deployment.history = vec![Promotion { version: VersionNumber(1), previous: None, at, why: String::new() }];
        deployment
    };
    let house = House::new().await;
    let event =
        Event::ChampionPromoted { model: model(), version: VersionNumber(1), previous: None, by: "gate".into(), why: "passed".into() };
    house.commit(day(1), |batch| batch.put(&promoted(day(1))).event(applied()).event(event.clone())).await;
    assert_eq!(house.story(0).len(), 1, "{:?}", house.story(0));
    assert_eq!(house.store.events(0, 9).unwrap().last().unwrap().cause, Some(2));

    // One that served before its monitor was declared.
    let house = House::new().await;
    house.commit(day(3), |batch| batch.put(&promoted(day(1))).event(applied())).await;
    assert_eq!((house.story(0).len(), house.get::<Monitor>("demand/1").from), (1, day(3)));
}

/// A retraining that was refused (its pipeline was gone) left no pipeline run, and only by the run did the incident know its
/// own retraining: it waited for ever for one that never began.
#[tokio::test]
async fn a_retraining_that_never_began_did_not_help() {
    let house = House::new().await;
    house.register(1, Some("t1"), None).await;
    house.promote(1, day(0)).await;
    house.week(0, 1, 0.0, 40.0).await;
    house.week(1, 1, 0.0, 40.0).await;
    let said = house.story(0).len();
    let refused = Event::PipelineRunFinished {
        pipeline_run: PipelineRunId::new("retrain-demand-1-1"),
        pipeline: "retrain".into(),
        state: RunState::Failed,
        error: Some("there is no pipeline `retrain`".into()),
    };
    house.commit(day(15), |batch| batch.event(refused.clone())).await;
    assert_eq!(house.story(said), ["unhelpful 1"]);
    assert_eq!(house.get::<Incident>("demand/demand-1").attempts[0].outcome, RetrainOutcome::Failed);
}

#[tokio::test]
async fn late_labels_amend_the_window_and_count_once() {
    let house = House::new().await;
    house.register(1, Some("t1"), None).await;
    house.promote(1, day(0)).await;
    house.predicted(0, 1, 0.0).await;
    house.labelled(0, 0..90, 10.0).await;
    assert_eq!(house.story(3), ["closed performance 1", "performance inconclusive"]);
    let window: Window = house.get("demand/performance-1-2011-03-01T00:00:00Z");
    assert_eq!(window.why.unwrap(), "90 labelled rows of 168 predicted, needs 100; inputs are as in the reference");
    house.labelled(0, 90..168, 10.0).await;
    assert_eq!(house.story(5), ["amended 78 pass"]);
    let window: Window = house.get("demand/performance-1-2011-03-01T00:00:00Z");
    assert_eq!((window.late, window.performance.unwrap().labelled), (78, 168));
    assert!(window.why.unwrap().ends_with("; amended: 78 rows came after it was judged"));
}

#[tokio::test]
async fn without_a_training_set_performance_is_judged_all_the_same() {
    let house = House::new().await;
    house.register(1, None, None).await;
    house.promote(1, day(0)).await;
    house.week(0, 1, 0.0, 10.0).await;
    assert_eq!(house.story(1), ["closed input 1", "input inconclusive", "closed performance 1", "performance pass"]);
    let window: Window = house.get("demand/input-1-2011-03-01T00:00:00Z");
    assert!(window.why.unwrap().contains("no training set of version 1 is known"));
}

#[tokio::test]
async fn silence_closes_windows_too_and_is_no_evidence() {
    let house = House::new().await;
    house.register(1, Some("t1"), None).await;
    house.promote(1, day(0)).await;
    let idle = |at| {
        let store = house.store.clone();
        async move { decide(&*store, |world| close_idle(world, at)).await.unwrap() }
    };
    idle(day(9) - Span::from_ms(1)).await;
    house.drained().await;
    assert_eq!(house.story(1), [""; 0]);
    idle(day(17)).await;
    house.drained().await;
    // Two weeks, both kinds, in order; then their verdicts.
    let closed = ["closed input 1", "closed input 1", "closed performance 1", "closed performance 1"];
    let judged = ["input inconclusive", "input inconclusive", "performance inconclusive", "performance inconclusive"];
    assert_eq!(house.story(1), [closed, judged].concat());
}

#[tokio::test]
async fn killed_at_any_write_the_story_is_the_same() {
    let (whole, writes) = killed_at(None).await;
    assert!(whole.contains(&"opened".to_owned()) && writes > 20, "{writes}: {whole:?}");
    for n in 1..=writes {
        for side in [Halt::Before, Halt::After] {
            assert_eq!(killed_at(Some((n, side))).await.0, whole, "{side:?} write {n}");
        }
    }
}

/// Three weeks, two of them bad; with the story, how many writes monitoring made.
async fn killed_at(halt: Option<(u64, Halt)>) -> (Vec<String>, u64) {
    let house = House::new().await;
    let before = house.mortal.writes();
    if let Some((n, side)) = halt {
        house.mortal.halt_at(n, side);
    }
    house.register(1, Some("t1"), None).await;
    house.promote(1, day(0)).await;
    for (n, level, error) in [(0, 0.0, 10.0), (1, 3.0, 40.0), (2, 3.0, 40.0)] {
        house.week(n, 1, level, error).await;
    }
    (house.story(0), house.mortal.writes() - before)
}
