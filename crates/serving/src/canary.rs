//! A version that answers a part of the entities: who gets it, and what was seen of it.
//!
//! The same entity always gets the same answerer, and one that has the canary at 5 % has it at 25 % too. A request that the
//! canary fails is answered by the champion, so that nobody sees the failure but the counters.

use crate::shadow::Sinks;
use arrow::array::UInt32Array;
use arrow::record_batch::RecordBatch;
use domain::entity::{Canary, CanarySeen, Deployment};
use domain::{Actor, Batch, Event, Fault, ModelName, Row, Scalar, Timestamp, VersionNumber};
use parking_lot::Mutex;
use ports::{CommitError, ModelHandle, PredictError, decide};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Newest latencies and scores of each side that are kept to compare.
const KEPT: usize = 1000;
/// Fewer latencies of a side than this have no median worth a ratio.
const MIN_LATENCIES: usize = 50;
/// Fewer scores of a side than this fill no bins.
const MIN_SCORES: usize = 200;
/// Bins of the scores.
const BINS: usize = 10;
/// A canary is first told of after so many answers, then after twice as many, and so on.
const FIRST: u64 = 50;

/// One answered row, and who answered it.
pub(crate) struct Given {
    pub(crate) value: Scalar,
    pub(crate) version: VersionNumber,
    pub(crate) role: &'static str,
    pub(crate) latency_us: i64,
}

/// The canary of a route at one weight.
pub(crate) struct CanaryLane {
    pub(crate) version: VersionNumber,
    model: ModelName,
    weight: u8,
    since: Timestamp,
    min_requests: u64,
    hold: domain::Span,
    handle: Arc<dyn ModelHandle>,
    sinks: Sinks,
    seen: Mutex<Seen>,
    /// The log was told that the step has seen enough.
    told_all: AtomicBool,
}

#[derive(Default)]
struct Seen {
    answered: u64,
    failed: u64,
    champion_answered: u64,
    canary: Newest,
    champion: Newest,
    next_answered: u64,
    next_failed: u64,
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
            answered: self.answered,
            failed: self.failed,
            champion_answered: self.champion_answered,
            latency_ratio: self.latency_ratio(),
            score_psi: self.score_psi(),
            labels: None,
        }
    }
}

impl CanaryLane {
    /// A lane that goes on from what the log knows of this step.
    pub(crate) fn new(model: &ModelName, canary: &Canary, handle: Arc<dyn ModelHandle>, sinks: Sinks) -> Arc<CanaryLane> {
        let CanarySeen { answered, failed, champion_answered, .. } = canary.seen;
        let seen = Seen { answered, failed, champion_answered, next_answered: FIRST, next_failed: failed + 1, ..Seen::default() };
        Arc::new(CanaryLane {
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
            told_all: AtomicBool::new(canary.paused.is_some()),
        })
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

    /// Answers every row by the side that its entity gets.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        features: &RecordBatch,
        rows: &[Row],
        deadline: Duration,
        champion: (VersionNumber, &Arc<dyn ModelHandle>),
    ) -> Result<Vec<Given>, PredictError> {
        let (own, left): (Vec<u32>, Vec<u32>) = (0..rows.len() as u32).partition(|row| self.takes(&rows[*row as usize]));
        let mut given: Vec<Option<Given>> = rows.iter().map(|_| None).collect();
        if !own.is_empty() {
            let began = Instant::now();
            match self.handle.predict(&chosen(features, &own)?, deadline).await {
                Ok(values) if values.len() == own.len() => {
                    let latency = began.elapsed();
                    self.seen.lock().canary.add(latency.as_secs_f64(), values.iter().map(Scalar::as_f64));
                    self.seen.lock().answered += own.len() as u64;
                    place(&mut given, &own, values, self.version, "canary", latency);
                }
                answer => {
                    tracing::warn!(model = %self.model, version = %self.version, error = ?answer.err(), "the canary did not answer; the champion does");
                    let champion_answers = self.by_champion(features, &own, deadline, champion, &mut given).await;
                    // What the champion cannot answer either is the caller's mistake, not the canary's.
                    champion_answers?;
                    self.seen.lock().failed += own.len() as u64;
                }
            }
        }
        if !left.is_empty() {
            self.by_champion(features, &left, deadline, champion, &mut given).await?;
        }
        self.tell_if_due();
        given.into_iter().map(|given| given.ok_or_else(|| PredictError::Unavailable("a row was left unanswered".into()))).collect()
    }

    async fn by_champion(
        &self,
        features: &RecordBatch,
        rows: &[u32],
        deadline: Duration,
        (version, handle): (VersionNumber, &Arc<dyn ModelHandle>),
        given: &mut [Option<Given>],
    ) -> Result<(), PredictError> {
        let began = Instant::now();
        let values = handle.predict(&chosen(features, rows)?, deadline).await?;
        let latency = began.elapsed();
        let mut seen = self.seen.lock();
        seen.champion.add(latency.as_secs_f64(), values.iter().map(Scalar::as_f64));
        seen.champion_answered += rows.len() as u64;
        place(given, rows, values, version, "champion", latency);
        Ok(())
    }

    /// Tells the log when there is something to judge: at every one of the first failures, then ever more seldom; after ever
    /// more answers; and when the step has seen enough.
    fn tell_if_due(self: &Arc<Self>) {
        let mut seen = self.seen.lock();
        let long_enough = self.sinks.clock.event_now() - self.since >= self.hold;
        let all = seen.answered >= self.min_requests && long_enough && !self.told_all.load(Ordering::SeqCst);
        if !(all || seen.failed >= seen.next_failed || seen.answered >= seen.next_answered) {
            return;
        }
        seen.next_failed = seen.failed + 1 + seen.failed / 4;
        while seen.next_answered <= seen.answered {
            seen.next_answered *= 2;
        }
        if all {
            self.told_all.store(true, Ordering::SeqCst);
        }
        let known = seen.known();
        drop(seen);
        let (lane, busy) = (self.clone(), self.sinks.activity.begin());
        tokio::spawn(async move {
            if let Err(error) = lane.tell(known).await {
                tracing::error!(model = %lane.model, %error, "what a canary did could not be told; the next answers try again");
                lane.told_all.store(false, Ordering::SeqCst);
            }
            drop(busy);
        });
    }

    /// State and event in one commit. Counts never go back, and what is not known now may have been known before.
    async fn tell(&self, known: CanarySeen) -> Result<(), CommitError> {
        let now = self.sinks.clock.event_now();
        decide(&*self.sinks.store, |world| {
            let mut batch = Batch::new(Actor::System("serving.canary".into()), now);
            let Some(mut deployment) = world.get::<Deployment>(self.model.as_str())? else { return Ok((batch, ())) };
            let Some(canary) = deployment.canary.as_mut().filter(|canary| self.fits(canary) && canary.paused.is_none()) else {
                return Ok((batch, ()));
            };
            let before = canary.seen.clone();
            if before.answered + before.failed > known.answered + known.failed {
                return Ok((batch, ()));
            }
            canary.seen = CanarySeen {
                latency_ratio: known.latency_ratio.or(before.latency_ratio),
                score_psi: known.score_psi.or(before.score_psi),
                labels: before.labels,
                ..known.clone()
            };
            batch.say(Event::CanaryServed {
                model: self.model.clone(),
                version: self.version,
                weight: self.weight,
                answered: known.answered,
                failed: known.failed,
                champion_answered: known.champion_answered,
                latency_ratio: canary.seen.latency_ratio,
                score_psi: canary.seen.score_psi,
            });
            batch.write(&deployment);
            Ok((batch, ()))
        })
        .await
    }

    /// Answered and failed requests of this step.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let seen = self.seen.lock();
        (seen.answered, seen.failed)
    }
}

fn place(given: &mut [Option<Given>], rows: &[u32], values: Vec<Scalar>, version: VersionNumber, role: &'static str, latency: Duration) {
    for (row, value) in rows.iter().zip(values) {
        given[*row as usize] = Some(Given { value, version, role, latency_us: latency.as_micros() as i64 });
    }
}

/// Some rows of a batch.
fn chosen(features: &RecordBatch, rows: &[u32]) -> Result<RecordBatch, PredictError> {
    if rows.len() == features.num_rows() {
        return Ok(features.clone());
    }
    let rows = UInt32Array::from(rows.to_vec());
    let taken = arrow::compute::take_record_batch(features, &rows);
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
