//! A folder store: `EXPERIMENT/RUN/{meta.yaml,params,tags,metrics,inputs,outputs}`, `EXPERIMENT/{datasets,models}`, `models/NAME`, `.trash`.

use crate::{ImportError, Item, Out, POINTS, Source, send, sql, words};
use async_trait::async_trait;
use domain::entity::{DatasetInput, Experiment, LoggedModel, Metric, ModelOutput, ModelVersion, Param, RegisteredModel, Run, Tag};
use domain::{ExperimentId, ModelName, Refusal, RunId, VersionNumber};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// `meta.yaml`: names and plain values.
type Meta = BTreeMap<String, serde_json::Value>;

/// A folder store.
pub(crate) struct Folder {
    root: PathBuf,
    left: Vec<String>,
}

impl Folder {
    pub(crate) fn new(root: PathBuf) -> Result<Self, ImportError> {
        let has_experiment = folders(&root).iter().any(|folder| folder.join("meta.yaml").is_file());
        if has_experiment {
            return Ok(Folder { root, left: Vec::new() });
        }
        let refusal = Refusal::not_found("import/no_store", format!("{} holds no experiments", root.display()));
        Err(refusal.hint("give the folder whose folders are experiments, each with a meta.yaml; usually `mlruns`").into())
    }
}

#[async_trait]
impl Source for Folder {
    async fn read(&mut self, out: &Out) -> Result<Vec<String>, ImportError> {
        let mut experiments: Vec<PathBuf> = folders(&self.root).into_iter().filter(|folder| is_number(folder)).collect();
        experiments.extend(folders(&self.root.join(".trash")).into_iter().filter(|folder| is_number(folder)));
        for folder in &experiments {
            let Some(meta) = self.meta(folder) else { continue };
            send(out, Item::Experiment(experiment(folder, &meta))).await?;
            for model in folders(&folder.join("models")) {
                if let Some(meta) = self.meta(&model) {
                    send(out, Item::LoggedModel(logged_model(&model, &meta))).await?;
                }
            }
            if !folders(&folder.join("traces")).is_empty() {
                self.left.push(format!("the traces of experiment {}", name(folder)));
            }
            let runs = folders(folder).into_iter().filter(|run| run.join("artifacts").exists() || run.join("params").exists());
            for run in runs {
                if let Some(meta) = self.meta(&run) {
                    self.run(folder, &run, &meta, out).await?;
                }
            }
        }
        for folder in folders(&self.root.join("models")) {
            if let Some(meta) = self.meta(&folder) {
                self.registered(&folder, &meta, out).await?;
            }
        }
        Ok(std::mem::take(&mut self.left))
    }
}

impl Folder {
    /// A folder's `meta.yaml`; one that cannot be read is left behind and said.
    fn meta(&mut self, folder: &Path) -> Option<Meta> {
        let path = folder.join("meta.yaml");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                self.left.push(format!("{}: {error}", path.display()));
                return None;
            }
        };
        match serde_saphyr::from_str(&text) {
            Ok(meta) => Some(meta),
            Err(error) => {
                let error = error.to_string();
                self.left.push(format!("{}: {}", path.display(), error.lines().next().unwrap_or_default()));
                None
            }
        }
    }

    async fn run(&mut self, experiment: &Path, folder: &Path, meta: &Meta, out: &Out) -> Result<(), ImportError> {
        let id = RunId::new(word(meta, "run_id").filter(|id| !id.is_empty()).unwrap_or_else(|| name(folder)));
        let tags = tags(&folder.join("tags"));
        let name_tag = tags.iter().find(|tag| tag.key == tracking::RUN_NAME_TAG).map(|tag| tag.value.clone());
        let stage = words::stage(&word(meta, "lifecycle_stage").unwrap_or_default());
        let mut outputs = Vec::new();
        for output in folders(&folder.join("outputs")) {
            if let Some(meta) = self.meta(&output) {
                let model_id = word(&meta, "destination_id").unwrap_or_else(|| name(&output));
                outputs.push(ModelOutput { model_id, step: int(&meta, "step").unwrap_or(0), input: false });
            }
        }
        let mut inputs = Vec::new();
        for input in folders(&folder.join("inputs")) {
            let Some(meta) = self.meta(&input) else { continue };
            if word(&meta, "source_type").as_deref() == Some("DATASET") {
                inputs.extend(self.dataset(experiment, &meta));
            } else {
                outputs.push(ModelOutput { model_id: word(&meta, "source_id").unwrap_or_default(), step: 0, input: true });
            }
        }
        let run = Run {
            id: id.clone(),
            experiment: ExperimentId::new(word(meta, "experiment_id").unwrap_or_else(|| name(experiment))),
            name: word(meta, "run_name").filter(|name| !name.is_empty()).or(name_tag).unwrap_or_default(),
            user: word(meta, "user_id").unwrap_or_default(),
            status: words::run_status(&word(meta, "status").unwrap_or_default()),
            start: words::time(int(meta, "start_time")),
            end: int(meta, "end_time").map(|ms| words::time(Some(ms))),
            lifecycle_stage: stage,
            artifact_uri: word(meta, "artifact_uri").unwrap_or_default(),
            params: texts(&folder.join("params")).into_iter().map(|(key, value)| Param { key, value }).collect(),
            tags,
            metrics: Vec::new(),
            inputs,
            outputs,
        };
        send(out, Item::Run(run)).await?;
        for (key, path) in files(&folder.join("metrics")) {
            let mut points = Vec::new();
            for line in lines(&path) {
                let Some(point) = metric(&key, &line, None) else {
                    self.left.push(format!("a line of {} that is no metric point", path.display()));
                    continue;
                };
                points.push(point);
                if points.len() == POINTS {
                    send(out, Item::Points { run: id.clone(), points: std::mem::take(&mut points) }).await?;
                }
            }
            if !points.is_empty() {
                send(out, Item::Points { run: id.clone(), points }).await?;
            }
        }
        send(out, Item::RunEnd { run: id, stage }).await
    }

    fn dataset(&mut self, experiment: &Path, input: &Meta) -> Option<DatasetInput> {
        let meta = self.meta(&experiment.join("datasets").join(word(input, "source_id")?))?;
        let tags = input.get("tags").and_then(serde_json::Value::as_object);
        let tags = tags.into_iter().flatten().map(|(key, value)| Tag::new(key.as_str(), plain(value).unwrap_or_default()));
        Some(DatasetInput {
            name: word(&meta, "name").unwrap_or_default(),
            digest: word(&meta, "digest").unwrap_or_default(),
            source_type: word(&meta, "source_type").unwrap_or_default(),
            source: word(&meta, "source").unwrap_or_default(),
            schema: word(&meta, "schema"),
            profile: word(&meta, "profile"),
            tags: tags.collect(),
        })
    }

    async fn registered(&mut self, folder: &Path, meta: &Meta, out: &Out) -> Result<(), ImportError> {
        let model = ModelName::new(word(meta, "name").unwrap_or_else(|| name(folder)));
        let mut versions: Vec<(u64, PathBuf)> = folders(folder)
            .into_iter()
            .filter_map(|version| Some((name(&version).strip_prefix("version-")?.parse().ok()?, version)))
            .collect();
        versions.sort();
        let registered = RegisteredModel {
            name: model.clone(),
            description: word(meta, "description").unwrap_or_default(),
            tags: tags(&folder.join("tags")),
            aliases: BTreeMap::new(),
            created: words::time(int(meta, "creation_timestamp")),
            updated: words::time(int(meta, "last_updated_timestamp")),
            next_version: versions.last().map_or(1, |(number, _)| number + 1),
        };
        send(out, Item::Model(registered)).await?;
        for (number, path) in &versions {
            let Some(meta) = self.meta(path) else { continue };
            let source = word(&meta, "source").unwrap_or_default();
            let stage = word(&meta, "current_stage").unwrap_or_else(|| "None".into());
            if stage == "Deleted_Internal" {
                continue;
            }
            let version = ModelVersion {
                model: model.clone(),
                version: VersionNumber(*number),
                run: word(&meta, "run_id").filter(|run| !run.is_empty()).map(RunId::new),
                model_id: source.strip_prefix("models:/").filter(|id| id.starts_with("m-")).map(str::to_owned),
                source,
                artifact_path: String::new(),
                status: words::version_status(&word(&meta, "status").unwrap_or_default()),
                stage,
                description: word(&meta, "description").unwrap_or_default(),
                tags: tags(&path.join("tags")),
                created: words::time(int(&meta, "creation_timestamp")),
                updated: words::time(int(&meta, "last_updated_timestamp")),
                pipeline_run: None,
                training_set: None,
                trained_until: None,
            };
            send(out, Item::Version(version)).await?;
        }
        for (alias, number) in texts(&folder.join("aliases")) {
            let Ok(number) = number.trim().parse() else { continue };
            send(out, Item::Alias { model: model.clone(), alias, version: VersionNumber(number) }).await?;
        }
        Ok(())
    }
}

fn experiment(folder: &Path, meta: &Meta) -> Experiment {
    Experiment {
        id: ExperimentId::new(word(meta, "experiment_id").unwrap_or_else(|| name(folder))),
        name: word(meta, "name").unwrap_or_else(|| name(folder)),
        artifact_location: word(meta, "artifact_location").unwrap_or_default(),
        lifecycle_stage: words::stage(&word(meta, "lifecycle_stage").unwrap_or_default()),
        created: words::time(int(meta, "creation_time")),
        updated: words::time(int(meta, "last_update_time")),
        tags: tags(&folder.join("tags")),
    }
}

fn logged_model(folder: &Path, meta: &Meta) -> LoggedModel {
    let id = word(meta, "model_id").unwrap_or_else(|| name(folder));
    let points = files(&folder.join("metrics"))
        .into_iter()
        .flat_map(|(key, path)| lines(&path).filter_map(|line| metric(&key, &line, Some(&id))).collect::<Vec<_>>());
    LoggedModel {
        experiment: ExperimentId::new(word(meta, "experiment_id").unwrap_or_default()),
        name: word(meta, "name").unwrap_or_default(),
        artifact_uri: word(meta, "artifact_location").unwrap_or_default(),
        model_type: word(meta, "model_type").filter(|kind| !kind.is_empty()),
        source_run: word(meta, "source_run_id").filter(|run| !run.is_empty()).map(RunId::new),
        status: words::model_status(&word(meta, "status").unwrap_or_default()),
        status_message: word(meta, "status_message"),
        created: words::time(int(meta, "creation_timestamp")),
        updated: words::time(int(meta, "last_updated_timestamp")),
        lifecycle_stage: domain::entity::LifecycleStage::Active,
        by_others: std::collections::BTreeMap::new(),
        tags: tags(&folder.join("tags")),
        params: texts(&folder.join("params")).into_iter().map(|(key, value)| Param { key, value }).collect(),
        metrics: sql::latest(points.collect()),
        id,
    }
}

/// `TIME VALUE STEP`, in a logged model's file with the run, dataset and digest behind it.
fn metric(key: &str, line: &str, model: Option<&str>) -> Option<Metric> {
    let parts: Vec<&str> = line.split(' ').collect();
    Some(Metric {
        key: key.into(),
        time: words::time(Some(parts.first()?.parse().ok()?)),
        value: words::stored_value(parts.get(1)?.parse().ok()?, false),
        step: parts.get(2).map_or(Some(0), |step| step.parse().ok())?,
        model_id: model.map(str::to_owned),
        dataset_name: model.and_then(|_| parts.get(4)).map(|text| (*text).to_owned()),
        dataset_digest: model.and_then(|_| parts.get(5)).map(|text| (*text).to_owned()),
    })
}

fn lines(path: &Path) -> impl Iterator<Item = String> + use<> {
    File::open(path).ok().into_iter().flat_map(|file| BufReader::new(file).lines().map_while(Result::ok)).filter(|line| !line.is_empty())
}

/// Folders within a folder, sorted; one that is not there has none.
fn folders(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_number(folder: &Path) -> bool {
    name(folder).bytes().all(|byte| byte.is_ascii_digit())
}

/// Files below a folder by their key, which is the path: keys may hold slashes.
fn files(root: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if let Ok(key) = path.strip_prefix(root) {
                found.push((key.to_string_lossy().into_owned(), path));
            }
        }
    }
    found.sort();
    found
}

fn texts(root: &Path) -> Vec<(String, String)> {
    files(root).into_iter().filter_map(|(key, path)| Some((key, fs::read_to_string(path).ok()?))).collect()
}

fn tags(root: &Path) -> Vec<Tag> {
    texts(root).into_iter().map(|(key, value)| Tag::new(key, value)).collect()
}

fn plain(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn word(meta: &Meta, key: &str) -> Option<String> {
    meta.get(key).and_then(plain)
}

fn int(meta: &Meta, key: &str) -> Option<i64> {
    let value = meta.get(key)?;
    value.as_i64().or_else(|| value.as_f64().map(|value| value as i64)).or_else(|| value.as_str()?.parse().ok())
}
