//! Experiments and runs in memory.

use crate::refusals::{bad_token, changed_param, deleted_run, no_experiment, no_run, taken_experiment, taken_run};
use crate::{CommitError, HistoryPage, Page, RunLog, RunSearch, SearchError, ViewType};
use domain::entity::{Experiment, LifecycleStage, Metric, Run, Tag};
use domain::{ExperimentId, OrderedNumber, Refusal, RunId, RunWrite};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All experiments and runs. Cloning shares each of them.
#[derive(Clone, Default)]
pub(super) struct Runs {
    experiments: BTreeMap<ExperimentId, (u64, Experiment)>,
    experiments_revision: u64,
    runs: BTreeMap<RunId, Arc<Stored>>,
}

/// A point's place in its key's history.
type Place = (i64, i64, OrderedNumber);

#[derive(Clone)]
struct Stored {
    revision: u64,
    /// Params, tags and latest metrics are sorted by key.
    run: Run,
    points: BTreeMap<String, BTreeMap<Place, Metric>>,
}

impl Runs {
    pub(super) fn run_revision(&self, id: &str) -> u64 {
        self.runs.get(&RunId::new(id)).map_or(0, |stored| stored.revision)
    }

    pub(super) fn experiment_revision(&self, id: &str) -> u64 {
        self.experiments.get(&ExperimentId::new(id)).map_or(0, |(revision, _)| *revision)
    }

    pub(super) fn experiments_revision(&self) -> u64 {
        self.experiments_revision
    }

    pub(super) fn run(&self, id: &RunId) -> Option<(u64, Run)> {
        self.runs.get(id).map(|stored| (stored.revision, stored.run.clone()))
    }

    pub(super) fn experiment(&self, id: &ExperimentId) -> Option<(u64, Experiment)> {
        self.experiments.get(id).cloned()
    }

    pub(super) fn experiments(&self) -> Vec<Experiment> {
        let mut all: Vec<_> = self.experiments.values().map(|(_, experiment)| experiment.clone()).collect();
        all.sort_by_key(|experiment| (experiment.id.as_str().len(), experiment.id.clone()));
        all
    }

    pub(super) fn write(&mut self, write: RunWrite, revision: u64) -> Result<(), Refusal> {
        match write {
            RunWrite::Experiment(experiment) => self.put_experiment(experiment, revision),
            RunWrite::SetExperimentTag { experiment, tag } => {
                let (at, found) = self.experiments.get_mut(&experiment).ok_or_else(|| no_experiment(&experiment))?;
                set_tag(&mut found.tags, tag);
                *at = revision;
                self.experiments_revision = revision;
                Ok(())
            }
            RunWrite::StageRuns { experiment, stage } => {
                for stored in self.runs.values_mut().filter(|stored| stored.run.experiment == experiment) {
                    let stored = Arc::make_mut(stored);
                    stored.run.lifecycle_stage = stage;
                    stored.revision = revision;
                }
                Ok(())
            }
            RunWrite::CreateRun(run) => self.create_run(run, revision),
            RunWrite::UpdateRun(new) => {
                let stored = self.stored(&new.id)?;
                let old = &mut stored.run;
                (old.name, old.user, old.status, old.start, old.end) = (new.name, new.user, new.status, new.start, new.end);
                old.lifecycle_stage = new.lifecycle_stage;
                stored.revision = revision;
                Ok(())
            }
            RunWrite::SetTag { run, tag } => {
                let stored = self.active(&run)?;
                set_tag(&mut stored.run.tags, tag);
                stored.revision = revision;
                Ok(())
            }
            RunWrite::DeleteTag { run, key } => {
                let stored = self.active(&run)?;
                stored.run.tags.retain(|tag| tag.key != key);
                stored.revision = revision;
                Ok(())
            }
        }
    }

    fn put_experiment(&mut self, mut experiment: Experiment, revision: u64) -> Result<(), Refusal> {
        if self.experiments.values().any(|(_, other)| other.name == experiment.name && other.id != experiment.id) {
            return Err(taken_experiment(&experiment.name));
        }
        experiment.tags.sort_by(|a, b| a.key.cmp(&b.key));
        self.experiments.insert(experiment.id.clone(), (revision, experiment));
        self.experiments_revision = revision;
        Ok(())
    }

    fn create_run(&mut self, mut run: Run, revision: u64) -> Result<(), Refusal> {
        if self.runs.contains_key(&run.id) {
            return Err(taken_run(&run.id));
        }
        if !self.experiments.contains_key(&run.experiment) {
            return Err(no_experiment(&run.experiment));
        }
        let what = RunLog {
            metrics: std::mem::take(&mut run.metrics),
            params: std::mem::take(&mut run.params),
            tags: std::mem::take(&mut run.tags),
            inputs: std::mem::take(&mut run.inputs),
            outputs: std::mem::take(&mut run.outputs),
        };
        let mut stored = Stored { revision, run, points: BTreeMap::new() };
        stored.log(what)?;
        self.runs.insert(stored.run.id.clone(), Arc::new(stored));
        Ok(())
    }

    pub(super) fn log(&mut self, id: &RunId, what: RunLog, revision: u64) -> Result<(), CommitError> {
        let stored = self.active(id)?;
        stored.log(what)?;
        stored.revision = revision;
        Ok(())
    }

    fn stored(&mut self, id: &RunId) -> Result<&mut Stored, Refusal> {
        let found = self.runs.get_mut(id).ok_or_else(|| no_run(id))?;
        Ok(Arc::make_mut(found))
    }

    fn active(&mut self, id: &RunId) -> Result<&mut Stored, Refusal> {
        let stored = self.stored(id)?;
        if stored.run.lifecycle_stage == LifecycleStage::Deleted {
            return Err(deleted_run(id));
        }
        Ok(stored)
    }

    pub(super) fn search(&self, search: &RunSearch) -> Result<Page<Run>, SearchError> {
        let skip = match &search.token {
            None => 0,
            Some(token) => token.parse().map_err(|_| bad_token(token))?,
        };
        let in_view = |run: &Run| match search.view {
            ViewType::All => true,
            ViewType::Active => run.lifecycle_stage == LifecycleStage::Active,
            ViewType::Deleted => run.lifecycle_stage == LifecycleStage::Deleted,
        };
        let mut found: Vec<&Run> = self
            .runs
            .values()
            .map(|stored| &stored.run)
            .filter(|run| search.experiments.contains(&run.experiment) && in_view(run) && search.filter.matches(*run))
            .collect();
        found.sort_by(|a, b| {
            let by_keys = search.order.iter().map(|key| key.compare(*a, *b)).find(|order| *order != Ordering::Equal);
            by_keys.unwrap_or(Ordering::Equal).then(b.start.cmp(&a.start)).then(a.id.cmp(&b.id))
        });
        let end = found.len().min(usize::saturating_add(skip, search.limit));
        let items = found.iter().take(end).skip(skip).map(|run| Run::clone(run)).collect();
        let token = (end < found.len() && search.limit > 0).then(|| end.to_string());
        Ok(Page { items, token })
    }

    pub(super) fn history(&self, run: &RunId, key: &str, limit: Option<usize>, token: Option<&str>) -> Result<HistoryPage, SearchError> {
        let skip: usize = match token {
            None => 0,
            Some(token) => token.parse().map_err(|_| bad_token(token))?,
        };
        let stored = self.runs.get(run).ok_or_else(|| no_run(run))?;
        let Some(all) = stored.points.get(key) else { return Ok(HistoryPage { points: Vec::new(), token: None }) };
        let limit = limit.unwrap_or(usize::MAX);
        let points: Vec<_> = all.values().skip(skip).take(limit).cloned().collect();
        let end = skip.saturating_add(points.len());
        let token = (end < all.len()).then(|| end.to_string());
        Ok(HistoryPage { points, token })
    }
}

impl Stored {
    /// All of it or nothing: only a param can be refused, so params are looked at first.
    fn log(&mut self, what: RunLog) -> Result<(), Refusal> {
        let mut params = self.run.params.clone();
        for param in what.params {
            match params.iter().find(|known| known.key == param.key) {
                Some(known) if known.value != param.value => return Err(changed_param(&param.key, &known.value, &param.value)),
                Some(_) => {}
                None => params.push(param),
            }
        }
        params.sort_by(|a, b| a.key.cmp(&b.key));
        self.run.params = params;
        for tag in what.tags {
            set_tag(&mut self.run.tags, tag);
        }
        for metric in what.metrics {
            self.point(metric);
        }
        for input in what.inputs {
            if !self.run.inputs.iter().any(|known| known.name == input.name && known.digest == input.digest) {
                self.run.inputs.push(input);
            }
        }
        for output in what.outputs {
            if !self.run.outputs.contains(&output) {
                self.run.outputs.push(output);
            }
        }
        Ok(())
    }

    fn point(&mut self, mut metric: Metric) {
        metric.value = OrderedNumber::new(metric.value).get();
        match self.run.metrics.iter_mut().find(|latest| latest.key == metric.key) {
            Some(latest) if metric.rank() > latest.rank() => *latest = metric.clone(),
            Some(_) => {}
            None => {
                self.run.metrics.push(metric.clone());
                self.run.metrics.sort_by(|a, b| a.key.cmp(&b.key));
            }
        }
        self.points.entry(metric.key.clone()).or_default().entry(metric.place()).or_insert(metric);
    }
}

fn set_tag(tags: &mut Vec<Tag>, tag: Tag) {
    match tags.binary_search_by(|known| known.key.cmp(&tag.key)) {
        Ok(at) => tags[at] = tag,
        Err(at) => tags.insert(at, tag),
    }
}
