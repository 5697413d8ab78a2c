//! What requests are read with: JSON bodies, queries, the actor, rows.

use crate::BODY_LIMIT;
use crate::error::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use domain::spec::ParamValue;
use domain::{Actor, Kind, Refusal, Scalar, Timestamp};
use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::convert::Infallible;

/// A JSON body; none at all is an empty object.
pub(crate) struct Sent<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Sent<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let what = format!("the body is larger than {} MiB", BODY_LIMIT >> 20);
                return Refusal::new(Kind::TooLarge, "request/too_large", what).hint("send less at once");
            }
            Refusal::invalid("request/body", "the body could not be read to its end").hint("send the request again")
        })?;
        if bytes.is_empty() {
            return Ok(Sent(parse(b"{}")?));
        }
        let essence = content_type.split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let what = format!("the content type is `{content_type}`, not JSON");
            return Err(Refusal::invalid("request/content_type", what).hint("send `Content-Type: application/json`").into());
        }
        Ok(Sent(parse(&bytes)?))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        let at = format!("line {} column {}", error.line(), error.column());
        let text = error.to_string();
        let what = text.strip_suffix(&format!(" at {at}")).unwrap_or(&text);
        let what = if error.is_data() { format!("the body is not as expected: {what}") } else { format!("the body is not JSON: {what}") };
        Refusal::invalid("request/json", what).at(at)
    })
}

/// A query string.
pub(crate) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Asked(query)),
            Err(rejection) => Err(Refusal::invalid("request/query", rejection.body_text()).into()),
        }
    }
}

/// Who asks: the header `x-trimtab-actor`, else `api`.
pub(crate) struct Caller(pub Actor);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let name = parts.headers.get("x-trimtab-actor").and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).unwrap_or("");
        let name: String = name.trim().chars().filter(|c| !c.is_control()).take(100).collect();
        Ok(Caller(Actor::User(if name.is_empty() { "api".into() } else { name })))
    }
}

/// A row as JSON has it.
pub(crate) type Record = IndexMap<String, Value>;

/// Rows of single values; what is not one is named by list, row and column.
pub(crate) fn scalars(list: &str, records: Vec<Record>) -> Result<Vec<IndexMap<String, Scalar>>, Refusal> {
    let rows = records.into_iter().enumerate().map(|(number, record)| {
        let columns = record.into_iter().map(|(name, value)| {
            let value = scalar(value, || format!("{list}, row {number}, column `{name}`"))?;
            Ok((name, value))
        });
        columns.collect()
    });
    rows.collect()
}

/// Parameters of a pipeline: single values and lists of them.
pub(crate) fn params(record: Record) -> Result<IndexMap<String, ParamValue>, Refusal> {
    let read = |(name, value): (String, Value)| {
        let place = || format!("params.{name}");
        let value = match value {
            Value::Array(values) => ParamValue::List(values.into_iter().map(|value| scalar(value, place)).collect::<Result<_, _>>()?),
            value => ParamValue::One(scalar(value, place)?),
        };
        Ok((name, value))
    };
    record.into_iter().map(read).collect()
}

/// A single value.
pub(crate) fn scalar(value: Value, place: impl FnOnce() -> String) -> Result<Scalar, Refusal> {
    let refuse = |what: &str| Refusal::invalid("request/value", what).hint("send numbers, texts, booleans and null");
    match value {
        Value::Null => Ok(Scalar::Null),
        Value::Bool(value) => Ok(Scalar::Bool(value)),
        Value::String(text) => Ok(Scalar::Text(text)),
        Value::Number(value) => match (value.as_i64(), value.as_f64()) {
            (Some(value), _) => Ok(Scalar::Int(value)),
            (None, Some(value)) => Ok(Scalar::Float(value)),
            (None, None) => Err(refuse("too large a number").at(place())),
        },
        Value::Array(_) | Value::Object(_) => Err(refuse("a list or object where a single value is expected").at(place())),
    }
}

/// An instant: RFC 3339, or milliseconds since 1970.
pub(crate) fn instant(value: &Value, place: impl FnOnce() -> String) -> Result<Timestamp, Refusal> {
    let time = match value {
        Value::String(text) => Timestamp::parse(text),
        Value::Number(number) => number.as_i64().map(Timestamp::from_ms),
        _ => None,
    };
    let time = time.filter(|time| (Timestamp::MIN..=Timestamp::MAX).contains(time));
    time.ok_or_else(|| {
        Refusal::invalid("request/time", format!("{value} is not a time"))
            .at(place())
            .hint("write it as 2011-03-01T00:00:00Z, or in milliseconds since 1970")
    })
}
