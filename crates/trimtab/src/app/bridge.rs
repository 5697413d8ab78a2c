//! Where one block needs another, through the traits that the needing block defines.

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use delivery::work::{Holdout, HoldoutRows};
use domain::entity::Trial;
use domain::spec::StepSpec;
use domain::{Digest, ModelName, Range, Refusal, RunId, Scalar, Timestamp, TrainingSetId, VersionNumber};
use features::{Catalog, FeatureError, Lookup, Tables, TrainingSets};
use monitoring::work::References;
use pipelines::{BuiltIn, BuiltInStep, StepFailure};
use ports::{ArtifactStore, Clock, LoadError, MetadataStore, OnlineStore, PredictError, QueryError, RunStore, ScoreError, Scorer};
use serving::{FeatureRequest, FeatureSource, ModelPool, ServeError};
use std::sync::Arc;
use std::time::Duration;

/// How long the scoring of a whole holdout or training set may take.
const SCORE_LIMIT: Duration = Duration::from_secs(600);

/// Implements what blocks ask of each other.
pub struct Bridge {
    pub store: Arc<dyn MetadataStore>,
    pub runs: Arc<dyn RunStore>,
    pub clock: Arc<dyn Clock>,
    pub online: Arc<dyn OnlineStore>,
    pub artifacts: Arc<dyn ArtifactStore>,
    pub catalog: Arc<Catalog>,
    pub tables: Arc<Tables>,
    pub training: Arc<TrainingSets>,
    pub pool: Arc<ModelPool>,
}

fn of_query(error: FeatureError) -> QueryError {
    match error {
        FeatureError::Refused(refusal) => QueryError::Refused(refusal),
        FeatureError::Fault(fault) => QueryError::Fault(fault),
    }
}

fn of_step(error: FeatureError) -> StepFailure {
    match error {
        FeatureError::Refused(refusal) => StepFailure::Refused(refusal),
        FeatureError::Fault(fault) => StepFailure::Fault(fault),
    }
}

fn of_serve(error: FeatureError) -> ServeError {
    match error {
        FeatureError::Refused(refusal) => ServeError::Refused(refusal),
        FeatureError::Fault(fault) => ServeError::Fault(fault),
    }
}

#[async_trait]
impl Holdout for Bridge {
    async fn rows(&self, model: &ModelName, range: Range, until: Timestamp) -> Result<HoldoutRows, QueryError> {
        let joined = self.training.holdout_rows(model.as_str(), range, until).await.map_err(of_query)?;
        Ok(HoldoutRows {
            features: joined.feature_rows()?,
            truth: joined.truth().map_err(of_query)?,
            times: joined.times()?,
            hash: joined.hash()?,
            identity: joined.identity_rows()?,
        })
    }
}

#[async_trait]
impl References for Bridge {
    async fn training_rows(&self, training_set: &TrainingSetId) -> Result<RecordBatch, QueryError> {
        self.training.rows(training_set).await.map_err(of_query)
    }
}

#[async_trait]
impl Scorer for Bridge {
    async fn score(&self, model: &ModelName, version: VersionNumber, features: &RecordBatch) -> Result<Vec<Scalar>, ScoreError> {
        let handle = self.pool.get(model, version).await.map_err(|error| match error {
            LoadError::Refused(refusal) => ScoreError::Refused(refusal),
            LoadError::Fault(fault) => ScoreError::Fault(fault),
        })?;
        handle.predict(features, SCORE_LIMIT).await.map_err(|error| match error {
            PredictError::Refused(refusal) => ScoreError::Refused(refusal),
            other => ScoreError::Refused(Refusal::invalid(
                "model/cannot_score",
                format!("version {version} of model {model} gives no answers: {other}"),
            )),
        })
    }
}

#[async_trait]
impl FeatureSource for Bridge {
    fn entity_columns(&self, model: &ModelName) -> Result<Vec<String>, Refusal> {
        Ok(self.catalog.entity_columns(&self.views_of(model)?))
    }

    async fn features(&self, model: &ModelName, rows: &[FeatureRequest]) -> Result<RecordBatch, ServeError> {
        let views = self.views_of(model)?;
        let lookups: Vec<Lookup> =
            rows.iter().map(|row| Lookup { key: row.key.clone(), time: row.time, request: row.request.clone() }).collect();
        Ok(self.catalog.online(&*self.online, &views, &lookups).map_err(of_serve)?.batch)
    }
}

impl Bridge {
    fn views_of(&self, model: &ModelName) -> Result<Vec<String>, Refusal> {
        let project = self.catalog.project()?;
        let serve = project.spec.model.get(model.as_str()).and_then(|spec| spec.serve.as_ref());
        Ok(serve.map(|serve| serve.features.clone()).unwrap_or_default())
    }
}

#[async_trait]
impl BuiltIn for Bridge {
    async fn key(&self, step: &BuiltInStep<'_>) -> Result<Option<Digest>, StepFailure> {
        match &step.spec.training_set {
            Some(set) => Ok(Some(self.training.key(set, &step.run.trigger).await.map_err(of_step)?)),
            None => Ok(None),
        }
    }

    async fn run(&self, step: &BuiltInStep<'_>) -> Result<Option<TrainingSetId>, StepFailure> {
        if let Some(set) = &step.spec.training_set {
            let file = step.spec.output.values().next().map_or("rows.parquet", String::as_str);
            return Ok(Some(self.training.make(set, &step.run.trigger, &step.out.join(file)).await.map_err(of_step)?));
        }
        for name in &step.spec.materialize {
            self.materialize(name).await.map_err(of_step)?;
        }
        if let Some(model) = &step.spec.gate {
            self.gate(step, model).await?;
        }
        Ok(None)
    }

    async fn environment(&self, model: &ModelName, version: VersionNumber) -> Result<Option<Digest>, StepFailure> {
        let prepared = self.pool.prepare(model, version).await.map_err(|error| match error {
            LoadError::Refused(refusal) => StepFailure::Refused(refusal),
            LoadError::Fault(fault) => StepFailure::Fault(fault),
        });
        Ok(prepared?.map(|lock| lock.sha256))
    }

    async fn open_sweep(&self, step: &BuiltInStep<'_>, trials: usize) -> Result<RunId, StepFailure> {
        self.start_sweep(step, trials).await
    }

    async fn trial_run(&self, key: &str, spec: &StepSpec) -> Result<Option<(RunId, Option<f64>)>, StepFailure> {
        self.run_of_trial(key, spec)
    }

    async fn close_sweep(&self, step: &BuiltInStep<'_>, run: &RunId, trials: &[Trial], best: Option<&Trial>) -> Result<(), StepFailure> {
        self.finish_sweep(step, run, trials, best).await
    }
}

impl Bridge {
    /// Brings one view's online values up to its table.
    pub async fn materialize(&self, name: &str) -> Result<u64, FeatureError> {
        let view = self.catalog.view(name).ok_or_else(|| {
            Refusal::not_found("feature/not_found", format!("there is no feature view `{name}` with rows")).hint("trimtab feature ls")
        })?;
        self.tables.catch_up(&view.source).await?;
        self.tables.materialize(&*self.online, &view).await
    }

    /// The gate step: the versions that this pipeline run registered are judged now instead of at its end.
    async fn gate(&self, step: &BuiltInStep<'_>, model: &str) -> Result<(), StepFailure> {
        let name = ModelName::new(model);
        let versions = {
            let world = ports::World::new(self.store.snapshot()?);
            world.scope::<domain::entity::ModelVersion>(model)?
        };
        let own =
            versions.iter().filter(|version| version.pipeline_run.as_ref() == Some(&step.run.id)).max_by_key(|version| version.version);
        let Some(version) = own else {
            return Err(Refusal::invalid("gate/no_version", format!("no step before registered a version of model {model}"))
                .hint("log the model with registered_model_name")
                .into());
        };
        let actor = domain::Actor::System("pipelines.gate".into());
        let asked = ports::decide(&*self.store, |world| {
            delivery::commands::request_gate(world, &name, version.version, &actor, step.run.trigger.time)
        });
        asked.await.map(|_| ()).map_err(|error| match error {
            ports::CommitError::Refused(refusal) => StepFailure::Refused(refusal),
            ports::CommitError::Fault(fault) => StepFailure::Fault(fault),
            ports::CommitError::Conflict(what) => StepFailure::Fault(domain::Fault::broken(what)),
        })
    }
}
