//! `incident_if`, parsed: when a window is bad, and how many make an incident.

use domain::Refusal;
use domain::entity::Deployment;
use stats::Metric;

/// A rule as the file declares it, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// As the file says it.
    pub text: String,
    pub metric: Metric,
    pub bound: Bound,
    /// Bad windows in a row that make an incident.
    pub windows: u32,
}

/// What a window's figure is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// A number.
    Fixed(f64),
    /// `FACTOR * best.METRIC`: the best gated figure that any champion has had. It never gets worse, so that a poor
    /// champion cannot lower the bar.
    Best(f64),
    /// `FACTOR * champion.gated_METRIC`: the figure with which the present champion passed its gate.
    Gated(f64),
}

impl Rule {
    /// Understands `mae > 1.5 * best.mae for 2 windows`, `mae > 60 for 2 windows`, `accuracy < 0.9 for 1 window`.
    ///
    /// ```
    /// use monitoring::rule::{Bound, Rule};
    /// let rule = Rule::parse("mae > 1.5 * best.mae for 2 windows").unwrap();
    /// assert_eq!((rule.bound, rule.windows), (Bound::Best(1.5), 2));
    /// ```
    pub fn parse(text: &str) -> Result<Rule, Refusal> {
        let (comparison, windows) = text.rsplit_once(" for ").ok_or_else(|| not_a_rule(text))?;
        let (count, unit) = windows.trim().split_once(' ').ok_or_else(|| not_a_rule(text))?;
        let windows = count.parse().ok().filter(|n: &u32| *n > 0 && matches!(unit.trim(), "window" | "windows"));
        let split = [('>', false), ('<', true)].into_iter().find_map(|(sign, less)| Some((comparison.split_once(sign)?, less)));
        let (Some(windows), Some(((name, bound), less))) = (windows, split) else { return Err(not_a_rule(text)) };
        let name = name.trim();
        let Some(metric) = Metric::parse(name) else {
            let known = Metric::ALL.map(Metric::name).join(", ");
            return Err(
                Refusal::invalid("monitor/metric", format!("`{name}` in `{text}` is not a metric")).hint(format!("metrics: {known}"))
            );
        };
        if less != metric.higher_is_better() {
            let (better, sign) = if metric.higher_is_better() { ("higher", '<') } else { ("lower", '>') };
            let what = format!("`{text}` calls good windows bad: {better} is better for {name}");
            return Err(Refusal::invalid("monitor/rule", what).hint(format!("write \"{name} {sign} ...\"")));
        }
        Ok(Rule { text: text.into(), metric, bound: bound_of(bound, metric).ok_or_else(|| not_a_rule(text))?, windows })
    }

    /// The figure beyond which a window is bad; `None` when there is nothing to compare with yet.
    pub fn threshold(&self, deployment: &Deployment) -> Option<f64> {
        match self.bound {
            Bound::Fixed(value) => Some(value),
            Bound::Best(factor) => deployment.best.map(|best| factor * best),
            Bound::Gated(factor) => deployment.gated.map(|gated| factor * gated),
        }
    }

    /// Whether a figure is beyond the threshold.
    pub fn is_bad(&self, value: f64, threshold: f64) -> bool {
        if self.metric.higher_is_better() { value < threshold } else { value > threshold }
    }
}

fn bound_of(text: &str, metric: Metric) -> Option<Bound> {
    let (factor, name) = match text.split_once('*') {
        Some((factor, name)) => (number(factor)?, name.trim()),
        None => match number(text) {
            Some(value) => return Some(Bound::Fixed(value)),
            None => (1.0, text.trim()),
        },
    };
    if name.strip_prefix("best.") == Some(metric.name()) {
        return Some(Bound::Best(factor));
    }
    (name.strip_prefix("champion.gated_") == Some(metric.name())).then_some(Bound::Gated(factor))
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

fn not_a_rule(text: &str) -> Refusal {
    Refusal::invalid("monitor/rule", format!("`{text}` is not a rule for incidents")).hint(
        "write \"mae > 1.5 * best.mae for 2 windows\", \"mae > 1.5 * champion.gated_mae for 2 windows\" or \"mae > 60 for 2 windows\"",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::ModelName;

    #[test]
    fn rules_are_understood() {
        let cases = [
            ("mae > 1.5 * best.mae for 2 windows", Metric::Mae, Bound::Best(1.5), 2),
            ("mae > best.mae for 1 window", Metric::Mae, Bound::Best(1.0), 1),
            ("mae > 60 for 3 windows", Metric::Mae, Bound::Fixed(60.0), 3),
            ("auc < 0.95*champion.gated_auc for 2 windows", Metric::Auc, Bound::Gated(0.95), 2),
        ];
        for (text, metric, bound, windows) in cases {
            assert_eq!(Rule::parse(text).unwrap(), Rule { text: text.into(), metric, bound, windows }, "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_says_so() {
        let cases = [
            ("mae > 60", "monitor/rule"),
            ("mae > 60 for 0 windows", "monitor/rule"),
            ("mae > 60 for 2 weeks", "monitor/rule"),
            ("mae = 60 for 2 windows", "monitor/rule"),
            ("mae < 60 for 2 windows", "monitor/rule"),
            ("accuracy > 0.9 for 2 windows", "monitor/rule"),
            ("mae > 1.5 * best.rmse for 2 windows", "monitor/rule"),
            ("error > 1 for 2 windows", "monitor/metric"),
        ];
        for (text, code) in cases {
            assert_eq!(Rule::parse(text).unwrap_err().code, code, "{text}");
        }
    }

    #[test]
    fn nothing_to_compare_with_is_no_threshold() {
        let mut deployment = Deployment::new(ModelName::new("demand"));
        let rule = Rule::parse("mae > 1.5 * best.mae for 2 windows").unwrap();
        assert_eq!(rule.threshold(&deployment), None);
        deployment.best = Some(22.4);
        assert!(rule.is_bad(34.2, rule.threshold(&deployment).unwrap()) && !rule.is_bad(33.0, 33.6));
    }
}
