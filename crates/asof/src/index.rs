use std::ops::Range;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::DataType;

use crate::AsofError;
use crate::columns::{column, instants};
use crate::keys::{KeyTable, NONE};

/// The labels, ready to have feature rows streamed past them: per key the distinct times, sorted.
///
/// A *bucket* is one distinct (key, time) of the labels. A feature row is first usable at the first label of its key at or
/// after it, so it belongs to exactly one bucket, and the feature rows never need sorting. Memory: about 24 bytes a label.
pub struct LabelIndex {
    pub(crate) keys: KeyTable,
    /// The buckets' times, in ns; the buckets of one key lie together, in the order of time.
    pub(crate) times: Vec<i64>,
    /// The buckets of key k are `starts[k]..starts[k + 1]`.
    pub(crate) starts: Vec<u32>,
    /// The bucket of each label, in label order; `NONE` for a null key or time, which matches nothing.
    pub(crate) bucket_of: Vec<u32>,
}

impl LabelIndex {
    /// Reads all the labels once. The join answers in their order, batch after batch.
    ///
    /// `time_column` is a timestamp of any unit and zone (naive is UTC) or a date; without `key_columns` every feature row
    /// is a candidate for every label.
    ///
    /// # Errors
    /// A missing column, a time column of another type or out of the range of nanoseconds, batches whose key types differ,
    /// no batch at all, or 2^32 labels.
    pub fn build(labels: &[RecordBatch], time_column: &str, key_columns: &[String]) -> Result<Self, AsofError> {
        let n_labels: usize = labels.iter().map(RecordBatch::num_rows).sum();
        if n_labels >= NONE as usize {
            return Err(AsofError::TooManyLabels { found: n_labels });
        }
        let first = labels.first().ok_or(AsofError::NoLabels)?;
        let types: Vec<DataType> = key_arrays(first, key_columns)?.iter().map(|key| key.data_type().clone()).collect();
        let mut keys = KeyTable::new(key_columns, &types)?;
        let mut rows = Vec::with_capacity(n_labels);
        for batch in labels {
            let arrays = key_arrays(batch, key_columns)?;
            for (at, (name, key)) in key_columns.iter().zip(&arrays).enumerate() {
                keys.check(at, name, key.data_type())?;
            }
            let numbers = keys.number(&arrays, batch.num_rows())?;
            let times = instants(time_column, column(batch, time_column)?)?;
            rows.extend(numbers.into_iter().enumerate().map(|(row, key)| at_time(key, &times, row)));
        }
        Ok(Self::from_rows(keys, &rows))
    }

    /// How many labels there are, and so how many values the join gives for each feature.
    pub fn n_labels(&self) -> usize {
        self.bucket_of.len()
    }

    /// The earliest and the latest instant of the labels that have a key and a time, in ns since 1970-01-01 UTC. Feature rows
    /// later than the latest, or older than the earliest by more than the ttl, need not be read at all.
    pub fn time_range(&self) -> Option<(i64, i64)> {
        Some((*self.times.iter().min()?, *self.times.iter().max()?))
    }

    /// The buckets of `key`, none if all its labels lack a time.
    pub(crate) fn range(&self, key: u32) -> Range<usize> {
        self.starts[key as usize] as usize..self.starts[key as usize + 1] as usize
    }

    /// The first bucket of `key` at or after the instant `known_at`.
    pub(crate) fn bucket(&self, key: u32, known_at: i64) -> Option<u32> {
        let buckets = self.range(key);
        let earlier = earlier(&self.times[buckets.clone()], known_at);
        let bucket = buckets.start + earlier;
        (bucket < buckets.end).then_some(bucket as u32)
    }

    /// `rows`: key number and time of each label.
    fn from_rows(keys: KeyTable, rows: &[(u32, i64)]) -> Self {
        let (mut labels, ends) = by_key(rows, keys.len());
        let mut bucket_of = vec![NONE; rows.len()];
        let mut times = Vec::new();
        let mut starts = vec![0];
        let mut from = 0;
        for to in ends {
            let of_key = &mut labels[from..to];
            of_key.sort_unstable();
            let mut last = None;
            for &(time, label) in of_key.iter() {
                if last != Some(time) {
                    times.push(time);
                    last = Some(time);
                }
                bucket_of[label as usize] = times.len() as u32 - 1;
            }
            starts.push(times.len() as u32);
            from = to;
        }
        Self { keys, times, starts, bucket_of }
    }
}

/// How many of these sorted times are before `known_at`. A few are counted: that reads them side by side, while a search waits for one
/// read after the other.
fn earlier(times: &[i64], known_at: i64) -> usize {
    const FEW: usize = 48;
    match times.len() {
        0..=FEW => times.iter().map(|time| usize::from(*time < known_at)).sum(),
        _ => times.partition_point(|time| *time < known_at),
    }
}

/// Time and number of the labels that match something, key after key, and where each key's labels end.
fn by_key(rows: &[(u32, i64)], n_keys: usize) -> (Vec<(i64, u32)>, Vec<usize>) {
    let mut next = vec![0; n_keys + 1];
    for &(key, _) in rows.iter().filter(|row| row.0 != NONE) {
        next[key as usize + 1] += 1;
    }
    for key in 0..n_keys {
        next[key + 1] += next[key];
    }
    let mut labels = vec![(0, 0); next[n_keys]];
    for (label, &(key, time)) in rows.iter().enumerate().filter(|(_, row)| row.0 != NONE) {
        labels[next[key as usize]] = (time, label as u32);
        next[key as usize] += 1;
    }
    next.truncate(n_keys);
    (labels, next)
}

/// A label without a time is a label without a key: both match nothing.
fn at_time(key: u32, times: &Int64Array, row: usize) -> (u32, i64) {
    if times.is_null(row) { (NONE, 0) } else { (key, times.value(row)) }
}

fn key_arrays(batch: &RecordBatch, names: &[String]) -> Result<Vec<ArrayRef>, AsofError> {
    names.iter().map(|name| column(batch, name).cloned()).collect()
}
