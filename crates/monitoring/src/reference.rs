//! What is normal for a version: a profile of every feature and of the predictions over its training rows, and the
//! threshold beyond which a window has moved.

use crate::rows::number;
use crate::windows::Calendar;
use domain::entity::FeatureDrift;
use domain::spec::DriftSpec;
use domain::{Scalar, Timestamp, Verdict};
use serde::{Deserialize, Serialize};
use stats::{Bins, Profile, Threshold};
use std::collections::BTreeMap;

/// The name under which the predictions are watched.
pub const PREDICTION: &str = "prediction";
/// Deciles.
const BINS: usize = 10;
/// A learnt threshold is at least this: smaller moves are of no interest, however calm the reference was.
const FLOOR: f64 = 0.1;
/// A share of nulls that is greater than the reference's by more than this is a move, which distances of values do not see.
const NULL_SHARE: f64 = 0.1;

/// How far a window is from the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// In the reference's standard deviations.
    Wasserstein,
    /// In the reference's deciles or categories.
    Psi,
}

impl Statistic {
    /// The statistic of a word of the file.
    pub fn parse(word: &str) -> Option<Self> {
        [Statistic::Wasserstein, Statistic::Psi].into_iter().find(|statistic| statistic.word() == word)
    }

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Statistic::Wasserstein => "wasserstein",
            Statistic::Psi => "psi",
        }
    }
}

/// The values of one column, by how they are watched.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Integers, numbers and booleans.
    Numbers(Vec<Option<f64>>),
    /// Anything else.
    Labels(Vec<Option<String>>),
}

impl Column {
    /// A column of numbers if no value is text.
    pub fn of<'a>(values: impl Iterator<Item = &'a Scalar> + Clone) -> Column {
        let numeric = !values.clone().any(|value| matches!(value, Scalar::Text(_)));
        Column::like(values, numeric)
    }

    /// Numbers or labels, as asked; what does not fit is null.
    fn like<'a>(values: impl Iterator<Item = &'a Scalar>, numeric: bool) -> Column {
        if numeric {
            return Column::Numbers(values.map(number).collect());
        }
        let label = |value: &Scalar| if *value == Scalar::Null { None } else { Some(value.to_string()) };
        Column::Labels(values.map(label).collect())
    }

    fn part(&self, rows: &[usize]) -> Column {
        match self {
            Column::Numbers(values) => Column::Numbers(rows.iter().map(|row| values[*row]).collect()),
            Column::Labels(values) => Column::Labels(rows.iter().map(|row| values[*row].clone()).collect()),
        }
    }

    fn bins(&self) -> Bins {
        match self {
            Column::Numbers(values) => Bins::numeric(values, BINS),
            Column::Labels(values) => Bins::categorical(values),
        }
    }

    fn profile(&self, bins: &Bins) -> Profile {
        match self {
            Column::Numbers(values) => Profile::numeric(values, Some(bins)),
            Column::Labels(values) => Profile::categorical(values, Some(bins)),
        }
    }
}

/// What a version was trained on, column by column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// `training set ID, 1204 rows`.
    pub what: String,
    pub features: Vec<Watched>,
    /// What the version answers to its own training rows.
    pub prediction: Watched,
}

/// One watched column of a reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    pub name: String,
    pub statistic: Statistic,
    pub bins: Bins,
    pub profile: Profile,
    /// Beyond it a window has moved; in the statistic's unit.
    pub threshold: f64,
    /// How the threshold came: `greatest of 7 reference windows`, `fixed`.
    pub threshold_what: String,
}

impl Reference {
    /// Learns from the training rows: their event times, their features, and the answers of the version to them.
    pub fn learn(
        what: String,
        spec: &DriftSpec,
        calendar: Calendar,
        times: &[Timestamp],
        features: Vec<(String, Column)>,
        answers: Column,
    ) -> Self {
        let windows = windows(calendar, times);
        let learn = |name: String, column: &Column, numeric: &str| {
            let statistic = match column {
                Column::Numbers(_) => Statistic::parse(numeric).unwrap_or(Statistic::Wasserstein),
                Column::Labels(_) => Statistic::Psi,
            };
            let fixed = spec.threshold.get(&name).copied();
            Watched::learn(name, statistic, column, &windows, fixed)
        };
        let features = features.into_iter().map(|(name, column)| learn(name, &column, &spec.numeric)).collect();
        Reference { what, features, prediction: learn(PREDICTION.into(), &answers, &spec.prediction) }
    }
}

/// The rows of each window of the calendar. A first or last window with fewer than half the rows of the fullest is cut
/// short by the reference's own edge and left out.
fn windows(calendar: Calendar, times: &[Timestamp]) -> Vec<Vec<usize>> {
    let mut windows: BTreeMap<Timestamp, Vec<usize>> = BTreeMap::new();
    for (row, time) in times.iter().enumerate() {
        windows.entry(time.floor(calendar.origin, calendar.size)).or_default().push(row);
    }
    let fullest = windows.values().map(Vec::len).max().unwrap_or(0);
    let last = windows.len().saturating_sub(1);
    let whole = |(place, rows): (usize, Vec<usize>)| ((place != 0 && place != last) || 2 * rows.len() >= fullest).then_some(rows);
    windows.into_values().enumerate().filter_map(whole).collect()
}

impl Watched {
    fn learn(name: String, statistic: Statistic, column: &Column, windows: &[Vec<usize>], fixed: Option<f64>) -> Self {
        let bins = column.bins();
        let profile = column.profile(&bins);
        let mut watched = Watched { name, statistic, bins, profile, threshold: FLOOR, threshold_what: "fixed".into() };
        if let Some(fixed) = fixed {
            watched.threshold = fixed;
            return watched;
        }
        let scores: Vec<f64> = windows.iter().filter_map(|rows| watched.distance(&column.part(rows).profile(&watched.bins))).collect();
        let learnt = Threshold::learn(&scores, FLOOR);
        let greatest = scores.iter().copied().filter(|score| score.is_finite()).fold(0.0, f64::max);
        watched.threshold = learnt.value;
        watched.threshold_what = match learnt.n_windows {
            0 => format!("at least {FLOOR}: no reference window to learn from"),
            n if greatest < FLOOR => format!("at least {FLOOR}: greatest of {n} reference windows is {greatest:.3}"),
            n => format!("greatest of {n} reference windows"),
        };
        watched
    }

    fn distance(&self, window: &Profile) -> Option<f64> {
        match self.statistic {
            Statistic::Wasserstein => window.wasserstein_norm_to(&self.profile),
            Statistic::Psi => window.psi_to(&self.profile, &self.bins),
        }
    }

    /// Compares a window's values with the reference.
    pub fn compare<'a>(&self, values: impl Iterator<Item = &'a Scalar>) -> FeatureDrift {
        let column = Column::like(values, matches!(self.bins, Bins::Numeric { .. }));
        let profile = column.profile(&self.bins);
        let value = self.distance(&profile);
        let nulls_rose = null_share(&profile) > null_share(&self.profile) + NULL_SHARE;
        let verdict = match value {
            _ if nulls_rose => Verdict::Fail,
            None => Verdict::Inconclusive,
            Some(value) if value > self.threshold => Verdict::Fail,
            Some(_) => Verdict::Pass,
        };
        FeatureDrift {
            feature: self.name.clone(),
            statistic: self.statistic.word().into(),
            value,
            threshold: self.threshold,
            threshold_what: self.threshold_what.clone(),
            verdict,
            nulls: profile.nulls,
        }
    }
}

fn null_share(profile: &Profile) -> f64 {
    profile.nulls as f64 / (profile.n.max(1)) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::Span;

    const WEEK: i64 = 168;

    fn hour(n: i64) -> Timestamp {
        Timestamp::from_ms(n * 3_600_000)
    }

    fn calendar() -> Calendar {
        Calendar { origin: hour(0), size: Span::days(7) }
    }

    /// `temp` rises by 1 a week around a daily swing of 10; `hr` is the hour of the day; `weather` is text.
    fn learn(hours: std::ops::Range<i64>, spec: &DriftSpec) -> Reference {
        let times: Vec<_> = hours.clone().map(hour).collect();
        let numbers = |of: fn(i64) -> f64| Column::Numbers(hours.clone().map(|h| Some(of(h))).collect());
        let weather = Column::Labels(hours.clone().map(|h| Some(weather(h))).collect());
        let features = vec![("temp".into(), numbers(temp)), ("hr".into(), numbers(|h| (h % 24) as f64)), ("weather".into(), weather)];
        Reference::learn("training set t1".into(), spec, calendar(), &times, features, numbers(temp))
    }

    fn temp(hour: i64) -> f64 {
        (hour % 24) as f64 * 10.0 / 24.0 + (hour / WEEK) as f64
    }

    fn weather(hour: i64) -> String {
        if hour % 5 == 0 { "rain".into() } else { "clear".into() }
    }

    #[test]
    fn thresholds_are_the_greatest_that_a_reference_week_differs_from_all() {
        let reference = learn(0..8 * WEEK, &DriftSpec::default());
        let [temp, hr, weather] = &reference.features[..] else { panic!() };
        assert!(temp.threshold > 0.5 && temp.threshold < 2.0, "{}", temp.threshold);
        assert_eq!(temp.threshold_what, "greatest of 8 reference windows");
        assert_eq!((hr.threshold, weather.threshold), (0.1, 0.1));
        assert_eq!(hr.threshold_what, "at least 0.1: greatest of 8 reference windows is 0.000");
        assert_eq!((temp.statistic, weather.statistic), (Statistic::Wasserstein, Statistic::Psi));
        assert_eq!(reference.prediction.statistic, Statistic::Psi);
    }

    #[test]
    fn windows_cut_short_by_the_edge_of_the_reference_do_not_count() {
        for (hours, n) in [(0..2 * WEEK, 2), (100..2 * WEEK, 1), (80..2 * WEEK, 2), (0..2 * WEEK + 50, 2), (0..10, 1)] {
            let times: Vec<_> = hours.clone().map(hour).collect();
            assert_eq!(windows(calendar(), &times).len(), n, "{hours:?}");
        }
        assert!(windows(calendar(), &[]).is_empty());
    }

    #[test]
    fn a_fixed_threshold_is_taken_as_it_is() {
        let spec = DriftSpec { threshold: [("temp".to_owned(), 3.0)].into_iter().collect(), ..DriftSpec::default() };
        let temp = &learn(0..4 * WEEK, &spec).features[0];
        assert_eq!((temp.threshold, temp.threshold_what.as_str()), (3.0, "fixed"));
    }

    #[test]
    fn a_window_moves_by_its_values_its_labels_or_its_nulls() {
        let reference = learn(0..8 * WEEK, &DriftSpec::default());
        let [temp, _, weather] = &reference.features[..] else { panic!() };
        let week = |of: &dyn Fn(i64) -> Scalar| (0..WEEK).map(of).collect::<Vec<_>>();
        let clear = |h: i64| Scalar::Text(self::weather(h));
        let cases = [
            ("like the reference", temp, week(&|h| Scalar::Float(self::temp(h) + 3.5)), Verdict::Pass),
            ("hotter", temp, week(&|h| Scalar::Float(self::temp(h) + 30.0)), Verdict::Fail),
            ("as integers", temp, week(&|h| Scalar::Int(self::temp(h) as i64 + 4)), Verdict::Pass),
            (
                "a fifth is missing",
                temp,
                week(&|h| if h % 5 == 0 { Scalar::Null } else { Scalar::Float(self::temp(h) + 3.5) }),
                Verdict::Fail,
            ),
            ("text instead", temp, week(&clear), Verdict::Fail),
            ("same weather", weather, week(&clear), Verdict::Pass),
            ("a new label", weather, week(&|_| Scalar::Text("hail".into())), Verdict::Fail),
        ];
        for (what, watched, values, verdict) in cases {
            let drift = watched.compare(values.iter());
            assert_eq!(drift.verdict, verdict, "{what}: {drift:?}");
        }
        assert_eq!(temp.compare([].iter()).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn survives_json() {
        let reference = learn(0..3 * WEEK, &DriftSpec::default());
        let json = serde_json::to_vec(&reference).unwrap();
        assert_eq!(serde_json::from_slice::<Reference>(&json).unwrap(), reference);
    }
}
