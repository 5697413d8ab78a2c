//! A clock that stands still until it is moved.

use crate::Clock;
use domain::Timestamp;
use parking_lot::Mutex;

/// Both clocks at one instant, moved by hand.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows `at`.
    pub fn new(at: Timestamp) -> Self {
        ManualClock(Mutex::new(at))
    }

    /// Moves the clock on; it never goes back.
    pub fn advance_to(&self, at: Timestamp) {
        let mut now = self.0.lock();
        *now = at.max(*now);
    }
}

impl Clock for ManualClock {
    fn event_now(&self) -> Timestamp {
        *self.0.lock()
    }

    fn wall_now(&self) -> Timestamp {
        *self.0.lock()
    }
}
