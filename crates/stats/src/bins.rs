//! Fixed reference bins of one feature.

use crate::quantile::quantile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most values of a categorical reference that get a bin of their own; the rest share the bin "other".
pub const MAX_CATEGORIES: usize = 1000;

/// A value that fills this many of the quantile edges or more is given a bin of its own.
const EDGES_OF_AN_ATOM: usize = 3;

/// The bins of one feature, fixed by the reference, into which every later window is counted.
///
/// Why fixed: bins that move with the current data (as histograms over both samples do) make two windows incomparable
/// and cannot be stored; counts in fixed bins are integers that add, so PSI stays exact over any merged window.
///
/// Counts are laid out as the bins in ascending order (numeric: `edges + 1` bins; categorical: the values, then
/// "other"), and last the null bin, which is always there: nulls that appear are drift too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Bins {
    /// Bin `i` holds `edges[i-1] <= x < edges[i]`; the outer two are open, and infinities fall into them.
    Numeric {
        /// Inner edges, strictly ascending and finite.
        edges: Vec<f64>,
    },
    /// One bin a value, then "other".
    Categorical {
        /// The values, ascending.
        values: Vec<String>,
    },
}

impl Bins {
    /// Numeric bins whose inner edges are the `n`-quantiles of the reference (`n = 10`: deciles), by numpy's `linear`
    /// rule, without duplicates. Nulls, NaN and infinities of the reference set no edge.
    ///
    /// A value that fills three edges or more (at least `2/n` of the reference) also gets an edge just above it, hence a
    /// bin of its own: a constant or mostly-zero reference would otherwise hide every move upwards.
    ///
    /// Source: the usual PSI convention, `numpy.unique(numpy.quantile(reference, [.1, ..., .9]))`.
    /// ```
    /// let reference: Vec<_> = (0..=100).map(|x| Some(f64::from(x))).collect();
    /// let bins = stats::Bins::numeric(&reference, 4);
    /// assert_eq!(bins, stats::Bins::Numeric { edges: vec![25.0, 50.0, 75.0] });
    /// assert_eq!(bins.count_numbers(&[Some(25.0), Some(f64::INFINITY), Some(f64::NAN), None]), [0, 1, 0, 1, 2]);
    /// ```
    pub fn numeric(reference: &[Option<f64>], n: usize) -> Bins {
        let mut sorted: Vec<f64> = reference.iter().flatten().copied().filter(|x| x.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let quantiles: Vec<f64> = (1..n).filter_map(|i| quantile(&sorted, i as f64 / n as f64)).collect();
        let mut edges = Vec::with_capacity(n);
        for tied in quantiles.chunk_by(|a, b| a == b) {
            edges.push(tied[0]);
            if tied.len() >= EDGES_OF_AN_ATOM {
                edges.push(tied[0].next_up());
            }
        }
        edges.dedup();
        Bins::Numeric { edges }
    }

    /// Categorical bins: the values of the reference, at most [`MAX_CATEGORIES`] of them (the most frequent, ties by name).
    /// ```
    /// let bins = stats::Bins::categorical(&[Some("wet"), Some("dry"), None, Some("wet")]);
    /// assert_eq!(bins.count_labels(&[Some("dry"), Some("hail"), None]), [1, 0, 1, 1]);
    /// ```
    pub fn categorical<S: AsRef<str>>(reference: &[Option<S>]) -> Bins {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for value in reference.iter().flatten() {
            *counts.entry(value.as_ref()).or_default() += 1;
        }
        let mut values: Vec<(&str, u64)> = counts.into_iter().collect();
        values.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        values.truncate(MAX_CATEGORIES);
        let mut values: Vec<String> = values.into_iter().map(|(value, _)| value.to_owned()).collect();
        values.sort_unstable();
        Bins::Categorical { values }
    }

    /// How many bins there are, the null bin (the last) included.
    /// ```
    /// assert_eq!(stats::Bins::Numeric { edges: vec![0.0] }.len(), 3);
    /// ```
    #[allow(clippy::len_without_is_empty)] // the null bin is always there, so bins are never empty
    pub fn len(&self) -> usize {
        match self {
            Bins::Numeric { edges } => edges.len() + 2,
            Bins::Categorical { values } => values.len() + 2,
        }
    }

    /// The index of the null bin.
    pub(crate) fn null(&self) -> usize {
        self.len() - 1
    }

    /// The bin of a number; `None` and NaN belong to the null bin. In categorical bins a number is none of the values: other.
    /// ```
    /// assert_eq!(stats::Bins::Numeric { edges: vec![0.0] }.of_number(Some(0.0)), 1);
    /// ```
    pub fn of_number(&self, x: Option<f64>) -> usize {
        match (self, x) {
            (_, None) => self.null(),
            (_, Some(x)) if x.is_nan() => self.null(),
            (Bins::Numeric { edges }, Some(x)) => edges.partition_point(|edge| *edge <= x),
            (Bins::Categorical { values }, Some(_)) => values.len(),
        }
    }

    /// The bin of a label. In numeric bins a label is not a number and counts as null, so that a changed type shows.
    /// ```
    /// assert_eq!(stats::Bins::categorical(&[Some("a")]).of_label(Some("b")), 1);
    /// ```
    pub fn of_label(&self, label: Option<&str>) -> usize {
        match (self, label) {
            (Bins::Categorical { values }, Some(label)) => {
                values.binary_search_by(|value| value.as_str().cmp(label)).unwrap_or(values.len())
            }
            _ => self.null(),
        }
    }

    /// Counts numbers, one entry a bin.
    /// ```
    /// assert_eq!(stats::Bins::Numeric { edges: vec![0.0] }.count_numbers(&[Some(-1.0), Some(2.0)]), [1, 1, 0]);
    /// ```
    pub fn count_numbers(&self, values: &[Option<f64>]) -> Vec<u64> {
        let mut counts = vec![0; self.len()];
        for x in values {
            counts[self.of_number(*x)] += 1;
        }
        counts
    }

    /// Counts labels, one entry a bin.
    /// ```
    /// assert_eq!(stats::Bins::categorical(&[Some("a")]).count_labels(&[Some("a"), Some("b"), None]), [1, 1, 1]);
    /// ```
    pub fn count_labels<S: AsRef<str>>(&self, values: &[Option<S>]) -> Vec<u64> {
        let mut counts = vec![0; self.len()];
        for label in values {
            counts[self.of_label(label.as_ref().map(AsRef::as_ref))] += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn numeric(values: &[f64]) -> Bins {
        Bins::numeric(&values.iter().copied().map(Some).collect::<Vec<_>>(), 10)
    }

    #[test]
    fn a_constant_reference_still_sees_a_move_either_way() {
        let bins = numeric(&[5.0; 40]);
        assert_eq!(bins.count_numbers(&[Some(4.0), Some(5.0), Some(6.0)]), [1, 1, 1, 0]);
    }

    #[test]
    fn a_mostly_zero_reference_tells_zero_from_more() {
        let mut values = vec![0.0; 95];
        values.extend([1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(numeric(&values).count_numbers(&[Some(-1.0), Some(0.0), Some(0.5)]), [1, 1, 1, 0]);
    }

    #[test]
    fn an_empty_reference_has_one_open_bin_and_the_null_bin() {
        for bins in [Bins::numeric(&[], 10), Bins::numeric(&[None, Some(f64::NAN), Some(f64::INFINITY)], 10)] {
            assert_eq!(bins.count_numbers(&[Some(1.0), None]), [1, 1]);
        }
        assert_eq!(Bins::categorical::<&str>(&[]).count_labels(&[Some("x"), None]), [1, 1]);
    }

    #[test]
    fn categories_beyond_the_limit_are_other_and_the_frequent_stay() {
        let mut values: Vec<Option<String>> = (0..MAX_CATEGORIES + 500).map(|i| Some(format!("v{i:05}"))).collect();
        values.extend((0..3).map(|_| Some("z-last-but-frequent".to_owned())));
        let bins = Bins::categorical(&values);
        assert_eq!(bins.len(), MAX_CATEGORIES + 2);
        assert_eq!(bins.count_labels(&values)[MAX_CATEGORIES], 501);
        assert_eq!(bins.of_label(Some("z-last-but-frequent")), MAX_CATEGORIES - 1);
    }

    #[test]
    fn a_changed_type_shows() {
        assert_eq!(numeric(&[1.0, 2.0]).of_label(Some("x")), numeric(&[1.0, 2.0]).null());
        assert_eq!(Bins::categorical(&[Some("a")]).of_number(Some(1.0)), 1);
    }

    #[test]
    fn survive_json() {
        for bins in [numeric(&[0.0; 9]), numeric(&[f64::MIN, 0.1, f64::MAX]), Bins::categorical(&[Some("a\"b")])] {
            let text = serde_json::to_string(&bins).unwrap();
            assert_eq!(serde_json::from_str::<Bins>(&text).unwrap(), bins);
        }
    }
}
