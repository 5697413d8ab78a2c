//! The processes of a job: those of its control group, or those found by process group and by the cookie in their environment.

use crate::cgroup::Group;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use wait4::ResourceUsage;

/// The variable that marks a job's processes; inherited by all that they start.
pub(crate) const COOKIE: &str = "TRIMTAB_JOB";
/// Clock ticks a second in `/proc/PID/stat`; 100 on every Linux.
const TICKS: u64 = 100;
const PAGE: u64 = 4096;

/// How long a job is young: no more processes than there are numbers are started in that time.
const YOUNG: Duration = Duration::from_secs(10);

/// Numbers that are looked at one by one; among more, those that are taken are listed first.
const FEW: i32 = 32;

pub(crate) struct Members {
    mark: Vec<u8>,
    group: Option<i32>,
    control: Option<Group>,
    began: Instant,
}

pub(crate) struct Process {
    pid: i32,
    ticks: u64,
    resident_bytes: u64,
}

/// What a job used so far.
#[derive(Default)]
pub(crate) struct Usage {
    pub(crate) memory_bytes: u64,
    peak: u64,
    ticks: HashMap<i32, u64>,
}

impl Usage {
    /// Takes a sample in; a process that ended keeps the last count of its own.
    pub(crate) fn take(&mut self, sample: UsageSample) {
        self.memory_bytes = match &sample {
            UsageSample::Counted { memory_bytes } => *memory_bytes,
            UsageSample::Seen(processes) => processes.iter().map(|process| process.resident_bytes).sum(),
        };
        self.peak = self.peak.max(self.memory_bytes);
        if let UsageSample::Seen(processes) = sample {
            self.ticks.extend(processes.into_iter().map(|process| (process.pid, process.ticks)));
        }
    }

    /// CPU of the whole job: what the kernel counted for the leader and all that was waited for, or what was seen of the processes alive.
    pub(crate) fn cpu_ms(&self, counted: &ResourceUsage) -> u64 {
        let counted = counted.utime + counted.stime;
        let seen = self.ticks.values().sum::<u64>() * 1000 / TICKS;
        seen.max(counted.as_millis() as u64)
    }

    /// The most memory that was seen at a time, or that the kernel counted for one process. The count of a process begins with that of the
    /// one that started it, which is this one: what is not more than that tells nothing.
    pub(crate) fn peak_bytes(&self, counted: &ResourceUsage) -> Option<u64> {
        let peak = if counted.maxrss > own_peak_bytes() { self.peak.max(counted.maxrss) } else { self.peak };
        (peak > 0).then_some(peak)
    }
}

pub(crate) enum UsageSample {
    /// By the kernel, for the job's control group.
    Counted {
        memory_bytes: u64,
    },
    Seen(Vec<Process>),
}

impl Members {
    pub(crate) fn of(job: &str, leader: Option<u32>, control: Option<Group>) -> Self {
        let mark = format!("{COOKIE}={job}").into_bytes();
        Members { mark, group: leader.map(|pid| pid as i32), control, began: Instant::now() }
    }

    /// Its control group, if it has one.
    pub(crate) fn control(&self) -> Option<&Group> {
        self.control.as_ref()
    }

    fn alive(&self) -> Vec<i32> {
        match &self.control {
            Some(control) => control.processes(),
            None => self.processes().iter().map(|process| process.pid).collect(),
        }
    }

    fn processes(&self) -> Vec<Process> {
        let (least, newest) = self.range();
        if let Some(newest) = newest.filter(|newest| newest - least < FEW) {
            // A number may be a thread's: those are counted with their process.
            return (least..=newest).filter_map(|pid| self.member(pid)).filter(|process| is_process(process.pid)).collect();
        }
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok().filter(|pid| *pid >= least);
        entries.flatten().filter_map(|entry| self.member(number(entry)?)).collect()
    }

    /// The least number that a process of the job can have, and the greatest, if it is known. Numbers are given in rising order: what a
    /// young job started has a greater one than its leader, unless they began anew at the greatest. To look at every process of the
    /// machine costs more than many a step.
    fn range(&self) -> (i32, Option<i32>) {
        let newest = || std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().last()?.parse::<i32>().ok();
        let Some(leader) = self.group.filter(|_| self.began.elapsed() < YOUNG) else { return (0, None) };
        newest().filter(|newest| *newest >= leader).map_or((0, None), |newest| (leader, Some(newest)))
    }

    fn member(&self, pid: i32) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold anything; the fields after it are numbers.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if fields.first() == Some(&"Z") {
            return None;
        }
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        let in_group = self.group.is_some_and(|group| number(2) == Some(group as u64));
        if !in_group && !self.is_marked(pid) {
            return None;
        }
        Some(Process { pid, ticks: number(11)? + number(12)?, resident_bytes: number(21)? * PAGE })
    }

    fn is_marked(&self, pid: i32) -> bool {
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
        let is_ours = |variable: &[u8]| variable.strip_prefix(self.mark.as_slice()).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
        environment.split(|byte| *byte == 0).any(is_ours)
    }

    pub(crate) fn usage(&self) -> UsageSample {
        match &self.control {
            Some(control) => UsageSample::Counted { memory_bytes: control.memory_bytes() },
            None => UsageSample::Seen(self.processes()),
        }
    }

    /// Signals every process of the job; whether there was one.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let alive = self.alive();
        match &self.control {
            Some(control) if signal == Signal::SIGKILL && !alive.is_empty() => control.kill(),
            _ => {
                for pid in &alive {
                    // A process that ended meanwhile needs no signal.
                    let _ = kill(Pid::from_raw(*pid), signal);
                }
            }
        }
        !alive.is_empty()
    }

    /// Asks all to end, then makes them.
    pub(crate) async fn end(&self, grace: Duration) {
        let step = Duration::from_millis(20);
        if !grace.is_zero() {
            let mut waited = Duration::ZERO;
            self.signal(Signal::SIGTERM);
            while waited < grace && !self.alive().is_empty() {
                tokio::time::sleep(step).await;
                waited += step;
            }
        }
        // A process may start another between the look and the signal: look until none is left.
        for _ in 0..100 {
            if !self.signal(Signal::SIGKILL) {
                return;
            }
            tokio::time::sleep(step).await;
        }
    }
}

/// Whether a number is that of a process, and not of a thread of one.
fn is_process(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    group.is_none_or(|group| group.trim() == pid.to_string())
}

/// How often the kernel has killed for want of memory, on this machine and in the group that holds it; whom, it does not tell.
pub(crate) struct KernelKills {
    looked: Mutex<(Instant, u64)>,
}

impl KernelKills {
    /// As of now.
    pub(crate) fn new() -> Self {
        KernelKills { looked: Mutex::new((Instant::now(), kernel_memory_kills())) }
    }

    /// The count; one that was read a moment ago is not read again, since many short jobs start in a moment.
    pub(crate) fn recent(&self, moment: Duration) -> u64 {
        let mut looked = self.looked.lock();
        if looked.0.elapsed() > moment {
            *looked = (Instant::now(), kernel_memory_kills());
        }
        looked.1
    }
}

fn kernel_memory_kills() -> u64 {
    let count = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    count("/proc/vmstat") + count("/sys/fs/cgroup/memory.events")
}

/// The most memory that this process has had.
fn own_peak_bytes() -> u64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(u64::MAX, |usage| u64::try_from(usage.max_rss()).unwrap_or(0) * 1024)
}

/// Memory of the machine.
pub(crate) fn total_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
