//! Incidents: what was seen, asked, trained, judged and done, told from the log.

use crate::chart::{DriftTable, Scene, WindowChart};
use crate::format::{counted, range, span, time};
use crate::gate::Gate;
use crate::line::{self, Line};
use crate::made::{self, PipelineView};
use crate::page::{PageError, show};
use crate::{WebState, link, log};
use axum::extract::{Path, State};
use axum::response::Response;
use domain::entity::*;
use domain::{Event, Fault, IncidentId, Range, Recorded, Span, Timestamp, Verdict, VersionNumber};
use ports::World;
use serde::Serialize;

/// How far causes are followed back.
const CAUSES: usize = 8;
/// Windows before and after the incident that are shown too.
const AROUND: i64 = 2;
/// The earliest sign is looked for so many windows back.
const BACK: i64 = 16;

#[derive(Serialize)]
struct List {
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    id: String,
    href: String,
    model: String,
    state: &'static str,
    opened: String,
    took: Option<String>,
    retrainings: usize,
    why: String,
}

/// `GET /incidents`.
pub(crate) async fn list(State(state): State<WebState>) -> Result<Response, PageError> {
    let rows = state
        .read(|state| {
            let mut incidents = state.world()?.list::<Incident>()?;
            incidents.sort_by_key(|incident| std::cmp::Reverse(incident.opened));
            Ok(incidents.into_iter().map(row).collect())
        })
        .await?;
    show("incidents.html", "Incidents", "incidents", &List { rows })
}

fn row(incident: Incident) -> Row {
    Row {
        href: link::incident(&incident.id),
        id: incident.id.to_string(),
        model: incident.model.to_string(),
        state: line::state(incident.state),
        opened: time(incident.opened),
        took: incident.closed.map(|closed| span(closed - incident.opened)),
        retrainings: incident.attempts.len(),
        why: incident.why,
    }
}

#[derive(Serialize)]
struct Page {
    id: String,
    model: String,
    state: &'static str,
    /// How it stands, in one sentence.
    banner: String,
    opened: String,
    closed: Option<String>,
    rule: String,
    evidence: Vec<String>,
    /// About how serving behaves: the model's part of that page.
    serving: Option<String>,
    /// Why it opened.
    opening: Option<Line>,
    first_sign: Option<String>,
    chart: Option<WindowChart>,
    drift: Option<DriftTable>,
    chapters: Vec<Chapter>,
    waiting: Option<String>,
    ending: Option<Line>,
    champion: Option<Champion>,
    events: Vec<Line>,
}

#[derive(Serialize)]
struct Champion {
    text: String,
    href: String,
}

/// One retraining.
#[derive(Serialize)]
struct Chapter {
    anchor: String,
    asked: String,
    request: Option<Line>,
    made: Option<PipelineView>,
    challenger: Option<Champion>,
    trained_until: Option<String>,
    gate: Option<Gate>,
    outcome: &'static str,
    why: String,
    done: Vec<Line>,
}

/// `GET /incidents/ID`.
pub(crate) async fn page(State(state): State<WebState>, Path(id): Path<String>) -> Result<Response, PageError> {
    let page = state.read(move |state| read(state, &IncidentId::new(id))).await?;
    show("incident.html", &format!("Incident {}", page.id), "incidents", &page)
}

fn read(state: &WebState, id: &IncidentId) -> Result<Page, PageError> {
    let world = state.world()?;
    let incident =
        world.list::<Incident>()?.into_iter().find(|incident| incident.id == *id).ok_or_else(|| PageError::missing("incident", id))?;
    let story = story(state, &incident)?;
    let opening = story.iter().find(|recorded| matches!(&recorded.event, Event::IncidentOpened { incident, .. } if incident == id));
    let ending = story.iter().find(|recorded| is_end(&recorded.event, id));
    let windows = world.scope::<Window>(incident.model.as_str())?;
    let version = opening.and_then(|recorded| log::version(&recorded.event)).map(|(_, version)| version);
    let sign = first_sign(&windows, &incident, version);
    let deployment = world.get::<Deployment>(incident.model.as_str())?;
    let scene = Scene {
        windows: &windows,
        promotions: deployment.as_ref().map_or(&[], |deployment| &deployment.history),
        span: sight(&windows, &incident, sign),
        shade: Some((incident.opened, incident.closed)),
        evidence: &incident.evidence,
    };
    let champion = deployment
        .as_ref()
        .and_then(|deployment| deployment.champion)
        .map(|number| Champion { text: format!("{} version {number}", incident.model), href: link::version(&incident.model, number) });
    let chapters = incident.attempts.iter().map(|attempt| chapter(state, &world, &incident, attempt, &story)).collect::<Result<_, _>>()?;
    Ok(Page {
        banner: banner(&incident),
        state: line::state(incident.state),
        opened: time(incident.opened),
        closed: incident.closed.map(time),
        serving: incident.system.then(|| link::serving(&incident.model)),
        evidence: incident.evidence.iter().copied().map(range).collect(),
        opening: opening.map(Line::from),
        first_sign: sign.map(|(window, _)| first_words(window, &incident)),
        chart: scene.chart(),
        drift: scene.drift(),
        chapters,
        ending: ending.map(Line::from),
        champion,
        events: story.iter().map(Line::from).collect(),
        id: incident.id.to_string(),
        model: incident.model.to_string(),
        rule: incident.rule,
        waiting: incident.waiting,
    })
}

fn is_end(event: &Event, id: &IncidentId) -> bool {
    matches!(event, Event::IncidentResolved { incident, .. } | Event::IncidentEscalated { incident, .. } if incident == id)
}

/// The incident's events and their causes, oldest first: those of its thread, and until its end those about its pipeline
/// runs and challengers, which clients may have caused outside the thread.
fn story(state: &WebState, incident: &Incident) -> Result<Vec<Recorded>, Fault> {
    let asked =
        |event: &Event| log::pipeline_run(event).is_some_and(|id| incident.attempts.iter().any(|attempt| attempt.pipeline_run == *id));
    let came = |event: &Event| {
        log::version(event).is_some_and(|(model, version)| {
            *model == incident.model && incident.attempts.iter().any(|attempt| attempt.challenger == Some(version))
        })
    };
    let in_time = |recorded: &Recorded| incident.closed.is_none_or(|closed| recorded.at <= closed);
    let mut told = log::all(state, |recorded| {
        let is_own = recorded.thread.as_deref() == Some(incident.id.as_str());
        is_own || asked(&recorded.event) || (in_time(recorded) && came(&recorded.event))
    })?;
    let mut missing: Vec<u64> = told.iter().filter_map(|recorded| recorded.cause).collect();
    for _ in 0..CAUSES {
        missing.sort_unstable();
        missing.dedup();
        missing.retain(|seq| told.binary_search_by_key(seq, |recorded| recorded.seq).is_err());
        let mut found = Vec::new();
        for seq in missing.drain(..) {
            found.extend(state.store.events(seq.saturating_sub(1), 1)?);
        }
        missing.extend(found.iter().filter_map(|recorded| recorded.cause));
        told.extend(found);
        told.sort_by_key(|recorded| recorded.seq);
    }
    Ok(told)
}

/// The earliest bad window, of inputs or performance, of the version that the incident is about; and its length.
fn first_sign<'a>(windows: &'a [Window], incident: &Incident, version: Option<VersionNumber>) -> Option<(&'a Window, Span)> {
    let first = incident.evidence.iter().min_by_key(|range| range.from)?;
    let length = first.to - first.from;
    let earliest = first.from - Span::from_ms(length.ms() * BACK);
    let bad = windows.iter().filter(|window| {
        let is_bad = Some(window.version) == version && window.whole && window.verdict == Some(Verdict::Fail);
        is_bad && window.range.from >= earliest && window.closed <= incident.opened
    });
    bad.min_by_key(|window| (window.range.from, window.kind)).map(|window| (window, length))
}

fn first_words(window: &Window, incident: &Incident) -> String {
    let before = incident.opened - window.range.to;
    let ahead = if before.ms() > 0 { format!(", {} before the incident opened", span(before)) } else { String::new() };
    format!("{} window {}{ahead}: {}", window.kind.word(), range(window.range), window.why.as_deref().unwrap_or("it fails"))
}

/// What the chart shows: from a little before the first sign to a little after the end, or to the newest window.
fn sight(windows: &[Window], incident: &Incident, sign: Option<(&Window, Span)>) -> Range {
    let length = sign.map_or(Span::days(7), |(_, length)| length);
    let around = Span::from_ms(length.ms() * AROUND);
    let from = sign.map_or(incident.opened, |(window, _)| window.range.from) - around;
    let limit = incident.closed.map_or(Timestamp::MAX, |closed| closed + around);
    // The picture ends with a whole window.
    let to = windows.iter().map(|window| window.range.to).filter(|to| *to <= limit).max();
    Range::new(from, to.max(Some(incident.closed.unwrap_or(incident.opened))).unwrap_or(incident.opened + length))
}

fn chapter(
    state: &WebState,
    world: &World,
    incident: &Incident,
    attempt: &RetrainAttempt,
    story: &[Recorded],
) -> Result<Chapter, PageError> {
    let key = attempt.challenger.map(|number| format!("{}/{number}", incident.model));
    let version = key.as_deref().map(|key| world.get::<ModelVersion>(key)).transpose()?.flatten();
    let report = key.as_deref().map(|key| world.get::<GateReport>(key)).transpose()?.flatten();
    let is_request = |recorded: &&Recorded| matches!(&recorded.event, Event::RetrainRequested { pipeline_run, .. } if *pipeline_run == attempt.pipeline_run);
    Ok(Chapter {
        anchor: attempt.pipeline_run.to_string(),
        asked: time(attempt.asked),
        request: story.iter().find(is_request).map(Line::from),
        made: made::view(state, world, &attempt.pipeline_run)?,
        challenger: attempt
            .challenger
            .map(|number| Champion { text: format!("{} version {number}", incident.model), href: link::version(&incident.model, number) }),
        trained_until: version.and_then(|version| version.trained_until).map(time),
        gate: report.as_ref().map(Gate::from),
        outcome: outcome(attempt.outcome),
        why: attempt.why.clone(),
        done: story.iter().filter(|recorded| is_deed(recorded, attempt)).map(Line::from).collect(),
    })
}

/// What was done with an attempt's challenger, or said about the attempt.
fn is_deed(recorded: &Recorded, attempt: &RetrainAttempt) -> bool {
    match &recorded.event {
        Event::RolloutAdvanced { version, .. }
        | Event::RolloutAborted { version, .. }
        | Event::RolloutPaused { version, .. }
        | Event::RolloutResumed { version, .. }
        | Event::ApprovalRequested { version, .. }
        | Event::ApprovalGiven { version, .. }
        | Event::ApprovalRejected { version, .. }
        | Event::ApprovalExpired { version, .. }
        | Event::CanaryServed { version, .. }
        | Event::CanaryLabelled { version, .. }
        | Event::ShadowServed { version, .. }
        | Event::ChampionPromoted { version, .. } => attempt.challenger == Some(*version),
        Event::RetrainUnhelpful { pipeline_run, .. } => *pipeline_run == attempt.pipeline_run,
        _ => false,
    }
}

fn outcome(outcome: RetrainOutcome) -> &'static str {
    match outcome {
        RetrainOutcome::Open => "under way",
        RetrainOutcome::Failed => "failed",
        RetrainOutcome::Refused => "refused",
        RetrainOutcome::Promoted => "promoted",
        RetrainOutcome::Unhelpful => "unhelpful",
        RetrainOutcome::Helped => "helped",
    }
}

fn banner(incident: &Incident) -> String {
    let retrainings = counted(incident.attempts.len() as u64, "retraining");
    let lasted = |closed: Timestamp| span(closed - incident.opened);
    if incident.system {
        return match incident.closed {
            Some(closed) => format!("Resolved after {}: {}", lasted(closed), incident.why),
            None => format!("Open since {}: {}", time(incident.opened), incident.why),
        };
    }
    match (incident.state, incident.closed) {
        (IncidentState::Resolved, Some(closed)) => format!("Resolved after {} and {retrainings}: {}", lasted(closed), incident.why),
        (IncidentState::Escalated, Some(closed)) => {
            format!("Handed to people after {} and {retrainings}: {}", lasted(closed), incident.why)
        }
        _ => {
            let stands = match (&incident.waiting, incident.attempts.last()) {
                (Some(waiting), _) => waiting.clone(),
                (None, Some(last)) if last.outcome == RetrainOutcome::Open => format!("retraining {} is under way", last.pipeline_run),
                (None, Some(last)) if last.outcome == RetrainOutcome::Promoted => {
                    "a new champion serves; its windows will tell whether that helped".into()
                }
                _ => format!("{} counted since the last decision", counted(u64::from(incident.bad_windows), "bad window")),
            };
            format!("Open since {}: {stands}", time(incident.opened))
        }
    }
}
