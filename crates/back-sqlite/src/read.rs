//! Read-only connections, and what is read through them.

use crate::apply::WHOLE;
use crate::fault::Doing;
use crate::whole::{Parts, load};
use domain::entity::{AppliedProject, Experiment, Metric, Run};
use domain::filter::{ilike, like};
use domain::{Collection, Entity, ExperimentId, Fault, OrderedNumber, Recorded, RunId, Timestamp};
use parking_lot::Mutex;
use ports::refusals::{bad_token, no_run};
use ports::{Document, HistoryPage, Listing, PROJECT, SearchError, Snapshot};
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Connections that are kept while nobody reads.
const IDLE: usize = 8;

/// Read-only connections, made as needed.
pub(crate) struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// The project that was asked for last, parsed, and its revision.
    project: Mutex<(u64, Option<Arc<AppliedProject>>)>,
}

/// A connection in a read transaction: one commit's state, whatever is written meanwhile.
pub(crate) struct Reader {
    /// `None` only while dropping.
    conn: Option<Connection>,
    pool: Arc<Pool>,
}

impl Pool {
    pub(crate) fn new(path: &Path) -> Self {
        Pool { path: path.to_owned(), idle: Mutex::default(), project: Mutex::default() }
    }

    /// A reader of the newest commit.
    pub(crate) fn reader(self: &Arc<Self>) -> Result<Reader, Fault> {
        let idle = self.idle.lock().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.connect()?,
        };
        let reader = Reader { conn: Some(conn), pool: self.clone() };
        // A transaction takes its view with the first read, not with BEGIN.
        reader.begin().doing("beginning to read")?;
        Ok(reader)
    }

    fn connect(&self) -> Result<Connection, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags).doing("opening a reader")?;
        conn.busy_timeout(Duration::from_secs(10)).doing("setting a reader's time-out")?;
        conn.set_prepared_statement_cache_capacity(64);
        let pure = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        for (name, fits) in [("is_like", like as fn(&str, &str) -> bool), ("is_ilike", ilike)] {
            conn.create_scalar_function(name, 2, pure, move |call| {
                let (pattern, text) = (call.get_raw(0).as_str_or_null()?, call.get_raw(1).as_str_or_null()?);
                Ok(pattern.zip(text).is_some_and(|(pattern, text)| fits(pattern, text)))
            })
            .doing("defining the pattern functions")?;
        }
        Ok(conn)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        let mut idle = self.pool.idle.lock();
        if run(&conn, "ROLLBACK").is_ok() && idle.len() < IDLE {
            idle.push(conn);
        }
    }
}

/// A statement without parameters or rows, parsed once a connection.
pub(crate) fn run(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(|_| ())
}

impl Reader {
    fn begin(&self) -> rusqlite::Result<()> {
        run(self.conn(), "BEGIN")?;
        self.conn().prepare_cached("SELECT revision FROM store")?.query_row([], |_| Ok(()))
    }

    pub(crate) fn conn(&self) -> &Connection {
        self.conn.as_ref().expect("the connection is taken only by drop")
    }

    pub(crate) fn events(&self, after: u64, limit: usize) -> Result<Vec<Recorded>, Fault> {
        let what = "reading events";
        let sql = "SELECT seq, at, actor, cause, thread, body FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut query = self.conn().prepare_cached(sql).doing(what)?;
        let mut rows = query.query(params![clamp(after), clamp(limit as u64)]).doing(what)?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().doing(what)? {
            let text = |at| row.get::<_, String>(at).doing(what);
            events.push(Recorded {
                seq: row.get::<_, i64>(0).doing(what)? as u64,
                at: Timestamp::from_ms(row.get(1).doing(what)?),
                actor: parse(&text(2)?, what)?,
                cause: row.get::<_, Option<i64>>(3).doing(what)?.map(|cause| cause as u64),
                thread: row.get(4).doing(what)?,
                event: parse(&text(5)?, what)?,
            });
        }
        Ok(events)
    }

    pub(crate) fn cursor(&self, name: &str) -> Result<u64, Fault> {
        let mut query = self.conn().prepare_cached("SELECT seq FROM cursor WHERE name = ?1").doing("reading a cursor")?;
        let seq: Option<i64> = query.query_row([name], |row| row.get(0)).optional().doing("reading a cursor")?;
        Ok(seq.unwrap_or(0) as u64)
    }

    /// A page of a history; the token is the place of the last point given.
    pub(crate) fn history(&self, run: &RunId, key: &str, limit: Option<usize>, token: Option<&str>) -> Result<HistoryPage, SearchError> {
        let what = "reading a history";
        let num = self.run_num(run)?.ok_or_else(|| no_run(run))?;
        let (time, step, bits) = token.map_or(Ok((i64::MIN, i64::MIN, i64::MIN)), parse_place)?;
        let sql = "SELECT p.time, p.step, p.bits, c.text FROM point p LEFT JOIN word c ON c.num = p.context
                   WHERE p.run = ?1 AND p.key = (SELECT num FROM word WHERE text = ?2) AND (p.time, p.step, p.bits) > (?3, ?4, ?5)
                   ORDER BY p.time, p.step, p.bits LIMIT ?6";
        let mut query = self.conn().prepare_cached(sql).doing(what)?;
        let one_more = limit.map_or(-1, |limit| clamp(limit as u64).saturating_add(1));
        let mut rows = query.query(params![num, key, time, step, bits, one_more]).doing(what)?;
        let mut points = Vec::new();
        while let Some(row) = rows.next().doing(what)? {
            let place = (row.get(0).doing(what)?, row.get(1).doing(what)?, row.get(2).doing(what)?);
            points.push(metric(key.to_owned(), place, row.get_ref(3).doing(what)?.as_str_or_null().unwrap_or(None))?);
        }
        let limit = limit.unwrap_or(usize::MAX);
        let token = (points.len() > limit).then(|| points.truncate(limit)).and_then(|()| points.last().map(place_token));
        Ok(HistoryPage { points, token })
    }

    pub(crate) fn run_num(&self, id: &RunId) -> Result<Option<i64>, Fault> {
        let mut query = self.conn().prepare_cached("SELECT num FROM run WHERE id = ?1").doing("finding a run")?;
        query.query_row([id.as_str()], |row| row.get(0)).optional().doing("finding a run")
    }
}

impl Snapshot for Reader {
    fn get(&self, collection: Collection, key: &str) -> Result<Option<Document>, Fault> {
        let sql = "SELECT key, revision, body FROM document WHERE collection = ?1 AND key = ?2";
        let mut query = self.conn().prepare_cached(sql).doing("reading a document")?;
        query.query_row([collection.word(), key], document).optional().doing("reading a document")
    }

    fn list(&self, collection: Collection, scope: Option<&str>) -> Result<Listing, Fault> {
        let what = "listing documents";
        let documents = match scope {
            None => {
                let sql = "SELECT key, revision, body FROM document WHERE collection = ?1 ORDER BY key";
                let mut query = self.conn().prepare_cached(sql).doing(what)?;
                query.query_map(params![collection.word()], document).doing(what)?.collect::<rusqlite::Result<_>>().doing(what)?
            }
            // A statement of its own, with both ends: an end that may be missing is no end of a range to SQLite, which then reads all that
            // comes after. `0` is the character after `/`: the range holds exactly the keys that begin with `SCOPE/`.
            Some(scope) => {
                let sql = "SELECT key, revision, body FROM document WHERE collection = ?1 AND key >= ?2 AND key < ?3 ORDER BY key";
                let mut query = self.conn().prepare_cached(sql).doing(what)?;
                let ends = params![collection.word(), format!("{scope}/"), format!("{scope}0")];
                query.query_map(ends, document).doing(what)?.collect::<rusqlite::Result<_>>().doing(what)?
            }
        };
        Ok(Listing { revision: self.listing_revision(collection, scope.unwrap_or(WHOLE))?, documents })
    }

    fn project(&self) -> Result<(u64, Option<Arc<AppliedProject>>), Fault> {
        let what = "reading the project's revision";
        let sql = "SELECT revision FROM document WHERE collection = ?1 AND key = ?2";
        let mut query = self.conn().prepare_cached(sql).doing(what)?;
        let newest = query.query_row([AppliedProject::COLLECTION.word(), PROJECT], |row| row.get::<_, i64>(0)).optional().doing(what)?;
        let newest = newest.unwrap_or(0) as u64;
        let known = self.pool.project.lock().clone();
        if known.0 == newest {
            return Ok(known);
        }
        let read = self.get(AppliedProject::COLLECTION, PROJECT)?.map(|document| parse(&document.body, "reading the project in force"));
        let read = (newest, read.transpose()?.map(Arc::new));
        self.pool.project.lock().clone_from(&read);
        Ok(read)
    }

    fn run(&self, id: &RunId) -> Result<Option<(u64, Run)>, Fault> {
        let Some(num) = self.run_num(id)? else { return Ok(None) };
        Ok(load(self.conn(), &[num], Parts::All)?.pop().map(|whole| (whole.revision, whole.run)))
    }

    fn experiment(&self, id: &ExperimentId) -> Result<Option<(u64, Experiment)>, Fault> {
        let what = "reading an experiment";
        let mut query = self.conn().prepare_cached("SELECT revision, body FROM experiment WHERE id = ?1").doing(what)?;
        let found = query.query_row([id.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).optional().doing(what)?;
        found.map(|(revision, body)| Ok((revision as u64, parse(&body, what)?))).transpose()
    }

    fn experiments(&self) -> Result<(u64, Vec<Experiment>), Fault> {
        let what = "listing experiments";
        let mut query = self.conn().prepare_cached("SELECT body FROM experiment ORDER BY length(id), id").doing(what)?;
        let mut rows = query.query([]).doing(what)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().doing(what)? {
            all.push(parse(&row.get::<_, String>(0).doing(what)?, what)?);
        }
        Ok((self.listing_revision(Collection::Experiments, WHOLE)?, all))
    }
}

impl Reader {
    fn listing_revision(&self, collection: Collection, scope: &str) -> Result<u64, Fault> {
        let sql = "SELECT revision FROM listing WHERE collection = ?1 AND scope = ?2";
        let mut query = self.conn().prepare_cached(sql).doing("reading a listing's revision")?;
        let found: Option<i64> =
            query.query_row([collection.word(), scope], |row| row.get(0)).optional().doing("reading a listing's revision")?;
        Ok(found.unwrap_or(0) as u64)
    }
}

fn document(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document { key: row.get(0)?, revision: row.get::<_, i64>(1)? as u64, body: row.get(2)? })
}

/// A metric from what is kept of it; the context is JSON.
pub(crate) fn metric(key: String, (time, step, bits): (i64, i64, i64), context: Option<&str>) -> Result<Metric, Fault> {
    let about = context.map_or(Ok(Default::default()), |text| parse(text, "reading a metric"))?;
    let (model_id, dataset_name, dataset_digest) = about;
    let value = OrderedNumber::from_bits(bits).get();
    Ok(Metric { key, value, time: Timestamp::from_ms(time), step, model_id, dataset_name, dataset_digest })
}

fn place_token(metric: &Metric) -> String {
    let (time, step, number) = metric.place();
    format!("{time}:{step}:{}", number.bits())
}

fn parse_place(token: &str) -> Result<(i64, i64, i64), SearchError> {
    let numbers: Option<Vec<i64>> = token.split(':').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some([time, step, bits]) => Ok((*time, *step, *bits)),
        _ => Err(bad_token(token).into()),
    }
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|e| Fault::because(what, e))
}

/// SQLite's integers are signed.
pub(crate) fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
