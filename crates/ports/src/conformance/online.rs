//! What every online store does.

#![allow(clippy::unwrap_used)]

use crate::{OnlineRow, OnlineStore, PutReport};
use domain::{EntityKey, Scalar, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs the whole suite on a new, empty store.
pub async fn suite(store: Arc<dyn OnlineStore>) {
    every_value_comes_back(&*store).await;
    late_rows_are_left_out(&*store).await;
    the_last_of_equals_wins_within_a_call(&*store).await;
    keys_are_told_apart(&*store).await;
    views_do_not_see_each_other(&*store).await;
    readers_see_whole_rows_while_one_writes(store).await;
}

fn row(entity: &str, time: i64, created: Option<i64>, values: &[Scalar]) -> OnlineRow {
    OnlineRow {
        key: EntityKey::one("city_id", entity),
        time: Timestamp::from_ms(time),
        created: created.map(Timestamp::from_ms),
        values: values.to_vec(),
    }
}

fn one(store: &dyn OnlineStore, view: &str, key: &EntityKey) -> Option<OnlineRow> {
    store.get(view, std::slice::from_ref(key)).unwrap().remove(0)
}

async fn every_value_comes_back(store: &dyn OnlineStore) {
    let finite = [
        Scalar::Null,
        Scalar::Bool(true),
        Scalar::Bool(false),
        Scalar::Int(i64::MIN),
        Scalar::Float(-0.5),
        Scalar::Float(f64::INFINITY),
        Scalar::Text(String::new()),
        Scalar::Text("größe \0 日本 \"".into()),
    ];
    let full = row("values", 1, Some(-2), &finite);
    let empty = row("empty", -1, None, &[]);
    let nan = row("nan", 1, None, &[Scalar::Float(f64::NAN)]);
    let report = store.put("values@1", vec![full.clone(), empty.clone(), nan.clone()]).await.unwrap();
    assert_eq!(report, PutReport { written: 3, late: 0 });
    let keys = [empty.key.clone(), EntityKey::one("city_id", "nowhere"), full.key.clone()];
    assert_eq!(store.get("values@1", &keys).unwrap(), [Some(empty), None, Some(full)], "in the order asked for");
    let found = one(store, "values@1", &nan.key).unwrap();
    assert!(matches!(found.values[..], [Scalar::Float(value)] if value.is_nan()), "NaN is a value: {found:?}");
    assert!(store.get("values@1", &[]).unwrap().is_empty());
    assert_eq!(store.put("values@1", vec![]).await.unwrap(), PutReport::default());
}

/// In the order of (time, created), a row without `created` is the oldest of its time; equal rows replace.
async fn late_rows_are_left_out(store: &dyn OnlineStore) {
    let key = EntityKey::one("city_id", "late");
    let steps = [
        (5, Some(5), true),
        (4, Some(9), false),
        (5, None, false),
        (5, Some(4), false),
        (5, Some(5), true),
        (5, Some(6), true),
        (6, None, true),
        (6, None, true),
        (6, Some(0), true),
        (6, None, false),
    ];
    let mut newest = 0;
    for (number, (time, created, taken)) in (0i64..).zip(steps) {
        let report = store.put("late@1", vec![row("late", time, created, &[Scalar::Int(number)])]).await.unwrap();
        let expected = PutReport { written: u64::from(taken), late: u64::from(!taken) };
        assert_eq!(report, expected, "step {number}");
        newest = if taken { number } else { newest };
        assert_eq!(one(store, "late@1", &key).unwrap().values, [Scalar::Int(newest)], "step {number}");
    }
}

async fn the_last_of_equals_wins_within_a_call(store: &dyn OnlineStore) {
    let value = |number| [Scalar::Int(number)];
    let rows = vec![
        row("b", 2, None, &value(1)),
        row("a", 1, None, &value(2)),
        row("b", 2, None, &value(3)),
        row("b", 1, None, &value(4)),
        row("a", 3, None, &value(5)),
    ];
    let report = store.put("equals@1", rows).await.unwrap();
    assert_eq!(report, PutReport { written: 4, late: 1 });
    for (entity, expected) in [("a", 5), ("b", 3)] {
        assert_eq!(one(store, "equals@1", &EntityKey::one("city_id", entity)).unwrap().values, value(expected));
    }
}

/// Keys that look alike when they are written one after the other, that are long, and that differ only at their end.
async fn keys_are_told_apart(store: &dyn OnlineStore) {
    let two = |a: &str, b: &str| EntityKey([("a".to_owned(), a.to_owned()), ("b".to_owned(), b.to_owned())].into());
    let long = "日".repeat(1_000);
    let mut keys = vec![EntityKey::default(), two("x", "y"), two("xb", "y"), two("x,b=y", ""), two("x", ",b=y"), two("", "")];
    keys.extend(["", "\0", "\0\0", "a\0", "A", "a"].map(|value| EntityKey::one("city_id", value)));
    keys.extend([EntityKey::one("city", "_ida"), EntityKey::one("city_id\0", "a")]);
    keys.extend(["", "x", "y"].map(|end| EntityKey::one("city_id", format!("{long}{end}"))));
    keys.extend((400..520).map(|length| EntityKey::one("k", "v".repeat(length))));
    let rows = keys.iter().enumerate().map(|(number, key)| {
        let values = vec![Scalar::Int(number as i64)];
        OnlineRow { key: key.clone(), time: Timestamp::from_ms(0), created: None, values }
    });
    let rows: Vec<OnlineRow> = rows.collect();
    let report = store.put("keys@1", rows.clone()).await.unwrap();
    assert_eq!(report.written, keys.len() as u64);
    assert_eq!(store.get("keys@1", &keys).unwrap(), rows.into_iter().map(Some).collect::<Vec<_>>());
}

async fn views_do_not_see_each_other(store: &dyn OnlineStore) {
    let key = EntityKey::one("city_id", "dc");
    for view in ["v@1", "v@10", "v@", "w@1"] {
        store.put(view, vec![row("dc", 1, None, &[Scalar::Text(view.into())])]).await.unwrap();
    }
    assert!(one(store, "v@2", &key).is_none());
    store.clear("v@1").await.unwrap();
    store.clear("v@1").await.unwrap();
    store.clear("never there").await.unwrap();
    assert!(one(store, "v@1", &key).is_none());
    for view in ["v@10", "v@", "w@1"] {
        assert_eq!(one(store, view, &key).unwrap().values, [Scalar::Text(view.into())], "clearing v@1 leaves {view}");
    }
    let older = row("dc", 0, None, &[Scalar::Int(0)]);
    assert_eq!(store.put("v@1", vec![older]).await.unwrap().written, 1, "a cleared view remembers nothing");
}

/// Eight threads read two entities that one writer always writes together.
async fn readers_see_whole_rows_while_one_writes(store: Arc<dyn OnlineStore>) {
    let pair = |round: i64| ["left", "right"].map(|entity| row(entity, round, None, &vec![Scalar::Int(round); 20])).to_vec();
    store.put("busy@1", pair(0)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (store, stop) = (store.clone(), stop.clone());
            std::thread::spawn(move || {
                let keys = ["left", "right"].map(|entity| EntityKey::one("city_id", entity));
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    let found: Vec<OnlineRow> = store.get("busy@1", &keys).unwrap().into_iter().flatten().collect();
                    let round = found[0].time.ms();
                    assert!(round >= last, "time goes on");
                    let whole = found.iter().all(|row| row.time.ms() == round && row.values == vec![Scalar::Int(round); 20]);
                    assert!(found.len() == 2 && whole, "a call is written at once: {found:?}");
                    last = round;
                }
            })
        })
        .collect();
    for round in 1..=100 {
        store.put("busy@1", pair(round)).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert_eq!(one(&*store, "busy@1", &EntityKey::one("city_id", "left")).unwrap().time.ms(), 100);
}
