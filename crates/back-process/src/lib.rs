//! Local processes as a compute back end.
//!
//! A [`LocalPool`] has cpus, memory and GPUs; a job waits in its queue until what it asked for is free, as [`compute::queue`] decides. It
//! runs in a process group of its own, with just the environment it was given and the cookie `TRIMTAB_JOB=ID`, by which
//! all that it started is found again, daemons and what a killed server left behind included.
//!
//! Invariants: when `run` returns, no process of the job lives; memory in this process is bounded whatever a job prints.

mod gpus;
mod members;
mod output;
mod pool;

use async_trait::async_trait;
use domain::spec::ComputeSpec;
use domain::{Fault, Refusal, Span};
use members::{Members, Usage};
use nix::sys::signal::Signal;
use output::Output;
use parking_lot::Mutex;
use pool::Slots;
use ports::{ComputeBackend, ComputeError, JobEnd, JobId, JobSpec, PoolState};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use wait4::Wait4;

/// How often use of memory and cpu is looked at.
const SAMPLE: Duration = Duration::from_millis(100);
/// How long a job may take to end after the first signal.
const GRACE: Duration = Duration::from_secs(2);

/// The machine's own cpus and memory.
pub struct LocalPool {
    slots: Slots,
    /// How often the kernel had killed for want of memory when that was last looked at.
    kernel_kills: AtomicU64,
    jobs: Mutex<HashMap<JobId, watch::Sender<bool>>>,
}

impl LocalPool {
    /// A pool of so many cpu slots and bytes of memory.
    pub fn new(cpu: u32, mem_bytes: u64) -> Self {
        LocalPool {
            slots: Slots::new(cpu, mem_bytes, gpus::found()),
            kernel_kills: AtomicU64::new(members::kernel_memory_kills()),
            jobs: Mutex::default(),
        }
    }

    /// All cpus of the machine and three quarters of its memory.
    pub fn of_this_machine() -> Self {
        let cpu = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        LocalPool::new(cpu, members::total_memory_bytes().unwrap_or(4 << 30) / 4 * 3)
    }

    async fn run_in_slot(&self, job: &JobSpec, gpus: &[String], mut cancelled: watch::Receiver<bool>) -> Result<JobEnd, ComputeError> {
        let killed_before = self.kernel_kills.load(Ordering::Relaxed);
        let mut child = spawn(job, gpus)?;
        let members = Members::of(&job.id.0, Some(child.id()));
        let streams = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
        let output = Output::collect(streams, &job.log).await;
        let mut ended = tokio::task::spawn_blocking(move || child.wait4());
        // Whatever went wrong, the process does not outlive this function.
        let output = match output {
            Ok(output) => output,
            Err(fault) => {
                members.end(Duration::ZERO).await;
                return Err(fault.into());
            }
        };
        let mut end = JobEnd::default();
        let mut usage = Usage::default();
        let began = Instant::now();
        let deadline = job.timeout.map(|span| began + span.duration());
        let mut sample = tokio::time::interval_at(began + SAMPLE, SAMPLE);
        let mut heard = (output.heard(), began);
        let status = loop {
            tokio::select! {
                status = &mut ended => break status,
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
                    self.kernel_kills.fetch_max(members::kernel_memory_kills(), Ordering::Relaxed);
                    if job.mem_bytes.is_some_and(|limit| usage.memory_bytes > limit) && !end.out_of_memory {
                        end.out_of_memory = true;
                        members.signal(Signal::SIGKILL);
                    }
                    if output.heard() != heard.0 {
                        heard = (output.heard(), now);
                    }
                    if job.heartbeat.is_some_and(|span| now - heard.1 > span.duration()) && !end.silent {
                        end.silent = true;
                        members.end(GRACE).await;
                    }
                }
            }
        };
        members.end(Duration::ZERO).await;
        let what = || format!("waiting for job {}", job.id.0);
        let status = status.map_err(|e| Fault::because(what(), e))?.map_err(|e| Fault::because(what(), e))?;
        end.exit = status.status.code();
        end.signal = status.status.signal();
        let nobody_asked = !end.cancelled && !end.timed_out && !end.silent;
        if nobody_asked && killed_by_kernel(end.signal, end.exit) {
            let now = members::kernel_memory_kills();
            end.out_of_memory |= now > killed_before;
            self.kernel_kills.fetch_max(now, Ordering::Relaxed);
        }
        end.cpu_ms = Some(usage.cpu_ms(&status.rusage));
        end.peak_memory_bytes = usage.peak_bytes(&status.rusage);
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

fn span_of(time: Duration) -> Span {
    Span::from_ms(time.as_millis() as i64)
}

fn spawn(job: &JobSpec, gpus: &[String]) -> Result<Child, ComputeError> {
    let Some((program, arguments)) = job.command.split_first() else {
        return Err(Refusal::invalid("job/no_command", "the command is empty").into());
    };
    // With a path the process is spawned; looking for a name on another PATH would fork, and copy this process's page tables.
    let mut command = Command::new(found(program, job).unwrap_or_else(|| program.into()));
    command
        .arg0(program)
        .args(arguments)
        .current_dir(&job.dir)
        .env_clear()
        .envs(job.env.iter().map(|(name, value)| (name, value)))
        .env(members::COOKIE, &job.id.0)
        .env("CUDA_VISIBLE_DEVICES", gpus.join(","))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command.spawn().map_err(|e| {
        Refusal::invalid("job/cannot_start", format!("`{program}` cannot be started in {}: {e}", job.dir.display()))
            .hint("check that the program exists and may be executed, and that the folder is there")
            .into()
    })
}

/// Where the job's own PATH has a program.
fn found(program: &str, job: &JobSpec) -> Option<PathBuf> {
    if program.contains('/') {
        return None;
    }
    let (_, path) = job.env.iter().find(|(name, _)| name == "PATH")?;
    let may_run = |file: &PathBuf| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    std::env::split_paths(path).map(|folder| job.dir.join(folder).join(program)).find(may_run)
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
        Members::of(&job.0, None).end(GRACE).await;
        Ok(())
    }

    fn configure(&self, spec: &ComputeSpec) -> Result<(), Refusal> {
        self.slots.configure(spec)
    }

    fn state(&self) -> PoolState {
        self.slots.state()
    }
}

#[cfg(test)]
mod tests;
