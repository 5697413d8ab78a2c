//! What a gate asks of versions beside their answers: files, signature, training set.

use super::Bridge;
use async_trait::async_trait;
use delivery::gate::{Signature, SignatureColumn};
use delivery::work::{Dossier, TrainingRows};
use domain::entity::{ModelVersion, TrainingSet};
use domain::{Fault, ModelName, VersionNumber};
use features::FeatureError;
use ports::{ArtifactExt, QueryError, World};
use serde::Deserialize;
use serde_json::Value;

/// Folders below a model's own that are looked through.
const DEPTH: usize = 8;

#[async_trait]
impl Dossier for Bridge {
    async fn size(&self, model: &ModelName, version: VersionNumber) -> Result<Option<u64>, Fault> {
        let Some(folder) = self.folder(model, version)? else { return Ok(None) };
        let (mut bytes, mut files) = (0, 0);
        let mut open = vec![(folder, 0)];
        while let Some((folder, depth)) = open.pop() {
            for entry in self.artifacts.list(&folder).await? {
                if entry.is_dir && depth < DEPTH {
                    open.push((entry.path, depth + 1));
                } else {
                    bytes += entry.bytes;
                    files += 1;
                }
            }
        }
        Ok((files > 0).then_some(bytes))
    }

    async fn signature(&self, model: &ModelName, version: VersionNumber) -> Result<Option<Signature>, Fault> {
        let Some(folder) = self.folder(model, version)? else { return Ok(None) };
        let bytes = self.artifacts.get_bytes(&format!("{folder}/MLmodel")).await?;
        Ok(bytes.and_then(|bytes| parse(std::str::from_utf8(&bytes).ok()?)))
    }

    async fn training(&self, model: &ModelName, version: VersionNumber) -> Result<Option<TrainingRows>, QueryError> {
        let world = World::new(self.store.snapshot()?);
        let found = world.get::<ModelVersion>(&format!("{model}/{version}"))?;
        let Some(id) = found.and_then(|version| version.training_set) else { return Ok(None) };
        let Some(set) = world.get::<TrainingSet>(id.as_str())? else { return Ok(None) };
        drop(world);
        let rows = self.training.rows(&id).await.map_err(|error| match error {
            FeatureError::Refused(refusal) => QueryError::Refused(refusal),
            FeatureError::Fault(fault) => QueryError::Fault(fault),
        })?;
        Ok(Some(TrainingRows { rows, features: set.features, label: set.label }))
    }
}

impl Bridge {
    fn folder(&self, model: &ModelName, version: VersionNumber) -> Result<Option<String>, Fault> {
        let found = World::new(self.store.snapshot()?).get::<ModelVersion>(&format!("{model}/{version}"))?;
        Ok(found.map(|version| version.artifact_path).filter(|path| !path.is_empty()))
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    signature: Option<Columns>,
}

/// JSON inside YAML: that is how MLflow writes it.
#[derive(Deserialize)]
struct Columns {
    #[serde(default)]
    inputs: Option<String>,
    #[serde(default)]
    outputs: Option<String>,
}

fn parse(text: &str) -> Option<Signature> {
    let file: File = serde_saphyr::from_str(text).ok()?;
    let signature = file.signature?;
    Some(Signature { inputs: columns(signature.inputs), outputs: columns(signature.outputs) })
}

fn columns(text: Option<String>) -> Vec<SignatureColumn> {
    let list = text.and_then(|text| serde_json::from_str::<Vec<Value>>(&text).ok()).unwrap_or_default();
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let column = |column: &Value| {
        // Its shape is a part of what a caller must send: -1 is any number of rows.
        let tensor = column.get("tensor-spec").and_then(|spec| {
            let shape = spec.get("shape").map_or(String::new(), |shape| format!(", {shape}"));
            Some(format!("tensor({}{shape})", word(spec.get("dtype")?)))
        });
        SignatureColumn {
            name: column.get("name").map(word).unwrap_or_default(),
            dtype: tensor.or_else(|| column.get("type").map(word)).unwrap_or_default(),
            required: column.get("required").and_then(Value::as_bool) != Some(false),
        }
    };
    list.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_signature_is_read_as_mlflow_writes_it() {
        let text = "flavors: {}\nsignature:\n  inputs: '[{\"type\": \"double\", \"name\": \"temp\", \"required\": true}]'\n  outputs: '[{\"type\": \
                    \"tensor\", \"tensor-spec\": {\"dtype\": \"float64\", \"shape\": [-1]}}]'\n";
        let found = parse(text).unwrap();
        assert_eq!((found.inputs[0].name.as_str(), found.inputs[0].dtype.as_str(), found.inputs[0].required), ("temp", "double", true));
        assert_eq!(found.outputs[0].dtype, "tensor(float64, [-1])");
        assert!(parse("flavors: {}\n").is_none());
    }
}
