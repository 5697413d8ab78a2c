//! Labels.

use super::models::known;
use crate::Api;
use crate::error::ApiError;
use crate::request::{Record, Sent, instant, scalar};
use axum::Json;
use axum::extract::{Path, State};
use domain::{EntityKey, PredictionId, Refusal, Scalar};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serving::Label;

/// Labels of one request.
const MOST: usize = 10_000;

#[derive(Deserialize)]
pub(super) struct Labels {
    labels: Vec<Sending>,
}

/// A label by `prediction_id`, or by `entity` and `ts`.
#[derive(Deserialize)]
struct Sending {
    prediction_id: Option<String>,
    entity: Option<Record>,
    ts: Option<Value>,
    #[serde(default)]
    label: Value,
}

#[derive(Serialize)]
pub(super) struct Taken {
    labels: u64,
}

pub(super) async fn take(State(api): State<Api>, Path(model): Path<String>, Sent(sent): Sent<Labels>) -> Result<Json<Taken>, ApiError> {
    let model = known(&api.world()?, &model)?;
    if sent.labels.is_empty() || sent.labels.len() > MOST {
        let what = format!("{} labels in one request", sent.labels.len());
        return Err(Refusal::invalid("label/count", what).at("labels").hint(format!("send 1 to {MOST} labels")).into());
    }
    let labels = sent.labels.into_iter().enumerate().map(|(number, label)| read(number, label));
    let labels = labels.collect::<Result<Vec<_>, _>>()?;
    Ok(Json(Taken { labels: api.labels.take(&model, labels).await? }))
}

fn read(number: usize, sent: Sending) -> Result<Label, Refusal> {
    let place = |key: &str| format!("labels, row {number}, `{key}`");
    let key = sent.entity.map(|entity| {
        let columns = entity.into_iter().map(|(name, value)| match scalar(value, || place(&format!("entity.{name}")))? {
            Scalar::Null => {
                Err(Refusal::invalid("label/entity", "an entity's key is null").at(place(&format!("entity.{name}"))).hint("send its value"))
            }
            value => Ok((name, value.to_string())),
        });
        columns.collect::<Result<_, _>>().map(EntityKey)
    });
    Ok(Label {
        id: sent.prediction_id.map(PredictionId::new),
        key: key.transpose()?,
        time: sent.ts.as_ref().map(|ts| instant(ts, || place("ts"))).transpose()?,
        value: scalar(sent.label, || place("label"))?,
    })
}
