//! A gate's report for people and machines: JUnit XML, Markdown, and one page of HTML that needs nothing else.
//!
//! JSON is the [`GateReport`] itself. All are pure functions of it, so that a report reads the same years later.

mod html;
mod junit;
mod markdown;

pub use html::html;
pub use junit::junit;
pub use markdown::markdown;

use domain::Verdict;
use domain::entity::{Check, GateReport};

/// `demand@2 against @1`.
fn title(report: &GateReport) -> String {
    match report.champion {
        Some(champion) => format!("{}@{} against @{champion}", report.model, report.challenger),
        None => format!("{}@{}", report.model, report.challenger),
    }
}

/// The report's facts, as name and value.
fn facts(report: &GateReport) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    // Rows from files have no holdout.
    if report.holdout.from < report.holdout.to {
        facts.push(("holdout", report.holdout.to_string()));
    }
    facts.extend([
        ("rows", report.rows.to_string()),
        ("rows hash", report.rows_hash.to_string()),
        ("seed", report.seed.to_string()),
        ("decided", report.decided.to_string()),
    ]);
    for set_aside in &report.overrides {
        facts.push(("override", format!("{} at {}: {}", set_aside.by, set_aside.at, set_aside.reason)));
    }
    facts
}

/// A check's word: its verdict, or that it does not count.
fn word(check: &Check) -> &'static str {
    if check.skipped { "skipped" } else { check.verdict.word() }
}

/// What was found, in numbers: `0.97 in [0.95, 0.98], limit 0.9, n 285`.
fn numbers(check: &Check) -> String {
    let mut parts = Vec::new();
    if let Some(value) = check.value {
        let unit = check.unit.as_ref().map_or(String::new(), |unit| format!(" {unit}"));
        let interval = check.interval.as_ref().map(|i| format!(" in [{}, {}]", short(i.low), short(i.high))).unwrap_or_default();
        parts.push(format!("{}{unit}{interval}", short(value)));
    }
    parts.extend(check.limit.map(|limit| format!("limit {}", short(limit))));
    parts.extend(check.n.map(|n| format!("n {n}")));
    parts.extend(check.needed.map(|needed| format!("needs {needed}")));
    parts.join(", ")
}

/// Five digits, without an empty tail.
fn short(x: f64) -> String {
    if !x.is_finite() {
        return x.to_string();
    }
    if x != 0.0 && !(1e-4..1e9).contains(&x.abs()) {
        return format!("{x:.3e}");
    }
    let text = format!("{x:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// For text and attributes of XML and HTML; what XML cannot hold becomes a space.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() && !matches!(c, '\n' | '\t' | '\r') => escaped.push(' '),
            '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The checks; a gate that came to none is one check of its own.
fn checks(report: &GateReport) -> Vec<Check> {
    if report.checks.is_empty() { vec![Check::new("gate", report.verdict, report.why.clone())] } else { report.checks.clone() }
}

/// Checks that count with this verdict.
fn count(report: &GateReport, verdict: Verdict) -> usize {
    checks(report).iter().filter(|check| !check.skipped && check.verdict == verdict).count()
}

#[cfg(test)]
mod tests;
