//! What is served, and a request from the shell.

use super::client::Client;
use super::show;
use anyhow::Context;
use clap::Subcommand;
use domain::Refusal;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum ServeCommand {
    /// Who answers for each model, how fast, and what went wrong; latencies since the server was started.
    Ls,
    /// One model: its versions, the last five minutes, the minutes before, what was missing.
    Show { model: String },
    /// Ask a model for predictions: `trimtab serve call demand hour=7 temp=0.5`.
    #[command(
        after_help = "A value is JSON where it reads as such (7, 0.5, true, null), else text. Of several rows: --rows FILE, a JSON list \
                            of records, one record a line, or CSV by its name; - reads standard input."
    )]
    Call {
        model: String,
        /// Columns of one row.
        #[arg(value_name = "COLUMN=VALUE", conflicts_with = "rows", required_unless_present = "rows")]
        columns: Vec<String>,
        /// A file of rows.
        #[arg(long)]
        rows: Option<PathBuf>,
        /// Ask this version, champion or canary.
        #[arg(long)]
        version: Option<u64>,
    },
}

/// Asks the server.
pub async fn serve(client: &Client, command: ServeCommand, json: bool) -> anyhow::Result<u8> {
    let answer = match command {
        ServeCommand::Ls => {
            let found = client.get("/api/v1/serving").await?;
            if json { found } else { Value::from_iter(found.as_array().into_iter().flatten().flat_map(lines)) }
        }
        ServeCommand::Show { model } => client.get(&format!("/api/v1/serving/{}", super::encode(&model))).await?,
        ServeCommand::Call { model, columns, rows, version } => {
            let path = format!("/serve/{}/invocations", super::encode(&model));
            let (kind, body) = match &rows {
                Some(file) => read(file)?,
                None => ("application/json", json!({ "dataframe_records": [row(&columns)?] }).to_string()),
            };
            client.predict(&path, kind, body, version).await?
        }
    };
    show::print(&answer, json)?;
    Ok(0)
}

/// A line for each version in its role.
fn lines(model: &Value) -> Vec<Value> {
    let recent = &model["recent"];
    let versions = model["versions"].as_array().into_iter().flatten();
    let line = |version: &Value| {
        let workers = version["workers"]["ready"].as_u64().map_or("in process".into(), |count| count.to_string());
        json!({
            "model": model["model"], "version": version["version"], "role": version["role"], "rows": version["rows"],
            "p50_ms": version["latency_ms"]["p50"], "p99_ms": version["latency_ms"]["p99"], "workers": workers,
            "requests_5m": recent["requests"], "error_rate_5m": recent["error_rate"],
        })
    };
    versions.map(line).collect()
}

fn row(columns: &[String]) -> Result<Value, Refusal> {
    let mut row = Map::new();
    for column in columns {
        let (name, value) = column.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            Refusal::invalid("serve/column", format!("`{column}` is no column with its value")).hint("COLUMN=VALUE, such as temp=0.5")
        })?;
        let parsed = serde_json::from_str(value).ok().filter(|value: &Value| !value.is_array() && !value.is_object());
        row.insert(name.into(), parsed.unwrap_or_else(|| value.into()));
    }
    Ok(Value::Object(row))
}

/// The content type and the body of a file's rows.
fn read(file: &Path) -> anyhow::Result<(&'static str, String)> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
    } else {
        let what = |error: std::io::Error| {
            Refusal::invalid("serve/rows", format!("{} cannot be read: {error}", file.display()))
                .hint("a file of rows, or - for standard input")
        };
        text = std::fs::read_to_string(file).map_err(what)?;
    }
    if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
        return Ok(("text/csv", text));
    }
    let rows: Vec<Value> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).map_err(|error| wrong(file, &error))?
    } else {
        let values = serde_json::Deserializer::from_str(&text).into_iter();
        values.collect::<Result<_, _>>().map_err(|error| wrong(file, &error))?
    };
    Ok(("application/json", json!({ "dataframe_records": rows }).to_string()))
}

fn wrong(file: &Path, error: &serde_json::Error) -> Refusal {
    Refusal::invalid("serve/rows", format!("the rows are no JSON: {error}"))
        .at(file.display().to_string())
        .hint("a list of records, one record a line, or a file that ends in .csv")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_are_json_where_they_read_as_such() {
        let columns = ["a=7", "b=0.5", "c=true", "d=null", "e=two words", "f=", "g=[1]", "h=x=y"].map(String::from);
        let expected = json!({"a": 7, "b": 0.5, "c": true, "d": null, "e": "two words", "f": "", "g": "[1]", "h": "x=y"});
        assert_eq!(row(&columns).unwrap(), expected);
        for wrong in ["a", "=1"] {
            assert_eq!(row(&[wrong.to_owned()]).unwrap_err().code, "serve/column");
        }
    }

    #[test]
    fn rows_come_as_a_list_or_a_line_each() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.json");
        for text in ["[{\"a\": 1}, {\"a\": 2}]", "{\"a\": 1}\n{\"a\": 2}\n"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(&file).unwrap().1, r#"{"dataframe_records":[{"a":1},{"a":2}]}"#);
        }
        std::fs::write(&file, "{").unwrap();
        assert!(read(&file).is_err());
    }
}
