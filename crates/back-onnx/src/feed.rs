//! Rows as the tensors that a model takes, and its first output as values.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use domain::{Refusal, Scalar};
use ort::session::SessionInputValue;
use ort::value::{DynValue, Outlet, Tensor, TensorElementType, ValueType};
use ports::Said;

fn wrong(what: impl Into<String>) -> Refusal {
    Refusal::invalid("serve/input", what)
}

/// A tensor for each input: the whole table where the model takes one matrix, else the column of its name.
pub(crate) fn feeds(inputs: &[Outlet], rows: &RecordBatch) -> Result<Vec<SessionInputValue<'static>>, Refusal> {
    let is_matrix = matches!(inputs, [one] if width(one).is_none_or(|width| width as usize == rows.num_columns()) && rows.schema().column_with_name(one.name()).is_none());
    inputs
        .iter()
        .enumerate()
        .map(|(at, input)| {
            let columns: Vec<(&str, &ArrayRef)> = if is_matrix {
                rows.schema_ref().fields().iter().map(|field| field.name().as_str()).zip(rows.columns()).collect()
            } else {
                let named = rows.column_by_name(input.name());
                // A model of as many inputs as there are columns may name them otherwise: then their order counts.
                let placed = rows.columns().get(at).filter(|_| inputs.len() == rows.num_columns());
                let column = named.or(placed).ok_or_else(|| wrong(format!("the model takes `{}`, which is not there", input.name())))?;
                vec![(input.name(), column)]
            };
            tensor(input, &columns, rows.num_rows())
        })
        .collect()
}

/// The second dimension, if it is fixed.
fn width(input: &Outlet) -> Option<i64> {
    match input.dtype() {
        ValueType::Tensor { shape, .. } => shape.get(1).copied().filter(|width| *width > 0),
        _ => None,
    }
}

fn tensor(input: &Outlet, columns: &[(&str, &ArrayRef)], rows: usize) -> Result<SessionInputValue<'static>, Refusal> {
    let ValueType::Tensor { ty, shape, .. } = input.dtype() else { return Err(wrong(format!("the input {} is no tensor", input.name()))) };
    let dims: Vec<usize> = if shape.len() == 1 { vec![rows] } else { vec![rows, columns.len()] };
    let broken = |error: ort::Error| wrong(format!("the input {} cannot be made: {error}", input.name()));
    Ok(match ty {
        TensorElementType::Float32 => {
            let values: Vec<f32> = numbers(columns, rows)?.into_iter().map(|value| value as f32).collect();
            Tensor::from_array((dims, values)).map_err(broken)?.into()
        }
        TensorElementType::Float64 => Tensor::from_array((dims, numbers(columns, rows)?)).map_err(broken)?.into(),
        TensorElementType::Int64 => Tensor::from_array((dims, whole(columns, rows)?)).map_err(broken)?.into(),
        TensorElementType::Int32 => {
            let values: Vec<i32> = whole(columns, rows)?.into_iter().map(|value| value as i32).collect();
            Tensor::from_array((dims, values)).map_err(broken)?.into()
        }
        TensorElementType::Bool => {
            let values: Vec<bool> = whole(columns, rows)?.into_iter().map(|value| value != 0).collect();
            Tensor::from_array((dims, values)).map_err(broken)?.into()
        }
        TensorElementType::String => Tensor::from_string_array((dims, texts(columns, rows)?.as_slice())).map_err(broken)?.into(),
        other => return Err(wrong(format!("the input {} is of type {other:?}, which no row has", input.name()))),
    })
}

fn as_type(name: &str, column: &ArrayRef, to: &DataType) -> Result<ArrayRef, Refusal> {
    let made = cast(column, to).map_err(|_| wrong(format!("the column `{name}` is {}, the model takes numbers", column.data_type())))?;
    if made.null_count() > column.null_count() {
        return Err(wrong(format!("the column `{name}` has a value that is no {to}")));
    }
    Ok(made)
}

/// Row by row; what is missing is NaN.
fn numbers(columns: &[(&str, &ArrayRef)], rows: usize) -> Result<Vec<f64>, Refusal> {
    let mut values = vec![f64::NAN; rows * columns.len()];
    for (at, (name, column)) in columns.iter().enumerate() {
        let column = as_type(name, column, &DataType::Float64)?;
        for (row, value) in column.as_primitive::<Float64Type>().iter().enumerate() {
            values[row * columns.len() + at] = value.unwrap_or(f64::NAN);
        }
    }
    Ok(values)
}

fn whole(columns: &[(&str, &ArrayRef)], rows: usize) -> Result<Vec<i64>, Refusal> {
    let mut values = vec![0; rows * columns.len()];
    for (at, (name, column)) in columns.iter().enumerate() {
        let column = as_type(name, column, &DataType::Int64)?;
        for (row, value) in column.as_primitive::<Int64Type>().iter().enumerate() {
            values[row * columns.len() + at] =
                value.ok_or_else(|| wrong(format!("the column `{name}` is whole numbers and may not be missing")))?;
        }
    }
    Ok(values)
}

fn texts(columns: &[(&str, &ArrayRef)], rows: usize) -> Result<Vec<String>, Refusal> {
    let mut values = vec![String::new(); rows * columns.len()];
    for (at, (name, column)) in columns.iter().enumerate() {
        let column = as_type(name, column, &DataType::Utf8)?;
        for (row, value) in column.as_string::<i32>().iter().enumerate() {
            values[row * columns.len() + at] = value.unwrap_or_default().to_owned();
        }
    }
    Ok(values)
}

/// What the first output says of each row: a value, or several.
pub(crate) fn said(output: &DynValue, rows: usize) -> Result<Said, Refusal> {
    let values = values(output, rows)?;
    if values.len() == rows {
        return Ok(Said { values, ..Said::default() });
    }
    let rows = values.chunks(values.len() / rows.max(1)).map(<[Scalar]>::to_vec).collect();
    Ok(Said { rows, ..Said::default() })
}

fn values(output: &DynValue, rows: usize) -> Result<Vec<Scalar>, Refusal> {
    let broken = |error: ort::Error| Refusal::invalid("serve/model_raised", format!("its output cannot be read: {error}"));
    let ValueType::Tensor { ty, shape, .. } = output.dtype() else {
        return Err(Refusal::invalid("serve/model_raised", "its first output is no tensor"));
    };
    let is_table = matches!(shape[..], [count, width] if count as usize == rows && width > 0);
    if shape.num_elements() != rows && !is_table {
        let what = format!("the model answers {} values for {rows} rows", shape.num_elements());
        return Err(Refusal::invalid("serve/model_raised", what));
    }
    Ok(match ty {
        TensorElementType::Float32 => {
            output.try_extract_tensor::<f32>().map_err(broken)?.1.iter().map(|value| Scalar::Float(f64::from(*value))).collect()
        }
        TensorElementType::Float64 => {
            output.try_extract_tensor::<f64>().map_err(broken)?.1.iter().map(|value| Scalar::Float(*value)).collect()
        }
        TensorElementType::Int64 => output.try_extract_tensor::<i64>().map_err(broken)?.1.iter().map(|value| Scalar::Int(*value)).collect(),
        TensorElementType::Int32 => {
            output.try_extract_tensor::<i32>().map_err(broken)?.1.iter().map(|value| Scalar::Int(i64::from(*value))).collect()
        }
        TensorElementType::Bool => {
            output.try_extract_tensor::<bool>().map_err(broken)?.1.iter().map(|value| Scalar::Bool(*value)).collect()
        }
        TensorElementType::String => output.try_extract_strings().map_err(broken)?.1.into_iter().map(Scalar::Text).collect(),
        other => return Err(Refusal::invalid("serve/model_raised", format!("its output is of type {other:?}"))),
    })
}
