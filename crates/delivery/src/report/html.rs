//! One page of HTML: no script, no outside host, light and dark, every interval drawn and told.

use super::{checks, escape, facts, short, title, word};
use domain::entity::{Check, GateReport, Interval, Slice};
use std::fmt::Write;

/// The picture of an interval, in px.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 44.0;

/// Colours of Okabe and Ito, which people with any colour vision tell apart; words stand beside them.
const STYLE: &str = ":root{color-scheme:light dark;--ink:#1b1b1b;--soft:#5c5c5c;--line:#d5d5d5;--paper:#fff;--pass:#00745a;--fail:#b34700;\
--inconclusive:#7a5c00;--skipped:#5c5c5c;--bar:#0072b2}@media(prefers-color-scheme:dark){:root{--ink:#eaeaea;--soft:#a9a9a9;--line:#3d3d3d;\
--paper:#161616;--pass:#35c79e;--fail:#ff9a5c;--inconclusive:#e6c34a;--skipped:#a9a9a9;--bar:#56b4e9}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem;margin:0}h2{font-size:1rem;margin:0;font-family:ui-monospace,monospace}\
section{border-top:1px solid var(--line);padding:1rem 0}p{margin:.3rem 0}.soft{color:var(--soft)}\
.v{font-weight:600;padding:0 .5rem;border:1px solid;border-radius:.3rem;margin-right:.5rem}\
.pass{color:var(--pass)}.fail{color:var(--fail)}.inconclusive{color:var(--inconclusive)}.skipped{color:var(--skipped)}\
table{border-collapse:collapse;margin:.5rem 0}td,th{text-align:left;padding:.15rem .8rem .15rem 0;border-bottom:1px solid var(--line);\
font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto;display:block}text{fill:var(--soft);font-size:11px}\
.axis{stroke:var(--line)}.span{stroke:var(--bar);stroke-width:6;stroke-linecap:round}.dot{fill:var(--ink)}\
.limit{stroke:var(--fail);stroke-width:2;stroke-dasharray:4 3}.zero{stroke:var(--soft)}";

/// The report as a page.
pub fn html(report: &GateReport) -> String {
    let verdict = report.verdict.word();
    let name = escape(&title(report));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Gate {verdict}: {name}</title><style>{STYLE}</style></head><body>\n\
         <h1><span class=\"v {verdict}\">{verdict}</span>{name}</h1>\n<p>{}</p>\n<table>",
        escape(&report.why)
    );
    for (name, value) in facts(report) {
        let _ = write!(page, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    page.push_str("</table>\n");
    for check in checks(report) {
        section(&mut page, &check);
    }
    page.push_str("</body></html>\n");
    page
}

fn section(page: &mut String, check: &Check) {
    let word = word(check);
    let _ =
        write!(page, "<section><h2><span class=\"v {word}\">{word}</span>{}</h2>\n<p>{}</p>\n", escape(&check.text), escape(&check.why));
    if let Some(interval) = &check.interval {
        page.push_str(&picture(interval, check.value, check.limit, check.champion.is_some()));
    }
    let mut rows: Vec<(&str, String)> = Vec::new();
    let mut row = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    let unit = check.unit.as_ref().map_or(String::new(), |unit| format!(" {unit}"));
    row("challenger", check.challenger.map(short));
    row("champion", check.champion.map(short));
    row("value", check.value.map(|value| short(value) + &unit));
    row("limit", check.limit.map(|limit| short(limit) + &unit));
    row("interval", check.interval.as_ref().map(|i| format!("[{}, {}] at {} %", short(i.low), short(i.high), short(i.confidence * 100.0))));
    row("method", check.method.clone());
    row("n", check.n.map(|n| n.to_string()));
    row("needed", check.needed.map(|needed| format!("about {needed}")));
    for test in &check.tests {
        let statistic = test.statistic.map_or(String::new(), |statistic| format!("{}, ", short(statistic)));
        rows.push(("beside", format!("{}: {statistic}p {:.3e}", test.name, test.p)));
    }
    page.push_str("<table>");
    for (name, value) in rows {
        let _ = write!(page, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    page.push_str("</table>\n");
    if !check.slices.is_empty() {
        slices(page, &check.slices);
    }
    page.push_str("</section>\n");
}

fn slices(page: &mut String, slices: &[Slice]) {
    page.push_str(
        "<table><tr><th>slice</th><th>rows</th><th>worse</th><th>better</th><th>challenger</th><th>champion</th>\
         <th>adjusted p</th><th>share worse of those that differ</th></tr>",
    );
    for slice in slices {
        let differ = slice.worse + slice.better;
        let share = (differ > 0).then(|| slice.worse as f64 / differ as f64);
        let bar = slice.interval.as_ref().map_or(String::new(), |interval| picture(interval, share, Some(0.5), false));
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{bar}</td></tr>",
            escape(&slice.name),
            slice.rows,
            slice.worse,
            slice.better,
            short(slice.challenger),
            short(slice.champion),
            slice.holm.map_or("too few rows".into(), short)
        );
    }
    page.push_str("</table>\n");
}

/// An interval with its point, the limit dashed, and zero where the value is a difference.
fn picture(interval: &Interval, value: Option<f64>, limit: Option<f64>, difference: bool) -> String {
    let marks: Vec<f64> =
        [Some(interval.low), Some(interval.high), value, limit, difference.then_some(0.0)].into_iter().flatten().collect();
    if marks.iter().any(|mark| !mark.is_finite()) {
        return String::new();
    }
    let (left, right) = (marks.iter().copied().fold(f64::INFINITY, f64::min), marks.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    let room = (right - left).max(1e-12) * 0.1;
    let x = |at: f64| (at - left + room) / (right - left + 2.0 * room) * WIDTH;
    let told = format!("[{}, {}]", short(interval.low), short(interval.high));
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"interval {told}\">\
         <line class=\"axis\" x1=\"0\" x2=\"{WIDTH}\" y1=\"16\" y2=\"16\"/>"
    );
    let upright = |class: &str, at: f64| format!("<line class=\"{class}\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"4\" y2=\"28\"/>", x(at));
    let label = |text: &str, at: f64| {
        let anchor = if x(at) < 40.0 {
            "start"
        } else if x(at) > WIDTH - 40.0 {
            "end"
        } else {
            "middle"
        };
        format!("<text x=\"{:.1}\" y=\"41\" text-anchor=\"{anchor}\">{text}</text>", x(at))
    };
    if difference {
        svg += &upright("zero", 0.0);
    }
    let _ = write!(svg, "<line class=\"span\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"16\" y2=\"16\"/>", x(interval.low), x(interval.high));
    if let Some(value) = value {
        let _ = write!(svg, "<circle class=\"dot\" cx=\"{:.1}\" cy=\"16\" r=\"4\"/>", x(value));
    }
    if let Some(limit) = limit {
        svg += &(upright("limit", limit) + &label(&format!("limit {}", short(limit)), limit));
    }
    // A label on the limit's would hide it.
    if difference && limit.is_none_or(|limit| (x(limit) - x(0.0)).abs() > 60.0) {
        svg += &label("0", 0.0);
    }
    svg + "</svg>\n"
}
