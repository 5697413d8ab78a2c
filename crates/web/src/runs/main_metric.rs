//! Which metric a table of runs is about, and which way it is better.

use domain::entity::{AppliedProject, Experiment, Run};
use serde::Serialize;

/// Tags of an experiment that say it; MLflow's own clients set them.
const NAME_TAG: &str = "mlflow.experiment.primaryMetric.name";
const GREATER_TAG: &str = "mlflow.experiment.primaryMetric.greaterIsBetter";
/// Parts of names of metrics that are better when they are less.
const COSTS: [&str; 12] = ["loss", "err", "mae", "mse", "mape", "deviance", "perplexity", "brier", "time", "latency", "wer", "distance"];

/// The metric in the second column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MainMetric {
    pub key: String,
    pub is_less_better: bool,
}

impl MainMetric {
    /// A metric whose direction its name tells.
    pub(crate) fn of_key(key: &str) -> Self {
        MainMetric { key: key.into(), is_less_better: is_less_better(key) }
    }

    /// The first that names one of: the reader, the experiment's tags, the applied project, the runs that are shown.
    pub(crate) fn find(asked: Option<&str>, experiments: &[Experiment], project: Option<&AppliedProject>, runs: &[Run]) -> Option<Self> {
        if let Some(key) = asked {
            return Some(MainMetric::of_key(key));
        }
        let is_logged = |key: &str| runs.iter().any(|run| run.metrics.iter().any(|metric| metric.key == key));
        if let [one] = experiments
            && let Some(key) = tag(one, NAME_TAG).filter(|key| is_logged(key))
        {
            let is_less_better = tag(one, GREATER_TAG).map_or_else(|| is_less_better(key), |greater| !greater.eq_ignore_ascii_case("true"));
            return Some(MainMetric { key: key.into(), is_less_better });
        }
        let declared = project.into_iter().flat_map(|project| project.spec.model.values()).map(|model| &model.metric);
        if let Some(key) = declared.into_iter().find(|key| is_logged(key)) {
            return Some(MainMetric::of_key(key));
        }
        commonest(runs).map(MainMetric::of_key)
    }

    /// The word for the better direction.
    pub(crate) fn direction(&self) -> &'static str {
        if self.is_less_better { "lowest" } else { "highest" }
    }
}

fn tag<'a>(experiment: &'a Experiment, key: &str) -> Option<&'a str> {
    experiment.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str())
}

/// Of the metrics that most of the runs have, one of held-out data before one of training data, then by name.
fn commonest(runs: &[Run]) -> Option<&str> {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for key in runs.iter().flat_map(|run| &run.metrics).map(|metric| metric.key.as_str()) {
        match counted.iter_mut().find(|(known, _)| *known == key) {
            Some((_, n)) => *n += 1,
            None => counted.push((key, 1)),
        }
    }
    let most = counted.iter().map(|(_, n)| *n).max()?;
    let often = counted.into_iter().filter(|(key, n)| *n * 2 > most && !key.starts_with("system/"));
    often.map(|(key, _)| key).min_by_key(|key| (rank(key), *key))
}

fn rank(key: &str) -> u8 {
    let key = key.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| key.contains(word));
    match () {
        () if has(&["val", "test", "eval"]) && !has(&["time", "duration"]) => 0,
        () if has(&["time", "duration", "epoch", "lr", "learning_rate"]) => 3,
        () if has(&["train"]) => 2,
        () => 1,
    }
}

/// `stats` knows the gate's metrics; of others the name tells.
fn is_less_better(key: &str) -> bool {
    let key = key.to_lowercase();
    let last = key.rsplit(['/', '.']).next().unwrap_or(&key);
    let bare = ["val_", "test_", "eval_", "train_", "training_"].into_iter().find_map(|prefix| last.strip_prefix(prefix)).unwrap_or(last);
    match stats::Metric::parse(bare) {
        Some(metric) => !metric.higher_is_better(),
        None => COSTS.iter().any(|cost| bare.contains(cost)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_which_way_is_better() {
        for less in ["mae", "val_loss", "eval/rmse", "test.log_loss", "training_mean_squared_error", "brier"] {
            assert!(is_less_better(less), "{less}");
        }
        for greater in ["r2", "val_accuracy", "auc", "test/f1", "reward"] {
            assert!(!is_less_better(greater), "{greater}");
        }
        assert!(rank("val_mae") < rank("mae") && rank("mae") < rank("train_mae") && rank("train_mae") < rank("lr"));
    }
}
