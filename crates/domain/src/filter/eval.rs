//! What a filter means: the one definition that every store's search must agree with.

use super::{Clause, Expr, Field, Op, OrderBy, Value};
use crate::OrderedNumber;
use std::cmp::Ordering;

/// One value that a field of a thing holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found<'a> {
    Number(f64),
    Text(&'a str),
}

/// A thing that can be searched for. A field may hold several values (a run's datasets) or none.
pub trait Searchable {
    /// The values of a field.
    fn find(&self, field: &Field) -> Vec<Found<'_>>;
}

impl Expr {
    /// Whether all clauses hold.
    pub fn matches(&self, thing: &impl Searchable) -> bool {
        self.0.iter().all(|clause| clause.holds(&thing.find(&clause.field)))
    }
}

impl Clause {
    /// Whether one of the values fits. Of a field that is not there only `IS NULL` holds, not even `!=`.
    fn holds(&self, values: &[Found<'_>]) -> bool {
        match self.op {
            Op::IsNull => values.is_empty(),
            Op::IsNotNull => !values.is_empty(),
            _ => values.iter().any(|value| self.fits(value)),
        }
    }

    fn fits(&self, found: &Found<'_>) -> bool {
        match (found, &self.value) {
            (Found::Number(found), Value::Number(asked)) => match self.op {
                Op::Eq => found == asked,
                Op::Ne => found != asked,
                Op::Lt => found < asked,
                Op::Le => found <= asked,
                Op::Gt => found > asked,
                Op::Ge => found >= asked,
                _ => false,
            },
            (Found::Text(found), Value::Text(asked)) => match self.op {
                Op::Eq => found == asked,
                Op::Ne => found != asked,
                Op::Like => like(asked, found),
                Op::Ilike => ilike(asked, found),
                _ => false,
            },
            (Found::Text(found), Value::List(asked)) => match self.op {
                Op::In => asked.iter().any(|one| one == found),
                Op::NotIn => asked.iter().all(|one| one != found),
                _ => false,
            },
            _ => false,
        }
    }
}

impl OrderBy {
    /// How two things stand to each other by this key: missing last and NaN after numbers, whichever the direction.
    pub fn compare(&self, a: &impl Searchable, b: &impl Searchable) -> Ordering {
        let (a, b) = (a.find(&self.field), b.find(&self.field));
        let class = |found: Option<&Found<'_>>| match found {
            None => 2,
            Some(Found::Number(x)) if x.is_nan() => 1,
            Some(_) => 0,
        };
        let by_value = match (a.first(), b.first()) {
            (Some(Found::Number(a)), Some(Found::Number(b))) => OrderedNumber::new(*a).cmp(&OrderedNumber::new(*b)),
            (Some(Found::Text(a)), Some(Found::Text(b))) => a.cmp(b),
            _ => Ordering::Equal,
        };
        let by_value = if self.descending { by_value.reverse() } else { by_value };
        class(a.first()).cmp(&class(b.first())).then(by_value)
    }
}

/// SQL's `LIKE`: `%` stands for any text, `_` for one character; case counts.
///
/// ```
/// use domain::filter::like;
/// assert!(like("bike%", "bikeshare") && like("b_ke", "bike") && !like("Bike", "bike"));
/// ```
pub fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the newest `%` was, and where in the text it began to swallow: on a mismatch it swallows one more.
    let mut resume: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('%') => {
                resume = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '_' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match resume {
                Some((percent, swallowed)) => {
                    resume = Some((percent, swallowed + 1));
                    p = percent + 1;
                    t = swallowed + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '%')
}

/// As [`like`], but case does not count, in any script.
pub fn ilike(pattern: &str, text: &str) -> bool {
    like(&pattern.to_lowercase(), &text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_is_the_pattern_of_sql() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("%", "", true),
            ("_", "", false),
            ("a%b%c", "aXbYbZc", true),
            ("a%b", "aXbY", false),
            ("%ä_", "xxäö", true),
            ("100%", "100", true),
        ] {
            assert_eq!(like(pattern, text), fits, "{pattern} {text}");
        }
    }
}
