//! The commands against the in-memory store.
#![allow(clippy::unwrap_used)]

use crate::experiments::NewExperiment;
use crate::logged_models::NewLoggedModel;
use crate::registry::NewVersion;
use crate::runs::{NewRun, RunChange};
use crate::*;
use domain::entity::*;
use domain::spec::Project;
use domain::{Actor, Digest, Event, ExperimentId, ModelName, PipelineRunId, Range, RunId, Span, Timestamp, TrainingSetId, VersionNumber};
use ports::memory::MemoryStore;
use ports::{MetadataStore, World, decide};
use std::sync::Arc;

struct House(Arc<MemoryStore>);

fn ada() -> Actor {
    Actor::User("ada".into())
}

fn now() -> Timestamp {
    Timestamp::from_ms(1_300_000_000_000)
}

fn demand() -> ModelName {
    ModelName::new("demand")
}

impl House {
    async fn new() -> Self {
        let house = House(MemoryStore::new());
        house.act(|world| experiments::ensure_default(world, &ada(), now())).await.unwrap();
        house
    }

    /// Decides and commits; a refusal comes back as its code.
    async fn act<T>(&self, decision: impl Fn(&World) -> Decision<T>) -> Result<T, String> {
        decide(&*self.0, decision).await.map_err(|error| match error {
            ports::CommitError::Refused(refusal) => refusal.code,
            other => panic!("{other}"),
        })
    }

    async fn put<E: domain::Entity>(&self, entity: &E) {
        self.0.commit(Batch::new(ada(), now()).put(entity)).await.unwrap();
    }

    fn world(&self) -> World<'_> {
        World::new(self.0.snapshot().unwrap())
    }

    /// The names of the events from the n-th on.
    fn events(&self, after: usize) -> Vec<Event> {
        self.0.events(after as u64, 1000).unwrap().into_iter().map(|recorded| recorded.event).collect()
    }

    async fn run(&self, id: &str, tags: Vec<Tag>) -> Result<Run, String> {
        let new = NewRun {
            id: RunId::new(id),
            experiment: ExperimentId::new("0"),
            name: None,
            spare_name: "spare-1".into(),
            user: "ada".into(),
            start: now(),
            tags,
        };
        self.act(|world| runs::create(world, new.clone(), &ada(), now())).await
    }

    async fn version(&self, run: Option<&str>, source: &str) -> Result<ModelVersion, String> {
        let run = run.map(RunId::new);
        let new = NewVersion { model: demand(), source: source.into(), run, model_id: None, tags: vec![], description: String::new() };
        self.act(|world| registry::create_version(world, new.clone(), &ada(), now())).await
    }

    async fn alias(&self, alias: &str, version: u64) -> Result<(), String> {
        self.act(|world| aliases::set(world, &demand(), alias, VersionNumber(version), &ada(), now())).await
    }

    /// A registered model with versions 1 and 2.
    async fn with_versions() -> Self {
        let house = House::new().await;
        house.act(|world| registry::create_model(world, "demand", vec![], "", &ada(), now())).await.unwrap();
        for _ in 0..2 {
            house.version(None, "mlflow-artifacts:/0/models/m-1/artifacts").await.unwrap();
        }
        house
    }

    async fn declare(&self, protected: bool) {
        let file = format!("[model.demand]\ntask = \"regression\"\nmetric = \"mae\"\nprotected = {protected}\n");
        let spec: Project = toml::from_str(&file).unwrap();
        self.put(&AppliedProject { hash: spec.hash(), spec, root: "/".into(), applied: now() }).await;
    }
}

#[tokio::test]
async fn experiments_have_unique_names_and_growing_ids() {
    let house = House::new().await;
    let create = |name: &str| {
        let new = NewExperiment { name: name.into(), ..NewExperiment::default() };
        move |world: &World| experiments::create(world, new.clone(), &ada(), now())
    };
    let first = house.act(create("a")).await.unwrap();
    assert_eq!((first.id.as_str(), first.artifact_location.as_str()), ("1", "mlflow-artifacts:/1"));
    assert_eq!(house.act(create("a")).await.unwrap_err(), "experiment/exists");
    house.act(|world| experiments::delete(world, &first.id, &ada(), now())).await.unwrap();
    assert_eq!(house.act(create("a")).await.unwrap_err(), "experiment/exists", "a deleted experiment keeps its name");
    assert_eq!(house.act(|world| experiments::rename(world, &first.id, "b", &ada(), now())).await.unwrap_err(), "experiment/deleted");
    assert_eq!(house.act(|world| experiments::delete(world, &first.id, &ada(), now())).await.unwrap_err(), "experiment/not_found");
    assert_eq!(house.act(create("c")).await.unwrap().id.as_str(), "2");
    for bad in ["", "  ", &"x".repeat(501)] {
        assert_eq!(house.act(create(bad)).await.unwrap_err(), "experiment/name");
    }
    assert_eq!(house.events(0).iter().map(Event::name).collect::<Vec<_>>(), ["ExperimentCreated"; 3]);
}

#[tokio::test]
async fn deleting_an_experiment_takes_its_runs_along_and_brings_them_back() {
    let house = House::new().await;
    house.run("r", vec![]).await.unwrap();
    let id = ExperimentId::new("0");
    house.act(|world| experiments::delete(world, &id, &ada(), now())).await.unwrap();
    assert_eq!(house.world().run(&RunId::new("r")).unwrap().unwrap().lifecycle_stage, LifecycleStage::Deleted);
    assert_eq!(house.run("s", vec![]).await.unwrap_err(), "experiment/deleted");
    house.act(|world| experiments::restore(world, &id, &ada(), now())).await.unwrap();
    assert_eq!(house.world().run(&RunId::new("r")).unwrap().unwrap().lifecycle_stage, LifecycleStage::Active);
}

#[tokio::test]
async fn a_runs_name_and_its_tag_are_the_same() {
    let house = House::new().await;
    let spare = house.run("a", vec![]).await.unwrap();
    assert_eq!((spare.name.as_str(), spare.tag(RUN_NAME_TAG)), ("spare-1", Some("spare-1")));
    assert_eq!(spare.artifact_uri, "mlflow-artifacts:/0/a/artifacts");
    let tagged = house.run("b", vec![Tag::new(RUN_NAME_TAG, "tagged"), Tag::new(PIPELINE_RUN_TAG, "p-1")]).await.unwrap();
    assert_eq!(tagged.name, "tagged");
    let started = Event::RunStarted {
        run: tagged.id.clone(),
        experiment: tagged.experiment,
        name: tagged.name,
        pipeline_run: Some(PipelineRunId::new("p-1")),
    };
    assert_eq!(house.events(2), [started]);
    let change = RunChange { name: Some("new".into()), ..RunChange::default() };
    house.act(|world| runs::update(world, &tagged.id, change.clone(), &ada(), now())).await.unwrap();
    let run = house.world().run(&tagged.id).unwrap().unwrap();
    assert_eq!((run.name.as_str(), run.tag(RUN_NAME_TAG)), ("new", Some("new")));
}

#[tokio::test]
async fn a_run_finishes_once() {
    let house = House::new().await;
    let id = house.run("a", vec![]).await.unwrap().id;
    let finish = RunChange { status: Some(RunStatus::Finished), end: Some(now()), name: None };
    for _ in 0..2 {
        house.act(|world| runs::update(world, &id, finish.clone(), &ada(), now())).await.unwrap();
    }
    assert_eq!(house.events(2), [Event::RunFinished { run: id.clone(), status: RunStatus::Finished }]);
    house.act(|world| runs::delete(world, &id, &ada(), now())).await.unwrap();
    assert_eq!(house.act(|world| runs::update(world, &id, finish.clone(), &ada(), now())).await.unwrap_err(), "run/deleted");
    house.act(|world| runs::restore(world, &id, &ada(), now())).await.unwrap();
    assert_eq!(house.act(|world| runs::delete_tag(world, &id, "none", &ada(), now())).await.unwrap_err(), "tag/not_found");
}

#[tokio::test]
async fn version_numbers_are_never_given_twice() {
    let house = House::with_versions().await;
    house.act(|world| registry::delete_version(world, &demand(), VersionNumber(2), &ada(), now())).await.unwrap();
    assert_eq!(house.version(None, "mlflow-artifacts:/0/x").await.unwrap().version, VersionNumber(3));
    assert_eq!(house.version(None, "/etc/x").await.unwrap_err(), "version/source");
    assert_eq!(house.version(None, "mlflow-artifacts:/../x").await.unwrap_err(), "version/source");
    assert_eq!(house.version(Some("none"), "mlflow-artifacts:/0/x").await.unwrap_err(), "run/not_found");
}

#[tokio::test]
async fn a_version_knows_where_it_came_from() {
    let house = House::with_versions().await;
    let cutoff = Timestamp::parse("2011-02-22").unwrap();
    let set = TrainingSet {
        id: TrainingSetId::new("ts-1"),
        model: "demand".into(),
        definition: Digest::of(b""),
        views: vec![],
        table_versions: Default::default(),
        until: now(),
        cutoff,
        holdout_to: now(),
        holdout: Span::days(7),
        rows: 1,
        time: Some(Range::new(now(), now())),
        features: vec![],
        label: "y".into(),
        time_column: "t".into(),
        content: Digest::of(b""),
        created: now(),
    };
    house.put(&set).await;
    let mut step = PipelineStep::waiting(PipelineRunId::new("p-1"), "training_set");
    step.training_set = Some(set.id.clone());
    house.put(&PipelineStep::waiting(PipelineRunId::new("p-1"), "first")).await;
    house.put(&step).await;
    house.run("piped", vec![Tag::new(PIPELINE_RUN_TAG, "p-1"), Tag::new(TRAINED_UNTIL_TAG, "1999-01-01")]).await.unwrap();
    house.run("tagged", vec![Tag::new(TRAINED_UNTIL_TAG, "2011-01-31T00:00:00Z")]).await.unwrap();
    house.run("bad", vec![Tag::new(TRAINED_UNTIL_TAG, "yesterday")]).await.unwrap();
    house.run("plain", vec![]).await.unwrap();
    let of = |run: &'static str| house.version(Some(run), "runs:/plain/model");
    let piped = of("piped").await.unwrap();
    assert_eq!(
        (piped.pipeline_run.as_ref().map(PipelineRunId::as_str), piped.training_set, piped.trained_until),
        (Some("p-1"), Some(set.id), Some(cutoff))
    );
    assert_eq!(piped.artifact_path, "0/plain/artifacts/model");
    assert!(matches!(house.events(0).last(), Some(Event::ModelVersionRegistered { pipeline_run: Some(id), .. }) if id.as_str() == "p-1"));
    assert_eq!(of("tagged").await.unwrap().trained_until, Timestamp::parse("2011-01-31"));
    assert_eq!(of("plain").await.unwrap().trained_until, None);
    assert_eq!(of("bad").await.unwrap_err(), "run/trained_until");
}

#[tokio::test]
async fn sources_lead_to_folders() {
    let house = House::with_versions().await;
    let new = NewLoggedModel {
        id: "m-1".into(),
        experiment: ExperimentId::new("0"),
        name: "model".into(),
        model_type: None,
        source_run: None,
        tags: vec![],
        params: vec![],
    };
    house.act(|world| logged_models::create(world, new.clone(), &ada(), now())).await.unwrap();
    house.alias("good", 1).await.unwrap();
    let world = house.world();
    for source in ["models:/m-1", "models:/demand/1", "models:/demand@good"] {
        assert_eq!(place::of_source(&world, source).unwrap().artifact_path, "0/models/m-1/artifacts", "{source}");
    }
    assert_eq!(place::of_source(&world, "models:/demand@good").unwrap().source, "models:/demand/1", "an alias moves, a source does not");
    for source in ["s3://bucket/model", "dbfs:/x", "https://host/x"] {
        assert_eq!(place::of_source(&world, source).unwrap().artifact_path, "", "{source} is for clients to open");
    }
    let bad = "models:/m-2 models:/demand/9 models:/demand/x models:/none/1 models:/demand@bad runs:/none/x /etc/passwd file:///etc FILE:/x \
               mlflow-artifacts:/ mlflow-artifacts:/a/../b s3://bucket/%252e%252e/x x/y C:/x";
    for source in bad.split_whitespace().chain([""]) {
        assert!(place::of_source(&world, source).is_err(), "{source}");
    }
}

#[tokio::test]
async fn a_hand_made_champion_is_recorded_and_served() {
    let house = House::with_versions().await;
    let before = house.events(0).len();
    house.alias("champion", 1).await.unwrap();
    house.alias("champion", 2).await.unwrap();
    house.alias("champion", 2).await.unwrap();
    let deployment: Deployment = house.world().get("demand").unwrap().unwrap();
    assert_eq!((deployment.champion, deployment.history.len()), (Some(VersionNumber(2)), 2));
    assert_eq!(deployment.history[1].previous, Some(VersionNumber(1)));
    let events = house.events(before);
    assert_eq!(events.iter().map(Event::name).collect::<Vec<_>>(), ["AliasSet", "ChampionPromoted", "AliasSet", "ChampionPromoted"]);
    assert!(matches!(&events[3], Event::ChampionPromoted { by, why, .. } if by == "override" && why.contains("ada")), "{:?}", events[3]);
    assert_eq!(house.0.events(before as u64, 1).unwrap()[0].actor, ada());
    house.alias("other", 1).await.unwrap();
    assert_eq!(house.events(before + 4).len(), 1, "other aliases promote nobody");

    house.act(|world| registry::delete_version(world, &demand(), VersionNumber(2), &ada(), now())).await.unwrap();
    let world = house.world();
    assert_eq!(world.get::<Deployment>("demand").unwrap().unwrap().champion, None);
    assert_eq!(registry::find_model(&world, &demand()).unwrap().aliases.len(), 1);
}

#[tokio::test]
async fn the_project_file_has_a_say_in_its_models() {
    let house = House::with_versions().await;
    house.declare(false).await;
    let before = house.events(0).len();
    house.alias("champion", 1).await.unwrap();
    assert_eq!(house.events(before).iter().map(Event::name).collect::<Vec<_>>(), ["AliasSet"], "delivery follows the event");
    let delete = |world: &World| aliases::delete(world, &demand(), "champion", &ada(), now());
    assert_eq!(house.act(delete).await.unwrap_err(), "alias/in_use");
    assert_eq!(
        house.act(|world| registry::delete_version(world, &demand(), VersionNumber(1), &ada(), now())).await.unwrap_err(),
        "alias/in_use"
    );
    house.declare(true).await;
    assert_eq!(house.alias("champion", 2).await.unwrap_err(), "alias/protected");
    house.alias("shadow", 2).await.unwrap();
    assert_eq!(house.act(|world| registry::rename_model(world, &demand(), "other", &ada(), now())).await.unwrap_err(), "model/in_use");
}

#[tokio::test]
async fn a_model_that_nobody_serves_can_be_renamed() {
    let house = House::with_versions().await;
    house.alias("best", 2).await.unwrap();
    house.act(|world| registry::rename_model(world, &demand(), "supply", &ada(), now())).await.unwrap();
    let (world, supply) = (house.world(), ModelName::new("supply"));
    assert_eq!(registry::find_model(&world, &supply).unwrap().aliases["best"], VersionNumber(2));
    assert_eq!(registry::find_version(&world, &supply, VersionNumber(1)).unwrap().model, supply);
    assert!(registry::find_model(&world, &demand()).is_err());
    assert_eq!(world.scope::<ModelVersion>("demand").unwrap().len(), 0);
}

#[tokio::test]
async fn logged_models_keep_the_latest_metric_of_each_dataset() {
    let house = House::new().await;
    let new = NewLoggedModel {
        id: "m-1".into(),
        experiment: ExperimentId::new("0"),
        name: "model".into(),
        model_type: Some(String::new()),
        source_run: None,
        tags: vec![Tag::new("a", "1"), Tag::new("a", "2")],
        params: vec![],
    };
    let model = house.act(|world| logged_models::create(world, new.clone(), &ada(), now())).await.unwrap();
    assert_eq!((model.tags.len(), model.model_type, model.status), (1, None, LoggedModelStatus::Pending));
    let metric = |value, step, dataset: Option<&str>| Metric {
        key: "mae".into(),
        value,
        time: now(),
        step,
        model_id: Some("m-1".into()),
        dataset_name: dataset.map(str::to_owned),
        dataset_digest: None,
    };
    let metrics = vec![metric(1.0, 2, None), metric(9.0, 1, None), metric(3.0, 0, Some("test"))];
    let model =
        house.act(|world| logged_models::keep_metrics(world, "m-1", &RunId::new("r"), metrics.clone(), &ada(), now())).await.unwrap();
    let values: Vec<_> = model.all_metrics().map(|(run, metric)| (run.map(RunId::as_str), metric.value)).collect();
    assert_eq!(values, [(Some("r"), 1.0), (Some("r"), 3.0)], "the run that logged it is kept");
    let ready = house.act(|world| logged_models::finalize(world, "m-1", LoggedModelStatus::Ready, &ada(), now())).await.unwrap();
    assert_eq!(ready.status, LoggedModelStatus::Ready);
    let bad = NewLoggedModel { name: "a/b".into(), ..new };
    assert_eq!(house.act(|world| logged_models::create(world, bad.clone(), &ada(), now())).await.unwrap_err(), "logged_model/name");
}
