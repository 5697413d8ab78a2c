//! Gates: every report, newest first, with the difference that decided it.

use crate::WebState;
use crate::format::{maybe, time};
use crate::gate::{Bar, Gate, bar};
use crate::link;
use crate::page::{PageError, show};
use axum::extract::{Query, State};
use axum::response::Response;
use domain::entity::{Check, GateReport, RegisteredModel};
use domain::{ModelName, Verdict};
use serde::{Deserialize, Serialize};

/// Reports that are listed, and how many of them with all their checks.
const LISTED: usize = 200;
const WHOLE: usize = 12;

#[derive(Deserialize)]
pub(crate) struct Asked {
    model: Option<String>,
    verdict: Option<String>,
}

#[derive(Serialize)]
struct Page {
    rows: Vec<Row>,
    total: usize,
    counts: Vec<(&'static str, usize, String, bool)>,
    models: Vec<String>,
    model: String,
    verdict: String,
    whole: Vec<Gate>,
}

#[derive(Serialize)]
struct Row {
    href: String,
    challenger: String,
    champion: Option<(String, String)>,
    verdict: &'static str,
    why: String,
    metric: String,
    new: String,
    old: String,
    bar: Option<Bar>,
    /// Passed, failed, inconclusive.
    checks: Vec<(&'static str, usize)>,
    rows: u64,
    decided: String,
}

/// `GET /gates`.
pub(crate) async fn page(State(state): State<WebState>, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let page = state.read(move |state| read(state, &asked)).await?;
    show("gates.html", "Gates", "gates", &page)
}

fn read(state: &WebState, asked: &Asked) -> Result<Page, PageError> {
    let world = state.world()?;
    let all = world.list::<GateReport>()?;
    let model = asked.model.clone().filter(|model| !model.is_empty());
    let mut reports: Vec<&GateReport> =
        all.iter().filter(|report| model.as_deref().is_none_or(|model| report.model.as_str() == model)).collect();
    reports.sort_by_key(|report| std::cmp::Reverse(report.decided));
    let chosen = asked.verdict.clone().unwrap_or_default();
    let address = |verdict: &str| {
        let model = model.as_ref().map(|model| format!("model={}&", link::part(model))).unwrap_or_default();
        format!("/gates?{model}verdict={verdict}")
    };
    let mut counts = vec![("all", reports.len(), address(""), chosen.is_empty())];
    for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive] {
        let count = reports.iter().filter(|report| report.verdict == verdict).count();
        counts.push((verdict.word(), count, address(verdict.word()), chosen == verdict.word()));
    }
    reports.retain(|report| chosen.is_empty() || report.verdict.word() == chosen);
    let mut models: Vec<String> = world.list::<RegisteredModel>()?.into_iter().map(|model| model.name.to_string()).collect();
    models.retain(|name| all.iter().any(|report| report.model == ModelName::new(name)));
    Ok(Page {
        total: reports.len(),
        rows: reports.iter().take(LISTED).map(|report| row(report)).collect(),
        whole: reports.iter().take(WHOLE).map(|report| Gate::from(*report)).collect(),
        counts,
        models,
        model: model.unwrap_or_default(),
        verdict: chosen,
    })
}

fn row(report: &GateReport) -> Row {
    let figure = &report.figure;
    let difference = figure.challenger.zip(figure.champion).map(|(new, old)| new - old);
    let deciding = deciding(report);
    let count = |verdict: Verdict| report.checks.iter().filter(|check| !check.skipped && check.verdict == verdict).count();
    Row {
        href: format!("{}#judged", link::version(&report.model, report.challenger)),
        challenger: format!("{} version {}", report.model, report.challenger),
        champion: report.champion.map(|number| (format!("version {number}"), link::version(&report.model, number))),
        verdict: report.verdict.word(),
        why: report.why.clone(),
        metric: figure.metric.clone(),
        new: maybe(figure.challenger),
        old: maybe(figure.champion),
        bar: deciding.and_then(|check| bar(check.interval.as_ref()?, difference, check.limit.filter(|limit| *limit != 0.0))),
        checks: [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive]
            .map(|verdict| (verdict.word(), count(verdict)))
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .collect(),
        rows: report.rows,
        decided: time(report.decided),
    }
}

/// The comparison that the verdict hangs on: the first that did not pass, else the first of all.
fn deciding(report: &GateReport) -> Option<&Check> {
    let compared = || report.checks.iter().filter(|check| check.interval.is_some());
    compared().find(|check| check.verdict != Verdict::Pass).or_else(|| compared().next())
}
