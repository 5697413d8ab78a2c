//! The replay: every instant of the year in order, each drained before the next.

use super::data::{CITY, Hour, midnight};
use crate::app::Server;
use crate::cli::client::Client;
use crate::clock::ReplayClock;
use anyhow::Context;
use domain::{Span, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;

/// What happens at one instant, in this order: labels that arrive, drain, pushes, predictions, drain.
#[derive(Default)]
struct Instant<'a> {
    labels: Vec<&'a Hour>,
    hour: Option<&'a Hour>,
    first_of_day: bool,
}

/// Plays the hours from `from` on; labels arrive `delay` later, the last ones too.
pub async fn play(
    server: &Server,
    client: &Client,
    clock: &ReplayClock,
    hours: &[Hour],
    from: Timestamp,
    delay: Span,
    mut told: impl FnMut(Timestamp),
) -> anyhow::Result<()> {
    for (at, instant) in instants(hours, from, delay) {
        clock.advance_to(at);
        if !instant.labels.is_empty() {
            send_labels(client, &instant.labels).await?;
            server.app.reactor.drained().await;
        }
        if let Some(hour) = instant.hour {
            push(client, hour, instant.first_of_day).await?;
            predict(client, hour).await?;
        }
        server.app.reactor.drained().await;
        told(at);
    }
    Ok(())
}

fn instants(hours: &[Hour], from: Timestamp, delay: Span) -> BTreeMap<Timestamp, Instant<'_>> {
    let mut instants: BTreeMap<Timestamp, Instant> = BTreeMap::new();
    let mut last_day = None;
    for hour in hours.iter().filter(|hour| hour.at >= from) {
        let instant = instants.entry(hour.at).or_default();
        instant.hour = Some(hour);
        instant.first_of_day = last_day.replace(hour.at.day()) != Some(hour.at.day());
        instants.entry(hour.at + delay).or_default().labels.push(hour);
    }
    instants
}

async fn send_labels(client: &Client, hours: &[&Hour]) -> anyhow::Result<()> {
    let labels: Vec<_> = hours.iter().map(|hour| json!({ "entity": { "city_id": CITY }, "ts": hour.at, "label": hour.bikers })).collect();
    client.post("/api/v1/labels/demand", &json!({ "labels": labels })).await.context("sending labels").map(|_| ())
}

async fn push(client: &Client, hour: &Hour, first_of_day: bool) -> anyhow::Result<()> {
    if first_of_day {
        let day = json!({ "city_id": CITY, "day": midnight(hour.at), "workingday": hour.workingday, "holiday": hour.holiday });
        client.post("/api/v1/push/days", &json!({ "rows": [day] })).await.context("pushing a day")?;
    }
    let weather = json!({
        "city_id": CITY, "observed_at": hour.at, "received_at": hour.at, "weather_code": hour.weather_code,
        "temp": hour.temp, "hum": hour.hum, "windspeed": hour.windspeed,
    });
    client.post("/api/v1/push/weather", &json!({ "rows": [weather] })).await.context("pushing the weather").map(|_| ())
}

async fn predict(client: &Client, hour: &Hour) -> anyhow::Result<()> {
    let id = format!("demand-{}", hour.at);
    let request = json!({ "dataframe_records": [{ "city_id": CITY, "ts": hour.at, "prediction_id": id }] });
    client.post("/serve/demand/invocations", &request).await.context("predicting").map(|_| ())
}
