#![allow(clippy::unwrap_used)]
//! A gateway on in-memory ports that is started again and again over the same stores.

use super::*;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::{Deployment, ModelVersion, Shadow, VersionStatus};
use domain::{Actor, Batch, Event, ModelName, PredictionId, Refusal, Scalar, Timestamp, VersionNumber};
use ports::memory::{ManualClock, MemoryRowLog, MemoryRuntime, MemoryStore};
use ports::{MetadataStore, Sealer};
use reactor::Activity;
use std::sync::Arc;

/// The model takes what it is sent.
struct Sent;

#[async_trait]
impl FeatureSource for Sent {
    fn entity_columns(&self, _: &ModelName) -> Result<Vec<String>, Refusal> {
        Ok(Vec::new())
    }

    async fn features(&self, _: &ModelName, _: &[FeatureRequest]) -> Result<RecordBatch, ServeError> {
        Err(Refusal::not_found("feature/none", "no views").into())
    }
}

fn model() -> ModelName {
    ModelName::new("demand")
}

fn version(number: u64) -> ModelVersion {
    ModelVersion {
        model: model(),
        version: VersionNumber(number),
        run: None,
        source: String::new(),
        artifact_path: String::new(),
        model_id: None,
        status: VersionStatus::Ready,
        stage: String::new(),
        description: String::new(),
        tags: Vec::new(),
        created: Timestamp::from_ms(0),
        updated: Timestamp::from_ms(0),
        pipeline_run: None,
        training_set: None,
        trained_until: None,
    }
}

/// What outlives a process.
#[derive(Default)]
struct Kept {
    store: Arc<MemoryStore>,
    rows: Arc<MemoryRowLog>,
}

/// One process.
struct House {
    gateway: Arc<Gateway>,
    activity: Activity,
}

impl Kept {
    async fn start(&self) -> House {
        let (activity, models) = (Activity::default(), MemoryRuntime::default());
        for number in [1, 2] {
            models.install(VersionNumber(number), |rows| Ok(vec![Scalar::Float(1.0); rows.num_rows()]));
        }
        let gateway = Gateway::new(
            self.store.clone(),
            self.rows.clone(),
            Arc::new(ManualClock::new(Timestamp::from_ms(10))),
            activity.clone(),
            Arc::new(Sealer::new(self.store.clone(), self.rows.clone()).unwrap()),
            Arc::new(ModelPool::new(self.store.clone(), Arc::new(models))),
            Arc::new(Sent),
            GatewayConfig { new_id: Arc::new(|_| PredictionId::new("unnamed")), wait_for_shadows: true },
        );
        gateway.follow_all().await.unwrap();
        activity.idle().await;
        House { gateway, activity }
    }

    /// What the log says of shadows: how many requests they answered.
    fn told(&self) -> Vec<u64> {
        let events = self.store.events(0, 1000).unwrap().into_iter();
        let served = |event| if let Event::ShadowServed { answered, .. } = event { Some(answered) } else { None };
        events.filter_map(|recorded| served(recorded.event)).collect()
    }
}

impl House {
    async fn ask(&self, id: &str) {
        let columns = [("temp".to_owned(), Scalar::Float(0.5))].into();
        let request = PredictRequest { id: Some(PredictionId::new(id)), time: None, columns };
        self.gateway.predict(&model(), vec![request]).await.unwrap();
        self.activity.idle().await;
    }
}

/// The count of a shadow's answers lived in the process: a server that was killed within a rollout began again at nothing,
/// and one that was killed while it told that they were enough never told it. A rollout could take for ever. The answers
/// are in the row log, so they are counted there; and the deployment remembers that it was told.
#[tokio::test]
async fn a_shadow_goes_on_counting_in_the_next_process_and_tells_once() {
    let kept = Kept::default();
    let mut deployment = Deployment::new(model());
    deployment.champion = Some(VersionNumber(1));
    deployment.challenger = Some(Shadow { version: VersionNumber(2), since: Timestamp::from_ms(5), needs: Some(3), served: false });
    let batch = Batch::new(Actor::System("test".into()), Timestamp::from_ms(0)).put(&deployment).put(&version(1)).put(&version(2));
    kept.store.commit(batch).await.unwrap();

    let first = kept.start().await;
    first.ask("a").await;
    first.ask("b").await;
    drop(first);
    let second = kept.start().await;
    second.ask("b").await;
    assert_eq!(kept.told(), [0; 0], "a request that is sent again counts once");
    second.ask("c").await;
    assert_eq!(kept.told(), [3]);
    second.ask("d").await;
    kept.start().await.ask("e").await;
    assert_eq!(kept.told(), [3]);
}
