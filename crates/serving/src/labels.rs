//! Labels: what really happened, by prediction or by entity and time.

use crate::gateway::{Gateway, ServeError};
use domain::{EntityKey, ModelName, PredictionId, Refusal, Row, Scalar, Timestamp};
use indexmap::IndexMap;
use ports::{AppendError, Clock, RowLog};
use std::sync::Arc;

/// One label: `id`, or `key` and `time`.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub id: Option<PredictionId>,
    pub key: Option<EntityKey>,
    pub time: Option<Timestamp>,
    pub value: Scalar,
}

/// Takes labels in.
pub struct LabelDesk {
    gateway: Arc<Gateway>,
    rows: Arc<dyn RowLog>,
    clock: Arc<dyn Clock>,
}

impl LabelDesk {
    /// A desk that writes to the row log; the gateway knows the windows.
    pub fn new(gateway: Arc<Gateway>, rows: Arc<dyn RowLog>, clock: Arc<dyn Clock>) -> Self {
        LabelDesk { gateway, rows, clock }
    }

    /// Takes all labels or none; the first that cannot be taken is named. A later label of the same thing corrects an earlier one.
    pub async fn take(&self, model: &ModelName, labels: Vec<Label>) -> Result<u64, ServeError> {
        let now = self.clock.event_now();
        let mut rows = Vec::with_capacity(labels.len());
        for (index, label) in labels.into_iter().enumerate() {
            rows.push(self.resolve(model, index, label, now).await?);
        }
        let count = rows.len() as u64;
        let stream = format!("label/{model}");
        let newest = rows.iter().map(|row| row.time).max();
        self.rows.append(&stream, rows).await.map_err(|error| match error {
            AppendError::Refused(refusal) => ServeError::Refused(refusal),
            AppendError::Fault(fault) => ServeError::Fault(fault),
        })?;
        if let Some(newest) = newest {
            self.gateway.note_time(&stream, newest, self.gateway.calendar(model)).await;
        }
        Ok(count)
    }

    async fn resolve(&self, model: &ModelName, index: usize, label: Label, now: Timestamp) -> Result<Row, ServeError> {
        if label.value.as_f64().is_none() && !matches!(label.value, Scalar::Text(_)) {
            let what = format!("label {index} has no value");
            return Err(Refusal::invalid("label/value", what).hint("send a number, a text or a boolean").into());
        }
        let (key, time) = match (&label.id, label.key, label.time) {
            (Some(id), _, _) => {
                let found = self.rows.find(&format!("prediction/{model}"), id.as_str()).await?;
                found.ok_or_else(|| {
                    Refusal::not_found("label/unknown_prediction", format!("label {index}: model {model} made no prediction `{id}`"))
                        .hint("send the id that the answer had, or entity and time")
                })?
            }
            (None, Some(key), Some(time)) if !key.0.is_empty() => (key, time),
            _ => {
                let what = format!("label {index} does not say what it is about");
                return Err(Refusal::invalid("label/about", what).hint("send `prediction_id`, or `entity` and `time`").into());
            }
        };
        let sent = label.value.to_string();
        let mut fields = IndexMap::from([("label".to_owned(), label.value)]);
        if let Some(id) = &label.id {
            fields.insert("prediction_id".into(), Scalar::Text(id.to_string()));
        }
        Ok(Row { id: format!("{}@{time}#{}.{index}={sent}", key.text(), now.ms()), time, at: now, key, fields })
    }
}
