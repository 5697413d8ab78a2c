//! Sources, entities and features, as declared.

use crate::Span;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// `[source.NAME]`: where rows come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// Parquet or CSV files (`*` allowed), relative to the project file: the past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The column with the event time.
    pub time: String,
    /// The column that says when a row was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Whether live rows are pushed over HTTP.
    #[serde(default, skip_serializing_if = "is_false")]
    pub push: bool,
    /// For labels: how long after its event a live label arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_delay: Option<Span>,
}

/// `[entity.NAME]`: what features are about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntitySpec {
    /// The join key's column.
    pub key: String,
}

/// `[feature.NAME]`: a feature view (`entity`, `from`, `sql`) or an on-demand feature view (`on_demand`).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How old a value may be; without it, any age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// Whether the newest values are kept in the online store.
    #[serde(default, skip_serializing_if = "is_false")]
    pub online: bool,
    /// A query over the source: its key, its time columns, and the features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Feature name to SQL expression over `request.COLUMN` and other features; the same engine offline and online.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub on_demand: IndexMap<String, String>,
}

pub(crate) fn is_false(value: &bool) -> bool {
    !value
}
