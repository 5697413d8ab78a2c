//! The point-in-time (as-of) join: for each label, the feature values that were known at its time.
//!
//! Rules. Each label gives exactly one value a feature, in label order. A feature row is a candidate for a label when all keys
//! are equal and not null, its time is at or before the label's and, with a ttl, not older than that (both ends inclusive);
//! with a created cut-off its created time must also be known and at or before the label's, so that a late backfill does
//! not leak into training. The winner has the latest time, then the latest created time (null is the oldest), then the
//! greatest row number; its values are taken whole, nulls stay null. Without a candidate, or with a null label time, the
//! values are null. Instants are compared in nanoseconds, naive times are UTC.
//!
//! Way. The small side, the labels, is indexed and held; the big side, the feature rows, is streamed past it once and never
//! sorted. A feature row is first usable at exactly one label time of its key: its *bucket*. A bucket keeps its best row, and at
//! the end one pass a key carries the best of the earlier buckets on. Memory is bounded by the labels.
//!
//! ```
//! use std::sync::Arc;
//! use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampSecondArray};
//! use arrow::datatypes::Float64Type;
//!
//! let int = |v: Vec<i64>| Arc::new(Int64Array::from(v)) as ArrayRef;
//! let time = |v: Vec<i64>| Arc::new(TimestampSecondArray::from(v)) as ArrayRef;
//! let labels = RecordBatch::try_from_iter([("city", int(vec![1, 2])), ("ts", time(vec![100, 100]))])?;
//! let weather = RecordBatch::try_from_iter([
//!     ("city_id", int(vec![1, 1, 1])),
//!     ("observed_at", time(vec![60, 90, 120])),
//!     ("temp", Arc::new(Float64Array::from(vec![0.6, 0.9, 1.2])) as ArrayRef),
//! ])?;
//! let view = asof::ViewJoin {
//!     keys: vec![("city_id".into(), "city".into())],
//!     time: "observed_at".into(),
//!     created: None,
//!     features: vec![("temp".into(), "temp".into())],
//!     ttl_ns: Some(3_600_000_000_000),
//!     created_cutoff: false,
//! };
//! let joined = asof::join(&labels, "ts", &[(view, vec![weather])])?;
//! let temp = joined["temp"].as_primitive::<Float64Type>();
//! assert_eq!(temp.iter().collect::<Vec<_>>(), [Some(0.9), None]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod columns;
mod error;
mod index;
mod join;
mod keys;
mod state;
mod stripe;

pub use error::AsofError;
pub use index::LabelIndex;
pub use join::{ViewJoin, join};
pub use state::AsofState;
