//! The little SQL that the twins read: `select a, b from t limit n`, and arithmetic over columns.

use arrow::array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use domain::Refusal;
use std::sync::Arc;

const HOUR_NS: i64 = 3_600_000_000_000;

/// A query.
#[derive(Debug, PartialEq)]
pub(super) struct Select {
    /// `None`: all of them.
    pub columns: Option<Vec<String>>,
    pub from: Source,
    pub limit: Option<usize>,
}

/// What a query reads.
#[derive(Debug, PartialEq)]
pub(super) enum Source {
    Table(String),
    Query(Box<Select>),
}

/// An expression over the columns of one row.
#[derive(Debug, PartialEq)]
pub(super) enum Expr {
    Column(String),
    Int(i64),
    Float(f64),
    Hour(Box<Expr>),
    /// 0 is Sunday.
    Weekday(Box<Expr>),
    Arithmetic(char, Box<Expr>, Box<Expr>),
}

/// Reads a query.
pub(super) fn select(text: &str) -> Result<Select, Refusal> {
    whole(text, Parser::select)
}

/// Reads an expression.
pub(super) fn expression(text: &str) -> Result<Expr, Refusal> {
    whole(text, Parser::sum)
}

fn whole<T>(text: &str, read: fn(&mut Parser) -> Option<T>) -> Result<T, Refusal> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    match read(&mut parser) {
        Some(found) if parser.at == parser.tokens.len() => Ok(found),
        _ => {
            let near = parser.tokens.get(parser.at).map_or("the end".into(), |token| format!("`{}`", token.text));
            Err(Refusal::invalid("query/unsupported", format!("the engine in memory does not read `{text}` (at {near})"))
                .hint("it reads `select a, b from t limit n`, columns, numbers, + - * / and extract(hour | dow from column)"))
        }
    }
}

#[derive(Debug)]
struct Token {
    text: String,
    quoted: bool,
}

/// Words (with dots inside), quoted names, and single signs. Words are lower case, as SQL reads them.
fn tokens(text: &str) -> Vec<Token> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = rest.strip_prefix('"').and_then(|inside| Some(&inside[..inside.find('"')?]));
        let (token, length) = match quoted {
            Some(name) => (Token { text: name.into(), quoted: true }, name.len() + 2),
            None => {
                let end = if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
                (Token { text: rest[..end].to_lowercase(), quoted: false }, end)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn take(&mut self, word: &str) -> Option<()> {
        let found = self.tokens.get(self.at).filter(|token| !token.quoted && token.text == word);
        found.map(|_| self.at += 1)
    }

    fn name(&mut self) -> Option<String> {
        let token = self.tokens.get(self.at)?;
        let is_name = token.quoted || token.text.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let name = is_name.then(|| token.text.clone())?;
        self.at += 1;
        Some(name)
    }

    fn select(&mut self) -> Option<Select> {
        self.take("select")?;
        let columns = if self.take("*").is_some() { None } else { Some(self.names()?) };
        self.take("from")?;
        let from = if self.take("(").is_some() {
            let inner = self.select()?;
            self.take(")")?;
            Source::Query(Box::new(inner))
        } else {
            Source::Table(self.name()?)
        };
        let limit = match self.take("limit") {
            Some(()) => Some(self.number()?.parse().ok()?),
            None => None,
        };
        Some(Select { columns, from, limit })
    }

    fn names(&mut self) -> Option<Vec<String>> {
        let mut names = vec![self.name()?];
        while self.take(",").is_some() {
            names.push(self.name()?);
        }
        Some(names)
    }

    fn number(&mut self) -> Option<String> {
        let token = self.tokens.get(self.at).filter(|token| !token.quoted && token.text.starts_with(|c: char| c.is_ascii_digit()))?;
        let text = token.text.clone();
        self.at += 1;
        Some(text)
    }

    fn sum(&mut self) -> Option<Expr> {
        self.chain(['+', '-'], Parser::product)
    }

    fn product(&mut self) -> Option<Expr> {
        self.chain(['*', '/'], Parser::factor)
    }

    fn chain(&mut self, signs: [char; 2], next: fn(&mut Parser) -> Option<Expr>) -> Option<Expr> {
        let mut left = next(self)?;
        while let Some(sign) = signs.into_iter().find(|sign| self.take(&sign.to_string()).is_some()) {
            left = Expr::Arithmetic(sign, Box::new(left), Box::new(next(self)?));
        }
        Some(left)
    }

    fn factor(&mut self) -> Option<Expr> {
        if self.take("(").is_some() {
            let inner = self.sum()?;
            return self.take(")").map(|()| inner);
        }
        if self.take("-").is_some() {
            return Some(Expr::Arithmetic('-', Box::new(Expr::Int(0)), Box::new(self.factor()?)));
        }
        if let Some(number) = self.number() {
            return number.parse().map(Expr::Int).ok().or_else(|| number.parse().map(Expr::Float).ok());
        }
        let name = self.name()?;
        if name != "extract" || self.take("(").is_none() {
            return Some(Expr::Column(name));
        }
        let part = self.name()?;
        self.take("from")?;
        let of = Box::new(self.sum()?);
        self.take(")")?;
        match part.as_str() {
            "hour" => Some(Expr::Hour(of)),
            "dow" => Some(Expr::Weekday(of)),
            _ => None,
        }
    }
}

impl Expr {
    /// One value a row.
    pub(super) fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
        let n = rows.num_rows();
        Ok(match self {
            Expr::Column(name) => {
                let known = || rows.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(", ");
                let missing = || ArrowError::SchemaError(format!("no column `{name}`; there are: {}", known()));
                rows.column_by_name(name).ok_or_else(missing)?.clone()
            }
            Expr::Int(value) => Arc::new(Int64Array::from(vec![*value; n])),
            Expr::Float(value) => Arc::new(Float64Array::from(vec![*value; n])),
            Expr::Hour(of) => part(&of.evaluate(rows)?, |ns| ns.div_euclid(HOUR_NS).rem_euclid(24))?,
            // 1970 began on a Thursday.
            Expr::Weekday(of) => part(&of.evaluate(rows)?, |ns| (ns.div_euclid(24 * HOUR_NS) + 4).rem_euclid(7))?,
            Expr::Arithmetic(sign, left, right) => {
                let (left, right) = alike(left.evaluate(rows)?, right.evaluate(rows)?)?;
                match sign {
                    '+' => numeric::add(&left, &right)?,
                    '-' => numeric::sub(&left, &right)?,
                    '*' => numeric::mul(&left, &right)?,
                    _ => numeric::div(&left, &right)?,
                }
            }
        })
    }
}

fn part(times: &ArrayRef, of: fn(i64) -> i64) -> Result<ArrayRef, ArrowError> {
    let instants = nanoseconds(times)?;
    Ok(Arc::new(Int32Array::from_iter(instants.iter().map(|ns| ns.map(|ns| of(ns) as i32)))))
}

/// Both sides whole, or both sides numbers.
fn alike(left: ArrayRef, right: ArrayRef) -> Result<(ArrayRef, ArrayRef), ArrowError> {
    let whole = left.data_type().is_integer() && right.data_type().is_integer();
    let common = if whole { DataType::Int64 } else { DataType::Float64 };
    Ok((cast(&left, &common)?, cast(&right, &common)?))
}

/// Nanoseconds since 1970, whatever the unit; a time without a zone is UTC.
pub(super) fn nanoseconds(times: &ArrayRef) -> Result<Int64Array, ArrowError> {
    let DataType::Timestamp(_, zone) = times.data_type() else {
        return Err(ArrowError::InvalidArgumentError(format!("{} is not a time", times.data_type())));
    };
    let fine = cast(times, &DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()))?;
    let instants = cast(&fine, &DataType::Int64)?;
    Ok(arrow::array::AsArray::as_primitive::<Int64Type>(&*instants).clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_its_subset_and_refuses_the_rest() {
        let plain = |name: &str, limit| Select { columns: None, from: Source::Table(name.into()), limit };
        assert_eq!(select("SELECT * from \"My table\" limit 0").unwrap(), plain("My table", Some(0)));
        let nested = Select { from: Source::Query(Box::new(plain("t", None))), columns: Some(vec!["a".into(), "B".into()]), limit: None };
        assert_eq!(select("select A, \"B\" from (select * from t)").unwrap(), nested);
        for text in [
            "",
            "select",
            "select a from",
            "select a from t where a > 1",
            "select a b from t",
            "select count(*) from t",
            "drop table t",
            "\"",
        ] {
            assert_eq!(select(text).unwrap_err().code, "query/unsupported", "{text}");
        }
        for text in ["", "a +", "f(a)", "(a", "extract(year from a)", "a > 1", "1.2.3"] {
            assert_eq!(expression(text).unwrap_err().code, "query/unsupported", "{text}");
        }
    }
}
