//! What a reader asks of the runs, from the address to a search.

use crate::WebState;
use crate::address::Asked;
use crate::page::PageError;
use crate::runs::column::sort;
use domain::entity::{Experiment, LifecycleStage};
use domain::filter::{Clause, Expr, Field, Op, OrderBy, Value};
use domain::{Refusal, RunId};
use ports::{RunSearch, ViewType, World};
use serde::Serialize;

/// The tag by which a client says that a run is part of another.
pub(crate) const PARENT_TAG: &str = "mlflow.parentRunId";

/// Runs that a text is looked for in at most: a text that more hold is no way to find one.
pub(crate) const HITS: usize = 1_000;

/// A question with its parts understood.
pub(crate) struct Question {
    pub asked: Asked,
    /// Those that are looked at.
    pub experiments: Vec<Experiment>,
    /// Whether the reader chose them.
    pub is_chosen: bool,
    /// Everything that fits, without a limit.
    pub search: RunSearch,
    pub sort: Option<OrderBy>,
    /// Children are shown with their parents.
    pub is_grouped: bool,
}

/// A part of the question that cannot be understood, and where.
#[derive(Debug, Serialize)]
pub(crate) struct Wrong {
    /// The text as it was given.
    pub text: String,
    /// Characters before the place; `None` if the place is not known.
    pub before: Option<usize>,
    pub what: String,
    pub hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(text: &str, refusal: Refusal) -> Self {
        let column = refusal.place.as_deref().and_then(|place| place.strip_prefix("column ")?.parse::<usize>().ok());
        Wrong { text: text.into(), before: column.map(|column| column.saturating_sub(1)), what: refusal.to_string(), hint: None }
    }
}

impl Question {
    /// The question of an address, and what of it was not understood: the rest still holds.
    pub(crate) fn read(state: &WebState, world: &World, asked: Asked) -> Result<(Self, Option<Wrong>), PageError> {
        let all = world.experiments()?;
        let chosen = asked.listed("experiment");
        for id in &chosen {
            if !all.iter().any(|experiment| experiment.id.as_str() == id) {
                return Err(PageError::missing("experiment", id));
            }
        }
        let is_deleted = asked.one("view") == Some("deleted");
        let is_looked_at = |experiment: &Experiment| match chosen.is_empty() {
            true => is_deleted || experiment.lifecycle_stage == LifecycleStage::Active,
            false => chosen.iter().any(|id| id == experiment.id.as_str()),
        };
        let experiments: Vec<Experiment> = all.into_iter().filter(is_looked_at).collect();
        let mut wrong = None;
        let mut filter = Expr::default();
        if let Some(text) = asked.one("filter") {
            match Expr::parse_runs(text) {
                Ok(parsed) => filter = parsed,
                Err(refusal) => wrong = Some(Wrong::new(text, refusal)),
            }
        }
        let sort = match asked.one("sort") {
            Some(text) => match sort(text) {
                Some(sort) => Some(sort),
                None => {
                    let refusal = Refusal::invalid("sort/unknown", format!("runs cannot be sorted by `{text}`"))
                        .hint("sort by metrics.KEY, params.KEY, tags.KEY, run_name, status, user_id, start_time or end_time");
                    wrong = wrong.or(Some(Wrong::new(text, refusal)));
                    None
                }
            },
            None => None,
        };
        let is_narrowed = !filter.0.is_empty() || asked.one("q").is_some();
        let is_grouped = match asked.one("group") {
            Some(word) => word == "on",
            None => !is_narrowed,
        };
        let ids: Vec<_> = experiments.iter().map(|experiment| experiment.id.clone()).collect();
        if let Some(text) = asked.one("q") {
            let hits = state.runs.find_text(text, &ids, HITS)?;
            let found = hits.into_iter().map(|hit| hit.run.to_string()).collect();
            filter.0.push(Clause { field: Field::Attribute("run_id".into()), op: Op::In, value: Value::List(found) });
        }
        let search = RunSearch {
            experiments: ids,
            filter,
            view: if is_deleted { ViewType::Deleted } else { ViewType::Active },
            order: sort.iter().cloned().collect(),
            ..RunSearch::default()
        };
        Ok((Question { is_chosen: !chosen.is_empty(), asked, experiments, search, sort, is_grouped }, wrong))
    }

    /// The rows of the first level: all that fit, or those that are no part of another run.
    pub(crate) fn top(&self) -> RunSearch {
        match self.is_grouped {
            true => self.narrowed(Clause { field: parent(), op: Op::IsNull, value: Value::Nothing }),
            false => self.search.clone(),
        }
    }

    /// What fits of the parts of one run.
    pub(crate) fn children(&self, of: &RunId) -> RunSearch {
        self.narrowed(Clause { field: parent(), op: Op::Eq, value: Value::Text(of.to_string()) })
    }

    /// With one clause more.
    pub(crate) fn narrowed(&self, clause: Clause) -> RunSearch {
        let mut search = self.search.clone();
        search.filter.0.push(clause);
        search
    }

    /// The name of an experiment that is looked at.
    pub(crate) fn experiment(&self, id: &domain::ExperimentId) -> &str {
        self.experiments.iter().find(|experiment| experiment.id == *id).map_or("", |experiment| experiment.name.as_str())
    }
}

fn parent() -> Field {
    Field::Tag(PARENT_TAG.into())
}
