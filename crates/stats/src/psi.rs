//! Distances between two sets of counts in the same bins.

/// The share that stands in for an empty bin in [`psi`].
const ZERO_SHARE: f64 = 1e-4;

/// Population stability index of two counts in the same bins: `sum((p - q) ln(p / q))`, with p the reference's and q the
/// current's shares.
///
/// Convention: reference deciles (see [`crate::Bins`]), a zero share counts as 1e-4 and nothing is renormalised. Print it
/// beside the number: other bins give other values (Evidently's equal-width bins can reverse a verdict). With ten bins
/// PSI saturates near 8 once the supports are disjoint, so show the Wasserstein distance beside it.
///
/// At least 0, and 0 for equal shares. `None` when either side is empty or the two have different bins.
///
/// Source: Siddiqi, Credit Risk Scorecards (2006); values agree with numpy's.
/// ```
/// assert_eq!(stats::psi(&[50, 50], &[10, 10]), Some(0.0));
/// assert!((stats::psi(&[50, 50], &[90, 10]).unwrap() - 0.879).abs() < 1e-3);
/// assert_eq!(stats::psi(&[0, 0], &[1, 2]), None);
/// ```
pub fn psi(reference: &[u64], current: &[u64]) -> Option<f64> {
    sum_over_shares(reference, current, |p, q| {
        let nonzero = |share: f64| if share == 0.0 { ZERO_SHARE } else { share };
        let (p, q) = (nonzero(p), nonzero(q));
        (p - q) * (p / q).ln()
    })
}

/// Jensen-Shannon distance of two counts in the same bins, natural logarithm: `sqrt((KL(p|m) + KL(q|m)) / 2)` with
/// `m = (p + q) / 2`; from 0 to `sqrt(ln 2)` = 0.8326. `None` as in [`psi`].
///
/// Source: `scipy.spatial.distance.jensenshannon`.
/// ```
/// assert!((stats::js_distance(&[1, 0], &[0, 1]).unwrap() - 2f64.ln().sqrt()).abs() < 1e-12);
/// ```
pub fn js_distance(reference: &[u64], current: &[u64]) -> Option<f64> {
    let term = |x: f64, m: f64| if x == 0.0 { 0.0 } else { x * (x / m).ln() };
    let sum = sum_over_shares(reference, current, |p, q| term(p, (p + q) / 2.0) + term(q, (p + q) / 2.0))?;
    Some((sum / 2.0).max(0.0).sqrt())
}

/// Total variation distance of two counts in the same bins: `sum(|p - q|) / 2`, from 0 to 1. `None` as in [`psi`].
/// ```
/// assert_eq!(stats::tvd(&[1, 3], &[3, 1]), Some(0.5));
/// ```
pub fn tvd(reference: &[u64], current: &[u64]) -> Option<f64> {
    Some(sum_over_shares(reference, current, |p, q| (p - q).abs())? / 2.0)
}

fn sum_over_shares(reference: &[u64], current: &[u64], term: impl Fn(f64, f64) -> f64) -> Option<f64> {
    let total = |counts: &[u64]| counts.iter().map(|count| *count as f64).sum::<f64>();
    let (n, m) = (total(reference), total(current));
    if reference.len() != current.len() || n == 0.0 || m == 0.0 {
        return None;
    }
    Some(reference.iter().zip(current).map(|(a, b)| term(*a as f64 / n, *b as f64 / m)).sum())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_to_compare_is_none() {
        for f in [psi, js_distance, tvd] {
            assert_eq!(f(&[], &[]), None);
            assert_eq!(f(&[1], &[0]), None);
            assert_eq!(f(&[1, 2], &[1, 2, 3]), None);
        }
    }

    #[test]
    fn disjoint_deciles_saturate() {
        let value = psi(&[10; 10], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 70]).unwrap();
        assert!(value > 8.0 && value < 8.5, "{value}");
    }

    proptest! {
        #[test]
        fn are_not_negative_vanish_on_equals_and_bear_a_change_of_scale(
            pairs in prop::collection::vec((0u64..1000, 0u64..1000), 1..30), k in 1u64..50
        ) {
            let (mut a, mut b): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            (a[0], b[0]) = (a[0] + 1, b[0] + 1);
            let scaled: Vec<_> = a.iter().map(|count| count * k).collect();
            for f in [psi, js_distance, tvd] {
                let (there, back) = (f(&a, &b).unwrap(), f(&b, &a).unwrap());
                prop_assert!(there >= 0.0 && (there - back).abs() < 1e-9);
                prop_assert_eq!(f(&a, &a), Some(0.0));
                prop_assert!((f(&scaled, &b).unwrap() - there).abs() < 1e-9);
            }
        }
    }
}
