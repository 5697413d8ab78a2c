//! Time is a port.

use domain::Timestamp;

/// Two clocks. Windows, cool-down, weekly cap and `until` use the event clock; time-outs, back-off and durations the wall
/// clock. Live, the two run together; a replay drives the event clock itself.
pub trait Clock: Send + Sync {
    /// Now, for what is decided.
    fn event_now(&self) -> Timestamp;
    /// Now, for what is waited for.
    fn wall_now(&self) -> Timestamp;
}
