//! What serving measured of itself in some time.

use stats::latency::Histogram;

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The caller's mistake: 4xx, and no error of the system.
    Refused,
    /// 429: the queue was too long.
    Busy,
    /// 503: no worker, no model.
    Unavailable,
    /// 504: the deadline passed.
    Timeout,
    /// 5xx: the server's own.
    Fault,
}

impl Failure {
    /// All, in the order of [`Behaviour::failures`].
    pub const ALL: [Failure; 5] = [Failure::Refused, Failure::Busy, Failure::Unavailable, Failure::Timeout, Failure::Fault];

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Failure::Refused => "refused",
            Failure::Busy => "busy",
            Failure::Unavailable => "unavailable",
            Failure::Timeout => "timeout",
            Failure::Fault => "fault",
        }
    }
}

/// Counts of some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behaviour {
    /// Answered or not.
    pub requests: u64,
    /// Rows answered.
    pub rows: u64,
    /// Requests without an answer, as [`Failure::ALL`] orders them.
    pub failures: [u64; 5],
    /// Feature values looked up or sent.
    pub values: u64,
    /// Those that were null.
    pub missing: u64,
    /// Workers that died and were started again.
    pub restarts: u64,
    /// Of the requests that were answered: from the request to its answer, features and log included.
    pub latency: Histogram,
}

impl Behaviour {
    /// Adds what another has counted.
    pub fn add(&mut self, other: &Behaviour) {
        self.requests += other.requests;
        self.rows += other.rows;
        self.failures.iter_mut().zip(other.failures).for_each(|(own, more)| *own += more);
        self.values += other.values;
        self.missing += other.missing;
        self.restarts += other.restarts;
        self.latency.add(&other.latency);
    }

    /// Requests that the system did not answer: all failures but the callers' own.
    pub fn errors(&self) -> u64 {
        self.failures.iter().sum::<u64>() - self.failures[Failure::Refused as usize]
    }

    /// Errors among all requests, 0 to 1; `None` without a request.
    pub fn error_rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors() as f64 / self.requests as f64)
    }

    /// Null values among all that were looked up or sent, 0 to 1; `None` without any.
    pub fn missing_rate(&self) -> Option<f64> {
        (self.values > 0).then(|| self.missing as f64 / self.values as f64)
    }
}
