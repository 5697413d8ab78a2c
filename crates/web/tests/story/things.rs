//! The story's entities.

use super::{HOSTILE, day, demand};
use domain::entity::*;
use domain::*;
use indexmap::IndexMap;

pub fn attempt(run: &str, asked: &str, challenger: Option<u64>, outcome: RetrainOutcome, why: &str) -> RetrainAttempt {
    RetrainAttempt {
        pipeline_run: PipelineRunId::new(run),
        asked: day(asked),
        challenger: challenger.map(VersionNumber),
        outcome,
        why: why.into(),
    }
}

pub fn pipeline_run(id: &PipelineRunId, at: &str, incident: Option<&str>, state: RunState) -> PipelineRun {
    let kind = incident.map_or(TriggerKind::Command, |incident| TriggerKind::Incident { incident: IncidentId::new(incident) });
    PipelineRun {
        id: id.clone(),
        pipeline: "retrain".into(),
        version: 1,
        params: IndexMap::from([("max_iter".to_owned(), Scalar::Int(100).into())]),
        trigger: Trigger { kind, time: day(at), holdout_to: day(at) },
        state,
        cancel_asked: false,
        requested: day(at),
        started: Some(day(at)),
        ended: state.is_over().then(|| day(at) + Span::from_ms(31_000)),
        error: None,
        again: None,
        root: None,
        python: None,
        inputs: IndexMap::new(),
    }
}

pub fn step_attempt(started: Timestamp, ended: Timestamp) -> StepAttempt {
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
        gpus: Vec::new(),
        waited: None,
        ran: None,
        log: "logs/retrain/train-1.log".into(),
        error: None,
    }
}

pub fn registered(newest: u64, champion: u64) -> RegisteredModel {
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

pub fn training_set(id: &str, at: &str, rows: u64) -> TrainingSet {
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

pub fn model_version(run: &RunId, pipeline_run: &PipelineRunId, set: &TrainingSet, version: u64, at: Timestamp) -> ModelVersion {
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
pub fn tracking_run(version: u64, pipeline_run: &str, at: Timestamp) -> Run {
    let metric = |key: &str, step: i64, value: f64| Metric {
        key: key.into(),
        value,
        time: at + Span::from_ms(step * 1_000),
        step,
        model_id: None,
        dataset_name: None,
        dataset_digest: None,
    };
    let mut metrics: Vec<Metric> = (0..3_000)
        .map(|step| metric("loss", step, 3.0 / (1.0 + step as f64 / 80.0) + f64::from((step * 7919 % 101) as u32) / 400.0))
        .collect();
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
        params: ["max_iter", "learning_rate", "loss"]
            .into_iter()
            .zip(["100", "0.1", "poisson"])
            .map(|(key, value)| Param { key: key.into(), value: value.into() })
            .collect(),
        tags: vec![
            tag("mlflow.source.name", "train.py"),
            tag("mlflow.user", "ana"),
            tag("team", "<b>bikes</b>"),
            tag("trimtab.pipeline_run", pipeline_run),
            tag("trimtab.step", "train"),
        ],
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
