//! The choice of columns and of the main metric, from everything that was logged.

use crate::runs::column::{Column, FIXED};
use crate::runs::main_metric::MainMetric;
use ports::Keys;
use serde::Serialize;

/// Keys that are offered of each kind; others can be named in the address.
const KEYS: usize = 150;

/// Something that can be chosen in a form.
#[derive(Debug, Serialize)]
pub(crate) struct Choice {
    pub value: String,
    pub text: String,
    pub is_on: bool,
}

/// Columns of one kind.
#[derive(Debug, Serialize)]
pub(crate) struct Chooser {
    title: &'static str,
    columns: Vec<Choice>,
    /// Keys that are not offered.
    more: usize,
}

/// The metrics that may stand second.
pub(crate) fn of_main(keys: &Keys, main: Option<&MainMetric>) -> Vec<Choice> {
    let is_on = |key: &str| main.is_some_and(|main| main.key == key);
    keys.metrics.iter().take(KEYS).map(|key| Choice { value: key.clone(), text: key.clone(), is_on: is_on(key) }).collect()
}

/// All columns, those that are shown marked.
pub(crate) fn chooser(keys: &Keys, columns: &[Column]) -> Vec<Chooser> {
    let choice = |column: Column| Choice { value: column.name(), text: column.title().into(), is_on: columns.contains(&column) };
    let of = |title, keys: &[String], make: fn(String) -> Column| {
        let mut offered: Vec<Column> = keys.iter().take(KEYS).cloned().map(make).collect();
        // What is shown can be taken away, wherever it stands.
        offered.extend(keys.iter().skip(KEYS).cloned().map(make).filter(|column| columns.contains(column)));
        Chooser { title, more: keys.len().saturating_sub(offered.len()), columns: offered.into_iter().map(choice).collect() }
    };
    let fixed = FIXED.into_iter().map(|(_, column)| choice(column)).collect();
    vec![
        of("metrics", &keys.metrics, Column::Metric),
        of("params", &keys.params, Column::Param),
        of("tags", &keys.tags, Column::Tag),
        Chooser { title: "of the run", columns: fixed, more: 0 },
    ]
}
