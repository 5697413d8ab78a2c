//! The profile of one feature in one window.

use crate::bins::{Bins, MAX_CATEGORIES};
use crate::points::Points;
use crate::psi::psi;
use crate::wasserstein::{normalise, wasserstein_sorted};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is kept of one feature (or of the prediction) in one window, instead of its rows.
///
/// Why: profiles merge, so hours make days and days make weeks; their memory is bounded (at most [`crate::MAX_POINTS`]
/// values or [`MAX_CATEGORIES`] labels, and the bin counts), and a reference is read once. Counts, moments and bin counts
/// are exact however often profiles are merged; the distribution is exact up to the bound and within a few thousandths of
/// rank beyond. Everything is deterministic, and every profile is valid JSON: numbers in it are finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Rows of the window, nulls included.
    pub n: u64,
    /// Rows without a value.
    pub nulls: u64,
    /// What the values were like.
    pub values: Values,
    binned: Option<Binned>,
}

/// The values of a [`Profile`], by the feature's kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// A numeric feature.
    Numeric(Numbers),
    /// A categorical feature.
    Categorical(Labels),
}

/// The numbers of a numeric profile. NaN and infinities are counted apart and enter nothing else here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// NaN values.
    pub nan: u64,
    /// Values of plus infinity.
    pub pos_inf: u64,
    /// Values of minus infinity.
    pub neg_inf: u64,
    /// Finite values.
    pub finite: u64,
    /// Least finite value.
    pub min: Option<f64>,
    /// Greatest finite value.
    pub max: Option<f64>,
    /// Mean and spread of the finite values; `None` without any, or when they overflow.
    pub moments: Option<Moments>,
    points: Points,
}

/// Mean and sum of squared deviations, from which parts can be merged (Chan, Golub and LeVeque 1983).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Mean.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub m2: f64,
}

/// The labels of a categorical profile.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// Rows of each label, at most [`MAX_CATEGORIES`] labels (the most frequent, ties by name).
    pub counts: BTreeMap<String, u64>,
    /// Rows of labels that found no room in `counts`.
    pub other: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Binned {
    bins: Bins,
    counts: Vec<u64>,
}

/// Why two profiles cannot be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// One is numeric, the other categorical.
    #[error("a numeric profile cannot be merged with a categorical one")]
    Kind,
    /// Their counts lie in different bins.
    #[error("profiles counted in different bins cannot be merged; profile both with the same reference's bins")]
    Bins,
}

impl Profile {
    /// The profile of numbers; with `bins` (the reference's) they are also counted in them, exactly.
    /// ```
    /// let bins = stats::Bins::numeric(&[Some(1.0), Some(2.0)], 10);
    /// let profile = stats::Profile::numeric(&[Some(1.5), None, Some(f64::NAN)], Some(&bins));
    /// assert_eq!((profile.n, profile.nulls, profile.mean()), (3, 1, Some(1.5)));
    /// ```
    pub fn numeric(values: &[Option<f64>], bins: Option<&Bins>) -> Profile {
        Profile {
            n: values.len() as u64,
            nulls: values.iter().filter(|x| x.is_none()).count() as u64,
            values: Values::Numeric(Numbers::new(values)),
            binned: bins.map(|bins| Binned { counts: bins.count_numbers(values), bins: bins.clone() }),
        }
    }

    /// The profile of labels; with `bins` (the reference's) they are also counted in them, exactly.
    /// ```
    /// let profile = stats::Profile::categorical(&[Some("wet"), None, Some("wet")], None);
    /// assert_eq!((profile.n, profile.nulls), (3, 1));
    /// ```
    pub fn categorical<S: AsRef<str>>(values: &[Option<S>], bins: Option<&Bins>) -> Profile {
        let mut labels = Labels::default();
        for label in values.iter().flatten() {
            match labels.counts.get_mut(label.as_ref()) {
                Some(count) => *count += 1,
                None => _ = labels.counts.insert(label.as_ref().to_owned(), 1),
            }
        }
        labels.bound();
        Profile {
            n: values.len() as u64,
            nulls: values.iter().filter(|label| label.is_none()).count() as u64,
            values: Values::Categorical(labels),
            binned: bins.map(|bins| Binned { counts: bins.count_labels(values), bins: bins.clone() }),
        }
    }

    /// Takes another part of the same feature in. Order matters only beyond the bounds of memory, and little there.
    ///
    /// Errors when the two are of different kinds or were counted in different bins; `self` is then unchanged.
    /// ```
    /// use stats::Profile;
    /// let mut day = Profile::numeric(&[Some(1.0)], None);
    /// day.merge(&Profile::numeric(&[Some(3.0), None], None))?;
    /// assert_eq!(day, Profile::numeric(&[Some(3.0), Some(1.0), None], None));
    /// # Ok::<(), stats::MergeError>(())
    /// ```
    pub fn merge(&mut self, other: &Profile) -> Result<(), MergeError> {
        match (&mut self.binned, &other.binned) {
            (None, None) => {}
            (Some(mine), Some(theirs)) if mine.bins == theirs.bins => {}
            _ => return Err(MergeError::Bins),
        }
        match (&mut self.values, &other.values) {
            (Values::Numeric(mine), Values::Numeric(theirs)) => mine.merge(theirs),
            (Values::Categorical(mine), Values::Categorical(theirs)) => mine.merge(theirs),
            _ => return Err(MergeError::Kind),
        }
        if let (Some(mine), Some(theirs)) = (&mut self.binned, &other.binned) {
            mine.counts.iter_mut().zip(&theirs.counts).for_each(|(mine, theirs)| *mine += theirs);
        }
        self.n += other.n;
        self.nulls += other.nulls;
        Ok(())
    }

    /// Mean of the finite values.
    /// ```
    /// assert_eq!(stats::Profile::numeric(&[Some(1.0), Some(2.0)], None).mean(), Some(1.5));
    /// ```
    pub fn mean(&self) -> Option<f64> {
        Some(self.numbers()?.moments?.mean)
    }

    /// Population standard deviation of the finite values, `sqrt(m2 / n)`.
    /// ```
    /// assert_eq!(stats::Profile::numeric(&[Some(1.0), Some(3.0)], None).std(), Some(1.0));
    /// ```
    pub fn std(&self) -> Option<f64> {
        let numbers = self.numbers()?;
        Some((numbers.moments?.m2 / numbers.finite as f64).sqrt())
    }

    /// The counts in `bins`: exact when the profile was made with them or keeps every value, else of its points.
    /// ```
    /// let bins = stats::Bins::Numeric { edges: vec![0.0] };
    /// assert_eq!(stats::Profile::numeric(&[Some(1.0), None], None).counts_in(&bins), [0, 1, 1]);
    /// ```
    pub fn counts_in(&self, bins: &Bins) -> Vec<u64> {
        if let Some(binned) = &self.binned
            && binned.bins == *bins
        {
            return binned.counts.clone();
        }
        let mut counts = vec![0; bins.len()];
        counts[bins.null()] += self.nulls;
        match &self.values {
            Values::Numeric(numbers) => {
                counts[bins.null()] += numbers.nan;
                let infinite = [(f64::NEG_INFINITY, numbers.neg_inf), (f64::INFINITY, numbers.pos_inf)];
                for (x, count) in numbers.points.iter().chain(infinite) {
                    counts[bins.of_number(Some(x))] += count;
                }
            }
            Values::Categorical(labels) => {
                for (label, count) in &labels.counts {
                    counts[bins.of_label(Some(label))] += count;
                }
                if let Bins::Categorical { values } = bins {
                    counts[values.len()] += labels.other;
                } else {
                    counts[bins.null()] += labels.other;
                }
            }
        }
        counts
    }

    /// PSI of this window against the reference in the reference's bins, null and "other" bins included; see [`psi`] for
    /// the formula and its convention. `None` when either has no rows.
    /// ```
    /// use stats::{Bins, Profile};
    /// let train: Vec<_> = (0..100).map(|x| Some(f64::from(x))).collect();
    /// let bins = Bins::numeric(&train, 10);
    /// let reference = Profile::numeric(&train, Some(&bins));
    /// assert_eq!(reference.psi_to(&reference, &bins), Some(0.0));
    /// assert!(Profile::numeric(&[None; 50], Some(&bins)).psi_to(&reference, &bins).unwrap() > 8.0);
    /// ```
    pub fn psi_to(&self, reference: &Profile, bins: &Bins) -> Option<f64> {
        psi(&reference.counts_in(bins), &self.counts_in(bins))
    }

    /// Wasserstein-1 distance to the reference in units of the reference's spread; see [`crate::wasserstein_norm`].
    ///
    /// Of finite values alone: nulls, NaN and infinities show in [`psi_to`](Profile::psi_to) and in the counts. `None`
    /// when either is categorical or has no finite value, or when values are too huge for a spread.
    /// ```
    /// use stats::Profile;
    /// let reference = Profile::numeric(&[Some(-1.0), Some(1.0)], None);
    /// assert_eq!(Profile::numeric(&[Some(1.0), Some(3.0)], None).wasserstein_norm_to(&reference), Some(2.0));
    /// ```
    pub fn wasserstein_norm_to(&self, reference: &Profile) -> Option<f64> {
        let (theirs, mine) = (reference.numbers()?, self.numbers()?);
        let distance = wasserstein_sorted(&theirs.points.weighted(), &mine.points.weighted())?;
        normalise(distance, reference.std()?)
    }

    fn numbers(&self) -> Option<&Numbers> {
        match &self.values {
            Values::Numeric(numbers) => Some(numbers),
            Values::Categorical(_) => None,
        }
    }
}

impl Numbers {
    fn new(values: &[Option<f64>]) -> Numbers {
        let count = |has: fn(f64) -> bool| values.iter().flatten().filter(|x| has(**x)).count() as u64;
        let finite: Vec<f64> = values.iter().flatten().copied().filter(|x| x.is_finite()).collect();
        let n = finite.len() as f64;
        let mean = finite.iter().sum::<f64>() / n;
        let m2 = finite.iter().map(|x| (x - mean).powi(2)).sum();
        Numbers {
            nan: count(f64::is_nan),
            pos_inf: count(|x| x == f64::INFINITY),
            neg_inf: count(|x| x == f64::NEG_INFINITY),
            finite: finite.len() as u64,
            min: finite.iter().copied().reduce(f64::min),
            max: finite.iter().copied().reduce(f64::max),
            moments: Moments { mean, m2 }.if_finite(),
            points: Points::new(finite),
        }
    }

    fn merge(&mut self, other: &Numbers) {
        self.moments = match (self.finite, other.finite) {
            (_, 0) => self.moments,
            (0, _) => other.moments,
            (n, m) => self.moments.zip(other.moments).and_then(|(a, b)| a.merged(n as f64, b, m as f64)),
        };
        self.nan += other.nan;
        self.pos_inf += other.pos_inf;
        self.neg_inf += other.neg_inf;
        self.finite += other.finite;
        self.min = self.min.into_iter().chain(other.min).reduce(f64::min);
        self.max = self.max.into_iter().chain(other.max).reduce(f64::max);
        self.points.merge(&other.points);
    }
}

impl Moments {
    fn merged(self, n: f64, other: Moments, m: f64) -> Option<Moments> {
        let step = other.mean - self.mean;
        let mean = self.mean * (n / (n + m)) + other.mean * (m / (n + m));
        Moments { mean, m2: self.m2 + other.m2 + step * step * (n * m / (n + m)) }.if_finite()
    }

    fn if_finite(self) -> Option<Moments> {
        (self.mean.is_finite() && self.m2.is_finite()).then_some(self)
    }
}

impl Labels {
    fn merge(&mut self, other: &Labels) {
        for (label, count) in &other.counts {
            *self.counts.entry(label.clone()).or_default() += count;
        }
        self.other += other.other;
        self.bound();
    }

    /// Moves the rarest labels beyond [`MAX_CATEGORIES`] to `other`.
    fn bound(&mut self) {
        if self.counts.len() <= MAX_CATEGORIES {
            return;
        }
        let mut labels: Vec<(String, u64)> = std::mem::take(&mut self.counts).into_iter().collect();
        labels.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        self.other += labels.drain(MAX_CATEGORIES..).map(|(_, count)| count).sum::<u64>();
        self.counts = labels.into_iter().collect();
    }
}
