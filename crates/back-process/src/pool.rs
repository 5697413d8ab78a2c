//! The pool's queue, and those who wait in it.

use compute::{Amount, Ask, Pool, Queue};
use domain::spec::ComputeSpec;
use domain::{Refusal, Span};
use parking_lot::Mutex;
use ports::{JobSpec, PoolJob, PoolState};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// The queue with what the decisions do not need: who is to be told, since when, what for.
pub(crate) struct Slots {
    machine: Amount,
    found_gpus: Vec<String>,
    state: Arc<Mutex<State>>,
}

struct State {
    queue: Queue,
    waiters: HashMap<String, oneshot::Sender<Vec<String>>>,
    known: HashMap<String, Known>,
}

struct Known {
    what: String,
    /// Of its waiting, then of its run.
    since: Instant,
}

impl State {
    /// Starts what may start.
    fn go_on(&mut self) {
        for grant in self.queue.take() {
            if let Some(known) = self.known.get_mut(&grant.job) {
                known.since = Instant::now();
            }
            // Who does not wait any more gives its place back when it is dropped.
            if let Some(waiter) = self.waiters.remove(&grant.job) {
                let _ = waiter.send(grant.gpus);
            }
        }
    }
}

/// A job's place: in the queue, then in the pool. Dropped, it is free again.
pub(crate) struct Place {
    state: Arc<Mutex<State>>,
    job: String,
    granted: Option<oneshot::Receiver<Vec<String>>>,
}

impl Place {
    /// Waits for room; the GPUs that it has.
    pub(crate) async fn granted(&mut self) -> Vec<String> {
        match self.granted.take() {
            Some(granted) => granted.await.unwrap_or_default(),
            None => Vec::new(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.queue.remove(&self.job);
        state.waiters.remove(&self.job);
        state.known.remove(&self.job);
        state.go_on();
    }
}

impl Slots {
    pub(crate) fn new(cpu: u32, mem_bytes: u64, found_gpus: Vec<String>) -> Self {
        let machine = Amount { cpu, mem_bytes, gpu: found_gpus.len() as u32 };
        let pool = Pool::new(&ComputeSpec::default(), machine, &found_gpus).expect("settings that say nothing are right");
        let state = State { queue: Queue::new(pool), waiters: HashMap::new(), known: HashMap::new() };
        Slots { machine, found_gpus, state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn configure(&self, spec: &ComputeSpec) -> Result<(), Refusal> {
        let pool = Pool::new(spec, self.machine, &self.found_gpus)?;
        let mut state = self.state.lock();
        state.queue.set_pool(pool);
        state.go_on();
        Ok(())
    }

    /// A job waits from now on; refused is what can never start.
    pub(crate) fn ask(&self, job: &JobSpec) -> Result<Place, Refusal> {
        let amount = Amount { cpu: job.cpu, mem_bytes: job.mem_bytes.unwrap_or(0), gpu: job.gpu };
        let ask = Ask { job: job.id.0.clone(), amount, queue: job.queue.clone(), team: job.team.clone() };
        let (waiter, granted) = oneshot::channel();
        let mut state = self.state.lock();
        state.queue.push(ask)?;
        state.waiters.insert(job.id.0.clone(), waiter);
        state.known.insert(job.id.0.clone(), Known { what: job.what.clone(), since: Instant::now() });
        state.go_on();
        Ok(Place { state: self.state.clone(), job: job.id.0.clone(), granted: Some(granted) })
    }

    pub(crate) fn state(&self) -> PoolState {
        let state = self.state.lock();
        let shown = |ask: &Ask, gpus: &[String], why: Option<String>| {
            let known = state.known.get(&ask.job);
            PoolJob {
                job: ask.job.clone(),
                what: known.map_or(String::new(), |known| known.what.clone()),
                queue: ask.queue.clone(),
                team: ask.team.clone(),
                cpu: ask.amount.cpu,
                mem_bytes: ask.amount.mem_bytes,
                gpu: ask.amount.gpu,
                gpus: gpus.to_vec(),
                since: known.map_or(Span::default(), |known| Span::from_ms(known.since.elapsed().as_millis() as i64)),
                why,
            }
        };
        let (used, pool) = (state.queue.used(), state.queue.pool());
        PoolState {
            cpu_used: used.cpu,
            cpu: pool.total.cpu,
            mem_bytes_used: used.mem_bytes,
            mem_bytes: pool.total.mem_bytes,
            gpu_used: used.gpu,
            gpus: pool.gpus.clone(),
            running: state.queue.running().map(|(ask, gpus)| shown(ask, gpus, None)).collect(),
            waiting: state.queue.waiting().into_iter().map(|waiting| shown(&waiting.ask, &[], Some(waiting.why))).collect(),
            ..PoolState::default()
        }
    }
}
