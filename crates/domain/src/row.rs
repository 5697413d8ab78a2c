//! Rows at the edge: what a push, a prediction or a label is before it becomes a column.

use crate::Timestamp;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One value of a row.
///
/// In JSON a value is itself; NaN and the infinities, which JSON lacks, are `{"number": "NaN"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default)]
#[serde(from = "Json", into = "Json")]
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

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    NotFinite { number: String },
}

impl From<Scalar> for Json {
    fn from(value: Scalar) -> Json {
        match value {
            Scalar::Null => Json::Null,
            Scalar::Bool(b) => Json::Bool(b),
            Scalar::Int(i) => Json::Int(i),
            Scalar::Float(x) if !x.is_finite() => Json::NotFinite { number: x.to_string() },
            Scalar::Float(x) => Json::Float(x),
            Scalar::Text(t) => Json::Text(t),
        }
    }
}

impl From<Json> for Scalar {
    fn from(json: Json) -> Scalar {
        match json {
            Json::Null => Scalar::Null,
            Json::Bool(b) => Scalar::Bool(b),
            Json::Int(i) => Scalar::Int(i),
            Json::Float(x) => Scalar::Float(x),
            Json::Text(t) => Scalar::Text(t),
            Json::NotFinite { number } => number.parse().map_or(Scalar::Null, Scalar::Float),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_scalar_survives_json() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, -0.5] {
            let back: Scalar = serde_json::from_str(&serde_json::to_string(&Scalar::Float(value)).unwrap()).unwrap();
            assert_eq!(back.as_f64().unwrap().to_bits(), value.to_bits());
        }
        for (value, json) in
            [(Scalar::Null, "null"), (Scalar::Int(3), "3"), (Scalar::Bool(true), "true"), (Scalar::Text("ü".into()), "\"ü\"")]
        {
            assert_eq!(serde_json::to_string(&value).unwrap(), json);
            assert_eq!(serde_json::from_str::<Scalar>(json).unwrap(), value);
        }
    }
}
