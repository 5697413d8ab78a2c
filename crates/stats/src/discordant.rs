//! Two models' right and wrong answers on the same rows: McNemar's tests and Tango's interval.

use crate::{binomial, normal};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// How two models' right and wrong answers to the same rows fall together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discordant {
    /// Rows that only the champion has right.
    pub only_champion: u64,
    /// Rows that only the challenger has right.
    pub only_challenger: u64,
    /// Rows that both have right.
    pub both_right: u64,
    /// Rows that both have wrong.
    pub both_wrong: u64,
}

impl Discordant {
    /// Counts rows; `None` for lengths that differ or no rows.
    /// ```
    /// let pairs = stats::Discordant::new(&[true, true, false], &[true, false, true]).unwrap();
    /// assert_eq!((pairs.only_champion, pairs.only_challenger, pairs.both_right), (1, 1, 1));
    /// ```
    pub fn new(champion_right: &[bool], challenger_right: &[bool]) -> Option<Discordant> {
        if champion_right.len() != challenger_right.len() || champion_right.is_empty() {
            return None;
        }
        let count = |old: bool, new: bool| champion_right.iter().zip(challenger_right).filter(|pair| *pair == (&old, &new)).count() as u64;
        Some(Discordant {
            only_champion: count(true, false),
            only_challenger: count(false, true),
            both_right: count(true, true),
            both_wrong: count(false, false),
        })
    }

    /// Rows.
    pub fn n(&self) -> u64 {
        self.discordant() + self.both_right + self.both_wrong
    }

    /// Rows that only one of them has right: all the evidence there is.
    pub fn discordant(&self) -> u64 {
        self.only_champion + self.only_challenger
    }

    /// Accuracy of the challenger minus that of the champion, in [-1, 1].
    pub fn difference(&self) -> f64 {
        (self.only_challenger as f64 - self.only_champion as f64) / self.n() as f64
    }

    /// McNemar's exact two-sided p, `min(1, 2 P(X <= min(b, c)))` with X binomial(b + c, 1/2).
    /// ```
    /// let pairs = stats::Discordant { only_champion: 6, only_challenger: 25, both_right: 251, both_wrong: 3 };
    /// assert!((pairs.exact_p() - 0.000878).abs() < 1e-6);
    /// ```
    pub fn exact_p(&self) -> f64 {
        (2.0 * binomial::cdf(self.only_champion.min(self.only_challenger), self.discordant(), 0.5)).min(1.0)
    }

    /// The mid-p variant: the exact p less the probability of what was found; less conservative (Fagerland 2013).
    pub fn mid_p(&self) -> f64 {
        if self.only_champion == self.only_challenger {
            return 1.0 - binomial::pmf(self.only_champion, self.discordant(), 0.5);
        }
        self.exact_p() - binomial::pmf(self.only_champion.min(self.only_challenger), self.discordant(), 0.5)
    }

    /// McNemar's statistic `(b - c)² / (b + c)`, and with the continuity correction `(|b - c| - 1)² / (b + c)`. 0 where no
    /// row is discordant.
    pub fn chi2(&self, continuity: bool) -> f64 {
        let gap = self.only_champion.abs_diff(self.only_challenger) as f64;
        let gap = if continuity { (gap - 1.0).max(0.0) } else { gap };
        if self.discordant() == 0 { 0.0 } else { gap * gap / self.discordant() as f64 }
    }

    /// The p of [`chi2`](Discordant::chi2), one degree of freedom.
    pub fn chi2_p(&self, continuity: bool) -> f64 {
        let chi2 = self.chi2(continuity);
        ChiSquared::new(1.0).map_or(1.0, |distribution| distribution.sf(chi2))
    }

    /// Tango's score interval of the accuracy difference; `None` for a level outside (0, 1).
    ///
    /// The limits solve `T(d) = ±z`, where T is the score statistic with the nuisance share estimated under `d`; T(0)² is
    /// McNemar's statistic. It keeps its level with few discordant rows, where Wald's does not.
    ///
    /// Source: Tango 1998, Stat Med 17:891.
    pub fn tango(&self, level: f64) -> Option<(f64, f64)> {
        let z = normal::two_sided(level)?;
        let point = self.difference();
        Some((self.solve(-1.0, point, z), self.solve(point, 1.0, -z)))
    }

    /// The score statistic of a difference `d` in (-1, 1); falls as `d` grows.
    pub fn score(&self, d: f64) -> f64 {
        let (b, c, n) = (self.only_challenger as f64, self.only_champion as f64, self.n() as f64);
        let a2 = 2.0 * n;
        let b2 = -b - c + (2.0 * n - b + c) * d;
        let c2 = -c * d * (1.0 - d);
        let q = ((b2 * b2 - 4.0 * a2 * c2).max(0.0).sqrt() - b2) / (2.0 * a2);
        let variance = n * (2.0 * q + d * (1.0 - d));
        let distance = b - c - n * d;
        if variance > 0.0 {
            distance / variance.sqrt()
        } else if distance == 0.0 {
            0.0
        } else {
            distance.signum() * f64::INFINITY
        }
    }

    /// Where the score is `target`, by bisection to the last bit.
    fn solve(&self, mut low: f64, mut high: f64, target: f64) -> f64 {
        for _ in 0..200 {
            let middle = low + (high - low) / 2.0;
            if self.score(middle) > target { low = middle } else { high = middle }
        }
        low + (high - low) / 2.0
    }

    /// Wald's standard error of the difference, `√(b + c - (b - c)²/n) / n`.
    pub fn wald_se(&self) -> f64 {
        let (n, gap) = (self.n() as f64, self.only_champion.abs_diff(self.only_challenger) as f64);
        (self.discordant() as f64 - gap * gap / n).max(0.0).sqrt() / n
    }
}

/// Pairs that McNemar's two-sided test needs to find an accuracy difference `difference` when a share `discordant` of pairs
/// is discordant: `((z_α √pd + z_β √(pd - d²)) / d)²`, rounded up. `None` for a difference of 0, or shares that do not go together.
///
/// Source: Connor 1987, Biometrics 43:207.
/// ```
/// assert_eq!(stats::pairs_for_difference(0.06, 0.02, 0.05, 0.8), Some(1175));
/// ```
pub fn pairs_for_difference(discordant: f64, difference: f64, alpha: f64, power: f64) -> Option<u64> {
    let d = difference.abs();
    if !(d > 0.0 && d <= discordant && discordant <= 1.0) {
        return None;
    }
    let (za, zb) = (normal::two_sided(1.0 - alpha)?, power_quantile(power)?);
    whole(((za * discordant.sqrt() + zb * (discordant - d * d).sqrt()) / d).powi(2))
}

/// Pairs that show, at a one-sided `alpha`, that a version is not worse by `margin` in accuracy, when it truly is better by
/// `difference` and a share `discordant` of pairs is discordant: `(z_α + z_β)² (pd - d²) / (margin + d)²`, rounded up. `None`
/// when `margin + difference` is not above 0: no number of rows would do.
///
/// Source: Lu and Bean 1995, Stat Med 14:1831.
/// ```
/// assert_eq!(stats::pairs_for_margin(0.04, 0.0, 0.01, 0.025, 0.8), Some(3140));
/// ```
pub fn pairs_for_margin(discordant: f64, difference: f64, margin: f64, alpha: f64, power: f64) -> Option<u64> {
    let distance = margin + difference;
    let spread = discordant - difference * difference;
    if !(distance > 0.0 && spread >= 0.0 && alpha > 0.0 && alpha < 1.0) {
        return None;
    }
    let (za, zb) = (normal::quantile(1.0 - alpha), power_quantile(power)?);
    whole((za + zb).powi(2) * spread / (distance * distance))
}

/// Rows after which a two-sided interval at `level` would clear a limit with `power`, if now `n` rows give it the half-width
/// `half` and the estimate lies `distance` from the limit on the good side: `n ((z_α + z_β) half / (z_α distance))²`, rounded
/// up. `None` when the estimate is on the wrong side: more rows would not help.
/// ```
/// // Twice as near asks for four times the rows.
/// let (near, far) = (stats::rows_to_clear(100, 1.0, 0.5, 0.95, 0.8), stats::rows_to_clear(100, 1.0, 1.0, 0.95, 0.8));
/// assert_eq!((near, far, stats::rows_to_clear(100, 1.0, -0.5, 0.95, 0.8)), (Some(818), Some(205), None));
/// ```
pub fn rows_to_clear(n: u64, half: f64, distance: f64, level: f64, power: f64) -> Option<u64> {
    if !(distance > 0.0 && half.is_finite()) {
        return None;
    }
    let (za, zb) = (normal::two_sided(level)?, power_quantile(power)?);
    whole(n as f64 * ((za + zb) / za * half / distance).powi(2))
}

fn power_quantile(power: f64) -> Option<f64> {
    (power > 0.0 && power < 1.0).then(|| normal::quantile(power))
}

/// Rounded up; what lies within rounding of a whole number is that number.
fn whole(rows: f64) -> Option<u64> {
    (rows.is_finite() && rows < 1e15).then(|| (rows - 1e-9).ceil().max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tango_holds_the_point_and_meets_mcnemar(b in 0u64..40, c in 0u64..40, right in 0u64..60, wrong in 1u64..60) {
            let pairs = Discordant { only_champion: b, only_challenger: c, both_right: right, both_wrong: wrong };
            let (low, high) = pairs.tango(0.95).unwrap();
            prop_assert!(low <= pairs.difference() && pairs.difference() <= high && low >= -1.0 && high <= 1.0, "{low} {high}");
            prop_assert!((pairs.score(0.0).powi(2) - pairs.chi2(false)).abs() < 1e-9);
            // Exchanging the models mirrors it.
            let mirrored = Discordant { only_champion: c, only_challenger: b, ..pairs }.tango(0.95).unwrap();
            prop_assert!((mirrored.0 + high).abs() < 1e-9 && (mirrored.1 + low).abs() < 1e-9);
            prop_assert!((0.0..=1.0).contains(&pairs.exact_p()) && (0.0..=1.0).contains(&pairs.mid_p()));
        }
    }

    #[test]
    fn no_discordant_row_is_no_difference_but_a_width() {
        let pairs = Discordant { only_champion: 0, only_challenger: 0, both_right: 100, both_wrong: 0 };
        assert_eq!((pairs.exact_p(), pairs.chi2(true), pairs.chi2_p(false)), (1.0, 0.0, 1.0));
        let (low, high) = pairs.tango(0.95).unwrap();
        // z² / (n + z²), as the score reduces to without discordant rows.
        assert!((high - 3.841_458_8 / 103.841_458_8).abs() < 1e-8 && (low + high).abs() < 1e-12, "{low} {high}");
        assert_eq!(pairs.tango(1.0), None);
        assert_eq!(Discordant::new(&[], &[]), None);
    }

    #[test]
    fn sample_sizes_refuse_what_no_number_of_rows_would_show() {
        assert_eq!(pairs_for_difference(0.06, 0.0, 0.05, 0.8), None);
        assert_eq!(pairs_for_difference(0.01, 0.02, 0.05, 0.8), None);
        assert_eq!(pairs_for_margin(0.04, -0.02, 0.01, 0.025, 0.8), None);
        assert!(pairs_for_margin(0.04, 0.01, 0.01, 0.025, 0.8).unwrap() < 3140);
    }
}
