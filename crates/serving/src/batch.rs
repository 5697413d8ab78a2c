//! Micro-batching: requests that come close together are one call of the model, and get their own rows back.
//!
//! While all of a version's workers that are ready are busy, what comes meanwhile gathers, so an idle model answers at once; `wait` lets a
//! first request wait for others besides. Only requests of the same columns and params are joined. Where a model refuses a joined call, each request is asked
//! alone: nobody is refused for the row of another.

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::spec::BatchSpec;
use domain::{Kind, Refusal, Scalar};
use parking_lot::Mutex;
use ports::{ModelHandle, Params, PredictError, Predicted, Signature, WorkerUse};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

/// Requests that may wait to be joined.
const QUEUE: usize = 1024;
/// Weight of the newest call in the mean of what they take.
const NEWEST: f64 = 0.25;
/// How often it is asked, while all that are ready are busy, whether more have become so.
const LOOK: Duration = Duration::from_millis(20);

/// Refuses settings that cannot work.
pub(crate) fn check(spec: &BatchSpec) -> Result<(), Refusal> {
    let bad = |what: &str, hint: &str| Err(Refusal::invalid("serve/batch", what).at("serve.batch").hint(hint));
    if spec.rows < 2 || spec.rows as usize > crate::gateway::MAX_ROWS {
        return bad("a batch has 2 to 10,000 rows", "batch = { rows = 32, wait = \"2ms\" }");
    }
    if spec.wait.duration() > Duration::from_secs(1) {
        return bad("a request waits a second for others at most", "wait = \"2ms\"");
    }
    Ok(())
}

/// A version whose requests are joined.
pub(crate) struct Batched {
    inner: Arc<dyn ModelHandle>,
    waiting: mpsc::Sender<Waiting>,
    rows: usize,
    line: Arc<Line>,
}

/// Who waits to be joined, and how fast they are answered.
struct Line {
    /// Of all requests that wait.
    rows: AtomicUsize,
    /// Of a full call.
    most: usize,
    /// Calls under way.
    calls: AtomicUsize,
    call_ended: Notify,
    /// Mean of a call, the newest counting most; nothing before the first.
    call: Mutex<Option<Duration>>,
}

impl Line {
    /// How long the calls will take that are ahead of a request that comes now, if all of them are full, with so many at a time.
    fn wait(&self, lanes: usize) -> Option<Duration> {
        let calls = (self.rows.load(Ordering::SeqCst) / self.most / lanes) as f64;
        self.call.lock().filter(|_| calls > 0.0).map(|call| call.mul_f64(calls))
    }

    fn left(&self, waiting: Waiting) -> Waiting {
        self.rows.fetch_sub(waiting.rows.num_rows(), Ordering::SeqCst);
        waiting
    }

    fn answered(&self, took: Duration) {
        let mut call = self.call.lock();
        *call = Some(call.map_or(took, |mean| mean.mul_f64(1.0 - NEWEST) + took.mul_f64(NEWEST)));
    }
}

struct Waiting {
    rows: RecordBatch,
    params: Params,
    until: Instant,
    answer: oneshot::Sender<Result<Predicted, PredictError>>,
}

impl Batched {
    pub(crate) fn over(inner: Arc<dyn ModelHandle>, spec: BatchSpec) -> Batched {
        let (waiting, comes) = mpsc::channel(QUEUE);
        let rows = spec.rows as usize;
        let line = Arc::new(Line {
            rows: AtomicUsize::new(0),
            most: rows,
            calls: AtomicUsize::new(0),
            call_ended: Notify::new(),
            call: Mutex::default(),
        });
        tokio::spawn(gather(inner.clone(), spec, comes, line.clone()));
        Batched { inner, waiting, rows, line }
    }

    fn wait(&self) -> Option<Duration> {
        self.line.wait(ready_lanes(&*self.inner))
    }

    /// That the queue is full, or so long that the deadline would pass there.
    fn busy(&self, wait: Option<Duration>) -> PredictError {
        let ahead = QUEUE - self.waiting.capacity();
        let long = wait.map_or(String::new(), |wait| format!(", about {:.1} s", wait.as_secs_f64()));
        let what = format!("{ahead} requests wait for the model already{long}");
        let refusal = Refusal::new(Kind::Busy, "serve/busy", what).hint("send it again when Retry-After says");
        wait.or_else(|| self.inner.retry_after()).map_or(refusal.clone(), |wait| refusal.retry_after(wait)).into()
    }
}

#[async_trait]
impl ModelHandle for Batched {
    async fn predict(&self, rows: &RecordBatch, deadline: Duration) -> Result<Vec<Scalar>, PredictError> {
        Ok(self.predict_with(rows, &Params::default(), deadline).await?.values)
    }

    async fn predict_with(&self, rows: &RecordBatch, params: &Params, deadline: Duration) -> Result<Predicted, PredictError> {
        if rows.num_rows() >= self.rows {
            return self.inner.predict_with(rows, params, deadline).await;
        }
        let wait = self.wait();
        if wait.is_some_and(|wait| wait > deadline) {
            return Err(self.busy(wait));
        }
        let (answer, comes) = oneshot::channel();
        let until = Instant::now() + deadline;
        let own = rows.num_rows();
        self.line.rows.fetch_add(own, Ordering::SeqCst);
        self.inner.waits(1);
        if self.waiting.try_send(Waiting { rows: rows.clone(), params: params.clone(), until, answer }).is_err() {
            self.line.rows.fetch_sub(own, Ordering::SeqCst);
            self.inner.waits(-1);
            return Err(self.busy(wait));
        }
        match tokio::time::timeout_at(until, comes).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(PredictError::Unavailable("the model is being stopped".into()))),
            Err(_) => Err(PredictError::Timeout),
        }
    }

    fn lanes(&self) -> usize {
        self.inner.lanes()
    }

    fn workers(&self) -> Option<(u32, u32)> {
        self.inner.workers()
    }

    fn take_usage(&self) -> Option<WorkerUse> {
        self.inner.take_usage()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.wait().or_else(|| self.inner.retry_after())
    }

    async fn stop(&self) {
        self.inner.stop().await;
    }

    fn crashes(&self) -> u64 {
        self.inner.crashes()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }
}

/// Calls that the model would answer at a time now; one where no worker is ready, for the first call starts one.
fn ready_lanes(inner: &dyn ModelHandle) -> usize {
    let ready = inner.workers().map_or(usize::MAX, |(ready, _)| ready as usize);
    inner.lanes().min(ready).max(1)
}

/// Counts a call while it lives.
struct Call(Arc<Line>);

impl Call {
    /// Waits until a worker that is ready is free. Nobody tells of one that has become ready, so it is looked for.
    async fn begin(inner: &dyn ModelHandle, line: &Arc<Line>) -> Call {
        while line.calls.load(Ordering::SeqCst) >= ready_lanes(inner) {
            let _ = tokio::time::timeout(LOOK, line.call_ended.notified()).await;
        }
        line.calls.fetch_add(1, Ordering::SeqCst);
        Call(line.clone())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
        self.0.call_ended.notify_one();
    }
}

/// Joins what comes, as many calls at a time as the version has workers that are ready. Ends with the handle.
async fn gather(inner: Arc<dyn ModelHandle>, spec: BatchSpec, mut comes: mpsc::Receiver<Waiting>, line: Arc<Line>) {
    let most = line.most;
    let leaves = |waiting| {
        inner.waits(-1);
        line.left(waiting)
    };
    let mut left_over = None;
    loop {
        let first = match left_over.take() {
            Some(first) => first,
            None => match comes.recv().await {
                Some(first) => leaves(first),
                None => return,
            },
        };
        let call = Call::begin(&*inner, &line).await;
        let mut count = first.rows.num_rows();
        let mut joined = vec![first];
        let end = Instant::now() + spec.wait.duration();
        while count < most
            && let Some(next) = next_until(&mut comes, end).await
        {
            let next = leaves(next);
            if count + next.rows.num_rows() > most || next.rows.schema() != joined[0].rows.schema() || next.params != joined[0].params {
                left_over = Some(next);
                break;
            }
            count += next.rows.num_rows();
            joined.push(next);
        }
        let (inner, line) = (inner.clone(), line.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            if answer(&*inner, joined).await {
                line.answered(began.elapsed());
            }
            drop(call);
        });
    }
}

/// What is there already is taken even when the wait is over; a timer, which counts whole milliseconds, is asked only where there is time.
async fn next_until(comes: &mut mpsc::Receiver<Waiting>, end: Instant) -> Option<Waiting> {
    match comes.try_recv() {
        Ok(next) => Some(next),
        Err(_) if Instant::now() >= end => None,
        Err(_) => tokio::time::timeout_at(end, comes.recv()).await.ok().flatten(),
    }
}

/// Whether the model was asked.
async fn answer(inner: &dyn ModelHandle, mut joined: Vec<Waiting>) -> bool {
    // Who waited too long has gone.
    joined.retain(|waiting| !waiting.answer.is_closed());
    let Some(first) = joined.first() else { return false };
    let rows = match joined.len() {
        1 => Ok(first.rows.clone()),
        _ => concat_batches(&first.rows.schema(), joined.iter().map(|waiting| &waiting.rows)),
    };
    let until = joined.iter().map(|waiting| waiting.until).max().unwrap_or_else(Instant::now);
    let answered = match rows {
        Ok(rows) => inner.predict_with(&rows, &first.params, left(until)).await,
        Err(error) => Err(Refusal::invalid("serve/input", error.to_string()).into()),
    };
    match answered {
        Ok(mut predicted) => {
            for waiting in joined {
                let own = predicted.take(waiting.rows.num_rows());
                let _ = waiting.answer.send(Ok(own));
            }
        }
        Err(PredictError::Refused(_)) if joined.len() > 1 => {
            for waiting in joined {
                let own = inner.predict_with(&waiting.rows, &waiting.params, left(waiting.until)).await;
                let _ = waiting.answer.send(own);
            }
        }
        Err(error) => {
            for waiting in joined {
                let own = match &error {
                    PredictError::Refused(refusal) => refusal.clone().into(),
                    PredictError::Unavailable(why) => PredictError::Unavailable(why.clone()),
                    PredictError::Timeout => PredictError::Timeout,
                };
                let _ = waiting.answer.send(Err(own));
            }
        }
    }
    true
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Float64Array};
    use arrow::datatypes::Float64Type;
    use domain::Span;

    /// Doubles its column; takes its time; refuses what is negative; keeps the sizes of its calls.
    #[derive(Default)]
    struct Doubles {
        calls: Mutex<Vec<usize>>,
        /// Who waits above it now, and the most that did.
        waits: Mutex<(i32, i32)>,
        lanes: usize,
        /// `None`: it has no workers.
        ready: Mutex<Option<u32>>,
        takes: Mutex<Duration>,
        signature: Signature,
    }

    #[async_trait]
    impl ModelHandle for Doubles {
        async fn predict(&self, rows: &RecordBatch, _: Duration) -> Result<Vec<Scalar>, PredictError> {
            self.calls.lock().push(rows.num_rows());
            let takes = *self.takes.lock();
            tokio::time::sleep(takes).await;
            let values = rows.column(0).as_primitive::<Float64Type>();
            if values.iter().flatten().any(|value| value < 0.0) {
                return Err(Refusal::invalid("serve/model_raised", "negative").into());
            }
            Ok(values.iter().map(|value| Scalar::Float(2.0 * value.unwrap())).collect())
        }
        fn lanes(&self) -> usize {
            self.lanes
        }
        fn workers(&self) -> Option<(u32, u32)> {
            self.ready.lock().map(|ready| (ready, 0))
        }
        fn waits(&self, more: i32) {
            let mut waits = self.waits.lock();
            waits.0 += more;
            waits.1 = waits.1.max(waits.0);
        }
        async fn stop(&self) {}
        fn crashes(&self) -> u64 {
            0
        }
        fn signature(&self) -> &Signature {
            &self.signature
        }
    }

    fn rows(name: &str, values: Vec<f64>) -> RecordBatch {
        RecordBatch::try_from_iter([(name, Arc::new(Float64Array::from(values)) as ArrayRef)]).unwrap()
    }

    fn batched(rows: u32, wait_ms: i64, lanes: usize) -> (Arc<Doubles>, Arc<Batched>) {
        let model = Arc::new(Doubles { lanes, takes: Mutex::new(Duration::from_millis(10)), ..Doubles::default() });
        (model.clone(), Arc::new(Batched::over(model, BatchSpec { rows, wait: Span::from_ms(wait_ms) })))
    }

    async fn ask(handle: Arc<Batched>, rows: RecordBatch) -> Result<Vec<Scalar>, PredictError> {
        handle.predict(&rows, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn who_comes_while_the_model_is_busy_is_answered_in_one_call() {
        let (model, handle) = batched(8, 0, 1);
        let asked: Vec<_> =
            (0..20).map(|n| tokio::spawn(ask(handle.clone(), rows("x", (0..=n % 3).map(|m| f64::from(100 * n + m)).collect())))).collect();
        for (n, asked) in asked.into_iter().enumerate() {
            let expected: Vec<Scalar> = (0..=n % 3).map(|m| Scalar::Float(2.0 * (100 * n + m) as f64)).collect();
            assert_eq!(asked.await.unwrap().unwrap(), expected);
        }
        let calls = model.calls.lock().clone();
        assert_eq!(calls.iter().sum::<usize>(), 39);
        let waits = *model.waits.lock();
        assert!(waits.0 == 0 && (10..=20).contains(&waits.1), "workers are told of who waits: {waits:?}");
        assert!(calls.len() <= 7 && calls.iter().all(|count| *count <= 8), "{calls:?}");
    }

    /// A model that may have four workers, and has one, was asked four times at once: three calls of one row waited for that worker.
    #[tokio::test]
    async fn as_many_calls_are_made_as_workers_are_ready() {
        let together = async |ready: Option<u32>| {
            let (model, handle) = batched(8, 0, 4);
            *model.ready.lock() = ready;
            let mut asked = Vec::new();
            for _ in 0..4 {
                asked.push(tokio::spawn(ask(handle.clone(), rows("x", vec![1.0]))));
                // Each comes to the model, or to the line before it, before the next.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            }
            for asked in asked {
                asked.await.unwrap().unwrap();
            }
            model.calls.lock().clone()
        };
        assert_eq!(together(Some(0)).await, [1, 3], "the first call starts a worker");
        assert_eq!(together(Some(1)).await, [1, 3]);
        assert_eq!(together(Some(2)).await, [1, 1, 2]);
        assert_eq!(together(Some(9)).await, [1, 1, 1, 1]);
        assert_eq!(together(None).await, [1, 1, 1, 1]);
    }

    #[tokio::test]
    async fn a_worker_that_has_become_ready_is_asked_while_others_are_busy() {
        let (model, handle) = batched(8, 0, 2);
        *model.ready.lock() = Some(1);
        *model.takes.lock() = Duration::from_secs(3);
        let first = tokio::spawn(ask(handle.clone(), rows("x", vec![1.0])));
        while model.calls.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        *model.takes.lock() = Duration::ZERO;
        let second = tokio::spawn(ask(handle, rows("x", vec![2.0])));
        tokio::task::yield_now().await;
        *model.ready.lock() = Some(2);
        second.await.unwrap().unwrap();
        assert!(!first.is_finished());
        first.abort();
    }

    #[tokio::test]
    async fn a_first_request_waits_for_others_when_the_file_says_so() {
        for (wait, expected) in [(0, vec![1, 1]), (1_000, vec![2])] {
            let (model, handle) = batched(2, wait, 1);
            let first = tokio::spawn(ask(handle.clone(), rows("x", vec![1.0])));
            tokio::time::sleep(Duration::from_millis(20)).await;
            ask(handle, rows("x", vec![2.0])).await.unwrap();
            first.await.unwrap().unwrap();
            assert_eq!(*model.calls.lock(), expected);
        }
    }

    #[tokio::test]
    async fn nobody_is_refused_for_the_row_of_another() {
        let (model, handle) = batched(8, 5, 1);
        let asked: Vec<_> = [1.0, -1.0, 3.0].map(|x| tokio::spawn(ask(handle.clone(), rows("x", vec![x])))).into();
        let mut answers = Vec::new();
        for asked in asked {
            answers.push(asked.await.unwrap().ok());
        }
        assert_eq!(answers, [Some(vec![Scalar::Float(2.0)]), None, Some(vec![Scalar::Float(6.0)])]);
        assert_eq!(*model.calls.lock(), [3, 1, 1, 1]);
    }

    #[tokio::test]
    async fn other_columns_and_other_params_are_another_call() {
        let (model, handle) = batched(8, 5, 1);
        let asked: Vec<_> = ["x", "x", "y"].map(|name| tokio::spawn(ask(handle.clone(), rows(name, vec![1.0])))).into();
        for asked in asked {
            asked.await.unwrap().unwrap();
        }
        assert_eq!(*model.calls.lock(), [2, 1]);
        // As many rows as a batch has are a call of their own.
        ask(handle, rows("x", vec![1.0; 9])).await.unwrap();
        assert_eq!(model.calls.lock().last(), Some(&9));
    }

    #[tokio::test]
    async fn a_deadline_passes_in_the_queue_too() {
        let (_, handle) = batched(2, 0, 1);
        let first = tokio::spawn(ask(handle.clone(), rows("x", vec![1.0])));
        tokio::task::yield_now().await;
        let late = handle.predict(&rows("x", vec![1.0]), Duration::from_millis(3)).await;
        assert!(matches!(late, Err(PredictError::Timeout)), "{late:?}");
        first.await.unwrap().unwrap();
    }

    /// Who came to a long line waited there until the deadline passed, with a place that was then of no use to anybody.
    #[tokio::test]
    async fn who_would_wait_longer_than_the_deadline_is_told_at_once() {
        let (model, handle) = batched(2, 0, 1);
        ask(handle.clone(), rows("x", vec![1.0])).await.unwrap();
        let asked: Vec<_> = (0..40).map(|_| tokio::spawn(ask(handle.clone(), rows("x", vec![1.0])))).collect();
        tokio::task::yield_now().await;
        let late = handle.predict(&rows("x", vec![1.0]), Duration::from_millis(50)).await;
        let Err(PredictError::Refused(refusal)) = late else { panic!("{late:?}") };
        assert!(refusal.code == "serve/busy" && refusal.retry_after_s.is_some(), "{refusal}");
        for asked in asked {
            asked.await.unwrap().unwrap();
        }
        // With nobody ahead it is not refused, however short its time.
        assert!(matches!(handle.predict(&rows("x", vec![1.0]), Duration::from_millis(3)).await, Err(PredictError::Timeout)));
        assert_eq!((handle.line.rows.load(Ordering::SeqCst), model.calls.lock().iter().sum::<usize>()), (0, 42));
    }
}
