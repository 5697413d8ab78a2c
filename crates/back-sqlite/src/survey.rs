//! What runs have in common: their keys and datasets; and which are in the bin.

use crate::fault::Doing;
use crate::read::{Reader, clamp};
use domain::{ExperimentId, Fault, RunId, Timestamp};
use ports::{DATASETS_MAX, DatasetSummary, KEYS_MAX, Keys};
use rusqlite::{params, params_from_iter};

/// `?1, ?2, ...`
fn places(count: usize) -> String {
    (1..=count).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ")
}

impl Reader {
    pub(crate) fn keys(&self, experiments: &[ExperimentId]) -> Result<Keys, Fault> {
        let mut keys = Keys::default();
        for (table, list) in [("latest", &mut keys.metrics), ("param", &mut keys.params), ("tag", &mut keys.tags)] {
            *list = self.keys_of(table, experiments)?;
        }
        for list in [&mut keys.metrics, &mut keys.params, &mut keys.tags] {
            keys.cut |= list.len() > KEYS_MAX;
            list.truncate(KEYS_MAX);
        }
        Ok(keys)
    }

    /// One more than allowed at most.
    fn keys_of(&self, table: &str, experiments: &[ExperimentId]) -> Result<Vec<String>, Fault> {
        let sql = format!(
            "SELECT DISTINCT w.text FROM {table} t JOIN word w ON w.num = t.key JOIN run r ON r.num = t.run
             WHERE r.stage = 'active' AND r.experiment IN ({}) ORDER BY w.text LIMIT {}",
            places(experiments.len()),
            KEYS_MAX + 1
        );
        let mut query = self.conn().prepare_cached(&sql).doing("listing keys")?;
        let rows = query.query_map(params_from_iter(experiments.iter().map(ExperimentId::as_str)), |row| row.get(0));
        rows.and_then(Iterator::collect).doing("listing keys")
    }

    pub(crate) fn datasets(&self, experiments: &[ExperimentId]) -> Result<Vec<DatasetSummary>, Fault> {
        let sql = format!(
            "SELECT DISTINCT r.experiment, i.name, i.digest, i.context FROM input i JOIN run r ON r.num = i.run
             WHERE r.experiment IN ({}) ORDER BY 1, 2, 3, 4 LIMIT {DATASETS_MAX}",
            places(experiments.len())
        );
        let mut query = self.conn().prepare_cached(&sql).doing("listing datasets")?;
        let rows = query.query_map(params_from_iter(experiments.iter().map(ExperimentId::as_str)), |row| {
            let experiment = ExperimentId::new(row.get::<_, String>(0)?);
            Ok(DatasetSummary { experiment, name: row.get(1)?, digest: row.get(2)?, context: row.get(3)? })
        });
        rows.and_then(Iterator::collect).doing("listing datasets")
    }

    pub(crate) fn deleted_runs(&self, before: Timestamp, after: Option<&RunId>, limit: usize) -> Result<Vec<RunId>, Fault> {
        let sql = "SELECT id FROM run INDEXED BY run_binned WHERE binned IS NOT NULL AND id > ?1 AND binned < ?2 ORDER BY id LIMIT ?3";
        let mut query = self.conn().prepare_cached(sql).doing("looking into the bin")?;
        let after = after.map_or("", RunId::as_str);
        let rows = query.query_map(params![after, before.ms(), clamp(limit as u64)], |row| Ok(RunId::new(row.get::<_, String>(0)?)));
        rows.and_then(Iterator::collect).doing("looking into the bin")
    }
}
