//! A version that answers a part of the entities: who gets it, and what was seen of it.
//!
//! The same entity always gets the same answerer, and one that has the canary at 5 % has it at 25 % too. A request that the
//! canary fails is answered by the champion, so that nobody sees the failure but the counters.

use crate::deadline::Until;
use crate::pool::ModelPool;
use crate::route::Route;
use crate::shadow::Sinks;
use crate::signature::Input;
use arrow::array::UInt32Array;
use domain::entity::{Canary, CanarySeen, Deployment};
use domain::{Actor, Batch, Event, Fault, ModelName, Refusal, Row, Scalar, Timestamp, VersionNumber};
use parking_lot::Mutex;
use ports::{CommitError, ModelHandle, Outputs, PredictError, Predicted, RowLog, Sealer, decide, scalar_at};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Newest latencies and scores of each side that are kept to compare.
const KEPT: usize = 1000;
/// Fewer latencies of a side than this have no median worth a ratio.
const MIN_LATENCIES: usize = 50;
/// Fewer scores of a side than this fill no bins.
const MIN_SCORES: usize = 200;
/// Ids of a step's requests that are kept.
const IDS: usize = 100_000;
/// Bins of the scores.
const BINS: usize = 10;
/// A canary is first told of after so many answers, then after twice as many, and so on.
const FIRST: u64 = 50;

/// One answered row, and who answered it.
pub(crate) struct Given {
    pub(crate) value: Scalar,
    /// All values, where the model gives several.
    pub(crate) outputs: Option<Outputs>,
    pub(crate) version: VersionNumber,
    pub(crate) role: &'static str,
    pub(crate) latency_us: i64,
    /// What the canary had to do with it, so that the next process knows.
    pub(crate) canary: Option<Part>,
}

/// A canary's part in an answer: its own, or one that it failed and the champion gave.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    version: VersionNumber,
    weight: u8,
    failed: bool,
}

impl Part {
    /// As columns of the logged row.
    pub(crate) fn columns(self) -> [(&'static str, Scalar); 3] {
        [
            ("canary", Scalar::Int(self.version.0 as i64)),
            ("canary_weight", Scalar::Int(i64::from(self.weight))),
            ("canary_failed", Scalar::Bool(self.failed)),
        ]
    }
}

/// The canary of a route at one weight.
pub(crate) struct CanaryLane {
    pub(crate) version: VersionNumber,
    model: ModelName,
    weight: u8,
    since: Timestamp,
    min_requests: u64,
    hold: domain::Span,
    pub(crate) handle: Arc<dyn ModelHandle>,
    sinks: Sinks,
    seen: Mutex<Seen>,
    /// The log was told that the step has seen enough.
    told_all: AtomicBool,
}

#[derive(Default)]
struct Seen {
    answered: Ids,
    failed: Ids,
    champion_answered: u64,
    canary: Newest,
    champion: Newest,
    next_answered: u64,
    next_failed: u64,
}

/// Requests by id, so that one that is sent again counts once; beyond [`IDS`] they are only counted.
#[derive(Default)]
struct Ids {
    known: HashSet<String>,
    more: u64,
}

impl Ids {
    fn add(&mut self, id: String) {
        if self.known.len() < IDS {
            self.known.insert(id);
        } else if !self.known.contains(&id) {
            self.more += 1;
        }
    }

    fn count(&self) -> u64 {
        self.known.len() as u64 + self.more
    }
}

/// The newest latencies and scores of a side.
#[derive(Default)]
struct Newest {
    latencies: Vec<f64>,
    scores: Vec<Option<f64>>,
    at: usize,
}

impl Newest {
    fn add(&mut self, latency: f64, scores: impl Iterator<Item = Option<f64>>) {
        for score in scores {
            if self.latencies.len() < KEPT {
                self.latencies.push(latency);
                self.scores.push(score);
            } else {
                (self.latencies[self.at], self.scores[self.at]) = (latency, score);
                self.at = (self.at + 1) % KEPT;
            }
        }
    }

    fn median(&self) -> Option<f64> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        (sorted.len() >= MIN_LATENCIES).then(|| sorted[sorted.len() / 2])
    }
}

impl Seen {
    fn latency_ratio(&self) -> Option<f64> {
        let (new, old) = (self.canary.median()?, self.champion.median()?);
        (old > 0.0).then(|| new / old)
    }

    fn score_psi(&self) -> Option<f64> {
        if self.canary.scores.len().min(self.champion.scores.len()) < MIN_SCORES {
            return None;
        }
        let bins = stats::Bins::numeric(&self.champion.scores, BINS);
        stats::psi(&bins.count_numbers(&self.champion.scores), &bins.count_numbers(&self.canary.scores))
    }

    fn known(&self) -> CanarySeen {
        CanarySeen {
            answered: self.answered.count(),
            failed: self.failed.count(),
            champion_answered: self.champion_answered,
            latency_ratio: self.latency_ratio(),
            score_psi: self.score_psi(),
            over: false,
            labels: None,
        }
    }
}

impl CanaryLane {
    /// A lane that goes on from what an earlier process had it answer in this step.
    fn new(model: &ModelName, canary: &Canary, before: Before, handle: Arc<dyn ModelHandle>, sinks: Sinks) -> Arc<CanaryLane> {
        let told = &canary.seen;
        let mut next_answered = FIRST;
        while next_answered <= told.answered {
            next_answered *= 2;
        }
        let champion_answered = told.champion_answered;
        let Before { answered, failed } = before;
        let seen = Seen { answered, failed, champion_answered, next_answered, next_failed: after_failures(told.failed), ..Seen::default() };
        let lane = Arc::new(CanaryLane {
            version: canary.version,
            model: model.clone(),
            weight: canary.weight,
            since: canary.since,
            min_requests: canary.min_requests,
            hold: canary.hold,
            handle,
            sinks,
            seen: Mutex::new(seen),
            // One that stands still has been told of.
            told_all: AtomicBool::new(canary.paused.is_some() || told.over),
        });
        // An earlier process may have had the last answer, and not told of it.
        lane.tell_if_due();
        lane
    }

    /// Whether the lane still fits what a deployment asks for.
    pub(crate) fn fits(&self, canary: &Canary) -> bool {
        self.version == canary.version && self.weight == canary.weight && self.since == canary.since
    }

    /// Whether this entity gets the canary.
    pub(crate) fn takes(&self, row: &Row) -> bool {
        let who = if row.key.0.is_empty() { row.id.clone() } else { row.key.text() };
        bucket(&format!("{}/{}/{who}", self.model, self.version)) < u64::from(self.weight) * 100
    }

    /// Answers every row by the side that its entity gets; `all`: by the canary, as the caller asked.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        input: &Input,
        rows: &[Row],
        all: bool,
        until: Until,
        champion: (VersionNumber, &Arc<dyn ModelHandle>),
    ) -> Result<Vec<Given>, PredictError> {
        let (own, left): (Vec<u32>, Vec<u32>) = (0..rows.len() as u32).partition(|row| all || self.takes(&rows[*row as usize]));
        let mut given: Vec<Option<Given>> = rows.iter().map(|_| None).collect();
        if !own.is_empty() {
            let began = Instant::now();
            // The other half is the champion's, should the canary hang.
            match chosen(input, &own)?.answered_by(&*self.handle, until.left()? / 2).await {
                Ok(predicted) if predicted.values.len() == own.len() => {
                    let latency = began.elapsed();
                    self.seen.lock().canary.add(latency.as_secs_f64(), predicted.values.iter().map(Scalar::as_f64));
                    let mut seen = self.seen.lock();
                    own.iter().for_each(|row| seen.answered.add(rows[*row as usize].id.clone()));
                    drop(seen);
                    place(&mut given, &own, predicted, self.version, "canary", latency, Some(self.part(false)));
                }
                answer => {
                    let error = answer.err();
                    tracing::warn!(model = %self.model, version = %self.version, ?error, "the canary did not answer; the champion does");
                    let count = || {
                        let mut seen = self.seen.lock();
                        own.iter().for_each(|row| seen.failed.add(rows[*row as usize].id.clone()));
                    };
                    // A canary that is down or too slow failed, whatever comes of the request. One that refuses failed only what the
                    // champion answers: what neither takes is the caller's mistake.
                    let is_refusal = matches!(error, Some(PredictError::Refused(_)));
                    if !is_refusal {
                        count();
                        self.tell_if_due();
                    }
                    self.by_champion(input, &own, until, champion, &mut given, Some(self.part(true))).await?;
                    if is_refusal {
                        count();
                    }
                }
            }
        }
        if !left.is_empty() {
            self.by_champion(input, &left, until, champion, &mut given, None).await?;
        }
        self.tell_if_due();
        given.into_iter().map(|given| given.ok_or_else(|| PredictError::Unavailable("a row was left unanswered".into()))).collect()
    }

    async fn by_champion(
        &self,
        input: &Input,
        rows: &[u32],
        until: Until,
        (version, handle): (VersionNumber, &Arc<dyn ModelHandle>),
        given: &mut [Option<Given>],
        part: Option<Part>,
    ) -> Result<(), PredictError> {
        let began = Instant::now();
        let predicted = chosen(input, rows)?.answered_by(&**handle, until.left()?).await?;
        let latency = began.elapsed();
        let mut seen = self.seen.lock();
        seen.champion.add(latency.as_secs_f64(), predicted.values.iter().map(Scalar::as_f64));
        seen.champion_answered += rows.len() as u64;
        place(given, rows, predicted, version, "champion", latency, part);
        Ok(())
    }

    fn part(&self, failed: bool) -> Part {
        Part { version: self.version, weight: self.weight, failed }
    }

    /// Tells the log when there is something to judge: at every one of the first failures, then ever more seldom; after ever
    /// more answers; and when the step has seen enough. Time alone may make it due: it is asked now and then, too.
    pub(crate) fn tell_if_due(self: &Arc<Self>) {
        let mut seen = self.seen.lock();
        let long_enough = self.sinks.clock.event_now() - self.since >= self.hold;
        let (answered, failed) = (seen.answered.count(), seen.failed.count());
        let all = answered >= self.min_requests && long_enough && !self.told_all.load(Ordering::SeqCst);
        if !(all || failed >= seen.next_failed || answered >= seen.next_answered) {
            return;
        }
        seen.next_failed = after_failures(failed);
        while seen.next_answered <= answered {
            seen.next_answered *= 2;
        }
        if all {
            self.told_all.store(true, Ordering::SeqCst);
        }
        let known = seen.known();
        drop(seen);
        let (lane, busy) = (self.clone(), self.sinks.activity.begin());
        tokio::spawn(async move {
            match lane.tell(known, all).await {
                Ok(true) => {}
                Ok(false) => lane.told_all.store(false, Ordering::SeqCst),
                Err(error) => {
                    tracing::error!(model = %lane.model, %error, "what a canary did could not be told; the next answers try again");
                    lane.told_all.store(false, Ordering::SeqCst);
                }
            }
            drop(busy);
        });
    }

    /// State and event in one commit. Counts never go back, and what is not known now may have been known before. False when
    /// the log knew it already, unless the step is over (`all`): then it is to be judged, whatever was told before.
    async fn tell(&self, known: CanarySeen, all: bool) -> Result<bool, CommitError> {
        let now = self.sinks.clock.event_now();
        decide(&*self.sinks.store, |world| {
            let mut batch = Batch::new(Actor::System("serving.canary".into()), now);
            let Some(mut deployment) = world.get::<Deployment>(self.model.as_str())? else { return Ok((batch, true)) };
            let Some(canary) = deployment.canary.as_mut().filter(|canary| self.fits(canary) && canary.paused.is_none()) else {
                return Ok((batch, true));
            };
            let before = canary.seen.clone();
            let is_news = before.answered + before.failed < known.answered + known.failed;
            if !is_news && (before.over || !all) {
                return Ok((batch, before.over));
            }
            let newest = if is_news { &known } else { &before };
            canary.seen = CanarySeen {
                latency_ratio: known.latency_ratio.or(before.latency_ratio),
                score_psi: known.score_psi.or(before.score_psi),
                over: before.over || all,
                labels: before.labels.clone(),
                ..newest.clone()
            };
            batch.say(Event::CanaryServed {
                model: self.model.clone(),
                version: self.version,
                weight: self.weight,
                answered: canary.seen.answered,
                failed: canary.seen.failed,
                champion_answered: canary.seen.champion_answered,
                latency_ratio: canary.seen.latency_ratio,
                score_psi: canary.seen.score_psi,
            });
            batch.write(&deployment);
            Ok((batch, true))
        })
        .await
    }

    /// Answered and failed requests of this step.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let seen = self.seen.lock();
        (seen.answered.count(), seen.failed.count())
    }
}

/// Failures after which the log is told next: every one of the first few, then ever more seldom.
fn after_failures(failed: u64) -> u64 {
    failed + 1 + failed / 4
}

/// Who answers: the canary's share, only the champion, or only the canary, if the caller wants one of them.
pub(crate) fn chosen_lane<'a>(
    model: &ModelName,
    champion: VersionNumber,
    lane: Option<&'a Arc<CanaryLane>>,
    wanted: Option<VersionNumber>,
) -> Result<Option<&'a Arc<CanaryLane>>, Refusal> {
    match (wanted, lane) {
        (None, lane) => Ok(lane),
        (Some(wanted), _) if wanted == champion => Ok(None),
        (Some(wanted), Some(lane)) if wanted == lane.version => Ok(Some(lane)),
        (Some(wanted), lane) => {
            let canary = lane.map_or(String::new(), |lane| format!(", version {} the canary", lane.version));
            Err(Refusal::not_found("serve/version", format!("version {wanted} of model {model} does not answer"))
                .hint(format!("version {champion} is the champion{canary}; leave x-trimtab-version out")))
        }
    }
}

/// The lane that a deployment asks for: the old one if it fits.
pub(crate) async fn lane_of(
    deployment: &Deployment,
    old: Option<&Route>,
    missing: &[VersionNumber],
    pool: &ModelPool,
    sealer: &Sealer,
    sinks: &Sinks,
) -> Result<Option<Arc<CanaryLane>>, Fault> {
    let Some(canary) = deployment.canary.as_ref().filter(|canary| Some(canary.version) != deployment.champion) else { return Ok(None) };
    if let Some(kept) = old.and_then(|old| old.canary.as_ref()).filter(|lane| lane.fits(canary)) {
        return Ok(Some(kept.clone()));
    }
    if missing.contains(&canary.version) {
        return Ok(None);
    }
    let model = &deployment.model;
    let mut known = Before::default();
    // The first lane of a process: an earlier one may have been within this step.
    if old.is_none_or(|old| old.missing.contains(&canary.version)) {
        sealer.seal(&format!("prediction/{model}"), sinks.clock.event_now()).await?;
        known = before(&*sinks.rows, model, canary).await?;
    }
    match pool.get(model, canary.version).await {
        Ok(handle) => Ok(Some(CanaryLane::new(model, canary, known, handle, sinks.clone()))),
        Err(error) => {
            tracing::error!(%model, version = %canary.version, %error, "the canary does not load; the champion answers all");
            Ok(None)
        }
    }
}

/// Requests that an earlier process had a canary answer, or fail, at its present weight.
#[derive(Default)]
struct Before {
    answered: Ids,
    failed: Ids,
}

/// From the sealed rows: the newest segments, as far as they go back.
async fn before(rows: &dyn RowLog, model: &ModelName, canary: &Canary) -> Result<Before, Fault> {
    let mut found = Before::default();
    for segment in rows.segments(&format!("prediction/{model}"))?.iter().rev() {
        let batch = rows.read(segment).await?;
        let scalar = |column: &str, row| batch.column_by_name(column).map_or(Scalar::Null, |column| scalar_at(column, row));
        let is_since = |row: &usize| Timestamp::parse(&scalar("_at", *row).to_string()).is_some_and(|arrived| arrived >= canary.since);
        let new: Vec<usize> = (0..batch.num_rows()).filter(is_since).collect();
        if new.is_empty() {
            break;
        }
        for row in new {
            let number = |column: &str| scalar(column, row).as_f64();
            let own = number("canary") == Some(canary.version.0 as f64) && number("canary_weight") == Some(f64::from(canary.weight));
            if own {
                let failed = number("canary_failed") == Some(1.0);
                let ids = if failed { &mut found.failed } else { &mut found.answered };
                ids.add(scalar("_id", row).to_string());
            }
        }
    }
    Ok(found)
}

fn place(
    given: &mut [Option<Given>],
    rows: &[u32],
    predicted: Predicted,
    version: VersionNumber,
    role: &'static str,
    latency: Duration,
    canary: Option<Part>,
) {
    for (row, (value, outputs)) in rows.iter().zip(predicted.into_rows()) {
        given[*row as usize] = Some(Given { value, outputs, version, role, latency_us: latency.as_micros() as i64, canary });
    }
}

/// Some rows of a batch.
fn chosen(input: &Input, rows: &[u32]) -> Result<Input, PredictError> {
    if rows.len() == input.columns.num_rows() {
        return Ok(input.clone());
    }
    let rows = UInt32Array::from(rows.to_vec());
    let taken = arrow::compute::take_record_batch(&input.columns, &rows);
    let taken = taken.map(|columns| Input { columns, ..input.clone() });
    taken.map_err(|error| PredictError::Unavailable(Fault::because("splitting rows", error).to_string()))
}

/// Of ten thousand: FNV-1a of the text, mixed once more so that near texts fall apart.
fn bucket(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed ^ (mixed >> 33)) % 10_000
}

#[cfg(test)]
mod tests {
    use super::bucket;

    #[test]
    fn buckets_are_even_and_stay() {
        let within = |weight: u64| (0..20_000).filter(|n| bucket(&format!("demand/2/city_id=c{n}")) < weight * 100).count();
        for weight in [5, 25, 50] {
            let share = within(weight) as f64 / 20_000.0;
            assert!((share - weight as f64 / 100.0).abs() < 0.01, "{weight} %: {share}");
        }
        assert_eq!(bucket("demand/2/city_id=dc"), bucket("demand/2/city_id=dc"));
        // Another version has other first entities.
        let both = (0..20_000).filter(|n| bucket(&format!("m/2/{n}")) < 500 && bucket(&format!("m/3/{n}")) < 500).count();
        assert!(both < 100, "{both}");
    }
}
