//! Answers by class, for the mean over classes.

/// Truth and answer of every row as numbers of classes.
pub(crate) struct Classes {
    rows: Vec<(u32, u32)>,
    n: usize,
}

impl Classes {
    /// `None` for lengths that differ, or values that are no whole numbers.
    pub(crate) fn new(truth: &[f64], answer: &[f64]) -> Option<Classes> {
        let whole = |x: &f64| x.is_finite() && x.fract() == 0.0;
        if truth.len() != answer.len() || !truth.iter().chain(answer).all(whole) {
            return None;
        }
        let mut classes: Vec<f64> = truth.iter().chain(answer).copied().collect();
        classes.sort_unstable_by(f64::total_cmp);
        classes.dedup();
        let of = |x: &f64| classes.partition_point(|class| class < x) as u32;
        Some(Classes { rows: truth.iter().zip(answer).map(|(y, p)| (of(y), of(p))).collect(), n: classes.len() })
    }

    /// The mean of the classes' F1 with `weight[unit[row]]` copies of every row; classes that are neither true nor answered
    /// under the weights do not count.
    pub(crate) fn macro_f1(&self, unit: &[u32], weight: &[f64]) -> Option<f64> {
        // Twice the hits, and all mentions, of each class: F1 is one over the other.
        let (mut hits, mut mentions) = (vec![0.0; self.n], vec![0.0; self.n]);
        for ((truth, answer), unit) in self.rows.iter().zip(unit) {
            let copies = weight[*unit as usize];
            mentions[*truth as usize] += copies;
            mentions[*answer as usize] += copies;
            if truth == answer {
                hits[*truth as usize] += 2.0 * copies;
            }
        }
        let scores: Vec<f64> = hits.iter().zip(&mentions).filter(|(_, all)| **all > 0.0).map(|(hits, all)| hits / all).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }
}
