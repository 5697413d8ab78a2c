//! Agreement with SciPy, scikit-learn and Evidently on real data; the sources are named in the folders' README files.
#![allow(clippy::unwrap_used)]

use arrow::array::{AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use stats::*;
use std::{fs, path::Path};

const PAIRS: [&str; 4] = ["bike_jul_aug", "cancer_halves", "flights_small", "iris_tiny"];

fn json(path: &str) -> Value {
    serde_json::from_slice(&fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)).unwrap()).unwrap()
}

fn table(name: &str) -> RecordBatch {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drift").join(format!("{name}.parquet"));
    let mut reader =
        ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().with_batch_size(10_000).build().unwrap();
    let batch = reader.next().unwrap().unwrap();
    assert!(reader.next().is_none());
    batch
}

fn numbers(table: &RecordBatch, column: &str) -> Vec<Option<f64>> {
    let column = cast(table.column_by_name(column).unwrap(), &DataType::Float64).unwrap();
    let column: &Float64Array = column.as_primitive::<Float64Type>();
    column.iter().collect()
}

fn labels(table: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let column = cast(table.column_by_name(column).unwrap(), &DataType::Utf8).unwrap();
    column.as_string::<i32>().iter().map(|label| label.map(str::to_owned)).collect()
}

fn close(what: &str, ours: f64, expected: &Value) {
    let of = |key: &str| expected[key].as_f64().unwrap_or_else(|| panic!("{what}: {key} is absent"));
    let slack = of("atol") + of("rtol") * of("value").abs();
    assert!((ours - of("value")).abs() <= slack, "{what}: {ours}, expected {} within {slack}", of("value"));
}

#[test]
fn numeric_distances() {
    let expected = json("drift/expected_drift.json");
    let mut checked = 0;
    for pair in PAIRS {
        let (reference, current) = (table(&format!("{pair}.ref")), table(&format!("{pair}.cur")));
        for (column, statistics) in expected[pair]["numeric"].as_object().unwrap() {
            let what = |statistic: &str| format!("{pair}.{column} {statistic}");
            // The peers drop nulls before every test.
            let dropped = |table| numbers(table, column).into_iter().filter(Option::is_some).collect::<Vec<_>>();
            let (a, b) = (dropped(&reference), dropped(&current));
            let (u, v): (Vec<f64>, Vec<f64>) = (a.iter().flatten().copied().collect(), b.iter().flatten().copied().collect());

            let bins = Bins::numeric(&a, 10);
            let Bins::Numeric { edges } = &bins else { panic!("numeric bins") };
            let theirs: Vec<f64> = statistics["psi_ref_deciles_edges"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
            assert_eq!(edges.len(), theirs.len(), "{}", what("edges"));
            assert!(edges.iter().zip(&theirs).all(|(x, y)| (x - y).abs() <= 1e-12 * y.abs()), "{}: {edges:?} {theirs:?}", what("edges"));
            let (p, q) = (bins.count_numbers(&a), bins.count_numbers(&b));
            close(&what("psi"), psi(&p, &q).unwrap(), &statistics["psi_ref_deciles_eps1e-4"]);
            close(&what("js"), js_distance(&p, &q).unwrap(), &statistics["js_distance_ref_deciles_ln"]);

            let norm = &statistics["wasserstein_norm_std_ref_ddof0"];
            close(&what("w1"), wasserstein(&u, &v).unwrap(), &statistics["wasserstein_1"]);
            close(&what("w-norm"), wasserstein_norm(&u, &v).unwrap(), norm);
            close(&what("w-norm of evidently"), wasserstein_norm(&u, &v).unwrap(), &statistics["evidently"]["wasserstein"]);

            let d = ks_statistic(&u, &v).unwrap();
            close(&what("ks"), d, &statistics["ks_statistic"]);
            close(&what("ks p"), ks_p_exact(d, u.len(), v.len()).unwrap(), &statistics["ks_p_exact"]);

            let (there, here) = (Profile::numeric(&a, Some(&bins)), Profile::numeric(&b, None));
            close(&what("profiles' psi"), here.psi_to(&there, &bins).unwrap(), &statistics["psi_ref_deciles_eps1e-4"]);
            close(&what("profiles' w-norm"), here.wasserstein_norm_to(&there).unwrap(), norm);
            checked += 1;
        }
    }
    assert_eq!(checked, 16);
}

#[test]
fn categorical_distances() {
    let expected = json("drift/expected_drift.json");
    let mut checked = 0;
    for pair in PAIRS {
        let (reference, current) = (table(&format!("{pair}.ref")), table(&format!("{pair}.cur")));
        for (column, statistics) in expected[pair]["categorical"].as_object().unwrap() {
            let (a, b) = (labels(&reference, column), labels(&current, column));
            // The peers give every value of either side a category; ours would put new ones into "other".
            let both: Vec<_> = a.iter().chain(&b).cloned().collect();
            let bins = Bins::categorical(&both);
            let (p, q) = (bins.count_labels(&a), bins.count_labels(&b));
            let what = |statistic: &str| format!("{pair}.{column} {statistic}");
            close(&what("psi"), psi(&p, &q).unwrap(), &statistics["psi_eps1e-4"]);
            close(&what("js"), js_distance(&p, &q).unwrap(), &statistics["js_distance_ln"]);
            close(&what("tvd"), tvd(&p, &q).unwrap(), &statistics["tvd"]);
            let (there, here) = (Profile::categorical(&a, Some(&bins)), Profile::categorical(&b, None));
            close(&what("profiles' psi"), here.psi_to(&there, &bins).unwrap(), &statistics["psi_eps1e-4"]);
            checked += 1;
        }
    }
    assert_eq!(checked, 8);
}

#[test]
fn performance_metrics() {
    let expected = json("drift/expected_perf.json");
    for (name, metrics) in [
        (
            "perf_binary",
            &[
                ("accuracy", Metric::Accuracy),
                ("f1", Metric::F1),
                ("log_loss", Metric::LogLoss),
                ("roc_auc", Metric::Auc),
                ("brier", Metric::Brier),
            ][..],
        ),
        (
            "perf_regression",
            &[("mae", Metric::Mae), ("rmse", Metric::Rmse), ("mse", Metric::Mse), ("r2", Metric::R2), ("mape", Metric::Mape)][..],
        ),
    ] {
        let table = table(name);
        let column = |name| numbers(&table, name).into_iter().flatten().collect::<Vec<f64>>();
        for (key, metric) in metrics {
            close(key, metric.value(&column("y"), &column("p")).unwrap(), &expected[name][key]);
        }
    }
}

/// Truth, champion and challenger of a data set of the gates.
fn models(gates: &Value, data: &str) -> [Vec<f64>; 3] {
    let column = |name| gates["data"][data][name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    [column("y"), column("champion"), column("challenger")]
}

fn fixture<'a>(gates: &'a Value, id: &str) -> &'a Value {
    gates["fixtures"].as_array().unwrap().iter().find(|fixture| fixture["id"] == id).unwrap()
}

#[test]
fn gate_metrics() {
    let gates = json("gates/expected.json");
    for (data, id, key, metric) in [
        ("bc", "delong_challenger", "auc", Metric::Auc),
        ("bc", "acc_diff_challenger", "acc", Metric::Accuracy),
        ("bc", "brier_challenger", "brier", Metric::Brier),
        ("diabetes", "diabetes_regression", "mae", Metric::Mae),
        ("diabetes", "diabetes_regression", "rmse", Metric::Rmse),
    ] {
        let [truth, champion, challenger] = models(&gates, data);
        let fixture = fixture(&gates, id);
        for (role, prediction) in [("champion", champion), ("challenger", challenger)] {
            let expected = fixture["expected"][format!("{key}_{role}")].as_f64().unwrap();
            let ours = metric.value(&truth, &prediction).unwrap();
            assert!((ours - expected).abs() <= fixture["tol"]["_"].as_f64().unwrap(), "{id} {role}: {ours}, expected {expected}");
        }
    }
}

#[test]
fn bootstrap_intervals() {
    let gates = json("gates/expected.json");
    let [truth, champion, challenger] = models(&gates, "bc");
    for (id, metric) in
        [("boot_auc_challenger", Metric::Auc), ("boot_acc_challenger", Metric::Accuracy), ("boot_brier_challenger", Metric::Brier)]
    {
        let fixture = fixture(&gates, id);
        let ours = paired_difference(metric, &truth, &champion, &challenger, None, 10_000, 0.95, 0).unwrap();
        for (end, ours) in [ours.low, ours.high].into_iter().enumerate() {
            let expected = fixture["expected"]["ci"][end].as_f64().unwrap();
            let slack = fixture["tol"]["ci"].as_f64().unwrap();
            assert!((ours - expected).abs() <= slack, "{id} end {end}: {ours}, expected {expected} within {slack}");
        }
    }
}
