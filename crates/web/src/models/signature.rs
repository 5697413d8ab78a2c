//! What a model takes and gives, from the `MLmodel` file beside it.

use crate::WebState;
use crate::format::bytes;
use crate::page::PageError;
use domain::Fault;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An `MLmodel` file is a few kilobytes; what is longer is something else.
const MOST: usize = 1 << 20;
/// Columns that are shown.
const COLUMNS: usize = 200;

/// What the file says, as it is shown.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Described {
    pub flavors: Vec<String>,
    pub mlflow_version: Option<String>,
    pub size: Option<String>,
    pub inputs: Vec<Column>,
    pub outputs: Vec<Column>,
    pub params: Vec<Column>,
    pub has_signature: bool,
    pub has_example: bool,
}

/// A column or a tensor.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Column {
    pub name: String,
    pub kind: String,
    pub is_optional: bool,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    flavors: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(default)]
    mlflow_version: Option<String>,
    #[serde(default)]
    model_size_bytes: Option<u64>,
    #[serde(default)]
    signature: Option<Signature>,
    #[serde(default)]
    saved_input_example_info: Option<serde::de::IgnoredAny>,
}

/// JSON inside YAML: that is how MLflow writes it.
#[derive(Deserialize)]
struct Signature {
    #[serde(default)]
    inputs: Option<String>,
    #[serde(default)]
    outputs: Option<String>,
    #[serde(default)]
    params: Option<String>,
}

/// The description beside a model's files; `None` if there is none that can be read.
pub(crate) async fn described(state: &WebState, folder: &str) -> Result<Option<Described>, PageError> {
    let path = format!("{folder}/MLmodel");
    let Some((_, mut stream)) = state.artifacts.get(&path).await? else { return Ok(None) };
    let mut read = Vec::new();
    while let Some(piece) = stream.next().await {
        read.extend_from_slice(&piece.map_err(|e| Fault::because(format!("reading artifact {path}"), e))?);
        if read.len() > MOST {
            return Ok(None);
        }
    }
    Ok(std::str::from_utf8(&read).ok().and_then(parse))
}

fn parse(text: &str) -> Option<Described> {
    let file: File = serde_saphyr::from_str(text).ok()?;
    let columns = |text: Option<&String>| text.map_or(Vec::new(), |text| columns(text));
    let signature = file.signature.as_ref();
    Some(Described {
        flavors: file.flavors.into_keys().collect(),
        mlflow_version: file.mlflow_version,
        size: file.model_size_bytes.map(bytes),
        inputs: columns(signature.and_then(|signature| signature.inputs.as_ref())),
        outputs: columns(signature.and_then(|signature| signature.outputs.as_ref())),
        params: columns(signature.and_then(|signature| signature.params.as_ref())),
        has_signature: signature.is_some(),
        has_example: file.saved_input_example_info.is_some(),
    })
}

fn columns(text: &str) -> Vec<Column> {
    let Ok(list) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Vec::new() };
    list.iter().take(COLUMNS).enumerate().map(|(at, column)| of_json(at, column)).collect()
}

fn of_json(at: usize, column: &serde_json::Value) -> Column {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let name = column.get("name").map_or_else(|| format!("column {}", at + 1), text);
    let tensor = column.get("tensor-spec").map(|spec| {
        let part = |name| spec.get(name).map_or(String::new(), text);
        format!("tensor {} {}", part("dtype"), part("shape"))
    });
    let kind = tensor.or_else(|| column.get("type").map(text)).unwrap_or_default();
    let default = column.get("default").map_or(String::new(), |value| format!(" = {}", text(value)));
    Column { name, kind: kind + &default, is_optional: column.get("required").and_then(serde_json::Value::as_bool) == Some(false) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_signature_is_read_as_mlflow_writes_it() {
        let text = "artifact_path: m\nflavors:\n  python_function:\n    loader_module: mlflow.sklearn\n  sklearn:\n    code: null\n\
                    mlflow_version: 3.17.2\nmodel_size_bytes: 120000\nsignature:\n  inputs: '[{\"type\": \"double\", \"name\": \"temp\", \"required\": true},\n    {\"type\": \
                    \"long\", \"name\": \"hr\", \"required\": false}]'\n  outputs: '[{\"type\": \"tensor\", \"tensor-spec\": {\"dtype\": \"float64\", \"shape\": [-1]}}]'\n  params: null\n";
        let found = parse(text).unwrap();
        assert_eq!(found.flavors, ["python_function", "sklearn"]);
        assert_eq!(found.size.as_deref(), Some("120.0 kB"));
        let shown: Vec<String> =
            found.inputs.iter().map(|column| format!("{} {} {}", column.name, column.kind, column.is_optional)).collect();
        assert_eq!(shown, ["temp double false", "hr long true"]);
        assert_eq!(found.outputs[0].kind, "tensor float64 [-1]");
        assert!(parse("- just\n- a list\n").is_none());
        assert!(!parse("flavors: {}\n").unwrap().has_signature);
    }
}
