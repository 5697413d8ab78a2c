//! When a cron expression fires, in a time zone: pure functions of the expression, the last firing and now.
//!
//! Five fields (minute, hour, day of the month, month, day of the week), names of months and days, `L` and `#`, as croner reads them.
//! Where the clocks go forward, a fixed time that does not exist fires at the first instant after the gap; where they go back, a fixed time
//! fires once, at the first of its two instants, while `*/15` and `*` go on with the time that passes.

use croner::parser::{CronParser, Seconds};
use croner::{Cron, Direction};
use domain::{Refusal, Span, Timestamp};
use zones::Zoned;
use zones::tz::TimeZone;

/// How late a firing may be where nothing else is said: what a busy machine needs.
pub const GRACE: Span = Span::from_ms(60_000);

/// Firings that are counted when some were missed.
const COUNTED: u64 = 1000;

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

/// What a schedule asks for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// The newest firing is to be made; `missed` earlier ones are not (at most 1000 are counted).
    Fire {
        at: Timestamp,
        missed: u64,
    },
    /// The newest firing is too long ago; it and those before it are not made.
    TooLate {
        at: Timestamp,
        missed: u64,
    },
}

impl Schedule {
    /// Reads an expression and the IANA name of a zone.
    pub fn parse(expression: &str, zone: &str) -> Result<Schedule, Refusal> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| {
            Refusal::invalid("pipeline/cron", format!("`{expression}` is not a cron expression: {error}"))
                .hint("minute, hour, day of the month, month, day of the week: `0 3 * * *` is every night at three")
        })?;
        let zone = TimeZone::get(zone).map_err(|_| {
            Refusal::invalid("pipeline/tz", format!("there is no time zone `{zone}`")).hint("an IANA name, such as Europe/Berlin or UTC")
        })?;
        Ok(Schedule { cron, zone })
    }

    /// The first firing after an instant; none if the expression never fires again (30 February).
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.step(after, Direction::Forward, false)
    }

    /// The next firings after an instant, at most `count`.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next(after), |at| self.next(*at)).take(count).collect()
    }

    /// The last firing at or before an instant.
    fn last(&self, until: Timestamp) -> Option<Timestamp> {
        self.step(until, Direction::Backward, true)
    }

    fn step(&self, from: Timestamp, direction: Direction, inclusive: bool) -> Option<Timestamp> {
        let zoned = zones::Timestamp::from_millisecond(from.ms()).ok()?.to_zoned(self.zone.clone());
        let found: Zoned = match direction {
            Direction::Forward => self.cron.find_next_occurrence(&zoned, inclusive).ok()?,
            Direction::Backward => self.cron.find_previous_occurrence(&zoned, inclusive).ok()?,
        };
        Some(Timestamp::from_ms(found.timestamp().as_millisecond()))
    }
}

/// Decides what a schedule asks for. `last`: firings up to there are decided on. `catchup`: how late a firing may be.
pub fn due(schedule: &Schedule, last: Timestamp, now: Timestamp, catchup: Span) -> Due {
    let Some(at) = schedule.last(now).filter(|at| *at > last) else { return Due::Nothing };
    let mut missed = 0;
    let mut before = schedule.next(last);
    while let Some(one) = before.filter(|one| *one < at && missed < COUNTED) {
        missed += 1;
        before = schedule.next(one);
    }
    if now - at <= catchup.max(GRACE) { Due::Fire { at, missed } } else { Due::TooLate { at, missed: missed + 1 } }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn firings_in_their_zone() {
        // The instants are those that Python's zoneinfo gives for the civil times of the comments.
        let cases: [(&str, &str, &str, &[&str]); 9] = [
            ("0 3 * * *", "UTC", "2026-11-26T03:00:00Z", &["2026-11-27T03:00:00Z", "2026-11-28T03:00:00Z"]),
            // Clocks go forward on 29 March: 02:30 does not exist, 03:00 is the first instant after the gap.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-03-28T00:00:00Z",
                &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
            ),
            // Clocks go back on 25 October: 02:30 is there twice, and fires once.
            ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
            // Every half hour goes on with the time that passes, in both nights.
            (
                "*/30 * * * *",
                "Europe/Berlin",
                "2026-03-29T00:45:00Z",
                &["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:00:00Z"],
            ),
            (
                "*/30 * * * *",
                "Europe/Berlin",
                "2026-10-25T00:15:00Z",
                &["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"],
            ),
            ("0 0 29 2 *", "UTC", "2025-01-01", &["2028-02-29", "2032-02-29"]),
            ("0 9 * * MON-FRI", "America/New_York", "2026-11-27T15:00:00Z", &["2026-11-30T14:00:00Z", "2026-12-01T14:00:00Z"]),
            ("15 4 L * *", "Asia/Kolkata", "2026-02-01", &["2026-02-27T22:45:00Z", "2026-03-30T22:45:00Z"]),
            ("0 0 1 1 *", "Pacific/Apia", "2026-06-01", &["2026-12-31T11:00:00Z"]),
        ];
        for (expression, zone, after, expected) in cases {
            let schedule = Schedule::parse(expression, zone).unwrap();
            let expected: Vec<Timestamp> = expected.iter().map(|text| at(text)).collect();
            assert_eq!(schedule.upcoming(at(after), expected.len()), expected, "{expression} in {zone}");
        }
        assert!(Schedule::parse("0 0 30 2 *", "UTC").unwrap().next(at("2026-01-01")).is_none());
    }

    #[test]
    fn a_firing_is_made_once_and_late_ones_as_far_as_is_said() {
        let nightly = Schedule::parse("0 3 * * *", "UTC").unwrap();
        let (last, minute, day) = (at("2026-11-20T03:00:00Z"), Span::from_ms(60_000), Span::days(1));
        let due = |now: &str, catchup| due(&nightly, last, at(now), catchup);
        let night = at("2026-11-21T03:00:00Z");
        assert_eq!(due("2026-11-20T03:00:00Z", minute), Due::Nothing);
        assert_eq!(due("2026-11-21T02:59:59Z", minute), Due::Nothing);
        assert_eq!(due("2026-11-21T03:00:00Z", minute), Due::Fire { at: night, missed: 0 });
        assert_eq!(due("2026-11-21T03:00:59Z", Span::from_ms(0)), Due::Fire { at: night, missed: 0 }, "a busy machine");
        assert_eq!(due("2026-11-21T09:00:00Z", minute), Due::TooLate { at: night, missed: 1 });
        assert_eq!(due("2026-11-21T09:00:00Z", day), Due::Fire { at: night, missed: 0 });
        assert_eq!(due("2026-11-24T09:00:00Z", day), Due::Fire { at: at("2026-11-24T03:00:00Z"), missed: 3 });
        let minutely = Schedule::parse("* * * * *", "UTC").unwrap();
        assert_eq!(super::due(&minutely, last, at("2027-11-20"), day), Due::Fire { at: at("2027-11-20"), missed: COUNTED });
    }

    #[test]
    fn mistakes_have_their_next_step() {
        for (expression, zone, code) in [
            ("0 3 * *", "UTC", "pipeline/cron"),
            ("61 * * * *", "UTC", "pipeline/cron"),
            ("", "UTC", "pipeline/cron"),
            ("* * * * * *", "UTC", "pipeline/cron"),
            ("0 3 * * *", "Mars/Olympus", "pipeline/tz"),
        ] {
            let refusal = Schedule::parse(expression, zone).unwrap_err();
            assert!(refusal.code == code && refusal.hint.is_some(), "{refusal:?}");
        }
    }
}
