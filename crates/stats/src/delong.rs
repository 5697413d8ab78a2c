//! DeLong's test of two areas under ROC curves on the same rows.

use crate::normal;

/// Two AUCs on the same rows with their variances and covariance: an interval of the difference without resampling.
///
/// With `m` positives and `n` negatives, the placement of a positive is the share of negatives below it (ties count half)
/// and of a negative the share of positives above it. Their covariances over both models, each over its own count, add up to
/// the covariance of the two AUCs. Placements come from midranks in `O(N log N)`.
///
/// Sources: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837; Sun and Xu 2014, IEEE SPL 21:1389. Rows count as
/// independent: where they are not, draw them by group ([`paired_difference`](crate::paired_difference)).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeLong {
    /// AUC of the champion.
    pub champion: f64,
    /// AUC of the challenger.
    pub challenger: f64,
    /// Variance of the champion's AUC.
    pub var_champion: f64,
    /// Variance of the challenger's AUC.
    pub var_challenger: f64,
    /// Covariance of both.
    pub cov: f64,
    /// Rows of class 1.
    pub positives: usize,
    /// Rows of class 0.
    pub negatives: usize,
}

impl DeLong {
    /// `None` for lengths that differ, truths other than 0 and 1, scores that are not finite, or fewer than two rows of a class.
    /// ```
    /// let truth = [0.0, 0.0, 1.0, 1.0, 0.0, 1.0];
    /// let found = stats::DeLong::new(&truth, &[0.1, 0.4, 0.35, 0.8, 0.6, 0.7], &[0.1, 0.2, 0.7, 0.8, 0.3, 0.9]).unwrap();
    /// assert_eq!((found.challenger, found.positives), (1.0, 3));
    /// assert!((found.champion - 7.0 / 9.0).abs() < 1e-12);
    /// ```
    pub fn new(truth: &[f64], champion: &[f64], challenger: &[f64]) -> Option<DeLong> {
        let same = truth.len() == champion.len() && truth.len() == challenger.len();
        let defined = truth.iter().all(|y| *y == 0.0 || *y == 1.0) && champion.iter().chain(challenger).all(|p| p.is_finite());
        let positives = truth.iter().filter(|y| **y == 1.0).count();
        let negatives = truth.len() - positives;
        if !same || !defined || positives < 2 || negatives < 2 {
            return None;
        }
        let (old, new) = (Placements::new(truth, champion), Placements::new(truth, challenger));
        let (m, n) = (positives as f64, negatives as f64);
        let of = |a: &Placements, b: &Placements| covariance(&a.positives, &b.positives) / m + covariance(&a.negatives, &b.negatives) / n;
        Some(DeLong {
            champion: mean(&old.positives),
            challenger: mean(&new.positives),
            var_champion: of(&old, &old),
            var_challenger: of(&new, &new),
            cov: of(&old, &new),
            positives,
            negatives,
        })
    }

    /// Challenger minus champion.
    pub fn difference(&self) -> f64 {
        self.challenger - self.champion
    }

    /// Standard error of the difference.
    pub fn se(&self) -> f64 {
        (self.var_champion + self.var_challenger - 2.0 * self.cov).max(0.0).sqrt()
    }

    /// The difference in standard errors; `None` where the models do not differ at all.
    pub fn z(&self) -> Option<f64> {
        let se = self.se();
        (se > 0.0).then(|| self.difference() / se)
    }

    /// Two-sided p of no difference; 1 where the models do not differ at all.
    pub fn p(&self) -> f64 {
        self.z().map_or(1.0, |z| (2.0 * normal::sf(z.abs())).min(1.0))
    }

    /// One-sided p of "the challenger is worse by `margin` or more".
    pub fn p_non_inferior(&self, margin: f64) -> f64 {
        let (shift, se) = (self.difference() + margin, self.se());
        if se > 0.0 { normal::sf(shift / se) } else { f64::from(shift <= 0.0) }
    }

    /// Two-sided interval of the difference; `None` for a level outside (0, 1).
    pub fn interval(&self, level: f64) -> Option<(f64, f64)> {
        let half = normal::two_sided(level)? * self.se();
        Some((self.difference() - half, self.difference() + half))
    }
}

/// Where each row stands among those of the other class, in [0, 1].
struct Placements {
    positives: Vec<f64>,
    negatives: Vec<f64>,
}

impl Placements {
    fn new(truth: &[f64], score: &[f64]) -> Self {
        let of_class = |class: f64| -> Vec<f64> { truth.iter().zip(score).filter(|(y, _)| **y == class).map(|(_, s)| *s).collect() };
        let (x, y) = (of_class(1.0), of_class(0.0));
        let (m, n) = (x.len(), y.len());
        let both: Vec<f64> = x.iter().chain(&y).copied().collect();
        let among_all = midranks(&both);
        let above = |all: &[f64], own: Vec<f64>, others: usize| -> Vec<f64> {
            all.iter().zip(own).map(|(all, own)| (all - own) / others as f64).collect()
        };
        let positives = above(&among_all[..m], midranks(&x), n);
        let negatives = above(&among_all[m..], midranks(&y), m).into_iter().map(|share| 1.0 - share).collect();
        Placements { positives, negatives }
    }
}

/// Ranks from 1 in ascending order; values that tie share the mean of their ranks.
pub(crate) fn midranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let shared = below as f64 + (tied.len() as f64 + 1.0) / 2.0;
        tied.iter().for_each(|row| ranks[*row] = shared);
        below += tied.len();
    }
    ranks
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// With `n - 1` in the denominator.
fn covariance(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum::<f64>() / (a.len() as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// The definition, pair by pair.
    fn naive(truth: &[f64], score: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let of_class = |class: f64| -> Vec<f64> { truth.iter().zip(score).filter(|(y, _)| **y == class).map(|(_, s)| *s).collect() };
        let (x, y) = (of_class(1.0), of_class(0.0));
        let psi = |x: f64, y: f64| {
            if x > y {
                1.0
            } else if x == y {
                0.5
            } else {
                0.0
            }
        };
        let positives = x.iter().map(|x| y.iter().map(|y| psi(*x, *y)).sum::<f64>() / y.len() as f64).collect();
        let negatives = y.iter().map(|y| x.iter().map(|x| psi(*x, *y)).sum::<f64>() / x.len() as f64).collect();
        (positives, negatives)
    }

    proptest! {
        #[test]
        fn midranks_agree_with_all_pairs(rows in prop::collection::vec((0u8..2, 0u8..8, 0u8..8), 4..60)) {
            let truth: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let old: Vec<f64> = rows.iter().map(|row| f64::from(row.1)).collect();
            let new: Vec<f64> = rows.iter().map(|row| f64::from(row.2)).collect();
            let Some(found) = DeLong::new(&truth, &old, &new) else { return Ok(()) };
            let ((xo, yo), (xn, yn)) = (naive(&truth, &old), naive(&truth, &new));
            let (m, n) = (xo.len() as f64, yo.len() as f64);
            prop_assert!((found.champion - mean(&xo)).abs() < 1e-12);
            prop_assert!((found.var_challenger - (covariance(&xn, &xn) / m + covariance(&yn, &yn) / n)).abs() < 1e-12);
            prop_assert!((found.cov - (covariance(&xo, &xn) / m + covariance(&yo, &yn) / n)).abs() < 1e-12);
            prop_assert!(found.se() >= 0.0 && (0.0..=1.0).contains(&found.p()));
        }
    }

    #[test]
    fn ranks_of_ties_are_shared() {
        assert_eq!(midranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
        assert!(midranks(&[]).is_empty());
    }

    #[test]
    fn equal_models_do_not_differ_and_one_class_is_no_evidence() {
        let (truth, score) = ([0.0, 1.0, 0.0, 1.0], [0.3, 0.2, 0.1, 0.9]);
        let same = DeLong::new(&truth, &score, &score).unwrap();
        assert_eq!((same.difference(), same.z(), same.p(), same.interval(0.95)), (0.0, None, 1.0, Some((0.0, 0.0))));
        assert_eq!((same.p_non_inferior(0.01), same.p_non_inferior(0.0)), (0.0, 1.0));
        assert_eq!(DeLong::new(&[1.0; 4], &score, &score), None);
        assert_eq!(DeLong::new(&truth, &score, &[f64::NAN; 4]), None);
        assert_eq!(DeLong::new(&truth, &score[..3], &score), None);
    }
}
