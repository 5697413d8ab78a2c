use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, SchemaRef};

use crate::columns::{check_time, instants, position};
use crate::keys::{NONE, names};
use crate::stripe::{Candidate, Stripe};
use crate::{AsofError, LabelIndex, ViewJoin};

/// At most this many locks, and groups that a batch's candidates are sorted into.
const STRIPES: usize = 64;

/// The join of one view: feature rows are pushed in any order, from any number of threads; `finish` gives each label its
/// winner's values.
///
/// Memory grows with the labels, not with the feature rows: 32 bytes and at most two kept feature rows a label, plus a batch.
/// Push batches of 64k rows and more where you can: a third less work than with 8k.
pub struct AsofState {
    index: Arc<LabelIndex>,
    ttl_ns: Option<i64>,
    created_cutoff: bool,
    columns: Columns,
    fields: Vec<Field>,
    next_row: AtomicU64,
    /// Bucket b is in stripe `b >> shift`. Neighbours share a stripe, so that a batch's work on one stays in the cache.
    stripes: Vec<Mutex<Stripe>>,
    shift: u32,
}

/// Where the view's columns stand in the feature rows.
struct Columns {
    schema: SchemaRef,
    /// In the order of the index's key columns.
    keys: Vec<usize>,
    time: usize,
    created: Option<usize>,
    features: Vec<usize>,
}

impl AsofState {
    /// Prepares the join of `view`, whose feature rows have `feature_schema`, with the labels of `index`.
    ///
    /// # Errors
    /// A missing column, a time or key column of a type that cannot match, other keys than the index was built on, or a
    /// created cut-off without a created column.
    pub fn new(
        index: Arc<LabelIndex>,
        view: ViewJoin,
        feature_schema: SchemaRef,
    ) -> Result<Self, AsofError> {
        let columns = Columns::resolve(&index, &view, feature_schema)?;
        let field = |(at, (_, name)): (&usize, &(String, String))| {
            columns
                .schema
                .field(*at)
                .clone()
                .with_name(name)
                .with_nullable(true)
        };
        let fields = columns
            .features
            .iter()
            .zip(&view.features)
            .map(field)
            .collect();
        let n_buckets = index.times.len();
        let size = n_buckets.div_ceil(STRIPES).next_power_of_two();
        let stripes = (0..n_buckets)
            .step_by(size)
            .map(|from| Mutex::new(Stripe::new(size.min(n_buckets - from))))
            .collect();
        Ok(Self {
            index,
            ttl_ns: view.ttl_ns,
            created_cutoff: view.created_cutoff,
            columns,
            fields,
            next_row: AtomicU64::new(0),
            stripes,
            shift: size.trailing_zeros(),
        })
    }

    /// The columns that `finish` gives: the features under their output names, nullable.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Streams a batch past the labels; its rows count as later than those of the earlier calls.
    ///
    /// The number of a row decides only where time and created are both equal: the later row wins. Threads that race for
    /// their place in the order use [`push_at`](Self::push_at) instead, all of them.
    ///
    /// # Errors
    /// A column that is missing or of another type than the schema said, or an instant out of range. The join cannot be
    /// continued after an error.
    pub fn push(&self, batch: &RecordBatch) -> Result<(), AsofError> {
        let first_row = self
            .next_row
            .fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        self.push_at(first_row, batch)
    }

    /// Like [`push`](Self::push), with the number of the batch's first row given, for example its place in the file: the
    /// answer then does not depend on which thread comes first.
    ///
    /// # Errors
    /// As `push`.
    pub fn push_at(&self, first_row: u64, batch: &RecordBatch) -> Result<(), AsofError> {
        self.columns.check(batch)?;
        let candidates = self.candidates(batch)?;
        let (candidates, ends) = self.by_stripe(&candidates);
        let features = Columns::pick(&self.columns.features, batch);
        let mask = (1 << self.shift) - 1;
        let mut from = 0;
        for (stripe, to) in self.stripes.iter().zip(ends) {
            if to > from {
                let mut stripe = stripe.lock().expect("no push has panicked");
                stripe.offer(&candidates[from..to], mask, first_row, &features)?;
            }
            from = to;
        }
        Ok(())
    }

    /// One array a feature, in the order of the view's features; one value a label, in the labels' order; null where no
    /// feature row qualified.
    ///
    /// # Errors
    /// Arrow's, where a column of strings passes 2 GiB.
    pub fn finish(self) -> Result<Vec<ArrayRef>, AsofError> {
        let Self {
            index,
            ttl_ns,
            columns,
            stripes,
            shift,
            ..
        } = self;
        let stripes: Vec<Stripe> = stripes
            .into_iter()
            .map(|stripe| stripe.into_inner().expect("no push has panicked"))
            .collect();
        let winners = winners(&index, ttl_ns, &stripes, shift);
        let winner = |&bucket: &u32| match bucket {
            NONE => NOBODY,
            bucket => winners[bucket as usize],
        };
        let places: Vec<(usize, usize)> = index.bucket_of.iter().map(winner).collect();
        drop(winners);
        let chunks: Vec<Vec<ArrayRef>> = stripes
            .into_iter()
            .flat_map(|stripe| stripe.chunks)
            .collect();
        let gather = |(feature, at): (usize, &usize)| {
            let nobody = new_null_array(columns.schema.field(*at).data_type(), 1);
            let mut arrays: Vec<&dyn Array> = vec![nobody.as_ref()];
            arrays.extend(chunks.iter().map(|chunk| chunk[feature].as_ref()));
            Ok(interleave(&arrays, &places)?)
        };
        columns.features.iter().enumerate().map(gather).collect()
    }

    /// The rows of a batch that some label may want.
    fn candidates(&self, batch: &RecordBatch) -> Result<Vec<Candidate>, AsofError> {
        let index = &self.index;
        let times = self.columns.instants(self.columns.time, batch)?;
        let created = self
            .columns
            .created
            .map(|at| self.columns.instants(at, batch))
            .transpose()?;
        let keys = index
            .keys
            .find(&Columns::pick(&self.columns.keys, batch), batch.num_rows())?;
        let mut candidates = Vec::with_capacity(batch.num_rows());
        for (row, &key) in keys.iter().enumerate() {
            if key == NONE || times.is_null(row) {
                continue;
            }
            let time = times.value(row);
            let created = created
                .as_ref()
                .and_then(|c| c.is_valid(row).then(|| c.value(row)));
            let known_at = match (self.created_cutoff, created) {
                (false, _) => time,
                (true, Some(created)) => time.max(created),
                (true, None) => continue,
            };
            let Some(bucket) = index.bucket(key, known_at) else {
                continue;
            };
            // The first label that could use the row is the one that it is freshest for.
            if is_expired(time, index.times[bucket as usize], self.ttl_ns) {
                continue;
            }
            candidates.push(Candidate {
                time,
                created: created.unwrap_or(i64::MIN),
                bucket,
                row: row as u32,
            });
        }
        Ok(candidates)
    }

    /// The candidates stripe after stripe, in their order, and where each stripe's end: one lock a stripe a batch.
    fn by_stripe(&self, candidates: &[Candidate]) -> (Vec<Candidate>, Vec<usize>) {
        let n_stripes = self.stripes.len();
        let mut next = vec![0; n_stripes + 1];
        for candidate in candidates {
            next[(candidate.bucket >> self.shift) as usize + 1] += 1;
        }
        for stripe in 0..n_stripes {
            next[stripe + 1] += next[stripe];
        }
        let mut sorted = vec![Candidate::default(); candidates.len()];
        for candidate in candidates {
            let place = &mut next[(candidate.bucket >> self.shift) as usize];
            sorted[*place] = *candidate;
            *place += 1;
        }
        next.truncate(n_stripes);
        (sorted, next)
    }
}

/// Where values are kept: array (0 is the null) and row.
type Place = (usize, usize);
const NOBODY: Place = (0, 0);

/// The place of each bucket's winner: the best candidate of its own and of the earlier buckets of its key.
fn winners(index: &LabelIndex, ttl_ns: Option<i64>, stripes: &[Stripe], shift: u32) -> Vec<Place> {
    let mut winners = Vec::with_capacity(index.times.len());
    let mut first_chunk = vec![1];
    for stripe in stripes {
        first_chunk.push(first_chunk[first_chunk.len() - 1] + stripe.chunks.len());
    }
    let mask = (1 << shift) - 1;
    for key in index.starts.windows(2) {
        let mut winner = None;
        for bucket in key[0] as usize..key[1] as usize {
            let stripe = bucket >> shift;
            let best = &stripes[stripe].best[bucket & mask];
            if !best.is_empty() && winner.is_none_or(|(rank, _)| best.rank > rank) {
                let place = (first_chunk[stripe] + best.chunk as usize, best.row as usize);
                winner = Some((best.rank, place));
            }
            // The winner is the latest candidate: where it has expired, all have.
            let fresh =
                winner.filter(|((time, ..), _)| !is_expired(*time, index.times[bucket], ttl_ns));
            winners.push(fresh.map_or(NOBODY, |(_, place)| place));
        }
    }
    winners
}

/// Both ends of the ttl are inclusive. Saturation is exact: a bound before all time excludes nothing.
fn is_expired(time: i64, label_time: i64, ttl_ns: Option<i64>) -> bool {
    ttl_ns.is_some_and(|ttl| time < label_time.saturating_sub(ttl))
}

impl Columns {
    fn resolve(index: &LabelIndex, view: &ViewJoin, schema: SchemaRef) -> Result<Self, AsofError> {
        let time = position(&schema, &view.time)?;
        check_time(&view.time, schema.field(time).data_type())?;
        let created = match &view.created {
            Some(created) => {
                let at = position(&schema, created)?;
                check_time(created, schema.field(at).data_type())?;
                Some(at)
            }
            None if view.created_cutoff => return Err(AsofError::CutoffWithoutCreated),
            None => None,
        };
        let features = view
            .features
            .iter()
            .map(|(column, _)| position(&schema, column));
        let features = features.collect::<Result<_, _>>()?;
        let keys = key_positions(index, view, &schema)?;
        Ok(Self {
            schema,
            keys,
            time,
            created,
            features,
        })
    }

    /// Every column that is read has the type that was promised.
    fn check(&self, batch: &RecordBatch) -> Result<(), AsofError> {
        let read = self
            .keys
            .iter()
            .chain(&self.features)
            .chain([&self.time])
            .chain(&self.created);
        for &at in read {
            let expected = self.schema.field(at);
            let found = batch
                .columns()
                .get(at)
                .map_or(&DataType::Null, |array| array.data_type());
            if found != expected.data_type() {
                return Err(AsofError::TypeChanged {
                    column: expected.name().clone(),
                    found: found.clone(),
                    expected: expected.data_type().clone(),
                });
            }
        }
        Ok(())
    }

    fn instants(&self, at: usize, batch: &RecordBatch) -> Result<Int64Array, AsofError> {
        instants(self.schema.field(at).name(), batch.column(at))
    }

    fn pick(columns: &[usize], batch: &RecordBatch) -> Vec<ArrayRef> {
        columns.iter().map(|at| batch.column(*at).clone()).collect()
    }
}

/// The view's key columns in the order of the index's.
fn key_positions(
    index: &LabelIndex,
    view: &ViewJoin,
    schema: &SchemaRef,
) -> Result<Vec<usize>, AsofError> {
    let wanted = index.keys.columns();
    let other = || AsofError::OtherKeys {
        view: names(&view.label_keys()),
        index: names(wanted),
    };
    if view.keys.len() != wanted.len() {
        return Err(other());
    }
    let mut positions = Vec::with_capacity(wanted.len());
    for (number, label_column) in wanted.iter().enumerate() {
        let pair = view.keys.iter().find(|(_, label)| label == label_column);
        let (column, _) = pair.ok_or_else(other)?;
        let at = position(schema, column)?;
        index
            .keys
            .check(number, column, schema.field(at).data_type())?;
        positions.push(at);
    }
    Ok(positions)
}
