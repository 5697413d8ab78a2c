//! Predictions over HTTP, in the JSON of MLflow's scoring server.
//!
//! | path | what |
//! |---|---|
//! | `POST /serve/MODEL/invocations` | rows in, one prediction a row out |
//! | `POST /invocations` | the same, when just one model is served |
//! | `GET /ping` | 200 when a model is served |
//! | `/v2/...` | the Open Inference Protocol (KServe V2): health, metadata, `POST /v2/models/MODEL/infer` |
//! | `/inference.GRPCInferenceService/...` | the same over gRPC |
//!
//! Rows come as `dataframe_split`, `dataframe_records`, `instances` or `inputs` (rows or columns, named or in the model's order), or as CSV;
//! values are scalars. What the model's signature wants is checked at the door.
//! Two column names are Trimtab's own: `prediction_id` names the prediction, so that its label finds it, and `ts` is the
//! row's event time (RFC 3339, or milliseconds since 1970). The model does not see them as columns.

mod binary;
mod error;
mod grpc;
mod rows;
mod table;
mod v2;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use domain::{Kind, ModelName, Refusal, Scalar, VersionNumber};
use error::ApiError;
use indexmap::IndexMap;
use ports::{Outputs, Params};
use serde::{Serialize, Serializer};
use serving::{Answer, Call, Gateway};
use std::sync::Arc;

/// The largest body that is read.
const BODY_LIMIT: usize = 16 << 20;

/// What the API needs.
#[derive(Clone)]
pub struct InferenceApi {
    pub gateway: Arc<Gateway>,
}

/// Every route of this API.
pub fn router(api: InferenceApi) -> Router {
    Router::new()
        .route("/serve/{model}/invocations", post(invoke_named))
        .route("/invocations", post(invoke_only))
        .route("/ping", get(ping))
        .merge(v2::routes())
        .merge(grpc::routes())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(api)
}

type Body = Result<Bytes, BytesRejection>;

async fn invoke_named(
    State(api): State<InferenceApi>,
    Path(model): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Predictions>, ApiError> {
    invoke(&api, ModelName::parse(&model)?, &headers, body).await
}

async fn invoke_only(State(api): State<InferenceApi>, headers: HeaderMap, body: Body) -> Result<Json<Predictions>, ApiError> {
    invoke(&api, api.gateway.only_model()?, &headers, body).await
}

async fn invoke(api: &InferenceApi, model: ModelName, headers: &HeaderMap, body: Body) -> Result<Json<Predictions>, ApiError> {
    let (body, served) = (body.map_err(refuse_body)?, api.gateway.served(&model, None)?);
    let (rows, params) = match content(headers)? {
        Content::Json => rows::parse(&body, served.names.as_deref())?,
        Content::Csv => (rows::requests(table::parse(&body)?)?, Params::default()),
    };
    let answers = api.gateway.call(&model, Call { rows, params, wanted: wanted_version(headers)? }).await?;
    Ok(Json(Predictions::of(model, answers)))
}

async fn ping(State(api): State<InferenceApi>) -> (StatusCode, &'static str) {
    (if v2::is_ready(&api) { StatusCode::OK } else { StatusCode::NOT_FOUND }, "\n")
}

/// `x-trimtab-version`: champion or canary, whatever the rows' share.
fn wanted_version(headers: &HeaderMap) -> Result<Option<VersionNumber>, Refusal> {
    let Some(sent) = headers.get("x-trimtab-version") else { return Ok(None) };
    let number = sent.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong = || Refusal::invalid("serve/version", "x-trimtab-version is not the number of a version").hint("x-trimtab-version: 2");
    Ok(Some(VersionNumber(number.ok_or_else(wrong)?)))
}

/// How the rows are written.
enum Content {
    Json,
    Csv,
}

fn content(headers: &HeaderMap) -> Result<Content, Refusal> {
    let sent = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or(""));
    let essence = sent.split(';').next().unwrap_or("").trim();
    match essence.to_ascii_lowercase().as_str() {
        "application/json" => Ok(Content::Json),
        "text/csv" => Ok(Content::Csv),
        _ => {
            let what = format!("the content type is `{sent}`, not JSON or CSV");
            Err(Refusal::invalid("request/content_type", what).hint("send `Content-Type: application/json`, or `text/csv`"))
        }
    }
}

fn refuse_body(rejection: BytesRejection) -> Refusal {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let what = format!("the body is larger than {} MiB", BODY_LIMIT >> 20);
        return Refusal::new(Kind::TooLarge, "request/too_large", what).hint("send fewer rows at once");
    }
    Refusal::invalid("request/body", "the body could not be read to its end").hint("send the request again")
}

/// The answer: MLflow's `predictions`, and what a caller needs to label them later.
#[derive(Serialize)]
struct Predictions {
    predictions: Vec<Prediction>,
    prediction_ids: Vec<String>,
    model: ModelName,
    model_version: Option<u64>,
    /// A version a row, where a canary answered some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_versions: Vec<u64>,
    /// Whether all rows are in the prediction log: those that are not, monitoring cannot see.
    logged: bool,
}

impl Predictions {
    fn of(model: ModelName, answers: Vec<Answer>) -> Self {
        let mut model_versions: Vec<u64> = answers.iter().map(|answer| answer.version.0).collect();
        if model_versions.iter().all(|version| Some(version) == model_versions.first()) {
            model_versions.clear();
        }
        Predictions {
            model,
            model_versions,
            model_version: answers.first().map(|answer| answer.version.0),
            logged: answers.iter().all(|answer| answer.logged),
            prediction_ids: answers.iter().map(|answer| answer.id.to_string()).collect(),
            predictions: answers.into_iter().map(Prediction::of).collect(),
        }
    }
}

/// A row's answer in MLflow's shapes: a value, a list, or a record.
#[derive(Serialize)]
#[serde(untagged)]
enum Prediction {
    One(Value),
    List(Vec<Value>),
    Record(IndexMap<String, Value>),
}

impl Prediction {
    fn of(answer: Answer) -> Prediction {
        match answer.outputs {
            None => Prediction::One(Value(answer.value)),
            Some(Outputs { names: None, values }) => Prediction::List(values.into_iter().map(Value).collect()),
            Some(Outputs { names: Some(names), values }) => {
                Prediction::Record(names.iter().cloned().zip(values.into_iter().map(Value)).collect())
            }
        }
    }
}

/// A scalar as clients read it: NaN and the infinities, which JSON lacks, as text.
struct Value(Scalar);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Scalar::Float(value) if value.is_nan() => serializer.serialize_str("NaN"),
            Scalar::Float(value) if value.is_infinite() => serializer.serialize_str(if *value > 0.0 { "Infinity" } else { "-Infinity" }),
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests;
