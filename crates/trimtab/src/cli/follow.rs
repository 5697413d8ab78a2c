//! Waits for a pipeline run and says what its steps do.

use super::client::Client;
use super::progress::Progress;
use super::show;
use domain::Refusal;
use serde_json::Value;
use std::io::Write;
use std::time::{Duration, Instant};

/// How long the server is left in peace between two questions, at most.
const EVERY: Duration = Duration::from_millis(200);

/// At least: a run that is over at once is heard of at once, and each question waits so much longer than the one before it, up to a bound.
const LONGER: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(20);

/// Where the log ends now: what is followed begins there.
pub async fn head(client: &Client) -> anyhow::Result<u64> {
    let end = client.get(&format!("/api/v1/events?after={}&limit=1", i64::MAX)).await?;
    Ok(end.get("head").and_then(Value::as_u64).filter(|head| *head < i64::MAX as u64).unwrap_or(0))
}

/// Follows the run that was asked for to its end, from this place of the log on; exit code 1 if it failed.
pub async fn follow(client: &Client, asked: Value, mut from: u64, detach: bool, json: bool) -> anyhow::Result<u8> {
    let id = asked.get("id").or(asked.get("pipeline_run")).and_then(Value::as_str).unwrap_or_default().to_owned();
    if detach {
        show::print(&asked, json)?;
        return Ok(0);
    }
    if id.is_empty() {
        return Err(Refusal::invalid("server/answer", "the server named no pipeline run").into());
    }
    let began = Instant::now();
    let mut pause = Duration::ZERO;
    loop {
        let told = client.get(&format!("/api/v1/events?after={from}&limit=1000&wait=10s")).await?;
        let events = told.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let of_run = |event: &&Value| event.get("pipeline_run").and_then(Value::as_str) == Some(&id);
        let lines: String = events.iter().filter_map(|told| told.get("event")).filter(of_run).filter_map(line).collect();
        let _ = std::io::stderr().write_all(lines.as_bytes());
        let is_over = events.iter().filter_map(|told| told.get("event")).filter(of_run).any(|event| event["type"] == "PipelineRunFinished");
        // A log that says nothing for long may have said it before: the run itself is looked at too.
        if is_over || events.is_empty() {
            let run = client.get(&format!("/api/v1/pipeline-runs/{}", super::encode(&id))).await?;
            let state = run.get("state").and_then(Value::as_str).unwrap_or_default();
            if !["queued", "running"].contains(&state) {
                return end(&id, state, &run, json);
            }
        }
        from = events.last().and_then(|told| told.get("seq")).and_then(Value::as_u64).unwrap_or(from);
        // Thousands of short steps are told in tens of answers, and the end of a run at most a tenth later than it came.
        tokio::time::sleep((began.elapsed() / 10).clamp(pause, EVERY)).await;
        pause = (pause + LONGER).min(LONGEST);
    }
}

fn end(id: &str, state: &str, run: &Value, json: bool) -> anyhow::Result<u8> {
    if json {
        show::print(run, true)?;
    }
    if state == "succeeded" {
        return Ok(0);
    }
    let error = run.get("error").and_then(Value::as_str);
    let what = error.map_or_else(|| format!("pipeline run {id} is {state}"), str::to_owned);
    writeln!(std::io::stderr().lock(), "{what}")?;
    Ok(1)
}

/// Follows a backfill to its end; exit code 1 if a run of it failed.
pub async fn backfill(client: &Client, begun: Value, detach: bool, json: bool) -> anyhow::Result<u8> {
    if detach {
        show::print(&begun, json)?;
        return Ok(0);
    }
    let id = begun.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let instant =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).and_then(domain::Timestamp::parse).map_or(0, |at| at.ms());
    let whole = (instant(&begun, "to") - instant(&begun, "from")).max(1) as f64;
    let mut progress = Progress::new(&id);
    loop {
        let now = client.get(&format!("/api/v1/backfills/{}", super::encode(&id))).await?;
        let done = (instant(&now, "next") - instant(&now, "from")) as f64 / whole;
        progress.at(done, now.get("next").and_then(Value::as_str).unwrap_or_default());
        if now.get("is_over").and_then(Value::as_bool) == Some(true) {
            progress.end();
            show::print(&now, json)?;
            let failed = now.get("failed").and_then(Value::as_array).is_some_and(|failed| !failed.is_empty());
            let cancelled = now.get("cancelled").and_then(Value::as_bool) == Some(true);
            return Ok(u8::from(failed || cancelled));
        }
        if id.is_empty() {
            return Err(Refusal::invalid("server/answer", "the server named no backfill").into());
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// A line for a step that begins or ends.
fn line(event: &Value) -> Option<String> {
    let field = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let state = match field("type") {
        "StepStarted" => "running",
        "StepFinished" => field("state"),
        _ => return None,
    };
    let why = field("why");
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    Some(format!("{}: {state}{why}\n", field("step")))
}
