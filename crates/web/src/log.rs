//! Reading the event log backwards and by subject.

use crate::WebState;
use domain::{Event, Fault, ModelName, PipelineRunId, Recorded, Topic, VersionNumber};
use std::collections::BTreeMap;

/// Events read at once.
const PIECE: u64 = 500;
/// How far back the last event of a topic is looked for.
const FAR: u64 = 5_000;

/// Every topic, in the order of the loop.
pub(crate) const TOPICS: [Topic; 6] =
    [Topic::Features, Topic::Tracking, Topic::Pipelines, Topic::Delivery, Topic::Serving, Topic::Monitoring];

/// The word for a topic, as in addresses.
pub(crate) fn word(topic: Topic) -> &'static str {
    match topic {
        Topic::Features => "features",
        Topic::Tracking => "tracking",
        Topic::Pipelines => "pipelines",
        Topic::Delivery => "delivery",
        Topic::Serving => "serving",
        Topic::Monitoring => "monitoring",
    }
}

/// `monitoring,delivery`: the topics that are named; none named, or none known, means all.
pub(crate) fn topics(text: Option<&str>) -> Vec<Topic> {
    let named = |topic: &Topic| text.is_some_and(|text| text.split(',').any(|name| name.trim() == word(*topic)));
    let found: Vec<_> = TOPICS.into_iter().filter(named).collect();
    if found.is_empty() { TOPICS.to_vec() } else { found }
}

/// The newest events before `before` that are kept, newest first, and whether older ones may follow.
pub(crate) fn newest(
    state: &WebState,
    before: u64,
    limit: usize,
    keep: impl Fn(&Recorded) -> bool,
) -> Result<(Vec<Recorded>, bool), Fault> {
    let mut found = Vec::new();
    let mut end = before;
    while end > 1 {
        let start = end.saturating_sub(PIECE).max(1);
        let piece = state.store.events(start - 1, (end - start) as usize)?;
        for recorded in piece.into_iter().rev().filter(&keep) {
            if found.len() == limit {
                return Ok((found, true));
            }
            found.push(recorded);
        }
        end = start;
    }
    Ok((found, false))
}

/// The newest event of each topic, as far as the last few thousand tell.
pub(crate) fn last_of_each(state: &WebState) -> Result<BTreeMap<Topic, Recorded>, Fault> {
    let mut last = BTreeMap::new();
    let mut end = *state.store.head().borrow() + 1;
    let far = end.saturating_sub(FAR);
    while end > 1.max(far) && last.len() < TOPICS.len() {
        let start = end.saturating_sub(PIECE).max(1);
        for recorded in state.store.events(start - 1, (end - start) as usize)?.into_iter().rev() {
            last.entry(recorded.event.topic()).or_insert(recorded);
        }
        end = start;
    }
    Ok(last)
}

/// Every event that is kept, oldest first.
pub(crate) fn all(state: &WebState, keep: impl Fn(&Recorded) -> bool) -> Result<Vec<Recorded>, Fault> {
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let piece = state.store.events(after, PIECE as usize)?;
        let Some(last) = piece.last() else { return Ok(found) };
        after = last.seq;
        found.extend(piece.into_iter().filter(&keep));
    }
}

/// The pipeline run that an event is about.
pub(crate) fn pipeline_run(event: &Event) -> Option<&PipelineRunId> {
    match event {
        Event::PipelineRunRequested { pipeline_run, .. }
        | Event::PipelineCancelRequested { pipeline_run }
        | Event::StepStarted { pipeline_run, .. }
        | Event::StepFinished { pipeline_run, .. }
        | Event::PipelineRunFinished { pipeline_run, .. }
        | Event::RetrainRequested { pipeline_run, .. }
        | Event::RetrainUnhelpful { pipeline_run, .. } => Some(pipeline_run),
        Event::RunStarted { pipeline_run, .. } | Event::ModelVersionRegistered { pipeline_run, .. } => pipeline_run.as_ref(),
        _ => None,
    }
}

/// The model version that an event is about.
pub(crate) fn version(event: &Event) -> Option<(&ModelName, VersionNumber)> {
    match event {
        Event::GateRequested { model, challenger, .. } | Event::GateDecided { model, challenger, .. } => Some((model, *challenger)),
        Event::ModelVersionRegistered { model, version, .. }
        | Event::RolloutAdvanced { model, version, .. }
        | Event::RolloutAborted { model, version, .. }
        | Event::RolloutPaused { model, version, .. }
        | Event::RolloutResumed { model, version, .. }
        | Event::ApprovalRequested { model, version, .. }
        | Event::ApprovalGiven { model, version, .. }
        | Event::ApprovalRejected { model, version, .. }
        | Event::ApprovalExpired { model, version, .. }
        | Event::CanaryServed { model, version, .. }
        | Event::CanaryLabelled { model, version, .. }
        | Event::ChampionPromoted { model, version, .. }
        | Event::ShadowServed { model, version, .. }
        | Event::WorkerCrashed { model, version, .. }
        | Event::EnvironmentLocked { model, version, .. }
        | Event::EnvironmentRefused { model, version, .. }
        | Event::MonitorStarted { model, version, .. }
        | Event::WindowClosed { model, version, .. }
        | Event::WindowJudged { model, version, .. }
        | Event::WindowAmended { model, version, .. }
        | Event::DriftFound { model, version, .. }
        | Event::IncidentOpened { model, version, .. } => Some((model, *version)),
        _ => None,
    }
}
