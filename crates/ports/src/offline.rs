//! The offline engine: tables with versions, queries over them, point-in-time joins.

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::{Fault, Refusal, Span};

/// A table's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    pub version: i64,
    pub rows: u64,
}

/// What a name in a query stands for.
#[derive(Clone, Debug)]
pub enum TableData {
    /// A table of the engine, at a version or the newest.
    Table { table: String, version: Option<i64> },
    /// Parquet or CSV files, by absolute path, `*` allowed.
    Files(String),
    /// Rows in memory.
    Rows(Vec<RecordBatch>),
}

/// Feature rows of one view, by query.
#[derive(Clone, Debug)]
pub struct FeatureRows {
    /// The view's query.
    pub sql: String,
    /// The tables that it names.
    pub tables: Vec<(String, TableData)>,
}

/// One view of a point-in-time join.
#[derive(Clone, Debug)]
pub struct PitView {
    pub rows: FeatureRows,
    /// `(column in the feature rows, column in the labels)`.
    pub keys: Vec<(String, String)>,
    pub time: String,
    pub created: Option<String>,
    /// `(column in the feature rows, name in the result)`.
    pub features: Vec<(String, String)>,
    pub ttl: Option<Span>,
    /// Whether rows that were not known at the label's time are left out.
    pub created_cutoff: bool,
}

/// A point-in-time join: labels, and views to look up for each.
#[derive(Clone, Debug)]
pub struct PitRequest {
    pub labels: Vec<RecordBatch>,
    pub time: String,
    pub views: Vec<PitView>,
}

/// Why a query gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query or the data, for the user to mend: unknown column, wrong type, missing file.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Tables, queries, point-in-time joins.
#[async_trait]
pub trait OfflineEngine: Send + Sync {
    /// Appends rows to a table, made if it is not there; columns it lacks are added. `key` makes it idempotent: a key seen before adds nothing.
    async fn append(&self, table: &str, rows: Vec<RecordBatch>, key: &str) -> Result<TableInfo, QueryError>;
    /// A table's state, if it is there.
    async fn table(&self, table: &str) -> Result<Option<TableInfo>, QueryError>;
    /// Rows of a query.
    async fn query(&self, query: &FeatureRows) -> Result<Vec<RecordBatch>, QueryError>;
    /// The labels with each view's features as of the label's time, in the labels' order: one row a label.
    async fn point_in_time(&self, request: PitRequest) -> Result<RecordBatch, QueryError>;
    /// Drops a table.
    async fn drop_table(&self, table: &str) -> Result<(), QueryError>;
}
