//! `trimtab import mlflow`: another server's past comes along.

use super::client::Client;
use super::progress::Progress;
use super::show;
use anyhow::Context;
use domain::Refusal;
use import_mlflow::{Item, open};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Items that are sent at once, counted in points.
const CHUNK: usize = 4_000;

/// What came over.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<&'static str, usize>,
    new: u64,
    known: u64,
    refused: Vec<Value>,
}

/// Imports, then says what could not be taken.
pub async fn mlflow(client: &Client, address: &str, artifacts: Option<&Path>, json: bool) -> anyhow::Result<u8> {
    let mut source = open(address).await?;
    let (out, mut items) = mpsc::channel(64);
    let reading = tokio::spawn(async move { source.read(&out).await });
    let mut progress = Progress::new("importing");
    let mut tally = Tally::default();
    let mut chunk: Vec<Item> = Vec::new();
    let mut weight = 0;
    while let Some(item) = items.recv().await {
        let (count, heavy) = match &item {
            Item::Points { points, .. } => (points.len(), points.len()),
            _ => (1, 10),
        };
        *tally.counts.entry(item.noun()).or_default() += count;
        weight += heavy;
        chunk.push(item);
        if weight >= CHUNK {
            send(client, &mut chunk, &mut tally).await?;
            weight = 0;
            progress.count(&tally.describe());
        }
    }
    send(client, &mut chunk, &mut tally).await?;
    let mut left = reading.await.context("reading the source")??;
    let mut files = 0;
    match (artifacts, address.starts_with("http")) {
        (Some(folder), _) => files = copy_folder(client, folder, &mut progress).await?,
        (None, true) => files = pull(client, address, &mut progress, &mut left).await?,
        (None, false) => {
            left.push("artifacts of mlflow-artifacts: locations; add --artifacts FOLDER with that server's --artifacts-destination".into())
        }
    }
    progress.end();
    tally.counts.remove("run ends");
    let refused = tally.refused.len();
    let answer =
        json!({ "read": tally.counts, "artifacts": files, "new": tally.new, "known": tally.known, "refused": tally.refused, "left": left });
    show::print(&answer, json)?;
    Ok(u8::from(refused > 0))
}

impl Tally {
    fn describe(&self) -> String {
        let count = |noun: &str| self.counts.get(noun).copied().unwrap_or(0);
        format!(
            "{} experiments, {} runs, {} points, {} model versions",
            count("experiments"),
            count("runs"),
            count("points"),
            count("model versions")
        )
    }
}

async fn send(client: &Client, chunk: &mut Vec<Item>, tally: &mut Tally) -> anyhow::Result<()> {
    if chunk.is_empty() {
        return Ok(());
    }
    let answer = client.post("/api/v1/import", &json!({ "items": std::mem::take(chunk) })).await?;
    tally.new += answer["new"].as_u64().unwrap_or(0);
    tally.known += answer["known"].as_u64().unwrap_or(0);
    tally.refused.extend(answer["refused"].as_array().into_iter().flatten().cloned());
    Ok(())
}

/// Copies the folder that was the other server's artifact store; what is there with the same size is left alone.
async fn copy_folder(client: &Client, root: &Path, progress: &mut Progress) -> anyhow::Result<u64> {
    if !root.is_dir() {
        return Err(Refusal::not_found("import/no_artifacts", format!("there is no folder {}", root.display())).into());
    }
    let mut copied = 0;
    let mut waiting: Vec<PathBuf> = vec![root.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        let inside = folder.strip_prefix(root).unwrap_or(&folder).to_string_lossy().into_owned();
        let known = sizes(client, &inside).await?;
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                waiting.push(path);
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if !kind.is_file() || known.get(&name) == Some(&entry.metadata()?.len()) {
                continue;
            }
            let at = if inside.is_empty() { name } else { format!("{inside}/{name}") };
            let file = tokio::fs::File::open(&path).await.with_context(|| format!("reading {}", path.display()))?;
            client.put_artifact(&at, reqwest::Body::from(file)).await?;
            copied += 1;
            progress.count(&format!("{copied} artifacts"));
        }
    }
    Ok(copied)
}

/// Pulls every artifact that the other server holds.
async fn pull(client: &Client, address: &str, progress: &mut Progress, left: &mut Vec<String>) -> anyhow::Result<u64> {
    let other = Client::at(address);
    let mut copied = 0;
    let mut waiting = vec![String::new()];
    while let Some(folder) = waiting.pop() {
        let listing = match sizes_and_folders(&other, &folder).await {
            Ok(listing) => listing,
            Err(error) => {
                left.push(format!("artifacts: {error:#}"));
                return Ok(copied);
            }
        };
        let known = sizes(client, &folder).await?;
        for (name, size) in listing {
            let at = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            match size {
                None => waiting.push(at),
                Some(size) if known.get(&name) == Some(&size) => {}
                Some(_) => {
                    let stream = other.get_artifact(&at).await?;
                    client.put_artifact(&at, reqwest::Body::wrap_stream(stream)).await?;
                    copied += 1;
                    progress.count(&format!("{copied} artifacts"));
                }
            }
        }
    }
    Ok(copied)
}

/// Files of a folder with their sizes; folders have none.
async fn sizes_and_folders(client: &Client, folder: &str) -> anyhow::Result<Vec<(String, Option<u64>)>> {
    let answer = client.get(&format!("/api/2.0/mlflow-artifacts/artifacts?path={}", super::encode(folder))).await?;
    let entry = |file: &Value| {
        let name = file["path"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
        let size = file["file_size"].as_u64().or_else(|| file["file_size"].as_str()?.parse().ok()).unwrap_or(0);
        (name, (file["is_dir"] != true).then_some(size))
    };
    Ok(answer["files"].as_array().into_iter().flatten().map(entry).filter(|(name, _)| !name.is_empty()).collect())
}

async fn sizes(client: &Client, folder: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let all = sizes_and_folders(client, folder).await?;
    Ok(all.into_iter().filter_map(|(name, size)| Some((name, size?))).collect())
}
