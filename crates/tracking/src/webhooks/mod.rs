//! Webhooks: who hears of what happens in the registry.
//!
//! A delivery is written in the same commit as what it tells of, so that nothing is told that did not happen and nothing
//! that happened is forgotten; [`work`] sends it, at least once, with an id that stays the same. Bodies and signatures are
//! MLflow's: `X-MLflow-Signature: v1,BASE64(HMAC-SHA256(secret, "ID.SECONDS.BODY"))`.

pub mod work;

use crate::Decision;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::entity::{RegisteredModel, Webhook, WebhookDelivery, WebhookEvent};
use domain::{Actor, Batch, Digest, Fault, Refusal, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use ports::{CommitError, Post, World, is_public};
use serde_json::{Value, json};
use sha2::Sha256;
use std::net::IpAddr;

/// What can be heard of, with an example of its data.
pub const EVENTS: [(&str, &str); 14] = [
    ("registered_model", "created"),
    ("model_version", "created"),
    ("model_version_tag", "set"),
    ("model_version_tag", "deleted"),
    ("model_version_alias", "created"),
    ("model_version_alias", "deleted"),
    ("prompt", "created"),
    ("prompt_version", "created"),
    ("prompt_tag", "set"),
    ("prompt_tag", "deleted"),
    ("prompt_version_tag", "set"),
    ("prompt_version_tag", "deleted"),
    ("prompt_alias", "created"),
    ("prompt_alias", "deleted"),
];

/// What a client gives for a new webhook.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// Made at the edge.
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub url: String,
    pub events: Vec<WebhookEvent>,
    pub secret: Option<String>,
    pub is_active: bool,
}

/// What a client changes; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct WebhookChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub url: Option<String>,
    pub events: Option<Vec<WebhookEvent>>,
    /// Empty text takes the secret away.
    pub secret: Option<String>,
    pub is_active: Option<bool>,
}

/// Creates a webhook.
pub fn create(new: NewWebhook, actor: &Actor, now: Timestamp) -> Decision<Webhook> {
    check_name(&new.name)?;
    check_url(&new.url)?;
    let webhook = Webhook {
        id: new.id,
        name: new.name,
        description: new.description,
        url: new.url,
        events: checked(new.events)?,
        secret: new.secret.filter(|secret| !secret.is_empty()),
        is_active: new.is_active,
        created: now,
        updated: now,
        failed: 0,
        last_error: None,
    };
    Ok((Batch::new(actor.clone(), now).put(&webhook), webhook))
}

/// Changes a webhook.
pub fn update(world: &World, id: &str, change: WebhookChange, actor: &Actor, now: Timestamp) -> Decision<Webhook> {
    let mut webhook = find(world, id)?;
    if let Some(name) = change.name {
        check_name(&name)?;
        webhook.name = name;
    }
    if let Some(url) = change.url {
        check_url(&url)?;
        webhook.url = url;
    }
    if let Some(events) = change.events {
        webhook.events = checked(events)?;
    }
    webhook.description = change.description.or(webhook.description);
    if let Some(secret) = change.secret {
        webhook.secret = Some(secret).filter(|secret| !secret.is_empty());
    }
    webhook.is_active = change.is_active.unwrap_or(webhook.is_active);
    webhook.updated = now;
    Ok((Batch::new(actor.clone(), now).put(&webhook), webhook))
}

/// Deletes a webhook, and what is on its way to it.
pub fn delete(world: &World, id: &str, actor: &Actor, now: Timestamp) -> Decision<()> {
    find(world, id)?;
    let mut batch = Batch::new(actor.clone(), now);
    for delivery in world.list::<WebhookDelivery>()?.iter().filter(|delivery| delivery.webhook == id) {
        batch.delete::<WebhookDelivery>(&delivery.id);
    }
    batch.delete::<Webhook>(id);
    Ok((batch, ()))
}

/// A webhook that must be there.
pub fn find(world: &World, id: &str) -> Result<Webhook, CommitError> {
    let found = world.get::<Webhook>(id)?;
    found.ok_or_else(|| Refusal::not_found("webhook/not_found", format!("no webhook `{id}`")).into())
}

/// An event of the list.
pub fn event(entity: &str, action: &str) -> Result<WebhookEvent, Refusal> {
    let (entity, action) = (entity.to_ascii_lowercase(), action.to_ascii_lowercase());
    if EVENTS.contains(&(&entity, &action)) {
        return Ok(WebhookEvent { entity, action });
    }
    let all = EVENTS.map(|(entity, action)| format!("{entity}.{action}")).join(", ");
    Err(Refusal::invalid("webhook/event", format!("`{entity}.{action}` is no event")).hint(format!("use one of {all}")))
}

fn checked(events: Vec<WebhookEvent>) -> Result<Vec<WebhookEvent>, Refusal> {
    if events.is_empty() {
        return Err(Refusal::invalid("webhook/events", "a webhook must want some events").hint("give events"));
    }
    Ok(events)
}

/// A letter or digit at both ends, between them also `.`, `_` and `-`; at most 63 characters.
fn check_name(name: &str) -> Result<(), Refusal> {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let all = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if all && name.len() <= 63 && is_end(name.chars().next()) && is_end(name.chars().last()) {
        return Ok(());
    }
    let hint = "use at most 63 letters, digits, `.`, `_` and `-`, with a letter or digit at both ends";
    Err(Refusal::invalid("webhook/name", format!("`{name}` cannot name a webhook")).hint(hint))
}

/// `https://` and a host that is not of a private network, as far as its name tells; the sender looks at the address.
fn check_url(url: &str) -> Result<(), Refusal> {
    let hint = "give https://HOST/PATH with a public host";
    let refused = || Refusal::invalid("webhook/url", "the address is none that webhooks may go to").hint(hint);
    let rest = url.trim().strip_prefix("https://").ok_or_else(refused)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_named = !host.is_empty() && !host.eq_ignore_ascii_case("localhost") && !host.to_ascii_lowercase().ends_with(".localhost");
    let is_numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    let is_good = match host.parse::<IpAddr>() {
        Ok(address) => is_public(address),
        Err(_) => !is_numeric && !url.chars().any(|c| c.is_whitespace() || c.is_control()),
    };
    (is_named && is_good).then_some(()).ok_or_else(refused)
}

/// What the registry calls a thing, and what it calls the same of a prompt.
#[derive(Clone, Copy)]
pub(crate) enum Told {
    Model,
    Version,
    ModelTag,
    VersionTag,
    Alias,
}

impl Told {
    /// Models have no events for their tags.
    fn entity(self, is_prompt: bool) -> Option<&'static str> {
        match (self, is_prompt) {
            (Told::Model, false) => Some("registered_model"),
            (Told::Model, true) => Some("prompt"),
            (Told::Version, false) => Some("model_version"),
            (Told::Version, true) => Some("prompt_version"),
            (Told::ModelTag, false) => None,
            (Told::ModelTag, true) => Some("prompt_tag"),
            (Told::VersionTag, false) => Some("model_version_tag"),
            (Told::VersionTag, true) => Some("prompt_version_tag"),
            (Told::Alias, false) => Some("model_version_alias"),
            (Told::Alias, true) => Some("prompt_alias"),
        }
    }
}

/// Adds a delivery to each active webhook that wants to hear of it.
pub(crate) fn tell(world: &World, batch: &mut Batch, model: &RegisteredModel, what: Told, action: &str, data: &Value) -> Result<(), Fault> {
    let Some(entity) = what.entity(crate::registry::is_prompt(&model.tags)) else { return Ok(()) };
    let event = WebhookEvent { entity: entity.into(), action: action.into() };
    for webhook in world.list::<Webhook>()?.iter().filter(|webhook| webhook.is_active && webhook.events.contains(&event)) {
        let body = body(&event, data, batch.at);
        let id = Digest::of_parts([webhook.id.as_bytes(), body.as_bytes()]).as_str()[..32].to_owned();
        batch.write(&WebhookDelivery { id, webhook: webhook.id.clone(), body, created: batch.at, attempts: 0, next_try: None });
    }
    Ok(())
}

fn body(event: &WebhookEvent, data: &Value, at: Timestamp) -> String {
    json!({"entity": event.entity, "action": event.action, "timestamp": at.to_string(), "data": data}).to_string()
}

/// What a test call sends: an example of the event.
pub fn example(webhook: &Webhook, event: &WebhookEvent, id: &str, now: Timestamp) -> Post {
    let noun = if event.entity.starts_with("prompt") { "example_prompt" } else { "example_model" };
    let data = match (event.entity.trim_start_matches("prompt_").trim_start_matches("model_version_"), event.action.as_str()) {
        ("tag", "set") => json!({"name": noun, "version": "1", "key": "example_key", "value": "example_value"}),
        ("tag", _) => json!({"name": noun, "version": "1", "key": "example_key"}),
        ("alias", "created") => json!({"name": noun, "alias": "example_alias", "version": "1"}),
        ("alias", _) => json!({"name": noun, "alias": "example_alias"}),
        ("version" | "model_version", _) => {
            json!({"name": noun, "version": "1", "tags": {"example_key": "example_value"}, "description": "An example version"})
        }
        _ => json!({"name": noun, "tags": {"example_key": "example_value"}, "description": "An example"}),
    };
    post(webhook, id, &body(event, &data, now), now)
}

/// A message with MLflow's headers, signed at `now` (wall clock).
fn post(webhook: &Webhook, id: &str, body: &str, now: Timestamp) -> Post {
    let seconds = now.ms().div_euclid(1000).to_string();
    let mut headers = vec![
        ("Content-Type".to_owned(), "application/json".to_owned()),
        ("X-MLflow-Delivery-Id".to_owned(), id.to_owned()),
        ("X-MLflow-Timestamp".to_owned(), seconds.clone()),
    ];
    if let Some(secret) = &webhook.secret {
        headers.push(("X-MLflow-Signature".to_owned(), signature(secret, id, &seconds, body)));
    }
    Post { url: webhook.url.clone(), headers, body: body.to_owned() }
}

fn signature(secret: &str, id: &str, seconds: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests;
