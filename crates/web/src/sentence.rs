//! Every event as one sentence with links.

use crate::format::{counted, range, time};
use crate::link;
use domain::entity::{RunState, RunStatus, StepState, TriggerKind};
use domain::{Event, IncidentId, ModelName, PipelineRunId, RunId, Verdict, VersionNumber};
use serde::Serialize;

/// A piece of a sentence: text, and where it leads if it is a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    pub text: String,
    pub href: Option<String>,
}

/// How an event is to be taken at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// Housekeeping.
    Quiet,
    /// Work going on.
    Plain,
    /// A turn for the better.
    Good,
    /// Something to look at.
    Warn,
    /// Harm.
    Bad,
}

/// How an event is to be taken at a glance.
pub fn tone(event: &Event) -> Tone {
    match event {
        Event::SegmentSealed { .. }
        | Event::TableWritten { .. }
        | Event::FeaturesMaterialized { .. }
        | Event::StepStarted { .. }
        | Event::WindowClosed { .. }
        | Event::GateRequested { .. }
        | Event::AlertRaised { .. } => Tone::Quiet,
        Event::ChampionPromoted { .. } | Event::IncidentResolved { .. } | Event::GateDecided { verdict: Verdict::Pass, .. } => Tone::Good,
        Event::WindowJudged { verdict: Verdict::Pass, .. } => Tone::Good,
        Event::DriftFound { .. }
        | Event::RetrainUnhelpful { .. }
        | Event::RolloutAborted { .. }
        | Event::WorkerCrashed { .. }
        | Event::GateDecided { .. }
        | Event::PipelineRunFinished { state: RunState::Failed, .. }
        | Event::StepFinished { state: StepState::Failed, .. }
        | Event::RunFinished { status: RunStatus::Failed, .. } => Tone::Warn,
        Event::WindowJudged { verdict: Verdict::Fail, kind: domain::entity::WindowKind::Input, .. } => Tone::Warn,
        Event::WindowJudged { verdict: Verdict::Fail, .. } | Event::IncidentOpened { .. } | Event::IncidentEscalated { .. } => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// The event in one sentence, without a full stop.
pub fn sentence(event: &Event) -> Vec<Piece> {
    match event.topic() {
        domain::Topic::Features => features(event),
        domain::Topic::Tracking => tracking(event),
        domain::Topic::Pipelines => pipelines(event),
        domain::Topic::Delivery | domain::Topic::Serving => delivery(event),
        domain::Topic::Monitoring => monitoring(event),
    }
    .0
}

#[derive(Default)]
struct Sentence(Vec<Piece>);

fn say(text: impl Into<String>) -> Sentence {
    Sentence::default().say(text)
}

impl Sentence {
    fn say(mut self, text: impl Into<String>) -> Self {
        self.0.push(Piece { text: text.into(), href: None });
        self
    }

    fn link(mut self, text: impl Into<String>, href: String) -> Self {
        self.0.push(Piece { text: text.into(), href: Some(href) });
        self
    }

    fn run(self, id: &RunId, name: &str) -> Self {
        let text = if name.is_empty() { id.as_str().chars().take(8).collect() } else { name.to_owned() };
        self.link(text, link::run(id))
    }

    fn version(self, model: &ModelName, number: VersionNumber) -> Self {
        self.link(format!("{model} version {number}"), link::version(model, number))
    }

    fn incident(self, id: &IncidentId) -> Self {
        self.link(id.as_str(), link::incident(id))
    }

    fn pipeline_run(self, id: &PipelineRunId) -> Self {
        self.link(id.as_str(), link::pipeline_run(id))
    }

    /// A reason after a colon, if there is one.
    fn because(self, why: Option<&str>) -> Self {
        match why.filter(|why| !why.is_empty()) {
            Some(why) => self.say(format!(": {why}")),
            None => self,
        }
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
            say("experiment ").link(name.as_str(), link::experiment(experiment.as_str())).say(" was created")
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
            match trigger {
                TriggerKind::Command => asked.say(" by a command"),
                TriggerKind::Api => asked.say(" over the API"),
                TriggerKind::Incident { incident } => asked.say(" by incident ").incident(incident),
            }
        }
        Event::PipelineCancelRequested { pipeline_run } => say("pipeline run ").pipeline_run(pipeline_run).say(" was asked to stop"),
        Event::StepStarted { pipeline_run, step, attempt, why } => {
            let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            say(format!("step {step} of ")).pipeline_run(pipeline_run).say(format!(" began{again}")).because(Some(why))
        }
        Event::StepFinished { pipeline_run, step, state, error, .. } => {
            let end = match state {
                StepState::Cached => "was taken from the cache",
                StepState::Succeeded => "succeeded",
                StepState::Failed => "failed",
                StepState::Skipped => "was skipped",
                StepState::Cancelled => "was cancelled",
                StepState::Waiting | StepState::Running => "goes on",
            };
            say(format!("step {step} of ")).pipeline_run(pipeline_run).say(format!(" {end}")).because(error.as_deref())
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
        other => say(other.name()),
    }
}

fn delivery(event: &Event) -> Sentence {
    match event {
        Event::GateRequested { model, challenger, holdout } => {
            say("the gate is to judge ").version(model, *challenger).say(format!(" on {}", range(*holdout)))
        }
        Event::GateDecided { model, challenger, verdict, why, .. } => {
            let did = match verdict {
                Verdict::Pass => "the gate passed ",
                Verdict::Fail => "the gate refused ",
                Verdict::Inconclusive => "the gate could not decide on ",
            };
            say(did).version(model, *challenger).because(Some(why))
        }
        Event::RolloutAdvanced { model, version, stage } => {
            Sentence::default().version(model, *version).say(format!(" went on to the {stage}"))
        }
        Event::RolloutAborted { model, version, why } => {
            say("the rollout of ").version(model, *version).say(" was given up").because(Some(why))
        }
        Event::ChampionPromoted { model, version, previous, by, why } => {
            let was = previous.map_or(String::new(), |previous| format!(" in place of version {previous}"));
            Sentence::default().version(model, *version).say(format!(" became champion{was}, by {by}")).because(Some(why))
        }
        Event::ShadowServed { model, version, answered, failed } => {
            let well = format!(" answered {} in the shadow, {failed} failed", counted(*answered, "request"));
            Sentence::default().version(model, *version).say(well)
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
        Event::WindowJudged { model, version, kind, range: of, verdict, why, .. } => {
            let what = format!("{} window {} of ", kind.word(), range(*of));
            say(what).version(model, *version).say(format!(" {}", judged(*verdict))).because(Some(why))
        }
        Event::WindowAmended { model, version, kind, range: of, late, verdict, why } => {
            let what = format!("{} came late to the {} window {} of ", counted(*late, "row"), kind.word(), range(*of));
            say(what).version(model, *version).say(format!(", which now {}", judged(*verdict))).because(Some(why))
        }
        Event::DriftFound { model, version, range: of, features } => {
            say(format!("{} drifted in the window {} of ", features.join(", "), range(*of))).version(model, *version)
        }
        Event::IncidentOpened { incident, why, .. } => say("incident ").incident(incident).say(" opened").because(Some(why)),
        Event::AlertRaised { topic, title, .. } => say(format!("an alert ({topic}) went out")).because(Some(title)),
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
