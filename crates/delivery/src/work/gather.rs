//! Gathers what checks ask for beside answers: timed calls, files, signatures, odd rows, the training set.

use super::{Case, GateWorker, HoldoutRows};
use crate::gate::{Answered, Facts, Latency, Needs, Probe, Signatures, Training};
use arrow::array::{ArrayRef, StringArray, new_null_array};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use domain::{Fault, Scalar, VersionNumber};
use ports::{QueryError, ScoreError};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of the holdout on which odd values are tried.
const PROBE_ROWS: usize = 5;
/// Timing ends after this long, once there are a few calls.
const BUDGET: Duration = Duration::from_secs(60);
const FEWEST: usize = 20;
/// A value that no training set has.
const UNSEEN: &str = "never seen before";

impl GateWorker {
    pub(super) async fn facts(&self, case: &Case, needs: &Needs, rows: &HoldoutRows) -> Result<Facts, Fault> {
        let mut facts = Facts::default();
        let (model, challenger) = (&case.request.model, case.request.challenger);
        if needs.calls > 0 {
            facts.latency = Some(self.latency(case, needs.calls, rows).await?);
        }
        if needs.size {
            let size = self.dossier.size(model, challenger).await?;
            facts.size = Some(size.ok_or_else(|| format!("the files of version {challenger} are not in the artifact store")));
        }
        if let (true, Some(champion)) = (needs.signatures, case.champion) {
            let of = async |version| {
                let found = self.dossier.signature(model, version).await?;
                Ok::<_, Fault>(found.ok_or_else(|| format!("version {version} was registered without a signature")))
            };
            let (challenger, champion) = (of(challenger).await?, of(champion).await?);
            facts.signatures = Some(challenger.and_then(|challenger| Ok(Signatures { challenger, champion: champion? })));
        }
        for probe in &needs.probes {
            facts.answers.insert(*probe, self.probe(case, *probe, &rows.features).await?);
        }
        if needs.training {
            facts.training = Some(match self.dossier.training(model, challenger).await {
                Ok(None) => Err(format!("the training set of version {challenger} is not recorded")),
                Ok(Some(set)) => {
                    let identity: Vec<String> = rows.identity.schema().fields().iter().map(|field| field.name().clone()).collect();
                    Ok(Training::of(&set.rows, &set.features, &set.label, &identity, Some(&rows.identity), Some(&rows.features)))
                }
                Err(QueryError::Refused(refusal)) => Err(refusal.to_string()),
                Err(QueryError::Fault(fault)) => return Err(fault),
            });
        }
        Ok(facts)
    }

    /// One row a call, the versions in turns so that both see the same machine.
    async fn latency(&self, case: &Case, calls: usize, rows: &HoldoutRows) -> Result<Result<Latency, String>, Fault> {
        let mut latency = Latency::default();
        let start = Instant::now();
        // The first calls warm up and do not count.
        let warm = 5;
        for call in 0..calls + warm {
            // A slow model is judged by fewer calls, which say how many more would tell.
            if start.elapsed() > BUDGET && call > warm + FEWEST {
                break;
            }
            let row = rows.features.slice(call % rows.features.num_rows().max(1), 1);
            for (version, ms) in [(Some(case.request.challenger), &mut latency.challenger_ms), (case.champion, &mut latency.champion_ms)] {
                let Some(version) = version else { continue };
                let began = Instant::now();
                if let Err(why) = self.ask(case, version, &row).await? {
                    return Ok(Err(format!("version {version} does not answer a single row: {why}")));
                }
                if call >= warm {
                    ms.push(began.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        Ok(Ok(latency))
    }

    async fn probe(&self, case: &Case, probe: Probe, features: &RecordBatch) -> Result<Answered, Fault> {
        let few = features.slice(0, features.num_rows().min(PROBE_ROWS));
        let tried = match probe {
            Probe::OneRow => vec![("one row".to_owned(), features.slice(0, 1))],
            Probe::Missing => replaced(&few, DataType::is_numeric, |column| new_null_array(column.data_type(), column.len())),
            Probe::Unseen => replaced(&few, is_text, |column| {
                let text: ArrayRef = Arc::new(StringArray::from(vec![UNSEEN; column.len()]));
                arrow::compute::cast(&text, column.data_type()).unwrap_or(text)
            }),
        };
        if tried.is_empty() {
            let kind = if probe == Probe::Unseen { "text" } else { "number" };
            return Ok(Answered::NotAsked(format!("no feature is a {kind}: take answers({}) out", probe.name())));
        }
        for (what, rows) in tried {
            match self.ask(case, case.request.challenger, &rows).await? {
                Err(why) => return Ok(Answered::Badly(format!("with {what}: {why}"))),
                Ok(answers) if answers.len() != rows.num_rows() => {
                    return Ok(Answered::Badly(format!("with {what}: {} answers to {} rows", answers.len(), rows.num_rows())));
                }
                Ok(answers) if !answers.iter().all(|answer| answer.as_f64().is_some_and(f64::is_finite)) => {
                    return Ok(Answered::Badly(format!("with {what} it answers what is no finite number")));
                }
                Ok(_) => {}
            }
        }
        Ok(Answered::Well)
    }

    async fn ask(&self, case: &Case, version: VersionNumber, rows: &RecordBatch) -> Result<Result<Vec<Scalar>, String>, Fault> {
        match self.scorer.score(&case.request.model, version, rows).await {
            Ok(answers) => Ok(Ok(answers)),
            Err(ScoreError::Refused(refusal)) => Ok(Err(refusal.what)),
            Err(ScoreError::Fault(fault)) => Err(fault),
        }
    }
}

fn is_text(dtype: &DataType) -> bool {
    matches!(dtype, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        || matches!(dtype, DataType::Dictionary(_, value) if is_text(value))
}

/// The rows with each fitting column replaced, one at a time, and with all of them.
fn replaced(rows: &RecordBatch, fits: impl Fn(&DataType) -> bool, by: impl Fn(&ArrayRef) -> ArrayRef) -> Vec<(String, RecordBatch)> {
    let schema = rows.schema();
    let fitting: Vec<usize> = (0..rows.num_columns()).filter(|at| fits(schema.field(*at).data_type())).collect();
    let with = |which: &[usize]| {
        let columns = rows.columns().iter().enumerate().map(|(at, column)| {
            let column = if which.contains(&at) { by(column) } else { column.clone() };
            (schema.field(at).name().clone(), column, true)
        });
        RecordBatch::try_from_iter_with_nullable(columns).ok()
    };
    let word = |at: usize| format!("`{}` replaced", schema.field(at).name());
    let mut tried: Vec<(String, RecordBatch)> = fitting.iter().filter_map(|at| Some((word(*at), with(&[*at])?))).collect();
    if fitting.len() > 1 {
        tried.extend(with(&fitting).map(|rows| ("all of them replaced".to_owned(), rows)));
    }
    tried
}
