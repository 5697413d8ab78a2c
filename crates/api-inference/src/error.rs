//! Refusals and faults as MLflow's scoring server words them, with what a caller can do.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::{Fault, Kind, Refusal};
use serde::Serialize;
use serving::ServeError;

/// Why a request gets no answer.
pub(crate) struct ApiError(ServeError);

#[derive(Serialize)]
struct Body {
    error_code: &'static str,
    message: String,
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

/// What MLflow tells apart from a body that it cannot read.
const SIGNATURE: [&str; 2] = ["serve/missing_column", "serve/columns"];

fn error_code(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid | Kind::TooLarge => "BAD_REQUEST",
        Kind::NotFound => "RESOURCE_DOES_NOT_EXIST",
        Kind::Exists => "RESOURCE_ALREADY_EXISTS",
        Kind::Conflict => "RESOURCE_CONFLICT",
        Kind::Unauthorized => "UNAUTHENTICATED",
        Kind::Forbidden => "PERMISSION_DENIED",
        Kind::Busy => "REQUEST_LIMIT_EXCEEDED",
        Kind::Unavailable => "TEMPORARILY_UNAVAILABLE",
        Kind::Timeout => "DEADLINE_EXCEEDED",
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self.0 {
            ServeError::Refused(refusal) => refused(refusal),
            ServeError::Fault(Fault::Full(what)) => {
                tracing::error!(what, "no space left");
                failed(StatusCode::INSUFFICIENT_STORAGE, "RESOURCE_EXHAUSTED", "server/full", "the disk of the server is full")
            }
            ServeError::Fault(fault) => {
                tracing::error!(%fault, "a prediction failed");
                failed(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "server/fault", "the server failed; its log says why")
            }
        }
    }
}

fn refused(refusal: Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.kind.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
    let wait = wait(&refusal);
    let body = Body {
        error_code: if SIGNATURE.contains(&refusal.code.as_str()) { "INVALID_PARAMETER_VALUE" } else { error_code(refusal.kind) },
        message: refusal.to_string(),
        code: refusal.code,
        hint: refusal.hint,
        place: refusal.place,
    };
    (status, wait, Json(body)).into_response()
}

/// `Retry-After` of what may be sent again: as long as the queue, or the start of a worker, is likely to take.
fn wait(refusal: &Refusal) -> Option<[(HeaderName, HeaderValue); 1]> {
    let is_later = matches!(refusal.kind, Kind::Busy | Kind::Unavailable);
    is_later.then(|| [(header::RETRY_AFTER, HeaderValue::from(refusal.retry_after_s.unwrap_or(1)))])
}

fn failed(status: StatusCode, error_code: &'static str, code: &str, message: &str) -> Response {
    (status, Json(Body { error_code, message: message.into(), code: code.into(), hint: None, place: None })).into_response()
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        ApiError(refusal.into())
    }
}

impl From<ServeError> for ApiError {
    fn from(error: ServeError) -> Self {
        ApiError(error)
    }
}

/// The same, as the Open Inference Protocol words it: `{"error": "..."}`.
pub(crate) struct V2Error(ServeError);

#[derive(Serialize)]
struct V2Body {
    error: String,
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

impl IntoResponse for V2Error {
    fn into_response(self) -> Response {
        match self.0 {
            ServeError::Refused(refusal) => {
                let (status, error) = (refusal.kind.http_status(), refusal.to_string());
                let wait = wait(&refusal);
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
                let body = V2Body { error, code: refusal.code, hint: refusal.hint, place: refusal.place };
                (status, wait, Json(body)).into_response()
            }
            ServeError::Fault(fault) => {
                tracing::error!(%fault, "a prediction failed");
                let (status, code, error) = match fault {
                    Fault::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "server/full", "the disk of the server is full"),
                    _ => (StatusCode::INTERNAL_SERVER_ERROR, "server/fault", "the server failed; its log says why"),
                };
                (status, Json(V2Body { error: error.into(), code: code.into(), hint: None, place: None })).into_response()
            }
        }
    }
}

impl From<Refusal> for V2Error {
    fn from(refusal: Refusal) -> Self {
        V2Error(refusal.into())
    }
}

impl From<ServeError> for V2Error {
    fn from(error: ServeError) -> Self {
        V2Error(error)
    }
}
