//! Many tests at once: adjusted p-values.

/// Holm's adjusted p-values, in the order given: comparing each with α keeps the chance of any false finding below α.
///
/// Source: Holm 1979, Scand J Stat 6:65; `statsmodels` `multipletests(method="holm")`.
/// ```
/// assert_eq!(stats::holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
/// ```
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut least = 0.0f64;
    for (rank, at) in order.iter().enumerate() {
        least = least.max((p[*at] * (p.len() - rank) as f64).min(1.0));
        adjusted[*at] = least;
    }
    adjusted
}

/// Benjamini and Hochberg's adjusted p-values, in the order given: comparing each with α keeps the expected share of false
/// findings below α, where tests are independent or positively dependent.
///
/// Source: Benjamini and Hochberg 1995, JRSS B 57:289; `statsmodels` `multipletests(method="fdr_bh")`.
/// ```
/// assert_eq!(stats::benjamini_hochberg(&[0.01, 0.04, 0.03]), [0.03, 0.04, 0.04]);
/// ```
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut most = 1.0f64;
    for (rank, at) in order.iter().enumerate().rev() {
        most = most.min(p[*at] * p.len() as f64 / (rank + 1) as f64);
        adjusted[*at] = most;
    }
    adjusted
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn adjusting_keeps_order_and_never_helps(p in prop::collection::vec(0.0f64..1.0, 0..20)) {
            let (holm, bh) = (holm(&p), benjamini_hochberg(&p));
            for at in 0..p.len() {
                prop_assert!(p[at] <= bh[at] + 1e-12 && bh[at] <= holm[at] + 1e-12 && holm[at] <= 1.0);
                for other in 0..p.len() {
                    prop_assert!(p[at] > p[other] || (holm[at] <= holm[other] + 1e-12 && bh[at] <= bh[other] + 1e-12));
                }
            }
        }
    }
}
