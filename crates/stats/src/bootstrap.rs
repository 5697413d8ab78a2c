//! The paired bootstrap of a metric's difference between two models.

use crate::auc::Ranked;
use crate::classes::Classes;
use crate::metrics::{Metric, Terms, add, class_of};
use crate::normal;
use crate::quantile::quantile;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// A difference between challenger and champion with its bootstrap interval, and all that is needed to get it again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// `metric(challenger) - metric(champion)` on the rows as they are, in the metric's unit and direction.
    pub point: f64,
    /// Lower end of the percentile interval.
    pub low: f64,
    /// Upper end of the percentile interval.
    pub high: f64,
    /// Standard deviation of the replicates.
    pub se: f64,
    /// Share of replicates at 0 or below.
    pub at_most_0: f64,
    /// Both ends of the bias-corrected and accelerated interval (Efron 1987); `None` where the jackknife is undefined or has
    /// more than [`JACKKNIFE`] steps.
    pub bca: Option<(f64, f64)>,
    /// Rows that both models were scored on.
    pub n_rows: u64,
    /// Independent units that were resampled: the groups, or the rows where there are none.
    pub n_groups: u64,
    /// Replicates in which the metric was defined.
    pub replicates: u64,
    /// Two-sided confidence level.
    pub level: f64,
    /// Seed of the generator.
    pub seed: u64,
}

/// The paired bootstrap of `metric(challenger) - metric(champion)`: resamples the same rows for both models.
///
/// With `groups` (a key a row, such as its day) whole groups are drawn, because rows of one day are not independent and
/// rows drawn singly would make the interval too narrow. Without groups, AUC is resampled within each class.
/// Replicates in which the metric is undefined are left out and show in `replicates`.
///
/// Takes `replicates × groups` steps (rows for AUC). The generator is ChaCha8 and draws are `⌊u n / 2³²⌋` of its 32-bit
/// output: the same seed gives the same interval on every platform.
///
/// `None` when the metric is undefined on the rows or in more than half of the replicates, when there are fewer than two
/// units to resample (one block says nothing about the spread), when lengths differ, or when `level` is not inside (0, 1).
///
/// Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile interval.
/// ```
/// use stats::{Metric, paired_difference};
/// let truth: Vec<f64> = (0..240).map(f64::from).collect();
/// let champion: Vec<f64> = truth.iter().map(|y| y + 3.0 + (y % 5.0)).collect();
/// let challenger: Vec<f64> = truth.iter().map(|y| y + 1.0).collect();
/// let days: Vec<u64> = (0..240).map(|hour| hour / 24).collect();
/// let interval = paired_difference(Metric::Mae, &truth, &champion, &challenger, Some(&days), 2000, 0.95, 7).unwrap();
/// assert_eq!((interval.point, interval.n_groups), (-4.0, 10));
/// assert!(interval.low <= -4.0 && interval.high < 0.0);
/// ```
pub fn paired_difference(
    metric: Metric,
    truth: &[f64],
    champion: &[f64],
    challenger: &[f64],
    groups: Option<&[u64]>,
    replicates: usize,
    level: f64,
    seed: u64,
) -> Option<Interval> {
    let point = metric.value(truth, challenger)? - metric.value(truth, champion)?;
    let units = Units::new(metric, truth, groups)?;
    if units.n < 2 || !(level > 0.0 && level < 1.0) {
        return None;
    }
    let mut draws = Draws::new(seed, &units.strata);
    let (mut differences, left_out) = match metric {
        Metric::Auc => {
            let (old, new) = (Ranked::new(truth, champion, &units.of_row), Ranked::new(truth, challenger, &units.of_row));
            by_weight(&mut draws, &units, replicates, truth.len(), |weight| Some(new.auc(weight)? - old.auc(weight)?))
        }
        Metric::F1Macro => {
            let classes = |answers: &[f64]| -> Vec<f64> { truth.iter().zip(answers).map(|(y, p)| class_of(*y, *p)).collect() };
            let (old, new) = (Classes::new(truth, &classes(champion))?, Classes::new(truth, &classes(challenger))?);
            by_weight(&mut draws, &units, replicates, truth.len(), |weight| {
                Some(new.macro_f1(&units.of_row, weight)? - old.macro_f1(&units.of_row, weight)?)
            })
        }
        _ => {
            let sums = units.sums(&metric.all_terms(truth, champion)?, &metric.all_terms(truth, challenger)?);
            let of = |total: &Sums| Some(metric.finish(&total.challenger, total.rows)? - metric.finish(&total.champion, total.rows)?);
            let found = draws.evaluate(replicates, |drawn| {
                let mut total = Sums::default();
                drawn.iter().for_each(|unit| total.add(&sums[*unit as usize]));
                of(&total)
            });
            let mut whole = Sums::default();
            sums.iter().for_each(|unit| whole.add(unit));
            let without = sums.iter().map(|unit| of(&whole.without(unit)));
            (found, without.collect::<Option<Vec<f64>>>())
        }
    };
    if differences.len() * 2 < replicates {
        return None;
    }
    differences.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    let count = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / count;
    Some(Interval {
        point,
        low: quantile(&differences, tail)?,
        high: quantile(&differences, 1.0 - tail)?,
        se: (differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0)).sqrt(),
        at_most_0: differences.partition_point(|d| *d <= 0.0) as f64 / count,
        bca: left_out.and_then(|left_out| bca(point, &differences, &left_out, tail)),
        n_rows: truth.len() as u64,
        n_groups: units.n as u64,
        replicates: differences.len() as u64,
        level,
        seed,
    })
}

/// Most steps that leaving out each unit once may take, for the metrics that are reckoned anew each time.
pub const JACKKNIFE: usize = 20_000_000;

/// Replicates, and the values without each unit, of a difference under weights of the units.
fn by_weight(
    draws: &mut Draws,
    units: &Units,
    replicates: usize,
    rows: usize,
    difference: impl Fn(&[f64]) -> Option<f64>,
) -> (Vec<f64>, Option<Vec<f64>>) {
    let found = draws.evaluate(replicates, |drawn| {
        let mut weight = vec![0.0; units.n];
        drawn.iter().for_each(|unit| weight[*unit as usize] += 1.0);
        difference(&weight)
    });
    if units.n.saturating_mul(rows) > JACKKNIFE {
        return (found, None);
    }
    let mut weight = vec![1.0; units.n];
    let without = (0..units.n).map(|unit| {
        weight[unit] = 0.0;
        let value = difference(&weight);
        weight[unit] = 1.0;
        value
    });
    let without = without.collect();
    (found, without)
}

/// The bias-corrected and accelerated interval of ascending replicates: the bias from the share of replicates below the
/// point, the acceleration from the skewness of the jackknife.
fn bca(point: f64, replicates: &[f64], left_out: &[f64], tail: f64) -> Option<(f64, f64)> {
    let (below, equal) = (replicates.partition_point(|d| *d < point), replicates.partition_point(|d| *d <= point));
    let share = (below + equal) as f64 / 2.0 / replicates.len() as f64;
    if !(share > 0.0 && share < 1.0) {
        return None;
    }
    let bias = normal::quantile(share);
    let mean = left_out.iter().sum::<f64>() / left_out.len() as f64;
    let (mut cubes, mut squares) = (0.0, 0.0);
    for value in left_out {
        cubes += (mean - value).powi(3);
        squares += (mean - value).powi(2);
    }
    let acceleration = if squares > 0.0 { cubes / (6.0 * squares.powf(1.5)) } else { 0.0 };
    let end = |tail: f64| {
        let z = bias + normal::quantile(tail);
        quantile(replicates, normal::cdf(bias + z / (1.0 - acceleration * z)))
    };
    Some((end(tail)?, end(1.0 - tail)?))
}

/// What is drawn as a whole.
struct Units {
    /// The unit of every row, `0..n`.
    of_row: Vec<u32>,
    n: usize,
    /// Units are drawn within their stratum, as many as it has.
    strata: Vec<Vec<u32>>,
}

impl Units {
    fn new(metric: Metric, truth: &[f64], groups: Option<&[u64]>) -> Option<Units> {
        let rows = 0..u32::try_from(truth.len()).ok()?;
        let Some(groups) = groups else {
            let strata = if metric == Metric::Auc {
                let (positives, negatives) = rows.clone().partition(|row| truth[*row as usize] == 1.0);
                vec![positives, negatives]
            } else {
                vec![rows.clone().collect()]
            };
            return Some(Units { of_row: rows.collect(), n: truth.len(), strata });
        };
        if groups.len() != truth.len() {
            return None;
        }
        let mut keys = groups.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let of_row = groups.iter().map(|key| keys.partition_point(|other| other < key) as u32).collect();
        Some(Units { of_row, n: keys.len(), strata: vec![(0..keys.len() as u32).collect()] })
    }

    /// The sums of every unit, so that a replicate adds units and not rows.
    fn sums(&self, champion: &[Terms], challenger: &[Terms]) -> Vec<Sums> {
        let mut sums = vec![Sums::default(); self.n];
        for (unit, (old, new)) in self.of_row.iter().zip(champion.iter().zip(challenger)) {
            sums[*unit as usize].add(&Sums { rows: 1.0, champion: *old, challenger: *new });
        }
        sums
    }
}

#[derive(Clone, Default)]
struct Sums {
    rows: f64,
    champion: Terms,
    challenger: Terms,
}

impl Sums {
    fn add(&mut self, other: &Sums) {
        self.rows += other.rows;
        add(&mut self.champion, &other.champion);
        add(&mut self.challenger, &other.challenger);
    }

    fn without(&self, other: &Sums) -> Sums {
        let less = |a: &Terms, b: &Terms| [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
        Sums {
            rows: self.rows - other.rows,
            champion: less(&self.champion, &other.champion),
            challenger: less(&self.challenger, &other.challenger),
        }
    }
}

/// Draws units with replacement, within each stratum as many as it has.
pub(crate) struct Draws<'a> {
    rng: ChaCha8Rng,
    strata: &'a [Vec<u32>],
    drawn: Vec<u32>,
}

impl<'a> Draws<'a> {
    pub(crate) fn new(seed: u64, strata: &'a [Vec<u32>]) -> Self {
        Draws { rng: ChaCha8Rng::seed_from_u64(seed), strata, drawn: Vec::new() }
    }

    /// The defined values of all replicates.
    pub(crate) fn evaluate(&mut self, replicates: usize, difference: impl Fn(&[u32]) -> Option<f64>) -> Vec<f64> {
        let mut replicate = || {
            self.drawn.clear();
            for stratum in self.strata {
                let n = stratum.len() as u64;
                let rng = &mut self.rng;
                self.drawn.extend(stratum.iter().map(|_| stratum[((u64::from(rng.next_u32()) * n) >> 32) as usize]));
            }
            difference(&self.drawn)
        };
        (0..replicates).filter_map(|_| replicate()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Errors that share a part within each day of 24 rows; the same for both models but for independent noise.
    fn rows(seed: u64, days: u64) -> (Vec<f64>, Vec<f64>, Vec<f64>, Vec<u64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = move || f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5;
        let (mut champion, mut challenger, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for day in 0..days {
            let (a, b) = (uniform(), uniform());
            for _ in 0..24 {
                champion.push(5.0 + 4.0 * a + uniform());
                challenger.push(5.0 + 4.0 * b + uniform());
                groups.push(day);
            }
        }
        (vec![0.0; champion.len()], champion, challenger, groups)
    }

    fn mae(seed: u64, days: u64, grouped: bool) -> Interval {
        let (truth, champion, challenger, groups) = rows(seed, days);
        paired_difference(Metric::Mae, &truth, &champion, &challenger, grouped.then_some(&groups[..]), 400, 0.9, seed).unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        assert_eq!(mae(3, 10, true), mae(3, 10, true));
        assert_ne!(mae(3, 10, true).low, mae(4, 10, true).low);
    }

    #[test]
    fn equal_models_differ_by_nothing() {
        let truth = [0.0, 1.0, 1.0, 0.0, 1.0];
        let p = [0.1, 0.7, 0.4, 0.6, 0.8];
        for metric in Metric::ALL.into_iter().filter(|metric| *metric != Metric::Mape) {
            let interval = paired_difference(metric, &truth, &p, &p, None, 200, 0.95, 1).unwrap();
            assert_eq!((interval.point, interval.low, interval.high), (0.0, 0.0, 0.0), "{metric:?}");
        }
    }

    #[test]
    fn whole_days_cover_the_truth_where_single_rows_do_not() {
        let covered = |grouped, seeds| {
            let covers = |seed: &u64| {
                let interval = mae(*seed, 20, grouped);
                interval.low <= 0.0 && 0.0 <= interval.high
            };
            (0..seeds).filter(covers).count()
        };
        let (days, rows) = (covered(true, 200), covered(false, 40));
        assert!((160..=195).contains(&days), "{days} of 200 at a level of 0.9"); // 20 blocks fall a little short of it
        assert!(rows < 25, "{rows} of 40 at a level of 0.9");
    }

    #[test]
    fn auc_by_groups_agrees_with_rows_when_each_row_is_a_group() {
        let truth: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let champion: Vec<f64> = (0..100).map(|i| f64::from((i * 37) % 100) / 100.0).collect();
        let challenger: Vec<f64> = truth.iter().zip(&champion).map(|(y, p)| 0.3 * y + 0.7 * p).collect();
        let groups: Vec<u64> = (0..100).collect();
        let run = |groups| paired_difference(Metric::Auc, &truth, &champion, &challenger, groups, 4000, 0.95, 1).unwrap();
        let (rows, single) = (run(None), run(Some(&groups[..])));
        assert_eq!(rows.point, single.point);
        assert!((rows.low - single.low).abs() < 0.02 && (rows.high - single.high).abs() < 0.02, "{rows:?} {single:?}");
    }

    #[test]
    fn too_little_to_resample_is_none() {
        let (truth, champion, challenger, _) = rows(1, 1);
        let run = |groups: Option<&[u64]>, level| paired_difference(Metric::Mae, &truth, &champion, &challenger, groups, 100, level, 1);
        assert_eq!(run(Some(&[5; 24]), 0.95), None);
        assert_eq!(run(Some(&[5; 23]), 0.95), None);
        assert_eq!(run(None, 1.0), None);
        assert_eq!(paired_difference(Metric::Mae, &[], &[], &[], None, 100, 0.95, 1), None);
        assert_eq!(paired_difference(Metric::Mae, &[1.0], &[1.0], &[2.0], None, 100, 0.95, 1), None);
        assert_eq!(paired_difference(Metric::Mae, &truth, &champion, &challenger[1..], None, 100, 0.95, 1), None);
    }
}
