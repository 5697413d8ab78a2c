//! What differs between runs, and what does not.

use crate::format::figure;
use crate::runs::MainMetric;
use domain::entity::Run;
use serde::Serialize;
use std::collections::BTreeMap;

/// Rows of one kind that are shown.
const ROWS: usize = 300;

/// Three tables, each with the rows that differ and the rows that are the same.
#[derive(Debug, Serialize)]
pub(crate) struct Diff {
    pub parts: Vec<Part>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Part {
    pub title: &'static str,
    pub differ: Vec<Row>,
    pub same: Vec<Row>,
    pub left_out: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub key: String,
    pub cells: Vec<Cell>,
    pub is_number: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    pub text: String,
    pub title: String,
    /// The best of a row of figures.
    pub is_best: bool,
    pub is_absent: bool,
}

pub(crate) fn diff(runs: &[Run], main: Option<&MainMetric>) -> Diff {
    let facts = part("the run itself", runs, |run| {
        let text = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut facts = vec![text("status", run.status.word()), text("user", &run.user), text("experiment", run.experiment.as_str())];
        facts.push(text("began", &crate::format::time(run.start)));
        facts.extend(run.end.map(|end| text("took", &crate::format::span(end - run.start))));
        facts.extend(run.inputs.iter().map(|input| (format!("dataset {}", input.name), input.digest.clone())));
        facts
    });
    let params = part("params", runs, |run| run.params.iter().map(|param| (param.key.clone(), param.value.clone())).collect());
    // Names and ids of the run itself differ always, and tell nothing.
    let is_told = |key: &str| !["mlflow.runName", "mlflow.log-model.history", "mlflow.parentRunId"].contains(&key);
    let tags =
        part("tags", runs, |run| run.tags.iter().filter(|tag| is_told(&tag.key)).map(|tag| (tag.key.clone(), tag.value.clone())).collect());
    Diff { parts: vec![metrics(runs, main), params, facts, tags] }
}

fn part(title: &'static str, runs: &[Run], of: impl Fn(&Run) -> Vec<(String, String)>) -> Part {
    let mut rows: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        for (key, value) in of(run) {
            if !rows.contains_key(&key) {
                order.push(key.clone());
            }
            rows.entry(key).or_insert_with(|| vec![None; runs.len()])[at] = Some(value);
        }
    }
    let row = |key: String| {
        let values = rows.get(&key).cloned().unwrap_or_default();
        let differs = values.windows(2).any(|pair| pair[0] != pair[1]);
        let cell = |value: Option<String>| Cell {
            is_absent: value.is_none(),
            title: value.clone().unwrap_or_default(),
            text: value.map_or_else(|| crate::format::NONE.into(), |value| short(&value)),
            is_best: false,
        };
        (differs, Row { key, cells: values.into_iter().map(cell).collect(), is_number: false })
    };
    split(title, order.into_iter().map(row))
}

fn metrics(runs: &[Run], main: Option<&MainMetric>) -> Part {
    let mut keys: Vec<&str> = runs.iter().flat_map(|run| &run.metrics).map(|metric| metric.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.sort_by_key(|key| (main.is_none_or(|main| main.key != *key), key.starts_with("system/")));
    let row = |key: &str| {
        let values: Vec<Option<f64>> =
            runs.iter().map(|run| run.metrics.iter().find(|metric| metric.key == key).map(|metric| metric.value)).collect();
        let way = main.filter(|main| main.key == key).cloned().unwrap_or_else(|| MainMetric::of_key(key));
        let finite = values.iter().flatten().copied().filter(|value| value.is_finite());
        let best = finite.reduce(if way.is_less_better { f64::min } else { f64::max });
        let differs = values.windows(2).any(|pair| pair[0].map(f64::to_bits) != pair[1].map(f64::to_bits));
        let cell = |value: &Option<f64>| Cell {
            is_absent: value.is_none(),
            text: crate::format::maybe(*value),
            title: value.map_or(String::new(), |value| value.to_string()),
            is_best: differs && value.is_some() && *value == best,
        };
        (differs, Row { key: key.into(), cells: values.iter().map(cell).collect(), is_number: true })
    };
    split("metrics", keys.into_iter().map(row))
}

fn split(title: &'static str, rows: impl Iterator<Item = (bool, Row)>) -> Part {
    let mut part = Part { title, differ: Vec::new(), same: Vec::new(), left_out: 0 };
    for (differs, row) in rows {
        let list = if differs { &mut part.differ } else { &mut part.same };
        if list.len() == ROWS {
            part.left_out += 1;
        } else {
            list.push(row);
        }
    }
    part
}

fn short(value: &str) -> String {
    if value.chars().count() > 120 { value.chars().take(119).collect::<String>() + "…" } else { value.into() }
}

/// A figure for tables beside pictures.
pub(crate) fn shown(value: f64) -> String {
    figure(value)
}
