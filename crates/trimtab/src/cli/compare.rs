//! `trimtab gate compare`: a gate on files, in any CI, without a server.

use super::gate::Form;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::record_batch::RecordBatch;
use clap::Args;
use delivery::gate::{Evidence, Facts, Judged, judge, parse_gate};
use domain::entity::GateReport;
use domain::spec::{Approve, GateSpec};
use domain::{Digest, ModelName, Range, Refusal, Scalar, Timestamp, VersionNumber};
use indexmap::IndexMap;
use ports::{Clock, scalar_at};
use stats::Metric;
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Args, Clone)]
pub struct CompareArgs {
    /// CSV or Parquet with the truth; its other columns can cut slices.
    #[arg(long)]
    labels: PathBuf,
    /// CSV or Parquet with the champion's answers to the same rows.
    #[arg(long)]
    champion: Option<PathBuf>,
    /// CSV or Parquet with the challenger's answers to the same rows.
    #[arg(long)]
    challenger: PathBuf,
    /// A check; may be given several times.
    #[arg(long, required = true)]
    must: Vec<String>,
    /// The main metric.
    #[arg(long, default_value = "accuracy")]
    metric: String,
    /// The column of the truth; without it `label`, `y`, `target`, or the only one beside --id.
    #[arg(long)]
    label: Option<String>,
    /// The column of the answers; without it `prediction`, `p`, `score`, or the only one beside --id.
    #[arg(long)]
    prediction: Option<String>,
    /// A column of every file that says which row is which; without it they have the same order.
    #[arg(long)]
    id: Option<String>,
    /// A column of the labels with times: rows of one day then belong together.
    #[arg(long)]
    time: Option<String>,
    /// Two-sided.
    #[arg(long, default_value_t = 0.95)]
    confidence: f64,
    /// What the report calls the model.
    #[arg(long, default_value = "model")]
    name: String,
    #[command(flatten)]
    form: Form,
}

/// Judges and writes the report; the exit code.
pub fn compare(args: &CompareArgs, json: bool) -> anyhow::Result<u8> {
    let report = judged(args)?;
    args.form.write(&report, json)
}

fn judged(args: &CompareArgs) -> anyhow::Result<GateReport> {
    let spec = GateSpec {
        holdout: "last 1d".into(), // the rows are given; no holdout is cut
        must: args.must.clone(),
        confidence: args.confidence,
        approve: Approve::default(),
    };
    let gate = parse_gate(&spec)?;
    let metric = Metric::parse(&args.metric).ok_or_else(|| {
        let known = Metric::ALL.map(Metric::name).join(", ");
        Refusal::invalid("model/metric", format!("there is no metric `{}`", args.metric)).hint(format!("known: {known}"))
    })?;
    let labels = read(&args.labels)?;
    let truth_column = pick(&labels, &args.labels, args.label.as_deref(), &["label", "y", "target"], args)?;
    let truth = numbers(&labels, &truth_column, &args.labels)?;
    let challenger = answers(args, &args.challenger, &labels)?;
    let champion = args.champion.as_ref().map(|file| answers(args, file, &labels)).transpose()?;
    let days = args.time.as_ref().map(|time| days(&labels, time, &args.labels)).transpose()?;
    let columns: IndexMap<String, Vec<Scalar>> = labels
        .schema()
        .fields()
        .iter()
        .filter(|field| *field.name() != truth_column)
        .map(|field| (field.name().clone(), column(&labels, field.name()).unwrap_or_default()))
        .collect();
    let hash = Digest::of_json(&(&truth, &columns.iter().collect::<Vec<_>>()));
    let seed = u64::from_str_radix(&hash.as_str()[..8], 16).unwrap_or(0);
    let facts = Facts::default();
    let evidence = Evidence {
        truth: &truth,
        days: days.as_deref(),
        challenger: &challenger,
        champion: champion.as_deref(),
        seed,
        columns: &columns,
        facts: &facts,
    };
    let Judged { checks, figure, verdict, why } = judge(&gate, metric, &evidence);
    let now = crate::clock::SystemClock.event_now();
    Ok(GateReport {
        model: ModelName::parse(&args.name)?,
        challenger: VersionNumber(2),
        champion: champion.is_some().then_some(VersionNumber(1)),
        holdout: Range::new(now, now),
        rows: truth.len() as u64,
        rows_hash: hash,
        seed,
        checks,
        figure,
        verdict,
        why,
        decided: now,
        overrides: Vec::new(),
    })
}

fn read(file: &Path) -> anyhow::Result<RecordBatch> {
    let wrong =
        |what: String| Refusal::invalid("compare/file", format!("{}: {what}", file.display())).hint("CSV with a header, or Parquet");
    let mut opened = std::fs::File::open(file)
        .map_err(|error| Refusal::not_found("compare/no_file", format!("{} cannot be read: {error}", file.display())))?;
    if file.extension().is_some_and(|end| end == "parquet") {
        let bytes = std::fs::read(file)?;
        return features::read_training_rows(bytes.into()).map_err(|error| wrong(error.to_string()).into());
    }
    let format = Format::default().with_header(true);
    let (schema, _) = format.infer_schema(&mut opened, None).map_err(|error| wrong(error.to_string()))?;
    opened.rewind()?;
    let schema = Arc::new(schema);
    let reader = ReaderBuilder::new(schema.clone()).with_header(true).build(opened).map_err(|error| wrong(error.to_string()))?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(error.to_string()))?;
    Ok(arrow::compute::concat_batches(&schema, &batches)?)
}

/// The column that is asked for, one with a usual name, or the only one that is left.
fn pick(rows: &RecordBatch, file: &Path, asked: Option<&str>, usual: &[&str], args: &CompareArgs) -> Result<String, Refusal> {
    let schema = rows.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let others: Vec<&str> = names.iter().copied().filter(|name| Some(*name) != args.id.as_deref()).collect();
    let found = match asked {
        Some(asked) => names.iter().find(|name| **name == asked),
        None => usual.iter().find_map(|usual| names.iter().find(|name| *name == usual)).or(if others.len() == 1 {
            others.first()
        } else {
            None
        }),
    };
    found.map(|name| (*name).to_owned()).ok_or_else(|| {
        let what = match asked {
            Some(asked) => format!("{} has no column `{asked}`", file.display()),
            None => format!("{}: which of its columns is meant is not clear", file.display()),
        };
        Refusal::invalid("compare/column", what).hint(format!("columns: {}; name one with --label or --prediction", names.join(", ")))
    })
}

fn column(rows: &RecordBatch, name: &str) -> Option<Vec<Scalar>> {
    let column = rows.column_by_name(name)?;
    Some((0..rows.num_rows()).map(|row| scalar_at(column, row)).collect())
}

fn numbers(rows: &RecordBatch, name: &str, file: &Path) -> Result<Vec<f64>, Refusal> {
    let values = column(rows, name).unwrap_or_default();
    let bad = values.iter().position(|value| !value.as_f64().is_some_and(f64::is_finite));
    match bad {
        None => Ok(values.iter().filter_map(Scalar::as_f64).collect()),
        Some(row) => {
            Err(Refusal::invalid("compare/label", format!("{}: row {row} of `{name}` is {}, not a number", file.display(), values[row]))
                .hint("number the classes: 0, 1, 2"))
        }
    }
}

/// A version's answers in the order of the labels.
fn answers(args: &CompareArgs, file: &Path, labels: &RecordBatch) -> anyhow::Result<Vec<Scalar>> {
    let rows = read(file)?;
    let name = pick(&rows, file, args.prediction.as_deref(), &["prediction", "p", "score"], args)?;
    let values = column(&rows, &name).unwrap_or_default();
    let Some(id) = &args.id else {
        if values.len() != labels.num_rows() {
            let what = format!("{} has {} rows, {} has {}", file.display(), values.len(), args.labels.display(), labels.num_rows());
            return Err(Refusal::invalid("compare/rows", what)
                .hint("give the same rows in the same order, or name a column with --id")
                .into());
        }
        return Ok(values);
    };
    let keys = |rows: &RecordBatch, file: &Path| {
        column(rows, id).ok_or_else(|| Refusal::invalid("compare/column", format!("{} has no column `{id}`", file.display())))
    };
    let mut known: IndexMap<String, Scalar> = IndexMap::new();
    for (key, value) in keys(&rows, file)?.iter().zip(values) {
        if known.insert(key.to_string(), value).is_some() {
            return Err(Refusal::invalid("compare/twice", format!("{} answers `{key}` twice", file.display()))
                .hint("one answer a row")
                .into());
        }
    }
    let ordered = keys(labels, &args.labels)?.into_iter().map(|key| {
        known.get(&key.to_string()).cloned().ok_or_else(|| {
            Refusal::invalid("compare/missing", format!("{} has no answer to `{key}`", file.display()))
                .hint("both must answer the same rows")
        })
    });
    Ok(ordered.collect::<Result<_, _>>()?)
}

fn days(rows: &RecordBatch, name: &str, file: &Path) -> Result<Vec<i64>, Refusal> {
    let wrong =
        |what: String| Refusal::invalid("compare/time", format!("{}: {what}", file.display())).hint("times as 2011-03-01T00:00:00Z");
    let values = column(rows, name).ok_or_else(|| wrong(format!("there is no column `{name}`")))?;
    let day = |value: &Scalar| {
        let text = value.to_string();
        let time = Timestamp::parse(&text)
            .or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
            .or_else(|| Timestamp::parse(&format!("{text}Z")));
        time.map(|time| time.day()).ok_or_else(|| wrong(format!("`{text}` in `{name}` is not a time")))
    };
    values.iter().map(day).collect()
}
