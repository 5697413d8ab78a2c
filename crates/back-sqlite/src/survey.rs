//! What runs have in common: their keys and datasets; and which are in the bin.

use crate::fault::Doing;
use crate::read::{Reader, clamp};
use crate::search::RunSet;
use domain::{ExperimentId, Fault, RunId, Timestamp};
use ports::{DATASETS_MAX, DatasetSummary, KEYS_MAX, Keys, RunSearch, ViewType};
use rusqlite::{Row, params};
use std::collections::BTreeSet;

impl Reader {
    pub(crate) fn keys(&self, experiments: &[ExperimentId]) -> Result<Keys, Fault> {
        let runs = self.runs_of(experiments, ViewType::Active)?;
        let mut keys = Keys::default();
        for (table, list) in [("latest", &mut keys.metrics), ("param", &mut keys.params), ("tag", &mut keys.tags)] {
            *list = self.keys_of(table, &runs)?;
        }
        for list in [&mut keys.metrics, &mut keys.params, &mut keys.tags] {
            list.sort_unstable();
            keys.cut |= list.len() > KEYS_MAX;
            list.truncate(KEYS_MAX);
        }
        Ok(keys)
    }

    /// Keys that some of the runs have. From key to key, and within a key from run to run, the index is entered anew rather than read:
    /// a key that the first run has takes two look-ups, however many runs there are.
    fn keys_of(&self, table: &str, runs: &RunSet) -> Result<Vec<String>, Fault> {
        let what = "listing keys";
        let next_key = format!("SELECT min(key) FROM {table} INDEXED BY {table}_of_key WHERE key > ?1");
        let next_run = format!("SELECT min(run) FROM {table} INDEXED BY {table}_of_key WHERE key = ?1 AND run >= ?2");
        let mut next_key = self.conn().prepare_cached(&next_key).doing(what)?;
        let mut next_run = self.conn().prepare_cached(&next_run).doing(what)?;
        let mut text = self.conn().prepare_cached("SELECT text FROM word WHERE num = ?1").doing(what)?;
        let (mut found, mut last) = (Vec::new(), i64::MIN);
        while let Some(key) = next_key.query_row([last], |row| row.get::<_, Option<i64>>(0)).doing(what)? {
            last = key;
            let mut wanted = runs.next(0);
            while let Some(run) = wanted {
                match next_run.query_row([key, run], |row| row.get::<_, Option<i64>>(0)).doing(what)? {
                    Some(has) if runs.has(has) => {
                        found.push(text.query_row([key], |row| row.get(0)).doing(what)?);
                        break;
                    }
                    Some(has) => wanted = runs.next(has),
                    None => break,
                }
            }
        }
        Ok(found)
    }

    pub(crate) fn datasets(&self, experiments: &[ExperimentId]) -> Result<Vec<DatasetSummary>, Fault> {
        let what = "listing datasets";
        let mut groups = Vec::new();
        for experiment in experiments {
            groups.push((experiment, self.runs_of(std::slice::from_ref(experiment), ViewType::All)?));
        }
        let sql = "SELECT name, digest, context, run FROM input INDEXED BY input_parts ORDER BY name, digest, context, run";
        let mut query = self.conn().prepare_cached(sql).doing(what)?;
        let mut rows = query.query([]).doing(what)?;
        let mut found = BTreeSet::new();
        let mut current: Option<Dataset> = None;
        // Experiments that are not known yet to have read it.
        let mut open: Vec<usize> = Vec::new();
        while let Some(row) = rows.next().doing(what)? {
            if !is_same(current.as_ref(), row).doing(what)? {
                current = Some((row.get(0).doing(what)?, row.get(1).doing(what)?, row.get(2).doing(what)?));
                open = (0..groups.len()).collect();
            }
            let Some((name, digest, context)) = &current else { continue };
            let run = row.get(3).doing(what)?;
            open.retain(|at: &usize| {
                let (experiment, runs) = &groups[*at];
                let has = runs.has(run);
                if has {
                    let (name, digest, context) = (name.clone(), digest.clone(), context.clone());
                    found.insert(DatasetSummary { experiment: ExperimentId::clone(experiment), name, digest, context });
                }
                !has
            });
        }
        Ok(found.into_iter().take(DATASETS_MAX).collect())
    }

    fn runs_of(&self, experiments: &[ExperimentId], view: ViewType) -> Result<RunSet, Fault> {
        self.all(&RunSearch { experiments: experiments.to_vec(), view, ..RunSearch::default() })
    }

    pub(crate) fn deleted_runs(&self, before: Timestamp, after: Option<&RunId>, limit: usize) -> Result<Vec<RunId>, Fault> {
        let sql = "SELECT id FROM run INDEXED BY run_binned WHERE binned IS NOT NULL AND id > ?1 AND binned < ?2 ORDER BY id LIMIT ?3";
        let mut query = self.conn().prepare_cached(sql).doing("looking into the bin")?;
        let after = after.map_or("", RunId::as_str);
        let rows = query.query_map(params![after, before.ms(), clamp(limit as u64)], |row| Ok(RunId::new(row.get::<_, String>(0)?)));
        rows.and_then(Iterator::collect).doing("looking into the bin")
    }
}

/// Name, digest and context.
type Dataset = (String, String, Option<String>);

fn is_same(known: Option<&Dataset>, row: &Row<'_>) -> rusqlite::Result<bool> {
    let Some((name, digest, context)) = known else { return Ok(false) };
    Ok(row.get_ref(0)?.as_str()? == name && row.get_ref(1)?.as_str()? == digest && row.get_ref(2)?.as_str_or_null()? == context.as_deref())
}
