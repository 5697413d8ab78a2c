//! What a model takes and gives, as its `MLmodel` file says.

use serde::{Deserialize, Serialize};

/// A model's signature. What the file does not tell is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Signature {
    pub inputs: Inputs,
    /// The type of what it answers, if it is one column or a tensor.
    pub output: Option<ColumnType>,
    /// Values a row of a tensor, where it has more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_width: Option<usize>,
    /// The names and types of several values a row; none: it answers one, or the file does not say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<ColumnSpec>,
}

/// What a model takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Inputs {
    /// The file does not say.
    #[default]
    Unknown,
    /// Columns, in the model's order.
    Columns(Vec<ColumnSpec>),
    /// A table of one type without names; `width` columns, if that is fixed.
    Table { kind: ColumnType, width: Option<usize> },
    /// Anything else (images, tensors by name): why it is not served by rows.
    Other(String),
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnSpec {
    /// A column without a name is known by its place.
    pub name: Option<String>,
    pub kind: ColumnType,
    /// It may be left out; null then.
    pub is_optional: bool,
}

/// MLflow's types of columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    Boolean,
    /// 32 bits.
    Integer,
    /// 64 bits.
    Long,
    /// 32 bits.
    Float,
    /// 64 bits.
    Double,
    String,
    Other(String),
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    signature: Option<Texts>,
}

/// JSON inside YAML: that is how MLflow writes it.
#[derive(Deserialize)]
struct Texts {
    #[serde(default)]
    inputs: Option<String>,
    #[serde(default)]
    outputs: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: serde_json::Value,
    #[serde(default)]
    name: Option<serde_json::Value>,
    #[serde(default = "yes")]
    required: bool,
    #[serde(default, rename = "tensor-spec")]
    tensor: Option<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<i64>,
}

fn yes() -> bool {
    true
}

impl Signature {
    /// Reads an `MLmodel` file; one without a signature, or that cannot be read, says nothing.
    ///
    /// ```
    /// use ports::{ColumnType, Inputs, Signature};
    /// let text = "signature:\n  inputs: '[{\"type\": \"double\", \"name\": \"x\", \"required\": true}]'\n  outputs: null\n";
    /// let Inputs::Columns(columns) = Signature::parse(text).inputs else { panic!() };
    /// assert_eq!((columns[0].name.as_deref(), &columns[0].kind), (Some("x"), &ColumnType::Double));
    /// ```
    pub fn parse(mlmodel: &str) -> Signature {
        let texts = serde_saphyr::from_str::<File>(mlmodel).ok().and_then(|file| file.signature);
        let Some(texts) = texts else { return Signature::default() };
        let read = |text: Option<String>| text.and_then(|text| serde_json::from_str::<Vec<Item>>(&text).ok()).unwrap_or_default();
        let found = read(texts.outputs);
        let output = match found.as_slice() {
            [Item { tensor: Some(tensor), .. }] => Some(ColumnType::of_numpy(&tensor.dtype)),
            [one] => Some(ColumnType::of_mlflow(&one.kind)),
            _ => None,
        };
        let output_width = match found.as_slice() {
            [Item { tensor: Some(tensor), .. }] => {
                tensor.shape.get(1).and_then(|width| usize::try_from(*width).ok()).filter(|width| *width > 1)
            }
            _ => None,
        };
        let outputs = match inputs(found) {
            Inputs::Columns(columns) if columns.len() > 1 && columns.iter().all(|column| column.name.is_some()) => columns,
            _ => Vec::new(),
        };
        Signature { inputs: inputs(read(texts.inputs)), output, output_width, outputs }
    }
}

fn inputs(items: Vec<Item>) -> Inputs {
    match items.as_slice() {
        [] => Inputs::Unknown,
        [Item { tensor: Some(tensor), name: None, .. }] if matches!(tensor.shape.as_slice(), [_] | [-1, _]) => {
            let width = tensor.shape.get(1).and_then(|width| usize::try_from(*width).ok());
            Inputs::Table { kind: ColumnType::of_numpy(&tensor.dtype), width }
        }
        items if items.iter().any(|item| item.tensor.is_some()) => Inputs::Other("it takes tensors".into()),
        items => Inputs::Columns(items.iter().map(column).collect()),
    }
}

fn column(item: &Item) -> ColumnSpec {
    let name = item.name.as_ref().map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned));
    ColumnSpec { name, kind: ColumnType::of_mlflow(&item.kind), is_optional: !item.required }
}

impl ColumnType {
    fn of_mlflow(kind: &serde_json::Value) -> ColumnType {
        match kind.as_str().unwrap_or_default() {
            "boolean" => ColumnType::Boolean,
            "integer" => ColumnType::Integer,
            "long" => ColumnType::Long,
            "float" => ColumnType::Float,
            "double" => ColumnType::Double,
            "string" => ColumnType::String,
            _ => ColumnType::Other(kind.as_str().map_or_else(|| kind.to_string(), str::to_owned)),
        }
    }

    fn of_numpy(dtype: &str) -> ColumnType {
        match dtype {
            "bool" => ColumnType::Boolean,
            "int32" => ColumnType::Integer,
            "int64" | "int16" | "int8" | "uint8" | "uint16" | "uint32" | "uint64" => ColumnType::Long,
            "float32" | "float16" => ColumnType::Float,
            "float64" => ColumnType::Double,
            "str" | "object" => ColumnType::String,
            other => ColumnType::Other(other.into()),
        }
    }

    /// The word.
    pub fn word(&self) -> &str {
        match self {
            ColumnType::Boolean => "boolean",
            ColumnType::Integer => "integer",
            ColumnType::Long => "long",
            ColumnType::Float => "float",
            ColumnType::Double => "double",
            ColumnType::String => "string",
            ColumnType::Other(word) => word,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(inputs: &str) -> Inputs {
        Signature::parse(&format!("signature:\n  inputs: '{inputs}'\n")).inputs
    }

    #[test]
    fn a_signature_is_read_as_mlflow_writes_it() {
        let Inputs::Columns(columns) =
            of(r#"[{"type": "long", "name": "hr", "required": true}, {"type": "string", "name": 7, "required": false}]"#)
        else {
            panic!()
        };
        assert_eq!((columns[1].name.as_deref(), columns[1].is_optional), (Some("7"), true));
        let table = of(r#"[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}]"#);
        assert_eq!(table, Inputs::Table { kind: ColumnType::Double, width: Some(4) });
        assert!(matches!(of(r#"[{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 28, 28]}}]"#), Inputs::Other(_)));
        assert_eq!(of("nonsense"), Inputs::Unknown);
        assert_eq!(Signature::parse("- a list"), Signature::default());
        assert_eq!(Signature::parse("flavors: {}"), Signature::default());
    }
}
