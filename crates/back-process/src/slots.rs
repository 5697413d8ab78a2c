//! Slots for cpu and memory, handed out first come, first served.

use domain::Refusal;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is counted in pieces of this size.
const PIECE: u64 = 1 << 20;

pub(crate) struct Slots {
    cpu: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    /// Taken while waiting, so that a large job is not overtaken for ever.
    turn: tokio::sync::Mutex<()>,
    cpu_total: u32,
    memory_total: u32,
}

/// What a job holds while it runs.
pub(crate) struct Slot {
    _cpu: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

fn pieces(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX)
}

impl Slots {
    pub(crate) fn new(cpu: u32, mem_bytes: u64) -> Self {
        let memory_total = pieces(mem_bytes);
        Slots {
            cpu: Arc::new(Semaphore::new(cpu as usize)),
            memory: Arc::new(Semaphore::new(memory_total as usize)),
            turn: tokio::sync::Mutex::new(()),
            cpu_total: cpu,
            memory_total,
        }
    }

    /// Refuses what the pool can never hold.
    pub(crate) fn check(&self, cpu: u32, mem_bytes: u64) -> Result<(), Refusal> {
        if cpu > self.cpu_total {
            return Err(Refusal::invalid("job/too_large", format!("the job asks for {cpu} cpu, the pool has {}", self.cpu_total))
                .hint("lower `need.cpu` of the step"));
        }
        if pieces(mem_bytes) > self.memory_total {
            let total = self.memory_total;
            return Err(Refusal::invalid(
                "job/too_large",
                format!("the job asks for {} MiB of memory, the pool has {total} MiB", pieces(mem_bytes)),
            )
            .hint("lower `need.mem` of the step"));
        }
        Ok(())
    }

    pub(crate) async fn take(&self, cpu: u32, mem_bytes: u64) -> Slot {
        let _turn = self.turn.lock().await;
        let cpu = self.cpu.clone().acquire_many_owned(cpu).await.expect("the semaphore is never closed");
        let memory = self.memory.clone().acquire_many_owned(pieces(mem_bytes)).await.expect("the semaphore is never closed");
        Slot { _cpu: cpu, _memory: memory }
    }

    pub(crate) fn usage(&self) -> (u32, u32) {
        (self.cpu_total - self.cpu.available_permits() as u32, self.cpu_total)
    }
}
