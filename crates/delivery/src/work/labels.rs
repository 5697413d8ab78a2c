//! Labels of a canary: when some arrive, both sides' answers since the step began are compared by an always-valid test.

use crate::commands::{declared, reacting};
use crate::rollout::{labels_of, observe};
use arrow::array::Array;
use arrow::datatypes::TimestampMillisecondType;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::{Canary, Deployment};
use domain::{Event, Fault, ModelName, Recorded, Scalar, Timestamp, VersionNumber};
use ports::{MetadataStore, RowLog, World, decide, scalar_at};
use stats::{Arm, Metric, Msprt};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// A difference of this part of the champion's gated figure is what is looked for.
const SHARE: f64 = 0.1;
/// The variance of the differences that are looked for in shares, such as accuracies.
const OF_SHARES: f64 = 0.01;

/// The worker that looks at labels while a canary is out.
pub struct LabelWorker {
    store: Arc<dyn MetadataStore>,
    rows: Arc<dyn RowLog>,
    /// What was read for each model's canary: each segment is read once. A process that goes on reads from the step's beginning.
    read: Mutex<HashMap<ModelName, Read>>,
}

/// The rows of a canary's step, as far as they were read.
struct Read {
    version: VersionNumber,
    /// When the step began.
    since: Timestamp,
    /// The next segments of both streams; `None`: nothing was read yet.
    predictions: Option<u64>,
    labels: Option<u64>,
    answers: HashMap<String, Answered>,
    /// The newest label of each, with when it arrived. Its answer may come later, for streams are sealed one by one.
    by_id: HashMap<String, (i64, f64)>,
    by_entity: HashMap<(String, i64), (i64, f64)>,
}

/// One answered row.
struct Answered {
    version: VersionNumber,
    time: i64,
    value: f64,
    key: String,
}

#[async_trait]
impl reactor::Worker for LabelWorker {
    fn name(&self) -> &'static str {
        "delivery.labels"
    }

    fn wants(&self, event: &Event) -> bool {
        matches!(event, Event::SegmentSealed { stream, .. } if stream.starts_with("label/"))
    }

    async fn work(&self, event: &Recorded) -> Result<(), Fault> {
        let Event::SegmentSealed { stream, .. } = &event.event else { return Ok(()) };
        let Some(model) = stream.strip_prefix("label/").map(ModelName::new) else { return Ok(()) };
        let mut all = self.read.lock().await;
        let Some((champion, canary, metric, tau2)) = self.case(&model)? else {
            all.remove(&model);
            return Ok(());
        };
        let known = all.remove(&model).filter(|read| read.is_of(&canary));
        let mut read = known.unwrap_or_else(|| Read::of(&canary));
        // What is cut short is forgotten, and read anew.
        self.read_on(&model, &mut read).await?;
        let read = all.entry(model.clone()).or_insert(read);
        let arm = if metric == Metric::Accuracy { Arm::Binary } else { Arm::Real };
        let mut test = Msprt::new(arm, tau2);
        for (answered, truth) in read.labelled() {
            let Some(loss) = metric.row_loss(truth, answered.value) else { continue };
            if answered.version == canary.version {
                test.observe_challenger(loss);
            } else if answered.version == champion {
                test.observe_champion(loss);
            }
        }
        test.look();
        let Some(labels) = labels_of(&test) else { return Ok(()) };
        let told = decide(&*self.store, |world| {
            let mut batch = reacting(world, "delivery.labels", event, &model, canary.version)?;
            observe(world, &canary, &model, labels.clone(), &mut batch)?;
            Ok((batch, ()))
        });
        told.await.map_err(|error| Fault::because("telling what labels say of a canary", error))
    }
}

impl LabelWorker {
    /// One that has read nothing yet.
    pub fn new(store: Arc<dyn MetadataStore>, rows: Arc<dyn RowLog>) -> LabelWorker {
        LabelWorker { store, rows, read: Mutex::default() }
    }

    /// Champion, canary, the metric of a row's loss, and τ²: set before, from the figure with which the champion passed its gate.
    fn case(&self, model: &ModelName) -> Result<Option<(VersionNumber, Canary, Metric, f64)>, Fault> {
        let world = World::new(self.store.snapshot()?);
        let Some(deployment) = world.get::<Deployment>(model.as_str())? else { return Ok(None) };
        let (Some(champion), Some(canary), Some(spec)) = (deployment.champion, deployment.canary, declared(&world, model)?) else {
            return Ok(None);
        };
        let Some(main) = Metric::parse(&spec.metric) else { return Ok(None) };
        let figure = deployment.gated.filter(|figure| *figure > 0.0);
        let (metric, size) = match main {
            Metric::Mae | Metric::Mse | Metric::Mape | Metric::Brier | Metric::LogLoss => (main, figure),
            Metric::Rmse => (Metric::Mse, figure.map(|figure| figure * figure)),
            Metric::R2 => (Metric::Mse, None),
            Metric::Auc => (Metric::Brier, Some(1.0)),
            _ => (Metric::Accuracy, Some(1.0)),
        };
        // Where no figure is known beforehand, nothing can be set beforehand.
        let Some(size) = size else { return Ok(None) };
        let tau2 = if matches!(metric, Metric::Accuracy) { OF_SHARES } else { (SHARE * size).powi(2) };
        Ok(Some((champion, canary, metric, tau2)))
    }

    /// Takes in the segments that have come since the last event; from the first that matters for a step that was not looked at before.
    async fn read_on(&self, model: &ModelName, read: &mut Read) -> Result<(), Fault> {
        for batch in self.next(&format!("prediction/{model}"), read.since, &mut read.predictions).await? {
            read.take_answers(&Rows::new(&batch)?);
        }
        for batch in self.next(&format!("label/{model}"), read.since, &mut read.labels).await? {
            read.take_labels(&Rows::new(&batch)?);
        }
        Ok(())
    }

    /// The segments from `position` on, which moves behind them. Without one: the newest as far back as they have rows that arrived since.
    async fn next(&self, stream: &str, since: Timestamp, position: &mut Option<u64>) -> Result<Vec<RecordBatch>, Fault> {
        let segments = self.rows.segments(stream)?;
        let mut found = Vec::new();
        for segment in segments.iter().rev().take_while(|segment| position.is_none_or(|position| segment.number >= position)) {
            let batch = self.rows.read(segment).await?;
            if position.is_none() && !Rows::new(&batch)?.at.iter().any(|at| *at >= since.ms()) {
                break;
            }
            found.push(batch);
        }
        if let Some(last) = segments.last() {
            *position = Some(position.unwrap_or(0).max(last.number + 1));
        }
        found.reverse();
        Ok(found)
    }
}

impl Read {
    fn of(canary: &Canary) -> Read {
        Read {
            version: canary.version,
            since: canary.since,
            predictions: None,
            labels: None,
            answers: HashMap::new(),
            by_id: HashMap::new(),
            by_entity: HashMap::new(),
        }
    }

    fn is_of(&self, canary: &Canary) -> bool {
        (self.version, self.since) == (canary.version, canary.since)
    }

    fn take_answers(&mut self, rows: &Rows<'_>) {
        for row in (0..rows.at.len()).filter(|row| rows.at[*row] >= self.since.ms()) {
            if rows.text("role", row).as_deref() == Some("shadow") {
                continue;
            }
            let (Some(id), Some(version), Some(value)) =
                (rows.text("_id", row), rows.number("version", row), rows.number("prediction", row))
            else {
                continue;
            };
            let key = rows.text("_key", row).unwrap_or_default();
            // A request that was sent again counts as it did first.
            self.answers.entry(id).or_insert(Answered { version: VersionNumber(version as u64), time: rows.time[row], value, key });
        }
    }

    fn take_labels(&mut self, rows: &Rows<'_>) {
        for row in 0..rows.at.len() {
            let Some(value) = rows.number("label", row) else { continue };
            let label = (rows.at[row], value);
            let known = match rows.text("prediction_id", row) {
                Some(id) => self.by_id.entry(id).or_insert(label),
                None => self.by_entity.entry((rows.text("_key", row).unwrap_or_default(), rows.time[row])).or_insert(label),
            };
            if label.0 >= known.0 {
                *known = label;
            }
        }
    }

    /// Answers that have a label, in the order of their times; of several labels the newest.
    fn labelled(&self) -> Vec<(&Answered, f64)> {
        let mut all: Vec<(&str, &Answered, f64)> = Vec::new();
        for (id, answered) in &self.answers {
            let by_entity = self.by_entity.get(&(answered.key.clone(), answered.time));
            let newest = by_entity.into_iter().chain(self.by_id.get(id)).max_by_key(|(at, _)| *at);
            all.extend(newest.map(|(_, truth)| (id.as_str(), answered, *truth)));
        }
        all.sort_by_key(|(id, answered, _)| (answered.time, answered.version, *id));
        all.into_iter().map(|(_, answered, truth)| (answered, truth)).collect()
    }
}

/// The columns that every segment has.
struct Rows<'a> {
    batch: &'a RecordBatch,
    time: &'a [i64],
    at: &'a [i64],
}

impl<'a> Rows<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, Fault> {
        let times = |name: &str| {
            let column = batch
                .column_by_name(name)
                .and_then(|column| column.as_any().downcast_ref())
                .map(|column: &arrow::array::PrimitiveArray<TimestampMillisecondType>| &column.values()[..]);
            column.ok_or_else(|| Fault::broken(format!("a segment has no column `{name}` of times")))
        };
        Ok(Rows { batch, time: times("_time")?, at: times("_at")? })
    }

    fn text(&self, column: &str, row: usize) -> Option<String> {
        match scalar_at(self.batch.column_by_name(column)?, row) {
            Scalar::Null => None,
            other => Some(other.to_string()),
        }
    }

    fn number(&self, column: &str, row: usize) -> Option<f64> {
        match scalar_at(self.batch.column_by_name(column)?, row) {
            Scalar::Text(text) => text.parse().ok(),
            other => other.as_f64(),
        }
        .filter(|x| x.is_finite())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::entity::{CanarySeen, Segment};
    use domain::{EntityKey, Row, Span};
    use ports::memory::{MemoryRowLog, MemoryStore};
    use ports::{AppendError, OpenPart};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts the segments that are read.
    #[derive(Default)]
    struct Counted {
        rows: MemoryRowLog,
        reads: AtomicUsize,
    }

    #[async_trait]
    impl RowLog for Counted {
        async fn append(&self, stream: &str, rows: Vec<Row>) -> Result<(), AppendError> {
            self.rows.append(stream, rows).await
        }
        async fn seal(&self, stream: &str) -> Result<Option<Segment>, Fault> {
            self.rows.seal(stream).await
        }
        fn streams(&self) -> Vec<String> {
            self.rows.streams()
        }
        fn segments(&self, stream: &str) -> Result<Vec<Segment>, Fault> {
            self.rows.segments(stream)
        }
        fn open_part(&self, stream: &str) -> OpenPart {
            self.rows.open_part(stream)
        }
        async fn read(&self, segment: &Segment) -> Result<RecordBatch, Fault> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.rows.read(segment).await
        }
        async fn find(&self, stream: &str, id: &str) -> Result<Option<(EntityKey, Timestamp)>, Fault> {
            self.rows.find(stream, id).await
        }
    }

    /// Every sealing of labels read all segments since the step began, so that a step of a day read each of them a hundred times.
    #[tokio::test]
    async fn each_segment_is_read_once_and_says_the_same_as_if_all_were_read() {
        let rows = Arc::new(Counted::default());
        let worker = LabelWorker::new(MemoryStore::new(), rows.clone());
        let model = ModelName::new("demand");
        let since = Timestamp::from_ms(1_000_000);
        let canary = Canary {
            version: VersionNumber(2),
            weight: 5,
            since,
            min_requests: 100,
            hold: Span::default(),
            paused: None,
            seen: CanarySeen::default(),
        };
        let put = async |stream: &str, id: String, n: i64, at: i64, fields: Vec<(&str, Scalar)>| {
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let (time, at) = (since + Span::from_ms(n), since + Span::from_ms(at));
            rows.append(&format!("{stream}/demand"), vec![Row { id, time, at, key: EntityKey::one("house", "h"), fields }]).await.unwrap();
        };
        let answer = |version| vec![("version", Scalar::Int(version)), ("prediction", Scalar::Float(1.0))];
        let label = |value: i64| vec![("label", Scalar::Float(value as f64))];
        // Before the step.
        for n in 0..2 {
            put("prediction", format!("old{n}"), -9 - n, -9 - n, answer(1)).await;
            rows.seal("prediction/demand").await.unwrap();
        }
        let mut read = Read::of(&canary);
        for round in 0..5 {
            put("prediction", format!("p{round}"), 10 * round, 10 * round, answer(1 + round % 2)).await;
            rows.seal("prediction/demand").await.unwrap();
            // One by its entity, before its answer is sealed; one by its id; and a newer one for the first.
            put("label", format!("e{round}"), 10 * (round + 1), 500 + round, label(round)).await;
            let by_id = [("prediction_id", Scalar::Text(format!("p{round}")))].into_iter().chain(label(100 + round)).collect();
            put("label", format!("i{round}"), 0, if round % 2 == 0 { 400 } else { 600 }, by_id).await;
            put("label", format!("n{round}"), 0, 700 + round, label(40 + round)).await;
            rows.seal("label/demand").await.unwrap();
            let before = rows.reads.load(Ordering::SeqCst);
            worker.read_on(&model, &mut read).await.unwrap();
            let reads = rows.reads.load(Ordering::SeqCst) - before;
            assert_eq!(reads, if round == 0 { 3 } else { 2 }, "one that is before the step ends the search");
            let mut whole = Read::of(&canary);
            worker.read_on(&model, &mut whole).await.unwrap();
            let told = |read: &Read| {
                let labelled = read.labelled().into_iter();
                labelled.map(|(answered, truth)| (answered.version.0, answered.time, truth)).collect::<Vec<_>>()
            };
            assert_eq!(told(&read), told(&whole));
            assert_eq!(read.labelled().len() as i64, round + 1);
        }
        let truths: Vec<f64> = read.labelled().into_iter().map(|(_, truth)| truth).collect();
        assert_eq!(truths, [44.0, 101.0, 1.0, 103.0, 3.0], "the newest label of each");
    }
}
