//! A step that is a search: one job a trial, within the pool; what has ended is not done again.

use super::attempt::{Filling, describe};
use super::step::Place;
use super::{BuiltInStep, Engine, Job, files};
use crate::sweep::{self, Values};
use domain::entity::{PipelineStep, Sweep, Trial};
use domain::spec::SweepSpec;
use futures::{FutureExt, StreamExt};
use indexmap::IndexMap;
use serde_json::json;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// Outputs that every search has: all trials, and the best one.
pub(crate) const OUTPUTS: [(&str, &str); 2] = [("trials", "trials.json"), ("best", "best.json")];

impl Engine {
    /// Runs the trials that have not ended; the best one's outputs become the step's.
    pub(super) async fn run_sweep(
        &self,
        job: &Job,
        name: &str,
        step: &mut PipelineStep,
        place: &Place,
        cancelled: &watch::Receiver<bool>,
    ) -> Result<(), String> {
        let spec = place.spec.sweep.as_ref().expect("only a search comes here");
        let all = sweep::trials(spec);
        let built_in = BuiltInStep { run: &job.run, name, spec: &place.spec, out: place.out() };
        let parent = match &step.sweep {
            Some(known) => known.run.clone(),
            None => self.built_in.open_sweep(&built_in, all.len()).await.map_err(|failure| self.failure(failure))?,
        };
        // A trial that failed in an earlier attempt gets another chance, one that was measured does not run again.
        let state = step.sweep.get_or_insert(Sweep { run: parent.clone(), trials: Vec::new() });
        state.trials.retain(|trial| trial.value.is_some());
        let done: Vec<u32> = state.trials.iter().map(|trial| trial.number).collect();
        let attempt = step.attempts.last().map_or(1, |attempt| attempt.number);
        let mut trials = Vec::new();
        for (number, values) in (0_u32..).zip(&all) {
            if !done.contains(&number) {
                let told = Told { number, attempt, values, parent: parent.as_str() };
                trials.push(self.trial(job, name, place, told, cancelled).boxed());
            }
        }
        let mut running = futures::stream::iter(trials).buffer_unordered(spec.parallel.max(1) as usize);
        while let Some(trial) = running.next().await {
            let line = tell(&trial, spec);
            append(&place.log, &line).await;
            if let Some(state) = &mut step.sweep {
                state.trials.push(trial);
            }
            self.commit_step(job, step).await.map_err(|fault| fault.to_string())?;
        }
        drop(running);
        let trials = step.sweep.as_ref().map(|sweep| sweep.trials.clone()).unwrap_or_default();
        let best = sweep::best(&trials, spec.goal).cloned();
        if *cancelled.borrow() {
            return Err("cancelled".into());
        }
        self.built_in.close_sweep(&built_in, &parent, &trials, best.as_ref()).await.map_err(|failure| self.failure(failure))?;
        let Some(best) = best else {
            let first = trials.iter().find_map(|trial| trial.error.clone()).unwrap_or_else(|| "they ended without an error".into());
            return Err(format!("none of {} trials logged a number for `{}`; the first: {first}", trials.len(), spec.metric));
        };
        self.keep_sweep(step, place, &trials, &best).await
    }

    /// The best trial's outputs, and the two files that every search has.
    async fn keep_sweep(&self, step: &mut PipelineStep, place: &Place, trials: &[Trial], best: &Trial) -> Result<(), String> {
        step.outputs = best.outputs.clone();
        let shown = |trial: &Trial| json!({ "number": trial.number, "params": trial.params, "run": trial.run, "value": trial.value, "error": trial.error });
        let contents = [json!(trials.iter().map(shown).collect::<Vec<_>>()), shown(best)];
        for ((output, file), content) in OUTPUTS.iter().zip(contents) {
            if place.spec.output.contains_key(*output) {
                continue;
            }
            let path = place.out().join(file);
            tokio::fs::write(&path, content.to_string()).await.map_err(|error| format!("{file} cannot be written: {error}"))?;
            let kept = files::keep(&*self.artifacts, &path, file).await.map_err(|fault| fault.to_string())?;
            step.outputs.insert((*output).to_owned(), kept);
        }
        Ok(())
    }

    /// One trial to its end; what went wrong is in it.
    async fn trial(&self, job: &Job, name: &str, place: &Place, told: Told<'_>, cancelled: &watch::Receiver<bool>) -> Trial {
        let mut trial = Trial {
            number: told.number,
            params: told.values.clone(),
            run: None,
            value: None,
            error: None,
            outputs: IndexMap::new(),
            cpu_ms: None,
        };
        if *cancelled.borrow() {
            trial.error = Some("cancelled".into());
            return trial;
        }
        if let Err(what) = self.try_trial(job, name, place, &told, cancelled, &mut trial).await {
            trial.error = Some(what);
        }
        trial
    }

    async fn try_trial(
        &self,
        job: &Job,
        name: &str,
        place: &Place,
        told: &Told<'_>,
        cancelled: &watch::Receiver<bool>,
        trial: &mut Trial,
    ) -> Result<(), String> {
        let id = self.job_id(job, name, told.attempt).part(&format!("trial-{}", told.number));
        let out = place.out().join(format!("trial-{}", told.number));
        let _ = tokio::fs::remove_dir_all(&out).await;
        tokio::fs::create_dir_all(&out).await.map_err(|e| format!("its folder cannot be made: {e}"))?;
        let key = format!("{}/{name}/{}/{}", job.run.id, told.number, told.attempt);
        let filling = Filling { out: out.clone(), trial: Some(told.values), parent: Some((told.parent, &key)) };
        let log = trial_log(&place.log, told.number);
        let spec = self.job_spec(job, name, place, id, &filling, &log)?;
        let end = self.run_job(spec, cancelled).await?;
        trial.cpu_ms = end.cpu_ms;
        let found = self.built_in.trial_run(&key, &place.spec).await.map_err(|failure| self.failure(failure))?;
        if let Some((run, value)) = found {
            trial.run = Some(run);
            trial.value = value.filter(|value| !value.is_nan());
        }
        if !end.is_success() || end.cancelled {
            trial.value = None;
            return Err(describe(&end, place));
        }
        let value = trial.value.take();
        trial.outputs = self.keep_outputs(place, &out).await?;
        trial.value = value;
        if trial.value.is_none() {
            let metric = place.spec.sweep.as_ref().map(|sweep| sweep.metric.as_str()).unwrap_or_default();
            return Err(format!("its run logged no number for `{metric}`; log it with mlflow.log_metric in a run of this command"));
        }
        Ok(())
    }
}

/// What a trial is told.
struct Told<'a> {
    number: u32,
    attempt: u32,
    values: &'a Values,
    parent: &'a str,
}

/// A trial's own log, beside the step's.
fn trial_log(log: &Path, number: u32) -> PathBuf {
    log.with_extension(format!("trial-{number}.log"))
}

/// A line of the step's log.
fn tell(trial: &Trial, spec: &SweepSpec) -> String {
    let values: Vec<String> = trial.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let outcome = match (&trial.value, &trial.error) {
        (Some(value), _) => format!("{} {value}", spec.metric),
        (None, Some(error)) => error.lines().next().unwrap_or_default().to_owned(),
        (None, None) => "no value".into(),
    };
    format!("trial {}: {}: {outcome}\n", trial.number, values.join(" "))
}

async fn append(log: &Path, line: &str) {
    let opened = tokio::fs::OpenOptions::new().create(true).append(true).open(log).await;
    let written = match opened {
        Ok(mut file) => match tokio::io::AsyncWriteExt::write_all(&mut file, line.as_bytes()).await {
            Ok(()) => tokio::io::AsyncWriteExt::flush(&mut file).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        tracing::warn!(%error, log = %log.display(), "a line of a step's log is lost");
    }
}
