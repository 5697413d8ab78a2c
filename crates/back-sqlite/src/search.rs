//! The search over runs as one SQL statement: every value is bound, every key is looked up first.

use crate::fault::Doing;
use crate::read::Reader;
use domain::entity::{LifecycleStage, Run};
use domain::filter::{Clause, Field, Op, OrderBy, Value};
use domain::{Fault, OrderedNumber, RunId};
use ports::{Page, Place, RunSearch, SearchError, Sorted, ViewType};
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row, params_from_iter, types};
use std::cmp::Ordering;

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

/// A run that fits, and where it stands.
struct Candidate {
    num: i64,
    place: Place,
}

impl Reader {
    /// Runs that fit, a page of them.
    pub(crate) fn search(&self, search: &RunSearch) -> Result<Page<Run>, SearchError> {
        let what = "searching runs";
        let after = Place::after(search)?;
        let statement = self.statement(search, true)?;
        let mut query = self.conn().prepare_cached(&statement.sql).doing("preparing a search")?;
        let mut rows = query.query(params_from_iter(&statement.values)).doing(what)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().doing(what)? {
            let candidate = candidate(row, &search.order).doing(what)?;
            if after.as_ref().is_none_or(|after| candidate.place.compare(after, &search.order) == Ordering::Greater) {
                found.push(candidate);
            }
        }
        found.sort_by(|a, b| a.place.compare(&b.place, &search.order));
        let more = found.len() > search.limit;
        found.truncate(search.limit);
        let items = found.iter().map(|one| Ok(self.load_run(one.num)?.1)).collect::<Result<Vec<_>, Fault>>()?;
        let token = found.pop().filter(|_| more).map(|last| last.place.token(search)).transpose()?;
        Ok(Page { items, token })
    }

    /// How many fit.
    pub(crate) fn count(&self, search: &RunSearch) -> Result<u64, SearchError> {
        let statement = self.statement(search, false)?;
        let mut query = self.conn().prepare_cached(&statement.sql).doing("preparing a count")?;
        let count: i64 = query.query_row(params_from_iter(&statement.values), |row| row.get(0)).doing("counting runs")?;
        Ok(count as u64)
    }

    fn statement(&self, search: &RunSearch, places: bool) -> Result<Statement, Fault> {
        let mut s = Statement { sql: String::new(), values: Vec::new() };
        let (mut columns, mut joins) = (String::from("count(*)"), String::new());
        if places {
            columns = "r.num, r.id, r.start".into();
            for (n, key) in search.order.iter().enumerate() {
                let (column, join) = self.order_term(&mut s, key, &format!("o{n}"))?;
                columns += &format!(", {column}");
                joins += &join;
            }
        }
        s.sql = format!("SELECT {columns} FROM run r{joins}");
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

    /// The column that an order reads, and the join that it needs.
    fn order_term(&self, s: &mut Statement, order: &OrderBy, alias: &str) -> Result<(String, String), Fault> {
        let (table, column, key) = match &order.field {
            Field::Attribute(name) => return Ok((run_column(name).into(), String::new())),
            // A run has many datasets: no order comes of them.
            Field::Dataset(_) => return Ok(("NULL".into(), String::new())),
            Field::Metric(key) => ("latest", "bits", key),
            Field::Param(key) => ("param", "value", key),
            Field::Tag(key) => ("tag", "value", key),
        };
        let key = self.key(key)?;
        let place = s.bind(key);
        let join = format!(" LEFT JOIN {table} {alias} ON {alias}.run = r.num AND {alias}.key = {place}");
        Ok((format!("{alias}.{column}"), join))
    }
}

/// From the columns num, id, start and one for each key of the order.
fn candidate(row: &Row<'_>, order: &[OrderBy]) -> rusqlite::Result<Candidate> {
    let mut keys = Vec::with_capacity(order.len());
    for (n, key) in order.iter().enumerate() {
        keys.push(match (row.get_ref(3 + n)?, &key.field) {
            (ValueRef::Integer(bits), Field::Metric(_)) => Sorted::Number(bits),
            (ValueRef::Integer(number), _) => Sorted::number(number as f64),
            (ValueRef::Text(_), _) => Sorted::Text(row.get(3 + n)?),
            _ => Sorted::Missing,
        });
    }
    let id = RunId::new(row.get::<_, String>(1)?);
    Ok(Candidate { num: row.get(0)?, place: Place { keys, start: row.get(2)?, id } })
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
