//! The control group of one job.

use super::WEIGHT;
use ports::OutOfMemory;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A job that starts more processes and threads than this is told so by `fork`, before the machine has none left.
pub(super) const PROCESSES: u32 = 10_000;

/// What a job is held to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: Option<u64>,
    /// Its part of the time when there is not enough for all.
    pub(crate) cpu: u32,
}

/// The part of the time that so many cpus stand for; the kernel takes 1 to 10,000.
pub(super) fn weight(cpus: u32) -> u32 {
    cpus.max(1).saturating_mul(WEIGHT).min(10_000)
}

pub(crate) struct Group {
    folder: PathBuf,
}

impl Group {
    pub(super) fn at(folder: PathBuf) -> Group {
        Group { folder }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn make(folder: PathBuf, limits: &Limits, cpu: bool, pids: bool) -> io::Result<Group> {
        fs::create_dir(&folder)?;
        let group = Group { folder };
        group.limit(limits, cpu, pids).inspect_err(|_| {
            group.remove();
        })?;
        Ok(group)
    }

    fn limit(&self, limits: &Limits, cpu: bool, pids: bool) -> io::Result<()> {
        if let Some(bytes) = limits.memory_bytes {
            self.write("memory.max", &bytes.to_string())?;
            // All of the job or nothing of it: what is left of a job that lost a process would hang or lie.
            self.write("memory.oom.group", "1")?;
            // A kernel without swap has no such file.
            let _ = self.write("memory.swap.max", "0");
        }
        if cpu {
            self.write("cpu.weight", &weight(limits.cpu).to_string())?;
        }
        if pids {
            self.write("pids.max", &PROCESSES.to_string())?;
        }
        Ok(())
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), text)
    }

    /// Who writes `0` here is in the group.
    pub(crate) fn door(&self) -> io::Result<File> {
        File::options().write(true).open(self.folder.join("cgroup.procs"))
    }

    /// The numbers of all its processes, those of groups within it too.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        each_folder(&self.folder, &mut |folder| {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        });
        found
    }

    /// Ends every process at once, however fast they start others.
    pub(crate) fn kill(&self) {
        if self.folder.join("cgroup.kill").exists() && self.write("cgroup.kill", "1").is_ok() {
            return;
        }
        // Kernels before 5.14.
        for pid in self.processes() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// Removes it with the groups within it; whether it is gone. One with a living process stays.
    pub(crate) fn remove(&self) -> bool {
        each_folder(&self.folder, &mut |folder| {
            let _ = fs::remove_dir(folder);
        });
        !self.folder.exists()
    }

    /// CPU time of all that ran in it, ended or not.
    pub(crate) fn cpu_ms(&self) -> Option<u64> {
        Some(self.number("cpu.stat", "usage_usec")? / 1000)
    }

    /// Memory that cannot be taken back: all but the files that were read a while ago.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.value("memory.current").unwrap_or(0).saturating_sub(self.number("memory.stat", "inactive_file").unwrap_or(0))
    }

    /// The most memory that was in use, as far as the kernel tells, less what is still held of files.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        Some(self.value("memory.peak")?.saturating_sub(self.number("memory.stat", "file").unwrap_or(0)))
    }

    /// What the kernel says of kills for want of memory in it.
    pub(crate) fn out_of_memory(&self) -> Option<OutOfMemory> {
        let count = |name| self.number("memory.events", name).unwrap_or(0);
        match (count("oom_kill"), count("oom")) {
            (0, _) => None,
            // Its own limit was not met: the machine's was, or that of a group around it.
            (_, 0) => Some(OutOfMemory::Machine),
            _ => Some(OutOfMemory::OwnLimit),
        }
    }

    /// The limit of processes, if it was met.
    pub(crate) fn too_many_processes(&self) -> Option<u32> {
        (self.number("pids.events", "max")? > 0).then_some(PROCESSES)
    }

    fn value(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()
    }

    /// A line `NAME NUMBER` of a file.
    fn number(&self, file: &str, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.folder.join(file)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

/// Inner folders first.
fn each_folder(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            each_folder(&entry.path(), visit);
        }
    }
    visit(folder);
}
