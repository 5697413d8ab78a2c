//! Comparisons of both versions on the same rows.

use super::check::{By, Check};
use super::judge::{Bench, undefined};
use domain::Verdict;
use domain::entity::{self, Interval, Tested};
use stats::{DeLong, Discordant, Metric, PairedT, Wilcoxon, paired_difference, pairs_for_margin, rows_to_clear};

/// Replicates of the bootstrap.
pub(super) const REPLICATES: usize = 10_000;
/// How sure "this many rows would tell" is.
const POWER: f64 = 0.8;

/// What a comparison takes as independent, and how it makes an interval of it.
enum Method {
    DeLong,
    Tango,
    PairedT,
    /// Whole days, or groups of a column; what a group is called.
    Groups(Vec<u64>, String),
    Rows,
}

impl Bench<'_> {
    /// A check that both versions' answers decide.
    pub(super) fn compare(&self, text: &str, check: &Check, challenger: &[f64], champion: &[f64]) -> entity::Check {
        let (metric, by) = match check {
            Check::NonInferior { metric, by, .. } | Check::Superior { metric, by, .. } => (*metric, by.as_ref()),
            Check::Champion { metric, .. } => (*metric, None),
            _ => unreachable!("only comparisons of a metric come here"),
        };
        let truth = self.evidence.truth;
        let (new, old) = (metric.value(truth, challenger), metric.value(truth, champion));
        let (Some(new), Some(old)) = (new, old) else { return undefined(text, metric) };
        let method = match self.method(metric, by) {
            Ok(method) => method,
            Err(what) => return entity::Check::new(text, Verdict::Inconclusive, what),
        };
        let interval = self.interval(metric, &method, challenger, champion);
        let found = entity::Check {
            challenger: Some(new),
            champion: Some(old),
            value: Some(new - old),
            method: interval.as_ref().map(|interval| interval.method.clone()),
            n: Some(truth.len() as u64),
            tests: tests(metric, truth, challenger, champion),
            interval,
            ..entity::Check::new(text, Verdict::Inconclusive, "")
        };
        match check {
            Check::Champion { relation, .. } => {
                let verdict = if relation.holds(new, old) { Verdict::Pass } else { Verdict::Fail };
                entity::Check { verdict, why: format!("{new:.4} against {old:.4}"), limit: Some(0.0), ..found }
            }
            // In units of "worse": what a non-inferior version may lose, a superior one must gain.
            Check::NonInferior { margin, .. } => {
                let mut found = found;
                if let (Metric::Auc, Some(test)) = (metric, DeLong::new(truth, champion, challenger)) {
                    let p = test.p_non_inferior(*margin);
                    found.tests.push(Tested { name: "DeLong, non-inferiority, one-sided".into(), statistic: None, p });
                }
                self.against(metric, *margin, *margin, &method, found)
            }
            Check::Superior { margin, .. } => self.against(metric, -margin, *margin, &method, found),
            _ => unreachable!("only comparisons of a metric come here"),
        }
    }

    /// Holds the interval against how much worse the challenger may be.
    fn against(&self, metric: Metric, bound: f64, margin: f64, method: &Method, found: entity::Check) -> entity::Check {
        let rows = self.evidence.truth.len();
        let groups = match method {
            Method::Groups(groups, unit) => format!(" of {} {unit}s", distinct(groups)),
            _ => String::new(),
        };
        let Some(interval) = &found.interval else {
            let unit = if let Method::Groups(_, unit) = method { unit } else { "row" };
            let why = format!("{rows} rows{groups} say nothing about the spread; needs 2 {unit}s");
            return entity::Check { why, ..found };
        };
        let sign = if metric.higher_is_better() { -1.0 } else { 1.0 };
        // Above 0 is worse, whatever the metric's direction.
        let (best, worst) = if sign < 0.0 { (-interval.high, -interval.low) } else { (interval.low, interval.high) };
        let verdict = if worst < bound {
            Verdict::Pass
        } else if best > bound {
            Verdict::Fail
        } else {
            Verdict::Inconclusive
        };
        let difference = found.value.unwrap_or(f64::NAN);
        let needed = (verdict == Verdict::Inconclusive).then(|| self.needed(metric, bound, difference * sign, method, &found)).flatten();
        let more = match (verdict, needed) {
            (Verdict::Inconclusive, Some(needed)) => format!("; about {needed} rows would tell"),
            (Verdict::Inconclusive, None) => "; as it looks now, more rows would not make it pass".into(),
            _ => String::new(),
        };
        let why = format!(
            "the difference {difference:.4} lies in [{:.4}, {:.4}] ({} %, {rows} rows{groups}), margin {margin}{more}",
            interval.low,
            interval.high,
            self.confidence * 100.0,
        );
        // Adding 0 takes the sign off a negative zero.
        entity::Check { verdict, why, needed, limit: Some(bound * sign + 0.0), ..found }
    }

    /// Rows after which the interval would clear the bound, if the difference stays.
    fn needed(&self, metric: Metric, bound: f64, worse: f64, method: &Method, found: &entity::Check) -> Option<u64> {
        let rows = self.evidence.truth.len() as u64;
        let interval = found.interval.as_ref()?;
        if let (Method::Tango, Metric::Accuracy) = (method, metric) {
            let pairs = self.pairs()?;
            let share = pairs.discordant() as f64 / pairs.n() as f64;
            let alpha = (1.0 - self.confidence) / 2.0;
            return pairs_for_margin(share, -worse, bound, alpha, POWER).map(|needed| needed.max(rows + 1));
        }
        let needed = rows_to_clear(rows, (interval.high - interval.low) / 2.0, bound - worse, self.confidence, POWER);
        needed.map(|needed| needed.max(rows + 1))
    }

    fn method(&self, metric: Metric, by: Option<&By>) -> Result<Method, String> {
        let days = || -> Option<Method> {
            // Days before 1970 are negative; the bootstrap only asks which are equal.
            Some(Method::Groups(self.evidence.days?.iter().map(|day| day.cast_unsigned()).collect(), "day".into()))
        };
        match by {
            Some(By::Day) => return days().ok_or_else(|| "the rows have no times, so no days; write by = row".into()),
            Some(By::Column(column)) => {
                let (groups, _) = self.groups(column)?;
                return Ok(Method::Groups(groups.into_iter().map(u64::from).collect(), column.clone()));
            }
            Some(By::Row) | None => {}
        }
        Ok(match metric {
            Metric::Auc => Method::DeLong,
            Metric::Accuracy => Method::Tango,
            _ => match days().filter(|_| by.is_none()) {
                Some(days) => days,
                None if metric != Metric::Rmse && has_row_loss(metric) => Method::PairedT,
                None => Method::Rows,
            },
        })
    }

    fn interval(&self, metric: Metric, method: &Method, challenger: &[f64], champion: &[f64]) -> Option<Interval> {
        let (truth, seed, level) = (self.evidence.truth, self.evidence.seed, self.confidence);
        let of = |(low, high): (f64, f64), method: String| Interval { low, high, confidence: level, method };
        match method {
            Method::DeLong => {
                let test = DeLong::new(truth, champion, challenger)?;
                Some(of(test.interval(level)?, format!("DeLong, {} positives, {} negatives", test.positives, test.negatives)))
            }
            Method::Tango => {
                let pairs = self.pairs()?;
                Some(of(pairs.tango(level)?, format!("Tango score, {} of {} rows discordant", pairs.discordant(), pairs.n())))
            }
            Method::PairedT => {
                let test = PairedT::new(&differences(metric, truth, challenger, champion)?)?;
                Some(of(test.interval(level)?, format!("paired t, {} rows", test.n)))
            }
            Method::Groups(groups, unit) => {
                let found = paired_difference(metric, truth, champion, challenger, Some(groups), REPLICATES, level, seed)?;
                let of_what = if unit == "day" { "a day".to_owned() } else { format!("one {unit}") };
                let method = format!("paired bootstrap, {} blocks of {of_what}, {} replicates", found.n_groups, found.replicates);
                Some(of((found.low, found.high), method))
            }
            Method::Rows => {
                let found = paired_difference(metric, truth, champion, challenger, None, REPLICATES, level, seed)?;
                Some(of(found.bca.unwrap_or((found.low, found.high)), {
                    let kind = if found.bca.is_some() { "BCa" } else { "percentile" };
                    format!("paired bootstrap of rows ({kind}), {} replicates", found.replicates)
                }))
            }
        }
    }

    fn pairs(&self) -> Option<Discordant> {
        let right = |answers: &[f64]| -> Option<Vec<bool>> {
            self.evidence.truth.iter().zip(answers).map(|(y, p)| Some(Metric::Accuracy.row_loss(*y, *p)? == 0.0)).collect()
        };
        let (new, old) = (self.challenger.as_ref().ok()?, self.champion.as_ref()?.as_ref().ok()?);
        Discordant::new(&right(old)?, &right(new)?)
    }
}

/// Losses of single rows, challenger minus champion; in the metric's own direction for accuracy.
fn differences(metric: Metric, truth: &[f64], challenger: &[f64], champion: &[f64]) -> Option<Vec<f64>> {
    let loss = |y: &f64, p: &f64| metric.row_loss(*y, *p);
    truth.iter().zip(challenger.iter().zip(champion)).map(|(y, (new, old))| Some(loss(y, new)? - loss(y, old)?)).collect()
}

fn has_row_loss(metric: Metric) -> bool {
    matches!(metric, Metric::Mae | Metric::Rmse | Metric::Mse | Metric::Mape | Metric::Brier | Metric::LogLoss | Metric::Accuracy)
}

/// What the usual tests of this metric say, rows taken as independent; they stand beside the verdict.
fn tests(metric: Metric, truth: &[f64], challenger: &[f64], champion: &[f64]) -> Vec<Tested> {
    let tested = |name: &str, statistic, p| Tested { name: name.into(), statistic, p };
    match metric {
        Metric::Auc => DeLong::new(truth, champion, challenger).iter().map(|test| tested("DeLong z", test.z(), test.p())).collect(),
        Metric::Accuracy => {
            let right = |answers: &[f64]| -> Option<Vec<bool>> {
                truth.iter().zip(answers).map(|(y, p)| Some(metric.row_loss(*y, *p)? == 0.0)).collect()
            };
            let pairs = right(champion).zip(right(challenger)).and_then(|(old, new)| Discordant::new(&old, &new));
            let all = |pairs: Discordant| {
                vec![
                    tested("McNemar, exact", None, pairs.exact_p()),
                    tested("McNemar, mid-p", None, pairs.mid_p()),
                    tested("McNemar chi2", Some(pairs.chi2(false)), pairs.chi2_p(false)),
                ]
            };
            pairs.map(all).unwrap_or_default()
        }
        _ if has_row_loss(metric) => {
            let Some(differences) = differences(metric, truth, challenger, champion) else { return Vec::new() };
            let t = PairedT::new(&differences).map(|test| tested("paired t", test.t(), test.p()));
            let ranks = Wilcoxon::new(&differences).map(|test| tested("Wilcoxon signed ranks", Some(test.w), test.p));
            t.into_iter().chain(ranks).collect()
        }
        _ => Vec::new(),
    }
}

fn distinct(values: &[u64]) -> usize {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.dedup();
    values.len()
}
