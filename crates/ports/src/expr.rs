//! Expressions: one engine computes on-demand features offline and online.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use domain::{Fault, Refusal};
use std::sync::Arc;

/// Compiles SQL expressions against an input schema.
///
/// An input column named `request.ts` is written `request.ts` in an expression; other columns by their bare name.
pub trait ExprEngine: Send + Sync {
    /// `(output name, expression)` pairs; refuses unknown columns and functions with the place in the text.
    fn expressions(&self, exprs: &[(String, String)], input: SchemaRef) -> Result<Arc<dyn CompiledExprs>, Refusal>;
    /// A query over one table that looks at one row at a time (columns, expressions, `where`): what a pushed row goes through.
    fn row_query(&self, sql: &str, table: &str, input: SchemaRef) -> Result<Arc<dyn CompiledExprs>, Refusal>;
}

/// Compiled expressions: cheap to evaluate, one row or many.
pub trait CompiledExprs: Send + Sync {
    /// The columns that come out.
    fn output(&self) -> SchemaRef;
    /// One output row an input row (fewer where a `where` drops some).
    fn evaluate(&self, input: &RecordBatch) -> Result<RecordBatch, Fault>;
}
