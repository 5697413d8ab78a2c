#![allow(clippy::unwrap_used)]

use super::work::WebhookWorker;
use super::*;
use crate::{aliases, registry};
use domain::{ModelName, VersionNumber};
use ports::memory::{ManualClock, MemoryPoster, MemoryStore};
use ports::{MetadataStore, Posted, decide};
use std::sync::Arc;

fn ada() -> Actor {
    Actor::User("ada".into())
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

struct House {
    store: Arc<MemoryStore>,
    poster: Arc<MemoryPoster>,
    clock: Arc<ManualClock>,
    worker: WebhookWorker,
}

impl House {
    /// A webhook for new versions and aliases.
    async fn new() -> Self {
        let (store, poster, clock) = (MemoryStore::new(), Arc::new(MemoryPoster::default()), Arc::new(ManualClock::new(at(1_000_000))));
        let worker = WebhookWorker::new(store.clone(), poster.clone(), clock.clone());
        let new = NewWebhook {
            id: "w".into(),
            name: "hook".into(),
            description: None,
            url: "https://hooks.example/x".into(),
            events: vec![event("MODEL_VERSION", "CREATED").unwrap(), event("model_version_alias", "created").unwrap()],
            secret: Some("s3cret".into()),
            is_active: true,
        };
        decide(&*store, |_| create(new.clone(), &ada(), at(0))).await.unwrap();
        House { store, poster, clock, worker }
    }

    async fn version(&self) {
        let name = ModelName::new("demand");
        if self.world().get::<RegisteredModel>("demand").unwrap().is_none() {
            decide(&*self.store, |world| registry::create_model(world, "demand", vec![], "", &ada(), at(5))).await.unwrap();
        }
        let new = registry::NewVersion {
            model: name,
            source: "s3://bucket/x".into(),
            run: None,
            model_id: None,
            tags: vec![],
            description: String::new(),
        };
        decide(&*self.store, |world| registry::create_version(world, new.clone(), &ada(), at(6))).await.unwrap();
    }

    fn world(&self) -> World<'_> {
        World::new(self.store.snapshot().unwrap())
    }

    fn waiting(&self) -> usize {
        self.world().list::<WebhookDelivery>().unwrap().len()
    }
}

#[tokio::test]
async fn who_wants_to_hear_of_it_hears_of_it_signed() {
    let house = House::new().await;
    house.version().await;
    let name = ModelName::new("demand");
    decide(&*house.store, |world| aliases::set(world, &name, "best", VersionNumber(1), &ada(), at(7))).await.unwrap();
    decide(&*house.store, |world| aliases::delete(world, &name, "best", &ada(), at(8))).await.unwrap();
    assert_eq!((house.waiting(), house.worker.send_due().await.unwrap()), (2, 2), "nobody asked for deleted aliases");
    assert_eq!(house.waiting(), 0);
    let posts = house.poster.posts();
    let created = posts.iter().find(|post| post.body.contains("model_version\"")).unwrap();
    let body: Value = serde_json::from_str(&created.body).unwrap();
    assert_eq!((&body["entity"], &body["action"], &body["data"]["version"]), (&json!("model_version"), &json!("created"), &json!("1")));
    let header = |name: &str| &created.headers.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(header("X-MLflow-Timestamp"), "1000");
    let signed = signature("s3cret", header("X-MLflow-Delivery-Id"), "1000", &created.body);
    assert_eq!(header("X-MLflow-Signature"), &signed);
}

/// Python's own hmac module gave the value.
#[test]
fn the_signature_is_hmac_sha_256() {
    // python: base64.b64encode(hmac.new(b"key", b"id.5.body", "sha256").digest())
    assert_eq!(signature("key", "id", "5", "body"), "v1,QwtGQBySSL1Jh5/J1qxINlEbNuh5Jn+SDxZGdrcex3E=");
}

#[tokio::test]
async fn a_receiver_that_is_down_is_tried_again_with_the_same_id() {
    let house = House::new().await;
    house.version().await;
    house.poster.next(Posted::Unreachable("down".into()));
    house.poster.next(Posted::Answered { status: 503, body: String::new() });
    for (now, sent) in [(1_000_000, 1), (1_001_000, 0), (1_002_000, 1), (1_004_000, 0), (1_006_000, 1), (9_000_000, 0)] {
        house.clock.advance_to(at(now));
        assert_eq!(house.worker.send_due().await.unwrap(), sent, "{now}");
    }
    let ids: Vec<_> = house.poster.posts().iter().map(|post| post.headers[1].1.clone()).collect();
    assert_eq!((ids.len(), house.waiting()), (3, 0));
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[tokio::test]
async fn what_is_given_up_is_told() {
    let house = House::new().await;
    house.version().await;
    house.poster.next(Posted::Answered { status: 404, body: String::new() });
    house.worker.send_due().await.unwrap();
    let webhook = find(&house.world(), "w").unwrap();
    assert_eq!((webhook.failed, webhook.last_error.as_deref(), house.waiting()), (1, Some("the receiver answered 404"), 0));
    house.version().await;
    decide(&*house.store, |world| delete(world, "w", &ada(), at(9))).await.unwrap();
    assert_eq!((house.waiting(), house.worker.send_due().await.unwrap()), (0, 0), "deliveries go with their webhook");
}

#[test]
fn only_public_addresses_by_https() {
    for good in ["https://host.example/x", "https://1.1.1.1/x", "https://host.example:8443", "https://[2606:4700::1111]/x"] {
        assert!(check_url(good).is_ok(), "{good}");
    }
    let bad = "http://host.example/x ftp://x https:// https://localhost/x https://a.localhost https://127.0.0.1 https://10.0.0.1:8/x \
               https://user@192.168.0.1/x https://[::1]/x https://2130706433/ nonsense";
    for bad in bad.split_whitespace().chain(["https://host.example/a b", ""]) {
        assert!(check_url(bad).is_err(), "{bad}");
    }
    for (name, good) in [("a", true), ("a-b_c.d", true), ("", false), ("-a", false), ("a b", false)] {
        assert_eq!(check_name(name).is_ok(), good, "{name}");
    }
}
