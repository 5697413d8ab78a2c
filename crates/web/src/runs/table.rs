//! The rows of the table of runs.

use crate::WebState;
use crate::format::{count, counted, figure};
use crate::link;
use crate::page::PageError;
use crate::runs::column::Column;
use crate::runs::main_metric::MainMetric;
use crate::runs::question::{PARENT_TAG, Question};
use crate::spark::{POINTS, Spark, spark};
use crate::versions::{Made, VersionLink};
use domain::RunId;
use domain::entity::{LifecycleStage, Run};
use domain::filter::{Clause, Field, Op, OrderBy, Value};
use ports::RunSearch;
use serde::Serialize;

/// Parts of one run that an open group shows.
pub(crate) const CHILDREN: usize = 200;

/// Rows that follow one another, and what asks for the next ones.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Rows {
    pub rows: Vec<Row>,
    #[serde(skip)]
    pub next: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub id: String,
    pub href: String,
    pub name: String,
    pub status: &'static str,
    pub is_deleted: bool,
    /// Shown below its parent.
    pub is_child: bool,
    /// The run that it is a part of, where the parent is not the row above.
    pub parent: Option<String>,
    pub group: Option<Group>,
    pub main: Cell,
    pub spark: Option<Spark>,
    pub cells: Vec<Cell>,
    pub versions: Vec<VersionLink>,
    pub is_best: bool,
}

/// Where in the table a value is better than elsewhere is the reader's to see: a cell is only text.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Cell {
    pub text: String,
    pub title: Option<String>,
    pub is_number: bool,
}

/// The parts of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    pub size: String,
    pub is_open: bool,
    /// Opens or closes it.
    pub href: String,
    pub compare: String,
    pub best: Option<Best>,
    pub more: Option<String>,
}

/// The run with the best value of the main metric.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Best {
    pub id: String,
    pub name: String,
    pub href: String,
    pub value: String,
}

/// What every row is made with.
pub(crate) struct Table<'a> {
    pub state: &'a WebState,
    pub question: &'a Question,
    pub main: Option<&'a MainMetric>,
    pub columns: &'a [Column],
    pub made: &'a Made,
    pub best: Option<&'a str>,
}

impl Table<'_> {
    /// The rows of these runs, with the groups that they head.
    pub(crate) fn rows(&self, runs: &[Run]) -> Result<Vec<Row>, PageError> {
        let mut rows = Vec::new();
        let parents = if self.question.is_grouped { self.parents(runs)? } else { Vec::new() };
        for run in runs {
            let mut row = self.row(run, false)?;
            if !self.question.is_grouped {
                row.parent = run.tag(PARENT_TAG).map(|parent| link::run(&RunId::new(parent)));
                rows.push(row);
                continue;
            }
            if parents.contains(&run.id) {
                row.group = Some(self.group(run)?);
            }
            let is_open = row.group.as_ref().is_some_and(|group| group.is_open);
            rows.push(row);
            if is_open {
                rows.extend(self.children(&run.id)?);
            }
        }
        Ok(rows)
    }

    /// Those of these runs that have parts. One question tells most of them; only where it is cut short is one asked for each.
    fn parents(&self, runs: &[Run]) -> Result<Vec<RunId>, PageError> {
        let ids: Vec<String> = runs.iter().map(|run| run.id.to_string()).collect();
        let of = Clause { field: Field::Tag(PARENT_TAG.into()), op: Op::In, value: Value::List(ids) };
        let found = self.state.runs.search(&RunSearch { limit: CHILDREN, ..self.question.narrowed(of) })?;
        let mut parents: Vec<RunId> = found.items.iter().filter_map(|run| run.tag(PARENT_TAG)).map(RunId::new).collect();
        if found.token.is_some() {
            for run in runs.iter().filter(|run| !parents.contains(&run.id)).collect::<Vec<_>>() {
                if self.state.runs.count(&self.question.children(&run.id))? > 0 {
                    parents.push(run.id.clone());
                }
            }
        }
        Ok(parents)
    }

    /// The parts of a run as rows.
    pub(crate) fn children(&self, of: &RunId) -> Result<Vec<Row>, PageError> {
        let mut search = RunSearch { limit: CHILDREN, ..self.question.children(of) };
        // Unless the reader sorts, the best part comes first.
        search.order.extend(self.main.filter(|_| search.order.is_empty()).map(best_first));
        self.state.runs.search(&search)?.items.iter().map(|run| self.row(run, true)).collect()
    }

    fn row(&self, run: &Run, is_child: bool) -> Result<Row, PageError> {
        let experiment = self.question.experiment(&run.experiment);
        let cell = |column: &Column| {
            let (text, title) = column.cell(run, experiment);
            Cell { text, title, is_number: column.is_number() }
        };
        let main = self.main.map(|main| Column::Metric(main.key.clone()));
        Ok(Row {
            id: run.id.to_string(),
            href: link::run(&run.id),
            name: if run.name.is_empty() { run.id.as_str().chars().take(8).collect() } else { run.name.clone() },
            status: run.status.word(),
            is_deleted: run.lifecycle_stage == LifecycleStage::Deleted,
            is_child,
            parent: None,
            group: None,
            main: main.as_ref().map(cell).unwrap_or_default(),
            spark: self.spark(run)?,
            cells: self.columns.iter().map(cell).collect(),
            versions: self.made.of_run(&run.id),
            is_best: self.best == Some(run.id.as_str()),
        })
    }

    fn spark(&self, run: &Run) -> Result<Option<Spark>, PageError> {
        let Some(main) = self.main.filter(|main| run.metrics.iter().any(|metric| metric.key == main.key)) else { return Ok(None) };
        Ok(spark(&self.state.runs.curve(&run.id, &main.key, POINTS)?))
    }

    fn group(&self, run: &Run) -> Result<Group, PageError> {
        let children = self.question.children(&run.id);
        let size = self.state.runs.count(&children)?;
        let asked = &self.question.asked;
        let is_open = asked.has("open", run.id.as_str());
        let without: Vec<&str> = asked.all("open").filter(|open| *open != run.id.as_str()).collect();
        let closed = without.into_iter().fold(asked.without(&["open", "after"]), |asked, open| asked.and("open", open));
        let href = if is_open { closed } else { closed.and("open", run.id.as_str()) };
        Ok(Group {
            is_open,
            href: format!("{}#{}", href.address("/runs"), run.id),
            compare: format!("/compare?parent={}", link::part(run.id.as_str())),
            best: self.main.map(|main| best(self.state, children, main)).transpose()?.flatten(),
            more: (is_open && size > CHILDREN as u64).then(|| format!("the first {CHILDREN} of {}", count(size))),
            size: counted(size, "part"),
        })
    }
}

fn best_first(main: &MainMetric) -> OrderBy {
    OrderBy { field: Field::Metric(main.key.clone()), descending: !main.is_less_better }
}

/// The best of what fits, if any has a figure.
pub(crate) fn best(state: &WebState, search: RunSearch, main: &MainMetric) -> Result<Option<Best>, PageError> {
    let order = vec![best_first(main)];
    let found = state.runs.search(&RunSearch { order, limit: 1, ..search })?;
    let value = |run: &Run| run.metrics.iter().find(|metric| metric.key == main.key).map(|metric| metric.value);
    Ok(found.items.first().and_then(|run| Some((run, value(run).filter(|value| value.is_finite())?))).map(|(run, value)| Best {
        id: run.id.to_string(),
        name: run.name.clone(),
        href: link::run(&run.id),
        value: figure(value),
    }))
}

/// Columns for readers who chose none: what tells these runs apart.
pub(crate) fn usual(runs: &[Run], main: Option<&MainMetric>, experiments: usize) -> Vec<Column> {
    let mut columns = Vec::new();
    let mut metrics: Vec<(&str, usize)> = Vec::new();
    let mut params: Vec<(&str, Vec<&str>)> = Vec::new();
    for run in runs {
        for key in run.metrics.iter().map(|metric| metric.key.as_str()).filter(|key| !key.starts_with("system/")) {
            match metrics.iter_mut().find(|(known, _)| *known == key) {
                Some((_, n)) => *n += 1,
                None => metrics.push((key, 1)),
            }
        }
        for param in &run.params {
            match params.iter_mut().find(|(known, _)| *known == param.key) {
                Some((_, values)) if !values.contains(&param.value.as_str()) => values.push(&param.value),
                Some(_) => {}
                None => params.push((&param.key, vec![&param.value])),
            }
        }
    }
    metrics.retain(|(key, _)| main.is_none_or(|main| main.key != *key));
    metrics.sort_by_key(|(key, n)| (std::cmp::Reverse(*n), *key));
    // What differs comes first, but not what differs in nearly every run: that is an id or a path.
    params.sort_by_key(|(key, values)| (values.len() < 2, values.len() > runs.len() / 2 + 2, *key));
    columns.extend(metrics.iter().take(3).map(|(key, _)| Column::Metric((*key).into())));
    columns.extend(params.iter().take(4).map(|(key, _)| Column::Param((*key).into())));
    if experiments > 1 {
        columns.push(Column::Experiment);
    }
    columns.extend([Column::Began, Column::Took]);
    columns
}
