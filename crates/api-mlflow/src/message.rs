//! Messages as protobuf's JSON writes and reads them.

use crate::error::ApiError;
use axum::Json;
use axum::body::to_bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method};
use domain::{Kind, Refusal};
use serde::de::{DeserializeOwned, Error, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;
use std::marker::PhantomData;

/// Bytes that a message may have; artifacts are no messages.
const LARGEST: usize = 32 << 20;

/// A request's message: the query of a GET, else the JSON body (or the query, for a client that sends no body).
pub(crate) struct Message<T>(pub T);

/// An answer.
pub(crate) type Reply<T> = Result<Json<T>, ApiError>;

/// An answer that says only that it is done.
#[derive(Serialize)]
pub(crate) struct Done {}

pub(crate) fn done() -> Reply<Done> {
    Ok(Json(Done {}))
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Message<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let from_query = from_query(request.uri())?;
        let (parts, body) = request.into_parts();
        let too_large = |_| {
            Refusal::new(Kind::TooLarge, "request/too_large", format!("the body has more than {} MiB", LARGEST >> 20))
                .hint("send less at once")
        };
        let bytes = to_bytes(body, LARGEST).await.map_err(too_large)?;
        if parts.method == Method::GET {
            return Ok(Message(serde_json::from_value(Value::Object(from_query)).map_err(malformed)?));
        }
        check_json(&parts.headers)?;
        if bytes.is_empty() {
            return Ok(Message(serde_json::from_value(Value::Object(from_query)).map_err(malformed)?));
        }
        Ok(Message(read_body(&bytes)?))
    }
}

/// A body as clients send it: an object, whose names may also be written `likeThis`; nothing, as `null`; or, from old
/// clients, text that holds the object.
fn read_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let starts_with = |c: u8| bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&c);
    if starts_with(b'{') && !has_json_names(bytes) {
        return serde_json::from_slice(bytes).map_err(malformed);
    }
    let value = match serde_json::from_slice(bytes).map_err(malformed)? {
        Value::String(inner) => serde_json::from_str(&inner).map_err(malformed)?,
        value => value,
    };
    match value {
        Value::Null => serde_json::from_value(Value::Object(Map::new())).map_err(malformed),
        Value::Object(_) => serde_json::from_value(field_names(value)?).map_err(malformed),
        _ => Err(Refusal::invalid("request/malformed", "the body is not a JSON object").hint("send {...}")),
    }
}

/// Whether a name in the text may have a capital letter in it. Values are looked at too: then it is read the long way.
fn has_json_names(bytes: &[u8]) -> bool {
    let mut word_has_capital = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'A'..=b'Z' => word_has_capital = true,
            b'"' if word_has_capital => {
                let after = bytes[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
                if after == Some(&b':') {
                    return true;
                }
                word_has_capital = false;
            }
            _ => {}
        }
    }
    false
}

/// protobuf's JSON allows `experimentId` for `experiment_id`; both at once are refused, for which of them counts?
fn field_names(value: Value) -> Result<Value, Refusal> {
    match value {
        Value::Object(fields) => {
            let mut named = Map::new();
            for (name, value) in fields {
                let snake = snake_case(&name);
                if named.insert(snake.clone(), field_names(value)?).is_some() {
                    let what = format!("the request has both `{snake}` and its other spelling");
                    return Err(Refusal::invalid("request/malformed", what).hint("send one of them"));
                }
            }
            Ok(Value::Object(named))
        }
        Value::Array(items) => Ok(Value::Array(items.into_iter().map(field_names).collect::<Result<_, _>>()?)),
        other => Ok(other),
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Without this a page of another site could write through a person's browser.
fn check_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    if kind.trim_start().starts_with("application/json") {
        return Ok(());
    }
    Err(Refusal::invalid("request/content_type", format!("the content type is `{kind}`")).hint("send application/json"))
}

fn malformed(error: serde_json::Error) -> Refusal {
    Refusal::invalid("request/malformed", format!("the request cannot be read: {error}")).hint("see the MLflow REST API")
}

/// Each key with its value, or with all its values if it comes more than once.
fn from_query(uri: &axum::http::Uri) -> Result<Map<String, Value>, Refusal> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|e| Refusal::invalid("request/malformed", format!("the query cannot be read: {e}")).hint("encode it as UTF-8"))?;
    let mut map = Map::new();
    for (key, value) in pairs.0 {
        let value = Value::String(value);
        match map.get_mut(&key) {
            None => drop(map.insert(key, value)),
            Some(Value::Array(all)) => all.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Ok(map)
}

/// A field that must be there and not be empty.
pub(crate) fn required(field: Option<String>, name: &str) -> Result<String, Refusal> {
    field.filter(|value| !value.is_empty()).ok_or_else(|| missing(name))
}

/// Says that a field is missing, in the words that MLflow uses.
pub(crate) fn missing(name: &str) -> Refusal {
    Refusal::invalid("request/missing", format!("Missing value for required parameter '{name}'")).hint("see the MLflow REST API")
}

/// A whole number, also as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Int(pub i64);

/// A yes or no, also as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Flag(pub bool);

/// A word of a closed list, or its number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Word(pub String);

/// A number, also as text; NaN and infinities are text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Num(pub f64);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Whole(i64),
    Number(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = |x: f64| (x.fract() == 0.0 && x.abs() < 9.0e15).then_some(x as i64);
        let (found, shown) = match NumberOrText::deserialize(deserializer).map_err(|_| D::Error::custom("expected a whole number"))? {
            NumberOrText::Whole(n) => (Some(n), n.to_string()),
            NumberOrText::Number(x) => (whole(x), x.to_string()),
            NumberOrText::Text(text) => (text.trim().parse().ok().or_else(|| whole(text.trim().parse().ok()?)), text),
        };
        found.map(Int).ok_or_else(|| D::Error::custom(format!("expected a whole number, found `{shown}`")))
    }
}

impl Serialize for Int {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(flag) => Ok(Flag(flag)),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(Flag(true)),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(Flag(false)),
            other => Err(D::Error::custom(format!("expected true or false, found `{other}`"))),
        }
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(self.0)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(word) => Ok(Word(word)),
            Value::Number(number) => Ok(Word(number.to_string())),
            other => Err(D::Error::custom(format!("expected a word, found `{other}`"))),
        }
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Num {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer).map_err(|_| D::Error::custom("expected a number"))? {
            NumberOrText::Whole(n) => Ok(Num(n as f64)),
            NumberOrText::Number(x) => Ok(Num(x)),
            // Rust reads `NaN`, `Infinity` and `-Infinity` as protobuf writes them.
            NumberOrText::Text(text) => {
                text.trim().parse().map(Num).map_err(|_| D::Error::custom(format!("expected a number, found `{text}`")))
            }
        }
    }
}

impl Serialize for Num {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            x if x.is_nan() => serializer.serialize_str("NaN"),
            f64::INFINITY => serializer.serialize_str("Infinity"),
            f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
            x => serializer.serialize_f64(x),
        }
    }
}

/// A list that may be null; in a query a list of one text is not told apart from the text.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Items<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_str<E: Error>(self, one: &str) -> Result<Vec<T>, E> {
            Ok(vec![T::deserialize(one.into_deserializer())?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = seq.next_element()? {
                all.push(item);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(Items(PhantomData))
}
