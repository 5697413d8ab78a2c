//! Lines of the river: one event each, in groups that belong together.

use crate::sentence::{Piece, sentence};
use crate::{format, link, log};
use domain::entity::{Incident, IncidentState};
use domain::{Recorded, Tone};
use serde::Serialize;

/// An event as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub seq: u64,
    pub at: String,
    pub topic: &'static str,
    pub tone: Tone,
    /// The event's name in the log.
    pub name: &'static str,
    pub pieces: Vec<Piece>,
    pub thread: Option<String>,
}

impl From<&Recorded> for Line {
    fn from(recorded: &Recorded) -> Self {
        Line {
            seq: recorded.seq,
            at: format::time(recorded.at),
            topic: log::word(recorded.event.topic()),
            tone: recorded.event.tone(),
            name: recorded.event.name(),
            pieces: sentence(&recorded.event),
            thread: recorded.thread.clone(),
        }
    }
}

/// What a group of lines belongs to.
#[derive(Debug, Serialize)]
pub(crate) struct Heading {
    /// `None`: to no incident and no request.
    pub thread: Option<String>,
    pub href: Option<String>,
    pub state: Option<&'static str>,
}

/// Events of one thread, newest first.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    pub heading: Heading,
    pub lines: Vec<Line>,
}

/// The heading of a thread; one that is an incident leads to its page.
pub(crate) fn heading(thread: Option<&str>, incidents: &[Incident]) -> Heading {
    let incident = incidents.iter().find(|incident| Some(incident.id.as_str()) == thread);
    Heading {
        thread: thread.map(str::to_owned),
        href: incident.map(|incident| link::incident(&incident.id)),
        state: incident.map(|incident| state(incident.state)),
    }
}

/// The word for an incident's state.
pub(crate) fn state(state: IncidentState) -> &'static str {
    match state {
        IncidentState::Open => "open",
        IncidentState::Resolved => "resolved",
        IncidentState::Escalated => "escalated",
    }
}

/// Groups events, newest first. A thread is one group, at the place of its newest event; events without a thread stay with their neighbours.
pub(crate) fn group(events: &[Recorded], incidents: &[Incident]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for recorded in events {
        let found = match &recorded.thread {
            Some(_) => groups.iter_mut().find(|group| group.heading.thread == recorded.thread),
            None => groups.last_mut().filter(|group| group.heading.thread.is_none()),
        };
        match found {
            Some(group) => group.lines.push(recorded.into()),
            None => groups.push(Group { heading: heading(recorded.thread.as_deref(), incidents), lines: vec![recorded.into()] }),
        }
    }
    groups
}
