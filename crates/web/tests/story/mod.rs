//! A made-up story: one model, three incidents (one resolved, one escalated, one open), runs with hostile names.
#![allow(clippy::unwrap_used, dead_code)]

use bytes::Bytes;
use domain::entity::*;
use domain::*;
use indexmap::IndexMap;
use ports::memory::{MemoryArtifacts, MemoryStore};
use ports::{ArtifactExt, MetadataStore};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use web::{StoreFacts, WebState};

pub const HOSTILE: &str = "<script>alert(1)</script> & \"friends\"";
pub const RUN: &str = "00000000000000000000000000000002";

pub struct Story {
    pub store: Arc<MemoryStore>,
    pub artifacts: Arc<MemoryArtifacts>,
}

pub fn day(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn week(from: &str) -> Range {
    Range::new(day(from), day(from) + Span::days(7))
}

fn demand() -> ModelName {
    ModelName::new("demand")
}

/// A server with nothing in it.
pub fn empty() -> Story {
    Story { store: MemoryStore::new(), artifacts: MemoryArtifacts::new() }
}

/// The whole story.
pub async fn told() -> Story {
    let story = empty();
    story.beginning().await;
    story.first_incident().await;
    story.second_incident().await;
    story.third_incident().await;
    story
}

impl Story {
    pub fn state(&self) -> WebState {
        let facts = StoreFacts::new(self.store.clone(), self.store.clone(), "0.1.0", "127.0.0.1:5055", "/home/ana/bikes/.trimtab");
        WebState {
            store: self.store.clone(),
            runs: self.store.clone(),
            artifacts: self.artifacts.clone(),
            facts: Arc::new(facts),
            closing: CancellationToken::new(),
        }
    }

    pub async fn commit(&self, at: &str, thread: Option<&str>, fill: impl FnOnce(&mut Batch)) -> u64 {
        let mut batch = Batch::new(Actor::System("story".into()), day(at));
        batch.thread = thread.map(str::to_owned);
        let head = *self.store.head().borrow();
        batch.cause = (head > 0).then_some(head);
        fill(&mut batch);
        self.store.commit(batch).await.unwrap().last
    }

    pub async fn say(&self, at: &str, thread: Option<&str>, event: Event) -> u64 {
        self.commit(at, thread, |batch| batch.say(event)).await
    }

    async fn beginning(&self) {
        let names = ["weather_hourly", "calendar"];
        self.commit("2011-03-01", None, |batch| {
            let changes = names.map(|name| format!("+ feature.{name}")).to_vec();
            batch.say(Event::ProjectApplied { hash: Digest::of(b"project"), changes });
            batch.write(&AppliedProject { spec: Default::default(), hash: Digest::of(b"project"), root: "/home/ana/bikes".into(), applied: day("2011-03-01") });
            for name in names {
                let spec = Default::default();
                batch.write(&FeatureViewVersion { name: name.into(), version: 1, hash: Digest::of(b"v"), spec, created: day("2011-03-01"), features: vec!["temp".into()] });
                batch.say(Event::FeatureViewVersioned { view: name.into(), version: 1, hash: Digest::of(b"v") });
            }
            batch.write(&PipelineVersion {
                pipeline: "retrain".into(),
                number: 1,
                hash: Digest::of(b"pipeline"),
                spec: domain::spec::PipelineSpec {
                    step: ["training_set", "train"].into_iter().map(|name| (name.to_owned(), Default::default())).collect(),
                    ..Default::default()
                },
                code: Digest::of(b"code"),
                environment: Digest::of(b"environment"),
                git_commit: None,
                created: day("2011-03-01"),
            });
            batch.write(&SourceTable { source: "weather".into(), table_version: 3, rows: 31_204, newest: Some(day("2011-06-20T22:00:00Z")) });
            batch.run_writes.push(RunWrite::Experiment(Experiment {
                id: ExperimentId::new("1"),
                name: "bikeshare".into(),
                artifact_location: "mlflow-artifacts:/1".into(),
                lifecycle_stage: LifecycleStage::Active,
                created: day("2011-03-01"),
                updated: day("2011-03-01"),
                tags: Vec::new(),
            }));
            batch.say(Event::ExperimentCreated { experiment: ExperimentId::new("1"), name: "bikeshare".into() });
        })
        .await;
        self.pipeline("retrain-1", "2011-03-01", None, 1, 1_204).await;
        self.gate("2011-03-01", None, 1, None, 22.41, None, Verdict::Pass).await;
        self.promote("2011-03-01T01:00:00Z", None, 1, None).await;
        for (from, mae) in [("2011-03-01", 24.1), ("2011-03-08", 27.9), ("2011-03-15", 29.4), ("2011-03-22", 31.8)] {
            self.window(from, 1, mae, 33.6, if from == "2011-03-15" { 0.61 } else { 0.12 }, None).await;
        }
    }

    async fn first_incident(&self) {
        let id = Some("demand-1");
        self.window("2011-03-29", 1, 41.2, 33.6, 0.83, None).await;
        self.window("2011-04-05", 1, 58.7, 33.6, 0.97, id).await;
        let why = "2 bad windows of version 1 in a row (mae > 1.5 * best.mae for 2 windows): performance fell: mae 58.7000, at most 33.6150";
        self.open("demand-1", "2011-04-13", &["2011-03-29", "2011-04-05"], 1, why).await;
        self.ask("demand-1", "2011-04-13", "retrain-demand-1-1", "2011-04-12").await;
        self.pipeline("retrain-demand-1-1", "2011-04-13T00:10:00Z", id, 2, 2_180).await;
        self.gate("2011-04-13T01:00:00Z", id, 2, Some(1), 34.02, Some(58.71), Verdict::Pass).await;
        self.promote("2011-04-14T02:00:00Z", id, 2, Some(1)).await;
        self.window("2011-04-12", 2, 36.9, 33.6, 0.14, id).await;
        self.window("2011-04-19", 2, 31.0, 33.6, 0.11, id).await;
        let why = "version 2, window 2011-04-19T00:00:00Z..2011-04-26T00:00:00Z: performance holds: mae 31.0000, at most 33.6150";
        self.say("2011-04-27", id, Event::IncidentResolved { incident: IncidentId::new("demand-1"), model: demand(), why: why.into() }).await;
        let attempt = attempt("retrain-demand-1-1", "2011-04-13", Some(2), RetrainOutcome::Helped, "performance holds: mae 31.0000, at most 33.6150");
        self.incident("demand-1", IncidentState::Resolved, ("2011-04-13", Some("2011-04-27")), &["2011-03-29", "2011-04-05"], vec![attempt], why).await;
    }

    async fn second_incident(&self) {
        let id = Some("demand-2");
        self.window("2011-04-26", 2, 39.5, 33.6, 0.71, None).await;
        self.window("2011-05-03", 2, 47.3, 33.6, 0.88, id).await;
        self.open("demand-2", "2011-05-11", &["2011-04-26", "2011-05-03"], 2, "2 bad windows of version 2 in a row").await;
        self.ask("demand-2", "2011-05-11", "retrain-demand-2-1", "2011-05-10").await;
        self.pipeline("retrain-demand-2-1", "2011-05-11T00:10:00Z", id, 3, 2_790).await;
        self.gate("2011-05-11T01:00:00Z", id, 3, Some(2), 49.8, Some(47.31), Verdict::Fail).await;
        let unhelpful = |run: &str, in_a_row, why: &str| Event::RetrainUnhelpful {
            incident: IncidentId::new("demand-2"),
            model: demand(),
            pipeline_run: PipelineRunId::new(run),
            in_a_row,
            why: why.into(),
        };
        self.say("2011-05-11T01:00:00Z", id, unhelpful("retrain-demand-2-1", 1, "the gate refused version 3")).await;
        self.window("2011-05-10", 2, 52.4, 33.6, 0.9, id).await;
        self.ask("demand-2", "2011-05-25", "retrain-demand-2-2", "2011-05-24").await;
        self.pipeline("retrain-demand-2-2", "2011-05-25T00:10:00Z", id, 4, 3_100).await;
        self.gate("2011-05-25T01:00:00Z", id, 4, Some(2), 41.9, Some(52.4), Verdict::Pass).await;
        self.promote("2011-05-26T02:00:00Z", id, 4, Some(2)).await;
        self.window("2011-05-24", 4, 44.0, 33.6, 0.2, id).await;
        let last = "the first 2 windows of version 4 are bad: performance fell: mae 44.0000, at most 33.6150";
        self.say("2011-06-08", id, unhelpful("retrain-demand-2-2", 2, last)).await;
        let why = format!("2 retrainings in a row did not help: retrain-demand-2-1 gave version 3: refused; retrain-demand-2-2 gave version 4: {last}");
        self.say("2011-06-08", id, Event::IncidentEscalated { incident: IncidentId::new("demand-2"), model: demand(), why: why.clone() }).await;
        let attempts = vec![
            attempt("retrain-demand-2-1", "2011-05-11", Some(3), RetrainOutcome::Refused, "mae 49.8000 against 47.3100 of the champion on 168 rows"),
            attempt("retrain-demand-2-2", "2011-05-25", Some(4), RetrainOutcome::Unhelpful, last),
        ];
        self.incident("demand-2", IncidentState::Escalated, ("2011-05-11", Some("2011-06-08")), &["2011-04-26", "2011-05-03"], attempts, &why).await;
    }

    async fn third_incident(&self) {
        self.window("2011-06-07", 4, 51.0, 33.6, 0.3, None).await;
        self.open("demand-3", "2011-06-15", &["2011-06-07"], 4, HOSTILE).await;
        self.ask("demand-3", "2011-06-15", "retrain-demand-3-1", "2011-06-14").await;
        let attempt = attempt("retrain-demand-3-1", "2011-06-15", None, RetrainOutcome::Open, "");
        self.incident("demand-3", IncidentState::Open, ("2011-06-15", None), &["2011-06-07"], vec![attempt], HOSTILE).await;
        let run = PipelineRunId::new("retrain-demand-3-1");
        self.commit("2011-06-15T00:10:00Z", Some("demand-3"), |batch| {
            batch.write(&pipeline_run(&run, "2011-06-15T00:10:00Z", Some("demand-3"), RunState::Running));
            let mut step = PipelineStep::waiting(run.clone(), "training_set");
            step.state = StepState::Running;
            batch.write(&step);
            batch.say(Event::StepStarted { pipeline_run: run.clone(), step: "training_set".into(), attempt: 1, why: "labels changed".into() });
        })
        .await;
    }

    async fn open(&self, id: &str, at: &str, evidence: &[&str], version: u64, why: &str) {
        self.incident(id, IncidentState::Open, (at, None), evidence, Vec::new(), why).await;
        let (incident, version) = (IncidentId::new(id), VersionNumber(version));
        self.say(at, Some(id), Event::IncidentOpened { incident, model: demand(), version, why: why.into() }).await;
        self.say(at, Some(id), Event::AlertRaised { topic: "incident".into(), model: Some(demand()), title: format!("{id}: {why}") }).await;
    }

    async fn ask(&self, id: &str, at: &str, run: &str, holdout_to: &str) {
        let event = Event::RetrainRequested {
            incident: IncidentId::new(id),
            model: demand(),
            pipeline: "retrain".into(),
            pipeline_run: PipelineRunId::new(run),
            holdout_to: day(holdout_to),
            auto: true,
            why: "performance fell: mae 58.7000, at most 33.6150".into(),
        };
        self.say(at, Some(id), event).await;
    }

    async fn incident(&self, id: &str, state: IncidentState, (opened, closed): (&str, Option<&str>), evidence: &[&str], attempts: Vec<RetrainAttempt>, why: &str) {
        let incident = Incident {
            id: IncidentId::new(id),
            model: demand(),
            state,
            opened: day(opened),
            closed: closed.map(day),
            rule: "mae > 1.5 * best.mae for 2 windows".into(),
            evidence: evidence.iter().map(|from| week(from)).collect(),
            bad_windows: 0,
            unhelpful: attempts.len() as u32,
            attempts,
            waiting: None,
            why: why.into(),
        };
        self.commit(opened, Some(id), |batch| batch.write(&incident)).await;
    }

    /// A window's inputs and performance, both judged.
    async fn window(&self, from: &str, version: u64, mae: f64, bar: f64, temp: f64, thread: Option<&str>) {
        let range = week(from);
        let at = (range.to + Span::days(1)).to_string();
        let moved = temp > 0.5;
        let verdict = |bad| if bad { Verdict::Fail } else { Verdict::Pass };
        let drift = |feature: &str, value: f64, threshold: f64| FeatureDrift {
            feature: feature.into(),
            statistic: "wasserstein".into(),
            value: Some(value),
            threshold,
            threshold_what: "greatest of 8 reference windows".into(),
            verdict: verdict(value > threshold),
            nulls: 0,
        };
        let input = if moved { "inputs moved (temp)" } else { "inputs are as in the reference" };
        let performance = if mae > bar { format!("performance fell: mae {mae:.4}, at most {bar:.4}") } else { format!("performance holds: mae {mae:.4}, at most {bar:.4}") };
        let base = Window {
            model: demand(),
            version: VersionNumber(version),
            kind: WindowKind::Input,
            range,
            whole: from != "2011-04-12",
            closed: range.to,
            lost: 0,
            rows: 168,
            verdict: Some(verdict(moved)),
            why: Some(input.into()),
            drift: vec![drift("temp", temp, 0.5), drift("hum", temp / 2.0, 0.45), drift("hr", 0.01, 0.1)],
            performance: None,
            late: 0,
            segments: 1,
        };
        let judged = Window {
            kind: WindowKind::Performance,
            verdict: Some(verdict(mae > bar)),
            why: Some(performance),
            drift: Vec::new(),
            performance: Some(Performance { metric: "mae".into(), value: Some(mae), labelled: 166, predicted: 168, threshold: Some(bar) }),
            closed: range.to + Span::days(1),
            ..base.clone()
        };
        self.commit(&at, thread, |batch| {
            batch.write(&Segment { stream: "prediction/demand".into(), number: range.from.day() as u64, path: String::new(), rows: 168, bytes: 9_000, time: range, lost: 0 });
            batch.say(Event::SegmentSealed { stream: "prediction/demand".into(), segment: range.from.day() as u64, rows: 168, time: range, watermark: range.to });
        })
        .await;
        for window in [base, judged] {
            self.commit(&at, thread, |batch| {
                let (model, version, kind, whole) = (demand(), window.version, window.kind, window.whole);
                batch.say(Event::WindowClosed { model: model.clone(), version, kind, range, whole });
                let (verdict, why) = (window.verdict.unwrap(), window.why.clone().unwrap());
                let metric = window.performance.as_ref().and_then(|performance| performance.value);
                batch.say(Event::WindowJudged { model: model.clone(), version, kind, range, whole, verdict, metric, threshold: metric.map(|_| bar), why });
                if kind == WindowKind::Input && moved {
                    batch.say(Event::DriftFound { model, version, range, features: vec!["temp".into()] });
                }
                batch.write(&window);
            })
            .await;
        }
    }

    /// A pipeline run with its training set, its tracking run and the version that came of it.
    async fn pipeline(&self, id: &str, at: &str, incident: Option<&str>, version: u64, rows: u64) {
        let (run, model, number) = (PipelineRunId::new(id), demand(), VersionNumber(version));
        let set = training_set(&format!("ts-{version}"), at, rows);
        let began = day(at);
        let steps = [("training_set", 0, 4_200, None), ("train", 4_200, 31_000, Some(rows))];
        let tracking = tracking_run(version, id, began);
        self.commit(at, incident, |batch| {
            batch.write(&pipeline_run(&run, at, incident, RunState::Succeeded));
            let trigger = incident.map_or(TriggerKind::Command, |incident| TriggerKind::Incident { incident: IncidentId::new(incident) });
            batch.say(Event::PipelineRunRequested { pipeline_run: run.clone(), pipeline: "retrain".into(), version: 1, trigger });
            batch.write(&set);
            batch.say(Event::TrainingSetRecorded { training_set: set.id.clone(), model: "demand".into(), rows, cutoff: set.cutoff, content: set.content.clone() });
            for (name, from, to, _) in steps {
                let mut step = PipelineStep::waiting(run.clone(), name);
                step.state = StepState::Succeeded;
                step.why = Some("labels changed".into());
                step.training_set = (name == "training_set").then(|| set.id.clone());
                step.attempts = vec![step_attempt(began + Span::from_ms(from), began + Span::from_ms(to))];
                batch.write(&step);
                batch.say(Event::StepFinished { pipeline_run: run.clone(), step: name.into(), state: StepState::Succeeded, attempts: 1, error: None });
            }
            batch.say(Event::PipelineRunFinished { pipeline_run: run.clone(), pipeline: "retrain".into(), state: RunState::Succeeded, error: None });
        })
        .await;
        // A client logs outside the thread.
        self.commit(at, None, |batch| {
            batch.say(Event::RunStarted { run: tracking.id.clone(), experiment: tracking.experiment.clone(), name: tracking.name.clone(), pipeline_run: Some(run.clone()) });
            batch.say(Event::RunFinished { run: tracking.id.clone(), status: RunStatus::Finished });
            batch.say(Event::ModelVersionRegistered { model: model.clone(), version: number, run: Some(tracking.id.clone()), pipeline_run: Some(run.clone()) });
            batch.write(&registered(version, if version > 2 { 2 } else { version - 1 }));
            batch.write(&model_version(&tracking.id, &run, &set, version, began));
            batch.run_writes.push(RunWrite::CreateRun(tracking.clone()));
        })
        .await;
        let path = format!("1/{}/artifacts", tracking.id);
        self.artifacts.put_bytes(&format!("{path}/plots/resid&al.png"), Bytes::from_static(b"png")).await.unwrap();
        self.artifacts.put_bytes(&format!("{path}/notes.md"), Bytes::from_static(b"# notes")).await.unwrap();
    }

    async fn gate(&self, at: &str, thread: Option<&str>, version: u64, champion: Option<u64>, new: f64, old: Option<f64>, verdict: Verdict) {
        let against = old.map_or(String::new(), |old| format!(" against {old:.4} of the champion"));
        let why = format!("mae {new:.4}{against} on 168 rows: {}", if verdict == Verdict::Pass { "3 of 3 checks pass" } else { "mae <= champion.mae on holdout: worse" });
        let interval = |margin: f64| old.map(|old| Interval { low: new - old - margin, high: new - old + margin, confidence: 0.95, method: "paired bootstrap, 7 blocks of a day, 10000 replicates".into() });
        let check = |text: &str, verdict, interval: Option<Interval>, champion: Option<f64>| Check {
            text: text.into(),
            verdict,
            why: format!("mae is {new:.4}"),
            challenger: Some(new),
            skipped: champion.is_none() && text.contains("champion"),
            champion,
            interval,
        };
        let report = GateReport {
            model: demand(),
            challenger: VersionNumber(version),
            champion: champion.map(VersionNumber),
            holdout: Range::new(day(at) - Span::days(8), day(at) - Span::days(1)),
            rows: 168,
            rows_hash: Digest::of(at.as_bytes()),
            seed: 7,
            checks: vec![
                check("mae < 60", Verdict::Pass, None, None),
                check("mae <= champion.mae on holdout", verdict, interval(4.0), old),
                check("non_inferior(mae, margin = 1.0)", if verdict == Verdict::Fail { Verdict::Inconclusive } else { verdict }, interval(6.5), old),
            ],
            figure: GateFigure { metric: "mae".into(), challenger: Some(new), champion: old },
            verdict,
            why: why.clone(),
            decided: day(at),
        };
        self.commit(at, thread, |batch| {
            batch.write(&report);
            batch.say(Event::GateDecided {
                model: demand(),
                challenger: report.challenger,
                champion: report.champion,
                verdict,
                challenger_figure: Some(new),
                champion_figure: old,
                why,
            });
        })
        .await;
    }

    async fn promote(&self, at: &str, thread: Option<&str>, version: u64, previous: Option<u64>) {
        let number = VersionNumber(version);
        let mut deployment = Deployment::new(demand());
        let reigns = [(1, None, "2011-03-01T01:00:00Z"), (2, Some(1), "2011-04-14T02:00:00Z"), (4, Some(2), "2011-05-26T02:00:00Z")];
        for (of, previous, at) in reigns.into_iter().filter(|(of, _, _)| *of <= version) {
            let why = format!("gate passed: version {of}");
            deployment.history.push(Promotion { version: VersionNumber(of), previous: previous.map(VersionNumber), at: day(at), why });
        }
        deployment.champion = Some(number);
        deployment.shadows = if version > 1 { vec![VersionNumber(1)] } else { Vec::new() };
        self.say(at, thread, Event::RolloutAdvanced { model: demand(), version: number, stage: "shadow".into() }).await;
        self.say(at, thread, Event::ShadowServed { model: demand(), version: number, answered: 24, failed: 0 }).await;
        self.commit(at, thread, |batch| {
            batch.write(&deployment);
            batch.write(&registered(version, version));
            let previous = previous.map(VersionNumber);
            batch.say(Event::ChampionPromoted { model: demand(), version: number, previous, by: "gate".into(), why: "3 of 3 checks pass".into() });
            batch.say(Event::MonitorStarted { model: demand(), version: number, reference: format!("training set ts-{version}") });
        })
        .await;
    }
}

fn attempt(run: &str, asked: &str, challenger: Option<u64>, outcome: RetrainOutcome, why: &str) -> RetrainAttempt {
    RetrainAttempt { pipeline_run: PipelineRunId::new(run), asked: day(asked), challenger: challenger.map(VersionNumber), outcome, why: why.into() }
}

fn pipeline_run(id: &PipelineRunId, at: &str, incident: Option<&str>, state: RunState) -> PipelineRun {
    let kind = incident.map_or(TriggerKind::Command, |incident| TriggerKind::Incident { incident: IncidentId::new(incident) });
    PipelineRun {
        id: id.clone(),
        pipeline: "retrain".into(),
        version: 1,
        params: IndexMap::from([("max_iter".to_owned(), Scalar::Int(100))]),
        trigger: Trigger { kind, time: day(at), holdout_to: day(at) },
        state,
        cancel_asked: false,
        requested: day(at),
        started: Some(day(at)),
        ended: state.is_over().then(|| day(at) + Span::from_ms(31_000)),
        error: None,
    }
}

fn step_attempt(started: Timestamp, ended: Timestamp) -> StepAttempt {
    StepAttempt {
        number: 1,
        command: vec!["python".into(), "train.py".into()],
        env: IndexMap::new(),
        code: None,
        git_commit: None,
        started,
        ended: Some(ended),
        exit: Some(0),
        signal: None,
        timed_out: false,
        cpu_ms: Some(4_100),
        peak_memory_bytes: Some(212_000_000),
        log: "logs/retrain/train-1.log".into(),
        error: None,
    }
}

fn registered(newest: u64, champion: u64) -> RegisteredModel {
    RegisteredModel {
        name: demand(),
        description: String::new(),
        tags: Vec::new(),
        aliases: (champion > 0).then(|| ("champion".to_owned(), VersionNumber(champion))).into_iter().collect(),
        created: day("2011-03-01"),
        updated: day("2011-03-01"),
        next_version: newest + 1,
    }
}

fn training_set(id: &str, at: &str, rows: u64) -> TrainingSet {
    TrainingSet {
        id: TrainingSetId::new(id),
        model: "demand".into(),
        definition: Digest::of(b"definition"),
        views: vec![("weather_hourly".into(), 1), ("calendar".into(), 1)],
        table_versions: [("weather".to_owned(), 3)].into(),
        until: day(at),
        cutoff: day(at) - Span::days(8),
        holdout_to: day(at) - Span::days(1),
        holdout: Span::days(7),
        rows,
        time: Some(Range::new(day("2011-01-01"), day(at) - Span::days(8))),
        features: ["temp", "hum", "windspeed", "weather_code", "hr", "weekday"].map(String::from).to_vec(),
        label: "bikers".into(),
        time_column: "ts".into(),
        content: Digest::of(id.as_bytes()),
        created: day(at),
    }
}

fn model_version(run: &RunId, pipeline_run: &PipelineRunId, set: &TrainingSet, version: u64, at: Timestamp) -> ModelVersion {
    ModelVersion {
        model: demand(),
        version: VersionNumber(version),
        run: Some(run.clone()),
        source: format!("models:/m-{version:032}"),
        artifact_path: format!("1/models/m-{version:032}/artifacts"),
        model_id: Some(format!("m-{version:032}")),
        status: VersionStatus::Ready,
        stage: "None".into(),
        description: String::new(),
        tags: Vec::new(),
        created: at,
        updated: at,
        pipeline_run: Some(pipeline_run.clone()),
        training_set: Some(set.id.clone()),
        trained_until: Some(set.cutoff),
    }
}

/// A run with one long curve, some short ones, and a hostile name.
fn tracking_run(version: u64, pipeline_run: &str, at: Timestamp) -> Run {
    let metric = |key: &str, step: i64, value: f64| Metric {
        key: key.into(),
        value,
        time: at + Span::from_ms(step * 1_000),
        step,
        model_id: None,
        dataset_name: None,
        dataset_digest: None,
    };
    let mut metrics: Vec<Metric> = (0..3_000).map(|step| metric("loss", step, 3.0 / (1.0 + step as f64 / 80.0) + f64::from((step * 7919 % 101) as u32) / 400.0)).collect();
    metrics.extend((0..100).map(|step| metric("val_mae", step, 22.0 + 60.0 / (1.0 + step as f64 / 6.0))));
    metrics.extend([metric("mae", 0, 22.412_345), metric("r2", 0, 0.931_27), metric("broken", 0, f64::NAN)]);
    let tag = |key: &str, value: &str| Tag::new(key, value);
    Run {
        id: RunId::new(format!("{version:032}")),
        experiment: ExperimentId::new("1"),
        name: if version == 2 { HOSTILE.into() } else { format!("hist-gbr-{version}") },
        user: "ana".into(),
        status: RunStatus::Finished,
        start: at,
        end: Some(at + Span::from_ms(26_800)),
        lifecycle_stage: LifecycleStage::Active,
        artifact_uri: format!("mlflow-artifacts:/1/{version:032}/artifacts"),
        params: ["max_iter", "learning_rate", "loss"].into_iter().zip(["100", "0.1", "poisson"]).map(|(key, value)| Param { key: key.into(), value: value.into() }).collect(),
        tags: vec![tag("mlflow.source.name", "train.py"), tag("mlflow.user", "ana"), tag("team", "<b>bikes</b>"), tag("trimtab.pipeline_run", pipeline_run)],
        metrics,
        inputs: vec![DatasetInput {
            name: "train.parquet".into(),
            digest: "a1b2c3d4".into(),
            source_type: "local".into(),
            source: "train.parquet".into(),
            schema: None,
            profile: None,
            tags: vec![tag(DatasetInput::CONTEXT_TAG, "training")],
        }],
        outputs: vec![ModelOutput { model_id: format!("m-{version:032}"), step: 0, input: false }],
    }
}
