//! Telling people: an alert becomes one notification a target, which stays until it is delivered.

use async_trait::async_trait;
use domain::entity::Notification;
use domain::{Actor, Batch, Event, Fault, Recorded, Span, Timestamp};
use ports::{Clock, Delivery, MetadataStore, Notifier, World, decide};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// The first wait after a failed delivery; it doubles each time.
const FIRST_WAIT: Span = Span::from_ms(1_000);
/// The longest wait.
const LONGEST_WAIT: Span = Span::from_ms(600_000);

/// The notifications that an alert makes: one for each target that wants its topic.
pub fn notifications(world: &World, recorded: &Recorded) -> Result<Vec<Notification>, Fault> {
    let Event::AlertRaised { topic, model, title } = &recorded.event else { return Ok(Vec::new()) };
    let Some(project) = world.project()? else { return Ok(Vec::new()) };
    let mut made = Vec::new();
    for (target, _) in project.spec.notify.iter().filter(|(_, spec)| spec.on.contains(topic)) {
        let id = format!("{target}/{}", recorded.seq);
        if world.get::<Notification>(&id)?.is_some() {
            continue;
        }
        let body = serde_json::json!({
            "id": id,
            "topic": topic,
            "text": title,
            "model": model,
            "at": recorded.at,
            "event": recorded.seq,
            "cause": recorded.cause,
            "thread": recorded.thread,
        });
        made.push(Notification {
            id,
            target: target.clone(),
            topic: topic.clone(),
            title: title.clone(),
            body: body.to_string(),
            created: recorded.at,
            attempts: 0,
            last_error: None,
            next_try: None,
            delivered: None,
        });
    }
    Ok(made)
}

/// Turns alerts into notifications, as a worker of the reactor, and delivers them, in a task of its own: a target that is
/// down holds nothing up, and the loop does not wait for people.
pub struct NotifyWorker {
    store: Arc<dyn MetadataStore>,
    notifier: Arc<dyn Notifier>,
    clock: Arc<dyn Clock>,
    wake: Notify,
}

#[async_trait]
impl reactor::Worker for NotifyWorker {
    fn name(&self) -> &'static str {
        "monitoring.notify"
    }

    fn wants(&self, event: &Event) -> bool {
        matches!(event, Event::AlertRaised { .. })
    }

    async fn work(&self, event: &Recorded) -> Result<(), Fault> {
        let made = decide(&*self.store, |world| {
            let mut batch = Batch::reacting("monitoring.notify", event);
            notifications(world, event)?.iter().for_each(|notification| batch.write(notification));
            Ok((batch, ()))
        });
        made.await.map_err(|e| Fault::because("keeping an alert for delivery", e))?;
        self.wake.notify_one();
        Ok(())
    }
}

impl NotifyWorker {
    /// A worker that delivers nothing until [`NotifyWorker::run`] does.
    pub fn new(store: Arc<dyn MetadataStore>, notifier: Arc<dyn Notifier>, clock: Arc<dyn Clock>) -> Self {
        NotifyWorker { store, notifier, clock, wake: Notify::new() }
    }

    /// Delivers until it is told to stop; begins with what an earlier process left undelivered.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        loop {
            let next = self.deliver_due().await.unwrap_or_else(|fault| {
                tracing::error!(%fault, "notifications are not delivered; will try again");
                Some(self.clock.wall_now() + FIRST_WAIT)
            });
            let wait = async {
                match next {
                    Some(next) => tokio::time::sleep((next - self.clock.wall_now()).duration()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = wait => {}
                _ = self.wake.notified() => {}
                // A sender that is gone has stopped too.
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Tries everything that is due, one attempt each; gives the time of the next attempt, if any waits.
    pub async fn deliver_due(&self) -> Result<Option<Timestamp>, Fault> {
        let (all, project) = {
            let world = World::new(self.store.snapshot()?);
            (world.list::<Notification>()?, world.project()?)
        };
        let mut next = None;
        for mut notification in all.into_iter().filter(waits) {
            if notification.next_try.is_none_or(|at| at <= self.clock.wall_now()) {
                let target = project.as_ref().and_then(|project| project.spec.notify.get(&notification.target));
                let outcome = match target {
                    Some(spec) => self.notifier.deliver(&spec.webhook, &notification).await,
                    None => Delivery::Rejected(format!("the project file no longer names `{}`", notification.target)),
                };
                attempted(&mut notification, outcome, self.clock.wall_now());
                self.keep(&notification).await?;
            }
            if waits(&notification) {
                next = notification.next_try.into_iter().chain(next).min();
            }
        }
        Ok(next)
    }

    async fn keep(&self, notification: &Notification) -> Result<(), Fault> {
        let batch = Batch::new(Actor::System("monitoring.notify".into()), self.clock.event_now()).put(notification);
        self.store.commit(batch).await.map(|_| ()).map_err(|e| Fault::because("keeping how a delivery went", e))
    }
}

/// Whether a notification is still to be delivered. One that was tried and has no next time was rejected for good.
fn waits(notification: &Notification) -> bool {
    notification.delivered.is_none() && (notification.attempts == 0 || notification.next_try.is_some())
}

/// Notes how an attempt went. A failure waits 1 s, 2 s, 4 s, ... up to 10 min and never gives up.
fn attempted(notification: &mut Notification, outcome: Delivery, now: Timestamp) {
    notification.attempts = notification.attempts.saturating_add(1);
    (notification.delivered, notification.next_try, notification.last_error) = match outcome {
        Delivery::Delivered => (Some(now), None, None),
        Delivery::Rejected(why) => (None, None, Some(why)),
        Delivery::Failed(why) => {
            let doubled = FIRST_WAIT.ms() << (notification.attempts - 1).min(20);
            (None, Some(now + Span::from_ms(doubled.min(LONGEST_WAIT.ms()))), Some(why))
        }
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::entity::AppliedProject;
    use parking_lot::Mutex;
    use ports::memory::{ManualClock, MemoryStore};
    use reactor::Worker;

    /// Answers with the outcomes given, in order, then delivers; keeps what it was given.
    #[derive(Default)]
    struct Post {
        outcomes: Mutex<Vec<Delivery>>,
        seen: Mutex<Vec<(String, String)>>,
    }

    #[async_trait]
    impl Notifier for Post {
        async fn deliver(&self, webhook: &str, notification: &Notification) -> Delivery {
            self.seen.lock().push((webhook.into(), notification.id.clone()));
            let mut outcomes = self.outcomes.lock();
            if outcomes.is_empty() { Delivery::Delivered } else { outcomes.remove(0) }
        }
    }

    const FILE: &str = r#"{"notify": {"team": {"webhook": "env:TEAM", "on": ["incident", "escalation"]},
                                      "boss": {"webhook": "env:BOSS", "on": ["escalation"]}}}"#;

    struct House {
        store: Arc<MemoryStore>,
        post: Arc<Post>,
        clock: Arc<ManualClock>,
        worker: NotifyWorker,
    }

    async fn house(outcomes: Vec<Delivery>) -> House {
        let store = Arc::new(MemoryStore::default());
        let post = Arc::new(Post { outcomes: Mutex::new(outcomes), seen: Mutex::default() });
        let clock = Arc::new(ManualClock::new(Timestamp::from_ms(0)));
        let spec: domain::spec::Project = serde_json::from_str(FILE).unwrap();
        let project = AppliedProject { hash: spec.hash(), spec, root: "/".into(), applied: Timestamp::from_ms(0) };
        store.commit(Batch::new(Actor::User("ann".into()), Timestamp::from_ms(0)).put(&project)).await.unwrap();
        let worker = NotifyWorker::new(store.clone(), post.clone(), clock.clone());
        House { store, post, clock, worker }
    }

    impl House {
        async fn alert(&self, topic: &str) {
            let event = Event::AlertRaised { topic: topic.into(), model: None, title: "demand-1".into() };
            let batch = Batch::new(Actor::System("test".into()), Timestamp::from_ms(0)).event(event);
            let seq = self.store.commit(batch).await.unwrap().last;
            let recorded = self.store.events(seq - 1, 1).unwrap().remove(0);
            // Heard twice, as after a crash.
            self.worker.work(&recorded).await.unwrap();
            self.worker.work(&recorded).await.unwrap();
        }

        fn all(&self) -> Vec<Notification> {
            World::new(self.store.snapshot().unwrap()).list().unwrap()
        }
    }

    #[tokio::test]
    async fn an_alert_reaches_the_targets_that_want_it_once() {
        let house = house(vec![]).await;
        for topic in ["incident", "promotion", "escalation"] {
            house.alert(topic).await;
        }
        assert_eq!(house.worker.deliver_due().await.unwrap(), None);
        assert_eq!(house.worker.deliver_due().await.unwrap(), None);
        let seen = house.post.seen.lock().clone();
        let expected = [("env:BOSS", "boss/3"), ("env:TEAM", "team/1"), ("env:TEAM", "team/3")];
        assert_eq!(seen, expected.map(|(webhook, id)| (webhook.to_owned(), id.to_owned())));
        assert!(house.all().iter().all(|notification| notification.delivered.is_some()));
    }

    #[tokio::test]
    async fn a_failure_is_tried_again_with_longer_waits_and_after_a_restart() {
        let down = || Delivery::Failed("connection refused".into());
        let house = house(vec![down(), down(), down()]).await;
        house.alert("incident").await;
        let next = |ms| Some(Timestamp::from_ms(ms));
        assert_eq!(house.worker.deliver_due().await.unwrap(), next(1000));
        assert_eq!(house.worker.deliver_due().await.unwrap(), next(1000), "not before it is due");
        house.clock.advance_to(Timestamp::from_ms(1000));
        assert_eq!(house.worker.deliver_due().await.unwrap(), next(3000));
        let restarted = NotifyWorker::new(house.store.clone(), house.post.clone(), house.clock.clone());
        house.clock.advance_to(Timestamp::from_ms(3000));
        assert_eq!(restarted.deliver_due().await.unwrap(), next(7000));
        house.clock.advance_to(Timestamp::from_ms(7000));
        assert_eq!(restarted.deliver_due().await.unwrap(), None);
        assert_eq!((house.all()[0].attempts, house.all()[0].delivered), (4, next(7000)));
    }

    #[tokio::test]
    async fn a_rejection_is_for_good_and_says_why() {
        let house = house(vec![Delivery::Rejected("TEAM is not set".into())]).await;
        house.alert("incident").await;
        assert_eq!(house.worker.deliver_due().await.unwrap(), None);
        assert_eq!(house.worker.deliver_due().await.unwrap(), None);
        assert_eq!((house.post.seen.lock().len(), house.all()[0].last_error.as_deref()), (1, Some("TEAM is not set")));
    }

    #[test]
    fn waits_grow_to_ten_minutes() {
        let mut notification = Notification {
            id: "team/1".into(),
            target: "team".into(),
            topic: "incident".into(),
            title: String::new(),
            body: String::new(),
            created: Timestamp::from_ms(0),
            attempts: 0,
            last_error: None,
            next_try: None,
            delivered: None,
        };
        for wait in [1_000, 2_000, 4_000] {
            attempted(&mut notification, Delivery::Failed(String::new()), Timestamp::from_ms(0));
            assert_eq!(notification.next_try, Some(Timestamp::from_ms(wait)));
        }
        notification.attempts = u32::MAX;
        attempted(&mut notification, Delivery::Failed(String::new()), Timestamp::from_ms(0));
        assert_eq!(notification.next_try, Some(Timestamp::from_ms(600_000)));
    }
}
