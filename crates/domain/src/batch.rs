//! One commit carries state, event and cursor together.

use crate::entity::*;
use crate::{Event, ExperimentId, Fault, RunId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

macro_rules! collections {
    ($($entity:ident $word:literal $key:expr;)*) => {
        /// The collections of the metadata store; each holds one kind of entity.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Collection {
            /// Rows of the run store, named here so that a decision's reads of them are recorded alike.
            Experiments,
            Runs,
            $($entity,)*
        }

        impl Collection {
            /// The word that the stores use.
            pub fn word(self) -> &'static str {
                match self {
                    Collection::Experiments => "experiment",
                    Collection::Runs => "run",
                    $(Collection::$entity => $word,)*
                }
            }
        }

        $(impl Entity for $entity {
            const COLLECTION: Collection = Collection::$entity;
            fn key(&self) -> String {
                let key: fn(&$entity) -> String = $key;
                key(self)
            }
        })*
    };
}

/// A document of the metadata store. A key is `ID` or `SCOPE/ID`; a scope can be listed alone.
pub trait Entity: Serialize + DeserializeOwned {
    /// Where it lives.
    const COLLECTION: Collection;
    /// Its key within the collection.
    fn key(&self) -> String;
}

collections! {
    AppliedProject "project" |_| "project".into();
    FeatureViewVersion "feature_view" |e| format!("{}/{}", e.name, e.version);
    SourceTable "source_table" |e| e.source.clone();
    MaterializationState "materialization" |e| e.view.clone();
    Segment "segment" |e| format!("{}/{:010}", e.stream.replace('/', ":"), e.number);
    TrainingSet "training_set" |e| e.id.to_string();
    RegisteredModel "registered_model" |e| e.name.to_string();
    ModelVersion "model_version" |e| format!("{}/{}", e.model, e.version);
    VersionEnvironment "version_environment" |e| format!("{}/{}", e.model, e.version);
    LoggedModel "logged_model" |e| e.id.clone();
    EvaluationDataset "evaluation_dataset" |e| e.id.clone();
    ScheduleMark "schedule_mark" |e| ScheduleMark::key_of(&e.pipeline, &e.cron, &e.tz);
    Backfill "backfill" |e| e.id.clone();
    Webhook "webhook" |e| e.id.clone();
    WebhookDelivery "webhook_delivery" |e| e.id.clone();
    DatasetRecord "dataset_record" |e| format!("{}/{}", e.dataset, e.inputs_digest);
    PipelineVersion "pipeline_version" |e| format!("{}/{}", e.pipeline, e.number);
    KeptCode "kept_code" |e| format!("{}/{}", e.pipeline, e.version);
    PipelineRun "pipeline_run" |e| e.id.to_string();
    PipelineStep "pipeline_step" |e| format!("{}/{}", e.pipeline_run, e.name);
    OpenRun "open_run" |e| OpenRun::key_of(&e.pipeline, &e.pipeline_run);
    RunCount "run_count" |e| e.pipeline.clone();
    RunIndex "run_index" |_| "run_index".into();
    UsedByRun "used_by_run" |e| format!("{}/{}", usage_day(e.requested), e.pipeline_run);
    UsedByModel "used_by_model" |e| format!("{}/{}", usage_day(e.at), e.model);
    LastStepKey "last_step_key" |e| format!("{}/{}", e.pipeline, e.step);
    CheckReport "check_report" |e| CheckReport::key_of(&e.pipeline_run, &e.step, e.attempt);
    CheckHistory "check_history" |e| format!("{}/{}", e.pipeline, e.step);
    HookDelivery "hook_delivery" |e| format!("{}/{}", e.pipeline, e.digest);
    CommitStatus "commit_status" |e| e.pipeline_run.to_string();
    LineageState "lineage" |_| "lineage".into();
    CacheEntry "step_cache" |e| e.key.to_string();
    GateRequest "gate_request" |e| format!("{}/{}", e.model, e.challenger);
    GateReport "gate_report" |e| format!("{}/{}", e.model, e.challenger);
    Approval "approval" |e| format!("{}/{}", e.model, e.version);
    Deployment "deployment" |e| e.model.to_string();
    Monitor "monitor" |e| format!("{}/{}", e.model, e.version);
    Window "window" |e| format!("{}/{}-{}-{}", e.model, e.kind.word(), e.version, e.range.from);
    Incident "incident" |e| format!("{}/{}", e.model, e.id);
    Notification "notification" |e| e.id.clone();
}

/// A document to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    pub collection: Collection,
    pub key: String,
    /// JSON; `None` deletes.
    pub body: Option<String>,
}

/// What a decision read: the commit goes through only if it is still so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// The document's revision; 0 is "not there".
    Document { collection: Collection, key: String, revision: u64 },
    /// The revision of a whole collection, or of one scope of it: nothing was added, changed or deleted.
    Listing { collection: Collection, scope: Option<String>, revision: u64 },
}

/// What a decision changes in experiments and runs.
#[derive(Clone, Debug, PartialEq)]
pub enum RunWrite {
    /// Inserts or replaces the experiment's own row and tags.
    Experiment(Experiment),
    /// Inserts the run, its params, tags, metrics and inputs.
    CreateRun(Run),
    /// Changes the run's own row (name, status, end, stage); params, tags and metrics stay.
    UpdateRun(Run),
    SetTag {
        run: RunId,
        tag: Tag,
    },
    DeleteTag {
        run: RunId,
        key: String,
    },
    SetExperimentTag {
        experiment: ExperimentId,
        tag: Tag,
    },
    /// Puts every run of the experiment into the bin, or takes it out.
    StageRuns {
        experiment: ExperimentId,
        stage: LifecycleStage,
    },
    /// Takes a run out of the bin for good, with all that was logged to it; its id is free again.
    PurgeRun(RunId),
    /// Takes a deleted experiment away that has no run any more; its name is free again.
    PurgeExperiment(ExperimentId),
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "name")]
pub enum Actor {
    /// A reaction or worker of the loop, by name.
    System(String),
    /// A person or client: a user name, or an address.
    User(String),
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Actor::System(name) | Actor::User(name) => f.write_str(name),
        }
    }
}

/// A decision as data: committed whole or not at all.
///
/// ```
/// use domain::{entity::Deployment, Actor, Batch, ModelName, Timestamp};
/// let batch = Batch::new(Actor::System("delivery".into()), Timestamp::from_ms(0)).put(&Deployment::new(ModelName::new("demand")));
/// assert_eq!(batch.puts[0].key, "demand");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Made from what the decision read, never by hand.
    pub expect: Vec<Expect>,
    pub puts: Vec<Put>,
    pub run_writes: Vec<RunWrite>,
    pub events: Vec<Event>,
    pub actor: Actor,
    /// Event clock.
    pub at: Timestamp,
    /// The event that led to this.
    pub cause: Option<u64>,
    /// The incident or request that this belongs to.
    pub thread: Option<String>,
    /// A reader's name and the last event it has dealt with.
    pub cursor: Option<(String, u64)>,
    /// May be lost with the machine's power, though not with the process: what matters only while the machine is up, such as that a step's
    /// process was started. It is on disk with the next batch that may not be lost.
    pub may_be_lost: bool,
}

impl Batch {
    /// A batch that changes nothing yet.
    pub fn new(actor: Actor, at: Timestamp) -> Self {
        Batch {
            expect: Vec::new(),
            puts: Vec::new(),
            run_writes: Vec::new(),
            events: Vec::new(),
            actor,
            at,
            cause: None,
            thread: None,
            cursor: None,
            may_be_lost: false,
        }
    }

    /// A batch that reacts to an event: it belongs to the event's thread.
    pub fn reacting(name: &str, to: &Recorded) -> Self {
        let mut batch = Batch::new(Actor::System(name.into()), to.at);
        batch.cause = Some(to.seq);
        batch.thread = to.thread.clone();
        batch
    }

    /// Writes an entity.
    pub fn put<E: Entity>(mut self, entity: &E) -> Self {
        self.write(entity);
        self
    }

    /// Adds an event.
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Writes an entity, in place.
    pub fn write<E: Entity>(&mut self, entity: &E) {
        let body = serde_json::to_string(entity).expect("entities are plain data and have a JSON form");
        self.puts.push(Put { collection: E::COLLECTION, key: entity.key(), body: Some(body) });
    }

    /// Deletes an entity.
    pub fn delete<E: Entity>(&mut self, key: impl Into<String>) {
        self.puts.push(Put { collection: E::COLLECTION, key: key.into(), body: None });
    }

    /// Adds an event, in place.
    pub fn say(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Whether committing it would change nothing but a cursor.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.run_writes.is_empty() && self.events.is_empty()
    }
}

/// An event as the log holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// 1, 2, 3, without a gap; no reader sees n + 1 before n.
    pub seq: u64,
    pub at: Timestamp,
    pub actor: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    pub event: Event,
}

impl Put {
    /// Reads an entity's JSON, as a store returned it.
    pub fn parse<E: Entity>(key: &str, body: &str) -> Result<E, Fault> {
        serde_json::from_str(body).map_err(|e| Fault::because(format!("reading {} `{key}`", E::COLLECTION.word()), e))
    }
}
