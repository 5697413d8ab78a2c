//! Builds the reference of a version from its training rows and keeps it as an artifact.

use crate::declared::Declared;
use crate::reference::{Column, Reference};
use crate::windows::Calendar;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::{ModelVersion, Monitor, TrainingSet};
use domain::{Actor, Batch, Event, Fault, ModelName, Recorded, Refusal, Scalar, Timestamp, TrainingSetId, VersionNumber};
use ports::{ArtifactExt, ArtifactStore, MetadataStore, QueryError, ScoreError, Scorer, World, decide, scalar_at};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Where training rows come from.
#[async_trait]
pub trait References: Send + Sync {
    /// The rows of a training set: its feature columns, its label and its time column.
    async fn training_rows(&self, training_set: &TrainingSetId) -> Result<RecordBatch, QueryError>;
}

/// The references of the models that are watched: taken from the shelf, read from the artifacts, or built.
pub struct ReferenceShelf {
    store: Arc<dyn MetadataStore>,
    artifacts: Arc<dyn ArtifactStore>,
    references: Arc<dyn References>,
    scorer: Arc<dyn Scorer>,
    /// The newest version asked for, by model. Held while one is built, so that it is built once.
    shelf: Mutex<HashMap<ModelName, (VersionNumber, Arc<Reference>)>>,
}

/// Why a reference was not built.
enum Unbuilt {
    /// A fact about the version: the reason.
    Never(String),
    Fault(Fault),
}

impl From<Fault> for Unbuilt {
    fn from(fault: Fault) -> Self {
        Unbuilt::Fault(fault)
    }
}

impl From<Refusal> for Unbuilt {
    fn from(refusal: Refusal) -> Self {
        Unbuilt::Never(refusal.to_string())
    }
}

impl From<QueryError> for Unbuilt {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Refused(refusal) => refusal.into(),
            QueryError::Fault(fault) => fault.into(),
        }
    }
}

impl From<ScoreError> for Unbuilt {
    fn from(error: ScoreError) -> Self {
        match error {
            ScoreError::Refused(refusal) => refusal.into(),
            ScoreError::Fault(fault) => fault.into(),
        }
    }
}

impl ReferenceShelf {
    /// An empty shelf.
    pub fn new(
        store: Arc<dyn MetadataStore>,
        artifacts: Arc<dyn ArtifactStore>,
        references: Arc<dyn References>,
        scorer: Arc<dyn Scorer>,
    ) -> Arc<Self> {
        Arc::new(ReferenceShelf { store, artifacts, references, scorer, shelf: Mutex::default() })
    }

    /// The reference of a version, or why there is none. `at`: event time of the asking.
    pub async fn get(&self, model: &ModelName, version: VersionNumber, at: Timestamp) -> Result<Result<Arc<Reference>, String>, Fault> {
        let mut shelf = self.shelf.lock().await;
        if let Some((known, reference)) = shelf.get(model)
            && *known == version
        {
            return Ok(Ok(reference.clone()));
        }
        let kept = match self.monitor(model, version)?.and_then(|monitor| monitor.reference) {
            Some(path) => self.read(&path).await?,
            None => None,
        };
        let reference = match kept {
            Some(reference) => reference,
            None => match self.build(model, version, at).await {
                Ok(reference) => reference,
                Err(Unbuilt::Never(why)) => return Ok(Err(why)),
                Err(Unbuilt::Fault(fault)) => return Err(fault),
            },
        };
        let reference = Arc::new(reference);
        shelf.insert(model.clone(), (version, reference.clone()));
        Ok(Ok(reference))
    }

    fn monitor(&self, model: &ModelName, version: VersionNumber) -> Result<Option<Monitor>, Fault> {
        World::new(self.store.snapshot()?).get::<Monitor>(&format!("{model}/{version}"))
    }

    async fn read(&self, path: &str) -> Result<Option<Reference>, Fault> {
        let Some(bytes) = self.artifacts.get_bytes(path).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| Fault::because(format!("reading the reference {path}"), e))
    }

    async fn build(&self, model: &ModelName, version: VersionNumber, at: Timestamp) -> Result<Reference, Unbuilt> {
        let (set, declared) = self.made_from(model, version)?;
        let rows = self.references.training_rows(&set.id).await?;
        let columns = set.features.iter().map(|name| rows.schema().index_of(name));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|e| Unbuilt::Never(format!("training set {}: {e}", set.id)))?;
        let features = rows.project(&columns).map_err(|e| Fault::because("taking the features of a training set", e))?;
        let times = times(&rows, &set)?;
        let answers = self.scorer.score(model, version, &features).await?;
        let what = format!("training set {}, {} rows", set.id, rows.num_rows());
        let reference = learn(what.clone(), &declared, &set, &times, &features, &answers);

        let path = format!("monitors/{model}/{version}/reference.json");
        let json = serde_json::to_vec(&reference).map_err(|e| Fault::because("writing a reference", e))?;
        self.artifacts.put_bytes(&path, json.into()).await?;
        self.note(model, version, &path, &what, at).await?;
        Ok(reference)
    }

    fn made_from(&self, model: &ModelName, number: VersionNumber) -> Result<(TrainingSet, Declared), Unbuilt> {
        let world = World::new(self.store.snapshot()?);
        let version = world.get::<ModelVersion>(&format!("{model}/{number}"))?;
        let Some(id) = version.and_then(|version| version.training_set) else {
            return Err(Unbuilt::Never(format!(
                "no training set of version {number} is known (train it in a pipeline with a training set)"
            )));
        };
        let set = world.get::<TrainingSet>(id.as_str())?.ok_or_else(|| Unbuilt::Never(format!("training set {id} is not recorded")))?;
        let declared = Declared::model(&world, model)?.ok_or_else(|| Unbuilt::Never(format!("`{model}` has no monitor any more")))?;
        Ok((set, declared))
    }

    /// Where the reference is, and what it is of.
    async fn note(&self, model: &ModelName, version: VersionNumber, path: &str, what: &str, at: Timestamp) -> Result<(), Fault> {
        let noted = decide(&*self.store, |world| {
            let mut batch = Batch::new(Actor::System("monitoring.reference".into()), at);
            if let Some(mut monitor) = world.get::<Monitor>(&format!("{model}/{version}"))? {
                monitor.reference = Some(path.into());
                monitor.reference_what = what.into();
                batch.write(&monitor);
            }
            Ok((batch, ()))
        });
        noted.await.map_err(|e| Fault::because("noting a reference", e))
    }
}

fn learn(
    what: String,
    declared: &Declared,
    set: &TrainingSet,
    times: &[Timestamp],
    features: &RecordBatch,
    answers: &[Scalar],
) -> Reference {
    let columns = set.features.iter().zip(features.columns()).map(|(name, column)| {
        let values: Vec<Scalar> = (0..column.len()).map(|row| scalar_at(column, row)).collect();
        (name.clone(), Column::of(values.iter()))
    });
    let monitor = &declared.monitor;
    Reference::learn(what, &monitor.drift, Calendar::of(monitor), times, columns.collect(), Column::of(answers.iter()))
}

fn times(rows: &RecordBatch, set: &TrainingSet) -> Result<Vec<Timestamp>, Unbuilt> {
    let missing = || Unbuilt::Never(format!("training set {} has no column `{}` of times", set.id, set.time_column));
    let column = rows.column_by_name(&set.time_column).ok_or_else(missing)?;
    let time = |row| match scalar_at(column, row) {
        Scalar::Text(text) => Timestamp::parse(&text),
        _ => None,
    };
    (0..rows.num_rows()).map(time).collect::<Option<Vec<_>>>().ok_or_else(missing)
}

/// Builds the reference as soon as a version is watched, so that its first window need not wait for it.
pub struct ReferenceWorker(pub Arc<ReferenceShelf>);

#[async_trait]
impl reactor::Worker for ReferenceWorker {
    fn name(&self) -> &'static str {
        "monitoring.reference"
    }

    fn wants(&self, event: &Event) -> bool {
        matches!(event, Event::MonitorStarted { .. })
    }

    async fn work(&self, event: &Recorded) -> Result<(), Fault> {
        let Event::MonitorStarted { model, version, .. } = &event.event else { return Ok(()) };
        if let Err(why) = self.0.get(model, *version, event.at).await? {
            tracing::warn!(%model, %version, why, "drift of this version is not judged");
        }
        Ok(())
    }
}
