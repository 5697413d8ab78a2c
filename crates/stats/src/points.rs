//! The distribution of a numeric feature as weighted points, in bounded memory.

use serde::{Deserialize, Serialize};

/// A profile keeps the exact count of every value up to this many distinct values, and merges neighbours beyond.
pub const MAX_POINTS: usize = 4096;

/// A point that stands for several values weighs at most this part of all values (see [`Points::compress`]).
const SMALLEST_SHARE: u64 = MAX_POINTS as u64 / 4;

/// Ascending finite values with their counts: exact up to [`MAX_POINTS`] distinct values, then a histogram whose points
/// each stand for at most 1/1024 of the values. Merging is deterministic: the same parts in the same order give the same points.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Points(Vec<(f64, u64)>);

impl Points {
    /// The points of finite values, in any order.
    pub fn new(mut values: Vec<f64>) -> Points {
        values.sort_unstable_by(f64::total_cmp);
        let mut points = Points(values.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len() as u64)).collect());
        points.compress();
        points
    }

    pub fn iter(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// The points with their counts as weights.
    pub fn weighted(&self) -> Vec<(f64, f64)> {
        self.iter().map(|(x, count)| (x, count as f64)).collect()
    }

    pub fn merge(&mut self, other: &Points) {
        let mut all = std::mem::take(&mut self.0);
        all.extend_from_slice(&other.0);
        all.sort_by(|a, b| a.0.total_cmp(&b.0)); // a stable sort of two ascending runs is one linear merge
        all.dedup_by(|next, kept| {
            let equal = next.0 == kept.0;
            if equal {
                kept.1 += next.1;
            }
            equal
        });
        self.0 = all;
        self.compress();
    }

    /// Beyond [`MAX_POINTS`], merges neighbours into their weighted mean while together they weigh at most `n / 1024`.
    ///
    /// Two neighbours that stay apart weigh more than that together, so at most about 2,500 points are left. A value with
    /// a large count stays exact. The mean is kept; a rank moves by at most 1/1024 a compression.
    fn compress(&mut self) {
        if self.0.len() <= MAX_POINTS {
            return;
        }
        let n: u64 = self.0.iter().map(|(_, count)| count).sum();
        let heaviest = n / SMALLEST_SHARE;
        self.0.dedup_by(|next, kept| {
            let together = kept.1 + next.1;
            let merges = together <= heaviest;
            if merges {
                let share = next.1 as f64 / together as f64;
                // A mixture cannot overflow; the clamp keeps rounding from disturbing the order.
                *kept = ((kept.0 * (1.0 - share) + next.0 * share).clamp(kept.0, next.0), together);
            }
            merges
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values in a scattered order, all distinct and between 0 and 1.
    fn scattered(n: u64, from: u64) -> Vec<f64> {
        (from..from + n).map(|i| (i as f64 * 0.618_033_988_749_894_9).fract()).collect()
    }

    fn rank_error(points: &Points) -> f64 {
        let n: u64 = points.iter().map(|(_, count)| count).sum();
        let mut below = 0.0;
        let mut worst = 0.0f64;
        for (x, count) in points.iter() {
            let middle = below + count as f64 / 2.0;
            worst = worst.max((middle / n as f64 - x).abs()); // the values are uniform, so x is its own rank
            below += count as f64;
        }
        worst
    }

    #[test]
    fn are_exact_while_few() {
        let points = Points::new(vec![2.0, 1.0, 2.0, -0.0, 0.0]);
        assert_eq!(points.weighted(), [(0.0, 2.0), (1.0, 1.0), (2.0, 2.0)]);
    }

    #[test]
    fn stay_few_and_close_in_one_pass_and_over_many_merges() {
        let whole = Points::new(scattered(100_000, 0));
        let mut merged = Points::default();
        for part in 0..200 {
            merged.merge(&Points::new(scattered(500, part * 500)));
        }
        for points in [&whole, &merged] {
            assert!(points.0.len() <= MAX_POINTS, "{}", points.0.len());
            assert_eq!(points.iter().map(|(_, count)| count).sum::<u64>(), 100_000);
            assert!(points.0.is_sorted_by(|a, b| a.0 < b.0));
            assert!(rank_error(points) < 0.002, "{}", rank_error(points));
        }
    }

    #[test]
    fn a_frequent_value_stays_exact() {
        let mut values = scattered(5000, 0);
        values.extend([7.25; 5000]);
        assert!(Points::new(values).iter().any(|point| point == (7.25, 5000)));
    }

    #[test]
    fn huge_values_do_not_overflow() {
        let values = (0..5000).map(|i| (f64::from(i) / 2500.0 - 1.0) * f64::MAX);
        assert!(Points::new(values.collect()).iter().all(|(x, _)| x.is_finite()));
    }
}
