//! A version that answers beside the champion: a bounded queue and one task.

use crate::route::Counters;
use crate::signature::Input;
use domain::entity::Deployment;
use domain::{Actor, Batch, Event, Fault, ModelName, Row, Scalar, Timestamp, VersionNumber};
use parking_lot::Mutex;
use ports::{AppendError, Clock, CommitError, MetadataStore, ModelHandle, Outputs, RowLog, decide, scalar_at};
use reactor::{Activity, Busy};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Requests that may wait for a shadow.
const QUEUE: usize = 1024;

/// What a shadow is asked: the champion's rows, without its answers.
pub(crate) struct Copied {
    pub(crate) input: Input,
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
    /// Requests that it has answered, each once; forgotten once the log was told that they are enough.
    counted: Mutex<Option<HashSet<String>>>,
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
    /// Starts the lane; its task ends when the last route lets go of it. `before`: requests that an earlier process had it answer.
    pub(crate) fn start(
        model: &ModelName,
        version: VersionNumber,
        needs: Option<u64>,
        before: HashSet<String>,
        handle: Arc<dyn ModelHandle>,
        sinks: Sinks,
        counters: Arc<Counters>,
    ) -> Arc<ShadowLane> {
        let (queue, asked) = mpsc::channel(QUEUE);
        let lane = Arc::new(ShadowLane {
            version,
            needs,
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            counted: Mutex::new(needs.map(|_| before)),
            queue,
        });
        let busy = sinks.activity.begin();
        tokio::spawn(run(Arc::downgrade(&lane), model.clone(), version, handle, (sinks, counters), asked, busy));
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
    (sinks, counters): (Sinks, Arc<Counters>),
    mut asked: mpsc::Receiver<Copied>,
    starting: Busy,
) {
    // An earlier process may have had the last answer, and not told of it.
    if let Some(lane) = lane.upgrade() {
        tell_if_enough(&sinks, &model, &lane).await;
    }
    drop(starting);
    while let Some(copied) = asked.recv().await {
        let began = Instant::now();
        let answer = copied.input.answered_by(&*handle, copied.deadline).await;
        let took = began.elapsed();
        let latency = took.as_micros() as i64;
        let Some(lane) = lane.upgrade() else { return };
        match answer {
            Ok(predicted) => {
                counters.meter.shadow(version, copied.rows.len() as u64, took);
                let ids: Vec<String> = copied.rows.iter().map(|row| row.id.clone()).collect();
                let rows: Vec<Row> = copied
                    .rows
                    .into_iter()
                    .zip(predicted.into_rows())
                    .map(|(row, given)| shadow_row(row, version, given, latency))
                    .collect();
                if let Err(error) = sinks.rows.append(&format!("prediction/{model}"), rows).await {
                    log_loss(&model, &error);
                }
                lane.answered.fetch_add(ids.len() as u64, Ordering::SeqCst);
                if let Some(counted) = lane.counted.lock().as_mut() {
                    counted.extend(ids);
                }
                tell_if_enough(&sinks, &model, &lane).await;
            }
            Err(error) => {
                lane.failed.fetch_add(copied.rows.len() as u64, Ordering::SeqCst);
                tracing::warn!(%model, %version, %error, "a shadow did not answer");
            }
        }
    }
}

/// Once it has answered all that it must, the log is told; when that fails, the next answer tries again.
async fn tell_if_enough(sinks: &Sinks, model: &ModelName, lane: &ShadowLane) {
    let Some(answered) = lane.counted.lock().as_ref().map(|counted| counted.len() as u64) else { return };
    if lane.needs.is_none_or(|needs| answered < needs) {
        return;
    }
    let _busy = sinks.activity.begin();
    match served(sinks, model, lane, answered).await {
        Ok(()) => *lane.counted.lock() = None,
        Err(error) => tracing::error!(%model, %error, "the end of a shadow could not be told; it goes on"),
    }
}

/// Marks the deployment and says so in one commit, so that it is told once.
async fn served(sinks: &Sinks, model: &ModelName, lane: &ShadowLane, answered: u64) -> Result<(), CommitError> {
    let (now, failed) = (sinks.clock.event_now(), lane.failed.load(Ordering::SeqCst));
    decide(&*sinks.store, |world| {
        let mut batch = Batch::new(Actor::System("serving.shadow".into()), now);
        let Some(mut deployment) = world.get::<Deployment>(model.as_str())? else { return Ok((batch, ())) };
        if let Some(shadow) = deployment.challenger.as_mut().filter(|shadow| shadow.version == lane.version && !shadow.served) {
            shadow.served = true;
            batch.write(&deployment);
            batch.say(Event::ShadowServed { model: model.clone(), version: lane.version, answered, failed });
        }
        Ok((batch, ()))
    })
    .await
}

/// Requests that a shadow has answered since `since`, from the sealed rows: the newest segments, as far as they go back.
pub(crate) async fn answered(
    rows: &dyn RowLog,
    model: &ModelName,
    version: VersionNumber,
    since: Timestamp,
) -> Result<HashSet<String>, Fault> {
    let suffix = format!("#{version}");
    let mut ids = HashSet::new();
    for segment in rows.segments(&format!("prediction/{model}"))?.iter().rev() {
        let batch = rows.read(segment).await?;
        let scalar = |column: &str, row| batch.column_by_name(column).map_or(Scalar::Null, |column| scalar_at(column, row));
        let is_since = |row: &usize| Timestamp::parse(&scalar("_at", *row).to_string()).is_some_and(|arrived| arrived >= since);
        let new: Vec<usize> = (0..batch.num_rows()).filter(is_since).collect();
        if new.is_empty() {
            break;
        }
        let is_shadow = |row: &usize| scalar("role", *row) == Scalar::Text("shadow".into());
        let own = new.into_iter().filter(is_shadow).map(|row| scalar("_id", row).to_string());
        ids.extend(own.filter_map(|id| Some(id.strip_suffix(&suffix)?.to_owned())));
    }
    Ok(ids)
}

fn log_loss(model: &ModelName, error: &AppendError) {
    tracing::warn!(%model, %error, "a shadow's answer is not logged");
}

/// The champion's row as the shadow's own.
fn shadow_row(mut row: Row, version: VersionNumber, (value, outputs): (Scalar, Option<Outputs>), latency_us: i64) -> Row {
    row.id = format!("{}#{version}", row.id);
    row.fields.insert("version".into(), Scalar::Int(version.0 as i64));
    row.fields.insert("role".into(), Scalar::Text("shadow".into()));
    row.fields.insert("prediction".into(), value);
    crate::gateway::log_outputs(&mut row, outputs.as_ref());
    row.fields.insert("latency_us".into(), Scalar::Int(latency_us));
    row
}

/// Whether a lane still fits what a deployment asks for.
pub(crate) fn fits(lane: &ShadowLane, version: VersionNumber, needs: Option<u64>) -> bool {
    lane.version == version && lane.needs == needs
}
