//! The row log: predictions, labels and pushed rows, appended one by one and sealed into segments.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::*;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::Segment;
use domain::{EntityKey, Fault, Range, Refusal, Row, Scalar, Timestamp};
use std::collections::HashSet;
use std::sync::Arc;

/// The part of a stream that is not sealed yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenPart {
    pub rows: u64,
    pub bytes: u64,
    /// Wall clock of the oldest row.
    pub since: Option<Timestamp>,
    pub time: Option<Range>,
}

/// Why rows were not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The stream's queue is full, or a name or value is not usable.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk is full or broken: nothing of the call was kept.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Rows by stream (`prediction/MODEL`, `label/MODEL`, `push/SOURCE`).
///
/// A sealed segment is a record batch with the columns `_id` (text), `_time` and `_at` (UTC, milliseconds), `_key` (JSON
/// text), then one nullable column a field in the order of first sight: Boolean, Int64, Float64 (integers and numbers
/// mixed) or Utf8 (any other mix). A row whose id is in the open part already replaces nothing: it is kept once.
#[async_trait]
pub trait RowLog: Send + Sync {
    /// Returns when the rows are with the operating system (one write), so that a killed process loses none.
    async fn append(&self, stream: &str, rows: Vec<Row>) -> Result<(), AppendError>;
    /// Seals the open part; `None` if it is empty. A crash half-way leaves either the open part or the segment.
    async fn seal(&self, stream: &str) -> Result<Option<Segment>, Fault>;
    /// All streams, sorted.
    fn streams(&self) -> Vec<String>;
    /// The sealed segments of a stream, in order.
    fn segments(&self, stream: &str) -> Result<Vec<Segment>, Fault>;
    /// The open part.
    fn open_part(&self, stream: &str) -> OpenPart;
    /// The rows of a segment.
    async fn read(&self, segment: &Segment) -> Result<RecordBatch, Fault>;
    /// Entity and event time of a row by its id: the open part first, then the segments, newest first.
    async fn find(&self, stream: &str, id: &str) -> Result<Option<(EntityKey, Timestamp)>, Fault>;
}

/// The columns that every segment has.
pub const ROW_COLUMNS: [&str; 4] = ["_id", "_time", "_at", "_key"];

/// Turns rows into a segment's record batch: the one place that knows the format.
///
/// Rows with an id that an earlier row has are left out.
pub fn rows_to_batch(rows: &[Row]) -> RecordBatch {
    let mut seen = HashSet::new();
    let rows: Vec<&Row> = rows.iter().filter(|row| seen.insert(row.id.as_str())).collect();
    let mut fields: Vec<&str> = Vec::new();
    let mut known = HashSet::new();
    for name in rows.iter().flat_map(|row| row.fields.keys()) {
        if known.insert(name.as_str()) {
            fields.push(name);
        }
    }
    let time = |of: fn(&Row) -> Timestamp| -> ArrayRef {
        let values = rows.iter().map(|row| of(row).ms());
        Arc::new(TimestampMillisecondArray::from_iter_values(values).with_timezone("UTC"))
    };
    let keys = rows.iter().map(|row| serde_json::to_string(&row.key).expect("a map of text has a JSON form"));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("_id", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.id)))),
        ("_time", time(|row| row.time)),
        ("_at", time(|row| row.at)),
        ("_key", Arc::new(StringArray::from_iter_values(keys))),
    ];
    for name in fields {
        let values: Vec<&Scalar> = rows.iter().map(|row| row.fields.get(name).unwrap_or(&Scalar::Null)).collect();
        columns.push((name, scalars_to_array(&values)));
    }
    let nullable = columns.into_iter().map(|(name, array)| (name, array, !ROW_COLUMNS.contains(&name)));
    RecordBatch::try_from_iter_with_nullable(nullable).expect("all columns have one value a row")
}

/// One column of scalars: Boolean, Int64, Float64 (integers and numbers mixed), or Utf8 for any other mix.
pub fn scalars_to_array(values: &[&Scalar]) -> ArrayRef {
    let all = |fits: fn(&Scalar) -> bool| values.iter().all(|value| matches!(value, Scalar::Null) || fits(value));
    let only_null = values.iter().all(|value| matches!(value, Scalar::Null));
    if all(|value| matches!(value, Scalar::Bool(_))) && !only_null {
        return Arc::new(BooleanArray::from_iter(values.iter().map(|value| match value {
            Scalar::Bool(b) => Some(*b),
            _ => None,
        })));
    }
    if all(|value| matches!(value, Scalar::Int(_))) && !only_null {
        return Arc::new(Int64Array::from_iter(values.iter().map(|value| match value {
            Scalar::Int(i) => Some(*i),
            _ => None,
        })));
    }
    if all(|value| matches!(value, Scalar::Int(_) | Scalar::Float(_))) {
        return Arc::new(Float64Array::from_iter(values.iter().map(|value| value.as_f64())));
    }
    Arc::new(StringArray::from_iter(values.iter().map(|value| match value {
        Scalar::Null => None,
        other => Some(other.to_string()),
    })))
}

/// The scalar at a place of a column; types that have no scalar are shown as text.
pub fn scalar_at(array: &dyn Array, row: usize) -> Scalar {
    if array.is_null(row) {
        return Scalar::Null;
    }
    match array.data_type() {
        DataType::Boolean => Scalar::Bool(array.as_boolean().value(row)),
        DataType::Utf8 => Scalar::Text(array.as_string::<i32>().value(row).into()),
        DataType::LargeUtf8 => Scalar::Text(array.as_string::<i64>().value(row).into()),
        DataType::Utf8View => Scalar::Text(array.as_string_view().value(row).into()),
        DataType::Float64 => Scalar::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => Scalar::Float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Int64 => Scalar::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => Scalar::Int(i64::from(array.as_primitive::<Int32Type>().value(row))),
        DataType::Int16 => Scalar::Int(i64::from(array.as_primitive::<Int16Type>().value(row))),
        DataType::Int8 => Scalar::Int(i64::from(array.as_primitive::<Int8Type>().value(row))),
        DataType::UInt8 => Scalar::Int(i64::from(array.as_primitive::<UInt8Type>().value(row))),
        DataType::UInt16 => Scalar::Int(i64::from(array.as_primitive::<UInt16Type>().value(row))),
        DataType::UInt32 => Scalar::Int(i64::from(array.as_primitive::<UInt32Type>().value(row))),
        DataType::UInt64 => i64::try_from(array.as_primitive::<UInt64Type>().value(row)).map_or(Scalar::Null, Scalar::Int),
        DataType::Timestamp(unit, _) => {
            let scale = match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1_000,
                TimeUnit::Nanosecond => 1,
            };
            let raw = timestamp_value(array, row, *unit);
            Scalar::Text(Timestamp::from_ms((i128::from(raw) * scale / 1_000_000) as i64).to_string())
        }
        _ => arrow::util::display::array_value_to_string(array, row).map_or(Scalar::Null, Scalar::Text),
    }
}

fn timestamp_value(array: &dyn Array, row: usize, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
    }
}
