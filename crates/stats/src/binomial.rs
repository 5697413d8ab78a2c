//! Binomial probabilities, Wilson's interval, the sign test.

use crate::normal;
use statrs::distribution::{Binomial, Discrete, DiscreteCDF};

/// `P(X <= k)` of `n` draws with probability `p`.
pub(crate) fn cdf(k: u64, n: u64, p: f64) -> f64 {
    Binomial::new(p, n).map_or(1.0, |distribution| distribution.cdf(k))
}

/// `P(X = k)`.
pub(crate) fn pmf(k: u64, n: u64, p: f64) -> f64 {
    Binomial::new(p, n).map_or(1.0, |distribution| distribution.pmf(k))
}

/// `P(X >= k)`.
fn at_least(k: u64, n: u64, p: f64) -> f64 {
    match k.checked_sub(1) {
        None => 1.0,
        Some(below) => Binomial::new(p, n).map_or(1.0, |distribution| distribution.sf(below)),
    }
}

/// Wilson's score interval of a share, `hits` of `n`; `None` without draws or for a level outside (0, 1).
///
/// Source: Wilson 1927, JASA 22:209.
/// ```
/// let (low, high) = stats::wilson(94, 95, 0.95).unwrap();
/// assert!((low - 0.942761).abs() < 1e-6 && (high - 0.998139).abs() < 1e-6);
/// ```
pub fn wilson(hits: u64, n: u64, level: f64) -> Option<(f64, f64)> {
    if n == 0 || hits > n {
        return None;
    }
    let (z, n, p) = (normal::two_sided(level)?, n as f64, hits as f64 / n as f64);
    let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    Some(((middle - half).max(0.0), (middle + half).min(1.0)))
}

/// Exact one-sided sign test: the probability of `worse` or more of `worse + better` untied pairs being worse by chance. 1
/// where every pair ties.
/// ```
/// assert!((stats::sign_test(1, 3) - 0.9375).abs() < 1e-12);
/// assert_eq!(stats::sign_test(0, 0), 1.0);
/// ```
pub fn sign_test(worse: u64, better: u64) -> f64 {
    at_least(worse, worse + better, 0.5).min(1.0)
}

/// A distribution-free interval of the quantile `q` of ascending values: the order statistics whose ranks hold it with
/// `level`. An end that too few values can bound is infinite.
///
/// Source: Hahn and Meeker 1991, Statistical Intervals, section 5.2.
/// ```
/// let values: Vec<f64> = (1..=1000).map(f64::from).collect();
/// let (low, high) = stats::quantile_interval(&values, 0.99, 0.95).unwrap();
/// assert!(low < 990.0 && 990.0 < high && high <= 997.0, "{low} {high}");
/// assert_eq!(stats::quantile_interval(&values[..100], 0.99, 0.95).unwrap().1, f64::INFINITY);
/// ```
pub fn quantile_interval(sorted: &[f64], q: f64, level: f64) -> Option<(f64, f64)> {
    if sorted.is_empty() || !(level > 0.0 && level < 1.0 && q > 0.0 && q < 1.0) {
        return None;
    }
    let (n, tail) = (sorted.len() as u64, (1.0 - level) / 2.0);
    let distribution = Binomial::new(q, n).ok()?;
    // The rank r (from 1) lies below the quantile with probability P(X >= r).
    let below = (1..=n).take_while(|rank| distribution.cdf(rank - 1) <= tail).last();
    let above = (1..=n).find(|rank| distribution.sf(rank - 1) <= tail);
    let at = |rank: u64| sorted[rank as usize - 1];
    Some((below.map_or(f64::NEG_INFINITY, at), above.map_or(f64::INFINITY, at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_stays_within_its_range() {
        assert_eq!(wilson(0, 0, 0.95), None);
        assert_eq!(wilson(3, 2, 0.95), None);
        assert!(wilson(0, 10, 0.95).is_some_and(|(low, high)| low.abs() < 1e-12 && (0.27..0.28).contains(&high)));
        assert!(wilson(10, 10, 0.95).is_some_and(|(low, high)| (high - 1.0).abs() < 1e-12 && (0.72..0.73).contains(&low)));
    }
}
