//! The keys of an order, read for all candidates at once.

use super::{Candidate, FEW};
use crate::fault::Doing;
use crate::read::Reader;
use domain::Fault;
use domain::filter::{Field, OrderBy};
use ports::Sorted;
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row, params};
use std::cmp::Ordering;

/// What runs have under one key, by their number.
pub(super) struct Column<'a> {
    order: &'a OrderBy,
    values: Vec<Sorted>,
}

/// What a run has that was not read: nothing.
const MISSING: Sorted = Sorted::Missing;

impl<'a> Column<'a> {
    pub(super) fn new(order: &'a OrderBy) -> Self {
        Column { order, values: Vec::new() }
    }

    fn get(&self, num: i64) -> &Sorted {
        self.values.get(num as usize).unwrap_or(&MISSING)
    }

    fn set(&mut self, num: i64, value: Sorted) {
        let at = num as usize;
        if at >= self.values.len() {
            self.values.resize(at + 1, MISSING);
        }
        self.values[at] = value;
    }

    /// From a row of a scan; other keys than attributes are filled later.
    pub(super) fn take_attribute(&mut self, num: i64, row: &Row<'_>, at: usize) -> rusqlite::Result<()> {
        if matches!(self.order.field, Field::Attribute(_)) {
            let value = match row.get_ref(at)? {
                ValueRef::Integer(number) => Sorted::number(number as f64),
                ValueRef::Text(_) => Sorted::Text(row.get(at)?),
                _ => MISSING,
            };
            self.set(num, value);
        }
        Ok(())
    }

    pub(super) fn compare(&self, a: i64, b: i64) -> Ordering {
        self.get(a).compare(self.get(b), self.order.descending)
    }

    pub(super) fn compare_with(&self, num: i64, value: &Sorted) -> Ordering {
        self.get(num).compare(value, self.order.descending)
    }
}

impl Reader {
    /// Reads what candidates have under a key that was logged.
    pub(super) fn fill(&self, column: &mut Column<'_>, candidates: &[(Candidate, bool)]) -> Result<(), Fault> {
        let what = "ordering runs";
        let (table, value, key) = match &column.order.field {
            Field::Metric(key) => ("latest", "bits", key),
            Field::Param(key) => ("param", "value", key),
            Field::Tag(key) => ("tag", "value", key),
            // Attributes came with the scan. A run has many datasets: no order comes of them.
            Field::Attribute(_) | Field::Dataset(_) => return Ok(()),
        };
        let Some(key) = self.key(key)? else { return Ok(()) };
        let sorted = |row: &Row<'_>, at: usize| match row.get_ref(at)? {
            ValueRef::Integer(bits) => Ok(Sorted::Number(bits)),
            _ => Ok(Sorted::Text(row.get(at)?)),
        };
        if candidates.len() <= FEW {
            let sql = format!("SELECT {value} FROM {table} WHERE run = ?1 AND key = ?2");
            let mut query = self.conn().prepare_cached(&sql).doing(what)?;
            for (Candidate { num, .. }, _) in candidates {
                if let Some(found) = query.query_row(params![num, key], |row| sorted(row, 0)).optional().doing(what)? {
                    column.set(*num, found);
                }
            }
            return Ok(());
        }
        let sql = format!("SELECT run, {value} FROM {table} INDEXED BY {table}_of_key WHERE key = ?1");
        let mut query = self.conn().prepare_cached(&sql).doing(what)?;
        let mut rows = query.query([key]).doing(what)?;
        while let Some(row) = rows.next().doing(what)? {
            column.set(row.get(0).doing(what)?, sorted(row, 1).doing(what)?);
        }
        Ok(())
    }
}
