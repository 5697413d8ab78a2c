//! The cases of a check.

use crate::format::{counted, span};
use crate::link;
use domain::entity::{CaseState, CheckCase, CheckReport, PipelineStep};
use domain::{Fault, Span};
use ports::World;
use serde::Serialize;

/// Cases that need no look, as far as they are shown.
const OTHERS: usize = 500;

#[derive(Serialize)]
pub(super) struct Cases {
    attempt: u32,
    /// `12 cases: 10 passed, 1 failed, 1 flaky`.
    summary: String,
    /// Another pipeline run that they are of, and its address.
    of: Option<(String, String)>,
    /// Those that fail, were skipped, or cannot be relied on.
    notable: Vec<Row>,
    others: Vec<Row>,
    rest: String,
    command: String,
}

#[derive(Serialize)]
struct Row {
    name: String,
    state: &'static str,
    took: Option<String>,
    flaky: Option<String>,
    message: Option<String>,
}

/// What the chosen attempt of a step found, if it is a check that reported.
pub(super) fn read(world: &World, steps: &[PipelineStep], name: &str, attempt: Option<u32>) -> Result<Option<Cases>, Fault> {
    let Some(step) = steps.iter().find(|step| step.name == name) else { return Ok(None) };
    let report = pipelines::checks::report_of(world, step, attempt)?;
    Ok(report.map(|report| view(report, step)))
}

fn view(report: CheckReport, step: &PipelineStep) -> Cases {
    let is_notable = |case: &&CheckCase| case.state != CaseState::Passed || case.flaky.is_some();
    let (notable, others): (Vec<&CheckCase>, Vec<&CheckCase>) = report.cases.iter().partition(is_notable);
    let counts = report.counts;
    let kinds = [
        (counts.passed, "passed"),
        (counts.failed, "failed"),
        (counts.errors, "in error"),
        (counts.skipped, "skipped"),
        (counts.flaky, "flaky"),
    ];
    let kinds: Vec<String> = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let hidden = others.len().saturating_sub(OTHERS) as u64 + report.left_out;
    let hidden = if hidden > 0 { format!(", {hidden} of them not shown") } else { String::new() };
    let is_of_another = report.pipeline_run != step.pipeline_run;
    Cases {
        attempt: report.attempt,
        summary: format!("{}: {}", counted(counts.cases, "case"), kinds.join(", ")),
        of: is_of_another.then(|| (report.pipeline_run.to_string(), link::pipeline_run(&report.pipeline_run))),
        rest: format!("{} that passed{hidden}", counted(others.len() as u64 + report.left_out, "case")),
        notable: notable.into_iter().map(row).collect(),
        others: others.into_iter().take(OTHERS).map(row).collect(),
        command: format!("trimtab pipeline cases {} {}", report.pipeline_run, report.step),
    }
}

fn row(case: &CheckCase) -> Row {
    Row {
        name: case.name.clone(),
        state: case.state.word(),
        took: case.time_ms.map(|ms| span(Span::from_ms(ms as i64))),
        flaky: case.flaky.clone(),
        message: case.message.clone(),
    }
}
