//! Column types that every part of the house understands.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use std::sync::Arc;

/// The type that a table stores a column as; `None` for a column of nothing but nulls, which says no type.
fn stored_type(from: &DataType) -> Option<DataType> {
    Some(match from {
        DataType::Null => return None,
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        other => other.clone(),
    })
}

/// The batch as a table stores it: times in UTC microseconds, plain text, signed integers; typeless columns left out.
pub(crate) fn to_stored(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<(Arc<Field>, ArrayRef)> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let Some(wanted) = stored_type(field.data_type()) else { continue };
        let column = if *field.data_type() == wanted { column.clone() } else { cast(column, &wanted)? };
        columns.push((Arc::new(Field::new(field.name(), wanted, true)), column));
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}
