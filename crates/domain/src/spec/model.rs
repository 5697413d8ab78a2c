//! Models: gate, serving, monitor; and who is told.

use crate::{Span, Timestamp};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// `[model.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    pub task: Task,
    /// The main metric: `mae`, `rmse`, `accuracy`, ...
    pub metric: String,
    /// Whether a client may move the alias `champion` by hand.
    #[serde(default, skip_serializing_if = "super::features::is_false")]
    pub protected: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<ServeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<MonitorSpec>,
}

/// What the model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    Regression,
    /// Labels and predictions are 0 or 1, or probabilities of 1.
    Classification,
}

/// `[model.NAME.gate]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateSpec {
    /// `last 7d`: how much of the newest labelled time is held out of training and judged on.
    pub holdout: String,
    /// Checks; all must pass. `METRIC < NUMBER`, `METRIC <= champion.METRIC on holdout`,
    /// `non_inferior(METRIC, margin = NUMBER)`, `superior(METRIC)`, and those of delivery's `gate/check.rs`.
    pub must: Vec<String>,
    /// Confidence of the intervals, two-sided.
    #[serde(default = "ninety_five")]
    pub confidence: f64,
    #[serde(default)]
    pub approve: Approve,
}

/// Who lets a passed version out: `"auto"`, `"manual"`, or `{ people = 2, expires = "3d" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "approve is \"auto\", \"manual\", or { people = 2, expires = \"3d\" }")]
pub enum Approve {
    Word(ApproveWord),
    People(ApproveRule),
}

/// `auto` or `manual`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApproveWord {
    /// The gate alone.
    Auto,
    /// One person, whenever.
    Manual,
}

/// Whose approval a passed version waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveRule {
    /// Different people.
    #[serde(default = "one")]
    pub people: u32,
    /// After this much event time without enough of them, the version must be judged again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Span>,
}

impl Default for Approve {
    fn default() -> Self {
        Approve::Word(ApproveWord::Auto)
    }
}

impl Approve {
    /// What a passed version waits for; `None`: nobody.
    pub fn rule(&self) -> Option<ApproveRule> {
        match self {
            Approve::Word(ApproveWord::Auto) => None,
            Approve::Word(ApproveWord::Manual) => Some(ApproveRule { people: 1, expires: None }),
            Approve::People(rule) => Some(*rule),
        }
    }
}

/// `[model.NAME.serve]`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeSpec {
    /// Feature views looked up and computed inside predict, in the order of the model's columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Versions that go on as shadows after they were replaced, for comparison.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_shadow: Vec<String>,
    #[serde(default)]
    pub rollout: RolloutSpec,
    /// How long a caller waits at most.
    #[serde(default = "thirty_seconds")]
    pub deadline: Span,
    /// `required`: a prediction that cannot be logged is not answered.
    #[serde(default)]
    pub log: LogSpec,
    /// What answers: a worker of the project's interpreter, or ONNX within the server.
    #[serde(default, skip_serializing_if = "RuntimeSpec::is_default")]
    pub runtime: RuntimeSpec,
    /// What must hold of latencies, errors, missing features and restarts; what does not opens an incident.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<String>,
    /// Which of the values of a row is the prediction, where the model answers several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSpec>,
    /// Whether ONNX runs in a process of its own, which may crash alone.
    #[serde(default, skip_serializing_if = "super::features::is_false")]
    pub isolate: bool,
    /// Which packages its workers see.
    #[serde(default, skip_serializing_if = "EnvironmentSpec::is_default")]
    pub environment: EnvironmentSpec,
    /// How many workers there are; none: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleSpec>,
    /// Requests that come close together are one call of the model; none: each is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchSpec>,
}

/// `output = "name"`, or a place: `output = 1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "output is the name of a value of the model's answer, or its place: 0, 1, ...")]
pub enum OutputSpec {
    /// Counted from 0.
    Place(u32),
    Name(String),
}

impl std::fmt::Display for OutputSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OutputSpec::Place(place) => write!(f, "{place}"),
            OutputSpec::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

/// `batch = { rows = 32, wait = "2ms" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSpec {
    /// Rows of one call, at most.
    #[serde(default = "thirty_two")]
    pub rows: u32,
    /// How long a first request waits for others when a worker is free.
    #[serde(default = "no_time")]
    pub wait: Span,
}

fn thirty_two() -> u32 {
    32
}

fn no_time() -> Span {
    Span::from_ms(0)
}

/// `scale = { min = 0, max = 4, target = 1, idle = "5m" }`: workers come and go with the requests that are under way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleSpec {
    /// 0: a model that nobody asks has no worker; the first request then waits for one.
    #[serde(default)]
    pub min: u32,
    #[serde(default = "one_worker")]
    pub max: u32,
    /// Requests at a time that a worker is meant for.
    #[serde(default = "one_request")]
    pub target: f64,
    /// How long the last worker stays after a minute without requests.
    #[serde(default = "thirty_seconds")]
    pub idle: Span,
}

fn one_worker() -> u32 {
    1
}

fn one_request() -> f64 {
    1.0
}

/// `runtime = "auto"`, `"onnx"` or `"python"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeSpec {
    /// A model that was logged as ONNX runs within the server, if the interpreter has the onnxruntime package; any other in a worker.
    #[default]
    Auto,
    /// A scikit-learn model is converted too, if its copy answers as it does; what cannot be converted runs in a worker.
    Onnx,
    /// Always a worker.
    Python,
}

impl RuntimeSpec {
    fn is_default(&self) -> bool {
        *self == RuntimeSpec::default()
    }
}

/// `environment = "project"` or `"locked"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentSpec {
    /// The project's own interpreter, as it is.
    #[default]
    Project,
    /// Each version has its own: what its `requirements.txt` asks for is locked with hashes when it is registered, and installed once.
    Locked,
}

impl EnvironmentSpec {
    fn is_default(&self) -> bool {
        *self == EnvironmentSpec::default()
    }
}

/// `log = "required"` or `"best_effort"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSpec {
    #[default]
    BestEffort,
    Required,
}

/// `rollout = {..}`: what a version that passed its gate goes through before it is champion.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    #[serde(default)]
    pub shadow: ShadowSpec,
    /// Percents of the entities that the version answers, step by step; 100 makes it champion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canary: Vec<u8>,
    /// What every step of the canary must see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<EachSpec>,
    /// Guardrails of the canary: `error_rate > 1%`, `latency_ratio > 1.5`, `score_psi > 0.25`, joined by `or`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_if: Option<String>,
}

/// `each = {..}`: how long a step of the canary lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EachSpec {
    /// Event time that a step lasts at least.
    #[serde(default, rename = "for")]
    pub hold: Span,
    /// Requests that the canary must have answered in a step.
    #[serde(default = "hundred")]
    pub min_requests: u64,
}

impl Default for EachSpec {
    fn default() -> Self {
        EachSpec { hold: Span::default(), min_requests: hundred() }
    }
}

/// `shadow = {..}`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowSpec {
    /// Requests that the shadow must have answered well.
    #[serde(default)]
    pub min_requests: u64,
}

/// `[model.NAME.monitor]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorSpec {
    /// Length of a window in event time.
    pub window: Span,
    /// Where the windows' calendar begins.
    pub origin: Timestamp,
    #[serde(default = "training")]
    pub reference: String,
    #[serde(default)]
    pub drift: DriftSpec,
    /// `METRIC > FACTOR * best.METRIC for N windows`, or `METRIC > NUMBER for N windows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_if: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_incident: Option<IncidentAction>,
    /// Fewer labelled rows than this in a window are no evidence.
    #[serde(default = "min_rows")]
    pub min_rows: u64,
}

/// `drift = {..}`: the distance a kind of column is watched with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftSpec {
    #[serde(default = "wasserstein")]
    pub numeric: String,
    #[serde(default = "psi")]
    pub categorical: String,
    #[serde(default = "psi")]
    pub prediction: String,
    /// Thresholds fixed by hand, by feature; the others are learnt.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub threshold: IndexMap<String, f64>,
}

impl Default for DriftSpec {
    fn default() -> Self {
        DriftSpec { numeric: wasserstein(), categorical: psi(), prediction: psi(), threshold: IndexMap::new() }
    }
}

/// `on_incident = {..}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentAction {
    /// The pipeline that retrains.
    pub run: String,
    /// `false`: a person starts it (`trimtab incident retrain ID`).
    #[serde(default = "yes")]
    pub auto: bool,
    /// Least event time between two retrainings of this model.
    #[serde(default = "one_day")]
    pub cooldown: Span,
    #[serde(default = "three")]
    pub max_per_week: u32,
    /// Unhelpful retrainings in a row after which people are called.
    #[serde(default = "two")]
    pub escalate_after: u32,
}

/// `[notify.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifySpec {
    /// `env:NAME`, `file:PATH` or an address.
    pub webhook: String,
    /// `incident`, `gate.fail`, `approval`, `rollout`, `promotion`, `escalation`, `drift`, `pipeline.fail`.
    pub on: Vec<String>,
}

fn one() -> u32 {
    1
}

fn hundred() -> u64 {
    100
}

fn yes() -> bool {
    true
}

fn ninety_five() -> f64 {
    0.95
}

fn training() -> String {
    "training".into()
}

fn wasserstein() -> String {
    "wasserstein".into()
}

fn psi() -> String {
    "psi".into()
}

fn one_day() -> Span {
    Span::days(1)
}

fn three() -> u32 {
    3
}

fn two() -> u32 {
    2
}

fn min_rows() -> u64 {
    100
}

fn thirty_seconds() -> Span {
    Span::from_ms(30_000)
}
