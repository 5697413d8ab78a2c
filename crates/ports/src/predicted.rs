//! What a model answers.

use domain::spec::OutputSpec;
use domain::{Refusal, Scalar};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A model's answer as it gives it: `values`, one a row, or `rows` of several values, whose `names` it may tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    pub values: Vec<Scalar>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Vec<Scalar>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

/// An answer with one value a row that is judged, watched and compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predicted {
    pub values: Vec<Scalar>,
    /// All values of each row, where the model gives several.
    pub several: Option<Several>,
}

/// Several values a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Several {
    /// `None`: they are known by their place.
    pub names: Option<Arc<[String]>>,
    pub rows: Vec<Vec<Scalar>>,
}

/// All values of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    pub names: Option<Arc<[String]>>,
    pub values: Vec<Scalar>,
}

impl Said {
    /// Picks the prediction of each row, as `[model.NAME.serve] output` says; of several values the file must choose one.
    ///
    /// ```
    /// use domain::{Scalar, spec::OutputSpec};
    /// use ports::Said;
    /// let rows = vec![vec![Scalar::Float(0.2), Scalar::Float(0.8)]];
    /// let said = Said { rows, ..Said::default() };
    /// assert_eq!(said.clone().picked(Some(&OutputSpec::Place(1))).unwrap().values, [Scalar::Float(0.8)]);
    /// assert_eq!(said.picked(None).unwrap_err().code, "serve/output");
    /// ```
    pub fn picked(self, output: Option<&OutputSpec>) -> Result<Predicted, Refusal> {
        let Some(first) = self.rows.first() else { return Ok(Predicted { values: self.values, several: None }) };
        let width = first.len();
        if width == 0 {
            return Err(Refusal::invalid("serve/model_raised", "the model answers no value for a row"));
        }
        if self.rows.iter().any(|row| row.len() != width) || self.names.as_ref().is_some_and(|names| names.len() != width) {
            return Err(Refusal::invalid("serve/model_raised", "the model answers another number of values for another row"));
        }
        let place = match output {
            Some(OutputSpec::Place(place)) => Some(*place as usize).filter(|place| *place < width),
            Some(OutputSpec::Name(name)) => self.names.as_ref().and_then(|names| names.iter().position(|one| one == name)),
            None => None,
        };
        let place = place.ok_or_else(|| {
            let named = self.names.as_ref().map_or(String::new(), |names| format!(": {}", names.join(", ")));
            let what = match output {
                Some(output) => format!("the model answers {width} values a row{named}; `output = {output}` is none of them"),
                None => format!("the model answers {width} values a row{named}; the file does not say which is the prediction"),
            };
            let example = self.names.as_ref().map_or("0".into(), |names| format!("\"{}\"", names[0]));
            Refusal::invalid("serve/output", what).hint(format!("set `output = {example}` under [model.NAME.serve]"))
        })?;
        let values = self.rows.iter().map(|row| row[place].clone()).collect();
        Ok(Predicted { values, several: Some(Several { names: self.names.map(Arc::from), rows: self.rows }) })
    }
}

impl Predicted {
    /// Takes the first `count` rows.
    pub fn take(&mut self, count: usize) -> Predicted {
        let count = count.min(self.values.len());
        let several = self.several.as_mut().map(|several| {
            let rows = several.rows.drain(..count.min(several.rows.len())).collect();
            Several { names: several.names.clone(), rows }
        });
        Predicted { values: self.values.drain(..count).collect(), several }
    }

    /// Row by row.
    pub fn into_rows(self) -> impl Iterator<Item = (Scalar, Option<Outputs>)> {
        let mut several = self.several.map(|several| (several.names, several.rows.into_iter()));
        self.values.into_iter().map(move |value| {
            let outputs = several.as_mut().and_then(|(names, rows)| Some(Outputs { names: names.clone(), values: rows.next()? }));
            (value, outputs)
        })
    }
}

impl From<Vec<Scalar>> for Predicted {
    fn from(values: Vec<Scalar>) -> Self {
        Predicted { values, several: None }
    }
}

impl Outputs {
    /// Each value with its name, or its place.
    pub fn named(&self) -> impl Iterator<Item = (String, &Scalar)> {
        let name = |place: usize| self.names.as_ref().map_or_else(|| place.to_string(), |names| names[place].clone());
        self.values.iter().enumerate().map(move |(place, value)| (name(place), value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A model that answered `[{}, {}]` had no first name to show in the hint, and the server panicked.
    #[test]
    fn rows_without_values_are_refused() {
        for names in [None, Some(Vec::new())] {
            for output in [None, Some(OutputSpec::Place(0))] {
                let said = Said { rows: vec![Vec::new(), Vec::new()], names: names.clone(), ..Said::default() };
                let refusal = said.picked(output.as_ref()).unwrap_err();
                assert_eq!(refusal.to_string(), "the model answers no value for a row");
            }
        }
    }
}
