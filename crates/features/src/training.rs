//! Training sets and holdouts: labels with features as of their time, recorded so that they can be made again.

use crate::FeatureError;
use crate::catalog::{Catalog, OnDemandView, View, table_of};
use crate::labels::{Wanted, labels_of};
use crate::tables::Tables;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use domain::entity::{TrainingSet, Trigger};
use domain::spec::TrainingSetSpec;
use domain::{Actor, Batch, Digest, Event, Fault, Range, Refusal, Span, Timestamp, TrainingSetId};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ports::{ArtifactExt, ArtifactStore, FeatureRows, PitRequest, PitView, decide};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Makes training sets and holdouts.
pub struct TrainingSets {
    pub tables: Arc<Tables>,
    pub artifacts: Arc<dyn ArtifactStore>,
}

/// Labels with their features, and what they were made from.
pub struct Joined {
    /// Key columns, time, features in order, label.
    pub rows: RecordBatch,
    pub features: Vec<String>,
    pub time: String,
    pub label: String,
    pub keys: Vec<String>,
    pub views: Vec<(String, u64)>,
    pub table_versions: BTreeMap<String, i64>,
}

/// Where a training set's rows are kept.
fn address(id: &TrainingSetId) -> String {
    format!("training-sets/{id}.parquet")
}

impl TrainingSets {
    fn catalog(&self) -> &Catalog {
        &self.tables.catalog
    }

    /// Labels in `range` that had arrived by `until`, with the features of `set`'s views as of each label's time.
    pub async fn join(&self, set: &TrainingSetSpec, range: Range, until: Timestamp) -> Result<Joined, FeatureError> {
        let project = self.catalog().project()?;
        let source = project
            .spec
            .source
            .get(&set.labels)
            .ok_or_else(|| Refusal::invalid("source/not_found", format!("there is no source `{}`", set.labels)))?;
        let (views, on_demand) = self.resolve(&set.features)?;
        let mut table_versions = BTreeMap::new();
        for source in views.iter().map(|view| &view.source).chain([&set.labels]) {
            self.tables.catch_up(source).await?;
            let version = self.tables.info(source).await?.map_or(-1, |info| info.version);
            table_versions.insert(source.clone(), version);
        }
        let mut keys = self.catalog().entity_columns(&set.features);
        if keys.is_empty() {
            keys = project.spec.entity.values().map(|entity| entity.key.clone()).collect();
        }
        let wanted = Wanted { set, time: &source.time, keys: &keys, from: range.from, to: range.to, until };
        let labels = self.tables.labels(&wanted).await?;
        let looked_up = PitRequest {
            labels: vec![as_request(&labels, &source.time, &keys, &set.label)?],
            time: source.time.clone(),
            views: views.iter().map(pit_view).collect(),
        };
        let mut rows = self.tables.offline.point_in_time(looked_up).await?;
        for view in &on_demand {
            rows = self.compute(view, rows)?;
        }
        let features = feature_names(&set.features, &views, &on_demand);
        let columns = keys.iter().chain([&source.time]).chain(&features).chain([&set.label]);
        let rows = select(&rows, columns)?;
        Ok(Joined {
            rows,
            features,
            time: source.time.clone(),
            label: set.label.clone(),
            keys,
            views: views.iter().map(|view| (view.name.clone(), view.version)).collect(),
            table_versions,
        })
    }

    fn resolve(&self, names: &[String]) -> Result<(Vec<View>, Vec<OnDemandView>), Refusal> {
        let snapshot = self.catalog().snapshot();
        let mut views = Vec::new();
        let mut on_demand = Vec::new();
        for name in names {
            match (snapshot.views.get(name), snapshot.on_demand.get(name)) {
                (Some(view), _) => views.push(view.clone()),
                (_, Some(view)) => on_demand.push(view.clone()),
                _ => {
                    let what = format!("feature view {name} has no rows yet, or is not declared");
                    return Err(Refusal::not_found("feature/no_rows", what).hint("trimtab status"));
                }
            }
        }
        Ok((views, on_demand))
    }

    fn compute(&self, view: &OnDemandView, rows: RecordBatch) -> Result<RecordBatch, FeatureError> {
        let out = self.catalog().expressions(&view.exprs, &rows.schema())?.evaluate(&rows)?;
        let fields = rows.schema().fields().iter().chain(out.schema().fields()).cloned().collect::<Vec<_>>();
        let columns = rows.columns().iter().chain(out.columns()).cloned().collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| Fault::because("adding on-demand features", e))?)
    }

    /// Names a training set before it is made: definition, table versions, cut-off, arrived labels.
    pub async fn key(&self, set: &TrainingSetSpec, trigger: &Trigger) -> Result<Digest, FeatureError> {
        let project = self.catalog().project()?;
        let (views, on_demand) = self.resolve(&set.features)?;
        let mut versions = BTreeMap::new();
        for source in views.iter().map(|view| &view.source).chain([&set.labels]) {
            self.tables.catch_up(source).await?;
            versions.insert(source.clone(), self.tables.info(source).await?.map(|info| info.version));
        }
        let stream = format!("label/{}", set.model);
        self.tables.sealer.seal(&stream, self.tables.clock.event_now()).await?;
        let labels = self.tables.rows.segments(&stream)?.len();
        let views: Vec<(String, u64)> = views.into_iter().map(|view| (view.name, view.version)).collect();
        let on_demand: Vec<_> = on_demand.into_iter().map(|view| (view.name, view.exprs)).collect();
        let until = self.until(set, trigger);
        let held_out = (holdout(&project.spec, &set.model), trigger.holdout_to);
        Ok(Digest::of_json(&(set, views, on_demand, versions, labels, until, held_out)))
    }

    fn until(&self, set: &TrainingSetSpec, trigger: &Trigger) -> Timestamp {
        Timestamp::parse(&set.until).unwrap_or(trigger.time)
    }

    /// Makes the training set, writes it to `out`, keeps it, and records it.
    pub async fn make(&self, set: &TrainingSetSpec, trigger: &Trigger, out: &Path) -> Result<TrainingSetId, FeatureError> {
        let project = self.catalog().project()?;
        let until = self.until(set, trigger);
        let held_out = holdout(&project.spec, &set.model);
        let cutoff = trigger.holdout_to - held_out;
        let joined = self.join(set, Range::new(Timestamp::MIN, cutoff), until).await?;
        if joined.rows.num_rows() == 0 {
            let what = format!("no label of {} lies before {cutoff} and had arrived by {until}", set.model);
            return Err(Refusal::invalid("training_set/no_labels", what).hint("check the labels' source and the gate's holdout").into());
        }
        let content = content_of(&joined.rows)?;
        let definition = Digest::of_json(&(set, &joined.views, held_out));
        let name = Digest::of_json(&(&definition, &joined.table_versions, cutoff, until, &content));
        let record = TrainingSet {
            id: TrainingSetId::new(format!("ts-{}", name.short())),
            model: set.model.clone(),
            definition,
            views: joined.views.clone(),
            table_versions: joined.table_versions.clone(),
            until,
            cutoff,
            holdout_to: trigger.holdout_to,
            holdout: held_out,
            rows: joined.rows.num_rows() as u64,
            time: times_of(&joined)?,
            features: joined.features.clone(),
            label: joined.label.clone(),
            time_column: joined.time.clone(),
            content,
            created: self.tables.clock.event_now(),
        };
        let bytes = to_parquet(&joined.rows)?;
        write_file(out, &bytes)?;
        self.artifacts.put_bytes(&address(&record.id), bytes).await?;
        self.record(&record).await?;
        Ok(record.id)
    }

    async fn record(&self, record: &TrainingSet) -> Result<(), FeatureError> {
        decide(&*self.tables.store, |world| {
            let batch = Batch::new(Actor::System("features.training".into()), record.created);
            if world.get::<TrainingSet>(record.id.as_str())?.is_some() {
                return Ok((batch, ()));
            }
            let said = Event::TrainingSetRecorded {
                training_set: record.id.clone(),
                model: record.model.clone(),
                rows: record.rows,
                cutoff: record.cutoff,
                content: record.content.clone(),
            };
            Ok((batch.put(record).event(said), ()))
        })
        .await?;
        Ok(())
    }

    /// The rows of a gate's holdout: features in the model's order, labels beside them.
    pub async fn holdout_rows(&self, model: &str, range: Range, until: Timestamp) -> Result<Joined, FeatureError> {
        let project = self.catalog().project()?;
        let set = labels_of(&project.spec, model).ok_or_else(|| {
            Refusal::invalid("gate/no_labels", format!("no pipeline makes a training set of model {model}, so the gate knows no labels"))
                .hint("add a step with training_set = { model, labels, label, features }")
        })?;
        self.join(set, range, until).await
    }

    /// The rows of a recorded training set.
    pub async fn rows(&self, id: &TrainingSetId) -> Result<RecordBatch, FeatureError> {
        let bytes = self.artifacts.get_bytes(&address(id)).await?;
        let bytes = bytes.ok_or_else(|| Refusal::not_found("training_set/gone", format!("the rows of training set {id} are gone")))?;
        Ok(read_training_rows(bytes)?)
    }
}

/// The length that the model's gate holds out; none without a gate.
fn holdout(project: &domain::spec::Project, model: &str) -> Span {
    let gate = project.model.get(model).and_then(|model| model.gate.as_ref());
    gate.and_then(|gate| Span::parse(gate.holdout.trim().strip_prefix("last")?)).unwrap_or_default()
}

/// Reads training rows from Parquet.
pub fn read_training_rows(bytes: Bytes) -> Result<RecordBatch, Fault> {
    let what = |e: parquet::errors::ParquetError| Fault::because("reading a training set", e);
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(what)?;
    let schema = builder.schema().clone();
    let batches: Result<Vec<RecordBatch>, _> = builder.build().map_err(what)?.collect();
    let batches = batches.map_err(|e| Fault::because("reading a training set", e))?;
    arrow::compute::concat_batches(&schema, &batches).map_err(|e| Fault::because("reading a training set", e))
}

/// Label rows as the join takes them: the source's other columns are what a request would send.
fn as_request(labels: &RecordBatch, time: &str, keys: &[String], label: &str) -> Result<RecordBatch, Fault> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in labels.schema().fields().iter().zip(labels.columns()) {
        let name = field.name();
        let own = name == time || name == label || keys.contains(name);
        let named = if own { name.clone() } else { format!("request.{name}") };
        fields.push(Field::new(named, field.data_type().clone(), true));
        columns.push(column.clone());
    }
    if let Some(times) = labels.column_by_name(time) {
        let instant = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let times = arrow::compute::cast(times, &instant).map_err(|e| Fault::because("reading label times", e))?;
        fields.push(Field::new("request.ts", instant, true));
        columns.push(times);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| Fault::because("reading labels", e))
}

fn pit_view(view: &View) -> PitView {
    PitView {
        rows: FeatureRows { sql: view.sql.clone(), tables: vec![table_of(&view.source)] },
        keys: vec![(view.key.clone(), view.key.clone())],
        time: view.time.clone(),
        created: view.created.clone(),
        features: view.features.iter().map(|field| (field.name().clone(), field.name().clone())).collect(),
        ttl: view.ttl,
        // What was not known at the label's time could not have been served then.
        created_cutoff: view.created.is_some(),
    }
}

fn feature_names(order: &[String], views: &[View], on_demand: &[OnDemandView]) -> Vec<String> {
    let mut names = Vec::new();
    for name in order {
        let of_view = views
            .iter()
            .find(|view| view.name == *name)
            .map(|view| view.features.iter().map(|field| field.name().clone()).collect::<Vec<_>>());
        let of_demand =
            on_demand.iter().find(|view| view.name == *name).map(|view| view.exprs.iter().map(|(name, _)| name.clone()).collect());
        names.extend(of_view.or(of_demand).unwrap_or_default());
    }
    names
}

fn select<'a>(rows: &RecordBatch, names: impl Iterator<Item = &'a String>) -> Result<RecordBatch, Fault> {
    let schema = rows.schema();
    let indices = names.map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>();
    let indices = indices.map_err(|e| Fault::because("choosing a training set's columns", e))?;
    rows.project(&indices).map_err(|e| Fault::because("choosing a training set's columns", e))
}

/// The digest of the rows themselves, whatever file they are written to.
pub(crate) fn content_of(rows: &RecordBatch) -> Result<Digest, Fault> {
    let what = |e| Fault::because("hashing rows", e);
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema()).map_err(what)?;
    writer.write(rows).map_err(what)?;
    writer.finish().map_err(what)?;
    drop(writer);
    Ok(Digest::of(&bytes))
}

impl Joined {
    /// The digest of the rows.
    pub fn hash(&self) -> Result<Digest, Fault> {
        content_of(&self.rows)
    }

    /// The feature columns alone.
    pub fn feature_rows(&self) -> Result<RecordBatch, Fault> {
        select(&self.rows, self.features.iter())
    }

    /// Key columns and time: what tells rows apart.
    pub fn identity_rows(&self) -> Result<RecordBatch, Fault> {
        select(&self.rows, self.keys.iter().chain([&self.time]))
    }

    /// Event time of each row.
    pub fn times(&self) -> Result<Vec<Timestamp>, Fault> {
        let column = self.rows.column_by_name(&self.time).ok_or_else(|| Fault::broken("a training set without its time"))?;
        let ms = crate::online::millis(column)?;
        Ok(ms.as_primitive::<Int64Type>().values().iter().map(|ms| Timestamp::from_ms(*ms)).collect())
    }

    /// The labels as numbers; refuses text.
    pub fn truth(&self) -> Result<Vec<f64>, FeatureError> {
        let column = self.rows.column_by_name(&self.label).ok_or_else(|| Fault::broken("a training set without its label"))?;
        let values = (0..column.len()).map(|row| ports::scalar_at(column, row).as_f64());
        let values: Option<Vec<f64>> = values.collect();
        Ok(values.ok_or_else(|| Refusal::invalid("training_set/label", format!("label `{}` is not a number", self.label)))?)
    }
}

fn times_of(joined: &Joined) -> Result<Option<Range>, Fault> {
    let times = joined.times()?;
    Ok(times.iter().min().zip(times.iter().max()).map(|(from, to)| Range::new(*from, *to + Span::from_ms(1))))
}

fn to_parquet(rows: &RecordBatch) -> Result<Bytes, Fault> {
    let what = |e| Fault::because("writing a training set", e);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).map_err(what)?;
    writer.write(rows).map_err(what)?;
    writer.close().map_err(what)?;
    Ok(bytes.into())
}

fn write_file(path: &Path, bytes: &Bytes) -> Result<(), Fault> {
    std::fs::write(path, bytes).map_err(|e| Fault::because(format!("writing {}", path.display()), e))
}
