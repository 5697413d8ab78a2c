//! The one thread that writes, and its group commit.

use crate::OpenError;
use crate::fault::Doing;
use crate::migrate::migrate;
use crate::read::run;
use crate::stretch::Growth;
use crate::tail::Tail;
use crate::upkeep::count_unindexed;
use domain::{Batch, Fault, RunId};
use ports::{CommitError, Committed, RunLog};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Requests that share one commit at most: bounds how long the first of them waits.
const GROUP: usize = 512;

/// Groups after which a little upkeep is done although requests wait.
const BUSY: usize = 16;

/// Interned words that are remembered; beyond it the memory starts afresh.
const WORDS: usize = 50_000;

/// A request to the writer.
pub(crate) struct Job {
    pub work: Work,
    pub reply: oneshot::Sender<Result<Committed, CommitError>>,
}

/// What is to be written.
pub(crate) enum Work {
    Commit(Batch),
    Log(RunId, RunLog),
    /// Changes the connection's settings.
    #[cfg(test)]
    Pragma(String),
}

/// The writing connection.
pub(crate) struct Writer {
    pub(crate) conn: Connection,
    /// Numbers of words that are certainly in the database or in the open transaction.
    pub(crate) words: HashMap<String, i64>,
    /// About how many runs wait to be indexed.
    pub(crate) unindexed: usize,
    /// Once begun, indexing goes on until nearly none waits.
    pub(crate) is_indexing: bool,
    /// The last upkeep did not work, and that was said.
    pub(crate) is_held_up: bool,
    /// Something may wait to be put together or to be deleted.
    pub(crate) may_tidy: bool,
    /// Histories that are growing, by run and key.
    pub(crate) growth: HashMap<(i64, i64), Growth>,
    /// Commits wait for the disk.
    is_synchronised: bool,
    tail: Arc<Tail>,
    head: watch::Sender<u64>,
}

/// The counters as of the open transaction.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    pub revision: u64,
    pub seq: u64,
}

impl Writer {
    /// Opens and migrates; also gives the end of the log and its head.
    pub(crate) fn open(path: &Path) -> Result<(Self, Arc<Tail>, watch::Receiver<u64>), OpenError> {
        let mut conn = Connection::open(path).doing(&format!("opening {}", path.display()))?;
        conn.busy_timeout(Duration::from_secs(10)).doing("setting the time-out")?;
        conn.set_prepared_statement_cache_capacity(64);
        conn.pragma_update(None, "journal_mode", "WAL").doing("switching to WAL")?;
        conn.pragma_update(None, "synchronous", "FULL").doing("switching to full synchronisation")?;
        // Keys by content hash come to any page of their index; in KiB.
        conn.pragma_update(None, "cache_size", -16 << 10).doing("setting the size of the cache")?;
        // After a burst the log file shrinks to this again.
        conn.pragma_update(None, "journal_size_limit", 64 << 20).doing("limiting the log file")?;
        migrate(&mut conn)?;
        let unindexed = count_unindexed(&conn)?;
        let seq = counters(&conn)?.seq;
        let (head, receiver) = watch::channel(seq);
        let tail = Arc::new(Tail::after(seq));
        let writer = Writer {
            conn,
            words: HashMap::new(),
            unindexed,
            is_indexing: false,
            is_held_up: false,
            may_tidy: true,
            growth: HashMap::new(),
            is_synchronised: true,
            tail: tail.clone(),
            head,
        };
        Ok((writer, tail, receiver))
    }

    /// Serves requests until every sender is gone.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut groups: usize = 0;
        while let Some(first) = self.next(&mut queue) {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = queue.try_recv()
            {
                group.push(next);
            }
            self.serve(group);
            // Upkeep comes to its turn also where requests never cease.
            groups += 1;
            if groups.is_multiple_of(BUSY) {
                self.tidy();
            }
        }
    }

    /// The next request; until it comes there is time for upkeep.
    fn next(&mut self, queue: &mut mpsc::Receiver<Job>) -> Option<Job> {
        loop {
            match queue.try_recv() {
                Ok(job) => return Some(job),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) if self.tidy() => {}
                Err(mpsc::error::TryRecvError::Empty) => return queue.blocking_recv(),
            }
        }
    }

    /// Commits a group and answers. If the group as a whole does not go through (the disk is full), each request is tried
    /// alone, so that a large one cannot take small ones down with it.
    fn serve(&mut self, group: Vec<Job>) {
        let outcomes = match self.transact(&group) {
            Ok(outcomes) => outcomes,
            Err(fault) if group.len() == 1 => vec![Err(fault.into())],
            Err(_) => group.iter().flat_map(|job| self.alone(job)).collect(),
        };
        let mut answers = Vec::with_capacity(group.len());
        let mut seq = *self.head.borrow();
        for (job, outcome) in group.into_iter().zip(outcomes) {
            if let (Work::Commit(batch), Ok(committed)) = (job.work, &outcome) {
                seq = committed.last;
                self.tail.extend(batch, *committed);
            }
            answers.push((job.reply, outcome));
        }
        // Before the answers, so that whoever has one can count on the head.
        self.head.send_if_modified(|head| std::mem::replace(head, seq) != seq);
        for (reply, outcome) in answers {
            // Whoever asked may have gone; the work is done all the same.
            let _ = reply.send(outcome);
        }
    }

    fn alone(&mut self, job: &Job) -> Vec<Result<Committed, CommitError>> {
        self.transact(std::slice::from_ref(job)).unwrap_or_else(|fault| vec![Err(fault.into())])
    }

    /// One transaction, as durable as the most careful of its jobs asks for: an answer a job, or nothing written at all.
    fn transact(&mut self, jobs: &[Job]) -> Result<Vec<Result<Committed, CommitError>>, Fault> {
        self.synchronise(!jobs.iter().all(|job| matches!(&job.work, Work::Commit(batch) if batch.may_be_lost)))?;
        run(&self.conn, "BEGIN IMMEDIATE").doing("beginning a transaction")?;
        let outcome = self.try_all(jobs).and_then(|outcomes| {
            run(&self.conn, "COMMIT").doing("committing")?;
            Ok(outcomes)
        });
        if outcome.is_err() {
            self.forget();
            if !self.conn.is_autocommit() {
                run(&self.conn, "ROLLBACK").doing("rolling back")?;
            }
        }
        outcome
    }

    /// Whether the next commit waits for the disk. With NORMAL the log file is written and not synchronised; the next commit with FULL
    /// synchronises all of it. Parsed each time: SQLite changes the setting when it parses.
    fn synchronise(&mut self, fully: bool) -> Result<(), Fault> {
        if self.is_synchronised != fully {
            self.conn
                .execute_batch(if fully { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })
                .doing("setting how durable a commit is")?;
            self.is_synchronised = fully;
        }
        Ok(())
    }

    fn try_all(&mut self, jobs: &[Job]) -> Result<Vec<Result<Committed, CommitError>>, Fault> {
        let mut counters = counters(&self.conn)?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            let outcome = self.try_one(&job.work, counters)?;
            if let Ok(committed) = &outcome {
                counters = Counters { revision: committed.revision, seq: committed.last };
            }
            outcomes.push(outcome);
        }
        let mut update = self.conn.prepare_cached("UPDATE store SET revision = ?1").doing("counting the commits")?;
        update.execute(params![counters.revision as i64]).doing("counting the commits")?;
        Ok(outcomes)
    }

    /// One request in its savepoint. The outer error means that the whole transaction is lost.
    fn try_one(&mut self, work: &Work, before: Counters) -> Result<Result<Committed, CommitError>, Fault> {
        #[cfg(test)]
        if let Work::Pragma(sql) = work {
            self.conn.execute_batch(sql).doing("changing a setting")?;
            return Ok(Ok(Committed { first: before.seq + 1, last: before.seq, revision: before.revision }));
        }
        run(&self.conn, "SAVEPOINT job").doing("setting a savepoint")?;
        let outcome = self.apply(work, Counters { revision: before.revision + 1, seq: before.seq });
        match outcome {
            Ok(_) => run(&self.conn, "RELEASE job").doing("releasing a savepoint")?,
            Err(CommitError::Fault(fault)) if self.conn.is_autocommit() => return Err(fault),
            Err(_) => {
                self.forget();
                self.conn.execute_batch("ROLLBACK TO job; RELEASE job").doing("going back to a savepoint")?;
            }
        }
        Ok(outcome)
    }

    /// What is remembered may be about what is being rolled back.
    fn forget(&mut self) {
        self.words.clear();
        self.growth.clear();
    }

    /// The number of a word, interned if it is new.
    pub(crate) fn word(&mut self, text: &str) -> Result<i64, Fault> {
        if let Some(num) = self.words.get(text) {
            return Ok(*num);
        }
        let sql = "INSERT INTO word (text) VALUES (?1) ON CONFLICT (text) DO UPDATE SET text = text RETURNING num";
        let mut insert = self.conn.prepare_cached(sql).doing("interning a word")?;
        let num = insert.query_row([text], |row| row.get(0)).doing("interning a word")?;
        if self.words.len() >= WORDS {
            self.words.clear();
        }
        self.words.insert(text.to_owned(), num);
        Ok(num)
    }
}

fn counters(conn: &Connection) -> Result<Counters, Fault> {
    let sql = "SELECT revision, (SELECT coalesce(max(seq), 0) FROM event) FROM store";
    let mut query = conn.prepare_cached(sql).doing("reading the counters")?;
    let (revision, seq) = query.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).doing("reading the counters")?;
    Ok(Counters { revision: revision as u64, seq: seq as u64 })
}
