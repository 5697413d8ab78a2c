//! `trimtab gate`, `trimtab rollout`, and people's say on versions.

use super::client::Client;
use super::compare::CompareArgs;
use super::encode;
use super::show;
use super::table::Table;
use clap::{Args, Subcommand, ValueEnum};
use delivery::report;
use domain::entity::GateReport;
use domain::{Kind, Refusal, Verdict};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The exit code of a gate that did not pass.
const NO: u8 = 4;
/// Between two looks at a gate that is under way.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub enum GateCommand {
    /// Reports, the newest first.
    Ls,
    /// The report of a version: MODEL@VERSION.
    Show {
        version: String,
        #[command(flatten)]
        form: Form,
    },
    /// Judge a version against the champion now; exit code 4 unless it passes.
    Run {
        /// MODEL@VERSION; the newest version without one.
        version: String,
        /// How long to wait for the report.
        #[arg(long, default_value = "10m")]
        timeout: String,
        #[command(flatten)]
        form: Form,
    },
    /// Judge from files alone: no server, no registry; exit code 4 unless it passes.
    Compare(CompareArgs),
}

#[derive(Subcommand)]
pub enum RolloutCommand {
    /// How far a rollout is.
    Status { model: String },
    /// Let a canary go on that stands still.
    Resume { model: String },
    /// Give up what is being rolled out; the champion stays.
    Abort {
        model: String,
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// How a report is written.
#[derive(Args, Clone)]
pub struct Form {
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
    /// A file to write it to; the verdict is still told.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
    Junit,
    Md,
    Html,
}

impl Form {
    /// Writes the report; the exit code of its verdict.
    pub fn write(&self, report: &GateReport, json: bool) -> anyhow::Result<u8> {
        let output = if json { Output::Json } else { self.output };
        let text = match output {
            Output::Table => table(report)?,
            Output::Json => serde_json::to_string_pretty(report)? + "\n",
            Output::Junit => report::junit(report),
            Output::Md => report::markdown(report),
            Output::Html => report::html(report),
        };
        match &self.out {
            None => std::io::stdout().lock().write_all(text.as_bytes())?,
            Some(file) => {
                std::fs::write(file, text).map_err(|error| {
                    Refusal::invalid("gate/out", format!("{} cannot be written: {error}", file.display()))
                        .hint("name another file with --out")
                })?;
                writeln!(std::io::stderr().lock(), "{}: {}; written to {}", report.verdict.word(), report.why, file.display())?;
            }
        }
        Ok(if report.verdict == Verdict::Pass { 0 } else { NO })
    }
}

fn table(report: &GateReport) -> anyhow::Result<String> {
    let mut out = Vec::new();
    let against = report.champion.map_or(String::new(), |champion| format!(" against @{champion}"));
    writeln!(out, "{}: {}@{}{against}\n{}\n", report.verdict.word(), report.model, report.challenger, report.why)?;
    let mut table = Table::new(["verdict", "check", "value", "limit", "interval", "n", "needs", "method"]);
    let number = |value: Option<f64>| value.map_or(String::new(), |value| show::cell(&json!(value)));
    let count = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
    for check in &report.checks {
        let interval = check.interval.as_ref().map(|i| format!("[{}, {}]", show::cell(&json!(i.low)), show::cell(&json!(i.high))));
        table.rows.push(vec![
            if check.skipped { "skipped" } else { check.verdict.word() }.into(),
            check.text.clone(),
            number(check.value),
            number(check.limit),
            interval.unwrap_or_default(),
            count(check.n),
            count(check.needed),
            check.method.clone().unwrap_or_default(),
        ]);
    }
    table.write_table(&mut out, 0)?;
    for check in report.checks.iter().filter(|check| check.verdict != Verdict::Pass && !check.skipped) {
        writeln!(out, "{}: {}", check.text, check.why)?;
    }
    for set_aside in &report.overrides {
        writeln!(out, "set aside by {} at {}: {}", set_aside.by, set_aside.at, set_aside.reason)?;
    }
    Ok(String::from_utf8(out)?)
}

/// `MODEL@VERSION`.
fn split(text: &str) -> Result<(&str, Option<u64>), Refusal> {
    let wrong = || Refusal::invalid("usage/version", format!("`{text}` is not MODEL@VERSION")).hint("trimtab model ls");
    match text.rsplit_once('@') {
        None if text.is_empty() => Err(wrong()),
        None => Ok((text, None)),
        Some((model, version)) if !model.is_empty() => Ok((model, Some(version.parse().map_err(|_| wrong())?))),
        Some(_) => Err(wrong()),
    }
}

fn whole(text: &str) -> Result<(&str, u64), Refusal> {
    let (model, version) = split(text)?;
    let wrong = || {
        Refusal::invalid("usage/version", format!("`{text}` names no version")).hint(format!("{text}@VERSION; trimtab model show {text}"))
    };
    Ok((model, version.ok_or_else(wrong)?))
}

/// Runs a command; the exit code.
pub async fn gate(client: &Client, command: GateCommand, json: bool) -> anyhow::Result<u8> {
    match command {
        GateCommand::Ls => {
            let mut page = client.get("/api/v1/gates").await?;
            if !json {
                brief(&mut page);
            }
            show::print(&page, json)?;
            Ok(0)
        }
        GateCommand::Show { version, form } => {
            let (model, version) = whole(&version)?;
            let report = client.get(&path(model, version)).await?;
            form.write(&serde_json::from_value(report)?, json)?;
            Ok(0)
        }
        GateCommand::Run { version, timeout, form } => {
            let report = judge(client, &version, &timeout).await?;
            form.write(&report, json)
        }
        // It needs no server, and has been run without one.
        GateCommand::Compare(_) => Ok(0),
    }
}

fn path(model: &str, version: u64) -> String {
    format!("/api/v1/gates/{}/{version}", encode(model))
}

/// What a list of reports shows.
fn brief(page: &mut Value) {
    for item in page.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        let kept = ["model", "challenger", "champion", "verdict", "rows", "decided", "why"];
        let fields = kept.iter().map(|name| ((*name).to_owned(), item.get(*name).cloned().unwrap_or(Value::Null)));
        *item = Value::Object(fields.collect());
    }
}

/// Asks for a gate and waits for its report. The champion itself has the report that it was let out with.
async fn judge(client: &Client, text: &str, timeout: &str) -> anyhow::Result<GateReport> {
    let limit = domain::Span::parse(timeout)
        .ok_or_else(|| Refusal::invalid("usage/timeout", format!("`{timeout}` is not a length of time")).hint("--timeout 10m"))?;
    let (model, version) = split(text)?;
    let asked = client.post(&format!("/api/v1/gates/{}/run", encode(model)), &json!({ "version": version })).await;
    let version = match asked {
        Ok(asked) => asked.get("version").and_then(Value::as_u64).unwrap_or_default(),
        Err(error) => match (error.downcast_ref::<Refusal>().map(|refusal| refusal.code.as_str()), version) {
            // Registering it has asked for the gate already, or it is champion by now.
            (Some("gate/under_way" | "gate/champion"), Some(version)) => version,
            (Some("gate/under_way" | "gate/champion"), None) => newest(client, model).await?,
            _ => return Err(error),
        },
    };
    let began = Instant::now();
    loop {
        match client.get(&path(model, version)).await {
            Ok(report) => return Ok(serde_json::from_value(report)?),
            Err(error) => match error.downcast_ref::<Refusal>() {
                Some(refusal) if refusal.code == "gate/under_way" => {}
                _ => return Err(error),
            },
        }
        if began.elapsed() > limit.duration() {
            let what = format!("the gate of {model}@{version} gave no report within {timeout}");
            return Err(Refusal::new(Kind::Timeout, "gate/timeout", what).hint("trimtab status shows how far delivery.gate is").into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn newest(client: &Client, model: &str) -> anyhow::Result<u64> {
    let shown = client.get(&format!("/api/v1/models/{}?limit=1", encode(model))).await?;
    let version = shown.pointer("/versions/items/0/version").and_then(Value::as_u64);
    Ok(version.ok_or_else(|| Refusal::not_found("model_version/not_found", format!("model `{model}` has no version")))?)
}

/// `approve` or `reject`.
pub async fn vote(client: &Client, verb: &str, text: &str, mut body: Value) -> anyhow::Result<Value> {
    let (model, version) = whole(text)?;
    body["version"] = json!(version);
    client.post(&format!("/api/v1/models/{}/{verb}", encode(model)), &body).await
}

/// Status, resume, abort.
pub async fn rollout(client: &Client, command: RolloutCommand) -> anyhow::Result<Value> {
    let path = |model: &str, verb: &str| format!("/api/v1/models/{}/rollout{verb}", encode(model));
    match command {
        RolloutCommand::Status { model } => client.get(&path(&model, "")).await,
        RolloutCommand::Resume { model } => client.post(&path(&model, "/resume"), &json!({})).await,
        RolloutCommand::Abort { model, reason } => client.post(&path(&model, "/abort"), &json!({ "reason": reason })).await,
    }
}
