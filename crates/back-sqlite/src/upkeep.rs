//! What the writer does when nobody waits for it: it indexes texts, puts long histories together and deletes the points of
//! purged runs, a little at a time.

use crate::fault::Doing;
use crate::whole::{Parts, Whole, load};
use crate::writer::Writer;
use domain::Fault;
use ports::text;
use rusqlite::params;

const WHAT: &str = "tidying up";

/// Runs with new words that may wait: a search reads so many one by one without being slow, and indexing many at once is cheap.
const WAITING: usize = 512;

/// Runs indexed and points deleted in one go: bounds how long a request that comes meanwhile waits.
const RUNS: usize = 64;
const POINTS: usize = 5000;
const STRETCHES: usize = 20;

impl Writer {
    /// A little upkeep in a transaction of its own; says whether there was any.
    pub(crate) fn tidy(&mut self) -> bool {
        match self.try_tidy() {
            Ok(done) => {
                self.is_held_up = false;
                done
            }
            Err(fault) => {
                // The disk is full, say: what was asked for goes on, and this is tried again after the next request. It is said once.
                if !std::mem::replace(&mut self.is_held_up, true) {
                    tracing::warn!(%fault, "the upkeep of the metadata store has to wait");
                }
                false
            }
        }
    }

    fn try_tidy(&mut self) -> Result<bool, Fault> {
        let min = "SELECT min(run) FROM purged";
        let purged =
            if self.may_tidy { self.conn.prepare_cached(min).doing(WHAT)?.query_row([], |row| row.get(0)).doing(WHAT)? } else { None };
        self.is_indexing = self.unindexed >= if self.is_indexing { RUNS } else { WAITING };
        if let Some(run) = purged {
            self.delete_points(run)?;
        } else if self.is_indexing {
            self.index()?;
        }
        if purged.is_some() || self.is_indexing {
            return Ok(true);
        }
        self.may_tidy = self.may_tidy && self.seal()?;
        Ok(self.may_tidy)
    }

    fn delete_points(&mut self, run: i64) -> Result<(), Fault> {
        let transaction = self.conn.transaction().doing(WHAT)?;
        let sql = "DELETE FROM stretch WHERE num IN (SELECT num FROM stretch WHERE run = ?1 LIMIT ?2)";
        let deleted = transaction.prepare_cached(sql).doing(WHAT)?.execute(params![run, STRETCHES as i64]).doing(WHAT)?;
        if deleted == STRETCHES {
            return transaction.commit().doing(WHAT);
        }
        let sql = "DELETE FROM point WHERE run = ?1 AND (key, time, step, bits) IN
                   (SELECT key, time, step, bits FROM point WHERE run = ?1 LIMIT ?2)";
        let deleted = transaction.prepare_cached(sql).doing(WHAT)?.execute(params![run, POINTS as i64]).doing(WHAT)?;
        if deleted < POINTS {
            transaction.execute("DELETE FROM unsealed WHERE run = ?1", [run]).doing(WHAT)?;
            transaction.execute("DELETE FROM purged WHERE run = ?1", [run]).doing(WHAT)?;
        }
        transaction.commit().doing(WHAT)
    }

    fn index(&mut self) -> Result<(), Fault> {
        let transaction = self.conn.transaction().doing(WHAT)?;
        let mut query = transaction.prepare_cached("SELECT run FROM unindexed ORDER BY run LIMIT ?1").doing(WHAT)?;
        let runs: Vec<i64> = query.query_map([RUNS as i64], |row| row.get(0)).and_then(Iterator::collect).doing(WHAT)?;
        drop(query);
        for Whole { num, run, .. } in load(&transaction, &runs, Parts::Texts)? {
            let words: Vec<String> = text::fields(&run).iter().flat_map(|(_, text)| text::words(text)).collect();
            let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO run_text (rowid, words) VALUES (?1, ?2)").doing(WHAT)?;
            insert.execute(params![num, words.join(" ")]).doing(WHAT)?;
        }
        for run in &runs {
            transaction.prepare_cached("DELETE FROM unindexed WHERE run = ?1").doing(WHAT)?.execute([run]).doing(WHAT)?;
        }
        transaction.commit().doing(WHAT)?;
        // What was counted and then not committed is put right here.
        self.unindexed = if runs.len() < RUNS { 0 } else { self.unindexed.saturating_sub(RUNS) };
        Ok(())
    }

    /// Notes that a run's words have changed.
    pub(crate) fn unindex(&mut self, run: i64) -> Result<(), Fault> {
        let mut insert = self.conn.prepare_cached("INSERT OR IGNORE INTO unindexed (run) VALUES (?1)").doing("noting a text")?;
        self.unindexed += insert.execute([run]).doing("noting a text")?;
        Ok(())
    }
}

/// How many runs wait to be indexed.
pub(crate) fn count_unindexed(conn: &rusqlite::Connection) -> Result<usize, Fault> {
    let count: i64 = conn.query_row("SELECT count(*) FROM unindexed", [], |row| row.get(0)).doing("counting texts")?;
    Ok(count as usize)
}
