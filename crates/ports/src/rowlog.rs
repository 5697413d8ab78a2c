//! The row log: predictions, labels and pushed rows, appended one by one and sealed into segments.

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::Segment;
use domain::{Fault, Range, Refusal, Row, Timestamp};

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
}
