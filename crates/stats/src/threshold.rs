//! Drift thresholds learnt from the reference.

use serde::{Deserialize, Serialize};

/// A threshold learnt from the reference: what its own windows, of the live windows' length, differ from the whole.
///
/// Why: weather, traffic and seasons are correlated in time, so a week differs from its own month; a fixed 0.25 alarms
/// every week on such data. If live windows are like the reference's, a new one passes the greatest of `n` with a
/// probability of about `1 / (n + 1)`: small `n` is weak evidence, so `n` travels with the value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The threshold: the greatest score of the reference's windows, and at least `floor`.
    pub value: f64,
    /// The least threshold, which rules alone when `n_windows` is 0.
    pub floor: f64,
    /// How many reference windows had a score.
    pub n_windows: u64,
}

impl Threshold {
    /// `max(floor, greatest window score)`. Scores that are not finite are no evidence and are left out of `n_windows`.
    /// ```
    /// let threshold = stats::Threshold::learn(&[0.05, 0.31, f64::NAN], 0.1);
    /// assert_eq!((threshold.value, threshold.n_windows), (0.31, 2));
    /// assert_eq!(stats::Threshold::learn(&[], 0.1).value, 0.1);
    /// ```
    pub fn learn(window_scores: &[f64], floor: f64) -> Threshold {
        let scores = window_scores.iter().copied().filter(|score| score.is_finite());
        Threshold { value: scores.clone().fold(floor, f64::max), floor, n_windows: scores.count() as u64 }
    }

    /// Whether a score lies beyond the threshold. The threshold itself was seen in the reference and does not.
    /// ```
    /// let threshold = stats::Threshold::learn(&[0.3], 0.1);
    /// assert!(!threshold.is_exceeded_by(0.3) && threshold.is_exceeded_by(0.31));
    /// ```
    pub fn is_exceeded_by(&self, score: f64) -> bool {
        score > self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_rules_where_the_reference_is_calm_or_silent() {
        for (scores, n) in [(&[][..], 0), (&[0.02, 0.09], 2), (&[f64::NAN, f64::INFINITY], 0)] {
            let threshold = Threshold::learn(scores, 0.1);
            assert_eq!((threshold.value, threshold.n_windows), (0.1, n));
        }
    }
}
