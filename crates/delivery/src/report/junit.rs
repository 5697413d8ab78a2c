//! JUnit XML, which every CI system reads: a check a test case, a failed one a failure, an inconclusive one an error.

use super::{checks, count, escape, facts, numbers, title};
use domain::Verdict;
use domain::entity::{Check, GateReport};
use std::fmt::Write;

/// The report as JUnit XML.
pub fn junit(report: &GateReport) -> String {
    let checks = checks(report);
    let skipped = checks.iter().filter(|check| check.skipped).count();
    let (failures, errors) = (count(report, Verdict::Fail), count(report, Verdict::Inconclusive));
    let counts = format!("tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"0\"", checks.len());
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, "<testsuites name=\"trimtab gate\" {}>", counts.replace(&format!(" skipped=\"{skipped}\""), ""));
    let at = report.decided.to_string();
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" {counts} timestamp=\"{}\">\n    <properties>",
        escape(&title(report)),
        escape(at.trim_end_matches('Z').split('.').next().unwrap_or(&at))
    );
    let named = facts(report).into_iter().chain([("verdict", report.verdict.word().to_owned()), ("why", report.why.clone())]);
    for (name, value) in named {
        let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{}\"/>", escape(&value));
    }
    xml.push_str("    </properties>\n");
    for check in &checks {
        case(&mut xml, report, check);
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn case(xml: &mut String, report: &GateReport, check: &Check) {
    let why = escape(&check.why);
    let (class, name) = (escape(report.model.as_str()), escape(&check.text));
    let _ = writeln!(xml, "    <testcase classname=\"trimtab.gate.{class}\" name=\"{name}\" time=\"0\">");
    let _ = match (check.skipped, check.verdict) {
        (true, _) => writeln!(xml, "      <skipped message=\"{why}\"/>"),
        (_, Verdict::Pass) => Ok(()),
        (_, Verdict::Fail) => writeln!(xml, "      <failure type=\"fail\" message=\"{why}\">{why}</failure>"),
        (_, Verdict::Inconclusive) => writeln!(xml, "      <error type=\"inconclusive\" message=\"{why}\">{why}</error>"),
    };
    let mut out = vec![check.why.clone(), numbers(check)];
    out.extend(check.method.clone());
    out.extend(check.tests.iter().map(|test| format!("{}: p {:.3e}", test.name, test.p)));
    out.extend(
        check.slices.iter().filter_map(|s| Some(format!("{}: {} rows, {} worse, adjusted p {:.3e}", s.name, s.rows, s.worse, s.holm?))),
    );
    out.retain(|line| !line.is_empty());
    let _ = writeln!(xml, "      <system-out>{}</system-out>\n    </testcase>", escape(&out.join("\n")));
}
