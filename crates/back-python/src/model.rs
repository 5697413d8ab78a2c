//! A loaded model: its workers, how many there are, and what happens when one dies.

use crate::account::Account;
use crate::pace::Pace;
use crate::worker::{Reply, Request, Worker};
use crate::{Shared, Source};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use compute::scale::{Scale, Scaler};
use domain::spec::OutputSpec;
use domain::{Kind, Refusal, Scalar, Timestamp};
use indexmap::IndexMap;
use ports::{ModelFiles, ModelHandle, Params, PredictError, Predicted, Signature, WorkerUse, no_params, scalar_at};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Requests that may wait for a worker.
const QUEUE: usize = 256;

pub(crate) struct PythonModel {
    shared: Arc<Shared>,
    name: String,
    source: Source,
    workers: Workers,
    queue: Semaphore,
    /// The longest deadline that a caller ever gave, in nanoseconds: so long a worker may take for one request, whoever still waits for it.
    longest_ns: AtomicU64,
    crashes: AtomicU64,
    pace: Pace,
    signature: Signature,
    output: Option<OutputSpec>,
    account: Account,
    /// `None`: one worker, always.
    scale: Option<Scale>,
}

/// The workers of a model: those that are free, and how many there are in all.
struct Workers {
    free: parking_lot::Mutex<Vec<Worker>>,
    /// As many permits as are free.
    available: Semaphore,
    ready: AtomicU32,
    starting: AtomicU32,
    /// Held while it is decided whether one more is started.
    claims: parking_lot::Mutex<()>,
    /// Requests that run or wait.
    under_way: AtomicU32,
    /// Told when the last one died: who waits then need not wait for its deadline.
    none_left: Notify,
}

impl Workers {
    fn none() -> Workers {
        Workers {
            free: parking_lot::Mutex::default(),
            available: Semaphore::new(0),
            ready: AtomicU32::new(0),
            starting: AtomicU32::new(0),
            claims: parking_lot::Mutex::default(),
            under_way: AtomicU32::new(0),
            none_left: Notify::new(),
        }
    }

    fn of(worker: Worker) -> Workers {
        let workers = Workers::none();
        workers.ready.store(1, Ordering::SeqCst);
        workers.give(worker);
        workers
    }

    /// A worker is free from now on.
    fn give(&self, worker: Worker) {
        self.free.lock().push(worker);
        self.available.add_permits(1);
    }

    /// A free worker, if there is one.
    fn try_take(&self) -> Option<Worker> {
        self.available.try_acquire().ok()?.forget();
        self.free.lock().pop()
    }

    /// Those that start are counted first: one that is ready meanwhile is then counted twice rather than not at all.
    fn count(&self) -> u32 {
        self.starting.load(Ordering::SeqCst) + self.ready.load(Ordering::SeqCst)
    }

    /// Counts one more that starts, unless there are `most` already.
    fn claim(&self, most: u32) -> bool {
        let _alone = self.claims.lock();
        let is_free = self.count() < most;
        if is_free {
            self.starting.fetch_add(1, Ordering::SeqCst);
        }
        is_free
    }
}

/// Counts a request while it lives.
struct UnderWay<'a>(&'a AtomicU32);

impl<'a> UnderWay<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        UnderWay(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl PythonModel {
    pub(crate) fn supervise(shared: Arc<Shared>, files: &ModelFiles, source: Source, worker: Worker) -> PythonModelHandle {
        // A file that cannot be read says nothing; the worker has loaded the model all the same.
        let signature = std::fs::read_to_string(source.folder.join("MLmodel")).map(|text| Signature::parse(&text)).unwrap_or_default();
        let scale = files.scale.map(|scale| Scale { min: scale.min, max: scale.max, target: scale.target, idle: scale.idle });
        let account = Account::default();
        account.started(worker.pid());
        let model = Arc::new(PythonModel {
            account,
            signature,
            output: files.output.clone(),
            shared,
            name: format!("{} {}", files.model, files.version),
            source,
            workers: Workers::of(worker),
            queue: Semaphore::new(QUEUE),
            longest_ns: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
            pace: Pace::default(),
            scale,
        });
        if let Some(scale) = scale {
            tokio::spawn(keep_scale(Arc::downgrade(&model), scale));
        }
        PythonModelHandle(model)
    }

    /// Starts a worker, unless there are `most` already; one that does not come is tried again, with back-off that doubles to 30 s.
    fn start_one(self: &Arc<Self>, most: u32) {
        if !self.workers.claim(most) {
            return;
        }
        if self.workers.ready.load(Ordering::SeqCst) == 0 {
            self.pace.went_down(Instant::now());
        }
        let model = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut wait = Duration::from_millis(100);
            while let Some(model) = model.upgrade() {
                match model.shared.worker_with(&model.source).await {
                    Ok(worker) => {
                        model.workers.ready.fetch_add(1, Ordering::SeqCst);
                        model.workers.starting.fetch_sub(1, Ordering::SeqCst);
                        model.account.started(worker.pid());
                        model.workers.give(worker);
                        model.pace.came_back(Instant::now());
                        return;
                    }
                    Err(error) => tracing::error!(model = %model.name, %error, "the model worker does not come back"),
                }
                drop(model);
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(30));
            }
        });
    }

    /// A worker died: it is counted, and another is started.
    fn restart(self: &Arc<Self>, why: &str) {
        let crashes = self.crashes.fetch_add(1, Ordering::SeqCst) + 1;
        tracing::warn!(model = %self.name, why, crashes, "a model worker died; it is started again");
        self.workers.ready.fetch_sub(1, Ordering::SeqCst);
        self.start_one(self.most());
        if self.workers.ready.load(Ordering::SeqCst) == 0 && self.scale.is_none() {
            self.workers.none_left.notify_waiters();
        }
    }

    /// How many workers there may be.
    fn most(&self) -> u32 {
        self.scale.map_or(1, |scale| scale.max.max(1))
    }

    fn is_restarting(&self) -> PredictError {
        PredictError::Unavailable(format!("the worker of model {} is being started again", self.name))
    }

    /// A free worker, waited for until then. Without any, one that scales starts its first; one that does not is being started again.
    async fn worker(self: &Arc<Self>, until: Instant) -> Result<Worker, PredictError> {
        // Asked for before the count is looked at: a death between the two is heard.
        let none_left = self.workers.none_left.notified();
        if self.workers.ready.load(Ordering::SeqCst) == 0 {
            if self.scale.is_none() {
                return Err(self.is_restarting());
            }
            self.start_one(1);
        }
        let permit = tokio::select! {
            permit = tokio::time::timeout_at(until, self.workers.available.acquire()) => permit,
            () = none_left => return Err(self.is_restarting()),
        };
        match permit {
            Ok(Ok(permit)) => permit.forget(),
            _ if self.workers.ready.load(Ordering::SeqCst) == 0 => {
                return Err(PredictError::Unavailable(format!("the first worker of model {} is still being started", self.name)));
            }
            _ => return Err(PredictError::Timeout),
        }
        let worker = self.workers.free.lock().pop();
        worker.ok_or_else(|| PredictError::Unavailable(format!("model {} is being stopped", self.name)))
    }
}

/// Asks the rule every second, and starts or ends workers as it says.
async fn keep_scale(model: Weak<PythonModel>, scale: Scale) {
    let (mut rule, began) = (Scaler::new(scale), Instant::now());
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        let Some(model) = model.upgrade() else { return };
        let now = Timestamp::from_ms(began.elapsed().as_millis() as i64);
        let (under_way, ready) = (model.workers.under_way.load(Ordering::SeqCst), model.workers.ready.load(Ordering::SeqCst));
        let wanted = rule.wanted(now, under_way, ready);
        for _ in model.workers.count()..wanted {
            model.start_one(wanted);
        }
        // Only those that are free go: a request is never cut off.
        for _ in wanted..ready {
            if model.workers.try_take().is_none() {
                break;
            }
            model.workers.ready.fetch_sub(1, Ordering::SeqCst);
        }
        if wanted != ready {
            tracing::info!(model = %model.name, ready, wanted, under_way, "its workers are scaled");
        }
    }
}

/// Columns by name; schema order is kept, because a model may know its columns by their place.
fn columns(rows: &RecordBatch) -> Result<IndexMap<String, Vec<serde_json::Value>>, serde_json::Error> {
    let schema = rows.schema();
    let named = schema.fields().iter().zip(rows.columns());
    named
        .map(|(field, column)| {
            let values = (0..rows.num_rows()).map(|row| serde_json::to_value(scalar_at(column, row)));
            Ok((field.name().clone(), values.collect::<Result<_, _>>()?))
        })
        .collect()
}

impl PythonModel {
    fn waiting(&self) -> usize {
        QUEUE - self.queue.available_permits()
    }

    /// How long a request behind so many others will wait, shared among the workers that there are.
    fn wait(&self, ahead: usize) -> Option<Duration> {
        let ready = self.workers.ready.load(Ordering::SeqCst).max(1);
        self.pace.wait(ahead).map(|wait| wait / ready)
    }

    /// A place in the queue, unless it is full or so long that the deadline would pass there.
    fn place(&self, deadline: Duration) -> Result<SemaphorePermit<'_>, Refusal> {
        let ahead = self.waiting();
        let wait = self.wait(ahead);
        let place = self.queue.try_acquire().ok().filter(|_| wait.is_none_or(|wait| wait <= deadline));
        place.ok_or_else(|| {
            let long = wait.map_or(String::new(), |wait| format!(", about {:.1} s", wait.as_secs_f64()));
            let what = format!("{ahead} requests wait for model {} already{long}", self.name);
            let refusal = Refusal::new(Kind::Busy, "serve/busy", what).hint("send it again when Retry-After says");
            wait.map_or(refusal.clone(), |wait| refusal.retry_after(wait))
        })
    }

    async fn answer(self: Arc<Self>, rows: &RecordBatch, params: &Params, deadline: Duration) -> Result<Predicted, PredictError> {
        let model = &self;
        let until = Instant::now() + deadline;
        let _place = model.place(deadline)?;
        let columns = columns(rows).map_err(|e| Refusal::invalid("serve/input", e.to_string()))?;
        let _under_way = UnderWay::begin(&model.workers.under_way);
        let mut worker = model.worker(until).await?;
        let began = Instant::now();
        if began >= until {
            model.workers.give(worker);
            return Err(PredictError::Timeout);
        }
        // Whoever asked may have gone by then: what is left of one deadline says nothing of a worker that answers in its time.
        let limit = Duration::from_nanos(model.longest_ns.load(Ordering::SeqCst));
        let reply = worker.within(limit, Some(Request::Columns(&columns, params))).await;
        if !matches!(reply, Reply::Died(_)) {
            model.pace.answered(began.elapsed());
        }
        match reply {
            Reply::Said(said) => {
                model.workers.give(worker);
                Ok(said.picked(model.output.as_ref())?)
            }
            Reply::Raised(why) => {
                model.workers.give(worker);
                Err(Refusal::invalid("serve/model_raised", why).into())
            }
            Reply::Died(why) => {
                drop(worker);
                model.restart(&why);
                if Instant::now() >= until { Err(PredictError::Timeout) } else { Err(PredictError::Unavailable(why)) }
            }
        }
    }
}

/// The handle that callers hold.
pub(crate) struct PythonModelHandle(pub(crate) Arc<PythonModel>);

#[async_trait]
impl ModelHandle for PythonModelHandle {
    async fn predict(&self, rows: &RecordBatch, deadline: Duration) -> Result<Vec<Scalar>, PredictError> {
        Ok(self.predict_with(rows, &Params::default(), deadline).await?.values)
    }

    async fn predict_with(&self, rows: &RecordBatch, params: &Params, deadline: Duration) -> Result<Predicted, PredictError> {
        if self.0.source.onnx.is_some() {
            no_params(params)?;
        }
        self.0.longest_ns.fetch_max(u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        // On a task of its own: a caller that goes away must not leave half a frame in the pipe.
        let (model, rows, params) = (self.0.clone(), rows.clone(), params.clone());
        let answer = tokio::spawn(async move { model.answer(&rows, &params, deadline).await });
        match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer.map_err(|e| PredictError::Unavailable(e.to_string()))?,
            Err(_) => Err(PredictError::Timeout),
        }
    }

    fn lanes(&self) -> usize {
        self.0.most() as usize
    }

    fn workers(&self) -> Option<(u32, u32)> {
        Some((self.0.workers.ready.load(Ordering::SeqCst), self.0.workers.starting.load(Ordering::SeqCst)))
    }

    fn take_usage(&self) -> Option<WorkerUse> {
        Some(self.0.account.take())
    }

    fn waits(&self, more: i32) {
        self.0.workers.under_way.fetch_add(more.cast_unsigned(), Ordering::SeqCst);
    }

    fn retry_after(&self) -> Option<Duration> {
        self.0.pace.back_in(Instant::now()).or_else(|| self.0.wait(self.0.waiting()))
    }

    async fn stop(&self) {
        // Waits for the requests under way; dropping a worker kills it.
        while self.0.workers.ready.load(Ordering::SeqCst) > 0 {
            let Ok(permit) = self.0.workers.available.acquire().await else { return };
            permit.forget();
            self.0.workers.free.lock().pop();
            self.0.workers.ready.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn crashes(&self) -> u64 {
        self.0.crashes.load(Ordering::SeqCst)
    }

    fn signature(&self) -> &Signature {
        &self.0.signature
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Two first requests, on two threads, each found no worker that starts, and each started one.
    #[test]
    fn no_more_workers_are_started_than_there_may_be() {
        let workers = Workers::none();
        let claim = || {
            for _ in 0..300_000 {
                if workers.claim(1) {
                    assert_eq!(workers.starting.fetch_sub(1, Ordering::SeqCst), 1);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(claim);
            }
        });
        workers.ready.store(1, Ordering::SeqCst);
        assert!(!workers.claim(1) && workers.claim(2));
    }
}
