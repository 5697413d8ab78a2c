//! The calendar of windows: half-open, in event time, from an origin on.

use domain::entity::{Monitor, WindowKind};
use domain::spec::MonitorSpec;
use domain::{Range, Span, Timestamp};

/// Windows of one length that lie end to end from `origin` on; before it there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub origin: Timestamp,
    pub size: Span,
}

impl Calendar {
    /// The calendar of a monitor.
    pub fn of(spec: &MonitorSpec) -> Self {
        Calendar { origin: spec.origin, size: spec.window }
    }

    /// How far silence alone closes windows: the one with the newest row, and one empty one after it. More of them would say
    /// nothing new, and a home that is opened again after years would close hundreds.
    pub fn silence(self, monitors: &[Monitor]) -> Timestamp {
        let newest = monitors.iter().filter_map(|monitor| monitor.newest.or(Some(monitor.from))).max();
        newest.map_or(Timestamp::MIN, |newest| newest.floor(self.origin, self.size) + self.size + self.size)
    }

    /// The windows that a watermark closes for a monitor, oldest first, and whether its version served the whole of each:
    /// those that overlap its time as champion, end at or before the watermark, and did not close before.
    pub fn closed_by(self, monitor: &Monitor, kind: WindowKind, watermark: Timestamp) -> Vec<(Range, bool)> {
        let from = monitor.from.max(self.origin);
        let first = from.floor(self.origin, self.size);
        let mut start = closed_to(monitor, kind).map_or(first, |closed| closed.max(first));
        let mut closed = Vec::new();
        while start + self.size <= watermark && monitor.to.is_none_or(|to| start < to && from < to) {
            let range = Range::new(start, start + self.size);
            let whole = monitor.from <= range.from && monitor.to.is_none_or(|to| range.to <= to);
            closed.push((range, whole));
            start = range.to;
        }
        closed
    }
}

/// End of the newest window of a kind that closed.
pub fn closed_to(monitor: &Monitor, kind: WindowKind) -> Option<Timestamp> {
    match kind {
        WindowKind::Input => monitor.input_closed_to,
        WindowKind::Performance => monitor.performance_closed_to,
    }
}

/// Remembers that all windows of a kind up to `to` closed.
pub(crate) fn set_closed_to(monitor: &mut Monitor, kind: WindowKind, to: Timestamp) {
    match kind {
        WindowKind::Input => monitor.input_closed_to = Some(to),
        WindowKind::Performance => monitor.performance_closed_to = Some(to),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::{ModelName, VersionNumber};

    fn day(n: i64) -> Timestamp {
        Timestamp::parse("2011-03-01").unwrap() + Span::days(n)
    }

    /// Days of the windows, and whether they are whole.
    fn closed(from: i64, to: Option<i64>, closed_to: Option<i64>, watermark: Timestamp) -> Vec<(i64, i64, bool)> {
        let monitor = Monitor {
            model: ModelName::new("demand"),
            version: VersionNumber(1),
            reference: None,
            reference_what: String::new(),
            from: day(from),
            to: to.map(day),
            input_closed_to: closed_to.map(day),
            performance_closed_to: None,
            newest: None,
            bad: Vec::new(),
        };
        let calendar = Calendar { origin: day(0), size: Span::days(7) };
        let days = |at: Timestamp| (at - day(0)).ms() / 86_400_000;
        let windows = calendar.closed_by(&monitor, WindowKind::Input, watermark);
        windows.into_iter().map(|(range, whole)| (days(range.from), days(range.to), whole)).collect()
    }

    #[test]
    fn a_watermark_closes_what_ends_at_or_before_it() {
        let last = day(7) - Span::from_ms(1);
        let cases = [
            ("not yet", closed(0, None, None, last), vec![]),
            ("on the dot", closed(0, None, None, day(7)), vec![(0, 7, true)]),
            ("served from before the calendar", closed(-20, None, None, day(7)), vec![(0, 7, true)]),
            ("served from within", closed(3, None, None, day(14)), vec![(0, 7, false), (7, 14, true)]),
            ("replaced within", closed(0, Some(10), None, day(21)), vec![(0, 7, true), (7, 14, false)]),
            ("replaced at an edge", closed(0, Some(7), None, day(21)), vec![(0, 7, true)]),
            ("replaced at once", closed(3, Some(3), None, day(21)), vec![]),
            ("catches up in order", closed(0, None, Some(7), day(29)), vec![(7, 14, true), (14, 21, true), (21, 28, true)]),
            ("champion again, later", closed(20, None, Some(7), day(28)), vec![(14, 21, false), (21, 28, true)]),
            ("closed before", closed(0, None, Some(14), day(14)), vec![]),
        ];
        for (what, found, expected) in cases {
            assert_eq!(found, expected, "{what}");
        }
    }
}
