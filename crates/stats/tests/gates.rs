//! Champion against challenger: every fixture of `gates/expected.json`, within its own tolerance.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use stats::*;
use std::{fs, path::Path};

fn expected() -> Value {
    serde_json::from_slice(&fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gates/expected.json")).unwrap()).unwrap()
}

/// A data set: truth and both models' answers.
struct Data<'a>(&'a Value);

impl Data<'_> {
    fn column(&self, name: &str) -> Vec<f64> {
        self.0[name].as_array().unwrap_or_else(|| panic!("no {name}")).iter().map(|x| x.as_f64().unwrap()).collect()
    }

    fn models(&self) -> [Vec<f64>; 3] {
        ["y", "champion", "challenger"].map(|name| self.column(name))
    }

    fn right(&self, name: &str, binary: bool) -> Vec<bool> {
        let answers = self.column(name).into_iter().map(|p| if binary { f64::from(p >= 0.5) } else { p });
        answers.zip(self.column("y")).map(|(p, y)| p == y).collect()
    }

    fn pairs(&self, binary: bool) -> Discordant {
        Discordant::new(&self.right("champion", binary), &self.right("challenger", binary)).unwrap()
    }
}

/// What we find for a fixture, in its own words.
fn found(id: &str, data: &Data) -> Value {
    match id {
        "delong_challenger" => {
            let [truth, old, new] = data.models();
            let test = DeLong::new(&truth, &old, &new).unwrap();
            json!({ "auc_champion": test.champion, "auc_challenger": test.challenger, "diff": test.difference(), "se": test.se(),
                "z": test.z(), "p": test.p(), "ci": ends(test.interval(0.95)), "var_champion": test.var_champion,
                "var_challenger": test.var_challenger, "cov": test.cov, "p_noninf_margin_0_01": test.p_non_inferior(0.01) })
        }
        "mcnemar_challenger" => mcnemar(&data.pairs(true)),
        "acc_diff_challenger" => {
            let pairs = data.pairs(true);
            let [truth, old, new] = data.models();
            json!({ "acc_champion": Metric::Accuracy.value(&truth, &old), "acc_challenger": Metric::Accuracy.value(&truth, &new),
                "diff": pairs.difference(), "tango_ci": ends(pairs.tango(0.95)), "wald_se": pairs.wald_se(),
                "non_inferior_0_02": pairs.tango(0.95).unwrap().0 > -0.02 })
        }
        "brier_challenger" => {
            let [truth, old, new] = data.models();
            let clip = |p: &[f64]| p.iter().map(|p| p.clamp(1e-6, 1.0 - 1e-6)).collect::<Vec<_>>();
            let test = losses(Metric::Brier, &truth, &old, &new);
            json!({ "brier_champion": Metric::Brier.value(&truth, &old), "brier_challenger": Metric::Brier.value(&truth, &new),
                "diff": test.mean, "se": test.se, "t": test.t(), "p": test.p(), "ci": ends(test.interval(0.95)),
                "logloss_champion": Metric::LogLoss.value(&truth, &clip(&old)),
                "logloss_challenger": Metric::LogLoss.value(&truth, &clip(&new)),
                "logloss_diff_p": losses(Metric::LogLoss, &truth, &clip(&old), &clip(&new)).p() })
        }
        "calibration_challenger" => {
            let [truth, _, new] = data.models();
            let fit = Recalibration::fit(&truth, &new).unwrap();
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            json!({ "ece": calibration_error(&truth, &new, 10, Binning::Width), "ece_mass": calibration_error(&truth, &new, 10, Binning::Mass),
                "intercept": fit.intercept, "slope": fit.slope, "mean_pred": mean(&new), "prevalence": mean(&truth) })
        }
        "boot_auc_challenger" => bootstrap(Metric::Auc, data),
        "boot_acc_challenger" => bootstrap(Metric::Accuracy, data),
        "boot_brier_challenger" => bootstrap(Metric::Brier, data),
        "slices_challenger" => slices(data),
        "msprt_canary" => {
            let mut test = Msprt::new(Arm::Binary, data.0["tau2"].as_f64().unwrap());
            let mut first = None;
            for (n, (old, new)) in data.column("champion_ok").into_iter().zip(data.column("challenger_ok")).enumerate() {
                test.observe(old, new);
                first = first.or((test.p() <= 0.05).then_some(n + 1));
            }
            json!({ "p_final": test.p(), "first_n_p_le_alpha": first, "theta": test.difference(), "cs": ends(test.interval(0.95)) })
        }
        "digits_mcnemar" => {
            let pairs = data.pairs(false);
            let [truth, old, new] = data.models();
            let mut all = mcnemar(&pairs);
            all["acc_champion"] = json!(Metric::Accuracy.value(&truth, &old));
            all["acc_challenger"] = json!(Metric::Accuracy.value(&truth, &new));
            all["tango_ci"] = ends(pairs.tango(0.95));
            all
        }
        "digits_macro_f1_boot" => {
            let [truth, old, new] = data.models();
            let mut all = bootstrap(Metric::F1Macro, data);
            all["f1_champion"] = json!(Metric::F1Macro.value(&truth, &old));
            all["f1_challenger"] = json!(Metric::F1Macro.value(&truth, &new));
            all
        }
        "diabetes_regression" => {
            let [truth, old, new] = data.models();
            let test = losses(Metric::Mae, &truth, &old, &new);
            let ranks = Wilcoxon::new(&differences(Metric::Mae, &truth, &old, &new)).unwrap();
            let value = |metric: Metric, answers: &[f64]| json!(metric.value(&truth, answers));
            json!({ "mae_champion": value(Metric::Mae, &old), "mae_challenger": value(Metric::Mae, &new),
                "rmse_champion": value(Metric::Rmse, &old), "rmse_challenger": value(Metric::Rmse, &new), "diff": test.mean, "t": test.t(),
                "p": test.p(), "ci": ends(test.interval(0.95)), "wilcoxon_w": ranks.w, "wilcoxon_p": ranks.p,
                "mse_diff_p": losses(Metric::Mse, &truth, &old, &new).p() })
        }
        "sample_size" => {
            json!({ "n_mcnemar": pairs_for_difference(0.06, 0.02, 0.05, 0.8), "n_noninf": pairs_for_margin(0.04, 0.0, 0.01, 0.025, 0.8) })
        }
        other => panic!("a fixture that nothing answers: {other}"),
    }
}

fn ends(interval: Option<(f64, f64)>) -> Value {
    interval.map_or(Value::Null, |(low, high)| json!([low, high]))
}

fn differences(metric: Metric, truth: &[f64], old: &[f64], new: &[f64]) -> Vec<f64> {
    let loss = |y: &f64, p: &f64| metric.row_loss(*y, *p).unwrap();
    truth.iter().zip(old.iter().zip(new)).map(|(y, (old, new))| loss(y, new) - loss(y, old)).collect()
}

fn losses(metric: Metric, truth: &[f64], old: &[f64], new: &[f64]) -> PairedT {
    PairedT::new(&differences(metric, truth, old, new)).unwrap()
}

fn mcnemar(pairs: &Discordant) -> Value {
    json!({ "b": pairs.only_champion, "c": pairs.only_challenger, "both_right": pairs.both_right, "both_wrong": pairs.both_wrong,
        "exact_p": pairs.exact_p(), "midp": pairs.mid_p(), "chi2": pairs.chi2(false), "chi2_p": pairs.chi2_p(false),
        "chi2_cc": pairs.chi2(true), "chi2_cc_p": pairs.chi2_p(true) })
}

fn bootstrap(metric: Metric, data: &Data) -> Value {
    let [truth, old, new] = data.models();
    let found = paired_difference(metric, &truth, &old, &new, None, 10_000, 0.95, 0).unwrap();
    let (low, high) = found.bca.unwrap();
    assert!((low - found.low).abs() < found.se && (high - found.high).abs() < found.se, "{metric:?}: {found:?}");
    json!({ "ci": [found.low, found.high], "se": found.se, "p_le_0": found.at_most_0 })
}

fn slices(data: &Data) -> Value {
    let names: Vec<&str> = data.0["slice"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let (old, new) = (data.right("champion", true), data.right("challenger", true));
    let mut of_slices = serde_json::Map::new();
    let mut p = Vec::new();
    for slice in ["small", "medium", "large"] {
        let own =
            |right: &[bool]| right.iter().zip(&names).filter(|(_, name)| **name == slice).map(|(right, _)| *right).collect::<Vec<_>>();
        let pairs = Discordant::new(&own(&old), &own(&new)).unwrap();
        let (n, hits) = (pairs.n(), pairs.both_right + pairs.only_challenger);
        p.push(sign_test(pairs.only_champion, pairs.only_challenger));
        let share = |hits: u64| hits as f64 / n as f64;
        of_slices.insert(
            slice.into(),
            json!({ "n": n, "acc_champion": share(pairs.both_right + pairs.only_champion), "acc_challenger": share(hits),
                "b": pairs.only_champion, "c": pairs.only_challenger, "p_worse": p.last(), "wilson_challenger": ends(wilson(hits, n, 0.95)) }),
        );
    }
    json!({ "slices": of_slices, "holm": holm(&p), "bh": benjamini_hochberg(&p) })
}

/// Every number of `expected` is in `ours`, within the tolerance of its field.
fn compare(place: &str, ours: &Value, expected: &Value, slack: f64, checked: &mut usize) {
    match expected {
        Value::Number(number) => {
            let (ours, expected) = (ours.as_f64().unwrap_or_else(|| panic!("{place}: {ours}")), number.as_f64().unwrap());
            assert!((ours - expected).abs() <= slack, "{place}: {ours}, expected {expected} within {slack}");
            *checked += 1;
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| compare(&format!("{place}[{at}]"), &ours[at], item, slack, checked))
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, item)| compare(&format!("{place}.{name}"), &ours[name], item, slack, checked))
        }
        other => assert_eq!(ours, other, "{place}"),
    }
}

#[test]
fn parities_are_fairlearns() {
    let file: Value = serde_json::from_str(include_str!("gates/fairness.json")).unwrap();
    let column = |name: &str| file[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    let (truth, chosen) = (column("truth"), column("chosen"));
    let group: Vec<u32> = column("group").iter().map(|x| *x as u32).collect();
    for (name, parity) in [
        ("demographic", Parity::Demographic),
        ("demographic_ratio", Parity::DemographicRatio),
        ("equal_opportunity", Parity::EqualOpportunity),
        ("equalized_odds", Parity::EqualizedOdds),
    ] {
        let (ours, theirs) = (parity.value(&truth, &chosen, &group).unwrap(), file["expected"][name].as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-12, "{name}: {ours}, expected {theirs}");
    }
}

#[test]
fn every_fixture_agrees() {
    let gates = expected();
    let mut checked = 0;
    for fixture in gates["fixtures"].as_array().unwrap() {
        let id = fixture["id"].as_str().unwrap();
        let data = fixture["data"].as_str().map_or(&Value::Null, |name| &gates["data"][name]);
        let ours = found(id, &Data(data));
        for (name, value) in fixture["expected"].as_object().unwrap() {
            let slack = fixture["tol"].get(name).or(fixture["tol"].get("_")).and_then(Value::as_f64).unwrap();
            compare(&format!("{id}.{name}"), &ours[name], value, slack, &mut checked);
        }
    }
    assert!(checked >= 110, "{checked}");
}
