//! The search over runs as one SQL statement: every value is bound, every key is looked up first.

use crate::fault::Doing;
use crate::read::{Reader, clamp};
use domain::entity::{LifecycleStage, Run};
use domain::filter::{Clause, Field, Op, OrderBy, Value};
use domain::{Fault, OrderedNumber};
use ports::refusals::bad_token;
use ports::{Page, RunSearch, SearchError, ViewType};
use rusqlite::{OptionalExtension, params_from_iter, types};

/// A statement being written, with the values bound so far.
struct Statement {
    sql: String,
    values: Vec<types::Value>,
}

impl Statement {
    /// Binds a value and gives its place.
    fn bind(&mut self, value: impl Into<types::Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }
}

impl Reader {
    /// Runs that fit, a page of them.
    pub(crate) fn search(&self, search: &RunSearch) -> Result<Page<Run>, SearchError> {
        let skip: usize = search.token.as_deref().map_or(Ok(0), |token| token.parse().map_err(|_| bad_token(token)))?;
        let statement = self.statement(search, skip)?;
        let mut query = self.conn().prepare_cached(&statement.sql).doing("preparing a search")?;
        let nums: Vec<i64> =
            query.query_map(params_from_iter(&statement.values), |row| row.get(0)).and_then(Iterator::collect).doing("searching runs")?;
        let more = nums.len() > search.limit && search.limit > 0;
        let items = nums.iter().take(search.limit).map(|num| Ok(self.load_run(*num)?.1)).collect::<Result<Vec<_>, Fault>>()?;
        let token = more.then(|| (skip + items.len()).to_string());
        Ok(Page { items, token })
    }

    fn statement(&self, search: &RunSearch, skip: usize) -> Result<Statement, Fault> {
        let mut s = Statement { sql: "SELECT r.num FROM run r".into(), values: Vec::new() };
        let mut order = String::new();
        for (n, key) in search.order.iter().enumerate() {
            order += &self.order_term(&mut s, key, &format!("o{n}"))?;
        }
        let ids: Vec<String> = search.experiments.iter().map(|id| s.bind(id.as_str().to_owned())).collect();
        s.sql += &format!(" WHERE r.experiment IN ({})", ids.join(", "));
        let stage = match search.view {
            ViewType::Active => Some(LifecycleStage::Active),
            ViewType::Deleted => Some(LifecycleStage::Deleted),
            ViewType::All => None,
        };
        if let Some(stage) = stage {
            let place = s.bind(stage.word().to_owned());
            s.sql += &format!(" AND r.stage = {place}");
        }
        for clause in &search.filter.0 {
            let condition = self.condition(&mut s, clause)?;
            s.sql += &format!(" AND {condition}");
        }
        // One more than asked for tells whether there is another page.
        let (limit, skip) = (s.bind(clamp(search.limit as u64).saturating_add(1)), s.bind(clamp(skip as u64)));
        s.sql += &format!(" ORDER BY {order}r.start DESC, r.id LIMIT {limit} OFFSET {skip}");
        Ok(s)
    }

    /// The number of a key, or NULL, which equals nothing, if no row has it.
    fn key(&self, text: &str) -> Result<types::Value, Fault> {
        let mut query = self.conn().prepare_cached("SELECT num FROM word WHERE text = ?1").doing("looking up a key")?;
        let num: Option<i64> = query.query_row([text], |row| row.get(0)).optional().doing("looking up a key")?;
        Ok(num.into())
    }

    fn condition(&self, s: &mut Statement, clause: &Clause) -> Result<String, Fault> {
        let (table, column, key) = match &clause.field {
            Field::Attribute(name) => return Ok(attribute_condition(s, name, clause)),
            Field::Metric(key) => ("latest", "t.bits", Some(key)),
            Field::Param(key) => ("param", "t.value", Some(key)),
            Field::Tag(key) => ("tag", "t.value", Some(key)),
            Field::Dataset(part) => ("input", input_column(part), None),
        };
        let mut rows = format!("SELECT 1 FROM {table} t WHERE t.run = r.num");
        if let Some(key) = key {
            let key = self.key(key)?;
            rows += &format!(" AND t.key = {}", s.bind(key));
        }
        Ok(match (clause.op, &clause.field) {
            (Op::IsNull, _) => format!("NOT EXISTS ({rows} AND {column} IS NOT NULL)"),
            (Op::IsNotNull, _) => format!("EXISTS ({rows} AND {column} IS NOT NULL)"),
            (_, Field::Metric(_)) => format!("EXISTS ({rows} AND {})", bits_comparison(s, column, clause)),
            _ => format!("EXISTS ({rows} AND {})", comparison(s, column, clause)),
        })
    }

    /// Adds the join that an order needs, and gives its terms.
    fn order_term(&self, s: &mut Statement, order: &OrderBy, alias: &str) -> Result<String, Fault> {
        let direction = if order.descending { "DESC" } else { "ASC" };
        let (table, key) = match &order.field {
            Field::Attribute(name) => {
                let column = run_column(name);
                return Ok(format!("{column} IS NULL, {column} {direction}, "));
            }
            // A run has many datasets: no order comes of them.
            Field::Dataset(_) => return Ok(String::new()),
            Field::Metric(key) => ("latest", key),
            Field::Param(key) => ("param", key),
            Field::Tag(key) => ("tag", key),
        };
        let key = self.key(key)?;
        let place = s.bind(key);
        s.sql += &format!(" LEFT JOIN {table} {alias} ON {alias}.run = r.num AND {alias}.key = {place}");
        Ok(if table == "latest" {
            let bits = format!("{alias}.bits");
            format!("CASE WHEN {bits} IS NULL THEN 2 WHEN {bits} > {} THEN 1 ELSE 0 END, {bits} {direction}, ", infinity())
        } else {
            format!("{alias}.value IS NULL, {alias}.value {direction}, ")
        })
    }
}

/// The column of an attribute; one that runs do not have is NULL.
fn run_column(attribute: &str) -> &'static str {
    match attribute {
        "run_id" => "r.id",
        "run_name" => "r.name",
        "status" => "r.status",
        "user_id" => "r.user",
        "artifact_uri" => "r.artifact_uri",
        "start_time" => "r.start",
        "end_time" => "r.end",
        _ => "NULL",
    }
}

fn input_column(part: &str) -> &'static str {
    match part {
        "name" => "t.name",
        "digest" => "t.digest",
        "context" => "t.context",
        _ => "NULL",
    }
}

fn attribute_condition(s: &mut Statement, name: &str, clause: &Clause) -> String {
    let column = run_column(name);
    match clause.op {
        Op::IsNull => format!("{column} IS NULL"),
        Op::IsNotNull => format!("{column} IS NOT NULL"),
        _ => comparison(s, column, clause),
    }
}

/// Everything above is NaN.
fn infinity() -> i64 {
    OrderedNumber::new(f64::INFINITY).bits()
}

fn bits_comparison(s: &mut Statement, column: &str, clause: &Clause) -> String {
    let Value::Number(number) = clause.value else { return "FALSE".into() };
    let Some(op) = order_sign(clause.op) else { return "FALSE".into() };
    let place = s.bind(OrderedNumber::new(number).bits());
    // NaN is unequal to every number and neither above nor below any.
    let is_number = if clause.op == Op::Ne { String::new() } else { format!(" AND {column} <= {}", infinity()) };
    format!("{column} {op} {place}{is_number}")
}

fn comparison(s: &mut Statement, column: &str, clause: &Clause) -> String {
    match (clause.op, &clause.value) {
        (Op::Like, Value::Text(pattern)) => format!("is_like({}, {column})", s.bind(pattern.clone())),
        (Op::Ilike, Value::Text(pattern)) => format!("is_ilike({}, {column})", s.bind(pattern.clone())),
        (Op::In | Op::NotIn, Value::List(list)) => {
            let places: Vec<String> = list.iter().map(|one| s.bind(one.clone())).collect();
            let not = if clause.op == Op::NotIn { "NOT " } else { "" };
            format!("{column} {not}IN ({})", places.join(", "))
        }
        (Op::Eq | Op::Ne, Value::Text(text)) => {
            let sign = if clause.op == Op::Eq { "=" } else { "<>" };
            format!("{column} {sign} {}", s.bind(text.clone()))
        }
        (op, Value::Number(number)) => match order_sign(op) {
            Some(sign) => format!("{column} {sign} {}", s.bind(*number)),
            None => "FALSE".into(),
        },
        _ => "FALSE".into(),
    }
}

fn order_sign(op: Op) -> Option<&'static str> {
    Some(match op {
        Op::Eq => "=",
        Op::Ne => "<>",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Gt => ">",
        Op::Ge => ">=",
        _ => return None,
    })
}
