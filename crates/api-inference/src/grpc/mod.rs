//! The Open Inference Protocol, version 2, over gRPC: `inference.GRPCInferenceService`, on the same port as HTTP (without TLS: HTTP/2 by prior
//! knowledge). Inputs and answer are those of [`crate::v2`]. Who sends `raw_input_contents` gets `raw_output_contents`.
//!
//! A refusal is a status: its message says what to do next, the metadata `trimtab-code` names it, and `retry-after` is in seconds.

mod codec;
pub(crate) mod messages;

use crate::binary;
use crate::rows;
use crate::v2::{self, Metadata};
use crate::{BODY_LIMIT, InferenceApi};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use axum::routing::post;
use bytes::Bytes;
use codec::Messages;
use domain::{Fault, Kind, ModelName, Refusal, Scalar, VersionNumber};
use messages::{
    Choice, Contents, Empty, InferRequest, InferResponse, Live, ModelMetadata, Named, Parameter, Ready, ServerMetadata, Tensor,
};
use prost::Message;
use serde_json::{Number, Value};
use serving::{Answer, Call, ServeError};
use std::collections::HashMap;
use tonic::metadata::MetadataMap;
use tonic::server::Grpc;
use tonic::{Code, Status};

pub(crate) fn routes() -> Router<InferenceApi> {
    Router::new().route("/inference.GRPCInferenceService/{method}", post(call))
}

async fn call(State(api): State<InferenceApi>, Path(method): Path<String>, request: Request) -> Response<Body> {
    let answer = match method.as_str() {
        "ServerLive" => unary(request, |_: Empty| async { Ok(Live { live: true }) }).await,
        "ServerReady" => unary(request, |_: Empty| async { Ok(Ready { ready: v2::is_ready(&api) }) }).await,
        "ServerMetadata" => unary(request, |_: Empty| async { Ok(server()) }).await,
        "ModelReady" => unary(request, |named| async { served(&api, named).map(|_| Ready { ready: true }).or_else(not_ready) }).await,
        "ModelMetadata" => unary(request, |named| async { Ok(told(served(&api, named)?)) }).await,
        "ModelInfer" => unary(request, |request| async { infer(&api, request).await.map_err(status) }).await,
        other => Status::unimplemented(format!("inference.GRPCInferenceService has no method {other}")).into_http(),
    };
    answer.map(Body::new)
}

/// One message in, one out.
async fn unary<Q, A, F>(request: Request, method: impl FnMut(Q) -> F + Send) -> Response<tonic::body::Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: Future<Output = Result<A, Status>> + Send,
{
    let mut method = method;
    let service = tower::service_fn(|request: tonic::Request<Q>| {
        let answer = method(request.into_inner());
        async { answer.await.map(tonic::Response::new) }
    });
    let codec = Messages::<Q, A>::default();
    Grpc::new(codec).apply_max_message_size_config(Some(BODY_LIMIT), None).unary(service, request).await
}

fn server() -> ServerMetadata {
    let extensions = v2::EXTENSIONS.iter().map(|name| (*name).to_owned()).collect();
    ServerMetadata { name: "trimtab".into(), version: env!("CARGO_PKG_VERSION").into(), extensions }
}

fn served(api: &InferenceApi, named: Named) -> Result<Metadata, Status> {
    let of = || {
        let (name, version) = (ModelName::parse(&named.name)?, version(&named.version)?);
        Ok(Metadata::of(&name, &api.gateway.served(&name, version)?))
    };
    of().map_err(|refusal: Refusal| status(refusal.into()))
}

/// A model that is not there is not ready; that is an answer.
fn not_ready(status: Status) -> Result<Ready, Status> {
    if matches!(status.code(), Code::NotFound | Code::Unavailable) { Ok(Ready { ready: false }) } else { Err(status) }
}

fn version(text: &str) -> Result<Option<VersionNumber>, Refusal> {
    if text.is_empty() { Ok(None) } else { v2::number(text).map(Some) }
}

fn told(model: Metadata) -> ModelMetadata {
    let tensors = |tensors: Vec<v2::TensorMetadata>| {
        let told = |tensor: v2::TensorMetadata| messages::TensorMetadata {
            name: tensor.name,
            datatype: tensor.datatype.into(),
            shape: tensor.shape.into(),
        };
        tensors.into_iter().map(told).collect()
    };
    ModelMetadata {
        name: model.name,
        versions: model.versions,
        platform: model.platform.into(),
        inputs: tensors(model.inputs),
        outputs: tensors(model.outputs),
    }
}

async fn infer(api: &InferenceApi, request: InferRequest) -> Result<InferResponse, ServeError> {
    let (name, wanted) = (ModelName::parse(&request.model_name)?, version(&request.model_version)?);
    let served = api.gateway.served(&name, wanted)?;
    let asked: Vec<&str> = request.outputs.iter().map(|wanted| wanted.name.as_str()).collect();
    v2::know_outputs(&asked, &served.signature)?;
    let in_binary = !request.raw.is_empty();
    if in_binary && request.raw.len() != request.inputs.len() {
        let what = format!("{} raw_input_contents for {} inputs", request.raw.len(), request.inputs.len());
        return Err(Refusal::invalid("request/binary", what).hint("send one a tensor, in the order of the inputs").into());
    }
    let inputs: Result<Vec<v2::Tensor>, Refusal> =
        request.inputs.into_iter().enumerate().map(|(at, input)| tensor(input, request.raw.get(at))).collect();
    let raw = request.raw.concat();
    let records = v2::table(inputs?, &mut raw.as_slice(), &served)?;
    let answers = api.gateway.call(&name, Call { rows: rows::requests(records)?, wanted, ..Call::default() }).await?;
    let tensors = v2::answered(&answers, &asked, &served.signature);
    Ok(respond(name, request.id, answers, tensors, in_binary))
}

/// An input as the JSON of the protocol has it.
fn tensor(input: Tensor, raw: Option<&Bytes>) -> Result<v2::Tensor, Refusal> {
    let shape: Result<Vec<u64>, _> = input.shape.iter().map(|size| u64::try_from(*size)).collect();
    let shape = shape.map_err(|_| {
        let what = format!("input `{}` has shape {:?}", input.name, input.shape);
        Refusal::invalid("request/shape", what).hint("sizes are 0 or more")
    })?;
    let data = match raw {
        None => {
            let contents = input.contents.unwrap_or_default();
            let found = count(&contents, &input.datatype)?;
            v2::as_many(found, &shape).map_err(|refusal| refusal.at(format!("input `{}`", input.name)))?;
            Some(Value::Array(values(contents, &input.datatype)?))
        }
        Some(_) if input.contents.is_some() => {
            return Err(
                Refusal::invalid("request/data", format!("input `{}` has contents and raw contents", input.name)).hint("send one of them")
            );
        }
        Some(_) => None,
    };
    let parameters = v2::Parameters { binary_data_size: raw.map(Bytes::len), ..v2::Parameters::default() };
    Ok(v2::Tensor { name: input.name, shape, datatype: input.datatype, parameters, data })
}

/// How many values the list of the datatype has.
fn count(contents: &Contents, datatype: &str) -> Result<usize, Refusal> {
    Ok(match datatype {
        "BOOL" => contents.bools.len(),
        "INT8" | "INT16" | "INT32" => contents.ints.len(),
        "INT64" => contents.longs.len(),
        "UINT8" | "UINT16" | "UINT32" => contents.unsigned_ints.len(),
        "UINT64" => contents.unsigned_longs.len(),
        "FP32" => contents.floats.len(),
        "FP64" => contents.doubles.len(),
        "BYTES" => contents.texts.len(),
        other => return Err(no_list(other)),
    })
}

fn no_list(datatype: &str) -> Refusal {
    Refusal::invalid("request/datatype", format!("`{datatype}` has no list in contents"))
        .hint("BOOL, INT8 to INT64, UINT8 to UINT64, FP32, FP64, BYTES; FP16 goes as raw_input_contents")
}

/// The list that belongs to the datatype.
fn values(contents: Contents, datatype: &str) -> Result<Vec<Value>, Refusal> {
    // As JSON's tensors have them: the infinities as text, NaN as what is missing.
    let float = |value: f64| match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::Null,
        None => Value::String(if value > 0.0 { "Infinity" } else { "-Infinity" }.into()),
    };
    Ok(match datatype {
        "BOOL" => contents.bools.into_iter().map(Value::from).collect(),
        "INT8" | "INT16" | "INT32" => contents.ints.into_iter().map(Value::from).collect(),
        "INT64" => contents.longs.into_iter().map(Value::from).collect(),
        "UINT8" | "UINT16" | "UINT32" => contents.unsigned_ints.into_iter().map(Value::from).collect(),
        "UINT64" => contents.unsigned_longs.into_iter().map(Value::from).collect(),
        "FP32" => contents.floats.into_iter().map(|value| float(value.into())).collect(),
        "FP64" => contents.doubles.into_iter().map(float).collect(),
        "BYTES" => {
            let texts = contents.texts.into_iter().map(|text| String::from_utf8(text.into()).map(Value::String));
            texts.collect::<Result<_, _>>().map_err(|_| Refusal::invalid("request/value", "a text is not UTF-8"))?
        }
        other => return Err(no_list(other)),
    })
}

fn respond(model: ModelName, id: String, answers: Vec<Answer>, tensors: Vec<v2::Answered>, in_binary: bool) -> InferResponse {
    let version = answers.first().map(|answer| answer.version.to_string()).unwrap_or_default();
    let text = |text: String| Parameter { choice: Some(Choice::Text(text)) };
    // Lists, which the protocol's parameters lack, as JSON.
    let list = |of: &dyn Fn(&Answer) -> String| text(Value::from_iter(answers.iter().map(of)).to_string());
    let mut parameters = HashMap::from([
        ("prediction_ids".to_owned(), list(&|answer| answer.id.to_string())),
        ("logged".to_owned(), Parameter { choice: Some(Choice::Bool(answers.iter().all(|answer| answer.logged))) }),
    ]);
    if answers.iter().any(|answer| answer.version.to_string() != version) {
        parameters.insert("model_versions".into(), list(&|answer| answer.version.to_string()));
    }
    let mut raw = Vec::new();
    let outputs = tensors.into_iter().map(|tensor| {
        if in_binary {
            raw.push(binary::bytes(&tensor.values, tensor.datatype).into());
        }
        Tensor {
            name: tensor.name,
            datatype: tensor.datatype.into(),
            shape: vec![(tensor.values.len() / tensor.width) as i64, tensor.width as i64],
            parameters: HashMap::new(),
            contents: (!in_binary).then(|| contents(&tensor.values, tensor.datatype)),
        }
    });
    let outputs = outputs.collect();
    InferResponse { model_name: model.to_string(), model_version: version, id, parameters, outputs, raw }
}

fn contents(values: &[Scalar], kind: &str) -> Contents {
    let floats = || values.iter().map(|value| value.as_f64().unwrap_or(f64::NAN));
    let integers = || values.iter().map(|value| if let Scalar::Int(number) = value { *number } else { 0 });
    match kind {
        "BOOL" => Contents { bools: values.iter().map(|value| *value == Scalar::Bool(true)).collect(), ..Contents::default() },
        "INT32" => Contents { ints: integers().map(|value| value as i32).collect(), ..Contents::default() },
        "INT64" => Contents { longs: integers().collect(), ..Contents::default() },
        "FP32" => Contents { floats: floats().map(|value| value as f32).collect(), ..Contents::default() },
        "FP64" => Contents { doubles: floats().collect(), ..Contents::default() },
        _ => Contents { texts: values.iter().map(|value| value.to_string().into()).collect(), ..Contents::default() },
    }
}

fn status(error: ServeError) -> Status {
    let refusal = match error {
        ServeError::Refused(refusal) => refusal,
        ServeError::Fault(Fault::Full(what)) => {
            tracing::error!(what, "no space left");
            return Status::resource_exhausted("the disk of the server is full");
        }
        ServeError::Fault(fault) => {
            tracing::error!(%fault, "a prediction failed");
            return Status::internal("the server failed; its log says why");
        }
    };
    let code = match refusal.kind {
        Kind::Invalid | Kind::TooLarge => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Exists => Code::AlreadyExists,
        Kind::Conflict => Code::FailedPrecondition,
        Kind::Unauthorized => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::Busy => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Timeout => Code::DeadlineExceeded,
    };
    let mut metadata = MetadataMap::new();
    if let Ok(code) = refusal.code.parse() {
        metadata.insert("trimtab-code", code);
    }
    if matches!(refusal.kind, Kind::Busy | Kind::Unavailable) {
        metadata.insert("retry-after", refusal.retry_after_s.unwrap_or(1).into());
    }
    Status::with_metadata(code, refusal.to_string(), metadata)
}
