use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::compute::{binary, interleave};
use arrow::datatypes::{DataType, Field, SchemaRef};

use crate::columns::{check_time, instants, position};
use crate::keys::{NONE, names};
use crate::stripe::{Best, Candidate, Stripe};
use crate::{AsofError, LabelIndex, ViewJoin};

/// At most this many locks, and groups that a batch's rows are sorted into. More would cut the kept rows into small pieces.
const STRIPES: usize = 16;

/// The join of one view: feature rows are pushed in any order, from any number of threads; `finish` gives each label its
/// winner's values.
///
/// Memory grows with the labels, not with the feature rows: 32 bytes and at most two kept feature rows a label, plus a batch.
/// Push large batches where you can: 256k rows cost a tenth less work a row than 64k, and 64k a third less than 8k.
pub struct AsofState {
    index: Arc<LabelIndex>,
    ttl_ns: Option<i64>,
    created_cutoff: bool,
    columns: Columns,
    fields: Vec<Field>,
    next_row: AtomicU64,
    /// A key whose first bucket is b is in stripe `b >> shift`, with all its buckets. Neighbours share a stripe, so that a
    /// batch's work on one stays near in memory.
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
    pub fn new(index: Arc<LabelIndex>, view: ViewJoin, feature_schema: SchemaRef) -> Result<Self, AsofError> {
        let columns = Columns::resolve(&index, &view, feature_schema)?;
        let field = |(at, (_, name)): (&usize, &(String, String))| columns.schema.field(*at).clone().with_name(name).with_nullable(true);
        let fields = columns.features.iter().zip(&view.features).map(field).collect();
        let n_buckets = index.times.len();
        let size = n_buckets.div_ceil(STRIPES).next_power_of_two();
        let shift = size.trailing_zeros();
        let mut ends = vec![0; n_buckets.div_ceil(size)];
        for key in index.starts.windows(2).filter(|key| key[0] < key[1]) {
            ends[(key[0] >> shift) as usize] = key[1];
        }
        let mut first = 0;
        let stripe = |end: u32| {
            let end = end.max(first);
            let stripe = Stripe::new(first, end);
            first = end;
            Mutex::new(stripe)
        };
        let stripes = ends.into_iter().map(stripe).collect();
        Ok(Self {
            index,
            ttl_ns: view.ttl_ns,
            created_cutoff: view.created_cutoff,
            columns,
            fields,
            next_row: AtomicU64::new(0),
            stripes,
            shift,
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
        let first_row = self.next_row.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        self.push_at(first_row, batch)
    }

    /// Like [`push`](Self::push), with the number of the batch's first row given, for example its place in the file: the
    /// answer then does not depend on which thread comes first.
    ///
    /// # Errors
    /// As `push`.
    pub fn push_at(&self, first_row: u64, batch: &RecordBatch) -> Result<(), AsofError> {
        self.columns.check(batch)?;
        let instants = self.columns.instants(batch, self.created_cutoff)?;
        let features = Columns::pick(&self.columns.features, batch);
        let (asks, ends) = self.asks(batch, &instants.known_at)?;
        let mut candidates = Vec::new();
        let mut from = 0;
        for (stripe, to) in self.stripes.iter().zip(ends) {
            candidates.clear();
            candidates.extend(asks[from..to].iter().filter_map(|ask| self.candidate(ask, &instants)));
            if !candidates.is_empty() {
                let mut stripe = stripe.lock().expect("no push has panicked");
                stripe.offer(&candidates, first_row, &features)?;
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
        let Self { index, ttl_ns, columns, stripes, shift, .. } = self;
        let stripes: Vec<Stripe> = stripes.into_iter().map(|stripe| stripe.into_inner().expect("no push has panicked")).collect();
        let winners = winners(&index, ttl_ns, &stripes, shift);
        let winner = |&bucket: &u32| match bucket {
            NONE => NOBODY,
            bucket => winners[bucket as usize],
        };
        let places: Vec<(usize, usize)> = index.bucket_of.iter().map(winner).collect();
        drop(winners);
        let chunks: Vec<Vec<ArrayRef>> = stripes.into_iter().flat_map(|stripe| stripe.chunks).collect();
        let gather = |(feature, at): (usize, &usize)| {
            let nobody = new_null_array(columns.schema.field(*at).data_type(), 1);
            let mut arrays: Vec<&dyn Array> = vec![nobody.as_ref()];
            arrays.extend(chunks.iter().map(|chunk| chunk[feature].as_ref()));
            Ok(interleave(&arrays, &places)?)
        };
        columns.features.iter().enumerate().map(gather).collect()
    }

    /// The rows of a batch whose key some label has, stripe after stripe, and where each stripe's end: one lock a stripe a batch.
    fn asks(&self, batch: &RecordBatch, known_at: &Int64Array) -> Result<(Vec<Ask>, Vec<usize>), AsofError> {
        let keys = Columns::pick(&self.columns.keys, batch);
        let keys = self.index.keys.find(&keys, batch.num_rows())?;
        let mut asks = Vec::with_capacity(keys.len());
        for (row, &key) in keys.iter().enumerate() {
            if key != NONE && known_at.is_valid(row) && !self.index.range(key).is_empty() {
                asks.push(Ask { key, row: row as u32, known_at: known_at.value(row) });
            }
        }
        let stripe = |ask: &Ask| self.index.range(ask.key).start >> self.shift;
        Ok(grouped(&asks, self.stripes.len(), stripe))
    }

    /// The row with its bucket, if any label may want it.
    fn candidate(&self, &Ask { key, row, known_at }: &Ask, instants: &Instants) -> Option<Candidate> {
        let bucket = self.index.bucket(key, known_at)?;
        let time = instants.times.value(row as usize);
        // The first label that could use the row is the one that it is freshest for.
        if is_expired(time, self.index.times[bucket as usize], self.ttl_ns) {
            return None;
        }
        let created = instants.created.as_ref().filter(|created| created.is_valid(row as usize));
        let created = created.map_or(i64::MIN, |created| created.value(row as usize));
        Some(Candidate { time, created, bucket, row })
    }
}

/// A feature row that looks for its bucket.
#[derive(Clone, Copy, Default)]
struct Ask {
    key: u32,
    row: u32,
    known_at: i64,
}

/// A batch's instants, in ns.
struct Instants {
    times: Int64Array,
    created: Option<Int64Array>,
    /// From when on labels may use the row; null for never.
    known_at: Int64Array,
}

/// The items group after group (a stable counting sort), and where each group ends.
fn grouped<T: Copy + Default>(items: &[T], n_groups: usize, group: impl Fn(&T) -> usize) -> (Vec<T>, Vec<usize>) {
    let mut next = vec![0; n_groups + 1];
    for item in items {
        next[group(item) + 1] += 1;
    }
    for group in 0..n_groups {
        next[group + 1] += next[group];
    }
    let mut sorted = vec![T::default(); items.len()];
    for item in items {
        let place = &mut next[group(item)];
        sorted[*place] = *item;
        *place += 1;
    }
    next.truncate(n_groups);
    (sorted, next)
}

/// Where values are kept: array (0 is the null) and row.
type Place = (usize, usize);
const NOBODY: Place = (0, 0);

/// The place of each bucket's winner: the best candidate of its own and of the earlier buckets of its key.
fn winners(index: &LabelIndex, ttl_ns: Option<i64>, stripes: &[Stripe], shift: u32) -> Vec<Place> {
    let mut first_chunks = vec![NOBODY.0 + 1];
    for stripe in stripes {
        first_chunks.push(first_chunks[first_chunks.len() - 1] + stripe.chunks.len());
    }
    let mut winners = Vec::with_capacity(index.times.len());
    for key in 0..index.keys.len() as u32 {
        let buckets = index.range(key);
        let stripe = buckets.start >> shift;
        let mut winner = None;
        for bucket in buckets {
            // `None` is less than any candidate. The winner is the latest one: where it has expired, all have.
            winner = winner.max(stripes[stripe].best(bucket as u32));
            let is_fresh = |best: &&Best| !is_expired(best.rank.0, index.times[bucket], ttl_ns);
            let place = |best: &Best| (first_chunks[stripe] + best.chunk as usize, best.row as usize);
            winners.push(winner.filter(is_fresh).map_or(NOBODY, place));
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
        let features = view.features.iter().map(|(column, _)| position(&schema, column));
        let features = features.collect::<Result<_, _>>()?;
        let keys = key_positions(index, view, &schema)?;
        Ok(Self { schema, keys, time, created, features })
    }

    /// Every column that is read has the type that was promised.
    fn check(&self, batch: &RecordBatch) -> Result<(), AsofError> {
        let read = self.keys.iter().chain(&self.features).chain([&self.time]).chain(&self.created);
        for &at in read {
            let expected = self.schema.field(at);
            let found = batch.columns().get(at).map_or(&DataType::Null, |array| array.data_type());
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

    fn instants(&self, batch: &RecordBatch, created_cutoff: bool) -> Result<Instants, AsofError> {
        let read = |at: usize| instants(self.schema.field(at).name(), batch.column(at));
        let times = read(self.time)?;
        let created = self.created.map(read).transpose()?;
        let known_at = match &created {
            Some(created) if created_cutoff => binary(&times, created, i64::max)?,
            _ => times.clone(),
        };
        Ok(Instants { times, created, known_at })
    }

    fn pick(columns: &[usize], batch: &RecordBatch) -> Vec<ArrayRef> {
        columns.iter().map(|at| batch.column(*at).clone()).collect()
    }
}

/// The view's key columns in the order of the index's.
fn key_positions(index: &LabelIndex, view: &ViewJoin, schema: &SchemaRef) -> Result<Vec<usize>, AsofError> {
    let wanted = index.keys.columns();
    let other = || AsofError::OtherKeys { view: names(&view.label_keys()), index: names(wanted) };
    if view.keys.len() != wanted.len() {
        return Err(other());
    }
    let mut positions = Vec::with_capacity(wanted.len());
    for (number, label_column) in wanted.iter().enumerate() {
        let pair = view.keys.iter().find(|(_, label)| label == label_column);
        let (column, _) = pair.ok_or_else(other)?;
        let at = position(schema, column)?;
        index.keys.check(number, column, schema.field(at).data_type())?;
        positions.push(at);
    }
    Ok(positions)
}
