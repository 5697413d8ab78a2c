//! The runs that fit as a CSV file, page by page.

use crate::WebState;
use crate::address::Asked;
use crate::page::PageError;
use crate::runs::column::Column;
use crate::runs::question::Question;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::entity::Run;
use futures::stream;
use ports::RunSearch;
use std::sync::Arc;

/// Runs read at once.
const PIECE: usize = 500;
/// Columns that are the same for every run.
const FIXED: [Column; 5] = [Column::Status, Column::User, Column::Began, Column::Ended, Column::Experiment];

struct Export {
    state: WebState,
    question: Arc<Question>,
    columns: Arc<Vec<Column>>,
    /// `None`: all is written.
    token: Option<Option<String>>,
    head: Option<String>,
}

/// `GET /runs.csv`: all runs that fit, with the columns that were chosen or with every metric and param.
pub(crate) async fn export(State(state): State<WebState>, Query(pairs): Query<Vec<(String, String)>>) -> Result<Response, PageError> {
    let begun = state
        .read(move |state| {
            let world = state.world()?;
            let (question, wrong) = Question::read(state, &world, Asked::new(pairs))?;
            if let Some(wrong) = wrong {
                return Err(PageError::invalid(wrong.what));
            }
            let columns = columns(state, &question)?;
            let head = line(["run_id", "run_name"].into_iter().map(str::to_owned).chain(columns.iter().map(Column::name)));
            Ok(Export { state: state.clone(), question: question.into(), columns: columns.into(), token: Some(None), head: Some(head) })
        })
        .await?;
    let body = Body::from_stream(stream::try_unfold(begun, Export::next));
    let kind = (header::CONTENT_TYPE, "text/csv; charset=utf-8");
    Ok(([kind, (header::CONTENT_DISPOSITION, "attachment; filename=\"runs.csv\"")], body).into_response())
}

fn columns(state: &WebState, question: &Question) -> Result<Vec<Column>, PageError> {
    let chosen: Vec<Column> = question.asked.all("col").filter_map(Column::parse).collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let keys = state.runs.keys(&question.search.experiments)?;
    let logged = keys.metrics.into_iter().map(Column::Metric).chain(keys.params.into_iter().map(Column::Param));
    Ok(FIXED.into_iter().chain(logged).collect())
}

impl Export {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, std::io::Error> {
        let Some(token) = self.token.take() else { return Ok(None) };
        let (question, columns) = (self.question.clone(), self.columns.clone());
        let read = self.state.read(move |state| {
            let found = state.runs.search(&RunSearch { limit: PIECE, token, ..question.search.clone() })?;
            let text: String = found.items.iter().map(|run| row(run, &columns, question.experiment(&run.experiment))).collect();
            Ok((text, found.token))
        });
        let (text, next) = read.await.map_err(|error| std::io::Error::other(format!("exporting runs: {error:?}")))?;
        self.token = next.map(Some);
        let text = self.head.take().unwrap_or_default() + &text;
        Ok(Some((text.into(), self)))
    }
}

fn row(run: &Run, columns: &[Column], experiment: &str) -> String {
    let ids = [run.id.to_string(), run.name.clone()].into_iter();
    line(ids.chain(columns.iter().map(|column| {
        let (short, whole) = column.cell(run, experiment);
        whole.unwrap_or(short)
    })))
}

/// One line of RFC 4180.
fn line(cells: impl Iterator<Item = String>) -> String {
    let quoted: Vec<String> =
        cells.map(|cell| if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }).collect();
    quoted.join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_commas_quotes_and_lines_are_quoted() {
        let cells = ["a", "b,c", "d\"e", "f\ng", ""].map(str::to_owned);
        assert_eq!(line(cells.into_iter()), "a,\"b,c\",\"d\"\"e\",\"f\ng\",\r\n");
    }
}
