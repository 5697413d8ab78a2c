//! Control groups (cgroup v2): the kernel itself holds a job to its limits, counts what it used, and says whether it died for want of
//! memory.
//!
//! They may be used where the server lives in a group of its own that it may write to (a unit with `Delegate=yes`, a container with a
//! writable cgroup file system, the root group). A group that hands controllers on to others may hold no process itself, so the
//! server first moves into a leaf beside the jobs' groups, if it lives alone there. Whatever is missing, the reason is said and jobs are watched instead.
//!
//! Groups are called `trimtab-PID-START.N`, after the server's process and when it started: those of a server that is gone are
//! killed and removed at the next start.

mod find;
mod group;

pub(crate) use group::{Group, Limits};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PREFIX: &str = "trimtab-";
const LEAF: &str = ".server";
/// Weight of one cpu; that of a group nobody said anything about.
const WEIGHT: u32 = 100;

/// The sub-tree in which each job has a group.
pub(crate) struct Tree {
    folder: PathBuf,
    mark: String,
    next: AtomicU64,
    cpu: bool,
    pids: bool,
}

impl Tree {
    /// The tree of this process, made ready; or why there is none. `proc` is `/proc`.
    pub(crate) fn open(proc: &Path) -> Result<Tree, String> {
        let mut folder = find::own_folder(proc)?;
        if folder.file_name().is_some_and(|name| name.to_string_lossy().ends_with(LEAF)) {
            folder.pop();
        }
        let offered = words(&folder.join("cgroup.controllers"));
        if !offered.iter().any(|name| name == "memory") {
            let there = if offered.is_empty() { "none".into() } else { offered.join(", ") };
            return Err(format!("{} hands on no controller for memory (it has: {there})", folder.display()));
        }
        let pid = std::process::id();
        let mark = format!("{PREFIX}{pid}-{}", find::started(proc, pid).unwrap_or_default());
        remove_left_overs(proc, &folder);
        let tree = Tree { mark, next: AtomicU64::new(0), cpu: false, pids: false, folder };
        tree.make_ready(pid)?;
        let enabled = words(&tree.folder.join("cgroup.subtree_control"));
        let has = |name: &str| enabled.iter().any(|enabled| enabled == name);
        Ok(Tree { cpu: has("cpu"), pids: has("pids"), ..tree })
    }

    /// Hands the controllers on to the jobs' groups.
    fn make_ready(&self, pid: u32) -> Result<(), String> {
        let control = self.folder.join("cgroup.subtree_control");
        let is_ready = words(&control).iter().any(|name| name == "memory");
        // Only the root of all groups has no type, and only it may hold processes beside groups with limits.
        let is_root = !self.folder.join("cgroup.type").exists();
        let leaf = self.folder.join(format!("{}{LEAF}", self.mark));
        let moves = !is_ready && !is_root;
        if moves {
            let others = words(&self.folder.join("cgroup.procs")).iter().filter(|other| **other != pid.to_string()).count();
            if others > 0 {
                return Err(format!(
                    "{others} other processes live in {}, the server's own group; start it as a unit with Delegate=yes, or by \
                     `systemd-run --user --scope -p Delegate=yes trimtab up`",
                    self.folder.display()
                ));
            }
            self.enter_leaf(&leaf).map_err(|error| self.refused(&error))?;
        }
        let enabled = fs::write(&control, "+memory");
        if let Err(error) = enabled {
            if moves {
                let _ = fs::write(self.folder.join("cgroup.procs"), "0");
                let _ = fs::remove_dir(&leaf);
            }
            return Err(self.refused(&error));
        }
        // Without these two, memory is still held to.
        for controller in ["+cpu", "+pids"] {
            let _ = fs::write(&control, controller);
        }
        if moves {
            let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
            // Pressed for time, the server and its model workers get as much as all jobs together.
            let _ = fs::write(leaf.join("cpu.weight"), group::weight(cpus).to_string());
        }
        // What cannot be made now cannot be made for a job either.
        let probe = self.group(&Limits::default()).map_err(|error| self.refused(&error))?;
        probe.remove();
        Ok(())
    }

    fn enter_leaf(&self, leaf: &Path) -> io::Result<()> {
        match fs::create_dir(leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::write(leaf.join("cgroup.procs"), "0").inspect_err(|_| {
            let _ = fs::remove_dir(leaf);
        })
    }

    fn refused(&self, error: &io::Error) -> String {
        format!("{} may not be written to ({error}); a unit with Delegate=yes has a group of its own", self.folder.display())
    }

    /// What the pool says of itself.
    pub(crate) fn describe(&self) -> String {
        let mut held = vec!["memory"];
        held.extend(self.cpu.then_some("cpu"));
        held.extend(self.pids.then_some("processes"));
        format!("each job has a group of its own in {}: {}", self.folder.display(), held.join(", "))
    }

    /// A group for a job.
    pub(crate) fn group(&self, limits: &Limits) -> io::Result<Group> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Group::make(self.folder.join(format!("{}.{number}", self.mark)), limits, self.cpu, self.pids)
    }
}

/// Ends and removes the groups of servers that are gone.
fn remove_left_overs(proc: &Path, folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let is_left = |name: &str| {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')?.0.split_once('-'));
        let owner = owner.and_then(|(pid, start)| Some((pid.parse::<u32>().ok()?, start.parse::<u64>().ok()?)));
        owner.is_some_and(|(pid, start)| find::started(proc, pid) != Some(start))
    };
    let left = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_left));
    let left: Vec<Group> = left.map(|entry| Group::at(entry.path())).collect();
    left.iter().for_each(Group::kill);
    for group in &left {
        tracing::info!(group = %group.folder().display(), "ended what a server that is gone left running");
        // The kernel takes a moment to end what was killed.
        for _ in 0..50 {
            if group.remove() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn words(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
