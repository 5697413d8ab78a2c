//! Full-text search: the index says which runs may hold the words, each of them is then read, and [`ports::text`] decides.

use super::set::RunSet;
use crate::fault::Doing;
use crate::read::Reader;
use crate::whole::{Parts, load};
use domain::{ExperimentId, Fault};
use ports::{RunSearch, TextHit, text};

/// Runs that are read at a time.
const READ: usize = 200;

impl Reader {
    pub(crate) fn find_text(&self, query: &str, experiments: &[ExperimentId], limit: usize) -> Result<Vec<TextHit>, Fault> {
        let asked = text::asked(query);
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let possible = self.possible(&asked)?;
        let all = RunSearch { experiments: experiments.to_vec(), limit: usize::MAX, ..RunSearch::default() };
        let candidates = self.newest(&all, Some(&possible), None)?;
        let mut found = Vec::new();
        for some in candidates.chunks(READ) {
            let nums: Vec<i64> = some.iter().map(|candidate| candidate.num).collect();
            let runs = load(self.conn(), &nums, Parts::Texts)?;
            found.extend(runs.iter().filter_map(|whole| text::hit(&whole.run, &asked)));
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok(found)
    }

    /// Runs that the index names, and those that it does not know yet.
    fn possible(&self, asked: &[String]) -> Result<RunSet, Fault> {
        let what = "finding a text";
        let mut possible = RunSet::default();
        // A word is letters and digits: in quotes it is never taken for an operator.
        let words: Vec<String> = asked.iter().map(|word| format!("\"{word}\"*")).collect();
        for (sql, value) in [
            ("SELECT rowid FROM run_text WHERE run_text MATCH ?1", words.join(" AND ")),
            ("SELECT run FROM unindexed WHERE ?1 = ''", String::new()),
        ] {
            let mut query = self.conn().prepare_cached(sql).doing(what)?;
            let mut rows = query.query([value]).doing(what)?;
            while let Some(row) = rows.next().doing(what)? {
                possible.insert(row.get(0).doing(what)?);
            }
        }
        Ok(possible)
    }
}
