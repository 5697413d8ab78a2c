//! Waits for a pipeline run and says what its steps do.

use super::client::Client;
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

fn tell(step: &Value, shown: &mut HashMap<String, String>) {
    let field = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, state) = (field("name"), field("state"));
    if state != "waiting" && shown.insert(name.clone(), state.clone()) != Some(state.clone()) {
        let why = field("why");
        let _ = writeln!(std::io::stderr(), "{name}: {state}{}", if why.is_empty() { String::new() } else { format!(" ({why})") });
    }
}
