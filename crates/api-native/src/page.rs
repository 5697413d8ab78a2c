//! Pages of lists that grow.

use crate::error::ApiError;
use domain::{Entity, Refusal};
use serde::{Deserialize, Serialize};

/// Items of a page, unless asked for.
const USUAL: usize = 100;
/// Items of a page at most.
pub(crate) const MOST: usize = 1000;

/// Which page: `limit` items after the one that `after` names.
#[derive(Deserialize)]
pub(crate) struct PageQuery {
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<String>,
}

/// A page; `next` asks for the one that follows.
#[derive(Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// The number of items asked for, within its bounds.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Refusal> {
    match asked {
        None => Ok(USUAL),
        Some(limit) if (1..=MOST).contains(&limit) => Ok(limit),
        Some(limit) => Err(Refusal::invalid("page/limit", format!("limit is {limit}")).hint(format!("give 1 to {MOST}"))),
    }
}

impl PageQuery {
    /// The page of a list that is in order; an entity's key names its place, so that what is added meanwhile shifts nothing.
    pub(crate) fn of<E: Entity>(&self, all: Vec<E>) -> Result<Page<E>, ApiError> {
        self.by(all, Entity::key)
    }

    /// The page of a list whose items are named by `key`.
    pub(crate) fn by<T>(&self, mut all: Vec<T>, key: impl Fn(&T) -> String) -> Result<Page<T>, ApiError> {
        let limit = limit(self.limit)?;
        if let Some(after) = &self.after {
            let place = all.iter().position(|item| key(item) == *after);
            let place = place.ok_or_else(|| {
                Refusal::invalid("page/after", format!("`{after}` is not in this list")).hint("begin again without `after`")
            })?;
            all.drain(..=place);
        }
        let more = all.len() > limit;
        all.truncate(limit);
        Ok(Page { next: all.last().filter(|_| more).map(key), items: all })
    }
}
