//! Tables in memory, and the point-in-time join as a search over all pairs.

use super::sql::{self, Select, Source, nanoseconds};
use crate::{FeatureRows, OfflineEngine, PitRequest, PitView, QueryError, TableData, TableInfo, scalar_at};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::{cast, concat_batches, take};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use async_trait::async_trait;
use domain::{Refusal, Scalar};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::io::Seek;
use std::sync::Arc;

#[derive(Default)]
struct Table {
    /// One an append; its place is its version.
    appended: Vec<RecordBatch>,
    keys: HashSet<String>,
}

/// The twin of an offline engine. Of SQL it reads `select a, b from t limit n`, of files CSV by their full name; anything
/// else it refuses (`query/unsupported`).
#[derive(Default)]
pub struct MemoryOffline {
    tables: Mutex<BTreeMap<String, Table>>,
}

fn invalid(error: ArrowError) -> Refusal {
    Refusal::invalid("query/invalid", error.to_string())
}

impl Table {
    fn info(&self) -> TableInfo {
        let rows = self.appended.iter().map(|batch| batch.num_rows() as u64).sum();
        TableInfo { version: self.appended.len() as i64 - 1, rows }
    }

    /// The rows up to a version; columns that came later are null before.
    fn rows(&self, version: Option<i64>) -> Result<RecordBatch, Refusal> {
        let newest = self.appended.len() as i64 - 1;
        let version = version.unwrap_or(newest);
        if !(0..=newest).contains(&version) {
            return Err(Refusal::not_found("table/version", format!("there is no version {version}")));
        }
        let appended = &self.appended[..=version as usize];
        let schemas = appended.iter().map(|batch| batch.schema().as_ref().clone());
        let schema: SchemaRef = Arc::new(Schema::try_merge(schemas).map_err(invalid)?);
        let widened = appended.iter().map(|batch| widen(batch, &schema)).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
        concat_batches(&schema, &widened).map_err(invalid)
    }
}

fn widen(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |field: &Arc<Field>| {
        batch.column_by_name(field.name()).cloned().unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect())
}

fn nullable(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let fields: Vec<_> = batch.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), batch.columns().to_vec())
}

fn together(rows: &[RecordBatch]) -> Result<RecordBatch, Refusal> {
    let schema = rows.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    concat_batches(&schema, rows).map_err(invalid)
}

/// A CSV file with a header; types are told from all rows, and its times are UTC.
fn read_csv(path: &str) -> Result<RecordBatch, Refusal> {
    if !path.ends_with(".csv") || path.contains('*') {
        return Err(Refusal::invalid("query/unsupported", format!("the engine in memory reads single CSV files, not {path}")));
    }
    let mut file = std::fs::File::open(path).map_err(|e| Refusal::not_found("source/no_files", format!("{path} cannot be opened: {e}")))?;
    let (schema, _) = Format::default().with_header(true).infer_schema(&mut file, None).map_err(invalid)?;
    file.rewind().map_err(|e| invalid(e.into()))?;
    let schema = Arc::new(schema);
    let reader = ReaderBuilder::new(schema.clone()).with_header(true).build(file).map_err(invalid)?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    let rows = concat_batches(&schema, &batches).map_err(invalid)?;
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| Ok((field.name(), utc(column)?, true)));
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>().map_err(invalid)?;
    RecordBatch::try_from_iter_with_nullable(columns).map_err(invalid)
}

/// A time with its zone; other columns as they are.
fn utc(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !matches!(column.data_type(), DataType::Timestamp(..)) {
        return Ok(column.clone());
    }
    let fine = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    Ok(Arc::new(fine.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC")))
}

impl MemoryOffline {
    fn read(&self, tables: &[(String, TableData)], query: &Select) -> Result<RecordBatch, Refusal> {
        let rows = match &query.from {
            Source::Query(inner) => self.read(tables, inner)?,
            Source::Table(name) => {
                let found = tables.iter().find(|(known, _)| known == name);
                let missing = || Refusal::invalid("query/invalid", format!("there is no table `{name}`"));
                self.data(&found.ok_or_else(missing)?.1)?
            }
        };
        let rows = match &query.columns {
            None => rows,
            Some(names) => {
                let indices = names.iter().map(|name| rows.schema().index_of(name)).collect::<Result<Vec<_>, _>>();
                indices.and_then(|indices| rows.project(&indices)).map_err(invalid)?
            }
        };
        Ok(rows.slice(0, query.limit.unwrap_or(usize::MAX).min(rows.num_rows())))
    }

    fn data(&self, data: &TableData) -> Result<RecordBatch, Refusal> {
        match data {
            TableData::Rows(rows) => together(rows),
            TableData::Files(path) => read_csv(path),
            TableData::Table { table, version } => match self.tables.lock().get(table) {
                Some(found) => found.rows(*version),
                None => Err(Refusal::not_found("table/not_found", format!("there is no table {table}"))),
            },
        }
    }
}

#[async_trait]
impl OfflineEngine for MemoryOffline {
    async fn append(&self, table: &str, rows: Vec<RecordBatch>, key: &str) -> Result<TableInfo, QueryError> {
        let mut tables = self.tables.lock();
        if tables.get(table).is_some_and(|known| known.keys.contains(key)) {
            return Ok(tables[table].info());
        }
        let batch = nullable(&together(&rows)?).map_err(invalid)?;
        if let Some(known) = tables.get(table) {
            let both = [known.rows(None)?.schema(), batch.schema()].map(|schema| schema.as_ref().clone());
            let fits = Schema::try_merge(both);
            fits.map_err(|e| Refusal::invalid("table/schema", format!("the rows do not fit table {table}: {e}")))?;
        }
        let table = tables.entry(table.into()).or_default();
        table.keys.insert(key.into());
        table.appended.push(batch);
        Ok(table.info())
    }

    async fn table(&self, table: &str) -> Result<Option<TableInfo>, QueryError> {
        Ok(self.tables.lock().get(table).map(Table::info))
    }

    async fn query(&self, query: &FeatureRows) -> Result<Vec<RecordBatch>, QueryError> {
        Ok(vec![self.read(&query.tables, &sql::select(&query.sql)?)?])
    }

    async fn point_in_time(&self, request: PitRequest) -> Result<RecordBatch, QueryError> {
        let labels = together(&request.labels)?;
        let mut fields: Vec<Arc<Field>> = labels.schema().fields().iter().cloned().collect();
        let mut columns = labels.columns().to_vec();
        for view in &request.views {
            let rows = self.read(&view.rows.tables, &sql::select(&view.rows.sql)?)?;
            let winners = winners(view, &rows, &labels, &request.time).map_err(invalid)?;
            for (from, name) in &view.features {
                if fields.iter().any(|field| field.name() == name) {
                    return Err(Refusal::invalid("training_set/name", format!("two columns are named `{name}`")).into());
                }
                let values = take(&column(&rows, from).map_err(invalid)?, &winners, None).map_err(invalid)?;
                fields.push(Arc::new(Field::new(name, values.data_type().clone(), true)));
                columns.push(values);
            }
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(invalid)?)
    }

    async fn drop_table(&self, table: &str) -> Result<(), QueryError> {
        self.tables.lock().remove(table);
        Ok(())
    }
}

fn column(rows: &RecordBatch, name: &str) -> Result<ArrayRef, ArrowError> {
    rows.column_by_name(name).cloned().ok_or_else(|| ArrowError::SchemaError(format!("no column `{name}`")))
}

/// The text of each row's key; `None` where a part is null.
fn keys(rows: &RecordBatch, names: &[&String]) -> Result<Vec<Option<Vec<String>>>, ArrowError> {
    let columns = names.iter().map(|name| column(rows, name)).collect::<Result<Vec<_>, _>>()?;
    let part = |column: &ArrayRef, row| match scalar_at(column, row) {
        Scalar::Null => None,
        value => Some(value.to_string()),
    };
    Ok((0..rows.num_rows()).map(|row| columns.iter().map(|column| part(column, row)).collect()).collect())
}

fn at(times: &Int64Array, row: usize) -> Option<i64> {
    times.is_valid(row).then(|| times.value(row))
}

/// The row that each label sees: of those with its key, not later than it and not older than the ttl, the one with the
/// latest time, then the latest created time (none is the oldest), then the last.
fn winners(view: &PitView, rows: &RecordBatch, labels: &RecordBatch, time: &str) -> Result<UInt64Array, ArrowError> {
    let (own, of_labels): (Vec<&String>, Vec<&String>) = view.keys.iter().map(|(own, label)| (own, label)).unzip();
    let (row_keys, label_keys) = (keys(rows, &own)?, keys(labels, &of_labels)?);
    let (row_times, label_times) = (nanoseconds(&column(rows, &view.time)?)?, nanoseconds(&column(labels, time)?)?);
    let created = view.created.as_ref().map(|name| nanoseconds(&column(rows, name)?)).transpose()?;
    let created = |row| created.as_ref().and_then(|created| at(created, row));
    let ttl = view.ttl.map(|ttl| ttl.ms().saturating_mul(1_000_000));
    let winner = |label: usize| {
        let (key, now) = (label_keys[label].as_ref()?, at(&label_times, label)?);
        let is_candidate = |row: &usize| {
            at(&row_times, *row).is_some_and(|time| time <= now && ttl.is_none_or(|ttl| time >= now.saturating_sub(ttl)))
                && (!view.created_cutoff || created(*row).is_some_and(|created| created <= now))
                && row_keys[*row].as_ref() == Some(key)
        };
        let candidates = (0..rows.num_rows()).filter(is_candidate);
        candidates.max_by_key(|row| (row_times.value(*row), created(*row), *row)).map(|row| row as u64)
    };
    Ok((0..labels.num_rows()).map(winner).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[tokio::test]
    async fn runs_the_suite() {
        let folder = tempfile::tempdir().unwrap();
        crate::conformance::offline::suite(&super::MemoryOffline::default(), folder.path()).await;
    }
}
