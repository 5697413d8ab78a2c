//! A small world behind the router: one model with its first year's beginning.

use super::doubles::{Features, NoFeatures};
use crate::{Api, router};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::request::Builder;
use axum::http::{Request, Response};
use domain::entity::*;
use domain::*;
use ports::memory::{ManualClock, MemoryRowLog, MemoryRuntime, MemoryStore};
use ports::{MetadataStore, RowLog, RunLog, RunStore, Sealer};
use reactor::{Activity, Reaction, Reactor};
use serde_json::{Value as Json, json};
use serving::{Gateway, GatewayConfig, LabelDesk, ModelPool};
use std::collections::BTreeMap;
use std::sync::Arc;
use tower::ServiceExt;

pub(super) struct House {
    router: Router,
    pub(super) store: Arc<MemoryStore>,
    rows: Arc<MemoryRowLog>,
    pub(super) features: Arc<Features>,
    pub(super) gateway: Arc<Gateway>,
    reactor: Arc<Reactor>,
    _folder: tempfile::TempDir,
}

pub(super) async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

impl House {
    pub(super) async fn empty() -> House {
        House::over(MemoryStore::new(), Arc::default(), tempfile::tempdir().unwrap()).await
    }

    async fn over(store: Arc<MemoryStore>, rows: Arc<MemoryRowLog>, folder: tempfile::TempDir) -> House {
        let clock = Arc::new(ManualClock::new(day("2011-04-01")));
        let runtime = MemoryRuntime::default();
        for version in 1..=3 {
            runtime.install(VersionNumber(version), |rows| Ok(vec![Scalar::Float(1.0); rows.num_rows()]));
        }
        let sealer = Arc::new(Sealer::new(store.clone(), rows.clone()).unwrap());
        let pool = Arc::new(ModelPool::new(store.clone(), Arc::new(runtime)));
        let config = GatewayConfig { new_id: Arc::new(|_| PredictionId::new("p")), wait_for_shadows: false };
        let activity = Activity::default();
        let gateway =
            Gateway::new(store.clone(), rows.clone(), clock.clone(), activity.clone(), sealer, pool, Arc::new(NoFeatures), config);
        gateway.follow_all().await.unwrap();
        let reader = Reaction { name: "test.reader", react: Box::new(|_, recorded| Ok(Batch::reacting("test.reader", recorded))) };
        let reactor = Arc::new(Reactor::start(store.clone(), activity, vec![reader], vec![]).unwrap());
        let features = Arc::new(Features::default());
        let router = router(Api {
            store: store.clone(),
            runs: store.clone(),
            rows: rows.clone(),
            artifacts: ports::memory::MemoryArtifacts::new(),
            clock: clock.clone(),
            compute: Arc::new(ports::memory::MemoryCompute::default()),
            labels: Arc::new(LabelDesk::new(gateway.clone(), rows.clone(), clock)),
            gateway: gateway.clone(),
            features: features.clone(),
            reactor: reactor.clone(),
            secrets: Arc::new(|_, pointer| pointer.strip_prefix("env:").map(str::to_lowercase).ok_or_else(|| "no pointer".into())),
        });
        House { router, store, rows, features, gateway, reactor, _folder: folder }
    }

    pub(super) fn events(&self) -> Vec<Recorded> {
        self.store.events(0, usize::MAX).unwrap()
    }

    pub(super) fn rows_of(&self, stream: &str) -> u64 {
        self.rows.open_part(stream).rows
    }

    pub(super) async fn raw(&self, request: Request<Body>) -> Response<Body> {
        self.reactor.drained().await;
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> (u16, Json) {
        let response = self.raw(request).await;
        let status = response.status().as_u16();
        let text = text(response).await;
        (status, serde_json::from_str(&text).unwrap_or(json!(text)))
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Json) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn post(&self, path: &str, body: Json) -> (u16, Json) {
        self.send(Request::post(path).header("content-type", "application/json").body(body.to_string().into()).unwrap()).await
    }

    /// Sends what must be refused; gives the problem.
    pub(super) async fn refuses(&self, request: Builder, body: String, status: u16, code: &str) -> Json {
        let shown: String = body.chars().take(120).collect();
        let (found, problem) = self.send(request.header("content-type", "application/json").body(body.into()).unwrap()).await;
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{shown}: {problem}");
        problem
    }
}

fn day(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn march(from: i64, to: i64) -> Range {
    let first = day("2011-03-01");
    Range::new(first + Span::days(from - 1), first + Span::days(to - 1))
}

fn demand() -> ModelName {
    ModelName::new("demand")
}

const FILE: &str = r#"{ "project": { "name": "bikes" },
  "pipeline": {
    "retrain": { "on": ["api", "incident:demand"], "params": { "max_iter": 100 }, "step": {
      "training_set": { "run": ["true"] }, "train": { "run": ["python", "train.py", "{params.max_iter}"], "after": ["training_set"] } } },
    "nightly": { "step": { "clean": { "run": ["true"] } } } },
  "model": { "demand": { "task": "regression", "metric": "mae", "monitor": { "window": "7d", "origin": "2011-03-01",
    "incident_if": "mae > 1.5 * best.mae for 2 windows", "on_incident": { "run": "retrain" } } },
    "fresh": { "task": "regression", "metric": "mae" } } }"#;

/// Version 1 did harm in March, incident 1 brought version 2, and incident 2 is open.
pub(super) async fn house() -> House {
    let (store, rows) = (MemoryStore::new(), Arc::new(MemoryRowLog::default()));
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_string_lossy().into_owned();
    std::fs::write(folder.path().join("train.log"), "epoch 1\nValueError\n").unwrap();
    let mut batch = Batch::new(Actor::User("ann".into()), day("2011-03-01"));
    registry(&mut batch, &root);
    pipeline_runs(&mut batch, &root);
    monitoring(&mut batch);
    batch.run_writes.push(RunWrite::CreateRun(run()));
    store.commit(batch).await.unwrap();
    let metric = Metric {
        key: "mae".into(),
        value: 31.5,
        time: day("2011-03-15"),
        step: 0,
        model_id: None,
        dataset_name: None,
        dataset_digest: None,
    };
    store.log(&run().id, RunLog { metrics: vec![metric], ..RunLog::default() }).await.unwrap();
    story(&store).await;
    rows.append("prediction/demand", vec![prediction("sealed-1", "2011-03-02", 1)]).await.unwrap();
    rows.seal("prediction/demand").await.unwrap();
    rows.append("prediction/demand", vec![prediction("open-1", "2011-03-20", 2)]).await.unwrap();
    House::over(store, rows, folder).await
}

fn prediction(id: &str, at: &str, version: i64) -> Row {
    let fields = [("temp", Scalar::Float(0.5)), ("prediction", Scalar::Float(31.5)), ("version", Scalar::Int(version))];
    let fields = fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    Row { id: id.into(), time: day(at), at: day(at), key: EntityKey::one("city_id", "dc"), fields }
}

fn run() -> Run {
    Run {
        id: RunId::new("a".repeat(32)),
        experiment: ExperimentId::new("0"),
        name: "train".into(),
        user: "ann".into(),
        status: RunStatus::Running,
        start: day("2011-03-15"),
        end: None,
        lifecycle_stage: LifecycleStage::Active,
        artifact_uri: String::new(),
        params: vec![],
        tags: vec![],
        metrics: vec![],
        inputs: vec![],
        outputs: vec![],
    }
}

fn registry(batch: &mut Batch, root: &str) {
    let spec: spec::Project = serde_json::from_str(FILE).unwrap();
    batch.write(&AppliedProject { hash: spec.hash(), spec, root: root.into(), applied: batch.at });
    batch.run_writes.push(RunWrite::Experiment(Experiment {
        id: ExperimentId::new("0"),
        name: "Default".into(),
        artifact_location: String::new(),
        lifecycle_stage: LifecycleStage::Active,
        created: batch.at,
        updated: batch.at,
        tags: vec![],
    }));
    batch.write(&RegisteredModel {
        name: demand(),
        description: String::new(),
        tags: vec![],
        aliases: BTreeMap::from([("champion".into(), VersionNumber(2))]),
        created: batch.at,
        updated: batch.at,
        next_version: 4,
    });
    for number in 1..=3 {
        batch.write(&ModelVersion {
            model: demand(),
            version: VersionNumber(number),
            run: (number == 2).then(|| run().id),
            source: String::new(),
            artifact_path: String::new(),
            model_id: None,
            status: VersionStatus::Ready,
            stage: "None".into(),
            description: String::new(),
            tags: vec![],
            created: batch.at,
            updated: batch.at,
            pipeline_run: (number == 2).then(|| PipelineRunId::new("retrain-demand-1-1")),
            training_set: (number == 2).then(|| TrainingSetId::new("set-2")),
            trained_until: None,
        });
    }
    let promotion = |version, previous, at| Promotion { version: VersionNumber(version), previous, at: day(at), why: "passed".into() };
    batch.write(&Deployment {
        champion: Some(VersionNumber(2)),
        shadows: vec![VersionNumber(1)],
        history: vec![promotion(1, None, "2011-03-01"), promotion(2, Some(VersionNumber(1)), "2011-03-16")],
        best: Some(22.4),
        gated: Some(31.5),
        ..Deployment::new(demand())
    });
    batch.write(&GateReport {
        model: demand(),
        challenger: VersionNumber(2),
        champion: Some(VersionNumber(1)),
        holdout: march(8, 15),
        rows: 168,
        rows_hash: Digest::of(b"rows"),
        seed: 1,
        checks: vec![],
        figure: GateFigure { metric: "mae".into(), challenger: Some(31.5), champion: Some(60.25) },
        verdict: Verdict::Pass,
        why: "passed".into(),
        decided: day("2011-03-16"),
        overrides: vec![],
    });
    batch.write(&TrainingSet {
        id: TrainingSetId::new("set-2"),
        model: "demand".into(),
        definition: Digest::of(b"definition"),
        views: vec![],
        table_versions: BTreeMap::new(),
        until: day("2011-03-15"),
        cutoff: day("2011-03-08"),
        holdout_to: day("2011-03-15"),
        holdout: Span::days(7),
        rows: 1204,
        time: None,
        features: vec!["temp".into()],
        label: "bikers".into(),
        time_column: "ts".into(),
        content: Digest::of(b"content"),
        created: day("2011-03-15"),
    });
}

fn attempt(root: &str, log: &str) -> StepAttempt {
    StepAttempt {
        command: vec!["python".into()],
        exit: Some(1),
        log: format!("{root}/{log}"),
        error: Some("step train: exit 1".into()),
        ..StepAttempt::begun(1, day("2011-03-01"))
    }
}

/// `retrain-1`, which a command asked for, failed; the incident's one succeeded.
fn pipeline_runs(batch: &mut Batch, root: &str) {
    let spec = serde_json::from_str::<spec::Project>(FILE).unwrap().pipeline.swap_remove("retrain").unwrap();
    batch.write(&PipelineVersion {
        pipeline: "retrain".into(),
        number: 1,
        hash: Digest::of(b"another"),
        spec,
        code: Digest::of(b"code"),
        environment: Digest::of(b"environment"),
        git_commit: None,
        git_diff: None,
        created: batch.at,
    });
    let incident = TriggerKind::Incident { incident: IncidentId::new("demand-1") };
    for (id, pipeline, kind, state, at) in [
        ("retrain-1", "retrain", TriggerKind::Command, RunState::Failed, "2011-03-01"),
        ("retrain-demand-1-1", "other", incident, RunState::Succeeded, "2011-03-15"),
    ] {
        let trigger = Trigger { kind, time: day(at), holdout_to: day(at) };
        let queued = PipelineRun::queued(PipelineRunId::new(id), pipeline, trigger, day(at));
        let error = (state == RunState::Failed).then(|| "step train: exit 1".into());
        batch.write(&PipelineRun { version: 1, state, error, ..queued });
    }
    let step =
        |name: &str, state, attempts| PipelineStep { state, attempts, ..PipelineStep::waiting(PipelineRunId::new("retrain-1"), name) };
    batch.write(&step("training_set", StepState::Succeeded, vec![]));
    batch.write(&step("train", StepState::Failed, vec![attempt(root, "train.log")]));
    batch.write(&step("silent", StepState::Failed, vec![attempt(root, "silent.log")]));
}

fn monitoring(batch: &mut Batch) {
    for (number, state, range) in [(1, IncidentState::Resolved, march(1, 15)), (2, IncidentState::Open, march(22, 29))] {
        let attempt = RetrainAttempt {
            pipeline_run: PipelineRunId::new("retrain-demand-1-1"),
            asked: day("2011-03-15"),
            challenger: Some(VersionNumber(2)),
            outcome: RetrainOutcome::Helped,
            why: String::new(),
        };
        batch.write(&Incident {
            id: IncidentId::new(format!("demand-{number}")),
            model: demand(),
            state,
            opened: range.to,
            closed: None,
            system: false,
            rule: "mae > 1.5 * best.mae for 2 windows".into(),
            evidence: if number == 1 { vec![march(1, 8), march(8, 15)] } else { vec![range] },
            bad_windows: 0,
            attempts: if number == 1 { vec![attempt] } else { vec![] },
            unhelpful: 0,
            waiting: None,
            why: "mae fell".into(),
        });
    }
    for (version, range) in [(1, march(1, 16)), (2, march(16, 30))] {
        batch.write(&Monitor {
            model: demand(),
            version: VersionNumber(version),
            reference: None,
            reference_what: String::new(),
            from: range.from,
            to: (version == 1).then_some(range.to),
            input_closed_to: None,
            performance_closed_to: None,
            newest: None,
            bad: vec![],
        });
    }
    for (kind, range, verdict) in [
        (WindowKind::Input, march(1, 8), Verdict::Fail),
        (WindowKind::Performance, march(1, 8), Verdict::Fail),
        (WindowKind::Performance, march(8, 15), Verdict::Fail),
        (WindowKind::Performance, march(15, 22), Verdict::Pass),
    ] {
        batch.write(&Window {
            model: demand(),
            version: VersionNumber(1),
            kind,
            range,
            whole: true,
            closed: range.to,
            lost: 0,
            rows: 168,
            verdict: Some(verdict),
            why: None,
            drift: vec![],
            performance: None,
            late: 0,
            segments: 1,
        });
    }
    batch.write(&Notification {
        id: "team/1".into(),
        target: "team".into(),
        topic: "incident".into(),
        title: String::new(),
        body: String::new(),
        created: day("2011-03-15"),
        attempts: 0,
        last_error: None,
        next_try: None,
        delivered: None,
    });
}

/// The log of incident 1, with events of other stories in between; a cause is given by its distance back.
async fn story(store: &MemoryStore) {
    let (incident, run_id, id) = (IncidentId::new("demand-1"), run().id, PipelineRunId::new("retrain-demand-1-1"));
    let (one, two) = (VersionNumber(1), VersionNumber(2));
    let judged = |version, range, verdict, metric: f64| Event::WindowJudged {
        model: demand(),
        version,
        kind: WindowKind::Performance,
        range,
        whole: true,
        verdict,
        metric: Some(metric),
        threshold: Some(33.6),
        why: if verdict == Verdict::Fail { "mae fell".into() } else { "performance holds".into() },
    };
    let promoted =
        |version, previous| Event::ChampionPromoted { model: demand(), version, previous, by: "gate".into(), why: "passed".into() };
    let registered = |version, run, pipeline_run| Event::ModelVersionRegistered { model: demand(), version, run, pipeline_run };
    let sealed =
        Event::SegmentSealed { stream: "label/demand".into(), segment: 3, rows: 9, time: march(8, 15), watermark: day("2011-03-15") };
    let closed = Event::WindowClosed { model: demand(), version: one, kind: WindowKind::Performance, range: march(8, 15), whole: true };
    let finished =
        Event::PipelineRunFinished { pipeline_run: id.clone(), pipeline: "retrain".into(), state: RunState::Succeeded, error: None };
    let retrain = Event::RetrainRequested {
        incident: incident.clone(),
        model: demand(),
        pipeline: "retrain".into(),
        pipeline_run: id.clone(),
        holdout_to: day("2011-03-15"),
        auto: true,
        why: "the rule says so".into(),
    };
    let set = Event::TrainingSetRecorded {
        training_set: TrainingSetId::new("set-2"),
        model: "demand".into(),
        rows: 1204,
        cutoff: day("2011-03-08"),
        content: Digest::of(b"content"),
    };
    let gate = Event::GateDecided {
        model: demand(),
        challenger: two,
        champion: Some(one),
        verdict: Verdict::Pass,
        challenger_figure: Some(31.5),
        champion_figure: Some(60.25),
        why: "passed".into(),
    };
    let opened = Event::IncidentOpened {
        incident: incident.clone(),
        model: demand(),
        version: one,
        why: "mae > 1.5 * best.mae for 2 windows".into(),
    };
    let trigger = TriggerKind::Incident { incident: incident.clone() };
    let events: Vec<(bool, Option<u64>, Event)> = vec![
        (false, None, registered(one, None, None)),
        (false, None, promoted(one, None)),
        (false, None, Event::DriftFound { model: demand(), version: one, range: march(1, 8), features: vec!["temp".into()] }),
        (false, None, judged(one, march(1, 8), Verdict::Fail, 51.0)),
        (false, None, sealed),
        (false, Some(1), closed),
        (false, Some(1), judged(one, march(8, 15), Verdict::Fail, 60.25)),
        (true, Some(1), opened),
        (true, Some(2), Event::AlertRaised { topic: "incident".into(), model: Some(demand()), title: "demand-1".into() }),
        (true, Some(3), retrain),
        (true, None, Event::PipelineRunRequested { pipeline_run: id.clone(), pipeline: "retrain".into(), version: 1, trigger }),
        (true, None, Event::StepStarted { pipeline_run: id.clone(), step: "train".into(), attempt: 1, why: "first run".into() }),
        (false, None, set),
        (
            false,
            None,
            Event::RunStarted {
                run: run_id.clone(),
                experiment: ExperimentId::new("0"),
                name: "train".into(),
                pipeline_run: Some(id.clone()),
            },
        ),
        (false, None, registered(two, Some(run_id.clone()), Some(id.clone()))),
        (false, None, Event::RunFinished { run: run_id, status: RunStatus::Finished }),
        (false, None, registered(VersionNumber(3), None, None)),
        (
            true,
            None,
            Event::StepFinished {
                pipeline_run: id.clone(),
                step: "train".into(),
                state: StepState::Succeeded,
                attempts: 1,
                error: None,
                why: None,
            },
        ),
        (true, None, finished),
        (true, None, gate),
        (true, Some(1), promoted(two, Some(one))),
        (false, None, judged(two, march(15, 22), Verdict::Pass, 20.0)),
        (true, Some(1), Event::IncidentResolved { incident, model: demand(), why: "the first good window".into() }),
    ];
    for (threaded, back, event) in events {
        let mut batch = Batch::new(Actor::System("test".into()), day("2011-03-15")).event(event);
        batch.thread = threaded.then(|| "demand-1".into());
        let next = *store.head().borrow() + 1;
        batch.cause = back.map(|back| next - back);
        store.commit(batch).await.unwrap();
    }
}
