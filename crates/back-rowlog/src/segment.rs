//! Sealed segments: Parquet, written beside and renamed, so that a half-written one is never seen.

use arrow::array::{Array, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::TimestampMillisecondType;
use arrow::record_batch::RecordBatch;
use domain::{EntityKey, Fault, Row, Timestamp};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;

fn fault(path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    Fault::because(format!("segment {}", path.display()), error)
}

/// Writes the rows to `path`; safe on disk when it returns.
pub(crate) fn write(path: &Path, rows: &[Row]) -> Result<u64, Fault> {
    let batch = ports::rows_to_batch(rows);
    let beside = path.with_extension("part");
    let file = File::create(&beside).map_err(|e| fault(path, e))?;
    let level = ZstdLevel::try_new(1).map_err(|e| fault(path, e))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(|e| fault(path, e))?;
    writer.write(&batch).map_err(|e| fault(path, e))?;
    let file = writer.into_inner().map_err(|e| fault(path, e))?;
    file.sync_all().map_err(|e| fault(path, e))?;
    std::fs::rename(&beside, path).map_err(|e| fault(path, e))?;
    if let Some(folder) = path.parent() {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| fault(path, e))?;
    }
    Ok(file.metadata().map(|m| m.len()).unwrap_or(0))
}

/// All rows of a segment.
pub(crate) fn read(path: &Path) -> Result<RecordBatch, Fault> {
    let file = File::open(path).map_err(|e| fault(path, e))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| fault(path, e))?;
    let schema = builder.schema().clone();
    let batches: Result<Vec<RecordBatch>, _> = builder.build().map_err(|e| fault(path, e))?.collect();
    concat_batches(&schema, &batches.map_err(|e| fault(path, e))?).map_err(|e| fault(path, e))
}

/// Entity and time of the row with this id.
pub(crate) fn find(path: &Path, id: &str) -> Result<Option<(EntityKey, Timestamp)>, Fault> {
    let batch = read(path)?;
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| fault(path, format!("has no column {name}")));
    let ids = column("_id")?.as_string::<i32>();
    let Some(row) = (0..ids.len()).find(|row| ids.value(*row) == id) else { return Ok(None) };
    let key = serde_json::from_str(column("_key")?.as_string::<i32>().value(row)).map_err(|e| fault(path, e))?;
    let time = column("_time")?.as_primitive::<TimestampMillisecondType>().value(row);
    Ok(Some((key, Timestamp::from_ms(time))))
}
