//! The trials of a hyper-parameter search. Pure: the same definition gives the same trials.

use domain::entity::Trial;
use domain::spec::{Draw, DrawRange, Goal, SweepSpec};
use domain::{Name, Refusal, Scalar};
use indexmap::IndexMap;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Trials at most.
const MOST: usize = 10_000;

/// A trial's values by name.
pub type Values = IndexMap<String, Scalar>;

/// Names that a trial has values for.
pub fn names(sweep: &SweepSpec) -> Vec<&str> {
    sweep.grid.keys().chain(sweep.random.keys()).map(String::as_str).collect()
}

/// Refuses a search that cannot be: neither or both kinds, an empty list, a range upside down, too many trials.
pub fn check(sweep: &SweepSpec) -> Result<(), Refusal> {
    let refuse = |what: &str, hint: &str| Err(Refusal::invalid("step/sweep", what).hint(hint));
    if sweep.grid.is_empty() == sweep.random.is_empty() {
        return refuse(
            "a sweep has either `grid` or `random`",
            "grid = { depth = [3, 5] }, or random = { lr = { min = 0.01, max = 1 } } with trials = 20",
        );
    }
    for name in names(sweep) {
        Name::parse(name)?;
    }
    if sweep.metric.trim().is_empty() {
        return refuse("a sweep needs the metric that tells which trial is best", "metric = \"mae\"");
    }
    if sweep.parallel == 0 {
        return refuse("`parallel` is 0", "at least one trial at a time");
    }
    match (sweep.grid.is_empty(), sweep.trials) {
        (true, None | Some(0)) => return refuse("a random sweep needs the number of its trials", "trials = 20"),
        (false, Some(_)) => return refuse("a grid has as many trials as it has combinations", "take `trials` away"),
        _ => {}
    }
    let count = sweep.grid.values().try_fold(sweep.trials.unwrap_or(1) as usize, |count, values| count.checked_mul(values.len()));
    match count {
        Some(0) => return refuse("a list of values is empty", "give it at least one value"),
        Some(count) if count <= MOST => {}
        _ => return refuse("that is more than 10000 trials", "draw some of them: random and trials"),
    }
    for (name, draw) in &sweep.random {
        let is_good = match draw {
            Draw::OneOf(values) => !values.is_empty(),
            Draw::Range(range) => {
                range.min.is_finite() && range.max.is_finite() && range.min <= range.max && !(range.log && range.min <= 0.0)
            }
        };
        if !is_good {
            return refuse(&format!("nothing can be drawn for `{name}`"), "min must not be above max, and a log scale begins above 0");
        }
    }
    Ok(())
}

/// Every trial, in order.
///
/// ```
/// let sweep: domain::spec::SweepSpec = toml::from_str("metric = 'mae'\ngrid = { depth = [3, 5], lr = [0.1, 0.2] }").unwrap();
/// let trials = pipelines::sweep::trials(&sweep);
/// assert_eq!(trials.len(), 4);
/// assert_eq!(trials[1]["lr"].to_string(), "0.2");
/// ```
pub fn trials(sweep: &SweepSpec) -> Vec<Values> {
    let mut all = vec![Values::new()];
    for (name, values) in &sweep.grid {
        all = all.iter().flat_map(|begun| values.iter().map(|value| with(begun, name, value.clone()))).collect();
    }
    if sweep.random.is_empty() {
        return all;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(sweep.seed);
    let drawn =
        (0..sweep.trials.unwrap_or(0)).map(|_| sweep.random.iter().map(|(name, draw)| (name.clone(), draw_one(draw, &mut rng))).collect());
    drawn.collect()
}

fn with(begun: &Values, name: &str, value: Scalar) -> Values {
    let mut values = begun.clone();
    values.insert(name.to_owned(), value);
    values
}

fn draw_one(draw: &Draw, rng: &mut ChaCha8Rng) -> Scalar {
    match draw {
        Draw::OneOf(values) => values[rng.random_range(0..values.len())].clone(),
        Draw::Range(DrawRange { min, max, log, whole }) => {
            let (low, high) = if *log { (min.ln(), max.ln()) } else { (*min, *max) };
            let value = low + (high - low) * rng.random::<f64>();
            let value = if *log { value.exp() } else { value };
            if *whole { Scalar::Int(value.round() as i64) } else { Scalar::Float(value.clamp(*min, *max)) }
        }
    }
}

/// The best trial: of equal ones the first by number.
pub fn best(trials: &[Trial], goal: Goal) -> Option<&Trial> {
    let rank = |trial: &&Trial| {
        let value = trial.value.unwrap_or(f64::NAN);
        domain::OrderedNumber::new(if goal == Goal::Max { -value } else { value })
    };
    trials.iter().filter(|trial| trial.value.is_some_and(f64::is_finite)).min_by_key(|trial| (rank(trial), trial.number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sweep(text: &str) -> SweepSpec {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_same_seed_draws_the_same_within_bounds() {
        let text = "metric = 'm'\ntrials = 50\nseed = 7\nrandom = { lr = { min = 0.001, max = 1, log = true }, n = { min = 2, max = 5, whole = true }, kind = ['a', 'b'] }";
        let (a, b) = (trials(&sweep(text)), trials(&sweep(text)));
        assert_eq!(a, b);
        assert_eq!(a.len(), 50);
        assert!(
            a.iter()
                .all(|values| (0.001..=1.0).contains(&values["lr"].as_f64().unwrap())
                    && (2.0..=5.0).contains(&values["n"].as_f64().unwrap()))
        );
        let small = a.iter().filter(|values| values["lr"].as_f64().unwrap() < 0.03).count();
        assert!((15..35).contains(&small), "a log scale draws about half below the geometric mean: {small}");
        assert_ne!(a, trials(&sweep(&text.replace("seed = 7", "seed = 8"))));
    }

    #[test]
    fn what_cannot_be_searched_is_refused() {
        for (text, what) in [
            ("metric = 'm'", "either"),
            ("metric = 'm'\ngrid = { a = [1] }\nrandom = { b = [1] }\ntrials = 2", "either"),
            ("metric = ' '\ngrid = { a = [1] }", "metric"),
            ("metric = 'm'\ngrid = { a = [] }", "empty"),
            ("metric = 'm'\nrandom = { a = [1] }", "number of its trials"),
            ("metric = 'm'\ntrials = 3\nrandom = { a = { min = 2, max = 1 } }", "nothing can be drawn"),
            ("metric = 'm'\ntrials = 3\nrandom = { a = { min = 0, max = 1, log = true } }", "nothing can be drawn"),
            ("metric = 'm'\ntrials = 20000\nrandom = { a = [1] }", "10000"),
            ("metric = 'm'\nparallel = 0\ngrid = { a = [1] }", "parallel"),
        ] {
            let refusal = check(&sweep(text)).unwrap_err();
            assert!(refusal.what.contains(what) && refusal.hint.is_some(), "{text}: {refusal:?}");
        }
    }

    #[test]
    fn failed_trials_are_never_best() {
        let trial =
            |number, value| Trial { number, params: Values::new(), run: None, value, error: None, outputs: IndexMap::new(), cpu_ms: None };
        let all = [trial(2, Some(1.0)), trial(0, None), trial(1, Some(1.0)), trial(3, Some(4.0))];
        assert_eq!(best(&all, Goal::Min).unwrap().number, 1);
        assert_eq!(best(&all, Goal::Max).unwrap().number, 3);
        assert!(best(&all[1..2], Goal::Min).is_none());
    }
}
