//! How much time is left for an answer.

use ports::PredictError;
use std::time::{Duration, Instant};

/// When a request must have its answer: one moment for features, canary, and the champion behind it.
#[derive(Clone, Copy)]
pub(crate) struct Until(pub(crate) Instant);

impl Until {
    /// What is left, or that nothing is.
    pub(crate) fn left(self) -> Result<Duration, PredictError> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(PredictError::Timeout) } else { Ok(left) }
    }
}
