//! Frees what deleted runs and experiments hold: files first, rows after, so that a collection that is cut short is run again.

use crate::{place, uploads};
use domain::entity::{LifecycleStage, LoggedModel, ModelVersion, Run};
use domain::{Actor, Batch, Digest, Refusal, RunId, RunWrite, Span, Timestamp};
use ports::{ArtifactStore, CommitError, MetadataStore, RunStore, World, decide};
use serde::Serialize;

/// What was freed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Freed {
    pub runs: u64,
    pub experiments: u64,
    pub logged_models: u64,
    /// Folders of files in this server's artifact store.
    pub folders: u64,
    /// Uploads in parts that nobody completed within a week.
    pub uploads: u64,
    /// Locked environments that nothing uses, by their lock's SHA-256.
    pub environments: Vec<Digest>,
    /// What stays though it is deleted, and why.
    pub kept: Vec<String>,
}

/// Runs that are looked at together.
const PAGE: usize = 200;

/// Frees what was deleted before an instant. Files of a version that is registered stay, and so does their run.
pub async fn collect(
    store: &dyn MetadataStore,
    runs: &dyn RunStore,
    artifacts: &dyn ArtifactStore,
    before: Timestamp,
    dry_run: bool,
    actor: &Actor,
    now: Timestamp,
) -> Result<Freed, CommitError> {
    let mut freed = Freed::default();
    let (versions, models) = {
        let world = World::new(store.snapshot()?);
        (world.list::<ModelVersion>()?, world.list::<LoggedModel>()?)
    };
    let mut after: Option<RunId> = None;
    loop {
        let page = runs.deleted_runs(before, after.as_ref(), PAGE)?;
        let Some(last) = page.last().cloned() else { break };
        for id in page {
            let Some(run) = runs.run(&id)? else { continue };
            let own: Vec<&LoggedModel> = models.iter().filter(|model| model.source_run.as_ref() == Some(&id)).collect();
            if let Some(version) = versions.iter().find(|version| uses(version, &run, &own)) {
                freed.kept.push(format!("run {id}: version {} of `{}` is made of its files", version.version, version.model));
                continue;
            }
            let folders = own.iter().map(|model| (&model.artifact_uri, model.id.as_str())).chain([(&run.artifact_uri, id.as_str())]);
            for folder in folders.filter_map(|(uri, id)| folder_of(uri, id)) {
                freed.folders += 1;
                if !dry_run {
                    artifacts.delete(&folder).await?;
                }
            }
            freed.logged_models += own.len() as u64;
            freed.runs += 1;
            if !dry_run {
                let mut batch = Batch::new(actor.clone(), now);
                own.iter().for_each(|model| batch.delete::<LoggedModel>(model.id.as_str()));
                batch.run_writes.push(RunWrite::PurgeRun(id));
                store.commit(batch).await?;
            }
        }
        after = Some(last);
    }
    experiments(store, before, dry_run, actor, now, &mut freed).await?;
    freed.uploads = uploads::free(artifacts, now, dry_run).await?;
    Ok(freed)
}

/// Experiments that were deleted and have no run any more.
async fn experiments(
    store: &dyn MetadataStore,
    before: Timestamp,
    dry_run: bool,
    actor: &Actor,
    now: Timestamp,
    freed: &mut Freed,
) -> Result<(), CommitError> {
    let all = World::new(store.snapshot()?).experiments()?;
    for experiment in all.into_iter().filter(|one| one.lifecycle_stage == LifecycleStage::Deleted && one.updated < before) {
        if dry_run {
            freed.experiments += 1;
            continue;
        }
        let purged = decide(store, |_| {
            let mut batch = Batch::new(actor.clone(), now);
            batch.run_writes.push(RunWrite::PurgeExperiment(experiment.id.clone()));
            Ok((batch, ()))
        });
        match purged.await {
            Ok(()) => freed.experiments += 1,
            Err(CommitError::Refused(refusal)) => freed.kept.push(format!("experiment `{}`: {}", experiment.name, refusal.what)),
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// Whether a version's files are the run's, or those of a model that it logged.
fn uses(version: &ModelVersion, run: &Run, models: &[&LoggedModel]) -> bool {
    let lies_in = |uri: &str| place::relative(uri).is_some_and(|folder| is_below(&version.artifact_path, &folder));
    lies_in(&run.artifact_uri) || models.iter().any(|model| version.model_id.as_ref() == Some(&model.id) || lies_in(&model.artifact_uri))
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The folder of a URI in our own store; only one that bears the id of what is freed.
fn folder_of(uri: &str, id: &str) -> Option<String> {
    place::relative(uri).filter(|path| path.split('/').any(|part| part == id))
}

/// An instant before which things must have been deleted.
pub fn before(now: Timestamp, older_than: &str) -> Result<Timestamp, Refusal> {
    let span = Span::parse(older_than)
        .ok_or_else(|| Refusal::invalid("gc/older_than", format!("`{older_than}` is no length of time")).hint("30d, 12h"))?;
    // Something deleted in this very millisecond counts when everything does.
    Ok(if span.ms() == 0 { Timestamp::MAX } else { now - span })
}
