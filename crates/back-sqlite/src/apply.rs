//! What a batch does to the tables.

use crate::fault::Doing;
use crate::writer::{Counters, Work, Writer};
use domain::{Batch, Collection, Expect, Fault, Put};
use ports::{CommitError, Committed};
use rusqlite::{OptionalExtension, params};

/// The scope under which a whole collection is listed; no scope contains a slash.
pub(crate) const WHOLE: &str = "/";

impl Writer {
    /// Writes one request into the open savepoint; `now` has the revision that it gets and the last event before it.
    pub(crate) fn apply(&mut self, work: &Work, now: Counters) -> Result<Committed, CommitError> {
        match work {
            Work::Commit(batch) => return self.apply_batch(batch, now),
            Work::Log(run, what) => self.log(run, what, now.revision)?,
            #[cfg(test)]
            Work::Pragma(_) => {}
        }
        Ok(Committed { first: now.seq + 1, last: now.seq, revision: now.revision })
    }

    fn apply_batch(&mut self, batch: &Batch, now: Counters) -> Result<Committed, CommitError> {
        batch.expect.iter().try_for_each(|expect| self.check(expect))?;
        for write in &batch.run_writes {
            self.write_run(write, now.revision, batch.at)?;
        }
        for put in &batch.puts {
            self.put(put, now.revision)?;
        }
        let mut listings: Vec<_> = batch.puts.iter().flat_map(listings).collect();
        listings.sort_unstable();
        listings.dedup();
        for (collection, scope) in listings {
            self.touch(collection, scope, now.revision)?;
        }
        let last = self.append_events(batch, now.seq)?;
        if let Some((reader, seq)) = &batch.cursor {
            let sql = "INSERT INTO cursor (name, seq) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq";
            let mut upsert = self.conn.prepare_cached(sql).doing("writing a cursor")?;
            upsert.execute(params![reader, *seq as i64]).doing("writing a cursor")?;
        }
        Ok(Committed { first: now.seq + 1, last, revision: now.revision })
    }

    fn check(&self, expect: &Expect) -> Result<(), CommitError> {
        let (found, expected, what) = match expect {
            Expect::Document { collection, key, revision } => {
                let found = match collection {
                    Collection::Runs => self.revision("SELECT revision FROM run WHERE id = ?1", &[key])?,
                    Collection::Experiments => self.revision("SELECT revision FROM experiment WHERE id = ?1", &[key])?,
                    _ => self.revision("SELECT revision FROM document WHERE collection = ?1 AND key = ?2", &[collection.word(), key])?,
                };
                (found, revision, format!("{} `{key}`", collection.word()))
            }
            Expect::Listing { collection, scope, revision } => {
                let scope = scope.as_deref().unwrap_or(WHOLE);
                let sql = "SELECT revision FROM listing WHERE collection = ?1 AND scope = ?2";
                (self.revision(sql, &[collection.word(), scope])?, revision, format!("the list of {} {scope}", collection.word()))
            }
        };
        if found == *expected { Ok(()) } else { Err(CommitError::Conflict(what)) }
    }

    fn revision(&self, sql: &str, key: &[&str]) -> Result<u64, Fault> {
        let mut query = self.conn.prepare_cached(sql).doing("checking a revision")?;
        let found = query.query_row(rusqlite::params_from_iter(key), |row| row.get::<_, i64>(0)).optional();
        Ok(found.doing("checking a revision")?.unwrap_or(0) as u64)
    }

    fn put(&mut self, put: &Put, revision: u64) -> Result<(), Fault> {
        let collection = put.collection.word();
        match &put.body {
            Some(body) => {
                let sql = "INSERT INTO document (collection, key, revision, body) VALUES (?1, ?2, ?3, ?4)
                           ON CONFLICT (collection, key) DO UPDATE SET revision = excluded.revision, body = excluded.body";
                let mut upsert = self.conn.prepare_cached(sql).doing("writing a document")?;
                upsert.execute(params![collection, put.key, revision as i64, body]).doing("writing a document")?;
            }
            None => {
                let mut delete =
                    self.conn.prepare_cached("DELETE FROM document WHERE collection = ?1 AND key = ?2").doing("deleting a document")?;
                delete.execute([collection, &put.key]).doing("deleting a document")?;
            }
        }
        Ok(())
    }

    /// Notes that a listing has changed.
    pub(crate) fn touch(&self, collection: Collection, scope: &str, revision: u64) -> Result<(), Fault> {
        let sql = "INSERT INTO listing (collection, scope, revision) VALUES (?1, ?2, ?3)
                   ON CONFLICT (collection, scope) DO UPDATE SET revision = excluded.revision";
        let mut upsert = self.conn.prepare_cached(sql).doing("noting a change")?;
        upsert.execute(params![collection.word(), scope, revision as i64]).doing("noting a change")?;
        Ok(())
    }

    fn append_events(&mut self, batch: &Batch, before: u64) -> Result<u64, Fault> {
        let sql = "INSERT INTO event (seq, at, actor, cause, thread, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut insert = self.conn.prepare_cached(sql).doing("appending an event")?;
        let actor = serde_json::to_string(&batch.actor).map_err(|e| Fault::because("writing an actor", e))?;
        let mut seq = before;
        for event in &batch.events {
            seq += 1;
            let body = serde_json::to_string(event).map_err(|e| Fault::because("writing an event", e))?;
            let cause = batch.cause.map(|cause| cause as i64);
            insert.execute(params![seq as i64, batch.at.ms(), actor, cause, batch.thread, body]).doing("appending an event")?;
        }
        Ok(seq)
    }
}

/// The lists that a document is in: the whole collection's, and that of its scope.
fn listings(put: &Put) -> impl Iterator<Item = (Collection, &str)> {
    let scope = put.key.split_once('/').map(|(scope, _)| scope);
    [Some(WHOLE), scope].into_iter().flatten().map(|scope| (put.collection, scope))
}
