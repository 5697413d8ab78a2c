//! The verdict of a gate: a pure function of rows, answers and facts.

use super::check::{Check, Gate};
use super::facts::Facts;
use domain::entity::{self, GateFigure};
use domain::{Scalar, Verdict};
use indexmap::IndexMap;
use stats::Metric;

/// Fewer rows than this are no evidence.
pub(crate) const MIN_ROWS: usize = 30;

/// What a gate judges on: the same rows for both versions, in the same order.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The labels.
    pub truth: &'a [f64],
    /// The day of every row: rows of one day are not independent and are drawn together. `None`: the rows have no times.
    pub days: Option<&'a [i64]>,
    pub challenger: &'a [Scalar],
    /// `None`: there is no champion.
    pub champion: Option<&'a [Scalar]>,
    /// Of the bootstrap.
    pub seed: u64,
    /// Columns by which rows are cut, a value a row.
    pub columns: &'a IndexMap<String, Vec<Scalar>>,
    /// What else is known of the versions.
    pub facts: &'a Facts,
}

/// What a gate found.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub checks: Vec<entity::Check>,
    /// The main metric of both.
    pub figure: GateFigure,
    pub verdict: Verdict,
    /// One sentence.
    pub why: String,
}

/// Judges every check and the whole.
///
/// Absolute limits look at the figure itself, and at its interval where it has one. Comparisons look at both figures on the
/// same rows, or at the interval of their difference: good only if the whole interval is, bad only if the whole interval is.
pub fn judge(gate: &Gate, main: Metric, evidence: &Evidence) -> Judged {
    let challenger = numbers(evidence.challenger);
    let champion = evidence.champion.map(numbers);
    let value = |metric: Metric, answers: &Result<Vec<f64>, String>| metric.value(evidence.truth, answers.as_ref().ok()?);
    let figure = GateFigure {
        metric: main.name().into(),
        challenger: value(main, &challenger),
        champion: champion.as_ref().and_then(|champion| value(main, champion)),
    };
    let bench = Bench { evidence, main, confidence: gate.confidence, challenger, champion };
    let checks: Vec<_> = gate.checks.iter().map(|(text, check)| bench.judge(text, check)).collect();
    let verdict = Verdict::all(checks.iter().filter(|check| !check.skipped).map(|check| check.verdict));
    let why = sentence(&checks, &figure, verdict, evidence.truth.len());
    Judged { checks, figure, verdict, why }
}

/// The answers as finite numbers, or how many are not.
fn numbers(answers: &[Scalar]) -> Result<Vec<f64>, String> {
    let numbers: Vec<f64> = answers.iter().filter_map(Scalar::as_f64).filter(|x| x.is_finite()).collect();
    if numbers.len() == answers.len() {
        return Ok(numbers);
    }
    Err(format!("{} of {} predictions are not finite numbers", answers.len() - numbers.len(), answers.len()))
}

fn sentence(checks: &[entity::Check], figure: &GateFigure, verdict: Verdict, rows: usize) -> String {
    let counted: Vec<_> = checks.iter().filter(|check| !check.skipped).collect();
    let only_limits = if counted.len() < checks.len() { "; no champion: absolute limits only" } else { "" };
    if counted.is_empty() {
        return "there is no champion to compare with, and the gate has no absolute limit: add one, such as \"mae < 60\"".into();
    }
    let figures = match (figure.challenger, figure.champion) {
        (Some(new), Some(old)) => format!("{} {new:.4} against {old:.4} of the champion on {rows} rows", figure.metric),
        (Some(new), None) => format!("{} {new:.4} on {rows} rows", figure.metric),
        _ => format!("{rows} rows"),
    };
    if verdict == Verdict::Pass {
        return format!("{figures}: {} of {} checks pass{only_limits}", counted.len(), counted.len());
    }
    let reasons: Vec<_> =
        counted.iter().filter(|check| check.verdict == verdict).map(|check| format!("{}: {}", check.text, check.why)).collect();
    format!("{figures}: {}{only_limits}", reasons.join("; "))
}

/// One gate's evidence, prepared.
pub(super) struct Bench<'a> {
    pub(super) evidence: &'a Evidence<'a>,
    /// The model's main metric.
    pub(super) main: Metric,
    pub(super) confidence: f64,
    pub(super) challenger: Result<Vec<f64>, String>,
    pub(super) champion: Option<Result<Vec<f64>, String>>,
}

impl Bench<'_> {
    fn judge(&self, text: &str, check: &Check) -> entity::Check {
        let skipped = check.compares() && self.champion.is_none();
        entity::Check { skipped, ..self.find(text, check) }
    }

    fn find(&self, text: &str, check: &Check) -> entity::Check {
        match check {
            Check::Quantity { quantity, relation, limit } if !quantity.compares() || self.champion.is_some() => {
                return self.limit(text, quantity, *relation, *limit);
            }
            Check::Answers(probe) => return self.probe(text, *probe),
            Check::Signature if self.champion.is_some() => return self.signature(text),
            _ => {}
        }
        let rows = self.evidence.truth.len();
        let challenger = match &self.challenger {
            Err(what) => return entity::Check::new(text, Verdict::Fail, what),
            Ok(_) if rows < MIN_ROWS => {
                let (n, needed) = (Some(rows as u64), Some(MIN_ROWS as u64));
                let why = format!("{rows} rows, needs {MIN_ROWS}");
                return entity::Check { n, needed, ..entity::Check::new(text, Verdict::Inconclusive, why) };
            }
            Ok(numbers) => numbers,
        };
        if let Check::Limit { metric, relation, limit } = check {
            let Some(value) = metric.value(self.evidence.truth, challenger) else { return undefined(text, *metric) };
            let verdict = if relation.holds(value, *limit) { Verdict::Pass } else { Verdict::Fail };
            let why = format!("{} is {value:.4}", metric.name());
            return entity::Check {
                challenger: Some(value),
                value: Some(value),
                limit: Some(*limit),
                n: Some(rows as u64),
                ..entity::Check::new(text, verdict, why)
            };
        }
        let champion = match &self.champion {
            None => return entity::Check::new(text, Verdict::Inconclusive, "no champion: absolute limits only"),
            Some(Err(what)) => return entity::Check::new(text, Verdict::Inconclusive, format!("the champion's answers: {what}")),
            Some(Ok(numbers)) => numbers,
        };
        match check {
            Check::Slices { column, metric, min_rows } => self.slices(text, column, *metric, *min_rows, challenger, champion),
            _ => self.compare(text, check, challenger, champion),
        }
    }
}

pub(super) fn undefined(text: &str, metric: Metric) -> entity::Check {
    entity::Check::new(text, Verdict::Inconclusive, format!("{} is undefined on these rows", metric.name()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::gate::parse_gate;
    use Verdict::*;
    use domain::spec::{Approve, GateSpec};

    fn gate(must: &[&str]) -> Gate {
        let must = must.iter().map(|text| (*text).to_owned()).collect();
        parse_gate(&GateSpec { holdout: "last 7d".into(), must, confidence: 0.95, approve: Approve::default() }).unwrap()
    }

    /// `days` days of 24 rows; each version is off by its own amount, which alternates around it by `noise`.
    struct Rows {
        truth: Vec<f64>,
        days: Vec<i64>,
        challenger: Vec<Scalar>,
        champion: Vec<Scalar>,
    }

    fn rows(days: i64, new: f64, old: f64, noise: f64) -> Rows {
        let truth: Vec<f64> = (0..days * 24).map(|hour| 100.0 + (hour % 24) as f64).collect();
        let days: Vec<i64> = (0..days * 24).map(|hour| hour / 24).collect();
        let off = |error: f64, sign: f64| {
            let at = |(y, day): (&f64, &i64)| Scalar::Float(y + error + sign * noise * if day % 2 == 0 { 1.0 } else { -1.0 });
            truth.iter().zip(&days).map(at).collect()
        };
        Rows { challenger: off(new, 1.0), champion: off(old, -1.0), truth, days }
    }

    fn judged(gate: &Gate, rows: &Rows, with_champion: bool) -> Judged {
        let champion = with_champion.then_some(rows.champion.as_slice());
        let (columns, facts) = (IndexMap::new(), Facts::default());
        let evidence = Evidence {
            truth: &rows.truth,
            days: Some(&rows.days),
            challenger: &rows.challenger,
            champion,
            seed: 7,
            columns: &columns,
            facts: &facts,
        };
        judge(gate, Metric::Mae, &evidence)
    }

    #[test]
    fn each_check_has_three_outcomes() {
        let cases = [
            ("mae < 60", rows(7, 5.0, 9.0, 0.0), Pass),
            ("mae < 5", rows(7, 5.0, 9.0, 0.0), Fail),
            ("mae <= 5", rows(7, 5.0, 9.0, 0.0), Pass),
            ("mae <= champion.mae on holdout", rows(7, 5.0, 9.0, 0.0), Pass),
            ("mae <= champion.mae on holdout", rows(7, 9.1, 9.0, 0.0), Fail),
            ("non_inferior(mae, margin = 1.0)", rows(7, 9.5, 9.0, 0.0), Pass),
            ("non_inferior(mae, margin = 1.0)", rows(7, 11.0, 9.0, 0.0), Fail),
            ("non_inferior(mae, margin = 1.0)", rows(7, 9.5, 9.0, 4.0), Inconclusive),
            ("superior(mae)", rows(7, 5.0, 9.0, 0.1), Pass),
            ("superior(mae)", rows(7, 9.0, 5.0, 0.1), Fail),
            ("superior(mae)", rows(7, 5.0, 5.5, 3.0), Inconclusive),
            // One day says nothing about the spread between days, and twenty rows say nothing at all.
            ("superior(mae)", rows(1, 5.0, 9.0, 0.0), Inconclusive),
            ("mae < 60", rows(1, 5.0, 9.0, 0.0), Inconclusive),
        ];
        for (text, rows, verdict) in cases {
            let judged = judged(&gate(&[text]), &rows, true);
            assert_eq!(judged.verdict, verdict, "{text}: {}", judged.why);
        }
    }

    #[test]
    fn the_direction_is_the_metrics_own() {
        let rows = rows(7, 2.0, 40.0, 0.5);
        for text in ["superior(r2)", "non_inferior(r2, margin = 0.01)", "r2 >= champion.r2 on holdout"] {
            assert_eq!(judged(&gate(&[text]), &rows, true).verdict, Pass, "{text}");
        }
    }

    #[test]
    fn without_a_champion_comparisons_do_not_count() {
        let judged = judged(&gate(&["mae < 60", "superior(mae)"]), &rows(7, 5.0, 9.0, 0.0), false);
        assert_eq!(judged.verdict, Pass);
        assert!(judged.checks[1].skipped && !judged.checks[0].skipped);
        assert!(judged.why.contains("no champion: absolute limits only"), "{}", judged.why);
        assert_eq!(judged.figure.champion, None);
    }

    #[test]
    fn only_comparisons_without_a_champion_are_no_evidence() {
        assert_eq!(judged(&gate(&["superior(mae)"]), &rows(7, 5.0, 9.0, 0.0), false).verdict, Inconclusive);
    }

    #[test]
    fn predictions_that_are_no_numbers_fail_and_are_counted() {
        for bad in [Scalar::Null, Scalar::Float(f64::NAN), Scalar::Text("many".into())] {
            let mut rows = rows(7, 5.0, 9.0, 0.0);
            rows.challenger[3] = bad;
            let judged = judged(&gate(&["mae < 60", "superior(mae)"]), &rows, true);
            assert_eq!(judged.verdict, Fail);
            assert!(judged.why.contains("1 of 168 predictions"), "{}", judged.why);
        }
        let mut rows = rows(7, 5.0, 9.0, 0.0);
        rows.champion[3] = Scalar::Null;
        assert_eq!(judged(&gate(&["superior(mae)"]), &rows, true).verdict, Inconclusive);
    }

    #[test]
    fn the_same_rows_and_seed_give_the_same_report() {
        let gate = gate(&["non_inferior(mae, margin = 1.0)"]);
        assert_eq!(judged(&gate, &rows(7, 9.5, 9.0, 4.0), true), judged(&gate, &rows(7, 9.5, 9.0, 4.0), true));
    }
}
