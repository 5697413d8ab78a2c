//! The loop, told by data: `scenarios/NAME.toml` is played through the real wiring, and the log must be `scenarios/NAME.log`;
//! `UPDATE=1` rewrites it. Each scenario is also killed at every write to the metadata store, and must tell the same.
#![allow(clippy::unwrap_used)]

mod house;
mod log;
mod model;
mod play;

use house::House;
use play::Scenario;
use ports::memory::Halt;
use std::iter::{empty, once, repeat};

/// Plays it once without a death and compares it with what is expected.
fn check(name: &str, house: fn(&Scenario) -> House) {
    let scenario = Scenario::read(name);
    let told = house(&scenario).play(empty());
    let page = log::page(&log::lines(&told.log));
    let path = play::folder().join(format!("{name}.log"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    same(&page.lines().collect::<Vec<_>>(), &expected.lines().collect::<Vec<_>>(), &format!("{name}.log; UPDATE=1 rewrites it"));
    for (event, count) in &scenario.expect {
        assert_eq!(told.log.iter().filter(|recorded| recorded.event.name() == event).count(), *count, "{name}: {event}");
    }
}

/// Fails with the first line that differs.
fn same<T: AsRef<str>>(found: &[T], expected: &[T], what: &str) {
    let (found, expected): (Vec<&str>, Vec<&str>) =
        (found.iter().map(AsRef::as_ref).collect(), expected.iter().map(AsRef::as_ref).collect());
    if let Some(at) = (0..found.len().max(expected.len())).find(|at| found.get(*at) != expected.get(*at)) {
        let near = |lines: &[&str]| lines[at.saturating_sub(3).min(lines.len())..(at + 4).min(lines.len())].join("\n  ");
        panic!("{what}: line {}\nfound:\n  {}\nexpected:\n  {}", at + 1, near(&found), near(&expected));
    }
}

/// Kills it and lets it go on: at write `first`, then every `EVERY` writes; the whole log must come out the same.
fn kill(name: &str, house: fn(&Scenario) -> House, side: Halt, firsts: impl IntoIterator<Item = u64>) {
    let scenario = Scenario::read(name);
    let whole = house(&scenario).play(empty());
    let expected = log::lines(&whole.log);
    for first in firsts {
        let deaths = once(first).chain(repeat(EVERY)).map(|n| (n, side));
        let told = house(&scenario).play(deaths);
        assert!(told.lives > (whole.writes / EVERY) as usize, "{} lives of {} writes", told.lives, whole.writes);
        same(&log::lines(&told.log), &expected, &format!("{name} killed {side:?} write {first} and every {EVERY} from there"));
    }
}

/// Writes of a life. With first lives of every length up to this, the deaths of all tellings together lie at every write, but
/// for what a life does again of the one before.
const EVERY: u64 = 23;

macro_rules! scenarios {
    ($($name:ident)*) => {$(
        mod $name {
            use super::*;

            const NAME: &str = stringify!($name);

            #[test]
            fn is_told_as_expected() {
                check(NAME, House::in_memory);
            }

            #[test]
            fn is_told_as_expected_on_disk() {
                check(NAME, House::on_disk);
            }

            #[test]
            fn is_the_same_when_any_write_is_lost() {
                kill(NAME, House::in_memory, Halt::Before, 1..=EVERY);
            }

            #[test]
            fn is_the_same_when_any_write_is_never_heard_of() {
                kill(NAME, House::in_memory, Halt::After, 1..=EVERY);
            }

            #[test]
            fn is_the_same_when_it_is_killed_on_disk() {
                kill(NAME, House::on_disk, Halt::Before, [7]);
                kill(NAME, House::on_disk, Halt::After, [19]);
            }
        }
    )*};
}

scenarios! { nothing_is_wrong drift_heals beyond_repair canary_rises }

/// A single death a telling, at each write in turn: nothing that a second death mends is missed.
fn kill_once(name: &str) {
    let scenario = Scenario::read(name);
    let whole = House::in_memory(&scenario).play(empty());
    let expected = log::lines(&whole.log);
    for n in 1..=whole.writes {
        let side = if n % 2 == 0 { Halt::Before } else { Halt::After };
        let told = House::in_memory(&scenario).play(once((n, side)));
        same(&log::lines(&told.log), &expected, &format!("{name} killed {side:?} write {n} of {}", whole.writes));
    }
}

#[test]
fn one_death_at_each_write_alone() {
    kill_once("nothing_is_wrong");
}

#[test]
fn one_death_at_each_write_of_drift_heals() {
    kill_once("drift_heals");
}

#[test]
fn one_death_at_each_write_of_canary_rises() {
    kill_once("canary_rises");
}

#[test]
fn one_death_at_each_write_of_beyond_repair() {
    kill_once("beyond_repair");
}
