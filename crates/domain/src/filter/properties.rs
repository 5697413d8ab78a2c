//! What is written is what is read, for every kind of thing; and any text is read or refused with its column.
#![allow(clippy::unwrap_used)]

use super::{Clause, Expr, Field, Op, OrderBy, Target, Value};
use proptest::prelude::*;

const TARGETS: [Target; 6] = [Target::RUNS, Target::EXPERIMENTS, Target::MODELS, Target::VERSIONS, Target::LOGGED_MODELS, Target::DATASETS];

/// A clause that the target allows.
fn clause(at: usize) -> BoxedStrategy<Clause> {
    let target = &TARGETS[at];
    let mut fields: Vec<BoxedStrategy<Clause>> = vec![key_clause(target, Field::Tag)];
    for attribute in target.attributes {
        let field = Field::Attribute(attribute.names[0].into());
        fields.push(if attribute.is_number {
            number_clause(Just(field).boxed())
        } else {
            text_clause(Just(field).boxed(), attribute.in_list, false)
        });
    }
    if target.has_metrics {
        fields.push(number_clause(key().prop_map(Field::Metric).boxed()));
    }
    if target.has_params {
        fields.push(key_clause(target, Field::Param));
    }
    if target.has_datasets {
        let parts = proptest::sample::select(vec!["name", "digest", "context"]);
        fields.push(text_clause(parts.prop_map(|part| Field::Dataset(part.into())).boxed(), true, false));
    }
    proptest::strategy::Union::new(fields).boxed()
}

/// Keys of all sorts, with quotes in them too.
fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z_][a-zA-Z0-9_./-]{0,8}", "[ -~äß日`\"']{1,8}"]
}

fn key_clause(target: &Target, field: fn(String) -> Field) -> BoxedStrategy<Clause> {
    text_clause(key().prop_map(field).boxed(), target.lists_values, true)
}

fn number_clause(field: BoxedStrategy<Field>) -> BoxedStrategy<Clause> {
    let op = proptest::sample::select(vec![Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge]);
    let number = prop_oneof![any::<i32>().prop_map(f64::from), -1e6..1e6f64, Just(0.0)];
    (field, op, number).prop_map(|(field, op, number)| Clause { field, op, value: Value::Number(number) }).boxed()
}

fn text_clause(field: BoxedStrategy<Field>, in_list: bool, may_be_null: bool) -> BoxedStrategy<Clause> {
    let mut ops = vec![Op::Eq, Op::Ne, Op::Like, Op::Ilike];
    if in_list {
        ops.extend([Op::In, Op::NotIn]);
    }
    if may_be_null {
        ops.extend([Op::IsNull, Op::IsNotNull]);
    }
    let texts = proptest::collection::vec("[ -~äß日'\"%_]{0,8}", 1..4);
    let made = |(field, op, mut texts): (Field, Op, Vec<String>)| {
        let value = match op {
            Op::In | Op::NotIn => Value::List(texts),
            Op::IsNull | Op::IsNotNull => Value::Nothing,
            _ => Value::Text(texts.swap_remove(0)),
        };
        Clause { field, op, value }
    };
    (field, proptest::sample::select(ops), texts).prop_map(made).boxed()
}

fn quoted(text: &str, quote: char) -> String {
    format!("{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}")))
}

fn written(field: &Field) -> String {
    match field {
        Field::Attribute(name) => name.clone(),
        Field::Metric(key) => format!("metrics.{}", quoted(key, '`')),
        Field::Param(key) => format!("params.{}", quoted(key, '"')),
        Field::Tag(key) => format!("tags.{}", quoted(key, '`')),
        Field::Dataset(part) => format!("datasets.{part}"),
    }
}

fn sentence(clause: &Clause, quote: char) -> String {
    let op = match clause.op {
        Op::Eq => "=",
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Gt => ">",
        Op::Ge => ">=",
        Op::Like => "LIKE",
        Op::Ilike => "iLike",
        Op::In => "in",
        Op::NotIn => "NOT IN",
        Op::IsNull => "IS NULL",
        Op::IsNotNull => "is not null",
    };
    let value = match &clause.value {
        Value::Number(number) => number.to_string(),
        Value::Text(text) => quoted(text, quote),
        Value::List(list) => format!("({})", list.iter().map(|one| quoted(one, quote)).collect::<Vec<_>>().join(" , ")),
        Value::Nothing => String::new(),
    };
    format!("{} {op} {value}", written(&clause.field))
}

fn clauses() -> impl Strategy<Value = (usize, Vec<Clause>)> {
    (0..TARGETS.len()).prop_flat_map(|at| (Just(at), proptest::collection::vec(clause(at), 0..5)))
}

proptest! {
    #[test]
    fn what_is_written_is_read((at, clauses) in clauses(), quote in proptest::sample::select(vec!['\'', '"'])) {
        let text = clauses.iter().map(|clause| sentence(clause, quote)).collect::<Vec<_>>().join(" AnD ");
        prop_assert_eq!(Expr::parse(&text, &TARGETS[at]).unwrap().0, clauses, "{}", text);
    }

    #[test]
    fn orders_are_read((at, clauses) in clauses(), descending in any::<bool>()) {
        for clause in clauses.into_iter().filter(|clause| !matches!(clause.field, Field::Dataset(_))) {
            let text = format!(" {} {}", written(&clause.field), if descending { "desc" } else { "ASC" });
            prop_assert_eq!(OrderBy::parse(&text, &TARGETS[at]).unwrap(), OrderBy { field: clause.field, descending }, "{}", text);
        }
    }

    #[test]
    fn any_text_is_read_or_refused_where_it_goes_wrong(
        at in 0..TARGETS.len(),
        text in prop_oneof!["[a-z.`'\"%=<>!(), 0-9]{0,40}", any::<String>(), "(name|metrics\\.a|tags\\.`b`|run_id) ?(=|<|LIKE|IN|IS) ?.{0,12}( AND .{0,12})?"],
    ) {
        let refusals = [Expr::parse(&text, &TARGETS[at]).err(), OrderBy::parse(&text, &TARGETS[at]).err()];
        for refusal in refusals.into_iter().flatten() {
            let column: usize = refusal.place.unwrap().strip_prefix("column ").unwrap().parse().unwrap();
            prop_assert!((1..=text.chars().count() + 1).contains(&column) && refusal.hint.is_some(), "{} {}", text, column);
        }
    }
}
