//! Paired differences of per-row losses: Student's t and Wilcoxon's signed ranks.

use crate::delong::midranks;
use crate::normal;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// More differences than this are not counted out exactly.
const EXACT: usize = 50;

/// Student's t of the mean of paired differences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedT {
    /// Mean difference.
    pub mean: f64,
    /// Standard error of the mean, `n - 1` in the denominator.
    pub se: f64,
    /// Differences.
    pub n: usize,
}

impl PairedT {
    /// `None` for fewer than two differences or one that is not finite.
    ///
    /// Source: `scipy.stats.ttest_1samp(differences, 0)`.
    /// ```
    /// let t = stats::PairedT::new(&[1.0, 2.0, 3.0, 6.0]).unwrap();
    /// assert_eq!(t.mean, 3.0);
    /// assert!((t.p() - 0.0690).abs() < 1e-3);
    /// ```
    pub fn new(differences: &[f64]) -> Option<PairedT> {
        let n = differences.len();
        if n < 2 || differences.iter().any(|d| !d.is_finite()) {
            return None;
        }
        let mean = differences.iter().sum::<f64>() / n as f64;
        let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0);
        let se = (variance / n as f64).sqrt();
        (mean.is_finite() && se.is_finite()).then_some(PairedT { mean, se, n })
    }

    /// The statistic; `None` when every difference is the same.
    pub fn t(&self) -> Option<f64> {
        (self.se > 0.0).then(|| self.mean / self.se)
    }

    /// Two-sided p of a mean of 0; when every difference is the same, 1 for 0 and 0 for anything else.
    pub fn p(&self) -> f64 {
        match self.t() {
            Some(t) => self.student().map_or(1.0, |student| (2.0 * student.sf(t.abs())).min(1.0)),
            None => f64::from(self.mean == 0.0),
        }
    }

    /// Two-sided interval of the mean; `None` for a level outside (0, 1).
    pub fn interval(&self, level: f64) -> Option<(f64, f64)> {
        if !(level > 0.0 && level < 1.0) {
            return None;
        }
        let half = self.student()?.inverse_cdf(1.0 - (1.0 - level) / 2.0) * self.se;
        Some((self.mean - half, self.mean + half))
    }

    fn student(&self) -> Option<StudentsT> {
        StudentsT::new(0.0, 1.0, self.n as f64 - 1.0).ok()
    }
}

/// Wilcoxon's signed-rank test of paired differences that lie around 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wilcoxon {
    /// The smaller of the sums of ranks of positive and of negative differences.
    pub w: f64,
    /// Two-sided.
    pub p: f64,
    /// Differences that are not 0.
    pub n: usize,
    /// Counted out exactly, else by the normal approximation.
    pub exact: bool,
}

impl Wilcoxon {
    /// Differences of 0 are left out (Wilcoxon's own rule). Up to 50 differences without ties and zeros are counted out
    /// exactly; others are approximated, corrected for ties, without continuity correction. `None` when no difference is
    /// left, or one is not finite.
    ///
    /// Source: `scipy.stats.wilcoxon(differences)`, `method="exact"` and `method="asymptotic"`.
    /// ```
    /// let found = stats::Wilcoxon::new(&[1.5, 2.5, -0.5, 3.5, 4.5]).unwrap();
    /// assert_eq!((found.w, found.p, found.exact), (1.0, 0.125, true));
    /// ```
    pub fn new(differences: &[f64]) -> Option<Wilcoxon> {
        if differences.iter().any(|d| !d.is_finite()) {
            return None;
        }
        let moved: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
        let n = moved.len();
        let sizes: Vec<f64> = moved.iter().map(|d| d.abs()).collect();
        let ranks = midranks(&sizes);
        let plus: f64 = moved.iter().zip(&ranks).filter(|(d, _)| **d > 0.0).map(|(_, rank)| rank).sum();
        let all = (n * (n + 1)) as f64 / 2.0;
        let w = plus.min(all - plus);
        let ties = tie_sizes(&sizes);
        let exact = n == differences.len() && n <= EXACT && ties.iter().all(|t| *t == 1.0);
        if n == 0 {
            return None;
        }
        let p = if exact {
            (2.0 * share_at_most(w as usize, n)).min(1.0)
        } else {
            let count = n as f64;
            let corrected: f64 = ties.iter().map(|t| t * t * t - t).sum();
            let variance = (count * (count + 1.0) * (2.0 * count + 1.0) - corrected / 2.0) / 24.0;
            (2.0 * normal::sf((w - all / 2.0).abs() / variance.sqrt())).min(1.0)
        };
        Some(Wilcoxon { w, p, n, exact })
    }
}

fn tie_sizes(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.chunk_by(|a, b| a == b).map(|tied| tied.len() as f64).collect()
}

/// The share of all `2^n` signings of the ranks 1 to n whose positive sum is at most `w`.
fn share_at_most(w: usize, n: usize) -> f64 {
    let mut ways = vec![0.0; n * (n + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..ways.len()).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    ways.iter().take(w + 1).sum::<f64>() / 2f64.powi(n as i32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn wilcoxon_agrees_with_scipy() {
        // scipy.stats.wilcoxon 1.17: exact without ties; asymptotic with ties and zeros (method given).
        let exact = Wilcoxon::new(&[6.0, 8.0, 14.0, 16.0, 23.0, 24.0, 28.0, 29.0, 41.0, -48.0, 49.0, 56.0, 60.0, -67.0, 75.0]).unwrap();
        assert_eq!((exact.w, exact.exact), (24.0, true));
        assert!((exact.p - 0.041259765625).abs() < 1e-12, "{}", exact.p);
        let tied = Wilcoxon::new(&[1.0, 1.0, -1.0, 2.0, 0.0, 3.0, 3.0, -2.0, 4.0, 5.0, 0.0, 2.0]).unwrap();
        assert_eq!((tied.n, tied.w, tied.exact), (10, 7.0, false));
        assert!((tied.p - 0.035564379058193644).abs() < 1e-10, "{}", tied.p);
    }

    #[test]
    fn small_empty_constant_and_not_finite() {
        assert_eq!(PairedT::new(&[1.0]), None);
        assert_eq!(PairedT::new(&[1.0, f64::NAN]), None);
        let constant = PairedT::new(&[2.0, 2.0, 2.0]).unwrap();
        assert_eq!((constant.t(), constant.p(), constant.interval(0.95)), (None, 0.0, Some((2.0, 2.0))));
        assert_eq!(PairedT::new(&[0.0; 3]).unwrap().p(), 1.0);
        assert_eq!(Wilcoxon::new(&[0.0, 0.0]), None);
        assert_eq!(Wilcoxon::new(&[]), None);
        assert_eq!(Wilcoxon::new(&[f64::INFINITY]), None);
    }
}
