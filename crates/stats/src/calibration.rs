//! Whether probabilities mean what they say: calibration error and logistic recalibration.

use crate::bootstrap::Draws;
use crate::normal;
use crate::quantile::quantile;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

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
    for (bin, (y, p)) in bins_of(probability, bins, binning).into_iter().zip(truth.iter().zip(probability)) {
        gaps[bin] += p - y;
    }
    Some(gaps.iter().map(|gap: &f64| gap.abs()).sum::<f64>() / n as f64)
}

/// A two-sided interval of [`calibration_error`] by the bootstrap of rows, with the bins of the rows as they are.
///
/// The error of a sample lies above that of the model, because chance moves every bin away from 0, and a replicate lies above the sample's
/// again. The basic interval (quantiles reflected at the sample's value) takes that off, too much where a model is far from calibrated; the
/// percentile interval leaves it. The outer ends of the two are taken, within [0, 1]; the lower end is 0 where labels drawn with the stated
/// probabilities have as great an error: then it may be chance alone.
///
/// `None` where the error is undefined, for fewer than 2 rows, and for a level outside (0, 1). Takes `2 replicates × rows` steps.
///
/// Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 5.2.1.
pub fn calibration_interval(
    truth: &[f64],
    probability: &[f64],
    bins: usize,
    binning: Binning,
    replicates: usize,
    level: f64,
    seed: u64,
) -> Option<(f64, f64)> {
    let point = calibration_error(truth, probability, bins, binning)?;
    let n = u32::try_from(truth.len()).ok().filter(|n| *n > 1)?;
    if !(level > 0.0 && level < 1.0) {
        return None;
    }
    let bin = bins_of(probability, bins, binning);
    let all = [(0..n).collect::<Vec<u32>>()];
    let mut found = Draws::new(seed, &all).evaluate(replicates, |drawn| {
        let mut gaps = vec![0.0; bins];
        for row in drawn {
            let row = *row as usize;
            gaps[bin[row]] += probability[row] - truth[row];
        }
        Some(gaps.iter().map(|gap: &f64| gap.abs()).sum::<f64>() / f64::from(n))
    });
    found.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    let (least, most) = (quantile(&found, tail)?, quantile(&found, 1.0 - tail)?);
    let (low, high) = ((2.0 * point - most).min(least), (2.0 * point - least).max(most));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut chance: Vec<f64> = (0..replicates)
        .map(|_| {
            let mut gaps = vec![0.0; bins];
            for (p, bin) in probability.iter().zip(&bin) {
                gaps[*bin] += p - f64::from(f64::from(rng.next_u32()) / 4_294_967_296.0 < *p);
            }
            gaps.iter().map(|gap: &f64| gap.abs()).sum::<f64>() / f64::from(n)
        })
        .collect();
    chance.sort_unstable_by(f64::total_cmp);
    let could_be_chance = point <= quantile(&chance, 1.0 - tail)?;
    Some((if could_be_chance { 0.0 } else { low.clamp(0.0, point) }, high.clamp(point, 1.0)))
}

/// The bin of every row.
fn bins_of(probability: &[f64], bins: usize, binning: Binning) -> Vec<usize> {
    match binning {
        Binning::Width => probability.iter().map(|p| (1..bins).take_while(|edge| *p > *edge as f64 / bins as f64).count()).collect(),
        Binning::Mass => {
            let n = probability.len();
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|a, b| probability[*a].total_cmp(&probability[*b]));
            let sizes = (0..bins).flat_map(|bin| std::iter::repeat_n(bin, n / bins + usize::from(bin < n % bins)));
            let mut of = vec![0; n];
            order.into_iter().zip(sizes).for_each(|(row, bin)| of[row] = bin);
            of
        }
    }
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

    /// The interval's promise, over many samples of models whose error is known: it holds the model's own error.
    #[test]
    fn intervals_hold_the_models_own_error_as_often_as_they_say() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut uniform = || f64::from(rng.next_u32()) / 4_294_967_296.0;
        for (shift, binning) in [(0.1, Binning::Width), (0.1, Binning::Mass), (0.0, Binning::Width)] {
            let held = (0..200).filter(|sample| {
                let p: Vec<f64> = (0..400).map(|_| 0.05 + 0.8 * uniform()).collect();
                let truth: Vec<f64> = p.iter().map(|p| f64::from(uniform() < p + shift)).collect();
                let (low, high) = calibration_interval(&truth, &p, 10, binning, 400, 0.95, *sample).unwrap();
                low - 1e-12 <= shift && shift <= high
            });
            let held = held.count();
            assert!((184..=200).contains(&held), "{shift} {binning:?}: {held} of 200");
        }
        let p = [0.1, 0.4, 0.35, 0.8];
        let y = [0.0, 0.0, 1.0, 1.0];
        assert!(calibration_interval(&y, &p, 10, Binning::Width, 100, 0.95, 1).is_some_and(|(low, high)| low <= high));
        assert_eq!(calibration_interval(&y, &p, 10, Binning::Width, 100, 1.0, 1), None);
        assert_eq!(calibration_interval(&y[..1], &p[..1], 10, Binning::Width, 100, 0.95, 1), None);
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
