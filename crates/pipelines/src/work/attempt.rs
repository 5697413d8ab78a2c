//! One attempt: the command with its environment, or a built-in step; and what is said when it fails.

use super::step::Place;
use super::{BuiltInStep, Engine, Job, StepFailure, files};
use crate::sweep::{self, Values};
use crate::template;
use domain::entity::{PipelineStep, StepArtifact, StepAttempt};
use domain::{Digest, Fault};
use indexmap::IndexMap;
use ports::{ComputeError, JobEnd, JobId, JobSpec, OutOfMemory};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// What every step may see of the server's own environment.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE"];
/// Libraries that otherwise take every core.
const THREADS: [&str; 4] = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"];

/// What fills the placeholders of a command besides the run's parameters and the step's inputs.
pub(super) struct Filling<'a> {
    /// Outputs go here.
    pub(super) out: PathBuf,
    pub(super) trial: Option<&'a Values>,
    /// The parent of the runs that the command starts, and the key that they are found by.
    pub(super) parent: Option<(&'a str, &'a str)>,
}

impl Engine {
    pub(super) fn job_id(&self, job: &Job, step: &str, attempt: u32) -> JobId {
        JobId(format!("{}.{}.{step}.{attempt}", self.config.instance, job.run.id))
    }

    /// What is known of an attempt before it runs.
    pub(super) fn describe_attempt(&self, job: &Job, name: &str, place: &Place, number: u32) -> StepAttempt {
        let secret = |name: &str| place.spec.env.iter().any(|allowed| allowed == name);
        let shown = self.environment(job, name, place).iter().map(|(name, value)| {
            let value = if secret(name) { "(set)".into() } else { value.clone() };
            (name.clone(), value)
        });
        StepAttempt {
            command: place.spec.run.clone(),
            env: shown.collect(),
            code: (!place.code.is_empty()).then(|| Digest::of_json(&place.code)),
            git_commit: job.version.git_commit.clone(),
            log: place.log.to_string_lossy().into_owned(),
            ..StepAttempt::begun(number, self.clock.wall_now())
        }
    }

    fn environment<'a>(&self, job: &Job, name: &str, place: &'a Place) -> &'a IndexMap<String, String> {
        place.env.get_or_init(|| self.make_environment(job, name, place))
    }

    fn make_environment(&self, job: &Job, name: &str, place: &Place) -> IndexMap<String, String> {
        let passed = PASSED_ON.iter().copied().chain(place.spec.env.iter().map(String::as_str));
        let mut env: IndexMap<String, String> = passed.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect();
        for threads in THREADS {
            env.insert(threads.into(), place.spec.need.cpu.to_string());
        }
        if let Some(folder) = python(place).and_then(|python| Some(Path::new(&python).parent()?.to_string_lossy().into_owned())) {
            let path = env.get("PATH").cloned().unwrap_or_default();
            env.insert("PATH".into(), format!("{folder}:{path}"));
        }
        let told = [
            ("MLFLOW_TRACKING_URI", self.config.tracking_uri.clone()),
            ("MLFLOW_EXPERIMENT_NAME", job.run.pipeline.clone()),
            // Read by the client for every run that it starts: the run is linked without a word in the user's code.
            ("MLFLOW_RUN_CONTEXT", context(job, name, &[])),
            ("PYTHONUNBUFFERED", "1".into()),
            ("TRIMTAB_PIPELINE_RUN", job.run.id.to_string()),
            ("TRIMTAB_STEP", name.into()),
        ];
        env.extend(told.map(|(name, value)| (name.to_owned(), value)));
        env
    }

    /// Runs the attempt; `Err` says in one sentence what went wrong.
    pub(super) async fn attempt(
        self: &Arc<Self>,
        job: &Job,
        name: &str,
        step: &mut PipelineStep,
        place: &Place,
        cancelled: &watch::Receiver<bool>,
    ) -> Result<(), String> {
        let out = place.out();
        if place.has_folder() {
            let _ = tokio::fs::remove_dir_all(&out).await;
            tokio::fs::create_dir_all(&out).await.map_err(|e| format!("its folder cannot be made: {e}"))?;
        }
        if place.spec.pipeline.is_some() {
            return self.run_child(job, name, step, place, cancelled).await;
        } else if place.spec.run.is_empty() {
            let built_in = BuiltInStep { run: &job.run, name, spec: &place.spec, out: out.clone() };
            step.training_set = self.built_in.run(&built_in).await.map_err(|failure| self.failure(failure))?;
        } else if place.spec.sweep.is_some() && trial_again(job).is_none() {
            return self.run_sweep(job, name, step, place, cancelled).await;
        } else if place.spec.check.is_empty() {
            self.run_command(job, name, step, place, cancelled).await?;
        } else {
            self.run_check(job, name, step, place, cancelled).await?;
        }
        step.outputs.extend(self.keep_outputs(place, &out).await?);
        Ok(())
    }

    /// Puts every declared output of a folder into the store; one that was not written is named.
    pub(super) async fn keep_outputs(&self, place: &Place, out: &Path) -> Result<IndexMap<String, StepArtifact>, String> {
        let mut outputs = IndexMap::new();
        for (output, file) in &place.spec.output {
            let path = out.join(file);
            if !path.is_file() {
                return Err(format!("it ended well but wrote no `{file}` (output {output}); write it to {{out.{output}}}"));
            }
            let kept = files::keep(&*self.artifacts, &path, file).await.map_err(|fault| fault.to_string())?;
            outputs.insert(output.clone(), kept);
        }
        Ok(outputs)
    }

    pub(super) fn failure(&self, failure: StepFailure) -> String {
        if let StepFailure::Fault(fault) = &failure {
            tracing::error!(%fault, "a built-in step broke");
        }
        failure.to_string()
    }

    pub(super) async fn run_command(
        &self,
        job: &Job,
        name: &str,
        step: &mut PipelineStep,
        place: &Place,
        cancelled: &watch::Receiver<bool>,
    ) -> Result<(), String> {
        let attempt = step.attempts.last_mut().expect("an attempt is described before it runs");
        let trial = match (&place.spec.sweep, trial_again(job)) {
            (Some(search), Some(number)) => {
                let missing = || format!("the search has no trial {number}");
                Some(sweep::trials(search).into_iter().nth(number as usize).ok_or_else(missing)?)
            }
            _ => None,
        };
        let filling = Filling { out: place.out(), trial: trial.as_ref(), parent: None };
        let id = self.job_id(job, name, attempt.number);
        let spec = self.job_spec(job, name, place, id, &filling, &place.log)?;
        attempt.command.clone_from(&spec.command);
        let end = self.run_job(spec, cancelled).await?;
        attempt.exit = end.exit;
        attempt.signal = end.signal;
        attempt.timed_out = end.timed_out;
        attempt.gpus.clone_from(&end.gpus);
        attempt.waited = Some(end.waited);
        attempt.ran = Some(end.ran);
        attempt.cpu_ms = end.cpu_ms;
        attempt.peak_memory_bytes = end.peak_memory_bytes;
        if end.is_success() && !end.cancelled { Ok(()) } else { Err(describe(&end, place)) }
    }

    /// The job of a command, its placeholders filled.
    pub(super) fn job_spec(
        &self,
        job: &Job,
        name: &str,
        place: &Place,
        id: JobId,
        filling: &Filling<'_>,
        log: &Path,
    ) -> Result<JobSpec, String> {
        let filled = template::render(&place.spec.run, |kind, hole| self.fill(job, place, filling, kind, hole));
        let mut command = filled.map_err(|refusal| refusal.to_string())?;
        if let (Some(first), Some(python)) = (command.first_mut(), python(place))
            && (first == "python" || first == "python3")
        {
            *first = python;
        }
        let mut env = self.environment(job, name, place).clone();
        if let Some((parent, key)) = filling.parent {
            env.insert("MLFLOW_RUN_CONTEXT".into(), context(job, name, &[("mlflow.parentRunId", parent), ("trimtab.trial", key)]));
        }
        Ok(JobSpec {
            id,
            command,
            env: env.into_iter().collect(),
            dir: place.ground.project.root.clone().into(),
            log: log.to_path_buf(),
            cpu: place.spec.need.cpu,
            mem_bytes: place.spec.need.mem_bytes()?,
            gpu: place.spec.need.gpu,
            queue: place.spec.queue.clone().unwrap_or_else(|| "default".into()),
            team: job.version.spec.team.clone(),
            what: format!("step {name} of {}", job.run.id),
            timeout: place.spec.timeout,
            heartbeat: place.spec.heartbeat,
        })
    }

    /// Runs a job to its end; asked to stop, its whole process tree dies.
    pub(super) async fn run_job(&self, spec: JobSpec, cancelled: &watch::Receiver<bool>) -> Result<JobEnd, String> {
        let id = spec.id.clone();
        let mut cancelled = cancelled.clone();
        let running = self.compute.run(spec);
        tokio::pin!(running);
        let mut asked = false;
        let end = loop {
            tokio::select! {
                end = &mut running => break end,
                () = super::raised(&mut cancelled), if !asked => {
                    asked = true;
                    self.compute.cancel(&id).await;
                }
            }
        };
        end.map_err(|error| match error {
            ComputeError::Refused(refusal) => refusal.to_string(),
            ComputeError::Fault(fault) => describe_fault(&fault),
        })
    }

    fn fill(&self, job: &Job, place: &Place, filling: &Filling<'_>, kind: &str, hole: &str) -> Option<String> {
        match kind {
            "in" => Some(place.input(hole, place.inputs.get(hole)?).to_string_lossy().into_owned()),
            "out" => Some(filling.out.join(place.spec.output.get(hole)?).to_string_lossy().into_owned()),
            "sweep" => filling.trial?.get(hole).map(ToString::to_string),
            _ => tell(job, place, kind, hole),
        }
    }

    /// The whole message: pipeline, step, attempt, what, log, and the command that goes on.
    pub(super) fn explain(&self, job: &Job, name: &str, place: &Place, number: u32, allowed: u32, what: &str) -> String {
        let of = if allowed > 1 { format!(" (of at most {allowed} a start)") } else { String::new() };
        let mut text = format!("pipeline {}, step {name}, attempt {number}{of}: {what}", job.run.pipeline);
        if place.log.exists() {
            text.push_str(&format!("\nlog: {}", place.log.display()));
        }
        text.push_str(&format!("\nresume: trimtab pipeline resume {}", job.run.id));
        text
    }
}

/// The one trial of a search that a pipeline run repeats.
fn trial_again(job: &Job) -> Option<u32> {
    job.run.again.as_ref()?.trial
}

/// What a placeholder that is not about files stands for.
pub(super) fn tell(job: &Job, place: &Place, kind: &str, hole: &str) -> Option<String> {
    match (kind, hole) {
        ("params", _) => job.run.params.get(hole).map(ToString::to_string),
        ("each", _) => place.item.get(hole).map(ToString::to_string),
        ("trigger", "time") => Some(job.run.trigger.time.to_string()),
        ("run", "id") => Some(job.run.id.to_string()),
        ("run", "state") => job.end.as_ref().map(|end| end.state.word().to_owned()),
        ("run", "error") => job.end.as_ref().map(|end| end.error.clone().unwrap_or_default()),
        _ => None,
    }
}

fn describe_fault(fault: &Fault) -> String {
    tracing::error!(%fault, "the compute back end broke");
    fault.to_string()
}

/// The project's interpreter as an absolute path, or as found on the path.
fn python(place: &Place) -> Option<String> {
    let python = place.ground.project.spec.project.python.as_ref()?;
    if !python.contains('/') {
        return Some(python.clone());
    }
    Some(Path::new(&place.ground.project.root).join(python).to_string_lossy().into_owned())
}

/// Tags that the client puts on every run that the step starts.
fn context(job: &Job, step: &str, more: &[(&str, &str)]) -> String {
    let version = job.run.version.to_string();
    let own = [
        ("trimtab.pipeline_run", job.run.id.as_str()),
        ("trimtab.pipeline", &job.run.pipeline),
        ("trimtab.pipeline_version", &version),
        ("trimtab.step", step),
    ];
    let tags: IndexMap<&str, &str> = own.into_iter().chain(more.iter().copied()).collect();
    json!(tags).to_string()
}

/// `SIGSEGV (signal 11)`; the numbers are those of Linux, apart from rare ones alike everywhere.
fn signal_name(signal: i32) -> String {
    const NAMES: [(i32, &str); 12] = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (15, "SIGTERM"),
        (24, "SIGXCPU"),
    ];
    let name = NAMES.iter().find(|(number, _)| *number == signal);
    name.map_or(format!("signal {signal}"), |(_, name)| format!("{name} (signal {signal})"))
}

/// What to try next, if the way it ended tells.
fn hint(end: &JobEnd, place: &Place) -> Option<String> {
    let asked = place.spec.need.mem.as_deref();
    Some(match end {
        JobEnd { cancelled: true, .. } => return None,
        JobEnd { timed_out: true, .. } => "raise `timeout`, or find out from the log where it stood".into(),
        JobEnd { silent: true, .. } => "let it print how far it has come (unbuffered), or raise `heartbeat`".into(),
        JobEnd { out_of_memory: Some(_), .. } => match asked {
            Some(asked) => format!("ask for more than {asked}: need = {{ mem = \"...\" }}; or read the data in pieces"),
            None => "say what it needs, so that fewer run beside it: need = { mem = \"2GiB\" }; or read the data in pieces".into(),
        },
        JobEnd { too_many_processes: Some(most), .. } => format!("it came to the limit of {most} processes and threads"),
        JobEnd { signal: Some(9), .. } => "neither a time-out nor memory: somebody or something else killed it".into(),
        JobEnd { signal: Some(4 | 6 | 7 | 8 | 11), .. } => "native code crashed: look at the versions of its libraries".into(),
        JobEnd { exit: Some(126), .. } => "a file that it calls may not be executed: chmod +x".into(),
        JobEnd { exit: Some(127), .. } => "a program that it calls was not found on PATH".into(),
        JobEnd { .. } if end.stderr_tail.contains("ModuleNotFoundError") => {
            "install the module into the interpreter that `python` in [project] names".into()
        }
        JobEnd { .. } if end.stderr_tail.contains("No such file or directory") || end.stderr_tail.contains("FileNotFoundError") => {
            "paths are relative to the project's folder; files of other steps come as {in.NAME}".into()
        }
        _ => return None,
    })
}

/// That it was killed for want of memory, with what it had and might have.
fn memory_words(how: OutOfMemory, end: &JobEnd, asked: Option<&str>) -> String {
    let had =
        end.peak_memory_bytes.map_or(String::new(), |bytes| format!(" (at most {:.1} MiB in use)", bytes as f64 / f64::from(1 << 20)));
    match (how, asked) {
        (OutOfMemory::OwnLimit, Some(asked)) => format!("killed: out of memory, it needed more than the {asked} that it asked for{had}"),
        (OutOfMemory::OwnLimit, None) => format!("killed: out of memory{had}"),
        (OutOfMemory::Machine, _) => format!("killed by SIGKILL: out of memory, the machine had no more to give{had}"),
        (OutOfMemory::Perhaps, _) => {
            format!("killed by SIGKILL: by whom is not known, perhaps out of memory: the kernel killed something for that meanwhile{had}")
        }
    }
}

pub(super) fn describe(end: &JobEnd, place: &Place) -> String {
    let mut what = match end {
        JobEnd { cancelled: true, .. } => "cancelled".to_owned(),
        JobEnd { timed_out: true, .. } => format!("no end within its timeout of {}", place.spec.timeout.unwrap_or_default()),
        JobEnd { silent: true, .. } => format!("no sign of life for {}: it printed nothing", place.spec.heartbeat.unwrap_or_default()),
        JobEnd { out_of_memory: Some(how), .. } => memory_words(*how, end, place.spec.need.mem.as_deref()),
        JobEnd { signal: Some(signal), .. } => format!("killed by {}", signal_name(*signal)),
        JobEnd { exit, .. } => format!("exit {}", exit.map_or("unknown".into(), |code| code.to_string())),
    };
    if !end.stderr_tail.trim().is_empty() {
        what.push_str("\n  ");
        what.push_str(&end.stderr_tail.trim_end().replace('\n', "\n  "));
    }
    if let Some(hint) = hint(end, place) {
        what.push_str(&format!("\nhint: {hint}"));
    }
    what
}
