#![allow(clippy::unwrap_used)]
//! Checks beside plain limits and day blocks: the methods that fit a metric, slices, groups, behaviour, training.

use super::*;
use domain::entity;
use domain::spec::GateSpec;
use domain::{Scalar, Verdict, Verdict::*};
use indexmap::IndexMap;
use stats::Metric;

/// Rows whose answers are right or wrong, or off, by a rule of the row number.
#[derive(Default)]
struct Case {
    truth: Vec<f64>,
    challenger: Vec<f64>,
    champion: Vec<f64>,
    columns: IndexMap<String, Vec<Scalar>>,
    facts: Facts,
    main: Option<Metric>,
}

impl Case {
    fn judge(&self, text: &str) -> entity::Check {
        let must = vec![text.to_owned()];
        let spec: GateSpec = serde_json::from_value(serde_json::json!({ "holdout": "last 7d", "must": must })).unwrap();
        let answers = |values: &[f64]| values.iter().map(|x| Scalar::Float(*x)).collect::<Vec<_>>();
        let (new, old) = (answers(&self.challenger), answers(&self.champion));
        let evidence = Evidence {
            truth: &self.truth,
            days: None,
            challenger: &new,
            champion: (!old.is_empty()).then_some(&old),
            seed: 7,
            columns: &self.columns,
            facts: &self.facts,
        };
        judge(&parse_gate(&spec).unwrap(), self.main.unwrap_or(Metric::Accuracy), &evidence).checks.remove(0)
    }
}

/// `n` rows of alternating classes; the challenger is wrong on the first `new` of each hundred, the champion on the last `old`.
fn classes(n: usize, new: usize, old: usize) -> Case {
    let truth: Vec<f64> = (0..n).map(|row| (row % 2) as f64).collect();
    let answer = |wrong: &dyn Fn(usize) -> bool| {
        truth.iter().enumerate().map(|(row, y)| if wrong(row % 100) { 0.75 - 0.5 * y } else { 0.25 + 0.5 * y }).collect()
    };
    Case { challenger: answer(&|at| at < new), champion: answer(&|at| at >= 100 - old), truth, ..Case::default() }
}

#[test]
fn the_method_fits_the_metric_and_says_how_many_rows_it_lacks() {
    let cases = [
        ("superior(accuracy)", classes(1000, 4, 10), Pass, "Tango score"),
        ("superior(accuracy)", classes(1000, 10, 4), Fail, "Tango score"),
        ("superior(accuracy, margin = 0.05)", classes(1000, 4, 10), Inconclusive, "Tango score"),
        ("non_inferior(accuracy, margin = 0.02)", classes(300, 5, 5), Inconclusive, "Tango score"),
        ("non_inferior(auc, margin = 0.02)", classes(1000, 4, 10), Pass, "DeLong"),
        ("non_inferior(brier, margin = 0.01)", classes(1000, 4, 10), Pass, "paired t"),
        ("superior(log_loss)", classes(1000, 4, 10), Pass, "paired t"),
        ("superior(f1)", classes(1000, 4, 10), Pass, "paired bootstrap of rows (BCa)"),
        ("superior(brier, by = row)", classes(1000, 10, 4), Fail, "paired t"),
    ];
    for (text, case, verdict, method) in cases {
        let found = case.judge(text);
        assert_eq!(found.verdict, verdict, "{text}: {}", found.why);
        assert!(found.method.as_ref().unwrap().starts_with(method), "{text}: {:?}", found.method);
        assert!(found.value.is_some() && found.limit.is_some() && found.n == Some(case.truth.len() as u64), "{found:?}");
        assert_eq!(found.needed.is_some(), verdict == Inconclusive, "{text}: {}", found.why);
    }
    // At 5 % errors each, the sizes of Lu and Bean: (1.96 + 0.84)² 0.1 / 0.02².
    assert_eq!(classes(300, 5, 5).judge("non_inferior(accuracy, margin = 0.02)").needed, Some(1963));
    let tests = classes(1000, 4, 10).judge("superior(accuracy)").tests;
    assert!(tests.iter().any(|test| test.name == "McNemar, exact" && test.p < 1e-5), "{tests:?}");
    // On the wrong side, no number of rows would do.
    let worse = classes(200, 6, 5).judge("superior(accuracy)");
    assert_eq!((worse.verdict, worse.needed), (Inconclusive, None));
    assert!(worse.why.contains("more rows would not"), "{}", worse.why);
}

#[test]
fn days_and_columns_are_asked_for_by_name() {
    let mut case = classes(1000, 4, 10);
    assert!(case.judge("superior(accuracy, by = day)").why.contains("no times"));
    case.columns.insert("user".into(), (0..1000).map(|row| Scalar::Text(format!("u{:02}", row % 50))).collect());
    let found = case.judge("superior(accuracy, by = user)");
    assert!(found.method.as_ref().unwrap().contains("50 blocks of one user"), "{found:?}");
    let found = case.judge("superior(accuracy, by = usr)");
    assert_eq!(found.verdict, Inconclusive);
    assert!(found.why.contains("did you mean `user`?"), "{}", found.why);
}

#[test]
fn a_slice_that_is_worse_fails_though_the_whole_is_better() {
    let mut case = classes(1000, 0, 10);
    // In the town the challenger is wrong on every other row, elsewhere always right.
    let city = |row: usize| if row % 10 == 7 { "town" } else { "city" };
    case.columns.insert("place".into(), (0..1000).map(|row| Scalar::Text(city(row).into())).collect());
    for row in (0..1000).filter(|row| city(*row) == "town" && row % 20 == 7) {
        case.challenger[row] = 1.0 - case.challenger[row];
    }
    assert_eq!(case.judge("superior(accuracy)").verdict, Pass);
    let found = case.judge("no_worse_slice(place)");
    assert_eq!(found.verdict, Fail, "{}", found.why);
    assert!(found.why.contains("place = town") && found.slices.len() == 2, "{}", found.why);
    assert!(found.slices[0].holm.unwrap() > 0.5 && found.slices[1].holm.unwrap() < 1e-6, "{:?}", found.slices);
    // Too small to be judged is not healthy.
    let found = case.judge("no_worse_slice(place, min_rows = 901)");
    assert_eq!((found.verdict, found.needed), (Inconclusive, Some(901)), "{}", found.why);
    // Numbers with many values are cut at their quartiles.
    case.columns.insert("age".into(), (0..1000).map(Scalar::Int).collect());
    let names: Vec<String> = case.judge("no_worse_slice(age)").slices.into_iter().map(|slice| slice.name).collect();
    assert_eq!(names, ["250 <= age < 500", "500 <= age < 750", "age < 250", "age >= 750"]);
}

#[test]
fn probabilities_and_groups_have_limits() {
    let mut case = classes(1000, 6, 10);
    // Answers of 0.25 and 0.75 that are right in 94 of 100: not sure enough of themselves.
    let found = case.judge("ece < 0.05");
    assert_eq!(found.verdict, Fail, "{}", found.why);
    assert!((found.value.unwrap() - 0.19).abs() < 1e-9);
    let interval = found.interval.unwrap();
    assert!(interval.low > 0.16 && interval.high < 0.22 && found.n == Some(1000), "{interval:?}");
    let near = case.judge("ece < 0.195");
    assert!(near.verdict == Inconclusive && near.needed.unwrap() > 1000, "{}", near.why);
    assert_eq!(case.judge("ece < 0.25").verdict, Pass);
    assert_eq!(case.judge("calibration_slope < 1.2").verdict, Fail);
    let slope = case.judge("calibration_slope > 1.2");
    assert!(slope.verdict == Pass && slope.interval.is_some(), "{slope:?}");
    assert_eq!(case.judge("calibration_slope > 2.5").verdict, Inconclusive);
    // Class 1 is answered as often in both halves.
    case.columns.insert("half".into(), (0..1000).map(|row| Scalar::Int(i64::from(row >= 500))).collect());
    let found = case.judge("demographic_parity(half) < 0.2");
    assert_eq!((found.verdict, found.value), (Pass, Some(0.0)), "{}", found.why);
    // Classes themselves as groups: all of one is chosen, none of the other.
    case.columns.insert("class".into(), case.truth.iter().map(|y| Scalar::Float(*y)).collect());
    assert_eq!(case.judge("demographic_parity(class) < 0.2").verdict, Fail);
    assert_eq!(case.judge("equalized_odds(class) < 0.2").verdict, Inconclusive, "a group without positives");
    assert_eq!(case.judge("demographic_parity(clas) < 0.2").verdict, Inconclusive);
}

#[test]
fn behaviour_and_training_have_limits() {
    let mut case = classes(100, 5, 5);
    for text in ["latency_p99 < 20ms", "model_size < 1MB", "same_signature()", "answers(missing)", "train_rows > 10"] {
        assert_eq!(case.judge(text).verdict, Inconclusive, "{text}: nothing is known");
    }
    let calls = |n: usize| Facts {
        latency: Some(Ok(Latency { challenger_ms: (0..n).map(|i| 1.0 + (i % 100) as f64 / 100.0).collect(), champion_ms: vec![1.0; n] })),
        ..Facts::default()
    };
    case.facts = calls(500);
    assert_eq!(case.judge("latency_p99 < 20ms").verdict, Pass);
    assert_eq!(case.judge("latency_p50 < 1ms").verdict, Fail);
    assert_eq!(case.judge("latency_ratio < 2").verdict, Pass);
    assert_eq!(case.judge("latency_ratio < 1.2").verdict, Fail);
    case.facts = calls(100);
    let few = case.judge("latency_p99 < 20ms");
    assert_eq!((few.verdict, few.needed), (Inconclusive, Some(369)), "a hundred calls bound no p99: {}", few.why);

    let of = |name: &str, dtype: &str| SignatureColumn { name: name.into(), dtype: dtype.into(), required: true };
    let signature = |inputs: Vec<SignatureColumn>| Signature { inputs, outputs: vec![of("", "double")] };
    case.facts = Facts {
        size: Some(Ok(2_500_000)),
        signatures: Some(Ok(Signatures {
            challenger: signature(vec![of("a", "double"), of("b", "long")]),
            champion: signature(vec![of("a", "double")]),
        })),
        answers: [
            (Probe::Missing, Answered::Badly("ValueError: Input contains NaN".into())),
            (Probe::OneRow, Answered::Well),
            (Probe::Unseen, Answered::NotAsked("no feature is a text".into())),
        ]
        .into(),
        training: Some(Ok(Training {
            rows: 900,
            nulls: IndexMap::from([("temp".into(), 0.12), ("hum".into(), 0.0)]),
            constant: vec!["holiday".into()],
            duplicates: vec![],
            repeated: Some(18),
            drift: IndexMap::from([("temp".into(), 0.31), ("hum".into(), 0.02)]),
            classes: vec![("1".into(), 40), ("0".into(), 860)],
            label: Some((0.0, 310.0)),
            overlap: Some(3),
        })),
        ..Facts::default()
    };
    let cases = [
        ("model_size < 50MB", Pass, "2.5 MB"),
        ("model_size < 2MB", Fail, "2.5 MB"),
        ("same_signature()", Fail, "needs `b`"),
        ("answers(missing)", Fail, "NaN"),
        ("answers(one_row)", Pass, ""),
        ("answers(unseen)", Inconclusive, "no feature is a text"),
        ("train_rows >= 1000", Fail, "900 rows"),
        ("train_nulls < 10%", Fail, "`temp`"),
        ("train_nulls(hum) < 10%", Pass, ""),
        ("train_nulls(humm) < 10%", Inconclusive, "did you mean `hum`?"),
        ("train_constant_columns <= 0", Fail, "holiday"),
        ("train_duplicate_columns <= 0", Pass, ""),
        ("train_label_min >= 0", Pass, ""),
        ("train_label_max < 300", Fail, ""),
        ("train_overlap <= 0", Fail, "3 rows"),
        ("train_duplicate_rows < 1%", Fail, "0.0200 (18 rows)"),
        ("train_drift < 0.25", Fail, "0.3100 in `temp`"),
        ("train_drift(hum) < 0.25", Pass, ""),
        ("train_drift(tmp) < 0.25", Inconclusive, "did you mean `temp`?"),
        ("train_smallest_class > 100", Fail, "40 rows of `1`, of 2 classes"),
    ];
    for (text, verdict, why) in cases {
        let found = case.judge(text);
        assert_eq!(found.verdict, verdict, "{text}: {}", found.why);
        assert!(found.why.contains(why), "{text}: {}", found.why);
    }
    case.champion.clear();
    assert!(case.judge("same_signature()").skipped && case.judge("latency_ratio < 2").skipped);
}

/// The gate's promise, with real chance: at a margin of 0 a worse model passes no more often than half of alpha says.
#[test]
fn a_worse_model_is_let_through_no_more_often_than_alpha_says() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = move || {
        // SplitMix64.
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    let trials = 2000;
    let (mut passed, mut failed) = ([0; 2], [0; 2]);
    // A challenger as good as the champion, at the edge of what may pass, and one that is worse by 3 points.
    for (kind, worse) in [0.0, 0.03].into_iter().enumerate() {
        for _ in 0..trials {
            let mut case = Case::default();
            for _ in 0..200 {
                let (y, both, own, other) = (f64::from(uniform() < 0.5), uniform() < 0.08, uniform() < 0.06 + worse, uniform() < 0.06);
                let answer = |wrong: bool| if wrong { 1.0 - y } else { y };
                case.truth.push(y);
                case.challenger.push(answer(both || own));
                case.champion.push(answer(both || other));
            }
            match case.judge("non_inferior(accuracy, margin = 0)").verdict {
                Verdict::Pass => passed[kind] += 1,
                Verdict::Fail => failed[kind] += 1,
                Verdict::Inconclusive => {}
            }
        }
    }
    // One-sided 2.5 %: at most 50 of 2000, and three standard deviations of chance (7) upon it.
    assert!(passed[0] <= 71, "{} of {trials} equal models passed", passed[0]);
    assert!(passed[1] <= 10, "{} of {trials} worse models passed", passed[1]);
    assert!(failed[1] > failed[0], "the worse ones are found more often: {failed:?}");
}

/// A canary of the champion itself: looked at after every answer, it almost never stops.
#[test]
fn an_a_a_canary_almost_never_stops() {
    use stats::{Arm, Msprt};
    let mut state = 7u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    let mut stopped = 0;
    for _ in 0..400 {
        let mut test = Msprt::new(Arm::Binary, 0.01);
        for n in 0..1000 {
            test.observe(f64::from(next() < 0.9), f64::from(next() < 0.9));
            if n >= 50 && test.p() <= 0.05 {
                stopped += 1;
                break;
            }
        }
    }
    assert!(stopped <= 20, "{stopped} of 400 A/A canaries stopped at 5 %");
}
