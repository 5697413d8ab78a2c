//! Where a run stands in the order of a search, as a page token says it.

use crate::refusals::bad_token;
use crate::{RunSearch, ViewType};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::filter::{Field, Found, OrderBy, Searchable};
use domain::{Fault, OrderedNumber, Refusal, RunId, entity::Run};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;

/// What a run has under one key of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sorted {
    #[serde(rename = "n")]
    Number(i64),
    #[serde(rename = "t")]
    Text(String),
    #[serde(rename = "m")]
    Missing,
}

/// A run's place: its keys, then newest start first, then its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    #[serde(rename = "k")]
    pub keys: Vec<Sorted>,
    #[serde(rename = "s")]
    pub start: i64,
    #[serde(rename = "i")]
    pub id: RunId,
}

#[derive(Serialize, Deserialize)]
struct Token {
    #[serde(rename = "q")]
    query: String,
    #[serde(flatten)]
    place: Place,
}

impl Sorted {
    /// A number, also NaN.
    pub fn number(value: f64) -> Self {
        Sorted::Number(OrderedNumber::new(value).bits())
    }

    /// Missing last and NaN after numbers, whichever the direction.
    pub fn compare(&self, other: &Self, descending: bool) -> Ordering {
        let class = |sorted: &Sorted| match sorted {
            Sorted::Missing => 2,
            Sorted::Number(bits) if *bits > OrderedNumber::new(f64::INFINITY).bits() => 1,
            _ => 0,
        };
        let by_value = match (self, other) {
            (Sorted::Number(a), Sorted::Number(b)) => a.cmp(b),
            (Sorted::Text(a), Sorted::Text(b)) => a.cmp(b),
            _ => Ordering::Equal,
        };
        class(self).cmp(&class(other)).then(if descending { by_value.reverse() } else { by_value })
    }
}

impl Place {
    /// Where a run stands.
    pub fn of(run: &Run, order: &[OrderBy]) -> Self {
        let sorted = |key: &OrderBy| match run.find(&key.field).first() {
            // A run has many datasets: no order comes of them.
            _ if matches!(key.field, Field::Dataset(_)) => Sorted::Missing,
            None => Sorted::Missing,
            Some(Found::Number(number)) => Sorted::number(*number),
            Some(Found::Text(text)) => Sorted::Text((*text).to_owned()),
        };
        Place { keys: order.iter().map(sorted).collect(), start: run.start.ms(), id: run.id.clone() }
    }

    /// How two places stand to each other in an order.
    pub fn compare(&self, other: &Self, order: &[OrderBy]) -> Ordering {
        let keys = self.keys.iter().zip(&other.keys).zip(order);
        let by_keys = keys.map(|((a, b), key)| a.compare(b, key.descending)).find(|order| *order != Ordering::Equal);
        by_keys.unwrap_or(Ordering::Equal).then(other.start.cmp(&self.start)).then_with(|| self.id.cmp(&other.id))
    }

    /// The token that asks for what comes after this place.
    pub fn token(self, search: &RunSearch) -> Result<String, Fault> {
        let token = Token { query: fingerprint(search)?, place: self };
        let json = serde_json::to_vec(&token).map_err(|e| Fault::because("writing a page token", e))?;
        Ok(URL_SAFE_NO_PAD.encode(json))
    }

    /// The place after which a search goes on. A token of another search is refused.
    pub fn after(search: &RunSearch) -> Result<Option<Self>, crate::SearchError> {
        let Some(text) = &search.token else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad_token(text))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| bad_token(text))?;
        if token.query != fingerprint(search)? || token.place.keys.len() != search.order.len() {
            let what = "the page token is another search's: experiments, filter, view and order must stay the same";
            return Err(Refusal::invalid("search/token", what).hint("begin again without a token").into());
        }
        Ok(Some(token.place))
    }
}

/// What a token is bound to. The limit is not part of it: a caller may ask for a smaller page.
fn fingerprint(search: &RunSearch) -> Result<String, Fault> {
    let view = match search.view {
        ViewType::Active => "active",
        ViewType::Deleted => "deleted",
        ViewType::All => "all",
    };
    let query = serde_json::to_vec(&(&search.experiments, &search.filter, view, &search.order));
    let query = query.map_err(|e| Fault::because("writing a page token", e))?;
    Ok(hex::encode(&Sha256::digest(query)[..8]))
}
