//! Whether probabilities mean what they say: calibration error and logistic recalibration.

use crate::normal;

/// How probabilities are put into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binning {
    /// `(0, .1], (.1, .2], …`: bins of equal width, closed on the right, 0 in the first.
    Width,
    /// Bins of equal count in the order of a stable sort; the first `n mod k` have one row more.
    Mass,
}

/// The expected calibration error, `Σ (n_b / n) |mean p - mean y|` over `bins` bins, in [0, 1].
///
/// `None` for no rows or bins, lengths that differ, truths other than 0 and 1, or probabilities outside [0, 1].
///
/// Sources: Guo et al. 2017 (equal width), Nixon et al. 2019 (equal mass).
/// ```
/// use stats::{Binning, calibration_error};
/// let (truth, sure) = ([0.0, 1.0, 1.0, 1.0], [0.75; 4]);
/// assert_eq!(calibration_error(&truth, &sure, 10, Binning::Width), Some(0.0));
/// assert_eq!(calibration_error(&truth, &[0.5; 4], 10, Binning::Width), Some(0.25));
/// ```
pub fn calibration_error(truth: &[f64], probability: &[f64], bins: usize, binning: Binning) -> Option<f64> {
    if !defined(truth, probability) || bins == 0 {
        return None;
    }
    let n = truth.len();
    let mut gaps = vec![0.0; bins];
    match binning {
        Binning::Width => {
            for (y, p) in truth.iter().zip(probability) {
                let bin = (1..bins).take_while(|edge| *p > *edge as f64 / bins as f64).count();
                gaps[bin] += p - y;
            }
        }
        Binning::Mass => {
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|a, b| probability[*a].total_cmp(&probability[*b]));
            let mut rows = order.into_iter();
            for (bin, gap) in gaps.iter_mut().enumerate() {
                let size = n / bins + usize::from(bin < n % bins);
                *gap = rows.by_ref().take(size).map(|row| probability[row] - truth[row]).sum();
            }
        }
    }
    Some(gaps.iter().map(|gap: &f64| gap.abs()).sum::<f64>() / n as f64)
}

/// The logistic recalibration of probabilities: `logit P(y = 1) = intercept + slope · logit(p)`, fitted by maximum likelihood.
///
/// A well calibrated model has intercept 0 and slope 1. A slope below 1: too sure of itself; an intercept above 0: too low.
/// Logits are of probabilities clipped to [1e-6, 1 - 1e-6].
///
/// Source: Cox 1958, Biometrika 45:562.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recalibration {
    pub intercept: f64,
    pub slope: f64,
    /// Standard error of the intercept.
    pub intercept_se: f64,
    /// Standard error of the slope.
    pub slope_se: f64,
}

/// Probabilities are clipped to this much from 0 and 1 before their logit is taken.
const CLIP: f64 = 1e-6;

impl Recalibration {
    /// `None` where [`calibration_error`] has none, where a class is absent, where all probabilities are the same, or where the
    /// classes are fully separated, so that the likelihood has no maximum.
    pub fn fit(truth: &[f64], probability: &[f64]) -> Option<Recalibration> {
        if !defined(truth, probability) {
            return None;
        }
        let logits: Vec<f64> = probability.iter().map(|p| p.clamp(CLIP, 1.0 - CLIP)).map(|p| (p / (1.0 - p)).ln()).collect();
        let (mut a, mut b) = (0.0f64, 1.0f64);
        for _ in 0..100 {
            // Newton's step: gradient and information of the log-likelihood.
            let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for (x, y) in logits.iter().zip(truth) {
                let p = 1.0 / (1.0 + (-(a + b * x)).exp());
                let weight = p * (1.0 - p);
                ga += y - p;
                gb += (y - p) * x;
                haa += weight;
                hab += weight * x;
                hbb += weight * x * x;
            }
            let determinant = haa * hbb - hab * hab;
            if !(determinant.is_finite() && determinant > 1e-10 * haa * hbb) {
                return None;
            }
            let (step_a, step_b) = ((hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant);
            // A step is cut, so that a far start does not throw it off.
            let cut = (2.0 / step_a.abs().max(step_b.abs())).min(1.0);
            a += step_a * cut;
            b += step_b * cut;
            if a.abs() > 1e3 || b.abs() > 1e3 {
                return None;
            }
            if step_a.abs().max(step_b.abs()) < 1e-12 {
                let (intercept_se, slope_se) = ((hbb / determinant).sqrt(), (haa / determinant).sqrt());
                return Some(Recalibration { intercept: a, slope: b, intercept_se, slope_se });
            }
        }
        None
    }

    /// Two-sided Wald interval of the intercept.
    pub fn intercept_interval(&self, level: f64) -> Option<(f64, f64)> {
        let half = normal::two_sided(level)? * self.intercept_se;
        Some((self.intercept - half, self.intercept + half))
    }

    /// Two-sided Wald interval of the slope.
    pub fn slope_interval(&self, level: f64) -> Option<(f64, f64)> {
        let half = normal::two_sided(level)? * self.slope_se;
        Some((self.slope - half, self.slope + half))
    }
}

fn defined(truth: &[f64], probability: &[f64]) -> bool {
    !truth.is_empty()
        && truth.len() == probability.len()
        && truth.iter().all(|y| *y == 0.0 || *y == 1.0)
        && probability.iter().all(|p| (0.0..=1.0).contains(p))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn exact_shares_are_calibrated() {
        // Of a hundred rows with p = k/10, ten k are positive.
        let (mut truth, mut p) = (Vec::new(), Vec::new());
        for tenth in 1..10 {
            for row in 0..100 {
                truth.push(f64::from(row < tenth * 10));
                p.push(f64::from(tenth) / 10.0);
            }
        }
        // Nine bins of equal mass are the nine probabilities.
        assert!(calibration_error(&truth, &p, 9, Binning::Mass).unwrap() < 1e-12);
        assert!(calibration_error(&truth, &p, 10, Binning::Width).unwrap() < 1e-12);
        let fit = Recalibration::fit(&truth, &p).unwrap();
        assert!(fit.intercept.abs() < 1e-9 && (fit.slope - 1.0).abs() < 1e-9, "{fit:?}");
        // Logits twice as far out are half as true.
        let bold: Vec<f64> = p.iter().map(|p| p * p / (p * p + (1.0 - p) * (1.0 - p))).collect();
        assert!((Recalibration::fit(&truth, &bold).unwrap().slope - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_fitted_is_none() {
        assert_eq!(Recalibration::fit(&[0.0, 1.0, 0.0, 1.0], &[0.1, 0.9, 0.2, 0.8]), None, "separated");
        assert_eq!(Recalibration::fit(&[1.0; 4], &[0.1, 0.9, 0.2, 0.8]), None, "one class");
        assert_eq!(Recalibration::fit(&[0.0, 1.0], &[0.5, 0.5]), None, "one probability");
        assert_eq!(calibration_error(&[], &[], 10, Binning::Width), None);
        assert_eq!(calibration_error(&[2.0], &[0.5], 10, Binning::Width), None);
        assert_eq!(calibration_error(&[1.0], &[1.5], 10, Binning::Mass), None);
        // Fewer rows than bins.
        assert!((calibration_error(&[1.0, 0.0], &[0.9, 0.2], 10, Binning::Mass).unwrap() - 0.15).abs() < 1e-12);
    }
}
