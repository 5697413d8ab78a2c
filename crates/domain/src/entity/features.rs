//! Features as observed: what was applied, which rows are where, which training sets were built.

use crate::spec::{FeatureSpec, Project};
use crate::{Digest, Range, Span, Timestamp, TrainingSetId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The project file as last applied. There is one, under the key `project`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppliedProject {
    pub spec: Project,
    pub hash: Digest,
    /// The folder of the project file: relative paths and steps start there.
    pub root: String,
    pub applied: Timestamp,
}

/// One version of a feature view: same definition, same version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureViewVersion {
    pub name: String,
    pub version: u64,
    pub hash: Digest,
    pub spec: FeatureSpec,
    pub created: Timestamp,
    /// The features, in order.
    pub features: Vec<String>,
}

/// A source's table: its Delta version and how many rows it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceTable {
    pub source: String,
    pub table_version: i64,
    pub rows: u64,
    /// The newest event time.
    pub newest: Option<Timestamp>,
}

/// How far a view is materialized into the online store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaterializationState {
    pub view: String,
    pub version: u64,
    pub table_version: i64,
    pub rows: u64,
    pub newest: Option<Timestamp>,
    pub at: Timestamp,
}

/// A sealed piece of a row stream: immutable, in Parquet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// `prediction/demand`, `label/demand`, `push/weather`.
    pub stream: String,
    /// Counts up within the stream from 0.
    pub number: u64,
    /// Path under the row log's folder.
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
    /// Event times: `[least, greatest + 1 ms)`.
    pub time: Range,
    /// Rows that could not be written before this segment sealed.
    pub lost: u64,
}

/// A training set as it was built: what went in, what came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingSet {
    pub id: TrainingSetId,
    pub model: String,
    /// Of the request: labels, features, versions.
    pub definition: Digest,
    pub views: Vec<(String, u64)>,
    /// Delta versions by source.
    pub table_versions: BTreeMap<String, i64>,
    /// Labels that had arrived by then.
    pub until: Timestamp,
    /// Rows at or after it are held out for the gate.
    pub cutoff: Timestamp,
    /// The holdout's end and length.
    pub holdout_to: Timestamp,
    pub holdout: Span,
    pub rows: u64,
    /// Event times of the rows.
    pub time: Option<Range>,
    /// The feature columns, in order.
    pub features: Vec<String>,
    pub label: String,
    pub time_column: String,
    /// Of the rows, whatever the file's encoding.
    pub content: Digest,
    pub created: Timestamp,
}
