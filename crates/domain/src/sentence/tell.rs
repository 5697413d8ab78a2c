//! The words for each event.

use super::{Sentence, Thing, say};
use crate::entity::{RunState, StepState, TriggerKind, WindowKind};
use crate::{Event, Range, Timestamp, Topic, Verdict};

pub(super) fn tell(event: &Event) -> Sentence {
    match event.topic() {
        Topic::Features => features(event),
        Topic::Tracking => tracking(event),
        Topic::Pipelines => pipelines(event),
        Topic::Delivery | Topic::Serving => delivery(event),
        Topic::Monitoring => monitoring(event),
    }
}

fn features(event: &Event) -> Sentence {
    match event {
        Event::ProjectApplied { changes, .. } if changes.is_empty() => say("the project was applied: nothing changed"),
        Event::ProjectApplied { changes, .. } => {
            let shown = changes.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if changes.len() > 4 { format!(" and {} more", changes.len() - 4) } else { String::new() };
            say(format!("the project was applied: {shown}{more}"))
        }
        Event::FeatureViewVersioned { view, version, .. } => say(format!("feature view {view} got version {version}")),
        Event::SegmentSealed { stream, segment, rows, time: of, .. } => {
            say(format!("{} of {stream} were sealed as segment {segment}, up to {}", counted(*rows, "row"), time(of.to)))
        }
        Event::TableWritten { source, table_version, rows, .. } => {
            say(format!("{} went into the table of {source}, now at version {table_version}", counted(*rows, "row")))
        }
        Event::FeaturesMaterialized { view, rows } => say(format!("{} of {view} went into the online store", counted(*rows, "row"))),
        Event::TrainingSetRecorded { training_set, model, rows, cutoff, content } => {
            let what = format!("{}, none at or after {}, content {}", counted(*rows, "row"), time(*cutoff), content.short());
            say(format!("training set {training_set} for {model} was recorded: {what}"))
        }
        other => say(other.name()),
    }
}

fn tracking(event: &Event) -> Sentence {
    match event {
        Event::ExperimentCreated { experiment, name } => {
            say("experiment ").name(name.as_str(), Thing::Experiment(experiment.clone())).say(" was created")
        }
        Event::Imported { what } => say(format!("{what} was imported")),
        Event::RunStarted { run, name, pipeline_run, .. } => {
            let began = say("run ").run(run, name).say(" began");
            match pipeline_run {
                Some(id) => began.say(" in ").pipeline_run(id),
                None => began,
            }
        }
        Event::RunFinished { run, status } => say("run ").run(run, "").say(format!(" ended: {}", status.word().to_lowercase())),
        Event::ModelVersionRegistered { model, version, run, .. } => {
            let registered = Sentence::default().version(model, *version).say(" was registered");
            match run {
                Some(run) => registered.say(", from run ").run(run, ""),
                None => registered,
            }
        }
        Event::AliasSet { model, alias, version, previous } => {
            let was = previous.map_or(String::new(), |previous| format!(" (was version {previous})"));
            match version {
                Some(version) => say(format!("the alias {alias} was set by hand to ")).version(model, *version).say(was),
                None => say(format!("the alias {alias} of {model} was removed by hand{was}")),
            }
        }
        other => say(other.name()),
    }
}

fn pipelines(event: &Event) -> Sentence {
    match event {
        Event::PipelineRunRequested { pipeline_run, pipeline, version, trigger } => {
            let asked = say("pipeline run ").pipeline_run(pipeline_run).say(format!(" ({pipeline}, version {version}) was asked for"));
            asked_by(asked, trigger)
        }
        Event::TriggerSkipped { pipeline, trigger, why } => {
            asked_by(say(format!("{pipeline} was not started, though asked for")), trigger).because(Some(why))
        }
        Event::BackfillRequested { backfill, pipeline, from, to, runs } => {
            say(format!("backfill {backfill} asks for {} of {pipeline}, {} to {}", counted(*runs, "run"), time(*from), time(*to)))
        }
        Event::BackfillFinished { backfill, pipeline, succeeded, failed, cancelled } => {
            let end = if *cancelled { "was cancelled" } else { "ended" };
            say(format!("backfill {backfill} of {pipeline} {end}: {} succeeded, {failed} did not", counted(*succeeded, "run")))
        }
        Event::PipelineCancelRequested { pipeline_run } => say("pipeline run ").pipeline_run(pipeline_run).say(" was asked to stop"),
        Event::StepStarted { pipeline_run, step, attempt, why } => {
            let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            say(format!("step {step} of ")).pipeline_run(pipeline_run).say(format!(" began{again}")).because(Some(why))
        }
        Event::StepFinished { pipeline_run, step, state, error, why, .. } => {
            let end = match state {
                StepState::Cached => "was taken from the cache",
                StepState::Succeeded => "succeeded",
                StepState::Failed => "failed",
                StepState::Skipped => "was skipped",
                StepState::UpstreamFailed => "could not run",
                StepState::Cancelled => "was cancelled",
                StepState::Waiting | StepState::Running => "goes on",
            };
            let did_not_run = matches!(state, StepState::Skipped | StepState::UpstreamFailed);
            let why = error.as_deref().or(why.as_deref().filter(|_| did_not_run));
            say(format!("step {step} of ")).pipeline_run(pipeline_run).say(format!(" {end}")).because(why)
        }
        Event::PipelineRunFinished { pipeline_run, state, error, .. } => {
            let end = match state {
                RunState::Succeeded => "succeeded",
                RunState::Failed => "failed",
                RunState::Cancelled => "was cancelled",
                RunState::Queued | RunState::Running => "goes on",
            };
            say("pipeline run ").pipeline_run(pipeline_run).say(format!(" {end}")).because(error.as_deref())
        }
        Event::CommitArrived { pipeline, event, reference, commit, by, .. } => {
            let commit = commit.as_ref().map_or(String::new(), |commit| format!(" at {}", commit.get(..7).unwrap_or(commit)));
            say(format!("{by}: {} {reference}{commit} is for pipeline {pipeline}", event.word().replace('_', " ")))
        }
        other => say(other.name()),
    }
}

/// Who asked for a pipeline run.
fn asked_by(asked: Sentence, trigger: &TriggerKind) -> Sentence {
    match trigger {
        TriggerKind::Command => asked.say(" by a command"),
        TriggerKind::Api => asked.say(" over the API"),
        TriggerKind::Incident { incident } => asked.say(" by incident ").incident(incident),
        TriggerKind::Schedule { at } => asked.say(format!(" by its schedule for {}", time(*at))),
        TriggerKind::Git { by, .. } => {
            let (what, commit) = trigger.git_words().unwrap_or_default();
            asked.say(format!(" for {commit}, {what} by {by}"))
        }
        TriggerKind::Event { on, seq } => asked.say(format!(" by {on} (event {seq})")),
        TriggerKind::Step { pipeline_run, step } => asked.say(format!(" by step {step} of ")).pipeline_run(pipeline_run),
        TriggerKind::Backfill { backfill, at } => asked.say(format!(" by backfill {backfill} for {}", time(*at))),
    }
}

fn delivery(event: &Event) -> Sentence {
    match event {
        Event::GateRequested { model, challenger, holdout } => {
            say("the gate is to judge ").version(model, *challenger).say(format!(" on {}", range(*holdout)))
        }
        Event::GateDecided { model, challenger, champion, verdict, challenger_figure, champion_figure, why } => {
            let mut figures = challenger_figure.map_or(String::new(), |figure| format!(" with {}", number(figure)));
            if let (Some(champion), Some(figure)) = (champion, champion_figure) {
                figures.push_str(&format!(" against {} of version {champion}", number(*figure)));
            }
            let did = match verdict {
                Verdict::Pass => "the gate passed ",
                Verdict::Fail => "the gate refused ",
                Verdict::Inconclusive => "the gate could not decide on ",
            };
            say(did).version(model, *challenger).say(figures).because(Some(why))
        }
        Event::RolloutAdvanced { model, version, stage } => {
            Sentence::default().version(model, *version).say(format!(" went on to the stage {stage}"))
        }
        Event::RolloutAborted { model, version, why } => {
            say("the rollout of ").version(model, *version).say(" was given up").because(Some(why))
        }
        Event::RolloutPaused { model, version, why } => {
            say("the rollout of ").version(model, *version).say(" stands still").because(Some(why))
        }
        Event::RolloutResumed { model, version, by } => say("the rollout of ").version(model, *version).say(format!(" goes on, by {by}")),
        Event::ApprovalRequested { model, version, people, expires } => {
            let until = expires.map_or(String::new(), |expires| format!(", until {}", time(expires)));
            let people = if *people == 1 { "a person".to_owned() } else { format!("{people} people") };
            Sentence::default().version(model, *version).say(format!(" waits for {people}{until}"))
        }
        Event::ApprovalGiven { model, version, by, reason, given, people, overrides } => {
            let did = if *overrides { " set the gate aside for " } else { " approved of " };
            let count = if *people > 1 { format!(" ({given} of {people})") } else { String::new() };
            say(format!("{by}{did}")).version(model, *version).say(count).because(Some(reason))
        }
        Event::ApprovalRejected { model, version, by, reason } => {
            say(format!("{by} rejected ")).version(model, *version).because(Some(reason))
        }
        Event::ApprovalExpired { model, version } => {
            Sentence::default().version(model, *version).say(" waited too long for people and must be judged again")
        }
        Event::CanaryServed { model, version, weight, answered, failed, .. } => {
            let well = format!(" answered {} as a canary of {weight} %, {failed} failed", counted(*answered, "request"));
            Sentence::default().version(model, *version).say(well)
        }
        Event::CanaryLabelled { model, version, canary_rows, champion_loss, canary_loss, p, .. } => {
            let so_far =
                format!(" is off by {canary_loss:.4} against {champion_loss:.4} of the champion on {}", counted(*canary_rows, "label"));
            say("the canary ").version(model, *version).say(format!("{so_far} (p {p:.3})"))
        }
        Event::ChampionPromoted { model, version, previous, by, why } => {
            let was = previous.map_or(String::new(), |previous| format!(" in place of version {previous}"));
            Sentence::default().version(model, *version).say(format!(" became champion{was}, by {by}")).because(Some(why))
        }
        Event::ShadowServed { model, version, answered, failed } => {
            let well = format!(" answered {} in the shadow, {failed} failed", counted(*answered, "request"));
            Sentence::default().version(model, *version).say(well)
        }
        Event::EnvironmentLocked { model, version, lock, python, packages } => {
            let holds = format!(" is locked: {} for Python {python}, {}", counted(*packages, "package"), lock.short());
            say("the environment of ").version(model, *version).say(holds)
        }
        Event::EnvironmentRefused { model, version, why, .. } => {
            say("there is no environment for ").version(model, *version).because(Some(why))
        }
        Event::WorkerCrashed { model, version, why } => {
            say("a worker of ").version(model, *version).say(" died and is started again").because(Some(why))
        }
        other => say(other.name()),
    }
}

fn monitoring(event: &Event) -> Sentence {
    match event {
        Event::MonitorStarted { model, version, reference } => {
            Sentence::default().version(model, *version).say(format!(" is watched from now on, against {reference}"))
        }
        Event::WindowClosed { model, version, kind, range: of, whole } => {
            let short = if *whole { "" } else { ", cut short" };
            say(format!("the {} window {} of ", kind.word(), range(*of))).version(model, *version).say(format!(" closed{short}"))
        }
        Event::WindowJudged { model, version, kind, range: of, verdict, metric, threshold, why, .. } => {
            let figure = match (kind, metric, threshold) {
                (WindowKind::Performance, Some(metric), Some(threshold)) => {
                    format!(" with {} where {} is allowed", number(*metric), number(*threshold))
                }
                (WindowKind::Performance, Some(metric), None) => format!(" with {}", number(*metric)),
                _ => String::new(),
            };
            let what = format!("the {} window {} of ", kind.word(), range(*of));
            say(what).version(model, *version).say(format!(" {}{figure}", judged(*verdict))).because(Some(why))
        }
        Event::WindowAmended { model, version, kind, range: of, late, verdict, why } => {
            let what = format!("{} came late to the {} window {} of ", counted(*late, "row"), kind.word(), range(*of));
            say(what).version(model, *version).say(format!(", which now {}", judged(*verdict))).because(Some(why))
        }
        Event::DriftFound { model, version, range: of, features } => {
            say(format!("{} moved beyond every reference window in {}, under ", features.join(", "), range(*of))).version(model, *version)
        }
        Event::IncidentOpened { incident, model, version, why } => {
            say("incident ").incident(incident).say(" opened over ").version(model, *version).because(Some(why))
        }
        Event::AlertRaised { topic, title, .. } => say(format!("people were told ({topic})")).because(Some(title)),
        Event::RetrainRequested { incident, pipeline_run, auto, why, .. } => {
            let by = if *auto { " asks for a retraining, " } else { " is to be retrained by hand, " };
            say("incident ").incident(incident).say(by).pipeline_run(pipeline_run).because(Some(why))
        }
        Event::RetrainUnhelpful { pipeline_run, in_a_row, why, .. } => {
            let so_far = format!(" did not help ({in_a_row} in a row)");
            say("the retraining ").pipeline_run(pipeline_run).say(so_far).because(Some(why))
        }
        Event::IncidentResolved { incident, why, .. } => say("incident ").incident(incident).say(" is resolved").because(Some(why)),
        Event::IncidentEscalated { incident, why, .. } => {
            say("incident ").incident(incident).say(" was handed to people").because(Some(why))
        }
        other => say(other.name()),
    }
}

fn judged(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "passes",
        Verdict::Fail => "fails",
        Verdict::Inconclusive => "is inconclusive",
    }
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
fn time(at: Timestamp) -> String {
    let text = at.to_string();
    text.strip_suffix("T00:00:00Z").unwrap_or(&text).into()
}

fn range(range: Range) -> String {
    format!("{} to {}", time(range.from), time(range.to))
}
