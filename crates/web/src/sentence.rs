//! Sentences of events with links.

use crate::link;
use domain::{Event, Thing};
use serde::Serialize;

/// A piece of a sentence: text, and where it leads if it is a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    pub text: String,
    pub href: Option<String>,
}

/// The event in one sentence, without a full stop.
pub fn sentence(event: &Event) -> Vec<Piece> {
    event.sentence().0.into_iter().map(|piece| Piece { text: piece.text, href: piece.thing.as_ref().map(page) }).collect()
}

/// The page about a thing.
fn page(thing: &Thing) -> String {
    match thing {
        Thing::Experiment(id) => link::experiment(id.as_str()),
        Thing::Run(id) => link::run(id),
        Thing::ModelVersion(model, number) => link::version(model, *number),
        Thing::PipelineRun(id) => link::pipeline_run(id),
        Thing::Incident(id) => link::incident(id),
    }
}
