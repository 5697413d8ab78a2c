//! How serving behaves: latencies, answers, refusals and faults, features that were missing, workers that died; since the start of this process
//! and by minute for the last three hours. The wall clock counts, because behaviour is the system's, not the data's.

use domain::{Timestamp, VersionNumber};
use parking_lot::Mutex;
use ports::{Behaviour, Failure};
use serde::Serialize;
use stats::latency::Histogram;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// Minutes that are kept.
pub const MINUTES: usize = 180;
/// Versions, in their roles, whose latencies are kept apart: those that answered last.
const LANES: usize = 12;
/// Features whose missing values are counted apart: a caller may send columns of any names to a model without a signature.
const NAMES: usize = 256;
/// Bytes of such a name.
const NAME_BYTES: usize = 128;
/// What the others are counted under.
const OTHER: &str = "(other)";

/// A version in one role.
#[derive(Clone, Debug)]
pub struct Lane {
    pub version: VersionNumber,
    pub role: &'static str,
    pub rows: u64,
    pub latency: Histogram,
}

/// A minute, from `at` on.
#[derive(Clone, Debug)]
pub struct Minute {
    pub at: Timestamp,
    pub seen: Behaviour,
}

/// All that is known of a model.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When it was looked at.
    pub now: Timestamp,
    pub total: Behaviour,
    pub lanes: Vec<Lane>,
    /// Of the last three hours before `now`, the oldest first; minutes without a request are left out.
    pub minutes: Vec<Minute>,
    /// Values that were null when they were looked up or sent, by feature; beyond 256 of them under `(other)`.
    pub missing: BTreeMap<String, u64>,
}

/// Workers of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerCount {
    pub ready: u32,
    pub starting: u32,
}

/// What a request came to.
pub(crate) struct Answered<'a> {
    pub(crate) took: Duration,
    pub(crate) rows: u64,
    /// Each version that answered, in its role, with its latency.
    pub(crate) by: &'a [(VersionNumber, &'static str, u64, Duration)],
}

/// One model's measure. A record is one short lock.
#[derive(Default)]
pub(crate) struct Meter(Mutex<State>);

#[derive(Default)]
struct State {
    total: Behaviour,
    /// Who answered last is at the back.
    lanes: VecDeque<Lane>,
    minutes: VecDeque<Minute>,
    missing: HashMap<String, u64>,
    crashes: HashMap<VersionNumber, u64>,
}

impl State {
    fn minute(&mut self, now: Timestamp) -> &mut Behaviour {
        let at = floor(now);
        // A clock that was set back goes on in the newest minute.
        if self.minutes.back().is_none_or(|last| last.at < at) {
            let oldest = oldest(now, MINUTES as i64);
            while self.minutes.front().is_some_and(|first| first.at < oldest) {
                self.minutes.pop_front();
            }
            self.minutes.push_back(Minute { at, seen: Behaviour::default() });
        }
        let last = self.minutes.len() - 1;
        &mut self.minutes[last].seen
    }

    fn both(&mut self, now: Timestamp, change: impl Fn(&mut Behaviour)) {
        change(&mut self.total);
        change(self.minute(now));
    }

    fn lane(&mut self, version: VersionNumber, role: &'static str) -> &mut Lane {
        let place = self.lanes.iter().position(|lane| lane.version == version && lane.role == role);
        let lane = place.and_then(|place| self.lanes.remove(place));
        if lane.is_none() && self.lanes.len() == LANES {
            self.lanes.pop_front();
        }
        self.lanes.push_back(lane.unwrap_or(Lane { version, role, rows: 0, latency: Histogram::default() }));
        let last = self.lanes.len() - 1;
        &mut self.lanes[last]
    }
}

const MINUTE_MS: i64 = 60_000;

fn floor(now: Timestamp) -> Timestamp {
    Timestamp::from_ms(now.ms().div_euclid(MINUTE_MS) * MINUTE_MS)
}

/// The first of the last so many minutes, the one that is not over included.
fn oldest(now: Timestamp, minutes: i64) -> Timestamp {
    Timestamp::from_ms(floor(now).ms() - (minutes - 1) * MINUTE_MS)
}

impl Meter {
    pub(crate) fn answered(&self, now: Timestamp, answered: &Answered) {
        let mut state = self.0.lock();
        state.both(now, |seen| {
            seen.requests += 1;
            seen.rows += answered.rows;
            seen.latency.record(us(answered.took));
        });
        for (version, role, rows, latency) in answered.by {
            let lane = state.lane(*version, role);
            lane.rows += rows;
            lane.latency.record(us(*latency));
        }
    }

    pub(crate) fn failed(&self, now: Timestamp, failure: Failure) {
        self.0.lock().both(now, |seen| {
            seen.requests += 1;
            seen.failures[failure as usize] += 1;
        });
    }

    /// A shadow is not part of any request.
    pub(crate) fn shadow(&self, version: VersionNumber, rows: u64, latency: Duration) {
        let mut state = self.0.lock();
        let lane = state.lane(version, "shadow");
        lane.rows += rows;
        lane.latency.record(us(latency));
    }

    /// `values` were looked up or sent; `missing` of them were null, by feature.
    pub(crate) fn features(&self, now: Timestamp, values: u64, missing: &[(&str, u64)]) {
        let mut state = self.0.lock();
        let count: u64 = missing.iter().map(|(_, count)| count).sum();
        state.both(now, |seen| {
            seen.values += values;
            seen.missing += count;
        });
        for (name, count) in missing {
            match state.missing.get_mut(*name) {
                Some(known) => *known += count,
                None => {
                    let has_room = state.missing.len() < NAMES && name.len() <= NAME_BYTES;
                    *state.missing.entry(if has_room { *name } else { OTHER }.to_owned()).or_default() += count;
                }
            }
        }
    }

    /// What a version's workers have died of so far, looked at now and then.
    pub(crate) fn crashes(&self, now: Timestamp, version: VersionNumber, crashes: u64) {
        let mut state = self.0.lock();
        let known = state.crashes.insert(version, crashes).unwrap_or(0);
        // A version that was loaded anew counts from 0.
        let more = if crashes >= known { crashes - known } else { crashes };
        if more > 0 {
            state.both(now, |seen| seen.restarts += more);
        }
    }

    pub(crate) fn total(&self) -> Behaviour {
        self.0.lock().total.clone()
    }

    pub(crate) fn seen(&self, now: Timestamp) -> Seen {
        let state = self.0.lock();
        let mut lanes: Vec<Lane> = state.lanes.iter().cloned().collect();
        lanes.sort_by_key(|lane| (lane.version, lane.role));
        let from = oldest(now, MINUTES as i64);
        Seen {
            now,
            total: state.total.clone(),
            lanes,
            minutes: state.minutes.iter().filter(|minute| minute.at >= from).cloned().collect(),
            missing: state.missing.iter().map(|(name, count)| (name.clone(), *count)).collect(),
        }
    }

    /// The last so many minutes, the one that is not over included.
    pub(crate) fn last(&self, now: Timestamp, minutes: u32) -> Behaviour {
        let from = oldest(now, i64::from(minutes.max(1)));
        let mut all = Behaviour::default();
        self.0.lock().minutes.iter().filter(|minute| minute.at >= from).for_each(|minute| all.add(&minute.seen));
        all
    }
}

fn us(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_ms(1_700_000_040_000 + minute * MINUTE_MS + 7)
    }

    fn answer(meter: &Meter, now: Timestamp, ms: u64) {
        let took = Duration::from_millis(ms);
        meter.answered(now, &Answered { took, rows: 2, by: &[(VersionNumber(3), "champion", 2, took)] });
    }

    #[test]
    fn minutes_are_kept_for_three_hours_and_totals_for_good() {
        let meter = Meter::default();
        (0..400).for_each(|minute| answer(&meter, at(minute), 10));
        let seen = meter.seen(at(399));
        assert_eq!((seen.minutes.len(), seen.total.requests, seen.total.rows), (MINUTES, 400, 800));
        assert_eq!(meter.last(at(399), 5).requests, 5);
        assert_eq!(meter.last(at(402), 5).requests, 2);
        assert_eq!(meter.last(at(999), 5).requests, 0);
        assert_eq!((seen.lanes[0].rows, seen.lanes[0].latency.count()), (800, 400));
        // They end now, not with the last request.
        let later = meter.seen(at(399 + 100));
        assert_eq!((later.minutes.len(), later.minutes[0].at, later.total.requests), (80, floor(at(320)), 400));
    }

    #[test]
    fn failures_missing_values_and_restarts_are_told_apart() {
        let meter = Meter::default();
        answer(&meter, at(0), 10);
        for failure in [Failure::Busy, Failure::Busy, Failure::Refused, Failure::Timeout] {
            meter.failed(at(0), failure);
        }
        meter.features(at(0), 10, &[("temp", 1), ("hum", 2)]);
        for crashes in [0, 2, 2, 1] {
            meter.crashes(at(1), VersionNumber(3), crashes);
        }
        let total = meter.seen(at(1)).total;
        // What the caller did wrong is no error of the system.
        assert_eq!((total.requests, total.errors(), total.restarts), (5, 3, 3));
        assert_eq!((total.error_rate(), total.missing_rate()), (Some(0.6), Some(0.3)));
        assert_eq!(meter.seen(at(1)).missing["hum"], 2);
        assert_eq!(meter.last(at(1), 1).restarts, 3);
    }

    #[test]
    fn a_clock_that_is_set_back_loses_nothing() {
        let meter = Meter::default();
        answer(&meter, at(5), 1);
        answer(&meter, at(2), 1);
        assert_eq!(meter.last(at(5), 1).requests, 2);
    }

    #[test]
    fn only_the_versions_that_answered_last_are_kept_apart() {
        let meter = Meter::default();
        (0..40).for_each(|version| meter.shadow(VersionNumber(version), 1, Duration::from_millis(1)));
        let lanes = meter.seen(at(0)).lanes;
        assert_eq!((lanes.len(), lanes[0].version), (LANES, VersionNumber(28)));
    }

    /// Lanes went in the order in which they came: the twelfth shadow pushed out the champion, which answered all the while.
    #[test]
    fn the_champion_that_goes_on_answering_is_kept() {
        let meter = Meter::default();
        for version in 10..40 {
            answer(&meter, at(0), 1);
            meter.shadow(VersionNumber(version), 1, Duration::from_millis(1));
        }
        let lanes = meter.seen(at(0)).lanes;
        assert_eq!((lanes.len(), lanes[0].role, lanes[0].rows), (LANES, "champion", 60));
    }

    /// A caller's own columns were kept by their names without end, in memory and among the metrics.
    #[test]
    fn names_that_callers_invent_are_bounded() {
        let meter = Meter::default();
        for n in 0..1000 {
            meter.features(at(0), 2, &[("temp", 1), (&format!("x{n}"), 1)]);
        }
        meter.features(at(0), 1, &[(&"long".repeat(100), 1)]);
        let missing = meter.seen(at(0)).missing;
        assert_eq!((missing.len(), missing["temp"], missing[OTHER]), (NAMES + 1, 1000, 746));
        assert_eq!(missing.values().sum::<u64>(), 2001, "none is lost");
    }
}
