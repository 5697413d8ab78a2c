//! A gate's report as it is shown.

use crate::format::{count, counted, figure, maybe, range, time};
use crate::link;
use domain::entity::{Check, GateReport, Interval};
use serde::Serialize;

/// Width of an interval's picture.
const WIDTH: f64 = 180.0;

#[derive(Debug, Serialize)]
pub(crate) struct Gate {
    pub verdict: &'static str,
    pub why: String,
    pub challenger: String,
    pub challenger_href: String,
    pub champion: Option<String>,
    pub champion_href: Option<String>,
    pub holdout: String,
    pub rows: String,
    pub rows_hash: String,
    pub seed: u64,
    pub decided: String,
    pub checks: Vec<Judged>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    pub text: String,
    pub verdict: &'static str,
    pub why: String,
    pub challenger: String,
    pub champion: String,
    pub is_skipped: bool,
    pub bar: Option<Bar>,
    pub bullet: Option<Bullet>,
    /// `DeLong, 285 rows`.
    pub method: String,
    /// `would tell from 1,175 on`, of one that is inconclusive.
    pub needed: Option<String>,
}

/// A figure beside its limit, in a picture of `width` x 24.
#[derive(Debug, Serialize)]
pub(crate) struct Bullet {
    pub width: f64,
    pub length: String,
    pub limit: String,
    pub text: String,
}

/// An interval of the difference beside zero, in a picture of `width` x 24.
#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    pub width: f64,
    pub zero: String,
    pub from: String,
    pub length: String,
    /// Where the difference itself is, if both figures are known.
    pub middle: Option<String>,
    /// What the difference must keep to, where that is not zero.
    pub limit: Option<String>,
    pub text: String,
    pub method: String,
}

impl From<&GateReport> for Gate {
    fn from(report: &GateReport) -> Self {
        let name = |number| format!("{} version {number}", report.model);
        Gate {
            verdict: report.verdict.word(),
            why: report.why.clone(),
            challenger: name(report.challenger),
            challenger_href: link::version(&report.model, report.challenger),
            champion: report.champion.map(name),
            champion_href: report.champion.map(|number| link::version(&report.model, number)),
            holdout: range(report.holdout),
            rows: counted(report.rows, "row"),
            rows_hash: report.rows_hash.short().into(),
            seed: report.seed,
            decided: time(report.decided),
            checks: report.checks.iter().map(judged).collect(),
        }
    }
}

fn judged(check: &Check) -> Judged {
    Judged {
        text: check.text.clone(),
        verdict: check.verdict.word(),
        why: check.why.clone(),
        challenger: maybe(check.challenger),
        champion: maybe(check.champion),
        is_skipped: check.skipped,
        bar: check.interval.as_ref().and_then(|interval| {
            let difference = check.challenger.zip(check.champion).map(|(new, old)| new - old);
            bar(interval, difference, check.limit.filter(|limit| difference.is_some() && *limit != 0.0))
        }),
        bullet: check
            .value
            .zip(check.limit)
            .filter(|_| check.champion.is_none() && !check.skipped)
            .and_then(|(value, limit)| bullet(value, limit, check.unit.as_deref())),
        method: [check.method.clone(), check.n.map(|n| format!("n {}", count(n)))].into_iter().flatten().collect::<Vec<_>>().join(", "),
        needed: check.needed.map(|needed| format!("would tell from {} on", count(needed))),
    }
}

/// From zero to the figure, and the limit; what lies below zero has none.
fn bullet(value: f64, limit: f64, unit: Option<&str>) -> Option<Bullet> {
    if !(value.is_finite() && limit.is_finite() && value >= 0.0 && limit >= 0.0) {
        return None;
    }
    let whole = value.max(limit).max(f64::MIN_POSITIVE) * 1.15;
    let unit = unit.map_or(String::new(), |unit| format!(" {unit}"));
    Some(Bullet {
        width: WIDTH,
        length: format!("{:.1}", (value / whole * WIDTH).max(1.0)),
        limit: format!("{:.1}", limit / whole * WIDTH),
        text: format!("{}{unit}, limit {}{unit}", figure(value), figure(limit)),
    })
}

/// Zero is always in the picture, with some room at both ends. An interval that is not finite has none.
pub(crate) fn bar(interval: &Interval, difference: Option<f64>, limit: Option<f64>) -> Option<Bar> {
    let (low, high) = (interval.low, interval.high);
    if !(low.is_finite() && high.is_finite()) {
        return None;
    }
    let limit = limit.filter(|limit| limit.is_finite());
    let (left, right) = (low.min(0.0).min(limit.unwrap_or(0.0)), high.max(0.0).max(limit.unwrap_or(0.0)));
    let room = (right - left).max(f64::MIN_POSITIVE) * 0.12;
    let x = |value: f64| (value - left + room) / (right - left + 2.0 * room) * WIDTH;
    Some(Bar {
        width: WIDTH,
        zero: format!("{:.1}", x(0.0)),
        from: format!("{:.1}", x(low)),
        length: format!("{:.1}", (x(high) - x(low)).max(1.0)),
        middle: difference.filter(|found| found.is_finite()).map(|found| format!("{:.1}", x(found).clamp(0.0, WIDTH))),
        limit: limit.map(|limit| format!("{:.1}", x(limit))),
        text: format!("[{}, {}] at {} %", figure(low), figure(high), figure(interval.confidence * 100.0)),
        method: interval.method.clone(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn interval(low: f64, high: f64) -> Interval {
        Interval { low, high, confidence: 0.95, method: "paired bootstrap".into() }
    }

    #[test]
    fn zero_is_in_the_picture_of_every_interval() {
        for (low, high) in [(-6.0, -2.0), (1.0, 3.0), (-1.0, 1.0), (0.0, 0.0), (-1.0, 40.0)] {
            let bar = bar(&interval(low, high), Some((low + high) / 2.0), Some(2.0)).unwrap();
            let at = |text: &str| text.parse::<f64>().unwrap();
            for x in [at(&bar.zero), at(&bar.from), at(&bar.from) + at(&bar.length), at(&bar.middle.unwrap()), at(&bar.limit.unwrap())] {
                assert!((-1.0..=WIDTH + 1.0).contains(&x), "[{low}, {high}]: {x}");
            }
            assert_eq!(at(&bar.zero) <= at(&bar.from), low >= 0.0, "[{low}, {high}]");
        }
        assert!(bar(&interval(f64::NAN, 1.0), None, None).is_none());
    }
}
