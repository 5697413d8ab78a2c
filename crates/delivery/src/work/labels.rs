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

/// A difference of this part of the champion's gated figure is what is looked for.
const SHARE: f64 = 0.1;
/// The variance of the differences that are looked for in shares, such as accuracies.
const OF_SHARES: f64 = 0.01;

/// The worker that looks at labels while a canary is out.
pub struct LabelWorker {
    pub store: Arc<dyn MetadataStore>,
    pub rows: Arc<dyn RowLog>,
}

/// One answered row.
struct Answered {
    version: VersionNumber,
    time: i64,
    value: f64,
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
        let Some((champion, canary, metric, tau2)) = self.case(&model)? else { return Ok(()) };
        let mut labelled = self.labelled(&model, &canary).await?;
        labelled.sort_by_key(|(answered, _)| (answered.time, answered.version));
        let arm = if metric == Metric::Accuracy { Arm::Binary } else { Arm::Real };
        let mut test = Msprt::new(arm, tau2);
        for (answered, truth) in &labelled {
            let Some(loss) = metric.row_loss(*truth, answered.value) else { continue };
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

    /// Answers of both sides since the step began that have a label; of several labels the newest.
    async fn labelled(&self, model: &ModelName, canary: &Canary) -> Result<Vec<(Answered, f64)>, Fault> {
        let mut answers: HashMap<String, Answered> = HashMap::new();
        let mut by_entity: HashMap<(String, i64), Vec<String>> = HashMap::new();
        for batch in self.since(&format!("prediction/{model}"), canary.since).await? {
            let rows = Rows::new(&batch)?;
            for row in (0..batch.num_rows()).filter(|row| rows.at[*row] >= canary.since.ms()) {
                if rows.text("role", row).as_deref() == Some("shadow") {
                    continue;
                }
                let (Some(id), Some(version), Some(value)) =
                    (rows.text("_id", row), rows.number("version", row), rows.number("prediction", row))
                else {
                    continue;
                };
                let answered = Answered { version: VersionNumber(version as u64), time: rows.time[row], value };
                by_entity.entry((rows.text("_key", row).unwrap_or_default(), answered.time)).or_default().push(id.clone());
                answers.insert(id, answered);
            }
        }
        let mut truths: HashMap<String, (i64, f64)> = HashMap::new();
        for batch in self.since(&format!("label/{model}"), canary.since).await? {
            let rows = Rows::new(&batch)?;
            for row in 0..batch.num_rows() {
                let Some(value) = rows.number("label", row) else { continue };
                let about = match rows.text("prediction_id", row) {
                    Some(id) => vec![id],
                    None => by_entity.get(&(rows.text("_key", row).unwrap_or_default(), rows.time[row])).cloned().unwrap_or_default(),
                };
                for id in about {
                    let kept = truths.entry(id).or_insert((rows.at[row], value));
                    if rows.at[row] >= kept.0 {
                        *kept = (rows.at[row], value);
                    }
                }
            }
        }
        Ok(truths.into_iter().filter_map(|(id, (_, truth))| Some((answers.remove(&id)?, truth))).collect())
    }

    /// Segments with rows that arrived since, the newest ones as far as they go back.
    async fn since(&self, stream: &str, since: Timestamp) -> Result<Vec<RecordBatch>, Fault> {
        let mut found = Vec::new();
        for segment in self.rows.segments(stream)?.iter().rev() {
            let batch = self.rows.read(segment).await?;
            if !Rows::new(&batch)?.at.iter().any(|at| *at >= since.ms()) {
                break;
            }
            found.push(batch);
        }
        Ok(found)
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
