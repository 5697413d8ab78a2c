//! Whether a classifier treats groups of rows alike.

use crate::bootstrap::Draws;
use crate::quantile::quantile;

/// What is compared between groups: the greatest value of any group less the smallest (or over it, for the ratio).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// Difference of the shares that are predicted 1, in [0, 1].
    Demographic,
    /// Smallest share predicted 1 over the greatest, in [0, 1]; 1 is alike.
    DemographicRatio,
    /// Difference of the true-positive rates.
    EqualOpportunity,
    /// Difference of the false-positive rates.
    FalsePositive,
    /// The greater of the differences of the true-positive and false-positive rates.
    EqualizedOdds,
}

/// A parity with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParityInterval {
    pub point: f64,
    pub low: f64,
    pub high: f64,
    /// Groups that were compared.
    pub groups: usize,
    /// Rows of the smallest group.
    pub smallest: usize,
    /// Replicates in which it was defined.
    pub replicates: usize,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    rows: f64,
    chosen: f64,
    positive: f64,
    true_positive: f64,
}

impl Counts {
    fn add(&mut self, truth: bool, chosen: bool) {
        self.rows += 1.0;
        self.chosen += f64::from(chosen);
        self.positive += f64::from(truth);
        self.true_positive += f64::from(truth && chosen);
    }

    fn selected(&self) -> Option<f64> {
        (self.rows > 0.0).then(|| self.chosen / self.rows)
    }

    fn true_positive_rate(&self) -> Option<f64> {
        (self.positive > 0.0).then(|| self.true_positive / self.positive)
    }

    fn false_positive_rate(&self) -> Option<f64> {
        let negative = self.rows - self.positive;
        (negative > 0.0).then(|| (self.chosen - self.true_positive) / negative)
    }
}

impl Parity {
    /// The value on rows with truths and decisions of 0 or 1 and a group number each. `None` for lengths that differ, values
    /// other than 0 and 1, fewer than two groups, or a group in which a rate is undefined (no row of the class that it is about).
    ///
    /// Source: `fairlearn.metrics`; Hardt, Price and Srebro 2016.
    /// ```
    /// use stats::Parity;
    /// let (truth, chosen, group) = ([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0], [0, 1, 0, 1]);
    /// assert_eq!(Parity::Demographic.value(&truth, &chosen, &group), Some(0.5));
    /// assert_eq!(Parity::EqualOpportunity.value(&truth, &chosen, &group), Some(0.0));
    /// assert_eq!(Parity::FalsePositive.value(&truth, &chosen, &group), Some(1.0));
    /// assert_eq!(Parity::EqualizedOdds.value(&truth, &chosen, &group), Some(1.0));
    /// ```
    pub fn value(self, truth: &[f64], chosen: &[f64], group: &[u32]) -> Option<f64> {
        let rows: Vec<u32> = (0..u32::try_from(truth.len()).ok()?).collect();
        self.of(&Table::new(truth, chosen, group)?, &rows)
    }

    /// The value with its percentile bootstrap interval, rows drawn within their group. The greatest difference of several
    /// groups is pulled upwards by chance, and so is its interval: small groups look less alike than they are.
    pub fn interval(
        self,
        truth: &[f64],
        chosen: &[f64],
        group: &[u32],
        replicates: usize,
        level: f64,
        seed: u64,
    ) -> Option<ParityInterval> {
        let point = self.value(truth, chosen, group)?;
        if !(level > 0.0 && level < 1.0) {
            return None;
        }
        let table = Table::new(truth, chosen, group)?;
        let mut found = Draws::new(seed, &table.members).evaluate(replicates, |drawn| self.of(&table, drawn));
        if found.len() * 2 < replicates {
            return None;
        }
        found.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - level) / 2.0;
        Some(ParityInterval {
            point,
            low: quantile(&found, tail)?,
            high: quantile(&found, 1.0 - tail)?,
            groups: table.members.len(),
            smallest: table.members.iter().map(Vec::len).min().unwrap_or(0),
            replicates: found.len(),
        })
    }

    fn of(self, table: &Table, rows: &[u32]) -> Option<f64> {
        let mut counts = vec![Counts::default(); table.members.len()];
        for row in rows {
            let (group, truth, chosen) = table.rows[*row as usize];
            counts[group].add(truth, chosen);
        }
        let range = |rate: fn(&Counts) -> Option<f64>| {
            let rates: Option<Vec<f64>> = counts.iter().map(rate).collect();
            let rates = rates?;
            Some((rates.iter().copied().fold(f64::INFINITY, f64::min), rates.iter().copied().fold(f64::NEG_INFINITY, f64::max)))
        };
        let gap = |rate| range(rate).map(|(least, most)| most - least);
        match self {
            Parity::Demographic => gap(Counts::selected),
            Parity::DemographicRatio => range(Counts::selected).and_then(|(least, most)| (most > 0.0).then(|| least / most)),
            Parity::EqualOpportunity => gap(Counts::true_positive_rate),
            Parity::FalsePositive => gap(Counts::false_positive_rate),
            Parity::EqualizedOdds => Some(gap(Counts::true_positive_rate)?.max(gap(Counts::false_positive_rate)?)),
        }
    }
}

struct Table {
    /// Group, truth and decision of every row.
    rows: Vec<(usize, bool, bool)>,
    /// The rows of every group.
    members: Vec<Vec<u32>>,
}

impl Table {
    fn new(truth: &[f64], chosen: &[f64], group: &[u32]) -> Option<Table> {
        let binary = |values: &[f64]| values.iter().all(|x| *x == 0.0 || *x == 1.0);
        if truth.len() != chosen.len() || truth.len() != group.len() || !binary(truth) || !binary(chosen) {
            return None;
        }
        let mut keys = group.to_vec();
        keys.sort_unstable();
        keys.dedup();
        if keys.len() < 2 {
            return None;
        }
        let mut members = vec![Vec::new(); keys.len()];
        let mut rows = Vec::with_capacity(truth.len());
        for (at, key) in group.iter().enumerate() {
            let own = keys.partition_point(|other| other < key);
            members[own].push(at as u32);
            rows.push((own, truth[at] == 1.0, chosen[at] == 1.0));
        }
        Some(Table { rows, members })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn undefined_is_none() {
        let two = [0, 1];
        assert_eq!(Parity::Demographic.value(&[1.0, 0.0], &[1.0, 1.0], &[0, 0]), None, "one group");
        assert_eq!(Parity::EqualOpportunity.value(&[1.0, 0.0], &[1.0, 1.0], &two), None, "no positives in a group");
        assert_eq!(Parity::Demographic.value(&[1.0, 0.0], &[0.3, 1.0], &two), None, "not a decision");
        assert_eq!(Parity::DemographicRatio.value(&[1.0, 0.0], &[0.0, 0.0], &two), None, "nobody is chosen");
    }

    #[test]
    fn the_interval_holds_the_difference() {
        // Of 300 rows a group, 60 % and 40 % are chosen.
        let group: Vec<u32> = (0..600).map(|row| row / 300).collect();
        let chosen: Vec<f64> = (0..600).map(|row| f64::from(row % 300 < if row < 300 { 180 } else { 120 })).collect();
        let truth: Vec<f64> = (0..600).map(|row| f64::from(row % 2)).collect();
        let found = Parity::Demographic.interval(&truth, &chosen, &group, 2000, 0.95, 7).unwrap();
        assert!((found.point - 0.2).abs() < 1e-12);
        // The normal interval is 0.2 ± 1.96 √(2 · 0.24 / 300).
        assert!((found.low - 0.122).abs() < 0.015 && (found.high - 0.278).abs() < 0.015, "{found:?}");
        assert_eq!((found.groups, found.smallest, found.replicates), (2, 300, 2000));
    }
}
