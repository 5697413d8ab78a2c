//! Webhooks of the registry: who wants to hear of what, and what is on its way to them.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that happens in the registry, such as `model_version` `created`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEvent {
    pub entity: String,
    pub action: String,
}

/// A receiver of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub url: String,
    pub events: Vec<WebhookEvent>,
    /// What deliveries are signed with; it is never told again.
    pub secret: Option<String>,
    pub is_active: bool,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Deliveries that were given up.
    pub failed: u64,
    pub last_error: Option<String>,
}

/// One message to one receiver; it is there until it is delivered or given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebhookDelivery {
    /// The same in every attempt, so that a receiver can tell a repetition.
    pub id: String,
    pub webhook: String,
    /// The JSON body.
    pub body: String,
    pub created: Timestamp,
    pub attempts: u32,
    /// Wall clock.
    pub next_try: Option<Timestamp>,
}
