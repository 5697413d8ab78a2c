//! Rows at the edge: what a push, a prediction or a label is before it becomes a column.

use crate::Timestamp;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default)]
#[serde(untagged)]
pub enum Scalar {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Scalar {
    /// The value as a number; booleans count as 0 and 1, text and null are none.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Scalar::Bool(b) => Some(f64::from(u8::from(*b))),
            Scalar::Int(i) => Some(*i as f64),
            Scalar::Float(x) => Some(*x),
            Scalar::Null | Scalar::Text(_) => None,
        }
    }

    /// The word for the type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Scalar::Null => "null",
            Scalar::Bool(_) => "boolean",
            Scalar::Int(_) => "integer",
            Scalar::Float(_) => "number",
            Scalar::Text(_) => "text",
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Null => f.write_str("null"),
            Scalar::Bool(b) => b.fmt(f),
            Scalar::Int(i) => i.fmt(f),
            Scalar::Float(x) => x.fmt(f),
            Scalar::Text(t) => t.fmt(f),
        }
    }
}

/// The join keys of one entity: column name to value, sorted by column so that equal keys have equal text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct EntityKey(pub std::collections::BTreeMap<String, String>);

impl EntityKey {
    /// A key of one column.
    pub fn one(column: &str, value: impl Into<String>) -> Self {
        EntityKey([(column.to_owned(), value.into())].into())
    }

    /// `city_id=dc`, or `a=1,b=2`.
    pub fn text(&self) -> String {
        self.0.iter().map(|(column, value)| format!("{column}={value}")).collect::<Vec<_>>().join(",")
    }
}

/// One row of a row log: who, when, when it came, and the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Unique within its stream; a second row with the same id is the same row sent again.
    pub id: String,
    /// Event time: when it was true.
    pub time: Timestamp,
    /// Arrival on the event clock: when it was known.
    pub at: Timestamp,
    /// The entity.
    pub key: EntityKey,
    /// Column name to value, in the order given.
    pub fields: IndexMap<String, Scalar>,
}
