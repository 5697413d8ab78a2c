//! The newest events, in memory: every reader of the log wants them, at every commit.

use domain::{Batch, Recorded};
use parking_lot::RwLock;
use ports::Committed;
use std::collections::VecDeque;

/// Events that are kept; older ones are read from the database.
const EVENTS: usize = 1024;

/// The end of the log.
pub(crate) struct Tail(RwLock<Inner>);

struct Inner {
    /// Without a gap, up to the event before `next`.
    events: VecDeque<Recorded>,
    /// The number that the next event gets.
    next: u64,
}

impl Tail {
    /// Of a log whose last event is this one; holds nothing yet.
    pub(crate) fn after(head: u64) -> Self {
        Tail(RwLock::new(Inner { events: VecDeque::new(), next: head + 1 }))
    }

    /// Adds what was committed, in the order of the commits.
    pub(crate) fn extend(&self, batch: Batch, committed: Committed) {
        if batch.events.is_empty() {
            return;
        }
        let Batch { at, actor, cause, thread, events, .. } = batch;
        let mut inner = self.0.write();
        for (seq, event) in (committed.first..).zip(events) {
            inner.events.push_back(Recorded { seq, at, actor: actor.clone(), cause, thread: thread.clone(), event });
        }
        inner.next = committed.last + 1;
        let surplus = inner.events.len().saturating_sub(EVENTS);
        inner.events.drain(..surplus);
    }

    /// Events after `after`, oldest first; `None` if some of them are older than what is kept.
    pub(crate) fn events(&self, after: u64, limit: usize) -> Option<Vec<Recorded>> {
        let inner = self.0.read();
        let oldest = inner.next - inner.events.len() as u64;
        let known = after.saturating_add(1).checked_sub(oldest)?;
        Some(inner.events.iter().skip(usize::try_from(known).unwrap_or(usize::MAX)).take(limit).cloned().collect())
    }
}
