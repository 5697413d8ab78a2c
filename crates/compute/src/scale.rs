//! How many workers a model needs: the rule of Knative's pod autoscaler, on the clock of whoever asks.
//!
//! `wanted = ceil(average requests under way / (target * 0.7))`, over a stable window of 60 s. When the average of a tenth of that window wants
//! twice what is there, it panics: the short window decides, and nothing is taken away until a whole stable window without panic has passed.
//! A step takes away at most half. The last worker goes when the stable window was empty and then `idle` has passed; never below `min`.
//! <https://knative.dev/docs/serving/autoscaling/>

use domain::{Span, Timestamp};
use std::collections::VecDeque;

/// The window that decides in quiet times.
pub const STABLE: Span = Span::from_ms(60_000);
/// The window that decides when requests come in a rush.
pub const PANIC: Span = Span::from_ms(6_000);
/// Part of its target that a worker is planned for.
const UTILIZATION: f64 = 0.7;
/// So many times what is there makes a panic.
const RUSH: f64 = 2.0;

/// What a model's file says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub min: u32,
    pub max: u32,
    /// Requests at a time that a worker is meant for.
    pub target: f64,
    /// How long the last worker stays after an empty stable window.
    pub idle: Span,
}

/// The rule's memory.
#[derive(Clone, Debug)]
pub struct Scaler {
    scale: Scale,
    /// When, and how many requests were under way.
    samples: VecDeque<(Timestamp, f64)>,
    panic: Option<Panic>,
    /// Since when there has been nothing to do at all.
    empty_since: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Panic {
    /// The last time that it was called for.
    last: Timestamp,
    most: u32,
}

impl Scaler {
    /// Remembers nothing yet.
    pub fn new(scale: Scale) -> Self {
        Scaler { scale, samples: VecDeque::new(), panic: None, empty_since: None }
    }

    /// Takes in how many requests are under way or wait, and says how many workers there should be. `ready`: those that there are. To be asked
    /// about every second.
    pub fn wanted(&mut self, now: Timestamp, under_way: u32, ready: u32) -> u32 {
        self.samples.push_back((now, f64::from(under_way)));
        while self.samples.front().is_some_and(|(at, _)| now - *at >= STABLE) {
            self.samples.pop_front();
        }
        let for_average = |average: f64| (average / (self.scale.target * UTILIZATION) - 1e-9).ceil() as u32;
        let (stable, rush) = (for_average(self.average(now, STABLE)), for_average(self.average(now, PANIC)));
        if f64::from(rush) >= RUSH * f64::from(ready.max(1)) {
            let most = self.panic.map_or(0, |panic| panic.most).max(rush).max(ready);
            self.panic = Some(Panic { last: now, most });
        } else if self.panic.is_some_and(|panic| now - panic.last >= STABLE) {
            self.panic = None;
        }
        let wanted = match &mut self.panic {
            Some(panic) => {
                panic.most = panic.most.max(rush);
                panic.most
            }
            None => stable.max(ready / 2),
        };
        self.floor(now, under_way, wanted, stable).clamp(self.scale.min, self.scale.max.max(1))
    }

    /// The last worker stays until nothing has come for a stable window and `idle`; somebody who waits needs one.
    fn floor(&mut self, now: Timestamp, under_way: u32, wanted: u32, stable: u32) -> u32 {
        if under_way > 0 || stable > 0 {
            self.empty_since = None;
            return wanted.max(1);
        }
        let since = *self.empty_since.get_or_insert(now);
        if now - since >= self.scale.idle { 0 } else { wanted.max(1) }
    }

    fn average(&self, now: Timestamp, window: Span) -> f64 {
        let within: Vec<f64> = self.samples.iter().filter(|(at, _)| now - *at < window).map(|(_, under_way)| *under_way).collect();
        if within.is_empty() { 0.0 } else { within.iter().sum::<f64>() / within.len() as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scaler(min: u32, max: u32, target: f64) -> Scaler {
        Scaler::new(Scale { min, max, target, idle: Span::from_ms(30_000) })
    }

    /// A second each, this many under way; what is wanted is there at once. The workers after each second.
    fn played(scaler: &mut Scaler, from: &mut i64, ready: &mut u32, load: u32, seconds: usize) -> Vec<u32> {
        (0..seconds)
            .map(|_| {
                *from += 1000;
                *ready = scaler.wanted(Timestamp::from_ms(*from), load, *ready);
                *ready
            })
            .collect()
    }

    /// Worked by hand: 7 at a time with a target of 10 are one worker (7 / 7), 8 are two.
    #[test]
    fn the_rule_in_quiet_times() {
        let (mut rule, mut at, mut ready) = (scaler(0, 100, 10.0), 0, 1);
        assert_eq!(played(&mut rule, &mut at, &mut ready, 7, 60).last(), Some(&1));
        // After 60 s of 8 the average is 8: ceil(8 / 7) = 2; that is twice one worker, so the short window decides after 6 s already.
        let rise = played(&mut rule, &mut at, &mut ready, 8, 60);
        assert_eq!((rise[0], rise[59]), (2, 2));
    }

    #[test]
    fn a_rush_panics_and_nothing_is_taken_away_for_a_stable_window() {
        let (mut rule, mut at, mut ready) = (scaler(1, 100, 1.0), 0, 1);
        played(&mut rule, &mut at, &mut ready, 0, 60);
        let rush = played(&mut rule, &mut at, &mut ready, 21, 6);
        assert_eq!(rush[5], 30, "21 / 0.7");
        // The panic was called for last when there were fewer than half of them: within the six seconds.
        let after = played(&mut rule, &mut at, &mut ready, 0, 53);
        assert!(after.iter().all(|count| *count == 30), "{after:?}");
        let calm = played(&mut rule, &mut at, &mut ready, 0, 25);
        assert_eq!(calm.last(), Some(&1));
        assert!(calm.windows(2).all(|pair| pair[1] >= pair[0] / 2), "at most half goes at a time: {calm:?}");
    }

    #[test]
    fn the_last_worker_goes_after_an_empty_window_and_the_idle_time_and_comes_back_at_once() {
        let (mut rule, mut at, mut ready) = (scaler(0, 4, 1.0), 0, 1);
        played(&mut rule, &mut at, &mut ready, 1, 5);
        let quiet = played(&mut rule, &mut at, &mut ready, 0, 120);
        let gone = quiet.iter().position(|count| *count == 0).expect("it goes");
        assert!((88..=92).contains(&gone), "60 s and 30 s: {gone}");
        assert_eq!(played(&mut rule, &mut at, &mut ready, 1, 1), [1]);
        let (mut kept, mut at, mut ready) = (scaler(1, 4, 1.0), 0, 1);
        assert!(played(&mut kept, &mut at, &mut ready, 0, 300).iter().all(|count| *count == 1));
    }

    proptest! {
        #[test]
        fn it_keeps_its_bounds_and_never_leaves_anybody_waiting_without_a_worker(
            loads in proptest::collection::vec(0u32..50, 1..200), min in 0u32..3, more in 0u32..5,
        ) {
            let (mut rule, mut ready) = (scaler(min, (min + more).max(1), 2.0), min);
            for (second, load) in loads.iter().enumerate() {
                ready = rule.wanted(Timestamp::from_ms(second as i64 * 1000), *load, ready);
                prop_assert!(ready >= min && ready <= (min + more).max(1));
                prop_assert!(*load == 0 || ready >= 1);
            }
        }
    }
}
