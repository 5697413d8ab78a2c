//! The search over runs.
//!
//! SQLite's planner is not asked for a plan: of a filter it knows neither how many runs fit nor that a page of them is wanted, and a
//! wrong guess costs seconds. Instead each clause reads the range of its key in a covering index from end to end and gives a set of
//! runs; the sets are cut; what is left is put in order and a page of it is loaded. So the cost is that of a few scans, whatever is
//! asked. Two things make it less where they can: once few runs are left, the clauses that follow look these up one by one; and where
//! many runs fit, the first of the order are tried one by one, which soon fills a page.
//!
//! Every value is bound, never written into SQL.

mod clause;
mod order;
mod set;
mod text;

use crate::fault::Doing;
use crate::read::Reader;
use crate::whole::{Parts, load};
use domain::entity::{LifecycleStage, Run};
use domain::filter::{Clause, Field, OrderBy};
use domain::{ExperimentId, Fault, RunId};
use order::Column;
use ports::{Page, Place, RunSearch, SearchError, ViewType};
use rusqlite::{Row, params_from_iter, types};
pub(crate) use set::RunSet;
use std::cmp::Ordering;

/// So few runs are looked up one by one rather than by reading a key of all runs.
const FEW: usize = if cfg!(test) { 3 } else { 1000 };

/// Candidates that are tried one by one before all runs are tried clause by clause.
const TRIED: usize = if cfg!(test) { 3 } else { 2000 };

/// A run that may be on the page.
#[derive(Clone)]
struct Candidate {
    num: i64,
    start: i64,
    /// Empty where the order of the candidates tells enough.
    id: String,
    /// Whether it stands at the page's beginning or before it, as far as start and id go.
    before: bool,
    /// Whether it ties with the page's beginning by all keys that were looked at.
    ties: bool,
}

impl Reader {
    /// Runs that fit, a page of them.
    pub(crate) fn search(&self, search: &RunSearch) -> Result<Page<Run>, SearchError> {
        search.check()?;
        let after = Place::after(search)?;
        let found =
            if search.order.is_empty() { self.newest_fitting(search, after.as_ref()) } else { self.ordered(search, after.as_ref()) }?;
        let nums: Vec<i64> = found.iter().take(search.limit).map(|candidate| candidate.num).collect();
        let items: Vec<Run> = load(self.conn(), &nums, Parts::All)?.into_iter().map(|whole| whole.run).collect();
        let more = found.len() > search.limit;
        let last = items.last().filter(|_| more).map(|run| Place::of(run, &search.order));
        let token = last.map(|place| place.token(search)).transpose()?;
        Ok(Page { items, token })
    }

    /// How many fit.
    pub(crate) fn count(&self, search: &RunSearch) -> Result<u64, SearchError> {
        search.check()?;
        let fitting = self.fitting(search)?;
        let mut count = 0;
        for group in groups(search) {
            self.scan(search, group, None, &[], |num, _, _| {
                count += u64::from(fitting.as_ref().is_none_or(|set| set.has(num)));
                Ok(true)
            })?;
        }
        Ok(count)
    }

    /// A page, and one more if there is more, newest start first.
    fn newest_fitting(&self, search: &RunSearch, after: Option<&Place>) -> Result<Vec<Candidate>, Fault> {
        let wanted = search.limit.saturating_add(1);
        if logged(search).next().is_some() && search.limit < TRIED {
            // A common case: many fit, and the newest of them are near.
            let first = self.newest(&RunSearch { limit: TRIED, ..search.clone() }, None, after)?;
            let is_all = first.len() <= TRIED;
            if let Some(found) = self.fitting_of(search, first, wanted, is_all)? {
                return Ok(found);
            }
        }
        self.newest(search, self.fitting(search)?.as_ref(), after)
    }

    /// A page, and one more if there is more, newest start first.
    fn newest(&self, search: &RunSearch, fitting: Option<&RunSet>, after: Option<&Place>) -> Result<Vec<Candidate>, Fault> {
        let mut found = Vec::new();
        for group in groups(search) {
            let mut left = search.limit.saturating_add(1);
            self.scan(search, group, after, &[], |num, start, row| {
                if fitting.is_none_or(|set| set.has(num)) {
                    found.push(Candidate { num, start, id: row.get(2)?, before: false, ties: false });
                    left -= 1;
                }
                Ok(left > 0)
            })?;
        }
        found.sort_by(by_start);
        found.truncate(search.limit.saturating_add(1));
        Ok(found)
    }

    /// A page, and one more if there is more, in the order asked for.
    fn ordered(&self, search: &RunSearch, after: Option<&Place>) -> Result<Vec<Candidate>, Fault> {
        let groups = groups(search);
        // One group comes in the order that decides between equals; of several the ids are needed to merge them.
        let one = groups.len() == 1;
        let mut columns: Vec<Column> = search.order.iter().map(Column::new).collect();
        let mut found = Vec::new();
        for group in &groups {
            self.scan(search, *group, None, &search.order, |num, start, row| {
                let before = match after {
                    Some(after) => is_by_start_up_to(after, start, row.get_ref(2)?.as_str()?),
                    None => false,
                };
                columns.iter_mut().enumerate().try_for_each(|(n, column)| column.take_attribute(num, row, 3 + n))?;
                let id = if one { String::new() } else { row.get(2)? };
                found.push(Candidate { num, start, id, before, ties: after.is_some() });
                Ok(true)
            })?;
        }
        if !one {
            found.sort_by(by_start);
        }
        let wanted = search.limit.saturating_add(1);
        if logged(search).next().is_none() {
            return self.first(found, &mut columns, after, wanted);
        }
        if wanted < TRIED && self.is_common(search, &found)? {
            let first = self.first(found.clone(), &mut columns, after, TRIED)?;
            let is_all = first.len() < TRIED;
            if let Some(found) = self.fitting_of(search, first, wanted, is_all)? {
                return Ok(found);
            }
        }
        if let Some(fitting) = self.fitting(search)? {
            found.retain(|one| fitting.has(one.num));
        }
        self.first(found, &mut columns, after, wanted)
    }

    /// Runs of one group that fit the clauses about attributes, newest start first; `after` a place if there is one. `take` gets the
    /// number, the start, and a row of number, start, id and the attributes of `order`; it says whether to go on.
    fn scan(
        &self,
        search: &RunSearch,
        (experiment, stage): (&ExperimentId, LifecycleStage),
        after: Option<&Place>,
        order: &[OrderBy],
        mut take: impl FnMut(i64, i64, &Row<'_>) -> rusqlite::Result<bool>,
    ) -> Result<(), Fault> {
        let what = "searching runs";
        let mut s = Statement { sql: "SELECT r.num, r.start, r.id".into(), values: Vec::new() };
        for key in order {
            s.sql += match &key.field {
                Field::Attribute(name) => [", ", clause::run_column(name)].concat(),
                _ => ", NULL".into(),
            }
            .as_str();
        }
        let (experiment, stage) = (s.bind(experiment.as_str().to_owned()), s.bind(stage.word().to_owned()));
        s.sql += &format!(" FROM run r INDEXED BY run_place WHERE r.experiment = {experiment} AND r.stage = {stage}");
        if let Some(after) = after {
            let (start, id) = (s.bind(after.start), s.bind(after.id.as_str().to_owned()));
            s.sql += &format!(" AND r.start <= {start} AND (r.start < {start} OR r.id > {id})");
        }
        for clause in &search.filter.0 {
            if let Field::Attribute(name) = &clause.field {
                let condition = clause::of_attribute(&mut s, name, clause);
                s.sql += &format!(" AND {condition}");
            }
        }
        s.sql += " ORDER BY r.start DESC, r.id";
        let mut query = self.conn().prepare_cached(&s.sql).doing(what)?;
        let mut rows = query.query(params_from_iter(&s.values)).doing(what)?;
        while let Some(row) = rows.next().doing(what)? {
            let (num, start) = (row.get(0).doing(what)?, row.get(1).doing(what)?);
            if !take(num, start, row).doing(what)? {
                break;
            }
        }
        Ok(())
    }
}

/// A statement being written, with the values bound so far.
struct Statement {
    sql: String,
    values: Vec<types::Value>,
}

impl Statement {
    /// Binds a value and gives its place.
    fn bind(&mut self, value: impl Into<types::Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }
}

/// The clauses about what was logged.
fn logged(search: &RunSearch) -> impl Iterator<Item = &Clause> {
    search.filter.0.iter().filter(|clause| !matches!(clause.field, Field::Attribute(_)))
}

/// The ranges of the index of runs that a search is about.
fn groups(search: &RunSearch) -> Vec<(&ExperimentId, LifecycleStage)> {
    let stages: &[LifecycleStage] = match search.view {
        ViewType::Active => &[LifecycleStage::Active],
        ViewType::Deleted => &[LifecycleStage::Deleted],
        ViewType::All => &[LifecycleStage::Active, LifecycleStage::Deleted],
    };
    let mut experiments: Vec<_> = search.experiments.iter().collect();
    experiments.sort();
    experiments.dedup();
    experiments.into_iter().flat_map(|experiment| stages.iter().map(move |stage| (experiment, *stage))).collect()
}

fn by_start(a: &Candidate, b: &Candidate) -> Ordering {
    b.start.cmp(&a.start).then_with(|| a.id.cmp(&b.id))
}

/// Whether a run stands at a place or before it, as far as start and id go.
fn is_by_start_up_to(place: &Place, start: i64, id: &str) -> bool {
    start > place.start || (start == place.start && RunId::as_str(&place.id) >= id)
}

#[cfg(test)]
mod tests;
