//! Experiments and runs in memory.

use crate::refusals::{
    active_experiment, active_run, bad_token, changed_param, deleted_run, full_experiment, no_experiment, no_run, taken_experiment,
    taken_run,
};
use crate::{
    CommitError, Curve, CurveBuilder, DATASETS_MAX, DatasetSummary, HistoryPage, KEYS_MAX, Keys, Page, Place, RunLog, RunSearch,
    SearchError, TextHit, ViewType, sample, text,
};
use domain::entity::{Experiment, LifecycleStage, Metric, Run, Tag};
use domain::{ExperimentId, OrderedNumber, Refusal, RunId, RunWrite, Timestamp};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All experiments and runs. Cloning shares each of them.
#[derive(Clone, Default)]
pub(super) struct Runs {
    experiments: BTreeMap<ExperimentId, (u64, Experiment)>,
    experiments_revision: u64,
    runs: BTreeMap<RunId, Arc<Stored>>,
}

/// A point's place in its key's history.
type Moment = (i64, i64, OrderedNumber);

#[derive(Clone)]
struct Stored {
    revision: u64,
    /// When it was put into the bin, while it is there.
    binned: Option<Timestamp>,
    /// Params, tags and latest metrics are sorted by key.
    run: Run,
    points: BTreeMap<String, BTreeMap<Moment, Metric>>,
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

    pub(super) fn write(&mut self, write: RunWrite, revision: u64, at: Timestamp) -> Result<(), Refusal> {
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
                    stored.stage(stage, at);
                    stored.revision = revision;
                }
                Ok(())
            }
            RunWrite::CreateRun(run) => self.create_run(run, revision, at),
            RunWrite::UpdateRun(new) => {
                let stored = self.stored(&new.id)?;
                let old = &mut stored.run;
                (old.name, old.user, old.status, old.start, old.end) = (new.name, new.user, new.status, new.start, new.end);
                stored.stage(new.lifecycle_stage, at);
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
            RunWrite::PurgeRun(id) => self.purge_run(&id),
            RunWrite::PurgeExperiment(id) => self.purge_experiment(&id, revision),
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

    fn purge_run(&mut self, id: &RunId) -> Result<(), Refusal> {
        let stored = self.runs.get(id).ok_or_else(|| no_run(id))?;
        if stored.run.lifecycle_stage == LifecycleStage::Active {
            return Err(active_run(id));
        }
        self.runs.remove(id);
        Ok(())
    }

    fn purge_experiment(&mut self, id: &ExperimentId, revision: u64) -> Result<(), Refusal> {
        let (_, experiment) = self.experiments.get(id).ok_or_else(|| no_experiment(id))?;
        if experiment.lifecycle_stage == LifecycleStage::Active {
            return Err(active_experiment(id));
        }
        if self.runs.values().any(|stored| stored.run.experiment == *id) {
            return Err(full_experiment(id));
        }
        self.experiments.remove(id);
        self.experiments_revision = revision;
        Ok(())
    }

    fn create_run(&mut self, mut run: Run, revision: u64, at: Timestamp) -> Result<(), Refusal> {
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
        let binned = (run.lifecycle_stage == LifecycleStage::Deleted).then_some(at);
        let mut stored = Stored { revision, binned, run, points: BTreeMap::new() };
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

    /// Runs that a search is about, in no order.
    pub(super) fn fitting(&self, search: &RunSearch) -> impl Iterator<Item = &Run> {
        let in_view = |run: &Run| match search.view {
            ViewType::All => true,
            ViewType::Active => run.lifecycle_stage == LifecycleStage::Active,
            ViewType::Deleted => run.lifecycle_stage == LifecycleStage::Deleted,
        };
        let all = self.runs.values().map(|stored| &stored.run);
        all.filter(move |run| search.experiments.contains(&run.experiment) && in_view(run) && search.filter.matches(*run))
    }

    pub(super) fn search(&self, search: &RunSearch) -> Result<Page<Run>, SearchError> {
        search.check()?;
        let after = Place::after(search)?;
        let mut found: Vec<(Place, &Run)> = self.fitting(search).map(|run| (Place::of(run, &search.order), run)).collect();
        found.retain(|(place, _)| after.as_ref().is_none_or(|after| place.compare(after, &search.order) == Ordering::Greater));
        found.sort_by(|(a, _), (b, _)| a.compare(b, &search.order));
        let more = found.len() > search.limit;
        found.truncate(search.limit);
        let items = found.iter().map(|(_, run)| Run::clone(run)).collect();
        let token = found.pop().filter(|_| more).map(|(place, _)| place.token(search)).transpose()?;
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

    /// A metric's points by step, time and value.
    fn ranked(&self, run: &RunId, key: &str) -> Result<Vec<Metric>, Refusal> {
        let stored = self.runs.get(run).ok_or_else(|| no_run(run))?;
        let mut points: Vec<Metric> = stored.points.get(key).into_iter().flat_map(BTreeMap::values).cloned().collect();
        points.sort_by_key(Metric::rank);
        Ok(points)
    }

    pub(super) fn interval(
        &self,
        runs: &[RunId],
        key: &str,
        steps: Option<(i64, i64)>,
        max: usize,
    ) -> Result<Vec<(RunId, Metric)>, SearchError> {
        let mut found = Vec::new();
        for run in runs {
            let mut points = self.ranked(run, key)?;
            points.retain(|point| steps.is_none_or(|(from, to)| (from..=to).contains(&point.step)));
            found.extend(sample(points.len(), max).into_iter().map(|at| (run.clone(), points[at].clone())));
        }
        Ok(found)
    }

    pub(super) fn curve(&self, run: &RunId, key: &str, buckets: usize) -> Result<Curve, SearchError> {
        let mut builder = CurveBuilder::new(buckets);
        self.ranked(run, key)?.iter().for_each(|point| builder.add(point.step, point.time.ms(), OrderedNumber::new(point.value)));
        Ok(builder.finish())
    }

    pub(super) fn keys(&self, experiments: &[ExperimentId]) -> Keys {
        let (mut metrics, mut params, mut tags) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for run in self.active_in(experiments) {
            metrics.extend(run.metrics.iter().map(|metric| metric.key.clone()));
            params.extend(run.params.iter().map(|param| param.key.clone()));
            tags.extend(run.tags.iter().map(|tag| tag.key.clone()));
        }
        let cut = [&metrics, &params, &tags].iter().any(|kind| kind.len() > KEYS_MAX);
        let first = |kind: BTreeSet<String>| kind.into_iter().take(KEYS_MAX).collect();
        Keys { metrics: first(metrics), params: first(params), tags: first(tags), cut }
    }

    pub(super) fn datasets(&self, experiments: &[ExperimentId]) -> Vec<DatasetSummary> {
        let mut all = BTreeSet::new();
        for run in self.runs.values().map(|stored| &stored.run).filter(|run| experiments.contains(&run.experiment)) {
            all.extend(run.inputs.iter().map(|input| DatasetSummary {
                experiment: run.experiment.clone(),
                name: input.name.clone(),
                digest: input.digest.clone(),
                context: input.context().map(str::to_owned),
            }));
        }
        all.into_iter().take(DATASETS_MAX).collect()
    }

    pub(super) fn find_text(&self, query: &str, experiments: &[ExperimentId], limit: usize) -> Vec<TextHit> {
        let asked = text::asked(query);
        let mut found: Vec<_> = self.active_in(experiments).filter_map(|run| text::hit(run, &asked).map(|hit| (run.start, hit))).collect();
        found.sort_by(|(a_start, a), (b_start, b)| b_start.cmp(a_start).then_with(|| a.run.cmp(&b.run)));
        found.into_iter().take(limit).map(|(_, hit)| hit).collect()
    }

    pub(super) fn deleted_before(&self, before: Timestamp, after: Option<&RunId>, limit: usize) -> Vec<RunId> {
        let old = self.runs.values().filter(|stored| stored.binned.is_some_and(|binned| binned < before)).map(|stored| &stored.run.id);
        old.filter(|id| after.is_none_or(|after| *id > after)).take(limit).cloned().collect()
    }

    fn active_in(&self, experiments: &[ExperimentId]) -> impl Iterator<Item = &Run> {
        let all = self.runs.values().map(|stored| &stored.run);
        all.filter(|run| run.lifecycle_stage == LifecycleStage::Active && experiments.contains(&run.experiment))
    }
}

impl Stored {
    fn stage(&mut self, stage: LifecycleStage, at: Timestamp) {
        self.run.lifecycle_stage = stage;
        self.binned = (stage == LifecycleStage::Deleted).then(|| self.binned.unwrap_or(at));
    }

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
