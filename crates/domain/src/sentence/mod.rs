//! Every event as one sentence, in pieces that name the things it is about; the command line joins them, pages make links of them.

mod tell;
mod tone;

pub use tone::Tone;

use crate::{Event, ExperimentId, IncidentId, ModelName, PipelineRunId, RunId, VersionNumber};
use std::fmt;

/// What a piece of a sentence names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    Experiment(ExperimentId),
    Run(RunId),
    ModelVersion(ModelName, VersionNumber),
    PipelineRun(PipelineRunId),
    Incident(IncidentId),
}

/// Words, and the thing that they name, if they name one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub thing: Option<Thing>,
}

/// One sentence: lower case, no full stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sentence(pub Vec<Piece>);

impl Event {
    /// What happened, in words.
    ///
    /// ```
    /// use domain::{Event, ModelName, VersionNumber};
    /// let event = Event::RolloutAdvanced { model: ModelName::new("demand"), version: VersionNumber(2), stage: "shadow".into() };
    /// assert_eq!(event.sentence().to_string(), "demand version 2 went on to the stage shadow");
    /// ```
    pub fn sentence(&self) -> Sentence {
        tell::tell(self)
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|piece| f.write_str(&piece.text))
    }
}

/// A sentence that begins with these words.
fn say(text: impl Into<String>) -> Sentence {
    Sentence::default().say(text)
}

impl Sentence {
    fn say(mut self, text: impl Into<String>) -> Self {
        self.0.push(Piece { text: text.into(), thing: None });
        self
    }

    fn name(mut self, text: impl Into<String>, thing: Thing) -> Self {
        self.0.push(Piece { text: text.into(), thing: Some(thing) });
        self
    }

    fn run(self, id: &RunId, name: &str) -> Self {
        let text = if name.is_empty() { id.as_str().chars().take(8).collect() } else { name.to_owned() };
        self.name(text, Thing::Run(id.clone()))
    }

    fn version(self, model: &ModelName, number: VersionNumber) -> Self {
        self.name(format!("{model} version {number}"), Thing::ModelVersion(model.clone(), number))
    }

    fn incident(self, id: &IncidentId) -> Self {
        self.name(id.as_str(), Thing::Incident(id.clone()))
    }

    fn pipeline_run(self, id: &PipelineRunId) -> Self {
        self.name(id.as_str(), Thing::PipelineRun(id.clone()))
    }

    /// The first line of a reason after a colon, if there is one.
    fn because(self, why: Option<&str>) -> Self {
        match why.and_then(|why| why.lines().next()).filter(|why| !why.is_empty()) {
            Some(why) => self.say(format!(": {why}")),
            None => self,
        }
    }
}
