//! What run writes and run logs do to the tables.

use crate::apply::WHOLE;
use crate::fault::Doing;
use crate::writer::Writer;
use domain::entity::{DatasetInput, Experiment, LifecycleStage, Metric, ModelOutput, Param, Run, Tag};
use domain::{Collection, ExperimentId, Fault, RunId, RunWrite, Timestamp};
use ports::refusals::{changed_param, deleted_run, no_experiment, no_run, taken_experiment, taken_run};
use ports::{CommitError, RunLog};
use rusqlite::{OptionalExtension, params};
use std::collections::HashMap;

impl Writer {
    pub(crate) fn write_run(&mut self, write: &RunWrite, revision: u64, at: Timestamp) -> Result<(), CommitError> {
        match write {
            RunWrite::Experiment(experiment) => self.put_experiment(experiment, revision),
            RunWrite::SetExperimentTag { experiment, tag } => {
                let mut found = self.experiment(experiment)?.ok_or_else(|| no_experiment(experiment))?;
                found.tags.retain(|known| known.key != tag.key);
                found.tags.push(tag.clone());
                self.put_experiment(&found, revision)
            }
            RunWrite::StageRuns { experiment, stage } => {
                let sql = "UPDATE run SET stage = ?2, revision = ?3, binned = CASE WHEN ?2 = 'deleted' THEN coalesce(binned, ?4) END
                           WHERE experiment = ?1";
                let mut update = self.conn.prepare_cached(sql).doing("staging runs")?;
                update.execute(params![experiment.as_str(), stage.word(), revision as i64, at.ms()]).doing("staging runs")?;
                Ok(())
            }
            RunWrite::CreateRun(run) => self.create_run(run, revision, at),
            RunWrite::UpdateRun(run) => self.update_run(run, revision, at),
            RunWrite::SetTag { run, tag } => {
                let num = self.active(run, revision)?;
                Ok(self.set_tags(num, std::slice::from_ref(tag))?)
            }
            RunWrite::DeleteTag { run, key } => {
                let num = self.active(run, revision)?;
                let key = self.word(key)?;
                let mut delete = self.conn.prepare_cached("DELETE FROM tag WHERE run = ?1 AND key = ?2").doing("deleting a tag")?;
                delete.execute([num, key]).doing("deleting a tag")?;
                drop(delete);
                Ok(self.unindex(num)?)
            }
            RunWrite::PurgeRun(run) => self.purge_run(run),
            RunWrite::PurgeExperiment(experiment) => self.purge_experiment(experiment, revision),
        }
    }

    /// Appends to an active run.
    pub(crate) fn log(&mut self, id: &RunId, what: &RunLog, revision: u64) -> Result<(), CommitError> {
        let run = self.active(id, revision)?;
        self.set_params(run, &what.params)?;
        self.set_tags(run, &what.tags)?;
        self.add_points(run, &what.metrics)?;
        self.add_inputs(run, &what.inputs)?;
        Ok(self.add_outputs(run, &what.outputs)?)
    }

    pub(crate) fn experiment(&self, id: &ExperimentId) -> Result<Option<Experiment>, Fault> {
        let mut query = self.conn.prepare_cached("SELECT body FROM experiment WHERE id = ?1").doing("reading an experiment")?;
        let body: Option<String> = query.query_row([id.as_str()], |row| row.get(0)).optional().doing("reading an experiment")?;
        body.map(|body| serde_json::from_str(&body).map_err(|e| Fault::because("reading an experiment", e))).transpose()
    }

    fn put_experiment(&mut self, experiment: &Experiment, revision: u64) -> Result<(), CommitError> {
        let mut taken = self.conn.prepare_cached("SELECT 1 FROM experiment WHERE name = ?1 AND id <> ?2").doing("looking for the name")?;
        if taken.exists([&experiment.name, experiment.id.as_str()]).doing("looking for the name")? {
            return Err(taken_experiment(&experiment.name).into());
        }
        let mut sorted = experiment.clone();
        sorted.tags.sort_by(|a, b| a.key.cmp(&b.key));
        let body = serde_json::to_string(&sorted).map_err(|e| Fault::because("writing an experiment", e))?;
        let sql = "INSERT INTO experiment (id, name, revision, body) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (id) DO UPDATE SET name = excluded.name, revision = excluded.revision, body = excluded.body";
        let mut upsert = self.conn.prepare_cached(sql).doing("writing an experiment")?;
        upsert.execute(params![sorted.id.as_str(), sorted.name, revision as i64, body]).doing("writing an experiment")?;
        Ok(self.touch(Collection::Experiments, WHOLE, revision)?)
    }

    fn create_run(&mut self, run: &Run, revision: u64, at: Timestamp) -> Result<(), CommitError> {
        if self.experiment(&run.experiment)?.is_none() {
            return Err(no_experiment(&run.experiment).into());
        }
        // A number that a purge still works on must not be given again.
        let sql = "INSERT INTO run (num, id, experiment, revision, name, user, status, start, end, stage, artifact_uri, binned)
                   VALUES (1 + max(coalesce((SELECT max(num) FROM run), 0), coalesce((SELECT max(run) FROM purged), 0)), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, CASE WHEN ?9 = 'deleted' THEN ?11 END) ON CONFLICT (id) DO NOTHING RETURNING num";
        let mut insert = self.conn.prepare_cached(sql).doing("creating a run")?;
        let values = params![
            run.id.as_str(),
            run.experiment.as_str(),
            revision as i64,
            run.name,
            run.user,
            run.status.word(),
            run.start.ms(),
            run.end.map(|end| end.ms()),
            run.lifecycle_stage.word(),
            run.artifact_uri,
            at.ms()
        ];
        let num = insert.query_row(values, |row| row.get(0)).optional().doing("creating a run")?;
        drop(insert);
        let num = num.ok_or_else(|| taken_run(&run.id))?;
        self.unindex(num)?;
        self.set_params(num, &run.params)?;
        self.set_tags(num, &run.tags)?;
        self.add_points(num, &run.metrics)?;
        self.add_inputs(num, &run.inputs)?;
        Ok(self.add_outputs(num, &run.outputs)?)
    }

    fn update_run(&mut self, run: &Run, revision: u64, at: Timestamp) -> Result<(), CommitError> {
        let sql = "UPDATE run SET revision = ?2, name = ?3, user = ?4, status = ?5, start = ?6, end = ?7, stage = ?8,
                   binned = CASE WHEN ?8 = 'deleted' THEN coalesce(binned, ?9) END WHERE id = ?1";
        if let Some(num) = self.renamed(run)? {
            self.unindex(num)?;
        }
        let mut update = self.conn.prepare_cached(sql).doing("updating a run")?;
        let values = params![
            run.id.as_str(),
            revision as i64,
            run.name,
            run.user,
            run.status.word(),
            run.start.ms(),
            run.end.map(|end| end.ms()),
            run.lifecycle_stage.word(),
            at.ms()
        ];
        match update.execute(values).doing("updating a run")? {
            0 => Err(no_run(&run.id).into()),
            _ => Ok(()),
        }
    }

    /// The number of a run that does not have this name yet.
    fn renamed(&self, run: &Run) -> Result<Option<i64>, Fault> {
        let mut query = self.conn.prepare_cached("SELECT num FROM run WHERE id = ?1 AND name <> ?2").doing("updating a run")?;
        query.query_row([run.id.as_str(), &run.name], |row| row.get(0)).optional().doing("updating a run")
    }

    /// The number of a run that may be written to; it gets the revision of this write.
    fn active(&mut self, id: &RunId, revision: u64) -> Result<i64, CommitError> {
        let sql = "UPDATE run SET revision = ?2 WHERE id = ?1 RETURNING num, stage";
        let mut update = self.conn.prepare_cached(sql).doing("finding a run")?;
        let found = update.query_row(params![id.as_str(), revision as i64], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
        let (num, stage) = found.optional().doing("finding a run")?.ok_or_else(|| no_run(id))?;
        if stage != LifecycleStage::Active.word() {
            return Err(deleted_run(id).into());
        }
        Ok(num)
    }

    fn set_params(&mut self, run: i64, params: &[Param]) -> Result<(), CommitError> {
        for param in params {
            let key = self.word(&param.key)?;
            let sql = "INSERT INTO param (run, key, value) VALUES (?1, ?2, ?3) ON CONFLICT (run, key) DO UPDATE SET value = value RETURNING value";
            let mut insert = self.conn.prepare_cached(sql).doing("writing a param")?;
            let kept: String = insert.query_row(params![run, key, param.value], |row| row.get(0)).doing("writing a param")?;
            if kept != param.value {
                return Err(changed_param(&param.key, &kept, &param.value).into());
            }
        }
        if !params.is_empty() {
            self.unindex(run)?;
        }
        Ok(())
    }

    fn set_tags(&mut self, run: i64, tags: &[Tag]) -> Result<(), Fault> {
        for tag in tags {
            let key = self.word(&tag.key)?;
            let sql = "INSERT INTO tag (run, key, value) VALUES (?1, ?2, ?3) ON CONFLICT (run, key) DO UPDATE SET value = excluded.value";
            let mut upsert = self.conn.prepare_cached(sql).doing("writing a tag")?;
            upsert.execute(params![run, key, tag.value]).doing("writing a tag")?;
        }
        if !tags.is_empty() {
            self.unindex(run)?;
        }
        Ok(())
    }

    fn add_points(&mut self, run: i64, metrics: &[Metric]) -> Result<(), Fault> {
        // A batch often holds many points of few keys: `latest` is looked at once a key.
        let mut latest: HashMap<&str, &Metric> = HashMap::new();
        let mut grown: HashMap<i64, (usize, (i64, i64, i64))> = HashMap::new();
        for metric in metrics {
            let (key, context) = (self.word(&metric.key)?, self.context(metric)?);
            let (time, step, number) = metric.place();
            let sql = "INSERT INTO point (run, key, time, step, bits, context) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
            let mut insert = self.conn.prepare_cached(sql).doing("writing a point")?;
            if insert.execute(params![run, key, time, step, number.bits(), context]).doing("writing a point")? == 1 {
                let place = (time, step, number.bits());
                let (count, earliest) = grown.entry(key).or_insert((0, place));
                (*count, *earliest) = (*count + 1, place.min(*earliest));
            }
            let best = latest.entry(&metric.key).or_insert(metric);
            if metric.rank() > best.rank() {
                *best = metric;
            }
        }
        for (key, (count, earliest)) in grown {
            self.grow(run, key, count, earliest)?;
        }
        for metric in latest.into_values() {
            let (key, context) = (self.word(&metric.key)?, self.context(metric)?);
            let (step, time, number) = metric.rank();
            let sql = "INSERT INTO latest (run, key, step, time, bits, context) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                       ON CONFLICT (run, key) DO UPDATE
                       SET step = excluded.step, time = excluded.time, bits = excluded.bits, context = excluded.context
                       WHERE (excluded.step, excluded.time, excluded.bits) > (step, time, bits)";
            let mut upsert = self.conn.prepare_cached(sql).doing("writing a latest point")?;
            upsert.execute(params![run, key, step, time, number.bits(), context]).doing("writing a latest point")?;
        }
        Ok(())
    }

    /// The word for the model and dataset that a value is about; most values are about none.
    fn context(&mut self, metric: &Metric) -> Result<Option<i64>, Fault> {
        let about = (&metric.model_id, &metric.dataset_name, &metric.dataset_digest);
        if matches!(about, (None, None, None)) {
            return Ok(None);
        }
        let text = serde_json::to_string(&about).map_err(|e| Fault::because("writing a point's context", e))?;
        self.word(&text).map(Some)
    }

    fn add_inputs(&mut self, run: i64, inputs: &[DatasetInput]) -> Result<(), Fault> {
        for input in inputs {
            let body = serde_json::to_string(input).map_err(|e| Fault::because("writing a dataset", e))?;
            let sql = "INSERT INTO input (run, name, digest, context, body) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
            let mut insert = self.conn.prepare_cached(sql).doing("writing a dataset")?;
            insert.execute(params![run, input.name, input.digest, input.context(), body]).doing("writing a dataset")?;
        }
        Ok(())
    }

    fn add_outputs(&mut self, run: i64, outputs: &[ModelOutput]) -> Result<(), Fault> {
        for output in outputs {
            let sql = "INSERT INTO output (run, model_id, step, is_input) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
            let mut insert = self.conn.prepare_cached(sql).doing("writing a model output")?;
            insert.execute(params![run, output.model_id, output.step, output.input]).doing("writing a model output")?;
        }
        Ok(())
    }
}
