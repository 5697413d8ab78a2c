//! Long histories put together, 1024 points in a value: reading a million rows one by one takes a quarter of a second.

use crate::fault::Doing;
use crate::writer::Writer;
use domain::Fault;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::hash_map::Entry;

/// Points of a stretch.
const POINTS: usize = 1024;

/// Points that a history gains before more of it is put together.
const GROWN: usize = 2 * POINTS;

/// Stretches made in one go.
const MADE: usize = 8;

/// Histories whose growth is counted; beyond it counting starts afresh.
const COUNTED: usize = 50_000;

/// Time, step and value: the order of a history.
type Place = (i64, i64, i64);

const BEGINNING: Place = (i64::MIN, i64::MIN, i64::MIN);

/// Step, time and value.
pub(crate) type Rank = (i64, i64, i64);

/// The points of a metric, by time.
pub(crate) fn points(conn: &Connection, run: i64, key: i64, mut take: impl FnMut(Rank)) -> Result<(), Fault> {
    let what = "reading a long history";
    let sql = "SELECT time, step, bits, body FROM stretch WHERE run = ?1 AND key = ?2 ORDER BY time, step, bits";
    let mut query = conn.prepare_cached(sql).doing(what)?;
    let mut rows = query.query([run, key]).doing(what)?;
    let mut end = BEGINNING;
    while let Some(row) = rows.next().doing(what)? {
        end = (row.get(0).doing(what)?, row.get(1).doing(what)?, row.get(2).doing(what)?);
        let body = row.get_ref(3).and_then(|body| Ok(body.as_blob()?)).doing(what)?;
        for point in body.chunks_exact(24) {
            take((number(point, 0), number(point, 8), number(point, 16)));
        }
    }
    behind(conn, run, key, end, -1, take)
}

/// Points behind a place, as they were logged.
fn behind(conn: &Connection, run: i64, key: i64, end: Place, limit: i64, mut take: impl FnMut(Rank)) -> Result<(), Fault> {
    let what = "reading a history";
    let sql = "SELECT step, time, bits FROM point WHERE run = ?1 AND key = ?2 AND (time, step, bits) > (?3, ?4, ?5)
               ORDER BY time, step, bits LIMIT ?6";
    let mut query = conn.prepare_cached(sql).doing(what)?;
    let mut rows = query.query(params![run, key, end.0, end.1, end.2, limit]).doing(what)?;
    while let Some(row) = rows.next().doing(what)? {
        take((row.get(0).doing(what)?, row.get(1).doing(what)?, row.get(2).doing(what)?));
    }
    Ok(())
}

fn number(point: &[u8], at: usize) -> i64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&point[at..at + 8]);
    i64::from_le_bytes(bytes)
}

/// The end of what is put together.
fn end(conn: &Connection, run: i64, key: i64) -> Result<Option<Place>, Fault> {
    let what = "looking for the end of a long history";
    let sql = "SELECT time, step, bits FROM stretch WHERE run = ?1 AND key = ?2 ORDER BY time DESC, step DESC, bits DESC LIMIT 1";
    let mut query = conn.prepare_cached(sql).doing(what)?;
    query.query_row([run, key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional().doing(what)
}

/// What the writer remembers of a history between two commits, so that a batch of points costs no look at it.
pub(crate) struct Growth {
    /// Points gained since the history was last put together.
    count: usize,
    /// The end of what is put together.
    end: Option<Place>,
}

impl Writer {
    /// Takes note of new points: `earliest` is the first of them in the history. A stretch that one of them belongs into is no longer
    /// true, nor are those behind it.
    pub(crate) fn grow(&mut self, run: i64, key: i64, count: usize, earliest: Place) -> Result<(), Fault> {
        let what = "noting the growth of a history";
        if self.growth.len() >= COUNTED {
            self.growth.clear();
        }
        let growth = match self.growth.entry((run, key)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Growth { count: 0, end: end(&self.conn, run, key)? }),
        };
        growth.count += count;
        let is_torn = growth.end.is_some_and(|end| earliest < end);
        if is_torn {
            let sql = "DELETE FROM stretch WHERE run = ?1 AND key = ?2 AND (time, step, bits) >= (?3, ?4, ?5)";
            let mut delete = self.conn.prepare_cached(sql).doing(what)?;
            delete.execute(params![run, key, earliest.0, earliest.1, earliest.2]).doing(what)?;
        }
        if is_torn || growth.count >= GROWN {
            self.growth.remove(&(run, key));
            self.may_tidy = true;
            let mut insert = self.conn.prepare_cached("INSERT OR IGNORE INTO unsealed (run, key) VALUES (?1, ?2)").doing(what)?;
            insert.execute([run, key]).doing(what)?;
        }
        Ok(())
    }

    /// Puts more of one history together; says whether there was one.
    pub(crate) fn seal(&mut self) -> Result<bool, Fault> {
        let what = "putting a long history together";
        let next = self
            .conn
            .prepare_cached("SELECT run, key FROM unsealed LIMIT 1")
            .doing(what)?
            .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let Some((run, key)) = next.optional().doing(what)? else { return Ok(false) };
        self.growth.remove(&(run, key));
        let transaction = self.conn.transaction().doing(what)?;
        let mut end = end(&transaction, run, key)?.unwrap_or(BEGINNING);
        for made in 0..=MADE {
            let mut some: Vec<Rank> = Vec::with_capacity(POINTS);
            behind(&transaction, run, key, end, POINTS as i64, |point| some.push(point))?;
            let Some((step, time, bits)) = some.last().copied().filter(|_| some.len() == POINTS) else {
                let mut delete = transaction.prepare_cached("DELETE FROM unsealed WHERE run = ?1 AND key = ?2").doing(what)?;
                delete.execute([run, key]).doing(what)?;
                break;
            };
            if made == MADE {
                break;
            }
            let body: Vec<u8> = some.iter().flat_map(|(step, time, bits)| [*step, *time, *bits]).flat_map(i64::to_le_bytes).collect();
            let sql = "INSERT INTO stretch (run, key, time, step, bits, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            transaction.prepare_cached(sql).doing(what)?.execute(params![run, key, time, step, bits, body]).doing(what)?;
            end = (time, step, bits);
        }
        transaction.commit().doing(what)?;
        Ok(true)
    }
}
