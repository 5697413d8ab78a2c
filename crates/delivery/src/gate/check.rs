//! The checks of `[model.NAME.gate]`, parsed.

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
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    /// `METRIC < NUMBER`: its own figure.
    Limit { metric: Metric, relation: Relation, limit: f64 },
    /// `METRIC <= champion.METRIC on holdout`: its figure and the champion's on the same rows.
    Champion { metric: Metric, relation: Relation },
    /// `non_inferior(METRIC, margin = NUMBER)`: with confidence, worse by less than the margin.
    NonInferior { metric: Metric, margin: f64 },
    /// `superior(METRIC)`: with confidence, better.
    Superior { metric: Metric },
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

/// Understands a whole gate; the place of a refusal is the key inside `gate`.
pub fn parse_gate(spec: &GateSpec) -> Result<Gate, Refusal> {
    let holdout = parse_holdout(&spec.holdout).map_err(|refusal| refusal.at("gate.holdout"))?;
    if spec.must.is_empty() {
        return Err(Refusal::invalid("gate/empty", "the gate has no check").at("gate.must").hint("add one, such as \"mae < 60\""));
    }
    let mut checks = Vec::new();
    for text in &spec.must {
        let check = parse_check(text).map_err(|refusal| refusal.at("gate.must"))?;
        checks.push((text.clone(), check));
    }
    if !(spec.confidence > 0.0 && spec.confidence < 1.0) {
        let what = format!("confidence {} is not between 0 and 1", spec.confidence);
        return Err(Refusal::invalid("gate/confidence", what).at("gate.confidence").hint("write 0.95"));
    }
    Ok(Gate { holdout, checks, confidence: spec.confidence })
}

/// Understands `last 7d`.
pub fn parse_holdout(text: &str) -> Result<Span, Refusal> {
    let span = text.trim().strip_prefix("last ").and_then(Span::parse).filter(|span| span.ms() > 0);
    span.ok_or_else(|| Refusal::invalid("gate/holdout", format!("`{text}` is not a holdout")).hint("write it as \"last 7d\""))
}

/// Understands one check.
///
/// ```
/// use delivery::gate::{Check, Relation, parse_check};
/// let check = parse_check("mae < 60").unwrap();
/// assert_eq!(check, Check::Limit { metric: stats::Metric::Mae, relation: Relation::Less, limit: 60.0 });
/// assert!(parse_check("latency_p99 < 20ms").unwrap_err().what.contains("does not work yet"));
/// ```
pub fn parse_check(text: &str) -> Result<Check, Refusal> {
    if let Some(inside) = call(text, "non_inferior") {
        let (name, margin) = inside.split_once(',').ok_or_else(|| not_a_check(text))?;
        let margin = margin.trim().strip_prefix("margin").and_then(|rest| rest.trim().strip_prefix('=')).and_then(number);
        let margin = margin.filter(|margin| *margin >= 0.0).ok_or_else(|| not_a_check(text))?;
        return Ok(Check::NonInferior { metric: metric(name, text)?, margin });
    }
    if let Some(inside) = call(text, "superior") {
        return Ok(Check::Superior { metric: metric(inside, text)? });
    }
    let split = Relation::ALL.iter().find_map(|(sign, relation)| Some((text.split_once(sign)?, *relation)));
    let ((left, right), relation) = split.ok_or_else(|| not_a_check(text))?;
    let metric = metric(left, text)?;
    let Some(other) = right.trim().strip_prefix("champion.") else {
        let limit = number(right).ok_or_else(|| not_a_check(text))?;
        return Ok(Check::Limit { metric, relation, limit });
    };
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

/// What stands inside `NAME(...)`.
fn call<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.trim().strip_prefix(name)?.trim_start().strip_prefix('(')?.strip_suffix(')')
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

fn metric(name: &str, text: &str) -> Result<Metric, Refusal> {
    let name = name.trim();
    if let Some(metric) = Metric::parse(name) {
        return Ok(metric);
    }
    let known = Metric::ALL.map(Metric::name).join(", ");
    if ["latency", "error_rate", "size", "memory"].iter().any(|prefix| name.starts_with(prefix)) {
        let what = format!("`{text}` does not work yet: a gate cannot judge {name}");
        return Err(Refusal::invalid("gate/not_yet", what).hint(format!("take it out; metrics that work: {known}")));
    }
    Err(Refusal::invalid("gate/metric", format!("`{name}` in `{text}` is not a metric")).hint(format!("metrics: {known}")))
}

fn not_a_check(text: &str) -> Refusal {
    Refusal::invalid("gate/check", format!("`{text}` is not a check"))
        .hint("write \"mae < 60\", \"mae <= champion.mae on holdout\", \"non_inferior(mae, margin = 1.0)\" or \"superior(mae)\"")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn checks_are_understood() {
        use Relation::*;
        let cases = [
            ("mae < 60", Check::Limit { metric: Metric::Mae, relation: Less, limit: 60.0 }),
            ("accuracy>=0.9", Check::Limit { metric: Metric::Accuracy, relation: GreaterOrEqual, limit: 0.9 }),
            ("mae <= champion.mae on holdout", Check::Champion { metric: Metric::Mae, relation: LessOrEqual }),
            ("auc > champion.auc on holdout", Check::Champion { metric: Metric::Auc, relation: Greater }),
            ("non_inferior(mae, margin = 1.0)", Check::NonInferior { metric: Metric::Mae, margin: 1.0 }),
            ("non_inferior (r2,margin=0.02)", Check::NonInferior { metric: Metric::R2, margin: 0.02 }),
            ("superior(rmse)", Check::Superior { metric: Metric::Rmse }),
        ];
        for (text, check) in cases {
            assert_eq!(parse_check(text).unwrap(), check, "{text}");
        }
    }

    #[test]
    fn what_is_no_check_says_so() {
        let cases = [
            ("mea < 60", "gate/metric"),
            ("mae < sixty", "gate/check"),
            ("mae < NaN", "gate/check"),
            ("mae", "gate/check"),
            ("mae <= champion.mae", "gate/check"),
            ("mae <= champion.rmse on holdout", "gate/check"),
            ("mae >= champion.mae on holdout", "gate/check"),
            ("non_inferior(mae)", "gate/check"),
            ("non_inferior(mae, margin = -1)", "gate/check"),
            ("latency_p99 < 20ms", "gate/not_yet"),
        ];
        for (text, code) in cases {
            assert_eq!(parse_check(text).unwrap_err().code, code, "{text}");
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
