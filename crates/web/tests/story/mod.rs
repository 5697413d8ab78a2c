//! A made-up story: one model, three incidents (one resolved, one escalated, one open), runs with hostile names.
#![allow(clippy::unwrap_used, dead_code)]

pub mod files;
pub mod many;
mod plot;
mod serving;
mod things;

use domain::entity::*;
use domain::*;
use ports::MetadataStore;
use ports::memory::{MemoryArtifacts, MemoryStore};
use std::sync::Arc;
use things::*;
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
            facts: Arc::new(serving::StoryFacts(facts)),
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

    async fn incident(
        &self,
        id: &str,
        state: IncidentState,
        (opened, closed): (&str, Option<&str>),
        evidence: &[&str],
        attempts: Vec<RetrainAttempt>,
        why: &str,
    ) {
        let incident = Incident {
            id: IncidentId::new(id),
            model: demand(),
            state,
            opened: day(opened),
            closed: closed.map(day),
            system: false,
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
        let performance = if mae > bar {
            format!("performance fell: mae {mae:.4}, at most {bar:.4}")
        } else {
            format!("performance holds: mae {mae:.4}, at most {bar:.4}")
        };
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
            batch.write(&Segment {
                stream: "prediction/demand".into(),
                number: range.from.day() as u64,
                path: String::new(),
                rows: 168,
                bytes: 9_000,
                time: range,
                lost: 0,
            });
            batch.say(Event::SegmentSealed {
                stream: "prediction/demand".into(),
                segment: range.from.day() as u64,
                rows: 168,
                time: range,
                watermark: range.to,
            });
        })
        .await;
        for window in [base, judged] {
            self.commit(&at, thread, |batch| {
                let (model, version, kind, whole) = (demand(), window.version, window.kind, window.whole);
                batch.say(Event::WindowClosed { model: model.clone(), version, kind, range, whole });
                let (verdict, why) = (window.verdict.unwrap(), window.why.clone().unwrap());
                let metric = window.performance.as_ref().and_then(|performance| performance.value);
                batch.say(Event::WindowJudged {
                    model: model.clone(),
                    version,
                    kind,
                    range,
                    whole,
                    verdict,
                    metric,
                    threshold: metric.map(|_| bar),
                    why,
                });
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
            batch.say(Event::TrainingSetRecorded {
                training_set: set.id.clone(),
                model: "demand".into(),
                rows,
                cutoff: set.cutoff,
                content: set.content.clone(),
            });
            for (name, from, to, _) in steps {
                let mut step = PipelineStep::waiting(run.clone(), name);
                step.state = StepState::Succeeded;
                step.why = Some("labels changed".into());
                step.training_set = (name == "training_set").then(|| set.id.clone());
                step.attempts = vec![step_attempt(began + Span::from_ms(from), began + Span::from_ms(to))];
                batch.write(&step);
                batch.say(Event::StepFinished {
                    pipeline_run: run.clone(),
                    step: name.into(),
                    state: StepState::Succeeded,
                    attempts: 1,
                    error: None,
                    why: None,
                });
            }
            batch.say(Event::PipelineRunFinished {
                pipeline_run: run.clone(),
                pipeline: "retrain".into(),
                state: RunState::Succeeded,
                error: None,
            });
        })
        .await;
        // A client logs outside the thread.
        self.commit(at, None, |batch| {
            batch.say(Event::RunStarted {
                run: tracking.id.clone(),
                experiment: tracking.experiment.clone(),
                name: tracking.name.clone(),
                pipeline_run: Some(run.clone()),
            });
            batch.say(Event::RunFinished { run: tracking.id.clone(), status: RunStatus::Finished });
            batch.say(Event::ModelVersionRegistered {
                model: model.clone(),
                version: number,
                run: Some(tracking.id.clone()),
                pipeline_run: Some(run.clone()),
            });
            batch.write(&registered(version, if version > 2 { 2 } else { version - 1 }));
            batch.write(&model_version(&tracking.id, &run, &set, version, began));
            batch.run_writes.push(RunWrite::CreateRun(tracking.clone()));
        })
        .await;
        self.leave_files(&tracking.id, &format!("1/models/m-{version:032}/artifacts")).await;
    }

    async fn gate(
        &self,
        at: &str,
        thread: Option<&str>,
        version: u64,
        champion: Option<u64>,
        new: f64,
        old: Option<f64>,
        verdict: Verdict,
    ) {
        let against = old.map_or(String::new(), |old| format!(" against {old:.4} of the champion"));
        let why = format!(
            "mae {new:.4}{against} on 168 rows: {}",
            if verdict == Verdict::Pass { "3 of 3 checks pass" } else { "mae <= champion.mae on holdout: worse" }
        );
        let interval = |margin: f64| {
            old.map(|old| Interval {
                low: new - old - margin,
                high: new - old + margin,
                confidence: 0.95,
                method: "paired bootstrap, 7 blocks of a day, 10000 replicates".into(),
            })
        };
        let check = |text: &str, verdict, interval: Option<Interval>, champion: Option<f64>| Check {
            challenger: Some(new),
            skipped: champion.is_none() && text.contains("champion"),
            champion,
            value: Some(champion.map_or(new, |old| new - old)),
            limit: Some(if text.contains("60") {
                60.0
            } else if text.contains("margin") {
                1.0
            } else {
                0.0
            }),
            n: Some(168),
            needed: (verdict == Verdict::Inconclusive).then_some(1_175),
            method: interval.as_ref().map(|interval| interval.method.clone()),
            interval,
            ..Check::new(text, verdict, format!("mae is {new:.4}"))
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
                check(
                    "non_inferior(mae, margin = 1.0)",
                    if verdict == Verdict::Fail { Verdict::Inconclusive } else { verdict },
                    interval(6.5),
                    old,
                ),
            ],
            figure: GateFigure { metric: "mae".into(), challenger: Some(new), champion: old },
            verdict,
            why: why.clone(),
            decided: day(at),
            overrides: vec![],
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
            batch.say(Event::ChampionPromoted {
                model: demand(),
                version: number,
                previous,
                by: "gate".into(),
                why: "3 of 3 checks pass".into(),
            });
            batch.say(Event::MonitorStarted { model: demand(), version: number, reference: format!("training set ts-{version}") });
        })
        .await;
    }
}
