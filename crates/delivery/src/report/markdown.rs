//! Markdown, for comments on pull requests.

use super::{checks, facts, numbers, short, title, word};
use domain::Verdict;
use domain::entity::{GateReport, Slice};
use std::fmt::Write;

/// Slices that are shown, the worst first.
const SLICES: usize = 10;

/// The report as Markdown.
pub fn markdown(report: &GateReport) -> String {
    let verdict = match report.verdict {
        Verdict::Pass => "passes",
        Verdict::Fail => "fails",
        Verdict::Inconclusive => "is inconclusive",
    };
    let mut text = format!("## Gate {}: {}\n\n{}\n\n", verdict, cell(&title(report)), plain(&report.why));
    text.push_str("| verdict | check | found | why |\n| --- | --- | --- | --- |\n");
    for check in checks(report) {
        let found = [numbers(&check), check.method.clone().unwrap_or_default()];
        let found: Vec<String> = found.into_iter().filter(|part| !part.is_empty()).collect();
        let mark = if word(&check) == "pass" { "pass".to_owned() } else { format!("**{}**", word(&check)) };
        let _ = writeln!(text, "| {mark} | `{}` | {} | {} |", code(&check.text), cell(&found.join("; ")), cell(&check.why));
    }
    for check in report.checks.iter().filter(|check| !check.slices.is_empty()) {
        let mut slices: Vec<&Slice> = check.slices.iter().collect();
        slices.sort_by(|a, b| a.holm.unwrap_or(2.0).total_cmp(&b.holm.unwrap_or(2.0)));
        let _ = writeln!(
            text,
            "\n`{}`\n\n| slice | rows | worse | better | adjusted p |\n| --- | ---: | ---: | ---: | ---: |",
            code(&check.text)
        );
        for slice in slices.iter().take(SLICES) {
            let p = slice.holm.map_or("too few rows".into(), short);
            let _ = writeln!(text, "| {} | {} | {} | {} | {p} |", cell(&slice.name), slice.rows, slice.worse, slice.better);
        }
        if slices.len() > SLICES {
            let _ = writeln!(text, "\n{} of {} slices are shown.", SLICES, slices.len());
        }
    }
    text.push('\n');
    for (name, value) in facts(report) {
        let _ = writeln!(text, "- {name}: {}", plain(&value));
    }
    text
}

/// In a table a bar would end the cell.
fn cell(text: &str) -> String {
    plain(text).replace('|', "\\|")
}

fn plain(text: &str) -> String {
    text.replace(['\n', '\r'], " ").replace('<', "&lt;")
}

fn code(text: &str) -> String {
    text.replace(['\n', '\r', '`'], " ").replace('|', "\\|")
}
