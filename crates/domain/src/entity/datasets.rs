//! Evaluation datasets: rows of inputs and expectations that people collect. JSON that is theirs is kept as text.

use crate::filter::{Field, Found, Searchable};
use crate::{ExperimentId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A dataset for evaluation: `d-` and 32 hexadecimal digits. Its records are entities of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationDataset {
    pub id: String,
    pub name: String,
    pub tags: BTreeMap<String, String>,
    /// The fields seen so far with their kinds, as JSON; `None` before the first record.
    pub schema: Option<String>,
    pub records: u64,
    /// Changes with every change of the records.
    pub digest: String,
    pub experiments: Vec<ExperimentId>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub created_by: Option<String>,
    pub updated_by: Option<String>,
}

/// One record; no two of a dataset have the same inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetRecord {
    pub dataset: String,
    /// `dr-` and 32 hexadecimal digits.
    pub id: String,
    /// The SHA-256 of the inputs' JSON.
    pub inputs_digest: String,
    pub inputs: String,
    pub outputs: Option<String>,
    pub expectations: Option<String>,
    pub tags: Option<String>,
    pub source: Option<String>,
    pub source_id: Option<String>,
    pub source_type: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub created_by: Option<String>,
    pub updated_by: Option<String>,
}

impl Searchable for EvaluationDataset {
    fn find(&self, field: &Field) -> Vec<Found<'_>> {
        match field {
            Field::Attribute(name) => match name.as_str() {
                "name" => vec![Found::Text(&self.name)],
                "created_time" => vec![Found::Number(self.created.ms() as f64)],
                "last_update_time" => vec![Found::Number(self.updated.ms() as f64)],
                "created_by" => self.created_by.iter().map(|by| Found::Text(by)).collect(),
                "last_updated_by" => self.updated_by.iter().map(|by| Found::Text(by)).collect(),
                _ => Vec::new(),
            },
            Field::Tag(key) => self.tags.get(key).map(|value| Found::Text(value)).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}
