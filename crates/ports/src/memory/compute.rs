//! Jobs as functions.

use crate::{ComputeBackend, ComputeError, JobEnd, JobId, JobSpec, PoolState};
use async_trait::async_trait;
use domain::spec::ComputeSpec;
use domain::{Fault, Refusal};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

type Program = Arc<dyn Fn(&JobSpec) -> JobEnd + Send + Sync>;

/// Programs by the first word of the command. Each runs at once, to its end.
#[derive(Default)]
pub struct MemoryCompute {
    programs: Mutex<HashMap<String, Program>>,
}

impl MemoryCompute {
    /// Makes `name` a program.
    pub fn install(&self, name: &str, program: impl Fn(&JobSpec) -> JobEnd + Send + Sync + 'static) {
        self.programs.lock().insert(name.into(), Arc::new(program));
    }
}

#[async_trait]
impl ComputeBackend for MemoryCompute {
    async fn run(&self, job: JobSpec) -> Result<JobEnd, ComputeError> {
        let name = job.command.first().cloned().unwrap_or_default();
        let program = self.programs.lock().get(&name).cloned();
        let program = program.ok_or_else(|| Refusal::invalid("job/cannot_start", format!("there is no program `{name}`")))?;
        let end = tokio::task::spawn_blocking(move || program(&job)).await;
        end.map_err(|e| Fault::because("a program panicked", e).into())
    }

    async fn cancel(&self, _job: &JobId) {}

    async fn reap(&self, _job: &JobId) -> Result<(), Fault> {
        Ok(())
    }

    fn configure(&self, _spec: &ComputeSpec) -> Result<(), Refusal> {
        Ok(())
    }

    fn state(&self) -> PoolState {
        PoolState { cpu: 1, ..PoolState::default() }
    }
}
