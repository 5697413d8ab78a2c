//! Instants and spans. All time rules live here: UTC, milliseconds, half-open ranges.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, Sub};

/// An instant in UTC, in milliseconds since 1970. Written as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before every instant that data can have.
    pub const MIN: Timestamp = Timestamp(i64::MIN / 2_000_000);
    /// After every instant that data can have.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_000);

    /// From milliseconds since 1970-01-01T00:00Z.
    pub fn from_ms(ms: i64) -> Self {
        Timestamp(ms)
    }

    /// Milliseconds since 1970-01-01T00:00Z.
    pub fn ms(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 (`2011-03-01T00:00:00Z`, any offset), a date (`2011-03-01`), or a civil time, taken as UTC.
    ///
    /// ```
    /// use domain::Timestamp;
    /// let midnight = Timestamp::parse("2011-03-01").unwrap();
    /// assert_eq!(midnight, Timestamp::parse("2011-03-01T01:00:00+01:00").unwrap());
    /// assert_eq!(midnight.to_string(), "2011-03-01T00:00:00Z");
    /// assert!(Timestamp::parse("yesterday").is_none());
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Some(Timestamp(instant.as_millisecond()));
        }
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        let utc = jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?;
        Some(Timestamp(utc.as_millisecond()))
    }

    /// The start of the window of length `size` that holds this instant, counted from `origin`.
    pub fn floor(self, origin: Timestamp, size: Span) -> Timestamp {
        let offset = (self.0 - origin.0).rem_euclid(size.ms().max(1));
        Timestamp(self.0 - offset)
    }

    /// The calendar day in UTC as days since 1970, for grouping rows by day.
    pub fn day(self) -> i64 {
        self.0.div_euclid(86_400_000)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(ms) = text.strip_suffix("ms").and_then(|n| n.parse().ok()) {
            return Ok(Timestamp(ms));
        }
        Timestamp::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a time; write it as 2011-03-01T00:00:00Z")))
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.ms()))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.ms()))
    }
}

impl Sub<Timestamp> for Timestamp {
    type Output = Span;
    fn sub(self, earlier: Timestamp) -> Span {
        Span::from_ms(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time in milliseconds, written as in the project file: `10s`, `15m`, `2h`, `7d`, `1w`, `250ms`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

const UNITS: [(&str, i64); 6] = [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// From milliseconds.
    pub const fn from_ms(ms: i64) -> Self {
        Span(ms)
    }

    /// From days of 24 hours.
    pub const fn days(days: i64) -> Self {
        Span(days * 86_400_000)
    }

    /// Length in milliseconds.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// As a standard duration; a negative span is zero.
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }

    /// Parses `7d`, `2h`, `1h30m`.
    ///
    /// ```
    /// use domain::Span;
    /// assert_eq!(Span::parse("1h30m"), Some(Span::from_ms(5_400_000)));
    /// assert_eq!(Span::parse("7"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let mut total = 0i64;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let count: i64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit = UNITS.iter().find(|(name, _)| *name == rest[..unit_end].trim())?;
            total = total.checked_add(count.checked_mul(unit.1)?)?;
            rest = &rest[unit_end..];
        }
        Some(Span(total))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest <= 0 {
            return write!(f, "{rest}ms");
        }
        for (name, size) in UNITS.iter().filter(|(name, _)| *name != "w") {
            if rest / size > 0 {
                write!(f, "{}{name}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(ms) = text.strip_suffix("ms").and_then(|n| n.parse().ok()) {
            return Ok(Span(ms));
        }
        Span::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a length of time; write 10s, 15m, 2h or 7d")))
    }
}

/// A half-open range of time, `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Range {
    /// The range `[from, to)`.
    pub fn new(from: Timestamp, to: Timestamp) -> Self {
        Range { from, to }
    }

    /// Whether the instant lies in the range: the start does, the end does not.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn windows_lie_on_the_calendar_from_their_origin() {
        let origin = Timestamp::parse("2011-03-01").unwrap();
        let week = Span::days(7);
        for (at, start) in [("2011-03-01", "2011-03-01"), ("2011-03-07T23:59:59Z", "2011-03-01"), ("2011-02-28", "2011-02-22")] {
            let at = Timestamp::parse(at).unwrap();
            assert_eq!(at.floor(origin, week), Timestamp::parse(start).unwrap());
        }
    }

    #[test]
    fn spans_and_times_survive_a_round_trip() {
        for text in ["7d", "10s", "1h30m", "250ms"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        for at in [Timestamp::MIN, Timestamp::MAX, Timestamp::from_ms(0), Timestamp::from_ms(1_299_000_000_123)] {
            let json = serde_json::to_string(&at).unwrap();
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at, "{json}");
        }
    }
}
