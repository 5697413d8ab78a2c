#![allow(clippy::unwrap_used)]
//! A gateway on in-memory ports that is started again and again over the same stores.

mod routes;
mod runtime;

use super::*;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::{Deployment, ModelVersion, Shadow, VersionStatus};
use domain::{Actor, Batch, Event, ModelName, PredictionId, Refusal, Scalar, Timestamp, VersionNumber};
use ports::memory::{ManualClock, MemoryRowLog, MemoryStore};
use ports::{MetadataStore, Sealer};
use reactor::Activity;
use runtime::Runtime;
use std::sync::Arc;
use std::time::Duration;

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
    runtime: Arc<Runtime>,
}

/// One process.
struct House {
    gateway: Arc<Gateway>,
    activity: Activity,
    clock: Arc<ManualClock>,
}

impl Kept {
    async fn start(&self) -> House {
        self.start_at(10).await
    }

    async fn start_at(&self, now: i64) -> House {
        let (activity, models) = (Activity::default(), &self.runtime.models);
        let clock = Arc::new(ManualClock::new(Timestamp::from_ms(now)));
        for number in [1, 2] {
            models.install(VersionNumber(number), |rows| Ok(vec![Scalar::Float(1.0); rows.num_rows()]));
        }
        // 4 takes `temp` alone, 5 `temp` and `hum`; 5 says what it saw.
        let takes = |names: &[&str]| {
            let columns: Vec<String> =
                names.iter().map(|name| format!(r#"{{"type": "double", "name": "{name}", "required": true}}"#)).collect();
            ports::Signature::parse(&format!("signature: {{inputs: '[{}]'}}", columns.join(", ")))
        };
        for (number, names) in [(4, &["temp"][..]), (5, &["temp", "hum"][..])] {
            models.sign(VersionNumber(number), takes(names));
            models.install(VersionNumber(number), |rows| Ok(vec![Scalar::Float(rows.num_columns() as f64); rows.num_rows()]));
        }
        // Does not bear the cold.
        models.install(VersionNumber(3), |rows| {
            let cold = ports::scalar_at(rows.column(0), 0).as_f64().is_some_and(|temp| temp < 0.0);
            if cold { Err(ports::PredictError::Unavailable("too cold".into())) } else { Ok(vec![Scalar::Float(3.0); rows.num_rows()]) }
        });
        let gateway = Gateway::new(
            self.store.clone(),
            self.rows.clone(),
            clock.clone(),
            activity.clone(),
            Arc::new(Sealer::new(self.store.clone(), self.rows.clone()).unwrap()),
            Arc::new(ModelPool::new(self.store.clone(), self.runtime.clone())),
            Arc::new(Sent),
            GatewayConfig { new_id: Arc::new(|_| PredictionId::new("unnamed")), wait_for_shadows: true },
        );
        gateway.follow_all().await.unwrap();
        activity.idle().await;
        House { gateway, activity, clock }
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

/// A canary that fails every other call: nobody sees it but the counters, which outlive the process.
#[tokio::test]
async fn what_a_canary_fails_the_champion_answers_and_its_counts_outlive_the_process() {
    use domain::entity::{Canary, CanarySeen};
    let kept = Kept::default();
    let canary = Canary {
        version: VersionNumber(3),
        weight: 99,
        since: Timestamp::from_ms(5),
        min_requests: 4,
        hold: domain::Span::default(),
        paused: None,
        seen: CanarySeen::default(),
    };
    let mut deployment = Deployment::new(model());
    (deployment.champion, deployment.canary) = (Some(VersionNumber(1)), Some(canary));
    let batch = Batch::new(Actor::System("test".into()), Timestamp::from_ms(0)).put(&deployment).put(&version(1)).put(&version(3));
    kept.store.commit(batch).await.unwrap();
    let told = || {
        let events = kept.store.events(0, 1000).unwrap().into_iter();
        let served = |event| if let Event::CanaryServed { answered, failed, .. } = event { Some((answered, failed)) } else { None };
        events.filter_map(|recorded| served(recorded.event)).collect::<Vec<_>>()
    };
    let ask = async |house: &House, id: &str, fails: bool| {
        let columns = [("temp".to_owned(), if fails { Scalar::Float(-1.0) } else { Scalar::Float(1.0) })].into();
        let request = PredictRequest { id: Some(PredictionId::new(id)), time: None, columns };
        let answer = house.gateway.predict(&model(), vec![request]).await.unwrap().remove(0);
        house.activity.idle().await;
        answer.version.0
    };
    let first = kept.start().await;
    assert_eq!(ask(&first, "a", false).await, 3);
    assert_eq!(ask(&first, "b", true).await, 1, "the champion answers what the canary fails");
    assert_eq!(told(), [(1, 1)], "the first failure is told at once");
    assert_eq!(ask(&first, "c", false).await, 3);
    let by = async |version| {
        let request =
            PredictRequest { id: Some(PredictionId::new("x")), time: None, columns: [("temp".to_owned(), Scalar::Float(1.0))].into() };
        first.gateway.call(&model(), Call { rows: vec![request], wanted: Some(VersionNumber(version)), ..Call::default() }).await
    };
    assert_eq!(by(1).await.unwrap()[0].version.0, 1, "the champion is asked for by name");
    assert!(matches!(by(2).await, Err(ServeError::Refused(refusal)) if refusal.code == "serve/version"));
    drop(first);
    let second = kept.start().await;
    assert_eq!(ask(&second, "c", false).await, 3);
    assert_eq!(ask(&second, "d", false).await, 3);
    assert_eq!(told(), [(1, 1)], "a request that is sent again counts once");
    assert_eq!(ask(&second, "e", false).await, 3);
    assert_eq!(told(), [(1, 1), (4, 1)], "enough for the step, over both processes");
    drop(kept.start().await);
    assert_eq!(told().len(), 2, "told once");
}

/// A canary that hung took the whole deadline: the champion behind it had no time left, every caller got 504, and the failure was never counted.
#[tokio::test]
async fn a_canary_that_hangs_leaves_the_champion_its_time_and_is_counted() {
    use domain::entity::{Canary, CanarySeen};
    let kept = Kept::default();
    let canary = Canary {
        version: runtime::HANGS,
        weight: 100,
        since: Timestamp::from_ms(5),
        min_requests: 100,
        hold: domain::Span::default(),
        paused: None,
        seen: CanarySeen::default(),
    };
    let mut deployment = Deployment::new(model());
    (deployment.champion, deployment.canary) = (Some(VersionNumber(1)), Some(canary));
    let versions = [version(1), version(runtime::HANGS.0)];
    let batch = Batch::new(Actor::System("test".into()), Timestamp::from_ms(0)).put(&deployment);
    kept.store.commit(versions.iter().fold(batch, |batch, version| batch.put(version))).await.unwrap();
    let house = kept.start().await;
    house.ask("a").await;
    let status = house.gateway.status().remove(0);
    let canary = status.versions.iter().find(|one| one.role == "canary").unwrap();
    assert_eq!((canary.answered, canary.failed), (0, 1));
    let given = kept.runtime.given.lock().clone();
    assert!(given.len() == 1 && given[0] <= Duration::from_secs(15), "half of the usual 30 s: {given:?}");
    // What the champion cannot answer either is a failure of a canary that is down all the same.
    deployment.champion = Some(runtime::HANGS);
    deployment.canary.as_mut().unwrap().version = VersionNumber(3);
    kept.store.commit(Batch::new(Actor::System("test".into()), Timestamp::from_ms(0)).put(&deployment).put(&version(3))).await.unwrap();
    let house = kept.start().await;
    let request = PredictRequest { id: None, time: None, columns: [("temp".to_owned(), Scalar::Float(-1.0))].into() };
    assert!(house.gateway.predict(&model(), vec![request]).await.is_err());
    let status = house.gateway.status().remove(0);
    let canary = status.versions.iter().find(|one| one.role == "canary").unwrap();
    assert_eq!((canary.answered, canary.failed), (0, 1));
}

/// A step lasts at least so long. It was judged only when an answer came after that: with a model that few ask, a canary stood at its
/// weight until somebody asked once more.
#[tokio::test]
async fn a_step_is_over_by_time_alone() {
    use domain::entity::{Canary, CanarySeen};
    for (asked, early) in [(3, 0), (60, 1)] {
        let kept = Kept::default();
        let canary = Canary {
            version: VersionNumber(2),
            weight: 100,
            since: Timestamp::from_ms(5),
            min_requests: 3,
            hold: domain::Span::from_ms(100),
            paused: None,
            seen: CanarySeen::default(),
        };
        let mut deployment = Deployment::new(model());
        (deployment.champion, deployment.canary) = (Some(VersionNumber(1)), Some(canary));
        let batch = Batch::new(Actor::System("test".into()), Timestamp::from_ms(0)).put(&deployment).put(&version(1)).put(&version(2));
        kept.store.commit(batch).await.unwrap();
        let told = || {
            let events = kept.store.events(0, 1000).unwrap().into_iter();
            let served = |event| if let Event::CanaryServed { answered, .. } = event { Some(answered) } else { None };
            events.filter_map(|recorded| Some((served(recorded.event)?, recorded.at.ms()))).collect::<Vec<_>>()
        };
        let house = kept.start().await;
        for n in 0..asked {
            house.ask(&format!("r{n}")).await;
        }
        let look = async |house: &House, now: i64| {
            house.clock.advance_to(Timestamp::from_ms(now));
            house.gateway.look_at_canaries();
            house.activity.idle().await;
        };
        look(&house, 104).await;
        assert_eq!(told().len(), early, "the step is not over; {asked} answers were told {early} times");
        look(&house, 105).await;
        look(&house, 106).await;
        assert_eq!((told().len(), told().last().copied()), (early + 1, Some((asked, 105))), "judged once, though nothing was asked since");
        drop(house);
        drop(kept.start_at(200).await);
        assert_eq!(told().len(), early + 1, "the next process knows that it was told");
    }
    // Too few requests are no evidence, however long it lasts.
    let kept = Kept::default();
    let house = kept.start().await;
    house.gateway.look_at_canaries();
    house.activity.idle().await;
    assert!(kept.store.events(0, 10).unwrap().is_empty());
}

/// What the champion's signature did not know was taken away before the shadows were asked: a challenger with one feature more failed every
/// answer, and could never be let out.
#[tokio::test]
async fn a_shadow_sees_a_column_that_the_champion_does_not_know() {
    let kept = Kept::default();
    let mut deployment = Deployment::new(model());
    deployment.champion = Some(VersionNumber(4));
    deployment.shadows = vec![VersionNumber(5)];
    let batch = Batch::new(Actor::System("test".into()), Timestamp::from_ms(0)).put(&deployment).put(&version(4)).put(&version(5));
    kept.store.commit(batch).await.unwrap();
    let house = kept.start().await;
    let columns = [("hum".to_owned(), Scalar::Float(0.1)), ("temp".to_owned(), Scalar::Float(0.5))].into();
    let request = PredictRequest { id: None, time: None, columns };
    let answer = house.gateway.predict(&model(), vec![request]).await.unwrap().remove(0);
    house.activity.idle().await;
    assert_eq!(answer.value, Scalar::Float(1.0), "the champion takes one column");
    let status = house.gateway.status().remove(0);
    let shadow = status.versions.iter().find(|one| one.role == "shadow").unwrap();
    assert_eq!((shadow.answered, shadow.failed), (1, 0));
}

/// A champion's time is its model's own, and the request's is at least as long.
#[tokio::test]
async fn what_the_champion_took_is_measured() {
    const TAKES: Duration = Duration::from_millis(20);
    let kept = Kept::default();
    kept.runtime.models.install(VersionNumber(8), |rows| {
        std::thread::sleep(TAKES);
        Ok(vec![Scalar::Float(8.0); rows.num_rows()])
    });
    let mut deployment = Deployment::new(model());
    deployment.champion = Some(VersionNumber(8));
    let batch = Batch::new(Actor::System("test".into()), Timestamp::from_ms(0)).put(&deployment).put(&version(8));
    kept.store.commit(batch).await.unwrap();
    let house = kept.start().await;
    house.ask("a").await;
    house.ask("b").await;
    let seen = house.gateway.seen(&model()).unwrap();
    let lane = &seen.lanes[0];
    assert_eq!((seen.lanes.len(), lane.version, lane.role), (1, VersionNumber(8), "champion"));
    assert_eq!(lane.latency.count(), 2);
    let (own, all) = (lane.latency.sum_us(), seen.total.latency.sum_us());
    assert!(u128::from(own) >= 2 * TAKES.as_micros() && own <= all, "{own} of {all} us");
}
