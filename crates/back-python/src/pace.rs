//! How fast a worker answers and comes back: what a request is told that comes too early.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Weight of the newest answer in the mean of them.
const NEWEST: f64 = 0.25;
/// How long a worker is thought to take to come back, until it has done so once.
const FIRST_START: Duration = Duration::from_secs(3);

/// What was seen of one model's workers.
#[derive(Default)]
pub(crate) struct Pace(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// Mean of an answer, the newest counting most (exponential smoothing).
    answer: Option<Duration>,
    /// How long the last start took.
    start: Option<Duration>,
    down_since: Option<Instant>,
}

impl Pace {
    pub(crate) fn answered(&self, took: Duration) {
        let mut seen = self.0.lock();
        seen.answer = Some(seen.answer.map_or(took, |mean| mean.mul_f64(1.0 - NEWEST) + took.mul_f64(NEWEST)));
    }

    /// How long a request that comes behind so many others will wait; nothing is known before the first answer, or when none is ahead.
    pub(crate) fn wait(&self, ahead: usize) -> Option<Duration> {
        self.0.lock().answer.filter(|_| ahead > 0).map(|mean| mean.mul_f64(ahead as f64))
    }

    pub(crate) fn went_down(&self, now: Instant) {
        self.0.lock().down_since = Some(now);
    }

    pub(crate) fn came_back(&self, now: Instant) {
        let mut seen = self.0.lock();
        seen.start = seen.down_since.take().map(|since| now.saturating_duration_since(since)).or(seen.start);
    }

    /// When one that is down will be back; one that is late already, in as long again as it is late.
    pub(crate) fn back_in(&self, now: Instant) -> Option<Duration> {
        let seen = self.0.lock();
        let down = now.saturating_duration_since(seen.down_since?);
        let start = seen.start.unwrap_or(FIRST_START);
        Some(start.checked_sub(down).unwrap_or_else(|| down - start))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn waits_are_the_queue_times_the_mean() {
        let pace = Pace::default();
        assert_eq!(pace.wait(9), None, "nothing was answered yet");
        pace.answered(Duration::from_millis(100));
        assert_eq!(pace.wait(0), None);
        assert_eq!(pace.wait(9), Some(Duration::from_millis(900)));
        pace.answered(Duration::from_millis(500));
        assert_eq!(pace.wait(2), Some(Duration::from_millis(400)), "the mean moves a quarter of the way");
    }

    #[test]
    fn a_worker_is_back_after_as_long_as_the_last_time() {
        let (pace, at) = (Pace::default(), Instant::now());
        let after = |ms: u64| at + Duration::from_millis(ms);
        assert_eq!(pace.back_in(at), None);
        pace.went_down(at);
        assert_eq!(pace.back_in(after(1000)), Some(Duration::from_secs(2)), "three seconds, the first time");
        pace.came_back(after(500));
        assert_eq!(pace.back_in(after(600)), None);
        pace.went_down(after(1000));
        assert_eq!(pace.back_in(after(1100)), Some(Duration::from_millis(400)));
        assert_eq!(pace.back_in(after(1900)), Some(Duration::from_millis(400)), "late by as much");
    }
}
