//! Local processes as a compute back end.
//!
//! A [`LocalPool`] has cpus, memory and GPUs; a job waits in its queue until what it asked for is free, as [`compute::queue`] decides. It
//! runs in a process group of its own, with just the environment it was given and the cookie `TRIMTAB_JOB=ID`, by which
//! all that it started is found again, daemons and what a killed server left behind included.
//!
//! Where the system lets it, a job has a control group of its own and the kernel holds it to its limits; elsewhere it is watched, and killed
//! when it holds more memory than it asked for. [`PoolState::limits`] says which, and why.
//!
//! Invariants: when `run` returns, no process of the job lives; memory in this process is bounded whatever a job prints.

mod cgroup;
mod gpus;
mod members;
mod output;
mod pool;
mod spawn;
mod wait;

use async_trait::async_trait;
use cgroup::{Group, Limits, Tree};
use domain::spec::ComputeSpec;
use domain::{Fault, Refusal, Span};
use members::{KernelKills, Members, Usage};
use nix::sys::signal::Signal;
use output::Output;
use parking_lot::Mutex;
use pool::Slots;
use ports::{ComputeBackend, ComputeError, JobEnd, JobId, JobLimits, JobSpec, LimitsBy, OutOfMemory, PoolState};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use wait::Ends;

/// How often use of memory and cpu is looked at.
const SAMPLE: Duration = Duration::from_millis(100);
/// How long a job may take to end after the first signal.
const GRACE: Duration = Duration::from_secs(2);

/// The machine's own cpus and memory.
pub struct LocalPool {
    slots: Slots,
    /// Where jobs get control groups, or why they do not.
    groups: Result<Tree, String>,
    kernel_kills: KernelKills,
    jobs: Mutex<HashMap<JobId, watch::Sender<bool>>>,
}

impl LocalPool {
    /// A pool of so many cpu slots and bytes of memory.
    pub fn new(cpu: u32, mem_bytes: u64) -> Self {
        LocalPool {
            slots: Slots::new(cpu, mem_bytes, gpus::found()),
            groups: Tree::open(Path::new("/proc")),
            kernel_kills: KernelKills::new(),
            jobs: Mutex::default(),
        }
    }

    /// All cpus of the machine and three quarters of its memory.
    pub fn of_this_machine() -> Self {
        let cpu = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        LocalPool::new(cpu, members::total_memory_bytes().unwrap_or(4 << 30) / 4 * 3)
    }

    async fn run_in_slot(&self, job: &JobSpec, gpus: &[String], mut cancelled: watch::Receiver<bool>) -> Result<JobEnd, ComputeError> {
        let killed_before = self.kernel_kills.recent(SAMPLE);
        let limits = Limits { memory_bytes: job.mem_bytes, cpu: job.cpu };
        let group = self.groups.as_ref().ok().and_then(|tree| {
            let told = |error| tracing::warn!(%error, "a job gets no control group and is watched instead");
            tree.group(&limits).map_err(told).ok()
        });
        let ends = Ends::listen().map_err(|e| Fault::because("hearing of jobs that end", e))?;
        let (mut child, group) = spawn::spawn_within(job, gpus, group)?;
        let members = Members::of(&job.id.0, Some(child.id()), group);
        let streams = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
        let output = Output::collect(streams, &job.log);
        let mut ended = std::pin::pin!(ends.of(child));
        // Whatever went wrong, the process does not outlive this function.
        let mut output = match output {
            Ok(output) => output,
            Err(fault) => {
                members.end(Duration::ZERO).await;
                members.control().map(Group::remove);
                // It is dead, and is gone when somebody has asked for its end.
                let _ = ended.await;
                return Err(fault.into());
            }
        };
        let mut end = JobEnd::default();
        let mut usage = Usage::default();
        let began = Instant::now();
        let deadline = job.timeout.map(|span| began + span.duration());
        let mut sample = tokio::time::interval_at(began + SAMPLE, SAMPLE);
        let said = output.heard();
        let mut heard = (0, began);
        let watched = async {
            loop {
                tokio::select! {
                    status = &mut ended => return status,
                    _ = asked(&mut cancelled), if !end.cancelled => {
                        end.cancelled = true;
                        members.end(GRACE).await;
                    }
                    _ = sleep_until(deadline), if !end.timed_out => {
                        end.timed_out = true;
                        members.end(GRACE).await;
                    }
                    now = sample.tick() => {
                        usage.take(members.usage());
                        let is_watched = members.control().is_none() && end.out_of_memory.is_none();
                        if is_watched && job.mem_bytes.is_some_and(|limit| usage.memory_bytes > limit) {
                            end.out_of_memory = Some(OutOfMemory::OwnLimit);
                            members.signal(Signal::SIGKILL);
                        }
                        let count = said.load(Ordering::Relaxed);
                        if count != heard.0 {
                            heard = (count, now);
                        }
                        if job.heartbeat.is_some_and(|span| now - heard.1 > span.duration()) && !end.silent {
                            end.silent = true;
                            members.end(GRACE).await;
                        }
                    }
                }
            }
        };
        let status = output.copy_while(watched).await;
        members.end(Duration::ZERO).await;
        let status = status.map_err(|e| Fault::because(format!("waiting for job {}", job.id.0), e))?;
        end.exit = status.status.code();
        end.signal = status.status.signal();
        end.cpu_ms = Some(usage.cpu_ms(&status.rusage));
        end.peak_memory_bytes = usage.peak_bytes(&status.rusage);
        match members.control() {
            Some(group) => {
                end.out_of_memory = group.out_of_memory();
                end.too_many_processes = group.too_many_processes();
                end.cpu_ms = group.cpu_ms().or(end.cpu_ms);
                end.peak_memory_bytes = group.peak_bytes().max(end.peak_memory_bytes);
                group.remove();
            }
            None if end.out_of_memory.is_none() && !end.was_ended() && killed_by_kernel(end.signal, end.exit) => {
                let killed_another = self.kernel_kills.recent(Duration::ZERO) > killed_before;
                end.out_of_memory = killed_another.then(|| whose_kill(end.peak_memory_bytes, members::total_memory_bytes()));
            }
            None => {}
        }
        end.stderr_tail = output.finish().await?;
        Ok(end)
    }
}

/// Whether SIGKILL ended the job itself, or what a shell waited for (which tells it as 128 + 9).
fn killed_by_kernel(signal: Option<i32>, exit: Option<i32>) -> bool {
    signal == Some(9) || exit == Some(137)
}

/// The kernel counts its kills for the whole machine. A job that was killed while it held most of the memory is taken for the one that was
/// meant.
fn whose_kill(peak_bytes: Option<u64>, machine_bytes: Option<u64>) -> OutOfMemory {
    match peak_bytes.zip(machine_bytes) {
        Some((peak, machine)) if peak >= machine / 2 => OutOfMemory::Machine,
        _ => OutOfMemory::Perhaps,
    }
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

fn span_of(time: Duration) -> Span {
    Span::from_ms(time.as_millis() as i64)
}

#[async_trait]
impl ComputeBackend for LocalPool {
    async fn run(&self, job: JobSpec) -> Result<JobEnd, ComputeError> {
        let (cancel, mut cancelled) = watch::channel(false);
        let asked_at = Instant::now();
        let mut place = self.slots.ask(&job)?;
        self.jobs.lock().insert(job.id.clone(), cancel);
        let gpus = tokio::select! {
            gpus = place.granted() => Some(gpus),
            _ = asked(&mut cancelled) => None,
        };
        let waited = span_of(asked_at.elapsed());
        let began = Instant::now();
        let end = match gpus {
            Some(gpus) => self.run_in_slot(&job, &gpus, cancelled).await.map(|end| JobEnd { gpus, ..end }),
            None => Ok(JobEnd { cancelled: true, ..JobEnd::default() }),
        };
        self.jobs.lock().remove(&job.id);
        end.map(|end| JobEnd { waited, ran: span_of(began.elapsed()), ..end })
    }

    async fn cancel(&self, job: &JobId) {
        if let Some(cancel) = self.jobs.lock().get(job) {
            cancel.send_replace(true);
        }
    }

    async fn reap(&self, job: &JobId) -> Result<(), Fault> {
        Members::of(&job.0, None, None).end(GRACE).await;
        Ok(())
    }

    fn configure(&self, spec: &ComputeSpec) -> Result<(), Refusal> {
        self.slots.configure(spec)
    }

    fn state(&self) -> PoolState {
        let limits = match &self.groups {
            Ok(tree) => JobLimits { by: LimitsBy::ControlGroups, why: tree.describe() },
            Err(why) => JobLimits { by: LimitsBy::Watching, why: why.clone() },
        };
        PoolState { limits, ..self.slots.state() }
    }
}

#[cfg(test)]
mod tests;
