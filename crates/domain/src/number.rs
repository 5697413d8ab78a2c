//! Numbers that sort.

/// A number with a total order, as an integer: NaN above +∞, negative zero as zero, every other value exact.
///
/// Metric points are keyed and ordered by it, so that a store needs no opinion of its own about NaN.
///
/// ```
/// use domain::OrderedNumber;
/// let mut values = [f64::NAN, 1.0, f64::INFINITY, -2.5].map(OrderedNumber::new);
/// values.sort();
/// assert_eq!(values.map(OrderedNumber::get)[..3], [-2.5, 1.0, f64::INFINITY]);
/// assert!(values[3].get().is_nan());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderedNumber(i64);

impl OrderedNumber {
    /// From a number.
    pub fn new(value: f64) -> Self {
        let canonical = if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
        OrderedNumber(flip(canonical.to_bits() as i64))
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(flip(self.0) as u64)
    }

    /// The integer that a store keeps.
    pub fn bits(self) -> i64 {
        self.0
    }

    /// From the integer that a store kept.
    pub fn from_bits(bits: i64) -> Self {
        OrderedNumber(bits)
    }
}

/// Turns the order of negative floats around; its own inverse.
fn flip(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// How a number is written where NaN and infinities must survive: JSON has no word for them, so they are text.
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Point {
///     #[serde(with = "domain::any_number")]
///     value: f64,
/// }
/// let text = serde_json::to_string(&Point { value: f64::NEG_INFINITY }).unwrap();
/// assert_eq!(text, r#"{"value":"-Infinity"}"#);
/// assert_eq!(serde_json::from_str::<Point>(&text).unwrap().value, f64::NEG_INFINITY);
/// ```
pub mod any_number {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    /// A number, or `"NaN"`, `"Infinity"`, `"-Infinity"`.
    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value if value.is_infinite() && *value > 0.0 => serializer.serialize_str("Infinity"),
            value if value.is_infinite() => serializer.serialize_str("-Infinity"),
            value => serializer.serialize_f64(*value),
        }
    }

    /// A number, or one as text. `null` is what serde makes of NaN, and is read as it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        deserializer.deserialize_any(AnyNumber)
    }

    struct AnyNumber;

    impl Visitor<'_> for AnyNumber {
        type Value = f64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
            Ok(value)
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_unit<E: Error>(self) -> Result<f64, E> {
            Ok(f64::NAN)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
            text.parse().map_err(|_| E::custom(format!("`{text}` is not a number")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_value_survive() {
        let sorted = [f64::NEG_INFINITY, -1e300, -1.0, -f64::MIN_POSITIVE, 0.0, 5e-324, 0.1, 1.0, 1e308, f64::INFINITY];
        for pair in sorted.windows(2) {
            assert!(OrderedNumber::new(pair[0]) < OrderedNumber::new(pair[1]), "{pair:?}");
        }
        for value in sorted {
            assert_eq!(OrderedNumber::new(value).get(), value);
        }
        assert_eq!(OrderedNumber::new(-0.0), OrderedNumber::new(0.0));
        assert_eq!(OrderedNumber::new(-f64::NAN), OrderedNumber::new(f64::NAN));
        assert!(OrderedNumber::new(f64::NAN) > OrderedNumber::new(f64::INFINITY));
    }
}
