//! Labels of a model: those of its file, and those that arrived live.

use crate::FeatureError;
use crate::tables::Tables;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Int64Type, Schema};
use domain::spec::{Project, TrainingSetSpec};
use domain::{EntityKey, Fault, Refusal, Scalar, Timestamp};
use ports::{scalar_at, scalars_to_array};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the file says that a model's training sets are made: the first step that makes one.
pub fn labels_of<'a>(project: &'a Project, model: &str) -> Option<&'a TrainingSetSpec> {
    let steps = project.pipeline.values().flat_map(|pipeline| pipeline.step.values());
    steps.filter_map(|step| step.training_set.as_ref()).find(|set| set.model == model)
}

/// Which labels are wanted.
pub(crate) struct Wanted<'a> {
    pub(crate) set: &'a TrainingSetSpec,
    /// Column of the event time in the labels' source.
    pub(crate) time: &'a str,
    /// Entity columns.
    pub(crate) keys: &'a [String],
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// Live labels must have arrived by then.
    pub(crate) until: Timestamp,
}

type About = (Timestamp, EntityKey);

impl Tables {
    /// Labels by time, then entity: columns key.., time, the source's other columns, label. Of several labels about the same
    /// thing the latest wins; a live one wins over the file's.
    pub(crate) async fn labels(&self, wanted: &Wanted<'_>) -> Result<RecordBatch, FeatureError> {
        let history = self.history(wanted).await?;
        let live = self.live(wanted).await?;
        let all = match live_batch(wanted, &live, &history.schema())? {
            Some(live) => concat_batches(&history.schema(), [&history, &live]).map_err(|e| Fault::because("joining labels", e))?,
            None => history,
        };
        latest(wanted, &all)
    }

    async fn history(&self, wanted: &Wanted<'_>) -> Result<RecordBatch, FeatureError> {
        let source = &wanted.set.labels;
        if self.info(source).await?.is_none() {
            let what = format!("the labels' source {source} has no rows");
            return Err(Refusal::not_found("training_set/no_labels", what).hint("add files to it and run trimtab apply").into());
        }
        let rows = self.query(source, format!("select * from \"{source}\"")).await?;
        let schema = rows.first().map_or_else(|| Arc::new(Schema::empty()), |batch| batch.schema());
        for column in wanted.keys.iter().map(String::as_str).chain([wanted.time, wanted.set.label.as_str()]) {
            if schema.column_with_name(column).is_none() {
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let what = format!("the labels' source {source} has no column `{column}`");
                return Err(Refusal::invalid("training_set/column", what).hint(format!("it has: {}", names.join(", "))).into());
            }
        }
        Ok(concat_batches(&schema, &rows).map_err(|e| Fault::because("reading labels", e))?)
    }

    /// Labels that arrived by `until`, the latest of each.
    async fn live(&self, wanted: &Wanted<'_>) -> Result<BTreeMap<About, Scalar>, FeatureError> {
        let stream = format!("label/{}", wanted.set.model);
        self.sealer.seal(&stream, self.clock.event_now()).await?;
        let mut found: BTreeMap<About, (Timestamp, Scalar)> = BTreeMap::new();
        for segment in self.rows.segments(&stream)? {
            if segment.time.to <= wanted.from || segment.time.from >= wanted.to {
                continue;
            }
            let rows = self.rows.read(&segment).await?;
            let (Some(times), Some(arrived), Some(keys), Some(labels)) =
                (rows.column_by_name("_time"), rows.column_by_name("_at"), rows.column_by_name("_key"), rows.column_by_name("label"))
            else {
                continue;
            };
            let (times, arrived) = (crate::online::millis(times)?, crate::online::millis(arrived)?);
            for row in 0..rows.num_rows() {
                let time = Timestamp::from_ms(times.as_primitive::<Int64Type>().value(row));
                let at = Timestamp::from_ms(arrived.as_primitive::<Int64Type>().value(row));
                if time < wanted.from || time >= wanted.to || at > wanted.until {
                    continue;
                }
                let key: EntityKey =
                    serde_json::from_str(keys.as_string::<i32>().value(row)).map_err(|e| Fault::because("reading a label's key", e))?;
                let newer = found.get(&(time, key.clone())).is_none_or(|(before, _)| *before <= at);
                if newer {
                    found.insert((time, key), (at, scalar_at(labels, row)));
                }
            }
        }
        Ok(found.into_iter().map(|(about, (_, label))| (about, label)).collect())
    }
}

/// Live labels in the columns of the file's; columns that only the file has are null.
fn live_batch(wanted: &Wanted, live: &BTreeMap<About, Scalar>, schema: &Arc<Schema>) -> Result<Option<RecordBatch>, FeatureError> {
    if live.is_empty() {
        return Ok(None);
    }
    let mut columns: Vec<ArrayRef> = Vec::new();
    for field in schema.fields() {
        let name = field.name();
        let array: ArrayRef = if name == wanted.time {
            let times = live.keys().map(|(time, _)| time.ms() * 1000);
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        } else if *name == wanted.set.label {
            scalars_to_array(&live.values().collect::<Vec<_>>())
        } else {
            let values: Vec<Scalar> =
                live.keys().map(|(_, key)| key.0.get(name).map_or(Scalar::Null, |value| Scalar::Text(value.clone()))).collect();
            scalars_to_array(&values.iter().collect::<Vec<_>>())
        };
        columns.push(
            cast(&array, field.data_type()).map_err(|e| {
                Refusal::invalid("label/type", format!("live labels do not fit column `{name}` ({}): {e}", field.data_type()))
            })?,
        );
    }
    Ok(Some(RecordBatch::try_new(schema.clone(), columns).map_err(|e| Fault::because("putting live labels together", e))?))
}

/// Rows of the wanted time with a label, by time and entity, the last of each kept.
fn latest(wanted: &Wanted, all: &RecordBatch) -> Result<RecordBatch, FeatureError> {
    let column = |name: &str| all.column_by_name(name).ok_or_else(|| Fault::broken(format!("labels without {name}")));
    let times = crate::online::millis(column(wanted.time)?)?;
    let times = times.as_primitive::<Int64Type>();
    let label = column(&wanted.set.label)?;
    let keys: Vec<&ArrayRef> = wanted.keys.iter().map(|key| column(key)).collect::<Result<_, _>>()?;
    let mut order: BTreeMap<(i64, Vec<String>), usize> = BTreeMap::new();
    for row in 0..all.num_rows() {
        let inside = !times.is_null(row) && wanted.from.ms() <= times.value(row) && times.value(row) < wanted.to.ms();
        if inside && !label.is_null(row) {
            order.insert((times.value(row), keys.iter().map(|key| scalar_at(key, row).to_string()).collect()), row);
        }
    }
    let indices = arrow::array::UInt64Array::from_iter_values(order.values().map(|row| *row as u64));
    Ok(arrow::compute::take_record_batch(all, &indices).map_err(|e| Fault::because("ordering labels", e))?)
}
