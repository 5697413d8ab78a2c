//! A model small enough to be trained a thousand times: a line through the newest rows, as a step trains and a runtime loads it.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use async_trait::async_trait;
use domain::entity::{ModelVersion, RegisteredModel, RunStatus, Tag};
use domain::{Actor, Batch, Digest, ExperimentId, ModelName, RunId, Scalar, Timestamp};
use ports::{
    ArtifactExt, ArtifactStore, CommitError, JobSpec, LoadError, MetadataStore, ModelFiles, ModelHandle, ModelRuntime, PredictError, World,
    decide,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tracking::experiments::{self, NewExperiment};
use tracking::registry::{self, NewVersion};
use tracking::runs::{self, NewRun, RunChange};

/// Rows that count.
const NEWEST: usize = 12;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Line {
    base: f64,
    slope: f64,
}

impl Line {
    /// Least squares over the newest rows, which are the last.
    fn fit(rows: &RecordBatch) -> Line {
        let column = |name: &str| rows.column_by_name(name).unwrap().as_primitive::<Float64Type>().values().to_vec();
        let (x, y) = (column("temp"), column("kwh"));
        let from = x.len().saturating_sub(NEWEST);
        let (x, y) = (&x[from..], &y[from..]);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (mx, my) = (mean(x), mean(y));
        let covariance: f64 = x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum();
        let slope = covariance / x.iter().map(|x| (x - mx).powi(2)).sum::<f64>();
        Line { base: my - slope * mx, slope }
    }
}

/// What a training program reaches of the server.
pub struct Server {
    pub store: Arc<dyn MetadataStore>,
    pub artifacts: Arc<dyn ArtifactStore>,
    pub now: Timestamp,
}

impl Server {
    /// The step `train FILE`: logs to its run, stores the line, registers it. A careful program: what an attempt before it did
    /// that was cut short, it goes on with instead of doing it twice.
    pub async fn train(&self, job: &JobSpec) -> anyhow::Result<()> {
        let env = |name: &str| job.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap_or_default();
        let file = job.command.get(1).ok_or_else(|| anyhow::anyhow!("train FILE"))?;
        let line = Line::fit(&features::read_training_rows(std::fs::read(file)?.into())?);
        let experiment = self.experiment(env("MLFLOW_EXPERIMENT_NAME")).await?;
        let run = self.run(env("TRIMTAB_PIPELINE_RUN"), env("MLFLOW_RUN_CONTEXT"), experiment).await?;
        let source = format!("runs:/{run}/model");
        let folder = tracking::place::of_source(&World::new(self.store.snapshot()?), &source)?.artifact_path;
        self.artifacts.put_bytes(&format!("{folder}/line.json"), serde_json::to_vec(&line)?.into()).await?;
        self.register(&run, source).await?;
        let finished = RunChange { status: Some(RunStatus::Finished), ..RunChange::default() };
        decide(&*self.store, |world| runs::update(world, &run, finished.clone(), &actor(), self.now)).await?;
        Ok(())
    }

    async fn experiment(&self, name: &str) -> Result<ExperimentId, CommitError> {
        decide(&*self.store, |world| {
            if let Some(known) = world.experiments()?.into_iter().find(|known| known.name == name) {
                return Ok((nothing(self.now), known.id));
            }
            let new = NewExperiment { name: name.into(), ..NewExperiment::default() };
            experiments::create(world, new, &actor(), self.now).map(|(batch, experiment)| (batch, experiment.id))
        })
        .await
    }

    async fn run(&self, pipeline_run: &str, context: &str, experiment: ExperimentId) -> anyhow::Result<RunId> {
        let id = RunId::new(&Digest::of(pipeline_run.as_bytes()).as_str()[..32]);
        let tags: std::collections::BTreeMap<String, String> = serde_json::from_str(context)?;
        let new = NewRun {
            id: id.clone(),
            experiment,
            name: None,
            spare_name: pipeline_run.into(),
            user: "scenario".into(),
            start: self.now,
            tags: tags.iter().map(|(key, value)| Tag::new(key, value)).collect(),
        };
        decide(&*self.store, |world| match world.run(&id)? {
            Some(_) => Ok((nothing(self.now), ())),
            None => runs::create(world, new.clone(), &actor(), self.now).map(|(batch, _)| (batch, ())),
        })
        .await?;
        Ok(id)
    }

    async fn register(&self, run: &RunId, source: String) -> Result<(), CommitError> {
        let model = ModelName::new("demand");
        decide(&*self.store, |world| match world.get::<RegisteredModel>(model.as_str())? {
            Some(_) => Ok((nothing(self.now), ())),
            None => registry::create_model(world, model.as_str(), Vec::new(), "", &actor(), self.now).map(|(batch, _)| (batch, ())),
        })
        .await?;
        let new = NewVersion { model, source, run: Some(run.clone()), model_id: None, tags: Vec::new(), description: String::new() };
        decide(&*self.store, |world| {
            if world.scope::<ModelVersion>(new.model.as_str())?.iter().any(|version| version.run.as_ref() == Some(run)) {
                return Ok((nothing(self.now), ()));
            }
            registry::create_version(world, new.clone(), &actor(), self.now).map(|(batch, _)| (batch, ()))
        })
        .await
    }
}

fn actor() -> Actor {
    Actor::User("train".into())
}

fn nothing(now: Timestamp) -> Batch {
    Batch::new(actor(), now)
}

/// Loads what [`Server::train`] stored.
pub struct Lines(pub Arc<dyn ArtifactStore>);

#[async_trait]
impl ModelRuntime for Lines {
    async fn load(&self, files: &ModelFiles) -> Result<Arc<dyn ModelHandle>, LoadError> {
        let bytes = self.0.get_bytes(&format!("{}/line.json", files.artifact_path)).await?;
        let line: Line = serde_json::from_slice(&bytes.unwrap()).unwrap();
        Ok(Arc::new(Loaded(line)))
    }
}

struct Loaded(Line);

#[async_trait]
impl ModelHandle for Loaded {
    async fn predict(&self, rows: &RecordBatch, _deadline: Duration) -> Result<Vec<Scalar>, PredictError> {
        let temp = rows.column_by_name("temp").unwrap().as_primitive::<Float64Type>();
        Ok(temp.iter().map(|temp| temp.map_or(Scalar::Null, |temp| Scalar::Float(self.0.base + self.0.slope * temp))).collect())
    }

    async fn stop(&self) {}

    fn crashes(&self) -> u64 {
        0
    }

    fn signature(&self) -> &ports::Signature {
        const NOTHING: &ports::Signature =
            &ports::Signature { inputs: ports::Inputs::Unknown, output: None, output_width: None, outputs: Vec::new() };
        NOTHING
    }
}
