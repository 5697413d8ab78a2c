//! The two-sample Kolmogorov-Smirnov test.

/// The two-sample Kolmogorov-Smirnov statistic: the greatest distance between the two distribution functions, 0 to 1.
///
/// `None` when either sample is empty or holds a NaN. Source: `scipy.stats.ks_2samp`.
/// ```
/// assert_eq!(stats::ks_statistic(&[1.0, 2.0], &[2.0, 3.0]), Some(0.5));
/// ```
pub fn ks_statistic(u: &[f64], v: &[f64]) -> Option<f64> {
    let (u, v) = (sorted(u)?, sorted(v)?);
    let (mut i, mut j, mut greatest) = (0, 0, 0.0f64);
    while i < u.len() && j < v.len() {
        let at = u[i].min(v[j]);
        i += u[i..].iter().take_while(|x| **x == at).count();
        j += v[j..].iter().take_while(|x| **x == at).count();
        greatest = greatest.max((i as f64 / u.len() as f64 - j as f64 / v.len() as f64).abs());
    }
    Some(greatest)
}

/// The exact two-sided p-value of [`ks_statistic`] for samples of `n` and `m` values without ties: the probability
/// that a random ordering of both gives a statistic of at least `d`.
///
/// Takes `n * m` steps: meant for up to 10,000 values a side, where SciPy also stops being exact. `None` for an empty side.
///
/// Source: the lattice-path recursion of R's `psmirnov` (Schröer and Trenkler 1995), in the upper tail so that tiny
/// probabilities keep their digits; agrees with `scipy.stats.ks_2samp(method="exact")`.
/// ```
/// // Of the 6 orderings of 2 and 2 values, 2 separate the samples wholly.
/// assert!((stats::ks_p_exact(1.0, 2, 2).unwrap() - 1.0 / 3.0).abs() < 1e-12);
/// ```
pub fn ks_p_exact(d: f64, n: usize, m: usize) -> Option<f64> {
    if n == 0 || m == 0 || d.is_nan() {
        return None;
    }
    let (n, m) = (n.min(m), n.max(m));
    let (rows, columns) = (n as f64, m as f64);
    // Half a lattice step below d, so that rounding cannot move a path from one side to the other.
    let bound = (0.5 + (d * rows * columns - 1e-7).floor()) / (rows * columns);
    let reaches = |i: usize, j: usize| (i as f64 / rows - j as f64 / columns).abs() >= bound;
    let mut reached = vec![0.0; m + 1]; // the probability of having reached the bound by lattice point (i, j)
    for i in 0..=n {
        for j in 0..=m {
            reached[j] = if reaches(i, j) {
                1.0
            } else {
                let steps = (i + j).max(1) as f64;
                let from_left = if j > 0 { reached[j - 1] } else { 0.0 };
                i as f64 / steps * reached[j] + j as f64 / steps * from_left
            };
        }
    }
    Some(reached[m])
}

fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|x| x.is_nan()) {
        return None;
    }
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    Some(values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_to_compare_is_none() {
        assert_eq!(ks_statistic(&[], &[1.0]), None);
        assert_eq!(ks_statistic(&[f64::NAN], &[1.0]), None);
        assert_eq!(ks_p_exact(0.5, 0, 3), None);
        assert_eq!(ks_p_exact(f64::NAN, 3, 3), None);
    }

    #[test]
    fn the_ends_of_p_are_one_and_the_two_separations() {
        assert_eq!(ks_p_exact(0.0, 7, 5), Some(1.0));
        let separations = 2.0 / 792.0; // 2 of (12 choose 5) orderings
        assert!((ks_p_exact(1.0, 7, 5).unwrap() / separations - 1.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn is_symmetric_bounded_and_blind_to_monotone_maps(
            u in prop::collection::vec(-5i32..5, 1..30), v in prop::collection::vec(-5i32..5, 1..30)
        ) {
            let f = |xs: &[i32], map: fn(f64) -> f64| xs.iter().map(|x| map(f64::from(*x))).collect::<Vec<_>>();
            let (a, b) = (f(&u, |x| x), f(&v, |x| x));
            let d = ks_statistic(&a, &b).unwrap();
            prop_assert!((0.0..=1.0).contains(&d));
            prop_assert_eq!(ks_statistic(&a, &a), Some(0.0));
            prop_assert!((d - ks_statistic(&b, &a).unwrap()).abs() < 1e-12);
            prop_assert_eq!(ks_statistic(&f(&u, f64::exp), &f(&v, f64::exp)), Some(d));
        }
    }
}
