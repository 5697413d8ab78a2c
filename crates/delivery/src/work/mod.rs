//! Judging: gets the rows of the holdout, has both versions score them, and records the report.

use crate::commands::{declared, deployment, record_gate};
use crate::gate::{Evidence, Judged, Signature, judge, parse_gate, values};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::{GateFigure, GateReport, GateRequest, ModelVersion};
use domain::spec::ModelSpec;
use domain::{Digest, Event, Fault, Kind, ModelName, Range, Recorded, Scalar, Timestamp, Verdict, VersionNumber};
use indexmap::IndexMap;
use ports::{Clock, CommitError, MetadataStore, QueryError, ScoreError, Scorer, World, decide};
use stats::Metric;
use std::sync::Arc;

/// Labelled rows to judge on.
#[derive(Clone, Debug)]
pub struct HoldoutRows {
    /// The model's feature columns, in order.
    pub features: RecordBatch,
    /// A label a row.
    pub truth: Vec<f64>,
    /// An event time a row.
    pub times: Vec<Timestamp>,
    /// Of keys, times, features and labels.
    pub hash: Digest,
    /// Keys and times, which tell rows apart.
    pub identity: RecordBatch,
}

impl HoldoutRows {
    /// Every column by which rows can be cut.
    fn columns(&self) -> IndexMap<String, Vec<Scalar>> {
        let both = [&self.identity, &self.features];
        let names =
            both.iter().flat_map(|rows| rows.schema().fields().iter().map(|field| (*rows, field.name().clone())).collect::<Vec<_>>());
        names.filter_map(|(rows, name)| values(rows, &name).map(|column| (name, column))).collect()
    }
}

/// What is known of versions beside their answers; the wiring brings it in.
#[async_trait]
pub trait Dossier: Send + Sync {
    /// Bytes of all files of a version; `None`: they are elsewhere.
    async fn size(&self, model: &ModelName, version: VersionNumber) -> Result<Option<u64>, Fault>;
    /// What a version takes and gives; `None`: it was registered without.
    async fn signature(&self, model: &ModelName, version: VersionNumber) -> Result<Option<Signature>, Fault>;
    /// The rows that a version was trained on; `None`: they are not recorded.
    async fn training(&self, model: &ModelName, version: VersionNumber) -> Result<Option<TrainingRows>, QueryError>;
}

/// A training set's rows.
#[derive(Clone, Debug)]
pub struct TrainingRows {
    pub rows: RecordBatch,
    pub features: Vec<String>,
    pub label: String,
}

/// Where the rows of a holdout come from.
#[async_trait]
pub trait Holdout: Send + Sync {
    /// The labelled rows with an event time in `range` whose labels had arrived by `until`, features as of each row's time.
    async fn rows(&self, model: &ModelName, range: Range, until: Timestamp) -> Result<HoldoutRows, QueryError>;
}

/// The worker that judges.
pub struct GateWorker {
    pub store: Arc<dyn MetadataStore>,
    pub holdout: Arc<dyn Holdout>,
    pub scorer: Arc<dyn Scorer>,
    pub dossier: Arc<dyn Dossier>,
    pub clock: Arc<dyn Clock>,
}

mod gather;
mod labels;

pub use labels::LabelWorker;

/// How often a gate is judged anew because the champion changed meanwhile.
const ATTEMPTS: usize = 5;

/// What a gate is about, as the store knows it.
pub(super) struct Case {
    spec: ModelSpec,
    request: GateRequest,
    champion: Option<VersionNumber>,
    challenger_cutoff: Option<Timestamp>,
    champion_cutoff: Option<Timestamp>,
}

#[async_trait]
impl reactor::Worker for GateWorker {
    fn name(&self) -> &'static str {
        "delivery.gate"
    }

    fn wants(&self, event: &Event) -> bool {
        matches!(event, Event::GateRequested { .. })
    }

    async fn work(&self, event: &Recorded) -> Result<(), Fault> {
        let Event::GateRequested { model, challenger, .. } = &event.event else { return Ok(()) };
        for _ in 0..ATTEMPTS {
            let Some(case) = self.case(model, *challenger)? else { return Ok(()) };
            let report = self.report(&case).await?;
            match decide(&*self.store, |world| record_gate(world, &report, event)).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Refused(refusal)) if refusal.kind == Kind::Conflict => {
                    tracing::info!(%model, %challenger, %refusal, "the gate judges anew");
                }
                Err(error) => return Err(Fault::because("recording what a gate found", error)),
            }
        }
        Err(Fault::broken(format!("the champion of `{model}` changed {ATTEMPTS} times while its gate judged")))
    }
}

impl GateWorker {
    /// `None`: judged already, no longer asked for, or made champion by hand meanwhile.
    fn case(&self, model: &ModelName, challenger: VersionNumber) -> Result<Option<Case>, Fault> {
        let world = World::new(self.store.snapshot()?);
        let key = format!("{model}/{challenger}");
        if world.get::<GateReport>(&key)?.is_some() {
            return Ok(None);
        }
        let (Some(spec), Some(request)) = (declared(&world, model)?, world.get::<GateRequest>(&key)?) else { return Ok(None) };
        let champion = deployment(&world, model)?.champion;
        if champion == Some(challenger) {
            return Ok(None);
        }
        let cutoff = |version: VersionNumber| -> Result<Option<Timestamp>, Fault> {
            Ok(world.get::<ModelVersion>(&format!("{model}/{version}"))?.and_then(|version| version.trained_until))
        };
        let champion_cutoff = champion.map(cutoff).transpose()?.flatten();
        Ok(Some(Case { spec, request, champion, challenger_cutoff: cutoff(challenger)?, champion_cutoff }))
    }

    async fn report(&self, case: &Case) -> Result<GateReport, Fault> {
        let (range, rows) = match self.rows(case).await? {
            Ok(found) => found,
            Err(why) => return Ok(self.undecided(case, Verdict::Inconclusive, why)),
        };
        let gate = case.spec.gate.as_ref().map(parse_gate);
        let (gate, metric) = match (gate, Metric::parse(&case.spec.metric)) {
            (Some(Ok(gate)), Some(metric)) => (gate, metric),
            (Some(Err(refusal)), _) => return Ok(self.undecided(case, Verdict::Inconclusive, refusal.to_string())),
            _ => return Ok(self.undecided(case, Verdict::Inconclusive, "the project no longer declares this gate".into())),
        };
        let challenger = match self.score(case, case.request.challenger, &rows).await? {
            Ok(answers) => answers,
            Err(why) => {
                return Ok(self.undecided(case, Verdict::Fail, format!("version {} does not work: {why}", case.request.challenger)));
            }
        };
        let champion = match case.champion {
            None => None,
            Some(version) => match self.score(case, version, &rows).await? {
                Ok(answers) => Some(answers),
                Err(why) => {
                    return Ok(self.undecided(
                        case,
                        Verdict::Inconclusive,
                        format!("the champion, version {version}, does not work: {why}"),
                    ));
                }
            },
        };
        let days: Vec<i64> = rows.times.iter().map(|time| time.day()).collect();
        let seed = seed(case, &rows.hash);
        let facts = self.facts(case, &gate.needs(), &rows).await?;
        let columns = rows.columns();
        let HoldoutRows { truth, hash, .. } = rows;
        let n = truth.len() as u64;
        // Ten thousand replicates may take seconds; they hold up nobody who is being served.
        let judged = tokio::task::spawn_blocking(move || {
            let evidence = Evidence {
                truth: &truth,
                days: Some(&days),
                challenger: &challenger,
                champion: champion.as_deref(),
                seed,
                columns: &columns,
                facts: &facts,
            };
            judge(&gate, metric, &evidence)
        });
        let Judged { checks, figure, verdict, why } = judged.await.map_err(|error| Fault::because("judging a gate", error))?;
        let undecided = self.undecided(case, verdict, why);
        Ok(GateReport { holdout: range, rows: n, rows_hash: hash, seed, checks, figure, ..undecided })
    }

    /// The rows later than both cut-offs, or why there are none to judge on.
    async fn rows(&self, case: &Case) -> Result<Result<(Range, HoldoutRows), String>, Fault> {
        let hint = "register it from a pipeline, or set the run tag `trimtab.trained_until`";
        let Some(mut from) = case.challenger_cutoff else {
            return Ok(Err(format!("until when version {} was trained is not known ({hint})", case.request.challenger)));
        };
        if let Some(champion) = case.champion {
            let Some(cutoff) = case.champion_cutoff else {
                return Ok(Err(format!("until when the champion, version {champion}, was trained is not known ({hint})")));
            };
            from = from.max(cutoff);
        }
        let asked = case.request.holdout;
        let range = Range::new(asked.from.max(from), asked.to);
        if range.from >= range.to {
            return Ok(Err(format!("no part of the holdout {asked} is later than both training cut-offs ({from})")));
        }
        match self.holdout.rows(&case.request.model, range, case.request.until).await {
            Ok(rows) if rows.truth.is_empty() => Ok(Err(format!("no labelled rows in {range}"))),
            Ok(rows) => Ok(Ok((range, rows))),
            Err(QueryError::Refused(refusal)) => Ok(Err(format!("the rows cannot be read: {refusal}"))),
            Err(QueryError::Fault(fault)) => Err(fault),
        }
    }

    async fn score(&self, case: &Case, version: VersionNumber, rows: &HoldoutRows) -> Result<Result<Vec<Scalar>, String>, Fault> {
        match self.scorer.score(&case.request.model, version, &rows.features).await {
            Ok(answers) if answers.len() == rows.truth.len() => Ok(Ok(answers)),
            Ok(answers) => Ok(Err(format!("{} answers to {} rows", answers.len(), rows.truth.len()))),
            Err(ScoreError::Refused(refusal)) => Ok(Err(refusal.to_string())),
            Err(ScoreError::Fault(fault)) => Err(fault),
        }
    }

    /// A report without figures.
    fn undecided(&self, case: &Case, verdict: Verdict, why: String) -> GateReport {
        GateReport {
            model: case.request.model.clone(),
            challenger: case.request.challenger,
            champion: case.champion,
            holdout: case.request.holdout,
            rows: 0,
            rows_hash: Digest::of(b""),
            seed: 0,
            checks: Vec::new(),
            figure: GateFigure { metric: case.spec.metric.clone(), challenger: None, champion: None },
            verdict,
            why,
            decided: self.clock.event_now(),
            overrides: Vec::new(),
        }
    }
}

/// Follows from what is judged, so that a gate that is judged again says the same. 32 bits, which every JSON reader keeps.
fn seed(case: &Case, rows: &Digest) -> u64 {
    let digest = Digest::of_json(&(&case.request.model, case.request.challenger, case.champion, rows));
    u64::from_str_radix(&digest.as_str()[..8], 16).expect("a digest is hexadecimal")
}
