//! Sends what is on its way to webhooks.

use super::post;
use domain::entity::{Webhook, WebhookDelivery};
use domain::{Actor, Batch, Fault, Span, Timestamp};
use ports::{Clock, MetadataStore, Posted, Poster, World, decide};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often it looks for something to send.
const EVERY: Duration = Duration::from_secs(1);
/// The first wait after a failed attempt; it doubles each time.
const FIRST_WAIT_MS: i64 = 1_000;
/// The longest wait.
const LONGEST_WAIT_MS: i64 = 600_000;
/// Attempts before a delivery is given up: half an hour.
const ATTEMPTS: u32 = 12;
/// Deliveries under way at once.
const AT_ONCE: usize = 16;

/// Sends deliveries that are due, tries again those that nobody answered, and gives up in the end, which the webhook tells.
pub struct WebhookWorker {
    store: Arc<dyn MetadataStore>,
    poster: Arc<dyn Poster>,
    clock: Arc<dyn Clock>,
}

impl WebhookWorker {
    /// A worker on a store; run it in a task of its own.
    pub fn new(store: Arc<dyn MetadataStore>, poster: Arc<dyn Poster>, clock: Arc<dyn Clock>) -> Self {
        WebhookWorker { store, poster, clock }
    }

    /// Works until it is told to stop.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(fault) = self.send_due().await {
                tracing::error!(%fault, "sending webhooks");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One attempt at each delivery that is due; gives their number.
    pub async fn send_due(&self) -> Result<usize, Fault> {
        let now = self.clock.wall_now();
        let due: Vec<WebhookDelivery> = {
            let world = World::new(self.store.snapshot()?);
            let all = world.list::<WebhookDelivery>()?.into_iter();
            all.filter(|delivery| delivery.next_try.is_none_or(|next| next <= now)).take(AT_ONCE).collect()
        };
        let attempts = futures::future::join_all(due.iter().map(|delivery| self.attempt(delivery, now))).await;
        attempts.into_iter().collect::<Result<Vec<()>, Fault>>()?;
        Ok(due.len())
    }

    async fn attempt(&self, delivery: &WebhookDelivery, now: Timestamp) -> Result<(), Fault> {
        let webhook = World::new(self.store.snapshot()?).get::<Webhook>(&delivery.webhook)?;
        let failure = match webhook.filter(|webhook| webhook.is_active) {
            // Whoever does not want to hear any more hears nothing more.
            None => None,
            Some(webhook) => failure(self.poster.post(&post(&webhook, &delivery.id, &delivery.body, now)).await),
        };
        let actor = Actor::System("tracking.webhooks".into());
        let done = decide(&*self.store, |world| {
            let mut batch = Batch::new(actor.clone(), self.clock.event_now());
            // It may have been deleted with its webhook meanwhile.
            let Some(mut delivery) = world.get::<WebhookDelivery>(&delivery.id)? else { return Ok((batch, ())) };
            delivery.attempts += 1;
            match &failure {
                Some((why, is_final)) if *is_final || delivery.attempts >= ATTEMPTS => {
                    batch.delete::<WebhookDelivery>(&delivery.id);
                    if let Some(mut webhook) = world.get::<Webhook>(&delivery.webhook)? {
                        webhook.failed += 1;
                        webhook.last_error = Some(why.clone());
                        batch.write(&webhook);
                    }
                }
                Some(_) => {
                    let wait = FIRST_WAIT_MS.saturating_mul(1 << delivery.attempts.min(20)).min(LONGEST_WAIT_MS);
                    delivery.next_try = Some(now + Span::from_ms(wait));
                    batch.write(&delivery);
                }
                None => batch.delete::<WebhookDelivery>(&delivery.id),
            }
            Ok((batch, ()))
        });
        done.await.map_err(|e| Fault::because("keeping how a delivery went", e))
    }
}

/// Why it was not delivered, and whether trying again is of no use.
fn failure(posted: Posted) -> Option<(String, bool)> {
    match posted {
        Posted::Answered { status, .. } if (200..300).contains(&status) => None,
        Posted::Answered { status, .. } => {
            let again = matches!(status, 408 | 429 | 500..=599);
            Some((format!("the receiver answered {status}"), !again))
        }
        Posted::Unreachable(why) => Some((why, false)),
        Posted::Refused(why) => Some((why, true)),
    }
}
