//! The command line: `trimtab <noun> <verb>`. Standard output is data, standard error is talk.

mod ci;
pub mod client;
mod compare;
mod compute;
mod export;
mod follow;
mod gate;
mod import;
mod init;
mod model;
mod pipeline;
pub mod progress;
mod run;
mod serve;
mod show;
mod table;

use crate::app::{Server, ServerConfig};
use crate::clock::SystemClock;
use crate::demo::Demo;
use clap::{Args, Parser, Subcommand};
use client::Client;
use domain::{Fault, Refusal};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Light-weight MLOps that closes the loop: features, tracking, pipelines, compute, delivery, monitoring.
#[derive(Parser)]
#[command(name = "trimtab", version, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Args, Clone)]
pub struct Common {
    /// The folder that holds everything.
    #[arg(long, global = true, env = "TRIMTAB_HOME", default_value = ".trimtab")]
    pub home: PathBuf,
    /// Talk to this server instead of the home's own.
    #[arg(long, global = true, env = "TRIMTAB_SERVER")]
    pub server: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Which project file, and how it is to be read.
#[derive(clap::Args, Debug)]
pub struct ProjectArgs {
    /// TOML or YAML, by its name; without this option trimtab.yaml is taken where there is no trimtab.toml.
    #[arg(long, default_value = "trimtab.toml")]
    file: PathBuf,
    /// Lay `[profile.NAME]` over the file.
    #[arg(long, env = "TRIMTAB_PROFILE")]
    profile: Option<String>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Start the server: everything in one process.
    Up {
        /// Address and port.
        #[arg(long, default_value = "127.0.0.1:5055")]
        listen: String,
        /// Run models with this interpreter instead of the project's.
        #[arg(long)]
        python: Option<PathBuf>,
    },
    /// Answer the server's frames by ONNX; the server starts it for models that say `isolate = true`.
    #[command(hide = true)]
    OnnxWorker {
        #[arg(long)]
        library: PathBuf,
        #[arg(long)]
        model: PathBuf,
    },
    /// Replay a year of real data through the whole loop.
    Demo {
        /// An interpreter with mlflow, scikit-learn, pandas and pyarrow.
        #[arg(long)]
        python: Option<PathBuf>,
    },
    /// Write a project file to begin with.
    Init {
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Show what applying the project file would change.
    Plan {
        #[command(flatten)]
        file: ProjectArgs,
    },
    /// Make the project file what is in force.
    Apply {
        #[command(flatten)]
        file: ProjectArgs,
    },
    /// Show how everything stands.
    Status,
    /// Tell the story of an incident, a model version (MODEL@VERSION) or a prediction.
    Why { thing: String },
    /// Show the event log.
    Events {
        /// Events after this number.
        #[arg(long, default_value_t = 0)]
        after: u64,
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        /// Of one incident or pipeline run.
        #[arg(long)]
        thread: Option<String>,
    },
    /// Feature views: values, rows, materialization.
    #[command(subcommand)]
    Feature(FeatureCommand),
    /// Recorded training sets.
    #[command(subcommand)]
    TrainingSet(ListCommand),
    /// Pipelines and their runs.
    #[command(subcommand)]
    Pipeline(pipeline::PipelineCommand),
    /// Tracking runs: search, compare, reproduce.
    #[command(subcommand)]
    Run(run::RunCommand),
    /// Experiments.
    #[command(subcommand)]
    Experiment(ExperimentCommand),
    /// Registered models.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Gates: judge a version, show and write reports.
    #[command(subcommand)]
    Gate(gate::GateCommand),
    /// What is being let out: shadow, canary.
    #[command(subcommand)]
    Rollout(gate::RolloutCommand),
    /// Incidents.
    #[command(subcommand)]
    Incident(IncidentCommand),
    /// Gates in other CI systems.
    #[command(subcommand)]
    Ci(ci::CiCommand),
    /// What is served and how it behaves; ask a model from the shell.
    #[command(subcommand)]
    Serve(serve::ServeCommand),
    /// The pool that steps run in: what runs, waits, was used.
    #[command(subcommand)]
    Compute(compute::ComputeCommand),
    /// Take in what another tracking server knows: ids, times, deleted runs, aliases and artifact locations stay.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Write runs as Parquet: runs, params, tags, metrics.
    Export {
        /// The folder to write to.
        #[arg(long, default_value = "export")]
        out: PathBuf,
        /// Experiments by name or id, comma-separated; none means all.
        #[arg(short, long, default_value = "")]
        experiment: String,
        #[arg(short, long, default_value = "")]
        filter: String,
        /// active, deleted or all.
        #[arg(long, default_value = "active")]
        view: String,
        /// Only the latest value of each metric.
        #[arg(long)]
        latest: bool,
    },
    /// Free what deleted runs and experiments hold: rows, artifacts, names.
    Gc {
        /// Only what was deleted longer ago than this.
        #[arg(long, default_value = "0d")]
        older_than: String,
        /// Only say what would be freed.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Subcommand)]
pub enum ExperimentCommand {
    /// List them, deleted ones too.
    Ls,
}

#[derive(Subcommand)]
pub enum ImportCommand {
    /// From sqlite:///FILE, postgresql://..., http://... or an mlruns folder. Run it again to go on where it stopped.
    Mlflow {
        address: String,
        /// That server's --artifacts-destination: its files are copied.
        #[arg(long)]
        artifacts: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum ListCommand {
    /// List them.
    Ls,
    /// Show one.
    Show { id: String },
}

#[derive(Subcommand)]
pub enum FeatureCommand {
    /// Newest values: `trimtab feature get weather_hourly city_id=dc`.
    Get {
        view: String,
        /// COLUMN=VALUE.
        #[arg(required = true)]
        key: Vec<String>,
    },
    /// Push rows (JSON objects, one a line or one array) from a file or standard input.
    Push {
        source: String,
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Bring online values up to the tables.
    Materialize {
        /// Feature views; none means all.
        views: Vec<String>,
    },
}

#[derive(Subcommand)]
pub enum IncidentCommand {
    Ls,
    Show {
        id: String,
    },
    /// Ask for a retraining by hand.
    Retrain {
        id: String,
    },
}

impl Cli {
    /// Runs the command; the exit code.
    pub async fn run(self) -> anyhow::Result<u8> {
        let Cli { common, command } = self;
        match command {
            Command::Up { listen, python } => up(common, listen, python).await,
            Command::Demo { python } => Demo { home: demo_home(&common), python, json: common.json }.run().await.map(|()| 0),
            Command::Ci(command) => {
                show::print(&ci::ci(command, common.server.as_deref())?, common.json)?;
                Ok(0)
            }
            Command::OnnxWorker { library, model } => back_onnx::answer_frames(&library, &model).map(|()| 0).map_err(anyhow::Error::msg),
            Command::Init { folder } => init::init(&folder, common.json).map(|()| 0),
            Command::Pipeline(pipeline::PipelineCommand::Check { file }) => {
                let (text, _, name) = client::read_project(&file.file)?;
                crate::config::parse(&text, &name, file.profile.as_deref())?;
                show::print(&json!({ "file": name, "problems": [] }), common.json)?;
                Ok(0)
            }
            Command::Gate(gate::GateCommand::Compare(args)) => compare::compare(&args, common.json),
            other => {
                let client = Client::connect(&common.home, common.server.as_deref()).await?;
                let outcome = ask(&client, other, &common).await;
                client.close().await;
                outcome
            }
        }
    }
}

/// The demo has a home of its own, unless one is named.
fn demo_home(common: &Common) -> PathBuf {
    let default = common.home.as_os_str() == ".trimtab";
    if default { PathBuf::from("trimtab-demo") } else { common.home.clone() }
}

async fn up(common: Common, listen: String, python: Option<PathBuf>) -> anyhow::Result<u8> {
    let config = ServerConfig { home: common.home, listen, clock: Arc::new(SystemClock), replay: false, announce: true, python };
    let server = Server::start(config).await?;
    let ready = json!({ "url": server.url, "pid": std::process::id(), "home": server.app.home });
    if common.json {
        show::print(&ready, true)?;
    } else {
        tracing::info!("Trimtab answers at {}; export MLFLOW_TRACKING_URI={}", server.url, server.url);
    }
    server.run_until(crate::app::asked_to_stop()).await;
    Ok(0)
}

async fn ask(client: &Client, command: Command, common: &Common) -> anyhow::Result<u8> {
    let answer = match command {
        Command::Plan { file } => send_project(client, &file, "plan").await?,
        Command::Apply { file } => send_project(client, &file, "apply").await?,
        Command::Status => client.get("/api/v1/status").await?,
        Command::Why { thing } => return why(client, &thing, common.json).await,
        Command::Events { after, limit, thread } => {
            let thread = thread.map(|thread| format!("&thread={}", encode(&thread))).unwrap_or_default();
            client.get(&format!("/api/v1/events?after={after}&limit={limit}{thread}")).await?
        }
        Command::Feature(command) => feature(client, command).await?,
        Command::TrainingSet(ListCommand::Ls) => client.get("/api/v1/training-sets").await?,
        Command::TrainingSet(ListCommand::Show { id }) => client.get(&format!("/api/v1/training-sets/{}", encode(&id))).await?,
        Command::Serve(command) => return serve::serve(client, command, common.json).await,
        Command::Compute(command) => return compute::compute(client, command, common.json).await,
        Command::Pipeline(command) => return pipeline::pipeline(client, command, common.json).await,
        Command::Model(command) => return model::model(client, command, common.json).await,
        Command::Gate(command) => return gate::gate(client, command, common.json).await,
        Command::Rollout(command) => gate::rollout(client, command).await?,
        Command::Incident(IncidentCommand::Ls) => client.get("/api/v1/incidents").await?,
        Command::Incident(IncidentCommand::Show { id }) => client.get(&format!("/api/v1/incidents/{}", encode(&id))).await?,
        Command::Incident(IncidentCommand::Retrain { id }) => {
            client.post(&format!("/api/v1/incidents/{}/retrain", encode(&id)), &json!({})).await?
        }
        Command::Run(command) => return run::run(client, command, common.json).await,
        Command::Experiment(ExperimentCommand::Ls) => return run::experiments(client, common.json).await,
        Command::Import(ImportCommand::Mlflow { address, artifacts }) => {
            return import::mlflow(client, &address, artifacts.as_deref(), common.json).await;
        }
        Command::Export { out, experiment, filter, view, latest } => {
            let query = [("experiment", &experiment), ("filter", &filter), ("view", &view)];
            let query = query.map(|(name, value)| format!("{name}={}", encode(value))).join("&");
            return export::export(client, &query, &out, !latest, common.json).await;
        }
        Command::Gc { older_than, dry_run } => client.post("/api/v1/gc", &json!({ "older_than": older_than, "dry_run": dry_run })).await?,
        Command::Up { .. } | Command::OnnxWorker { .. } | Command::Demo { .. } | Command::Init { .. } | Command::Ci(_) => Value::Null,
    };
    show::print(&answer, common.json)?;
    Ok(0)
}

async fn send_project(client: &Client, file: &ProjectArgs, verb: &str) -> anyhow::Result<Value> {
    let (text, root, name) = client::read_project(&file.file)?;
    let sent = json!({ "root": root, "text": text, "name": name, "profile": file.profile });
    client.post(&format!("/api/v1/{verb}"), &sent).await
}

async fn why(client: &Client, thing: &str, json: bool) -> anyhow::Result<u8> {
    let answer = client.get(&format!("/api/v1/why/{}", encode(thing))).await?;
    if json {
        show::print(&answer, true)?;
        return Ok(0);
    }
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    for name in ["subject", "summary"] {
        if let Some(text) = answer.get(name).and_then(Value::as_str) {
            writeln!(out, "{text}")?;
        }
    }
    let lines = answer.get("chain").and_then(Value::as_array).cloned().unwrap_or_default();
    for line in lines {
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let at = text("at");
        let seq = line.get("seq").and_then(Value::as_u64).map(|seq| seq.to_string()).unwrap_or_default();
        writeln!(out, "{seq:>6}  {}  {}", at.get(..16).unwrap_or(&at).replace('T', " "), text("sentence"))?;
    }
    Ok(0)
}

async fn feature(client: &Client, command: FeatureCommand) -> anyhow::Result<Value> {
    match command {
        FeatureCommand::Get { view, key } => {
            let entity = pairs(&key)?;
            client.post("/api/v1/features/online", &json!({ "features": [view], "entities": [entity] })).await
        }
        FeatureCommand::Push { source, file } => {
            let text = if file.as_os_str() == "-" { std::io::read_to_string(std::io::stdin())? } else { std::fs::read_to_string(&file)? };
            client.post(&format!("/api/v1/push/{}", encode(&source)), &json!({ "rows": rows(&text)? })).await
        }
        FeatureCommand::Materialize { views } => client.post("/api/v1/features/materialize", &json!({ "features": views })).await,
    }
}

/// JSON objects, one a line, or one array.
fn rows(text: &str) -> Result<Vec<Value>, Refusal> {
    let wrong = |error: serde_json::Error| {
        Refusal::invalid("push/json", format!("the rows are not JSON: {error}")).hint("write one object a line, or one array")
    };
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(wrong);
    }
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| serde_json::from_str(line).map_err(wrong)).collect()
}

/// `NAME=VALUE` pairs; a value that is a number or a boolean is one.
fn pairs(texts: &[String]) -> Result<Value, Refusal> {
    let mut map = serde_json::Map::new();
    for text in texts {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Refusal::invalid("usage/pair", format!("`{text}` is not NAME=VALUE")));
        };
        let value = serde_json::from_str(value).ok().filter(|value: &Value| value.is_number() || value.is_boolean() || value.is_array());
        map.insert(name.into(), value.unwrap_or_else(|| Value::String(text[name.len() + 1..].into())));
    }
    Ok(Value::Object(map))
}

/// A part of a path, with what a path cannot hold spelt out.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~@".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Prints an error for people or machines; the exit code.
pub fn report(error: &anyhow::Error, json: bool) -> u8 {
    use std::io::{Error, ErrorKind, Write};
    // Whoever reads has read enough: `trimtab events | head`.
    if error.chain().any(|cause| cause.downcast_ref::<Error>().is_some_and(|io| io.kind() == ErrorKind::BrokenPipe)) {
        return 0;
    }
    let mut err = std::io::stderr().lock();
    let refusal = error.chain().find_map(|cause| cause.downcast_ref::<Refusal>());
    let (code, kind) = match refusal {
        Some(refusal) => (refusal.kind.exit_code(), Some(refusal)),
        None => (1, None),
    };
    let is_full = error.chain().any(|cause| matches!(cause.downcast_ref::<Fault>(), Some(Fault::Full(_))));
    let _ = if json {
        let body = json!({ "error": { "code": kind.map_or("fault", |r| &r.code), "what": kind.map_or_else(|| format!("{error:#}"), |r| r.what.clone()), "place": kind.and_then(|r| r.place.as_ref()), "hint": kind.and_then(|r| r.hint.as_ref()), "exit": code } });
        writeln!(err, "{body}")
    } else if let Some(refusal) = kind {
        let place = refusal.place.iter().map(|place| format!("\n  --> {place}")).collect::<String>();
        let hint = refusal.hint.iter().map(|hint| format!("\nhint: {hint}")).collect::<String>();
        writeln!(err, "error[{}]: {}{place}{hint}", refusal.code, refusal.what)
    } else {
        let hint = if is_full { "\nhint: free some space and try again; nothing was half written" } else { "" };
        writeln!(err, "error: {error:#}{hint}")
    };
    code
}
