//! Tensors of the Open Inference Protocol: as JSON, or as bytes behind the JSON, little-endian, texts with their length before them.

use crate::v2::{Tensor, as_many};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use domain::{Refusal, Scalar};
use serde::Serialize;
use serde_json::{Number, Value};

/// How long the JSON is, when bytes follow it.
const LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
/// Values of one tensor.
pub(crate) const MOST_VALUES: usize = 4 << 20;

/// The JSON of a body and the bytes behind it.
pub(crate) fn split<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Refusal> {
    let Some(length) = headers.get(&LENGTH) else { return Ok((body, &[])) };
    let length = length.to_str().ok().and_then(|text| text.trim().parse::<usize>().ok()).filter(|length| *length <= body.len());
    let refusal = || {
        Refusal::invalid("request/binary", format!("`{LENGTH}` does not say how long the JSON is"))
            .hint("a number of bytes, at most those of the body")
    };
    Ok(body.split_at(length.ok_or_else(refusal)?))
}

/// The values of an input: `count` of them, from its `data` or from the bytes that come next.
pub(crate) fn values(input: &Tensor, count: usize, raw: &mut &[u8]) -> Result<Vec<Value>, Refusal> {
    match (&input.data, input.parameters.binary_data_size) {
        (Some(data), None) => {
            let mut flat = Vec::with_capacity(count.min(1 << 16));
            flatten(data, &mut flat);
            flat.iter().map(|value| checked(value, &input.datatype)).collect()
        }
        (None, Some(size)) => {
            let Some((own, rest)) = raw.split_at_checked(size) else {
                return Err(Refusal::invalid("request/binary", format!("{size} bytes are said, {} are there", raw.len())));
            };
            *raw = rest;
            if let Some(width) = width(&input.datatype).filter(|width| own.len().is_multiple_of(*width)) {
                as_many(own.len() / width, &input.shape)?;
            }
            decode(own, &input.datatype)
        }
        (None, None) => Err(Refusal::invalid("request/data", "there are no values")
            .hint("send `data`, or `parameters.binary_data_size` with the bytes behind the JSON")),
        (Some(_), Some(_)) => Err(Refusal::invalid("request/data", "there are values in JSON and in binary").hint("send one of them")),
    }
}

fn flatten<'a>(value: &'a Value, flat: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, flat)),
        one => flat.push(one),
    }
}

/// A value as its datatype says, or a refusal.
fn checked(value: &Value, datatype: &str) -> Result<Value, Refusal> {
    let fits = match datatype {
        "BOOL" => value.is_boolean() || matches!(value.as_u64(), Some(0 | 1)),
        "BYTES" => value.is_string(),
        "FP16" | "FP32" | "FP64" => {
            value.is_number() || value.is_null() || matches!(value.as_str(), Some("NaN" | "Infinity" | "-Infinity"))
        }
        _ => {
            let (low, high) = range(datatype)?;
            value.as_i64().is_some_and(|number| (low..=high).contains(&i128::from(number)))
                || value.as_u64().is_some_and(|number| i128::from(number) <= high)
        }
    };
    if !fits {
        let what = format!("{value} is no {datatype}");
        return Err(Refusal::invalid("request/value", what).hint("send values of the datatype that the input names"));
    }
    Ok(match (datatype, value.as_u64()) {
        ("BOOL", Some(number)) => Value::Bool(number == 1),
        _ if value.as_str() == Some("NaN") && datatype.starts_with("FP") => Value::Null,
        _ => value.clone(),
    })
}

fn range(datatype: &str) -> Result<(i128, i128), Refusal> {
    let bits = |text: &str| text.parse::<u32>().ok().filter(|bits| [8, 16, 32, 64].contains(bits));
    if let Some(bits) = datatype.strip_prefix("UINT").and_then(bits) {
        return Ok((0, (1 << bits) - 1));
    }
    if let Some(bits) = datatype.strip_prefix("INT").and_then(bits) {
        return Ok((-(1 << (bits - 1)), (1 << (bits - 1)) - 1));
    }
    Err(Refusal::invalid("request/datatype", format!("there is no datatype `{datatype}`"))
        .hint("BOOL, INT8 to INT64, UINT8 to UINT64, FP16 to FP64, BYTES"))
}

/// Bytes of a value; `None`: it has as many as it needs, or there is no such datatype.
fn width(datatype: &str) -> Option<usize> {
    match datatype {
        "BOOL" | "INT8" | "UINT8" => Some(1),
        "INT16" | "UINT16" | "FP16" => Some(2),
        "INT32" | "UINT32" | "FP32" => Some(4),
        "INT64" | "UINT64" | "FP64" => Some(8),
        _ => None,
    }
}

fn decode(raw: &[u8], datatype: &str) -> Result<Vec<Value>, Refusal> {
    // Infinities as JSON's tensors have them; NaN is what is missing.
    let float = |value: f64| match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::Null,
        None => Value::String(if value > 0.0 { "Infinity" } else { "-Infinity" }.into()),
    };
    fn pieces<const N: usize>(raw: &[u8]) -> Result<impl Iterator<Item = [u8; N]>, Refusal> {
        let (pieces, rest) = raw.as_chunks::<N>();
        if !rest.is_empty() {
            return Err(Refusal::invalid("request/binary", format!("{} bytes are no whole number of values of {N}", raw.len())));
        }
        Ok(pieces.iter().copied())
    }
    Ok(match datatype {
        "BOOL" => raw.iter().map(|byte| Value::Bool(*byte != 0)).collect(),
        "INT8" => raw.iter().map(|byte| (*byte as i8).into()).collect(),
        "UINT8" => raw.iter().map(|byte| (*byte).into()).collect(),
        "INT16" => pieces(raw)?.map(|bytes| i16::from_le_bytes(bytes).into()).collect(),
        "UINT16" => pieces(raw)?.map(|bytes| u16::from_le_bytes(bytes).into()).collect(),
        "INT32" => pieces(raw)?.map(|bytes| i32::from_le_bytes(bytes).into()).collect(),
        "UINT32" => pieces(raw)?.map(|bytes| u32::from_le_bytes(bytes).into()).collect(),
        "INT64" => pieces(raw)?.map(|bytes| i64::from_le_bytes(bytes).into()).collect(),
        "UINT64" => pieces(raw)?.map(|bytes| u64::from_le_bytes(bytes).into()).collect(),
        "FP16" => pieces(raw)?.map(|bytes| float(half(u16::from_le_bytes(bytes)))).collect(),
        "FP32" => pieces(raw)?.map(|bytes| float(f64::from(f32::from_le_bytes(bytes)))).collect(),
        "FP64" => pieces(raw)?.map(|bytes| float(f64::from_le_bytes(bytes))).collect(),
        "BYTES" => texts(raw)?,
        other => {
            return Err(range(other)
                .err()
                .unwrap_or_else(|| Refusal::invalid("request/datatype", format!("`{other}` is not read in binary"))));
        }
    })
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let (sign, exponent, fraction) = (if bits >> 15 == 1 { -1.0 } else { 1.0 }, (bits >> 10) & 0x1f, f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        exponent => (1.0 + fraction / 1024.0) * 2f64.powi(i32::from(exponent) - 15),
    }
}

/// Four bytes of length, then so many of text.
fn texts(mut raw: &[u8]) -> Result<Vec<Value>, Refusal> {
    let cut = || Refusal::invalid("request/binary", "a text is cut off").hint("four bytes of length (little-endian) before each text");
    let mut texts = Vec::new();
    while !raw.is_empty() {
        let (length, rest) = raw.split_first_chunk::<4>().ok_or_else(cut)?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut)?;
        let text = std::str::from_utf8(text).map_err(|_| Refusal::invalid("request/binary", "a text is not UTF-8"))?;
        texts.push(Value::String(text.into()));
        raw = rest;
    }
    Ok(texts)
}

/// Values as bytes of a datatype that holds them all.
pub(crate) fn bytes(values: &[Scalar], datatype: &str) -> Vec<u8> {
    let mut raw = Vec::new();
    for value in values {
        match datatype {
            "BOOL" => raw.push(u8::from(*value == Scalar::Bool(true))),
            "INT32" => raw.extend((value.as_f64().unwrap_or_default() as i32).to_le_bytes()),
            "INT64" => raw.extend(if let Scalar::Int(number) = value { *number } else { 0 }.to_le_bytes()),
            "FP32" => raw.extend((value.as_f64().unwrap_or(f64::NAN) as f32).to_le_bytes()),
            "FP64" => raw.extend(value.as_f64().unwrap_or(f64::NAN).to_le_bytes()),
            _ => {
                let text = value.to_string();
                raw.extend((text.len() as u32).to_le_bytes());
                raw.extend(text.as_bytes());
            }
        }
    }
    raw
}

/// JSON with bytes behind it.
pub(crate) fn respond(answer: &impl Serialize, raw: &[u8]) -> Response {
    let mut body = serde_json::to_vec(answer).unwrap_or_default();
    let length = body.len().to_string();
    body.extend(raw);
    let headers = [(LENGTH, length), (header::CONTENT_TYPE, "application/octet-stream".to_owned())];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn halves_are_read() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_953_125), (0x0001, 5.960_464_477_539_063e-8), (0x7c00, f64::INFINITY)]
        {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn values_out_of_their_type_are_refused() {
        for (value, datatype, fits) in [
            ("255", "UINT8", true),
            ("256", "UINT8", false),
            ("-1", "UINT64", false),
            ("18446744073709551615", "UINT64", true),
            ("-128", "INT8", true),
            ("1.5", "INT32", false),
            ("1", "BOOL", true),
            ("\"a\"", "BYTES", true),
            ("1", "BYTES", false),
            ("null", "FP32", true),
            ("1", "FP8", false),
        ] {
            assert_eq!(checked(&serde_json::from_str(value).unwrap(), datatype).is_ok(), fits, "{value} as {datatype}");
        }
    }
}
