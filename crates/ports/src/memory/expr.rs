//! Expressions in memory: columns, numbers, arithmetic, parts of a time.

use super::sql::{self, Expr, Source};
use crate::{CompiledExprs, ExprEngine};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use domain::{Fault, Refusal};
use std::sync::Arc;

/// The twin of an SQL engine's expressions. What it does not read it refuses (`query/unsupported`).
#[derive(Default)]
pub struct MemoryExprs;

struct Compiled {
    output: SchemaRef,
    exprs: Vec<Expr>,
}

/// Refuses what cannot be evaluated over the columns, by evaluating it over no rows.
fn compile(named: Vec<(String, Expr)>, input: SchemaRef, text: &str) -> Result<Arc<dyn CompiledExprs>, Refusal> {
    let none = RecordBatch::new_empty(input);
    let mut fields = Vec::new();
    let mut exprs = Vec::new();
    for (name, expr) in named {
        let column = expr.evaluate(&none).map_err(|e| Refusal::invalid("query/invalid", e.to_string()).at(format!("`{text}`")))?;
        fields.push(Field::new(name, column.data_type().clone(), true));
        exprs.push(expr);
    }
    Ok(Arc::new(Compiled { output: Arc::new(Schema::new(fields)), exprs }))
}

impl ExprEngine for MemoryExprs {
    fn expressions(&self, exprs: &[(String, String)], input: SchemaRef) -> Result<Arc<dyn CompiledExprs>, Refusal> {
        let read = exprs.iter().map(|(name, text)| Ok((name.clone(), sql::expression(text)?)));
        let text: Vec<&str> = exprs.iter().map(|(_, text)| text.as_str()).collect();
        compile(read.collect::<Result<_, Refusal>>()?, input, &text.join(", "))
    }

    fn row_query(&self, text: &str, table: &str, input: SchemaRef) -> Result<Arc<dyn CompiledExprs>, Refusal> {
        let query = sql::select(text)?;
        if query.limit.is_some() || query.from != Source::Table(table.into()) {
            let what = "pushed rows go through this query one by one";
            return Err(Refusal::invalid("feature/not_by_row", what).hint(format!("select columns from {table}")).at(format!("`{text}`")));
        }
        let all = || input.fields().iter().map(|field| field.name().clone()).collect();
        let names: Vec<String> = query.columns.unwrap_or_else(all);
        compile(names.into_iter().map(|name| (name.clone(), Expr::Column(name))).collect(), input, text)
    }
}

impl CompiledExprs for Compiled {
    fn output(&self) -> SchemaRef {
        self.output.clone()
    }

    fn evaluate(&self, input: &RecordBatch) -> Result<RecordBatch, Fault> {
        let what = |e| Fault::because("evaluating an expression", e);
        let columns = self.exprs.iter().map(|expr| expr.evaluate(input)).collect::<Result<_, _>>().map_err(what)?;
        let options = RecordBatchOptions::new().with_row_count(Some(input.num_rows()));
        RecordBatch::try_new_with_options(self.output.clone(), columns, &options).map_err(what)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn runs_the_suite() {
        crate::conformance::expr::suite(&super::MemoryExprs);
    }
}
