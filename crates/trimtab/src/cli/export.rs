//! `trimtab export`: runs as Parquet, for any tool that reads tables.

use super::client::Client;
use super::progress::Progress;
use super::run::{list_of, text};
use super::{encode, show};
use anyhow::Context;
use arrow::array::{ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder};
use domain::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Runs that the server is asked for at once, and rows that a batch holds.
const PAGE: usize = 500;

/// Writes `runs`, `params`, `tags`, `metrics` (every point), each as one Parquet file that appears when it is whole.
pub async fn export(client: &Client, query: &str, folder: &Path, history: bool, json: bool) -> anyhow::Result<u8> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut files = Files::begin(folder)?;
    let mut progress = Progress::new("exporting");
    let mut after = String::new();
    let mut runs = 0_u64;
    loop {
        let page = client.get(&format!("/api/v1/runs?{query}&limit={PAGE}{after}")).await?;
        let items: Vec<Value> = list_of(&page, "items").cloned().collect();
        files.runs(&items)?;
        for run in &items {
            if history {
                for metric in list_of(run, "metrics") {
                    files.points(client, run, &text(metric, "key")).await?;
                }
            } else {
                let latest: Vec<Value> = list_of(run, "metrics").cloned().collect();
                files.metrics.write(points_batch(&text(run, "id"), &latest)?)?;
            }
            runs += 1;
            progress.count(&format!("{runs} runs, {} points", files.metrics.rows));
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", encode(next)),
            None => break,
        }
    }
    progress.end();
    let written = files.finish()?;
    show::print(&json!({ "runs": runs, "files": written }), json)?;
    Ok(0)
}

/// The four files.
struct Files {
    runs: Sheet,
    params: Sheet,
    tags: Sheet,
    metrics: Sheet,
}

/// One Parquet file on its way.
struct Sheet {
    name: &'static str,
    folder: std::path::PathBuf,
    writer: Option<ArrowWriter<File>>,
    rows: usize,
}

impl Sheet {
    fn begin(folder: &Path, name: &'static str) -> Self {
        Sheet { name, folder: folder.into(), writer: None, rows: 0 }
    }

    fn part(&self) -> std::path::PathBuf {
        self.folder.join(format!(".{}.part", self.name))
    }

    fn write(&mut self, batch: RecordBatch) -> anyhow::Result<()> {
        self.rows += batch.num_rows();
        if self.writer.is_none() {
            let file = File::create(self.part()).with_context(|| format!("making {}", self.part().display()))?;
            let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
            self.writer = Some(ArrowWriter::try_new(file, batch.schema(), Some(properties))?);
        }
        let writer = self.writer.as_mut().context("the writer was made above")?;
        writer.write(&batch).with_context(|| format!("writing {}", self.part().display()))?;
        Ok(())
    }

    /// Gives the file its name.
    fn finish(self) -> anyhow::Result<Value> {
        let to = self.folder.join(format!("{}.parquet", self.name));
        let part = self.part();
        if let Some(writer) = self.writer {
            writer.close().with_context(|| format!("writing {}", part.display()))?;
            std::fs::rename(&part, &to).with_context(|| format!("writing {}", to.display()))?;
        }
        Ok(json!({ "file": to, "rows": self.rows }))
    }
}

impl Files {
    fn begin(folder: &Path) -> anyhow::Result<Files> {
        let sheet = |name| Sheet::begin(folder, name);
        Ok(Files { runs: sheet("runs"), params: sheet("params"), tags: sheet("tags"), metrics: sheet("metrics") })
    }

    fn runs(&mut self, runs: &[Value]) -> anyhow::Result<()> {
        let columns = ["id", "experiment", "name", "user", "status", "lifecycle_stage", "artifact_uri"];
        let mut arrays: Vec<(&str, ArrayRef)> = columns.iter().map(|name| (*name, texts(runs.iter().map(|run| text(run, name))))).collect();
        for name in ["start", "end"] {
            arrays.push((name, times(runs.iter().map(|run| run[name].as_str()))));
        }
        self.runs.write(RecordBatch::try_from_iter(arrays)?)?;
        for (kind, sheet) in [("params", &mut self.params), ("tags", &mut self.tags)] {
            let rows: Vec<(String, String, String)> = runs
                .iter()
                .flat_map(|run| list_of(run, kind).map(|item| (text(run, "id"), text(item, "key"), text(item, "value"))))
                .collect();
            let columns: [(&str, ArrayRef); 3] = [
                ("run", texts(rows.iter().map(|row| row.0.clone()))),
                ("key", texts(rows.iter().map(|row| row.1.clone()))),
                ("value", texts(rows.iter().map(|row| row.2.clone()))),
            ];
            sheet.write(RecordBatch::try_from_iter(columns)?)?;
        }
        Ok(())
    }

    async fn points(&mut self, client: &Client, run: &Value, key: &str) -> anyhow::Result<()> {
        let id = text(run, "id");
        let mut after = String::new();
        loop {
            let page = client.get(&format!("/api/v1/runs/{id}/history?key={}{after}", encode(key))).await?;
            let points: Vec<Value> = list_of(&page, "items").cloned().collect();
            self.metrics.write(points_batch(&id, &points)?)?;
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", encode(next)),
                None => return Ok(()),
            }
        }
    }

    fn finish(self) -> anyhow::Result<Vec<Value>> {
        [self.runs, self.params, self.tags, self.metrics].into_iter().map(Sheet::finish).collect()
    }
}

fn points_batch(run: &str, points: &[Value]) -> anyhow::Result<RecordBatch> {
    let mut value = Float64Builder::new();
    let mut step = Int64Builder::new();
    for point in points {
        value.append_value(point["value"].as_f64().or_else(|| point["value"].as_str()?.parse().ok()).unwrap_or(f64::NAN));
        step.append_value(point["step"].as_i64().unwrap_or(0));
    }
    let columns: [(&str, ArrayRef); 5] = [
        ("run", texts(points.iter().map(|_| run.to_owned()))),
        ("key", texts(points.iter().map(|point| text(point, "key")))),
        ("value", Arc::new(value.finish())),
        ("step", Arc::new(step.finish())),
        ("time", times(points.iter().map(|point| point["time"].as_str()))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn texts(values: impl Iterator<Item = String>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.for_each(|value| builder.append_value(value));
    Arc::new(builder.finish())
}

fn times<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut builder = TimestampMillisecondBuilder::new();
    values.for_each(|value| builder.append_option(value.and_then(Timestamp::parse).map(Timestamp::ms)));
    Arc::new(builder.finish().with_timezone("UTC"))
}
