//! A model version's card: what is known of it, as a page of Markdown that can be kept beside the model.

use crate::WebState;
use crate::format::{figure, range, time};
use crate::models::signature::{Described, described};
use crate::page::PageError;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use domain::entity::{Approval, GateReport, ModelVersion, RegisteredModel, Run, TrainingSet, VersionEnvironment};
use domain::{Verdict, VersionNumber};
use std::fmt::Write as _;

/// What a card is written from.
struct Facts {
    model: Option<RegisteredModel>,
    version: ModelVersion,
    run: Option<Run>,
    set: Option<TrainingSet>,
    report: Option<GateReport>,
    approval: Option<Approval>,
    environment: Option<VersionEnvironment>,
}

/// `GET /models/NAME/versions/N/card.md`.
pub(crate) async fn serve(
    State(state): State<WebState>,
    Path((model, number)): Path<(String, String)>,
) -> Result<impl IntoResponse, PageError> {
    let facts = state.read(move |state| read(state, &model, &number)).await?;
    let described = described(&state, &facts.version.artifact_path).await?;
    let name: String = facts.version.model.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let kept = format!("inline; filename=\"{name}-{}.md\"", facts.version.version);
    let headers = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, kept)];
    Ok((headers, [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")], card(&facts, described.as_ref())))
}

fn read(state: &WebState, model: &str, number: &str) -> Result<Facts, PageError> {
    let missing = || PageError::missing("model version", format!("{model} {number}"));
    let number = VersionNumber(number.parse().map_err(|_| missing())?);
    let world = state.world()?;
    let key = format!("{model}/{number}");
    let version = world.get::<ModelVersion>(&key)?.ok_or_else(missing)?;
    Ok(Facts {
        model: world.get(model)?,
        run: version.run.as_ref().map(|run| state.runs.run(run)).transpose()?.flatten(),
        set: version.training_set.as_ref().map(|set| world.get::<TrainingSet>(set.as_str())).transpose()?.flatten(),
        report: world.get(&key)?,
        approval: world.get(&key)?,
        environment: world.get(&key)?,
        version,
    })
}

/// One line of Markdown: what a name holds is text and no markup.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => plain.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' => plain.extend(['\\', c]),
            c => plain.push(c),
        }
    }
    plain
}

fn card(facts: &Facts, described: Option<&Described>) -> String {
    let version = &facts.version;
    let mut text = format!("# {} version {}\n\n", plain(version.model.as_str()), version.version);
    for words in [facts.model.as_ref().map(|model| &model.description), Some(&version.description)].into_iter().flatten() {
        if !words.is_empty() {
            text.push_str(&format!("{words}\n\n"));
        }
    }
    let mut row = |name: &str, value: String| writeln!(text, "- **{name}**: {value}").expect("writing into a string does not fail");
    row("registered", time(version.created));
    row("trained until", version.trained_until.map_or("not known".into(), time));
    row("source", format!("`{}`", version.source.replace('`', "'")));
    if let Some(run) = &facts.run {
        row("run", format!("{} (`{}`)", plain(&run.name), run.id));
    }
    if let Some(id) = &version.pipeline_run {
        row("pipeline run", format!("`{id}`"));
    }
    if let Some(found) = described {
        row("flavours", plain(&found.flavors.join(", ")));
    }
    match facts.environment.as_ref().map(|environment| (&environment.lock, &environment.problem)) {
        Some((Some(lock), _)) => {
            let holds =
                format!("Python {}, {} packages, SHA-256 `{}` of `{}`", plain(&lock.python), lock.packages.len(), lock.sha256, lock.path);
            row("locked environment", holds);
        }
        Some((None, Some(problem))) => row("locked environment", format!("none: {}", plain(&problem.to_string()))),
        _ => {}
    }
    if let Some(set) = &facts.set {
        text.push_str("\n## Training data\n\n");
        let time_of = set.time.map_or(String::new(), |time| format!(", {}", range(time)));
        text.push_str(&format!("Training set `{}`: {} rows{time_of}, content `{}`.\n\n", set.id, set.rows, set.content.short()));
        text.push_str(&format!("Label {}; features {}.\n", plain(&set.label), plain(&set.features.join(", "))));
    }
    if let Some(report) = &facts.report {
        text.push_str("\n## Evaluation\n\n");
        text.push_str(&format!("Gate: **{}**: {}\n\n", report.verdict.word(), plain(&report.why)));
        text.push_str(&format!("On the same {} rows of {}, seed {}.\n\n", report.rows, range(report.holdout), report.seed));
        text.push_str("| check | verdict | challenger | champion | interval |\n|---|---|---|---|---|\n");
        for check in &report.checks {
            let value = |value: Option<f64>| value.map_or(String::new(), figure);
            let verdict = if check.skipped { "skipped" } else { check.verdict.word() };
            let interval = check.interval.as_ref().map_or(String::new(), |i| format!("{} to {}", figure(i.low), figure(i.high)));
            let figures = format!("{} | {} | {interval}", value(check.challenger), value(check.champion));
            text.push_str(&format!("| {} | {verdict} | {figures} |\n", plain(&check.text)));
        }
        limits(&mut text, report);
    }
    if let Some(approval) = &facts.approval {
        text.push_str("\n## Who let it out\n\n");
        for vote in &approval.votes {
            let said = match (vote.approves, approval.overrides) {
                (true, true) => "set the gate aside",
                (true, false) => "approved",
                (false, _) => "rejected",
            };
            text.push_str(&format!("- {} {said}, {}: {}\n", plain(&vote.by), time(vote.at), plain(&vote.reason)));
        }
        if approval.votes.is_empty() {
            text.push_str("Nobody yet.\n");
        }
    }
    if let Some(run) = &facts.run {
        text.push_str("\n## Training run\n\n| metric | value |\n|---|---|\n");
        for metric in run.metrics.iter().filter(|metric| !metric.key.starts_with("system/")) {
            text.push_str(&format!("| {} | {} |\n", plain(&metric.key), figure(metric.value)));
        }
        text.push_str("\n| param | value |\n|---|---|\n");
        for param in &run.params {
            text.push_str(&format!("| {} | {} |\n", plain(&param.key), plain(&param.value)));
        }
    }
    if let Some(found) = described.filter(|found| found.has_signature) {
        text.push_str("\n## Signature\n\n| | name | type |\n|---|---|---|\n");
        for (side, columns) in [("in", &found.inputs), ("out", &found.outputs), ("param", &found.params)] {
            for column in columns {
                text.push_str(&format!("| {side} | {} | {} |\n", plain(&column.name), plain(&column.kind)));
            }
        }
    }
    if let Some(lock) = facts.environment.as_ref().and_then(|environment| environment.lock.as_ref()) {
        text.push_str("\n## Packages\n\n");
        for package in &lock.packages {
            text.push_str(&format!("- {}\n", plain(package)));
        }
    }
    text
}

/// What the evidence does not say.
fn limits(text: &mut String, report: &GateReport) {
    text.push_str("\n## Limits\n\n");
    text.push_str(&format!("- Nothing is known of rows outside {}.\n", range(report.holdout)));
    for check in &report.checks {
        if check.skipped {
            text.push_str(&format!("- {}: there was no champion to compare with.\n", plain(&check.text)));
        } else if check.verdict != Verdict::Pass {
            text.push_str(&format!("- {}: {}.\n", plain(&check.text), plain(&check.why)));
        }
        for slice in check.slices.iter().filter(|slice| slice.p.is_none()) {
            text.push_str(&format!("- {}: {} rows are too few to be judged.\n", plain(&slice.name), slice.rows));
        }
    }
}
