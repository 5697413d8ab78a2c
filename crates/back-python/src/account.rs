//! What a model's worker processes use, as the system counts it.

use parking_lot::Mutex;
use ports::WorkerUse;
use std::collections::HashMap;
use std::fs;
use std::time::Instant;

/// Ticks of a second in `/proc`: the same on every machine, whatever its timer.
const TICKS: f64 = 100.0;

/// The processes of a model, and what each had used when it was last looked at. What a process used between that look and its end is lost.
#[derive(Default)]
pub(crate) struct Account(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    started: u64,
    processes: HashMap<u32, (f64, Instant)>,
}

impl Account {
    /// A process answers for the model from now on.
    pub(crate) fn started(&self, pid: Option<u32>) {
        let mut seen = self.0.lock();
        seen.started += 1;
        if let Some(pid) = pid {
            seen.processes.insert(pid, (0.0, Instant::now()));
        }
    }

    /// What was used since the last look.
    pub(crate) fn take(&self) -> WorkerUse {
        let mut seen = self.0.lock();
        let mut used = WorkerUse { started: std::mem::take(&mut seen.started), ..WorkerUse::default() };
        seen.processes.retain(|pid, (before, looked)| {
            let Some((cpu, peak, resident)) = read(*pid) else { return false };
            let seconds = looked.elapsed().as_secs_f64();
            used.cpu_seconds += (cpu - *before).max(0.0);
            used.peak_memory_bytes = used.peak_memory_bytes.max(peak);
            used.held_seconds += seconds;
            used.held_gib_seconds += resident as f64 / f64::from(1 << 30) * seconds;
            (*before, *looked) = (cpu, Instant::now());
            true
        });
        used
    }
}

/// Seconds of cpu, the most memory and the memory now, in bytes; `None` once the process is gone.
fn read(pid: u32) -> Option<(f64, u64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    // The state is the third field; user and system time are the 14th and 15th.
    let (user, system): (f64, f64) = (fields.nth(10)?.parse().ok()?, fields.next()?.parse().ok()?);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(((user + system) / TICKS, bytes("VmHWM:")?, bytes("VmRSS:")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_counted_while_it_lives() {
        let account = Account::default();
        let mut child = Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; read line"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        account.started(Some(child.id()));
        let mut used = account.take();
        assert_eq!(used.started, 1);
        while used.cpu_seconds < 0.02 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let more = account.take();
            assert_eq!(more.started, 0);
            used.cpu_seconds += more.cpu_seconds;
            used.held_seconds += more.held_seconds;
            used.peak_memory_bytes = more.peak_memory_bytes;
        }
        assert!(used.held_seconds > 0.0 && used.peak_memory_bytes > 100_000, "{used:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(account.take(), WorkerUse::default());
    }
}
