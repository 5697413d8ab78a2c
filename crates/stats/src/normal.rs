//! The standard normal distribution.

use statrs::distribution::{ContinuousCDF, Normal};

/// The quantile `q` in (0, 1).
pub(crate) fn quantile(q: f64) -> f64 {
    Normal::standard().inverse_cdf(q)
}

/// `P(Z > z)`, exact in the far tail too.
pub(crate) fn sf(z: f64) -> f64 {
    Normal::standard().sf(z)
}

/// `P(Z <= z)`.
pub(crate) fn cdf(z: f64) -> f64 {
    Normal::standard().cdf(z)
}

/// The quantile of a two-sided interval at a confidence in (0, 1): 1.96 for 0.95.
pub(crate) fn two_sided(level: f64) -> Option<f64> {
    (level > 0.0 && level < 1.0).then(|| quantile(1.0 - (1.0 - level) / 2.0))
}
