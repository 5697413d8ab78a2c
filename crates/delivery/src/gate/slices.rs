//! Parts of the rows: no slice may be worse, and groups of people are to be treated alike.

use super::judge::Bench;
use super::words::meant;
use domain::entity::{self, Interval, Slice};
use domain::{Scalar, Verdict};
use stats::{Metric, benjamini_hochberg, holm, sign_test, wilson};

/// A column of numbers with more values than this is cut at its quartiles.
const MOST_VALUES: usize = 12;
/// More slices than this say little, and nobody reads them.
const MOST_SLICES: usize = 200;

impl Bench<'_> {
    /// The group of every row by a column's values, and what each group is called. Numbers with many values are cut at
    /// their quartiles.
    pub(super) fn groups(&self, column: &str) -> Result<(Vec<u32>, Vec<String>), String> {
        let Some(values) = self.evidence.columns.get(column) else {
            let known: Vec<&str> = self.evidence.columns.keys().map(String::as_str).collect();
            return Err(format!("the rows have no column `{column}` ({})", meant(column, &known)));
        };
        let numbers: Option<Vec<f64>> = values.iter().map(|value| value.as_f64().filter(|x| x.is_finite())).collect();
        let mut distinct = numbers.clone().unwrap_or_default();
        distinct.sort_unstable_by(f64::total_cmp);
        let quartiles: Vec<f64> =
            [0.25, 0.5, 0.75].iter().filter_map(|q| distinct.get((distinct.len() as f64 * q) as usize).copied()).collect();
        distinct.dedup();
        let label = |row: usize, value: &Scalar| match &numbers {
            Some(numbers) if distinct.len() > MOST_VALUES => {
                let below = quartiles.iter().take_while(|edge| numbers[row] >= **edge).count();
                match below {
                    0 => format!("{column} < {}", quartiles[0]),
                    3 => format!("{column} >= {}", quartiles[2]),
                    inner => format!("{} <= {column} < {}", quartiles[inner - 1], quartiles[inner]),
                }
            }
            _ => format!("{column} = {value}"),
        };
        let labels: Vec<String> = values.iter().enumerate().map(|(row, value)| label(row, value)).collect();
        let mut names = labels.clone();
        names.sort_unstable();
        names.dedup();
        if names.len() > MOST_SLICES {
            return Err(format!("`{column}` has {} values; at most {MOST_SLICES} can be told apart", names.len()));
        }
        let of_row = labels.iter().map(|label| names.partition_point(|name| name < label) as u32).collect();
        Ok((of_row, names))
    }

    /// On no part of the rows may the challenger be worse: an exact one-sided sign test a slice, adjusted by Holm.
    pub(super) fn slices(
        &self,
        text: &str,
        column: &str,
        metric: Option<Metric>,
        min_rows: usize,
        new: &[f64],
        old: &[f64],
    ) -> entity::Check {
        let metric = metric.unwrap_or_else(|| self.row_metric());
        let alpha = 1.0 - self.confidence;
        let truth = self.evidence.truth;
        let loss = |answers: &[f64]| -> Option<Vec<f64>> { truth.iter().zip(answers).map(|(y, p)| metric.row_loss(*y, *p)).collect() };
        let (Some(new), Some(old)) = (loss(new), loss(old)) else { return super::judge::undefined(text, metric) };
        let (group, names) = match self.groups(column) {
            Ok(found) => found,
            Err(what) => return entity::Check::new(text, Verdict::Inconclusive, what),
        };
        let mut slices: Vec<Slice> = names.into_iter().map(empty).collect();
        for (at, group) in group.iter().enumerate() {
            let slice = &mut slices[*group as usize];
            slice.rows += 1;
            slice.worse += u64::from(new[at] > old[at]);
            slice.better += u64::from(new[at] < old[at]);
            slice.challenger += new[at];
            slice.champion += old[at];
        }
        let judged: Vec<usize> = (0..slices.len()).filter(|at| slices[*at].rows >= min_rows as u64).collect();
        let p: Vec<f64> = judged.iter().map(|at| sign_test(slices[*at].worse, slices[*at].better)).collect();
        for (at, ((p, holm), bh)) in judged.iter().zip(p.iter().zip(holm(&p)).zip(benjamini_hochberg(&p))) {
            (slices[*at].p, slices[*at].holm, slices[*at].bh) = (Some(*p), Some(holm), Some(bh));
        }
        for slice in &mut slices {
            if metric == Metric::Accuracy {
                let right = slice.rows.saturating_sub(slice.challenger.round() as u64);
                let ends = wilson(right, slice.rows, self.confidence);
                slice.accuracy = ends.map(|(low, high)| Interval { low, high, confidence: self.confidence, method: "Wilson".into() });
            }
            slice.challenger /= slice.rows as f64;
            slice.champion /= slice.rows as f64;
            let ends = wilson(slice.worse, slice.worse + slice.better, self.confidence);
            slice.interval = ends.map(|(low, high)| Interval { low, high, confidence: self.confidence, method: "Wilson".into() });
        }
        let worse: Vec<&Slice> = slices.iter().filter(|slice| slice.holm.is_some_and(|p| p < alpha)).collect();
        let small = slices.len() - judged.len();
        let beside = if small > 0 { format!("; {small} with fewer than {min_rows} rows are not judged") } else { String::new() };
        let (verdict, why) = if !worse.is_empty() {
            let named: Vec<String> = worse
                .iter()
                .take(3)
                .map(|s| format!("{} ({} of {} rows worse, p {:.2e})", s.name, s.worse, s.rows, s.holm.unwrap_or(1.0)))
                .collect();
            (
                Verdict::Fail,
                format!("worse by {} on {} of {} slices: {}{beside}", metric.name(), worse.len(), judged.len(), named.join(", ")),
            )
        } else if judged.is_empty() {
            let largest = slices.iter().map(|slice| slice.rows).max().unwrap_or(0);
            (Verdict::Inconclusive, format!("no slice of `{column}` has {min_rows} rows; the largest has {largest}"))
        } else {
            (Verdict::Pass, format!("worse by {} on none of {} slices at {}{beside}", metric.name(), judged.len(), round(alpha)))
        };
        let least = slices.iter().filter_map(|slice| slice.holm).reduce(f64::min);
        entity::Check {
            value: least,
            limit: Some(alpha),
            unit: Some("least adjusted p".into()),
            method: Some(format!("exact sign tests by slice, Holm, {} slices", judged.len())),
            n: Some(truth.len() as u64),
            needed: judged.is_empty().then_some(min_rows as u64),
            slices,
            ..entity::Check::new(text, verdict, why)
        }
    }

    /// The main metric, or what is nearest to it that has a loss of a single row.
    fn row_metric(&self) -> Metric {
        match self.main {
            Metric::Auc => Metric::Brier,
            Metric::F1 | Metric::F1Macro | Metric::Precision | Metric::Recall => Metric::Accuracy,
            Metric::R2 => Metric::Mse,
            other => other,
        }
    }
}

fn empty(name: String) -> Slice {
    Slice {
        name,
        rows: 0,
        worse: 0,
        better: 0,
        challenger: 0.0,
        champion: 0.0,
        p: None,
        holm: None,
        bh: None,
        interval: None,
        accuracy: None,
    }
}

/// A share without the noise of `1 - 0.95`.
fn round(x: f64) -> f64 {
    (x * 1e9).round() / 1e9
}
