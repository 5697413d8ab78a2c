//! A loaded model: as many sessions as the machine has cpus, each for one request at a time.

use crate::feed::{feeds, said};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::spec::OutputSpec;
use domain::{Kind, Refusal, Scalar};
use ort::environment::Environment;
use ort::session::Session;
use parking_lot::Mutex;
use ports::{ModelHandle, Params, PredictError, Predicted, Said, Signature, no_params};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Requests that may wait for a session.
const QUEUE: usize = 1024;
/// So few rows take less time than to hand them to another thread.
const FEW_ROWS: usize = 16;

pub(crate) struct OnnxModel {
    sessions: Arc<Mutex<Vec<Session>>>,
    free: Arc<Semaphore>,
    queue: Semaphore,
    signature: Signature,
    output: Option<OutputSpec>,
    lanes: usize,
}

impl OnnxModel {
    pub(crate) fn open(library: &Path, copy: &Path, signature: Signature, output: Option<OutputSpec>) -> Result<OnnxModel, String> {
        let environment = crate::environment(library)?;
        let count = std::thread::available_parallelism().map_or(1, |n| n.get());
        let sessions: Result<Vec<Session>, ort::Error> = (0..count).map(|_| open_session(&environment, copy)).collect();
        let sessions = sessions.map_err(|error| format!("the model does not load: {error}"))?;
        Ok(OnnxModel {
            free: Arc::new(Semaphore::new(sessions.len())),
            sessions: Arc::new(Mutex::new(sessions)),
            queue: Semaphore::new(QUEUE),
            signature,
            output,
            lanes: count,
        })
    }
}

/// A session that runs on the thread that asks.
pub(crate) fn open_session(environment: &Environment, copy: &Path) -> Result<Session, ort::Error> {
    let builder = Session::builder(environment)?.with_intra_threads(1)?.with_inter_threads(1)?;
    builder.with_intra_op_spinning(false)?.commit_from_file(copy)
}

/// What the model's first output says.
pub(crate) fn run_session(session: &mut Session, rows: &RecordBatch) -> Result<Said, PredictError> {
    let feeds = feeds(session.inputs(), rows)?;
    let outputs = session.run(feeds.as_slice()).map_err(|error| Refusal::invalid("serve/model_raised", error.to_string()))?;
    Ok(said(&outputs[0], rows.num_rows())?)
}

fn run(sessions: &Mutex<Vec<Session>>, rows: &RecordBatch) -> Result<Said, PredictError> {
    let Some(mut session) = sessions.lock().pop() else { return Err(PredictError::Unavailable("no session is free".into())) };
    let answer = run_session(&mut session, rows);
    sessions.lock().push(session);
    answer
}

#[async_trait]
impl ModelHandle for OnnxModel {
    async fn predict(&self, rows: &RecordBatch, deadline: Duration) -> Result<Vec<Scalar>, PredictError> {
        Ok(self.predict_with(rows, &Params::default(), deadline).await?.values)
    }

    async fn predict_with(&self, rows: &RecordBatch, params: &Params, deadline: Duration) -> Result<Predicted, PredictError> {
        no_params(params)?;
        let Ok(_place) = self.queue.try_acquire() else {
            let what = format!("{QUEUE} requests wait for the model already");
            return Err(Refusal::new(Kind::Busy, "serve/busy", what).hint("try again later").into());
        };
        let until = Instant::now() + deadline;
        let free = tokio::time::timeout_at(until, self.free.clone().acquire_owned()).await;
        let Ok(Ok(free)) = free else { return Err(PredictError::Timeout) };
        if rows.num_rows() <= FEW_ROWS {
            return Ok(run(&self.sessions, rows)?.picked(self.output.as_ref())?);
        }
        let (sessions, rows) = (self.sessions.clone(), rows.clone());
        let running = tokio::task::spawn_blocking(move || {
            let _free = free;
            run(&sessions, &rows)
        });
        match tokio::time::timeout_at(until, running).await {
            Ok(answer) => {
                let said = answer.map_err(|error| PredictError::Unavailable(error.to_string()))??;
                Ok(said.picked(self.output.as_ref())?)
            }
            Err(_) => Err(PredictError::Timeout),
        }
    }

    async fn stop(&self) {
        // Every session is free once all that runs has ended.
        let all = self.sessions.lock().len().max(1) as u32;
        let _ = self.free.acquire_many(all).await;
        self.sessions.lock().clear();
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn crashes(&self) -> u64 {
        0
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}
