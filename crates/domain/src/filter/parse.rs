//! The parser of the search grammar, which is MLflow's: `[entity.]key op value`, joined by `AND`.
//!
//! A key is bare, or in backticks or double quotes; text is in single or double quotes, where a doubled quote stands for
//! one. Words of the grammar may have any case. Every refusal tells the column.

use super::target::{Attribute, Target};
use super::{Clause, Expr, Field, Op, OrderBy, Value};
use crate::Refusal;

/// Comparisons in one filter, and values in one list, at most.
const MOST: usize = 1000;

impl Expr {
    /// Parses a filter over runs.
    ///
    /// ```
    /// use domain::filter::Expr;
    /// let expr = Expr::parse_runs("metrics.mae < 0.5 and tags.`git commit` = 'a1'").unwrap();
    /// assert_eq!(expr.0.len(), 2);
    /// let refusal = Expr::parse_runs("metrics.mae < 'low'").unwrap_err();
    /// assert_eq!(refusal.place.as_deref(), Some("column 15"));
    /// ```
    pub fn parse_runs(text: &str) -> Result<Expr, Refusal> {
        Expr::parse(text, &Target::RUNS)
    }

    /// Parses a filter over things of a kind; blank text finds everything.
    pub fn parse(text: &str, target: &Target) -> Result<Expr, Refusal> {
        let mut parser = Parser::new(text, target);
        let mut clauses = Vec::new();
        parser.space();
        while !parser.is_done() {
            if !clauses.is_empty() {
                parser.and()?;
            }
            clauses.push(parser.clause()?);
            if clauses.len() > MOST {
                return Err(parser.refuse(parser.at, format!("more than {MOST} comparisons"), "ask for less at once"));
            }
            parser.space();
        }
        Ok(Expr(clauses))
    }
}

impl OrderBy {
    /// Parses one key of an order over runs: `metrics.mae DESC`.
    pub fn parse_runs(text: &str) -> Result<OrderBy, Refusal> {
        OrderBy::parse(text, &Target::RUNS)
    }

    /// Parses one key of an order over things of a kind.
    pub fn parse(text: &str, target: &Target) -> Result<OrderBy, Refusal> {
        let mut parser = Parser::new(text, target);
        let (at, (field, _)) = (parser.at, parser.field()?);
        if matches!(field, Field::Dataset(_)) {
            return Err(parser.refuse(at, "a dataset is no key of an order".into(), "order by a metric, param, tag or attribute"));
        }
        let descending = !parser.word("ASC") && parser.word("DESC");
        parser.space();
        if parser.is_done() {
            return Ok(OrderBy { field, descending });
        }
        Err(parser.refuse(parser.at, format!("`{}` after the key", parser.rest()), "write `KEY`, `KEY ASC` or `KEY DESC`"))
    }
}

struct Parser<'a> {
    chars: Vec<char>,
    at: usize,
    target: &'a Target,
}

impl<'a> Parser<'a> {
    fn new(text: &str, target: &'a Target) -> Self {
        let mut parser = Parser { chars: text.chars().collect(), at: 0, target };
        parser.space();
        parser
    }

    fn refuse(&self, at: usize, what: String, hint: &str) -> Refusal {
        Refusal::invalid("filter/invalid", what).at(format!("column {}", at + 1)).hint(hint)
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn is_done(&self) -> bool {
        self.at >= self.chars.len()
    }

    fn rest(&self) -> String {
        self.chars[self.at..].iter().take(30).collect()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> String {
        let from = self.at;
        while self.peek().is_some_and(&fits) {
            self.at += 1;
        }
        self.chars[from..self.at].iter().collect()
    }

    /// Takes a word of the grammar if it is next.
    fn word(&mut self, word: &str) -> bool {
        self.space();
        let from = self.at;
        if self.take_while(is_bare).eq_ignore_ascii_case(word) {
            return true;
        }
        self.at = from;
        false
    }

    fn and(&mut self) -> Result<(), Refusal> {
        if self.word("AND") {
            return Ok(());
        }
        Err(self.refuse(self.at, format!("expected AND, found `{}`", self.rest()), "comparisons can only be joined by AND"))
    }

    /// Text between quotes, the first of which is next.
    fn quoted(&mut self) -> Result<String, Refusal> {
        let (from, quote) = (self.at, self.chars[self.at]);
        let mut text = String::new();
        loop {
            self.at += 1;
            match self.peek() {
                None => return Err(self.refuse(from, format!("the quote {quote} has no end"), "close it")),
                Some(c) if c != quote => text.push(c),
                Some(_) if self.chars.get(self.at + 1) == Some(&quote) => {
                    self.at += 1;
                    text.push(quote);
                }
                Some(_) => {
                    self.at += 1;
                    return Ok(text);
                }
            }
        }
    }

    fn part(&mut self, fits: impl Fn(char) -> bool) -> Result<String, Refusal> {
        match self.peek() {
            Some('`' | '"') => self.quoted(),
            _ => Ok(self.take_while(fits)),
        }
    }

    /// `[entity.]key`; for an attribute also what it is.
    fn field(&mut self) -> Result<(Field, Option<&'static Attribute>), Refusal> {
        self.space();
        let from = self.at;
        let first = self.part(|c| is_bare(c) && c != '.')?;
        if first.is_empty() {
            return Err(self.refuse(from, format!("expected a key, found `{}`", self.rest()), "write ENTITY.KEY, such as metrics.mae"));
        }
        if self.peek() != Some('.') {
            return self.attribute(&first, from);
        }
        self.at += 1;
        let key_at = self.at;
        let key = self.part(is_bare)?;
        if key.is_empty() {
            return Err(self.refuse(key_at, format!("a key must follow `{first}.`"), "quote a key with special characters: metrics.`a b`"));
        }
        let target = self.target;
        match first.as_str() {
            "attribute" | "attributes" | "attr" | "run" => self.attribute(&key, key_at),
            "metric" | "metrics" if target.has_metrics => Ok((Field::Metric(key), None)),
            "param" | "params" | "parameter" | "parameters" if target.has_params => Ok((Field::Param(key), None)),
            "tag" | "tags" => Ok((Field::Tag(key), None)),
            "dataset" | "datasets" if target.has_datasets => match key.as_str() {
                "name" | "digest" | "context" => Ok((Field::Dataset(key), None)),
                _ => Err(self.refuse(key_at, format!("datasets have no `{key}`"), "use name, digest or context")),
            },
            _ => Err(self.refuse(
                from,
                format!("{} have no `{first}.`", target.what),
                "use metrics., params., tags., attributes. or datasets., where they apply",
            )),
        }
    }

    fn attribute(&self, name: &str, at: usize) -> Result<(Field, Option<&'static Attribute>), Refusal> {
        match self.target.attribute(name) {
            Some(attribute) => Ok((Field::Attribute(attribute.names[0].into()), Some(attribute))),
            None => {
                let hint = format!("use {}", self.target.names());
                Err(self.refuse(at, format!("{} have no attribute `{name}`", self.target.what), &hint))
            }
        }
    }

    fn clause(&mut self) -> Result<Clause, Refusal> {
        let (field, attribute) = self.field()?;
        self.space();
        let at = self.at;
        let op = self.op()?;
        let is_number = matches!(field, Field::Metric(_)) || attribute.is_some_and(|attribute| attribute.is_number);
        let allowed = match op {
            Op::Eq | Op::Ne => true,
            Op::Lt | Op::Le | Op::Gt | Op::Ge => is_number,
            Op::Like | Op::Ilike => !is_number,
            Op::In | Op::NotIn => match field {
                Field::Dataset(_) => true,
                Field::Param(_) | Field::Tag(_) => self.target.lists_values,
                _ => attribute.is_some_and(|attribute| attribute.in_list),
            },
            Op::IsNull | Op::IsNotNull => matches!(field, Field::Param(_) | Field::Tag(_)),
        };
        if !allowed {
            let found: String = self.chars[at..self.at].iter().collect();
            let hint = if is_number {
                "use =, !=, <, <=, > or >="
            } else {
                "use =, !=, LIKE or ILIKE; IN for ids and names; IS NULL for params and tags"
            };
            return Err(self.refuse(at, format!("`{found}` cannot compare this key"), hint));
        }
        let value = match op {
            Op::IsNull | Op::IsNotNull => Value::Nothing,
            Op::In | Op::NotIn => self.list()?,
            _ if is_number => self.number(attribute.is_some_and(|attribute| attribute.quoted))?,
            _ => Value::Text(self.text()?),
        };
        Ok(Clause { field, op, value })
    }

    fn op(&mut self) -> Result<Op, Refusal> {
        self.space();
        let from = self.at;
        let sign = self.take_while(|c| "<>=!".contains(c));
        let op = match sign.as_str() {
            "=" | "==" => Some(Op::Eq),
            "!=" | "<>" => Some(Op::Ne),
            "<" => Some(Op::Lt),
            "<=" => Some(Op::Le),
            ">" => Some(Op::Gt),
            ">=" => Some(Op::Ge),
            "" if self.word("LIKE") => Some(Op::Like),
            "" if self.word("ILIKE") => Some(Op::Ilike),
            "" if self.word("IN") => Some(Op::In),
            "" if self.word("NOT") => self.word("IN").then_some(Op::NotIn),
            "" if self.word("IS") => match self.word("NOT") {
                true => self.word("NULL").then_some(Op::IsNotNull),
                false => self.word("NULL").then_some(Op::IsNull),
            },
            _ => None,
        };
        op.ok_or_else(|| {
            self.at = from;
            self.refuse(
                from,
                format!("expected a comparison, found `{}`", self.rest()),
                "use =, !=, <, <=, >, >=, LIKE, ILIKE, IN or IS NULL",
            )
        })
    }

    fn number(&mut self, may_be_quoted: bool) -> Result<Value, Refusal> {
        self.space();
        let from = self.at;
        let text = match self.peek() {
            Some('\'' | '"') if may_be_quoted => self.quoted()?,
            _ => self.take_while(|c| is_bare(c) || c == '+'),
        };
        let is_plain = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) && !text.contains("inf");
        match text.parse() {
            Ok(number) if is_plain => Ok(Value::Number(number)),
            _ => {
                self.at = from;
                Err(self.refuse(from, format!("expected a number, found `{}`", self.rest()), "write a number without quotes"))
            }
        }
    }

    fn text(&mut self) -> Result<String, Refusal> {
        self.space();
        match self.peek() {
            Some('\'' | '"') => self.quoted(),
            _ => Err(self.refuse(self.at, format!("expected text in quotes, found `{}`", self.rest()), "put the value in single quotes")),
        }
    }

    fn list(&mut self) -> Result<Value, Refusal> {
        let hint = "write ('a', 'b')";
        self.space();
        if self.peek() != Some('(') {
            return Err(self.refuse(self.at, format!("expected a list, found `{}`", self.rest()), hint));
        }
        let mut list = Vec::new();
        loop {
            self.at += 1;
            list.push(self.text()?);
            self.space();
            match self.peek() {
                Some(',') if list.len() < MOST => {}
                Some(')') => {
                    self.at += 1;
                    return Ok(Value::List(list));
                }
                _ => return Err(self.refuse(self.at, format!("expected `,` or `)` in a list of at most {MOST} values"), hint)),
            }
        }
    }
}

/// What a key may hold without quotes.
fn is_bare(c: char) -> bool {
    !c.is_whitespace() && !"=<>!(),'\"`+".contains(c)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn metric(key: &str) -> Field {
        Field::Metric(key.into())
    }

    fn text(value: &str) -> Value {
        Value::Text(value.into())
    }

    #[test]
    fn clauses_are_what_they_say() {
        let cases: Vec<(&str, Field, Op, Value)> = vec![
            ("metrics.mae<0.5", metric("mae"), Op::Lt, Value::Number(0.5)),
            ("metric.m >= -1e-3", metric("m"), Op::Ge, Value::Number(-1e-3)),
            ("metrics.a.b-c/d != +2", metric("a.b-c/d"), Op::Ne, Value::Number(2.0)),
            ("metrics.`val loss` = .5", metric("val loss"), Op::Eq, Value::Number(0.5)),
            ("`metrics`.\"x y\" > 1", metric("x y"), Op::Gt, Value::Number(1.0)),
            ("params.lr = '0.1'", Field::Param("lr".into()), Op::Eq, text("0.1")),
            ("parameter.lr != \"a b\"", Field::Param("lr".into()), Op::Ne, text("a b")),
            ("tags.mlflow.source.name lIkE '%.py'", Field::Tag("mlflow.source.name".into()), Op::Like, text("%.py")),
            ("tag.größe ILIKE 'ä''b'", Field::Tag("größe".into()), Op::Ilike, text("ä'b")),
            ("tags.x IS NULL", Field::Tag("x".into()), Op::IsNull, Value::Nothing),
            ("params.`x y` is  not null", Field::Param("x y".into()), Op::IsNotNull, Value::Nothing),
            ("status = 'FINISHED'", Field::Attribute("status".into()), Op::Eq, text("FINISHED")),
            ("attr.created > 5", Field::Attribute("start_time".into()), Op::Gt, Value::Number(5.0)),
            ("attributes.`run name` = 'x'", Field::Attribute("run_name".into()), Op::Eq, text("x")),
            ("run_id not in ('a' ,'b')", Field::Attribute("run_id".into()), Op::NotIn, Value::List(vec!["a".into(), "b".into()])),
            ("dataset.name IN ('a')", Field::Dataset("name".into()), Op::In, Value::List(vec!["a".into()])),
        ];
        for (filter, field, op, value) in cases {
            assert_eq!(Expr::parse_runs(filter).unwrap().0, [Clause { field, op, value }], "{filter}");
        }
        let three = Expr::parse_runs("  metrics.a > 1 and params.b = 'x and y' AND tags.and = '1' ").unwrap();
        assert_eq!(three.0.len(), 3);
        assert_eq!(Expr::parse_runs("  ").unwrap(), Expr::default());
    }

    #[test]
    fn refusals_tell_the_column() {
        let cases = [
            ("metrics.mae", 12),
            ("metrics.mae <", 14),
            ("metrics.mae < 'x'", 15),
            ("metrics.mae < nan", 15),
            ("metrics.mae LIKE 'x'", 13),
            ("metrics. < 1", 9),
            ("params.a < '1'", 10),
            ("params.a = 1", 12),
            ("params.a = 'x", 12),
            ("banana = '1'", 1),
            ("banana.x = '1'", 1),
            ("dataset.size = '1'", 9),
            ("status IS NULL", 8),
            ("status IN ('a')", 8),
            ("run_id IN 'a'", 11),
            ("run_id IN ('a' 'b')", 16),
            ("metrics.a > 1 OR metrics.b > 1", 15),
            ("metrics.a > 1 AND ", 19),
            ("metrics.a > 1; drop table run", 13),
            ("(metrics.a > 1)", 1),
            ("start_time > '1'", 14),
        ];
        for (filter, column) in cases {
            let refusal = Expr::parse_runs(filter).unwrap_err();
            assert_eq!((refusal.code.as_str(), refusal.place), ("filter/invalid", Some(format!("column {column}"))), "{filter}");
        }
        assert!(Expr::parse("metrics.a > 1", &Target::EXPERIMENTS).is_err(), "experiments have no metrics");
    }

    #[test]
    fn orders_have_a_key_and_a_direction() {
        let cases = [
            ("metrics.mae", metric("mae"), false),
            ("metrics.`a b` desc", metric("a b"), true),
            ("start_time ASC", Field::Attribute("start_time".into()), false),
            ("attribute.Created DESC", Field::Attribute("start_time".into()), true),
            ("tag.\"my tag\" DESC ", Field::Tag("my tag".into()), true),
        ];
        for (order, field, descending) in cases {
            assert_eq!(OrderBy::parse_runs(order).unwrap(), OrderBy { field, descending }, "{order}");
        }
        for order in ["", "metrics.a DESC ASC", "metrics.a upwards", "dataset.name", "nothing"] {
            assert_eq!(OrderBy::parse_runs(order).unwrap_err().code, "filter/invalid", "{order}");
        }
    }
}
