//! How figures, times and lengths are written.

use domain::{Range, Span, Timestamp};

/// Shown where there is no value.
pub(crate) const NONE: &str = "–";

/// A figure for people: four digits or so, thousands apart.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if value.is_nan() => "NaN".into(),
        _ if value.is_infinite() => if value > 0.0 { "∞" } else { "−∞" }.into(),
        _ if size >= 1e15 || (size > 0.0 && size < 1e-4) => format!("{value:.3e}"),
        _ if size >= 1000.0 => {
            let sign = if value < 0.0 { "−" } else { "" };
            format!("{sign}{}", count(size.round() as u64))
        }
        _ => {
            let decimals = if size >= 100.0 {
                1
            } else if size >= 1.0 || size == 0.0 {
                2
            } else {
                4
            };
            let text = format!("{size:.decimals$}");
            let short = text.trim_end_matches('0').trim_end_matches('.');
            format!("{}{short}", if value < 0.0 { "−" } else { "" })
        }
    }
}

/// A figure, if there is one.
pub(crate) fn maybe(value: Option<f64>) -> String {
    value.map_or(NONE.into(), figure)
}

/// `31,204`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `3 runs`, `1 run`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `2011-04-12`, `2011-04-12 06:00`, or with seconds where it has any. UTC.
pub(crate) fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let Some((date, clock)) = text.trim_end_matches('Z').split_once('T') else { return text };
    let clock = clock.split('.').next().unwrap_or(clock);
    match clock.strip_suffix(":00") {
        Some("00:00") => date.into(),
        Some(minutes) => format!("{date} {minutes}"),
        None => format!("{date} {clock}"),
    }
}

/// `2011-03-01 to 2011-03-08`.
pub(crate) fn range(range: Range) -> String {
    format!("{} to {}", time(range.from), time(range.to))
}

/// The two greatest units: `3d 4h`, `1m 20s`, `0.4s`, `34ms`.
pub(crate) fn span(span: Span) -> String {
    let ms = span.ms();
    if (1..100).contains(&ms) {
        return format!("{ms}ms");
    }
    if ms < 10_000 {
        return format!("{:.1}s", ms as f64 / 1000.0);
    }
    let mut rest = ms / 1000;
    let mut parts = Vec::new();
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if rest >= size {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

/// From one instant to another, if both are known.
pub(crate) fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<String> {
    Some(span(to? - from?))
}

/// `12.4 MB`.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn figures_are_short_and_honest() {
        let cases = [
            (22.412_3, "22.41"),
            (0.5, "0.5"),
            (0.012_34, "0.0123"),
            (0.0, "0"),
            (-3.25, "−3.25"),
            (1234.5, "1,235"),
            (-1234.0, "−1,234"),
            (99.0, "99"),
            (100.0, "100"),
            (1e-7, "1.000e-7"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "−∞"),
        ];
        for (value, text) in cases {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn times_and_lengths_say_no_more_than_they_know() {
        let at = |text| Timestamp::parse(text).unwrap();
        assert_eq!(time(at("2011-04-12")), "2011-04-12");
        assert_eq!(time(at("2011-04-12T06:00:00Z")), "2011-04-12 06:00");
        assert_eq!(time(at("2011-04-12T06:00:07.250Z")), "2011-04-12 06:00:07");
        assert_eq!(span(Span::from_ms(93_784_000)), "1d 2h");
        assert_eq!(span(Span::from_ms(420)), "0.4s");
        assert_eq!(span(Span::from_ms(34)), "34ms");
        assert_eq!((counted(1, "run"), counted(1200, "run")), ("1 run".into(), "1,200 runs".into()));
    }
}
