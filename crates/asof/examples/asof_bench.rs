//! Point-in-time join from Parquet to Parquet with two threads, and what of it is only reading.
//!
//! ```text
//! cargo run --release -p asof --example asof_bench -- generate DIR 1000000 5000000 3   # labels, rows a view, views
//! cargo run --release -p asof --example asof_bench -- read DIR
//! cargo run --release -p asof --example asof_bench -- join DIR OUT.parquet
//! ```
//!
//! Labels: `row_id`, `key`, `ts`. A view: `key`, `ts` and five doubles, unsorted, 100 rows a key over 90 days; ttl 7 days.
//! `bench/asof_peers.py` runs all three beside DuckDB and polars.
#![allow(clippy::print_stdout)] // the figures are the output

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use asof::{AsofState, LabelIndex, ViewJoin};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const THREADS: usize = 2;
const BATCH_ROWS: usize = 262_144;
const GROUP_ROWS: usize = BATCH_ROWS;
const FEATURES: usize = 5;
const DAY_US: i64 = 86_400_000_000;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let start = Instant::now();
    match arguments.as_slice() {
        ["generate", dir, labels, rows, views] => generate(Path::new(dir), labels.parse()?, rows.parse()?, views.parse()?)?,
        ["read", dir] => read(Path::new(dir))?,
        ["join", dir, out] => join(Path::new(dir), Path::new(out))?,
        _ => {
            return Err("usage: asof_bench generate DIR LABELS ROWS VIEWS | read DIR | join DIR OUT".into());
        }
    }
    let wall_s = start.elapsed().as_secs_f64();
    println!("{}: {:.2} CPU s, {wall_s:.2} wall s", arguments[0], cpu_seconds()?);
    Ok(())
}

fn generate(dir: &Path, n_labels: usize, n_rows: usize, n_views: usize) -> Outcome<()> {
    std::fs::create_dir_all(dir)?;
    let n_keys = (n_rows / 100).max(1) as i64;
    let mut rng = ChaCha8Rng::seed_from_u64(59);
    write(&dir.join("labels.parquet"), n_labels, |from, n| {
        let ids: Int64Array = (from as i64..(from + n) as i64).collect();
        let [key, ts] = key_and_time(&mut rng, n, n_keys);
        RecordBatch::try_from_iter([("row_id", Arc::new(ids) as ArrayRef), ("key", key), ("ts", ts)])
    })?;
    for view in 0..n_views {
        write(&dir.join(format!("view_{view}.parquet")), n_rows, |_, n| {
            let [key, ts] = key_and_time(&mut rng, n, n_keys);
            let mut columns = vec![("key".to_owned(), key), ("ts".to_owned(), ts)];
            for feature in 0..FEATURES {
                let values: Float64Array = (0..n).map(|_| Some(rng.random::<f64>())).collect();
                columns.push((format!("f{feature}"), Arc::new(values)));
            }
            RecordBatch::try_from_iter(columns)
        })?;
    }
    Ok(())
}

fn key_and_time(rng: &mut ChaCha8Rng, n: usize, n_keys: i64) -> [ArrayRef; 2] {
    let key: Int64Array = (0..n).map(|_| Some(rng.random_range(0..n_keys))).collect();
    let time: Vec<i64> = (0..n).map(|_| 20_000 * DAY_US + rng.random_range(0..90 * DAY_US)).collect();
    [Arc::new(key), Arc::new(TimestampMicrosecondArray::from(time).with_timezone("UTC"))]
}

fn write(path: &Path, n_rows: usize, mut batch: impl FnMut(usize, usize) -> Result<RecordBatch, arrow::error::ArrowError>) -> Outcome<()> {
    let mut writer = ArrowWriter::try_new(File::create(path)?, batch(0, 0)?.schema(), Some(zstd()?.build()))?;
    for from in (0..n_rows).step_by(BATCH_ROWS) {
        writer.write(&batch(from, BATCH_ROWS.min(n_rows - from))?)?;
    }
    writer.close()?;
    Ok(())
}

fn zstd() -> Outcome<WriterPropertiesBuilder> {
    Ok(WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?)).set_max_row_group_row_count(Some(GROUP_ROWS)))
}

fn read(dir: &Path) -> Outcome<()> {
    let mut n_rows = 0;
    for path in [vec![dir.join("labels.parquet")], views(dir)].concat() {
        let rows = AtomicUsize::new(0);
        scan(&path, |_, batch| {
            rows.fetch_add(batch.num_rows(), Ordering::Relaxed);
            Ok(())
        })?;
        n_rows += rows.into_inner();
    }
    println!("{n_rows} rows");
    Ok(())
}

fn join(dir: &Path, out: &Path) -> Outcome<()> {
    let (schema, labels) = labels(dir)?;
    let index = Arc::new(LabelIndex::build(&labels, "ts", &["key".into()])?);
    let mut fields: Vec<Arc<Field>> = schema.fields().to_vec();
    let mut columns = Vec::new();
    for (number, path) in views(dir).iter().enumerate() {
        let feature = |f| (format!("f{f}"), format!("v{number}_f{f}"));
        let view = ViewJoin {
            keys: vec![("key".into(), "key".into())],
            time: "ts".into(),
            created: None,
            features: (0..FEATURES).map(feature).collect(),
            ttl_ns: Some(7 * DAY_US * 1_000),
            created_cutoff: false,
        };
        let state = AsofState::new(Arc::clone(&index), view, metadata(path)?.schema().clone())?;
        scan(path, |first_row, batch| Ok(state.push_at(first_row, batch)?))?;
        fields.extend(state.fields().iter().cloned().map(Arc::new));
        columns.extend(state.finish()?);
    }
    drop(index);
    let schema = Arc::new(Schema::new(fields));
    // Features seldom repeat: a dictionary would be built and thrown away.
    let properties = zstd()?.set_dictionary_enabled(false).build();
    let mut writer = ArrowWriter::try_new(File::create(out)?, schema.clone(), Some(properties))?;
    let mut from = 0;
    for batch in labels {
        let features = columns.iter().map(|column| column.slice(from, batch.num_rows()));
        let joined = batch.columns().iter().cloned().chain(features).collect();
        writer.write(&RecordBatch::try_new(schema.clone(), joined)?)?;
        from += batch.num_rows();
    }
    writer.close()?;
    Ok(())
}

fn labels(dir: &Path) -> Outcome<(SchemaRef, Vec<RecordBatch>)> {
    let file = File::open(dir.join("labels.parquet"))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH_ROWS);
    let schema = reader.schema().clone();
    Ok((schema, reader.build()?.collect::<Result<_, _>>()?))
}

fn views(dir: &Path) -> Vec<PathBuf> {
    (0..).map(|view| dir.join(format!("view_{view}.parquet"))).take_while(|path| path.exists()).collect()
}

fn metadata(path: &Path) -> Outcome<ArrowReaderMetadata> {
    Ok(ArrowReaderMetadata::load(&File::open(path)?, Default::default())?)
}

/// Hands every batch of the file, with the number of its first row, to `take`; row groups go to the threads as they are free.
fn scan(path: &Path, take: impl Fn(u64, &RecordBatch) -> Outcome<()> + Sync) -> Outcome<()> {
    let metadata = metadata(path)?;
    let next = AtomicUsize::new(0);
    let work = || -> Outcome<()> {
        loop {
            let group = next.fetch_add(1, Ordering::Relaxed);
            let groups = metadata.metadata().row_groups();
            if group >= groups.len() {
                return Ok(());
            }
            let mut first_row: u64 = groups[..group].iter().map(|g| g.num_rows() as u64).sum();
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(File::open(path)?, metadata.clone());
            for batch in reader.with_row_groups(vec![group]).with_batch_size(BATCH_ROWS).build()? {
                let batch = batch?;
                take(first_row, &batch)?;
                first_row += batch.num_rows() as u64;
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })
}

/// User and system time of this process, from `/proc/self/stat` (Linux, 100 ticks a second).
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').ok_or("no command in /proc/self/stat")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}
