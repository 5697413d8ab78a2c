//! A version that answers beside the champion: a bounded queue and one task.

use arrow::record_batch::RecordBatch;
use domain::{Actor, Batch, Event, ModelName, Row, Scalar, VersionNumber};
use ports::{AppendError, Clock, MetadataStore, ModelHandle, RowLog};
use reactor::{Activity, Busy};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Requests that may wait for a shadow.
const QUEUE: usize = 1024;

/// What a shadow is asked: the champion's rows, without its answers.
pub(crate) struct Copied {
    pub(crate) features: RecordBatch,
    pub(crate) rows: Vec<Row>,
    pub(crate) deadline: Duration,
    /// Counts as activity until it is answered.
    pub(crate) _busy: Busy,
}

/// One shadow of a model.
pub(crate) struct ShadowLane {
    pub(crate) version: VersionNumber,
    pub(crate) needs: Option<u64>,
    pub(crate) answered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) dropped: AtomicU64,
    queue: mpsc::Sender<Copied>,
}

/// What a lane writes to.
#[derive(Clone)]
pub(crate) struct Sinks {
    pub(crate) store: Arc<dyn MetadataStore>,
    pub(crate) rows: Arc<dyn RowLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) activity: Activity,
}

impl ShadowLane {
    /// Starts the lane; its task ends when the last route lets go of it.
    pub(crate) fn start(
        model: &ModelName,
        version: VersionNumber,
        needs: Option<u64>,
        handle: Arc<dyn ModelHandle>,
        sinks: Sinks,
    ) -> Arc<ShadowLane> {
        let (queue, asked) = mpsc::channel(QUEUE);
        let lane = Arc::new(ShadowLane {
            version,
            needs,
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            queue,
        });
        tokio::spawn(run(Arc::downgrade(&lane), model.clone(), version, handle, sinks, asked));
        lane
    }

    /// Hands a copy over. A full queue drops it, unless `wait` (a replay).
    pub(crate) async fn ask(&self, copied: Copied, wait: bool) {
        if wait {
            // Only fails when the task has ended, which it does after the lane.
            let _ = self.queue.send(copied).await;
        } else if self.queue.try_send(copied).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn run(
    lane: std::sync::Weak<ShadowLane>,
    model: ModelName,
    version: VersionNumber,
    handle: Arc<dyn ModelHandle>,
    sinks: Sinks,
    mut asked: mpsc::Receiver<Copied>,
) {
    while let Some(copied) = asked.recv().await {
        let began = Instant::now();
        let answer = handle.predict(&copied.features, copied.deadline).await;
        let latency = began.elapsed().as_micros() as i64;
        let Some(lane) = lane.upgrade() else { return };
        match answer {
            Ok(values) => {
                let rows: Vec<Row> = copied.rows.into_iter().zip(values).map(|(row, value)| shadow_row(row, version, value, latency)).collect();
                let count = rows.len() as u64;
                if let Err(error) = sinks.rows.append(&format!("prediction/{model}"), rows).await {
                    log_loss(&model, &error);
                }
                let before = lane.answered.fetch_add(count, Ordering::SeqCst);
                let needs = lane.needs.unwrap_or(u64::MAX);
                if before < needs && before + count >= needs {
                    served(&sinks, &model, &lane).await;
                }
            }
            Err(error) => {
                lane.failed.fetch_add(copied.rows.len() as u64, Ordering::SeqCst);
                tracing::warn!(%model, %version, %error, "a shadow did not answer");
            }
        }
    }
}

async fn served(sinks: &Sinks, model: &ModelName, lane: &ShadowLane) {
    let _busy = sinks.activity.begin();
    let batch = Batch::new(Actor::System("serving.shadow".into()), sinks.clock.event_now()).event(Event::ShadowServed {
        model: model.clone(),
        version: lane.version,
        answered: lane.answered.load(Ordering::SeqCst),
        failed: lane.failed.load(Ordering::SeqCst),
    });
    if let Err(error) = sinks.store.commit(batch).await {
        tracing::error!(%model, %error, "the end of a shadow could not be told; it goes on");
    }
}

fn log_loss(model: &ModelName, error: &AppendError) {
    tracing::warn!(%model, %error, "a shadow's answer is not logged");
}

/// The champion's row as the shadow's own.
fn shadow_row(mut row: Row, version: VersionNumber, value: Scalar, latency_us: i64) -> Row {
    row.id = format!("{}#{version}", row.id);
    row.fields.insert("version".into(), Scalar::Int(version.0 as i64));
    row.fields.insert("role".into(), Scalar::Text("shadow".into()));
    row.fields.insert("prediction".into(), value);
    row.fields.insert("latency_us".into(), Scalar::Int(latency_us));
    row
}

/// Whether a lane still fits what a deployment asks for.
pub(crate) fn fits(lane: &ShadowLane, version: VersionNumber, needs: Option<u64>) -> bool {
    lane.version == version && lane.needs == needs
}
