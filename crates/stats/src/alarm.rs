//! Rates that are stated with their sample size and interval.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// A share of `n` trials with its Wilson score interval, such as the false-alarm rate of a monitor on its reference.
///
/// Why: "0 of 8 windows alarmed" is not a rate of 0; with its interval it says 0 to 32 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// `hits / n`.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Number of trials.
    pub n: u64,
    /// Two-sided confidence level of the interval.
    pub level: f64,
}

impl Rate {
    /// `hits` of `n` with the Wilson interval: `(p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)`.
    ///
    /// `None` when `n` is 0, `hits > n`, or `level` is not inside (0, 1).
    /// Source: Wilson 1927, JASA 22:209; values agree with statsmodels' `proportion_confint(method="wilson")`.
    /// ```
    /// let rate = stats::Rate::wilson(0, 8, 0.95).unwrap();
    /// assert_eq!((rate.value, rate.low), (0.0, 0.0));
    /// assert!((rate.high - 0.32441).abs() < 1e-5);
    /// ```
    pub fn wilson(hits: u64, n: u64, level: f64) -> Option<Rate> {
        if n == 0 || hits > n || !(level > 0.0 && level < 1.0) {
            return None;
        }
        let z = Normal::standard().inverse_cdf(0.5 + level / 2.0);
        let (p, trials) = (hits as f64 / n as f64, n as f64);
        let scale = 1.0 + z * z / trials;
        let centre = (p + z * z / (2.0 * trials)) / scale;
        let half = z * (p * (1.0 - p) / trials + (z / (2.0 * trials)).powi(2)).sqrt() / scale;
        Some(Rate { value: p, low: (centre - half).max(0.0), high: (centre + half).min(1.0), n, level })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn agrees_with_statsmodels() {
        for (hits, n, low, high) in [(94, 95, 0.9427612985868637, 0.9981394237376521), (91, 95, 0.8966912227790326, 0.9835062271374501)] {
            let rate = Rate::wilson(hits, n, 0.95).unwrap();
            assert!((rate.low - low).abs() < 1e-9 && (rate.high - high).abs() < 1e-9, "{rate:?}");
        }
    }

    #[test]
    fn the_ends_are_mirror_images_and_nothing_has_no_rate() {
        let (none, all) = (Rate::wilson(0, 20, 0.9).unwrap(), Rate::wilson(20, 20, 0.9).unwrap());
        assert!((none.high - (1.0 - all.low)).abs() < 1e-12 && all.high == 1.0);
        for (hits, n, level) in [(0, 0, 0.95), (3, 2, 0.95), (1, 2, 0.0), (1, 2, 1.0), (1, 2, f64::NAN)] {
            assert_eq!(Rate::wilson(hits, n, level), None);
        }
    }
}
