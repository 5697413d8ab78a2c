//! Takes what is in the bin away for good.

use crate::apply::WHOLE;
use crate::fault::Doing;
use crate::writer::Writer;
use domain::entity::LifecycleStage;
use domain::{Collection, ExperimentId, RunId};
use ports::CommitError;
use ports::refusals::{active_experiment, active_run, full_experiment, no_experiment, no_run};
use rusqlite::OptionalExtension;

/// Where the rows of a run are; its points, which may be millions, are deleted when nobody waits.
const TABLES: [&str; 6] = ["param", "tag", "latest", "input", "output", "unindexed"];

impl Writer {
    pub(crate) fn purge_run(&mut self, id: &RunId) -> Result<(), CommitError> {
        let what = "purging a run";
        let mut query = self.conn.prepare_cached("SELECT num, stage FROM run WHERE id = ?1").doing(what)?;
        let found = query.query_row([id.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).optional().doing(what)?;
        let (num, stage) = found.ok_or_else(|| no_run(id))?;
        if stage == LifecycleStage::Active.word() {
            return Err(active_run(id).into());
        }
        for table in TABLES {
            let mut delete = self.conn.prepare_cached(&format!("DELETE FROM {table} WHERE run = ?1")).doing(what)?;
            delete.execute([num]).doing(what)?;
        }
        self.may_tidy = true;
        for sql in ["DELETE FROM run_text WHERE rowid = ?1", "DELETE FROM run WHERE num = ?1", "INSERT INTO purged (run) VALUES (?1)"] {
            self.conn.prepare_cached(sql).doing(what)?.execute([num]).doing(what)?;
        }
        Ok(())
    }

    pub(crate) fn purge_experiment(&mut self, id: &ExperimentId, revision: u64) -> Result<(), CommitError> {
        let what = "purging an experiment";
        let experiment = self.experiment(id)?.ok_or_else(|| no_experiment(id))?;
        if experiment.lifecycle_stage == LifecycleStage::Active {
            return Err(active_experiment(id).into());
        }
        let mut runs = self.conn.prepare_cached("SELECT 1 FROM run WHERE experiment = ?1").doing(what)?;
        if runs.exists([id.as_str()]).doing(what)? {
            return Err(full_experiment(id).into());
        }
        let mut delete = self.conn.prepare_cached("DELETE FROM experiment WHERE id = ?1").doing(what)?;
        delete.execute([id.as_str()]).doing(what)?;
        Ok(self.touch(Collection::Experiments, WHOLE, revision)?)
    }
}
