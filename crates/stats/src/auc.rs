//! The area under the ROC curve, also under row weights, so that resampling needs one sort only.

/// Rows ordered by score, ready for the area under any weights of their units.
pub(crate) struct Ranked {
    /// `(unit, is positive, is the last row of its score)` in ascending order of score.
    rows: Vec<(u32, bool, bool)>,
}

impl Ranked {
    /// `unit[i]` is the resampling unit of row `i`; truths are 0 or 1.
    pub fn new(truth: &[f64], score: &[f64], unit: &[u32]) -> Ranked {
        let mut order: Vec<usize> = (0..truth.len()).collect();
        order.sort_unstable_by(|a, b| score[*a].total_cmp(&score[*b]));
        let ends_tie = |at: usize| order.get(at + 1).is_none_or(|next| score[*next] != score[order[at]]);
        let rows = order.iter().enumerate().map(|(at, row)| (unit[*row], truth[*row] == 1.0, ends_tie(at))).collect();
        Ranked { rows }
    }

    /// The share of (positive, negative) pairs in the right order, ties counting half, with `weight[unit]` copies of every row.
    /// `None` when a class is absent.
    pub fn auc(&self, weight: &[f64]) -> Option<f64> {
        let (mut positives, mut negatives, mut ordered) = (0.0, 0.0, 0.0);
        let (mut tied_positives, mut tied_negatives) = (0.0, 0.0);
        for (unit, positive, ends_tie) in &self.rows {
            let copies = weight[*unit as usize];
            if *positive {
                tied_positives += copies
            } else {
                tied_negatives += copies
            }
            if *ends_tie {
                ordered += tied_positives * (negatives + tied_negatives / 2.0);
                positives += tied_positives;
                negatives += tied_negatives;
                (tied_positives, tied_negatives) = (0.0, 0.0);
            }
        }
        (positives > 0.0 && negatives > 0.0).then(|| ordered / (positives * negatives))
    }
}
