//! Webhooks of the registry.

use super::page::limit;
use crate::caller::Caller;
use crate::convert::some;
use crate::error::ApiError;
use crate::message::{Done, Message, Reply, done, required};
use crate::{MlflowApi, dto, message::Int, names};
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Refusal;
use domain::entity::{Webhook, WebhookEvent};
use ports::refusals::bad_token;
use ports::{Posted, Poster};
use std::cmp::Reverse;
use std::sync::Arc;
use tracking::webhooks::{self, NewWebhook, WebhookChange};

pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/webhooks", get(list).post(create))
        .route("/webhooks/{id}", get(one).patch(update).delete(delete))
        .route("/webhooks/{id}/test", post(test))
}

fn answer(webhook: Webhook) -> Reply<dto::OneWebhook> {
    Ok(Json(dto::OneWebhook { webhook: webhook.into() }))
}

fn events(given: Vec<dto::WebhookEvent>) -> Result<Vec<WebhookEvent>, Refusal> {
    given.into_iter().map(event).collect()
}

fn event(given: dto::WebhookEvent) -> Result<WebhookEvent, Refusal> {
    webhooks::event(&required(given.entity, "events.entity")?, &required(given.action, "events.action")?)
}

fn is_active(word: &str) -> Result<bool, Refusal> {
    match word {
        "ACTIVE" | "1" => Ok(true),
        "DISABLED" | "2" => Ok(false),
        _ => Err(Refusal::invalid("webhook/status", format!("`{word}` is not a status")).hint("use ACTIVE or DISABLED")),
    }
}

async fn create(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::Webhook>) -> Reply<dto::OneWebhook> {
    let new = NewWebhook {
        id: names::uuid(),
        name: required(m.name, "name")?,
        description: some(m.description),
        url: required(m.url, "url")?,
        events: events(m.events)?,
        secret: m.secret,
        is_active: some(m.status).map_or(Ok(true), |word| is_active(&word))?,
    };
    answer(api.decide(&caller, |_, actor, now| webhooks::create(new.clone(), actor, now)).await?)
}

/// Newest first; a token is the place of the last one.
async fn list(State(api): State<MlflowApi>, Message(m): Message<dto::PageQuery>) -> Reply<dto::Webhooks> {
    let limit = limit(m.max_results.filter(|asked| asked.0 != 0), 100, 1000)?;
    let after = some(m.page_token).map(|token| place(&token)).transpose()?;
    let mut all = api.world()?.list::<Webhook>()?;
    all.sort_by_key(|webhook| (Reverse(webhook.created), webhook.id.clone()));
    if let Some((created, id)) = after {
        all.retain(|webhook| (Reverse(webhook.created.ms()), &webhook.id) > (Reverse(created), &id));
    }
    let is_more = all.len() > limit;
    all.truncate(limit);
    let token = |last: &Webhook| URL_SAFE_NO_PAD.encode(format!("{}:{}", last.created.ms(), last.id));
    let next_page_token = all.last().filter(|_| is_more).map(token);
    Ok(Json(dto::Webhooks { webhooks: all.into_iter().map(Into::into).collect(), next_page_token }))
}

fn place(token: &str) -> Result<(i64, String), Refusal> {
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.as_deref().and_then(|text| text.split_once(':')).and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
    place.ok_or_else(|| bad_token(token))
}

async fn one(State(api): State<MlflowApi>, Path(id): Path<String>) -> Reply<dto::OneWebhook> {
    answer(webhooks::find(&api.world()?, &id)?)
}

async fn update(
    State(api): State<MlflowApi>,
    caller: Caller,
    Path(id): Path<String>,
    Message(m): Message<dto::Webhook>,
) -> Reply<dto::OneWebhook> {
    let change = WebhookChange {
        name: some(m.name),
        description: m.description,
        url: some(m.url),
        events: (!m.events.is_empty()).then(|| events(m.events)).transpose()?,
        secret: m.secret,
        is_active: some(m.status).map(|word| is_active(&word)).transpose()?,
    };
    answer(api.decide(&caller, |world, actor, now| webhooks::update(world, &id, change.clone(), actor, now)).await?)
}

async fn delete(State(api): State<MlflowApi>, caller: Caller, Path(id): Path<String>) -> Reply<Done> {
    api.decide(&caller, |world, actor, now| webhooks::delete(world, &id, actor, now)).await?;
    done()
}

/// Sends an example at once, and tells how it went.
async fn test(
    State(api): State<MlflowApi>,
    poster: Option<Extension<Arc<dyn Poster>>>,
    Path(id): Path<String>,
    Message(m): Message<dto::TestWebhook>,
) -> Reply<dto::WebhookTested> {
    let webhook = webhooks::find(&api.world()?, &id)?;
    let asked = m.event.map(event).transpose()?;
    let Some(event) = asked.or_else(|| webhook.events.first().cloned()) else {
        return Err(Refusal::invalid("webhook/events", "the webhook wants no event").into());
    };
    let Some(Extension(poster)) = poster else { return Err(ApiError::NotImplemented("this server sends no webhooks")) };
    let posted = poster.post(&webhooks::example(&webhook, &event, &names::uuid(), api.clock.wall_now())).await;
    let result = match posted {
        Posted::Answered { status, body } => dto::WebhookTestResult {
            success: Some(status < 400),
            response_status: Some(Int(status.into())),
            response_body: Some(body),
            error_message: None,
        },
        Posted::Unreachable(why) | Posted::Refused(why) => {
            dto::WebhookTestResult { success: Some(false), error_message: Some(why), ..Default::default() }
        }
    };
    Ok(Json(dto::WebhookTested { result }))
}
