//! Pipelines, as declared.

use super::{ParamSpec, ParamValue};
use crate::{Scalar, Span};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// `[pipeline.NAME]`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineSpec {
    /// What may start it besides a command: `api`, `cron:EXPRESSION`, `incident:MODEL`, `model:MODEL` (a version was registered),
    /// `promotion:MODEL`, `source:SOURCE` (rows came into its table), `pipeline:PIPELINE` (one succeeded).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    /// The time zone of its cron expressions, by its IANA name; none means UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// How late a firing may still be made good, once, after the server was down; none means a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catchup: Option<Span>,
    /// What happens when it is to start while another run of it is under way.
    #[serde(default, skip_serializing_if = "Overlap::is_default")]
    pub overlap: Overlap,
    /// Whose it is: a team of `[compute]`, whose quota its steps count against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Parameters with their defaults or rules.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub params: IndexMap<String, ParamSpec>,
    /// Artifacts that the step of another pipeline gives it; its own steps take them as `pipeline.NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    #[serde(default)]
    pub step: IndexMap<String, StepSpec>,
    /// Steps that run when the others are over, however they ended: `{run.state}` and `{run.error}` tell them.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub on_exit: IndexMap<String, StepSpec>,
}

impl PipelineSpec {
    /// A step by its name, that of an exit step too; `fit[2]` is an item of `fit`.
    pub fn find(&self, name: &str) -> Option<&StepSpec> {
        let name = step_of(name);
        self.step.get(name).or_else(|| self.on_exit.get(name))
    }
}

/// The declared step of a step that runs: `fit` for `fit[2]`.
pub fn step_of(name: &str) -> &str {
    name.split_once('[').map_or(name, |(step, _)| step)
}

/// Two runs of one pipeline at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Both run.
    #[default]
    Allow,
    /// The later one is not started. What an incident asks for waits instead: somebody depends on it.
    Skip,
    /// The later one waits for the earlier.
    Queue,
    /// The earlier one is cancelled.
    CancelOlder,
}

impl Overlap {
    fn is_default(&self) -> bool {
        *self == Overlap::default()
    }
}

/// `[pipeline.NAME.step.STEP]`: exactly one of `run`, `check`, `training_set`, `materialize`, `gate`, `pipeline`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// A command, as a list or as one text with a shell's quotes (no shell runs it); `{in.NAME}`, `{out.NAME}`, `{params.NAME}`,
    /// `{each.NAME}`, `{trigger.time}` and `{run.id}` are filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "words")]
    pub run: Vec<String>,
    /// A command whose JUnit report is read: tests, lint, type checks, data tests. It writes the report to `{out.report}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "words")]
    pub check: Vec<String>,
    /// Where a check's command writes its report if nobody can tell it another place; relative to the project's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub junit: Option<String>,
    /// Built in: a point-in-time training set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_set: Option<TrainingSetSpec>,
    /// Built in: feature views to bring up to date in the online store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub materialize: Vec<String>,
    /// The command runs once for each trial of a hyper-parameter search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepSpec>,
    /// Built in: judge the newest version of this model that the pipeline run registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// Another pipeline, run as a step of this one: `params` are its parameters, `in` its inputs, and `out` names what is taken of it
    /// (`model = "fit.model"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Parameters for that pipeline; `{params.NAME}` and `{each.NAME}` are filled in.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub params: IndexMap<String, ParamValue>,
    /// The step runs only if this expression is true, else it is skipped, and what needs it too: `params.mode == "full"`,
    /// `split.stats.rows > 1000` (a field of a JSON output), with `and`, `or`, `not`, `in`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The step runs once for each item: `{ region = ["eu", "us"] }`, `{ region = "params.regions" }`, or `{ file = "split.files" }`, an
    /// output that is a JSON list. Several names make every combination. Its outputs are collected into folders.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub each: IndexMap<String, Items>,
    /// Items at a time; none: as the pool has room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// Input name to `STEP.OUTPUT`; `a.model | b.model` takes the first that was made; `pipeline.NAME` is an input of the pipeline.
    #[serde(default, rename = "in", skip_serializing_if = "IndexMap::is_empty")]
    pub input: IndexMap<String, String>,
    /// Output name to file name.
    #[serde(default, rename = "out", skip_serializing_if = "IndexMap::is_empty")]
    pub output: IndexMap<String, String>,
    /// Steps that must have finished, without an artifact in between.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Files and folders whose content is part of the cache key, besides those that the command names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<String>,
    /// Names of environment variables that the step may see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// A command that writes nothing to its output for so long is taken for dead and killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Span>,
    #[serde(default, skip_serializing_if = "Need::is_default")]
    pub need: Need,
    /// The queue of `[compute]` that it waits in; none: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// `false`: the step runs every time.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub cache: bool,
}

impl StepSpec {
    /// What it runs, if it is a command or a check.
    pub fn command(&self) -> &[String] {
        if self.run.is_empty() { &self.check } else { &self.run }
    }
}

/// What a step runs over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a list of values, `params.NAME` or `STEP.OUTPUT`")]
pub enum Items {
    List(Vec<Scalar>),
    /// `params.NAME` or `STEP.OUTPUT`.
    From(String),
}

/// A command as words.
fn words<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a command: a text, or a list of texts")]
    enum Command {
        Words(Vec<String>),
        Line(String),
    }
    match Command::deserialize(deserializer)? {
        Command::Words(words) => Ok(words),
        Command::Line(line) => {
            shell_words::split(&line).map_err(|_| serde::de::Error::custom(format!("a quote is not closed in `{line}`")))
        }
    }
}

/// `training_set = {..}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSetSpec {
    pub model: String,
    /// The source with the labels of the past; live labels are added to it.
    pub labels: String,
    /// The label's column.
    pub label: String,
    /// Feature views, in order; the columns of the training set follow it.
    pub features: Vec<String>,
    /// `trigger.time` or a time: labels that had arrived by then count.
    #[serde(default = "trigger_time")]
    pub until: String,
}

/// `sweep = {..}`: trials of a hyper-parameter search. `{sweep.NAME}` in the command is filled in with each trial's value; the runs that
/// the command starts become children of one parent run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepSpec {
    /// Name to values: every combination is a trial.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub grid: IndexMap<String, Vec<Scalar>>,
    /// Name to what is drawn from, `trials` times.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub random: IndexMap<String, Draw>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trials: Option<u32>,
    /// The same seed draws the same trials.
    #[serde(default)]
    pub seed: u64,
    /// The metric of the trials' runs that tells which is best.
    pub metric: String,
    #[serde(default)]
    pub goal: Goal,
    /// Trials at a time, as far as the pool has room for what each needs.
    #[serde(default = "one")]
    pub parallel: u32,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    #[default]
    Min,
    Max,
}

/// What a value is drawn from: a list, or a range; on a log scale, or whole numbers only, if it says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Draw {
    OneOf(Vec<Scalar>),
    Range(DrawRange),
}

/// `{ min = 0.001, max = 0.3, log = true }`; both ends belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawRange {
    pub min: f64,
    pub max: f64,
    #[serde(default)]
    pub log: bool,
    #[serde(default)]
    pub whole: bool,
}

/// `retry = {..}`: `max` further attempts after the first, `wait * factor^n` between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrySpec {
    pub max: u32,
    #[serde(default = "ten_seconds")]
    pub wait: Span,
    #[serde(default = "two")]
    pub factor: f64,
}

/// `need = {..}`: what the step asks of the pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    #[serde(default = "one")]
    pub cpu: u32,
    /// `512MiB`, `2GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<String>,
    /// GPUs that it has for itself: `CUDA_VISIBLE_DEVICES` names them. Without any, it sees none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gpu: u32,
}

impl Default for Need {
    fn default() -> Self {
        Need { cpu: 1, mem: None, gpu: 0 }
    }
}

impl Need {
    fn is_default(&self) -> bool {
        *self == Need::default()
    }

    /// The memory asked for in bytes, as [`bytes_of`] reads it; nothing asked for is `Ok(None)`.
    pub fn mem_bytes(&self) -> Result<Option<u64>, String> {
        self.mem.as_deref().map(bytes_of).transpose()
    }
}

/// An amount of memory in bytes: `B`, `KiB`, `MiB`, `GiB`, `TiB` (or `K`, `M`, `G`, `T`), and `KB`, `MB`, `GB`, `TB` by thousands.
pub fn bytes_of(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not an amount of memory; write 512MiB or 2GiB");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (base, power): (f64, i32) = match text[split..].trim() {
        "B" | "" => (1.0, 1),
        "KiB" | "K" => (1024.0, 1),
        "MiB" | "M" => (1024.0, 2),
        "GiB" | "G" => (1024.0, 3),
        "TiB" | "T" => (1024.0, 4),
        "KB" => (1e3, 1),
        "MB" => (1e3, 2),
        "GB" => (1e3, 3),
        "TB" => (1e3, 4),
        _ => return Err(wrong()),
    };
    let amount: f64 = text[..split].parse().map_err(|_| wrong())?;
    Ok((amount * base.powi(power)) as u64)
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn one() -> u32 {
    1
}

fn two() -> f64 {
    2.0
}

fn ten_seconds() -> Span {
    Span::from_ms(10_000)
}

fn trigger_time() -> String {
    "trigger.time".into()
}
