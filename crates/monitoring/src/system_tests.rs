#![allow(clippy::unwrap_used)]
use super::*;
use domain::VersionNumber;
use domain::entity::{AppliedProject, Deployment};
use domain::spec::Project;
use ports::memory::MemoryStore;
use ports::{Failure, MetadataStore, decide};
use std::sync::Arc;

const FILE: &str = r#"{ "model": { "demand": { "task": "regression", "metric": "mae",
    "serve": { "watch": ["latency_p99 < 50ms for 10m", "error_rate < 1%"] } } } }"#;

/// `requests` of which each tenth is slow, and so many that failed.
fn seen(requests: u64, slow_ms: u64, failed: u64) -> Behaviour {
    let mut seen = Behaviour { requests, values: 10 * requests, missing: requests, restarts: 2, ..Behaviour::default() };
    (0..requests - failed).for_each(|n| seen.latency.record(if n % 10 == 0 { 1000 * slow_ms } else { 2_000 }));
    seen.failures[Failure::Timeout as usize] = failed;
    seen
}

#[test]
fn conditions_are_judged_on_evidence_alone() {
    for (text, seen, expected) in [
        ("latency_p99 < 50ms", seen(100, 40, 0), Some(true)),
        ("latency_p99 < 50ms", seen(100, 80, 0), Some(false)),
        ("latency_p50 < 0.01s", seen(100, 80, 0), Some(true)),
        ("latency_p99 < 50ms", seen(19, 80, 0), None),
        ("latency_p99 < 50ms", Behaviour::default(), None),
        ("error_rate < 1%", seen(100, 1, 1), Some(false)),
        ("error_rate <= 1%", seen(100, 1, 1), Some(true)),
        ("error_rate < 0.02", seen(100, 1, 1), Some(true)),
        ("feature_misses < 5%", seen(100, 1, 0), Some(false)),
        ("feature_misses < 20% for 1h", seen(100, 1, 0), Some(true)),
        ("restarts < 3 for 1h", seen(100, 1, 0), Some(true)),
        ("restarts < 2", seen(1, 1, 0), Some(false)),
        ("restarts < 2", Behaviour::default(), Some(true)),
    ] {
        let verdict = match Condition::parse(text).unwrap().judge(&seen, Span::from_ms(3_600_000)) {
            Verdict::Holds(_) => Some(true),
            Verdict::Broken(_) => Some(false),
            Verdict::Unknown => None,
        };
        assert_eq!(verdict, expected, "{text}");
    }
}

/// A server that was started again knew of no restarts, so an incident of them closed with the next start.
#[test]
fn restarts_hold_only_over_a_window_that_was_measured() {
    let condition = Condition::parse("restarts < 3 for 1h").unwrap();
    let judge = |restarts, minutes: i64| condition.judge(&Behaviour { restarts, ..Behaviour::default() }, Span::from_ms(60_000 * minutes));
    assert_eq!(judge(0, 0), Verdict::Unknown);
    assert_eq!(judge(2, 59), Verdict::Unknown);
    assert!(matches!(judge(2, 60), Verdict::Holds(_)));
    assert!(matches!(judge(3, 1), Verdict::Broken(_)), "too many are too many at once");
}

#[test]
fn a_mistake_is_told_with_what_was_meant() {
    for (text, says) in [
        ("latency_99 < 50ms", "latency_p99"),
        ("latency_p99 < 50", "is no limit"),
        ("latency_p99 > 50ms", "what must hold"),
        ("error_rate < 200%", "is no limit"),
        ("error_rate < -1%", "is no limit"),
        ("error_rate < NaN", "is no limit"),
        ("error_rate < 1% for 10s", "a minute to three hours"),
        ("error_rate < 1% for ever", "a minute to three hours"),
        ("speed < 1", "known here: latency_p50"),
        ("", "what must hold"),
    ] {
        let refusal = Condition::parse(text).unwrap_err();
        assert!(refusal.code == "serve/watch" && refusal.hint.is_some() && refusal.to_string().contains(says), "{text}: {refusal}");
    }
}

#[tokio::test]
async fn an_incident_opens_once_outlives_a_restart_and_closes_when_it_holds_again() {
    let store = Arc::new(MemoryStore::default());
    let at = |minute: i64| Timestamp::from_ms(1_700_000_000_000 + 60_000 * minute);
    let apply = async |text: &str| {
        let spec: Project = serde_json::from_str(text).unwrap();
        let project = AppliedProject { hash: spec.hash(), spec, root: "/".into(), applied: at(0) };
        decide(&*store, |_| {
            let mut batch = Batch::new(Actor::System("test".into()), at(0));
            batch.write(&project);
            batch.write(&Deployment { champion: Some(VersionNumber(3)), ..Deployment::new(ModelName::new("demand")) });
            Ok((batch, ()))
        })
        .await
        .unwrap();
    };
    let look = async |minute: i64, seen: Option<Behaviour>| {
        let mut changes = 0;
        while decide(&*store, |world| watch(world, &|_, _| seen.clone(), at(0), at(minute))).await.unwrap() {
            changes += 1;
            assert!(changes < 9, "it never ends");
        }
        let incidents = World::new(store.snapshot().unwrap()).list::<Incident>().unwrap();
        let open = incidents.iter().filter(|incident| incident.state == IncidentState::Open).count();
        (changes, open, incidents.len())
    };
    apply(FILE).await;
    assert_eq!(look(1, None).await, (0, 0, 0), "nobody is asked");
    assert_eq!(look(2, Some(seen(100, 10, 0))).await, (0, 0, 0));
    assert_eq!(look(3, Some(seen(100, 80, 5))).await, (2, 2, 2), "two conditions, an incident each");
    assert_eq!(look(4, Some(seen(100, 80, 5))).await, (0, 2, 2), "and no more");
    assert_eq!(look(5, Some(seen(3, 80, 0))).await, (0, 2, 2), "what a restart forgot is no evidence");
    assert_eq!(look(6, Some(seen(100, 10, 5))).await, (1, 1, 2));
    apply(&FILE.replace(", \"error_rate < 1%\"", "")).await;
    assert_eq!(look(7, Some(seen(100, 10, 5))).await, (1, 0, 2), "what is watched no longer");
    assert_eq!(look(8, Some(seen(100, 80, 5))).await, (1, 1, 3), "and anew");
    apply(r#"{ "model": { "other": { "task": "regression", "metric": "mae" } } }"#).await;
    assert_eq!(look(9, None).await, (1, 0, 3), "a model that was taken out of the file");
    let events = store.events(0, 100).unwrap();
    let told = |is: fn(&Event) -> bool| events.iter().filter(|recorded| is(&recorded.event)).count();
    assert_eq!(told(|event| matches!(event, Event::IncidentOpened { .. })), 3);
    assert_eq!(told(|event| matches!(event, Event::AlertRaised { .. })), 3);
    assert_eq!(told(|event| matches!(event, Event::IncidentResolved { .. })), 3);
    assert!(events.iter().all(|recorded| recorded.thread.as_ref().is_none_or(|thread| thread.starts_with("demand-"))));
}
