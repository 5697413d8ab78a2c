//! Which runs fit a clause.

use super::set::RunSet;
use super::{FEW, Statement, groups};
use crate::fault::Doing;
use crate::read::Reader;
use domain::filter::{Clause, Field, Op, Value};
use domain::{Fault, OrderedNumber};
use ports::RunSearch;
use rusqlite::params_from_iter;

impl Reader {
    /// Runs that fit all clauses about what was logged, of whatever experiment and stage; `None` is all runs.
    pub(super) fn fitting(&self, search: &RunSearch) -> Result<Option<RunSet>, Fault> {
        let logged = |clause: &&Clause| !matches!(clause.field, Field::Attribute(_));
        let (absent, present): (Vec<_>, Vec<_>) = search.filter.0.iter().filter(logged).partition(|clause| clause.op == Op::IsNull);
        let mut fitting: Option<RunSet> = None;
        for clause in present {
            let found = self.holding(clause, fitting.as_ref())?;
            match &mut fitting {
                Some(set) => set.cut(&found),
                none => *none = Some(found),
            }
        }
        for clause in absent {
            // Without another clause the whole of what may be absent has to be known.
            let mut rest = fitting.map_or_else(|| self.all(search), Ok)?;
            rest.remove_all(&self.holding(clause, Some(&rest))?);
            fitting = Some(rest);
        }
        Ok(fitting)
    }

    fn all(&self, search: &RunSearch) -> Result<RunSet, Fault> {
        let mut all = RunSet::default();
        for group in groups(search) {
            self.scan(search, group, None, &[], |num, _, _| {
                all.insert(num);
                Ok(true)
            })?;
        }
        Ok(all)
    }

    /// Runs that have a row which fits; of a null test, those that have a row. Only runs `among` some matter.
    fn holding(&self, clause: &Clause, among: Option<&RunSet>) -> Result<RunSet, Fault> {
        let what = "filtering runs";
        let mut found = RunSet::default();
        let (table, column, key) = match &clause.field {
            Field::Metric(key) => ("latest", "bits", Some(key)),
            Field::Param(key) => ("param", "value", Some(key)),
            Field::Tag(key) => ("tag", "value", Some(key)),
            Field::Dataset(part) => ("input", input_column(part), None),
            Field::Attribute(_) => return Ok(found),
        };
        let mut s = Statement { sql: String::new(), values: Vec::new() };
        let mut conditions = Vec::new();
        if let Some(key) = key {
            let Some(key) = self.key(key)? else { return Ok(found) };
            conditions.push(format!("key = {}", s.bind(key)));
        }
        conditions.push(match (clause.op, &clause.field) {
            (Op::IsNull | Op::IsNotNull, _) => format!("{column} IS NOT NULL"),
            (_, Field::Metric(_)) => bits_comparison(&mut s, column, clause),
            _ => comparison(&mut s, column, clause),
        });
        let conditions = conditions.join(" AND ");
        match among.filter(|set| set.len() <= FEW) {
            Some(few) => {
                let run = s.values.len() + 1;
                let mut query =
                    self.conn().prepare_cached(&format!("SELECT 1 FROM {table} WHERE run = ?{run} AND {conditions}")).doing(what)?;
                for num in few.iter() {
                    s.values.push(num.into());
                    if query.exists(params_from_iter(&s.values)).doing(what)? {
                        found.insert(num);
                    }
                    s.values.pop();
                }
            }
            None => {
                let index = if key.is_some() { format!("{table}_of_key") } else { "input_parts".into() };
                let mut query =
                    self.conn().prepare_cached(&format!("SELECT run FROM {table} INDEXED BY {index} WHERE {conditions}")).doing(what)?;
                let mut rows = query.query(params_from_iter(&s.values)).doing(what)?;
                while let Some(row) = rows.next().doing(what)? {
                    found.insert(row.get(0).doing(what)?);
                }
            }
        }
        Ok(found)
    }
}

/// The column of an attribute; one that runs do not have is NULL.
pub(super) fn run_column(attribute: &str) -> &'static str {
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
        "name" => "name",
        "digest" => "digest",
        "context" => "context",
        _ => "NULL",
    }
}

/// The condition of a clause about an attribute.
pub(super) fn of_attribute(s: &mut Statement, name: &str, clause: &Clause) -> String {
    let column = run_column(name);
    match clause.op {
        Op::IsNull => format!("{column} IS NULL"),
        Op::IsNotNull => format!("{column} IS NOT NULL"),
        _ => comparison(s, column, clause),
    }
}

fn bits_comparison(s: &mut Statement, column: &str, clause: &Clause) -> String {
    let Value::Number(number) = clause.value else { return "FALSE".into() };
    let Some(op) = order_sign(clause.op) else { return "FALSE".into() };
    let place = s.bind(OrderedNumber::new(number).bits());
    // NaN, above infinity, is unequal to every number and neither above nor below any.
    let infinity = OrderedNumber::new(f64::INFINITY).bits();
    let is_number = if clause.op == Op::Ne { String::new() } else { format!(" AND {column} <= {infinity}") };
    format!("{column} {op} {place}{is_number}")
}

fn comparison(s: &mut Statement, column: &str, clause: &Clause) -> String {
    // SQLite compares a text with a number; here neither equals, exceeds or differs from the other.
    let is_number = matches!(column, "r.start" | "r.end");
    if is_number != matches!(clause.value, Value::Number(_)) {
        return "FALSE".into();
    }
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
