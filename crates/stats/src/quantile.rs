//! Sample quantiles.

/// The quantile `q` in [0, 1] of ascending, finite values, interpolated as numpy's `linear` method does (Hyndman and
/// Fan 1996, type 7): position `(n - 1) q` between order statistics. `None` for no values.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = last as f64 * q;
    let below = (position.floor() as usize).min(last);
    let (a, b, t) = (sorted[below], sorted[(below + 1).min(last)], position - below as f64);
    let step = b - a;
    Some(if !step.is_finite() {
        a * (1.0 - t) + b * t // the difference of two huge values overflows, their mixture does not
    } else if t < 0.5 {
        a + step * t
    } else {
        b - step * (1.0 - t) // numpy's rounding, so that values which lie on an edge fall on the same side
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::quantile;

    #[test]
    fn agrees_with_numpy() {
        let values = [1.0, 2.0, 4.0, 8.0, 16.0];
        for (q, expected) in [(0.0, 1.0), (0.1, 1.4), (0.25, 2.0), (0.6, 5.6), (0.9, 12.8), (1.0, 16.0)] {
            assert!((quantile(&values, q).unwrap() - expected).abs() < 1e-12, "{q}");
        }
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0], 0.3), Some(3.0));
        assert_eq!(quantile(&[f64::MIN, f64::MAX], 0.5), Some(0.0));
    }
}
