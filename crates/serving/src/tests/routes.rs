//! Routes while something is installed, and what is loaded anew.

use super::*;
use domain::entity::{AppliedProject, Canary, CanarySeen, VersionEnvironment};
use domain::spec::Project;
use ports::World;
use std::sync::atomic::Ordering;
use std::time::Instant;

fn canary(number: u64) -> Canary {
    Canary {
        version: VersionNumber(number),
        weight: 100,
        since: Timestamp::from_ms(5),
        min_requests: 1000,
        hold: domain::Span::default(),
        paused: None,
        seen: CanarySeen::default(),
    }
}

fn batch() -> Batch {
    Batch::new(Actor::System("test".into()), Timestamp::from_ms(0))
}

impl Kept {
    async fn deploy(&self, deployment: &Deployment) {
        let versions = deployment.versions().into_iter().map(|number| version(number.0));
        let batch = versions.fold(batch().put(deployment), |batch, version| batch.put(&version));
        self.store.commit(batch).await.unwrap();
    }

    async fn apply(&self, serve: &str) {
        let file = format!(r#"{{ "model": {{ "demand": {{ "task": "regression", "metric": "mae", "serve": {serve} }} }} }}"#);
        let spec: Project = serde_json::from_str(&file).unwrap();
        let project = AppliedProject { hash: spec.hash(), spec, root: "/".into(), applied: Timestamp::from_ms(0) };
        self.store.commit(batch().put(&project)).await.unwrap();
    }
}

impl House {
    /// Who answers, or the code of the refusal.
    async fn who(&self) -> Result<u64, Refusal> {
        let columns = [("temp".to_owned(), Scalar::Float(0.5))].into();
        let request = PredictRequest { id: None, time: None, columns };
        match self.gateway.predict(&model(), vec![request]).await {
            Ok(answers) => Ok(answers[0].version.0),
            Err(ServeError::Refused(refusal)) => Err(refusal),
            Err(ServeError::Fault(fault)) => panic!("{fault}"),
        }
    }

    fn broken(&self) -> Option<String> {
        self.gateway.route(&model()).unwrap().broken.clone()
    }

    /// Lets what is being installed get on until `is` so.
    async fn until(&self, is: impl Fn(&House) -> bool) {
        for _ in 0..1000 {
            if is(self) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it does not come");
    }
}

/// While an environment was being installed, nothing reached the route: a canary that was aborted went on answering for minutes.
#[tokio::test]
async fn an_abort_reaches_the_route_while_something_is_installed() {
    let kept = Kept::default();
    kept.runtime.needs.lock().insert(VersionNumber(2));
    let mut deployment = Deployment::new(model());
    (deployment.champion, deployment.canary) = (Some(VersionNumber(1)), Some(canary(3)));
    kept.deploy(&deployment).await;
    let house = kept.start().await;
    assert_eq!(house.who().await.unwrap(), 3);
    deployment.shadows = vec![VersionNumber(2)];
    kept.deploy(&deployment).await;
    house.gateway.follow(&model()).await.unwrap();
    assert_eq!(house.who().await.unwrap(), 3);
    deployment.canary = None;
    kept.deploy(&deployment).await;
    house.gateway.follow(&model()).await.unwrap();
    assert_eq!((house.who().await.unwrap(), house.broken()), (1, None), "the canary is gone");
    assert!(kept.runtime.loads.lock().iter().all(|(number, _)| number.0 != 2), "nothing is loaded before it is installed");
    kept.runtime.installs.add_permits(1);
    house.until(|house| house.gateway.status()[0].versions.iter().any(|one| one.role == "shadow" && one.version.0 == 2)).await;
}

#[tokio::test]
async fn the_old_champion_answers_until_the_new_one_is_installed_and_when_it_cannot_be() {
    let kept = Kept::default();
    kept.runtime.needs.lock().extend([VersionNumber(2), VersionNumber(4)]);
    kept.runtime.fails.lock().insert(VersionNumber(4));
    let mut deployment = Deployment::new(model());
    let mut promote = async |house: &House, number| {
        deployment.champion = Some(VersionNumber(number));
        kept.deploy(&deployment).await;
        house.gateway.follow(&model()).await.unwrap();
    };
    let house = kept.start().await;
    promote(&house, 4).await;
    assert!(house.who().await.is_err_and(|refusal| refusal.to_string().contains("is being installed")));
    kept.runtime.installs.add_permits(1);
    house.until(|house| house.broken().is_some_and(|why| why.contains("version 4 does not load") && why.contains("no such package"))).await;
    promote(&house, 1).await;
    assert_eq!((house.who().await.unwrap(), house.broken()), (1, None));
    promote(&house, 2).await;
    assert!(house.who().await.unwrap() == 1 && house.broken().is_some_and(|why| why.contains("is being installed")));
    promote(&house, 1).await;
    assert_eq!((house.who().await.unwrap(), house.broken()), (1, None), "it was rolled back meanwhile");
    promote(&house, 2).await;
    kept.runtime.installs.add_permits(1);
    house.until(|house| house.broken().is_none()).await;
    assert_eq!(house.who().await.unwrap(), 2);
}

/// Counts of an earlier process were read for the first route alone: a canary that had to be installed first would have begun anew.
#[tokio::test]
async fn a_canary_that_is_installed_late_goes_on_counting() {
    let kept = Kept::default();
    let mut deployment = Deployment::new(model());
    (deployment.champion, deployment.canary) = (Some(VersionNumber(1)), Some(canary(2)));
    kept.deploy(&deployment).await;
    drop({
        let first = kept.start().await;
        first.ask("a").await;
        first
    });
    kept.runtime.needs.lock().insert(VersionNumber(2));
    let second = kept.start().await;
    assert_eq!(second.who().await.unwrap(), 1, "the canary's environment was freed");
    kept.runtime.installs.add_permits(1);
    let answered = |house: &House| {
        let status = house.gateway.status().remove(0);
        status.versions.iter().find(|one| one.role == "canary").map(|one| one.answered)
    };
    second.until(|house| answered(house).is_some()).await;
    assert_eq!(answered(&second), Some(1));
}

/// A preparation that failed at registration and succeeded at promotion stayed "refused" on the version's page.
#[tokio::test]
async fn what_is_prepared_at_promotion_is_told() {
    let kept = Kept::default();
    let mut deployment = Deployment::new(model());
    deployment.champion = Some(VersionNumber(1));
    kept.deploy(&deployment).await;
    kept.apply(r#"{ "environment": "locked" }"#).await;
    let house = kept.start().await;
    let promoted =
        Event::ChampionPromoted { model: model(), version: VersionNumber(1), previous: None, by: "a person".into(), why: String::new() };
    let mut said = batch();
    said.say(promoted);
    kept.store.commit(said).await.unwrap();
    let recorded = kept.store.events(0, 100).unwrap().pop().unwrap();
    let worker = house.gateway.environments();
    assert!(worker.wants(&recorded.event));
    kept.runtime.installs.add_permits(1);
    worker.work(&recorded).await.unwrap();
    let world = World::new(kept.store.snapshot().unwrap());
    let known = world.get::<VersionEnvironment>("demand/1").unwrap().unwrap();
    assert!(known.lock.is_some() && known.problem.is_none());
    let events = kept.store.events(0, 100).unwrap();
    assert!(matches!(events.last().unwrap().event, Event::EnvironmentLocked { .. }));
}

/// After the file was mended, the first gate of a model that is not deployed yet still judged with the old handle.
#[tokio::test]
async fn a_version_is_loaded_anew_under_other_settings() {
    let kept = Kept::default();
    kept.store.commit(batch().put(&version(1))).await.unwrap();
    let pool = kept.start().await.gateway.pool.clone();
    let get = async || pool.get(&model(), VersionNumber(1)).await.unwrap();
    let first = get().await;
    kept.apply(r#"{ "watch": ["restarts < 2"] }"#).await;
    assert!(Arc::ptr_eq(&first, &get().await), "nothing that it depends on is another");
    kept.apply(r#"{ "isolate": true }"#).await;
    let second = get().await;
    assert!(!Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&second, &get().await));
    assert_eq!(*kept.runtime.loads.lock(), [(VersionNumber(1), false), (VersionNumber(1), true)]);
}

/// Letting go of a champion that was replaced an hour ago dropped whatever else was loaded but not in a route: a challenger at its gate.
#[tokio::test]
async fn what_has_rested_is_let_go_and_nothing_else() {
    let kept = Kept::default();
    let mut deployment = Deployment::new(model());
    deployment.champion = Some(VersionNumber(1));
    kept.deploy(&deployment).await;
    let house = kept.start().await;
    deployment.champion = Some(VersionNumber(2));
    kept.deploy(&deployment).await;
    house.gateway.follow(&model()).await.unwrap();
    kept.store.commit(batch().put(&version(3))).await.unwrap();
    let pool = &house.gateway.pool;
    let get = async |number| pool.get(&model(), VersionNumber(number)).await.unwrap();
    let (old, judged) = (get(1).await, get(3).await);
    house.gateway.let_rest_go(Instant::now() + Duration::from_secs(3000));
    assert!(Arc::ptr_eq(&old, &get(1).await), "an hour");
    house.gateway.let_rest_go(Instant::now() + Duration::from_secs(4000));
    assert!(Arc::ptr_eq(&judged, &get(3).await));
    assert!(!Arc::ptr_eq(&old, &get(1).await));
}

/// A model that was answered within the server and shall have a process of its own, which died while it loaded, was answered within the server
/// until something else happened to it.
#[tokio::test]
async fn what_shall_be_isolated_is_refused_until_its_process_comes() {
    let kept = Kept::default();
    let mut deployment = Deployment::new(model());
    deployment.champion = Some(VersionNumber(1));
    kept.deploy(&deployment).await;
    let house = kept.start().await;
    assert_eq!(house.who().await.unwrap(), 1);
    kept.runtime.dies.store(true, Ordering::SeqCst);
    kept.apply(r#"{ "isolate": true }"#).await;
    house.gateway.follow(&model()).await.unwrap();
    let refusal = house.who().await.unwrap_err();
    assert!(refusal.code == "serve/cannot_load" && refusal.to_string().contains("does not start"), "{refusal}");
    let until = async |is: &dyn Fn() -> bool| {
        for _ in 0..5000 {
            if is() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it does not come");
    };
    until(&|| kept.runtime.loads.lock().len() >= 5).await;
    assert!(house.who().await.is_err());
    kept.runtime.dies.store(false, Ordering::SeqCst);
    until(&|| house.broken().is_none()).await;
    assert_eq!(house.who().await.unwrap(), 1);
    until(&|| house.gateway.retrying.lock().is_empty()).await;
}
