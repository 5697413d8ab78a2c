//! Refusals and faults in MLflow's words.
//!
//! The client retries 408, 429, 500, 502, 503 and 504 for minutes, on every verb, and then loses the message; so nothing that
//! a caller can mend is answered with one of these. A full disk is 507 `RESOURCE_EXHAUSTED`: not retried, and the message
//! arrives at once. Nothing was written, so the caller may send the same again when there is room.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::{Fault, Kind, Refusal};
use ports::{CommitError, SearchError};
use serde::Serialize;

/// Why a request gets no answer.
#[derive(Debug)]
pub(crate) enum ApiError {
    Refused(Refusal),
    Fault(Fault),
    /// No such route.
    NoRoute,
    /// A route of other servers that this one has no use for: why, and what to do instead.
    NotImplemented(&'static str),
}

#[derive(Serialize)]
struct Body {
    error_code: &'static str,
    message: String,
}

/// Refusals that MLflow calls invalid parameters although they are about a state.
const INVALID_STATES: [&str; 3] = ["param/immutable", "run/deleted", "experiment/deleted"];

fn status_and_code(refusal: &Refusal) -> (u16, &'static str) {
    match refusal.kind {
        Kind::Invalid => (400, "INVALID_PARAMETER_VALUE"),
        Kind::Conflict if INVALID_STATES.contains(&refusal.code.as_str()) => (400, "INVALID_PARAMETER_VALUE"),
        Kind::Conflict => (409, "RESOURCE_CONFLICT"),
        Kind::NotFound => (404, "RESOURCE_DOES_NOT_EXIST"),
        Kind::Exists => (400, "RESOURCE_ALREADY_EXISTS"),
        Kind::Unauthorized => (401, "UNAUTHENTICATED"),
        Kind::Forbidden => (403, "PERMISSION_DENIED"),
        Kind::TooLarge => (413, "BAD_REQUEST"),
        Kind::Busy => (429, "REQUEST_LIMIT_EXCEEDED"),
        Kind::Unavailable => (503, "TEMPORARILY_UNAVAILABLE"),
        Kind::Timeout => (504, "DEADLINE_EXCEEDED"),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error_code, message) = match self {
            ApiError::Refused(refusal) => {
                let (status, code) = status_and_code(&refusal);
                (status, code, refusal.to_string())
            }
            ApiError::NoRoute => (404, "ENDPOINT_NOT_FOUND", "no such route".to_owned()),
            ApiError::NotImplemented(why) => (501, "NOT_IMPLEMENTED", why.to_owned()),
            ApiError::Fault(Fault::Full(what)) => {
                tracing::error!(what, "no space left");
                (
                    507,
                    "RESOURCE_EXHAUSTED",
                    "the disk of the tracking server is full: nothing was written, send it again when there is room".to_owned(),
                )
            }
            ApiError::Fault(fault) => {
                tracing::error!(%fault, "request failed");
                (500, "INTERNAL_ERROR", "the tracking server failed; its log says why".to_owned())
            }
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(Body { error_code, message })).into_response()
    }
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

impl From<SearchError> for ApiError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Refused(refusal) => ApiError::Refused(refusal),
            SearchError::Fault(fault) => ApiError::Fault(fault),
        }
    }
}
