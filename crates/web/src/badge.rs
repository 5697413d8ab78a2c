//! Badges: how a pipeline's last run ended, which version of a model is champion. Small pictures for other pages.

use crate::WebState;
use crate::page::PageError;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::Verdict;
use domain::entity::{Deployment, GateReport, PipelineRun, RegisteredModel, RunState, TriggerKind};
use serde::Deserialize;

/// Colours that tell apart with and without red and green, after Okabe and Ito; white on each has a contrast of 4.5 or more.
const GOOD: &str = "#00745a";
const BAD: &str = "#b34700";
const BUSY: &str = "#00639c";
const NONE: &str = "#5f6368";

#[derive(Deserialize)]
pub(crate) struct Asked {
    /// Only runs of this branch count.
    branch: Option<String>,
}

/// `GET /badge/PIPELINE.svg`.
pub(crate) async fn pipeline(
    State(state): State<WebState>,
    Path(file): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let picture = state.read(move |state| {
        let name = file.strip_suffix(".svg").unwrap_or(&file).to_owned();
        let world = state.world()?;
        let is_of = |run: &PipelineRun| match (&asked.branch, &run.trigger.kind) {
            (None, _) => true,
            (Some(branch), TriggerKind::Git { reference, .. }) => reference == branch,
            (Some(_), _) => false,
        };
        let runs = world.list::<PipelineRun>()?.into_iter().filter(|run| run.pipeline == name && is_of(run));
        let last = runs.max_by(|a, b| (a.requested, &a.id).cmp(&(b.requested, &b.id)));
        let is_declared = world.project()?.is_some_and(|project| project.spec.pipeline.contains_key(&name));
        if last.is_none() && !is_declared {
            return Err(PageError::missing("pipeline", &name));
        }
        let (word, colour) = match last.map(|run| run.state) {
            None => ("no run", NONE),
            Some(RunState::Succeeded) => ("passing", GOOD),
            Some(RunState::Failed) => ("failing", BAD),
            Some(RunState::Cancelled) => ("cancelled", NONE),
            Some(RunState::Queued | RunState::Running) => ("running", BUSY),
        };
        Ok(draw(&name, word, colour))
    });
    Ok(answer(picture.await?))
}

/// `GET /badge/model/MODEL.svg`.
pub(crate) async fn model(State(state): State<WebState>, Path(file): Path<String>) -> Result<Response, PageError> {
    let picture = state.read(move |state| {
        let name = file.strip_suffix(".svg").unwrap_or(&file).to_owned();
        let world = state.world()?;
        let model = world.get::<RegisteredModel>(&name)?.ok_or_else(|| PageError::missing("model", &name))?;
        let champion = world.get::<Deployment>(model.name.as_str())?.and_then(|deployment| deployment.champion);
        let Some(champion) = champion else { return Ok(draw(&name, "no champion", NONE)) };
        let report = world.get::<GateReport>(&format!("{name}/{champion}"))?;
        let (word, colour) = match report.map(|report| report.verdict) {
            None => ("not judged", NONE),
            Some(Verdict::Pass) => ("gate passed", GOOD),
            Some(Verdict::Fail) => ("gate failed", BAD),
            Some(Verdict::Inconclusive) => ("gate undecided", NONE),
        };
        Ok(draw(&name, &format!("v{champion}, {word}"), colour))
    });
    Ok(answer(picture.await?))
}

fn answer(svg: String) -> Response {
    // Pages that show it keep it for a minute at most.
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, max-age=60"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    (headers, svg).into_response()
}

/// Two fields beside each other. The text is stretched to the width that it was drawn for, whatever fonts the reader has.
fn draw(label: &str, word: &str, colour: &str) -> String {
    let label: String = label.chars().filter(|c| !c.is_control()).take(40).collect();
    let width = |text: &str| 12.0 + text.chars().map(|c| if c.is_ascii_lowercase() { 6.3 } else { 7.4 }).sum::<f64>();
    let (left, right) = (width(&label), width(word));
    let whole = left + right;
    let text = |x: f64, room: f64, text: &str| {
        format!(r##"<text x="{x:.1}" y="14" textLength="{:.1}" lengthAdjust="spacingAndGlyphs">{}</text>"##, room - 12.0, escaped(text))
    };
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{whole:.1}" height="20" role="img" aria-label="{label}: {word}"><title>{label}: {word}</title><clipPath id="r"><rect width="{whole:.1}" height="20" rx="3"/></clipPath><g clip-path="url(#r)"><rect width="{left:.1}" height="20" fill="#3c4043"/><rect x="{left:.1}" width="{right:.1}" height="20" fill="{colour}"/></g><g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{}{}</g></svg>"##,
        text(6.0, left, &label),
        text(left + 6.0, right, word),
        label = escaped(&label),
        word = escaped(word),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn names_are_hostile() {
        let svg = draw("a<script>\"&\u{1b}", "passing", "#000");
        assert!(svg.contains("a&lt;script&gt;&quot;&amp;: passing") && !svg.contains("<script"), "{svg}");
    }
}
