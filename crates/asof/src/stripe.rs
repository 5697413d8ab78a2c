//! The best feature row of each bucket, and the rows that are kept for it.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// Dead rows a stripe may carry before the "twice the live ones" counts, so that tiny stripes do not compact all the time.
const SLACK: usize = 64;

/// What decides between two candidates of one label: time, then created (`i64::MIN` = null), then the row's number.
pub(crate) type Rank = (i64, i64, u64);

/// Less than every candidate's rank: `instants` never gives `i64::MIN`.
const EMPTY: Rank = (i64::MIN, i64::MIN, 0);

/// A feature row that some label may want.
#[derive(Clone, Copy, Default)]
pub(crate) struct Candidate {
    pub(crate) time: i64,
    pub(crate) created: i64,
    pub(crate) bucket: u32,
    /// The row in its batch.
    pub(crate) row: u32,
}

/// The best candidate of a bucket so far: its rank, and where its values are kept. The greater one has the greater rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Best {
    pub(crate) rank: Rank,
    pub(crate) chunk: u32,
    pub(crate) row: u32,
}

impl Best {
    fn is_empty(&self) -> bool {
        self.rank == EMPTY
    }
}

/// The buckets of some keys, which lie together, behind one lock.
///
/// Rows are kept as they were pushed, a chunk a batch; when more than half of them have been beaten, the live ones are moved
/// together. So a stripe holds at most twice as many rows as it has buckets, and the rows of one batch.
pub(crate) struct Stripe {
    first_bucket: u32,
    best: Vec<Best>,
    /// Chunks of rows, each one array a feature.
    pub(crate) chunks: Vec<Vec<ArrayRef>>,
    n_kept: usize,
    n_live: usize,
}

impl Stripe {
    /// For the buckets `first..end`.
    pub(crate) fn new(first: u32, end: u32) -> Self {
        let empty = Best { rank: EMPTY, chunk: 0, row: 0 };
        Self { first_bucket: first, best: vec![empty; (end - first) as usize], chunks: Vec::new(), n_kept: 0, n_live: 0 }
    }

    /// The best candidate of a bucket.
    pub(crate) fn best(&self, bucket: u32) -> Option<&Best> {
        let best = &self.best[(bucket - self.first_bucket) as usize];
        (!best.is_empty()).then_some(best)
    }

    /// Takes in the candidates that win for now. The batch's rows are numbered from `first_row`.
    pub(crate) fn offer(&mut self, candidates: &[Candidate], first_row: u64, features: &[ArrayRef]) -> Result<(), ArrowError> {
        let number = |candidate: &Candidate| first_row + u64::from(candidate.row);
        let chunk = self.chunks.len() as u32;
        let mut n_won = 0;
        for candidate in candidates {
            let best = &mut self.best[(candidate.bucket - self.first_bucket) as usize];
            let rank = (candidate.time, candidate.created, number(candidate));
            if rank > best.rank {
                self.n_live += usize::from(best.is_empty());
                *best = Best { rank, chunk, row: 0 };
                n_won += 1;
            }
        }
        if n_won == 0 {
            return Ok(());
        }
        // Only now is it known which of the batch's own rows have not been beaten by a later one.
        let mut winners = Vec::with_capacity(n_won);
        for candidate in candidates {
            let best = &mut self.best[(candidate.bucket - self.first_bucket) as usize];
            if best.chunk == chunk && best.rank.2 == number(candidate) {
                best.row = winners.len() as u32;
                winners.push(candidate.row);
            }
        }
        self.n_kept += winners.len();
        self.chunks.push(pick(features, winners)?);
        if self.n_kept > 2 * self.n_live + SLACK {
            self.compact()?;
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), ArrowError> {
        let mut places = Vec::with_capacity(self.n_live);
        for best in self.best.iter_mut().filter(|best| !best.is_empty()) {
            places.push((best.chunk as usize, best.row as usize));
            best.chunk = 0;
            best.row = places.len() as u32 - 1;
        }
        let n_features = self.chunks[0].len();
        let moved = (0..n_features)
            .map(|feature| {
                let arrays: Vec<&dyn Array> = self.chunks.iter().map(|c| c[feature].as_ref()).collect();
                interleave(&arrays, &places).map(own)
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.n_kept = places.len();
        self.chunks = vec![moved];
        Ok(())
    }
}

fn pick(features: &[ArrayRef], rows: Vec<u32>) -> Result<Vec<ArrayRef>, ArrowError> {
    let rows = UInt32Array::from(rows);
    features.iter().map(|array| take(array, &rows, None).map(own)).collect()
}

/// Views keep the whole buffers they came from alive, other arrays have been copied.
fn own(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => std::sync::Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => std::sync::Arc::new(array.as_binary_view().gc()),
        _ => array,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::Int64Type;

    use super::*;

    /// Each row beats the one before it, the worst that can happen to memory.
    #[test]
    fn kept_rows_are_bounded_by_the_buckets() {
        let mut stripe = Stripe::new(6, 8);
        for time in 0..1_000 {
            let row: ArrayRef = Arc::new(Int64Array::from(vec![time]));
            let candidate = Candidate { time, created: 0, bucket: 6 + (time % 2) as u32, row: 0 };
            stripe.offer(&[candidate], time as u64, &[row]).unwrap();
            let n_rows: usize = stripe.chunks.iter().map(|chunk| chunk[0].len()).sum();
            assert!(n_rows <= 2 * 2 + SLACK, "{n_rows} rows at {time}");
        }
        let value = |best: &Best| {
            let chunk = &stripe.chunks[best.chunk as usize][0];
            chunk.as_primitive::<Int64Type>().value(best.row as usize)
        };
        assert_eq!(stripe.best.iter().map(value).collect::<Vec<_>>(), [998, 999]);
    }

    #[test]
    fn rows_beaten_within_their_own_batch_are_not_kept() {
        let mut stripe = Stripe::new(0, 1);
        let rows: ArrayRef = Arc::new(Int64Array::from(vec![3, 1, 2]));
        let candidate = |(row, time)| Candidate { time, created: 0, bucket: 0, row };
        let candidates = [(0, 3), (1, 1), (2, 2)].map(candidate);
        stripe.offer(&candidates, 0, &[rows]).unwrap();
        assert_eq!(stripe.chunks[0][0].as_primitive::<Int64Type>().values(), &[3]);
    }
}
