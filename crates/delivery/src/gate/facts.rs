//! What a gate knows of versions and their training beside answers: gathered by [`work`](crate::work), judged here.

use super::check::{Check, Gate, Probe};
use super::quantity::Quantity;
use arrow::record_batch::RecordBatch;
use domain::Scalar;
use indexmap::IndexMap;
use ports::scalar_at;
use stats::{Bins, psi};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What was gathered; what no check asks for is not there.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub latency: Option<Result<Latency, String>>,
    /// Bytes of all files of the challenger.
    pub size: Option<Result<u64, String>>,
    pub signatures: Option<Result<Signatures, String>>,
    pub answers: BTreeMap<Probe, Answered>,
    pub training: Option<Result<Training, String>>,
}

/// How a version took odd rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    Well,
    /// What it said.
    Badly(String),
    /// Why there was nothing to ask.
    NotAsked(String),
}

/// Calls with one row each, asked in turns, in ms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    pub challenger_ms: Vec<f64>,
    /// Empty without a champion.
    pub champion_ms: Vec<f64>,
}

/// A column of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureColumn {
    pub name: String,
    /// As MLflow names it: `double`, `long`, `string`, `tensor(float64, [-1, 3])`.
    pub dtype: String,
    pub required: bool,
}

/// What a version takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    pub inputs: Vec<SignatureColumn>,
    pub outputs: Vec<SignatureColumn>,
}

/// Those of both versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    pub challenger: Signature,
    pub champion: Signature,
}

impl Signatures {
    /// What of the challenger would break a caller of the champion: a required input that was none before, an input or
    /// output of another type, an output that is gone.
    pub fn breaks(&self) -> Vec<String> {
        let mut found = Vec::new();
        for input in &self.challenger.inputs {
            match self.champion.inputs.iter().find(|other| other.name == input.name) {
                None if input.required => found.push(format!("needs `{}`, which the champion does not", input.name)),
                None => {}
                Some(other) if other.dtype != input.dtype => {
                    found.push(format!("takes `{}` as {}, the champion as {}", input.name, input.dtype, other.dtype));
                }
                Some(_) => {}
            }
        }
        for (at, output) in self.champion.outputs.iter().enumerate() {
            match self.challenger.outputs.get(at) {
                None => found.push("gives fewer outputs than the champion".into()),
                Some(own) if own.dtype != output.dtype => {
                    found.push(format!("gives {} where the champion gives {}", own.dtype, output.dtype));
                }
                Some(_) => {}
            }
        }
        found
    }
}

/// What is known of a version's training set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Training {
    pub rows: u64,
    /// Share of missing values by feature.
    pub nulls: IndexMap<String, f64>,
    /// Features with at most one value.
    pub constant: Vec<String>,
    /// Features that equal another in every row.
    pub duplicates: Vec<(String, String)>,
    /// Rows whose key and time an earlier row has; `None`: rows without either.
    pub repeated: Option<u64>,
    /// PSI of each feature, training set against holdout; what has no values on one side is not there.
    pub drift: IndexMap<String, f64>,
    /// Rows of each value of the label, the fewest first; empty where it has more values than classes have.
    pub classes: Vec<(String, u64)>,
    /// Least and greatest label.
    pub label: Option<(f64, f64)>,
    /// Rows that the holdout has too, by key and time; `None`: not compared.
    pub overlap: Option<u64>,
}

impl Training {
    /// From the rows of a training set. `identity`: the key and time columns, which tell rows apart; `holdout`: those of the holdout,
    /// `judged`: its features.
    pub fn of(
        rows: &RecordBatch,
        features: &[String],
        label: &str,
        identity: &[String],
        holdout: Option<&RecordBatch>,
        judged: Option<&RecordBatch>,
    ) -> Training {
        let mut training = Training { rows: rows.num_rows() as u64, ..Training::default() };
        let columns: Vec<(&String, Vec<Scalar>)> = features.iter().filter_map(|name| Some((name, values(rows, name)?))).collect();
        for (at, (name, column)) in columns.iter().enumerate() {
            let missing = column.iter().filter(|value| is_missing(value)).count();
            training.nulls.insert((*name).clone(), if column.is_empty() { 0.0 } else { missing as f64 / column.len() as f64 });
            let mut known = column.iter().filter(|value| !is_missing(value));
            let first = known.next();
            if known.all(|value| Some(value) == first) {
                training.constant.push((*name).clone());
            } else if let Some((other, _)) = columns[..at].iter().find(|(_, other)| other == column) {
                training.duplicates.push(((*other).clone(), (*name).clone()));
            }
        }
        let drift = |(name, column): &(&String, Vec<Scalar>)| Some(((*name).clone(), moved(column, &values(judged?, name)?)?));
        training.drift = columns.iter().filter_map(drift).collect();
        let labels = values(rows, label).unwrap_or_default();
        training.classes = classes(&labels);
        let labels: Vec<f64> = labels.iter().filter_map(Scalar::as_f64).filter(|y| y.is_finite()).collect();
        training.label = labels.iter().fold(None, |range, y| {
            let (low, high) = range.unwrap_or((*y, *y));
            Some((f64::min(low, *y), f64::max(high, *y)))
        });
        training.repeated = identity.iter().any(|name| rows.column_by_name(name).is_some()).then(|| {
            let all = identities(rows, identity);
            (all.len() - all.iter().collect::<HashSet<_>>().len()) as u64
        });
        training.overlap = holdout.map(|holdout| {
            let known: HashSet<String> = identities(rows, identity).into_iter().collect();
            identities(holdout, identity).iter().filter(|row| known.contains(*row)).count() as u64
        });
        training
    }
}

/// PSI of the holdout's values against the training set's deciles, or labels; missing values are a bin of their own.
fn moved(training: &[Scalar], holdout: &[Scalar]) -> Option<f64> {
    let is_text = |values: &[Scalar]| values.iter().any(|value| matches!(value, Scalar::Text(_)));
    if is_text(training) || is_text(holdout) {
        let labels = |values: &[Scalar]| values.iter().map(|v| (!is_missing(v)).then(|| v.to_string())).collect::<Vec<_>>();
        let (training, holdout) = (labels(training), labels(holdout));
        let bins = Bins::categorical(&training);
        return psi(&bins.count_labels(&training), &bins.count_labels(&holdout));
    }
    let numbers = |values: &[Scalar]| values.iter().map(|v| v.as_f64().filter(|x| x.is_finite())).collect::<Vec<_>>();
    let (training, holdout) = (numbers(training), numbers(holdout));
    let bins = Bins::numeric(&training, BINS);
    psi(&bins.count_numbers(&training), &bins.count_numbers(&holdout))
}

/// Bins of a feature that is a number.
const BINS: usize = 10;
/// A label with more values than this has no classes.
const MOST_CLASSES: usize = 50;

fn classes(labels: &[Scalar]) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for label in labels.iter().filter(|label| !is_missing(label)) {
        *counts.entry(label.to_string()).or_default() += 1;
    }
    let mut classes: Vec<_> = if counts.len() > MOST_CLASSES { Vec::new() } else { counts.into_iter().collect() };
    classes.sort_by_key(|(_, rows)| *rows);
    classes
}

/// A column's values.
pub(crate) fn values(rows: &RecordBatch, name: &str) -> Option<Vec<Scalar>> {
    let column = rows.column_by_name(name)?;
    Some((0..rows.num_rows()).map(|row| scalar_at(column, row)).collect())
}

fn is_missing(value: &Scalar) -> bool {
    matches!(value, Scalar::Null) || value.as_f64().is_some_and(f64::is_nan)
}

fn identities(rows: &RecordBatch, identity: &[String]) -> Vec<String> {
    let columns: Vec<_> = identity.iter().filter_map(|name| rows.column_by_name(name)).collect();
    let text = |row| columns.iter().map(|column| scalar_at(column, row).to_string()).collect::<Vec<_>>().join("\u{1f}");
    (0..rows.num_rows()).map(text).collect()
}

/// What the checks of a gate ask for beside answers and labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Columns that rows are cut by.
    pub columns: BTreeSet<String>,
    /// One-row calls to time; 0: none.
    pub calls: usize,
    pub size: bool,
    pub signatures: bool,
    pub probes: BTreeSet<Probe>,
    pub training: bool,
}

/// Enough that the upper end of the interval of a p99 exists.
const CALLS: usize = 500;
/// Enough for medians.
const FEW_CALLS: usize = 100;

impl Gate {
    /// What its checks ask for.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for (_, check) in &self.checks {
            needs.columns.extend(check.column().map(str::to_owned));
            match check {
                Check::Answers(probe) => {
                    needs.probes.insert(*probe);
                }
                Check::Signature => needs.signatures = true,
                Check::Quantity { quantity: Quantity::Latency(_), .. } => needs.calls = CALLS,
                Check::Quantity { quantity: Quantity::LatencyRatio, .. } => needs.calls = needs.calls.max(FEW_CALLS),
                Check::Quantity { quantity: Quantity::ModelSize, .. } => needs.size = true,
                Check::Quantity { quantity, .. } if quantity.of_training() => needs.training = true,
                _ => {}
            }
        }
        needs
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn a_training_set_is_looked_through() {
        let column = |values: Vec<Option<f64>>| Arc::new(Float64Array::from(values)) as ArrayRef;
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("city", Arc::new(StringArray::from(vec!["a", "a", "b", "b"])) as ArrayRef, true),
            ("ts", Arc::new(Int64Array::from(vec![1, 2, 1, 2])) as ArrayRef, true),
            ("temp", column(vec![Some(1.0), None, Some(f64::NAN), Some(4.0)]), true),
            ("same", column(vec![Some(7.0), Some(7.0), None, Some(7.0)]), true),
            ("x", column(vec![Some(1.0), Some(2.0), Some(3.0), Some(4.0)]), true),
            ("twin", column(vec![Some(1.0), Some(2.0), Some(3.0), Some(4.0)]), true),
            ("y", column(vec![Some(-1.0), Some(5.0), None, Some(2.0)]), true),
        ])
        .unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let holdout = rows.slice(2, 2);
        let found =
            Training::of(&rows, &names(&["temp", "same", "x", "twin"]), "y", &names(&["city", "ts"]), Some(&holdout), Some(&holdout));
        assert_eq!(found.nulls, IndexMap::from([("temp".into(), 0.5), ("same".into(), 0.25), ("x".into(), 0.0), ("twin".into(), 0.0)]));
        assert_eq!((found.constant, found.duplicates), (names(&["same"]), vec![("x".into(), "twin".into())]));
        assert_eq!((found.rows, found.label, found.overlap), (4, Some((-1.0, 5.0)), Some(2)));
        assert_eq!(found.repeated, Some(0));
        assert_eq!(found.classes, [("-1".into(), 1), ("2".into(), 1), ("5".into(), 1)]);
        let psi = |name: &str| found.drift[name];
        assert!(psi("x") > 1.0 && psi("x") == psi("twin") && psi("same") < psi("x"), "{:?}", found.drift);
        let twice = arrow::compute::concat_batches(&rows.schema(), [&rows, &rows.slice(0, 1)]).unwrap();
        let again = Training::of(&twice, &names(&["x"]), "y", &names(&["city", "ts"]), None, None);
        assert_eq!((again.repeated, again.overlap, again.drift.len()), (Some(1), None, 0));
        assert_eq!(again.classes[2], ("-1".into(), 2), "the fewest first");
    }

    #[test]
    fn signatures_break_where_a_caller_would_notice() {
        let column = |name: &str, dtype: &str, required| SignatureColumn { name: name.into(), dtype: dtype.into(), required };
        let of = |inputs: Vec<SignatureColumn>, output: &str| Signature { inputs, outputs: vec![column("", output, true)] };
        let champion = of(vec![column("a", "double", true), column("b", "long", true)], "double");
        let breaks = |challenger: Signature| Signatures { challenger, champion: champion.clone() }.breaks().len();
        assert_eq!(breaks(champion.clone()), 0);
        assert_eq!(breaks(of(vec![column("a", "double", true)], "double")), 0, "needs less");
        assert_eq!(breaks(of(vec![column("c", "double", false)], "double")), 0, "an optional one");
        assert_eq!(breaks(of(vec![column("c", "double", true)], "double")), 1);
        assert_eq!(breaks(of(vec![column("a", "string", true)], "long")), 2);
        let shaped = |shape: &str| of(vec![column("a", &format!("tensor(float64, {shape})"), true)], "double");
        let both = |challenger, champion| Signatures { challenger, champion }.breaks();
        assert_eq!(both(shaped("[-1, 3]"), shaped("[-1, 3]")), [""; 0]);
        assert_eq!(
            both(shaped("[-1, 4]"), shaped("[-1, 3]")),
            ["takes `a` as tensor(float64, [-1, 4]), the champion as tensor(float64, [-1, 3])"]
        );
    }
}
