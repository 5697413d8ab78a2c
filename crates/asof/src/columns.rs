//! Reading columns by name, and instants in one unit.

use arrow::array::{ArrayRef, AsArray, Int64Array, PrimitiveArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};

use crate::AsofError;

/// Where `column` stands in `schema`.
pub(crate) fn position(schema: &Schema, column: &str) -> Result<usize, AsofError> {
    schema
        .index_of(column)
        .map_err(|_| AsofError::MissingColumn { column: column.to_owned(), found: list(schema.fields().iter().map(|f| f.name().as_str())) })
}

/// The column of that name.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, AsofError> {
    Ok(batch.column(position(batch.schema_ref(), name)?))
}

/// Names for a message, `-` for none.
pub(crate) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

/// Nanoseconds since 1970-01-01 UTC, the one unit in which all instants are compared.
///
/// Timestamps with a time zone are stored in UTC and naive ones are UTC by definition, so the zone never matters. A date is
/// its midnight. `i64::MIN` never comes out, so that the join can use it as "before every instant".
pub(crate) fn instants(column: &str, values: &ArrayRef) -> Result<Int64Array, AsofError> {
    const SECOND: i64 = 1_000_000_000;
    match values.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => scaled::<TimestampNanosecondType>(column, values, 1, "ns"),
        DataType::Timestamp(TimeUnit::Microsecond, _) => scaled::<TimestampMicrosecondType>(column, values, 1_000, "us"),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled::<TimestampMillisecondType>(column, values, 1_000_000, "ms"),
        DataType::Timestamp(TimeUnit::Second, _) => scaled::<TimestampSecondType>(column, values, SECOND, "s"),
        DataType::Date32 => scaled::<Date32Type>(column, values, 86_400 * SECOND, "days"),
        DataType::Date64 => scaled::<Date64Type>(column, values, 1_000_000, "ms"),
        found => Err(AsofError::TimeType { column: column.to_owned(), found: found.clone() }),
    }
}

/// Whether `instants` reads this type.
pub(crate) fn check_time(column: &str, found: &DataType) -> Result<(), AsofError> {
    match found {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Ok(()),
        found => Err(AsofError::TimeType { column: column.to_owned(), found: found.clone() }),
    }
}

fn scaled<T: ArrowPrimitiveType<Native: Into<i64>>>(
    column: &str,
    values: &ArrayRef,
    factor: i64,
    unit: &'static str,
) -> Result<Int64Array, AsofError> {
    let values: &PrimitiveArray<T> = values.as_primitive();
    values.try_unary::<_, Int64Type, _>(|value| {
        let value: i64 = value.into();
        value.checked_mul(factor).filter(|ns| *ns != i64::MIN).ok_or_else(|| AsofError::TimeRange {
            column: column.to_owned(),
            value,
            unit,
        })
    })
}
