//! The words of checks: calls, arguments, numbers with units, what was meant.

use domain::Refusal;

/// `NAME(INSIDE)` as name and inside.
pub(super) fn call(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.trim().split_once('(')?;
    Some((name.trim(), rest.strip_suffix(')')?))
}

/// The first argument, and those with a name.
pub(super) fn arguments(inside: &str) -> (&str, Vec<(&str, &str)>) {
    let mut first = "";
    let mut named = Vec::new();
    for (at, part) in inside.split(',').map(str::trim).enumerate() {
        match part.split_once('=') {
            Some((name, value)) => named.push((name.trim(), value.trim())),
            None if at == 0 => first = part,
            None => named.push((part, "")),
        }
    }
    (first, named)
}

/// A finite number.
pub(super) fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

/// A number with one of these units, as a multiple of the first.
pub(super) fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    // The longest unit first: `ms` ends in `s` too.
    let mut found: Vec<_> = units.iter().filter(|(unit, _)| text.ends_with(unit)).collect();
    found.sort_by_key(|(unit, _)| std::cmp::Reverse(unit.len()));
    let (unit, factor) = found.first()?;
    Some(number(text.strip_suffix(unit)?)? * factor)
}

/// A share: `0.05` or `5%`.
pub(super) fn share(text: &str) -> Option<f64> {
    match text.trim().strip_suffix('%') {
        Some(percent) => Some(number(percent)? / 100.0),
        None => number(text),
    }
}

/// Adds what was meant, or what there is.
pub(super) fn nearest(refusal: Refusal, wrong: &str, known: &[&str]) -> Refusal {
    refusal.hint(meant(wrong, known))
}

/// `did you mean`, or the list.
pub(super) fn meant(wrong: &str, known: &[&str]) -> String {
    let found = known.iter().map(|name| (strsim::damerau_levenshtein(wrong, name), name)).min();
    match found {
        Some((distance, name)) if distance <= 2.max(wrong.len() / 3) => format!("did you mean `{name}`?"),
        _ => format!("known here: {}", known.join(", ")),
    }
}
