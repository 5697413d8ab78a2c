//! Runs with all that belongs to them, in one statement a table however many they are.

use crate::fault::Doing;
use crate::read::{metric, parse};
use domain::entity::{LifecycleStage, ModelOutput, Param, Run, RunStatus, Tag};
use domain::{ExperimentId, Fault, RunId, Timestamp};
use rusqlite::types::FromSql;
use rusqlite::{Connection, Row, params};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

const WHAT: &str = "reading runs";

/// What of a run is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    All,
    /// The run's own row, params and tags.
    Texts,
}

/// A run as it is kept.
pub(crate) struct Whole {
    pub num: i64,
    pub revision: u64,
    pub run: Run,
}

/// The runs of these numbers, in that order; numbers without a run are left out.
pub(crate) fn load(conn: &Connection, nums: &[i64], parts: Parts) -> Result<Vec<Whole>, Fault> {
    // The numbers go in as one JSON list, so that a statement is the same for any number of them.
    let list = serde_json::to_string(nums).map_err(|e| Fault::because(WHAT, e))?;
    let mut runs: HashMap<i64, Whole> = HashMap::with_capacity(nums.len());
    let columns = "num, revision, id, experiment, name, user, status, start, end, stage, artifact_uri";
    each(conn, &format!("SELECT {columns} FROM run WHERE num IN"), "", &list, |row| {
        let num = get(row, 0)?;
        runs.insert(num, Whole { num, revision: get::<i64>(row, 1)? as u64, run: bare(row)? });
        Ok(())
    })?;
    let mut words = Words { conn, known: HashMap::new() };
    each(conn, "SELECT run, key, value FROM param WHERE run IN", "", &list, |row| {
        let (key, value) = (words.get(get(row, 1)?)?, get(row, 2)?);
        if let Some(run) = of(&mut runs, row)? {
            run.params.push(Param { key, value });
        }
        Ok(())
    })?;
    each(conn, "SELECT run, key, value FROM tag WHERE run IN", "", &list, |row| {
        let (key, value) = (words.get(get(row, 1)?)?, get(row, 2)?);
        if let Some(run) = of(&mut runs, row)? {
            run.tags.push(Tag { key, value });
        }
        Ok(())
    })?;
    if parts == Parts::All {
        load_rest(conn, &list, &mut words, &mut runs)?;
    }
    for Whole { run, .. } in runs.values_mut() {
        run.params.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        run.tags.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        run.metrics.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(nums.iter().filter_map(|num| runs.remove(num)).collect())
}

fn load_rest(conn: &Connection, list: &str, words: &mut Words<'_>, runs: &mut HashMap<i64, Whole>) -> Result<(), Fault> {
    each(conn, "SELECT run, key, time, step, bits, context FROM latest WHERE run IN", "", list, |row| {
        let context = get::<Option<i64>>(row, 5)?.map(|word| words.get(word)).transpose()?;
        let metric = metric(words.get(get(row, 1)?)?, (get(row, 2)?, get(row, 3)?, get(row, 4)?), context.as_deref())?;
        if let Some(run) = of(runs, row)? {
            run.metrics.push(metric);
        }
        Ok(())
    })?;
    each(conn, "SELECT run, body FROM input WHERE run IN", "ORDER BY num", list, |row| {
        let input = parse(&get::<String>(row, 1)?, WHAT)?;
        if let Some(run) = of(runs, row)? {
            run.inputs.push(input);
        }
        Ok(())
    })?;
    each(conn, "SELECT run, model_id, step, is_input FROM output WHERE run IN", "ORDER BY num", list, |row| {
        let output = ModelOutput { model_id: get(row, 1)?, step: get(row, 2)?, input: get(row, 3)? };
        if let Some(run) = of(runs, row)? {
            run.outputs.push(output);
        }
        Ok(())
    })
}

fn each(conn: &Connection, from: &str, order: &str, list: &str, mut take: impl FnMut(&Row<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut query = conn.prepare_cached(&format!("{from} (SELECT value FROM json_each(?1)) {order}")).doing(WHAT)?;
    let mut rows = query.query(params![list]).doing(WHAT)?;
    while let Some(row) = rows.next().doing(WHAT)? {
        take(row)?;
    }
    Ok(())
}

/// The texts of words; each is looked up once.
struct Words<'a> {
    conn: &'a Connection,
    known: HashMap<i64, String>,
}

impl Words<'_> {
    fn get(&mut self, num: i64) -> Result<String, Fault> {
        match self.known.entry(num) {
            Entry::Occupied(found) => Ok(found.get().clone()),
            Entry::Vacant(place) => {
                let mut query = self.conn.prepare_cached("SELECT text FROM word WHERE num = ?1").doing(WHAT)?;
                Ok(place.insert(query.query_row([num], |row| row.get(0)).doing(WHAT)?).clone())
            }
        }
    }
}

/// The run that a row belongs to.
fn of<'a>(runs: &'a mut HashMap<i64, Whole>, row: &Row<'_>) -> Result<Option<&'a mut Run>, Fault> {
    Ok(runs.get_mut(&get(row, 0)?).map(|whole| &mut whole.run))
}

/// A run's own row, from the third column on.
fn bare(row: &Row<'_>) -> Result<Run, Fault> {
    let (status, stage): (String, String) = (get(row, 6)?, get(row, 9)?);
    let is_deleted = stage == LifecycleStage::Deleted.word();
    Ok(Run {
        id: RunId::new(get::<String>(row, 2)?),
        experiment: ExperimentId::new(get::<String>(row, 3)?),
        name: get(row, 4)?,
        user: get(row, 5)?,
        status: RunStatus::of_word(&status).unwrap_or_default(),
        start: Timestamp::from_ms(get(row, 7)?),
        end: get::<Option<i64>>(row, 8)?.map(Timestamp::from_ms),
        lifecycle_stage: if is_deleted { LifecycleStage::Deleted } else { LifecycleStage::Active },
        artifact_uri: get(row, 10)?,
        params: Vec::new(),
        tags: Vec::new(),
        metrics: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    })
}

fn get<T: FromSql>(row: &Row<'_>, at: usize) -> Result<T, Fault> {
    row.get(at).doing(WHAT)
}
