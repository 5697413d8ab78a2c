//! Parameters of a pipeline: declared with a default or with a type, given as a value or a list.

use crate::{Refusal, Scalar};
use serde::de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// A parameter's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParamValue {
    List(Vec<Scalar>),
    One(Scalar),
}

impl ParamValue {
    /// The word for the type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            ParamValue::List(_) => "list",
            ParamValue::One(value) => value.type_name(),
        }
    }

    /// The values: one, or those of the list.
    pub fn values(&self) -> &[Scalar] {
        match self {
            ParamValue::List(values) => values,
            ParamValue::One(value) => std::slice::from_ref(value),
        }
    }
}

impl From<Scalar> for ParamValue {
    fn from(value: Scalar) -> Self {
        ParamValue::One(value)
    }
}

impl fmt::Display for ParamValue {
    /// As a command sees it: a list is JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParamValue::One(value) => value.fmt(f),
            ParamValue::List(values) => f.write_str(&serde_json::to_string(values).map_err(|_| fmt::Error)?),
        }
    }
}

/// The types that a parameter may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamType {
    Text,
    Integer,
    Number,
    Boolean,
    List,
}

impl ParamType {
    /// The type's word.
    pub fn name(self) -> &'static str {
        match self {
            ParamType::Text => "text",
            ParamType::Integer => "integer",
            ParamType::Number => "number",
            ParamType::Boolean => "boolean",
            ParamType::List => "list",
        }
    }

    fn of(value: &ParamValue) -> Option<ParamType> {
        Some(match value {
            ParamValue::List(_) => ParamType::List,
            ParamValue::One(Scalar::Null) => return None,
            ParamValue::One(Scalar::Bool(_)) => ParamType::Boolean,
            ParamValue::One(Scalar::Int(_)) => ParamType::Integer,
            ParamValue::One(Scalar::Float(_)) => ParamType::Number,
            ParamValue::One(Scalar::Text(_)) => ParamType::Text,
        })
    }
}

/// `{ type = "number", default = 0.1, min = 0, max = 1 }`; without a default it must be given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamRule {
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub of: Option<ParamType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ParamValue>,
    /// Of numbers, and of the members of a list; inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// What it, or each member of a list, may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Scalar>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// A parameter as declared: its default alone, or a rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ParamSpec {
    Default(ParamValue),
    Rule(ParamRule),
}

impl ParamSpec {
    /// What it is if nobody says otherwise.
    pub fn default_value(&self) -> Option<&ParamValue> {
        match self {
            ParamSpec::Default(value) => Some(value),
            ParamSpec::Rule(rule) => rule.default.as_ref(),
        }
    }

    /// Its type, told or taken from the default; `None`: any.
    pub fn kind(&self) -> Option<ParamType> {
        match self {
            ParamSpec::Default(value) => ParamType::of(value),
            ParamSpec::Rule(rule) => rule.of.or_else(|| rule.default.as_ref().and_then(ParamType::of)),
        }
    }

    /// What is wrong with the declaration itself.
    pub fn check(&self, name: &str) -> Result<(), Refusal> {
        let ParamSpec::Rule(rule) = self else { return Ok(()) };
        if self.kind().is_none() {
            let what = format!("parameter `{name}` has neither a type nor a default");
            return Err(Refusal::invalid("pipeline/param", what).hint("type = \"text\", \"integer\", \"number\", \"boolean\" or \"list\""));
        }
        if rule.min.zip(rule.max).is_some_and(|(min, max)| min > max) {
            return Err(Refusal::invalid("pipeline/param", format!("parameter `{name}`: `min` is greater than `max`")));
        }
        rule.default.as_ref().map_or(Ok(()), |default| self.accept(name, default).map(|_| ()))
    }

    /// A given value, if it fits. An integer is a number too; a text that spells a value of the type is that value, so that
    /// `--param year=2026` can be a text and `--param rate=1` a number.
    pub fn accept(&self, name: &str, given: &ParamValue) -> Result<ParamValue, Refusal> {
        let value = self.convert(given).ok_or_else(|| {
            let wanted = self.kind().map_or("something else", ParamType::name);
            Refusal::invalid("pipeline/param", format!("parameter `{name}` is {wanted}, not {}", given.type_name()))
                .at(format!("params.{name}"))
        })?;
        let ParamSpec::Rule(rule) = self else { return Ok(value) };
        for one in value.values() {
            let number = one.as_f64();
            let bad =
                |what: String| Refusal::invalid("pipeline/param", format!("parameter `{name}`: {one} {what}")).at(format!("params.{name}"));
            if let Some(min) = rule.min.filter(|min| number.is_none_or(|number| number < *min)) {
                return Err(bad(format!("is less than {min}")));
            }
            if let Some(max) = rule.max.filter(|max| number.is_none_or(|number| number > *max)) {
                return Err(bad(format!("is more than {max}")));
            }
            if !rule.choices.is_empty() && !rule.choices.contains(one) {
                let choices: Vec<String> = rule.choices.iter().map(ToString::to_string).collect();
                return Err(bad("is none of its choices".into()).hint(choices.join(", ")));
            }
        }
        Ok(value)
    }

    fn convert(&self, given: &ParamValue) -> Option<ParamValue> {
        use ParamValue::{List, One};
        let Some(kind) = self.kind() else { return Some(given.clone()) };
        Some(match (kind, given) {
            (ParamType::List, List(_)) => given.clone(),
            (ParamType::List, One(value)) => List(vec![value.clone()]),
            (_, List(_)) => return None,
            (ParamType::Number, One(Scalar::Int(_) | Scalar::Float(_))) => given.clone(),
            // A default of 100 says "a number"; who gives 0.5 means it.
            (ParamType::Integer, One(Scalar::Float(_))) if matches!(self, ParamSpec::Default(_)) => given.clone(),
            (ParamType::Text, One(value @ (Scalar::Int(_) | Scalar::Float(_) | Scalar::Bool(_)))) => One(Scalar::Text(value.to_string())),
            (_, One(Scalar::Text(text))) if kind != ParamType::Text => One(match kind {
                ParamType::Integer => Scalar::Int(text.parse().ok()?),
                ParamType::Number => Scalar::Float(text.parse().ok()?),
                ParamType::Boolean => Scalar::Bool(text.parse().ok()?),
                ParamType::Text | ParamType::List => return None,
            }),
            _ if ParamType::of(given) == Some(kind) => given.clone(),
            _ => return None,
        })
    }
}

/// By hand, so that an unknown key of a rule is named instead of "no variant fits".
impl<'de> Deserialize<'de> for ParamSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = ParamSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a default value, a list, or { type = .., default = .. }")
            }
            fn visit_unit<E: de::Error>(self) -> Result<ParamSpec, E> {
                Ok(ParamSpec::Default(Scalar::Null.into()))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<ParamSpec, E> {
                Ok(ParamSpec::Default(Scalar::Bool(value).into()))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<ParamSpec, E> {
                Ok(ParamSpec::Default(Scalar::Int(value).into()))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ParamSpec, E> {
                let value = i64::try_from(value).map_err(|_| E::custom("the number is too large"))?;
                Ok(ParamSpec::Default(Scalar::Int(value).into()))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<ParamSpec, E> {
                Ok(ParamSpec::Default(Scalar::Float(value).into()))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<ParamSpec, E> {
                Ok(ParamSpec::Default(Scalar::Text(value.into()).into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<ParamSpec, A::Error> {
                Ok(ParamSpec::Default(ParamValue::List(Vec::deserialize(SeqAccessDeserializer::new(values))?)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ParamSpec, A::Error> {
                Ok(ParamSpec::Rule(ParamRule::deserialize(MapAccessDeserializer::new(map))?))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec(text: &str) -> ParamSpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_given_fits_or_is_refused() {
        let cases = [
            ("100", "50", Some("50")),
            ("100", "0.5", Some("0.5")),
            ("100", "\"7\"", Some("7")),
            ("100", "\"x\"", None),
            ("0.1", "1", Some("1")),
            ("\"2025\"", "2026", Some("2026")),
            ("true", "\"false\"", Some("false")),
            ("true", "1", None),
            ("[\"eu\"]", "\"us\"", Some("[\"us\"]")),
            ("[\"eu\"]", "[\"us\", \"eu\"]", Some("[\"us\",\"eu\"]")),
            (r#"{"type": "integer"}"#, "0.5", None),
            (r#"{"type": "number", "min": 0, "max": 1}"#, "1", Some("1")),
            (r#"{"type": "number", "min": 0, "max": 1}"#, "1.5", None),
            (r#"{"type": "number", "min": 0}"#, r#"{"number": "NaN"}"#, Some("NaN")),
            (r#"{"default": "a", "choices": ["a", "b"]}"#, "\"b\"", Some("b")),
            (r#"{"default": "a", "choices": ["a", "b"]}"#, "\"c\"", None),
            (r#"{"type": "list", "choices": ["a", "b"]}"#, "[\"a\", \"c\"]", None),
        ];
        for (declared, given, wanted) in cases {
            let given: ParamValue = serde_json::from_str(given).unwrap();
            let found = spec(declared).accept("p", &given).ok().map(|value| value.to_string());
            assert_eq!(found.as_deref(), wanted, "{declared} given {given}");
        }
    }

    #[test]
    fn a_declaration_is_checked_and_survives_json() {
        for good in ["1", "\"a\"", "[1,2]", r#"{"type":"number","default":0.1,"min":0.0}"#] {
            assert!(spec(good).check("p").is_ok());
            assert_eq!(serde_json::to_string(&spec(good)).unwrap(), good);
        }
        for bad in [r#"{}"#, r#"{"type": "integer", "default": "x"}"#, r#"{"type": "number", "min": 2, "max": 1}"#] {
            assert!(spec(bad).check("p").is_err(), "{bad}");
        }
        let unknown = serde_json::from_str::<ParamSpec>(r#"{"typ": "text"}"#).unwrap_err().to_string();
        assert!(unknown.contains("unknown field `typ`"), "{unknown}");
    }
}
