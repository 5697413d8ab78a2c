//! Refusals and faults as RFC 9457 problems.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::{Fault, Kind, Refusal};
use features::FeatureError;
use ports::{CommitError, SearchError};
use serde::Serialize;
use serving::ServeError;

/// Why a request gets no answer.
#[derive(Debug)]
pub(crate) enum ApiError {
    Refused(Refusal),
    Fault(Fault),
}

/// The problem's members; `code` is the stable part of `type`.
#[derive(Serialize)]
struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "the input is wrong",
        Kind::NotFound => "it is not there",
        Kind::Exists => "it is there already",
        Kind::Conflict => "the state does not allow it",
        Kind::Unauthorized => "nobody knows who asks",
        Kind::Forbidden => "it is not allowed",
        Kind::Busy => "too much at once",
        Kind::Unavailable => "a part is down for now",
        Kind::Timeout => "it took too long",
        Kind::TooLarge => "the body is too large",
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            ApiError::Refused(refusal) => {
                let retry = matches!(refusal.kind, Kind::Busy | Kind::Unavailable).then(|| refusal.retry_after_s.unwrap_or(1));
                let mut response =
                    problem(refusal.kind.http_status(), title(refusal.kind), refusal.what, refusal.code, refusal.hint, refusal.place);
                if let Some(seconds) = retry {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                response
            }
            ApiError::Fault(Fault::Full(what)) => {
                tracing::error!(what, "no space left");
                let hint = Some("free disk space and send it again".to_owned());
                problem(
                    507,
                    "the disk is full",
                    "the disk of the server is full: nothing was written".into(),
                    "server/full".into(),
                    hint,
                    None,
                )
            }
            ApiError::Fault(fault) => {
                tracing::error!(%fault, "request failed");
                problem(500, "the server failed", "the server failed; its log says why".into(), "server/fault".into(), None, None)
            }
        }
    }
}

fn problem(status: u16, title: &'static str, detail: String, code: String, hint: Option<String>, place: Option<String>) -> Response {
    let body = Problem { r#type: format!("urn:trimtab:{code}"), title, status, detail, code, hint, place };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        ApiError::Refused(refusal)
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        ApiError::Fault(fault)
    }
}

macro_rules! from_two {
    ($($error:ident),*) => {$(
        impl From<$error> for ApiError {
            fn from(error: $error) -> Self {
                match error {
                    $error::Refused(refusal) => ApiError::Refused(refusal),
                    $error::Fault(fault) => ApiError::Fault(fault),
                }
            }
        }
    )*};
}

from_two!(FeatureError, ServeError, SearchError);

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused(refusal) => ApiError::Refused(refusal),
            CommitError::Fault(fault) => ApiError::Fault(fault),
            CommitError::Conflict(what) => {
                ApiError::Refused(Refusal::conflict("store/changed", format!("{what} was changed meanwhile")).hint("try again"))
            }
        }
    }
}
