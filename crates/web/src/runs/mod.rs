//! The table of runs: filter, search, sort, columns, groups, all in the address.

mod chooser;
mod column;
mod csv;
mod main_metric;
mod question;
mod table;

pub(crate) use chooser::Choice;
pub(crate) use csv::export;
pub(crate) use main_metric::MainMetric;
pub(crate) use question::PARENT_TAG;

use crate::WebState;
use crate::address::Asked;
use crate::format::{count, counted};
use crate::page::{PageError, render, show_as};
use crate::versions::Made;
use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use chooser::Chooser;
use column::Column;
use domain::RunId;
use domain::entity::{LifecycleStage, Run};
use ports::{RunSearch, World};
use question::{Question, Wrong};
use serde::Serialize;
use table::{Best, Row, Rows, Table};

/// Rows of the first answer, and at most of one that a script asks for.
const ROWS: usize = 100;
/// As many where each may head a group, which asks the store for its size and its best.
const GROUPS: usize = 50;
const MOST_ROWS: usize = 500;
/// Columns at most.
const COLUMNS: usize = 60;
/// Where a script asks for the rows that follow.
const NEXT: HeaderName = HeaderName::from_static("x-trimtab-next");

#[derive(Serialize)]
struct Page {
    wrong: Option<Wrong>,
    experiments: Vec<Choice>,
    /// Its name, if one was chosen.
    experiment: Option<String>,
    q: String,
    filter: String,
    /// What the other fields of the address say, for the forms.
    kept: Vec<(String, String)>,
    kept_by_columns: Vec<(String, String)>,
    name_head: Head,
    main_head: Option<Head>,
    heads: Vec<Head>,
    main: Option<MainMetric>,
    metrics: Vec<Choice>,
    chooser: Vec<Chooser>,
    rows: Vec<Row>,
    total: String,
    top: String,
    /// Runs with and without the filter, and rows of the first level.
    counts: Counts,
    best: Option<Best>,
    best_word: &'static str,
    is_grouped: bool,
    group_href: String,
    is_deleted: bool,
    deleted_href: String,
    next: Option<String>,
    next_href: Option<String>,
    rows_href: String,
    csv_href: String,
    clear_href: String,
    is_narrowed: bool,
    /// Rows that are not the first ones.
    is_later: bool,
    first_href: String,
    code: String,
    /// There is no run at all.
    is_new: bool,
    url: String,
}

#[derive(Serialize)]
struct Counts {
    all: u64,
    top: u64,
}

#[derive(Serialize)]
struct Head {
    title: String,
    kind: &'static str,
    is_number: bool,
    sort: Option<Sort>,
}

#[derive(Serialize)]
struct Sort {
    href: String,
    /// `ascending`, `descending` or `none`.
    state: &'static str,
}

/// `GET /runs`.
pub(crate) async fn page(State(state): State<WebState>, Query(pairs): Query<Vec<(String, String)>>) -> Result<Response, PageError> {
    let page = state.read(move |state| read(state, Asked::new(pairs))).await?;
    let status = if page.wrong.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let title = page.experiment.as_ref().map_or("Runs".to_owned(), |name| format!("Runs of {name}"));
    show_as(status, "runs.html", &title, "runs", &page)
}

/// `GET /runs/rows`: the rows that follow, for the script of the table; `parent=ID` asks for the parts of one run.
pub(crate) async fn rows(State(state): State<WebState>, Query(pairs): Query<Vec<(String, String)>>) -> Result<Response, PageError> {
    let rows = state.read(move |state| read_more(state, Asked::new(pairs))).await?;
    let html = render("rows.html", "", "", &rows)?;
    Ok(match rows.next.and_then(|next| next.parse::<axum::http::HeaderValue>().ok()) {
        Some(next) => ([(NEXT, next)], Html(html)).into_response(),
        None => Html(html).into_response(),
    })
}

fn read(state: &WebState, asked: Asked) -> Result<Page, PageError> {
    let world = state.world()?;
    let (question, wrong) = Question::read(state, &world, asked)?;
    let asked = &question.asked;
    let found = match wrong {
        Some(_) => ports::Page { items: Vec::new(), token: None },
        None => state.runs.search(&RunSearch {
            limit: if question.is_grouped { GROUPS } else { ROWS },
            token: asked.one("after").map(str::to_owned),
            ..question.top()
        })?,
    };
    let main = main_metric(&world, &question, &found.items)?;
    let columns = columns(&question, &found.items, main.as_ref());
    let counts = match wrong {
        Some(_) => Counts { all: 0, top: 0 },
        None => {
            let all = state.runs.count(&question.search)?;
            Counts { all, top: if question.is_grouped { state.runs.count(&question.top())? } else { all } }
        }
    };
    let best = match (&main, &wrong) {
        (Some(main), None) => table::best(state, question.search.clone(), main)?,
        _ => None,
    };
    let made = Made::read(&world)?;
    let best_id = best.as_ref().map(|best| best.id.as_str());
    let table = Table { state, question: &question, main: main.as_ref(), columns: &columns, made: &made, best: best_id };
    let rows = table.rows(&found.items)?;
    let keys = state.runs.keys(&question.search.experiments)?;
    let is_deleted = asked.one("view") == Some("deleted");
    let is_narrowed = asked.one("filter").is_some() || asked.one("q").is_some();
    let again = asked.without(&["after", "open"]);
    let experiment = question.is_chosen.then(|| question.experiments.first().map(|first| first.name.clone())).flatten();
    Ok(Page {
        experiments: choices(&world, &question)?,
        experiment,
        q: asked.one("q").unwrap_or_default().into(),
        filter: asked.one("filter").unwrap_or_default().into(),
        kept: asked.without(&["q", "filter", "experiment", "after", "open"]).pairs(),
        kept_by_columns: asked.without(&["col", "metric", "after"]).pairs(),
        name_head: head(&question, &Column::Name),
        main_head: main.as_ref().map(|main| head(&question, &Column::Metric(main.key.clone()))),
        heads: columns.iter().map(|column| head(&question, column)).collect(),
        metrics: chooser::of_main(&keys, main.as_ref()),
        chooser: chooser::chooser(&keys, &columns),
        rows,
        total: match (counts.all, is_narrowed) {
            (n, true) => format!("{} that fit", counted(n, "run")),
            (n, false) => counted(n, "run"),
        },
        top: count(counts.top),
        best_word: main.as_ref().map_or("", MainMetric::direction),
        best,
        is_grouped: question.is_grouped,
        group_href: again.with("group", if question.is_grouped { "off" } else { "on" }).address("/runs"),
        is_deleted,
        deleted_href: if is_deleted { again.without(&["view"]) } else { again.with("view", "deleted") }.address("/runs"),
        next_href: found.token.as_ref().map(|token| asked.without(&["open"]).with("after", token).address("/runs")),
        next: found.token,
        rows_href: with_shown(&again, &columns, main.as_ref()).address("/runs/rows"),
        csv_href: again.without(&["group"]).address("/runs.csv"),
        clear_href: again.without(&["q", "filter", "sort"]).address("/runs"),
        is_later: asked.one("after").is_some(),
        first_href: again.address("/runs"),
        code: code(&question),
        is_new: counts.all == 0 && !is_narrowed && !is_deleted && wrong.is_none(),
        url: format!("http://{}", state.facts.server()?.listen),
        is_narrowed,
        main: main.clone(),
        counts,
        wrong,
    })
}

fn read_more(state: &WebState, asked: Asked) -> Result<Rows, PageError> {
    let world = state.world()?;
    let (question, wrong) = Question::read(state, &world, asked)?;
    if let Some(wrong) = wrong {
        return Err(PageError::invalid(wrong.what));
    }
    let asked = &question.asked;
    let main = asked.one("metric").map(MainMetric::of_key);
    let columns = columns(&question, &[], main.as_ref());
    let made = Made::read(&world)?;
    let table = Table { state, question: &question, main: main.as_ref(), columns: &columns, made: &made, best: asked.one("best") };
    if let Some(parent) = asked.one("parent") {
        return Ok(Rows { rows: table.children(&RunId::new(parent))?, next: None });
    }
    let limit = asked.one("n").and_then(|n| n.parse().ok()).unwrap_or(ROWS).clamp(1, MOST_ROWS);
    let found = state.runs.search(&RunSearch { limit, token: asked.one("after").map(str::to_owned), ..question.top() })?;
    Ok(Rows { rows: table.rows(&found.items)?, next: found.token })
}

fn main_metric(world: &World, question: &Question, runs: &[Run]) -> Result<Option<MainMetric>, PageError> {
    let project = world.project()?;
    Ok(MainMetric::find(question.asked.one("metric"), &question.experiments, project.as_deref(), runs))
}

fn columns(question: &Question, runs: &[Run], main: Option<&MainMetric>) -> Vec<Column> {
    let asked: Vec<Column> = question.asked.all("col").filter_map(Column::parse).take(COLUMNS).collect();
    if asked.is_empty() { table::usual(runs, main, question.experiments.len()) } else { asked }
}

/// The address of rows names the columns and the metric that this page shows, so that all rows have the same.
fn with_shown(asked: &Asked, columns: &[Column], main: Option<&MainMetric>) -> Asked {
    let bare = asked.without(&["col", "metric"]);
    let bare = main.map_or(bare.clone(), |main| bare.and("metric", &main.key));
    columns.iter().fold(bare, |asked, column| asked.and("col", &column.name()))
}

fn head(question: &Question, column: &Column) -> Head {
    let sort = column.field().map(|field| {
        let now = question.sort.as_ref().filter(|sort| sort.field == field);
        let name = column.name();
        // The first click brings what one looks for to the top: the least of a cost, the newest, the first letter.
        let falls_first = match column {
            Column::Metric(key) => !MainMetric::of_key(key).is_less_better,
            Column::Began | Column::Ended => true,
            _ => false,
        };
        let falls = now.map_or(falls_first, |sort| !sort.descending);
        let value = if falls { format!("-{name}") } else { name };
        let state = now.map_or("none", |sort| if sort.descending { "descending" } else { "ascending" });
        Sort { href: question.asked.without(&["after", "open"]).with("sort", &value).address("/runs"), state }
    });
    Head { title: column.title().into(), kind: column.kind(), is_number: column.is_number(), sort }
}

fn choices(world: &World, question: &Question) -> Result<Vec<Choice>, PageError> {
    let chosen = question.asked.listed("experiment");
    let all = world.experiments()?.into_iter();
    let shown = all
        .filter(|experiment| experiment.lifecycle_stage == LifecycleStage::Active || chosen.iter().any(|id| id == experiment.id.as_str()));
    let choice = |experiment: domain::entity::Experiment| Choice {
        is_on: chosen.iter().any(|id| id == experiment.id.as_str()),
        value: experiment.id.to_string(),
        text: experiment.name,
    };
    Ok(shown.map(choice).collect())
}

/// The same question in Python.
fn code(question: &Question) -> String {
    let asked = &question.asked;
    let mut args = Vec::new();
    match question.is_chosen {
        true => {
            let ids: Vec<String> = question.experiments.iter().map(|experiment| format!("\"{}\"", experiment.id)).collect();
            args.push(format!("experiment_ids=[{}]", ids.join(", ")));
        }
        false => args.push("search_all_experiments=True".into()),
    }
    if let Some(filter) = asked.one("filter") {
        args.push(format!("filter_string={filter:?}"));
    }
    if let Some(sort) = asked.one("sort") {
        let (name, direction) = sort.strip_prefix('-').map_or((sort, "ASC"), |name| (name, "DESC"));
        let name = match name.split_once('.') {
            Some((kind, key)) => format!("{kind}.`{key}`"),
            None => format!("attributes.{name}"),
        };
        args.push(format!("order_by=[{:?}]", format!("{name} {direction}")));
    }
    format!("mlflow.search_runs({})", args.join(", "))
}
