//! Expressions, compiled once and evaluated on one row or many: the same engine offline and online.

use crate::QueryEngine;
use crate::engine::classify;
use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, TableReference};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionContext;
use domain::{Fault, Refusal};
use futures::executor::block_on;
use ports::{CompiledExprs, ExprEngine, QueryError};
use std::sync::Arc;

struct Compiled {
    output: SchemaRef,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    condition: Option<Arc<dyn PhysicalExpr>>,
}

impl CompiledExprs for Compiled {
    fn output(&self) -> SchemaRef {
        self.output.clone()
    }

    fn evaluate(&self, input: &RecordBatch) -> Result<RecordBatch, Fault> {
        let what = |e| Fault::because("evaluating an expression", e);
        let mut rows = input.clone();
        if let Some(condition) = &self.condition {
            let keep = condition.evaluate(&rows).and_then(|value| value.into_array(rows.num_rows())).map_err(what)?;
            let keep = datafusion::common::cast::as_boolean_array(&keep).map_err(what)?;
            rows = filter_record_batch(&rows, keep).map_err(|e| Fault::because("filtering rows", e))?;
        }
        let columns = self.exprs.iter().map(|expr| expr.evaluate(&rows)?.into_array(rows.num_rows()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(what)?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.output.clone(), columns, &options).map_err(|e| Fault::because("evaluating an expression", e))
    }
}

fn refusal(error: QueryError, text: &str) -> Refusal {
    match error {
        QueryError::Refused(refusal) => refusal.at(format!("`{text}`")),
        QueryError::Fault(fault) => Refusal::invalid("query/invalid", fault.to_string()).at(format!("`{text}`")),
    }
}

/// `request.ts` becomes the column `ts` of `request`; other columns are those of `row`, and need no prefix.
fn qualified(input: &SchemaRef) -> Result<DFSchema, Refusal> {
    let fields = input.fields().iter().map(|field| match field.name().split_once('.') {
        Some((table, name)) => (Some(TableReference::bare(table)), Arc::new(field.as_ref().clone().with_name(name))),
        None => (Some(TableReference::bare("row")), field.clone()),
    });
    DFSchema::new_with_metadata(fields.collect(), Default::default()).map_err(|e| refusal(classify(e), "the columns"))
}

fn compile(
    session: &SessionContext,
    named: Vec<(String, Expr)>,
    condition: Option<Expr>,
    schema: &DFSchema,
    text: &str,
) -> Result<Compiled, Refusal> {
    let physical = |expr: Expr| session.create_physical_expr(expr, schema).map_err(|e| refusal(classify(e), text));
    let arrow = schema.as_arrow();
    let mut fields = Vec::new();
    let mut exprs = Vec::new();
    for (name, expr) in named {
        let expr = physical(expr)?;
        let data_type = expr.data_type(arrow).map_err(|e| refusal(classify(e), text))?;
        fields.push(Field::new(name, data_type, true));
        exprs.push(expr);
    }
    let condition = condition.map(physical).transpose()?;
    Ok(Compiled { output: Arc::new(Schema::new(fields)), exprs, condition })
}

impl ExprEngine for QueryEngine {
    fn expressions(&self, exprs: &[(String, String)], input: SchemaRef) -> Result<Arc<dyn CompiledExprs>, Refusal> {
        let session = self.session();
        let schema = qualified(&input)?;
        let mut named = Vec::new();
        for (name, text) in exprs {
            let expr = session.parse_sql_expr(text, &schema).map_err(|e| refusal(classify(e), text))?;
            named.push((name.clone(), expr));
        }
        let text: Vec<&str> = exprs.iter().map(|(_, text)| text.as_str()).collect();
        Ok(Arc::new(compile(&session, named, None, &schema, &text.join(", "))?))
    }

    fn row_query(&self, sql: &str, table: &str, input: SchemaRef) -> Result<Arc<dyn CompiledExprs>, Refusal> {
        let session = self.session();
        let of = |error| refusal(classify(error), sql);
        let rows = MemTable::try_new(input, vec![vec![]]).map_err(of)?;
        session.register_table(format!("\"{table}\""), Arc::new(rows)).map_err(of)?;
        // Planning over a table in memory waits for nothing.
        let plan = block_on(session.state().create_logical_plan(sql)).map_err(of)?;
        let not_by_row = || {
            Refusal::invalid("feature/not_by_row", "pushed rows go through this query one by one")
                .hint("use columns, expressions and `where` only; joins, groups, windows and limits need whole tables")
                .at(format!("`{sql}`"))
        };
        let LogicalPlan::Projection(projection) = plan else { return Err(not_by_row()) };
        let (condition, scan) = match projection.input.as_ref() {
            LogicalPlan::Filter(filter) => (Some(filter.predicate.clone()), filter.input.as_ref()),
            other => (None, other),
        };
        let LogicalPlan::TableScan(scan) = scan else { return Err(not_by_row()) };
        let names = projection.schema.fields().iter().map(|field| field.name().clone());
        let named = names.zip(projection.expr.iter().cloned()).collect();
        Ok(Arc::new(compile(&session, named, condition, &scan.projected_schema, sql)?))
    }
}
