//! Performance metrics of a model on labelled rows.

use crate::auc::Ranked;
use crate::classes::Classes;
use serde::{Deserialize, Serialize};

/// A performance metric by which gates compare versions and monitors judge windows.
///
/// Truth and prediction are numbers, a row each. For classification the prediction is the probability of class 1 where
/// the truth is 0 or 1 (the class being 1 from 0.5 on), and for [`Metric::Accuracy`] it may also be a class number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Mean absolute error, `mean |y - p|`.
    Mae,
    /// Root mean squared error, `sqrt(mean (y - p)²)`.
    Rmse,
    /// Mean squared error, `mean (y - p)²`.
    Mse,
    /// Coefficient of determination, `1 - sum (y - p)² / sum (y - mean y)²`; undefined for a constant truth.
    R2,
    /// Mean absolute percentage error as a fraction, `mean |y - p| / |y|`; undefined when a truth is 0.
    Mape,
    /// Share of rows whose class is right.
    Accuracy,
    /// `2 TP / (2 TP + FP + FN)` of class 1; undefined when class 1 is neither true nor predicted.
    F1,
    /// `TP / (TP + FP)` of class 1; undefined when class 1 is never predicted.
    Precision,
    /// `TP / (TP + FN)` of class 1; undefined when class 1 is never true.
    Recall,
    /// The mean of the F1 of every class that is true or predicted; truth and prediction are class numbers, or 0 or 1 and a
    /// probability.
    F1Macro,
    /// Mean negative log-likelihood in nats, probabilities clipped to [2.2e-16, 1 - 2.2e-16] as scikit-learn does.
    LogLoss,
    /// Area under the ROC curve by midranks; undefined when a class is absent.
    Auc,
    /// Brier score, `mean (y - p)²` with y 0 or 1.
    Brier,
}

/// What a row adds to the sums from which [`finish`](Metric::finish) makes the metric.
pub(crate) type Terms = [f64; 3];

impl Metric {
    /// Every metric, in the order of the documentation; for messages that list what is known.
    /// ```
    /// assert!(stats::Metric::ALL.iter().all(|metric| stats::Metric::parse(metric.name()) == Some(*metric)));
    /// ```
    pub const ALL: [Metric; 13] = [
        Metric::Mae,
        Metric::Rmse,
        Metric::Mse,
        Metric::R2,
        Metric::Mape,
        Metric::Accuracy,
        Metric::F1,
        Metric::Precision,
        Metric::Recall,
        Metric::F1Macro,
        Metric::LogLoss,
        Metric::Auc,
        Metric::Brier,
    ];

    /// The name used in project files, the API and reports.
    /// ```
    /// assert_eq!(stats::Metric::LogLoss.name(), "log_loss");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Metric::Mae => "mae",
            Metric::Rmse => "rmse",
            Metric::Mse => "mse",
            Metric::R2 => "r2",
            Metric::Mape => "mape",
            Metric::Accuracy => "accuracy",
            Metric::F1 => "f1",
            Metric::Precision => "precision",
            Metric::Recall => "recall",
            Metric::F1Macro => "f1_macro",
            Metric::LogLoss => "log_loss",
            Metric::Auc => "auc",
            Metric::Brier => "brier",
        }
    }

    /// The metric of a [`name`](Metric::name).
    /// ```
    /// assert_eq!(stats::Metric::parse("mae"), Some(stats::Metric::Mae));
    /// assert_eq!(stats::Metric::parse("MAE"), None);
    /// ```
    pub fn parse(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// Whether a greater value is the better one.
    /// ```
    /// assert!(stats::Metric::Auc.higher_is_better() && !stats::Metric::Mae.higher_is_better());
    /// ```
    pub fn higher_is_better(self) -> bool {
        matches!(self, Metric::R2 | Metric::Accuracy | Metric::F1 | Metric::Precision | Metric::Recall | Metric::F1Macro | Metric::Auc)
    }

    /// The metric's value. `None` when it is undefined: no rows, lengths that differ, a value that is not finite, a truth
    /// or probability outside the metric's domain, a degenerate truth (see the variants), or an overflow.
    ///
    /// Source: `sklearn.metrics`, where both are defined.
    /// ```
    /// use stats::Metric;
    /// assert_eq!(Metric::Mae.value(&[1.0, 2.0], &[2.0, 4.0]), Some(1.5));
    /// assert_eq!(Metric::Auc.value(&[0.0, 1.0, 1.0], &[0.2, 0.9, 0.2]), Some(0.75));
    /// assert_eq!(Metric::R2.value(&[3.0, 3.0], &[3.0, 4.0]), None);
    /// ```
    pub fn value(self, truth: &[f64], prediction: &[f64]) -> Option<f64> {
        if truth.len() != prediction.len() || truth.is_empty() {
            return None;
        }
        let terms = self.all_terms(truth, prediction)?;
        if self == Metric::Auc {
            let rows: Vec<u32> = (0..truth.len() as u32).collect();
            return Ranked::new(truth, prediction, &rows).auc(&vec![1.0; truth.len()]);
        }
        if self == Metric::F1Macro {
            let rows: Vec<u32> = (0..truth.len() as u32).collect();
            let answers: Vec<f64> = terms.iter().map(|row| row[0]).collect();
            return Classes::new(truth, &answers)?.macro_f1(&rows, &vec![1.0; truth.len()]);
        }
        let mut sums = Terms::default();
        terms.iter().for_each(|row| add(&mut sums, row));
        self.finish(&sums, truth.len() as f64)
    }

    /// What one row costs, for the metrics that are (a function of) a mean over rows: the absolute, squared or relative
    /// error, 0 or 1 for a right or wrong class, the negative log-likelihood. `None` for R², F1, precision, recall and
    /// AUC, which have no loss of a single row, and where [`value`](Metric::value) would be undefined too.
    /// ```
    /// assert_eq!(stats::Metric::Rmse.row_loss(1.0, 3.0), Some(4.0));
    /// assert_eq!(stats::Metric::Accuracy.row_loss(1.0, 0.4), Some(1.0));
    /// assert_eq!(stats::Metric::Auc.row_loss(1.0, 0.4), None);
    /// ```
    pub fn row_loss(self, truth: f64, prediction: f64) -> Option<f64> {
        match self {
            Metric::R2 | Metric::F1 | Metric::Precision | Metric::Recall | Metric::F1Macro | Metric::Auc => None,
            _ => Some(self.terms(truth, prediction)?[0]),
        }
    }

    /// The terms of every row; `None` as soon as one is undefined. R² is reckoned around the mean truth, which leaves it
    /// unchanged and keeps `sum y² - (sum y)² / n` from cancelling.
    pub(crate) fn all_terms(self, truth: &[f64], prediction: &[f64]) -> Option<Vec<Terms>> {
        let centre = if self == Metric::R2 { truth.iter().sum::<f64>() / truth.len() as f64 } else { 0.0 };
        truth.iter().zip(prediction).map(|(y, p)| self.terms(y - centre, p - centre)).collect()
    }

    fn terms(self, y: f64, p: f64) -> Option<Terms> {
        let binary = y == 0.0 || y == 1.0;
        let probability = (0.0..=1.0).contains(&p);
        let defined = match self {
            Metric::Mape => y != 0.0,
            Metric::F1 | Metric::Precision | Metric::Recall | Metric::LogLoss | Metric::Brier => binary && probability,
            Metric::F1Macro => y.fract() == 0.0 && (p.fract() == 0.0 || (binary && probability)),
            Metric::Auc => binary,
            _ => true,
        };
        if !(defined && y.is_finite() && p.is_finite()) {
            return None;
        }
        Some(match self {
            Metric::Mae => [(y - p).abs(), 0.0, 0.0],
            Metric::Rmse | Metric::Mse | Metric::Brier => [(y - p).powi(2), 0.0, 0.0],
            Metric::R2 => [(y - p).powi(2), y, y * y],
            Metric::Mape => [(y - p).abs() / y.abs(), 0.0, 0.0],
            Metric::Accuracy => [f64::from(class_of(y, p) != y), 0.0, 0.0],
            // The class that is answered; [`Classes`] makes the metric.
            Metric::F1Macro => [class_of(y, p), 0.0, 0.0],
            Metric::Precision => [f64::from(y == 1.0 && p >= 0.5), f64::from(p >= 0.5), 0.0],
            Metric::Recall => [f64::from(y == 1.0 && p >= 0.5), y, 0.0],
            Metric::F1 => match (y == 1.0, p >= 0.5) {
                (true, true) => [1.0, 0.0, 0.0],
                (false, false) => [0.0; 3],
                _ => [0.0, 1.0, 0.0],
            },
            Metric::LogLoss => {
                let clipped = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
                [-if y == 1.0 { clipped.ln() } else { (1.0 - clipped).ln() }, 0.0, 0.0]
            }
            Metric::Auc => [0.0; 3],
        })
    }

    /// The metric from the sums of `n` rows' terms; AUC and macro F1 are no functions of sums, and are made by [`Ranked`] and
    /// [`Classes`].
    pub(crate) fn finish(self, sums: &Terms, n: f64) -> Option<f64> {
        let [a, b, c] = *sums;
        let value = match self {
            Metric::Mae | Metric::Mse | Metric::Mape | Metric::LogLoss | Metric::Brier => a / n,
            Metric::Rmse => (a / n).sqrt(),
            Metric::Accuracy => 1.0 - a / n,
            Metric::R2 => {
                let spread = c - b * b / n;
                // A spread within the rounding of its own sums is a constant truth.
                if spread <= c * f64::EPSILON * n { f64::NAN } else { 1.0 - a / spread }
            }
            Metric::F1 => 2.0 * a / (2.0 * a + b),
            Metric::Precision | Metric::Recall => a / b,
            Metric::Auc | Metric::F1Macro => f64::NAN,
        };
        value.is_finite().then_some(value)
    }
}

/// The class that a prediction means where the truth is `y`.
pub(crate) fn class_of(y: f64, p: f64) -> f64 {
    let binary = y == 0.0 || y == 1.0;
    if binary && (0.0..=1.0).contains(&p) { f64::from(p >= 0.5) } else { p }
}

/// Adds a row's terms to the sums.
pub(crate) fn add(sums: &mut Terms, row: &Terms) {
    for (sum, term) in sums.iter_mut().zip(row) {
        *sum += term;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn undefined_is_none() {
        for metric in Metric::ALL {
            assert_eq!(metric.value(&[], &[]), None, "{metric:?}");
            assert_eq!(metric.value(&[1.0], &[]), None, "{metric:?}");
            for bad in [f64::NAN, f64::INFINITY] {
                assert_eq!(metric.value(&[1.0, 0.0], &[bad, 0.0]), None, "{metric:?}");
                assert_eq!(metric.value(&[bad, 1.0], &[0.5, 0.0]), None, "{metric:?}");
            }
        }
        assert_eq!(Metric::R2.value(&[0.1; 7], &[0.2; 7]), None);
        assert_eq!(Metric::Mape.value(&[0.0, 1.0], &[1.0, 1.0]), None);
        assert_eq!(Metric::Auc.value(&[1.0, 1.0], &[0.1, 0.9]), None);
        assert_eq!(Metric::F1.value(&[0.0, 0.0], &[0.1, 0.2]), None);
        assert_eq!(Metric::Brier.value(&[2.0], &[0.5]), None);
        assert_eq!(Metric::LogLoss.value(&[1.0], &[1.5]), None);
        assert_eq!(Metric::Mse.value(&[1e200], &[-1e200]), None);
    }

    #[test]
    fn perfect_predictions() {
        let truth = [0.0, 1.0, 1.0, 0.0];
        for metric in Metric::ALL.into_iter().filter(|metric| *metric != Metric::Mape) {
            let best = if metric.higher_is_better() { 1.0 } else { 0.0 };
            assert!((metric.value(&truth, &truth).unwrap() - best).abs() < 1e-12, "{metric:?}");
        }
    }

    #[test]
    fn accuracy_takes_class_numbers_too() {
        assert_eq!(Metric::Accuracy.value(&[0.0, 1.0, 2.0, 3.0], &[0.0, 2.0, 2.0, 3.0]), Some(0.75));
    }

    #[test]
    fn r2_bears_a_large_offset() {
        let truth: Vec<f64> = (0..100).map(f64::from).collect();
        let prediction: Vec<f64> = truth.iter().map(|y| y + (y % 3.0)).collect();
        let far = |values: &[f64]| values.iter().map(|x| x + 1e9).collect::<Vec<_>>();
        let near = Metric::R2.value(&truth, &prediction).unwrap();
        assert!((Metric::R2.value(&far(&truth), &far(&prediction)).unwrap() - near).abs() < 1e-9);
    }

    #[test]
    fn serde_uses_the_name() {
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_string(&metric).unwrap(), format!("\"{}\"", metric.name()));
        }
    }

    proptest! {
        #[test]
        fn a_value_is_the_mean_of_its_row_losses(rows in prop::collection::vec((0u8..2, 0.0f64..1.0), 1..50)) {
            let (truth, prediction): (Vec<f64>, Vec<f64>) = rows.iter().map(|(y, p)| (f64::from(*y), *p)).unzip();
            for metric in [Metric::Mae, Metric::Mse, Metric::LogLoss, Metric::Brier] {
                let losses: f64 = truth.iter().zip(&prediction).map(|(y, p)| metric.row_loss(*y, *p).unwrap()).sum();
                prop_assert!((metric.value(&truth, &prediction).unwrap() - losses / truth.len() as f64).abs() < 1e-12);
            }
        }

        #[test]
        fn auc_counts_pairs(rows in prop::collection::vec((0u8..2, 0u8..6), 2..40)) {
            let (truth, score): (Vec<f64>, Vec<f64>) = rows.iter().map(|(y, s)| (f64::from(*y), f64::from(*s))).unzip();
            let (mut pairs, mut ordered) = (0.0, 0.0);
            for (y, s) in &rows {
                for (z, t) in rows.iter().filter(|(z, _)| z < y) {
                    debug_assert!(*z == 0);
                    pairs += 1.0;
                    ordered += if s > t { 1.0 } else if s == t { 0.5 } else { 0.0 };
                }
            }
            match Metric::Auc.value(&truth, &score) {
                None => prop_assert_eq!(pairs, 0.0),
                Some(auc) => prop_assert!((auc - ordered / pairs).abs() < 1e-12),
            }
        }
    }
}
