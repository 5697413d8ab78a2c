//! From a body to rows: four shapes, one table. Values without names get the names that the model has for them, in its order.

use domain::{PredictionId, Refusal, Scalar, Timestamp};
use indexmap::IndexMap;
use ports::Params;
use serde::Deserialize;
use serde_json::Value;
use serving::PredictRequest;
use std::collections::HashSet;

/// The column that names a prediction.
const ID: &str = "prediction_id";
/// The column with the event time.
const TIME: &str = "ts";
/// The longest name of a prediction, in bytes.
const LONGEST_ID: usize = 256;

const SHAPES: &str = "send one of dataframe_split, dataframe_records, instances and inputs";

#[derive(Deserialize)]
struct Body {
    dataframe_split: Option<Split>,
    dataframe_records: Option<Vec<Record>>,
    instances: Option<Values>,
    inputs: Option<Values>,
    params: Option<Params>,
}

pub(crate) type Record = IndexMap<String, Value>;

/// Named or not, by row or by column.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Records(Vec<Record>),
    Columns(IndexMap<String, Vec<Value>>),
    /// One row.
    Record(Record),
    Rows(Vec<Vec<Value>>),
    /// One column.
    Column(Vec<Value>),
}

#[derive(Deserialize)]
struct Split {
    /// Left out, they are the model's.
    columns: Option<Vec<Value>>,
    data: Vec<Vec<Value>>,
}

/// What values without names are called, in their order; `None` where they must have names.
pub(crate) type Names<'a> = Option<&'a [String]>;

/// Reads the rows of a request and its params; what is wrong is named by row and column.
pub(crate) fn parse(body: &[u8], names: Names<'_>) -> Result<(Vec<PredictRequest>, Params), Refusal> {
    let body: Body = serde_json::from_slice(body).map_err(unreadable)?;
    let params = body.params.unwrap_or_default();
    let given = (body.dataframe_split, body.dataframe_records, body.instances, body.inputs);
    let records = match given {
        (Some(split), None, None, None) => of_split(split, names)?,
        (None, Some(records), None, None) => of_records(records, "dataframe_records")?,
        (None, None, Some(values), None) => of_values(values, "instances", names)?,
        (None, None, None, Some(values)) => of_values(values, "inputs", names)?,
        (None, None, None, None) => return Err(Refusal::invalid("request/shape", "the body has no rows").hint(SHAPES)),
        _ => return Err(Refusal::invalid("request/shape", "the body has rows in several shapes").hint(SHAPES)),
    };
    Ok((requests(records)?, params))
}

/// The rows of a table, Trimtab's own columns taken out.
pub(crate) fn requests(records: Vec<Record>) -> Result<Vec<PredictRequest>, Refusal> {
    if records.is_empty() {
        return Err(Refusal::invalid("serve/rows", "no rows").hint("send at least one row"));
    }
    let mut ids = HashSet::new();
    let rows = records.into_iter().enumerate().map(|(number, record)| {
        let request = of_record(number, record)?;
        match &request.id {
            Some(id) if !ids.insert(id.clone()) => Err(Refusal::invalid("serve/prediction_id", format!("`{id}` names two predictions"))
                .at(place(number, ID))
                .hint("give each row its own id")),
            _ => Ok(request),
        }
    });
    rows.collect()
}

fn unreadable(error: serde_json::Error) -> Refusal {
    let at = format!("line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let what = text.strip_suffix(&format!(" at {at}")).unwrap_or(&text);
    let what = if error.is_data() { format!("the body is not as expected: {what}") } else { format!("the body is not JSON: {what}") };
    Refusal::invalid("request/json", what).at(at).hint(SHAPES)
}

fn place(row: usize, column: &str) -> String {
    format!("row {row}, column `{column}`")
}

fn ragged(what: String, at: String) -> Refusal {
    Refusal::invalid("request/ragged", what).at(at).hint("give every row a value for every column, null for none")
}

fn of_values(values: Values, shape: &str, names: Names<'_>) -> Result<Vec<Record>, Refusal> {
    match values {
        Values::Records(records) => of_records(records, shape),
        Values::Columns(columns) => of_columns(columns, shape),
        Values::Record(record) => Ok(vec![record]),
        Values::Rows(rows) => of_rows(rows, shape, names),
        Values::Column(values) => of_rows(values.into_iter().map(|value| vec![value]).collect(), shape, names),
    }
}

/// Rows without names.
pub(crate) fn of_rows(rows: Vec<Vec<Value>>, shape: &str, names: Names<'_>) -> Result<Vec<Record>, Refusal> {
    let Some(names) = names else {
        return Err(Refusal::invalid("request/names", "the values have no names, and this model does not tell its columns' order")
            .at(shape)
            .hint("send objects: [{\"column\": value}]"));
    };
    let wrong = rows.iter().position(|row| row.len() != names.len());
    if let Some(number) = wrong {
        let what = format!("{} values, and the model takes {}: {}", rows[number].len(), names.len(), names.join(", "));
        return Err(Refusal::invalid("serve/columns", what)
            .at(format!("{shape}, row {number}"))
            .hint("send one value a column, in this order"));
    }
    Ok(rows.into_iter().map(|row| names.iter().cloned().zip(row).collect()).collect())
}

fn of_split(split: Split, names: Names<'_>) -> Result<Vec<Record>, Refusal> {
    let Some(columns) = split.columns else { return of_rows(split.data, "dataframe_split.data", names) };
    let columns: Vec<String> = columns.iter().map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned)).collect();
    if let Some(twice) = columns.iter().enumerate().find_map(|(at, name)| columns[..at].contains(name).then_some(name)) {
        return Err(Refusal::invalid("request/columns", format!("column `{twice}` is there twice")).at("dataframe_split.columns"));
    }
    let rows = split.data.into_iter().enumerate().map(|(number, values)| {
        if values.len() != columns.len() {
            let what = format!("{} values for {} columns", values.len(), columns.len());
            return Err(ragged(what, format!("dataframe_split.data, row {number}")));
        }
        Ok(columns.iter().cloned().zip(values).collect())
    });
    rows.collect()
}

fn of_records(records: Vec<Record>, shape: &str) -> Result<Vec<Record>, Refusal> {
    let Some(first) = records.first() else { return Ok(records) };
    for (number, record) in records.iter().enumerate() {
        let at = || format!("{shape}, row {number}");
        if let Some(name) = first.keys().find(|name| !record.contains_key(*name)) {
            return Err(ragged(format!("there is no `{name}`, which row 0 has"), at()));
        }
        if let Some(name) = record.keys().find(|name| !first.contains_key(*name)) {
            return Err(ragged(format!("there is a `{name}`, which row 0 has not"), at()));
        }
    }
    Ok(records)
}

pub(crate) fn of_columns(columns: IndexMap<String, Vec<Value>>, shape: &str) -> Result<Vec<Record>, Refusal> {
    let length = columns.values().map(Vec::len).next().unwrap_or(0);
    let mut rows = vec![Record::new(); length];
    for (name, values) in columns {
        if values.len() != length {
            return Err(ragged(format!("{} values where the first column has {length}", values.len()), format!("{shape}.{name}")));
        }
        for (row, value) in rows.iter_mut().zip(values) {
            row.insert(name.clone(), value);
        }
    }
    Ok(rows)
}

/// Takes Trimtab's own columns out of a row.
fn of_record(number: usize, record: Record) -> Result<PredictRequest, Refusal> {
    let mut request = PredictRequest { id: None, time: None, columns: IndexMap::with_capacity(record.len()) };
    for (name, value) in record {
        let value = scalar(number, &name, value)?;
        match name.as_str() {
            ID => request.id = id(number, value)?,
            TIME => request.time = time(number, value)?,
            _ => {
                request.columns.insert(name, value);
            }
        }
    }
    Ok(request)
}

fn scalar(number: usize, column: &str, value: Value) -> Result<Scalar, Refusal> {
    Ok(match value {
        Value::Null => Scalar::Null,
        Value::Bool(value) => Scalar::Bool(value),
        Value::String(text) => Scalar::Text(text),
        Value::Number(value) => match (value.as_i64(), value.as_f64()) {
            (Some(value), _) => Scalar::Int(value),
            (None, Some(value)) => Scalar::Float(value),
            (None, None) => {
                return Err(Refusal::invalid("request/value", format!("{value} is too large a number")).at(place(number, column)));
            }
        },
        // A column of one-element lists, as tensors of one column come.
        Value::Array(mut one) if one.len() == 1 && !one[0].is_array() => return scalar(number, column, one.remove(0)),
        Value::Array(_) | Value::Object(_) => {
            return Err(Refusal::invalid("request/value", "a list or object where a single value is expected")
                .at(place(number, column))
                .hint("send numbers, texts, booleans and null"));
        }
    })
}

fn id(number: usize, value: Scalar) -> Result<Option<PredictionId>, Refusal> {
    let text = match value {
        Scalar::Null => return Ok(None),
        Scalar::Text(text) => text,
        Scalar::Int(value) => value.to_string(),
        Scalar::Bool(_) | Scalar::Float(_) => String::new(),
    };
    // `#` joins an id to the version of a shadow.
    if text.is_empty() || text.len() > LONGEST_ID || text.contains(|c: char| c.is_control() || c == '#') {
        return Err(Refusal::invalid("serve/prediction_id", "this cannot name a prediction")
            .at(place(number, ID))
            .hint(format!("send a text of 1 to {LONGEST_ID} bytes without `#`, or leave it out")));
    }
    Ok(Some(PredictionId::new(text)))
}

fn time(number: usize, value: Scalar) -> Result<Option<Timestamp>, Refusal> {
    let time = match &value {
        Scalar::Null => return Ok(None),
        Scalar::Text(text) => Timestamp::parse(text),
        Scalar::Int(ms) => Some(Timestamp::from_ms(*ms)),
        // Columns with gaps come as floats from pandas.
        Scalar::Float(ms) if ms.fract() == 0.0 => Some(Timestamp::from_ms(*ms as i64)),
        Scalar::Float(_) | Scalar::Bool(_) => None,
    };
    let time = time.filter(|time| (Timestamp::MIN..=Timestamp::MAX).contains(time));
    let refusal = || {
        Refusal::invalid("serve/time", format!("`{value}` is not a time"))
            .at(place(number, TIME))
            .hint("write it as 2011-03-01T00:00:00Z, or in milliseconds since 1970")
    };
    time.map(Some).ok_or_else(refusal)
}
