//! Histories as charts and samples read them.

use crate::fault::Doing;
use crate::read::{Reader, metric};
use domain::entity::Metric;
use domain::{Fault, OrderedNumber, RunId};
use ports::refusals::no_run;
use ports::{Curve, CurveBuilder, SearchError, sample};
use rusqlite::params;

/// Step, time and value.
type Rank = (i64, i64, i64);

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
        let mut found = Vec::new();
        for (run, num) in runs.iter().zip(nums) {
            let mut points: Vec<Rank> = Vec::new();
            self.points(num, key, steps.unwrap_or((i64::MIN, i64::MAX)), |point| points.push(point))?;
            // They come by time: of a run that goes on steadily they are sorted already, and this costs nothing.
            points.sort_unstable();
            for at in sample(points.len(), max) {
                let (step, time, bits) = points[at];
                found.push((run.clone(), metric(key.to_owned(), (time, step, bits), None)?));
            }
        }
        Ok(found)
    }

    pub(crate) fn curve(&self, run: &RunId, key: &str, buckets: usize) -> Result<Curve, SearchError> {
        let num = self.run_num(run)?.ok_or_else(|| no_run(run))?;
        let mut builder = CurveBuilder::new(buckets);
        let add = |(step, time, bits)| builder.add(step, time, OrderedNumber::from_bits(bits));
        self.points(num, key, (i64::MIN, i64::MAX), add)?;
        Ok(builder.finish())
    }

    /// The points of a metric whose step is in a range with both ends, by time.
    fn points(&self, run: i64, key: &str, (from, to): (i64, i64), mut take: impl FnMut(Rank)) -> Result<(), Fault> {
        let what = "reading a curve";
        let sql = "SELECT step, time, bits FROM point WHERE run = ?1 AND key = (SELECT num FROM word WHERE text = ?2)
                   AND step BETWEEN ?3 AND ?4 ORDER BY time, step, bits";
        let mut query = self.conn().prepare_cached(sql).doing(what)?;
        let mut rows = query.query(params![run, key, from, to]).doing(what)?;
        while let Some(row) = rows.next().doing(what)? {
            take((row.get(0).doing(what)?, row.get(1).doing(what)?, row.get(2).doing(what)?));
        }
        Ok(())
    }
}
