//! Pushed rows: the row log first, then the online store, both before the answer.

use crate::FeatureError;
use crate::catalog::{Catalog, View};
use crate::online::online_rows;
use crate::tables::push_stream;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use domain::spec::SourceSpec;
use domain::{Digest, EntityKey, Refusal, Row, Scalar, Timestamp};
use indexmap::IndexMap;
use ports::{Clock, OnlineStore, RowLog, Sealer, scalars_to_array};
use serde::Serialize;
use std::sync::Arc;

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PushReport {
    pub rows: u64,
    /// Values written to the online store.
    pub online: u64,
    /// Rows that are older than what the online store has; they are in the row log all the same.
    pub late: u64,
}

/// Takes pushed rows in.
pub struct Pusher {
    pub rows: Arc<dyn RowLog>,
    pub online: Arc<dyn OnlineStore>,
    pub sealer: Arc<Sealer>,
    pub clock: Arc<dyn Clock>,
    pub catalog: Arc<Catalog>,
}

impl Pusher {
    /// Takes all rows or none; the first that cannot be taken is named.
    pub async fn push(&self, source: &str, rows: Vec<IndexMap<String, Scalar>>) -> Result<PushReport, FeatureError> {
        let project = self.catalog.project()?;
        let declared = project.spec.source.get(source).ok_or_else(|| {
            let names: Vec<&str> = project.spec.source.iter().filter(|(_, s)| s.push).map(|(name, _)| name.as_str()).collect();
            Refusal::not_found("source/not_found", format!("there is no source `{source}`"))
                .hint(format!("sources that take rows: {}", names.join(", ")))
        })?;
        if !declared.push {
            return Err(Refusal::invalid("source/no_push", format!("source {source} takes no pushed rows")).hint("set push = true").into());
        }
        if rows.is_empty() {
            return Err(Refusal::invalid("push/empty", "no rows").into());
        }
        let snapshot = self.catalog.snapshot();
        let views: Vec<View> = snapshot.views.values().filter(|view| view.source == source).cloned().collect();
        let table = snapshot.tables.get(source);
        let now = self.clock.event_now();
        let keys: Vec<&str> = views.iter().map(|view| view.key.as_str()).collect();
        let mut logged = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            check_types(index, row, table, declared)?;
            logged.push(to_row(index, row, declared, &keys, now)?);
        }
        let batch = to_batch(&logged, declared, table)?;
        let newest = logged.iter().map(|row| row.time).max();
        let stream = push_stream(source);
        let mut report = PushReport { rows: logged.len() as u64, ..PushReport::default() };
        self.rows.append(&stream, logged).await?;
        if let Some(newest) = newest {
            self.sealer.saw(&stream, newest);
        }
        for view in views.iter().filter(|view| view.online) {
            let out = self.catalog.row_query(view, &batch.schema())?.evaluate(&batch)?;
            let put = self.online.put(&view.online_name(), online_rows(view, &out)?).await?;
            report.online += put.written;
            report.late += put.late;
        }
        if views.is_empty() && table.is_none() && !project.spec.feature.is_empty() {
            // The first rows of a source without files: its views can be told from them once they are in the table.
            tracing::info!(source, "the views of this source have values once its first segment has sealed");
        }
        Ok(report)
    }
}

fn is_time(name: &str, source: &SourceSpec) -> bool {
    name == source.time || Some(name) == source.created.as_deref()
}

fn check_types(index: usize, row: &IndexMap<String, Scalar>, table: Option<&Arc<Schema>>, source: &SourceSpec) -> Result<(), Refusal> {
    let Some(table) = table else { return Ok(()) };
    for (name, value) in row {
        let Some((_, field)) = table.column_with_name(name) else { continue };
        let is_number = matches!(value, Scalar::Int(_) | Scalar::Float(_) | Scalar::Bool(_));
        let is_text = matches!(value, Scalar::Text(_));
        let wants_number = field.data_type().is_numeric() || *field.data_type() == DataType::Boolean;
        let wants_text = *field.data_type() == DataType::Utf8;
        if !is_time(name, source) && ((wants_number && is_text) || (wants_text && is_number)) {
            let what = format!("row {index}: `{name}` is {}, its column is {}", value.type_name(), field.data_type());
            return Err(Refusal::invalid("push/type", what).at(format!("rows[{index}].{name}")));
        }
    }
    Ok(())
}

fn instant(index: usize, name: &str, row: &IndexMap<String, Scalar>) -> Result<Timestamp, Refusal> {
    let found = match row.get(name) {
        Some(Scalar::Text(text)) => Timestamp::parse(text),
        Some(Scalar::Int(ms)) => Some(Timestamp::from_ms(*ms)),
        _ => None,
    };
    found.ok_or_else(|| {
        Refusal::invalid("push/time", format!("row {index} has no time in `{name}`"))
            .at(format!("rows[{index}].{name}"))
            .hint("write 2011-03-01T00:00:00Z, or milliseconds since 1970")
    })
}

fn to_row(index: usize, row: &IndexMap<String, Scalar>, source: &SourceSpec, keys: &[&str], now: Timestamp) -> Result<Row, Refusal> {
    let time = instant(index, &source.time, row)?;
    let mut fields = row.clone();
    fields.insert(source.time.clone(), Scalar::Text(time.to_string()));
    if let Some(created) = &source.created {
        let at = if row.contains_key(created) { instant(index, created, row)? } else { now };
        fields.insert(created.clone(), Scalar::Text(at.to_string()));
    }
    let mut key = EntityKey::default();
    for column in keys {
        let value = row
            .get(*column)
            .filter(|value| **value != Scalar::Null)
            .ok_or_else(|| Refusal::invalid("push/key", format!("row {index} has no `{column}`")).at(format!("rows[{index}].{column}")))?;
        key.0.insert((*column).into(), value.to_string());
    }
    // The same row sent again has the same id and is kept once.
    let id = Digest::of_json(&fields).short().to_owned();
    Ok(Row { id: format!("{}@{time}#{id}", key.text()), time, at: now, key, fields })
}

/// The rows as a view's query sees them: the columns and types of the table.
fn to_batch(rows: &[Row], source: &SourceSpec, table: Option<&Arc<Schema>>) -> Result<RecordBatch, Refusal> {
    let fit = |name: &str, values: &[&Scalar]| -> Result<(Field, ArrayRef), Refusal> {
        let array = scalars_to_array(values);
        let wanted = match table.and_then(|table| table.column_with_name(name)) {
            Some((_, field)) => field.data_type().clone(),
            None if is_time(name, source) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            None => array.data_type().clone(),
        };
        let array = cast(&array, &wanted).map_err(|e| Refusal::invalid("push/type", format!("`{name}`: {e}")))?;
        Ok((Field::new(name, wanted, true), array))
    };
    let mut names: Vec<String> = table.map(|table| table.fields().iter().map(|field| field.name().clone()).collect()).unwrap_or_default();
    for name in rows.iter().flat_map(|row| row.fields.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for name in &names {
        let values: Vec<&Scalar> = rows.iter().map(|row| row.fields.get(name).unwrap_or(&Scalar::Null)).collect();
        let (field, array) = fit(name, &values)?;
        fields.push(field);
        columns.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| Refusal::invalid("push/type", e.to_string()))
}
