//! Histories as charts and samples read them.

use crate::fault::Doing;
use crate::read::{Reader, metric};
use crate::stretch::{Rank, points};
use domain::entity::Metric;
use domain::{Fault, OrderedNumber, RunId};
use ports::refusals::no_run;
use ports::{Curve, CurveBuilder, SearchError, sample};
use rusqlite::OptionalExtension;

impl Reader {
    pub(crate) fn interval(
        &self,
        runs: &[RunId],
        key: &str,
        steps: Option<(i64, i64)>,
        max: usize,
    ) -> Result<Vec<(RunId, Metric)>, SearchError> {
        let nums: Vec<i64> =
            runs.iter().map(|run| Ok(self.run_num(run)?.ok_or_else(|| no_run(run))?)).collect::<Result<_, SearchError>>()?;
        let Some(word) = self.word_num(key)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (run, num) in runs.iter().zip(nums) {
            for (step, time, bits) in self.sampled(num, word, steps.unwrap_or((i64::MIN, i64::MAX)), max)? {
                found.push((run.clone(), metric(key.to_owned(), (time, step, bits), None)?));
            }
        }
        Ok(found)
    }

    /// Points come by time: those of a run that goes on steadily come by step too. Then they are counted first and picked as they come
    /// again, and none but these is kept; else all of them have to be sorted.
    fn sampled(&self, run: i64, key: i64, (from, to): (i64, i64), max: usize) -> Result<Vec<Rank>, Fault> {
        let (mut count, mut last, mut is_sorted) = (0, (i64::MIN, i64::MIN, i64::MIN), true);
        let within = |point: &Rank| (from..=to).contains(&point.0);
        points(self.conn(), run, key, |point| {
            if within(&point) {
                (count, is_sorted, last) = (count + 1, is_sorted && last <= point, point);
            }
        })?;
        let places = sample(count, max);
        if is_sorted {
            let (mut picked, mut at, mut next) = (Vec::with_capacity(places.len()), 0, places.iter().peekable());
            points(self.conn(), run, key, |point| {
                if within(&point) {
                    picked.extend(next.next_if_eq(&&at).map(|_| point));
                    at += 1;
                }
            })?;
            return Ok(picked);
        }
        let mut all = Vec::with_capacity(count);
        points(self.conn(), run, key, |point| all.extend(Some(point).filter(within)))?;
        all.sort_unstable();
        Ok(places.into_iter().map(|at| all[at]).collect())
    }

    pub(crate) fn curve(&self, run: &RunId, key: &str, buckets: usize) -> Result<Curve, SearchError> {
        let num = self.run_num(run)?.ok_or_else(|| no_run(run))?;
        let mut builder = CurveBuilder::new(buckets);
        if let Some(key) = self.word_num(key)? {
            points(self.conn(), num, key, |(step, time, bits)| builder.add(step, time, OrderedNumber::from_bits(bits)))?;
        }
        Ok(builder.finish())
    }

    /// The number of a word, if it is known.
    pub(crate) fn word_num(&self, text: &str) -> Result<Option<i64>, Fault> {
        let mut query = self.conn().prepare_cached("SELECT num FROM word WHERE text = ?1").doing("looking up a key")?;
        query.query_row([text], |row| row.get(0)).optional().doing("looking up a key")
    }
}
