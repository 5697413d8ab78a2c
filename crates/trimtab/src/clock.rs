//! The two clocks: live, and of a replay.

use domain::Timestamp;
use parking_lot::Mutex;
use ports::Clock;

/// The machine's time. The only place below the command line that asks for it.
#[allow(clippy::disallowed_methods)]
pub fn wall_now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_ms(since.map_or(0, |since| since.as_millis() as i64))
}

/// Live: both clocks are the machine's.
pub struct SystemClock;

impl Clock for SystemClock {
    fn event_now(&self) -> Timestamp {
        wall_now()
    }

    fn wall_now(&self) -> Timestamp {
        wall_now()
    }
}

/// A replay drives the event clock; the wall clock goes on.
pub struct ReplayClock(Mutex<Timestamp>);

impl ReplayClock {
    /// A replay that begins at `at`.
    pub fn new(at: Timestamp) -> Self {
        ReplayClock(Mutex::new(at))
    }

    /// Moves event time on; never back.
    pub fn advance_to(&self, at: Timestamp) {
        let mut now = self.0.lock();
        *now = at.max(*now);
    }
}

impl Clock for ReplayClock {
    fn event_now(&self) -> Timestamp {
        *self.0.lock()
    }

    fn wall_now(&self) -> Timestamp {
        wall_now()
    }
}
