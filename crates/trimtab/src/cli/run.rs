//! `trimtab run` and `trimtab experiment`.

use super::client::Client;
use super::encode;
use super::show::{self, cell};
use super::table::{Output, Table};
use clap::{Args, Subcommand};
use domain::{Refusal, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Subcommand)]
pub enum RunCommand {
    /// Search runs in MLflow's filter grammar.
    Ls(ListArgs),
    /// One run: params, latest metrics, tags, inputs, outputs.
    Show { run: String },
    /// Runs side by side; only what differs, unless all is asked for.
    Compare {
        #[arg(required = true, num_args = 2..)]
        runs: Vec<String>,
        /// What is equal too.
        #[arg(long)]
        all: bool,
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// What is different between two runs: params, metrics, code, environment, data.
    Diff {
        a: String,
        b: String,
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Show what is recorded of a run and what is missing; with --go, run its step again with exactly those inputs.
    Reproduce {
        run: String,
        /// Start it.
        #[arg(long)]
        go: bool,
        /// Start it though code or environment have changed.
        #[arg(long)]
        anyway: bool,
    },
}

#[derive(Args)]
pub struct ListArgs {
    /// Names or ids, comma-separated; none means all.
    #[arg(short, long, default_value = "")]
    experiment: String,
    /// `metrics.mae < 40 and params.lr = '0.1'`
    #[arg(short, long, default_value = "")]
    filter: String,
    /// `metrics.mae ASC, start_time DESC`
    #[arg(long, default_value = "")]
    order: String,
    /// active, deleted or all.
    #[arg(long, default_value = "active")]
    view: String,
    #[arg(short = 'n', long, default_value_t = 20)]
    limit: usize,
    /// `metrics.mae,params.lr,tags.team`; a few of each without it.
    #[arg(short, long)]
    columns: Option<String>,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// Runs of a page that the server is asked for.
const PAGE: usize = 1000;
/// Columns of each kind that are shown without being asked for.
const SOME: usize = 4;

/// Runs the command.
pub async fn run(client: &Client, command: RunCommand, json: bool) -> anyhow::Result<u8> {
    match command {
        RunCommand::Ls(args) => list(client, args, json).await?,
        RunCommand::Show { run } => show::print(&find(client, &run).await?, json)?,
        RunCommand::Compare { runs, all, output } => {
            let runs = find_all(client, &runs).await?;
            compare(&runs, all).print(if json { Output::Json } else { output })?;
        }
        RunCommand::Diff { a, b, output } => {
            let (a, b) = (find(client, &a).await?, find(client, &b).await?);
            let sides = [facts(client, &a).await?, facts(client, &b).await?];
            diff(&[&a, &b], &sides).print(if json { Output::Json } else { output })?;
        }
        RunCommand::Reproduce { run, go, anyway } => return reproduce(client, &run, go, anyway, json).await,
    }
    Ok(0)
}

/// Experiments, as a table.
pub async fn experiments(client: &Client, json: bool) -> anyhow::Result<u8> {
    let mut items = Vec::new();
    let mut after = String::new();
    loop {
        let page = client.get(&format!("/api/v1/experiments?limit=1000{after}")).await?;
        items.extend(list_of(&page, "items").cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", encode(next)),
            None => break,
        }
    }
    if json {
        show::print(&json!({ "items": items, "next": null }), true)?;
        return Ok(0);
    }
    let mut table = Table::new(["id", "name", "stage", "updated", "artifacts"]);
    for one in &items {
        table.rows.push(vec![
            text(one, "id"),
            text(one, "name"),
            text(one, "lifecycle_stage"),
            minute(one, "updated"),
            text(one, "artifact_location"),
        ]);
    }
    table.print(Output::Table)?;
    Ok(0)
}

/// Every run that fits, up to a number; and whether there are more.
pub async fn search(client: &Client, query: &str, limit: usize) -> anyhow::Result<(Vec<Value>, bool)> {
    let mut found: Vec<Value> = Vec::new();
    let mut after = String::new();
    while found.len() < limit {
        let ask = (limit - found.len()).min(PAGE);
        let page = client.get(&format!("/api/v1/runs?{query}&limit={ask}{after}")).await?;
        found.extend(list_of(&page, "items").cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", encode(next)),
            None => return Ok((found, false)),
        }
    }
    Ok((found, true))
}

async fn list(client: &Client, args: ListArgs, json: bool) -> anyhow::Result<()> {
    let query = [("experiment", &args.experiment), ("filter", &args.filter), ("order", &args.order), ("view", &args.view)];
    let query = query.map(|(name, value)| format!("{name}={}", encode(value))).join("&");
    let (runs, more) = search(client, &query, args.limit.max(1)).await?;
    if json {
        show::print(&json!({ "items": runs, "more": more }), true)?;
        return Ok(());
    }
    let columns: Vec<String> = match &args.columns {
        Some(columns) => columns.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
        None => usual_columns(&runs, &args.order),
    };
    let fixed = ["run", "name", "status", "started", "took"];
    let mut table = Table::new(fixed.iter().map(|name| (*name).to_owned()).chain(columns.iter().cloned()));
    for run in &runs {
        let id = text(run, "id");
        let id = if args.output == Output::Table { id.chars().take(12).collect() } else { id };
        let mut row = vec![id, text(run, "name"), text(run, "status").to_lowercase(), minute(run, "start"), took(run)];
        row.extend(columns.iter().map(|column| value_at(run, column)));
        table.rows.push(row);
    }
    table.print(args.output)?;
    if more && args.output == Output::Table {
        use std::io::Write;
        writeln!(std::io::stderr(), "there are more: -n {}", args.limit * 2)?;
    }
    Ok(())
}

/// What the order asks for, then some metrics that many runs have, then some params that differ.
fn usual_columns(runs: &[Value], order: &str) -> Vec<String> {
    let asked = order.split(',').filter_map(|key| key.split_whitespace().next()).filter(|key| key.contains('.'));
    let mut columns: Vec<String> = asked.map(str::to_owned).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for metric in runs.iter().flat_map(|run| list_of(run, "metrics")) {
        *counts.entry(metric["key"].as_str().unwrap_or_default()).or_default() += 1;
    }
    let mut metrics: Vec<(&str, usize)> = counts.into_iter().collect();
    metrics.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    columns.extend(metrics.iter().take(SOME).map(|(key, _)| format!("metrics.{key}")));
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for param in runs.iter().flat_map(|run| list_of(run, "params")) {
        values.entry(param["key"].as_str().unwrap_or_default()).or_default().insert(param["value"].as_str().unwrap_or_default());
    }
    let differing = values.into_iter().filter(|(_, values)| values.len() > 1 || runs.len() == 1);
    columns.extend(differing.take(SOME).map(|(key, _)| format!("params.{key}")));
    let mut seen = BTreeSet::new();
    columns.retain(|column| seen.insert(column.clone()));
    columns
}

fn value_at(run: &Value, column: &str) -> String {
    let column = column.trim_matches('`');
    let (kind, key) = column.split_once('.').unwrap_or(("", column));
    let key = key.trim_matches(['`', '"']);
    let kind = match kind {
        "metrics" | "metric" => "metrics",
        "params" | "param" | "parameters" => "params",
        "tags" | "tag" => "tags",
        _ => return text(run, column),
    };
    list_of(run, kind).find(|item| item["key"] == key).map(|item| cell(&item["value"])).unwrap_or_default()
}

/// Runs side by side: a row for each param, metric and tag.
fn compare(runs: &[Value], all: bool) -> Table {
    let mut table = Table::new(["what".to_owned()].into_iter().chain(runs.iter().map(name_of)));
    for kind in ["params", "metrics", "tags"] {
        let keys: BTreeSet<&str> = runs.iter().flat_map(|run| list_of(run, kind)).filter_map(|item| item["key"].as_str()).collect();
        for key in keys.into_iter().filter(|key| all || !key.starts_with("mlflow.")) {
            let name = format!("{kind}.{key}");
            let values: Vec<String> = runs.iter().map(|run| value_at(run, &name)).collect();
            if all || values.iter().any(|value| *value != values[0]) {
                table.rows.push([name].into_iter().chain(values).collect());
            }
        }
    }
    table
}

/// What is known of how a run came about, by section and name.
type Facts = BTreeMap<String, String>;

/// Code, environment and data of a run, from its tags, inputs, model and pipeline step.
async fn facts(client: &Client, run: &Value) -> anyhow::Result<Facts> {
    let mut facts = Facts::new();
    let mut say = |name: String, value: String| {
        if !value.is_empty() {
            facts.insert(name, value);
        }
    };
    for (tag, name) in
        [("mlflow.source.git.commit", "code commit"), ("mlflow.source.name", "code entry"), ("mlflow.source.git.branch", "code branch")]
    {
        say(name.into(), value_at(run, &format!("tags.{tag}")));
    }
    for input in list_of(run, "inputs") {
        say(format!("data {}", text(input, "name")), text(input, "digest"));
    }
    if let Some(step) = step_of(client, run).await? {
        for (part, digest) in step["key_parts"].as_object().into_iter().flatten() {
            let name = match part.split_once('.') {
                Some(("code", file)) => format!("code {file}"),
                Some(("in", input)) => format!("data {input}"),
                Some(("params", _)) => continue,
                Some(("env", variable)) => format!("environment {variable}"),
                _ if part == "environment" => "environment lock".into(),
                _ => part.clone(),
            };
            say(name, digest.as_str().unwrap_or_default().chars().take(16).collect());
        }
    }
    for (package, version) in requirements(client, run).await? {
        say(format!("environment {package}"), version);
    }
    Ok(facts)
}

/// The packages that the run's newest model asks for.
async fn requirements(client: &Client, run: &Value) -> anyhow::Result<Vec<(String, String)>> {
    let Some(model) = list_of(run, "outputs").rfind(|output| output["input"] != true) else { return Ok(Vec::new()) };
    let path = format!("/api/2.0/mlflow/logged-models/{}", encode(&text(model, "model_id")));
    let Ok(model) = client.get(&path).await else { return Ok(Vec::new()) };
    let uri = text(&model["model"]["info"], "artifact_uri");
    let Some(folder) = uri.strip_prefix("mlflow-artifacts:/") else { return Ok(Vec::new()) };
    let path = format!("/api/2.0/mlflow-artifacts/artifacts/{}/requirements.txt", folder.trim_matches('/'));
    let Ok(Value::String(lines)) = client.get(&path).await else { return Ok(Vec::new()) };
    let package = |line: &str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (name, version) = line.split_once("==").unwrap_or((line, "any"));
        (!line.is_empty()).then(|| (name.trim().to_owned(), version.trim().to_owned()))
    };
    Ok(lines.lines().filter_map(package).collect())
}

/// The pipeline step that made the run, if one did.
async fn step_of(client: &Client, run: &Value) -> anyhow::Result<Option<Value>> {
    let (pipeline_run, step) = (value_at(run, "tags.trimtab.pipeline_run"), value_at(run, "tags.trimtab.step"));
    if pipeline_run.is_empty() || step.is_empty() {
        return Ok(None);
    }
    let Ok(found) = client.get(&format!("/api/v1/pipeline-runs/{}", encode(&pipeline_run))).await else { return Ok(None) };
    Ok(list_of(&found, "steps").find(|one| one["name"] == step.as_str()).cloned())
}

fn diff(runs: &[&Value; 2], facts: &[Facts; 2]) -> Table {
    let mut table = compare(&[runs[0].clone(), runs[1].clone()], false);
    table.rows.retain(|row| !row[0].starts_with("tags.trimtab."));
    let names: BTreeSet<&String> = facts.iter().flat_map(BTreeMap::keys).collect();
    for name in names {
        let values = facts.each_ref().map(|side| side.get(name).cloned().unwrap_or_else(|| "-".into()));
        if values[0] != values[1] {
            table.rows.push(vec![name.clone(), values[0].clone(), values[1].clone()]);
        }
    }
    table
}

/// What is different between the runs of two versions.
pub async fn diff_versions(client: &Client, model: &str, versions: [u64; 2], output: Output) -> anyhow::Result<u8> {
    let shown = client.get(&format!("/api/v1/models/{}?limit=1000", encode(model))).await?;
    let mut runs = Vec::new();
    for number in versions {
        let version = list_of(&shown["versions"], "items").find(|version| version["version"] == number);
        let version = version.ok_or_else(|| {
            Refusal::not_found("version/not_found", format!("model `{model}` has no version {number}"))
                .hint(format!("trimtab model show {model}"))
        })?;
        let run = version["run"].as_str().ok_or_else(|| {
            Refusal::invalid("version/no_run", format!("version {number} of `{model}` does not say which run made it"))
                .hint("register it with run_id")
        })?;
        runs.push(find(client, run).await?);
    }
    let sides = [facts(client, &runs[0]).await?, facts(client, &runs[1]).await?];
    diff(&[&runs[0], &runs[1]], &sides).print(output)?;
    Ok(0)
}

/// What a run can be made again from.
async fn reproduce(client: &Client, run: &str, go: bool, anyway: bool, json: bool) -> anyhow::Result<u8> {
    let run = find(client, run).await?;
    let step = step_of(client, &run).await?;
    let mut known = facts(client, &run).await?;
    let mut missing = Vec::new();
    if let Some(command) = step.as_ref().and_then(|step| list_of(step, "attempts").next_back()).map(|last| last["command"].clone()) {
        let words: Vec<&str> = command.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        known.insert("command".into(), words.join(" "));
    } else if !known.contains_key("code entry") {
        missing.push("the command: it was not run by a pipeline step, and the client recorded no source".to_owned());
    }
    if !known.contains_key("code commit") && !known.keys().any(|name| name.starts_with("code ") && name != "code entry") {
        missing.push("the code: no commit and no digest of a file; run it in a git repository, or as a pipeline step".to_owned());
    }
    if !known.keys().any(|name| name.starts_with("data ")) {
        missing.push("the data: no input with a digest; mlflow.log_input records one, a training-set step does too".to_owned());
    }
    if !known.keys().any(|name| name.starts_with("environment ")) {
        missing.push("the environment: no lock file and no logged model with its requirements".to_owned());
    }
    let pipeline_run = value_at(&run, "tags.trimtab.pipeline_run");
    let changed = match &step {
        Some(_) => client.get(&format!("/api/v1/pipeline-runs/{}/changes", encode(&pipeline_run))).await?,
        None => Value::Null,
    };
    let changed: Vec<String> = list_of(&changed, "changes").filter_map(Value::as_str).map(str::to_owned).collect();
    if go {
        let Some(step) = &step else {
            let what = format!("run {} was not made by a pipeline step and cannot be run again from here", text(&run, "id"));
            return Err(Refusal::invalid("run/no_step", what)
                .hint("run its command by hand; what is recorded is shown without --go")
                .into());
        };
        if !changed.is_empty() && !anyway {
            let what = format!("it would not be the same: {}", changed.join("; "));
            return Err(Refusal::conflict("run/changed", what).hint("bring back what was, or add --anyway").into());
        }
        // `RUN/STEP/NUMBER/ATTEMPT`, if it was a trial of a search.
        let trial = value_at(&run, "tags.trimtab.trial").split('/').nth(2).and_then(|number| number.parse::<u32>().ok());
        let body = json!({ "step": step["name"], "trial": trial });
        let from_here = super::follow::head(client).await?;
        let asked = client.post(&format!("/api/v1/pipeline-runs/{}/rerun", encode(&pipeline_run)), &body).await?;
        return super::follow::follow(client, asked, from_here, false, json).await;
    }
    if json {
        show::print(
            &json!({ "run": run["id"], "recorded": known, "missing": missing, "changed": changed, "step": step.map(|step| step["name"].clone()) }),
            true,
        )?;
        return Ok(0);
    }
    let mut table = Table::new(["recorded", "value"]);
    table.rows = known.into_iter().map(|(name, value)| vec![name, value]).collect();
    table.print(Output::Table)?;
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    for what in &missing {
        writeln!(out, "missing  {what}")?;
    }
    for what in &changed {
        writeln!(out, "changed since  {what}")?;
    }
    if step.is_some() {
        writeln!(out, "again: trimtab run reproduce {} --go", text(&run, "id"))?;
    }
    Ok(0)
}

async fn find_all(client: &Client, runs: &[String]) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for run in runs {
        found.push(find(client, run).await?);
    }
    Ok(found)
}

/// A run by its id, the beginning of one, or its name.
async fn find(client: &Client, text_of_run: &str) -> anyhow::Result<Value> {
    let wanted = text_of_run.trim();
    if wanted.len() == 32 {
        return client.get(&format!("/api/v1/runs/{}", encode(wanted))).await;
    }
    let plain = wanted.replace(['\'', '%', '_'], "");
    for filter in [format!("run_id LIKE '{plain}%'"), format!("run_name = '{}'", wanted.replace('\'', ""))] {
        let (found, _) = search(client, &format!("view=all&filter={}", encode(&filter)), 3).await?;
        match found.len() {
            0 => continue,
            1 => return Ok(found.into_iter().next().unwrap_or_default()),
            _ => {
                let ids: Vec<String> = found.iter().map(|run| text(run, "id")).collect();
                let what = format!("`{wanted}` could be {}", ids.join(", "));
                return Err(Refusal::invalid("run/ambiguous", what).hint("give more of the id").into());
            }
        }
    }
    Err(Refusal::not_found("run/not_found", format!("no run `{wanted}`")).hint("trimtab run ls").into())
}

fn name_of(run: &Value) -> String {
    let id: String = text(run, "id").chars().take(8).collect();
    format!("{} {id}", text(run, "name"))
}

pub(super) fn list_of<'a>(value: &'a Value, key: &str) -> impl DoubleEndedIterator<Item = &'a Value> + use<'a> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A field as it is shown; one that is not there is empty.
pub(super) fn text(value: &Value, key: &str) -> String {
    value.get(key).filter(|value| !value.is_null()).map(cell).unwrap_or_default()
}

/// `2011-03-01 12:00`.
fn minute(value: &Value, key: &str) -> String {
    let text = text(value, key);
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

fn took(run: &Value) -> String {
    let at = |key: &str| run.get(key).and_then(Value::as_str).and_then(Timestamp::parse);
    let (Some(start), Some(end)) = (at("start"), at("end")) else { return String::new() };
    let seconds = (end.ms() - start.ms()) as f64 / 1000.0;
    match seconds {
        s if s < 120.0 => format!("{s:.1}s"),
        s if s < 7200.0 => format!("{:.0}m", s / 60.0),
        s => format!("{:.1}h", s / 3600.0),
    }
}
