//! Searches over things that are few enough to look at one by one.

use crate::error::ApiError;
use crate::message::Int;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::entity::PROMPT_TAG;
use domain::entity::{EvaluationDataset, Experiment, LoggedModel, ModelVersion, RegisteredModel};
use domain::filter::{Clause, Expr, Field, Found, Op, OrderBy, Searchable, Target, Value};
use domain::{Digest, Fault, Refusal};
use ports::Sorted;
use ports::refusals::bad_token;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The number of results asked for, within its bounds.
pub(super) fn limit(asked: Option<Int>, default: usize, most: usize) -> Result<usize, Refusal> {
    let Some(Int(asked)) = asked else { return Ok(default) };
    match usize::try_from(asked) {
        Ok(asked) if (1..=most).contains(&asked) => Ok(asked),
        _ => Err(Refusal::invalid("search/max_results", format!("max_results is {asked}")).hint(format!("give 1 to {most}"))),
    }
}

/// A thing that is listed in pages.
pub(super) trait Listed: Searchable {
    /// The order if none is asked for, and between equals.
    const ORDER: &'static [(&'static str, bool)];
    /// Decides at last.
    fn id(&self) -> String;
}

impl Listed for Experiment {
    const ORDER: &'static [(&'static str, bool)] = &[("creation_time", true)];

    /// Ids are numbers, and the newer comes first.
    fn id(&self) -> String {
        format!("{:020}", u64::MAX - self.id.as_str().parse::<u64>().unwrap_or(0))
    }
}

impl Listed for RegisteredModel {
    const ORDER: &'static [(&'static str, bool)] = &[("name", false)];

    fn id(&self) -> String {
        self.name.to_string()
    }
}

impl Listed for ModelVersion {
    const ORDER: &'static [(&'static str, bool)] = &[("last_updated_timestamp", true), ("name", false), ("version_number", true)];

    fn id(&self) -> String {
        format!("{}/{}", self.model, self.version)
    }
}

impl Listed for LoggedModel {
    const ORDER: &'static [(&'static str, bool)] = &[("creation_timestamp", true)];

    fn id(&self) -> String {
        self.id.clone()
    }
}

impl Listed for EvaluationDataset {
    const ORDER: &'static [(&'static str, bool)] = &[("created_time", true)];

    fn id(&self) -> String {
        self.id.clone()
    }
}

/// Where the last thing of a page stands: what is added or deleted meanwhile moves no other thing to another page.
#[derive(Serialize, Deserialize)]
struct Mark {
    #[serde(rename = "q")]
    query: String,
    #[serde(rename = "k")]
    keys: Vec<Sorted>,
    #[serde(rename = "i")]
    id: String,
}

/// What is searched for, in which order, and after which thing.
pub(super) struct Search {
    filter: Expr,
    order: Vec<OrderBy>,
    after: Option<Mark>,
    limit: usize,
    query: String,
}

impl Search {
    /// For things of a kind: `about` is what else the token is bound to.
    pub(super) fn parse<T: Listed>(
        target: &Target,
        filter: Option<&str>,
        order_by: &[String],
        token: Option<&str>,
        limit: usize,
        about: &str,
    ) -> Result<Self, ApiError> {
        let order = order_by.iter().map(|key| OrderBy::parse(key, target)).collect::<Result<_, _>>()?;
        Self::of::<T>(Expr::parse(filter.unwrap_or(""), target)?, order, token, limit, about)
    }

    pub(super) fn of<T: Listed>(
        filter: Expr,
        mut order: Vec<OrderBy>,
        token: Option<&str>,
        limit: usize,
        about: &str,
    ) -> Result<Self, ApiError> {
        let tie = |(name, descending): &(&str, bool)| OrderBy { field: Field::Attribute((*name).into()), descending: *descending };
        order.extend(T::ORDER.iter().map(tie));
        let asked = serde_json::to_vec(&(&filter, &order, about)).map_err(|e| Fault::because("writing a page token", e))?;
        let query = Digest::of(&asked).to_string()[..16].to_owned();
        let after = token.filter(|token| !token.is_empty()).map(|token| mark(token, &query, order.len())).transpose()?;
        Ok(Search { filter, order, after, limit, query })
    }

    /// Leaves prompts out unless the filter asks for them.
    pub(super) fn without_prompts(mut self) -> Self {
        let field = Field::Tag(PROMPT_TAG.into());
        if !self.filter.0.iter().any(|clause| clause.field == field) {
            self.filter.0.push(Clause { field, op: Op::Ne, value: Value::Text("true".into()) });
        }
        self
    }

    /// The page, and the token of the next one.
    pub(super) fn page<T: Listed>(&self, all: Vec<T>) -> Result<(Vec<T>, Option<String>), ApiError> {
        self.page_of(all, |_, _| None)
    }

    /// The same, where some keys of the order are found in a way of their own.
    pub(super) fn page_of<T: Listed>(
        &self,
        all: Vec<T>,
        special: impl Fn(usize, &T) -> Option<Sorted>,
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        let place = |thing: &T| {
            let keys = self.order.iter().enumerate().map(|(at, key)| special(at, thing).unwrap_or_else(|| sorted(thing, &key.field)));
            (keys.collect::<Vec<_>>(), thing.id())
        };
        let fits = |thing: &T| self.filter.matches(thing);
        let mut found: Vec<_> = all.into_iter().filter(fits).map(|thing| (place(&thing), thing)).collect();
        found.sort_by(|(a, _), (b, _)| self.compare((&a.0, &a.1), (&b.0, &b.1)));
        if let Some(mark) = &self.after {
            found.retain(|(place, _)| self.compare((&place.0, &place.1), (&mark.keys, &mark.id)) == Ordering::Greater);
        }
        let is_more = found.len() > self.limit;
        found.truncate(self.limit);
        let token = match found.last() {
            Some(((keys, id), _)) if is_more => {
                let mark = Mark { query: self.query.clone(), keys: keys.clone(), id: id.clone() };
                let json = serde_json::to_vec(&mark).map_err(|e| Fault::because("writing a page token", e))?;
                Some(URL_SAFE_NO_PAD.encode(json))
            }
            _ => None,
        };
        Ok((found.into_iter().map(|(_, thing)| thing).collect(), token))
    }

    fn compare(&self, a: (&[Sorted], &str), b: (&[Sorted], &str)) -> Ordering {
        let keys = a.0.iter().zip(b.0).zip(&self.order);
        let by_keys = keys.map(|((a, b), key)| a.compare(b, key.descending)).find(|order| *order != Ordering::Equal);
        by_keys.unwrap_or_else(|| a.1.cmp(b.1))
    }
}

fn sorted(thing: &impl Searchable, field: &Field) -> Sorted {
    match thing.find(field).first() {
        None => Sorted::Missing,
        Some(Found::Number(number)) => Sorted::number(*number),
        Some(Found::Text(text)) => Sorted::Text((*text).to_owned()),
    }
}

fn mark(token: &str, query: &str, keys: usize) -> Result<Mark, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad_token(token))?;
    let mark: Mark = serde_json::from_slice(&bytes).map_err(|_| bad_token(token))?;
    if mark.query != query || mark.keys.len() != keys {
        let what = "the page token is another search's: what is asked for must stay the same from page to page";
        return Err(Refusal::invalid("search/token", what).hint("begin again without a token"));
    }
    Ok(mark)
}
