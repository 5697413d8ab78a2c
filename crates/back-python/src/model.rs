//! A loaded model: its worker, and what happens when that dies.

use crate::Shared;
use crate::pace::Pace;
use crate::worker::{Reply, Request, Worker};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::{Kind, Refusal, Scalar};
use indexmap::IndexMap;
use ports::{ModelFiles, ModelHandle, Params, PredictError, Signature, scalar_at};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Requests that may wait for a worker.
const QUEUE: usize = 256;

pub(crate) struct PythonModel {
    shared: Arc<Shared>,
    name: String,
    folder: PathBuf,
    /// `None` while it is being started again.
    worker: Mutex<Option<Worker>>,
    queue: Semaphore,
    crashes: AtomicU64,
    pace: Pace,
    signature: Signature,
}

impl PythonModel {
    pub(crate) fn supervise(shared: Arc<Shared>, files: &ModelFiles, folder: PathBuf, worker: Worker) -> PythonModelHandle {
        // A file that cannot be read says nothing; the worker has loaded the model all the same.
        let signature = std::fs::read_to_string(folder.join("MLmodel")).map(|text| Signature::parse(&text)).unwrap_or_default();
        PythonModelHandle(Arc::new(PythonModel {
            signature,
            shared,
            name: format!("{} {}", files.model, files.version),
            folder,
            worker: Mutex::new(Some(worker)),
            queue: Semaphore::new(QUEUE),
            crashes: AtomicU64::new(0),
            pace: Pace::default(),
        }))
    }

    /// Starts a new worker behind a dead one, with back-off that doubles to 30 s.
    fn restart(self: &Arc<Self>, why: &str) {
        let crashes = self.crashes.fetch_add(1, Ordering::SeqCst) + 1;
        tracing::warn!(model = %self.name, why, crashes, "a model worker died; it is started again");
        let model = Arc::downgrade(self);
        self.pace.went_down(Instant::now());
        tokio::spawn(async move {
            let mut wait = Duration::from_millis(100);
            while let Some(model) = model.upgrade() {
                match model.shared.worker_with(&model.folder).await {
                    Ok(worker) => {
                        *model.worker.lock().await = Some(worker);
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

    /// A place in the queue, unless it is full or so long that the deadline would pass there.
    fn place(&self, deadline: Duration) -> Result<SemaphorePermit<'_>, Refusal> {
        let ahead = self.waiting();
        let wait = self.pace.wait(ahead);
        let place = self.queue.try_acquire().ok().filter(|_| wait.is_none_or(|wait| wait <= deadline));
        place.ok_or_else(|| {
            let long = wait.map_or(String::new(), |wait| format!(", about {:.1} s", wait.as_secs_f64()));
            let what = format!("{ahead} requests wait for model {} already{long}", self.name);
            let refusal = Refusal::new(Kind::Busy, "serve/busy", what).hint("send it again when Retry-After says");
            wait.map_or(refusal.clone(), |wait| refusal.retry_after(wait))
        })
    }

    async fn answer(self: Arc<Self>, rows: &RecordBatch, params: &Params, deadline: Duration) -> Result<Vec<Scalar>, PredictError> {
        let model = &self;
        let until = Instant::now() + deadline;
        let _place = model.place(deadline)?;
        let columns = columns(rows).map_err(|e| Refusal::invalid("serve/input", e.to_string()))?;
        let Ok(mut slot) = tokio::time::timeout_at(until, model.worker.lock()).await else { return Err(PredictError::Timeout) };
        let Some(worker) = slot.as_mut() else {
            return Err(PredictError::Unavailable(format!("the worker of model {} is being started again", model.name)));
        };
        let began = Instant::now();
        if began >= until {
            return Err(PredictError::Timeout);
        }
        let reply = worker.within(deadline, Some(Request::Columns(&columns, params))).await;
        if !matches!(reply, Reply::Died(_)) {
            model.pace.answered(began.elapsed());
        }
        match reply {
            Reply::Values(values) => Ok(values),
            Reply::Raised(why) => Err(Refusal::invalid("serve/model_raised", why).into()),
            Reply::Died(why) => {
                slot.take();
                drop(slot);
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
        self.predict_with(rows, &Params::default(), deadline).await
    }

    async fn predict_with(&self, rows: &RecordBatch, params: &Params, deadline: Duration) -> Result<Vec<Scalar>, PredictError> {
        // On a task of its own: a caller that goes away must not leave half a frame in the pipe.
        let (model, rows, params) = (self.0.clone(), rows.clone(), params.clone());
        let answer = tokio::spawn(async move { model.answer(&rows, &params, deadline).await });
        match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer.map_err(|e| PredictError::Unavailable(e.to_string()))?,
            Err(_) => Err(PredictError::Timeout),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        self.0.pace.back_in(Instant::now()).or_else(|| self.0.pace.wait(self.0.waiting()))
    }

    async fn stop(&self) {
        // Waits for the request under way; dropping the worker kills it.
        self.0.worker.lock().await.take();
    }

    fn crashes(&self) -> u64 {
        self.0.crashes.load(Ordering::SeqCst)
    }

    fn signature(&self) -> &Signature {
        &self.0.signature
    }
}
