//! Which runs fit a clause.

use super::set::RunSet;
use super::{Candidate, FEW, Statement, TRIED, groups, logged};
use crate::fault::Doing;
use crate::read::Reader;
use domain::filter::{Clause, Field, Op, Value};
use domain::{Fault, OrderedNumber};
use ports::RunSearch;
use rusqlite::{CachedStatement, params_from_iter, types};

impl Reader {
    /// Runs that fit all clauses about what was logged, of whatever experiment and stage; `None` is all runs.
    pub(super) fn fitting(&self, search: &RunSearch) -> Result<Option<RunSet>, Fault> {
        let (absent, present): (Vec<_>, Vec<_>) = logged(search).partition(|clause| clause.op == Op::IsNull);
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

    /// All runs that a search is about, whatever was logged.
    pub(crate) fn all(&self, search: &RunSearch) -> Result<RunSet, Fault> {
        let mut all = RunSet::default();
        for group in groups(search) {
            self.scan(search, group, None, &[], |num, _, _| {
                all.insert(num);
                Ok(true)
            })?;
        }
        Ok(all)
    }

    /// Whether so many candidates fit that trying them one by one will soon fill a page: a few of them tell.
    pub(super) fn is_common(&self, search: &RunSearch, candidates: &[Candidate]) -> Result<bool, Fault> {
        const ASKED: usize = 50;
        let some: Vec<Candidate> = candidates.iter().step_by(candidates.len() / ASKED + 1).cloned().collect();
        let asked = some.len();
        let fitting = self.fitting_of(search, some, usize::MAX, true)?.map_or(0, |fitting| fitting.len());
        // Half as many as the sample promises are enough.
        Ok(fitting * TRIED > 2 * asked * (search.limit + 1))
    }

    /// The first `wanted` of the candidates that fit, tried one by one; `None` if there are fewer and these are not all there is.
    pub(super) fn fitting_of(
        &self,
        search: &RunSearch,
        candidates: Vec<Candidate>,
        wanted: usize,
        is_all: bool,
    ) -> Result<Option<Vec<Candidate>>, Fault> {
        let mut trials: Vec<Trial> = logged(search).map(|clause| Trial::new(self, &self.test(clause)?)).collect::<Result<_, _>>()?;
        let mut found = Vec::new();
        for candidate in candidates {
            if found.len() >= wanted {
                break;
            }
            let mut fits = true;
            for trial in &mut trials {
                fits = fits && trial.passes(candidate.num)?;
            }
            if fits {
                found.push(candidate);
            }
        }
        Ok(Some(found).filter(|found| is_all || found.len() >= wanted))
    }

    /// Runs that have a row which fits; of a null test, those that have a row. Only runs `among` some matter.
    fn holding(&self, clause: &Clause, among: Option<&RunSet>) -> Result<RunSet, Fault> {
        let what = "filtering runs";
        let mut found = RunSet::default();
        let test = Test { absent: false, ..self.test(clause)? };
        if let Some(few) = among.filter(|set| set.len() <= FEW) {
            let mut trial = Trial::new(self, &test)?;
            for num in few.iter() {
                if trial.passes(num)? {
                    found.insert(num);
                }
            }
            return Ok(found);
        }
        let Test { table, condition: Some(condition), values, .. } = &test else { return Ok(found) };
        let index = if *table == "input" { "input_parts".into() } else { format!("{table}_of_key") };
        let sql = format!("SELECT run FROM {table} INDEXED BY {index} WHERE {condition}");
        let mut query = self.conn().prepare_cached(&sql).doing(what)?;
        let mut rows = query.query(params_from_iter(values)).doing(what)?;
        while let Some(row) = rows.next().doing(what)? {
            found.insert(row.get(0).doing(what)?);
        }
        Ok(found)
    }

    fn test(&self, clause: &Clause) -> Result<Test, Fault> {
        let (table, column, key) = match &clause.field {
            Field::Metric(key) => ("latest", "bits", Some(key)),
            Field::Param(key) => ("param", "value", Some(key)),
            Field::Tag(key) => ("tag", "value", Some(key)),
            Field::Dataset(part) => ("input", input_column(part), None),
            Field::Attribute(name) => ("run r", run_column(name), None),
        };
        let absent = clause.op == Op::IsNull;
        let mut s = Statement { sql: String::new(), values: Vec::new() };
        let mut conditions = Vec::new();
        if let Some(key) = key {
            let Some(key) = self.word_num(key)? else { return Ok(Test { table, condition: None, values: Vec::new(), absent }) };
            conditions.push(format!("key = {}", s.bind(key)));
        }
        conditions.push(match (clause.op, &clause.field) {
            (Op::IsNull | Op::IsNotNull, _) => format!("{column} IS NOT NULL"),
            (_, Field::Metric(_)) => bits_comparison(&mut s, column, clause),
            _ => comparison(&mut s, column, clause),
        });
        Ok(Test { table, condition: Some(conditions.join(" AND ")), values: s.values, absent })
    }
}

/// A clause about what was logged, as a condition on the rows of a table.
struct Test {
    table: &'static str,
    /// `None` if no row at all can fit.
    condition: Option<String>,
    values: Vec<types::Value>,
    /// Whether a run fits if it has no such row.
    absent: bool,
}

/// A clause ready to be tried on one run after the other.
struct Trial<'a> {
    query: Option<CachedStatement<'a>>,
    run: usize,
    absent: bool,
}

impl<'a> Trial<'a> {
    fn new(reader: &'a Reader, test: &Test) -> Result<Self, Fault> {
        let what = "preparing a clause";
        let run = test.values.len() + 1;
        let Some(condition) = &test.condition else { return Ok(Trial { query: None, run, absent: test.absent }) };
        let sql = format!("SELECT 1 FROM {} WHERE run = ?{run} AND {condition}", test.table);
        let mut query = reader.conn().prepare_cached(&sql).doing(what)?;
        for (n, value) in test.values.iter().enumerate() {
            query.raw_bind_parameter(n + 1, value).doing(what)?;
        }
        Ok(Trial { query: Some(query), run, absent: test.absent })
    }

    fn passes(&mut self, num: i64) -> Result<bool, Fault> {
        let what = "trying a run";
        let Some(query) = &mut self.query else { return Ok(self.absent) };
        query.raw_bind_parameter(self.run, num).doing(what)?;
        let found = query.raw_query().next().doing(what)?.is_some();
        Ok(found != self.absent)
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
        "duration" => "(r.end - r.start)",
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
    let is_number = matches!(column, "r.start" | "r.end" | "(r.end - r.start)");
    if is_number != matches!(clause.value, Value::Number(_)) {
        return "FALSE".into();
    }
    match (clause.op, &clause.value) {
        (Op::Like, Value::Text(pattern)) => format!("is_like({}, {column})", s.bind(pattern.clone())),
        (Op::Ilike, Value::Text(pattern)) => format!("is_ilike({}, {column})", s.bind(pattern.clone())),
        (Op::In | Op::NotIn, Value::List(list)) => {
            // As one value: SQLite binds no more than 32,766 of them.
            let list = s.bind(serde_json::to_string(list).expect("a list of texts has a JSON form"));
            let not = if clause.op == Op::NotIn { "NOT " } else { "" };
            format!("{column} {not}IN (SELECT value FROM json_each({list}))")
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
