//! One reader of the log: a reaction or a worker with its cursor.

use crate::{Reaction, Worker};
use domain::{Actor, Batch, Fault, Recorded};
use ports::{CommitError, MetadataStore, decide};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Events read at once.
const PAGE: usize = 256;
/// Uninteresting events passed before the cursor is written without a batch.
const LAZY: u64 = 1000;
/// How often a fault is tried again, with waits that double from 50 ms to 30 s.
const ATTEMPTS: u32 = 10;

pub(crate) enum Kind {
    Reaction(Reaction),
    Worker(Arc<dyn Worker>),
}

impl Kind {
    pub(crate) fn name(&self) -> &str {
        match self {
            Kind::Reaction(reaction) => reaction.name,
            Kind::Worker(worker) => worker.name(),
        }
    }
}

/// What became of an event.
enum Outcome {
    /// Dealt with, and the cursor stands at it.
    Committed,
    /// Nothing to do for it.
    Nothing,
    /// The reactor stops before it was dealt with: it comes again after a restart.
    Stopped,
}

pub(crate) struct Reader {
    pub(crate) store: Arc<dyn MetadataStore>,
    pub(crate) kind: Kind,
    pub(crate) progress: watch::Sender<u64>,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Reader {
    pub(crate) async fn run(self, mut at: u64) {
        let mut written = at;
        let mut head = self.store.head();
        let mut stopping = self.stopping.clone();
        loop {
            match self.store.events(at, PAGE) {
                Err(fault) => {
                    tracing::error!(reader = self.kind.name(), %fault, "the event log cannot be read");
                    if self.pause(&mut stopping, 5).await {
                        return;
                    }
                    continue;
                }
                Ok(page) => {
                    for event in page {
                        if *stopping.borrow() {
                            return self.write_cursor(at, written).await;
                        }
                        match self.deal_with(&event, &mut stopping).await {
                            Outcome::Committed => written = event.seq,
                            Outcome::Nothing => {}
                            Outcome::Stopped => return self.write_cursor(at, written).await,
                        }
                        at = event.seq;
                        self.progress.send_replace(at);
                        if at - written >= LAZY {
                            self.write_cursor(at, written).await;
                            written = at;
                        }
                    }
                }
            }
            tokio::select! {
                open = beyond(&mut head, at) => if !open { return },
                _ = stop_asked(&mut stopping) => return self.write_cursor(at, written).await,
            }
        }
    }

    async fn deal_with(&self, event: &Recorded, stopping: &mut watch::Receiver<bool>) -> Outcome {
        for attempt in 0..ATTEMPTS {
            match self.attempt(event).await {
                Ok(true) => return Outcome::Committed,
                Ok(false) => return Outcome::Nothing,
                Err(fault) => {
                    tracing::error!(reader = self.kind.name(), seq = event.seq, attempt, %fault, "will try again");
                    if self.pause(stopping, attempt).await {
                        return Outcome::Stopped;
                    }
                }
            }
        }
        tracing::error!(reader = self.kind.name(), seq = event.seq, "given up: the event is passed over");
        Outcome::Nothing
    }

    /// Whether a cursor was committed at this event.
    async fn attempt(&self, event: &Recorded) -> Result<bool, Fault> {
        match &self.kind {
            Kind::Reaction(reaction) => self.react(reaction, event).await,
            Kind::Worker(worker) if worker.wants(&event.event) => {
                worker.work(event).await?;
                self.commit_cursor(event.seq).await?;
                Ok(true)
            }
            Kind::Worker(_) => Ok(false),
        }
    }

    async fn react(&self, reaction: &Reaction, event: &Recorded) -> Result<bool, Fault> {
        let outcome = decide(&*self.store, |world| {
            let mut batch = (reaction.react)(world, event)?;
            let wrote = !batch.is_empty();
            if wrote {
                batch.cursor = Some((reaction.name.into(), event.seq));
            }
            Ok((batch, wrote))
        });
        outcome.await.map_err(|e| as_fault(reaction.name, e))
    }

    async fn commit_cursor(&self, seq: u64) -> Result<(), Fault> {
        let mut batch = Batch::new(Actor::System(self.kind.name().into()), domain::Timestamp::from_ms(0));
        batch.cursor = Some((self.kind.name().into(), seq));
        self.store.commit(batch).await.map(|_| ()).map_err(|e| as_fault(self.kind.name(), e))
    }

    async fn write_cursor(&self, at: u64, written: u64) {
        if at > written
            && let Err(fault) = self.commit_cursor(at).await
        {
            tracing::warn!(reader = self.kind.name(), %fault, "cursor not written; some events will be looked at again");
        }
    }

    /// Waits before another attempt; true if the reactor stops meanwhile.
    async fn pause(&self, stopping: &mut watch::Receiver<bool>, attempt: u32) -> bool {
        let wait = Duration::from_millis((50u64 << attempt.min(10)).min(30_000));
        tokio::select! {
            _ = tokio::time::sleep(wait) => false,
            _ = stop_asked(stopping) => true,
        }
    }
}

/// Waits until the log goes beyond `at`; false if it was closed.
async fn beyond(head: &mut watch::Receiver<u64>, at: u64) -> bool {
    head.wait_for(|head| *head > at).await.is_ok()
}

/// Waits until the reactor stops; it has also stopped when it is gone.
async fn stop_asked(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn as_fault(reader: &str, error: CommitError) -> Fault {
    match error {
        CommitError::Fault(fault) => fault,
        other => Fault::because(format!("committing what {reader} decided"), other),
    }
}
