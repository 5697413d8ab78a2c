//! Taking in what another tracking server knew: ids, times, deleted rows, aliases and artifact locations stay as they were.
//!
//! A source is told as a stream of [`Item`]s; each is taken whole or refused by itself. Taking an item twice changes nothing, so
//! that an import that was cut short is simply run again.

use crate::{CHAMPION, Decision, aliases, experiments, place, registry, runs};
use domain::entity::{Experiment, LifecycleStage, LoggedModel, Metric, ModelVersion, RegisteredModel, Run, Tag};
use domain::{Actor, Batch, Event, Kind, ModelName, Refusal, RunId, RunWrite, Timestamp, VersionNumber};
use ports::refusals::no_run;
use ports::{CommitError, MetadataStore, RunLog, RunStore, World, decide};
use serde::{Deserialize, Serialize};

/// One thing of another server. They come in this order, but for points, which follow their run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Item {
    Experiment(Experiment),
    /// A run with its params, tags, inputs and outputs; metrics come as points.
    Run(Run),
    Points {
        run: RunId,
        points: Vec<Metric>,
    },
    /// Nothing more of this run comes: it gets the stage that it has.
    RunEnd {
        run: RunId,
        stage: LifecycleStage,
    },
    LoggedModel(LoggedModel),
    /// Without its aliases: they come after the versions.
    Model(RegisteredModel),
    Version(ModelVersion),
    Alias {
        model: ModelName,
        alias: String,
        version: VersionNumber,
    },
}

impl Item {
    /// What it is, for counts: `runs`.
    pub fn noun(&self) -> &'static str {
        match self {
            Item::Experiment(_) => "experiments",
            Item::Run(_) => "runs",
            Item::Points { .. } => "points",
            Item::RunEnd { .. } => "run ends",
            Item::LoggedModel(_) => "logged models",
            Item::Model(_) => "registered models",
            Item::Version(_) => "model versions",
            Item::Alias { .. } => "aliases",
        }
    }

    /// Which one it is, for messages.
    pub fn name(&self) -> String {
        match self {
            Item::Experiment(experiment) => format!("experiment {} `{}`", experiment.id, experiment.name),
            Item::Run(run) => format!("run {}", run.id),
            Item::Points { run, .. } | Item::RunEnd { run, .. } => format!("run {run}"),
            Item::LoggedModel(model) => format!("logged model {}", model.id),
            Item::Model(model) => format!("registered model `{}`", model.name),
            Item::Version(version) => format!("version {} of `{}`", version.version, version.model),
            Item::Alias { model, alias, .. } => format!("alias `{alias}` of `{model}`"),
        }
    }
}

/// A run that bears it has not come whole yet.
const IMPORTING_TAG: &str = "trimtab.importing";

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    New,
    /// It was here already.
    Known,
}

/// Takes one item. A refusal concerns this item alone.
pub async fn take(
    store: &dyn MetadataStore,
    run_store: &dyn RunStore,
    item: Item,
    actor: &Actor,
    now: Timestamp,
) -> Result<Taken, CommitError> {
    match item {
        Item::Experiment(given) => decide(store, |world| experiment(world, &given, actor, now)).await,
        Item::Run(given) => decide(store, |world| run(world, &given, actor, now)).await,
        Item::Points { run, points: given } => points(run_store, &run, given).await,
        Item::RunEnd { run, stage } => decide(store, |world| end(world, &run, stage, actor, now)).await,
        Item::LoggedModel(given) => decide(store, |world| logged_model(world, &given, actor, now)).await,
        Item::Model(given) => decide(store, |world| model(world, &given, actor, now)).await,
        Item::Version(given) => decide(store, |world| version(world, &given, actor, now)).await,
        Item::Alias { model, alias, version } => decide(store, |world| alias_of(world, &model, &alias, version, actor, now)).await,
    }
}

/// The default experiment is here already and takes the other's tags; any other id or name that is taken is refused.
fn experiment(world: &World, given: &Experiment, actor: &Actor, now: Timestamp) -> Decision<Taken> {
    let mut batch = Batch::new(actor.clone(), now);
    if let Some(known) = world.experiment(&given.id)? {
        if known.name != given.name && given.id.as_str() != experiments::DEFAULT {
            let what = format!("experiment {} is `{}` here and `{}` there", given.id, known.name, given.name);
            return Err(taken(what, "import into a home of its own").into());
        }
        for tag in given.tags.iter().filter(|tag| !known.tags.contains(tag)) {
            batch.run_writes.push(RunWrite::SetExperimentTag { experiment: given.id.clone(), tag: tag.clone() });
        }
        return Ok((batch, Taken::Known));
    }
    if let Some(other) = world.experiments()?.iter().find(|other| other.name == given.name) {
        let what = format!("the name `{}` belongs to experiment {} here and to {} there", given.name, other.id, given.id);
        return Err(taken(what, "rename one of them").into());
    }
    batch.say(Event::Imported { what: format!("experiment {} `{}`", given.id, given.name) });
    batch.run_writes.push(RunWrite::Experiment(given.clone()));
    Ok((batch, Taken::New))
}

/// A run is active, and bears a tag, until its end has come, so that its points can be logged. One without the tag is whole and is left
/// as it is, but for one that had not ended when it was imported: it is taken up again.
fn run(world: &World, given: &Run, actor: &Actor, now: Timestamp) -> Decision<Taken> {
    let mut batch = Batch::new(actor.clone(), now);
    let unfinished = Tag::new(IMPORTING_TAG, "1");
    let Some(known) = world.run(&given.id)? else {
        if world.experiment(&given.experiment)?.is_none() {
            return Err(Refusal::invalid("import/no_experiment", format!("experiment {} was not taken", given.experiment)).into());
        }
        let mut open = Run { lifecycle_stage: LifecycleStage::Active, ..given.clone() };
        open.tags.push(unfinished);
        batch.say(Event::Imported { what: format!("run {}", given.id) });
        batch.run_writes.push(RunWrite::CreateRun(open));
        return Ok((batch, Taken::New));
    };
    if known.experiment != given.experiment {
        let what = format!("run {} belongs to experiment {} here", given.id, known.experiment);
        return Err(taken(what, "import into a home of its own").into());
    }
    let goes_on = !runs::is_final(known.status) && known.lifecycle_stage == LifecycleStage::Active;
    if goes_on && known.tag(IMPORTING_TAG).is_none() {
        batch.run_writes.push(RunWrite::SetTag { run: given.id.clone(), tag: unfinished });
        for tag in given.tags.iter().filter(|tag| known.tag(&tag.key) != Some(&tag.value)) {
            batch.run_writes.push(RunWrite::SetTag { run: given.id.clone(), tag: tag.clone() });
        }
        batch.run_writes.push(RunWrite::UpdateRun(Run { status: given.status, end: given.end, ..known }));
    }
    Ok((batch, Taken::Known))
}

/// Points of a run that is whole are there already.
async fn points(run_store: &dyn RunStore, run: &RunId, points: Vec<Metric>) -> Result<Taken, CommitError> {
    let known = run_store.run(run)?.ok_or_else(|| no_run(run))?;
    if known.tag(IMPORTING_TAG).is_none() {
        return Ok(Taken::Known);
    }
    run_store.log(run, RunLog { metrics: points, ..RunLog::default() }).await?;
    Ok(Taken::New)
}

fn end(world: &World, id: &RunId, stage: LifecycleStage, actor: &Actor, now: Timestamp) -> Decision<Taken> {
    let known = world.run(id)?.ok_or_else(|| no_run(id))?;
    let mut batch = Batch::new(actor.clone(), now);
    if known.tag(IMPORTING_TAG).is_none() {
        return Ok((batch, Taken::Known));
    }
    batch.run_writes.push(RunWrite::DeleteTag { run: id.clone(), key: IMPORTING_TAG.into() });
    if known.lifecycle_stage != stage {
        batch.run_writes.push(RunWrite::UpdateRun(Run { lifecycle_stage: stage, ..known }));
    }
    Ok((batch, Taken::New))
}

fn logged_model(world: &World, given: &LoggedModel, actor: &Actor, now: Timestamp) -> Decision<Taken> {
    let known = world.get::<LoggedModel>(&given.id)?.is_some();
    let batch = Batch::new(actor.clone(), now);
    let event = Event::Imported { what: format!("logged model {}", given.id) };
    Ok(if known { (batch, Taken::Known) } else { (batch.put(given).event(event), Taken::New) })
}

/// A model that is here keeps what it has, but never gives a number again that was given there.
fn model(world: &World, given: &RegisteredModel, actor: &Actor, now: Timestamp) -> Decision<Taken> {
    let batch = Batch::new(actor.clone(), now);
    match world.get::<RegisteredModel>(given.name.as_str())? {
        Some(known) if known.next_version >= given.next_version => Ok((batch, Taken::Known)),
        Some(known) => Ok((batch.put(&RegisteredModel { next_version: given.next_version, ..known }), Taken::Known)),
        None => {
            let name = crate::check::model_name(given.name.as_str())?;
            let event = Event::Imported { what: format!("registered model `{name}`") };
            Ok((batch.put(&RegisteredModel { name, aliases: Default::default(), ..given.clone() }).event(event), Taken::New))
        }
    }
}

/// History: it writes no `ModelVersionRegistered`, so that no gate judges versions of years ago.
fn version(world: &World, given: &ModelVersion, actor: &Actor, now: Timestamp) -> Decision<Taken> {
    let batch = Batch::new(actor.clone(), now);
    if let Some(known) = world.get::<ModelVersion>(&format!("{}/{}", given.model, given.version))? {
        if known.source != given.source {
            let what = format!("version {} of `{}` is {} here and {} there", given.version, given.model, known.source, given.source);
            return Err(taken(what, "import into a home of its own").into());
        }
        return Ok((batch, Taken::Known));
    }
    registry::find_model(world, &given.model)?;
    // Files that are not in our store are still where the source says; clients open them there.
    let artifact_path = place::of_source(world, &given.source).map(|origin| origin.artifact_path).unwrap_or_default();
    let event = Event::Imported { what: format!("version {} of `{}`", given.version, given.model) };
    Ok((batch.put(&ModelVersion { artifact_path, ..given.clone() }).event(event), Taken::New))
}

/// As a client would set it, so that a champion is served; one that points elsewhere here stays.
fn alias_of(world: &World, name: &ModelName, alias: &str, number: VersionNumber, actor: &Actor, now: Timestamp) -> Decision<Taken> {
    let known = registry::find_model(world, name)?.aliases.get(alias).copied();
    match known {
        Some(known) if known == number => Ok((Batch::new(actor.clone(), now), Taken::Known)),
        Some(known) => {
            let what = format!("alias `{alias}` of `{name}` points to {known} here and to {number} there");
            Err(taken(what, "set it with a client if it shall move").into())
        }
        None if alias == CHAMPION && aliases::declared(world, name)?.is_some() => {
            let what = format!("the champion of `{name}` is chosen by its gate");
            Err(taken(what, "take [model] out of the project file while you import").into())
        }
        None => aliases::set(world, name, alias, number, actor, now).map(|(batch, ())| (batch, Taken::New)),
    }
}

fn taken(what: String, hint: &str) -> Refusal {
    Refusal::new(Kind::Conflict, "import/differs", what).hint(hint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::ExperimentId;
    use domain::entity::{Param, RunStatus};
    use ports::memory::MemoryStore;
    use std::sync::Arc;

    fn now() -> Timestamp {
        Timestamp::from_ms(1_300_000_000_000)
    }

    fn run(status: RunStatus, stage: LifecycleStage) -> Run {
        Run {
            id: RunId::new("r1"),
            experiment: ExperimentId::new("7"),
            name: "first".into(),
            user: "ann".into(),
            status,
            start: Timestamp::from_ms(5),
            end: None,
            lifecycle_stage: stage,
            artifact_uri: "s3://b/7/r1".into(),
            params: vec![Param { key: "lr".into(), value: "0.1".into() }],
            tags: vec![Tag::new("team", "a")],
            metrics: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }

    fn points(steps: std::ops::Range<i64>) -> Item {
        let point = |step| Metric {
            key: "loss".into(),
            value: step as f64,
            time: Timestamp::from_ms(step),
            step,
            model_id: None,
            dataset_name: None,
            dataset_digest: None,
        };
        Item::Points { run: RunId::new("r1"), points: steps.map(point).collect() }
    }

    fn the_run(status: RunStatus, stage: LifecycleStage, steps: i64) -> Vec<Item> {
        vec![Item::Run(run(status, stage)), points(0..steps), Item::RunEnd { run: RunId::new("r1"), stage }]
    }

    async fn take_all(store: &Arc<MemoryStore>, items: Vec<Item>) -> Vec<Taken> {
        let mut all = Vec::new();
        for item in items {
            all.push(take(&**store, &**store, item, &Actor::User("ann".into()), now()).await.unwrap());
        }
        all
    }

    async fn store() -> Arc<MemoryStore> {
        let store = MemoryStore::new();
        let experiment = Experiment {
            id: ExperimentId::new("7"),
            name: "alpha".into(),
            artifact_location: "s3://b/7".into(),
            lifecycle_stage: LifecycleStage::Active,
            created: now(),
            updated: now(),
            tags: Vec::new(),
        };
        take_all(&store, vec![Item::Experiment(experiment)]).await;
        store
    }

    fn found(store: &Arc<MemoryStore>) -> (Run, usize) {
        let id = RunId::new("r1");
        (store.run(&id).unwrap().unwrap(), store.history(&id, "loss", None, None).unwrap().points.len())
    }

    #[tokio::test]
    async fn an_import_that_was_cut_short_goes_on() {
        let store = store().await;
        let whole = the_run(RunStatus::Finished, LifecycleStage::Deleted, 5);
        take_all(&store, whole[..2].to_vec()).await;
        take_all(&store, whole.clone()).await;
        let (run, points) = found(&store);
        assert_eq!((run.lifecycle_stage, points), (LifecycleStage::Deleted, 5));
        assert_eq!(run.tags, [Tag::new("team", "a")], "the mark of an unfinished run is gone");
        assert_eq!(take_all(&store, whole).await, [Taken::Known; 3]);
    }

    #[tokio::test]
    async fn what_was_done_here_since_is_left_alone() {
        let store = store().await;
        let whole = the_run(RunStatus::Finished, LifecycleStage::Active, 5);
        take_all(&store, whole.clone()).await;
        let ann = Actor::User("ann".into());
        decide(&*store, |world| runs::delete(world, &RunId::new("r1"), &ann, now())).await.unwrap();
        assert_eq!(take_all(&store, whole).await, [Taken::Known; 3]);
        assert_eq!(found(&store).0.lifecycle_stage, LifecycleStage::Deleted);
    }

    #[tokio::test]
    async fn a_run_that_went_on_there_goes_on_here() {
        let store = store().await;
        take_all(&store, the_run(RunStatus::Running, LifecycleStage::Active, 5)).await;
        take_all(&store, the_run(RunStatus::Finished, LifecycleStage::Active, 9)).await;
        let (run, points) = found(&store);
        assert_eq!((run.status, points), (RunStatus::Finished, 9));
    }

    #[tokio::test]
    async fn what_differs_is_refused_by_itself() {
        let store = store().await;
        let other = Item::Run(Run { experiment: ExperimentId::new("8"), ..run(RunStatus::Finished, LifecycleStage::Active) });
        let error = take(&*store, &*store, other, &Actor::User("ann".into()), now()).await.unwrap_err();
        assert!(matches!(error, CommitError::Refused(refusal) if refusal.code == "import/no_experiment"));
    }
}
