//! The checks of `[model.NAME.gate]`, parsed.
//!
//! | check | passes when |
//! |---|---|
//! | `METRIC < NUMBER` (`<=`, `>`, `>=`) | the challenger's own figure keeps to it |
//! | `METRIC <= champion.METRIC on holdout` | it is no worse than the champion's on the same rows |
//! | `non_inferior(METRIC, margin = X)` | with confidence, it is worse by less than X |
//! | `superior(METRIC[, margin = X])` | with confidence, it is better (by more than X) |
//! | `no_worse_slice(COLUMN[, metric = M, min_rows = N])` | on no part of the rows is it worse (sign tests, Holm) |
//! | `QUANTITY < NUMBER[UNIT]` | a [`Quantity`] keeps to it: `ece`, `latency_p99 < 20ms`, `demographic_parity(COLUMN) < 0.1`, `train_rows > 1000` |
//! | `same_signature()` | it takes no column and gives no type that the champion does not |
//! | `answers(missing)`, `answers(unseen)`, `answers(one_row)` | it answers such rows with finite numbers |
//!
//! `by = day`, `by = row` or `by = COLUMN` inside `non_inferior` and `superior` says what is independent. Without it the method
//! fits the metric: DeLong for `auc`, Tango's score interval (with McNemar beside it) for `accuracy`, else the bootstrap by
//! blocks of a day; where rows have no times, paired t for losses of single rows and the bootstrap by rows for the others.

use super::quantity::Quantity;
use super::words::{arguments, call, nearest, number};
use domain::spec::GateSpec;
use domain::{Refusal, Span};
use stats::Metric;

/// A gate as the file declares it, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Length of the holdout.
    pub holdout: Span,
    /// Each check with its text.
    pub checks: Vec<(String, Check)>,
    /// Two-sided confidence of the intervals.
    pub confidence: f64,
}

/// What a version must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// `METRIC < NUMBER`: its own figure.
    Limit { metric: Metric, relation: Relation, limit: f64 },
    /// `METRIC <= champion.METRIC on holdout`: its figure and the champion's on the same rows.
    Champion { metric: Metric, relation: Relation },
    /// `non_inferior(METRIC, margin = NUMBER)`: with confidence, worse by less than the margin.
    NonInferior { metric: Metric, margin: f64, by: Option<By> },
    /// `superior(METRIC[, margin = NUMBER])`: with confidence, better by more than the margin.
    Superior { metric: Metric, margin: f64, by: Option<By> },
    /// `no_worse_slice(COLUMN, ...)`.
    Slices { column: String, metric: Option<Metric>, min_rows: usize },
    /// `QUANTITY < NUMBER`.
    Quantity { quantity: Quantity, relation: Relation, limit: f64 },
    /// `same_signature()`.
    Signature,
    /// `answers(...)`.
    Answers(Probe),
}

/// What counts as independent in a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    Day,
    Row,
    Column(String),
}

/// Rows that a version must be able to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// Every feature that is a number is missing, one at a time and all together.
    Missing,
    /// Every text feature has a value that was never seen.
    Unseen,
    /// A single row.
    OneRow,
}

impl Probe {
    pub const ALL: [Probe; 3] = [Probe::Missing, Probe::Unseen, Probe::OneRow];

    /// The word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Probe::Missing => "missing",
            Probe::Unseen => "unseen",
            Probe::OneRow => "one_row",
        }
    }
}

/// How two numbers must stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    const ALL: [(&'static str, Relation); 4] =
        [("<=", Relation::LessOrEqual), (">=", Relation::GreaterOrEqual), ("<", Relation::Less), (">", Relation::Greater)];

    /// Whether the two stand so; NaN never does.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Relation::Less => left < right,
            Relation::LessOrEqual => left <= right,
            Relation::Greater => left > right,
            Relation::GreaterOrEqual => left >= right,
        }
    }

    fn wants_more(self) -> bool {
        matches!(self, Relation::Greater | Relation::GreaterOrEqual)
    }
}

impl Check {
    /// Whether it needs a champion: without one it does not count.
    pub fn compares(&self) -> bool {
        match self {
            Check::Limit { .. } | Check::Answers(_) => false,
            Check::Quantity { quantity, .. } => quantity.compares(),
            _ => true,
        }
    }

    /// The column whose values it cuts the rows by.
    pub fn column(&self) -> Option<&str> {
        match self {
            Check::Slices { column, .. } => Some(column),
            Check::NonInferior { by: Some(By::Column(column)), .. } | Check::Superior { by: Some(By::Column(column)), .. } => Some(column),
            Check::Quantity { quantity: Quantity::Parity(_, column), .. } => Some(column),
            _ => None,
        }
    }
}

/// Fewest rows of a slice that is judged, unless the check says otherwise.
const SLICE_ROWS: usize = 30;

/// Understands a gate.
pub fn parse_gate(spec: &GateSpec) -> Result<Gate, Refusal> {
    if spec.must.is_empty() {
        return Err(Refusal::invalid("gate/empty", "the gate has no check").at("must").hint("add one, such as \"mae < 60\""));
    }
    if !(spec.confidence > 0.5 && spec.confidence < 1.0) {
        let what = format!("a confidence of {} is not between 0.5 and 1", spec.confidence);
        return Err(Refusal::invalid("gate/confidence", what).at("confidence").hint("confidence = 0.95"));
    }
    let holdout = parse_holdout(&spec.holdout).map_err(|refusal| refusal.at("holdout"))?;
    let checks = spec.must.iter().map(|text| Ok((text.clone(), parse_check(text).map_err(|refusal| refusal.at("must"))?)));
    Ok(Gate { holdout, checks: checks.collect::<Result<_, Refusal>>()?, confidence: spec.confidence })
}

/// `last 7d` as a length of time.
pub fn parse_holdout(text: &str) -> Result<Span, Refusal> {
    let span = text.trim().strip_prefix("last ").and_then(|rest| Span::parse(rest.trim())).filter(|span| span.ms() > 0);
    span.ok_or_else(|| Refusal::invalid("gate/holdout", format!("`{text}` is not a holdout")).hint("write it as \"last 7d\""))
}

/// Understands one check.
///
/// ```
/// use delivery::gate::{Check, Relation, parse_check};
/// let check = parse_check("mae < 60").unwrap();
/// assert_eq!(check, Check::Limit { metric: stats::Metric::Mae, relation: Relation::Less, limit: 60.0 });
/// assert!(parse_check("latency_99 < 20ms").unwrap_err().to_string().contains("did you mean `latency_p99`?"));
/// ```
pub fn parse_check(text: &str) -> Result<Check, Refusal> {
    let split = Relation::ALL.iter().find_map(|(sign, relation)| Some((text.split_once(sign)?, *relation)));
    match split {
        Some(((left, right), relation)) => limit(text, left.trim(), relation, right.trim()),
        None => called(text),
    }
}

/// `NAME(ARGUMENTS)`.
fn called(text: &str) -> Result<Check, Refusal> {
    let (name, inside) = call(text).ok_or_else(|| not_a_check(text))?;
    let (first, mut named) = arguments(inside);
    let mut take = |key: &str| named.iter().position(|(name, _)| *name == key).map(|at| named.remove(at).1);
    let check = match name {
        "non_inferior" | "superior" => {
            let metric = metric(first, text)?;
            let margin = take("margin").map(|text| number(text).filter(|margin| *margin >= 0.0).ok_or(()));
            let margin = margin.transpose().map_err(|()| not_a_check(text))?;
            let by = take("by").map(|by| match by {
                "day" => By::Day,
                "row" => By::Row,
                column => By::Column(column.to_owned()),
            });
            match (name, margin) {
                ("superior", margin) => Check::Superior { metric, margin: margin.unwrap_or(0.0), by },
                (_, Some(margin)) => Check::NonInferior { metric, margin, by },
                (_, None) => return Err(not_a_check(text)),
            }
        }
        "no_worse_slice" => {
            let metric = take("metric").map(|name| metric(name, text)).transpose()?;
            if let Some(metric) = metric.filter(|metric| metric.row_loss(0.0, 0.0).is_none() && *metric != Metric::Mape) {
                let what = format!("`{text}`: {} has no loss of a single row", metric.name());
                return Err(Refusal::invalid("gate/check", what).hint("slices are compared by mae, mse, accuracy, brier or log_loss"));
            }
            let rows = take("min_rows").map(|text| text.parse().ok().filter(|rows: &usize| *rows > 0).ok_or(()));
            let min_rows = rows.transpose().map_err(|()| not_a_check(text))?.unwrap_or(SLICE_ROWS);
            if first.is_empty() {
                return Err(not_a_check(text));
            }
            Check::Slices { column: first.into(), metric, min_rows }
        }
        "same_signature" if first.is_empty() => Check::Signature,
        "answers" => {
            let probe = Probe::ALL.into_iter().find(|probe| probe.name() == first).ok_or_else(|| {
                let known = Probe::ALL.map(Probe::name);
                nearest(Refusal::invalid("gate/check", format!("`{text}`: there is no kind of row `{first}`")), first, &known)
            })?;
            Check::Answers(probe)
        }
        other => {
            let known = ["non_inferior", "superior", "no_worse_slice", "same_signature", "answers"];
            return Err(nearest(Refusal::invalid("gate/check", format!("`{other}` in `{text}` is not a check")), other, &known));
        }
    };
    match named.first() {
        None => Ok(check),
        Some((key, _)) => {
            let known = ["margin", "by", "metric", "min_rows"];
            Err(nearest(Refusal::invalid("gate/check", format!("`{text}`: `{name}` takes no `{key}` here")), key, &known))
        }
    }
}

/// `LEFT relation RIGHT`.
fn limit(text: &str, left: &str, relation: Relation, right: &str) -> Result<Check, Refusal> {
    if let Some(other) = right.strip_prefix("champion.") {
        return champion(text, metric(left, text)?, relation, other);
    }
    if let Some(metric) = Metric::parse(left) {
        let limit = number(right).ok_or_else(|| not_a_check(text))?;
        return Ok(Check::Limit { metric, relation, limit });
    }
    let quantity = Quantity::parse(left).ok_or_else(|| unknown(left, text))?;
    let limit = quantity.parse_limit(right).ok_or_else(|| {
        Refusal::invalid("gate/check", format!("`{right}` in `{text}` is not a limit")).hint(format!("write it as {}", quantity.example()))
    })?;
    Ok(Check::Quantity { quantity, relation, limit })
}

fn champion(text: &str, metric: Metric, relation: Relation, other: &str) -> Result<Check, Refusal> {
    let other = other.trim().strip_suffix("on holdout").ok_or_else(|| not_a_check(text))?;
    if other.trim() != metric.name() {
        let what = format!("`{text}` compares two different metrics");
        return Err(Refusal::invalid("gate/check", what).hint(format!("compare {} with champion.{}", metric.name(), metric.name())));
    }
    if relation.wants_more() != metric.higher_is_better() {
        let (better, sign) = if metric.higher_is_better() { ("higher", ">=") } else { ("lower", "<=") };
        let name = metric.name();
        return Err(Refusal::invalid("gate/check", format!("`{text}` asks for a version that is worse: {better} is better for {name}"))
            .hint(format!("write \"{name} {sign} champion.{name} on holdout\"")));
    }
    Ok(Check::Champion { metric, relation })
}

fn metric(name: &str, text: &str) -> Result<Metric, Refusal> {
    let name = name.trim();
    Metric::parse(name).ok_or_else(|| {
        let refusal = Refusal::invalid("gate/metric", format!("`{name}` in `{text}` is not a metric"));
        nearest(refusal, name, &Metric::ALL.map(Metric::name))
    })
}

/// Neither a metric nor a quantity.
fn unknown(name: &str, text: &str) -> Refusal {
    if ["error_rate", "memory", "cost"].iter().any(|prefix| name.starts_with(prefix)) {
        let what = format!("`{text}` does not work yet: a gate cannot judge {name}");
        return Refusal::invalid("gate/not_yet", what)
            .hint("take it out; a rollout watches error_rate: rollout = { abort_if = \"error_rate > 1%\" }");
    }
    let mut known = Metric::ALL.map(Metric::name).to_vec();
    known.extend(Quantity::NAMES);
    let name = name.split('(').next().unwrap_or(name);
    nearest(Refusal::invalid("gate/metric", format!("`{name}` in `{text}` is not a metric")), name, &known)
}

fn not_a_check(text: &str) -> Refusal {
    Refusal::invalid("gate/check", format!("`{text}` is not a check"))
        .hint("write \"mae < 60\", \"mae <= champion.mae on holdout\", \"non_inferior(mae, margin = 1.0)\" or \"superior(mae)\"")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::gate::quantity::Share;
    use stats::Parity;

    #[test]
    fn checks_are_understood() {
        use Relation::*;
        let quantity = |quantity, relation, limit| Check::Quantity { quantity, relation, limit };
        let cases = [
            ("mae < 60", Check::Limit { metric: Metric::Mae, relation: Less, limit: 60.0 }),
            ("accuracy>=0.9", Check::Limit { metric: Metric::Accuracy, relation: GreaterOrEqual, limit: 0.9 }),
            ("mae <= champion.mae on holdout", Check::Champion { metric: Metric::Mae, relation: LessOrEqual }),
            ("auc > champion.auc on holdout", Check::Champion { metric: Metric::Auc, relation: Greater }),
            ("non_inferior(mae, margin = 1.0)", Check::NonInferior { metric: Metric::Mae, margin: 1.0, by: None }),
            ("non_inferior (r2,margin=0.02)", Check::NonInferior { metric: Metric::R2, margin: 0.02, by: None }),
            ("non_inferior(auc, margin = 0, by = day)", Check::NonInferior { metric: Metric::Auc, margin: 0.0, by: Some(By::Day) }),
            ("superior(rmse)", Check::Superior { metric: Metric::Rmse, margin: 0.0, by: None }),
            (
                "superior(accuracy, margin = 0.01, by = user)",
                Check::Superior { metric: Metric::Accuracy, margin: 0.01, by: Some(By::Column("user".into())) },
            ),
            ("no_worse_slice(city)", Check::Slices { column: "city".into(), metric: None, min_rows: 30 }),
            (
                "no_worse_slice(city, min_rows = 50, metric = mae)",
                Check::Slices { column: "city".into(), metric: Some(Metric::Mae), min_rows: 50 },
            ),
            ("ece < 0.05", quantity(Quantity::Ece, Less, 0.05)),
            ("calibration_slope >= 0.8", quantity(Quantity::Slope, GreaterOrEqual, 0.8)),
            ("demographic_parity(sex) < 0.1", quantity(Quantity::Parity(Parity::Demographic, "sex".into()), Less, 0.1)),
            ("equalized_odds( sex ) <= 10%", quantity(Quantity::Parity(Parity::EqualizedOdds, "sex".into()), LessOrEqual, 0.1)),
            ("latency_p99 < 20ms", quantity(Quantity::Latency(Share::P99), Less, 20.0)),
            ("latency_p50 < 0.5s", quantity(Quantity::Latency(Share::P50), Less, 500.0)),
            ("latency_ratio < 1.5", quantity(Quantity::LatencyRatio, Less, 1.5)),
            ("model_size < 50MB", quantity(Quantity::ModelSize, Less, 5e7)),
            ("train_rows >= 1000", quantity(Quantity::TrainRows, GreaterOrEqual, 1000.0)),
            ("train_nulls < 5%", quantity(Quantity::TrainNulls(None), Less, 0.05)),
            ("train_nulls(temp) < 0.5", quantity(Quantity::TrainNulls(Some("temp".into())), Less, 0.5)),
            ("same_signature()", Check::Signature),
            ("answers(missing)", Check::Answers(Probe::Missing)),
        ];
        for (text, check) in cases {
            assert_eq!(parse_check(text).unwrap(), check, "{text}");
        }
    }

    #[test]
    fn what_is_no_check_says_so_and_what_was_meant() {
        let cases = [
            ("mea < 60", "gate/metric", "did you mean `mae`?"),
            ("mae < sixty", "gate/check", "mae < 60"),
            ("mae < NaN", "gate/check", ""),
            ("mae", "gate/check", ""),
            ("mae <= champion.mae", "gate/check", ""),
            ("mae <= champion.rmse on holdout", "gate/check", "champion.mae"),
            ("mae >= champion.mae on holdout", "gate/check", "lower is better"),
            ("non_inferior(mae)", "gate/check", ""),
            ("non_inferior(mae, margin = -1)", "gate/check", ""),
            ("non_inferior(mae, margin = 1, bye = day)", "gate/check", "did you mean `by`?"),
            ("superiour(mae)", "gate/check", "did you mean `superior`?"),
            ("superior(acuracy)", "gate/metric", "did you mean `accuracy`?"),
            ("no_worse_slice(city, metric = auc)", "gate/check", "no loss of a single row"),
            ("no_worse_slice()", "gate/check", ""),
            ("answers(mising)", "gate/check", "did you mean `missing`?"),
            ("latency_p98 < 20ms", "gate/metric", "did you mean `latency_p9"),
            ("latency_p99 < 20MB", "gate/check", "latency_p99 < 20ms"),
            ("model_size < 20ms", "gate/check", "model_size < 50MB"),
            ("demographic_parity < 0.1", "gate/metric", "demographic_parity"),
            ("error_rate < 1%", "gate/not_yet", "abort_if"),
        ];
        for (text, code, hint) in cases {
            let refusal = parse_check(text).unwrap_err();
            assert_eq!(refusal.code, code, "{text}");
            assert!(refusal.to_string().contains(hint), "{text}: {refusal}");
        }
    }

    #[test]
    fn every_check_of_the_guide_is_understood() {
        let guide = include_str!("../../../../docs/gates.md");
        let table = guide.split("| check | passes when |").nth(1).unwrap().split("\n\n").next().unwrap();
        let cells = table.lines().filter_map(|line| line.split('|').nth(1));
        let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).collect::<Vec<_>>());
        let calls = ["non_inferior(", "superior(", "no_worse_slice(", "same_signature(", "answers("];
        let whole: Vec<&str> = words
            .filter(|word| {
                word.contains(" < ") || word.contains(" > ") || word.contains("= ") || calls.iter().any(|call| word.starts_with(call))
            })
            .collect();
        assert!(whole.len() > 25, "{whole:?}");
        for text in whole {
            parse_check(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
        }
    }

    #[test]
    fn holdouts() {
        assert_eq!(parse_holdout("last 7d").unwrap(), Span::days(7));
        for text in ["7d", "last week", "last 0d", "first 7d", ""] {
            assert_eq!(parse_holdout(text).unwrap_err().code, "gate/holdout", "{text}");
        }
    }
}
