//! Alerts on their way to people.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// One message to one target; it stays until it is delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// `TARGET/SEQ` of the causing event: sending it twice is seen by the receiver.
    pub id: String,
    /// `[notify.NAME]`.
    pub target: String,
    /// `incident`, `escalation`, `promotion`, `gate.fail`, `drift`, `pipeline.fail`.
    pub topic: String,
    pub title: String,
    /// The JSON body.
    pub body: String,
    pub created: Timestamp,
    pub attempts: u32,
    pub last_error: Option<String>,
    /// Wall clock.
    pub next_try: Option<Timestamp>,
    pub delivered: Option<Timestamp>,
}
