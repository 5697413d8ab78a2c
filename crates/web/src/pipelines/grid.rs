//! The last runs of a pipeline against its steps.

use crate::format::{between, span, time};
use crate::link;
use crate::made::{step_word, word};
use domain::entity::{PipelineRun, PipelineStep, StepState};
use domain::{Fault, Span};
use ports::World;
use serde::Serialize;

/// Height of the bars that show how long runs took.
const BAR: f64 = 34.0;

/// Runs from left to right, the newest last; steps from top to bottom.
#[derive(Debug, Serialize)]
pub(crate) struct Grid {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    pub bar: f64,
    /// What the tallest bar stands for.
    pub longest: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Column {
    pub id: String,
    pub href: String,
    pub state: &'static str,
    /// `retrain-7, asked 2011-04-13: succeeded in 31.0s`.
    pub title: String,
    /// Top and length of its bar.
    pub top: String,
    pub length: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub step: String,
    pub cells: Vec<Option<Cell>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    pub href: String,
    pub state: &'static str,
    pub title: String,
}

/// The grid of these runs, oldest first; steps in the order of `names`, then those that only older versions have.
pub(crate) fn grid(world: &World, runs: &[PipelineRun], names: &[String]) -> Result<Grid, Fault> {
    let length = |run: &PipelineRun| run.started.zip(run.ended).map(|(from, to)| (to - from).ms());
    let longest = runs.iter().filter_map(length).max();
    let steps: Vec<Vec<PipelineStep>> = runs.iter().map(|run| world.scope::<PipelineStep>(run.id.as_str())).collect::<Result<_, _>>()?;
    let mut names = names.to_vec();
    // The items of a step are on the run's own page.
    for step in steps.iter().flatten().filter(|step| step.item.is_empty()) {
        if !names.contains(&step.name) {
            names.push(step.name.clone());
        }
    }
    let column = |run: &PipelineRun| {
        let took = between(run.started, run.ended).map_or(String::new(), |took| format!(" in {took}"));
        let share = length(run).zip(longest).map_or(0.0, |(ms, longest)| ms as f64 / longest.max(1) as f64);
        let height = (share * BAR).max(2.0);
        Column {
            id: run.id.to_string(),
            href: link::pipeline_run(&run.id),
            state: word(run.state),
            title: format!("{}, asked {}: {}{took}", run.id, time(run.requested), word(run.state)),
            top: format!("{:.1}", BAR - height),
            length: format!("{height:.1}"),
        }
    };
    let row = |name: &String| Row {
        step: name.clone(),
        cells: runs
            .iter()
            .zip(&steps)
            .map(|(run, steps)| steps.iter().find(|step| step.name == *name).map(|step| cell(run, step)))
            .collect(),
    };
    Ok(Grid {
        columns: runs.iter().map(column).collect(),
        rows: names.iter().map(row).collect(),
        bar: BAR,
        longest: longest.map(|ms| span(Span::from_ms(ms))),
    })
}

fn cell(run: &PipelineRun, step: &PipelineStep) -> Cell {
    let spent: i64 = step.attempts.iter().filter_map(|attempt| Some((attempt.ended? - attempt.started).ms())).sum();
    let took = if spent > 0 && step.state != StepState::Cached { format!(" in {}", span(Span::from_ms(spent))) } else { String::new() };
    let why = step.why.as_ref().map_or(String::new(), |why| format!(", {why}"));
    Cell {
        href: format!("{}?step={}", link::pipeline_run(&run.id), link::part(&step.name)),
        state: step_word(step.state),
        title: format!("{} of {}: {}{took}{why}", step.name, run.id, step_word(step.state)),
    }
}
