//! Local processes as a compute back end.
//!
//! A [`LocalPool`] has slots for cpu and memory; a job waits, first come first served, until what it asked for is free. It
//! runs in a process group of its own, with just the environment it was given and the cookie `TRIMTAB_JOB=ID`, by which
//! all that it started is found again, daemons and what a killed server left behind included.
//!
//! Invariants: when `run` returns, no process of the job lives; memory in this process is bounded whatever a job prints.

mod members;
mod output;
mod slots;

use async_trait::async_trait;
use domain::{Fault, Refusal};
use members::{Members, Usage};
use nix::sys::signal::Signal;
use output::Output;
use parking_lot::Mutex;
use ports::{ComputeBackend, ComputeError, JobEnd, JobId, JobSpec};
use slots::Slots;
use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;

/// How often use of memory and cpu is looked at.
const SAMPLE: Duration = Duration::from_millis(100);
/// How long a job may take to end after the first signal.
const GRACE: Duration = Duration::from_secs(2);

/// The machine's own cpus and memory.
pub struct LocalPool {
    slots: Slots,
    jobs: Mutex<HashMap<JobId, watch::Sender<bool>>>,
}

impl LocalPool {
    /// A pool of so many cpu slots and bytes of memory.
    pub fn new(cpu: u32, mem_bytes: u64) -> Self {
        LocalPool { slots: Slots::new(cpu, mem_bytes), jobs: Mutex::default() }
    }

    /// All cpus of the machine and three quarters of its memory.
    pub fn of_this_machine() -> Self {
        let cpu = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        LocalPool::new(cpu, members::total_memory_bytes().unwrap_or(4 << 30) / 4 * 3)
    }

    async fn run_in_slot(&self, job: &JobSpec, mut cancelled: watch::Receiver<bool>) -> Result<JobEnd, ComputeError> {
        let killed_before = members::kernel_memory_kills();
        let mut child = spawn(job)?;
        let members = Members::of(&job.id.0, child.id());
        let output = Output::collect(&mut child, &job.log).await?;
        let mut end = JobEnd::default();
        let mut usage = Usage::default();
        let deadline = job.timeout.map(|span| Instant::now() + span.duration());
        let mut sample = tokio::time::interval(SAMPLE);
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                _ = asked(&mut cancelled), if !end.cancelled => {
                    end.cancelled = true;
                    members.end(GRACE).await;
                }
                _ = sleep_until(deadline), if !end.timed_out => {
                    end.timed_out = true;
                    members.end(GRACE).await;
                }
                _ = sample.tick() => {
                    usage.take(members.usage());
                    if job.mem_bytes.is_some_and(|limit| usage.memory_bytes > limit) && !end.out_of_memory {
                        end.out_of_memory = true;
                        members.signal(Signal::SIGKILL);
                    }
                }
            }
        };
        members.end(Duration::ZERO).await;
        let status = status.map_err(|e| Fault::because(format!("waiting for job {}", job.id.0), e))?;
        end.exit = status.code();
        end.signal = status.signal();
        let nobody_asked = !end.cancelled && !end.timed_out;
        end.out_of_memory |= nobody_asked && killed_by_kernel(end.signal, end.exit) && members::kernel_memory_kills() > killed_before;
        end.cpu_ms = usage.cpu_ms();
        end.peak_memory_bytes = usage.peak_bytes();
        end.stderr_tail = output.finish().await;
        Ok(end)
    }
}

/// Whether SIGKILL ended the job itself, or what a shell waited for (which tells it as 128 + 9).
fn killed_by_kernel(signal: Option<i32>, exit: Option<i32>) -> bool {
    signal == Some(9) || exit == Some(137)
}

/// Waits until somebody asks the job to end.
async fn asked(cancelled: &mut watch::Receiver<bool>) {
    if cancelled.wait_for(|yes| *yes).await.is_err() {
        std::future::pending().await
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn spawn(job: &JobSpec) -> Result<Child, ComputeError> {
    let Some((program, arguments)) = job.command.split_first() else {
        return Err(Refusal::invalid("job/no_command", "the command is empty").into());
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&job.dir)
        .env_clear()
        .envs(job.env.iter().map(|(name, value)| (name, value)))
        .env(members::COOKIE, &job.id.0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command.spawn().map_err(|e| {
        Refusal::invalid("job/cannot_start", format!("`{program}` cannot be started in {}: {e}", job.dir.display()))
            .hint("check that the program exists and may be executed, and that the folder is there")
            .into()
    })
}

#[async_trait]
impl ComputeBackend for LocalPool {
    async fn run(&self, job: JobSpec) -> Result<JobEnd, ComputeError> {
        self.slots.check(job.cpu, job.mem_bytes.unwrap_or(0))?;
        let (cancel, mut cancelled) = watch::channel(false);
        if self.jobs.lock().insert(job.id.clone(), cancel).is_some() {
            return Err(Refusal::conflict("job/running", format!("job {} runs already", job.id.0)).into());
        }
        let slot = tokio::select! {
            slot = self.slots.take(job.cpu, job.mem_bytes.unwrap_or(0)) => Some(slot),
            _ = asked(&mut cancelled) => None,
        };
        let end = match slot {
            Some(_slot) => self.run_in_slot(&job, cancelled).await,
            None => Ok(JobEnd { cancelled: true, ..JobEnd::default() }),
        };
        self.jobs.lock().remove(&job.id);
        end
    }

    async fn cancel(&self, job: &JobId) {
        if let Some(cancel) = self.jobs.lock().get(job) {
            cancel.send_replace(true);
        }
    }

    async fn reap(&self, job: &JobId) -> Result<(), Fault> {
        Members::of(&job.0, None).end(GRACE).await;
        Ok(())
    }

    fn usage(&self) -> (u32, u32) {
        self.slots.usage()
    }
}

#[cfg(test)]
mod tests;
