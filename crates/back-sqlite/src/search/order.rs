//! Candidates put into the order asked for, key by key, and no further than a page needs.

use super::{Candidate, FEW};
use crate::fault::Doing;
use crate::read::Reader;
use domain::filter::{Field, OrderBy};
use domain::{Fault, OrderedNumber};
use ports::{Place, Sorted};
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row, params};
use std::cmp::Ordering;

/// What runs have under one key, by their number.
pub(super) struct Column<'a> {
    order: &'a OrderBy,
    /// Numbers as ranks: the lower comes first, whichever the direction.
    ranks: Vec<u64>,
    texts: Vec<Option<Box<str>>>,
}

/// What comes last.
const MISSING: u64 = u64::MAX;

impl<'a> Column<'a> {
    pub(super) fn new(order: &'a OrderBy) -> Self {
        Column { order, ranks: Vec::new(), texts: Vec::new() }
    }

    /// NaN comes after the numbers and before what is missing, whichever the direction.
    fn rank(&self, bits: i64) -> u64 {
        if bits > OrderedNumber::new(f64::INFINITY).bits() {
            return MISSING - 1;
        }
        let ascending = (bits as u64) ^ (1 << 63);
        // The highest rank of a number is far below the two above, as is the complement of the lowest.
        if self.order.descending { !ascending } else { ascending }
    }

    fn set(&mut self, num: i64, value: ValueRef<'_>) -> rusqlite::Result<()> {
        let at = num as usize;
        match value {
            ValueRef::Integer(number) => {
                if at >= self.ranks.len() {
                    self.ranks.resize(at + 1, MISSING);
                }
                let is_bits = matches!(self.order.field, Field::Metric(_));
                let bits = if is_bits { number } else { OrderedNumber::new(number as f64).bits() };
                self.ranks[at] = self.rank(bits);
            }
            ValueRef::Text(_) => {
                if at >= self.texts.len() {
                    self.texts.resize(at + 1, None);
                }
                self.texts[at] = Some(value.as_str()?.into());
            }
            _ => {}
        }
        Ok(())
    }

    /// From a row of a scan; other keys than attributes are filled later.
    pub(super) fn take_attribute(&mut self, num: i64, row: &Row<'_>, at: usize) -> rusqlite::Result<()> {
        if matches!(self.order.field, Field::Attribute(_)) { self.set(num, row.get_ref(at)?) } else { Ok(()) }
    }

    fn text(&self, num: i64) -> Option<&str> {
        self.texts.get(num as usize).and_then(Option::as_deref)
    }

    fn number(&self, num: i64) -> u64 {
        self.ranks.get(num as usize).copied().unwrap_or(MISSING)
    }

    /// A key has numbers or texts, never both; so one of the comparisons finds nothing.
    fn compare(&self, a: i64, b: i64) -> Ordering {
        if self.texts.is_empty() { self.number(a).cmp(&self.number(b)) } else { self.compare_texts(self.text(a), self.text(b)) }
    }

    fn compare_texts(&self, a: Option<&str>, b: Option<&str>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.order.descending => b.cmp(a),
            (Some(a), Some(b)) => a.cmp(b),
            (a, b) => a.is_none().cmp(&b.is_none()),
        }
    }

    /// How a run stands to the place that a page begins after.
    fn compare_with(&self, num: i64, key: &Sorted) -> Ordering {
        match key {
            Sorted::Number(bits) => self.number(num).cmp(&self.rank(*bits)),
            Sorted::Text(text) => self.compare_texts(self.text(num), Some(text)),
            Sorted::Missing if self.texts.is_empty() => self.number(num).cmp(&MISSING),
            Sorted::Missing => self.compare_texts(self.text(num), None),
        }
    }
}

impl Reader {
    /// The first `wanted` of the candidates, which come in the default order, after a place if there is one.
    pub(super) fn first(
        &self,
        mut found: Vec<Candidate>,
        columns: &mut [Column<'_>],
        after: Option<&Place>,
        wanted: usize,
    ) -> Result<Vec<Candidate>, Fault> {
        for n in 0..columns.len() {
            self.fill(&mut columns[n], &found)?;
            let known = &columns[..=n];
            if let Some(after) = after {
                let key = &after.keys[n];
                found.retain_mut(|one| {
                    if one.ties {
                        let order = known[n].compare_with(one.num, key);
                        one.ties = order == Ordering::Equal;
                        return order != Ordering::Less;
                    }
                    true
                });
            }
            // What is behind the last one wanted by the keys so far, and does not tie with it, is not looked at again. Of those that
            // still tie with the page's beginning all may go.
            let enough = wanted.saturating_add(found.iter().filter(|one| one.ties).count());
            if found.len() > enough && enough > 0 {
                let mut order: Vec<u32> = (0..found.len() as u32).collect();
                let by_known = |a: &u32, b: &u32| compare(known, &found[*a as usize], &found[*b as usize]);
                let (_, last, _) = order.select_nth_unstable_by(enough - 1, by_known);
                let last = found[*last as usize].clone();
                found.retain(|one| compare(known, one, &last) != Ordering::Greater);
            }
        }
        if after.is_some() {
            found.retain(|one| !(one.ties && one.before));
        }
        // Stable: equals stay in the default order.
        found.sort_by(|a, b| compare(columns, a, b));
        found.truncate(wanted);
        Ok(found)
    }

    /// Reads what candidates have under a key that was logged.
    fn fill(&self, column: &mut Column<'_>, candidates: &[Candidate]) -> Result<(), Fault> {
        let what = "ordering runs";
        let (table, value, key) = match &column.order.field {
            Field::Metric(key) => ("latest", "bits", key),
            Field::Param(key) => ("param", "value", key),
            Field::Tag(key) => ("tag", "value", key),
            // Attributes came with the scan. A run has many datasets: no order comes of them.
            Field::Attribute(_) | Field::Dataset(_) => return Ok(()),
        };
        let Some(key) = self.word_num(key)? else { return Ok(()) };
        if candidates.len() <= FEW {
            let sql = format!("SELECT {value} FROM {table} WHERE run = ?1 AND key = ?2");
            let mut query = self.conn().prepare_cached(&sql).doing(what)?;
            for one in candidates {
                query.query_row(params![one.num, key], |row| column.set(one.num, row.get_ref(0)?)).optional().doing(what)?;
            }
            return Ok(());
        }
        let sql = format!("SELECT run, {value} FROM {table} INDEXED BY {table}_of_key WHERE key = ?1");
        let mut query = self.conn().prepare_cached(&sql).doing(what)?;
        let mut rows = query.query([key]).doing(what)?;
        while let Some(row) = rows.next().doing(what)? {
            row.get_ref(1).and_then(|value| column.set(row.get(0)?, value)).doing(what)?;
        }
        Ok(())
    }
}

fn compare(columns: &[Column<'_>], a: &Candidate, b: &Candidate) -> Ordering {
    let keys = columns.iter().map(|column| column.compare(a.num, b.num));
    keys.into_iter().find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
}
