//! The two ways in which something does not work: a [`Refusal`] is the caller's to mend, a [`Fault`] the operator's.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of answer a refusal is. The HTTP status and the exit code of every refusal follow from it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The input is wrong.
    Invalid,
    /// The thing is not there.
    NotFound,
    /// The thing is there already.
    Exists,
    /// Somebody else changed it, or its state does not allow this.
    Conflict,
    /// The caller could not show who it is.
    Unauthorized,
    /// A gate or a protection says no.
    Forbidden,
    /// A queue is full; try again later.
    Busy,
    /// A part that the answer needs is down for now.
    Unavailable,
    /// It took longer than the caller allowed.
    Timeout,
    /// The body is larger than allowed.
    TooLarge,
}

impl Kind {
    /// The HTTP status of this kind.
    pub fn http_status(self) -> u16 {
        match self {
            Kind::Invalid => 400,
            Kind::Unauthorized => 401,
            Kind::Forbidden => 403,
            Kind::NotFound => 404,
            Kind::Exists | Kind::Conflict => 409,
            Kind::TooLarge => 413,
            Kind::Busy => 429,
            Kind::Unavailable => 503,
            Kind::Timeout => 504,
        }
    }

    /// The exit code of a command that ends with this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Invalid | Kind::TooLarge => 2,
            Kind::NotFound => 3,
            Kind::Unauthorized | Kind::Forbidden => 4,
            Kind::Exists | Kind::Conflict => 6,
            Kind::Busy | Kind::Unavailable => 7,
            Kind::Timeout => 8,
        }
    }
}

/// A "no" that the caller can act on: a stable code, what is wrong, where, and the next step.
///
/// ```
/// use domain::Refusal;
/// let refusal = Refusal::not_found("model/not_found", "no model `demand`").hint("trimtab status");
/// assert_eq!(refusal.kind.http_status(), 404);
/// assert_eq!(refusal.to_string(), "no model `demand` (trimtab status)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub kind: Kind,
    /// Stable, `noun/problem`.
    pub code: String,
    /// The thing and what is wrong with it: lower case, no full stop.
    pub what: String,
    /// The next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// File and line, or the path inside the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// When it is worth another try, in whole seconds from now; only where something is known of it.
    #[serde(skip)]
    pub retry_after_s: Option<u32>,
}

impl Refusal {
    /// A refusal of the given kind.
    pub fn new(kind: Kind, code: &str, what: impl Into<String>) -> Self {
        Refusal { kind, code: code.into(), what: what.into(), hint: None, place: None, retry_after_s: None }
    }

    /// The input is wrong.
    pub fn invalid(code: &str, what: impl Into<String>) -> Self {
        Refusal::new(Kind::Invalid, code, what)
    }

    /// The thing is not there.
    pub fn not_found(code: &str, what: impl Into<String>) -> Self {
        Refusal::new(Kind::NotFound, code, what)
    }

    /// The state does not allow it.
    pub fn conflict(code: &str, what: impl Into<String>) -> Self {
        Refusal::new(Kind::Conflict, code, what)
    }

    /// Adds the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds when to try again: rounded up, and never at once.
    pub fn retry_after(mut self, wait: std::time::Duration) -> Self {
        self.retry_after_s = Some(u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1));
        self
    }

    /// Adds the place.
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(place) = &self.place {
            write!(f, " at {place}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// Something broke that no caller can mend: a disk, a bug, a lost process. Logged once at the edge, never shown.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// What was being done, and the error underneath.
    #[error("{what}: {source}")]
    Because {
        what: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was being done, and what was found instead.
    #[error("{0}")]
    Broken(String),
    /// The disk or a quota is full: nothing was written, and writing can go on once there is room.
    #[error("no space left: {0}")]
    Full(String),
}

impl Fault {
    /// A fault with the error that caused it.
    pub fn because(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Fault::Because { what: what.into(), source: source.into() }
    }

    /// A fault that has no other error underneath.
    pub fn broken(what: impl Into<String>) -> Self {
        Fault::Broken(what.into())
    }
}
