//! The door: rows as the model's signature wants them, or a refusal that names the column and the next step.

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use domain::{Refusal, Scalar};
use ports::{ColumnSpec, ColumnType, Inputs, ModelHandle, Params, PredictError, Predicted, Signature, scalar_at, scalars_to_array};
use std::sync::Arc;
use std::time::Duration;

/// The names that values without names get, in their order; none if the model does not say.
pub(crate) fn names(signature: &Signature) -> Option<Vec<String>> {
    match &signature.inputs {
        Inputs::Columns(columns) => Some(columns.iter().enumerate().map(|(at, column)| name(at, column)).collect()),
        Inputs::Table { width: Some(width), .. } => Some((0..*width).map(|at| at.to_string()).collect()),
        Inputs::Table { width: None, .. } | Inputs::Unknown | Inputs::Other(_) => None,
    }
}

fn name(at: usize, column: &ColumnSpec) -> String {
    column.name.clone().unwrap_or_else(|| at.to_string())
}

/// What the versions of a model answer from: each takes of it what its own signature wants, so that a challenger may know a column more.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) columns: RecordBatch,
    /// Whether the caller sent the features; those that are looked up are made for the model.
    pub(crate) is_sent: bool,
    /// What the caller sent beside the rows.
    pub(crate) params: Arc<Params>,
}

impl Input {
    /// The columns as a model takes them.
    pub(crate) fn seen_by(&self, signature: &Signature) -> Result<RecordBatch, Refusal> {
        if self.is_sent { fit(&self.columns, signature) } else { Ok(self.columns.clone()) }
    }

    /// One version's answer; what its door refuses, it does not answer.
    pub(crate) async fn answered_by(&self, handle: &dyn ModelHandle, deadline: Duration) -> Result<Predicted, PredictError> {
        handle.predict_with(&self.seen_by(handle.signature())?, &self.params, deadline).await
    }
}

/// The columns that the model takes, in its order and of its types: whole numbers become floats where it wants floats, and floats without
/// a fraction whole numbers where it wants these. Columns that it does not know are left out, as MLflow does.
fn fit(rows: &RecordBatch, signature: &Signature) -> Result<RecordBatch, Refusal> {
    match &signature.inputs {
        Inputs::Unknown => Ok(rows.clone()),
        Inputs::Other(why) => Err(Refusal::invalid("serve/signature", format!("this model is not served by rows: {why}"))
            .hint("register a model that takes columns of numbers, texts and booleans")),
        Inputs::Columns(columns) => fit_columns(rows, columns),
        Inputs::Table { kind, width } => {
            if width.is_some_and(|width| width != rows.num_columns()) {
                let what = format!("{} columns, and the model takes {}", rows.num_columns(), width.unwrap_or_default());
                return Err(Refusal::invalid("serve/columns", what).hint("send every column of the model, and no other"));
            }
            let schema = rows.schema();
            let fitted = schema
                .fields()
                .iter()
                .zip(rows.columns())
                .map(|(field, column)| Ok((field.name(), cast(field.name(), kind, false, column)?, true)));
            batch(fitted.collect::<Result<Vec<_>, Refusal>>()?)
        }
    }
}

fn fit_columns(rows: &RecordBatch, columns: &[ColumnSpec]) -> Result<RecordBatch, Refusal> {
    let named: Vec<(String, &ColumnSpec)> = columns.iter().enumerate().map(|(at, column)| (name(at, column), column)).collect();
    let missing: Vec<&str> = named
        .iter()
        .filter(|(name, column)| !column.is_optional && rows.column_by_name(name).is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    if !missing.is_empty() {
        let sent: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        return Err(Refusal::invalid("serve/missing_column", format!("the model needs `{}`", missing.join("`, `")))
            .hint(format!("sent: {}", if sent.is_empty() { "no column".into() } else { sent.join(", ") })));
    }
    let nulls = vec![&Scalar::Null; rows.num_rows()];
    let fitted = named.iter().map(|(name, column)| {
        let array = match rows.column_by_name(name) {
            Some(array) => cast(name, &column.kind, column.is_optional, array)?,
            None => scalars_to_array(&nulls),
        };
        Ok((name, array, true))
    });
    batch(fitted.collect::<Result<Vec<_>, Refusal>>()?)
}

fn batch(columns: Vec<(&String, ArrayRef, bool)>) -> Result<RecordBatch, Refusal> {
    let columns = columns.into_iter().map(|(name, array, nullable)| (name.clone(), array, nullable));
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| Refusal::invalid("serve/input", e.to_string()))
}

fn cast(name: &str, kind: &ColumnType, is_optional: bool, column: &ArrayRef) -> Result<ArrayRef, Refusal> {
    let values: Vec<Scalar> =
        (0..column.len()).map(|row| as_kind(name, row, kind, is_optional, scalar_at(column, row))).collect::<Result<_, _>>()?;
    Ok(scalars_to_array(&values.iter().collect::<Vec<_>>()))
}

fn as_kind(name: &str, row: usize, kind: &ColumnType, is_optional: bool, value: Scalar) -> Result<Scalar, Refusal> {
    let refuse = |value: &Scalar| {
        let what = format!("{} where the model wants {}", told(value), article(kind));
        Err(Refusal::invalid("serve/type", what)
            .at(format!("row {row}, column `{name}`"))
            .hint("send the type that the signature names; see the model's page"))
    };
    match (kind, value) {
        (_, Scalar::Null) if is_optional => Ok(Scalar::Null),
        (ColumnType::Float | ColumnType::Double, Scalar::Null) => Ok(Scalar::Null),
        (ColumnType::Float | ColumnType::Double, Scalar::Int(value)) => Ok(Scalar::Float(value as f64)),
        (ColumnType::Float | ColumnType::Double, Scalar::Bool(value)) => Ok(Scalar::Float(f64::from(u8::from(value)))),
        (ColumnType::Float | ColumnType::Double, Scalar::Text(text)) => match text.trim().parse() {
            Ok(value) => Ok(Scalar::Float(value)),
            Err(_) => refuse(&Scalar::Text(text)),
        },
        (ColumnType::Float | ColumnType::Double, value @ Scalar::Float(_)) => Ok(value),
        (ColumnType::Integer | ColumnType::Long, value) => match whole(&value) {
            Some(number) if *kind == ColumnType::Long || i32::try_from(number).is_ok() => Ok(Scalar::Int(number)),
            _ => refuse(&value),
        },
        (ColumnType::Boolean, value @ Scalar::Bool(_)) => Ok(value),
        (ColumnType::Boolean, Scalar::Int(value @ (0 | 1))) => Ok(Scalar::Bool(value == 1)),
        (ColumnType::Boolean, value) => refuse(&value),
        (ColumnType::String, value @ (Scalar::Text(_) | Scalar::Null)) => Ok(value),
        (ColumnType::String, value) => Ok(Scalar::Text(value.to_string())),
        (ColumnType::Other(_), value) => Ok(value),
    }
}

fn whole(value: &Scalar) -> Option<i64> {
    match value {
        Scalar::Int(value) => Some(*value),
        Scalar::Bool(value) => Some(i64::from(*value)),
        Scalar::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
        Scalar::Text(text) => text.trim().parse().ok(),
        Scalar::Float(_) | Scalar::Null => None,
    }
}

fn told(value: &Scalar) -> String {
    match value {
        Scalar::Null => "nothing".into(),
        Scalar::Text(text) => format!("the text `{}`", text.chars().take(40).collect::<String>()),
        other => format!("`{other}`"),
    }
}

fn article(kind: &ColumnType) -> String {
    match kind {
        ColumnType::Integer => "a whole number of 32 bits".into(),
        ColumnType::Long => "a whole number".into(),
        ColumnType::Float | ColumnType::Double => "a number".into(),
        ColumnType::Boolean => "true or false".into(),
        ColumnType::String => "a text".into(),
        ColumnType::Other(word) => word.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn column(name: &str, kind: ColumnType, is_optional: bool) -> ColumnSpec {
        ColumnSpec { name: Some(name.into()), kind, is_optional }
    }

    fn rows(columns: &[(&str, Scalar)]) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, value)| (*name, scalars_to_array(&[value]), true))).unwrap()
    }

    fn fitted(kind: ColumnType, value: Scalar) -> Result<Scalar, String> {
        let signature = Signature { inputs: Inputs::Columns(vec![column("x", kind, false)]), ..Signature::default() };
        fit(&rows(&[("x", value)]), &signature).map(|rows| scalar_at(rows.column(0), 0)).map_err(|refusal| refusal.code.to_string())
    }

    #[test]
    fn values_become_what_the_model_takes_or_are_refused() {
        use ColumnType::{Boolean, Double, Integer, Long, String};
        let text = |text: &str| Scalar::Text(text.into());
        let cases = [
            (Double, Scalar::Int(3), Ok(Scalar::Float(3.0))),
            (Double, Scalar::Null, Ok(Scalar::Null)),
            (Double, text("2.5"), Ok(Scalar::Float(2.5))),
            (Double, text("much"), Err("serve/type")),
            (Long, Scalar::Float(4.0), Ok(Scalar::Int(4))),
            (Long, Scalar::Float(4.5), Err("serve/type")),
            (Long, Scalar::Null, Err("serve/type")),
            (Integer, Scalar::Int(1 << 40), Err("serve/type")),
            (Boolean, Scalar::Int(1), Ok(Scalar::Bool(true))),
            (Boolean, Scalar::Int(2), Err("serve/type")),
            (String, Scalar::Int(7), Ok(text("7"))),
        ];
        for (kind, value, expected) in cases {
            assert_eq!(fitted(kind.clone(), value.clone()), expected.map_err(str::to_owned), "{value:?} as {kind:?}");
        }
    }

    #[test]
    fn columns_come_in_the_models_order_and_only_those() {
        let columns =
            vec![column("b", ColumnType::Double, false), column("a", ColumnType::Double, false), column("c", ColumnType::String, true)];
        let signature = Signature { inputs: Inputs::Columns(columns), ..Signature::default() };
        let sent = rows(&[("a", Scalar::Int(1)), ("extra", Scalar::Int(9)), ("b", Scalar::Int(2))]);
        let fitted = fit(&sent, &signature).unwrap();
        let names: Vec<String> = fitted.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["b", "a", "c"]);
        let refusal = fit(&rows(&[("a", Scalar::Int(1))]), &signature).unwrap_err();
        assert_eq!((refusal.code.as_ref(), refusal.what.as_str()), ("serve/missing_column", "the model needs `b`"));
        let table = Signature { inputs: Inputs::Table { kind: ColumnType::Double, width: Some(2) }, ..Signature::default() };
        assert!(fit(&rows(&[("0", Scalar::Int(1)), ("1", Scalar::Int(2))]), &table).is_ok());
        assert_eq!(fit(&rows(&[("0", Scalar::Int(1))]), &table).unwrap_err().code, "serve/columns");
    }
}
