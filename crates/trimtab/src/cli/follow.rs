//! Waits for a pipeline run and says what its steps do.

use super::client::Client;
use super::progress::Progress;
use super::show;
use domain::Refusal;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

/// How often the server is asked.
const EVERY: Duration = Duration::from_millis(200);

/// Follows the run that was asked for to its end; exit code 1 if it failed.
pub async fn follow(client: &Client, asked: Value, detach: bool, json: bool) -> anyhow::Result<u8> {
    let id = asked.get("id").or(asked.get("pipeline_run")).and_then(Value::as_str).unwrap_or_default().to_owned();
    if detach {
        show::print(&asked, json)?;
        return Ok(0);
    }
    let mut shown: HashMap<String, String> = HashMap::new();
    loop {
        let run = client.get(&format!("/api/v1/pipeline-runs/{}", super::encode(&id))).await?;
        for step in run.get("steps").and_then(Value::as_array).into_iter().flatten() {
            tell(step, &mut shown);
        }
        let state = run.get("state").and_then(Value::as_str).unwrap_or_default();
        if !["queued", "running"].contains(&state) {
            if json {
                show::print(&run, true)?;
            }
            let error = run.get("error").and_then(Value::as_str);
            return match (state, error) {
                ("succeeded", _) => Ok(0),
                (_, error) => {
                    let what = error.map_or_else(|| format!("pipeline run {id} is {state}"), str::to_owned);
                    let mut err = std::io::stderr().lock();
                    writeln!(err, "{what}")?;
                    Ok(1)
                }
            };
        }
        if id.is_empty() {
            return Err(Refusal::invalid("server/answer", "the server named no pipeline run").into());
        }
        tokio::time::sleep(EVERY).await;
    }
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

fn tell(step: &Value, shown: &mut HashMap<String, String>) {
    let field = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, state) = (field("name"), field("state"));
    if state != "waiting" && shown.insert(name.clone(), state.clone()) != Some(state.clone()) {
        let why = field("why");
        let _ = writeln!(std::io::stderr(), "{name}: {state}{}", if why.is_empty() { String::new() } else { format!(" ({why})") });
    }
}
