//! Approvals and canaries: people and traffic decide what a gate has passed.

use super::*;
use crate::approval::{approve, expire, reject};
use crate::rollout::{end, resume};

const APPROVED: &str = r#"{ "model": { "demand": { "task": "regression", "metric": "mae",
    "gate": { "holdout": "last 7d", "must": ["mae < 60"], "approve": { "people": 2, "expires": "3d" } } } } }"#;
const CANARY: &str = r#"{ "model": { "demand": { "task": "regression", "metric": "mae",
    "gate": { "holdout": "last 7d", "must": ["mae < 60"] },
    "serve": { "rollout": { "canary": [5, 25, 100], "each": { "for": "15m", "min_requests": 100 }, "abort_if": "error_rate > 1%" } } } } }"#;

fn user(name: &str) -> Actor {
    Actor::User(name.into())
}

impl House {
    /// `what`: `approve`, `override` or `reject`. The code of a refusal, or how the approval stands.
    async fn people(&self, what: &str, version: u64, who: &str, reason: &str, now: Timestamp) -> Result<ApprovalState, String> {
        let (model, version, who) = (model(), VersionNumber(version), user(who));
        let decided = decide(&*self.store, |world| match what {
            "reject" => reject(world, &model, version, reason, &who, now),
            _ => approve(world, &model, version, reason, what == "override", &who, now),
        });
        let decided = decided.await;
        self.drained().await;
        match decided {
            Ok(approval) => Ok(approval.state),
            Err(ports::CommitError::Refused(refusal)) => Err(refusal.code),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// The canary has answered so many since its step began.
    async fn canary(&self, answered: u64, failed: u64, at: Timestamp) {
        let mut deployment = self.deployment();
        let canary = deployment.canary.as_mut().unwrap();
        canary.seen = CanarySeen { answered, failed, champion_answered: answered * 19, ..CanarySeen::default() };
        let (version, weight) = (canary.version, canary.weight);
        let event = Event::CanaryServed {
            model: model(),
            version,
            weight,
            answered,
            failed,
            champion_answered: answered * 19,
            latency_ratio: None,
            score_psi: None,
        };
        let batch = Batch::new(Actor::System("serving.canary".into()), at).put(&deployment).event(event);
        self.store.commit(batch).await.unwrap();
        self.drained().await;
    }

    fn weight(&self) -> Option<u8> {
        self.deployment().canary.map(|canary| canary.weight)
    }
}

#[tokio::test]
async fn two_different_people_let_a_passed_version_out() {
    let house = House::with(APPROVED).await;
    house.register(1, Some(day(93)), None).await;
    assert_eq!(house.story(), ["GateRequested", "GateDecided", "ApprovalRequested", "AlertRaised"]);
    assert_eq!(house.people("approve", 1, "ann", " ", day(100)).await, Err("approval/reason".into()));
    assert_eq!(house.people("approve", 1, "api", "fine", day(100)).await, Err("approval/identity".into()));
    assert_eq!(house.people("approve", 1, "ann", "fine", day(100)).await, Ok(ApprovalState::Waiting));
    assert_eq!(house.people("approve", 1, "ann", "fine again", day(100)).await, Err("approval/twice".into()));
    assert_eq!(house.people("approve", 1, "bob", "looks good", day(101)).await, Ok(ApprovalState::Approved));
    assert_eq!(house.story()[4..], ["ApprovalGiven", "ApprovalGiven", "ChampionPromoted", "AlertRaised"]);
    let promotion = house.deployment().history.pop().unwrap();
    assert!(promotion.why.ends_with("approved: fine; looks good"), "{}", promotion.why);
    assert_eq!(house.people("approve", 1, "eve", "late", day(101)).await, Err("approval/champion".into()));
}

#[tokio::test]
async fn a_version_that_waits_can_be_rejected_and_expires() {
    let house = House::with(APPROVED).await;
    house.register(1, Some(day(93)), None).await;
    assert_eq!(house.people("reject", 1, "ann", "not before the fair", day(100)).await, Ok(ApprovalState::Rejected));
    assert_eq!(house.people("approve", 1, "bob", "fine", day(100)).await, Err("approval/decided".into()));

    house.register(2, Some(day(93)), None).await;
    assert_eq!(house.people("approve", 2, "ann", "fine", day(102)).await, Ok(ApprovalState::Waiting));
    assert_eq!(house.people("approve", 2, "bob", "fine", day(103)).await, Err("approval/expired".into()));
    let now = day(103);
    decide(&*house.store, |world| expire(world, now)).await.unwrap();
    assert_eq!(house.get::<Approval>("demand/2").state, ApprovalState::Expired);
    assert_eq!(house.story().last(), Some(&"ApprovalExpired"));
    // Judged again, it waits again.
    decide(&*house.store, |world| request_gate(world, &model(), VersionNumber(2), &user("ann"), day(100))).await.unwrap();
    house.drained().await;
    assert_eq!(house.get::<Approval>("demand/2").state, ApprovalState::Waiting);
}

#[tokio::test]
async fn a_refused_gate_is_set_aside_by_name_and_reason_only() {
    let house = House::with(&APPROVED.replace("\"people\": 2", "\"people\": 1")).await;
    house.register(4, Some(day(93)), None).await;
    assert_eq!(house.get::<GateReport>("demand/4").verdict, Verdict::Fail);
    assert_eq!(house.people("approve", 4, "ann", "fine", day(100)).await, Err("approval/not_passed".into()));
    assert_eq!(house.people("override", 4, "ann", "the label was wrong", day(100)).await, Ok(ApprovalState::Approved));
    let report: GateReport = house.get("demand/4");
    assert_eq!((report.overrides[0].by.as_str(), report.overrides[0].reason.as_str()), ("ann", "the label was wrong"));
    assert_eq!(house.deployment().champion, Some(VersionNumber(4)));
    let promotion = house.deployment().history.pop().unwrap();
    assert!(promotion.why.starts_with("override: the label was wrong; the gate had said"), "{}", promotion.why);
    assert_eq!(house.deployment().gated, None, "a figure that did not pass is no bar for others");

    let house = House::with(&APPROVED.replace("\"metric\"", "\"protected\": true, \"metric\"")).await;
    house.register(4, Some(day(93)), None).await;
    assert_eq!(house.people("override", 4, "ann", "please", day(100)).await, Err("approval/protected".into()));
    let auto = House::new().await;
    auto.register(1, Some(day(93)), None).await;
    auto.register(2, Some(day(93)), None).await;
    assert_eq!(auto.people("approve", 2, "ann", "fine", day(100)).await, Err("approval/not_needed".into()));
    assert_eq!(auto.people("approve", 3, "ann", "fine", day(100)).await, Err("gate/not_judged".into()));
}

#[tokio::test]
async fn a_canary_rises_step_by_step_and_becomes_champion() {
    let house = House::with(CANARY).await;
    house.register(1, Some(day(93)), None).await;
    assert_eq!(house.deployment().champion, Some(VersionNumber(1)), "the first version has nobody to share with");
    house.register(2, Some(day(93)), None).await;
    assert_eq!((house.weight(), house.deployment().champion), (Some(5), Some(VersionNumber(1))));
    let minutes = |n: i64| day(100) + Span::from_ms(n * 60_000);
    house.canary(100, 0, minutes(14)).await;
    assert_eq!(house.weight(), Some(5), "a quarter of an hour is not over");
    house.canary(100, 0, minutes(15)).await;
    assert_eq!((house.weight(), house.deployment().canary.unwrap().seen.answered), (Some(25), 0));
    house.canary(99, 0, minutes(60)).await;
    assert_eq!(house.weight(), Some(25));
    house.canary(100, 1, minutes(61)).await;
    assert_eq!((house.weight(), house.deployment().champion), (None, Some(VersionNumber(2))));
    let told: Vec<&str> = house.story().into_iter().filter(|name| name.starts_with("Rollout") || *name == "ChampionPromoted").collect();
    assert_eq!(told, ["ChampionPromoted", "RolloutAdvanced", "RolloutAdvanced", "ChampionPromoted"]);
}

#[tokio::test]
async fn a_canary_fails_pauses_and_is_ended_by_hand() {
    let house = House::with(CANARY).await;
    house.register(1, Some(day(93)), None).await;
    house.register(2, Some(day(93)), None).await;
    // Clearly too many failures: given up at once, long before the step is over.
    house.canary(20, 5, day(100)).await;
    assert_eq!((house.weight(), house.deployment().champion), (None, Some(VersionNumber(1))));
    assert_eq!(house.story()[house.story().len() - 3..], ["CanaryServed", "RolloutAborted", "AlertRaised"]);

    house.register(5, Some(day(93)), None).await;
    house.canary(100, 2, day(101)).await;
    assert_eq!(house.story()[house.story().len() - 2..], ["RolloutPaused", "AlertRaised"]);
    assert!(house.deployment().canary.unwrap().paused.unwrap().contains("error_rate 2 of 102"));
    house.canary(500, 2, day(102)).await;
    assert_eq!(house.weight(), Some(5), "what stands still stands");
    decide(&*house.store, |world| resume(world, &model(), &user("ann"), day(103))).await.unwrap();
    house.drained().await;
    house.canary(100, 0, day(104)).await;
    assert_eq!(house.weight(), Some(25));
    let again = decide(&*house.store, |world| resume(world, &model(), &user("ann"), day(103))).await;
    assert!(matches!(again, Err(ports::CommitError::Refused(refusal)) if refusal.code == "rollout/not_paused"));
    decide(&*house.store, |world| end(world, &model(), "the fair begins", &user("ann"), day(104))).await.unwrap();
    house.drained().await;
    assert_eq!((house.weight(), house.story().last().copied()), (None, Some("RolloutAborted")));
    let again = decide(&*house.store, |world| end(world, &model(), "", &user("ann"), day(104))).await;
    assert!(matches!(again, Err(ports::CommitError::Refused(refusal)) if refusal.code == "rollout/none"));
}

/// Two people, a shadow's worth of requests, two steps of a canary: killed at each write, the story is the same.
#[tokio::test]
async fn killed_at_any_write_people_and_canaries_are_not_forgotten() {
    let (whole, writes) = rolled_out(None).await;
    assert!(whole.ends_with(&["ChampionPromoted", "AlertRaised"]) && writes >= 12, "{writes}: {whole:?}");
    assert_eq!(whole.iter().filter(|name| **name == "ApprovalGiven").count(), 4);
    for n in 1..=writes {
        for side in [Halt::Before, Halt::After] {
            assert_eq!(rolled_out(Some((n, side))).await.0, whole, "{side:?} write {n}");
        }
    }
}

async fn rolled_out(halt: Option<(u64, Halt)>) -> (Vec<&'static str>, u64) {
    let file = CANARY.replace("\"must\": [\"mae < 60\"]", "\"must\": [\"mae < 60\"], \"approve\": { \"people\": 2 }");
    let file = file.replace("\"rollout\": {", "\"rollout\": { \"shadow\": { \"min_requests\": 24 },");
    let house = House::with(&file).await;
    let before = house.mortal.writes();
    if let Some((n, side)) = halt {
        house.mortal.halt_at(n, side);
    }
    for number in [1, 2] {
        house.register(number, Some(day(93)), None).await;
        for who in ["ann", "bob"] {
            house.people("approve", number, who, "fine", day(100)).await.unwrap();
        }
    }
    house.shadow(2, 24, 0).await;
    house.canary(100, 0, day(101)).await;
    house.canary(100, 0, day(102)).await;
    (house.story(), house.mortal.writes() - before)
}

/// Labels come late and by entity and time: at the same rows a day of both sides, the canary off by 20 against 15.
#[tokio::test]
async fn labels_that_say_worse_end_a_canary() {
    use ports::RowLog;
    use ports::memory::MemoryRowLog;
    use reactor::Worker;
    let told = async |canary_error: f64| {
        let house = House::with(CANARY).await;
        house.register(3, Some(day(93)), None).await;
        house.register(1, Some(day(93)), None).await;
        assert_eq!(house.weight(), Some(5));
        let rows = Arc::new(MemoryRowLog::default());
        let worker = crate::work::LabelWorker::new(house.store.clone(), rows.clone());
        let row = |id: String, n: i64, at: Timestamp, fields: Vec<(&str, Scalar)>| Row {
            id,
            time: day(100) + Span::from_ms(n * 1000),
            at,
            key: EntityKey::one("house", format!("h{}", n % 7)),
            fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        };
        let noise = |n: i64| f64::from(i32::try_from(n * 37 % 11).unwrap()) / 10.0;
        for n in 0..400 {
            let (version, role, error) = if n % 4 == 0 { (1, "canary", canary_error) } else { (3, "champion", 15.0) };
            let answer = vec![
                ("version", Scalar::Int(version)),
                ("role", Scalar::Text(role.into())),
                ("prediction", Scalar::Float(100.0 + error + noise(n))),
            ];
            rows.append("prediction/demand", vec![row(format!("p{n}"), n, day(100), answer)]).await.unwrap();
            let label = vec![("label", Scalar::Float(100.0))];
            rows.append("label/demand", vec![row(format!("l{n}"), n, day(101), label)]).await.unwrap();
        }
        rows.seal("prediction/demand").await.unwrap();
        rows.seal("label/demand").await.unwrap();
        let sealed = Recorded {
            seq: 1,
            at: day(101),
            actor: Actor::System("rows".into()),
            cause: None,
            thread: None,
            event: Event::SegmentSealed {
                stream: "label/demand".into(),
                segment: 1,
                rows: 400,
                time: Range::new(day(100), day(101)),
                watermark: day(101),
            },
        };
        assert!(worker.wants(&sealed.event));
        worker.work(&sealed).await.unwrap();
        house.drained().await;
        let seen = house.deployment().canary.and_then(|canary| canary.seen.labels);
        (house.story().pop().unwrap(), house.weight(), seen)
    };
    assert_eq!((told(20.0).await.0, told(20.0).await.1), ("AlertRaised", None));
    // As good as the champion: the canary goes on, with the numbers kept.
    let (last, weight, seen) = told(15.0).await;
    let seen = seen.unwrap();
    assert_eq!((last, weight, seen.champion_rows, seen.canary_rows), ("CanaryLabelled", Some(5), 300, 100));
    assert!(seen.p > 0.05 && seen.interval.is_some_and(|interval| interval.low < 0.0 && interval.high > 0.0));
}
