//! Predict: features, answer, log.

use crate::behaviour::Answered;
use crate::canary::{self, Given};
use crate::deadline::Until;
use crate::pool::ModelPool;
use crate::route::{Counters, Route};
use crate::shadow::{Copied, Sinks};
use crate::signature::{self, Input};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::spec::{LogSpec, ServeSpec};
use domain::{EntityKey, Fault, Kind, ModelName, PredictionId, Refusal, Row, Scalar, Timestamp, VersionNumber};
use indexmap::IndexMap;
use parking_lot::{Mutex, RwLock};
use ports::{Clock, Failure, MetadataStore, Outputs, Params, PredictError, RowLog, Sealer, Signature, scalar_at};
use reactor::Activity;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Rows of one request.
pub const MAX_ROWS: usize = 10_000;

/// What a caller asks for one row.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictRequest {
    pub id: Option<PredictionId>,
    /// Event time; without it, now.
    pub time: Option<Timestamp>,
    /// All columns that the caller sent: entity keys, request columns, or the features themselves.
    pub columns: IndexMap<String, Scalar>,
}

/// One request: its rows, and what was sent beside them.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub rows: Vec<PredictRequest>,
    /// MLflow's inference params; every version that answers gets them.
    pub params: Params,
    /// One of the versions that answer now (champion or canary), whatever the rows' share.
    pub wanted: Option<VersionNumber>,
}

/// What a model's features are looked up by.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureRequest {
    pub key: EntityKey,
    pub time: Timestamp,
    /// The caller's other columns.
    pub request: IndexMap<String, Scalar>,
}

/// The features block as the gateway sees it; the wiring brings it in.
#[async_trait]
pub trait FeatureSource: Send + Sync {
    /// The entity columns that a model's features are looked up by.
    fn entity_columns(&self, model: &ModelName) -> Result<Vec<String>, Refusal>;
    /// The model's feature columns in its order, one row a request; what is absent or older than its ttl is null.
    async fn features(&self, model: &ModelName, rows: &[FeatureRequest]) -> Result<RecordBatch, ServeError>;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// One answered row.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub id: PredictionId,
    pub value: Scalar,
    /// All values of the row, where the model gives several.
    pub outputs: Option<Outputs>,
    pub version: VersionNumber,
    /// False when the row log could not be written: the answer counts as lost for monitoring.
    pub logged: bool,
}

/// What answers for a model.
#[derive(Clone, Debug)]
pub struct Served {
    pub version: VersionNumber,
    pub signature: Signature,
    /// The names of values without names, in their order; `None`: they must be named.
    pub names: Option<Vec<String>>,
    /// The entity columns that features are looked up by; none: the caller sends the features.
    pub keys: Vec<String>,
}

/// How the gateway behaves.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Makes an id for a prediction at a time.
    pub new_id: Arc<dyn Fn(Timestamp) -> PredictionId + Send + Sync>,
    /// A replay waits for its shadows and drops none.
    pub wait_for_shadows: bool,
}

/// Serves all models.
pub struct Gateway {
    pub(crate) pool: Arc<ModelPool>,
    features: Arc<dyn FeatureSource>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) sinks: Sinks,
    config: GatewayConfig,
    /// By the wall clock.
    pub(crate) began: Timestamp,
    pub(crate) routes: RwLock<HashMap<ModelName, Arc<Route>>>,
    counters: RwLock<HashMap<ModelName, Arc<Counters>>>,
    /// One change of routes at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// The champion before this one, ready for a rollback, and since when.
    pub(crate) resting: Mutex<HashMap<ModelName, (VersionNumber, Instant)>>,
    /// Models for which something is being installed.
    pub(crate) preparing: Mutex<HashSet<ModelName>>,
    /// Models whose champion's own process did not come, and is tried again.
    pub(crate) retrying: Mutex<HashSet<ModelName>>,
}

impl Gateway {
    /// A gateway without routes; [`Gateway::follow`] makes them.
    pub fn new(
        store: Arc<dyn MetadataStore>,
        rows: Arc<dyn RowLog>,
        clock: Arc<dyn Clock>,
        activity: Activity,
        sealer: Arc<Sealer>,
        pool: Arc<ModelPool>,
        features: Arc<dyn FeatureSource>,
        config: GatewayConfig,
    ) -> Arc<Gateway> {
        Arc::new(Gateway {
            began: clock.wall_now(),
            pool,
            features,
            sealer,
            sinks: Sinks { store, rows, clock, activity },
            config,
            routes: RwLock::default(),
            counters: RwLock::default(),
            turn: tokio::sync::Mutex::new(()),
            resting: Mutex::default(),
            preparing: Mutex::default(),
            retrying: Mutex::default(),
        })
    }

    /// The only model that is served, if there is just one.
    pub fn only_model(&self) -> Result<ModelName, Refusal> {
        let routes = self.routes.read();
        let mut names = routes.iter().filter(|(_, route)| route.champion.is_some()).map(|(name, _)| name);
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name.clone()),
            (None, _) => Err(Refusal::not_found("serve/none", "no model is served").hint("trimtab model ls")),
            _ => Err(Refusal::invalid("serve/which", "several models are served").hint("POST /serve/NAME/invocations")),
        }
    }

    /// Answers rows of one model with its champion, logs them, and copies them to the shadows.
    pub async fn predict(&self, model: &ModelName, requests: Vec<PredictRequest>) -> Result<Vec<Answer>, ServeError> {
        self.call(model, Call { rows: requests, ..Call::default() }).await
    }

    /// The same, for a request that says more than its rows. Its deadline is one: looking features up takes from it, and so does a canary
    /// that fails.
    pub async fn call(&self, model: &ModelName, call: Call) -> Result<Vec<Answer>, ServeError> {
        // Names that nobody serves are not counted: they are anybody's to invent.
        self.route(model)?;
        let counters = self.counters_of(model);
        let began = Instant::now();
        let answers = self.predict_counted(model, call, &counters, began).await;
        match &answers {
            Ok(answers) => {
                counters.answered.fetch_add(answers.len() as u64, Ordering::Relaxed);
            }
            Err(error) => {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                counters.meter.failed(self.sinks.clock.wall_now(), failure(error));
            }
        }
        answers
    }

    async fn predict_counted(&self, model: &ModelName, call: Call, counters: &Counters, began: Instant) -> Result<Vec<Answer>, ServeError> {
        let Call { rows: requests, params, wanted } = call;
        let route = self.route(model)?;
        let (version, champion) = route.champion.clone().ok_or_else(|| silent(model, &route))?;
        let lane = canary::chosen_lane(model, version, route.canary.as_ref(), wanted)?;
        if requests.is_empty() || requests.len() > MAX_ROWS {
            let what = format!("{} rows in one request", requests.len());
            return Err(Refusal::invalid("serve/rows", what).hint(format!("send 1 to {MAX_ROWS} rows")).into());
        }
        let mut rows = self.open_rows(model, &route.spec, requests)?;
        let deadline = route.spec.deadline.duration();
        let until = Until(began + deadline);
        let features = tokio::time::timeout(deadline, self.features_of(model, &route.spec, &rows)).await;
        let features = features.map_err(|_| refuse(model, PredictError::Timeout, None))??;
        let input = Input { columns: features, is_sent: route.spec.features.is_empty(), params: Arc::new(params) };
        let features = input.seen_by(champion.signature())?;
        let now = self.sinks.clock.wall_now();
        let schema = features.schema();
        let nulls = schema.fields().iter().zip(features.columns()).filter(|(_, column)| column.null_count() > 0);
        let nulls: Vec<(&str, u64)> = nulls.map(|(field, column)| (field.name().as_str(), column.null_count() as u64)).collect();
        counters.meter.features(now, (features.num_rows() * features.num_columns()) as u64, &nulls);
        let sent = input.params.iter().map(|(name, value)| (format!("param.{name}"), param(value)));
        let sent: Vec<(String, Scalar)> = sent.collect();
        for (index, row) in rows.iter_mut().enumerate() {
            let seen = schema.fields().iter().zip(features.columns());
            row.fields.extend(sent.iter().cloned());
            row.fields.extend(seen.map(|(field, column)| (field.name().clone(), scalar_at(column, index))));
        }
        // Shadows are asked first: they answer while the champion does.
        for lane in &route.shadows {
            let copied = Copied { input: input.clone(), rows: rows.clone(), deadline, _busy: self.sinks.activity.begin() };
            lane.ask(copied, self.config.wait_for_shadows).await;
        }
        let given = match lane {
            Some(lane) => lane.answer(&input, &rows, wanted.is_some(), until, (version, &champion)).await,
            None => match until.left() {
                Ok(left) => {
                    // A version's latency is its own, with a canary beside it and without.
                    let asked = Instant::now();
                    champion.predict_with(&features, &input.params, left).await.map(|predicted| {
                        let latency_us = asked.elapsed().as_micros() as i64;
                        let given = |(value, outputs)| Given { value, outputs, version, role: "champion", latency_us, canary: None };
                        predicted.into_rows().map(given).collect()
                    })
                }
                Err(late) => Err(late),
            },
        };
        let given: Vec<Given> = given.map_err(|error| refuse(model, error, champion.retry_after()))?;
        let logged: Vec<Row> = rows.iter().zip(&given).map(|(row, given)| answered_row(row, given)).collect();
        let stored = self.log(model, &route, logged, counters).await?;
        let by = by_version(&given);
        counters.meter.answered(now, &Answered { took: began.elapsed(), rows: given.len() as u64, by: &by });
        let answers = rows.into_iter().zip(given);
        Ok(answers.map(|(row, given)| answer(row, given, stored)).collect())
    }

    /// The champion of a model with what it takes and gives; `version`: this one, if it is champion or canary. A model whose features are looked up takes
    /// its entity's columns and those of the request, which its signature does not tell.
    pub fn served(&self, model: &ModelName, version: Option<VersionNumber>) -> Result<Served, Refusal> {
        let route = self.route(model)?;
        let (champion, handle) = route.champion.clone().ok_or_else(|| silent(model, &route))?;
        let canary = route.canary.as_ref().filter(|lane| version == Some(lane.version));
        let (champion, handle) = canary.map_or((champion, handle), |lane| (lane.version, lane.handle.clone()));
        if let Some(asked) = version.filter(|asked| *asked != champion) {
            return Err(Refusal::not_found(
                "serve/version",
                format!("version {asked} of {model} does not answer; version {champion} does"),
            )
            .hint("leave the version out"));
        }
        let signature = handle.signature().clone();
        let names = if route.spec.features.is_empty() { signature::names(&signature) } else { None };
        let keys = if route.spec.features.is_empty() { Vec::new() } else { self.features.entity_columns(model)? };
        Ok(Served { version: champion, signature, names, keys })
    }

    /// Entity, time and request columns of each row.
    fn open_rows(&self, model: &ModelName, spec: &ServeSpec, requests: Vec<PredictRequest>) -> Result<Vec<Row>, Refusal> {
        let keys = if spec.features.is_empty() { Vec::new() } else { self.features.entity_columns(model)? };
        let now = self.sinks.clock.event_now();
        requests.into_iter().enumerate().map(|(index, request)| self.open_row(&keys, now, index, request)).collect()
    }

    fn open_row(&self, keys: &[String], now: Timestamp, index: usize, request: PredictRequest) -> Result<Row, Refusal> {
        let mut key = EntityKey::default();
        for column in keys {
            let value = request.columns.get(column).filter(|value| **value != Scalar::Null);
            let value = value.ok_or_else(|| {
                Refusal::invalid("serve/no_entity", format!("row {index} has no `{column}`"))
                    .hint(format!("features are looked up by: {}", keys.join(", ")))
            })?;
            key.0.insert(column.clone(), value.to_string());
        }
        let time = request.time.unwrap_or(now);
        let id = request.id.unwrap_or_else(|| (self.config.new_id)(time));
        let others = request.columns.into_iter().filter(|(name, _)| !keys.contains(name));
        let fields = others.map(|(name, value)| (format!("request.{name}"), value)).collect();
        Ok(Row { id: id.as_str().into(), time, at: now, key, fields })
    }

    async fn features_of(&self, model: &ModelName, spec: &ServeSpec, rows: &[Row]) -> Result<RecordBatch, ServeError> {
        let requests: Vec<FeatureRequest> = rows
            .iter()
            .map(|row| {
                let request =
                    row.fields.iter().filter_map(|(name, value)| Some((name.strip_prefix("request.")?.to_owned(), value.clone())));
                FeatureRequest { key: row.key.clone(), time: row.time, request: request.collect() }
            })
            .collect();
        if spec.features.is_empty() { sent_features(&requests).map_err(Into::into) } else { self.features.features(model, &requests).await }
    }

    /// Whether the rows are in the log; an error only where the file says that they must be.
    async fn log(&self, model: &ModelName, route: &Route, rows: Vec<Row>, counters: &Counters) -> Result<bool, ServeError> {
        let stream = format!("prediction/{model}");
        let count = rows.len() as u64;
        let newest = rows.iter().map(|row| row.time).max();
        if let Err(error) = self.sinks.rows.append(&stream, rows).await {
            counters.unlogged.fetch_add(count, Ordering::Relaxed);
            tracing::error!(%model, %error, "a prediction is not logged");
            if route.spec.log == LogSpec::Required {
                return Err(Refusal::new(
                    Kind::Unavailable,
                    "serve/not_logged",
                    "the prediction could not be logged, and the file requires it",
                )
                .hint("free disk space, or set log = \"best_effort\"")
                .into());
            }
            return Ok(false);
        }
        if let Some(newest) = newest {
            self.note_time(&stream, newest, route.calendar).await;
        }
        Ok(true)
    }

    /// Seals a stream when its watermark crosses the end of a window.
    pub(crate) async fn note_time(&self, stream: &str, newest: Timestamp, calendar: Option<(Timestamp, domain::Span)>) {
        let before = self.sealer.saw(stream, newest);
        let Some((origin, size)) = calendar else { return };
        let crossed = before.is_some_and(|before| newest.floor(origin, size) > before.floor(origin, size));
        if crossed {
            let _busy = self.sinks.activity.begin();
            // Labels close a window of predictions, so those must be in a segment before.
            let before = stream.strip_prefix("label/").map(|model| format!("prediction/{model}"));
            for stream in before.as_deref().into_iter().chain([stream]) {
                if let Err(fault) = self.sealer.seal(stream, self.sinks.clock.event_now()).await {
                    tracing::error!(stream, %fault, "a window's end could not be sealed; the next sealing makes it up");
                }
            }
        }
    }

    pub(crate) fn calendar(&self, model: &ModelName) -> Option<(Timestamp, domain::Span)> {
        self.routes.read().get(model).and_then(|route| route.calendar)
    }

    pub(crate) fn route(&self, model: &ModelName) -> Result<Arc<Route>, Refusal> {
        self.routes.read().get(model).cloned().ok_or_else(|| not_served(model))
    }

    pub(crate) fn counters_of(&self, model: &ModelName) -> Arc<Counters> {
        if let Some(found) = self.counters.read().get(model) {
            return found.clone();
        }
        self.counters.write().entry(model.clone()).or_default().clone()
    }
}

/// Why a model with a route does not answer.
fn silent(model: &ModelName, route: &Route) -> Refusal {
    match &route.broken {
        Some(why) => Refusal::new(Kind::Unavailable, "serve/cannot_load", format!("model {model} cannot answer: {why}"))
            .hint("mend what it says, then set the champion again; workers.log in the home's models folder has the rest"),
        None => not_served(model),
    }
}

fn not_served(model: &ModelName) -> Refusal {
    Refusal::not_found("serve/no_champion", format!("model {model} has no champion"))
        .hint(format!("trimtab model ls; set the alias `champion` of {model}"))
}

/// `wait`: what the version says of when it will answer.
fn refuse(model: &ModelName, error: PredictError, wait: Option<Duration>) -> ServeError {
    let later = |refusal: Refusal| wait.map_or(refusal.clone(), |wait| refusal.retry_after(wait));
    match error {
        PredictError::Refused(refusal) if refusal.kind == Kind::Busy => later(refusal).into(),
        PredictError::Refused(refusal) => refusal.into(),
        PredictError::Unavailable(why) => {
            let what = format!("model {model} cannot answer: {why}");
            later(Refusal::new(Kind::Unavailable, "serve/worker_down", what).hint("the worker is started again; send the request again"))
                .into()
        }
        PredictError::Timeout => Refusal::new(Kind::Timeout, "serve/deadline", format!("model {model} did not answer within its deadline"))
            .hint("raise `deadline` under [model.NAME.serve], or send fewer rows")
            .into(),
    }
}

/// A param as it is logged: a scalar, or the JSON of more than one.
fn param(value: &serde_json::Value) -> Scalar {
    serde_json::from_value(value.clone()).unwrap_or_else(|_| Scalar::Text(value.to_string()))
}

/// The caller's columns as the model's own, where the file names no feature views.
fn sent_features(requests: &[FeatureRequest]) -> Result<RecordBatch, Refusal> {
    let Some(first) = requests.first() else { return Err(Refusal::invalid("serve/rows", "no rows")) };
    let columns = first.request.keys().map(|name| {
        let values: Vec<&Scalar> = requests.iter().map(|request| request.request.get(name).unwrap_or(&Scalar::Null)).collect();
        (name.clone(), ports::scalars_to_array(&values), true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| Refusal::invalid("serve/input", e.to_string()))
}

fn answer(row: Row, given: Given, logged: bool) -> Answer {
    Answer { id: PredictionId::new(row.id), value: given.value, outputs: given.outputs, version: given.version, logged }
}

fn answered_row(row: &Row, given: &Given) -> Row {
    let mut logged = row.clone();
    let own = [
        ("version", Scalar::Int(given.version.0 as i64)),
        ("role", Scalar::Text(given.role.into())),
        ("prediction", given.value.clone()),
        ("latency_us", Scalar::Int(given.latency_us)),
    ];
    log_outputs(&mut logged, given.outputs.as_ref());
    let part = given.canary.into_iter().flat_map(|part| part.columns());
    logged.fields.extend(own.into_iter().chain(part).map(|(name, value)| (name.to_owned(), value)));
    logged
}

/// All values of a row, as `output.NAME` or `output.0`.
pub(crate) fn log_outputs(row: &mut Row, outputs: Option<&Outputs>) {
    let named = outputs.into_iter().flat_map(Outputs::named);
    row.fields.extend(named.map(|(name, value)| (format!("output.{name}"), value.clone())));
}

/// Each version in its role, with how many rows it answered, and in what time.
fn by_version(given: &[Given]) -> Vec<(VersionNumber, &'static str, u64, Duration)> {
    let mut all: Vec<(VersionNumber, &'static str, u64, Duration)> = Vec::with_capacity(1);
    for one in given {
        match all.iter_mut().find(|(version, role, ..)| *version == one.version && *role == one.role) {
            Some((.., rows, _)) => *rows += 1,
            None => all.push((one.version, one.role, 1, Duration::from_micros(one.latency_us.max(0) as u64))),
        }
    }
    all
}

/// Whose fault it is that there is no answer.
fn failure(error: &ServeError) -> Failure {
    match error {
        ServeError::Fault(_) => Failure::Fault,
        ServeError::Refused(refusal) => match refusal.kind {
            Kind::Busy => Failure::Busy,
            Kind::Unavailable => Failure::Unavailable,
            Kind::Timeout => Failure::Timeout,
            _ => Failure::Refused,
        },
    }
}
