//! Predictions and labels as the row log's segments hold them.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;
use domain::{Fault, Range, Scalar, Timestamp, VersionNumber};
use ports::scalar_at;
use std::collections::{HashMap, HashSet};

/// A value as a number. A column in which a single row is text is text as a whole, so numbers in text count.
pub fn number(value: &Scalar) -> Option<f64> {
    match value {
        Scalar::Text(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

/// One answer of a champion.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    pub id: String,
    /// The entity, as JSON text: equal entities have equal text.
    pub key: String,
    pub time: Timestamp,
    pub value: Scalar,
    /// The watched features, in the order asked for.
    pub features: Vec<Scalar>,
}

/// The columns that every segment has.
struct Rows<'a> {
    batch: &'a RecordBatch,
    times: &'a [i64],
    arrivals: &'a [i64],
}

impl<'a> Rows<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, Fault> {
        let times = |name: &str| match batch.column_by_name(name) {
            Some(column) if matches!(column.data_type(), DataType::Timestamp(TimeUnit::Millisecond, _)) => {
                Ok(&column.as_primitive::<TimestampMillisecondType>().values()[..])
            }
            _ => Err(Fault::broken(format!("a segment has no column `{name}` of times"))),
        };
        Ok(Rows { batch, times: times("_time")?, arrivals: times("_at")? })
    }

    fn scalar(&self, column: &str, row: usize) -> Scalar {
        self.batch.column_by_name(column).map_or(Scalar::Null, |column| scalar_at(column, row))
    }

    fn text(&self, column: &str, row: usize) -> Option<String> {
        match self.scalar(column, row) {
            Scalar::Null => None,
            other => Some(other.to_string()),
        }
    }

    fn within(&self, range: Range) -> impl Iterator<Item = usize> {
        (0..self.times.len()).filter(move |row| range.contains(Timestamp::from_ms(self.times[*row])))
    }
}

/// How many rows lie in a range.
pub fn count(batch: &RecordBatch, range: Range) -> Result<u64, Fault> {
    Ok(Rows::new(batch)?.within(range).count() as u64)
}

/// What a version answered as champion within a range; a row that was sent again counts once.
pub fn predictions(batches: &[RecordBatch], version: VersionNumber, range: Range, features: &[&str]) -> Result<Vec<Predicted>, Fault> {
    let number = Scalar::Int(version.0.cast_signed());
    let champion = Scalar::Text("champion".into());
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for batch in batches {
        let rows = Rows::new(batch)?;
        for row in rows.within(range) {
            if rows.scalar("role", row) != champion || rows.scalar("version", row) != number {
                continue;
            }
            let id = rows.text("_id", row).unwrap_or_default();
            if !seen.insert(id.clone()) {
                continue;
            }
            found.push(Predicted {
                id,
                key: rows.text("_key", row).unwrap_or_default(),
                time: Timestamp::from_ms(rows.times[row]),
                value: rows.scalar("prediction", row),
                features: features.iter().map(|feature| rows.scalar(feature, row)).collect(),
            });
        }
    }
    Ok(found)
}

/// Labels, to be looked up by prediction id or by entity and time.
#[derive(Debug, Default)]
pub struct Labels {
    by_prediction: HashMap<String, Label>,
    by_entity: HashMap<(String, Timestamp), Label>,
}

#[derive(Clone, Copy, Debug)]
struct Label {
    arrived: i64,
    value: f64,
}

impl Labels {
    /// The labels about a range; where several are about the same, the one that arrived last counts.
    pub fn new(batches: &[RecordBatch], range: Range) -> Result<Self, Fault> {
        let mut labels = Labels::default();
        for batch in batches {
            let rows = Rows::new(batch)?;
            for row in rows.within(range) {
                let Some(value) = number(&rows.scalar("label", row)) else { continue };
                let label = Label { arrived: rows.arrivals[row], value };
                match rows.text("prediction_id", row) {
                    Some(id) => newest(labels.by_prediction.entry(id).or_insert(label), label),
                    None => {
                        let key = (rows.text("_key", row).unwrap_or_default(), Timestamp::from_ms(rows.times[row]));
                        newest(labels.by_entity.entry(key).or_insert(label), label);
                    }
                }
            }
        }
        Ok(labels)
    }

    /// The label of a prediction.
    pub fn of(&self, predicted: &Predicted) -> Option<f64> {
        let by_entity = self.by_entity.get(&(predicted.key.clone(), predicted.time));
        let both = self.by_prediction.get(&predicted.id).into_iter().chain(by_entity);
        both.copied().reduce(|a, b| if b.arrived > a.arrived { b } else { a }).map(|label| label.value)
    }
}

/// Of two labels the one that arrived later, the second on a tie.
fn newest(kept: &mut Label, other: Label) {
    if other.arrived >= kept.arrived {
        *kept = other;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::{EntityKey, Row};
    use ports::rows_to_batch;

    fn hour(n: i64) -> Timestamp {
        Timestamp::from_ms(n * 3_600_000)
    }

    fn row(id: &str, time: i64, at: i64, fields: &[(&str, Scalar)]) -> Row {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Row { id: id.into(), time: hour(time), at: hour(at), key: EntityKey::one("city", "dc"), fields }
    }

    fn predicted(id: &str, time: i64, version: i64, role: &str) -> Row {
        let fields = [
            ("version", Scalar::Int(version)),
            ("role", Scalar::Text(role.into())),
            ("prediction", Scalar::Float(time as f64)),
            ("temp", Scalar::Float(0.5)),
        ];
        row(id, time, time, &fields)
    }

    #[test]
    fn only_the_champions_answers_within_the_range_count_and_each_once() {
        let first = [predicted("a", 0, 1, "champion"), predicted("b", 1, 1, "champion"), predicted("b#2", 1, 2, "shadow")];
        let second = [predicted("b", 1, 1, "champion"), predicted("c", 2, 2, "champion"), predicted("d", 3, 1, "champion")];
        let batches = [rows_to_batch(&first), rows_to_batch(&second)];
        let found = predictions(&batches, VersionNumber(1), Range::new(hour(0), hour(3)), &["temp", "absent"]).unwrap();
        assert_eq!(found.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(found[0].features, [Scalar::Float(0.5), Scalar::Null]);
        assert_eq!(count(&batches[1], Range::new(hour(2), hour(4))).unwrap(), 2);
    }

    #[test]
    fn a_label_joins_by_id_or_by_entity_and_time_and_the_latest_counts() {
        let range = Range::new(hour(0), hour(10));
        let label = |value: f64| ("label", Scalar::Float(value));
        let of = |id: &str| ("prediction_id", Scalar::Text(id.into()));
        let batch = rows_to_batch(&[
            row("1", 0, 24, &[label(10.0)]),
            row("2", 0, 30, &[label(11.0)]),
            row("3", 0, 26, &[label(12.0)]),
            row("4", 1, 25, &[label(20.0), of("b")]),
            row("5", 2, 25, &[("label", Scalar::Text("many".into()))]),
        ]);
        let labels = Labels::new(&[batch], range).unwrap();
        let predictions = [predicted("a", 0, 1, "champion"), predicted("b", 1, 1, "champion"), predicted("c", 2, 1, "champion")];
        let found = super::predictions(&[rows_to_batch(&predictions)], VersionNumber(1), range, &[]).unwrap();
        assert_eq!(found.iter().map(|row| labels.of(row)).collect::<Vec<_>>(), [Some(11.0), Some(20.0), None]);
    }

    #[test]
    fn a_batch_that_is_no_segment_is_a_fault() {
        let column: arrow::array::ArrayRef = std::sync::Arc::new(arrow::array::Int64Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("_time", column)]).unwrap();
        assert!(predictions(&[batch], VersionNumber(1), Range::new(hour(0), hour(1)), &[]).is_err());
    }
}
