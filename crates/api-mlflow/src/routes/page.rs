//! Searches over things that are few enough to look at one by one.

use crate::message::Int;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Refusal;
use domain::filter::{Expr, OrderBy, Searchable, Target};
use ports::refusals::bad_token;
use std::cmp::Ordering;

/// The number of results asked for, within its bounds.
pub(super) fn limit(asked: Option<Int>, default: usize, most: usize) -> Result<usize, Refusal> {
    let Some(Int(asked)) = asked else { return Ok(default) };
    match usize::try_from(asked) {
        Ok(asked) if (1..=most).contains(&asked) => Ok(asked),
        _ => Err(Refusal::invalid("search/max_results", format!("max_results is {asked}")).hint(format!("give 1 to {most}"))),
    }
}

/// What is searched for, in which order, and which page of it.
pub(super) struct Search {
    filter: Expr,
    order: Vec<OrderBy>,
    skip: usize,
    limit: usize,
}

impl Search {
    pub(super) fn parse(
        target: &Target,
        filter: Option<&str>,
        order_by: &[String],
        token: Option<&str>,
        limit: usize,
    ) -> Result<Self, Refusal> {
        let order = order_by.iter().map(|key| OrderBy::parse(key, target)).collect::<Result<_, _>>()?;
        Ok(Search { filter: Expr::parse(filter.unwrap_or(""), target)?, order, skip: token.map_or(Ok(0), offset)?, limit })
    }

    /// The page, and the token of the next one. `tie` decides between equals, and orders all if no order was asked for.
    pub(super) fn page<T: Searchable>(&self, all: Vec<T>, tie: impl Fn(&T, &T) -> Ordering) -> (Vec<T>, Option<String>) {
        let mut found: Vec<T> = all.into_iter().filter(|thing| self.filter.matches(thing)).collect();
        found.sort_by(|a, b| {
            let by_keys = self.order.iter().map(|key| key.compare(a, b)).find(|order| *order != Ordering::Equal);
            by_keys.unwrap_or_else(|| tie(a, b))
        });
        let end = self.skip.saturating_add(self.limit);
        let token = (end < found.len()).then(|| URL_SAFE_NO_PAD.encode(end.to_string()));
        (found.into_iter().skip(self.skip).take(self.limit).collect(), token)
    }
}

fn offset(token: &str) -> Result<usize, Refusal> {
    if token.is_empty() {
        return Ok(0);
    }
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| bad_token(token))
}
