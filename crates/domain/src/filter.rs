//! The search filter, parsed once; stores get the [`Expr`] and never the text.

mod eval;
mod parse;
#[cfg(test)]
mod properties;
mod target;

pub use eval::{Found, Searchable, ilike, like};
pub use target::Target;

use serde::{Deserialize, Serialize};

/// What a clause looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Field {
    /// `run_id`, `run_name`, `status`, `start_time`, ...: the canonical name.
    Attribute(String),
    Metric(String),
    Param(String),
    Tag(String),
    /// `name`, `digest` or `context` of a run's dataset.
    Dataset(String),
}

/// How a clause compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Case-sensitive, `%` and `_`.
    Like,
    /// As `Like`, without case.
    Ilike,
    In,
    NotIn,
    IsNull,
    IsNotNull,
}

/// What a clause compares with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Number(f64),
    Text(String),
    List(Vec<String>),
    /// For the null tests.
    Nothing,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clause {
    pub field: Field,
    pub op: Op,
    pub value: Value,
}

/// All clauses must hold; no clause means everything.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Expr(pub Vec<Clause>);

/// One key of an order; a missing value comes last both ways, NaN after numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderBy {
    pub field: Field,
    pub descending: bool,
}
