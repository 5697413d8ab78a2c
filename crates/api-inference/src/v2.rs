//! The Open Inference Protocol, version 2, over HTTP: what KServe, Triton and MLServer speak.
//!
//! An input is a column (shape `[n]` or `[n, 1]`), or one input is the whole table (shape `[n, columns]`, in the model's order). The answer is
//! one output, `predict`, of shape `[n, 1]`, or `[n, k]` where the model answers k values a row; values with names are an output each. Tensors come as JSON or in binary ([`crate::binary`]).

use crate::binary;
use crate::error::V2Error;
use crate::rows::{self, Record};
use crate::{Body, InferenceApi, refuse_body};
use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use domain::{ModelName, Refusal, Scalar, VersionNumber};
use indexmap::IndexMap;
use ports::{ColumnType, Inputs, Outputs, Signature};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serving::{Answer, Call, Served};

/// The output's name.
pub(crate) const OUTPUT: &str = "predict";
pub(crate) const EXTENSIONS: [&str; 1] = ["binary_tensor_data"];

pub(crate) fn routes() -> Router<InferenceApi> {
    Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/health/live", get(|| async { Json(json!({ "live": true })) }))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/{model}", get(model))
        .route("/v2/models/{model}/ready", get(model_ready))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/versions/{version}", get(version))
        .route("/v2/models/{model}/versions/{version}/ready", get(version_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer_version))
}

/// A tensor of a request.
#[derive(Debug, Deserialize)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) datatype: String,
    #[serde(default)]
    pub(crate) parameters: Parameters,
    #[serde(default)]
    pub(crate) data: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    pub(crate) binary_data_size: Option<usize>,
    pub(crate) binary_data: Option<bool>,
    pub(crate) binary_data_output: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    inputs: Vec<Tensor>,
    #[serde(default)]
    outputs: Vec<Wanted>,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Serialize)]
struct Inferred {
    model_name: ModelName,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<Output>,
    /// What a caller needs to label the predictions later.
    parameters: Value,
}

#[derive(Serialize)]
struct Output {
    name: String,
    shape: [usize; 2],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<Value>>,
}

async fn server() -> Json<Value> {
    Json(json!({ "name": "trimtab", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS }))
}

async fn ready(State(api): State<InferenceApi>) -> Response {
    let is_ready = is_ready(&api);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": is_ready }))).into_response()
}

/// Whether a model is served.
pub(crate) fn is_ready(api: &InferenceApi) -> bool {
    api.gateway.status().iter().any(|model| model.versions.iter().any(|version| version.role == "champion"))
}

async fn model_ready(State(api): State<InferenceApi>, Path(model): Path<String>) -> Result<Json<Value>, V2Error> {
    let name = ModelName::parse(&model)?;
    api.gateway.served(&name, None)?;
    Ok(Json(json!({ "name": name, "ready": true })))
}

async fn version_ready(State(api): State<InferenceApi>, Path((model, version)): Path<(String, String)>) -> Result<Json<Value>, V2Error> {
    let (name, number) = (ModelName::parse(&model)?, number(&version)?);
    api.gateway.served(&name, Some(number))?;
    Ok(Json(json!({ "name": name, "ready": true })))
}

async fn model(State(api): State<InferenceApi>, Path(model): Path<String>) -> Result<Json<Metadata>, V2Error> {
    let name = ModelName::parse(&model)?;
    let served = api.gateway.served(&name, None)?;
    Ok(Json(Metadata::of(&name, &served)))
}

async fn version(State(api): State<InferenceApi>, Path((model, version)): Path<(String, String)>) -> Result<Json<Metadata>, V2Error> {
    let name = ModelName::parse(&model)?;
    let served = api.gateway.served(&name, Some(number(&version)?))?;
    Ok(Json(Metadata::of(&name, &served)))
}

pub(crate) fn number(version: &str) -> Result<VersionNumber, Refusal> {
    let refusal = || Refusal::not_found("serve/version", format!("`{version}` is no version")).hint("a number, or leave it out");
    version.parse().map(VersionNumber).map_err(|_| refusal())
}

/// What a model takes and gives.
#[derive(Debug, Serialize)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) versions: Vec<String>,
    pub(crate) platform: &'static str,
    pub(crate) inputs: Vec<TensorMetadata>,
    pub(crate) outputs: Vec<TensorMetadata>,
}

/// -1: any size.
#[derive(Debug, Serialize)]
pub(crate) struct TensorMetadata {
    pub(crate) name: String,
    pub(crate) datatype: &'static str,
    pub(crate) shape: [i64; 2],
}

impl Metadata {
    pub(crate) fn of(name: &ModelName, served: &Served) -> Metadata {
        let tensor =
            |name: &str, kind: &ColumnType, width: i64| TensorMetadata { name: name.into(), datatype: datatype(kind), shape: [-1, width] };
        let inputs = match (&served.signature.inputs, served.keys.is_empty()) {
            (_, false) => served.keys.iter().map(|key| tensor(key, &ColumnType::String, 1)).collect(),
            (Inputs::Columns(columns), true) => {
                let named = columns.iter().enumerate();
                named.map(|(at, column)| tensor(&column.name.clone().unwrap_or_else(|| at.to_string()), &column.kind, 1)).collect()
            }
            (Inputs::Table { kind, width }, true) => vec![tensor("input", kind, width.map_or(-1, |width| width as i64))],
            (Inputs::Unknown | Inputs::Other(_), true) => Vec::new(),
        };
        let outputs = match served.signature.outputs.as_slice() {
            [] => {
                let kind = served.signature.output.as_ref().unwrap_or(&ColumnType::Double);
                vec![tensor(OUTPUT, kind, served.signature.output_width.map_or(1, |width| width as i64))]
            }
            several => several.iter().map(|column| tensor(column.name.as_deref().unwrap_or(OUTPUT), &column.kind, 1)).collect(),
        };
        Metadata { name: name.to_string(), versions: vec![served.version.to_string()], platform: "mlflow", inputs, outputs }
    }
}

fn datatype(kind: &ColumnType) -> &'static str {
    match kind {
        ColumnType::Boolean => "BOOL",
        ColumnType::Integer => "INT32",
        ColumnType::Long => "INT64",
        ColumnType::Float => "FP32",
        ColumnType::Double => "FP64",
        ColumnType::String | ColumnType::Other(_) => "BYTES",
    }
}

async fn infer(State(api): State<InferenceApi>, Path(model): Path<String>, headers: HeaderMap, body: Body) -> Result<Response, V2Error> {
    answer(&api, &model, None, &headers, body).await
}

async fn infer_version(
    State(api): State<InferenceApi>,
    Path((model, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, V2Error> {
    answer(&api, &model, Some(number(&version)?), &headers, body).await
}

async fn answer(
    api: &InferenceApi,
    model: &str,
    version: Option<VersionNumber>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, V2Error> {
    let name = ModelName::parse(model)?;
    let served = api.gateway.served(&name, version)?;
    let body = body.map_err(refuse_body)?;
    let (json, mut raw) = binary::split(headers, &body)?;
    let request: Request = serde_json::from_slice(json).map_err(|error| {
        Refusal::invalid("request/json", format!("the body is not a V2 request: {error}"))
            .hint("send {\"inputs\": [{\"name\", \"shape\", \"datatype\", \"data\"}]}")
    })?;
    let asked: Vec<&str> = request.outputs.iter().map(|wanted| wanted.name.as_str()).collect();
    know_outputs(&asked, &served.signature)?;
    let records = table(request.inputs, &mut raw, &served)?;
    let wanted = if version.is_some() { version } else { crate::wanted_version(headers)? };
    let answers = api.gateway.call(&name, Call { rows: rows::requests(records)?, wanted, ..Call::default() }).await?;
    let wants = request.outputs.first().and_then(|wanted| wanted.parameters.binary_data);
    let in_binary = wants.or(request.parameters.binary_data_output).unwrap_or(false);
    let tensors = answered(&answers, &asked, &served.signature);
    Ok(respond(name, request.id, answers, tensors, in_binary))
}

/// Refuses names that no output has.
pub(crate) fn know_outputs(wanted: &[&str], signature: &Signature) -> Result<(), Refusal> {
    let names: Vec<&str> = signature.outputs.iter().filter_map(|column| column.name.as_deref()).collect();
    let Some(other) = wanted.iter().find(|name| **name != OUTPUT && !names.contains(name)) else { return Ok(()) };
    let there = if names.is_empty() { format!("the output is `{OUTPUT}`") } else { format!("the outputs are {}", names.join(", ")) };
    Err(Refusal::invalid("request/output", format!("there is no output `{other}`")).hint(there))
}

/// Answers as a tensor.
pub(crate) struct Answered {
    pub(crate) name: String,
    pub(crate) width: usize,
    pub(crate) datatype: &'static str,
    /// Row by row.
    pub(crate) values: Vec<Scalar>,
}

/// What was asked for of the answers: `predict`, which has as many columns as a row has values, or a tensor for each value that has a name.
/// Where the versions that answered do not answer alike, `predict` is each row's prediction.
pub(crate) fn answered(answers: &[Answer], asked: &[&str], signature: &Signature) -> Vec<Answered> {
    let predict = |width: usize, values: Vec<Scalar>| Answered { name: OUTPUT.into(), width, datatype: kind(&values, signature), values };
    let alone = || vec![predict(1, answers.iter().map(|answer| answer.value.clone()).collect())];
    let Some(first) = answers.first().and_then(|answer| answer.outputs.as_ref()) else { return alone() };
    let rows: Option<Vec<&Outputs>> = answers.iter().map(|answer| answer.outputs.as_ref()).collect();
    let Some(rows) = rows.filter(|rows| rows.iter().all(|row| row.names == first.names && row.values.len() == first.values.len())) else {
        return alone();
    };
    let Some(names) = &first.names else {
        return vec![predict(first.values.len(), rows.iter().flat_map(|row| row.values.iter().cloned()).collect())];
    };
    let mut found = if asked.contains(&OUTPUT) { alone() } else { Vec::new() };
    for (place, name) in names.iter().enumerate().filter(|(_, name)| asked.is_empty() || asked.contains(&name.as_str())) {
        let values: Vec<Scalar> = rows.iter().map(|row| row.values[place].clone()).collect();
        found.push(Answered { name: name.clone(), width: 1, datatype: kind(&values, signature), values });
    }
    found
}

/// The inputs as rows; all of `raw` belongs to them.
pub(crate) fn table(inputs: Vec<Tensor>, raw: &mut &[u8], served: &Served) -> Result<Vec<Record>, Refusal> {
    let mut columns: IndexMap<String, Vec<Value>> = IndexMap::new();
    let only = inputs.len() == 1;
    for input in inputs {
        let at = format!("input `{}`", input.name);
        let (width, count) = size(&input.shape).map_err(|refusal| refusal.at(at.clone()))?;
        let values =
            binary::values(&input, count, raw).map_err(|refusal| if refusal.place.is_some() { refusal } else { refusal.at(at.clone()) })?;
        as_many(values.len(), &input.shape).map_err(|refusal| refusal.at(at.clone()))?;
        if width != 1 || (only && is_whole_table(&input.name, served)) {
            if !only {
                return Err(Refusal::invalid("request/shape", format!("{width} columns in one of several inputs"))
                    .at(at)
                    .hint("send one input a column, or one input for all"));
            }
            let rows = values.chunks(width.max(1)).map(<[Value]>::to_vec).collect();
            nothing_left(raw)?;
            return rows::of_rows(rows, &at, served.names.as_deref());
        }
        if columns.insert(input.name.clone(), values).is_some() {
            return Err(Refusal::invalid("request/columns", format!("input `{}` is there twice", input.name)).at("inputs"));
        }
    }
    nothing_left(raw)?;
    rows::of_columns(columns, "inputs")
}

/// Columns, and values in all, of a shape that is not too large.
fn size(shape: &[u64]) -> Result<(usize, usize), Refusal> {
    let rows = usize::try_from(shape.first().copied().unwrap_or(1)).unwrap_or(usize::MAX);
    let width = shape.iter().skip(1).try_fold(1_usize, |width, size| width.checked_mul(usize::try_from(*size).ok()?));
    let count = width.and_then(|width| width.checked_mul(rows)).filter(|count| *count <= binary::MOST_VALUES);
    width.zip(count).ok_or_else(|| Refusal::invalid("request/shape", format!("shape {shape:?} has too many values")))
}

/// Refuses another number of values than the shape has: before they are made, where it is known, for a value as JSON has it is far larger
/// than it came.
pub(crate) fn as_many(found: usize, shape: &[u64]) -> Result<(), Refusal> {
    if found == size(shape)?.1 {
        return Ok(());
    }
    let what = format!("{found} values for shape {shape:?}");
    Err(Refusal::invalid("request/shape", what).hint("the product of the shape is how many there are"))
}

fn nothing_left(raw: &[u8]) -> Result<(), Refusal> {
    if raw.is_empty() {
        return Ok(());
    }
    let what = format!("{} bytes belong to no input", raw.len());
    Err(Refusal::invalid("request/binary", what).hint("binary_data_size says how many an input has"))
}

/// A table of one column need not have the column's name.
fn is_whole_table(name: &str, served: &Served) -> bool {
    served.names.as_ref().is_some_and(|names| names.len() == 1 && names[0] != name)
}

fn respond(model_name: ModelName, id: Option<String>, answers: Vec<Answer>, tensors: Vec<Answered>, in_binary: bool) -> Response {
    let version = answers.first().map(|answer| answer.version.to_string()).unwrap_or_default();
    let ids: Vec<String> = answers.iter().map(|answer| answer.id.to_string()).collect();
    let logged = answers.iter().all(|answer| answer.logged);
    let versions: Vec<String> = answers.iter().map(|answer| answer.version.to_string()).collect();
    let mut all = Vec::new();
    let outputs = tensors.into_iter().map(|tensor| {
        let raw = in_binary.then(|| binary::bytes(&tensor.values, tensor.datatype));
        let output = Output {
            shape: [tensor.values.len() / tensor.width, tensor.width],
            name: tensor.name,
            datatype: tensor.datatype,
            parameters: raw.as_ref().map(|raw| json!({ "binary_data_size": raw.len() })),
            data: raw.is_none().then(|| tensor.values.iter().map(json_value).collect()),
        };
        all.extend(raw.unwrap_or_default());
        output
    });
    let outputs = outputs.collect();
    let mut parameters = json!({ "prediction_ids": ids, "logged": logged });
    // A canary has answered some of the rows.
    if versions.iter().any(|one| *one != version) {
        parameters["model_versions"] = json!(versions);
    }
    let answer = Inferred { model_name, model_version: version, id, outputs, parameters };
    if in_binary { binary::respond(&answer, &all) } else { Json(answer).into_response() }
}

/// The datatype that holds every value.
pub(crate) fn kind(values: &[Scalar], signature: &Signature) -> &'static str {
    let all = |is: fn(&Scalar) -> bool| !values.is_empty() && values.iter().all(is);
    if all(|value| matches!(value, Scalar::Bool(_))) {
        "BOOL"
    } else if all(|value| matches!(value, Scalar::Int(_))) {
        if signature.output == Some(ColumnType::Integer) { "INT32" } else { "INT64" }
    } else if all(|value| matches!(value, Scalar::Int(_) | Scalar::Float(_))) {
        if signature.output == Some(ColumnType::Float) { "FP32" } else { "FP64" }
    } else {
        "BYTES"
    }
}

fn json_value(value: &Scalar) -> Value {
    serde_json::to_value(crate::Value(value.clone())).unwrap_or(Value::Null)
}
