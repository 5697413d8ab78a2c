//! The verdict of a window: a pure function of its rows, the reference and the rule.

use crate::reference::{PREDICTION, Reference};
use crate::rows::{Labels, Predicted, number};
use crate::rule::Rule;
use domain::Verdict;
use domain::entity::{FeatureDrift, Performance, Window};
use stats::Metric;

/// What a window came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// One sentence.
    pub why: String,
    pub drift: Vec<FeatureDrift>,
    pub performance: Option<Performance>,
}

/// Rows of a window, and what speaks against taking them as evidence.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    pub rows: &'a [Predicted],
    /// Whether the version served the whole window as champion.
    pub whole: bool,
    /// Predictions that could not be logged.
    pub lost: u64,
    /// Fewer rows are no evidence.
    pub min_rows: u64,
}

impl Evidence<'_> {
    /// Why these rows are no evidence, if they are not. `counted`: those that can be judged; `what` they are.
    fn lacks(&self, counted: u64, what: &str) -> Option<String> {
        if !self.whole {
            return Some(format!("cut short: the version did not serve all of the window as champion ({counted} {what})"));
        }
        if self.lost > 0 {
            return Some(format!("incomplete: {} predictions were not logged ({counted} {what})", self.lost));
        }
        (counted < self.min_rows).then(|| format!("{counted} {what}, needs {}", self.min_rows))
    }
}

/// Judges an input window: pass "as in the reference", fail "moved".
///
/// `reference`: the version's, or why there is none. Its columns are those that `rows` hold, in order.
pub fn judge_input(evidence: &Evidence, reference: Result<&Reference, &str>) -> Judgement {
    let inconclusive = |why: String, drift| Judgement { verdict: Verdict::Inconclusive, why, drift, performance: None };
    let reference = match reference {
        Ok(reference) => reference,
        Err(why) => return inconclusive(format!("drift is not judged: {why}"), Vec::new()),
    };
    let rows = evidence.rows;
    let columns = reference.features.iter().enumerate();
    let mut drift: Vec<_> = columns.map(|(at, watched)| watched.compare(rows.iter().map(|row| &row.features[at]))).collect();
    drift.push(reference.prediction.compare(rows.iter().map(|row| &row.value)));
    if let Some(why) = evidence.lacks(rows.len() as u64, "rows") {
        return inconclusive(why, drift);
    }
    let verdict = Verdict::all(drift.iter().map(|drift| drift.verdict));
    let why = match verdict {
        Verdict::Pass => format!("inputs and predictions are as in the reference ({})", reference.what),
        Verdict::Fail => format!("{}: {}", moved(&drift), figures(&drift)),
        Verdict::Inconclusive => {
            let silent = drift.iter().filter(|drift| drift.verdict == Verdict::Inconclusive).map(|drift| drift.feature.as_str());
            format!("nothing to compare for {}", silent.collect::<Vec<_>>().join(", "))
        }
    };
    Judgement { verdict, why, drift, performance: None }
}

/// The names of what moved.
pub fn moved_features(drift: &[FeatureDrift]) -> Vec<String> {
    drift.iter().filter(|drift| drift.verdict == Verdict::Fail).map(|drift| drift.feature.clone()).collect()
}

/// `inputs moved (temp, hum)`, `inputs moved (temp) and predictions`, `predictions moved`.
fn moved(drift: &[FeatureDrift]) -> String {
    let (predictions, inputs): (Vec<_>, Vec<_>) = moved_features(drift).into_iter().partition(|name| name == PREDICTION);
    match (inputs.is_empty(), predictions.is_empty()) {
        (false, true) => format!("inputs moved ({})", inputs.join(", ")),
        (false, false) => format!("inputs moved ({}) and predictions", inputs.join(", ")),
        (true, _) => "predictions moved".into(),
    }
}

fn figures(drift: &[FeatureDrift]) -> String {
    let figure = |drift: &FeatureDrift| {
        let value = drift.value.map_or("none".into(), |value| format!("{value:.2}"));
        let nulls = if drift.nulls > 0 { format!(", {} nulls", drift.nulls) } else { String::new() };
        format!("{} {} {value}, at most {:.2}{nulls}", drift.feature, drift.statistic, drift.threshold)
    };
    let moved = drift.iter().filter(|drift| drift.verdict == Verdict::Fail);
    moved.map(figure).collect::<Vec<_>>().join("; ")
}

/// What a performance window is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Bar<'a> {
    pub metric: Metric,
    /// `None`: the file has no rule.
    pub rule: Option<&'a Rule>,
    /// `None`: there is nothing to compare with yet.
    pub threshold: Option<f64>,
}

/// Judges a performance window: pass "holds", fail "fell". `input`: the input window of the same range.
pub fn judge_performance(evidence: &Evidence, labels: &Labels, bar: &Bar, input: Option<&Window>) -> Judgement {
    let labelled: Vec<_> =
        evidence.rows.iter().filter_map(|row| Some((labels.of(row)?, number(&row.value).filter(|x| x.is_finite())))).collect();
    let usable: Vec<(f64, f64)> = labelled.iter().filter_map(|(truth, answer)| Some((*truth, (*answer)?))).collect();
    let (truth, answers): (Vec<f64>, Vec<f64>) = usable.iter().copied().unzip();
    let value = bar.metric.value(&truth, &answers);
    let performance = Performance {
        metric: bar.metric.name().into(),
        value,
        labelled: labelled.len() as u64,
        predicted: evidence.rows.len() as u64,
        threshold: bar.threshold,
    };
    let what = format!("labelled rows of {} predicted", performance.predicted);
    let (verdict, why) = match evidence.lacks(performance.labelled, &what) {
        Some(why) => (Verdict::Inconclusive, why),
        None if usable.len() < labelled.len() => {
            let broken = labelled.len() - usable.len();
            (Verdict::Fail, format!("performance fell: {broken} of {} labelled predictions are not finite numbers", labelled.len()))
        }
        None => against_bar(bar, value),
    };
    let why = match input_story(input) {
        Some((before, story)) if before && verdict == Verdict::Pass => format!("{story}, {why}"),
        Some((_, story)) => format!("{why}; {story}"),
        None => why,
    };
    Judgement { verdict, why, drift: Vec::new(), performance: Some(performance) }
}

fn against_bar(bar: &Bar, value: Option<f64>) -> (Verdict, String) {
    let name = bar.metric.name();
    let Some(value) = value else { return (Verdict::Inconclusive, format!("{name} is undefined on these rows")) };
    let Some(rule) = bar.rule else { return (Verdict::Inconclusive, format!("{name} is {value:.4}; no `incident_if` says what is bad")) };
    let Some(threshold) = bar.threshold else {
        return (Verdict::Inconclusive, format!("{name} is {value:.4}; no champion has a gated figure to compare with yet"));
    };
    let limit = if bar.metric.higher_is_better() { "at least" } else { "at most" };
    let figures = format!("{name} {value:.4}, {limit} {threshold:.4}");
    if rule.is_bad(value, threshold) {
        return (Verdict::Fail, format!("performance fell: {figures}"));
    }
    (Verdict::Pass, format!("performance holds: {figures}"))
}

/// What the inputs of the same window did, and whether that is to be said first.
fn input_story(input: Option<&Window>) -> Option<(bool, String)> {
    let input = input?;
    match input.verdict? {
        Verdict::Fail => Some((true, moved(&input.drift))),
        Verdict::Pass => Some((false, "inputs are as in the reference".into())),
        Verdict::Inconclusive => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::reference::Column;
    use crate::windows::Calendar;
    use domain::entity::WindowKind;
    use domain::spec::DriftSpec;
    use domain::{EntityKey, ModelName, Range, Row, Scalar, Span, Timestamp, VersionNumber};
    use ports::rows_to_batch;

    fn hour(n: i64) -> Timestamp {
        Timestamp::from_ms(n * 3_600_000)
    }

    /// A week of answers; `temp` has a daily swing around `level`.
    fn week(level: f64, n: i64) -> Vec<Predicted> {
        let at = |n: i64| Predicted {
            id: n.to_string(),
            key: serde_json::to_string(&EntityKey::one("city", "dc")).unwrap(),
            time: hour(n),
            value: Scalar::Float(100.0 + (n % 24) as f64),
            features: vec![Scalar::Float(level + (n % 24) as f64 / 24.0)],
        };
        (0..n).map(at).collect()
    }

    fn reference() -> Reference {
        let rows = week(0.0, 168 * 4);
        let column = |of: &dyn Fn(&Predicted) -> Option<f64>| Column::Numbers(rows.iter().map(of).collect());
        let times: Vec<_> = rows.iter().map(|row| row.time).collect();
        let features = vec![("temp".into(), column(&|row| row.features[0].as_f64()))];
        let calendar = Calendar { origin: hour(0), size: Span::days(7) };
        Reference::learn(
            "training set t1, 672 rows".into(),
            &DriftSpec::default(),
            calendar,
            &times,
            features,
            column(&|row| row.value.as_f64()),
        )
    }

    /// Labels that are off by `error` for the first `n` hours.
    fn labels(error: f64, n: i64) -> Labels {
        let label = |n: i64| Row {
            id: n.to_string(),
            time: hour(n),
            at: hour(n + 24),
            key: EntityKey::one("city", "dc"),
            fields: [("label".to_owned(), Scalar::Float(100.0 + (n % 24) as f64 + error))].into_iter().collect(),
        };
        Labels::new(&[rows_to_batch(&(0..n).map(label).collect::<Vec<_>>())], Range::new(hour(0), hour(1000))).unwrap()
    }

    fn evidence(rows: &[Predicted]) -> Evidence<'_> {
        Evidence { rows, whole: true, lost: 0, min_rows: 100 }
    }

    fn input(judgement: Judgement) -> Window {
        Window {
            model: ModelName::new("demand"),
            version: VersionNumber(1),
            kind: WindowKind::Input,
            range: Range::new(hour(0), hour(168)),
            whole: true,
            closed: hour(168),
            lost: 0,
            rows: 168,
            verdict: Some(judgement.verdict),
            why: Some(judgement.why),
            drift: judgement.drift,
            performance: None,
            late: 0,
            segments: 0,
        }
    }

    #[test]
    fn inputs_move_or_do_not_or_nobody_knows() {
        let reference = reference();
        let (same, hot, few) = (week(0.0, 168), week(5.0, 168), week(0.0, 20));
        let cases = [
            (evidence(&same), Verdict::Pass, "as in the reference"),
            (evidence(&hot), Verdict::Fail, "inputs moved (temp): temp wasserstein"),
            (evidence(&few), Verdict::Inconclusive, "20 rows, needs 100"),
            (evidence(&[]), Verdict::Inconclusive, "0 rows, needs 100"),
            (Evidence { lost: 3, ..evidence(&same) }, Verdict::Inconclusive, "3 predictions were not logged"),
            (Evidence { whole: false, ..evidence(&hot) }, Verdict::Inconclusive, "cut short"),
        ];
        for (evidence, verdict, why) in cases {
            let judged = judge_input(&evidence, Ok(&reference));
            assert!(judged.verdict == verdict && judged.why.contains(why), "{why}: {judged:?}");
        }
        let judged = judge_input(&evidence(&same), Err("no training set is known"));
        assert_eq!((judged.verdict, judged.why.as_str()), (Verdict::Inconclusive, "drift is not judged: no training set is known"));
        assert_eq!(moved_features(&judge_input(&evidence(&hot), Ok(&reference)).drift), ["temp"]);
    }

    #[test]
    fn one_sentence_tells_moved_but_harmless_from_harm() {
        let reference = reference();
        let (same, hot) = (week(0.0, 168), week(5.0, 168));
        let moved = input(judge_input(&evidence(&hot), Ok(&reference)));
        let calm = input(judge_input(&evidence(&same), Ok(&reference)));
        let rule = Rule::parse("mae > 1.5 * best.mae for 2 windows").unwrap();
        let bar = Bar { metric: Metric::Mae, rule: Some(&rule), threshold: Some(33.6) };
        let (good, bad) = (labels(20.0, 168), labels(40.0, 168));
        let cases = [
            (&good, &moved, Verdict::Pass, "inputs moved (temp), performance holds: mae 20.0000, at most 33.6000"),
            (&good, &calm, Verdict::Pass, "performance holds: mae 20.0000, at most 33.6000; inputs are as in the reference"),
            (&bad, &moved, Verdict::Fail, "performance fell: mae 40.0000, at most 33.6000; inputs moved (temp)"),
            (&bad, &calm, Verdict::Fail, "performance fell: mae 40.0000, at most 33.6000; inputs are as in the reference"),
        ];
        for (labels, input, verdict, why) in cases {
            let judged = judge_performance(&evidence(&same), labels, &bar, Some(input));
            assert_eq!((judged.verdict, judged.why.as_str()), (verdict, why));
        }
    }

    #[test]
    fn no_labels_no_bar_or_lost_rows_are_no_evidence_and_broken_answers_are_harm() {
        let rule = Rule::parse("mae > 1.5 * best.mae for 2 windows").unwrap();
        let bar = Bar { metric: Metric::Mae, rule: Some(&rule), threshold: Some(33.6) };
        let rows = week(0.0, 168);
        let mut broken = rows.clone();
        broken[5].value = Scalar::Null;
        let all = labels(10.0, 168);
        let cases = [
            (evidence(&rows), &labels(10.0, 20), bar, Verdict::Inconclusive, "20 labelled rows of 168 predicted, needs 100"),
            (Evidence { lost: 1, ..evidence(&rows) }, &all, bar, Verdict::Inconclusive, "1 predictions were not logged"),
            (Evidence { whole: false, ..evidence(&rows) }, &all, bar, Verdict::Inconclusive, "cut short"),
            (evidence(&rows), &all, Bar { threshold: None, ..bar }, Verdict::Inconclusive, "no champion has a gated figure"),
            (evidence(&rows), &all, Bar { rule: None, ..bar }, Verdict::Inconclusive, "no `incident_if`"),
            (evidence(&broken), &all, bar, Verdict::Fail, "1 of 168 labelled predictions are not finite"),
        ];
        for (evidence, labels, bar, verdict, why) in cases {
            let judged = judge_performance(&evidence, labels, &bar, None);
            assert!(judged.verdict == verdict && judged.why.contains(why), "{why}: {judged:?}");
        }
    }
}
