//! Every event as one sentence: lower case, no full stop.

use domain::entity::{RunState, RunStatus, StepState, TriggerKind, WindowKind};
use domain::{Event, Range, Timestamp, Topic};

/// Says what happened.
///
/// ```
/// use api_native::story::sentence;
/// use domain::{Event, ModelName, VersionNumber};
/// let event = Event::RolloutAdvanced { model: ModelName::new("demand"), version: VersionNumber(2), stage: "shadow".into() };
/// assert_eq!(sentence(&event), "demand version 2 goes on to the stage shadow");
/// ```
pub fn sentence(event: &Event) -> String {
    match event.topic() {
        Topic::Features => features(event),
        Topic::Tracking => tracking(event),
        Topic::Pipelines => pipelines(event),
        Topic::Delivery | Topic::Serving => delivery(event),
        Topic::Monitoring => monitoring(event),
    }
}

fn features(event: &Event) -> String {
    match event {
        Event::ProjectApplied { changes, .. } if changes.is_empty() => "the project was applied: nothing changed".into(),
        Event::ProjectApplied { changes, .. } => format!("the project was applied: {}", changes.join(", ")),
        Event::FeatureViewVersioned { view, version, .. } => format!("feature view {view} got version {version}"),
        Event::SegmentSealed { stream, segment, rows, watermark, .. } => {
            format!(
                "segment {segment} of {stream} was sealed with {}; nothing before {} is expected any more",
                counted(*rows, "row"),
                when(*watermark)
            )
        }
        Event::TableWritten { source, table_version, rows, .. } => {
            format!("{} were written to the table of {source}, which is at version {table_version}", counted(*rows, "row"))
        }
        Event::FeaturesMaterialized { view, rows } => format!("{} of {view} went to the online store", counted(*rows, "row")),
        Event::TrainingSetRecorded { training_set, model, rows, cutoff, .. } => {
            format!("training set {training_set} for {model} was recorded: {}, all before {}", counted(*rows, "row"), when(*cutoff))
        }
        other => other.name().into(),
    }
}

fn tracking(event: &Event) -> String {
    match event {
        Event::ExperimentCreated { experiment, name } => format!("experiment {name} ({experiment}) was created"),
        Event::RunStarted { run, name, pipeline_run: Some(pipeline_run), .. } => {
            format!("run {name} ({run}) began, in pipeline run {pipeline_run}")
        }
        Event::Imported { what } => format!("{what} was imported"),
        Event::RunStarted { run, name, .. } => format!("run {name} ({run}) began"),
        Event::RunFinished { run, status } => match status {
            RunStatus::Finished => format!("run {run} finished"),
            RunStatus::Failed => format!("run {run} failed"),
            RunStatus::Killed => format!("run {run} was killed"),
            RunStatus::Running | RunStatus::Scheduled => format!("run {run} goes on"),
        },
        Event::ModelVersionRegistered { model, version, pipeline_run, run } => {
            let by = match (pipeline_run, run) {
                (Some(pipeline_run), _) => format!(" by pipeline run {pipeline_run}"),
                (None, Some(run)) => format!(" by run {run}"),
                (None, None) => String::new(),
            };
            format!("{model} got version {version}{by}")
        }
        Event::AliasSet { model, alias, version, previous } => match (version, previous) {
            (Some(version), Some(previous)) => {
                format!("the alias {alias} of {model} was moved by hand from version {previous} to {version}")
            }
            (Some(version), None) => format!("the alias {alias} of {model} was set by hand to version {version}"),
            (None, _) => format!("the alias {alias} of {model} was removed by hand"),
        },
        other => other.name().into(),
    }
}

fn pipelines(event: &Event) -> String {
    match event {
        Event::PipelineRunRequested { pipeline_run, pipeline, version, trigger } => {
            let by = match trigger {
                TriggerKind::Command => "by a command".to_owned(),
                TriggerKind::Api => "over the API".to_owned(),
                TriggerKind::Incident { incident } => format!("by incident {incident}"),
            };
            format!("pipeline run {pipeline_run} ({pipeline} version {version}) was asked for {by}")
        }
        Event::PipelineCancelRequested { pipeline_run } => format!("pipeline run {pipeline_run} was asked to stop"),
        Event::StepStarted { pipeline_run, step, attempt, why } => format!("step {step} of {pipeline_run} began, attempt {attempt}: {why}"),
        Event::StepFinished { pipeline_run, step, state, attempts, error } => {
            let end = match state {
                StepState::Succeeded => format!("succeeded after {}", counted(u64::from(*attempts), "attempt")),
                StepState::Cached => "took its outputs from the cache".into(),
                StepState::Failed => format!("failed after {}", counted(u64::from(*attempts), "attempt")),
                StepState::Skipped => "was skipped".into(),
                StepState::Cancelled => "was cancelled".into(),
                StepState::Waiting | StepState::Running => "goes on".into(),
            };
            format!("step {step} of {pipeline_run} {end}{}", because(error.as_deref().and_then(|error| error.lines().next())))
        }
        Event::PipelineRunFinished { pipeline_run, state, error, .. } => {
            let end = match state {
                RunState::Succeeded => "succeeded",
                RunState::Failed => "failed",
                RunState::Cancelled => "was cancelled",
                RunState::Queued | RunState::Running => "goes on",
            };
            format!("pipeline run {pipeline_run} {end}{}", because(error.as_deref().and_then(|error| error.lines().next())))
        }
        other => other.name().into(),
    }
}

fn delivery(event: &Event) -> String {
    match event {
        Event::GateRequested { model, challenger, holdout } => {
            format!("{model} version {challenger} is to be judged on {}", span(*holdout))
        }
        Event::GateDecided { model, challenger, champion, verdict, challenger_figure, champion_figure, why } => {
            let mut figures = challenger_figure.map_or(String::new(), |figure| format!(" with {}", number(figure)));
            if let (Some(champion), Some(figure)) = (champion, champion_figure) {
                figures.push_str(&format!(" against {} of version {champion}", number(*figure)));
            }
            format!("the gate said {} to {model} version {challenger}{figures}: {why}", verdict.word())
        }
        Event::RolloutAdvanced { model, version, stage } => format!("{model} version {version} goes on to the stage {stage}"),
        Event::RolloutAborted { model, version, why } => format!("the rollout of {model} version {version} was given up: {why}"),
        Event::ChampionPromoted { model, version, previous, by, why } => {
            let instead = previous.map_or(String::new(), |previous| format!(" in place of version {previous}"));
            format!("{model} version {version} became champion{instead}, by {by}: {why}")
        }
        Event::ShadowServed { model, version, answered, failed } => {
            format!("{model} version {version} answered {} in the shadow, {failed} failed", counted(*answered, "request"))
        }
        Event::WorkerCrashed { model, version, why } => format!("a worker of {model} version {version} died and is started again: {why}"),
        other => other.name().into(),
    }
}

fn monitoring(event: &Event) -> String {
    match event {
        Event::MonitorStarted { model, version, reference } => {
            format!("{model} version {version} is watched from now on, against {reference}")
        }
        Event::WindowClosed { model, version, kind, range, whole } => {
            let part = if *whole { "" } else { ", which it did not serve whole" };
            format!("the {} window {} of {model} version {version} closed{part}", kind.word(), span(*range))
        }
        Event::WindowJudged { model, version, kind, range, verdict, metric, threshold, why, .. } => {
            let figure = match (kind, metric, threshold) {
                (WindowKind::Performance, Some(metric), Some(threshold)) => {
                    format!(" ({} where {} is allowed)", number(*metric), number(*threshold))
                }
                (WindowKind::Performance, Some(metric), None) => format!(" ({})", number(*metric)),
                _ => String::new(),
            };
            format!("the {} window {} of {model} version {version} was judged {}{figure}: {why}", kind.word(), span(*range), verdict.word())
        }
        Event::WindowAmended { model, version, kind, range, late, verdict, why } => {
            let rows = counted(*late, "late row");
            format!(
                "{rows} amended the {} window {} of {model} version {version}, now {}: {why}",
                kind.word(),
                span(*range),
                verdict.word()
            )
        }
        Event::DriftFound { model, version, range, features } => {
            format!("{} moved beyond every reference window in {}, under {model} version {version}", features.join(", "), span(*range))
        }
        Event::IncidentOpened { incident, model, version, why } => {
            format!("incident {incident} was opened over {model} version {version}: {why}")
        }
        Event::AlertRaised { topic, title, .. } => format!("people were told ({topic}): {title}"),
        Event::RetrainRequested { incident, pipeline, pipeline_run, auto, why, .. } => {
            let by = if *auto { "" } else { ", by a person" };
            format!("incident {incident} asked for a retraining ({pipeline}, pipeline run {pipeline_run}){by}: {why}")
        }
        Event::RetrainUnhelpful { pipeline_run, in_a_row, why, .. } => {
            format!("the retraining {pipeline_run} did not help ({in_a_row} in a row): {why}")
        }
        Event::IncidentResolved { incident, why, .. } => format!("incident {incident} is resolved: {why}"),
        Event::IncidentEscalated { incident, why, .. } => format!("incident {incident} was escalated to people: {why}"),
        other => other.name().into(),
    }
}

fn because(why: Option<&str>) -> String {
    why.map_or(String::new(), |why| format!(": {why}"))
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Three decimals, without the zeros at their end.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// An instant; midnight is the day alone.
fn when(at: Timestamp) -> String {
    let text = at.to_string();
    text.strip_suffix("T00:00:00Z").unwrap_or(&text).into()
}

fn span(range: Range) -> String {
    format!("{} to {}", when(range.from), when(range.to))
}
