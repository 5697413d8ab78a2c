//! Limits on quantities: calibration, fairness, behaviour, the training set.

use super::check::{Probe, Relation};
use super::compare::REPLICATES;
use super::facts::{Answered, Latency, Training};
use super::judge::{Bench, MIN_ROWS};
use super::quantity::{Quantity, Share};
use super::words::meant;
use domain::Verdict;
use domain::entity::{self, Interval};
use stats::{Binning, Parity, Recalibration, calibration_error, calibration_interval, quantile_interval, rows_to_clear};

/// Bins of the calibration error.
const BINS: usize = 10;

/// A value to be held against a limit, with what is known of its spread.
struct Found {
    value: f64,
    ends: Option<(f64, f64)>,
    method: String,
    n: u64,
    /// What the value is made of, in words.
    note: String,
}

impl Found {
    fn new(value: f64, method: impl Into<String>, n: u64) -> Self {
        Found { value, ends: None, method: method.into(), n, note: String::new() }
    }
}

impl Bench<'_> {
    /// `QUANTITY < NUMBER`. Where there is an interval, all of it must keep to the limit; all of it beyond fails.
    pub(super) fn limit(&self, text: &str, quantity: &Quantity, relation: Relation, limit: f64) -> entity::Check {
        let found = match self.measure(quantity) {
            Ok(found) => found,
            Err((verdict, what)) => return entity::Check { limit: Some(limit), ..entity::Check::new(text, verdict, what) },
        };
        let Found { value, ends, method, n, note } = found;
        let holds = |x: f64| relation.holds(x, limit);
        let verdict = match ends {
            None if holds(value) => Verdict::Pass,
            None => Verdict::Fail,
            Some((low, high)) if holds(low) && holds(high) => Verdict::Pass,
            // Both ends beyond a limit that lies between them would be no failure of the whole interval.
            Some((low, high)) if !(holds(low) || holds(high) || (low < limit && limit < high)) => Verdict::Fail,
            Some(_) => Verdict::Inconclusive,
        };
        let unit = quantity.unit();
        let shown = |x: f64| match (unit, x.is_finite()) {
            (_, false) => "no bound".to_owned(),
            (Some("ms"), _) => format!("{x:.2} ms"),
            (Some("bytes"), _) => bytes(x),
            (Some(unit), _) => format!("{x} {unit}"),
            (None, _) => format!("{x:.4}"),
        };
        let needed = match (verdict, ends) {
            (Verdict::Inconclusive, Some((low, high))) => self.rows_needed(quantity, n, value, low, high, limit, holds(value)),
            _ => None,
        };
        let spread = ends.map(|(low, high)| format!(" in [{}, {}] ({} %)", shown(low), shown(high), self.confidence * 100.0));
        let more = needed.map(|needed| format!("; about {needed} would tell")).unwrap_or_default();
        let why = format!("{}{}{note}{more}", shown(value), spread.unwrap_or_default());
        let interval = ends.filter(|(low, high)| low.is_finite() && high.is_finite()).map(|(low, high)| Interval {
            low,
            high,
            confidence: self.confidence,
            method: method.clone(),
        });
        entity::Check {
            challenger: Some(value),
            value: Some(value),
            limit: Some(limit),
            unit: unit.map(str::to_owned),
            method: Some(method),
            n: Some(n),
            needed,
            interval,
            ..entity::Check::new(text, verdict, why)
        }
    }

    fn rows_needed(&self, quantity: &Quantity, n: u64, value: f64, low: f64, high: f64, limit: f64, good: bool) -> Option<u64> {
        if let (Quantity::Latency(share), true) = (quantity, high.is_infinite()) {
            // So many that the greatest lies above the quantile with enough confidence.
            return Some((((1.0 - self.confidence) / 2.0).ln() / share.quantile().ln()).ceil() as u64 + 1);
        }
        let distance = if good { (limit - value).abs() } else { -1.0 };
        rows_to_clear(n, (high - low) / 2.0, distance, self.confidence, 0.8).map(|needed| needed.max(n + 1))
    }

    fn measure(&self, quantity: &Quantity) -> Result<Found, (Verdict, String)> {
        let unsure = |what: String| (Verdict::Inconclusive, what);
        match quantity {
            Quantity::Ece | Quantity::EceMass | Quantity::Slope | Quantity::Intercept => self.calibration(quantity),
            Quantity::Parity(parity, column) => self.parity(*parity, column),
            Quantity::Latency(share) => {
                let latency = self.known(&self.evidence.facts.latency, "latencies were not measured")?;
                percentile(&latency.challenger_ms, *share, self.confidence).ok_or_else(|| unsure("no call was timed".into()))
            }
            Quantity::LatencyRatio => {
                let latency = self.known(&self.evidence.facts.latency, "latencies were not measured")?;
                ratio(latency, self.confidence).ok_or_else(|| unsure("no call was timed".into()))
            }
            Quantity::ModelSize => {
                let size = self.known(&self.evidence.facts.size, "the version's files were not looked at")?;
                Ok(Found::new(*size as f64, "bytes of all files of the version", 1))
            }
            _ => {
                let training = self.known(&self.evidence.facts.training, "the training set was not looked at")?;
                of_training(quantity, training).map_err(unsure)
            }
        }
    }

    /// A fact that was gathered.
    fn known<'a, T>(&self, fact: &'a Option<Result<T, String>>, missing: &str) -> Result<&'a T, (Verdict, String)> {
        match fact {
            Some(Ok(fact)) => Ok(fact),
            Some(Err(what)) => Err((Verdict::Inconclusive, what.clone())),
            None => Err((Verdict::Inconclusive, missing.into())),
        }
    }

    /// The challenger's answers, if there are enough.
    fn answers(&self) -> Result<&[f64], (Verdict, String)> {
        let rows = self.evidence.truth.len();
        match &self.challenger {
            Err(what) => Err((Verdict::Fail, what.clone())),
            Ok(_) if rows < MIN_ROWS => Err((Verdict::Inconclusive, format!("{rows} rows, needs {MIN_ROWS}"))),
            Ok(numbers) => Ok(numbers),
        }
    }

    fn calibration(&self, quantity: &Quantity) -> Result<Found, (Verdict, String)> {
        let (truth, answers) = (self.evidence.truth, self.answers()?);
        let n = truth.len() as u64;
        let undefined = || (Verdict::Inconclusive, "undefined on these rows: it wants labels of 0 and 1 and probabilities".to_owned());
        let error = |binning, words: &str| {
            let value = calibration_error(truth, answers, BINS, binning).ok_or_else(undefined)?;
            let ends = calibration_interval(truth, answers, BINS, binning, REPLICATES / 10, self.confidence, self.evidence.seed);
            Ok(Found { ends, ..Found::new(value, format!("{BINS} bins of equal {words}, bootstrap of rows"), n) })
        };
        match quantity {
            Quantity::Ece => error(Binning::Width, "width"),
            Quantity::EceMass => error(Binning::Mass, "count"),
            _ => {
                let fit = Recalibration::fit(truth, answers).ok_or_else(undefined)?;
                let (value, ends) = match quantity {
                    Quantity::Slope => (fit.slope, fit.slope_interval(self.confidence)),
                    _ => (fit.intercept, fit.intercept_interval(self.confidence)),
                };
                Ok(Found { ends, ..Found::new(value, "logistic recalibration, Wald", n) })
            }
        }
    }

    fn parity(&self, parity: Parity, column: &str) -> Result<Found, (Verdict, String)> {
        let (truth, answers) = (self.evidence.truth, self.answers()?);
        let (group, names) = self.groups(column).map_err(|what| (Verdict::Inconclusive, what))?;
        let chosen: Vec<f64> = answers.iter().map(|p| f64::from(*p >= 0.5)).collect();
        let found = parity.interval(truth, &chosen, &group, REPLICATES / 5, self.confidence, self.evidence.seed);
        let found = found.ok_or_else(|| {
            let what = format!("undefined by `{column}` ({} groups): every group must have rows of both classes", names.len());
            (Verdict::Inconclusive, what)
        })?;
        let method = format!("bootstrap within {} groups of {column}, {} replicates", found.groups, found.replicates);
        Ok(Found {
            ends: Some((found.low, found.high)),
            note: format!("; the smallest group has {} rows", found.smallest),
            ..Found::new(found.point, method, truth.len() as u64)
        })
    }

    /// `answers(...)`.
    pub(super) fn probe(&self, text: &str, probe: Probe) -> entity::Check {
        match self.evidence.facts.answers.get(&probe) {
            None => entity::Check::new(text, Verdict::Inconclusive, "it was not asked"),
            Some(Answered::Well) => entity::Check::new(text, Verdict::Pass, "it answers with finite numbers"),
            Some(Answered::Badly(what)) => entity::Check::new(text, Verdict::Fail, what),
            Some(Answered::NotAsked(why)) => entity::Check::new(text, Verdict::Inconclusive, why),
        }
    }

    /// `same_signature()`.
    pub(super) fn signature(&self, text: &str) -> entity::Check {
        let signatures = match self.known(&self.evidence.facts.signatures, "the signatures were not looked at") {
            Ok(signatures) => signatures,
            Err((verdict, what)) => return entity::Check::new(text, verdict, what),
        };
        let breaks = signatures.breaks();
        if breaks.is_empty() {
            let why = format!("{} inputs and {} outputs fit", signatures.challenger.inputs.len(), signatures.challenger.outputs.len());
            return entity::Check::new(text, Verdict::Pass, why);
        }
        entity::Check::new(text, Verdict::Fail, breaks.join("; "))
    }
}

fn percentile(ms: &[f64], share: Share, level: f64) -> Option<Found> {
    let mut sorted = ms.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = ((sorted.len() as f64 * share.quantile()).ceil() as usize).max(1);
    let value = *sorted.get(rank - 1)?;
    let ends = quantile_interval(&sorted, share.quantile(), level);
    Some(Found { ends, ..Found::new(value, format!("{} calls of one row, order statistics", sorted.len()), sorted.len() as u64) })
}

/// Medians of calls that were asked in turns, with the interval of the median of their paired ratios.
fn ratio(latency: &Latency, level: f64) -> Option<Found> {
    let pairs = latency.challenger_ms.iter().zip(&latency.champion_ms).filter(|(_, old)| **old > 0.0);
    let mut ratios: Vec<f64> = pairs.map(|(new, old)| new / old).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let value = *ratios.get(ratios.len() / 2)?;
    let ends = quantile_interval(&ratios, 0.5, level);
    Some(Found { ends, ..Found::new(value, format!("median of {} paired calls of one row", ratios.len()), ratios.len() as u64) })
}

fn of_training(quantity: &Quantity, training: &Training) -> Result<Found, String> {
    let found = |value: f64, method: &str| Found::new(value, method, training.rows);
    let listed = |names: Vec<String>| if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    match quantity {
        Quantity::TrainRows => Ok(found(training.rows as f64, "rows of the training set")),
        Quantity::TrainNulls(None) => {
            let worst = training.nulls.iter().max_by(|a, b| a.1.total_cmp(b.1));
            let (name, share) = worst.ok_or("the training set has no features")?;
            Ok(Found { note: format!(" missing in `{name}`"), ..found(*share, "greatest share of missing values of a feature") })
        }
        Quantity::TrainNulls(Some(name)) => {
            let known: Vec<&str> = training.nulls.keys().map(String::as_str).collect();
            let share =
                training.nulls.get(name).ok_or_else(|| format!("the training set has no feature `{name}` ({})", meant(name, &known)))?;
            Ok(found(*share, "share of missing values"))
        }
        Quantity::TrainConstant => {
            let note = listed(training.constant.clone());
            Ok(Found { note, ..found(training.constant.len() as f64, "features with one value only") })
        }
        Quantity::TrainDuplicates => {
            let note = listed(training.duplicates.iter().map(|(a, b)| format!("{b} = {a}")).collect());
            Ok(Found { note, ..found(training.duplicates.len() as f64, "features that equal another") })
        }
        Quantity::TrainDuplicateRows => {
            let repeated = training.repeated.ok_or("the training set has neither keys nor times to tell its rows apart")?;
            let share = if training.rows == 0 { 0.0 } else { repeated as f64 / training.rows as f64 };
            Ok(Found { note: format!(" ({repeated} rows)"), ..found(share, "share of rows whose key and time an earlier row has") })
        }
        Quantity::TrainDrift(None) => {
            let worst = training.drift.iter().max_by(|a, b| a.1.total_cmp(b.1));
            let (name, psi) = worst.ok_or("no feature has values both in the training set and in the holdout")?;
            Ok(Found { note: format!(" in `{name}`"), ..found(*psi, "greatest PSI of a feature, deciles of the training set") })
        }
        Quantity::TrainDrift(Some(name)) => {
            let known: Vec<&str> = training.drift.keys().map(String::as_str).collect();
            let psi =
                training.drift.get(name).ok_or_else(|| format!("the training set has no feature `{name}` ({})", meant(name, &known)))?;
            Ok(found(*psi, "PSI, deciles of the training set"))
        }
        Quantity::TrainSmallestClass => {
            let (name, rows) = training.classes.first().ok_or("the label has no classes: too many values, or none")?;
            let note = format!(" of `{name}`, of {} classes", training.classes.len());
            Ok(Found { note, ..found(*rows as f64, "rows of the rarest label") })
        }
        Quantity::TrainLabelMin | Quantity::TrainLabelMax => {
            let (low, high) = training.label.ok_or("the training set has no label that is a number")?;
            let value = if *quantity == Quantity::TrainLabelMin { low } else { high };
            Ok(found(value, "range of the label"))
        }
        Quantity::TrainOverlap => {
            let overlap = training.overlap.ok_or("the rows of the training set were not compared with the holdout")?;
            Ok(found(overlap as f64, "rows with the key and time of a holdout row"))
        }
        _ => Err("not about the training set".into()),
    }
}

fn bytes(x: f64) -> String {
    let unit = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")].into_iter().find(|(size, _)| x >= *size);
    unit.map_or_else(|| format!("{x} bytes"), |(size, unit)| format!("{:.1} {unit}", x / size))
}
