//! What happens: a good month, an incident that heals, one that does not, and one that is open.

use super::things::*;
use super::*;

impl Story {
    pub(super) async fn beginning(&self) {
        let names = ["weather_hourly", "calendar"];
        self.commit("2011-03-01", None, |batch| {
            let changes = names.map(|name| format!("+ feature.{name}")).to_vec();
            batch.say(Event::ProjectApplied { hash: Digest::of(b"project"), changes });
            batch.write(&AppliedProject {
                spec: Default::default(),
                hash: Digest::of(b"project"),
                root: "/home/ana/bikes".into(),
                applied: day("2011-03-01"),
            });
            for name in names {
                let spec = Default::default();
                batch.write(&FeatureViewVersion {
                    name: name.into(),
                    version: 1,
                    hash: Digest::of(b"v"),
                    spec,
                    created: day("2011-03-01"),
                    features: vec!["temp".into()],
                });
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
                git_diff: None,
                created: day("2011-03-01"),
            });
            batch.write(&SourceTable {
                source: "weather".into(),
                table_version: 3,
                rows: 31_204,
                newest: Some(day("2011-06-20T22:00:00Z")),
            });
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

    pub(super) async fn first_incident(&self) {
        let id = Some("demand-1");
        self.window("2011-03-29", 1, 41.2, 33.6, 0.83, None).await;
        self.window("2011-04-05", 1, 58.7, 33.6, 0.97, id).await;
        let why =
            "2 bad windows of version 1 in a row (mae > 1.5 * best.mae for 2 windows): performance fell: mae 58.7000, at most 33.6150";
        self.open("demand-1", "2011-04-13", &["2011-03-29", "2011-04-05"], 1, why).await;
        self.ask("demand-1", "2011-04-13", "retrain-demand-1-1", "2011-04-12").await;
        self.pipeline("retrain-demand-1-1", "2011-04-13T00:10:00Z", id, 2, 2_180).await;
        self.gate("2011-04-13T01:00:00Z", id, 2, Some(1), 34.02, Some(58.71), Verdict::Pass).await;
        self.promote("2011-04-14T02:00:00Z", id, 2, Some(1)).await;
        self.window("2011-04-12", 2, 36.9, 33.6, 0.14, id).await;
        self.window("2011-04-19", 2, 31.0, 33.6, 0.11, id).await;
        let why = "version 2, window 2011-04-19T00:00:00Z..2011-04-26T00:00:00Z: performance holds: mae 31.0000, at most 33.6150";
        self.say("2011-04-27", id, Event::IncidentResolved { incident: IncidentId::new("demand-1"), model: demand(), why: why.into() })
            .await;
        let attempt =
            attempt("retrain-demand-1-1", "2011-04-13", Some(2), RetrainOutcome::Helped, "performance holds: mae 31.0000, at most 33.6150");
        self.incident(
            "demand-1",
            IncidentState::Resolved,
            ("2011-04-13", Some("2011-04-27")),
            &["2011-03-29", "2011-04-05"],
            vec![attempt],
            why,
        )
        .await;
    }

    pub(super) async fn second_incident(&self) {
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
        let why = format!(
            "2 retrainings in a row did not help: retrain-demand-2-1 gave version 3: refused; retrain-demand-2-2 gave version 4: {last}"
        );
        self.say("2011-06-08", id, Event::IncidentEscalated { incident: IncidentId::new("demand-2"), model: demand(), why: why.clone() })
            .await;
        let attempts = vec![
            attempt(
                "retrain-demand-2-1",
                "2011-05-11",
                Some(3),
                RetrainOutcome::Refused,
                "mae 49.8000 against 47.3100 of the champion on 168 rows",
            ),
            attempt("retrain-demand-2-2", "2011-05-25", Some(4), RetrainOutcome::Unhelpful, last),
        ];
        self.incident(
            "demand-2",
            IncidentState::Escalated,
            ("2011-05-11", Some("2011-06-08")),
            &["2011-04-26", "2011-05-03"],
            attempts,
            &why,
        )
        .await;
    }

    pub(super) async fn third_incident(&self) {
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
            batch.say(Event::StepStarted {
                pipeline_run: run.clone(),
                step: "training_set".into(),
                attempt: 1,
                why: "labels changed".into(),
            });
        })
        .await;
    }
}
