//! The Wasserstein-1 (earth mover's) distance of two one-dimensional samples.

/// The least standard deviation that [`wasserstein_norm`] divides by, so that a constant reference does not divide by 0.
const MIN_STD: f64 = 0.001;

/// Exact Wasserstein-1 distance of two samples: the area between their distribution functions, in the unit of the values.
///
/// `None` when either is empty or holds a NaN or an infinity, or when the distance overflows.
///
/// Source: `scipy.stats.wasserstein_distance`.
/// ```
/// assert_eq!(stats::wasserstein(&[0.0, 1.0, 3.0], &[5.0, 6.0, 8.0]), Some(5.0));
/// ```
pub fn wasserstein(u: &[f64], v: &[f64]) -> Option<f64> {
    let ones = |values: &[f64]| values.iter().map(|x| (*x, 1.0)).collect::<Vec<_>>();
    wasserstein_weighted(&ones(u), &ones(v))
}

/// [`wasserstein`] of weighted samples `(value, weight)`; weights are finite, not negative and not all zero, else `None`.
/// ```
/// assert_eq!(stats::wasserstein_weighted(&[(0.0, 3.0), (4.0, 1.0)], &[(0.0, 1.0)]), Some(1.0));
/// ```
pub fn wasserstein_weighted(u: &[(f64, f64)], v: &[(f64, f64)]) -> Option<f64> {
    wasserstein_sorted(&sorted(u)?, &sorted(v)?)
}

/// Wasserstein-1 in units of the reference's spread: `W1 / max(population standard deviation of the reference, 0.001)`.
///
/// Why: thresholds of features in different units become comparable. `None` as in [`wasserstein`].
///
/// Source: Evidently's `wasserstein` stattest ("Wasserstein distance (normed)").
/// ```
/// assert_eq!(stats::wasserstein_norm(&[-1.0, 1.0], &[1.0, 3.0]), Some(2.0));
/// ```
pub fn wasserstein_norm(reference: &[f64], current: &[f64]) -> Option<f64> {
    let distance = wasserstein(reference, current)?;
    let n = reference.len() as f64;
    let mean = reference.iter().sum::<f64>() / n;
    let std = (reference.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    normalise(distance, std)
}

/// `distance / max(std, 0.001)`. A spread that overflowed must not read as "no drift", hence `None`.
pub(crate) fn normalise(distance: f64, std: f64) -> Option<f64> {
    std.is_finite().then(|| distance / std.max(MIN_STD))
}

/// [`wasserstein_weighted`] of ascending points: integrates `|U(x) - V(x)|` between neighbouring values of both.
pub(crate) fn wasserstein_sorted(u: &[(f64, f64)], v: &[(f64, f64)]) -> Option<f64> {
    let total = |points: &[(f64, f64)]| points.iter().map(|(_, weight)| weight).sum::<f64>();
    let (total_u, total_v) = (total(u), total(v));
    if !(total_u > 0.0 && total_v > 0.0) {
        return None;
    }
    let (mut i, mut j, mut below_u, mut below_v, mut area) = (0, 0, 0.0, 0.0, 0.0);
    let mut at = f64::min(u[0].0, v[0].0);
    while i < u.len() || j < v.len() {
        let next = match (u.get(i), v.get(j)) {
            (Some(a), Some(b)) => a.0.min(b.0),
            (Some(a), None) => a.0,
            (None, Some(b)) => b.0,
            (None, None) => break,
        };
        area += (next - at) * f64::abs(below_u / total_u - below_v / total_v);
        at = next;
        while i < u.len() && u[i].0 == at {
            below_u += u[i].1;
            i += 1;
        }
        while j < v.len() && v[j].0 == at {
            below_v += v[j].1;
            j += 1;
        }
    }
    area.is_finite().then_some(area)
}

fn sorted(points: &[(f64, f64)]) -> Option<Vec<(f64, f64)>> {
    if points.iter().any(|(x, weight)| !x.is_finite() || !weight.is_finite() || *weight < 0.0) {
        return None;
    }
    let mut points = points.to_vec();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Some(points)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_to_compare_is_none() {
        for (u, v) in [(vec![], vec![1.0]), (vec![1.0], vec![]), (vec![f64::NAN], vec![1.0]), (vec![1.0], vec![f64::INFINITY])] {
            assert_eq!(wasserstein(&u, &v), None);
            assert_eq!(wasserstein_norm(&u, &v), None);
        }
        assert_eq!(wasserstein_weighted(&[(1.0, 0.0)], &[(1.0, 1.0)]), None);
        assert_eq!(wasserstein_weighted(&[(1.0, -1.0), (2.0, 3.0)], &[(1.0, 1.0)]), None);
    }

    #[test]
    fn huge_values_never_read_as_equal() {
        assert_eq!(wasserstein(&[f64::MIN], &[f64::MAX]), None);
        assert_eq!(wasserstein_norm(&[-1e200, 1e200], &[1e200]), None);
    }

    #[test]
    fn a_constant_reference_is_divided_by_the_least_spread() {
        assert_eq!(wasserstein_norm(&[5.0, 5.0], &[6.0]), Some(1000.0));
    }

    proptest! {
        #[test]
        fn is_a_distance_that_moves_with_the_data(
            u in prop::collection::vec(-1e3f64..1e3, 1..40), v in prop::collection::vec(-1e3f64..1e3, 1..40), shift in -50.0f64..50.0
        ) {
            let there = wasserstein(&u, &v).unwrap();
            prop_assert!(there >= 0.0 && (there - wasserstein(&v, &u).unwrap()).abs() < 1e-9);
            prop_assert_eq!(wasserstein(&u, &u), Some(0.0));
            let moved: Vec<_> = u.iter().map(|x| x + shift).collect();
            prop_assert!((wasserstein(&u, &moved).unwrap() - shift.abs()).abs() < 1e-9);
            let weighted: Vec<_> = u.iter().map(|x| (*x, 2.5)).collect();
            let ones: Vec<_> = v.iter().map(|x| (*x, 1.0)).collect();
            prop_assert!((wasserstein_weighted(&weighted, &ones).unwrap() - there).abs() < 1e-9);
        }
    }
}
