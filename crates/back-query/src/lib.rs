//! Queries, tables and point-in-time joins on DataFusion and Delta. The only crate that sees them.
//!
//! Queries read and never write: statements that define or change something are refused. Memory is bounded by a pool that
//! spills to disk; a point-in-time join is bounded by its labels. A table keeps every version; appends carry a key and are
//! done once.

mod engine;
mod expr;
mod shape;
mod table;

pub use engine::QueryEngine;

#[cfg(test)]
mod tests;
