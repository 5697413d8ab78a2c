//! The six stations as the store alone shows them.

use crate::facts::{Station, StationState};
use crate::format::{count, counted, figure, range, time};
use domain::entity::*;
use domain::{Fault, Topic, Verdict};
use ports::{RunSearch, RunStore, ViewType, World};
use std::collections::BTreeSet;

/// Runs are counted up to here; more are "200+".
const MOST_RUNS: usize = 200;

/// All six, in the order of the loop.
pub(crate) fn stations(world: &World, runs: &dyn RunStore) -> Result<Vec<Station>, Fault> {
    let deployments = world.list::<Deployment>()?;
    let reports = world.list::<GateReport>()?;
    Ok(vec![
        features(world)?,
        tracking(world, runs)?,
        pipelines(world)?,
        delivery(world, &deployments, &reports)?,
        serving(world, &deployments)?,
        monitoring(world)?,
    ])
}

fn station(topic: Topic, title: &str, state: StationState, headline: String, detail: Vec<(&str, String)>) -> Station {
    let detail = detail.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Station { topic, title: title.into(), state, headline, detail }
}

fn features(world: &World) -> Result<Station, Fault> {
    let views: BTreeSet<String> = world.list::<FeatureViewVersion>()?.into_iter().map(|view| view.name).collect();
    let tables = world.list::<SourceTable>()?;
    let sets = world.list::<TrainingSet>()?;
    let rows: u64 = tables.iter().map(|table| table.rows).sum();
    let newest = tables.iter().filter_map(|table| table.newest).max();
    let mut detail = Vec::new();
    if !tables.is_empty() {
        detail.push(("rows in tables", count(rows)));
    }
    if let Some(newest) = newest {
        detail.push(("newest row", time(newest)));
    }
    if !sets.is_empty() {
        detail.push(("training sets", count(sets.len() as u64)));
    }
    let state = if views.is_empty() { StationState::Idle } else { StationState::Ok };
    let headline = if views.is_empty() { "no feature view is declared".into() } else { counted(views.len() as u64, "feature view") };
    Ok(station(Topic::Features, "Features", state, headline, detail))
}

fn tracking(world: &World, runs: &dyn RunStore) -> Result<Station, Fault> {
    let experiments = world.experiments()?.into_iter().map(|experiment| experiment.id).collect();
    let search = RunSearch { experiments, view: ViewType::Active, limit: MOST_RUNS, ..RunSearch::default() };
    let found = runs.search(&search).map_err(|e| Fault::because("counting runs", e))?;
    let versions = world.list::<ModelVersion>()?;
    let models = world.list::<RegisteredModel>()?;
    let going = found.items.iter().filter(|run| run.status == RunStatus::Running).count();
    let mut detail = Vec::new();
    if let Some(last) = found.items.first() {
        detail.push(("newest run", format!("{}, {}", last.name, last.status.word().to_lowercase())));
    }
    if !models.is_empty() {
        let what = format!("{} of {}", counted(versions.len() as u64, "version"), counted(models.len() as u64, "model"));
        detail.push(("registry", what));
    }
    let state = match (found.items.is_empty(), going) {
        (true, _) => StationState::Idle,
        (_, 0) => StationState::Ok,
        _ => StationState::Busy,
    };
    let headline = match (found.items.len(), &found.token) {
        (0, _) => "no run is logged yet".into(),
        (n, Some(_)) => format!("{}+ runs", count(n as u64)),
        (n, None) => counted(n as u64, "run"),
    };
    Ok(station(Topic::Tracking, "Tracking", state, headline, detail))
}

fn pipelines(world: &World) -> Result<Station, Fault> {
    let mut runs = world.list::<PipelineRun>()?;
    runs.sort_by_key(|run| run.requested);
    let of = |state: RunState| runs.iter().filter(|run| run.state == state).count() as u64;
    let under_way = of(RunState::Running) + of(RunState::Queued);
    let Some(last) = runs.last() else {
        return Ok(station(Topic::Pipelines, "Pipelines", StationState::Idle, "no pipeline has run yet".into(), Vec::new()));
    };
    let state = match last.state {
        _ if under_way > 0 => StationState::Busy,
        RunState::Failed => StationState::Warn,
        _ => StationState::Ok,
    };
    let headline = match under_way {
        0 => counted(runs.len() as u64, "pipeline run"),
        n => format!("{} under way", counted(n, "pipeline run")),
    };
    let outcome = format!("{} succeeded, {} failed", count(of(RunState::Succeeded)), count(of(RunState::Failed)));
    let detail = vec![("outcomes", outcome), ("newest", last.id.to_string())];
    Ok(station(Topic::Pipelines, "Pipelines", state, headline, detail))
}

fn delivery(world: &World, deployments: &[Deployment], reports: &[GateReport]) -> Result<Station, Fault> {
    let waiting = world
        .list::<GateRequest>()?
        .iter()
        .filter(|asked| !reports.iter().any(|report| report.model == asked.model && report.challenger == asked.challenger))
        .count() as u64;
    let rolling = deployments.iter().any(|deployment| deployment.challenger.is_some());
    let of = |verdict: Verdict| reports.iter().filter(|report| report.verdict == verdict).count() as u64;
    let mut detail = Vec::new();
    if !reports.is_empty() {
        let mut gates = format!("{} passed, {} refused", count(of(Verdict::Pass)), count(of(Verdict::Fail)));
        if of(Verdict::Inconclusive) > 0 {
            gates.push_str(&format!(", {} undecided", count(of(Verdict::Inconclusive))));
        }
        detail.push(("gates", gates));
    }
    if let Some(last) = deployments.iter().filter_map(|deployment| deployment.history.last()).max_by_key(|promotion| promotion.at) {
        detail.push(("promoted", time(last.at)));
    }
    let crowned: Vec<_> = deployments
        .iter()
        .filter_map(|deployment| Some(format!("{}: version {} is champion", deployment.model, deployment.champion?)))
        .collect();
    let state = match (waiting > 0 || rolling, crowned.is_empty()) {
        (true, _) => StationState::Busy,
        (_, true) => StationState::Idle,
        _ => StationState::Ok,
    };
    let headline = match (waiting, crowned.as_slice()) {
        (1.., _) => format!("{} to judge", counted(waiting, "version")),
        (_, []) => "no champion yet".into(),
        (_, [one]) => one.clone(),
        (_, many) => counted(many.len() as u64, "champion"),
    };
    Ok(station(Topic::Delivery, "Delivery", state, headline, detail))
}

fn serving(world: &World, deployments: &[Deployment]) -> Result<Station, Fault> {
    let segments = world.list::<Segment>()?;
    let sealed = |kind: &str| segments.iter().filter(|segment| segment.stream.starts_with(kind)).map(|segment| segment.rows).sum::<u64>();
    let lost: u64 = segments.iter().map(|segment| segment.lost).sum();
    let served: Vec<_> = deployments.iter().filter(|deployment| deployment.champion.is_some()).collect();
    let mut detail = Vec::new();
    for deployment in served.iter().take(2) {
        let shadows = deployment.versions().into_iter().skip(1).map(|version| version.to_string()).collect::<Vec<_>>();
        if !shadows.is_empty() {
            detail.push(("in the shadow", shadows.join(", ")));
        }
    }
    if sealed("prediction/") > 0 {
        detail.push(("predictions sealed", count(sealed("prediction/"))));
        detail.push(("labels sealed", count(sealed("label/"))));
    }
    if lost > 0 {
        detail.push(("rows not logged", count(lost)));
    }
    let state = match (served.is_empty(), lost) {
        (true, _) => StationState::Idle,
        (_, 0) => StationState::Ok,
        _ => StationState::Warn,
    };
    let headline = match served.as_slice() {
        [] => "no model is served yet".into(),
        [one] => format!("{} answers", one.model),
        many => format!("{} answer", counted(many.len() as u64, "model")),
    };
    Ok(station(Topic::Serving, "Serving", state, headline, detail))
}

fn monitoring(world: &World) -> Result<Station, Fault> {
    let incidents = world.list::<Incident>()?;
    let open: Vec<_> = incidents.iter().filter(|incident| incident.state == IncidentState::Open).collect();
    let mut judged: Vec<_> = world.list::<Window>()?.into_iter().filter(|window| window.verdict.is_some()).collect();
    judged.sort_by_key(|window| (window.range.to, window.kind));
    let mut detail = Vec::new();
    let newest = judged.iter().rev().find(|window| window.performance.as_ref().is_some_and(|found| found.value.is_some()));
    if let Some((window, performance)) = newest.and_then(|window| Some((window, window.performance.as_ref()?))) {
        let bar = performance.threshold.map_or(String::new(), |bar| format!(", bar {}", figure(bar)));
        let value = performance.value.map(figure).unwrap_or_default();
        detail.push(("newest figure", format!("{} {value}{bar}", performance.metric)));
        detail.push(("window", range(window.range)));
    }
    if !incidents.is_empty() {
        detail.push(("incidents", format!("{}, {} open", count(incidents.len() as u64), open.len())));
    }
    let state = match (open.is_empty(), judged.is_empty()) {
        (false, _) => StationState::Warn,
        (_, true) => StationState::Idle,
        _ => StationState::Ok,
    };
    let headline = match open.as_slice() {
        [] if judged.is_empty() => "no window is judged yet".into(),
        [] => format!("{} judged, all quiet", counted(judged.len() as u64, "window")),
        [one] => format!("incident {} is open", one.id),
        many => format!("{} open", counted(many.len() as u64, "incident")),
    };
    Ok(station(Topic::Monitoring, "Monitoring", state, headline, detail))
}
