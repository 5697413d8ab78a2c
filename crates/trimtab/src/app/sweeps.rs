//! Searches as tracking sees them: one parent run, its trials' runs as children.

use super::bridge::Bridge;
use domain::entity::{LifecycleStage, Metric, RunStatus, Tag, Trial};
use domain::filter::Expr;
use domain::spec::StepSpec;
use domain::{Actor, ExperimentId, Fault, Refusal, RunId};
use pipelines::{BuiltInStep, StepFailure};
use ports::{CommitError, RunLog, RunSearch, SearchError, ViewType, World, decide};
use tracking::experiments::NewExperiment;
use tracking::runs::{NewRun, RunChange};

/// The tag by which a trial's run is found.
const TRIAL_TAG: &str = "trimtab.trial";

fn of_commit(error: CommitError) -> StepFailure {
    match error {
        CommitError::Refused(refusal) => StepFailure::Refused(refusal),
        CommitError::Fault(fault) => StepFailure::Fault(fault),
        CommitError::Conflict(what) => StepFailure::Fault(Fault::broken(what)),
    }
}

fn actor() -> Actor {
    Actor::System("pipelines.sweep".into())
}

impl Bridge {
    /// The experiment that the pipeline's steps log to, made if it is not there.
    async fn experiment_of(&self, pipeline: &str) -> Result<ExperimentId, StepFailure> {
        let now = self.clock.event_now();
        let made = decide(&*self.store, |world| {
            let known = world.experiments()?.into_iter().find(|experiment| experiment.name == pipeline);
            match known {
                Some(known) if known.lifecycle_stage == LifecycleStage::Deleted => {
                    let what = format!("experiment `{pipeline}` is deleted");
                    Err(Refusal::conflict("experiment/deleted", what).hint("restore it, or give the pipeline another name").into())
                }
                Some(known) => Ok((domain::Batch::new(actor(), now), known.id)),
                None => {
                    let new = NewExperiment { name: pipeline.into(), ..NewExperiment::default() };
                    tracking::experiments::create(world, new, &actor(), now).map(|(batch, made)| (batch, made.id))
                }
            }
        });
        made.await.map_err(of_commit)
    }

    pub(super) async fn start_sweep(&self, step: &BuiltInStep<'_>, trials: usize) -> Result<RunId, StepFailure> {
        let experiment = self.experiment_of(&step.run.pipeline).await?;
        let now = self.clock.event_now();
        let tags = [
            (tracking::PIPELINE_RUN_TAG, step.run.id.to_string()),
            ("trimtab.pipeline", step.run.pipeline.clone()),
            ("trimtab.pipeline_version", step.run.version.to_string()),
            ("trimtab.step", step.name.to_owned()),
            ("trimtab.sweep", trials.to_string()),
        ];
        let new = NewRun {
            id: RunId::new(uuid::Uuid::new_v4().simple().to_string()),
            experiment,
            name: Some(format!("{} of {}", step.name, step.run.id)),
            spare_name: step.name.to_owned(),
            user: "trimtab".into(),
            start: now,
            tags: tags.into_iter().map(|(key, value)| Tag::new(key, value)).collect(),
        };
        let made = decide(&*self.store, |world| tracking::runs::create(world, new.clone(), &actor(), now)).await;
        Ok(made.map_err(of_commit)?.id)
    }

    pub(super) fn run_of_trial(&self, key: &str, spec: &StepSpec) -> Result<Option<(RunId, Option<f64>)>, StepFailure> {
        let world = World::new(self.store.snapshot()?);
        let search = RunSearch {
            experiments: world.experiments()?.into_iter().map(|experiment| experiment.id).collect(),
            filter: Expr::parse_runs(&format!("tags.`{TRIAL_TAG}` = '{key}'"))?,
            view: ViewType::Active,
            limit: 1,
            ..RunSearch::default()
        };
        let found = self.runs.search(&search).map_err(|error| match error {
            SearchError::Refused(refusal) => StepFailure::Refused(refusal),
            SearchError::Fault(fault) => StepFailure::Fault(fault),
        })?;
        let metric = spec.sweep.as_ref().map(|sweep| sweep.metric.as_str()).unwrap_or_default();
        Ok(found.items.into_iter().next().map(|run| {
            let value = run.metrics.iter().find(|one| one.key == metric).map(|one| one.value);
            (run.id, value)
        }))
    }

    pub(super) async fn finish_sweep(
        &self,
        step: &BuiltInStep<'_>,
        run: &RunId,
        trials: &[Trial],
        best: Option<&Trial>,
    ) -> Result<(), StepFailure> {
        let now = self.clock.event_now();
        let metric = step.spec.sweep.as_ref().map(|sweep| sweep.metric.clone()).unwrap_or_default();
        let mut tags = vec![Tag::new("trimtab.trials_failed", trials.iter().filter(|trial| trial.value.is_none()).count().to_string())];
        let mut metrics = Vec::new();
        if let Some(best) = best {
            tags.extend(best.run.iter().map(|run| Tag::new("trimtab.best_run", run.as_str())));
            tags.extend(best.params.iter().map(|(name, value)| Tag::new(format!("trimtab.best.{name}"), value.to_string())));
            let value = best.value.unwrap_or(f64::NAN);
            metrics.push(Metric { key: metric, value, time: now, step: 0, model_id: None, dataset_name: None, dataset_digest: None });
        }
        self.runs.log(run, RunLog { tags, metrics, ..RunLog::default() }).await.map_err(of_commit)?;
        let status = if best.is_some() { RunStatus::Finished } else { RunStatus::Failed };
        let change = RunChange { status: Some(status), end: Some(now), name: None };
        let done = decide(&*self.store, |world| tracking::runs::update(world, run, change.clone(), &actor(), now)).await;
        done.map(|_| ()).map_err(of_commit)
    }
}
