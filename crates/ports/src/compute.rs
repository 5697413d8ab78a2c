//! Compute: jobs that run somewhere, with the resources they asked for.

use async_trait::async_trait;
use domain::spec::ComputeSpec;
use domain::{Fault, Refusal, Span};
use serde::Serialize;
use std::path::PathBuf;

/// A job of a back end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub String);

impl JobId {
    /// A part of this job, by name: reaping the job reaps its parts.
    pub fn part(&self, name: &str) -> JobId {
        JobId(format!("{}/{name}", self.0))
    }
}

/// What is to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// Made from the causing event: submitting the same job twice starts it once.
    pub id: JobId,
    pub command: Vec<String>,
    /// The whole environment: nothing else is inherited.
    pub env: Vec<(String, String)>,
    pub dir: PathBuf,
    /// Both streams are appended here while it runs.
    pub log: PathBuf,
    pub cpu: u32,
    pub mem_bytes: Option<u64>,
    /// GPUs that it has for itself, told by `CUDA_VISIBLE_DEVICES`; none: it sees none.
    pub gpu: u32,
    /// The queue that it waits in, and whose quota it counts against.
    pub queue: String,
    pub team: Option<String>,
    /// What it is, for people: `step train of retrain-3`.
    pub what: String,
    pub timeout: Option<Span>,
    /// A job that prints nothing for so long is taken for dead and ended.
    pub heartbeat: Option<Span>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct JobEnd {
    pub exit: Option<i32>,
    pub signal: Option<i32>,
    pub timed_out: bool,
    /// Ended because it printed nothing for as long as its `heartbeat` allows.
    pub silent: bool,
    pub cancelled: bool,
    /// It was killed for want of memory, and how that is known.
    pub out_of_memory: Option<OutOfMemory>,
    /// It came to this limit of processes and threads: what would have been more was refused to it.
    pub too_many_processes: Option<u32>,
    /// The GPUs that it had.
    pub gpus: Vec<String>,
    /// How long it waited for room.
    pub waited: Span,
    /// Wall time from its start to its end.
    pub ran: Span,
    pub cpu_ms: Option<u64>,
    pub peak_memory_bytes: Option<u64>,
    /// The last lines of the error stream.
    pub stderr_tail: String,
}

impl JobEnd {
    /// Whether it did its work.
    pub fn is_success(&self) -> bool {
        self.exit == Some(0)
    }

    /// Whether the back end ended it: on request, too late, or too long without a word.
    pub fn was_ended(&self) -> bool {
        self.cancelled || self.timed_out || self.silent
    }
}

/// Why a job is taken to have died for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfMemory {
    /// It used more than it asked for: the kernel says so of its control group, or it was seen to hold more and ended.
    OwnLimit,
    /// The machine, or the group that the server lives in, had no more, and the kernel chose this job: it says so of the job's control
    /// group, or the job was killed by nobody else while it held most of the machine's memory.
    Machine,
    /// Somebody killed it, and meanwhile the kernel killed something on this machine for want of memory; which, is not known.
    Perhaps,
}

/// Where jobs run. `run` waits for room in the pool, then for the end of the job; dropping the future does not end the job,
/// `cancel` does, with every process it started.
#[async_trait]
pub trait ComputeBackend: Send + Sync {
    /// Refuses at once what the pool can never hold; a job that ends badly is an `Ok`.
    async fn run(&self, job: JobSpec) -> Result<JobEnd, ComputeError>;
    /// Ends a queued or running job; one that is not there is no error.
    async fn cancel(&self, job: &JobId);
    /// Ends what an earlier process of this program left running of the job and of its parts.
    async fn reap(&self, job: &JobId) -> Result<(), Fault>;
    /// What an applied project says of compute. Refused is what makes no sense here; the old settings then stay.
    fn configure(&self, spec: &ComputeSpec) -> Result<(), Refusal>;
    /// How full the pool is, what runs and what waits, each with its reason.
    fn state(&self) -> PoolState;
}

/// A pool at an instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PoolState {
    pub cpu_used: u32,
    pub cpu: u32,
    pub mem_bytes_used: u64,
    pub mem_bytes: u64,
    pub gpu_used: u32,
    /// Names of the GPUs.
    pub gpus: Vec<String>,
    pub running: Vec<PoolJob>,
    /// In the order in which they are looked at.
    pub waiting: Vec<PoolJob>,
    pub limits: JobLimits,
}

/// How jobs are held to what they asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JobLimits {
    pub by: LimitsBy,
    /// Where the control groups are, or why there are none.
    pub why: String,
}

/// What holds jobs to what they asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitsBy {
    /// The kernel, by a control group for each job (cgroup v2).
    ControlGroups,
    /// A look at the job's processes ten times a second; what holds too much memory is killed.
    #[default]
    Watching,
}

/// A job of the pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolJob {
    pub job: String,
    pub what: String,
    pub queue: String,
    pub team: Option<String>,
    pub cpu: u32,
    pub mem_bytes: u64,
    pub gpu: u32,
    /// The GPUs that it holds.
    pub gpus: Vec<String>,
    /// How long it has run, or waited.
    pub since: Span,
    /// What it waits for.
    pub why: Option<String>,
}

/// Why a job did not run at all.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fault(#[from] Fault),
}
