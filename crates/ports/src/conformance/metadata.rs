//! What every metadata store must do.

#![allow(clippy::unwrap_used)]

use crate::{CommitError, Committed, MetadataStore};
use domain::entity::{Deployment, Experiment, LifecycleStage, Segment};
use domain::{Actor, Batch, Collection, Entity, Event, Expect, ExperimentId, ModelName, Range, RunWrite, Timestamp};
use std::sync::Arc;

/// Runs the whole suite. `make` gives a new, empty store; call it within a multi-threaded runtime.
pub async fn suite(make: impl Fn() -> Arc<dyn MetadataStore>) {
    a_commit_writes_documents_events_and_cursor(&*make()).await;
    a_refused_batch_writes_nothing(&*make()).await;
    a_changed_document_is_a_conflict(&*make()).await;
    a_changed_listing_is_a_conflict(&*make()).await;
    documents_are_listed_by_key_and_scope(&*make()).await;
    experiments_are_read_with_revisions(&*make()).await;
    a_snapshot_stays_as_it_was(make()).await;
    events_have_no_gap_under_concurrent_writers(make()).await;
    the_head_wakes_its_watchers(make()).await;
    concurrent_decisions_lose_nothing(make()).await;
}

fn batch() -> Batch {
    Batch::new(Actor::User("suite".into()), Timestamp::from_ms(1_300_000_000_123))
}

fn deployment(model: &str) -> Deployment {
    Deployment::new(ModelName::new(model))
}

fn segment(stream: &str, number: u64) -> Segment {
    let time = Range::new(Timestamp::from_ms(0), Timestamp::from_ms(1));
    Segment { stream: stream.into(), number, path: "p".into(), rows: 1, bytes: 1, time, lost: 0 }
}

fn event(n: u64) -> Event {
    Event::AlertRaised { topic: "suite".into(), model: None, title: format!("ünïcode {n}") }
}

fn experiment(id: &str, name: &str) -> Experiment {
    Experiment {
        id: ExperimentId::new(id),
        name: name.into(),
        artifact_location: format!("mlflow-artifacts:/{id}"),
        lifecycle_stage: LifecycleStage::Active,
        created: Timestamp::from_ms(1),
        updated: Timestamp::from_ms(2),
        tags: Vec::new(),
    }
}

fn document(collection: Collection, key: &str, revision: u64) -> Expect {
    Expect::Document { collection, key: key.into(), revision }
}

fn listing(collection: Collection, scope: Option<&str>, revision: u64) -> Expect {
    Expect::Listing { collection, scope: scope.map(str::to_owned), revision }
}

async fn try_expect(store: &dyn MetadataStore, expect: Expect) -> Result<Committed, CommitError> {
    let mut attempt = batch().event(event(0));
    attempt.expect.push(expect);
    store.commit(attempt).await
}

async fn a_commit_writes_documents_events_and_cursor(store: &dyn MetadataStore) {
    assert_eq!(store.cursor("reader").unwrap(), 0);
    assert_eq!(*store.head().borrow(), 0);
    let mut first = batch().put(&deployment("demand")).event(event(1)).event(event(2));
    first.cause = Some(7);
    first.thread = Some("demand-1".into());
    first.cursor = Some(("reader".into(), 7));
    let committed = store.commit(first).await.unwrap();
    assert_eq!((committed.first, committed.last), (1, 2));
    let events = store.events(0, 10).unwrap();
    assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((&events[1].event, events[1].cause, events[1].thread.as_deref()), (&event(2), Some(7), Some("demand-1")));
    assert_eq!((&events[0].actor, events[0].at), (&Actor::User("suite".into()), batch().at));
    assert_eq!(store.events(1, 10).unwrap(), events[1..]);
    assert_eq!(store.events(0, 1).unwrap(), events[..1]);
    assert_eq!(store.events(2, 10).unwrap(), []);
    assert_eq!(store.cursor("reader").unwrap(), 7);
    let found = store.snapshot().unwrap().get(Collection::Deployment, "demand").unwrap().unwrap();
    assert_eq!((found.revision, found.key.as_str()), (committed.revision, "demand"));

    let mut cursor_alone = batch();
    cursor_alone.cursor = Some(("reader".into(), 9));
    let committed = store.commit(cursor_alone).await.unwrap();
    assert_eq!((committed.first, committed.last), (3, 2), "a commit without events");
    assert_eq!(store.cursor("reader").unwrap(), 9);
}

async fn a_refused_batch_writes_nothing(store: &dyn MetadataStore) {
    let mut ok = batch();
    ok.run_writes.push(RunWrite::Experiment(experiment("1", "taken")));
    store.commit(ok).await.unwrap();
    let mut bad = batch().put(&deployment("demand")).event(event(1));
    bad.cursor = Some(("reader".into(), 5));
    bad.run_writes = vec![RunWrite::Experiment(experiment("2", "free")), RunWrite::Experiment(experiment("3", "taken"))];
    assert!(matches!(store.commit(bad).await, Err(CommitError::Refused(refusal)) if refusal.code == "experiment/exists"));
    let snapshot = store.snapshot().unwrap();
    assert!(snapshot.get(Collection::Deployment, "demand").unwrap().is_none());
    assert_eq!(snapshot.experiments().unwrap().1.len(), 1);
    assert_eq!(snapshot.list(Collection::Deployment, None).unwrap().revision, 0);
    assert_eq!((store.events(0, 9).unwrap().len(), store.cursor("reader").unwrap(), *store.head().borrow()), (0, 0, 0));

    let mut conflicting = batch().put(&deployment("demand")).event(event(1));
    conflicting.expect.push(document(Collection::Deployment, "demand", 4));
    assert!(matches!(store.commit(conflicting).await, Err(CommitError::Conflict(_))));
    assert_eq!(store.events(0, 9).unwrap().len(), 0);
    assert_eq!(store.commit(batch().event(event(1))).await.unwrap().first, 1, "a refused batch takes no number");
}

async fn a_changed_document_is_a_conflict(store: &dyn MetadataStore) {
    let of = Collection::Deployment;
    assert!(try_expect(store, document(of, "demand", 0)).await.is_ok(), "absence holds");
    let first = store.commit(batch().put(&deployment("demand"))).await.unwrap().revision;
    assert!(matches!(try_expect(store, document(of, "demand", 0)).await, Err(CommitError::Conflict(_))), "absence broken");
    assert!(try_expect(store, document(of, "demand", first)).await.is_ok());
    let second = store.commit(batch().put(&deployment("demand"))).await.unwrap().revision;
    assert!(second > first);
    assert!(matches!(try_expect(store, document(of, "demand", first)).await, Err(CommitError::Conflict(_))), "written again");
    assert!(try_expect(store, document(of, "demand", second)).await.is_ok(), "a commit that writes elsewhere is no change");
    let mut gone = batch();
    gone.delete::<Deployment>("demand");
    store.commit(gone).await.unwrap();
    assert!(store.snapshot().unwrap().get(of, "demand").unwrap().is_none());
    assert!(matches!(try_expect(store, document(of, "demand", second)).await, Err(CommitError::Conflict(_))), "deleted");
    assert!(try_expect(store, document(of, "demand", 0)).await.is_ok());
}

async fn a_changed_listing_is_a_conflict(store: &dyn MetadataStore) {
    let of = Collection::Segment;
    assert!(try_expect(store, listing(of, None, 0)).await.is_ok(), "an empty collection has revision 0");
    let a = store.commit(batch().put(&segment("a", 1))).await.unwrap().revision;
    let b = store.commit(batch().put(&segment("b", 1))).await.unwrap().revision;
    for (scope, revision, holds) in
        [(Some("a"), a, true), (Some("b"), b, true), (None, b, true), (None, a, false), (Some("b"), a, false), (Some("c"), 0, true)]
    {
        assert_eq!(store.snapshot().unwrap().list(of, scope).unwrap().revision == revision, holds, "{scope:?}");
        match try_expect(store, listing(of, scope, revision)).await {
            Ok(_) => assert!(holds, "{scope:?} at {revision}"),
            Err(CommitError::Conflict(_)) => assert!(!holds, "{scope:?} at {revision}"),
            Err(other) => panic!("{other}"),
        }
    }
    let mut gone = batch();
    gone.delete::<Segment>(segment("a", 1).key());
    store.commit(gone).await.unwrap();
    assert!(matches!(try_expect(store, listing(of, Some("a"), a)).await, Err(CommitError::Conflict(_))), "a delete changes the list");
    assert!(try_expect(store, listing(of, Some("b"), b)).await.is_ok(), "and no other");
}

async fn documents_are_listed_by_key_and_scope(store: &dyn MetadataStore) {
    let mut many = batch();
    // `a.` and `a0` sort next to `a/`; a scope must not take them in.
    for (stream, number) in [("b", 1), ("a", 2), ("a0", 1), ("a", 1), ("a.", 1), ("aa", 3)] {
        many.write(&segment(stream, number));
    }
    many.write(&deployment("a"));
    store.commit(many).await.unwrap();
    let snapshot = store.snapshot().unwrap();
    let keys = |scope| snapshot.list(Collection::Segment, scope).unwrap().documents.into_iter().map(|d| d.key).collect::<Vec<_>>();
    let expected: Vec<String> = [("a", 1), ("a", 2)].map(|(stream, number)| segment(stream, number).key()).into();
    assert_eq!(keys(Some("a")), expected);
    let mut all = keys(None);
    assert_eq!(all.len(), 6);
    all.sort();
    assert_eq!(keys(None), all);
    assert_eq!(keys(Some("nothing")), Vec::<String>::new());
}

async fn experiments_are_read_with_revisions(store: &dyn MetadataStore) {
    let mut two = batch();
    two.run_writes = vec![RunWrite::Experiment(experiment("10", "ten")), RunWrite::Experiment(experiment("9", "nine"))];
    let first = store.commit(two).await.unwrap().revision;
    let snapshot = store.snapshot().unwrap();
    let (revision, all) = snapshot.experiments().unwrap();
    assert_eq!((revision, all.iter().map(|e| e.id.as_str()).collect::<Vec<_>>()), (first, vec!["9", "10"]), "ids are numbers");
    let mut tagged = batch();
    let id = ExperimentId::new("9");
    tagged.run_writes.push(RunWrite::SetExperimentTag { experiment: id.clone(), tag: domain::entity::Tag::new("k", "v") });
    let second = store.commit(tagged).await.unwrap().revision;
    let snapshot = store.snapshot().unwrap();
    let (revision, nine) = snapshot.experiment(&id).unwrap().unwrap();
    assert_eq!((revision, nine.tags[0].value.as_str()), (second, "v"));
    assert_eq!(snapshot.experiments().unwrap().0, second);
    assert!(snapshot.experiment(&ExperimentId::new("11")).unwrap().is_none());
    let of = Collection::Experiments;
    assert!(matches!(try_expect(store, document(of, "9", first)).await, Err(CommitError::Conflict(_))));
    assert!(matches!(try_expect(store, listing(of, None, first)).await, Err(CommitError::Conflict(_))));
    assert!(try_expect(store, document(of, "10", first)).await.is_ok());
    let mut renamed = batch();
    renamed.run_writes.push(RunWrite::Experiment(Experiment { name: "new".into(), ..nine.clone() }));
    store.commit(renamed).await.unwrap();
    let (_, renamed) = store.snapshot().unwrap().experiment(&id).unwrap().unwrap();
    assert_eq!((renamed.name.as_str(), renamed.tags), ("new", nine.tags));
}

async fn a_snapshot_stays_as_it_was(store: Arc<dyn MetadataStore>) {
    let mut both = batch().put(&deployment("a")).put(&deployment("b"));
    both.run_writes.push(RunWrite::Experiment(experiment("1", "one")));
    let first = store.commit(both).await.unwrap().revision;
    let before = store.snapshot().unwrap();
    let writers = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..25 {
                // Both documents are always written together, so every snapshot must see them at one revision.
                store.commit(batch().put(&deployment("a")).put(&deployment("b")).event(event(n))).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        while !writer.is_finished() {
            let now = store.snapshot().unwrap();
            let revision = |key| now.get(Collection::Deployment, key).unwrap().unwrap().revision;
            assert_eq!(revision("a"), revision("b"), "a half-seen commit");
            assert_eq!(now.list(Collection::Deployment, None).unwrap().revision, revision("b"));
            tokio::task::yield_now().await;
        }
        writer.await.unwrap();
    }
    assert_eq!(before.get(Collection::Deployment, "a").unwrap().unwrap().revision, first);
    assert_eq!(before.list(Collection::Deployment, None).unwrap().revision, first);
}

async fn events_have_no_gap_under_concurrent_writers(store: Arc<dyn MetadataStore>) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 30;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..EACH {
                    let mut two = batch().event(event(n)).event(event(n));
                    // The cursor of this writer must always be that of the state it stands with.
                    two.cursor = Some((format!("writer {writer}"), n + 1));
                    let committed = store.commit(two).await.unwrap();
                    assert_eq!(committed.last, committed.first + 1);
                    assert!(store.events(committed.first - 1, 2).unwrap().len() == 2, "acknowledged events are there");
                }
            })
        })
        .collect();
    let mut seen = 0;
    while seen < WRITERS * EACH * 2 {
        for recorded in store.events(seen, 17).unwrap() {
            assert_eq!(recorded.seq, seen + 1, "n before n + 1");
            seen = recorded.seq;
        }
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for writer in 0..WRITERS {
        assert_eq!(store.cursor(&format!("writer {writer}")).unwrap(), EACH);
    }
    assert_eq!(*store.head().borrow(), WRITERS * EACH * 2);
    assert_eq!(store.events(0, 10_000).unwrap().len() as u64, WRITERS * EACH * 2);
}

async fn the_head_wakes_its_watchers(store: Arc<dyn MetadataStore>) {
    let mut head = store.head();
    let watcher = tokio::spawn({
        let store = store.clone();
        async move {
            let seen = *head.wait_for(|head| *head >= 3).await.unwrap();
            assert_eq!(store.events(0, 10).unwrap().len() as u64, seen, "what the head tells of can be read");
        }
    });
    store.commit(batch().event(event(1))).await.unwrap();
    store.commit(batch().event(event(2)).event(event(3))).await.unwrap();
    watcher.await.unwrap();
}

async fn concurrent_decisions_lose_nothing(store: Arc<dyn MetadataStore>) {
    store.commit(batch().put(&deployment("demand"))).await.unwrap();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let add = |world: &crate::World| {
                        let mut found: Deployment = world.get("demand")?.unwrap();
                        found.best = Some(found.best.unwrap_or(0.0) + 1.0);
                        Ok((batch().put(&found), ()))
                    };
                    crate::decide(&*store, add).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let found = crate::World::new(store.snapshot().unwrap()).get::<Deployment>("demand").unwrap().unwrap();
    assert_eq!(found.best, Some(40.0));
}
