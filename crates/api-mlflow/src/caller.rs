//! Who asks.

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Actor;
use std::convert::Infallible;
use std::net::SocketAddr;

/// The actor of a request: the user name that the client was given (`MLFLOW_TRACKING_USERNAME`), else its address.
pub(crate) struct Caller(pub Actor);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = || parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.ip().to_string());
        let name = user_name(parts).or_else(address).unwrap_or_else(|| "mlflow client".into());
        Ok(Caller(Actor::User(name)))
    }
}

fn user_name(parts: &Parts) -> Option<String> {
    let encoded = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, _) = decoded.split_once(':')?;
    let name: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
    (!name.is_empty()).then_some(name)
}
