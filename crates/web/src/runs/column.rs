//! The columns of the table of runs: what they are called in addresses, what they sort by, what a run shows in them.

use crate::format::{figure, span, time};
use domain::entity::Run;
use domain::filter::{Field, OrderBy};

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Metric(String),
    Param(String),
    Tag(String),
    /// Always the first; it is not chosen.
    Name,
    Status,
    User,
    Began,
    Ended,
    Took,
    Experiment,
    Id,
}

/// Columns that are no metric, param or tag, with the names that addresses use.
pub(crate) const FIXED: [(&str, Column); 7] = [
    ("status", Column::Status),
    ("start_time", Column::Began),
    ("end_time", Column::Ended),
    ("took", Column::Took),
    ("user_id", Column::User),
    ("experiment", Column::Experiment),
    ("run_id", Column::Id),
];

impl Column {
    /// The column of a name: `metrics.mae`, `params.lr`, `tags.team`, `start_time`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if let Some((_, column)) = FIXED.iter().find(|(known, _)| *known == name) {
            return Some(column.clone());
        }
        match name.split_once('.')? {
            ("metrics", key) => Some(Column::Metric(key.into())),
            ("params", key) => Some(Column::Param(key.into())),
            ("tags", key) => Some(Column::Tag(key.into())),
            _ => None,
        }
    }

    /// The name in addresses.
    pub(crate) fn name(&self) -> String {
        match self {
            Column::Metric(key) => format!("metrics.{key}"),
            Column::Param(key) => format!("params.{key}"),
            Column::Tag(key) => format!("tags.{key}"),
            Column::Name => "run_name".into(),
            fixed => FIXED.iter().find(|(_, column)| column == fixed).map_or(String::new(), |(name, _)| (*name).into()),
        }
    }

    /// The head of the column.
    pub(crate) fn title(&self) -> &str {
        match self {
            Column::Metric(key) | Column::Param(key) | Column::Tag(key) => key,
            Column::Name => "run",
            Column::Status => "status",
            Column::User => "user",
            Column::Began => "began",
            Column::Ended => "ended",
            Column::Took => "took",
            Column::Experiment => "experiment",
            Column::Id => "run id",
        }
    }

    /// `metric`, `param`, `tag` or nothing.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Column::Metric(_) => "metric",
            Column::Param(_) => "param",
            Column::Tag(_) => "tag",
            _ => "",
        }
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Column::Metric(_) | Column::Took)
    }

    /// What the store orders by; `None`: it cannot.
    pub(crate) fn field(&self) -> Option<Field> {
        let attribute = |name: &str| Some(Field::Attribute(name.into()));
        match self {
            Column::Metric(key) => Some(Field::Metric(key.clone())),
            Column::Param(key) => Some(Field::Param(key.clone())),
            Column::Tag(key) => Some(Field::Tag(key.clone())),
            Column::Name => attribute("run_name"),
            Column::Status => attribute("status"),
            Column::User => attribute("user_id"),
            Column::Began => attribute("start_time"),
            Column::Ended => attribute("end_time"),
            Column::Id => attribute("run_id"),
            Column::Took => attribute("duration"),
            Column::Experiment => None,
        }
    }

    /// What a run shows, short, and the whole of it. `experiment` is the name of the run's experiment.
    pub(crate) fn cell(&self, run: &Run, experiment: &str) -> (String, Option<String>) {
        let text = |found: Option<&str>| (found.unwrap_or_default().to_owned(), None);
        match self {
            Column::Metric(key) => match run.metrics.iter().find(|metric| metric.key == *key) {
                Some(metric) => (figure(metric.value), Some(metric.value.to_string())),
                None => text(None),
            },
            Column::Param(key) => text(run.params.iter().find(|param| param.key == *key).map(|param| param.value.as_str())),
            Column::Tag(key) => text(run.tag(key)),
            Column::Name => text(Some(&run.name)),
            Column::Status => text(Some(run.status.word())),
            Column::User => text(Some(&run.user)),
            Column::Began => (time(run.start), Some(run.start.to_string())),
            Column::Ended => (run.end.map_or(String::new(), time), run.end.map(|end| end.to_string())),
            Column::Took => (run.end.map_or(String::new(), |end| span(end - run.start)), None),
            Column::Experiment => text(Some(experiment)),
            Column::Id => text(Some(run.id.as_str())),
        }
    }
}

/// A column and a direction: `metrics.mae`, or `-metrics.mae` for the greatest first.
pub(crate) fn sort(text: &str) -> Option<OrderBy> {
    let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    let column = if name == "run_name" { Column::Name } else { Column::parse(name)? };
    let field = column.field()?;
    Some(OrderBy { field, descending })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_column_keeps_its_name() {
        for name in ["metrics.val/mae", "params.a.b", "tags.x y", "start_time", "took", "status"] {
            assert_eq!(Column::parse(name).unwrap().name(), name);
        }
        assert_eq!(Column::parse("colour"), None);
        assert_eq!(sort("-metrics.a.b"), Some(OrderBy { field: Field::Metric("a.b".into()), descending: true }));
        assert_eq!(sort("took"), Some(OrderBy { field: Field::Attribute("duration".into()), descending: false }));
        assert_eq!(sort("nothing.a"), None);
    }
}
